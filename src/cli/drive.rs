//! Follows a live run to its end: progress while it works, a drain when somebody interrupts.

use std::sync::Arc;

use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::RunHandle;
use commedia_domain::scenario::Scenario;

use crate::app::{App, load_failure};
use crate::failure::Failure;
use crate::output::say;
use crate::progress::{Mode, RunProgress};

/// Waits until a run has ended or stands still, and shows it meanwhile.
pub(super) async fn drive(
    mut handle: RunHandle,
    mode: Mode,
    scenario: &Arc<Scenario>,
    now: Option<i64>,
) -> Result<LoadedRun, Failure> {
    let mut progress = RunProgress::new(mode, &handle.id, scenario, now);
    if let Some(mut events) = handle.events.take() {
        while let Some(event) = events.next().await {
            progress.event(&event);
        }
    }
    let loaded = handle.done().await.map_err(load_failure);
    progress.finish();
    loaded
}

/// What to say when a run was interrupted: how to go on.
pub(super) fn say_resume(app: &App, ids: &[RunId]) {
    match ids {
        _ if app.settings.in_memory() => say("interrupted: nothing was kept (--memory)"),
        [] => say("interrupted"),
        [id] => say(&format!("interrupted: all that happened is kept; go on with\n  commedia resume {id}{}", place(app))),
        many => say(&format!("interrupted: {} runs are kept; go on with\n  commedia resume{}", many.len(), place(app))),
    }
}

/// The flag that finds the same store again.
fn place(app: &App) -> String {
    let given = std::env::args_os().skip(1).any(|a| a == "--data" || a.to_string_lossy().starts_with("--data="));
    if given { format!(" --data {}", app.settings.data.display()) } else { String::new() }
}
