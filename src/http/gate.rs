//! Who asks: from a key, a token or a ticket to an account, a workspace and a role.
//!
//! ```text
//! Authorization: Bearer cm_…  ──▶ a key of the directory ─────────────────────────────┐
//! Authorization: Bearer JWT   ──▶ signed by us, holds ──▶ its session is open ──▶ role ┼──▶ AuthContext
//! WebSocket: bearer.TOKEN or ?ticket=…, good once ────────────────────────────────────┘
//! ```
//! The role is looked up with every request, and where something is open for long, whenever somebody may have been put out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use commedia_actors::clock::WallClock;
use commedia_actors::identity::{Identity, IdentityError, is_key, principal, secret};
use commedia_actors::runtime::Runtime;
use commedia_actors::scope::WorkspaceId;
use commedia_domain::id::Hash32;
use commedia_domain::identity::{Refusal, Role};
use http::HeaderMap;
use tokio::sync::watch;

use super::problem::Problem;
use super::token::{self, Claims, Secret};

/// How long a ticket is good, milliseconds.
pub(crate) const TICKET_MS: i64 = 30_000;
/// Who has no end is looked at so often all the same.
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// Tickets that are open at once.
const TICKETS: usize = 10_000;

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever reaches a server without users.
    Anybody,
    User {
        id: String,
        session: String,
    },
    Key(String),
}

/// Who asks, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthContext {
    pub(crate) account_id: String,
    pub(crate) who: Who,
    pub(crate) workspace: WorkspaceId,
    pub(crate) role: Role,
    /// When the token ends, milliseconds since 1970 UTC.
    pub(crate) expires_ms: Option<i64>,
}

impl AuthContext {
    /// Whoever reaches a server without users, or asks for what is open to all.
    pub(crate) fn anybody() -> AuthContext {
        let local = WorkspaceId::local();
        AuthContext { account_id: "local".into(), who: Who::Anybody, workspace: local, role: Role::Owner, expires_ms: None }
    }

    /// The user, where it is one.
    pub(crate) fn user_id(&self) -> Option<&str> {
        match &self.who {
            Who::User { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The name in the causes of what it does.
    pub(crate) fn principal(&self) -> Arc<str> {
        match &self.who {
            Who::Anybody => "local".into(),
            Who::User { id, .. } => principal("user", id),
            Who::Key(id) => principal("key", id),
        }
    }
}

/// Where a bearer is looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bearer<'r> {
    pub(crate) token: Option<&'r str>,
    pub(crate) ticket: Option<&'r str>,
}

impl<'r> Bearer<'r> {
    /// What a request brings: a header, or a subprotocol of a WebSocket, or a ticket.
    pub(crate) fn of(headers: &'r HeaderMap, ticket: Option<&'r str>) -> Bearer<'r> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let scheme = |value: &'r str| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        };
        let protocol = || text("sec-websocket-protocol")?.split(',').find_map(|p| p.trim().strip_prefix("bearer."));
        // A header that is there and says something else is no bearer.
        let token = match text("authorization") {
            Some(value) => Some(scheme(value).unwrap_or_default()),
            None => protocol(),
        };
        Bearer { token, ticket }
    }
}

/// Lets people in, or everybody.
pub(crate) enum Gate {
    /// A server without users, on this machine alone.
    Open,
    Users(Box<Users>),
}

/// A server with users.
pub(crate) struct Users {
    pub(crate) identity: Identity,
    clock: WallClock,
    /// What lets the first user be made, until it is.
    setup: Mutex<Option<String>>,
    tickets: Mutex<HashMap<String, (AuthContext, i64)>>,
}

/// See [`Gate::watch`].
pub(crate) struct Watch(Option<watch::Receiver<u64>>);

impl Watch {
    /// Comes back when it is time to look again: something has changed, or a token ends, or is near its end. Dropping it loses nothing.
    pub(crate) async fn changed(&mut self, look_in: Option<Duration>) {
        let waits = tokio::time::timeout(look_in.unwrap_or(LONGEST_LOOK), async {
            let changed = match &mut self.0 {
                Some(changes) => changes.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                std::future::pending::<()>().await;
            }
        });
        drop(waits.await);
    }
}

/// The one answer to whoever is nobody.
pub(crate) fn unauthorized() -> Problem {
    Problem::new("unauthorized", "say who you are: `Authorization: Bearer` with an access token or an API key")
}

impl Gate {
    pub(crate) async fn of_users(runtime: &Runtime, clock: WallClock) -> Result<Gate, IdentityError> {
        let identity = Identity::open(runtime).await?;
        let setup = if identity.directory().users.is_empty() { Some(secret()?) } else { None };
        Ok(Gate::Users(Box::new(Users { identity, clock, setup: Mutex::new(setup), tickets: Mutex::default() })))
    }

    pub(crate) fn has_users(&self) -> bool {
        matches!(self, Gate::Users(_))
    }

    /// The users, of a server that has some.
    pub(crate) fn users(&self) -> Result<&Users, Problem> {
        match self {
            Gate::Users(users) => Ok(users),
            Gate::Open => Err(Problem::new("conflict", "this server has no users: it was started with `--auth none`")),
        }
    }

    /// What the set-up link carries, while there is no user.
    pub(crate) fn setup(&self) -> Option<String> {
        self.users().ok()?.setup()
    }

    /// Who asks.
    pub(crate) async fn let_in(&self, bearer: Bearer<'_>) -> Result<AuthContext, Problem> {
        let Gate::Users(users) = self else { return Ok(AuthContext::anybody()) };
        let found = match bearer {
            Bearer { token: Some(token), .. } if is_key(token) => users.by_key(token),
            Bearer { token: Some(token), .. } => users.by_token(token).await?,
            Bearer { ticket: Some(ticket), .. } => users.by_ticket(ticket).await?,
            _ => None,
        };
        found.ok_or_else(unauthorized)
    }

    /// Tells when somebody may be out who was in; of a server without users nothing ever does.
    pub(crate) fn watch(&self) -> Watch {
        match self {
            Gate::Open => Watch(None),
            Gate::Users(users) => Watch(Some(users.identity.changes())),
        }
    }

    /// The same as it is now, for what stays open for long; `None`: it may no longer.
    pub(crate) async fn still(&self, context: &AuthContext) -> Result<Option<AuthContext>, Problem> {
        match self {
            Gate::Open => Ok(Some(context.clone())),
            Gate::Users(users) => users.still(context).await,
        }
    }
}

impl Users {
    fn by_key(&self, text: &str) -> Option<AuthContext> {
        let (id, key) = self.identity.key(text)?;
        let account_id = self.identity.directory().workspace(&key.workspace).ok()?.account.clone();
        let workspace = key.workspace.parse().ok()?;
        Some(AuthContext { account_id, who: Who::Key(id), workspace, role: key.role, expires_ms: key.expires_ms })
    }

    async fn by_token(&self, text: &str) -> Result<Option<AuthContext>, Problem> {
        let claims = {
            let directory = self.identity.directory();
            let secret = directory.secret.as_ref().map(|(id, secret)| Secret(id, secret));
            secret.and_then(|secret| token::read(&secret, text, self.clock.now_ms()))
        };
        match claims {
            Some(claims) => self.of_claims(&claims).await,
            None => Ok(None),
        }
    }

    /// What a token says, as things stand now.
    async fn of_claims(&self, claims: &Claims) -> Result<Option<AuthContext>, Problem> {
        let Ok(workspace) = claims.ws.parse::<WorkspaceId>() else { return Ok(None) };
        let who = match &claims.sid {
            Some(session) => Who::User { id: claims.sub.clone(), session: session.clone() },
            None => Who::Key(claims.sub.clone()),
        };
        let expires_ms = i64::try_from(claims.exp).ok().map(|s| s.saturating_mul(1000));
        let context = AuthContext { account_id: String::new(), who, workspace, role: Role::Viewer, expires_ms };
        self.still(&context).await
    }

    async fn still(&self, context: &AuthContext) -> Result<Option<AuthContext>, Problem> {
        let now = self.clock.now_ms();
        if context.expires_ms.is_some_and(|end| now >= end) {
            return Ok(None);
        }
        if let Who::User { id, session } = &context.who {
            let open = self.identity.sessions().get(session).await?;
            let since = self.identity.directory().users.get(id).map(|user| user.since_ms);
            let holds = open.zip(since).is_some_and(|(open, since)| open.user == *id && open.opened_ms >= since);
            if !holds {
                return Ok(None);
            }
        }
        let directory = self.identity.directory();
        let workspace = context.workspace.as_str();
        let role = match &context.who {
            Who::Anybody => None,
            Who::User { id, .. } => directory.role(workspace, id),
            Who::Key(id) => {
                let key = directory.keys.get(id).filter(|key| key.workspace == workspace);
                key.filter(|key| key.expires_ms.is_none_or(|end| now < end)).map(|key| key.role)
            }
        };
        let account = directory.workspaces.get(workspace).map(|workspace| workspace.account.clone());
        Ok(role.zip(account).map(|(role, account_id)| AuthContext { role, account_id, ..context.clone() }))
    }

    /// An access token for a user's session, or for a key.
    pub(crate) fn issue(&self, subject: &str, session: Option<&str>, workspace: &str) -> Result<(String, Claims), Problem> {
        let directory = self.identity.directory();
        let Some((id, secret)) = &directory.secret else { return Err(Problem::internal("the directory has no secret")) };
        token::issue(&Secret(id, secret), subject, session, workspace, self.clock.now_ms())
    }

    /// A ticket that lets the same in once more, soon.
    pub(crate) fn ticket(&self, context: &AuthContext) -> Result<String, Problem> {
        let (ticket, now) = (secret()?, self.clock.now_ms());
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|_, (_, end)| now < *end);
        if tickets.len() >= TICKETS {
            return Err(Problem::new("busy", "too many tickets are open").after(1));
        }
        tickets.insert(ticket.clone(), (context.clone(), now + TICKET_MS));
        Ok(ticket)
    }

    async fn by_ticket(&self, ticket: &str) -> Result<Option<AuthContext>, Problem> {
        let found = self.tickets.lock().unwrap_or_else(PoisonError::into_inner).remove(ticket);
        match found.filter(|(_, end)| self.clock.now_ms() < *end) {
            Some((context, _)) => self.still(&context).await,
            None => Ok(None),
        }
    }

    /// What the set-up link carries, while there is no user.
    pub(crate) fn setup(&self) -> Option<String> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the set-up link carries, if this is it: it is good for nobody else from then on.
    pub(crate) fn take_setup(&self, given: &str) -> Option<SetUpLink<'_>> {
        // Hashes are compared, so that the time it takes tells nothing of what they stand for.
        let same = |wanted: &mut String| Hash32::of(wanted.as_bytes()) == Hash32::of(given.as_bytes());
        let link = self.setup.lock().unwrap_or_else(PoisonError::into_inner).take_if(same)?;
        Some(SetUpLink { users: self, link: Some(link) })
    }
}

/// A set-up link that is being used. Until somebody was made with it, it is good again when this is dropped.
pub(crate) struct SetUpLink<'u> {
    users: &'u Users,
    link: Option<String>,
}

impl SetUpLink<'_> {
    /// There is a user: the link is good no longer.
    pub(crate) fn used(mut self) {
        self.link = None;
    }
}

impl Drop for SetUpLink<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            *self.users.setup.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(e: IdentityError) -> Problem {
        match e {
            IdentityError::Refused(Refusal::Unknown(..)) => Problem::not_found(e),
            IdentityError::Refused(Refusal::Wrong(..)) => Problem::invalid_at("", e),
            IdentityError::Refused(_) => Problem::new("conflict", e),
            IdentityError::Load(e) => e.into(),
            IdentityError::Append(e) => e.into(),
            IdentityError::Chance(_) => Problem::internal(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_bearer_is_found_where_it_may_be() {
        let of = |headers: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            headers.iter().for_each(|(name, value)| drop(map.insert(*name, HeaderValue::from_static(value))));
            Bearer::of(&map, None).token.map(str::to_owned)
        };
        for (headers, expect) in [
            (&[][..], None),
            (&[("authorization", "Bearer abc")], Some("abc")),
            (&[("authorization", "bearer  abc")], Some("abc")),
            (&[("authorization", "Basic abc")], Some("")),
            (&[("authorization", "abc")], Some("")),
            (&[("sec-websocket-protocol", "commedia, bearer.abc")], Some("abc")),
            (&[("authorization", "Basic x"), ("sec-websocket-protocol", "bearer.abc")], Some("")),
            (&[("sec-websocket-protocol", "commedia")], None),
        ] {
            assert_eq!(of(headers).as_deref(), expect, "{headers:?}");
        }
    }
}
