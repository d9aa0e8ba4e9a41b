//! The directory of users, workspaces and keys, kept in a stream of its own, and the sessions of users, each in a stream.
//!
//! ```text
//! a change ──decide──▶ durable ──apply──▶ seen by every request from then on
//! ```
//! One writes at a time; whoever reads waits for nobody. The stream is the record of who changed what, and when.

mod session;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use commedia_domain::event::ENGINE;
use commedia_domain::id::Hash32;
use commedia_domain::identity::{Change, Directory, Key, Refusal, Role};

use self::session::Sessions;
pub use self::session::{Opened, RefreshError, Session};
use tokio::sync::watch;

use crate::clock::WallClock;
use crate::log::{LoadError, cause};
use crate::run_id::Digits;
use crate::runtime::Runtime;
use crate::scope::WorkspaceId;
use crate::store::frame::{FrameBuilder, Lane};
use crate::store::live::LiveRow;
use crate::store::{Append, AppendError, Head, Store, StreamId, StreamKind};

/// The workspace, of the store alone, that holds what belongs to none.
const INSTANCE: &str = "instance";
const DIRECTORY: &str = "directory";
/// Bytes of the directory's stream that are read at once.
const PAGE_BYTES: usize = 1024 * 1024;
/// A key begins so.
const KEY_MARK: &str = "cm_";

/// A new name or secret of 128 bits, as text.
fn chance() -> Result<String, IdentityError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|e| IdentityError::Chance(e.to_string()))?;
    Ok(Digits::of(bits))
}

/// A new secret of 256 bits, as text.
pub fn secret() -> Result<String, IdentityError> {
    Ok(chance()? + &chance()?)
}

/// The id of something new: `u` for a user, `a` for an account, and so on.
pub fn new_id(kind: char) -> Result<String, IdentityError> {
    Ok(format!("{kind}_{}", chance()?))
}

/// Why the directory was not changed, or a session not opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IdentityError {
    /// It may not be.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It cannot be read.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// It was not acknowledged.
    #[error("{0}")]
    Append(#[from] AppendError),
    /// The system has no random bits.
    #[error("the system gives no random bits: {0}")]
    Chance(String),
}

/// The directory and the sessions of one store.
pub struct Identity {
    store: Store,
    clock: WallClock,
    directory: RwLock<Directory>,
    head: tokio::sync::Mutex<Head>,
    sessions: Sessions,
    /// Counts what may have put somebody out.
    changed: Arc<watch::Sender<u64>>,
}

/// A key that was just made; its text is never shown again.
pub struct NewKey {
    /// Its id.
    pub key_id: String,
    /// What opens.
    pub key: String,
}

impl Identity {
    /// The directory as its stream has it; a new one gets what tokens are signed with.
    pub async fn open(runtime: &Runtime) -> Result<Identity, IdentityError> {
        let (store, clock) = (runtime.shared.store.clone(), runtime.shared.clock);
        let stream = instance_stream(DIRECTORY)?;
        let (mut directory, mut head) = (Directory::default(), Head::START);
        loop {
            let frames = store.read_after(&stream, &head, PAGE_BYTES).await.map_err(LoadError::from)?;
            let Some(last) = frames.last() else { break };
            head = last.head();
            for frame in &frames {
                for (seq, record) in frame.events() {
                    let damaged = |e: postcard::Error| LoadError::damaged(&stream, seq, e.to_string());
                    let change: Change = postcard::from_bytes(&record.bytes).map_err(damaged)?;
                    directory.apply(&change, frame.header.cause.wall_ms);
                }
            }
        }
        let is_new = directory.secret.is_none();
        let changed = Arc::new(watch::Sender::new(0));
        let sessions = Sessions::new(store.clone(), clock, changed.clone());
        let identity = Identity { store, clock, directory: RwLock::new(directory), head: head.into(), sessions, changed };
        if is_new {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map_err(|e| IdentityError::Chance(e.to_string()))?;
            identity.change(vec![Change::SecretSet { id: chance()?, secret }], "local").await?;
        }
        Ok(identity)
    }

    /// How things stand.
    pub fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes all or nothing; durable when this comes back.
    pub async fn change(&self, changes: Vec<Change>, principal: &str) -> Result<(), IdentityError> {
        let mut head = self.head.lock().await;
        let now = self.clock.now_ms();
        match changes.as_slice() {
            [] => return Ok(()),
            [one] => self.directory().decide(one)?,
            several => {
                // Each as it may be behind those before it.
                let mut trial = self.directory().clone();
                for change in several {
                    trial.decide(change)?;
                    trial.apply(change, now);
                }
            }
        }
        let stream = instance_stream(DIRECTORY)?;
        let lease = self.store.lease(&stream);
        let mut frame = FrameBuilder::new(ENGINE, &head, lease.epoch, cause("directory", &principal.into(), &[], now));
        for change in &changes {
            let bytes = postcard::to_stdvec(change).map_err(|e| LoadError::Stopped(e.to_string()))?;
            frame.push(Lane::Operational, &bytes).map_err(|_| LoadError::Stopped("a change does not fit into a frame".into()))?;
        }
        let Some(frame) = frame.encode() else { return Ok(()) };
        let append = Append { stream, expected: *head, lease, frame, blobs: Vec::new(), meta: None, live: LiveRow::Keep };
        *head = self.store.append(append).await?;
        let mut directory = self.directory.write().unwrap_or_else(PoisonError::into_inner);
        changes.iter().for_each(|change| directory.apply(change, now));
        drop(directory);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// A new user, with a role in a workspace.
    pub async fn add_user(
        &self,
        account: &str,
        email: &str,
        password: String,
        workspace: &WorkspaceId,
        role: Role,
        principal: &str,
    ) -> Result<String, IdentityError> {
        let (user, email) = (new_id('u')?, commedia_domain::identity::email(email)?);
        let added = Change::UserAdded { user: user.clone(), account: account.into(), email, password };
        let member = Change::MemberSet { workspace: workspace.to_string(), user: user.clone(), role };
        self.change(vec![added, member], principal).await?;
        Ok(user)
    }

    /// The first user, whose account and whose workspace of the local data folder come with it. Refused once there is one.
    pub async fn set_up(&self, email: &str, password: String, principal: &str) -> Result<String, IdentityError> {
        if !self.directory().users.is_empty() {
            return Err(Refusal::Taken("user", "first".into()).into());
        }
        let local = self.local_workspace(principal).await?;
        self.add_user(&local, email, password, &WorkspaceId::local(), Role::Owner, principal).await
    }

    /// The account of the local data folder's workspace, both made where they are not there.
    pub async fn local_workspace(&self, principal: &str) -> Result<String, IdentityError> {
        let local = WorkspaceId::local();
        let known = self.directory().workspaces.get(local.as_str()).map(|workspace| workspace.account.clone());
        if let Some(account) = known {
            return Ok(account);
        }
        let account = new_id('a')?;
        let name = local.to_string();
        self.change(vec![Change::WorkspaceAdded { workspace: name.clone(), account: account.clone(), name }], principal).await?;
        Ok(account)
    }

    /// A new workspace of an account, with an owner where one is named.
    pub async fn add_workspace(
        &self,
        account: &str,
        name: &str,
        owner: Option<&str>,
        principal: &str,
    ) -> Result<WorkspaceId, IdentityError> {
        let id = WorkspaceId::new();
        let workspace = id.to_string();
        let added = Change::WorkspaceAdded { workspace: workspace.clone(), account: account.into(), name: name.into() };
        let member = owner.map(|user| Change::MemberSet { workspace, user: user.into(), role: Role::Owner });
        self.change([added].into_iter().chain(member).collect(), principal).await?;
        Ok(id)
    }

    /// A new key to a workspace.
    pub async fn add_key(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        role: Role,
        expires_ms: Option<i64>,
        principal: &str,
    ) -> Result<NewKey, IdentityError> {
        let digits = chance()?;
        let (key_id, key) = (format!("k_{digits}"), format!("{KEY_MARK}{digits}_{}", secret()?));
        let (workspace, name) = (workspace.to_string(), name.to_owned());
        let hash = Hash32::of(key.as_bytes()).0;
        self.change(vec![Change::KeyAdded { key: key_id.clone(), workspace, name, role, hash, expires_ms }], principal).await?;
        Ok(NewKey { key_id, key })
    }

    /// The key that a text is, if it opens anything now.
    pub fn key(&self, text: &str) -> Option<(String, Key)> {
        let digits = text.strip_prefix(KEY_MARK)?.get(..26)?;
        let id = format!("k_{digits}");
        let key = self.directory().keys.get(&id).cloned()?;
        let fits = is_same(&Hash32::of(text.as_bytes()).0, &key.hash);
        (fits && key.expires_ms.is_none_or(|end| self.clock.now_ms() < end)).then_some((id, key))
    }

    /// Tells whenever somebody may be out who was in: what is open for long looks again then.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The sessions of users.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }
}

/// Compares in a time that does not tell where two differ.
fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn instance_stream(id: &str) -> Result<StreamId, LoadError> {
    StreamId::new(INSTANCE, StreamKind::Identity, id).map_err(|e| LoadError::Stopped(e.to_string()))
}

/// Whether a text begins as a key does: so a bearer's kind is told.
pub fn is_key(text: &str) -> bool {
    text.starts_with(KEY_MARK)
}

/// A principal's name in causes: `user:…` or `key:…`.
pub fn principal(kind: &str, id: &str) -> Arc<str> {
    format!("{kind}:{id}").into()
}
