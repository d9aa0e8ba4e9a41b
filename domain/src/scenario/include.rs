//! `include`: other files of the folder merged under the one that names them; what the including file says wins.

use super::faults::{Faults, Place, shorten};
use super::load::{FileError, Files, inside};
use super::node::{Key, Kind, Node};
use super::text;
use super::yaml::{self, Budget, MAX_BYTES};

/// Files of one document.
const MAX_INCLUDES: usize = 32;

/// Reads a document and all it includes; `None` where it cannot be read.
pub(crate) fn read(name: &str, source: &[u8], files: &dyn Files, faults: &mut Faults) -> Option<Node> {
    let own = name.rsplit(['/', '\\']).next().unwrap_or(name).to_owned();
    let mut reader = Includes { files, budget: Budget::default(), read: 0 };
    let (file, source) = text::text_of(source, name, faults);
    let text = source?;
    let root = yaml::parse(&text, file, faults, &mut reader.budget);
    match root {
        Some(root) if !empty(&root) => Some(reader.merged(root, &mut vec![own], faults)),
        _ => {
            if faults.errors() == 0 {
                let at = Place { file, span: super::syntax::span(1, 1, 1) };
                faults
                    .error(
                        "empty_file",
                        at,
                        "the file is empty: there is no document in it, nothing but comments and blank lines",
                    )
                    .help("a scenario begins with `name:`; `commedia init` writes one");
            }
            None
        }
    }
}

fn empty(node: &Node) -> bool {
    node.scalar().is_some_and(|s| s.value == super::node::Plain::Null && s.text.is_empty())
}

struct Includes<'f> {
    files: &'f dyn Files,
    budget: Budget,
    read: usize,
}

impl Includes<'_> {
    /// A root with what it includes merged under it. `stack` holds the files that lead here.
    fn merged(&mut self, mut root: Node, stack: &mut Vec<String>, faults: &mut Faults) -> Node {
        let Kind::Map(entries) = &mut root.kind else { return root };
        let Some(n) = entries.iter().position(|e| &*e.0.text == "include") else { return root };
        let (_, list) = entries.remove(n);
        let one = std::slice::from_ref(&list);
        let names = match &list.kind {
            Kind::List(items) => items.as_slice(),
            Kind::Scalar(_) => one,
            _ => &[],
        };
        if names.is_empty() && !matches!(list.kind, Kind::List(_)) {
            faults.error("wrong_type", list.at, format!("`include` must be a list of files, found {}", list.shown()));
        }
        let mut base: Option<Node> = None;
        for name in names {
            if let Some(included) = self.one(name, stack, faults) {
                base = Some(match base {
                    Some(below) => merge(below, included),
                    None => included,
                });
            }
        }
        match base {
            Some(below) => merge(below, root),
            None => root,
        }
    }

    fn one(&mut self, name: &Node, stack: &mut Vec<String>, faults: &mut Faults) -> Option<Node> {
        let at = name.at;
        let Some(text) = name.as_text().filter(|t| !t.trim().is_empty()) else {
            faults.error("wrong_type", at, format!("`include` lists files of this folder, found {}", name.shown()));
            return None;
        };
        let Some(path) = inside(text) else {
            let message = format!("`{}` leads out of the scenario's folder", shorten(text));
            faults.error("bad_path", at, message).help("paths are relative to the scenario file");
            return None;
        };
        if stack.contains(&path) {
            let way: Vec<&str> = stack.iter().map(String::as_str).chain([path.as_str()]).collect();
            let message = match stack.len() {
                1 => format!("`{path}` includes itself: a cycle"),
                _ => format!("`{path}` includes itself through others, a cycle: {}", way.join(" → ")),
            };
            faults.error("include_cycle", at, message).help("remove it from `include`");
            return None;
        }
        self.read += 1;
        if self.read > MAX_INCLUDES {
            faults.error("too_many_includes", at, format!("more than {MAX_INCLUDES} files are included"));
            return None;
        }
        let bytes = match self.files.read(&path) {
            Ok(bytes) => bytes,
            Err(FileError::NotFound) => {
                let message = format!("the included file `{}` is not found: it does not exist", shorten(text));
                faults.error("include_missing", at, message).help("paths are relative to the scenario file");
                return None;
            }
            Err(e) => {
                faults.error("file_unreadable", at, format!("the included file `{}` cannot be read: {e}", shorten(text)));
                return None;
            }
        };
        if bytes.len() > MAX_BYTES {
            faults.error("too_large", at, format!("the included file `{}` is larger than 1 MiB", shorten(text)));
            return None;
        }
        let (file, source) = text::text_of(&bytes, &path, faults);
        let root = yaml::parse(&source?, file, faults, &mut self.budget)?;
        if empty(&root) {
            return None;
        }
        if !matches!(root.kind, Kind::Map(_)) {
            faults.error("wrong_type", root.at, format!("an included file must be a map of fields, found {}", root.shown()));
            return None;
        }
        stack.push(path);
        let merged = self.merged(root, stack, faults);
        stack.pop();
        Some(merged)
    }
}

/// `above` over `below`: maps entry by entry, everything else as a whole.
fn merge(below: Node, above: Node) -> Node {
    match (below.kind, above.kind) {
        (Kind::Map(mut entries), Kind::Map(more)) => {
            for (key, value) in more {
                let same = |e: &(Key, Node)| e.0.text == key.text;
                match entries.iter().position(same) {
                    Some(n) => {
                        let old = std::mem::replace(&mut entries[n].1, Node::broken(value.at));
                        entries[n] = (key, merge(old, value));
                    }
                    None => entries.push((key, value)),
                }
            }
            Node { at: above.at, key_at: above.key_at, kind: Kind::Map(entries) }
        }
        (_, kind) => Node { at: above.at, key_at: above.key_at, kind },
    }
}
