//! An answer that comes in a stream of events: read within bounds, folded as it comes. One that did not say that it ended
//! is none; one that did is an answer, whatever becomes of its connection afterwards.

use std::time::Duration;

use crate::model::draft::Draft;
use crate::model::sse::{Events, Odd};
use crate::model::veil::Veil;
use crate::model::voice::Voice;
use crate::model::{Deltas, ModelError};
use crate::transport::{Arrival, Fault};

/// How long the end of a finished stream is waited for, so that its connection can be used again.
const DRAIN_WITHIN: Duration = Duration::from_millis(20);

/// What an event was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Taken.
    Known,
    /// Of a kind that is not known: passed over, and counted.
    Unknown,
    /// The last one.
    Over,
}

/// How an interface's events become an answer.
pub(crate) trait Fold: Send {
    /// Takes an event's data, and tells pieces of the answer's words.
    fn take(&mut self, data: &[u8], voice: &Voice, tell: &mut dyn FnMut(&str)) -> Result<Step, ModelError>;

    /// Whether the endpoint said why the answer ended.
    fn ended(&self) -> bool;

    /// What was gathered.
    fn draft(self: Box<Self>) -> Draft;
}

/// Why a stream gives no answer.
enum Stop {
    Over,
    Odd(Odd),
    Error(ModelError),
}

impl From<Odd> for Stop {
    fn from(odd: Odd) -> Stop {
        Stop::Odd(odd)
    }
}

/// Reads a stream to its end.
pub(crate) async fn read(
    mut arrival: Arrival,
    mut fold: Box<dyn Fold>,
    bound: usize,
    voice: &Voice,
    deltas: Option<&Deltas>,
) -> Result<Draft, ModelError> {
    let mut events = Events::new(bound);
    let mut unknown = 0_u64;
    let mut veil = voice.veil();
    let mut tell = |text: &str| tell(deltas, &veil.piece(text));
    loop {
        let chunk = match arrival.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(_) if fold.ended() => break,
            Err(fault) => return Err(voice.fault(fault)),
        };
        let taken = events.take(chunk.as_ref(), |data| match fold.take(data, voice, &mut tell) {
            Ok(Step::Known) => Ok(()),
            Ok(Step::Unknown) => {
                unknown += 1;
                Ok(())
            }
            Ok(Step::Over) => Err(Stop::Over),
            Err(error) => Err(Stop::Error(error)),
        });
        match taken {
            Ok(()) => {}
            Err(Stop::Over) => {
                arrival.drain(DRAIN_WITHIN).await;
                break;
            }
            Err(Stop::Odd(Odd::TooLong)) => return Err(voice.fault(Fault::TooLong("a line of its answer", bound))),
            Err(Stop::Error(error)) => return Err(error),
        }
    }
    if unknown > 0 {
        tracing::debug!(provider = voice.provider(), unknown, "events of an unknown kind were passed over");
    }
    told_last(deltas, &mut veil);
    Ok(fold.draft())
}

/// Tells a piece of an answer's words, where somebody listens: an empty one would say that it begins anew.
pub(crate) fn tell(deltas: Option<&Deltas>, piece: &str) {
    if let Some(deltas) = deltas.filter(|_| !piece.is_empty()) {
        deltas.tell(piece);
    }
}

/// Tells what was held back.
pub(crate) fn told_last(deltas: Option<&Deltas>, veil: &mut Veil<'_>) {
    tell(deltas, &veil.rest());
}
