//! The circuit breaker of an endpoint: one that fails again and again is left alone for a while, then tried by one request.
//!
//! ```text
//!           admit                                success           failure of its own kind       given up
//! Closed    yes                                  counts anew       one more in a row; at n: Open  –
//! Open      no; its pause over: HalfOpen, probe  –                 –                             –
//! HalfOpen  no: its probe is under way           probe's: Closed   probe's: Open                 probe's: the next probes
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// When an endpoint is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures in a row that open it.
    pub failures: u32,
    /// They count together within so long.
    pub window: Duration,
    /// How long it is left alone before one request tries again.
    pub pause: Duration,
}

impl Default for BreakerLimits {
    fn default() -> BreakerLimits {
        BreakerLimits { failures: 5, window: Duration::from_secs(30), pause: Duration::from_secs(5) }
    }
}

/// What was admitted; its outcome is told with it, once. One of an earlier state changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    age: u64,
    probe: bool,
}

#[derive(Debug)]
enum State {
    /// All are admitted. When each of the failures in a row was.
    Closed { failures: VecDeque<Instant> },
    /// None is, until then.
    Open { until: Instant },
    /// One is, at a time.
    HalfOpen { probing: bool },
}

/// A breaker. Total: any order of calls is well.
#[derive(Debug)]
pub(super) struct Breaker {
    limits: BreakerLimits,
    state: State,
    /// Counts changes of state.
    age: u64,
}

impl Breaker {
    pub(super) fn new(limits: BreakerLimits) -> Breaker {
        Breaker { limits, state: State::Closed { failures: VecDeque::new() }, age: 0 }
    }

    /// Whether a request may go out; if not, after how long it is worth asking again, where that is known.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Ticket, Option<Duration>> {
        match &mut self.state {
            State::Closed { .. } => Ok(Ticket { age: self.age, probe: false }),
            State::Open { until } if now < *until => Err(Some(*until - now)),
            State::Open { .. } => {
                self.change(State::HalfOpen { probing: true });
                Ok(Ticket { age: self.age, probe: true })
            }
            State::HalfOpen { probing: true } => Err(None),
            State::HalfOpen { probing } => {
                *probing = true;
                Ok(Ticket { age: self.age, probe: true })
            }
        }
    }

    /// Whether a request would be turned away now; nothing changes.
    pub(super) fn refuses(&self, now: Instant) -> Option<Option<Duration>> {
        match &self.state {
            State::Open { until } if now < *until => Some(Some(*until - now)),
            State::HalfOpen { probing: true } => Some(None),
            _ => None,
        }
    }

    /// The endpoint answered, whatever it said.
    pub(super) fn succeeded(&mut self, ticket: Ticket) {
        if ticket.age != self.age {
            return;
        }
        match &mut self.state {
            State::Closed { failures } => failures.clear(),
            State::HalfOpen { .. } if ticket.probe => self.change(State::Closed { failures: VecDeque::new() }),
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
    }

    /// The endpoint failed. Whether that opened the breaker.
    pub(super) fn failed(&mut self, ticket: Ticket, now: Instant) -> bool {
        if ticket.age != self.age {
            return false;
        }
        let opens = match &mut self.state {
            State::Closed { failures } => {
                failures.push_back(now);
                while failures.front().is_some_and(|first| now.duration_since(*first) > self.limits.window) {
                    failures.pop_front();
                }
                failures.len() >= self.limits.failures.max(1) as usize
            }
            State::HalfOpen { .. } => ticket.probe,
            State::Open { .. } => false,
        };
        if opens {
            self.change(State::Open { until: now + self.limits.pause });
        }
        opens
    }

    /// The request was given up before an outcome was known: another one may probe.
    pub(super) fn given_up(&mut self, ticket: Ticket) {
        if let State::HalfOpen { probing } = &mut self.state
            && ticket.age == self.age
            && ticket.probe
        {
            *probing = false;
        }
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.age += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: BreakerLimits = BreakerLimits { failures: 3, window: Duration::from_secs(10), pause: Duration::from_secs(5) };

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_probes_and_closes() {
        let start = Instant::now();
        let mut breaker = Breaker::new(LIMITS);
        let old = breaker.admit(start).expect("closed");
        for n in 0..3 {
            let ticket = breaker.admit(at(start, n)).expect("closed");
            assert_eq!(breaker.failed(ticket, at(start, n)), n == 2, "failure {n}");
        }
        assert_eq!(breaker.admit(at(start, 3)), Err(Some(Duration::from_secs(4))));
        breaker.succeeded(old);
        assert!(breaker.refuses(at(start, 6)).is_some(), "a late answer closes nothing");
        let probe = breaker.admit(at(start, 7)).expect("the pause is over");
        assert_eq!(breaker.admit(at(start, 7)), Err(None), "one probe at a time");
        assert!(breaker.failed(probe, at(start, 8)));
        assert_eq!(breaker.admit(at(start, 9)), Err(Some(Duration::from_secs(4))));
        let probe = breaker.admit(at(start, 13)).expect("the second pause is over");
        breaker.given_up(probe);
        let probe = breaker.admit(at(start, 13)).expect("a probe that was given up frees its place");
        breaker.succeeded(probe);
        assert!(breaker.admit(at(start, 13)).is_ok() && breaker.admit(at(start, 13)).is_ok());
    }

    #[test]
    fn failures_far_apart_or_with_a_success_between_do_not_open_it() {
        let start = Instant::now();
        let mut breaker = Breaker::new(LIMITS);
        for n in 0..20 {
            let ticket = breaker.admit(at(start, n * 6)).expect("closed");
            assert!(!breaker.failed(ticket, at(start, n * 6)), "failure {n}, six seconds apart");
        }
        for n in 0..20 {
            let ticket = breaker.admit(at(start, 200)).expect("closed");
            assert!(!breaker.failed(ticket, at(start, 200)), "failure {n}");
            breaker.succeeded(ticket);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Pass(u64),
        Admit,
        Succeed(usize),
        Fail(usize),
        GiveUp(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u64..7).prop_map(Step::Pass),
            Just(Step::Admit),
            Just(Step::Admit),
            (0_usize..6).prop_map(Step::Succeed),
            (0_usize..6).prop_map(Step::Fail),
            (0_usize..6).prop_map(Step::GiveUp),
        ]
    }

    proptest! {
        /// Whatever happens: at most one probe is under way; none is admitted before the pause is over; once all that was
        /// admitted is over and the pause has passed, somebody is admitted; and a probe that succeeds lets all in.
        #[test]
        fn any_order_of_events_keeps_its_promises(steps in prop::collection::vec(step(), 0..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(LIMITS);
            let mut open: Vec<Ticket> = Vec::new();
            let mut closed_until: Option<Instant> = None;
            for step in steps {
                let ticket = |open: &mut Vec<Ticket>, n: usize| (n < open.len()).then(|| open.swap_remove(n));
                match step {
                    Step::Pass(seconds) => now += Duration::from_secs(seconds),
                    Step::Admit => {
                        let refuses = breaker.refuses(now).is_some();
                        match breaker.admit(now) {
                            Ok(ticket) => {
                                prop_assert!(!refuses);
                                prop_assert!(closed_until.is_none_or(|until| now >= until), "admitted within the pause");
                                open.push(ticket);
                            }
                            Err(_) => prop_assert!(refuses),
                        }
                    }
                    Step::Succeed(n) => if let Some(ticket) = ticket(&mut open, n) {
                        let probes = ticket.probe && ticket.age == breaker.age;
                        breaker.succeeded(ticket);
                        if probes {
                            let is_closed = matches!(breaker.state, State::Closed { .. });
                            prop_assert!(is_closed);
                            closed_until = None;
                        }
                    },
                    Step::Fail(n) => if let Some(ticket) = ticket(&mut open, n)
                        && breaker.failed(ticket, now)
                    {
                        closed_until = Some(now + LIMITS.pause);
                    },
                    Step::GiveUp(n) => if let Some(ticket) = ticket(&mut open, n) {
                        breaker.given_up(ticket);
                    },
                }
                let probes = open.iter().filter(|t| t.probe && t.age == breaker.age).count();
                prop_assert!(probes <= 1, "{probes} probes at once");
            }
            open.drain(..).for_each(|ticket| breaker.given_up(ticket));
            prop_assert!(breaker.admit(now + LIMITS.pause).is_ok(), "nobody would ever be admitted again");
        }
    }
}
