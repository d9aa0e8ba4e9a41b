//! `commedia version`: the program's version and the formats it writes.

use commedia_actors::store::STORE_FORMAT;
use commedia_domain::event::{ENCODING, ENGINE};
use serde_json::json;

use crate::app::App;
use crate::failure::{Exit, Failure};

pub(super) fn version(app: &App) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let json = json!({
        "schema": "commedia.version/v1", "version": version, "engine": ENGINE, "event_encoding": ENCODING, "store_format": STORE_FORMAT,
    });
    app.console.document(&json, || {
        format!("commedia {version}\nengine {ENGINE} · event encoding {ENCODING} · store format {STORE_FORMAT}\n")
    });
    Ok(Exit::Ok)
}
