//! Expressions that have no value, and why.

use super::*;

#[track_caller]
fn check_error(source: &str, expected: &str) {
    match eval(source) {
        Err(e) => assert_eq!(e.message, expected, "{source}"),
        Ok(value) => panic!("{source} is {value:?}"),
    }
}

#[test]
fn errors_show_names_and_values() {
    for (source, expected) in [
        ("state.wasted / (tick - 3)", "division by zero: 7 / 0, in `state.wasted / (tick - 3)`"),
        ("state.cash / 0.0", "division by zero: 100.0 / 0.0, in `state.cash / 0.0`"),
        ("state.wasted % (tick - 3)", "division by zero: 7 % 0, in `state.wasted % (tick - 3)`"),
        ("9223372036854775807 + tick", "integer overflow: 9223372036854775807 + 3, in `9223372036854775807 + tick`"),
        ("state.cash * 1e308", "the result is beyond the range of a double: 100.0 * 1e308, in `state.cash * 1e308`"),
        ("log(0.0 * state.cash)", "the result is beyond the range of a double: log(0.0), in `log(0.0 * state.cash)`"),
        ("sqrt(-state.cash)", "the result is not a number: sqrt(-100.0), in `sqrt(-state.cash)`"),
        ("sales[9].units", "no record 9 in `sales`, in `sales[9]`"),
        ("plan[[9, 'a']]", "no record [9, 'a'] in `plan`, in `plan[[9, 'a']]`"),
        ("anything.lst", "no key `lst` in the map (did you mean `list`?), in `anything.lst`"),
        ("limits['lo']", "no key `lo` in the map (did you mean `low`?), in `limits['lo']`"),
        ("anything.list[2]", "index 2 is outside a list of 2, in `anything.list[2]`"),
        ("anything.list[tick - 4]", "index -1 is outside a list of 2, in `anything.list[tick - 4]`"),
        ("anything.list[1] + 1", "cannot add string and int: 'x' + 1, in `anything.list[1] + 1`"),
        ("message.data.text", "null has no field `text`, in `message.data.text`"),
        ("params.checkpoint > 2", "cannot compare null and int with `>`: null > 2, in `params.checkpoint > 2`"),
        ("anything && true", "`&&` takes bools, not map {a: 1, list: [1, 'x']}, in `anything && true`"),
        ("anything.a ? 1 : 2", "the condition of `? :` is int, not bool: 1, in `anything.a ? 1 : 2`"),
        ("sum(anything.list)", "item 1 is string 'x', not a number, in `sum(anything.list)`"),
        (
            "anything.list.sort()",
            "cannot sort int and string: 1, 'x' (sorted are values of one kind: bool, int, double, string, timestamp or duration), in `anything.list.sort()`",
        ),
        ("mean(anything.list.filter(x, false))", "the mean of nothing, in `mean(anything.list.filter(x, false))`"),
        ("int(self.id)", "'shop/2' is no whole number, in `int(self.id)`"),
        ("int(1e19 + state.cash)", "1e19 does not fit in an int, in `int(1e19 + state.cash)`"),
        ("timestamp(self.id)", "'shop/2' is no moment such as 2026-01-05T08:00:00Z or 2026-01-05, in `timestamp(self.id)`"),
        (
            "now + duration('P400000W') + duration('P400000W')",
            "time overflow: 9692-02-25T08:00:00Z + PT241920000000S, in `now + duration('P400000W') + duration('P400000W')`",
        ),
        ("anything.a.matches('x')", "`matches` takes a string, not int, in `anything.a.matches('x')`"),
        ("round(anything)", "argument 1 of `round` is map, not int or double: {a: 1, list: [1, 'x']}, in `round(anything)`"),
        ("{params.share: 1}", "double 0.25 cannot be a key, in `{params.share: 1}`"),
        ("{tick: 1, 3: 2}", "the key 3 stands twice, in `{tick: 1, 3: 2}`"),
        ("clamp(tick, 5, 2)", "the least 5 is above the greatest 2, in `clamp(tick, 5, 2)`"),
    ] {
        check_error(source, expected);
    }
}

#[test]
fn a_text_has_a_bound() {
    let mut env = Env::default();
    env.declare("t", Root::Bound(0), Type::Text);
    struct Long;
    impl Scope for Long {
        fn root(&self, _: Root) -> Result<Value, EvalError> {
            Ok(Value::text("a".repeat(600_000)))
        }
        fn field(&self, root: Root, _: u16) -> Result<Value, EvalError> {
            self.root(root)
        }
        fn uuid(&self) -> Result<Arc<str>, EvalError> {
            Ok("u".into())
        }
    }
    for source in ["t + t", "t.replace('a', 'bb')", "[t, t].join()", "json([t, t])"] {
        let program = compile(source, &env).expect("sound").program;
        let error = program.eval(&Long, LIMIT).expect_err(source);
        assert!(error.message.starts_with("a text of more than 1048576 bytes"), "{source}: {error}");
    }
}

#[test]
fn a_value_nested_too_deeply_is_refused() {
    struct Deep(Value);
    impl Scope for Deep {
        fn root(&self, _: Root) -> Result<Value, EvalError> {
            Ok(self.0.clone())
        }
        fn field(&self, _: Root, _: u16) -> Result<Value, EvalError> {
            Ok(self.0.clone())
        }
        fn uuid(&self) -> Result<Arc<str>, EvalError> {
            Ok("u".into())
        }
    }
    let program = compile("[state.cash]", &env()).expect("sound").program;
    let mut value = Value::Int(1);
    let mut steps = 0;
    let error = loop {
        match program.eval(&Deep(value.clone()), LIMIT) {
            Ok(next) => value = next,
            Err(error) => break error,
        }
        steps += 1;
    };
    assert_eq!((steps, error.message.as_str()), (128, "a value nested more than 128 deep"));
    let doubled = compile("[state.cash, state.cash]", &env()).expect("sound").program;
    let mut value = Value::Int(1);
    let error = loop {
        match doubled.eval(&Deep(value.clone()), LIMIT) {
            Ok(next) => value = next,
            Err(error) => break error,
        }
    };
    assert!(error.message.contains("more than the limit of 1000000"), "{error}");
}
