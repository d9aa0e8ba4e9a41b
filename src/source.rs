//! Where a scenario's text comes from: a file, standard input or a built-in pack. Every read is bounded, and a file that
//! cannot be read is a diagnostic with its place, like every other fault.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use commedia_domain::diagnostic::{Diagnostic, Severity, Span};
use commedia_domain::scenario::{self, FileError, Files, Loaded, MAX_FILE_BYTES};

use crate::failure::Failure;
use crate::packs;

/// A scenario's text and the folder it stands in.
pub struct Source {
    /// The file, as the user named it.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its folder.
    pub files: Folder,
}

/// The folder of a scenario.
pub enum Folder {
    /// On disk.
    Disk(PathBuf),
    /// In the program.
    Pack(BTreeMap<String, Arc<[u8]>>),
}

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match self {
            Folder::Disk(dir) => read_bounded(&dir.join(path)).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => FileError::NotFound,
                io::ErrorKind::FileTooLarge => FileError::TooLarge,
                _ => FileError::Other(reason(&e)),
            }),
            Folder::Pack(files) => files.read(path),
        }
    }
}

/// Reads a file up to the loader's bound; a larger one is `FileTooLarge`, a folder `IsADirectory`.
pub fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let known = file.metadata()?;
    if known.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    read_stream(file)
}

fn read_stream(stream: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// Why a file cannot be read, without the error number.
pub fn reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "it does not exist".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        io::ErrorKind::FileTooLarge => format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20),
        _ => e.to_string(),
    }
}

impl Source {
    /// A file, or `-` for standard input.
    pub fn file(name: &str) -> Result<Source, Box<Diagnostic>> {
        let (read, dir) = if name == "-" {
            (read_stream(io::stdin().lock()), PathBuf::from("."))
        } else {
            let dir = Path::new(name).parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (read_bounded(Path::new(name)), dir.to_owned())
        };
        let name = if name == "-" { "<stdin>" } else { name };
        match read {
            Ok(bytes) => Ok(Source { name: name.to_owned(), bytes, files: Folder::Disk(dir) }),
            Err(e) => Err(Box::new(unreadable(name, &e))),
        }
    }

    /// A built-in pack's scenario.
    pub fn pack(pack: &packs::Pack) -> Source {
        Source { name: pack.entry().to_owned(), bytes: pack.source().to_vec(), files: Folder::Pack(pack.folder()) }
    }

    /// A path, or the name of a pack where there is no such file.
    pub fn named(name: &str) -> Result<Source, Box<Diagnostic>> {
        let pathlike = name == "-" || name.contains(['/', '\\', '.']) || Path::new(name).is_file();
        let packed = packs::find(name).filter(|_| !pathlike).map(Source::pack);
        match packed {
            Some(source) => Ok(source),
            None if !pathlike && !Path::new(name).exists() => {
                let known: Vec<&str> = packs::names().collect();
                let mut fault = fault(name, "unknown_scenario", format!("there is no file and no built-in scenario `{name}`"));
                fault.help = Some(format!("built in are `{}`", known.join("`, `")));
                Err(Box::new(fault))
            }
            None => Source::file(name),
        }
    }

    /// Compiles it.
    pub fn load(&self) -> Result<Loaded, Vec<Diagnostic>> {
        self.load_with(None)
    }

    /// Compiles it, with the faults of another file in the place of its own.
    pub fn load_with(&self, faults: Option<&Source>) -> Result<Loaded, Vec<Diagnostic>> {
        let faults = faults.map(|file| (file.name.as_str(), file.bytes.as_slice()));
        scenario::load_with_faults(&self.name, &self.bytes, &self.files, faults)
    }

    /// The text of the file itself or of one it includes, to show lines of.
    pub fn text(&self, file: &str) -> Option<String> {
        let bytes = if file == self.name { self.bytes.clone() } else { self.files.read(file).ok()? };
        let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(&bytes);
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

fn unreadable(name: &str, e: &io::Error) -> Diagnostic {
    match e.kind() {
        io::ErrorKind::NotFound => {
            let mut fault = fault(name, "file_not_found", format!("the file `{name}` is not found: it does not exist"));
            fault.help = Some("a scenario is named by its path, or is built in: `commedia init --list`".into());
            fault
        }
        io::ErrorKind::IsADirectory => {
            let mut fault = fault(name, "file_is_folder", format!("`{name}` is a folder, not a scenario file"));
            fault.help = Some("name the file in it that ends in `.scenario.yaml`".into());
            fault
        }
        io::ErrorKind::FileTooLarge => fault(name, "too_large", format!("the file `{name}` cannot be used: {}", reason(e))),
        _ => fault(name, "file_unreadable", format!("the file `{name}` cannot be read: {}", reason(e))),
    }
}

fn fault(file: &str, code: &'static str, message: String) -> Diagnostic {
    let span = Span { line: 1, column: 1, end_line: 1, end_column: 1 };
    Diagnostic { severity: Severity::Error, code, message, file: file.into(), span, label: None, help: None, related: None }
}

/// A small file of values, such as parameters: YAML or JSON, a map by name.
pub fn values(path: &Path) -> Result<Vec<(String, serde_json::Value)>, Failure> {
    let shown = path.display().to_string();
    let bytes = read_bounded(path).map_err(|e| Failure::invalid(format!("the file `{shown}` cannot be read: {}", reason(&e))))?;
    match scenario::read_data(&shown, &bytes) {
        Ok(serde_json::Value::Object(fields)) => Ok(fields.into_iter().collect()),
        Ok(_) => Err(Failure::invalid(format!("`{shown}` must be a map of parameters: `name: value`"))),
        Err(faults) => {
            Err(Failure::invalid(faults.first().map_or_else(|| format!("`{shown}` cannot be read"), ToString::to_string)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_a_diagnostic_with_its_place() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let check = |name: &str, code: &str, words: &str| {
            let Err(fault) = Source::named(name) else { panic!("{name} can be read") };
            assert_eq!((fault.code, fault.span.line, fault.span.column, fault.file.as_str()), (code, 1, 1, name));
            assert!(fault.message.contains(words), "{}", fault.message);
        };
        check("no-such-scenario", "unknown_scenario", "no built-in scenario `no-such-scenario`");
        check("no/such.yaml", "file_not_found", "does not exist");
        let folder = dir.path().to_string_lossy().into_owned();
        check(&folder, "file_is_folder", "is a folder");
        let large = dir.path().join("large.yaml");
        File::create(&large).and_then(|f| f.set_len(MAX_FILE_BYTES as u64 + 1)).expect("written");
        check(&large.to_string_lossy(), "too_large", "larger than 16 MiB");
    }

    #[test]
    fn a_pack_is_found_by_name_and_a_file_goes_before_it() {
        assert!(matches!(Source::named("coin-shop").map(|s| s.files), Ok(Folder::Pack(_))));
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("coin-shop");
        std::fs::write(&path, "name: other\n").expect("written");
        let source = Source::named(&path.to_string_lossy()).map_err(|d| d.message).expect("a file");
        assert_eq!(source.bytes, b"name: other\n");
    }
}
