//! The workspace's budget of a day: what its runs may spend on models together, handed out in slices.
//!
//! Each day has a stream of kind `budget`; its last event says how much was handed out so far. A slice is durable there before
//! a run hears of it, and durable in the run before the run spends it. So whatever ends in between, no more is ever spent than
//! was handed out; what a slice lost that way is missing for the rest of that day. A run gives back what it did not need.

use std::collections::HashMap;
use std::sync::Arc;

use commedia_domain::event::{Amount, Event};
use tokio::sync::Mutex;

use crate::log::{LoadError, LogWriter, cause, read_page};
use crate::scope::WorkspaceId;
use crate::store::digest::Digest;
use crate::store::live::LiveRow;
use crate::store::{Head, Store, StreamId, StreamKind};

/// Into how many slices a day's budget is cut: a run takes one at least, so that it does not ask for each step.
const SLICES: u64 = 50;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// What a workspace's runs may spend together on a day (UTC); `None`: as much as they want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayLimits {
    /// Tokens in and out.
    pub tokens: Option<u64>,
    /// Millionths of a USD.
    pub micro_usd: Option<u64>,
}

impl DayLimits {
    /// Whether there is any.
    pub fn is_set(&self) -> bool {
        self.tokens.is_some() || self.micro_usd.is_some()
    }
}

/// The budgets of the day that is: each workspace has its own, with the same limits.
pub(crate) struct DayBudget {
    limits: DayLimits,
    store: Store,
    today: Mutex<HashMap<WorkspaceId, Today>>,
}

struct Today {
    day: i64,
    given: Amount,
    log: LogWriter,
}

/// The day of a moment, from 1970-01-01, UTC.
pub(crate) fn day_of(wall_ms: i64) -> i64 {
    wall_ms.div_euclid(DAY_MS)
}

impl DayBudget {
    pub(crate) fn new(limits: DayLimits, store: Store) -> DayBudget {
        DayBudget { limits, store, today: Mutex::default() }
    }

    pub(crate) fn limits(&self) -> DayLimits {
        self.limits
    }

    /// More of a day's budget for a run that is so much short of it: a slice at least, and no more than is left. Durable.
    pub(crate) async fn grant(&self, workspace: &WorkspaceId, wall_ms: i64, short: Amount) -> Result<Amount, LoadError> {
        let DayLimits { tokens, micro_usd } = self.limits;
        let mut today = self.today.lock().await;
        let today = self.open(&mut today, workspace, wall_ms).await?;
        let share = |limit: Option<u64>, given: u64, short: u64| match limit {
            Some(limit) if short > 0 => short.max(limit / SLICES).min(limit.saturating_sub(given)),
            _ => 0,
        };
        let more = Amount {
            tokens: share(tokens, today.given.tokens, short.tokens),
            micro_usd: share(micro_usd, today.given.micro_usd, short.micro_usd),
        };
        if !more.is_nothing() {
            self.write(today, today.given.plus(more), "grant", wall_ms).await?;
        }
        Ok(more)
    }

    /// A run did not need so much of what it was given on a day. Of another day than this one nothing is left to give back to.
    pub(crate) async fn give_back(
        &self,
        workspace: &WorkspaceId,
        wall_ms: i64,
        day: i64,
        amount: Amount,
    ) -> Result<(), LoadError> {
        let mut today = self.today.lock().await;
        let today = self.open(&mut today, workspace, wall_ms).await?;
        if today.day == day && !amount.is_nothing() {
            self.write(today, today.given.less(amount), "give-back", wall_ms).await?;
        }
        Ok(())
    }

    /// What was handed out on the day that is.
    pub(crate) async fn given(&self, workspace: &WorkspaceId, wall_ms: i64) -> Result<Amount, LoadError> {
        if !self.limits.is_set() {
            return Ok(Amount::default());
        }
        let mut today = self.today.lock().await;
        Ok(self.open(&mut today, workspace, wall_ms).await?.given)
    }

    /// The day's stream, read where this is the first look at it.
    async fn open<'t>(
        &self,
        today: &'t mut HashMap<WorkspaceId, Today>,
        workspace: &WorkspaceId,
        wall_ms: i64,
    ) -> Result<&'t mut Today, LoadError> {
        let day = day_of(wall_ms);
        if today.get(workspace).is_none_or(|t| t.day != day) {
            // Yesterday's are of no more use.
            today.retain(|_, t| t.day == day);
            today.insert(workspace.clone(), self.read(workspace, day, wall_ms).await?);
        }
        today.get_mut(workspace).ok_or_else(|| LoadError::Stopped("the day's budget is not there".into()))
    }

    async fn read(&self, workspace: &WorkspaceId, day: i64, wall_ms: i64) -> Result<Today, LoadError> {
        let stream = StreamId::new(workspace.as_str(), StreamKind::Budget, &format!("day-{day}"));
        let stream = stream.map_err(|e| LoadError::Stopped(e.to_string()))?;
        let (mut given, mut head) = (Amount::default(), Head::START);
        loop {
            let (events, end) = read_page(&self.store, &stream, &head).await?;
            let Some(last) = events.last() else { break };
            if let Event::BudgetGranted { amount, .. } = &*last.event {
                given = *amount;
            }
            head = end.head;
        }
        let lease = self.store.lease(&stream);
        let log = LogWriter::new(stream, lease, head, Digest::new(), why("grant", wall_ms));
        Ok(Today { day, given, log })
    }

    async fn write(&self, today: &mut Today, given: Amount, kind: &'static str, wall_ms: i64) -> Result<(), LoadError> {
        today.log.set_cause(why(kind, wall_ms));
        today.log.push(Event::BudgetGranted { day: today.day, amount: given })?;
        let written = today.log.flush(&self.store, None, LiveRow::Keep).await;
        match written {
            Ok(_) => today.given = given,
            // Nobody knows whether it is durable: the next look reads the stream again.
            Err(e) => {
                today.day = i64::MIN;
                return Err(e.into());
            }
        }
        Ok(())
    }
}

fn why(kind: &'static str, wall_ms: i64) -> crate::store::frame::Cause {
    cause(kind, &Arc::from("local"), &[], wall_ms)
}
