//! Expressions with faults: code, words, help and place.

use super::*;

/// The faults of an expression, each as `code: message (help) "marked part"`.
fn faults(source: &str) -> Vec<String> {
    let found = match compile(source, &env()) {
        Ok(compiled) => compiled.warnings,
        Err(faults) => faults,
    };
    let show = |f: &Fault| {
        let part: String = source.chars().skip(f.at.0).take(f.at.1 - f.at.0).collect();
        let kind = if f.warning { "warning " } else { "" };
        let help = f.help.as_ref().map_or_else(String::new, |h| format!(" ({h})"));
        format!("{kind}{}: {}{help} \"{part}\"", f.code, f.message)
    };
    found.iter().map(show).collect()
}

#[track_caller]
fn check_faults(rows: &[(&str, &str)]) {
    for (source, expected) in rows {
        assert_eq!(faults(source).join("\n"), *expected, "{source}");
    }
}

#[test]
fn unknown_names() {
    check_faults(&[
        ("draws.rian", "cel_unknown_field: unknown field `rian` of `draws` (did you mean `rain`?) \"rian\""),
        ("drwas.rain", "cel_unknown_name: unknown name `drwas` (did you mean `draws`?) \"drwas\""),
        ("cash + 1.0", "cel_unknown_name: unknown name `cash` (did you mean `state.cash`?) \"cash\""),
        (
            "params.zzzzzz",
            "cel_unknown_field: unknown field `zzzzzz` of `params` (fields of `params`: weeks, share, checkpoint, tone) \"zzzzzz\"",
        ),
        ("sales.map(s, s.unit)", "cel_unknown_field: unknown field `unit` of `s` (did you mean `units`?) \"unit\""),
        ("has(state.csh)", "cel_unknown_field: unknown field `csh` of `state` (did you mean `cash`?) \"csh\""),
        ("summ([1])", "cel_unknown_function: unknown function `summ` (did you mean `sum`?) \"summ\""),
        ("'a'.startswith('b')", "cel_unknown_function: unknown method `startswith` (did you mean `startsWith`?) \"startswith\""),
        ("len([1])", "cel_unknown_function: unknown function `len` (write `size(x)`, or `size(x.filter(y, …))`) \"len\""),
        (
            "filter([1], x)",
            "cel_unknown_function: unknown function `filter` (write `items.filter(x, condition)`) \"filter\"\n\
          cel_unknown_name: unknown name `x` (names here: params, state, draws, self, tick, now, seed, message, input, anything, limits, sales, events, plan; text is written in quotes: 'x') \"x\"",
        ),
        ("count_by(sales, 'shp')", "cel_unknown_field: unknown field `shp` of `sales` (did you mean `shop`?) \"'shp'\""),
        ("where(sales, {'shp': 1})", "cel_unknown_field: unknown field `shp` of `sales` (did you mean `shop`?) \"{'shp': 1}\""),
        (
            "where(sales, {shop: 'a'})",
            "cel_unknown_name: unknown name `shop` (a field's name in a map is written in quotes: 'shop') \"shop\"",
        ),
        (
            "lift(sales, 'shop', 'a', 'b', 'x', 'y')",
            "cel_unknown_field: unknown field `type` of `sales` (fields of `sales`: week, shop, units, price) \"sales\"",
        ),
        ("{'a': 1}.b", "cel_unknown_field: unknown field `b` of `{'a': 1}` (fields of `{'a': 1}`: a) \"b\""),
    ]);
}

#[test]
fn several_at_once() {
    check_faults(&[(
        "draws.rian + 'é' + sttae.cash > xyzzy && 1",
        "cel_unknown_field: unknown field `rian` of `draws` (did you mean `rain`?) \"rian\"\n\
         cel_unknown_name: unknown name `sttae` (did you mean `state`?) \"sttae\"\n\
         cel_unknown_name: unknown name `xyzzy` (names here: params, state, draws, self, tick, now, seed, message, input, anything, limits, sales, events, plan; text is written in quotes: 'xyzzy') \"xyzzy\"\n\
         cel_type: a side of `&&` is int, not bool (compare it: `1 > 0`) \"1\"",
    )]);
}

#[test]
fn syntax() {
    check_faults(&[
        ("", "cel_syntax: syntax error: expected an expression, found nothing \"\""),
        ("1 +", "cel_syntax: syntax error: expected a value or a name, found the end of the expression \"+\""),
        ("(1 + 2", "cel_syntax: syntax error: expected `)`, found the end of the expression \"2\""),
        ("1 2", "cel_syntax: syntax error: expected an operator or the end of the expression, found `2` \"2\""),
        ("a = 1", "cel_syntax: syntax error: expected an operator, found `=` (equality is written `==`) \"=\""),
        (
            "a and b",
            "cel_syntax: syntax error: expected an operator or the end of the expression, found `and` (and is written `&&`) \"and\"",
        ),
        ("x ? 1", "cel_syntax: syntax error: expected `:` and what else it is, found the end of the expression \"1\""),
        ("'abc", "cel_syntax: syntax error: expected a closing ', found the end of the expression \"'abc\""),
        (
            r"'a\q'",
            "cel_syntax: syntax error: an unknown escape in a text (a backslash itself is written \\\\, or the text raw: r'…') \"\\q\"",
        ),
        ("b'abc'", "cel_syntax: syntax error: bytes are not supported (write text: 'abc' instead of b'abc') \"b'\""),
        ("12ab", "cel_syntax: syntax error: `12ab` is neither a number nor a name \"12ab\""),
        (
            "9223372036854775808",
            "cel_syntax: syntax error: the number 9223372036854775808 does not fit in 64 bits (write it as a double: 1e20) \"9223372036854775808\"",
        ),
        ("1e999", "cel_syntax: syntax error: a number too large for a double \"1e999\""),
        ("[1, 2", "cel_syntax: syntax error: expected `,` or `]`, found the end of the expression \"2\""),
        ("{1 2}", "cel_syntax: syntax error: expected `:` and a value, found `2` \"2\""),
        ("state.", "cel_syntax: syntax error: expected a field's name, found the end of the expression \".\""),
        ("2 ** 3", "cel_syntax: syntax error: expected a value or a name, found `*` (a power is written `pow(x, y)`) \"*\""),
        (
            "if (x) 1",
            "cel_syntax: syntax error: expected a value or a name, found `if` (a choice is written `condition ? this : that`) \"if\"",
        ),
        ("“a”", "cel_syntax: syntax error: typographic quotes (text is written 'so' or \"so\") \"“\""),
        ("é + §", "cel_syntax: syntax error: found `§` \"§\""),
    ]);
}

#[test]
fn certain_mismatches() {
    check_faults(&[
        (
            "state.wasted + 'five'",
            "cel_type: cannot add int and string (turn the number into text: `string(…)`, or the text into a number: `double(…)`) \"state.wasted + 'five'\"",
        ),
        (
            "now > params.tone",
            "cel_type: cannot compare timestamp and string with `>` (turn the text into a moment: `timestamp(…)`) \"now > params.tone\"",
        ),
        (
            "tick == 'three'",
            "cel_type: int and string are never equal (a number is written without quotes; `double(…)` turns text into one) \"tick == 'three'\"",
        ),
        (
            "state.cash % 2",
            "cel_type: cannot take double % int: both must be int (`int(…)` makes a whole number) \"state.cash % 2\"",
        ),
        ("tick && true", "cel_type: a side of `&&` is int, not bool (compare it: `tick > 0`) \"tick\""),
        ("!tick", "cel_type: `!` takes a bool, not int \"tick\""),
        ("-'a'", "cel_type: `-` takes a number, not string \"'a'\""),
        ("tick ? 1 : 2", "cel_type: the condition of `? :` is int, not bool (compare it: `tick > 0`) \"tick\""),
        (
            "sales.filter(s, s.units)",
            "cel_type: the condition of `filter` is int, not bool (compare it: `s.units > 0`) \"s.units\"",
        ),
        ("round('a')", "cel_type: `round` takes int or double, not string (`double('a')` makes a number of it) \"'a'\""),
        ("tick.startsWith('a')", "cel_type: `startsWith` takes string, not int (`string(tick)` makes text of it) \"tick\""),
        (
            "sum(sales)",
            "cel_type: `sum` takes list, not collection (`sales` holds records; take a field of each: `sales.map(r, r.…)`) \"sales\"",
        ),
        ("sum(sales.map(s, s.shop))", "cel_type: `sum` takes a list of numbers, not of string \"sales.map(s, s.shop)\""),
        (
            "sales.units",
            "cel_type: `sales` is collection and has no field `units` (a field of its records: `sales.map(r, r.units)`, of one record: `sales[key].units`) \"units\"",
        ),
        ("sales['one']", "cel_type: the key of `sales` (`week`) is int, not string \"'one'\""),
        ("plan[1]", "cel_type: the key of `plan` has 2 parts: week, shop (write `plan[[week, shop]]`) \"1\""),
        ("plan[[1]]", "cel_type: the key of `plan` has 2 parts: week, shop (write `plan[[week, shop]]`) \"[1]\""),
        ("'x' in 'xyz'", "cel_type: cannot look for string in string (write `text.contains(part)`) \"'x' in 'xyz'\""),
        ("tick[0]", "cel_type: `tick` is int and has no items to index \"tick[0]\""),
        ("input.tags['a']", "cel_type: an index of a list is int, not string \"input.tags['a']\""),
        (
            "input.tags.size",
            "cel_type: `input.tags` is list and has no field `size` (it is a function: `input.tags.size()`) \"size\"",
        ),
        ("max(tick)", "cel_type: `max` takes list, not int (write `max(a, b, …), max(list)`) \"tick\""),
        (
            "min(sales, 1)",
            "cel_type: `min` takes bool, int, double, string, list, timestamp or duration, not collection (write `min(a, b, …), min(list)`) \"sales\"",
        ),
        ("tick.map(x, x)", "cel_type: `map` goes through a list, a map or a collection, not int \"tick\""),
        ("{'a': 1, 'a': 2}.a", "cel_type: the key 'a' stands twice \"'a'\""),
        ("params.tone.matches('(')", "cel_type: the pattern `(` cannot be used: unclosed group \"'('\""),
    ]);
}

#[test]
fn arity() {
    check_faults(&[
        ("round()", "cel_arity: `round` takes 1 or 2 arguments, not 0 (write `round(x, digits?)`) \"round\""),
        ("abs(1, 2)", "cel_arity: `abs` takes 1 argument, not 2 (write `abs(x)`) \"abs\""),
        ("uuid(1)", "cel_arity: `uuid` takes 0 arguments, not 1 (write `uuid()`) \"uuid\""),
        ("sales.filter(s)", "cel_arity: `filter` takes 2 arguments, not 1 (write `sales.filter(x, condition)`) \"filter\""),
        (
            "sales.map(1 + 1, 2)",
            "cel_syntax: the first argument of `map` is a name for the item (write `sales.map(x, …x…)`) \"1 + 1\"",
        ),
        (
            "has(tick)",
            "cel_arity: `has` takes one field (write `has(x.field)`; whether a key is there: `key in x`) \"has(tick)\"",
        ),
        ("tick.range()", "cel_unknown_function: `range` is not called on a value (write `range(n), range(a, b)`) \"range\""),
    ]);
}

#[test]
fn what_is_only_doubtful_is_no_error() {
    for source in [
        "anything + 'five'",
        "anything.x.y[0] > 2",
        "params.checkpoint + 1",
        "tick >= params.checkpoint",
        "anything && true",
        "sum(anything)",
        "anything.filter(x, x.y)",
        "[1, 'a'].map(x, x + 1)",
        "message.data.units > 3",
        "params.tone == null",
        "first(sales).units",
    ] {
        assert_eq!(faults(source), Vec::<String>::new(), "{source}");
    }
    check_faults(&[
        ("tick > 3 || 1 / 0 > 0", "warning cel_type: this always fails: division by zero: 1 / 0, in `1 / 0` \"1 / 0\""),
        ("coalesce({'a': 1}['b'], 2)", ""),
    ]);
}

#[test]
fn an_open_object_warns_of_a_likely_slip() {
    let mut env = env();
    let fields = vec![(Arc::from("units"), Type::Int)];
    env.declare("open", Root::Bound(1), Type::Object(Arc::new(ObjectType { fields, open: true })));
    let warnings = compile("open.unist + open.other", &env).expect("warnings only").warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].help.as_deref(), Some("did you mean `units`?"));
}

#[test]
fn bounds_are_faults() {
    let nested = |n: usize, open: &str, close: &str| format!("{}1{}", open.repeat(n), close.repeat(n));
    for source in [
        nested(5000, "(", ")"),
        nested(5000, "[", "]"),
        nested(2000, "size(", ")"),
        nested(2000, "{1:", "}"),
        nested(5000, "-", ""),
        format!("{}true", "!".repeat(9000)),
        nested(5000, "1?1:", ""),
        nested(3000, "1+(", ")"),
        format!("1{}", "+1".repeat(5000)),
        format!("a{}", ".b".repeat(5000)),
        format!("a{}", "[0]".repeat(5000)),
        format!("'{}'", "x".repeat(20_000)),
        "(".repeat(10_000),
        "[".repeat(10_000),
    ] {
        let faults = compile(&source, &env()).expect_err("past a bound");
        assert_eq!(faults.len(), 1, "{}", &source[..20]);
        assert_eq!(faults[0].code, "cel_syntax");
    }
    check(&nested(60, "(", ")"), "1");
    check(&format!("{}1{}", "size([1].map(x, -(tick + ".repeat(15), ")))".repeat(15)), "1");
    check(&format!("{}true{}", "[1].exists(s, s > 0 && [1].exists(x, x == 1 && ".repeat(31), "))".repeat(31)), "true");
    check(&format!("{}1{}", "1 == 2 ? 2 : (tick > 2 ? ".repeat(20), " : 0)".repeat(20)), "1");
    check(&format!("1{}", "+1".repeat(150)), "151");
    check(&format!("tick == 0{}", " || tick == 3".repeat(1000)), "true");
}
