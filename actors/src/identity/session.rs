//! Sessions: what a user's log-in began, one stream each.
//!
//! ```text
//! Opened ──refresh with the newest token──▶ Rotated … ──log-out, a token used twice, too long without──▶ Revoked | over
//! ```
//! A token that refreshes is good once. One that comes again was stolen, or its thief was quicker: nobody can tell, and so the
//! session ends for both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use commedia_domain::event::ENGINE;
use commedia_domain::id::Hash32;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{INSTANCE, IdentityError, chance, instance_stream, is_same, secret};
use crate::clock::WallClock;
use crate::log::{LoadError, cause};
use crate::run_id::Digits;
use crate::store::frame::{FrameBuilder, Lane};
use crate::store::live::LiveRow;
use crate::store::{Append, AppendError, Head, Store, StreamId, StreamKind};

/// How long a session may rest between refreshes: 30 days.
const REST_MS: i64 = 30 * 86_400_000;
/// How long it may last: 90 days.
const LAST_MS: i64 = 90 * 86_400_000;
/// Sessions that are kept in memory; the others are read when they are asked for.
const KEPT: usize = 100_000;
/// Bytes of a session's stream that are read at once.
const PAGE_BYTES: usize = 64 * 1024;
/// Sessions that are looked through at once for those that are over.
const PAGE: usize = 1000;
/// The names of their streams begin so.
const STREAM: &str = "session-";
/// A token that refreshes begins so.
const MARK: &str = "cr_";

/// What happens to a session, as it is stored. The order of the variants is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum SessionEvent {
    Opened { user: String, workspace: String, token: [u8; 32] },
    Rotated { workspace: String, token: [u8; 32] },
    Revoked { reason: String },
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub user: String,
    /// The workspace that its tokens are for.
    pub workspace: String,
    /// When it began.
    pub opened_ms: i64,
    /// When it was refreshed last.
    rotated_ms: i64,
    token: [u8; 32],
    revoked: bool,
    head: Head,
}

impl Session {
    fn is_open(&self, now: i64) -> bool {
        !self.revoked && now < self.rotated_ms.saturating_add(REST_MS) && now < self.opened_ms.saturating_add(LAST_MS)
    }
}

/// What a log-in, or a refresh, gives.
pub struct Opened {
    /// The session's id.
    pub id: String,
    /// How it stands.
    pub session: Session,
    /// What refreshes it next, once.
    pub token: String,
}

/// Why a session was not refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// It is over, or never was; or the token is an old one, and now it is over.
    #[error("the session is over: log in again")]
    Over,
    /// As with the directory.
    #[error("{0}")]
    Identity(#[from] IdentityError),
}

impl From<LoadError> for RefreshError {
    fn from(e: LoadError) -> RefreshError {
        RefreshError::Identity(e.into())
    }
}

/// The sessions of one store. What is over stays over: the newest word on each is in memory or read.
pub struct Sessions {
    store: Store,
    clock: WallClock,
    known: Mutex<HashMap<String, Session>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Sessions {
    pub(super) fn new(store: Store, clock: WallClock, changed: Arc<watch::Sender<u64>>) -> Sessions {
        Sessions { store, clock, known: Mutex::default(), changed }
    }

    /// A user has logged in.
    pub async fn open(&self, user: &str, workspace: &str) -> Result<Opened, IdentityError> {
        let (id, now) = (chance()?, self.clock.now_ms());
        let (token, hash) = new_token(&id)?;
        let event = SessionEvent::Opened { user: user.into(), workspace: workspace.into(), token: hash };
        let (head, user, workspace) = (self.append(&id, Head::START, &event, user).await?, user.into(), workspace.into());
        let session = Session { user, workspace, opened_ms: now, rotated_ms: now, token: hash, revoked: false, head };
        self.keep(&id, &session);
        Ok(Opened { id, session, token })
    }

    /// A session goes on with a new token, in the same workspace or in another one, which `may` says of its user.
    pub async fn refresh(
        &self,
        token: &str,
        may: impl FnOnce(&Session) -> Option<String> + Send,
    ) -> Result<Opened, RefreshError> {
        let id = token.strip_prefix(MARK).and_then(|rest| rest.split_once('_')).map(|(id, _)| id).filter(|id| Digits::are(id));
        let id = id.ok_or(RefreshError::Over)?.to_owned();
        let mut session = self.find(&id).await?.ok_or(RefreshError::Over)?;
        let now = self.clock.now_ms();
        if !session.is_open(now) {
            return Err(RefreshError::Over);
        }
        if !is_same(&Hash32::of(token.as_bytes()).0, &session.token) {
            self.revoke(&id, "a token was used twice").await?;
            return Err(RefreshError::Over);
        }
        let Some(workspace) = may(&session) else {
            return Err(RefreshError::Over);
        };
        let (next, hash) = new_token(&id)?;
        let event = SessionEvent::Rotated { workspace: workspace.clone(), token: hash };
        match self.append(&id, session.head, &event, &session.user).await {
            Ok(head) => session = Session { workspace, rotated_ms: now, token: hash, head, ..session },
            // Two came with the same token at the same moment.
            Err(IdentityError::Append(AppendError::Conflict { .. })) => {
                self.forget(&id);
                self.revoke(&id, "a token was used twice").await?;
                return Err(RefreshError::Over);
            }
            Err(e) => return Err(e.into()),
        }
        self.keep(&id, &session);
        Ok(Opened { id, session, token: next })
    }

    /// A session is over, for whoever has any of its tokens.
    pub async fn revoke(&self, id: &str, reason: &str) -> Result<(), IdentityError> {
        loop {
            let Some(session) = self.find(id).await?.filter(|session| !session.revoked) else { return Ok(()) };
            let event = SessionEvent::Revoked { reason: reason.into() };
            match self.append(id, session.head, &event, &session.user).await {
                Ok(head) => {
                    self.keep(id, &Session { revoked: true, head, ..session });
                    self.changed.send_modify(|count| *count += 1);
                    return Ok(());
                }
                Err(IdentityError::Append(AppendError::Conflict { .. })) => self.forget(id),
                Err(e) => return Err(e),
            }
        }
    }

    /// A session that is open now.
    pub async fn get(&self, id: &str) -> Result<Option<Session>, IdentityError> {
        if !Digits::are(id) {
            return Ok(None);
        }
        Ok(self.find(id).await?.filter(|session| session.is_open(self.clock.now_ms())))
    }

    async fn find(&self, id: &str) -> Result<Option<Session>, IdentityError> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(Some(known.clone()));
        }
        let found = self.read(&instance_stream(&format!("{STREAM}{id}"))?).await?;
        if let Some(session) = &found {
            self.keep(id, session);
        }
        Ok(found)
    }

    async fn read(&self, stream: &StreamId) -> Result<Option<Session>, IdentityError> {
        let (mut found, mut head): (Option<Session>, Head) = (None, Head::START);
        loop {
            let frames = self.store.read_after(stream, &head, PAGE_BYTES).await.map_err(LoadError::from)?;
            let Some(last) = frames.last() else { break };
            head = last.head();
            for frame in &frames {
                let at = frame.header.cause.wall_ms;
                for (seq, record) in frame.events() {
                    let event = postcard::from_bytes(&record.bytes);
                    match (event.map_err(|e| LoadError::damaged(stream, seq, e.to_string()))?, &mut found) {
                        (SessionEvent::Opened { user, workspace, token }, found) => {
                            let (opened_ms, rotated_ms) = (at, at);
                            *found = Some(Session { user, workspace, opened_ms, rotated_ms, token, revoked: false, head });
                        }
                        (SessionEvent::Rotated { workspace, token }, Some(session)) => {
                            (session.workspace, session.token, session.rotated_ms) = (workspace, token, at);
                        }
                        (SessionEvent::Revoked { .. }, Some(session)) => session.revoked = true,
                        (_, None) => {}
                    }
                }
            }
        }
        Ok(found.map(|session| Session { head, ..session }))
    }

    /// Deletes the sessions that are over for good; how many.
    pub async fn forget_over(&self) -> Result<usize, IdentityError> {
        let (now, mut after, mut deleted) = (self.clock.now_ms(), None, 0);
        loop {
            let page = self.store.streams(INSTANCE, StreamKind::Identity, after.as_ref(), PAGE).await.map_err(LoadError::from)?;
            let Some(last) = page.last() else { return Ok(deleted) };
            after = Some(last.stream.clone());
            let mut over = Vec::new();
            for listed in page {
                let Some(id) = listed.stream.id().strip_prefix(STREAM) else { continue };
                if self.read(&listed.stream).await?.is_some_and(|session| !session.is_open(now)) {
                    self.forget(id);
                    over.push(listed);
                }
            }
            deleted += self.store.delete_listed(over.into_iter(), now).await?;
        }
    }

    async fn append(&self, id: &str, expected: Head, event: &SessionEvent, user: &str) -> Result<Head, IdentityError> {
        let stream = instance_stream(&format!("{STREAM}{id}"))?;
        let lease = self.store.lease(&stream);
        let why = cause("session", &super::principal("user", user), &[], self.clock.now_ms());
        let mut frame = FrameBuilder::new(ENGINE, &expected, lease.epoch, why);
        let bytes = postcard::to_stdvec(event).map_err(|e| LoadError::Stopped(e.to_string()))?;
        frame.push(Lane::Operational, &bytes).map_err(|_| LoadError::Stopped("an event does not fit into a frame".into()))?;
        let frame = frame.encode().ok_or_else(|| LoadError::Stopped("a frame is empty".into()))?;
        let append = Append { stream, expected, lease, frame, blobs: Vec::new(), meta: None, live: LiveRow::Keep };
        Ok(self.store.append(append).await?)
    }

    fn keep(&self, id: &str, session: &Session) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            let oldest = self.clock.now_ms().saturating_sub(REST_MS / 30);
            known.retain(|_, session| session.rotated_ms > oldest);
            if known.len() >= KEPT {
                known.clear();
            }
        }
        known.insert(id.to_owned(), session.clone());
    }

    fn forget(&self, id: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// A token that refreshes a session, and its hash.
fn new_token(id: &str) -> Result<(String, [u8; 32]), IdentityError> {
    let token = format!("{MARK}{id}_{}", secret()?);
    let hash = Hash32::of(token.as_bytes()).0;
    Ok((token, hash))
}
