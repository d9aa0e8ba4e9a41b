//! Keeps the house in order: the code map, the homes of libraries, the fences, the decisions, the links. Reads text only:
//! no crate of the workspace is built for it, and it says all it finds at once.
//!
//! The lists it compares with stand in docs/architecture.md and docs/events.md, so that a change is made in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Command 2 of the README; `.ci/run` runs the same one.
const TEST_COMMAND: &str = "cargo test --workspace";
/// Command 1 of the README.
const RUN_COMMAND: &str = "cargo run --release -- run retail-season";
/// Folders of sources, each a crate's.
const SOURCES: [&str; 3] = ["src", "actors/src", "domain/src"];
/// Lines of code that a file may have; tests, comments and empty lines are not counted.
const LONGEST_FILE: usize = 600;
/// Lines of `//!` a file opens with at most; a crate's own page may be longer.
const LONGEST_OPENING: usize = 8;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Files below a folder whose names end so, as paths from the root with `/`; hidden folders and `target` aside.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(at) = folders.pop() {
        let Ok(entries) = fs::read_dir(&at) else { continue };
        for path in entries.map(|e| e.expect("a readable folder").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match path.is_dir() {
                true if name.starts_with('.') || name == "target" => {}
                true => folders.push(path),
                false if name.ends_with(ending) => found.push(from_root(&path)),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn from_root(path: &Path) -> String {
    let relative = path.strip_prefix(root()).expect("below the root");
    relative.to_string_lossy().replace('\\', "/")
}

fn sources() -> Vec<String> {
    SOURCES.iter().flat_map(|folder| files(folder, ".rs")).collect()
}

fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs"))
}

/// A source without the module of tests at its end.
fn without_tests(text: &str) -> &str {
    let mut at = 0;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (n, line) in lines.iter().enumerate() {
        let module = || lines[n + 1..].iter().find(|l| !l.trim_start().starts_with("#["));
        if line.trim() == "#[cfg(test)]" && module().is_some_and(|m| m.starts_with("mod ") && m.trim_end().ends_with('{')) {
            return &text[..at];
        }
        at += line.len();
    }
    text
}

/// The lines of a source that are neither comment nor empty, numbered from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, l)| !l.trim().is_empty() && !l.trim_start().starts_with("//"))
}

/// The rows of the tables under a heading: the cells of each, trimmed.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let level = heading.chars().take_while(|c| *c == '#').count();
    let ends = |l: &str| l.starts_with('#') && l.chars().take_while(|c| *c == '#').count() <= level;
    let mut lines = page.lines().skip_while(|l| l.trim_end() != heading);
    assert!(lines.next().is_some(), "the page has no heading `{heading}`");
    let table = lines.take_while(|l| !ends(l)).filter(|l| l.starts_with("| `"));
    table.map(|l| l.trim().trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect()).collect()
}

/// What stands in backquotes in a cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an entry covers a file: it names it, or a folder above it.
fn covers(entry: &str, file: &str) -> bool {
    entry == file || (entry.ends_with('/') && file.starts_with(entry))
}

fn tell(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_code_map_names_every_source_and_nothing_else() {
    let entries: Vec<String> =
        rows(&read("docs/architecture.md"), "## The code map").iter().flat_map(|row| quoted(&row[0])).collect();
    let mut faults = Vec::new();
    for entry in &entries {
        if !root().join(entry).exists() {
            faults.push(format!("docs/architecture.md lists `{entry}`, which is not there"));
        }
        if entries.iter().filter(|e| *e == entry).count() > 1 {
            faults.push(format!("docs/architecture.md lists `{entry}` twice"));
        }
    }
    for file in sources() {
        if !entries.iter().any(|entry| covers(entry, &file)) {
            faults.push(format!("docs/architecture.md does not say what `{file}` is for"));
        }
    }
    tell(&faults);
}

/// The ordinary dependencies of a manifest, as they are named there.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            found.extend(Some(name).filter(|n| !n.is_empty() && !n.starts_with("commedia")).map(str::to_owned));
        }
    }
    found
}

/// Whether a line of code names a library: `lib::…`, `::lib::…` or `use lib;`, but not `of_ours::lib::…`.
fn names(line: &str, library: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(library).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + library.len()..]);
        let path = before.strip_suffix("::").is_none_or(|b| !b.ends_with(|c: char| word(c) || c == '>'));
        let starts = !before.ends_with(word) && path;
        let import = before.trim_start().trim_start_matches("pub ") == "use " && after.starts_with([';', ' ']);
        starts && (after.starts_with("::") || import)
    })
}

#[test]
fn each_library_stays_in_its_home() {
    let homes: BTreeMap<String, Vec<String>> = rows(&read("docs/architecture.md"), "## Homes of the libraries")
        .iter()
        .flat_map(|row| quoted(&row[0]).into_iter().map(|library| (library, quoted(&row[1]))))
        .collect();
    let declared: BTreeSet<String> =
        ["Cargo.toml", "actors/Cargo.toml", "domain/Cargo.toml"].iter().flat_map(|m| dependencies(&read(m))).collect();
    let mut faults = Vec::new();
    for library in &declared {
        if !homes.contains_key(library) {
            faults.push(format!("docs/architecture.md names no home of the library `{library}`"));
        }
    }
    for (library, homes) in &homes {
        if !declared.contains(library) {
            faults.push(format!("docs/architecture.md names a home of `{library}`, which no manifest asks for"));
        }
        for home in homes.iter().filter(|home| !root().join(home).exists()) {
            faults.push(format!("the home of `{library}`, `{home}`, is not there"));
        }
    }
    for file in sources().iter().filter(|file| !is_test_file(file)) {
        let text = read(file);
        for (n, line) in code(without_tests(&text)) {
            for (library, homes) in &homes {
                if names(line, &library.replace('-', "_")) && !homes.iter().any(|home| covers(home, file)) {
                    faults.push(format!("{file}:{n}: `{library}` is used outside its home {}", homes.join(", ")));
                }
            }
        }
    }
    tell(&faults);
}

/// Tells where sources below a folder hold one of some words outside of tests.
fn forbid(folder: &str, words: &[&str], except: &[&str], why: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files(folder, ".rs").iter().filter(|f| !is_test_file(f) && !except.contains(&f.as_str())) {
        let text = read(file);
        for (n, line) in code(without_tests(&text)) {
            for word in words.iter().filter(|word| line.contains(*word)) {
                faults.push(format!("{file}:{n}: `{word}`: {why}"));
            }
        }
    }
    faults
}

#[test]
fn fences_hold() {
    let outside = [
        "std::fs",
        "std::env",
        "std::net",
        "std::process",
        "std::thread",
        "SystemTime",
        "Instant::now",
        "stdin()",
        "stdout()",
        "stderr()",
        "println!",
        "eprintln!",
        "OsRng",
        "thread_rng",
        "RandomState",
        "tokio::",
    ];
    let mut faults = forbid("domain/src", &outside, &[], "the domain reads no clock, no file, no chance, and waits for nothing");
    faults.extend(forbid("domain/src", &["commedia_actors", "commedia::"], &[], "imports go down only"));
    faults.extend(forbid("actors/src", &["commedia::", "std::env"], &[], "only src/ knows argv and the environment"));
    faults.extend(forbid("actors/src", &["SystemTime::now"], &["actors/src/clock.rs"], "the wall clock is read in one place"));
    tell(&faults);
}

/// The sections of a manifest: header and lines.
fn sections(manifest: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            found.push((line.trim_matches(['[', ']']), Vec::new()));
        } else if let Some((_, lines)) = found.last_mut() {
            lines.push(line);
        }
    }
    found
}

/// The profiles of a manifest that may not unwind.
fn not_unwinding(manifest: &str) -> Vec<String> {
    let profiles: BTreeMap<&str, Vec<&str>> = (sections(manifest).into_iter())
        .filter_map(|(name, lines)| Some((name.strip_prefix("profile.")?, lines)))
        .filter(|(name, _)| !name.contains('.'))
        .collect();
    let value = |name: &str, key: &str| {
        let line = profiles.get(name)?.iter().find(|l| l.split('=').next().unwrap_or_default().trim() == key)?;
        line.split('"').nth(1).map(str::to_owned)
    };
    let unwinds = |name: &str| {
        let mut name = name.to_owned();
        loop {
            match (value(&name, "panic"), value(&name, "inherits")) {
                (Some(panic), _) => return panic == "unwind",
                (None, Some(parent)) if parent != name => name = parent,
                (None, _) => return false,
            }
        }
    };
    let all = profiles.keys().copied().chain(["dev", "release"]).collect::<BTreeSet<_>>();
    all.into_iter().filter(|name| !unwinds(name)).map(str::to_owned).collect()
}

/// Supervision depends on unwinding: a profile that aborts would let one agent's panic end the process.
#[test]
fn panics_unwind_in_every_profile() {
    assert_eq!(not_unwinding(&read("Cargo.toml")), Vec::<String>::new());
    for manifest in ["actors/Cargo.toml", "domain/Cargo.toml"] {
        assert!(!read(manifest).contains("[profile"), "{manifest}: profiles stand in the workspace's manifest");
    }
    for config in [".cargo/config.toml", ".cargo/config"] {
        let text = fs::read_to_string(root().join(config)).unwrap_or_default();
        assert!(!text.contains("panic"), "{config} changes how panics end");
    }
}

#[test]
fn decisions_are_numbered_and_whole() {
    let pages = files("docs/adr", ".md");
    let mut faults = Vec::new();
    for (n, page) in (1..).zip(&pages) {
        let name = page.trim_start_matches("docs/adr/");
        if !name.starts_with(&format!("{n:03}-")) {
            faults.push(format!("{page} stands where number {n:03} belongs"));
        }
        let text = read(page);
        if !text.starts_with(&format!("# {n:03}. ")) {
            faults.push(format!("{page} does not begin with `# {n:03}. ` and its title"));
        }
        for part in ["\n## Context\n", "\n## Decision\n", "\n## Consequences\n", "\n## Alternatives\n"] {
            if !text.contains(part) {
                faults.push(format!("{page} has no part `{}`", part.trim()));
            }
        }
    }
    assert!(!pages.is_empty(), "there are no decisions");
    tell(&faults);
}

/// The commands of a page: the lines of its shell blocks, without what is said behind them.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            found.push(line.split(" #").next().unwrap_or_default().trim().to_owned());
        }
    }
    found
}

#[test]
fn the_readme_says_what_it_is_and_how_to_start() {
    let readme = read("README.md");
    let first = readme.lines().next().unwrap_or_default();
    assert!(first.starts_with("# commedia: ") && first.contains("simulation runtime"), "README.md begins with `{first}`");
    assert_eq!(commands(&readme)[..2], [RUN_COMMAND, TEST_COMMAND]);
    let ci = read(".ci/run");
    assert!(ci.lines().any(|l| l.contains(TEST_COMMAND)), ".ci/run does not run `{TEST_COMMAND}`");
}

#[cfg(unix)]
#[test]
fn ci_can_be_started() {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(root().join(".ci/run")).expect(".ci/run is there").permissions().mode();
    assert_eq!(mode & 0o111, 0o111, ".ci/run is not executable");
}

/// A test may be left to a special call only with words that say why; a source never.
#[test]
fn nothing_is_left_undone() {
    let everywhere = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[", "ignore]"),
        concat!("#[", "allow("),
        concat!("#![", "allow("),
    ];
    let in_sources = concat!("#[", "ignore");
    let tests = ["tests", "benches", "actors/tests", "domain/tests"].iter().flat_map(|folder| files(folder, ".rs"));
    let all = sources().into_iter().map(|file| (file.clone(), !is_test_file(&file))).chain(tests.map(|file| (file, false)));
    let mut faults = Vec::new();
    for (file, source) in all {
        for (n, line) in (1..).zip(read(&file).lines()) {
            for word in everywhere.iter().chain(Some(&in_sources).filter(|_| source)).filter(|word| line.contains(**word)) {
                faults.push(format!("{file}:{n}: `{word}`"));
            }
        }
    }
    tell(&faults);
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut faults = Vec::new();
    for file in sources() {
        let text = read(&file);
        let opening = text.lines().filter(|l| l.starts_with("//!")).count();
        let page = file.ends_with("/lib.rs") || file == "src/lib.rs";
        if !text.starts_with("//!") {
            faults.push(format!("{file} does not begin with what it is for (`//!`)"));
        } else if opening > LONGEST_OPENING && !page {
            faults.push(format!("{file} begins with {opening} lines; {LONGEST_OPENING} are enough"));
        }
        let length = if is_test_file(&file) { 0 } else { code(without_tests(&text)).count() };
        if length > LONGEST_FILE {
            faults.push(format!("{file} has {length} lines of code without its tests; the bound is {LONGEST_FILE}"));
        }
    }
    tell(&faults);
}

/// The variants a text names, each with what stands behind it up to the next one.
fn variants(text: &str) -> impl Iterator<Item = (String, &str)> {
    let ident = |part: &str| part.chars().take_while(char::is_ascii_alphanumeric).collect();
    text.split("Event::").skip(1).map(move |part| (ident(part), part))
}

/// The events of domain/src/event.rs: name, and whether it is operational.
fn events(source: &str) -> BTreeMap<String, bool> {
    let body = |function: &str| {
        let from = source.find(function).unwrap_or_else(|| panic!("event.rs has no `{function}`"));
        source[from..].split("\n    }\n").next().unwrap_or_default()
    };
    let lanes = body("fn lane(&self)").split("=> Lane::Operational").next().unwrap_or_default();
    let operational: BTreeSet<String> = variants(lanes).map(|(name, _)| name).collect();
    let named = variants(body("fn name(&self)"));
    named.filter_map(|(ident, rest)| Some((rest.split('"').nth(1)?.to_owned(), operational.contains(&ident)))).collect()
}

#[test]
fn the_table_of_events_is_complete() {
    let events = events(&read("domain/src/event.rs"));
    assert!(events.len() > 20, "event.rs is read wrongly: {events:?}");
    let mut told = BTreeMap::new();
    for row in rows(&read("docs/events.md"), "## Stored events") {
        told.extend(quoted(&row[0]).into_iter().map(|name| (name, row[1] == "operational")));
    }
    let said = |lane: Option<&bool>| match lane {
        None => "not there",
        Some(true) => "operational",
        Some(false) => "canonical",
    };
    let names: BTreeSet<&String> = events.keys().chain(told.keys()).collect();
    let faults: Vec<String> = (names.into_iter())
        .filter(|name| events.get(*name) != told.get(*name))
        .map(|name| {
            let (code, page) = (said(events.get(name)), said(told.get(name)));
            format!("`{name}` is {code} in domain/src/event.rs and {page} in docs/events.md")
        })
        .collect();
    tell(&faults);
}

/// The texts in double quotes of a source, with `\"` and `\\` resolved.
fn texts(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut text: Option<String> = None;
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        match (&mut text, c) {
            (None, '"') => text = Some(String::new()),
            (Some(_), '"') => found.extend(text.take()),
            (Some(text), '\\') => text.extend(chars.next()),
            (Some(text), c) => text.push(c),
            (None, _) => {}
        }
    }
    found
}

/// Signature and meaning of each function of domain/src/expression/functions.rs.
fn functions(source: &str) -> Vec<(String, String)> {
    let table = source.split_once("pub const FUNCTIONS").map_or("", |(_, rest)| rest.split("\n];").next().unwrap_or_default());
    let entries = table.split("\n    f(").skip(1).filter_map(|entry| {
        let meaning = entry.split_once(".is(").map(|(_, rest)| texts(rest))?;
        Some((texts(entry).into_iter().nth(1)?, meaning.into_iter().next()?))
    });
    entries.collect()
}

#[test]
fn the_page_of_functions_is_complete() {
    let functions = functions(&read("domain/src/expression/functions.rs"));
    assert!(functions.len() > 50, "functions.rs is read wrongly: {functions:?}");
    let page = read("docs/functions.md");
    let listed = rows(&page, "## Functions").len();
    assert_eq!(listed, functions.len(), "docs/functions.md lists {listed} functions; there are {}", functions.len());
    let faults: Vec<String> = (functions.iter())
        .filter(|(signature, meaning)| !page.contains(&format!("| `{signature}` | {meaning} |")))
        .map(|(signature, meaning)| format!("docs/functions.md lacks: | `{signature}` | {meaning} |"))
        .collect();
    tell(&faults);
}

/// Where the links of a page lead, without places on the web and within the page.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|t| !t.contains("://") && !t.starts_with('#') && !t.starts_with("mailto:"));
    local.map(|t| t.split('#').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for page in files("docs", ".md").into_iter().chain(["README.md".to_owned()]) {
        let folder: PathBuf = root().join(&page).parent().expect("a file has a folder").to_owned();
        for link in links(&read(&page)).iter().filter(|link| !folder.join(link).exists()) {
            faults.push(format!("{page} links to `{link}`, which is not there"));
        }
    }
    tell(&faults);
}

/// The rules above must be able to fail.
#[test]
fn the_rules_see_what_they_look_for() {
    for (line, library, expect) in [
        ("use sled::Db;", "sled", true),
        ("    db: ::sled::Db,", "sled", true),
        ("let x = Some(sled::open(p));", "sled", true),
        ("use regex;", "regex", true),
        ("use regex as re;", "regex", true),
        ("use super::sled::SledEngine;", "sled", false),
        ("let unsled::x = 1;", "sled", false),
        ("mod sled;", "sled", false),
        ("let regex = regex;", "regex", false),
    ] {
        assert_eq!(names(line, library), expect, "{line}");
    }
    assert_eq!(
        without_tests("a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod tests {\n}\n"),
        "a\n#[cfg(test)]\nmod tests;\nb\n"
    );
    assert_eq!(code("a\n\n  // b\n/// c\nd // e").map(|(n, _)| n).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(dependencies("[dependencies]\na.workspace = true\nb-c = \"1\"\n# d\n[dev-dependencies]\ne = \"1\""), ["a", "b-c"]);
    for (manifest, expect) in [
        ("[profile.dev]\npanic = \"unwind\"\n[profile.release]\npanic = \"abort\"", &["release"][..]),
        ("[profile.dev]\npanic = \"unwind\"\n[profile.dev.package.\"*\"]\ndebug = false", &["release"]),
        (
            "[profile.dev]\npanic = \"unwind\"\n[profile.release]\npanic = \"unwind\"\n[profile.bench]\ninherits = \"release\"",
            &[],
        ),
        ("[profile.dev]\npanic = \"unwind\"\n[profile.release]\npanic = \"unwind\"\n[profile.ci]\nlto = false", &["ci"]),
    ] {
        assert_eq!(not_unwinding(manifest), expect, "{manifest}");
    }
    let page = "# t\n## A\n| `x` `y/` | b |\n### deeper\n| `z` | c |\n## B\n| `w` | d |\n";
    let found: Vec<String> = rows(page, "## A").iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(found, ["x", "y/", "z"]);
    assert!(covers("a/b/", "a/b/c.rs") && covers("a.rs", "a.rs") && !covers("a/b", "a/b/c.rs") && !covers("a/", "ab.rs"));
    assert_eq!(links("[a](b.md#c) [d](https://e) [f](#g)"), ["b.md"]);
    assert_eq!(commands("```sh\na b   # c\nd\n```\n```yaml\ne: f\n```\n"), ["a b", "d"]);
    let table = "pub const FUNCTIONS: &[F] = &[\n    // a\n    f(\"g\", \"g(x)\", r).from(C)\n        .is(\"Says \\\"x\\\".\", &[]),\n];\n";
    assert_eq!(functions(table), [("g(x)".to_owned(), "Says \"x\".".to_owned())]);
    let source = "fn lane(&self) {\n match self {\n Event::A\n | Event::B { .. } => Lane::Operational,\n _ => C }\n    }\n\
                  fn name(&self) {\n Event::A => \"a.x\",\n Event::B { .. } => \"b.x\", Event::D(_) => \"d.x\",\n    }\n";
    assert_eq!(events(source), BTreeMap::from([("a.x".into(), true), ("b.x".into(), true), ("d.x".into(), false)]));
}
