//! The first records of collections: rows of the document or of a CSV file, each checked at its place. The home of `csv`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Compiler;
use crate::collection::Collection;
use crate::expression::Type;
use crate::scenario::document::{CollectionDoc, SeedDoc};
use crate::scenario::faults::{Place, shorten, suggestion};
use crate::scenario::load::{FileError, MAX_FILE_BYTES, inside};
use crate::scenario::node::Key as NodeKey;
use crate::scenario::scalars::Text;
use crate::scenario::syntax;
use crate::schema;
use crate::value::{Key, Map, Value};

/// Faults told of one CSV file.
const MAX_PER_FILE: usize = 50;

/// A record with the places of its fields.
struct Row {
    at: Place,
    fields: BTreeMap<Arc<str>, Place>,
    value: Value,
}

impl Row {
    fn place(&self, pointer: &str) -> Place {
        let field = pointer.split('/').nth(1).unwrap_or_default();
        self.fields.get(field).copied().unwrap_or(self.at)
    }
}

impl Compiler<'_> {
    pub(super) fn seeds(&mut self, blocks: &[(&NodeKey, &CollectionDoc)]) {
        let mut all: Vec<Vec<Row>> = Vec::with_capacity(blocks.len());
        let mut whole = Vec::with_capacity(blocks.len());
        for (n, (_, block)) in blocks.iter().enumerate() {
            let before = self.faults.errors();
            let rows = block.seed.as_ref().map(|seed| self.rows(n, seed)).unwrap_or_default();
            all.push(self.put_rows(n, rows));
            whole.push(self.faults.errors() == before);
        }
        for (n, rows) in all.iter().enumerate() {
            self.seed_references(n, rows, &whole);
        }
    }

    fn rows(&mut self, n: usize, seed: &SeedDoc) -> Vec<Row> {
        match (&seed.rows, &seed.file) {
            (Some(_), Some(file)) => {
                self.faults.error("wrong_shape", file.at, "a seed has `rows` or a `file`, not both");
                Vec::new()
            }
            (None, None) => {
                self.faults.error("missing_field", seed.at, "a seed needs `rows` or a `file`");
                Vec::new()
            }
            (None, Some(file)) => self.csv(n, file),
            (Some(rows), None) => {
                let row = |node: &crate::scenario::node::Node| Row {
                    at: node.at,
                    fields: node.entries().iter().map(|(k, v)| (k.text.clone(), v.at)).collect(),
                    value: Value::from_json(&node.to_json()),
                };
                rows.0.items().iter().filter(|r| !r.has_broken()).map(row).collect()
            }
        }
    }

    /// Completes, checks and puts the rows; those that hold come back.
    fn put_rows(&mut self, n: usize, rows: Vec<Row>) -> Vec<Row> {
        let spec = &self.collections[n];
        let (schema, defaults, name) = (spec.schema.clone(), spec.defaults.clone(), spec.shape.name.clone());
        let mut records = Collection::new(spec.shape.clone());
        let mut first: BTreeMap<Key, Place> = BTreeMap::new();
        let mut out = Vec::with_capacity(rows.len());
        for mut row in rows {
            let Value::Map(map) = &row.value else {
                self.faults.error("wrong_type", row.at, format!("a row of `{name}` must be a map of fields"));
                continue;
            };
            let mut fields: Map = (**map).clone();
            for (key, default) in &defaults {
                fields.entry(key.clone()).or_insert_with(|| default.clone());
            }
            row.value = schema::conform(&schema.ty, &Value::Map(Arc::new(fields)));
            let violations = schema.violations(&row.value.to_json());
            for violation in &violations {
                let field = violation.pointer.trim_start_matches('/').replace('/', ".");
                let of = if field.is_empty() { String::new() } else { format!("`{}` of ", shorten(&field)) };
                let at = row.place(&violation.pointer);
                self.faults.error("bad_record", at, format!("{of}this row of `{name}` does not fit: {}", violation.message));
            }
            if !violations.is_empty() {
                continue;
            }
            let Some(key) = records.key_of(&row.value) else {
                if !self.collections[n].shape.key.is_empty() {
                    self.faults.error("bad_key", row.at, format!("this row of `{name}` has no key"));
                }
                continue;
            };
            if let Some(before) = first.get(&key) {
                let at = self.collections[n].shape.key.first().map_or(row.at, |f| row.place(&format!("/{f}")));
                let before = *before;
                let message = format!("key `{}` of `{name}` is there twice", shorten(&key.to_string()));
                self.faults.error("duplicate_record", at, message).related(before, "the first row is here");
                continue;
            }
            first.insert(key.clone(), row.at);
            records.put(key, row.value.clone());
            out.push(row);
        }
        self.collections[n].seed = Arc::new(records);
        out
    }

    /// Whether what the rows point at is there; not asked of collections whose own rows have faults.
    fn seed_references(&mut self, n: usize, rows: &[Row], whole: &[bool]) {
        for reference in self.collections[n].references.clone().into_iter().filter(|r| whole[r.to.at()]) {
            let target = &self.collections[reference.to.at()];
            let (seed, name) = (target.seed.clone(), target.shape.name.clone());
            let mut told = BTreeSet::new();
            for row in rows {
                let Some(value) = row.value.get(&reference.field).filter(|v| !matches!(v, Value::Null)) else { continue };
                let Some(key) = value.as_key().filter(|k| seed.get(k).is_none()) else { continue };
                let at = row.place(&format!("/{}", reference.field));
                if told.len() < MAX_PER_FILE && told.insert(at) {
                    let keys: Vec<String> = seed.iter().take(200).map(|(k, _)| k.to_string()).collect();
                    let near = suggestion(&key.to_string(), "keys", keys.iter().map(String::as_str));
                    let message =
                        format!("`{}` points at `{}`, which `{name}` does not have", reference.field, shorten(&key.to_string()));
                    self.faults.error("dangling_reference", at, message).maybe_help(near);
                }
            }
        }
    }

    /// A file of the scenario's folder, kept for the bundle.
    pub(super) fn data_file(&mut self, file: &Text) -> Option<(String, Arc<[u8]>)> {
        if file.is_broken() {
            return None;
        }
        let Some(path) = inside(&file.it) else {
            let message = format!("`{}` leads out of the scenario's folder", shorten(&file.it));
            self.faults.error("bad_path", file.at, message).help("paths are relative to the scenario file");
            return None;
        };
        if let Some(bytes) = self.data_files.get(&path) {
            return Some((path, bytes.clone()));
        }
        let shown = shorten(&file.it);
        match self.files.read(&path) {
            Ok(bytes) if bytes.len() > MAX_FILE_BYTES => {
                self.faults.error("too_large", file.at, format!("`{shown}` is larger than {} MiB", MAX_FILE_BYTES >> 20));
                None
            }
            Ok(bytes) => {
                let bytes: Arc<[u8]> = bytes.into();
                self.data_files.insert(path.clone(), bytes.clone());
                Some((path, bytes))
            }
            Err(FileError::NotFound) => {
                let message = format!("the file `{shown}` is not found: it does not exist");
                self.faults.error("seed_missing", file.at, message).help("paths are relative to the scenario file");
                None
            }
            Err(e) => {
                self.faults.error("file_unreadable", file.at, format!("the file `{shown}` cannot be read: {e}"));
                None
            }
        }
    }

    fn csv(&mut self, n: usize, file: &Text) -> Vec<Row> {
        let Some((path, bytes)) = self.data_file(file) else { return Vec::new() };
        let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(&bytes);
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.faults.error("bad_encoding", file.at, format!("`{}` is not UTF-8", shorten(&path)));
            return Vec::new();
        };
        let source = self.faults.add_source(path.clone(), text.into());
        let lines = Lines::of(text);
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::None).from_reader(bytes);
        let headers = match reader.headers() {
            Ok(headers) if !(headers.is_empty() || headers.len() == 1 && headers.get(0) == Some("")) => headers.clone(),
            _ => {
                let message = format!("`{}` is empty: its first line names the columns", shorten(&path));
                self.faults.error("bad_csv", file.at, message);
                return Vec::new();
            }
        };
        let columns = self.columns(n, &headers, source, &lines);
        let (mut rows, mut told) = (Vec::new(), 0);
        for record in reader.records() {
            if told >= MAX_PER_FILE {
                break;
            }
            let record = match record {
                Ok(record) => record,
                Err(e) => {
                    let line = e.position().map_or(1, csv::Position::line);
                    let at = Place { file: source, span: syntax::span(u32::try_from(line).unwrap_or(1), 1, 1) };
                    self.faults.error("bad_csv", at, format!("this line is no CSV: {e}"));
                    break;
                }
            };
            let start = record.position().map_or(0, csv::Position::byte) as usize;
            let cell_at = |column: usize| lines.cell(text, start, column, source);
            if record.len() != columns.len() {
                told += 1;
                let message = format!("this line has {} cells, the header has {}", record.len(), columns.len());
                self.faults.error("bad_csv", Place { file: source, span: cell_at(0).span }, message);
                continue;
            }
            let mut row = Row { at: cell_at(0), fields: BTreeMap::new(), value: Value::Null };
            let (mut fields, mut good) = (Map::new(), true);
            for (n, (cell, column)) in record.iter().zip(&columns).enumerate() {
                let Some((name, ty)) = column else { continue };
                match cell_value(cell, ty) {
                    Ok(None) => {}
                    Ok(Some(value)) => {
                        row.fields.insert(name.clone(), cell_at(n));
                        fields.insert(Key::Text(name.clone()), value);
                    }
                    Err(why) => {
                        good = false;
                        told += 1;
                        self.faults.error("bad_cell", cell_at(n), format!("column `{name}`: {why}"));
                    }
                }
            }
            if good {
                row.value = Value::Map(Arc::new(fields));
                rows.push(row);
            }
        }
        rows
    }

    /// The fields that the columns fill, with their types.
    fn columns(&mut self, n: usize, headers: &csv::StringRecord, source: u16, lines: &Lines) -> Vec<Option<(Arc<str>, Type)>> {
        let Type::Object(object) = self.collections[n].schema.ty.clone() else {
            return headers.iter().map(|h| Some((Arc::from(h.trim()), Type::Dyn))).collect();
        };
        let mut out: Vec<Option<(Arc<str>, Type)>> = Vec::new();
        for (column, header) in headers.iter().enumerate() {
            let name = header.trim();
            let at = lines.header(column, source, headers);
            if out.iter().flatten().any(|c| &*c.0 == name) {
                self.faults.error("bad_csv", at, format!("column `{}` is there twice", shorten(name)));
                out.push(None);
                continue;
            }
            match object.fields.iter().find(|f| &*f.0 == name) {
                Some((name, ty)) => out.push(Some((name.clone(), ty.clone()))),
                None if object.open
                    && !name.is_empty()
                    && crate::scenario::faults::closest(name, object.fields.iter().map(|f| &*f.0)).is_none() =>
                {
                    out.push(Some((name.into(), Type::Dyn)));
                }
                None => {
                    let collection = &self.collections[n].shape.name;
                    let message = format!("column `{}` is no field of `{collection}`", shorten(name));
                    let help = suggestion(name, "fields", object.fields.iter().map(|f| &*f.0));
                    self.faults.error("unknown_column", at, message).maybe_help(help);
                    out.push(None);
                }
            }
        }
        out
    }
}

/// A cell by its column's type; an empty one is absent, or null where the type has it.
fn cell_value(cell: &str, ty: &Type) -> Result<Option<Value>, String> {
    if cell.trim().is_empty() {
        return Ok(match ty {
            Type::OneOf(types) if types.contains(&Type::Null) => Some(Value::Null),
            _ => None,
        });
    }
    schema::read(ty, cell).map(Some)
}

/// Where the lines of a file start, in bytes.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        let mut starts = vec![0];
        starts.extend(text.bytes().enumerate().filter(|b| b.1 == b'\n').map(|b| b.0 + 1));
        Lines(starts)
    }

    fn header(&self, column: usize, source: u16, headers: &csv::StringRecord) -> Place {
        let before: usize = headers.iter().take(column).map(|h| h.chars().count() + 1).sum();
        let length = headers.get(column).map_or(1, |h| h.chars().count());
        Place { file: source, span: syntax::span(1, before as u32 + 1, length as u32) }
    }

    /// The place of a cell of the record that starts at a byte.
    fn cell(&self, text: &str, start: usize, column: usize, source: u16) -> Place {
        let bytes = text.as_bytes();
        // The reader may stand on the line ends before a record.
        let mut at = start + bytes.get(start..).map_or(0, |b| b.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count());
        let mut from = at;
        let (mut cell, mut quoted) = (0, false);
        while at < bytes.len() {
            match bytes[at] {
                b'"' => quoted = !quoted,
                b',' if !quoted => {
                    if cell == column {
                        break;
                    }
                    cell += 1;
                    from = at + 1;
                }
                b'\n' | b'\r' if !quoted => break,
                _ => {}
            }
            at += 1;
        }
        let line = self.0.partition_point(|s| *s <= from).max(1);
        let line_start = self.0[line - 1];
        let chars = |from: usize, to: usize| text.get(from..to).map_or(0, |t| t.chars().count());
        let length = text.get(from..at.max(from)).and_then(|t| t.split('\n').next()).map_or(1, |t| t.chars().count());
        let span = syntax::span(line as u32, chars(line_start, from) as u32 + 1, length as u32);
        Place { file: source, span }
    }
}
