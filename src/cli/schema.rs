//! `commedia schema`: the JSON Schema of a scenario, an event or the configuration.

use clap::{Args, ValueEnum};

use crate::app::App;
use crate::failure::{Exit, Failure};
use crate::output::{Format, pretty};
use crate::{events, settings};

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Of what
    of: Of,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// Scenario files
    Scenario,
    /// Events, as `tail --output jsonl` prints them
    Event,
    /// commedia.toml
    Config,
}

pub(super) fn schema(app: &App, args: &SchemaArgs) -> Result<Exit, Failure> {
    let schema = match args.of {
        Of::Scenario => commedia_domain::scenario::json_schema(),
        Of::Event => events::json_schema(),
        Of::Config => settings::json_schema(),
    };
    // A schema is JSON for people too.
    match app.console.format {
        Format::Table => app.console.line(&pretty(&schema)),
        _ => app.console.document(&schema, String::new),
    }
    Ok(Exit::Ok)
}
