//! How the program speaks: data on standard output, everything else on standard error.
//!
//! A reader that went away (`| head`) is no error: what is left is dropped and the command goes on to its exit code.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value as Json;

/// The form in which data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON value per line.
    Jsonl,
    /// One YAML document.
    Yaml,
}

/// The two streams, and how much is said on them.
#[derive(Debug)]
pub struct Console {
    /// The form of data.
    pub format: Format,
    /// Only data and errors.
    pub quiet: bool,
    /// Whether standard output takes colours.
    pub colour: bool,
    /// Whether standard error takes colours.
    pub colour_err: bool,
    /// Whether standard error is a terminal that can move its cursor.
    pub terminal: bool,
    gone: AtomicBool,
}

impl Console {
    /// Looks at the streams and at `NO_COLOR`, `CLICOLOR_FORCE` and `TERM`.
    pub fn new(format: Format, quiet: bool) -> Console {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty() && v != "0");
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let colour = |terminal: bool| !set("NO_COLOR") && (set("CLICOLOR_FORCE") || (terminal && !dumb));
        Console {
            format,
            quiet,
            colour: colour(io::stdout().is_terminal()),
            colour_err: colour(io::stderr().is_terminal()),
            terminal: io::stderr().is_terminal() && !dumb,
            gone: AtomicBool::new(false),
        }
    }

    /// Whether nobody reads standard output any more.
    pub fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Data, as it is.
    pub fn print(&self, text: &str) {
        if self.gone() {
            return;
        }
        let mut out = io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            self.gone.store(true, Ordering::Relaxed);
        }
    }

    /// A line of data.
    pub fn line(&self, text: &str) {
        self.print(&format!("{text}\n"));
    }

    /// A document in the asked form; `table` is called for people only. As JSON lines it is one line.
    pub fn document(&self, json: &Json, table: impl FnOnce() -> String) {
        match self.format {
            Format::Table => self.print(&table()),
            Format::Json => self.line(&pretty(json)),
            Format::Jsonl => self.line(&json.to_string()),
            Format::Yaml => self.print(&yaml(json)),
        }
    }

    /// A list in the asked form: JSON lines are its items, the other forms the whole document.
    pub fn list(&self, json: &Json, items: &[Json], table: impl FnOnce() -> String) {
        if self.format == Format::Jsonl {
            items.iter().for_each(|item| self.line(&item.to_string()));
        } else {
            self.document(json, table);
        }
    }

    /// The same streams once more.
    pub fn again(&self) -> Console {
        Console { gone: AtomicBool::new(false), ..*self }
    }

    /// A remark for people, on standard error; nothing with `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }
}

/// A line on standard error. That nobody reads it is no fault.
pub fn say(text: &str) {
    let mut err = io::stderr().lock();
    drop(writeln!(err, "{text}").and_then(|()| err.flush()));
}

/// JSON with two blanks of indent.
pub fn pretty(json: &Json) -> String {
    serde_json::to_string_pretty(json).expect("a JSON value has text keys only and always encodes")
}

/// Block-style YAML 1.2; text that could be read as anything else is quoted as in JSON, which YAML includes.
pub fn yaml(json: &Json) -> String {
    let mut out = String::new();
    match json {
        Json::Object(fields) if !fields.is_empty() => fields_yaml(fields, 0, &mut out),
        Json::Array(items) if !items.is_empty() => items_yaml(items, 0, &mut out),
        scalar => {
            out.push_str(&scalar_yaml(scalar));
            out.push('\n');
        }
    }
    out
}

fn fields_yaml(fields: &serde_json::Map<String, Json>, depth: usize, out: &mut String) {
    for (n, (key, value)) in fields.iter().enumerate() {
        // The first key of a list's item stands behind its dash.
        if n > 0 || !out.ends_with("- ") {
            out.push_str(&"  ".repeat(depth));
        }
        out.push_str(&text_yaml(key));
        out.push(':');
        below_yaml(value, depth, out);
    }
}

fn items_yaml(items: &[Json], depth: usize, out: &mut String) {
    for (n, item) in items.iter().enumerate() {
        if n > 0 || !out.ends_with("- ") {
            out.push_str(&"  ".repeat(depth));
        }
        out.push_str("- ");
        match item {
            Json::Object(fields) if !fields.is_empty() => fields_yaml(fields, depth + 1, out),
            Json::Array(inner) if !inner.is_empty() => items_yaml(inner, depth + 1, out),
            scalar => {
                out.push_str(&scalar_yaml(scalar));
                out.push('\n');
            }
        }
    }
}

fn below_yaml(value: &Json, depth: usize, out: &mut String) {
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            fields_yaml(fields, depth + 1, out);
        }
        Json::Array(items) if !items.is_empty() => {
            out.push('\n');
            items_yaml(items, depth + 1, out);
        }
        scalar => {
            out.push(' ');
            out.push_str(&scalar_yaml(scalar));
            out.push('\n');
        }
    }
}

fn scalar_yaml(scalar: &Json) -> String {
    match scalar {
        Json::String(text) => text_yaml(text),
        other => other.to_string(),
    }
}

fn text_yaml(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+');
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if word && text.chars().all(plain) && !reserved.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        Json::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_says_what_json_says() {
        let check = |json: Json, expect: &str| assert_eq!(yaml(&json), expect);
        check(json!({"a": 1, "b": {"c": [1, "x y"]}}), "a: 1\nb:\n  c:\n    - 1\n    - \"x y\"\n");
        check(json!([{"a": 1, "b": 2}, [1, [2]], []]), "- a: 1\n  b: 2\n- - 1\n  - - 2\n- []\n");
        check(json!({"yes": "on", "12": "12", "n": null, "e": {}}), "\"yes\": \"on\"\n\"12\": \"12\"\n\"n\": null\ne: {}\n");
        check(json!("two\nlines"), "\"two\\nlines\"\n");
    }
}
