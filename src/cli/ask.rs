//! `commedia ask`: what a text says of a scenario's parameters. Starts nothing, stores nothing.

use std::io::stdin;
use std::sync::Arc;

use clap::Args;
use commedia_actors::extraction::{Reader, Reading, read};
use commedia_domain::event::ModelBinding;
use commedia_domain::extraction::Extractor;
use commedia_domain::scenario::Scenario;

use super::run::load;
use crate::app::App;
use crate::day::today;
use crate::extraction::{text, to_json, to_table};
use crate::failure::{Exit, Failure};
use crate::models::{self, Bound, Wanted};
use crate::progress::Mode;
use crate::tape::Tape;

#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// A scenario file, or the name of a built-in scenario
    pub(super) scenario: String,
    /// What is wanted, in your own words; - is standard input
    text: String,
    /// The day it is written on, which "next Monday" counts from [default: the clock]
    #[arg(long, value_name = "DATE")]
    pub(super) today: Option<jiff::civil::Date>,
    /// Who reads it: a model such as openai:gpt-4o-mini
    #[arg(long, value_name = "MODEL", conflicts_with = "offline")]
    pub(super) model: Option<String>,
    /// No model: rules read it
    #[arg(long)]
    pub(super) offline: bool,
}

impl AskArgs {
    /// What is wanted, read where it is not on the command line.
    pub(super) fn text(&self) -> Result<String, Failure> {
        text(&self.text, &mut stdin().lock())
    }
}

pub(super) async fn ask(app: &App, args: &AskArgs) -> Result<Exit, Failure> {
    let scenario = Arc::new(load(app, &args.scenario, None, Mode::None)?);
    let wanted = Wanted { model: args.model.as_deref(), offline: args.offline };
    let bound = models::bind(&scenario, wanted, &app.settings.models).await?;
    let reader = reader(app, &scenario, &bound, &Tape::None)?;
    let reading = reading(app, &scenario, &args.text, args.today, reader.as_ref()).await?;
    app.console.document(&to_json(&scenario, &reading), || to_table(&reading.parameters));
    Ok(Exit::Ok)
}

/// The model that reads, where the scenario's `extraction.model` is bound to one outside the process; it is told.
pub(super) fn reader(app: &App, scenario: &Scenario, bound: &Bound, tape: &Tape) -> Result<Option<Reader>, Failure> {
    let Some((binding @ ModelBinding::Provider { provider, model }, alias)) = bound.reads(scenario) else { return Ok(None) };
    app.console.note(&format!("{provider}:{model} reads the text, rules check it"));
    Ok(Some(Reader { model: tape.model(app.model())?, binding: binding.clone(), alias }))
}

/// Reads a text: by a reader where there is one, checked by the rules, else by the rules.
pub(super) async fn reading(
    app: &App,
    scenario: &Arc<Scenario>,
    given: &str,
    day: Option<jiff::civil::Date>,
    reader: Option<&Reader>,
) -> Result<Reading, Failure> {
    let text = text(given, &mut stdin().lock())?;
    let extractor = Extractor::new(scenario.clone());
    let reading = read(&extractor, &text, day.map_or_else(|| today(app.settings.clock), Ok)?, reader).await;
    if let Some(why) = &reading.fallback {
        app.console.note(&format!("{why}; rules read the text"));
    }
    Ok(reading)
}
