//! `commedia user`, `workspace` and `key`: who may do what, on the data folder itself. Whoever can write there may do everything,
//! so no role is asked for. While a server owns the folder, the same is done over its API.

use clap::{Args, Subcommand};
use commedia_actors::identity::{Identity, IdentityError};
use commedia_actors::runtime::Runtime;
use commedia_actors::scope::WorkspaceId;
use commedia_domain::identity::{Change, Refusal, Role};
use commedia_domain::value::{timestamp_ms, timestamp_text};
use serde_json::{Value as Json, json};

use super::remote::with_schema;
use crate::app::{App, close};
use crate::failure::{Exit, Failure};
use crate::password;
use crate::remote::Remote;
use crate::report::columns;

/// Who acts, in the record of changes.
const PRINCIPAL: &str = "local";

#[derive(Debug, Args)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    what: UserWhat,
}

#[derive(Debug, Subcommand)]
enum UserWhat {
    /// Make a user; without a password in $COMMEDIA_PASSWORD one is made up and printed, once
    Create {
        /// The address to log in with
        #[arg(long, value_name = "ADDRESS")]
        email: String,
        /// What they may do: viewer, operator, admin or owner
        #[arg(long, value_name = "ROLE", default_value = "operator")]
        role: Role,
    },
    /// List the users of the workspace
    Ls,
    /// Remove a user, everywhere
    Revoke {
        /// Its id, or its address
        user: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct WorkspaceArgs {
    #[command(subcommand)]
    what: WorkspaceWhat,
}

#[derive(Debug, Subcommand)]
enum WorkspaceWhat {
    /// Make a workspace
    Create {
        /// What people call it
        name: String,
        /// Who owns it: a user's id or address
        #[arg(long, value_name = "USER")]
        owner: Option<String>,
        /// In an account of its own, whose users see nothing of the others'
        #[arg(long, conflicts_with = "owner")]
        new_account: bool,
    },
    /// List all workspaces
    Ls,
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    what: KeyWhat,
}

#[derive(Debug, Subcommand)]
enum KeyWhat {
    /// Make a key to the workspace; it is printed once
    Create {
        /// What people call it
        #[arg(long)]
        name: String,
        /// What it may do: viewer, operator, admin or owner
        #[arg(long, value_name = "ROLE", default_value = "operator")]
        role: Role,
        /// When it ends, such as 2027-01-01T00:00:00Z [default: never]
        #[arg(long, value_name = "MOMENT")]
        expires_at: Option<String>,
    },
    /// List the keys to the workspace
    Ls,
    /// Let a key open nothing any more
    Revoke {
        /// Its id
        key: String,
    },
}

fn failed(e: IdentityError) -> Failure {
    match e {
        IdentityError::Refused(refusal @ (Refusal::Wrong(..) | Refusal::Unknown(..))) => Failure::usage(refusal),
        IdentityError::Refused(refusal) => Failure::new(Exit::Usage, refusal),
        IdentityError::Load(e) => crate::app::load_failure(e),
        e => Failure::new(Exit::Store, e),
    }
}

/// Opens the folder, does something with its directory, and closes it.
async fn within<T>(app: &App, work: impl AsyncFnOnce(&Runtime, &Identity) -> Result<T, Failure>) -> Result<T, Failure> {
    if app.settings.in_memory() {
        return Err(Failure::usage("nothing is kept in memory: name a data folder"));
    }
    let runtime = app.open(1).await?;
    let done = match Identity::open(&runtime).await {
        Ok(identity) => match identity.local_workspace(PRINCIPAL).await {
            Ok(_) => work(&runtime, &identity).await,
            Err(e) => Err(failed(e)),
        },
        Err(e) => Err(failed(e)),
    };
    close(&runtime).await;
    done
}

fn table(head: &[&str], rows: &[Json], fields: &[&str]) -> String {
    let text =
        |json: &Json| json.as_str().map_or_else(|| if json.is_null() { String::new() } else { json.to_string() }, str::to_owned);
    let row = |row: &Json| fields.iter().map(|field| text(&row[*field])).collect();
    let head = head.iter().map(|h| (*h).to_owned()).collect();
    if rows.is_empty() { String::new() } else { columns(std::iter::once(head).chain(rows.iter().map(row)).collect()) }
}

fn list(app: &App, noun: &str, rows: &[Json], fields: &[&str]) -> Exit {
    let json = json!({"schema": format!("commedia.{noun}/v1"), "data": rows});
    app.console.list(&json, rows, || table(fields, rows, fields));
    Exit::Ok
}

/// A user by id or address.
fn user_id(identity: &Identity, word: &str) -> Result<String, Failure> {
    let directory = identity.directory();
    let known = directory.users.contains_key(word).then(|| word.to_owned());
    let known = known.or_else(|| directory.by_email(word).map(|(id, _)| id.to_owned()));
    known.ok_or_else(|| Failure::usage(format!("there is no user `{word}` here")).help("`commedia user ls` lists them"))
}

pub(super) async fn user(app: &App, args: &UserArgs) -> Result<Exit, Failure> {
    match &args.what {
        UserWhat::Create { email, role } => {
            let given = std::env::var("COMMEDIA_PASSWORD").ok().filter(|password| !password.is_empty());
            let chance = || commedia_actors::identity::new_id('p').map_err(failed);
            let word = match &given {
                Some(password) => password.clone(),
                None => chance()?,
            };
            let hash = password::hash(&word, &chance()?).await?;
            let made = within(app, async |runtime, identity| {
                let workspace = runtime.workspace();
                let account = identity.directory().workspace(workspace.as_str()).map(|w| w.account.clone());
                let account = account.map_err(Failure::usage)?;
                identity.add_user(&account, email, hash, workspace, *role, PRINCIPAL).await.map_err(failed)
            });
            let id = made.await?;
            let mut json =
                json!({"schema": "commedia.user/v1", "user_id": id, "email": email.trim().to_lowercase(), "role": role.word()});
            if given.is_none() {
                json["password"] = word.as_str().into();
            }
            let told = given.map_or_else(|| format!("password {word} (it is not told again)\n"), |_| String::new());
            app.console.document(&json, || format!("user {id}\n{told}"));
            Ok(Exit::Ok)
        }
        UserWhat::Ls => {
            let listed = within(app, async |runtime, identity| {
                let (directory, here) = (identity.directory(), runtime.workspace().to_string());
                let row = |(id, user): (&String, &commedia_domain::identity::User)| {
                    let role = directory.role(&here, id)?;
                    let created_at = timestamp_text(user.created_ms);
                    Some(json!({"user_id": id, "email": user.email, "role": role.word(), "created_at": created_at}))
                };
                Ok(directory.users.iter().filter_map(row).collect::<Vec<Json>>())
            });
            Ok(list(app, "users", &listed.await?, &["user_id", "email", "role", "created_at"]))
        }
        UserWhat::Revoke { user } => {
            let gone = within(app, async |_, identity| {
                let id = user_id(identity, user)?;
                identity.change(vec![Change::UserRemoved { user: id.clone() }], PRINCIPAL).await.map_err(failed)?;
                Ok(id)
            });
            let id = gone.await?;
            app.console
                .document(&json!({"schema": "commedia.user/v1", "user_id": id, "revoked": true}), || format!("{id} is gone\n"));
            Ok(Exit::Ok)
        }
    }
}

pub(super) async fn workspace(app: &App, args: &WorkspaceArgs) -> Result<Exit, Failure> {
    match &args.what {
        WorkspaceWhat::Create { name, owner, new_account } => {
            let made = within(app, async |runtime, identity| {
                let owner = owner.as_ref().map(|word| user_id(identity, word)).transpose()?;
                let account = match (&owner, new_account) {
                    (Some(owner), _) => {
                        identity.directory().user(owner).map(|user| user.account.clone()).map_err(Failure::usage)?
                    }
                    (None, true) => commedia_actors::identity::new_id('a').map_err(failed)?,
                    (None, false) => {
                        let directory = identity.directory();
                        let here = directory.workspace(runtime.workspace().as_str());
                        here.map(|workspace| workspace.account.clone()).map_err(Failure::usage)?
                    }
                };
                identity.add_workspace(&account, name, owner.as_deref(), PRINCIPAL).await.map_err(failed)
            });
            let id: WorkspaceId = made.await?;
            let json = json!({"schema": "commedia.workspace/v1", "workspace_id": id.as_str(), "name": name});
            app.console.document(&json, || format!("workspace {id}\n"));
            Ok(Exit::Ok)
        }
        WorkspaceWhat::Ls => {
            let listed = within(app, async |_, identity| {
                let directory = identity.directory();
                let row = |(id, w): (&String, &commedia_domain::identity::Workspace)| {
                    let created_at = timestamp_text(w.created_ms);
                    json!({"workspace_id": id, "name": w.name, "account_id": w.account, "members": w.members.len(), "created_at": created_at})
                };
                Ok(directory.workspaces.iter().map(row).collect::<Vec<Json>>())
            });
            Ok(list(app, "workspaces", &listed.await?, &["workspace_id", "name", "account_id", "members", "created_at"]))
        }
    }
}

pub(super) async fn key(app: &App, args: &KeyArgs) -> Result<Exit, Failure> {
    match &args.what {
        KeyWhat::Create { name, role, expires_at } => {
            let moment = |text: &String| {
                let wrong = || Failure::usage(format!("`{text}` is no moment")).help("one is 2027-01-01T00:00:00Z");
                timestamp_ms(text).ok_or_else(wrong)
            };
            let expires = expires_at.as_ref().map(moment).transpose()?;
            let made = within(app, async |runtime, identity| {
                identity.add_key(runtime.workspace(), name, *role, expires, PRINCIPAL).await.map_err(failed)
            });
            let made = made.await?;
            let json =
                json!({"schema": "commedia.key/v1", "key_id": made.key_id, "key": made.key, "name": name, "role": role.word()});
            app.console.document(&json, || format!("{}\n", made.key));
            app.console.note(&format!("{} is told once; `commedia key revoke {}` ends it", made.key_id, made.key_id));
            Ok(Exit::Ok)
        }
        KeyWhat::Ls => {
            let listed = within(app, async |runtime, identity| {
                let (directory, here) = (identity.directory(), runtime.workspace().as_str());
                let row = |(id, key): (&String, &commedia_domain::identity::Key)| {
                    let (created_at, expires_at) = (timestamp_text(key.created_ms), key.expires_ms.map(timestamp_text));
                    json!({"key_id": id, "name": key.name, "role": key.role.word(), "created_at": created_at, "expires_at": expires_at})
                };
                Ok(directory.keys.iter().filter(|(_, key)| key.workspace == here).map(row).collect::<Vec<Json>>())
            });
            Ok(list(app, "keys", &listed.await?, &["key_id", "name", "role", "created_at", "expires_at"]))
        }
        KeyWhat::Revoke { key } => {
            let revoked = within(app, async |runtime, identity| {
                let here = identity.directory().keys.get(key).is_some_and(|key| key.workspace == runtime.workspace().as_str());
                if !here {
                    return Err(Failure::usage(format!("there is no key `{key}` here")).help("`commedia key ls` lists them"));
                }
                identity.change(vec![Change::KeyRevoked { key: key.clone() }], PRINCIPAL).await.map_err(failed)
            });
            revoked.await?;
            app.console.document(&json!({"schema": "commedia.key/v1", "key_id": key, "revoked": true}), || {
                format!("{key} opens nothing any more\n")
            });
            Ok(Exit::Ok)
        }
    }
}

/// The same on a server, whose roles hold.
pub(super) async fn user_at(app: &App, remote: &Remote, args: &UserArgs) -> Result<Exit, Failure> {
    match &args.what {
        UserWhat::Create { email, role } => {
            let given = std::env::var("COMMEDIA_PASSWORD").ok().filter(|password| !password.is_empty());
            let word = match &given {
                Some(password) => password.clone(),
                None => commedia_actors::identity::new_id('p').map_err(failed)?,
            };
            let body = json!({"email": email, "password": word, "role": role.word()});
            let mut made = with_schema("user", &remote.post("/api/users", &body).await?);
            if given.is_none() {
                made["password"] = word.as_str().into();
            }
            let told = given.map_or_else(|| format!("password {word} (it is not told again)\n"), |_| String::new());
            app.console.document(&made, || format!("user {}\n{told}", made["user_id"].as_str().unwrap_or_default()));
            Ok(Exit::Ok)
        }
        UserWhat::Ls => Ok(listed(app, remote, "/api/users", "users", &["user_id", "email", "role", "created_at"]).await?),
        UserWhat::Revoke { user } => {
            let all = remote.get("/api/users").await?;
            let mut all = all["data"].as_array().into_iter().flatten();
            let known = all.find(|known| known["user_id"] == user.as_str() || known["email"] == user.to_lowercase());
            let id = known.and_then(|known| known["user_id"].as_str()).unwrap_or(user);
            revoked(app, remote, &format!("/api/users/{id}"), id).await
        }
    }
}

pub(super) async fn workspace_at(app: &App, remote: &Remote, args: &WorkspaceArgs) -> Result<Exit, Failure> {
    match &args.what {
        WorkspaceWhat::Create { owner: Some(_), .. } | WorkspaceWhat::Create { new_account: true, .. } => {
            Err(Failure::usage("on a server a new workspace is its maker's: --owner and --new-account are for the data folder"))
        }
        WorkspaceWhat::Create { name, .. } => {
            let made = with_schema("workspace", &remote.post("/api/workspaces", &json!({"name": name})).await?);
            app.console.document(&made, || format!("workspace {}\n", made["workspace_id"].as_str().unwrap_or_default()));
            Ok(Exit::Ok)
        }
        WorkspaceWhat::Ls => {
            Ok(listed(app, remote, "/api/workspaces", "workspaces", &["workspace_id", "name", "role", "members", "created_at"])
                .await?)
        }
    }
}

pub(super) async fn key_at(app: &App, remote: &Remote, args: &KeyArgs) -> Result<Exit, Failure> {
    match &args.what {
        KeyWhat::Create { name, role, expires_at } => {
            let mut body = json!({"name": name, "role": role.word()});
            if let Some(moment) = expires_at {
                body["expires_at"] = moment.as_str().into();
            }
            let made = with_schema("key", &remote.post("/api/keys", &body).await?);
            app.console.document(&made, || format!("{}\n", made["key"].as_str().unwrap_or_default()));
            Ok(Exit::Ok)
        }
        KeyWhat::Ls => {
            Ok(listed(app, remote, "/api/keys", "keys", &["key_id", "name", "role", "created_at", "expires_at"]).await?)
        }
        KeyWhat::Revoke { key } => revoked(app, remote, &format!("/api/keys/{key}"), key).await,
    }
}

async fn listed(app: &App, remote: &Remote, path: &str, noun: &str, fields: &[&str]) -> Result<Exit, Failure> {
    let found = remote.get(path).await?;
    Ok(list(app, noun, found["data"].as_array().map_or(&[], Vec::as_slice), fields))
}

async fn revoked(app: &App, remote: &Remote, path: &str, id: &str) -> Result<Exit, Failure> {
    remote.delete(path).await?;
    app.console.document(&json!({"schema": "commedia.done/v1", "id": id, "revoked": true}), || format!("{id} is gone\n"));
    Ok(Exit::Ok)
}
