//! `commedia validate`: all faults of scenario files at once, with their source lines. Starts nothing, stores nothing.

use clap::{Args, ValueEnum};
use commedia_actors::prices::Prices;
use commedia_domain::diagnostic::{Diagnostic, Severity};
use commedia_domain::scenario::Scenario;
use serde_json::{Value as Json, json};

use crate::app::App;
use crate::diagnostics::{Texts, render, to_json};
use crate::estimate::{self, Estimate};
use crate::failure::{Exit, Failure};
use crate::graph;
use crate::output::{Format, pretty, say, yaml};
use crate::source::Source;

#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// Scenario files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Print the document after includes and with every default
    #[arg(long)]
    resolved: bool,
    /// Print who hands off, asks and tells whom
    #[arg(long, value_name = "FORM", conflicts_with = "resolved")]
    graph: Option<GraphForm>,
    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GraphForm {
    Mermaid,
    Dot,
}

/// A file that was read.
struct Checked {
    file: String,
    scenario: Option<Scenario>,
    faults: Vec<Diagnostic>,
    texts: Texts,
    /// What its models may be asked at most, where it names any.
    estimate: Option<Estimate>,
}

impl Checked {
    fn of(name: &str, prices: &Prices) -> Checked {
        // A pack's name is as good as a path, where there is no such file.
        let read = Source::named(name);
        let file = name.to_owned();
        let source = match read {
            Ok(source) => source,
            Err(fault) => return Checked { file, scenario: None, faults: vec![*fault], texts: Texts::default(), estimate: None },
        };
        let (scenario, faults) = match source.load() {
            Ok(loaded) => (Some(loaded.scenario), loaded.warnings),
            Err(faults) => (None, faults),
        };
        let texts = Texts::of(Some(&source), &faults);
        let estimate = scenario.as_ref().and_then(|s| estimate::of_scenario(s, prices));
        Checked { file: source.name, scenario, faults, texts, estimate }
    }

    fn count(&self, severity: Severity) -> usize {
        self.faults.iter().filter(|f| f.severity == severity).count()
    }

    /// The file, then the files it includes that have faults of their own.
    fn to_json(&self, strict: bool) -> Vec<Json> {
        let mut files: Vec<&str> = vec![&self.file];
        for fault in &self.faults {
            if !files.contains(&fault.file.as_str()) {
                files.push(&fault.file);
            }
        }
        let ok =
            |mut faults: Box<dyn Iterator<Item = &Diagnostic> + '_>| faults.all(|f| f.severity == Severity::Warning && !strict);
        let one = |(n, file): (usize, &&str)| {
            let own = || self.faults.iter().filter(|f| f.file == **file);
            let ok = if n == 0 { ok(Box::new(self.faults.iter())) } else { ok(Box::new(own())) };
            let diagnostics: Vec<Json> = own().map(|f| to_json(f, &self.texts)).collect();
            let mut json = json!({"file": file, "ok": ok, "diagnostics": diagnostics});
            if let (0, Some(estimate), Some(map)) = (n, &self.estimate, json.as_object_mut()) {
                map.insert("estimate".into(), estimate.to_json());
            }
            json
        };
        files.iter().enumerate().map(one).collect()
    }
}

pub(super) fn validate(app: &App, args: &ValidateArgs) -> Result<Exit, Failure> {
    let checked: Vec<Checked> = args.files.iter().map(|name| Checked::of(name, &app.settings.prices)).collect();
    let errors: usize = checked.iter().map(|c| c.count(Severity::Error)).sum();
    let warnings: usize = checked.iter().map(|c| c.count(Severity::Warning)).sum();
    let document = args.resolved || args.graph.is_some();
    if app.console.format == Format::Table || document {
        faults(app, &checked, document);
    }
    if document {
        checked.iter().filter_map(|c| c.scenario.as_ref()).for_each(|s| print(app, args, s));
    } else {
        let files: Vec<Json> = checked.iter().flat_map(|c| c.to_json(args.strict)).collect();
        let json = json!({"schema": "commedia.validation/v1", "files": files});
        app.console.list(&json, &files, || summary(&checked, errors, warnings));
    }
    Ok(if errors > 0 || (args.strict && warnings > 0) { Exit::Invalid } else { Exit::Ok })
}

/// Faults are what is asked for, so they are data; beside a document they are remarks.
fn faults(app: &App, checked: &[Checked], document: bool) {
    for one in checked {
        for fault in one.faults.iter().filter(|f| f.severity == Severity::Error || !app.console.quiet) {
            if document {
                say(render(fault, &one.texts, app.console.colour_err).trim_end());
            } else {
                app.console.line(&render(fault, &one.texts, app.console.colour));
            }
        }
    }
}

fn print(app: &App, args: &ValidateArgs, scenario: &Scenario) {
    match args.graph {
        Some(GraphForm::Mermaid) => app.console.print(&graph::mermaid(scenario)),
        Some(GraphForm::Dot) => app.console.print(&graph::dot(scenario)),
        None => {
            let resolved = scenario.resolved();
            match app.console.format {
                Format::Json => app.console.line(&pretty(&resolved)),
                Format::Jsonl => app.console.line(&resolved.to_string()),
                Format::Table | Format::Yaml => app.console.print(&yaml(&resolved)),
            }
        }
    }
}

fn summary(checked: &[Checked], errors: usize, warnings: usize) -> String {
    let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    let good: Vec<&Scenario> = checked.iter().filter_map(|c| c.scenario.as_ref()).collect();
    let mut parts = vec![format!("{} ok", plural(good.len(), "file"))];
    if good.len() < checked.len() {
        parts.push(format!("{} with {}", checked.len() - good.len(), plural(errors, "error")));
    }
    if warnings > 0 {
        parts.push(plural(warnings, "warning"));
    }
    if !good.is_empty() {
        parts.push(plural(good.iter().map(|s| s.agents.len()).sum(), "agent"));
        parts.push(plural(good.iter().map(|s| s.collections.len()).sum(), "collection"));
        parts.push(plural(good.iter().map(|s| s.parameters.len()).sum(), "parameter"));
    }
    let mut text = format!("{}\n", parts.join(" · "));
    for scenario in good.iter().filter(|s| !s.unbuilt.is_empty()) {
        let first = &scenario.unbuilt[0];
        text += &format!(
            "note: `run` refuses {}: {} is not part of this version (line {})\n",
            scenario.name, first.what, first.span.line
        );
    }
    for one in checked {
        if let (Some(scenario), Some(estimate)) = (&one.scenario, &one.estimate) {
            text += &format!("note: {}: {}\n", scenario.name, estimate.line());
        }
    }
    text
}
