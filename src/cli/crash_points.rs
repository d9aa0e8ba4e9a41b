//! `commedia crash-points`: the places at which a build for tests can be told to die; and the variables that tell it to.

use crate::app::App;
use crate::failure::{Exit, Failure};

/// The variables, in the order in which the parts of a build with crash points look at them.
const VARIABLES: [&str; 3] = ["COMMEDIA_CRASH_AT", "COMMEDIA_PANIC_AT", "COMMEDIA_HANG_AT"];
#[cfg(not(feature = "failpoints"))]
const HOW: &str = "build it with `cargo build --features failpoints`";

/// Lists every point.
#[cfg(feature = "failpoints")]
pub(super) fn crash_points(app: &App) -> Result<Exit, Failure> {
    let names: Vec<&str> = commedia_actors::points::Point::ALL.iter().map(|point| point.name()).collect();
    let json = serde_json::json!({"schema": "commedia.crash-points/v1", "points": names});
    app.console.document(&json, || names.iter().map(|name| format!("{name}\n")).collect());
    Ok(Exit::Ok)
}

/// A build for use has none.
#[cfg(not(feature = "failpoints"))]
pub(super) fn crash_points(_: &App) -> Result<Exit, Failure> {
    Err(Failure::usage("this program is built without crash points").help(HOW))
}

/// Arms the points that the environment names.
pub(super) fn arm() -> Result<(), Failure> {
    let wanted = VARIABLES.map(|name| (name, std::env::var(name).unwrap_or_default()));
    let Some((first, _)) = wanted.iter().find(|(_, text)| !text.is_empty()) else { return Ok(()) };
    armed(first, &wanted)
}

#[cfg(feature = "failpoints")]
fn armed(first: &str, wanted: &[(&str, String)]) -> Result<(), Failure> {
    use commedia_actors::points::{Act, arm};
    let acts = [Act::Crash, Act::Panic, Act::Hang].into_iter().zip(wanted);
    let wanted: Vec<(Act, String)> =
        acts.filter(|(_, (_, text))| !text.is_empty()).map(|(act, (_, text))| (act, text.clone())).collect();
    let refused = |why| Failure::usage(format!("{first}: {why}")).help("`commedia crash-points` lists them");
    arm(&wanted).map_err(refused)
}

#[cfg(not(feature = "failpoints"))]
fn armed(first: &str, _: &[(&str, String)]) -> Result<(), Failure> {
    Err(Failure::usage(format!("{first} is set, and this program is built without crash points"))
        .help(format!("unset it, or {HOW}")))
}
