//! The bound of an evaluation: refused before it is done, with the index that would have helped.

use super::*;

fn big(n: i64) -> World {
    let record = |i: i64| {
        Value::object([
            ("id", Value::Int(i)),
            ("type", Value::text(if i % 10 == 0 { "replied" } else { "sent" })),
            ("variant", Value::text(if i % 2 == 0 { "a" } else { "b" })),
            ("day", Value::Int(i % 50)),
        ])
    };
    let mut world = World::new();
    world.collections[1] = fill(shape("events", &["id"], &["type"]), (0..n).map(record));
    world
}

#[test]
fn a_product_above_the_limit_is_refused_with_the_missing_index() {
    let world = big(2000);
    for (source, missing) in [
        (
            "events.all(e, events.exists(f, f.day == e.day && f.variant == e.variant))",
            Some("add index: [day] to collection `events`"),
        ),
        ("events.all(e, size(where(events, {'variant': e.variant})) > 0)", Some("add index: [variant] to collection `events`")),
        ("range(2000).all(i, events.exists(e, e.day > i))", None),
        ("range(2000000)", None),
        ("range(1500).map(i, range(1500))", None),
        ("range(1000).map(i, range(1000).map(j, 'a').join().replace('a', '0123456789'))", None),
        ("range(5000).map(i, [[1, 2]].map(a, [a, a]).map(b, [b, b]).map(c, [c, c]).map(d, [d, d, d, d, d, d, d, d]))", None),
    ] {
        let error = compiled(source).program.eval(&world, LIMIT).expect_err(source).message;
        assert!(error.contains("more than the limit of 1000000 (`limits.cel_steps`)"), "{error}");
        assert!(error.contains(source), "{error}");
        match missing {
            Some(missing) => assert!(error.ends_with(missing), "{error}"),
            None => assert!(!error.contains("index"), "{error}"),
        }
    }
}

#[test]
fn an_error_of_the_bound_is_never_swallowed() {
    let world = big(2000);
    for source in ["range(2000000).size() > 0 || true", "[1].exists(x, range(2000000).size() > x || x == 1)"] {
        assert!(compiled(source).program.eval(&world, LIMIT).is_err(), "{source}");
    }
}

#[test]
fn an_index_or_a_key_keeps_it_within_the_limit() {
    let world = big(2000);
    for (source, expected) in [
        ("events.all(e, events.exists(f, f.id == e.id))", "true"),
        ("events.filter(e, e.type == 'replied').all(e, events.exists(f, f.type == 'replied' && f.day == e.day))", "true"),
        ("range(1000).map(i, size(events.filter(e, e.type == 'sent'))).distinct()", "[1800]"),
        ("range(1000).map(i, count_by(events, 'type')['replied']).distinct()", "[200]"),
        ("range(100).map(i, lift(events, 'variant', 'a', 'b', 'sent', 'sent')).distinct()", "[0.0]"),
    ] {
        let value = compiled(source).program.eval(&world, LIMIT);
        assert_eq!(value.map(|v| v.to_json().to_string()), Ok(expected.to_owned()), "{source}");
    }
}

#[test]
fn a_static_bound_is_refused_before_anything_is_read() {
    let world = World::new();
    let program = compiled("tick + tick + tick + tick").program;
    assert!(program.eval(&world, 5).is_err());
    assert_eq!(world.reads.get(), 0);
    assert!(program.eval(&world, 7).is_ok());
}

#[test]
fn estimates_follow_the_sizes() {
    let sizes = |root: Root| match root {
        Root::Collection(_) => 10_000,
        _ => 1,
    };
    let estimate = |source: &str| compiled(source).program.estimate(&sizes);
    for (source, range) in [
        ("draws.buys", 1..5),
        ("sum(sales.map(s, s.units))", 10_000..100_000),
        ("sales.all(s, events.exists(e, e.day == s.week))", 100_000_000..1_000_000_000),
        ("sales.all(s, events.exists(e, e.type == s.shop))", 1_000_000..10_000_000),
        ("sales.all(s, events.exists(e, e.id == s.week))", 10_000..200_000),
        ("range(100).map(i, i)", 100..1000),
    ] {
        assert!(range.contains(&estimate(source)), "{source}: {}", estimate(source));
    }
    let scans = compiled("sales.all(s, events.exists(e, e.day == s.week))").program.scans().to_vec();
    assert_eq!(scans, [(Arc::from("events"), Arc::from("day"))]);
}

#[test]
fn an_estimate_is_not_below_what_is_spent() {
    let world = big(300);
    let sizes = |root: Root| match root {
        Root::Collection(1) => 300,
        Root::Collection(_) => 3,
        _ => 1,
    };
    for source in [
        "events.map(e, e.day)",
        "size(events.filter(e, e.day == 3))",
        "events.exists(e, sales.exists(s, s.week == e.day))",
        "sum(events.map(e, e.day))",
        "state.cash + 1.0",
    ] {
        let program = compiled(source).program;
        let enough = program.estimate(&sizes).saturating_mul(2) + 1000;
        assert!(program.eval(&world, enough).is_ok(), "{source}");
    }
}
