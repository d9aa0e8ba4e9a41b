//! What a new run does before it needs an orchestrator: it decides what it can at once. Where it then only waits for a moment, it
//! is passive from the beginning; else its orchestrator goes on from there.
//!
//! ```text
//! created ──decide, as often as it can──▶ waits: one append, an entry in the table of timers, no actor
//!     └── owes something, is full, has worked for a leg, or is over ──▶ an orchestrator goes on
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use commedia_domain::event::Created;
use commedia_domain::run::{Command, Refusal};
use ractor::ActorProcessingErr;
use tokio::time::Instant;

use super::{Begin, LEG, Origin, State};
use crate::live::{Live, Shared};
use crate::rebuild::{Death, panic_words};

/// How a new run stands after what it could do at once.
pub(crate) enum SetOut {
    /// It waits, durably, and nobody works on it.
    Waits,
    /// Its orchestrator goes on; nothing is durable yet.
    Goes(Box<State>),
}

/// Begins a new run without an orchestrator. Whoever calls it sees to it that it is not dropped midway: what has become durable must
/// be in the table of timers.
pub(crate) async fn set_out(shared: &Arc<Shared>, live: &Arc<Live>, created: Box<Created>) -> Result<SetOut, Death> {
    let begin = Begin { live: live.clone(), shared: shared.clone(), origin: Origin::New(created), first: None };
    let decided = catch_unwind(AssertUnwindSafe(|| {
        let mut state = State::begin(begin)?;
        Ok((state.decide_ahead()?, state))
    }));
    let decided = decided.unwrap_or_else(|panic| Err(panic_words(&*panic).into()));
    let (waits, mut state) = decided.map_err(|e: ActorProcessingErr| Death::of(&e))?;
    let Some(at) = waits else { return Ok(SetOut::Goes(state)) };
    state.settle(at).await.map_err(Death::Store)?;
    state.leave();
    Ok(SetOut::Waits)
}

impl State {
    /// Decides what can be decided without waiting; the moment comes back that the run waits for, if it does nothing else.
    fn decide_ahead(&mut self) -> Result<Option<i64>, ActorProcessingErr> {
        let began = Instant::now();
        while began.elapsed() <= LEG && !self.log.is_full() {
            match self.run.decide(Command::Proceed { wall: self.shared.clock.now_ms() }) {
                Ok(events) => self.take(events)?,
                Err(Refusal::Wait(at)) => return Ok(Some(at)),
                // Whatever it is, the orchestrator hears it again.
                Err(_) => break,
            }
        }
        Ok(None)
    }
}
