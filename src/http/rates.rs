//! How often somebody may ask: by address before anybody knows who it is, then by user or key, and by workspace. governor's one
//! home. What is refused is told when to come again; with each answer stands what is left (draft-ietf-httpapi-ratelimit-headers).

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use commedia_actors::scope::WorkspaceId;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::problem::Problem;
use crate::settings::rates::{Rate, RateSettings};

/// Whoever did not come for a while is forgotten, looked at so often.
const FORGET_EVERY: Duration = Duration::from_secs(60);

struct Limit<K: Hash + Eq + Clone> {
    name: &'static str,
    rate: Rate,
    keyed: RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(name: &'static str, rate: Option<Rate>) -> Option<Limit<K>> {
        let rate = rate?;
        let count = NonZeroU32::new(rate.count)?;
        let quota = Quota::with_period(rate.per / rate.count)?.allow_burst(count);
        Some(Limit { name, rate, keyed: RateLimiter::keyed(quota).with_middleware() })
    }

    /// What is left for the key after this; the problem where nothing is.
    fn check(&self, key: &K) -> Result<Left, Problem> {
        match self.keyed.check_key(key) {
            Ok(left) => {
                let refill = (self.rate.per / self.rate.count.max(1)).as_secs();
                Ok(Left { name: self.name, rate: self.rate, remaining: left.remaining_burst_capacity(), refill })
            }
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now()).as_secs_f64().ceil();
                let Rate { count, per } = self.rate;
                let words = format!("no more than {count} requests in {} s by {}", per.as_secs(), self.name);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a wait, not below 0")]
                let wait = wait as u64;
                let left = Left { name: self.name, rate: self.rate, remaining: 0, refill: wait };
                Err(Problem { left: Some(Box::new(left)), ..Problem::new("busy", words).after(wait) })
            }
        }
    }
}

/// What somebody may still ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    name: &'static str,
    rate: Rate,
    remaining: u32,
    /// Seconds until there is more.
    refill: u64,
}

impl Left {
    /// `RateLimit` and `RateLimit-Policy`.
    pub(crate) fn headers(&self) -> (String, String) {
        let (name, Rate { count, per }) = (self.name, self.rate);
        let refill = self.refill.max(1);
        (format!("\"{name}\";r={};t={refill}", self.remaining), format!("\"{name}\";q={count};w={}", per.as_secs().max(1)))
    }
}

/// All of them.
pub(crate) struct Rates {
    address: Option<Limit<IpAddr>>,
    principal: Option<Limit<Arc<str>>>,
    workspace: Option<Limit<WorkspaceId>>,
    log_in: Option<Limit<IpAddr>>,
    log_in_user: Option<Limit<String>>,
}

/// One client may have many addresses of a network of version 6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        other => other.to_canonical(),
    }
}

impl Rates {
    pub(crate) fn new(settings: &RateSettings) -> Rates {
        Rates {
            address: Limit::new("address", settings.address),
            principal: Limit::new("principal", settings.principal),
            workspace: Limit::new("workspace", settings.workspace),
            log_in: Limit::new("log-in", settings.log_in),
            log_in_user: Limit::new("log-in", settings.log_in),
        }
    }

    /// None at all: for a server that only its own machine reaches.
    pub(crate) fn none() -> Rates {
        Rates { address: None, principal: None, workspace: None, log_in: None, log_in_user: None }
    }

    /// Before anybody knows who asks.
    pub(crate) fn address(&self, peer: Option<IpAddr>) -> Result<(), Problem> {
        match (&self.address, peer) {
            (Some(limit), Some(peer)) => limit.check(&network(peer)).map(drop),
            _ => Ok(()),
        }
    }

    /// Once it is known; what is left of the narrower one.
    pub(crate) fn known(&self, principal: &Arc<str>, workspace: &WorkspaceId) -> Result<Option<Left>, Problem> {
        let one = self.principal.as_ref().map(|limit| limit.check(principal)).transpose()?;
        let all = self.workspace.as_ref().map(|limit| limit.check(workspace)).transpose()?;
        Ok([one, all].into_iter().flatten().min_by_key(|left| left.remaining))
    }

    /// Somebody tries a password: few times, from one address and for one user.
    pub(crate) fn log_in(&self, peer: Option<IpAddr>, email: &str) -> Result<(), Problem> {
        if let (Some(limit), Some(peer)) = (&self.log_in, peer) {
            limit.check(&network(peer))?;
        }
        match &self.log_in_user {
            Some(limit) => limit.check(&email.trim().to_lowercase()).map(drop),
            None => Ok(()),
        }
    }

    /// Forgets whoever has all of it left, from time to time.
    pub(crate) async fn forget(self: Arc<Self>) {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            self.address.iter().for_each(|limit| limit.keyed.retain_recent());
            self.principal.iter().for_each(|limit| limit.keyed.retain_recent());
            self.workspace.iter().for_each(|limit| limit.keyed.retain_recent());
            self.log_in.iter().for_each(|limit| limit.keyed.retain_recent());
            self.log_in_user.iter().for_each(|limit| limit.keyed.retain_recent());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_rate_the_answer_says_when_to_come_again() {
        let rate = Some(Rate { count: 2, per: Duration::from_secs(3600) });
        let settings = RateSettings { address: rate, principal: rate, workspace: None, log_in: rate };
        let rates = Rates::new(&settings);
        let peer = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        let refused = |found: Result<(), Problem>| found.map_err(|problem| (problem.code, problem.retry_after.is_some()));
        for (at, expect) in [
            ("10.0.0.1", Ok(())),
            ("10.0.0.1", Ok(())),
            ("10.0.0.1", Err(("busy", true))),
            ("::ffff:10.0.0.1", Err(("busy", true))),
            ("10.0.0.2", Ok(())),
            ("2001:db8::1", Ok(())),
            ("2001:db8::2", Ok(())),
            ("2001:db8::3", Err(("busy", true))),
            ("2001:db8:0:1::3", Ok(())),
        ] {
            assert_eq!(refused(rates.address(peer(at))), expect, "{at}");
        }
        let known = rates.known(&"user:a".into(), &WorkspaceId::local()).expect("the first").expect("a limit");
        assert_eq!(known.headers(), ("\"principal\";r=1;t=1800".into(), "\"principal\";q=2;w=3600".into()));
        for (email, at, expect) in [
            ("a@x", "10.1.0.1", Ok(())),
            (" A@x", "10.1.0.2", Ok(())),
            ("a@X", "10.1.0.3", Err(("busy", true))),
            ("b@x", "10.1.0.1", Ok(())),
            ("c@x", "10.1.0.1", Err(("busy", true))),
        ] {
            assert_eq!(refused(rates.log_in(peer(at), email)), expect, "{email} {at}");
        }
        assert!((0..9).all(|_| Rates::none().address(peer("::1")).is_ok()));
    }
}
