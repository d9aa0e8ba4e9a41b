//! Each output that README.md shows is what the command before it prints: `<!-- run: commedia … -->` and then a block.
//! Ids and durations are told as `RUN` and `N ms`. `COMMEDIA_BLESS=1` writes the blocks anew.

use std::path::Path;
use std::process::Command;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const MARK: &str = "<!-- run: commedia ";
const OPEN: &str = "```text\n";

/// What a command prints on standard output, with what differs from run to run taken out.
fn output(command: &str, data: &Path) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_commedia"));
    child.args(words(command)).current_dir(env!("CARGO_MANIFEST_DIR"));
    for key in ["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "ANTHROPIC_API_KEY"] {
        child.env_remove(key);
    }
    child.env("OLLAMA_HOST", "127.0.0.1:1").env("COMMEDIA_DATA", data).env("NO_COLOR", "1").env("COLUMNS", "120");
    let output = child.output().expect("starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.is_empty(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    text.trim_end().lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// The words of a command; what stands between double quotes is one.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    let of = |(n, part): (usize, &str)| match n % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    };
    parts.flat_map(of).collect()
}

fn plain(line: &str) -> String {
    let word = |word: &str| match word {
        id if id.starts_with("r_") && id.len() == 28 => "RUN".to_owned(),
        other => other.to_owned(),
    };
    let words: Vec<String> = line.split(' ').map(word).collect();
    let mut told: Vec<String> = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let unit = words.get(n + 1).map(String::as_str);
        let duration = word.parse::<f64>().is_ok() && matches!(unit, Some("ms" | "s" | "µs"));
        let after = n > 0 && matches!(word.as_str(), "ms" | "s" | "µs") && told.last().is_some_and(|w| w == "N");
        told.push(if duration {
            "N".into()
        } else if after {
            "ms".into()
        } else {
            word.clone()
        });
    }
    told.join(" ").trim_end().to_owned()
}

#[test]
fn the_readme_shows_what_is_printed() {
    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let folder = tempfile::tempdir().expect("a folder");
    let (mut made, mut rest, mut blocks) = (String::new(), page.as_str(), 0);
    while let Some(at) = rest.find(MARK) {
        let command = rest[at + MARK.len()..].split(" -->").next().expect("the mark ends");
        let open = at + rest[at..].find(OPEN).expect("a block follows") + OPEN.len();
        let close = open + rest[open..].find("\n```").expect("the block ends");
        made.push_str(&rest[..open]);
        made.push_str(&output(command, folder.path()));
        rest = &rest[close..];
        blocks += 1;
    }
    made.push_str(rest);
    assert!(blocks >= 5, "the tour shows at least five outputs, and {blocks} were found");
    if std::env::var_os("COMMEDIA_BLESS").is_some() {
        std::fs::write(PAGE, made).expect("the page can be written");
        return;
    }
    assert_eq!(page, made, "README.md shows something else than is printed: COMMEDIA_BLESS=1 writes it anew");
}
