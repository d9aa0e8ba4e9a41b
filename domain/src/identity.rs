//! Who may do what: users and keys, the workspaces they work in, and their roles there. One machine: [`Directory::decide`] says
//! whether a change may be, [`Directory::apply`] makes it so. Secrets come in as hashes.
//!
//! ```text
//! user:      added ──password──▶ … ──removed──▶ gone (with every membership)
//! workspace: added ──members come and go, one owner at least──▶ removed (with its keys)
//! key:       added ──revoked, or expired──▶ of no use
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What somebody may do in a workspace; each role may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Start runs and command them.
    Operator,
    /// Let others in, and keys.
    Admin,
    /// Everything, the workspace's end included.
    Owner,
}

impl Role {
    /// All, from the least.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Operator, Role::Admin, Role::Owner];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
            Role::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Role, Refusal> {
        Role::ALL
            .into_iter()
            .find(|role| role.word() == text)
            .ok_or(Refusal::Wrong("role", "is viewer, operator, admin or owner"))
    }
}

/// A change of the directory, as it is stored. The order of the variants is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A user is there.
    UserAdded {
        /// Its id.
        user: String,
        /// Whose user it is: what belongs together, across workspaces.
        account: String,
        /// By which it is known when it logs in; in lower case.
        email: String,
        /// The password's hash, in PHC's form.
        password: String,
    },
    /// A user has another password; sessions from before are over.
    PasswordSet {
        /// Whose.
        user: String,
        /// Its hash.
        password: String,
    },
    /// A user is gone.
    UserRemoved {
        /// Who.
        user: String,
    },
    /// A workspace is there.
    WorkspaceAdded {
        /// Its id.
        workspace: String,
        /// Whose it is.
        account: String,
        /// What people call it.
        name: String,
    },
    /// A workspace is called otherwise.
    WorkspaceRenamed {
        /// Which.
        workspace: String,
        /// What it is called.
        name: String,
    },
    /// Nobody works in a workspace any more.
    WorkspaceRemoved {
        /// Which.
        workspace: String,
    },
    /// A user has a role in a workspace.
    MemberSet {
        /// Where.
        workspace: String,
        /// Who.
        user: String,
        /// Which.
        role: Role,
    },
    /// A user has none any more.
    MemberRemoved {
        /// Where.
        workspace: String,
        /// Who.
        user: String,
    },
    /// A key opens a workspace.
    KeyAdded {
        /// Its id.
        key: String,
        /// Where.
        workspace: String,
        /// What people call it.
        name: String,
        /// What it may do.
        role: Role,
        /// The hash of its secret.
        hash: [u8; 32],
        /// When it ends, milliseconds since 1970 UTC.
        expires_ms: Option<i64>,
    },
    /// A key opens nothing any more.
    KeyRevoked {
        /// Which.
        key: String,
    },
    /// What tokens are signed with from now on.
    SecretSet {
        /// Its name in tokens.
        id: String,
        /// The secret.
        secret: [u8; 32],
    },
}

/// Why a change may not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A value is no good: which, and how it must be.
    #[error("{0} {1}")]
    Wrong(&'static str, &'static str),
    /// There is no such thing.
    #[error("there is no {0} `{1}` here")]
    Unknown(&'static str, String),
    /// It is there already.
    #[error("{0} `{1}` is there already")]
    Taken(&'static str, String),
    /// Nobody could let anybody in any more.
    #[error("a workspace has one owner at least: make somebody else its owner first")]
    LastOwner,
    /// There are too many.
    #[error("there are {1} {0} already, and no more can be")]
    Full(&'static str, usize),
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Whose user it is.
    pub account: String,
    /// By which it logs in.
    pub email: String,
    /// The password's hash.
    pub password: String,
    /// When it came.
    pub created_ms: i64,
    /// Since when its password holds: sessions from before are over.
    pub since_ms: i64,
}

/// A workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Whose it is.
    pub account: String,
    /// What people call it.
    pub name: String,
    /// When it came.
    pub created_ms: i64,
    /// Who works in it, and how.
    pub members: BTreeMap<String, Role>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The workspace that it opens.
    pub workspace: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The hash of its secret.
    pub hash: [u8; 32],
    /// When it came.
    pub created_ms: i64,
    /// When it ends.
    pub expires_ms: Option<i64>,
}

/// Users, workspaces and keys at most.
const USERS: usize = 100_000;
const WORKSPACES: usize = 100_000;
const KEYS: usize = 1_000;
/// Characters of a name.
const NAME: usize = 100;
/// Characters of an address.
const EMAIL: usize = 254;

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Users by id.
    pub users: BTreeMap<String, User>,
    /// Workspaces by id.
    pub workspaces: BTreeMap<String, Workspace>,
    /// Keys by id.
    pub keys: BTreeMap<String, Key>,
    /// What tokens are signed with, and its name.
    pub secret: Option<(String, [u8; 32])>,
    by_email: BTreeMap<String, String>,
}

/// An address as it is kept: in lower case.
pub fn email(text: &str) -> Result<String, Refusal> {
    let wrong = Refusal::Wrong("an email address", "looks like `ann@example.com`");
    let text = text.trim().to_lowercase();
    let (name, place) = text.split_once('@').ok_or_else(|| wrong.clone())?;
    let fine = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
    let is_one = !name.is_empty() && !place.is_empty() && name.chars().chain(place.chars()).all(fine);
    if is_one && text.chars().count() <= EMAIL { Ok(text) } else { Err(wrong) }
}

fn check_name(text: &str) -> Result<(), Refusal> {
    let is_one = !text.trim().is_empty() && text.chars().count() <= NAME && !text.chars().any(char::is_control);
    if is_one { Ok(()) } else { Err(Refusal::Wrong("a name", "is text of 1 to 100 characters on one line")) }
}

fn unknown(what: &'static str, id: &str) -> Refusal {
    Refusal::Unknown(what, id.chars().take(64).collect())
}

impl Directory {
    /// Whether a change may be.
    pub fn decide(&self, change: &Change) -> Result<(), Refusal> {
        match change {
            Change::UserAdded { user, email: address, .. } => {
                email(address)?;
                if self.users.contains_key(user) {
                    return Err(Refusal::Taken("user", user.clone()));
                }
                if self.by_email.contains_key(address) {
                    return Err(Refusal::Taken("a user with the address", address.clone()));
                }
                full("users", self.users.len(), USERS)
            }
            Change::PasswordSet { user, .. } => self.user(user).map(drop),
            Change::UserRemoved { user } => {
                self.user(user)?;
                let last = |workspace: &&Workspace| workspace.is_last_owner(user);
                self.workspaces.values().find(last).map_or(Ok(()), |_| Err(Refusal::LastOwner))
            }
            Change::WorkspaceAdded { workspace, name, .. } => {
                check_name(name)?;
                if self.workspaces.contains_key(workspace) {
                    return Err(Refusal::Taken("workspace", workspace.clone()));
                }
                full("workspaces", self.workspaces.len(), WORKSPACES)
            }
            Change::WorkspaceRenamed { workspace, name } => {
                check_name(name)?;
                self.workspace(workspace).map(drop)
            }
            Change::WorkspaceRemoved { workspace } => self.workspace(workspace).map(drop),
            Change::MemberSet { workspace, user, role } => {
                self.user(user)?;
                let workspace = self.workspace(workspace)?;
                if *role < Role::Owner && workspace.is_last_owner(user) { Err(Refusal::LastOwner) } else { Ok(()) }
            }
            Change::MemberRemoved { workspace, user } => {
                let workspace = self.workspace(workspace)?;
                if !workspace.members.contains_key(user) {
                    return Err(unknown("member", user));
                }
                if workspace.is_last_owner(user) { Err(Refusal::LastOwner) } else { Ok(()) }
            }
            Change::KeyAdded { key, workspace, name, .. } => {
                check_name(name)?;
                self.workspace(workspace)?;
                if self.keys.contains_key(key) {
                    return Err(Refusal::Taken("key", key.clone()));
                }
                full("keys", self.keys.values().filter(|k| k.workspace == *workspace).count(), KEYS)
            }
            Change::KeyRevoked { key } => self.keys.get(key).map(drop).ok_or_else(|| unknown("key", key)),
            Change::SecretSet { .. } => Ok(()),
        }
    }

    /// Makes a change true.
    pub fn apply(&mut self, change: &Change, at_ms: i64) {
        match change.clone() {
            Change::UserAdded { user, account, email, password } => {
                self.by_email.insert(email.clone(), user.clone());
                self.users.insert(user, User { account, email, password, created_ms: at_ms, since_ms: at_ms });
            }
            Change::PasswordSet { user, password } => {
                if let Some(user) = self.users.get_mut(&user) {
                    (user.password, user.since_ms) = (password, at_ms);
                }
            }
            Change::UserRemoved { user } => {
                if let Some(gone) = self.users.remove(&user) {
                    self.by_email.remove(&gone.email);
                }
                for workspace in self.workspaces.values_mut() {
                    workspace.members.remove(&user);
                }
            }
            Change::WorkspaceAdded { workspace, account, name } => {
                self.workspaces.insert(workspace, Workspace { account, name, created_ms: at_ms, members: BTreeMap::new() });
            }
            Change::WorkspaceRenamed { workspace, name } => {
                if let Some(workspace) = self.workspaces.get_mut(&workspace) {
                    workspace.name = name;
                }
            }
            Change::WorkspaceRemoved { workspace } => {
                self.workspaces.remove(&workspace);
                self.keys.retain(|_, key| key.workspace != workspace);
            }
            Change::MemberSet { workspace, user, role } => {
                if let Some(workspace) = self.workspaces.get_mut(&workspace) {
                    workspace.members.insert(user, role);
                }
            }
            Change::MemberRemoved { workspace, user } => {
                if let Some(workspace) = self.workspaces.get_mut(&workspace) {
                    workspace.members.remove(&user);
                }
            }
            Change::KeyAdded { key, workspace, name, role, hash, expires_ms } => {
                self.keys.insert(key, Key { workspace, name, role, hash, created_ms: at_ms, expires_ms });
            }
            Change::KeyRevoked { key } => drop(self.keys.remove(&key)),
            Change::SecretSet { id, secret } => self.secret = Some((id, secret)),
        }
    }

    /// A user that is there.
    pub fn user(&self, id: &str) -> Result<&User, Refusal> {
        self.users.get(id).ok_or_else(|| unknown("user", id))
    }

    /// A workspace that is there.
    pub fn workspace(&self, id: &str) -> Result<&Workspace, Refusal> {
        self.workspaces.get(id).ok_or_else(|| unknown("workspace", id))
    }

    /// Who logs in with an address.
    pub fn by_email(&self, text: &str) -> Option<(&str, &User)> {
        let id = self.by_email.get(&email(text).ok()?)?;
        self.users.get(id).map(|user| (id.as_str(), user))
    }

    /// A user's role in a workspace.
    pub fn role(&self, workspace: &str, user: &str) -> Option<Role> {
        self.workspaces.get(workspace)?.members.get(user).copied()
    }

    /// The workspaces that a user works in, the oldest first.
    pub fn memberships<'d>(&'d self, user: &str) -> Vec<(&'d str, &'d Workspace, Role)> {
        let mut found: Vec<(&str, &Workspace, Role)> =
            self.workspaces.iter().filter_map(|(id, w)| Some((id.as_str(), w, *w.members.get(user)?))).collect();
        found.sort_by_key(|(id, workspace, _)| (workspace.created_ms, *id));
        found
    }
}

fn full(what: &'static str, count: usize, most: usize) -> Result<(), Refusal> {
    if count < most { Ok(()) } else { Err(Refusal::Full(what, count)) }
}

impl Workspace {
    fn is_last_owner(&self, user: &str) -> bool {
        self.members.get(user) == Some(&Role::Owner) && self.members.values().filter(|role| **role == Role::Owner).count() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> Change {
        Change::UserAdded { user: id.into(), account: "a".into(), email: format!("{id}@x.org"), password: "hash".into() }
    }

    fn member(user: &str, role: Role) -> Change {
        Change::MemberSet { workspace: "w".into(), user: user.into(), role }
    }

    fn gone(user: &str) -> Change {
        Change::MemberRemoved { workspace: "w".into(), user: user.into() }
    }

    fn key(name: &str) -> Change {
        let (key, workspace) = (format!("k-{name}"), "w".into());
        Change::KeyAdded { key, workspace, name: name.into(), role: Role::Viewer, hash: [7; 32], expires_ms: None }
    }

    fn staged() -> Directory {
        let mut directory = Directory::default();
        let workspace = Change::WorkspaceAdded { workspace: "w".into(), account: "a".into(), name: "Shop".into() };
        let changes = [user("ann"), user("bob"), workspace, member("ann", Role::Owner), member("bob", Role::Viewer), key("ci")];
        for (at, change) in (1..).zip(&changes) {
            assert_eq!(directory.decide(change), Ok(()), "{change:?}");
            directory.apply(change, at);
        }
        directory
    }

    #[test]
    fn what_may_not_be_is_refused() {
        let directory = staged();
        let check = |change: Change, words: &str| {
            let refused = directory.decide(&change).map_or_else(|e| e.to_string(), |()| String::new());
            assert_eq!(refused, words, "{change:?}");
        };
        check(user("ann"), "user `ann` is there already");
        let twin =
            Change::UserAdded { user: "c".into(), account: "a".into(), email: "ann@x.org".into(), password: String::new() };
        check(twin, "a user with the address `ann@x.org` is there already");
        check(member("ann", Role::Admin), "a workspace has one owner at least: make somebody else its owner first");
        check(gone("ann"), "a workspace has one owner at least: make somebody else its owner first");
        check(
            Change::UserRemoved { user: "ann".into() },
            "a workspace has one owner at least: make somebody else its owner first",
        );
        check(gone("eve"), "there is no member `eve` here");
        check(member("eve", Role::Viewer), "there is no user `eve` here");
        check(key("ci"), "key `k-ci` is there already");
        check(key(" "), "a name is text of 1 to 100 characters on one line");
        check(Change::KeyRevoked { key: "k".into() }, "there is no key `k` here");
        check(Change::PasswordSet { user: "eve".into(), password: String::new() }, "there is no user `eve` here");
        check(member("bob", Role::Owner), "");
    }

    #[test]
    fn what_goes_takes_along_what_hangs_on_it() {
        let mut directory = staged();
        directory.apply(&Change::UserRemoved { user: "bob".into() }, 9);
        assert_eq!((directory.role("w", "bob"), directory.by_email("BOB@x.org")), (None, None));
        assert_eq!(directory.by_email(" Ann@X.org ").map(|(id, _)| id), Some("ann"));
        directory.apply(&Change::PasswordSet { user: "ann".into(), password: "new".into() }, 10);
        assert_eq!(directory.users["ann"].since_ms, 10);
        assert_eq!(directory.memberships("ann").len(), 1);
        directory.apply(&Change::WorkspaceRemoved { workspace: "w".into() }, 11);
        assert_eq!((directory.keys.len(), directory.memberships("ann").len()), (0, 0));
    }

    #[test]
    fn an_address_is_one_in_lower_case() {
        for (text, expect) in
            [("Ann@Example.COM", Some("ann@example.com")), ("ann", None), ("@x", None), ("a b@x", None), ("a@b@c", None)]
        {
            assert_eq!(email(text).ok().as_deref(), expect, "{text}");
        }
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin && Role::Admin < Role::Owner);
        for role in Role::ALL {
            assert_eq!(role.word().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }
}
