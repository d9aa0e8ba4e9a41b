//! Attempts at a call that leaves the process: what one came to, which calls may be tried again, and what is then known. What
//! is told of a failure depends on what the other side did, never on how often it was tried.

use std::sync::Arc;
use std::time::Duration;

use commedia_domain::event::{Failure, FailureClass};
use commedia_domain::scenario::EffectClass;
use commedia_domain::tool::http::Retry;
use commedia_domain::value::Value;
use tokio::time::Instant;

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Called {
    /// The server's answer.
    Done(Value),
    /// It is certain that it failed.
    Failed(Failure),
    /// It may have happened: nobody knows. Only of a tool of class `effect`.
    Lost(Arc<str>),
}

/// What one attempt came to.
#[derive(Debug, PartialEq)]
pub(super) enum Attempt {
    /// The server did it, and answered.
    Done(Value),
    /// The server refused it, or answered something that cannot be used: trying again cannot help.
    Refused(String),
    /// The server did not do it now; after a while it may.
    Passing { why: String, after: Option<String> },
    /// No byte of it was sent.
    NotSent(String),
    /// It was sent, and nobody knows what became of it.
    Unclear(String),
}

/// How a call is to be made.
pub(super) struct Policy<'a> {
    /// The tool's name.
    pub(super) tool: &'a str,
    /// How often it may be performed.
    pub(super) class: EffectClass,
    /// Wall time it may take, all attempts together.
    pub(super) timeout: Duration,
    /// How it is tried again; only what may be repeated is.
    pub(super) retry: Option<Retry>,
    /// The step's key: the same at each attempt.
    pub(super) key: &'a str,
}

impl Policy<'_> {
    /// Makes attempts, each given the moment at which all must be over. `pause_of` reads what a server asks to wait.
    pub(super) async fn carry_out<F: Future<Output = Attempt>>(
        &self,
        mut attempt: impl FnMut(Instant) -> F,
        pause_of: impl Fn(&str) -> Option<Duration>,
    ) -> Called {
        let failed = |class: FailureClass, why: String| {
            Called::Failed(Failure { class, message: format!("`{}`: {why}", self.tool).into() })
        };
        let deadline = Instant::now() + self.timeout;
        let late = format!("no answer within {} s", self.timeout.as_secs_f64());
        let may_repeat = self.class != EffectClass::Effect;
        let mut tries = 0;
        loop {
            let tried = match tokio::time::timeout_at(deadline, attempt(deadline)).await {
                Ok(tried) => tried,
                Err(_) if may_repeat => return failed(FailureClass::Timeout, late),
                Err(_) => return Called::Lost(late.into()),
            };
            let (why, pause) = match tried {
                Attempt::Done(value) => return Called::Done(value),
                Attempt::Refused(why) => return failed(FailureClass::Tool, why),
                Attempt::NotSent(why) if !may_repeat => return failed(FailureClass::Tool, why),
                Attempt::Unclear(why) if !may_repeat => return Called::Lost(why.into()),
                Attempt::Passing { why, .. } if !may_repeat => return failed(FailureClass::Tool, why),
                Attempt::NotSent(why) | Attempt::Unclear(why) => (why, None),
                Attempt::Passing { why, after } => (why, after.and_then(|text| pause_of(&text))),
            };
            let Some(retry) = self.retry.filter(|retry| tries < retry.max) else { return failed(FailureClass::Tool, why) };
            let pause = pause.unwrap_or_default().max(jittered(&retry, self.key, tries));
            if Instant::now() + pause >= deadline {
                return failed(FailureClass::Tool, why);
            }
            tracing::debug!(tool = %self.tool, tries, ?pause, "the call is tried again");
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }
}

/// A pause of exponential growth with full jitter, drawn from the step's key: no two steps wait alike.
fn jittered(retry: &Retry, key: &str, tries: u32) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "pauses are short")]
    let (initial, most) = (retry.initial_ms as f64, retry.max_delay_ms as f64);
    let ceiling = (initial * retry.factor.powi(i32::try_from(tries).unwrap_or(i32::MAX))).min(most);
    let mut mixed = u64::from_str_radix(key.get(..16).unwrap_or_default(), 16).unwrap_or_default();
    mixed = mixed.wrapping_add(u64::from(tries).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    #[expect(clippy::cast_precision_loss, reason = "53 bits of it")]
    let share = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
    Duration::from_secs_f64((ceiling * share / 1000.0).max(0.0))
}
