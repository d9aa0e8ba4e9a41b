//! Secrets that tools name: variables of this process' environment, and files that it can read. Read when a call is made.

use commedia_actors::tool::http::Secrets;
use commedia_domain::tool::http::Secret;

/// Bytes of a secret's file.
const MAX_BYTES: u64 = 64 * 1024;

/// The secrets of this process.
#[derive(Debug)]
pub struct ProcessSecrets;

impl Secrets for ProcessSecrets {
    fn read(&self, secret: &Secret) -> Result<String, String> {
        match secret {
            Secret::Env(name) => match std::env::var(&**name) {
                Ok(value) if !value.is_empty() => Ok(value),
                Ok(_) | Err(std::env::VarError::NotPresent) => Err(format!("the environment variable `{name}` is not set")),
                Err(std::env::VarError::NotUnicode(_)) => Err(format!("the environment variable `{name}` is not text")),
            },
            Secret::File(path) => {
                let size = std::fs::metadata(&**path).map(|m| m.len());
                let text = match size {
                    Ok(size) if size > MAX_BYTES => return Err(format!("the file `{path}` is too large for a secret")),
                    Ok(_) => std::fs::read_to_string(&**path),
                    Err(e) => Err(e),
                };
                let text = text.map_err(|e| format!("the file `{path}` cannot be read: {}", crate::source::reason(&e)))?;
                Ok(text.trim_end_matches(['\n', '\r']).to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_where_it_is_or_its_place_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cret\n").expect("written");
        let file = |name: &str| Secret::File(folder.path().join(name).to_string_lossy().into());
        assert_eq!(ProcessSecrets.read(&file("token")).as_deref(), Ok("s3cret"));
        let check = |secret: &Secret, words: &str| {
            let why = ProcessSecrets.read(secret).expect_err(words);
            assert!(why.contains(words), "{why}");
        };
        check(&file("none"), "cannot be read");
        check(&Secret::Env("COMMEDIA_TEST_NO_SUCH_VARIABLE".into()), "`COMMEDIA_TEST_NO_SUCH_VARIABLE` is not set");
    }
}
