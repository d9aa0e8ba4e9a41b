//! Garbage never panics, what is printed reads back the same, an index finds what a scan finds.

use proptest::prelude::*;

use super::super::ast::{Expr, ExprKind, Op, Word};
use super::super::parser::parse;
use super::*;

/// An expression as text, with brackets wherever they may matter.
fn print(expr: &Expr) -> String {
    let list = |items: &[Expr]| items.iter().map(print).collect::<Vec<_>>().join(", ");
    match &expr.kind {
        ExprKind::Literal(Value::Text(t)) => {
            let escaped: String = t.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
            format!("'{escaped}'")
        }
        ExprKind::Literal(Value::Int(i)) if *i < 0 => format!("({i})"),
        ExprKind::Literal(Value::Double(d)) if *d < 0.0 => format!("({d:?})"),
        ExprKind::Literal(Value::Double(d)) => format!("{d:?}"),
        ExprKind::Literal(value) => value.to_json().to_string(),
        ExprKind::Name(name) => name.to_string(),
        ExprKind::Select { base, field } => format!("({}).{}", print(base), field.text),
        ExprKind::Index { base, index } => format!("({})[{}]", print(base), print(index)),
        ExprKind::Call { target: Some(target), name, args } => format!("({}).{}({})", print(target), name.text, list(args)),
        ExprKind::Call { target: None, name, args } => format!("{}({})", name.text, list(args)),
        ExprKind::List(items) => format!("[{}]", list(items)),
        ExprKind::Map(entries) => {
            let entries: Vec<String> = entries.iter().map(|(k, v)| format!("{}: {}", print(k), print(v))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        ExprKind::Not(e) => format!("!({})", print(e)),
        ExprKind::Neg(e) => format!("-({})", print(e)),
        ExprKind::And(parts) => parts.iter().map(|e| format!("({})", print(e))).collect::<Vec<_>>().join(" && "),
        ExprKind::Or(parts) => parts.iter().map(|e| format!("({})", print(e))).collect::<Vec<_>>().join(" || "),
        ExprKind::Cond(p) => format!("({}) ? ({}) : ({})", print(&p[0]), print(&p[1]), print(&p[2])),
        ExprKind::Binary(op, pair) => format!("({}) {} ({})", print(&pair.0), op.symbol(), print(&pair.1)),
    }
}

fn node(kind: ExprKind) -> Expr {
    Expr { kind, at: (0, 0), depth: 0 }
}

fn word() -> impl Strategy<Value = Word> {
    "[a-eg-hj-z_][a-z0-9_]{3,6}".prop_map(|t| Word { text: t.into(), at: (0, 0) })
}

fn op() -> impl Strategy<Value = Op> {
    prop::sample::select(vec![
        Op::Add,
        Op::Sub,
        Op::Mul,
        Op::Div,
        Op::Rem,
        Op::Eq,
        Op::Ne,
        Op::Lt,
        Op::Le,
        Op::Gt,
        Op::Ge,
        Op::In,
    ])
}

fn tree() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|i| node(ExprKind::Literal(Value::Int(i)))),
        (-1e300f64..1e300).prop_map(|d| node(ExprKind::Literal(Value::Double(d)))),
        ".{0,6}".prop_map(|t| node(ExprKind::Literal(Value::text(t)))),
        any::<bool>().prop_map(|b| node(ExprKind::Literal(Value::Bool(b)))),
        Just(node(ExprKind::Literal(Value::Null))),
        word().prop_map(|w| node(ExprKind::Name(format!("n{}", w.text).into()))),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let some = prop::collection::vec(inner.clone(), 0..4);
        let parts = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            (boxed.clone(), word()).prop_map(|(base, field)| node(ExprKind::Select { base, field })),
            (boxed.clone(), boxed.clone()).prop_map(|(base, index)| node(ExprKind::Index { base, index })),
            (prop::option::of(boxed.clone()), word(), some.clone()).prop_map(|(target, mut name, args)| {
                name.text = format!("f{}", name.text).into();
                node(ExprKind::Call { target, name, args })
            }),
            some.prop_map(|items| node(ExprKind::List(items))),
            prop::collection::vec((inner.clone(), inner.clone()), 0..3).prop_map(|e| node(ExprKind::Map(e))),
            boxed.clone().prop_map(|e| node(ExprKind::Not(e))),
            boxed
                .prop_filter("a literal takes its sign", |e| !matches!(
                    e.kind,
                    ExprKind::Literal(Value::Int(_) | Value::Double(_))
                ))
                .prop_map(|e| node(ExprKind::Neg(e))),
            parts.clone().prop_map(|p| node(ExprKind::And(p))),
            parts.prop_map(|p| node(ExprKind::Or(p))),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| node(ExprKind::Cond(Box::new([a, b, c])))),
            (op(), inner.clone(), inner).prop_map(|(op, a, b)| node(ExprKind::Binary(op, Box::new((a, b))))),
        ]
    })
}

/// Texts that look like expressions more often than not.
fn garbage() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "state",
        ".",
        "cash",
        "sales",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "+",
        "-",
        "*",
        "/",
        "%",
        "==",
        "<",
        "&&",
        "||",
        "!",
        "in",
        "1",
        "0",
        "2.5",
        "'a'",
        "'",
        "\"",
        "'''",
        "r'",
        "\\",
        "x",
        ".map(",
        ".filter(x,",
        "x.shop",
        "has(",
        "size(",
        "null",
        "true",
        "tick",
        "range(",
        "9223372036854775807",
        "0x",
        "e",
        "u",
        "é",
        "\n",
        "//",
        "`",
        "sort_by(",
        "count_by(",
        "duration('",
        "timestamp('",
        "anything",
        "coalesce(",
        " ",
    ]);
    prop_oneof![prop::collection::vec(piece, 0..24).prop_map(|p| p.concat()), "\\PC{0,40}", any::<String>()]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        (0i64..3).prop_map(Value::Int),
        (0i64..6).prop_map(|i| Value::Double(i as f64 / 2.0)),
        "[ab]".prop_map(Value::text),
    ]
}

/// A world whose `events` has an index, and one where nothing has any index and no key can be trusted.
fn twins(rows: &[(Option<Value>, Value)]) -> (World, World) {
    let record = |(id, (kind, day)): (usize, &(Option<Value>, Value))| {
        let id = Value::Int(i64::try_from(id).expect("small"));
        let fields = [("id", Some(id)), ("type", kind.clone()), ("day", Some(day.clone()))];
        Value::object(fields.into_iter().filter_map(|(n, v)| Some((n, v?))))
    };
    let records: Vec<Value> = rows.iter().enumerate().map(record).collect();
    let (mut fast, mut slow) = (World::new(), World::new());
    fast.collections[1] = fill(shape("events", &["id"], &["type"]), records.clone());
    let mut plain = Collection::new(Arc::new(shape("events", &["none"], &[])));
    for (n, record) in records.into_iter().enumerate() {
        plain.put(Key::Int(i64::try_from(n).expect("small")), record);
    }
    slow.collections[1] = Arc::new(plain);
    (fast, slow)
}

proptest! {
    #[test]
    fn any_text_is_a_program_or_faults(source in garbage()) {
        match compile(&source, &env()) {
            Ok(compiled) => drop(compiled.program.eval(&World::new(), 10_000)),
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                let length = source.chars().count().max(1);
                for fault in faults {
                    prop_assert!(fault.at.0 < fault.at.1 && fault.at.1 <= length, "{:?} of {}", fault, length);
                }
            }
        }
    }

    #[test]
    fn what_is_printed_reads_back_the_same(tree in tree()) {
        let text = print(&tree);
        prop_assume!(text.len() < 16_000);
        let read = parse(&text).map_err(|f| TestCaseError::fail(format!("{text}: {f:?}")))?;
        prop_assert_eq!(print(&read), text);
    }

    #[test]
    fn an_index_changes_nothing_but_the_time(
        rows in prop::collection::vec((prop::option::weighted(0.9, scalar()), scalar()), 0..12),
        wanted in scalar(),
        id in 0i64..12,
    ) {
        let (fast, slow) = twins(&rows);
        let mut env = env();
        env.declare("events", Root::Collection(1), Type::Dyn);
        let w = match &wanted {
            Value::Text(t) => format!("'{t}'"),
            Value::Double(d) => format!("{d:?}"),
            other => other.to_json().to_string(),
        };
        for condition in [
            format!("e.type == {w}"),
            format!("{w} == e.type && e.day == 1"),
            format!("has(e.type) && e.type == {w}"),
            format!("e.day == {w} && (e.id > 2 && e.type == {w})"),
            format!("e.id == {id}"),
            format!("e.id == {id}.0 && e.type == {w}"),
            format!("e.type == {w} && e.type == 1"),
            format!("e.day == 1 || e.type == {w}"),
        ] {
            for source in [
                format!("events.filter(e, {condition})"),
                format!("size(events.filter(e, {condition}))"),
                format!("events.exists(e, {condition})"),
                format!("events.exists_one(e, {condition})"),
                format!("events.all(e, {condition})"),
                format!("events.map(e, {condition}, e.id)"),
                format!("where(events, {{'type': {w}}})"),
                format!("where(events, {{'id': {id}, 'day': {w}}})"),
                "count_by(events, 'type')".to_owned(),
                "group(events, 'type')".to_owned(),
            ] {
                let program = compile(&source, &env).expect("sound").program;
                let plain = |r: Result<Value, EvalError>| r.map(|v| v.to_json()).map_err(|e| e.message);
                prop_assert_eq!(plain(program.eval(&fast, LIMIT)), plain(program.eval(&slow, LIMIT)), "{}", source);
            }
        }
    }

    #[test]
    fn whole_numbers_do_as_checked_arithmetic_does(a in any::<i64>(), b in any::<i64>()) {
        let mut env = Env::default();
        env.declare("a", Root::Tick, Type::Int);
        env.declare("b", Root::Seed, Type::Int);
        struct Two(i64, i64);
        impl Scope for Two {
            fn root(&self, root: Root) -> Result<Value, EvalError> {
                Ok(Value::Int(if root == Root::Tick { self.0 } else { self.1 }))
            }
            fn field(&self, root: Root, _: u16) -> Result<Value, EvalError> {
                self.root(root)
            }
            fn uuid(&self) -> Result<Arc<str>, EvalError> {
                Ok("u".into())
            }
        }
        for (source, expected) in [
            ("a + b", a.checked_add(b)),
            ("a - b", a.checked_sub(b)),
            ("a * b", a.checked_mul(b)),
            ("a / b", a.checked_div(b)),
            ("a % b", a.checked_rem(b)),
            ("-a", a.checked_neg()),
            ("abs(a)", a.checked_abs()),
            ("min(a, b)", Some(a.min(b))),
        ] {
            let value = compile(source, &env).expect("sound").program.eval(&Two(a, b), LIMIT).ok();
            prop_assert_eq!(value, expected.map(Value::Int), "{}", source);
        }
    }
}

#[test]
fn order_never_depends_on_how_a_map_was_made() {
    let names: Vec<String> = (0..200).map(|n| format!("'k{}': {n}", (n * 7919) % 200)).collect();
    let mut backwards = names.clone();
    backwards.reverse();
    let value = |parts: &[String]| {
        let map = parts.join(", ");
        eval(&format!("{{{map}}}.map(k, k)")).expect("a list").to_json().to_string()
    };
    assert_eq!(value(&names), value(&backwards));
    assert!(value(&names).starts_with("[\"k0\",\"k1\",\"k10\",\"k100\","));
}
