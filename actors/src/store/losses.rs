//! What was found missing at an opening, kept in a file beside the high-water mark: the opening itself raises the numbers
//! that it was noticed by, and a loss must not be noticed once only. A store that is restored or copied begins without.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::highwater::sync_parent;

/// The file's name.
const NAME: &str = "losses";

fn beside(high_water: &Path) -> PathBuf {
    high_water.with_file_name(NAME)
}

/// Adds a line, durably, unless it is there.
pub(crate) fn note(high_water: &Path, what: &str) -> io::Result<()> {
    if noted(high_water)?.iter().any(|known| known == what) {
        return Ok(());
    }
    let path = beside(high_water);
    let mut file = File::options().create(true).append(true).open(&path)?;
    writeln!(file, "{what}")?;
    file.sync_all()?;
    sync_parent(&path)
}

/// The lines so far.
pub(crate) fn noted(high_water: &Path) -> io::Result<Vec<String>> {
    match fs::read(beside(high_water)) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_stays_noted() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("high-water");
        assert_eq!(noted(&mark).unwrap(), Vec::<String>::new());
        for what in ["one", "two", "one"] {
            note(&mark, what).unwrap();
        }
        assert_eq!(noted(&mark).unwrap(), ["one", "two"]);
    }
}
