//! A fault of a file: what, where, and the remedy. Rendering is the command line's.

use std::fmt;

use serde::Serialize;

/// A place in a file. Lines and columns count from 1 in Unicode characters; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Span {
    /// First line.
    pub line: u32,
    /// First column.
    pub column: u32,
    /// Last line.
    pub end_line: u32,
    /// Last column, included.
    pub end_column: u32,
}

/// Whether a fault stops a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used; somebody should look.
    Warning,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable word for the kind of fault, `snake_case`.
    pub code: &'static str,
    /// What is wrong, in one sentence, with the names in question in backquotes.
    pub message: String,
    /// The file, as the user named it.
    pub file: String,
    /// Where.
    pub span: Span,
    /// Words to stand at the place, under the marked characters.
    pub label: Option<String>,
    /// The remedy.
    pub help: Option<String>,
    /// A second place that belongs to the fault, such as the first of two equal keys.
    pub related: Option<(Span, String)>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}:{}: {severity}[{}]: {}", self.file, self.span.line, self.span.column, self.code, self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}
