//! Follows a live run to its end: progress while it works, a drain when somebody interrupts.

use std::sync::Arc;

use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{RunHandle, Runtime};
use commedia_actors::subscribers::{Piece, Pieces};
use commedia_domain::scenario::Scenario;

use crate::app::{App, load_failure};
use crate::failure::Failure;
use crate::output::say;
use crate::progress::{Mode, RunProgress};

/// How a run is watched.
pub(super) struct Watch<'w> {
    /// Where it lives.
    pub(super) runtime: &'w Runtime,
    /// What it plays.
    pub(super) scenario: &'w Arc<Scenario>,
    /// How progress is shown.
    pub(super) mode: Mode,
    /// Where it stands, if it goes on.
    pub(super) before: Option<&'w LoadedRun>,
}

impl Watch<'_> {
    /// Waits until a run has ended or stands still, and shows it meanwhile.
    pub(super) async fn drive(self, mut handle: RunHandle) -> Result<LoadedRun, Failure> {
        let id = handle.id.clone();
        let mut progress = RunProgress::new(self.mode, &id, self.scenario, self.before.map(|b| b.run.state()));
        let mut told = self.before.map_or(0, |b| b.head.seq);
        let mut pieces = handle.pieces.take();
        if let Some(mut events) = handle.events.take() {
            loop {
                tokio::select! {
                    biased;
                    event = events.next() => match event {
                        Some(event) => {
                            told = event.seq;
                            progress.event(&event);
                        }
                        None => break,
                    },
                    piece = next_piece(&mut pieces) => progress.piece(&piece),
                }
            }
        }
        let loaded = handle.done().await.map_err(load_failure);
        // Whoever follows too slowly is let go: programs get the rest from the store.
        if let (Ok(loaded), Mode::Json) = (&loaded, self.mode)
            && told < loaded.head.seq
        {
            let rest = self.runtime.events(&id, told + 1).await.map_err(load_failure)?;
            rest.iter().for_each(|event| progress.event(event));
        }
        // Bars go before anything is printed.
        drop(progress);
        loaded
    }
}

/// The next piece of an answer; none comes where nobody speaks.
async fn next_piece(pieces: &mut Option<Pieces>) -> Piece {
    if let Some(piece) = match pieces {
        Some(pieces) => pieces.recv().await,
        None => None,
    } {
        return piece;
    }
    *pieces = None;
    std::future::pending().await
}

/// What to say when a run was interrupted: how to go on.
pub(super) fn say_resume(app: &App, ids: &[RunId]) {
    match ids {
        _ if app.settings.in_memory() => say("interrupted: nothing was kept (--memory)"),
        [] => say("interrupted"),
        [id] => say(&format!("interrupted: all that happened is kept; go on with\n  commedia resume {id}{}", place(app))),
        many => say(&format!("interrupted: {} runs are kept half-way; go on with\n  commedia resume{}", many.len(), place(app))),
    }
}

/// The flag that finds the same store again.
pub(super) fn place(app: &App) -> String {
    let given = std::env::args_os().skip(1).any(|a| a == "--data" || a.to_string_lossy().starts_with("--data="));
    if given { format!(" --data {}", app.settings.data.display()) } else { String::new() }
}
