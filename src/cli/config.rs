//! `commedia config show`: each setting with its value and its origin.

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use crate::app::App;
use crate::failure::{Exit, Failure};
use crate::report::columns;
use crate::settings::{Flags, Settings};

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print each setting, its value and where that comes from; of secrets only that they are set
    Show,
}

pub(super) fn config(app: &App, args: &ConfigArgs, flags: &Flags) -> Result<Exit, Failure> {
    let What::Show = args.what;
    let all = Settings::shown(flags)?;
    let rows: Vec<Json> =
        all.iter().map(|shown| json!({"key": shown.key, "value": shown.value, "origin": shown.origin})).collect();
    app.console.list(&json!({"schema": "commedia.config/v1", "settings": rows}), &rows, || {
        let text = |json: &Json| {
            json.as_str().map_or_else(|| if json.is_null() { String::new() } else { json.to_string() }, str::to_owned)
        };
        let head = ["key", "value", "from"].map(str::to_owned).to_vec();
        let row = |row: &Json| vec![text(&row["key"]), text(&row["value"]), text(&row["origin"])];
        columns(std::iter::once(head).chain(rows.iter().map(row)).collect())
    });
    Ok(Exit::Ok)
}
