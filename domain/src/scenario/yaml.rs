//! YAML text into nodes with places, within bounds. The only home of `saphyr-parser`.
//!
//! What is bounded: bytes, nesting, nodes after aliases. Nothing here recurses over the input.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::faults::{Faults, Place, shorten};
use super::node::{Key, Kind, Node, Plain, Scalar, Style, resolve};
use super::syntax;
use super::text::is_control;
use crate::diagnostic::Span;

/// Bytes of one document.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Levels of lists and maps.
pub(crate) const MAX_DEPTH: usize = 64;
/// Keys, scalars, lists and maps, aliases counted as what they stand for.
pub(crate) const MAX_NODES: usize = 10_000;
/// How often a text is mended and read again to find further faults.
const MAX_REPAIRS: usize = 32;
/// What is left of the bounds, over all files of a document.
#[derive(Debug)]
pub(crate) struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { nodes: MAX_NODES, bytes: MAX_BYTES }
    }
}

/// The document of a text; `None` where it cannot be read at all. All faults are in `faults`.
pub(crate) fn parse(text: &str, file: u16, faults: &mut Faults, budget: &mut Budget) -> Option<Node> {
    let mut text: Cow<'_, str> = text.into();
    for _ in 0..MAX_REPAIRS {
        let (nodes, bytes) = (budget.nodes, budget.bytes);
        let before = faults.errors();
        match Reader::new(&text, file, faults, budget).run() {
            Ok(root) => return root,
            Err(Stop::Fatal) => return None,
            Err(Stop::Syntax(error, open)) => {
                let lines = syntax::lines(&text);
                match syntax::unquoted_near(&lines, error.marker().line()) {
                    // A second fault that stands behind the first one is told too: the text is mended and read again.
                    Some(found) => {
                        text = tell_unquoted(&text, found, file, faults).into();
                        (budget.nodes, budget.bytes) = (nodes, bytes);
                    }
                    None => {
                        syntax::explain(&lines, &error, open, file, faults);
                        return None;
                    }
                }
            }
            Err(Stop::Unquoted(line)) => {
                let Some(found) = syntax::unquoted_near(&syntax::lines(&text), line as usize) else {
                    let at = Place { file, span: syntax::span(line, 1, 1) };
                    faults.error("complex_key", at, "a list or a map cannot be a key here").help("keys are words");
                    return None;
                };
                text = tell_unquoted(&text, found, file, faults).into();
                (budget.nodes, budget.bytes) = (nodes, bytes);
            }
        }
        debug_assert!(faults.errors() > before, "a text that is read again has a fault");
    }
    None
}

/// Tells of `{{ … }}` without quotes and puts plain text of the same length in its place.
fn tell_unquoted(text: &str, found: syntax::Unquoted, file: u16, faults: &mut Faults) -> String {
    let lines = syntax::lines(text);
    let line = lines.get(found.line - 1).copied().unwrap_or_default();
    let shown: String = line.chars().skip(found.from).take(found.length).collect();
    let at = Place { file, span: syntax::span(found.line as u32, found.from as u32 + 1, found.length as u32) };
    faults
        .error("template_unquoted", at, format!("a value with `{{{{ … }}}}` must stand in quotes here: `{}`", shorten(&shown)))
        .label("YAML reads `{` as the start of a map")
        .help("put the whole value in quotes: \"{{ … }} …\"");
    faults.mute(at);
    let byte_of = |chars: usize| line.char_indices().nth(chars).map_or(line.len(), |c| c.0);
    let (from, to) = (byte_of(found.from), byte_of(found.from + found.length));
    let start = line.as_ptr() as usize - text.as_ptr() as usize;
    format!("{}{}{}", &text[..start + from], "x".repeat(found.length), &text[start + to..])
}

enum Stop {
    /// Told; nothing can be read.
    Fatal,
    /// The parser stopped; the innermost list or map that was open, and whether it is written in brackets.
    Syntax(ScanError, Option<(Place, bool)>),
    /// `{{ … }}` without quotes was read as a map, in this line.
    Unquoted(u32),
}

struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

struct Frame {
    at: Place,
    anchor: usize,
    content: Content,
    /// Whether it is written in brackets.
    flow: bool,
    /// Counts at the start, for what an alias of it costs.
    nodes: usize,
    bytes: usize,
    deepest: usize,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, seen: HashMap<Arc<str>, Place>, key: Option<(Key, bool)> },
}

struct Reader<'t, 'f> {
    parser: Parser<'t, StrInput<'t>>,
    lines: Vec<&'t str>,
    file: u16,
    faults: &'f mut Faults,
    budget: &'f mut Budget,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    /// Nodes kept for aliases; bounded too.
    kept: usize,
    root: Option<Node>,
}

impl<'t, 'f> Reader<'t, 'f> {
    fn new(text: &'t str, file: u16, faults: &'f mut Faults, budget: &'f mut Budget) -> Self {
        let parser = Parser::new_from_str(text);
        let lines = syntax::lines(text);
        Reader { parser, lines, file, faults, budget, stack: Vec::new(), anchors: HashMap::new(), kept: 0, root: None }
    }

    fn run(mut self) -> Result<Option<Node>, Stop> {
        let mut documents = 0;
        while let Some(event) = self.parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(e) => return Err(Stop::Syntax(e, self.stack.last().map(|f| (f.at, f.flow)))),
            };
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let at = self.place(&span);
                        self.faults
                            .error("several_documents", at, "a second document begins here; a scenario is one document")
                            .help("put it into a file of its own");
                        return Err(Stop::Fatal);
                    }
                }
                Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), &span)?,
                Event::SequenceStart(anchor, tag) => self.open(false, anchor, tag.as_deref(), &span)?,
                Event::MappingStart(anchor, tag) => self.open(true, anchor, tag.as_deref(), &span)?,
                Event::SequenceEnd | Event::MappingEnd => self.close(&span)?,
                Event::Alias(anchor) => self.alias(anchor, &span)?,
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => {}
            }
        }
        Ok(self.root)
    }

    fn place(&self, span: &saphyr_parser::Span) -> Place {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (line, column) = (number(span.start.line()), number(span.start.col() + 1));
        let (mut end_line, mut end_column) = (number(span.end.line()), number(span.end.col()));
        while end_line > line && end_column == 0 {
            end_line -= 1;
            end_column = self.lines.get(end_line as usize - 1).map_or(1, |l| number(l.chars().count()));
        }
        if end_line == line {
            end_column = end_column.max(column);
        }
        Place { file: self.file, span: Span { line, column, end_line, end_column } }
    }

    fn spend(&mut self, nodes: usize, bytes: usize, at: Place) -> Result<(), Stop> {
        if nodes > self.budget.nodes {
            self.faults
                .error(
                    "too_many_nodes",
                    at,
                    format!("the document has more than {MAX_NODES} nodes, aliases counted as what they stand for"),
                )
                .help("put rows into a CSV file, and fewer aliases within aliases");
            return Err(Stop::Fatal);
        }
        if bytes > self.budget.bytes {
            self.faults.error("too_large", at, "the document is larger than 1 MiB once its aliases are written out");
            return Err(Stop::Fatal);
        }
        self.budget.nodes -= nodes;
        self.budget.bytes -= bytes;
        Ok(())
    }

    fn tag(&mut self, tag: Option<&Tag>, at: Place, allowed: &[&str]) -> Option<String> {
        let tag = tag?;
        if tag.is_yaml_core_schema() && allowed.contains(&tag.suffix.as_str()) {
            return Some(tag.suffix.clone());
        }
        if tag.handle.is_empty() && tag.suffix == "!" {
            return Some("str".into());
        }
        let shown = if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() };
        self.faults
            .error("unknown_tag", at, format!("the tag `{}` means nothing here", shorten(&shown)))
            .help("leave it out; quotes make a text of anything");
        None
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: &saphyr_parser::Span,
    ) -> Result<(), Stop> {
        let mut at = self.place(span);
        let is_key = self.stack.last().is_some_and(|f| matches!(&f.content, Content::Map { key: None, .. }));
        if text.is_empty() && style == ScalarStyle::Plain && !is_key {
            // An absent value stands nowhere: point at its key.
            if let Some(Frame { content: Content::Map { key: Some((key, _)), .. }, .. }) = self.stack.last() {
                at = key.at;
            }
        }
        self.spend(1, text.len(), at)?;
        let tag = self.tag(tag, at, &["str", "int", "float", "bool", "null"]);
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        if let Some(c) = text.chars().find(|c| is_control(*c)) {
            let message = format!("the text holds a control character (U+{:04X})", u32::from(c));
            self.faults.error("control_character", at, message).help("leave the escape out");
        }
        // Keys are words, whatever they look like.
        let plain = style == Style::Plain && tag.is_none() && !is_key;
        let tag = tag.filter(|t| t != "str" && !is_key);
        let resolved = if plain || tag.is_some() { self.resolved(text, at) } else { Some(Plain::Text) };
        let Some(mut value) = resolved else { return self.attach(Node::broken(at)) };
        if let Some(tag) = tag {
            let fits = match value {
                Plain::Null => tag == "null",
                Plain::Bool(_) => tag == "bool",
                Plain::Int(i) => {
                    if tag == "float" {
                        value = Plain::Float(i as f64);
                    }
                    tag == "int" || tag == "float"
                }
                Plain::Float(_) => tag == "float",
                Plain::Text => false,
            };
            if !fits {
                self.faults.error("bad_tag", at, format!("`{}` is no `!!{tag}`", shorten(text)));
            }
        }
        let node = Node { at, key_at: None, kind: Kind::Scalar(Scalar { text: text.into(), value, style }) };
        self.keep(anchor, &node, 1, text.len(), 0, at)?;
        self.attach(node)
    }

    fn resolved(&mut self, text: &str, at: Place) -> Option<Plain> {
        resolve(text)
            .map_err(|why| {
                self.faults
                    .error("bad_number", at, format!("`{}`: {why}", shorten(text)))
                    .help("if it is text, put it in quotes");
            })
            .ok()
    }

    fn open(&mut self, map: bool, anchor: usize, tag: Option<&Tag>, span: &saphyr_parser::Span) -> Result<(), Stop> {
        let at = self.place(span);
        self.spend(1, 0, at)?;
        let allowed = if map { "map" } else { "seq" };
        self.tag(tag, at, &[allowed]);
        self.depth_ok(1, at)?;
        let content =
            if map { Content::Map { entries: Vec::new(), seen: HashMap::new(), key: None } } else { Content::List(Vec::new()) };
        let (nodes, bytes) = (self.budget.nodes + 1, self.budget.bytes);
        let flow = !span.is_empty();
        self.stack.push(Frame { at, anchor, content, flow, nodes, bytes, deepest: 1 });
        Ok(())
    }

    fn depth_ok(&mut self, more: usize, at: Place) -> Result<(), Stop> {
        if self.stack.len() + more <= MAX_DEPTH {
            return Ok(());
        }
        self.faults
            .error("too_deep", at, format!("lists and maps are nested deeper than {MAX_DEPTH} levels"))
            .help("a scenario needs far fewer levels: is a bracket missing?");
        Err(Stop::Fatal)
    }

    fn close(&mut self, span: &saphyr_parser::Span) -> Result<(), Stop> {
        let Some(frame) = self.stack.pop() else { return Err(Stop::Fatal) };
        let mut at = frame.at;
        let end = self.place(span).span;
        let kind = match frame.content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, .. } => Kind::Map(entries),
        };
        // `[…]` and `{…}` in one line are marked whole; of a block, its first key.
        if frame.flow {
            if end.line == at.span.line {
                at.span.end_column = end.end_column.max(at.span.column);
            }
        } else if let Kind::Map(entries) = &kind
            && let Some((key, _)) = entries.first()
        {
            at = key.at;
        }
        let (nodes, bytes) = (frame.nodes - self.budget.nodes, frame.bytes - self.budget.bytes);
        if let Some(parent) = self.stack.last_mut() {
            parent.deepest = parent.deepest.max(frame.deepest + 1);
        }
        let node = Node { at, key_at: None, kind };
        self.keep(frame.anchor, &node, nodes, bytes, frame.deepest, at)?;
        self.attach(node)
    }

    fn keep(&mut self, anchor: usize, node: &Node, nodes: usize, bytes: usize, depth: usize, at: Place) -> Result<(), Stop> {
        if anchor == 0 {
            return Ok(());
        }
        self.kept += nodes;
        if self.kept > 4 * MAX_NODES {
            self.faults.error("too_many_nodes", at, format!("anchors within anchors hold more than {} nodes", 4 * MAX_NODES));
            return Err(Stop::Fatal);
        }
        self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, bytes, depth });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: &saphyr_parser::Span) -> Result<(), Stop> {
        let at = self.place(span);
        let Some(kept) = self.anchors.get(&anchor) else {
            self.faults.error("alias_cycle", at, "the alias stands inside what it names, so it would never end");
            return self.attach(Node::broken(at));
        };
        let (nodes, bytes, depth) = (kept.nodes, kept.bytes, kept.depth);
        self.spend(nodes, bytes, at)?;
        self.depth_ok(depth, at)?;
        if let Some(parent) = self.stack.last_mut() {
            parent.deepest = parent.deepest.max(depth + 1);
        }
        let node = self.anchors.get(&anchor).map_or_else(|| Node::broken(at), |k| k.node.clone());
        self.attach(node)
    }

    fn attach(&mut self, mut node: Node) -> Result<(), Stop> {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map { seen, key: slot @ None, .. } => {
                let (line, outer) = (node.at.span.line, frame.at);
                let key = match &node.kind {
                    Kind::Scalar(s) => Key { text: s.text.clone(), at: node.at },
                    Kind::Map(_) if outer.span.line == line && outer.span.column + 1 == node.at.span.column => {
                        return Err(Stop::Unquoted(line));
                    }
                    _ => {
                        self.faults.error("complex_key", node.at, "a list or a map cannot be a key here").help("keys are words");
                        *slot = Some((Key { text: "".into(), at: node.at }, true));
                        return Ok(());
                    }
                };
                let mut drop = false;
                if let Some(first) = seen.get(&key.text) {
                    let message =
                        format!("duplicate key `{}`: it is already given in line {}", shorten(&key.text), first.span.line);
                    let first = *first;
                    self.faults
                        .error("duplicate_key", key.at, message)
                        .related(first, "first given here")
                        .help("remove one of the two");
                    drop = true;
                } else if &*key.text == "<<" {
                    self.faults
                        .error("merge_key", key.at, "merge keys (`<<`) are not part of YAML 1.2")
                        .help("repeat the fields, give the whole block an alias, or use `include`");
                    drop = true;
                } else {
                    seen.insert(key.text.clone(), key.at);
                }
                *slot = Some((key, drop));
            }
            Content::Map { entries, key: slot @ Some(_), .. } => {
                if let Some((key, drop)) = slot.take()
                    && !drop
                {
                    node.key_at = Some(key.at);
                    entries.push((key, node));
                }
            }
        }
        Ok(())
    }
}
