//! Runs the built program in folders of its own.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;

/// A folder with data and scenarios; gone at the end.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

/// What a command came to.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}\n{}\n{}", self.out, self.err))
    }

    pub(crate) fn lines(&self) -> Vec<Json> {
        self.out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }

    /// The exit code, or all that was said.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Said {
        assert_eq!(self.code, code, "\n{}\n{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Home {
    pub(crate) fn new() -> Home {
        Home { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a file; its path comes back.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the home")).expect("created");
        std::fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    }

    /// The program, with this home's data, nothing of the environment's settings, and no local server of models.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commedia"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_clear().env("OLLAMA_HOST", "127.0.0.1:1").env("HOME", self.dir.path()).env("COMMEDIA_DATA", self.data());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().expect("the program starts").into()
    }
}

/// The keys of an object, in order.
#[track_caller]
pub(crate) fn keys(json: &Json) -> Vec<&str> {
    json.as_object().unwrap_or_else(|| panic!("no object: {json}")).keys().map(String::as_str).collect()
}

/// Sends a signal by the system's own command.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill is there");
    assert!(status.success());
}
