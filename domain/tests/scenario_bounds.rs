//! Input that is too much, too deep or no text at all: refused with the bound's name, quickly, and never a panic.

use std::time::{Duration, Instant};

use commedia_domain::diagnostic::{Diagnostic, Severity};
use commedia_domain::scenario::{NoFiles, load};
use proptest::prelude::*;

const COIN_SHOP: &str = include_str!("scenarios/coin-shop.scenario.yaml");
const HARBOUR: &str = include_str!("scenarios/harbour.scenario.yaml");
const BAKERY: &str = include_str!("invalid-scenarios/valid-base/bakery-week.scenario.yaml");
const LENDING: &str = include_str!("invalid-scenarios/valid-base/tool-lending.scenario.yaml");

/// No measure of speed: far above what any input takes here, and far below what a blow-up would.
const AT_MOST: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
fn diagnose(source: &[u8]) -> Vec<Diagnostic> {
    let begun = Instant::now();
    let found = match load("x.scenario.yaml", source, &NoFiles) {
        Ok(loaded) => loaded.warnings,
        Err(all) => {
            assert!(all.iter().any(|d| d.severity == Severity::Error), "refused without an error: {all:?}");
            all
        }
    };
    assert!(begun.elapsed() < AT_MOST, "took {:?}", begun.elapsed());
    assert!(found.len() <= 100, "{} diagnostics", found.len());
    for d in &found {
        assert!(d.span.line >= 1 && d.span.column >= 1 && d.span.end_line >= d.span.line, "{d:?}");
        assert!(d.span.end_line > d.span.line || d.span.end_column >= d.span.column, "{d:?}");
        assert!(d.message.chars().count() < 1000, "a message of {} characters", d.message.chars().count());
    }
    found
}

fn check(source: impl AsRef<[u8]>, line: u32, column: u32, words: &[&str]) {
    let found = diagnose(source.as_ref());
    let good = found.iter().any(|d| {
        let text = format!("{} {}", d.message, d.help.as_deref().unwrap_or("")).to_lowercase();
        (d.span.line, d.span.column) == (line, column) && words.iter().all(|w| text.contains(&w.to_lowercase()))
    });
    assert!(good, "wanted {line}:{column} {words:?}, found {found:#?}");
}

#[test]
fn past_a_bound_the_bound_is_named() {
    check("a: ".to_owned() + &"x".repeat(10 << 20), 1, 1, &["1 MiB"]);
    check("a: ".to_owned() + &"[".repeat(100_000), 1, 259, &["64", "nested"]);
    check("a: ".to_owned() + &"{a: ".repeat(200), 1, 256, &["64", "nested"]);
    check((0..100).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>(), 65, 65, &["64", "nested"]);
    check("- ".repeat(100_000), 1, 129, &["64", "nested"]);
    check(format!("a: [{}]", "1, ".repeat(20_000)), 1, 29_996, &["10000 nodes"]);
    check("x".repeat((1 << 20) + 1), 1, 1, &["1 MiB"]);
}

#[test]
fn alias_bombs_are_refused_by_their_size() {
    let mut bomb = "x-a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for n in 1..20 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb += &format!("x-a{n}: &a{n} [{aliases}]\n");
    }
    check(bomb, 4, 47, &["10000 nodes", "aliases"]);
    let long = format!("x-a: &a {}\nx-b: [{}]\n", "y".repeat(500_000), "*a, ".repeat(5000));
    check(long, 2, 11, &["1 MiB", "aliases"]);
    check("x-a: &a [*a]\nname: n\n", 1, 10, &["alias", "inside"]);
    check("x-a: &a\n  b: {c: *a}\n", 2, 10, &["alias", "inside"]);
    let nested = (0..70).fold("x-a0: &a0 [1]\n".to_owned(), |s, n| s + &format!("x-a{}: &a{} [*a{n}]\n", n + 1, n + 1));
    check(nested, 64, 14, &["64", "nested"]);
}

#[test]
fn what_is_no_text_is_refused_at_its_place() {
    check(b"name: caf\xe9\nagents: {}\n", 1, 10, &["UTF-8", "0xE9"]);
    check(b"name: a\ntitle: \xc3\xa9\xc3\xa9\xff\n", 2, 10, &["UTF-8", "0xFF"]);
    check(b"\xff\xfen\0a\0", 1, 1, &["UTF-16", "UTF-8"]);
    check(b"name: a\0b\n", 1, 8, &["control", "NUL"]);
    check(b"name: ab\nti\x07tle: x\n", 2, 3, &["control", "U+0007"]);
    check("\0".repeat(1000), 1, 1, &["control", "NUL"]);
    check("name: a\ntitle: \"\\x07\"\n", 2, 8, &["control"]);
    check([0u8; 0], 1, 1, &["empty"]);
    check("\u{feff}", 1, 1, &["empty"]);
    check("---\n", 1, 1, &["empty"]);
    check("# only words\n\n\n", 1, 1, &["empty"]);
    check("just words", 1, 1, &["map", "just words"]);
    check("- a\n- b\n", 1, 1, &["map", "list"]);
    check("name: a\n---\nname: b\n", 2, 1, &["second document"]);
}

#[test]
fn a_byte_order_mark_does_no_harm() {
    let found = diagnose(format!("\u{feff}{COIN_SHOP}").as_bytes());
    assert!(found.is_empty(), "{found:?}");
    let found = diagnose(COIN_SHOP.replace('\n', "\r\n").as_bytes());
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_hundred_faults_are_told_and_the_rest_counted() {
    let source = (0..3000).fold(COIN_SHOP.to_owned(), |s, n| s + &format!("zzz{n}: 1\n"));
    let found = diagnose(source.as_bytes());
    assert_eq!(found.len(), 100);
    assert!(found[99].message.contains("2901 more"), "{}", found[99]);
}

#[test]
fn long_and_deep_expressions_and_templates_are_refused_not_died_of() {
    let rules = |when: &str| COIN_SHOP.replace("when: draws.buys", &format!("when: \"{when}\""));
    for when in [
        "(".repeat(100_000),
        "!".repeat(100_000),
        "a.".repeat(50_000),
        "1+".repeat(100_000),
        "[".repeat(5000),
        "x ? ".repeat(5000),
    ] {
        diagnose(rules(&when).as_bytes());
    }
    let says = |text: &str| COIN_SHOP.replace("emit: [{set", &format!("emit: [{{say: \"{text}\"}}, {{set"));
    for text in [
        format!("{{{{ {}", "(".repeat(100_000)),
        format!("{{{{ {} }}}}", "not ".repeat(50_000)),
        "{% if x %}".repeat(20_000),
        format!("{{{{ {} }}}}", "a | ".repeat(50_000)),
        format!("{{{{ a{} }}}}", ".b".repeat(100_000)),
        "{{ x }}".repeat(30_000),
        format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(20_000)),
        "{% if x %}".repeat(140) + "{{ x }}" + &"{% endif %}".repeat(140),
        format!("{{{{ {} }}}}", "[".repeat(140)),
        format!("{{{{ {{'a':{{}}}} {} 1 }}}}", "-".repeat(100_000)),
        format!("{{% raw %}}{{{{ ' {{% endraw %}}{{{{ {} 1 }}}}", "-".repeat(100_000)),
        format!("{{{{ {} }}}}", "x if x else ".repeat(20_000)),
        format!("{{{{ ) }}}} {}", "not ".repeat(50_000)),
        format!("{{{{ {} }}}}", "-".repeat(100_000)),
        format!("{{{{ {} }}}}", "1 ~ ".repeat(50_000)),
    ] {
        diagnose(says(&text).as_bytes());
    }
}

#[test]
fn many_patterns_and_large_ones_are_bounded() {
    let parameter = |n: usize| format!("  p{n}: {{type: string, pattern: \"(a{{900}}){{900}}\"}}\n");
    let source = format!("{COIN_SHOP}\nparameters:\n{}", (0..1000).map(parameter).collect::<String>());
    assert!(!diagnose(source.as_bytes()).is_empty());
    let parameter = |n: usize| format!("  p{n}: {{type: string, pattern: \"(a|b|c){{60}}x{n}\"}}\n");
    let source = format!("{COIN_SHOP}\nparameters:\n{}", (0..1000).map(parameter).collect::<String>());
    assert!(diagnose(source.as_bytes()).iter().any(|d| d.message.contains("more than 200 patterns")));
}

#[test]
fn the_largest_documents_are_read_quickly() {
    let many = |n: usize, part: &dyn Fn(usize) -> String| (0..n).map(part).collect::<String>();
    let documents = [
        format!("{COIN_SHOP}\nparameters:\n{}", many(1200, &|n| format!("  p{n}: {{type: integer, minimum: 1, default: 4}}\n"))),
        format!("{COIN_SHOP}\nparameters:\n{}", many(1200, &|n| format!("  p{n}: {{type: integer, minimum: 5, default: 4}}\n"))),
        COIN_SHOP
            .replace("{state: {", &format!("{{state: {{{}", many(1200, &|n| format!("s{n}: {{type: integer, default: 4}}, ")))),
        COIN_SHOP.replace("{set: {cash", &format!("{{set: {{{}cash", many(4000, &|n| format!("c{n}: \"state.cash + {n}\", ")))),
        COIN_SHOP
            .replace("rules: [", &format!("let: {{{}}}\n    rules: [", many(4000, &|n| format!("l{n}: state.cash * {n}.0, ")))),
        COIN_SHOP.replace(
            "rules: [",
            &format!(
                "rules: [{}",
                many(1000, &|n| format!("{{when: state.cash > {n}.0, emit: [{{say: \"{{{{ state.cash }}}}\"}}]}}, "))
            ),
        ),
        COIN_SHOP.replace(
            "metrics: {",
            &format!("metrics: {{{}", many(900, &|n| format!("m{n}: {{value: state.cash + {n}.0, at: tick, unit: USD}}, "))),
        ),
        COIN_SHOP.replace(
            "agents:\n",
            &format!(
                "agents:\n{}",
                many(1000, &|n| format!(
                    "  a{n}: {{kind: llm, instructions: \"{{{{ tick }}}}\", handoffs: [a{}]}}\n",
                    (n + 1) % 1000
                ))
            ),
        ),
        format!(
            "{}world:\n  collections:\n{}",
            COIN_SHOP.replace("world: {state: {cash: {type: number, default: 100}}}\n", ""),
            many(300, &|n| format!(
                "    c{n}: {{schema: {{type: object, properties: {{a: {{type: string, x-ref: c{n}}}, b: {{type: integer, default: 2}}}}}}, key: a, seed: {{rows: [{{a: x}}]}}}}\n"
            ))
        ),
    ];
    for document in documents {
        diagnose(document.as_bytes());
    }
}

/// A text with one thing done to it.
fn mutated(base: &str, kind: u8, at: usize, other: usize, junk: &str) -> String {
    let mut lines: Vec<String> = base.lines().map(str::to_owned).collect();
    let (a, b) = (at % lines.len(), other % lines.len());
    match kind % 8 {
        0 => drop(lines.remove(a)),
        1 => {
            let line = lines[a].clone();
            lines.insert(b, line);
        }
        2 => lines.swap(a, b),
        3 => lines[a] = junk.to_owned(),
        4 => {
            let chars: Vec<char> = lines[a].chars().collect();
            let cut = other % (chars.len() + 1);
            lines[a] = chars[..cut].iter().collect::<String>() + junk + &chars[cut..].iter().collect::<String>();
        }
        5 => {
            let words: Vec<&str> = lines[a].split(' ').collect();
            let n = other % words.len();
            lines[a] = words.iter().enumerate().map(|(i, w)| if i == n { junk } else { w }).collect::<Vec<_>>().join(" ");
        }
        6 => lines[a] = format!("{}{}", " ".repeat(other % 9), lines[a].trim_start()),
        _ => {
            let chars: Vec<char> = lines[a].chars().collect();
            let n = other % (chars.len() + 1);
            lines[a] = chars.iter().enumerate().filter(|(i, _)| *i != n).map(|(_, c)| c).collect();
        }
    }
    lines.join("\n")
}

fn junk() -> impl Strategy<Value = String> {
    let words = [
        "{{ x }}",
        "[",
        "]",
        "{",
        "}",
        ":",
        ": ",
        "- ",
        "*",
        "&a",
        "*a",
        "!!int",
        "\"",
        "'",
        "|",
        ">",
        "#",
        "\t",
        "null",
        "true",
        "-1",
        "1e308",
        "99999999999999999999",
        ".inf",
        "é\u{301}",
        "🦀",
        "\u{2028}",
        "<<: *a",
        "---",
        "...",
        "%YAML",
        "~",
        "0x",
        "P1D",
        "*/5",
        "${env:X}",
        "a.b.c",
        "x + ",
        "size(",
        "'a' + 1",
        "{% for",
        "1.",
        "\u{85}",
        "\u{0}",
        "query_",
        "tool.",
        ".",
        "",
    ];
    prop_oneof![proptest::sample::select(words.to_vec()).prop_map(str::to_owned), "\\PC{0,12}", "[ -~]{0,30}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        diagnose(&bytes);
    }

    #[test]
    fn random_text_never_panics(text in "[a-z:{}\\[\\]\\-#&*!|>'\"%@`, \n\t\r]{0,200}") {
        diagnose(text.as_bytes());
    }

    #[test]
    fn mutated_scenarios_never_panic(
        base in 0..4usize,
        changes in proptest::collection::vec((any::<u8>(), any::<u16>(), any::<u16>(), junk()), 1..4),
    ) {
        let base = [COIN_SHOP, HARBOUR, BAKERY, LENDING][base];
        let mut text = base.to_owned();
        for (kind, at, other, junk) in changes {
            if !text.trim().is_empty() {
                text = mutated(&text, kind, at.into(), other.into(), &junk);
            }
        }
        diagnose(text.as_bytes());
    }
}
