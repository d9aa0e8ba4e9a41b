//! Users, workspaces, who works in them, and keys. A path that names a user or a workspace is checked against whoever asks: what is
//! not theirs answers like what is not there.

use std::sync::Arc;

use commedia_domain::id::Hash32;
use commedia_domain::identity::{Change, Directory, Key, Role, Workspace};
use commedia_domain::run::budget::usd;
use commedia_domain::value::{timestamp_ms, timestamp_text};
use http::{StatusCode, header};
use serde_json::json;

use super::Api;
use super::auth::{hashed, may_give};
use super::exchange::{Answer, Asked, Handled};
use super::gate::AuthContext;
use super::problem::Problem;
use super::wire::{
    KeyMade, KeyView, KeysPage, MemberRole, MemberView, MembersPage, NewKey, NewMember, NewUser, NewWorkspace, UsageView,
    UserView, UsersPage, WorkspaceView, WorkspacesPage,
};

fn no(what: &str, id: &str) -> Problem {
    Problem::not_found(format!("there is no {what} `{id}` here"))
}

/// The workspace that a path names, if it is the asker's.
fn workspace_of<'d>(directory: &'d Directory, asked: &Asked) -> Result<&'d Workspace, Problem> {
    let id = asked.place(0);
    let theirs = || (asked.context.workspace.as_str() == id).then(|| directory.workspaces.get(id)).flatten();
    theirs().ok_or_else(|| no("workspace", id))
}

fn user_view(directory: &Directory, workspace: &str, id: &str) -> Option<UserView> {
    let user = directory.users.get(id)?;
    let role = directory.role(workspace, id)?;
    let created_at = timestamp_text(user.created_ms);
    Some(UserView { user_id: id.to_owned(), email: user.email.clone(), role: role.word(), created_at })
}

/// Whether the asker may change what a member may do: nobody above them.
fn above(directory: &Directory, context: &AuthContext, user: &str) -> Result<(), Problem> {
    match directory.role(context.workspace.as_str(), user) {
        Some(role) if role > context.role => {
            Err(Problem::new("forbidden", format!("the role {} cannot change somebody who is {role}", context.role)))
        }
        _ => Ok(()),
    }
}

pub(crate) async fn users(api: Arc<Api>, asked: Asked) -> Handled {
    let directory = api.gate.users()?.identity.directory();
    let workspace = asked.context.workspace.as_str();
    let members = directory.workspaces.get(workspace).into_iter().flat_map(|w| w.members.keys());
    let all = members.filter_map(|id| user_view(&directory, workspace, id)).collect();
    asked.listed(all, |user: &UserView| user.user_id.clone(), |data, next| UsersPage { data, next })
}

/// A new user of the asker's account, with a role in the asker's workspace.
pub(crate) async fn add_user(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: NewUser = asked.body()?;
    let (users, context) = (api.gate.users()?, &asked.context);
    may_give(context.role, wanted.role)?;
    let hash = hashed(&wanted.password, "/password").await?;
    let principal = context.principal();
    let added = users.identity.add_user(&context.account_id, &wanted.email, hash, &context.workspace, wanted.role, &principal);
    let id = added.await?;
    let directory = users.identity.directory();
    let view = user_view(&directory, context.workspace.as_str(), &id).ok_or_else(|| no("user", &id))?;
    Ok(Answer::json(&view).status(StatusCode::CREATED).with(header::LOCATION, &format!("/api/users/{id}")))
}

pub(crate) async fn user(api: Arc<Api>, asked: Asked) -> Handled {
    let (id, directory) = (asked.place(0), api.gate.users()?.identity.directory());
    // Everybody may see themselves; who lets others in, those.
    let may = asked.context.user_id() == Some(id) || asked.context.role >= Role::Admin;
    let view = user_view(&directory, asked.context.workspace.as_str(), id).filter(|_| may);
    Ok(Answer::json(&view.ok_or_else(|| no("user", id))?))
}

/// The user is gone, everywhere.
pub(crate) async fn remove_user(api: Arc<Api>, asked: Asked) -> Handled {
    let (users, id) = (api.gate.users()?, asked.place(0));
    {
        let directory = users.identity.directory();
        let context = &asked.context;
        let myself = context.user_id() == Some(id);
        let may = myself || context.role >= Role::Admin;
        user_view(&directory, context.workspace.as_str(), id).filter(|_| may).ok_or_else(|| no("user", id))?;
        above(&directory, context, id)?;
        if !myself && directory.memberships(id).len() > 1 {
            return Err(Problem::new("conflict", "this user works in other workspaces, too: take the membership away instead"));
        }
    }
    users.identity.change(vec![Change::UserRemoved { user: id.into() }], &asked.context.principal()).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

fn workspace_view(id: &str, workspace: &Workspace, role: Role) -> WorkspaceView {
    WorkspaceView {
        workspace_id: id.to_owned(),
        name: workspace.name.clone(),
        role: role.word(),
        members: workspace.members.len(),
        created_at: timestamp_text(workspace.created_ms),
    }
}

/// Of what a request can change of it.
fn workspace_tag(workspace: &Workspace) -> String {
    format!("\"{}\"", &Hash32::of(workspace.name.as_bytes()).to_string()[..16])
}

/// Those in which a user has a role; of a key, its own.
pub(crate) async fn workspaces(api: Arc<Api>, asked: Asked) -> Handled {
    let directory = api.gate.users()?.identity.directory();
    let context = &asked.context;
    let all = match context.user_id() {
        Some(user) => directory.memberships(user).into_iter().map(|(id, w, role)| workspace_view(id, w, role)).collect(),
        None => {
            let id = context.workspace.as_str();
            directory.workspaces.get(id).map(|workspace| workspace_view(id, workspace, context.role)).into_iter().collect()
        }
    };
    asked.listed(all, |workspace: &WorkspaceView| workspace.workspace_id.clone(), |data, next| WorkspacesPage { data, next })
}

/// A new workspace of the asker's account, which the asker owns.
pub(crate) async fn add_workspace(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: NewWorkspace = asked.body()?;
    let (users, context) = (api.gate.users()?, &asked.context);
    let owner = context.user_id().ok_or_else(|| Problem::new("conflict", "a key cannot own a workspace: log in as a user"))?;
    let principal = context.principal();
    let id = users.identity.add_workspace(&context.account_id, &wanted.name, Some(owner), &principal).await?;
    let directory = users.identity.directory();
    let workspace = directory.workspace(id.as_str()).map_err(|_| no("workspace", id.as_str()))?;
    let view = workspace_view(id.as_str(), workspace, Role::Owner);
    Ok(Answer::json(&view).status(StatusCode::CREATED).with(header::LOCATION, &format!("/api/workspaces/{id}")))
}

pub(crate) async fn workspace(api: Arc<Api>, asked: Asked) -> Handled {
    let directory = api.gate.users()?.identity.directory();
    let workspace = workspace_of(&directory, &asked)?;
    let answer = Answer::json(&workspace_view(asked.place(0), workspace, asked.context.role));
    Ok(answer.with(header::ETAG, &workspace_tag(workspace)))
}

pub(crate) async fn rename_workspace(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: NewWorkspace = asked.body()?;
    let users = api.gate.users()?;
    asked.if_match(Some(&workspace_tag(workspace_of(&users.identity.directory(), &asked)?)))?;
    let id = asked.place(0).to_owned();
    let renamed = Change::WorkspaceRenamed { workspace: id.clone(), name: wanted.name };
    users.identity.change(vec![renamed], &asked.context.principal()).await?;
    let directory = users.identity.directory();
    let workspace = workspace_of(&directory, &asked)?;
    let answer = Answer::json(&workspace_view(&id, workspace, asked.context.role));
    Ok(answer.with(header::ETAG, &workspace_tag(workspace)))
}

pub(crate) async fn members(api: Arc<Api>, asked: Asked) -> Handled {
    let directory = api.gate.users()?.identity.directory();
    let workspace = workspace_of(&directory, &asked)?;
    let member = |(id, role): (&String, &Role)| {
        let email = directory.users.get(id)?.email.clone();
        Some(MemberView { user_id: id.clone(), email, role: role.word() })
    };
    let all = workspace.members.iter().filter_map(member).collect();
    asked.listed(all, |member: &MemberView| member.user_id.clone(), |data, next| MembersPage { data, next })
}

/// Somebody of the same account works here, too.
pub(crate) async fn add_member(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: NewMember = asked.body()?;
    let users = api.gate.users()?;
    let id = {
        let directory = users.identity.directory();
        workspace_of(&directory, &asked)?;
        may_give(asked.context.role, wanted.role)?;
        let known = directory.by_email(&wanted.email).filter(|(_, user)| user.account == asked.context.account_id);
        let id = known.map(|(id, _)| id.to_owned());
        let id = id.ok_or_else(|| Problem::not_found("nobody of this account has this address"))?;
        above(&directory, &asked.context, &id)?;
        id
    };
    set_member(&api, &asked, &id, wanted.role).await.map(|answer| answer.status(StatusCode::CREATED))
}

/// A member may do more, or less.
pub(crate) async fn change_member(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: MemberRole = asked.body()?;
    let id = asked.place(1).to_owned();
    {
        let directory = api.gate.users()?.identity.directory();
        let workspace = workspace_of(&directory, &asked)?;
        if !workspace.members.contains_key(&id) {
            return Err(no("member", &id));
        }
        may_give(asked.context.role, wanted.role)?;
        above(&directory, &asked.context, &id)?;
    }
    set_member(&api, &asked, &id, wanted.role).await
}

async fn set_member(api: &Api, asked: &Asked, user: &str, role: Role) -> Handled {
    let identity = &api.gate.users()?.identity;
    let change = Change::MemberSet { workspace: asked.context.workspace.to_string(), user: user.into(), role };
    identity.change(vec![change], &asked.context.principal()).await?;
    let email = identity.directory().users.get(user).map(|user| user.email.clone()).ok_or_else(|| no("user", user))?;
    Ok(Answer::json(&MemberView { user_id: user.into(), email, role: role.word() }))
}

/// A member works here no longer.
pub(crate) async fn remove_member(api: Arc<Api>, asked: Asked) -> Handled {
    let (users, id) = (api.gate.users()?, asked.place(1));
    {
        let directory = users.identity.directory();
        workspace_of(&directory, &asked)?;
        above(&directory, &asked.context, id)?;
    }
    let change = Change::MemberRemoved { workspace: asked.context.workspace.to_string(), user: id.into() };
    users.identity.change(vec![change], &asked.context.principal()).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// What a workspace has used.
pub(crate) async fn usage(api: Arc<Api>, asked: Asked) -> Handled {
    workspace_of(&api.gate.users()?.identity.directory(), &asked)?;
    let usage = asked.runtime.usage().await?;
    Ok(Answer::json(&UsageView {
        workspace_id: asked.place(0).to_owned(),
        live_runs: usage.live,
        granted_tokens_today: usage.granted.tokens,
        granted_usd_today: usd(usage.granted.micro_usd),
    }))
}

fn key_view(id: &str, key: &Key) -> KeyView {
    KeyView {
        key_id: id.to_owned(),
        name: key.name.clone(),
        role: key.role.word(),
        workspace_id: key.workspace.clone(),
        created_at: timestamp_text(key.created_ms),
        expires_at: key.expires_ms.map(timestamp_text),
    }
}

pub(crate) async fn keys(api: Arc<Api>, asked: Asked) -> Handled {
    let directory = api.gate.users()?.identity.directory();
    let here = directory.keys.iter().filter(|(_, key)| key.workspace == asked.context.workspace.as_str());
    let all = here.map(|(id, key)| key_view(id, key)).collect();
    asked.listed(all, |key: &KeyView| key.key_id.clone(), |data, next| KeysPage { data, next })
}

/// A new key; its text is told now and never again.
pub(crate) async fn add_key(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: NewKey = asked.body()?;
    let (users, context) = (api.gate.users()?, &asked.context);
    may_give(context.role, wanted.role)?;
    if wanted.workspace_id.as_deref().is_some_and(|id| id != context.workspace.as_str()) {
        return Err(no("workspace", wanted.workspace_id.as_deref().unwrap_or_default()));
    }
    let expires = wanted.expires_at.as_deref().map(|text| {
        let moment = timestamp_ms(text);
        moment.ok_or_else(|| Problem::invalid_at("/expires_at", "is a moment such as `2027-01-01T00:00:00Z`"))
    });
    let (expires, principal) = (expires.transpose()?, context.principal());
    let made = users.identity.add_key(&context.workspace, &wanted.name, wanted.role, expires, &principal).await?;
    let answer = Answer::json(&KeyMade { key_id: made.key_id.clone(), key: made.key }).status(StatusCode::CREATED);
    Ok(answer.with(header::LOCATION, &format!("/api/keys/{}", made.key_id)))
}

/// A key that a path names, if it is one of the asker's workspace.
fn key_of<'d>(directory: &'d Directory, asked: &Asked) -> Result<&'d Key, Problem> {
    let id = asked.place(0);
    directory.keys.get(id).filter(|key| key.workspace == asked.context.workspace.as_str()).ok_or_else(|| no("key", id))
}

pub(crate) async fn key(api: Arc<Api>, asked: Asked) -> Handled {
    let directory = api.gate.users()?.identity.directory();
    Ok(Answer::json(&key_view(asked.place(0), key_of(&directory, &asked)?)))
}

/// A key opens nothing any more.
pub(crate) async fn revoke_key(api: Arc<Api>, asked: Asked) -> Handled {
    let users = api.gate.users()?;
    {
        let directory = users.identity.directory();
        let key = key_of(&directory, &asked)?;
        if key.role > asked.context.role {
            return Err(Problem::new(
                "forbidden",
                format!("the role {} cannot revoke a key that is {}", asked.context.role, key.role),
            ));
        }
    }
    let change = Change::KeyRevoked { key: asked.place(0).into() };
    users.identity.change(vec![change], &asked.context.principal()).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) fn user_example() -> serde_json::Value {
    json!({"email": "bob@example.com", "password": "correct horse battery", "role": "operator"})
}

pub(crate) fn key_example() -> serde_json::Value {
    json!({"name": "ci", "role": "operator"})
}
