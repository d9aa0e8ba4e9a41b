//! Expressions and their values.

use super::*;

fn rows(rows: &[(&str, &str)]) {
    for (source, expected) in rows {
        check(source, expected);
    }
}

#[test]
fn literals() {
    rows(&[
        ("1", "1"),
        ("0x1F", "31"),
        ("7u", "7"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775807", "9223372036854775807"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("1e3", "1000.0"),
        ("2.5e-1", "0.25"),
        ("true", "true"),
        ("null", "null"),
        (r#""a\"b""#, r#""a\"b""#),
        (r"'a\'b\n\x41\u00e9\U0001F600\101\\'", r#""a'b\nAé😀A\\""#),
        (r"r'a\n'", r#""a\\n""#),
        ("'''a\n'b'''", r#""a\n'b""#),
        ("\"\"\"x\"y\"\"\"", r#""x\"y""#),
        ("[1, 'a', null,]", r#"[1,"a",null]"#),
        ("{'b': 1, 'a': [2], 3: true,}", r#"{"3":true,"a":[2],"b":1}"#),
        ("[]", "[]"),
        ("{}", "{}"),
        ("1 // a comment\n + 2", "3"),
    ]);
}

#[test]
fn operators() {
    rows(&[
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("7 - 2 - 1", "4"),
        ("1 + 0.5", "1.5"),
        ("7 / 2.0", "3.5"),
        ("2 * 1.5", "3.0"),
        ("--5", "5"),
        ("!!true", "true"),
        ("-state.cash", "-100.0"),
        ("'a' + 'b'", "\"ab\""),
        ("[1] + [2, 3]", "[1,2,3]"),
        ("1 == 1.0", "true"),
        ("1 != 2", "true"),
        ("[1, {'a': 2.0}] == [1.0, {'a': 2}]", "true"),
        ("null == null", "true"),
        ("tick == null", "false"),
        ("1 < 1.5", "true"),
        ("'a' < 'b'", "true"),
        ("false < true", "true"),
        ("2 >= 2.0", "true"),
        ("2 in [1, 2.0]", "true"),
        ("'low' in limits", "true"),
        ("3 in {'a': 1, 3: 2}", "true"),
        ("3 in sales", "true"),
        ("9 in sales", "false"),
        ("[1, 'b'] in plan", "true"),
        ("1 < 2 == true", "true"),
        ("true ? 1 : 2", "1"),
        ("false ? 1 : true ? 2 : 3", "2"),
        ("tick > 2 ? 'late' : 'early'", "\"late\""),
    ]);
}

#[test]
fn one_decisive_side_outweighs_an_error_of_the_other() {
    rows(&[
        ("false && anything.x == 1", "false"),
        ("anything.x == 1 && false", "false"),
        ("true || anything.x == 1", "true"),
        ("anything.x == 1 || true", "true"),
        ("anything.x == 1 || false || tick == 3", "true"),
        ("[1, 'x', 3].exists(n, n > 2)", "true"),
        ("[1, 'x', 3].all(n, n > 2)", "false"),
        ("tick > 2 || anything", "true"),
    ]);
}

#[test]
fn names_and_fields() {
    rows(&[
        ("draws.buys", "true"),
        ("state.cash + 3.5", "103.5"),
        ("params.checkpoint", "null"),
        ("params.checkpoint != null && tick == params.checkpoint", "false"),
        ("self.id", "\"shop/2\""),
        ("input.base * 2.0", "5.0"),
        ("input.tags[1]", "\"y\""),
        ("anything.list[0]", "1"),
        ("anything['a']", "1"),
        ("limits.low + limits['high']", "10"),
        ("params", r#"{"share":0.25,"weeks":12}"#),
        ("has(anything.a)", "true"),
        ("has(anything.b)", "false"),
        ("has(params.checkpoint)", "false"),
        ("has(params.weeks)", "true"),
        ("has(sales[1].units)", "true"),
        ("{'in': 1, 'if': 2}.if", "2"),
        ("{'a-b': 1}.`a-b`", "1"),
        ("coalesce(message.data.text, 'none')", "\"none\""),
        ("coalesce(anything.b.c, anything.a)", "1"),
        ("coalesce(params.checkpoint, 4) + 1", "5"),
        ("get(message.data, 'x', 0)", "0"),
        ("uuid() == uuid()", "false"),
    ]);
}

#[test]
fn comprehensions() {
    rows(&[
        ("[1, 2, 3].all(x, x > 0)", "true"),
        ("[].all(x, false)", "true"),
        ("[1, 2, 3].exists(x, x == 2)", "true"),
        ("[1, 2, 2].exists_one(x, x == 2)", "false"),
        ("[1, 2, 2].exists_one(x, x == 1)", "true"),
        ("[1, 2, 3].filter(x, x % 2 == 1)", "[1,3]"),
        ("[1, 2].map(x, x * 10)", "[10,20]"),
        ("[1, 2, 3].map(x, x > 1, x * 10)", "[20,30]"),
        ("{'b': 1, 'a': 2}.map(k, k)", r#"["a","b"]"#),
        ("{'b': 1, 'a': 2}.exists(k, k == 'b')", "true"),
        ("limits.map(k, limits[k])", "[8,2]"),
        ("[[1, 2], [3]].map(l, l.map(x, x + size(l)))", "[[3,4],[4]]"),
        ("[1, 2].map(x, [3, 4].map(x, x))", "[[3,4],[3,4]]"),
        ("[3, 1, 2].sort_by(x, -x)", "[3,2,1]"),
        ("['bb', 'a', 'cc'].sort_by(t, size(t))", r#"["a","bb","cc"]"#),
        ("sales.sort_by(s, -s.units).map(s, s.week)", "[3,2,1]"),
        ("range(3).map(i, range(i).map(j, i * j))", "[[],[0],[0,2]]"),
        ("range(1, params.weeks + 1).map(w, {'week': w, 'units': int(input.base * season(w))}).size()", "12"),
    ]);
}

#[test]
fn collections() {
    rows(&[
        ("sales[2].units", "20"),
        ("sales[tick].price", "1.0"),
        ("sales[2.0].units", "20"),
        ("plan[[1, 'b']].units", "6"),
        ("size(sales)", "3"),
        ("sales.map(s, s.units)", "[10,20,30]"),
        ("sum(sales.map(s, double(s.units) * s.price))", "80.0"),
        ("sales.exists(s, s.shop == 'b')", "true"),
        ("sales.all(s, s.units > 5)", "true"),
        ("sales.filter(s, s.shop == 'a').map(s, s.week)", "[1,3]"),
        ("sales.filter(s, s.shop == 'a' && s.units > 10).map(s, s.week)", "[3]"),
        ("sales.filter(s, 2 == s.week).map(s, s.units)", "[20]"),
        ("sales.filter(s, s.week == 9)", "[]"),
        ("size(sales.filter(s, s.shop == 'a'))", "2"),
        ("sales.filter(s, s.shop == 'a').size()", "2"),
        ("size(sales.filter(s, s.units > 10))", "2"),
        ("size(sales.filter(s, s.week == tick))", "1"),
        ("sales.exists_one(s, s.week == 2 && s.shop == 'b')", "true"),
        ("sales.map(s, s.shop == 'a', s.units)", "[10,30]"),
        ("plan.filter(p, p.week == 1).map(p, p.units)", "[5,6]"),
        ("plan.filter(p, p.shop == 'a' && p.week == 2).map(p, p.units)", "[7]"),
        ("sales.map(s, plan.filter(p, p.week == s.week && p.shop == s.shop).size())", "[1,0,0]"),
        ("plan.all(p, sales.exists(s, s.week == p.week))", "true"),
        ("[1, 2].map(x, sales.filter(s, s.week == [x].map(y, y + 1)[0]).map(s, s.units))", "[[20],[30]]"),
        ("where(sales, {'shop': 'a', 'units': 30}).size()", "1"),
        ("sales.where({'week': 2.0}).map(s, s.units)", "[20]"),
        ("where(sales.filter(s, true), {'shop': 'b'}).size()", "1"),
        ("count_by(events, 'type')", r#"{"replied":2,"sent":6}"#),
        ("count_by(events, 'variant')", r#"{"a":5,"b":3}"#),
        ("sum_by(sales, 'shop', 'price')", r#"{"a":3.0,"b":1.5}"#),
        ("lift(events, 'variant', 'b', 'a', 'bought', 'sent')", "null"),
        ("keys(plan)", r#"[[1,"a"],[1,"b"],[2,"a"]]"#),
        ("first(sales.filter(s, s.week > 7))", "null"),
        ("last(events).id", "8"),
        ("sales == sales", "true"),
        ("size(events.filter(e, e.type == 'sent' && e.day == 1))", "2"),
    ]);
}

#[test]
fn moments() {
    rows(&[
        ("now", "\"2026-01-05T08:00:00Z\""),
        ("now + duration('P1D')", "\"2026-01-06T08:00:00Z\""),
        ("now - timestamp('2026-01-05') == duration('8h')", "true"),
        ("duration('1h') + duration('30m') == duration('PT90M')", "true"),
        ("now > timestamp('2026-01-01')", "true"),
        ("-duration('1s')", "\"-PT1S\""),
        ("next_weekday(now, 'monday')", "\"2026-01-12\""),
        ("int(now)", "1767600000"),
        ("add_days(date(now), 30)", "\"2026-02-04\""),
    ]);
}

#[test]
fn numbers() {
    rows(&[
        ("max(0, int(2.7) - 5)", "0"),
        ("int(max(0.0, 12.9))", "12"),
        ("sum([1, 2.5])", "3.5"),
        ("sum(range(5))", "10"),
        ("sum([1e16, 1.0, -1e16])", "1.0"),
        ("round(-0.5)", "-1.0"),
        ("round(15, -1)", "20"),
        ("round(-15, -1)", "-20"),
        ("round(9, -30)", "0"),
        ("round(1e300, 20)", "1e+300"),
        ("min('b', 'a')", "\"a\""),
        ("quantile([1, 2, 3, 4, 5], 0.9)", "4.6"),
        ("string(1e20)", "\"1e20\""),
        ("string(-0.001)", "\"-0.001\""),
        ("'añb'.substring(1, 9)", "\"ñb\""),
        ("'añb'.index_of('b')", "2"),
        ("'x-1'.matches('[0-9]$')", "true"),
        ("self.id.matches('^shop/[0-9]+$')", "true"),
        ("[1, 1.0, 'a', null, null, {'a': 1}, {'a': 1.0}].distinct()", "[1,\"a\",null,{\"a\":1}]"),
        ("abs(tick - 5)", "2"),
        ("[[1, 2], [1.0, 2.0], [[1]], [[1]], range(20), range(20)].distinct().size()", "3"),
        ("round(8, -19)", "0"),
        ("650.0 * season(tick) * pow(49.0 / state.cash, 1.4) > 0.0", "true"),
    ]);
}

#[test]
fn what_is_declared_a_double_divides_like_one() {
    struct Whole;
    impl Scope for Whole {
        fn root(&self, _: Root) -> Result<Value, EvalError> {
            Ok(Value::list([Value::Int(3)]))
        }
        fn field(&self, _: Root, _: u16) -> Result<Value, EvalError> {
            Ok(Value::Int(7))
        }
        fn uuid(&self) -> Result<Arc<str>, EvalError> {
            Ok("u".into())
        }
    }
    for (source, expected) in [
        ("state.cash / 2", Value::Double(3.5)),
        ("7 / (state.cash / 7)", Value::Double(7.0)),
        ("state.wasted / 2", Value::Int(3)),
    ] {
        let value = compiled(source).program.eval(&Whole, LIMIT).expect(source);
        assert_eq!((value.kind(), &value), (expected.kind(), &expected), "{source}");
    }
}

#[test]
fn reads_are_told() {
    let reads = compiled("state.cash > 1.0 && size(sales) > 0 && draws.buys && input.base > 0.0").program.reads().clone();
    assert_eq!(reads.fields, [(Root::State, 0), (Root::Draws, 0)].into());
    assert_eq!(reads.roots, [Root::Collection(0), Root::Input].into());
}

#[test]
fn what_is_known_is_computed_once() {
    for source in
        ["1 + 2 * 3", "[1, 2]", "{'a': [1]}", "size('abc')", "true ? 1 : tick", "sum([1, 2])", "'a'.upperAscii()", "-(2.5)"]
    {
        assert!(compiled(source).program.constant().is_some(), "{source}");
    }
    assert!(compiled("uuid()").program.constant().is_none());
}

#[test]
fn what_is_not_needed_is_not_read() {
    for (source, reads) in
        [("draws.buys", 1), ("false && draws.buys", 0), ("draws.buys || state.cash > 0.0", 1), ("true ? 1 : tick", 0)]
    {
        let world = World::new();
        compiled(source).program.eval(&world, LIMIT).expect(source);
        assert_eq!(world.reads.get(), reads, "{source}");
    }
}

#[test]
fn types_are_told() {
    for (source, ty) in [
        ("1 + 2", Type::Int),
        ("1 + 2.0", Type::Double),
        ("tick > 2", Type::Bool),
        ("tick > 2 ? 1 : 2.0", Type::OneOf(vec![Type::Int, Type::Double])),
        ("sales.map(s, s.units)", Type::Int.listed()),
        ("sum(sales.map(s, s.units))", Type::Int),
        ("sum(sales.map(s, s.price))", Type::Double),
        ("params.checkpoint", int_or_null()),
        ("coalesce(params.checkpoint, 1)", Type::Int),
        ("sales[1].shop", Type::Text),
        ("now - now", Type::Duration),
        ("anything.a", Type::Dyn),
        ("anything.a + 1", Type::OneOf(vec![Type::Int, Type::Double])),
        ("max(tick, 2)", Type::Int),
        ("round(state.cash, 2)", Type::Double),
        ("count_by(events, 'type')['sent']", Type::Int),
        ("{'a': 1}.a", Type::Int),
    ] {
        assert_eq!(compiled(source).ty, ty, "{source}");
    }
}

#[test]
fn expressions_of_real_scenarios() {
    rows(&[
        (
            "sales.exists(f, f.week == tick) ? abs(double(sales[tick].units) - double(plan[[2, 'a']].units)) / double(sales[tick].units) : 0.0",
            "0.7666666666666667",
        ),
        (
            "size(events.filter(e, e.type == 'replied')) == 0 ? 0.0 : double(size(events.filter(e, e.type == 'replied'))) / double(size(events.filter(e, e.type == 'sent')))",
            "0.3333333333333333",
        ),
        ("{'sent': size(events), 'won': size(events.filter(e, e.type == 'won'))}", r#"{"sent":8,"won":0}"#),
        ("sum(sales.map(s, abs(double(s.units) - double(sales[s.week].units)))) / sum(sales.map(s, double(s.units)))", "0.0"),
        ("range(0, params.weeks).all(d, size(events.filter(e, e.type == 'sent' && e.day == d)) <= 2)", "true"),
        ("max(0, state.wasted - sales[tick].units)", "0"),
        ("int(max(0.0, input.base * draws.rain * (draws.buys ? 0.6 : 1.0)))", "0"),
        ("1.0 - double(state.wasted) / 8000.0", "0.999125"),
        ("'sent' in count_by(events, 'type') && self.replica < 50", "true"),
    ]);
}
