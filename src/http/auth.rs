//! Logging in and out, tokens for programs, tickets for WebSockets, and the first user of all.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use commedia_actors::identity::{Opened, RefreshError, Session, new_id};
use commedia_actors::scope::WorkspaceId;
use commedia_domain::identity::{Change, Role};
use http::{StatusCode, header};
use serde_json::json;

use super::Api;
use super::exchange::{Answer, Asked, Handled};
use super::gate::{TICKET_MS, Users, Who, unauthorized};
use super::problem::Problem;
use super::token::HOLDS;
use super::wire::{Grant, LogIn, Me, Password, Refresh, SetUp, Ticket, TokenError, Tokens};
use crate::password;

/// The tokens of a session that was opened or goes on.
fn tokens(users: &Users, opened: &Opened) -> Result<Tokens, Problem> {
    let (user, workspace) = (&opened.session.user, &opened.session.workspace);
    let role = users.identity.directory().role(workspace, user).ok_or_else(unauthorized)?;
    let (access_token, _) = users.issue(user, Some(&opened.id), workspace)?;
    Ok(Tokens {
        access_token,
        token_type: "Bearer",
        expires_in: HOLDS,
        refresh_token: Some(opened.token.clone()),
        workspace_id: workspace.clone(),
        role: role.word(),
    })
}

/// Opens a session for whoever knows the password.
async fn logged_in(users: &Users, email: &str, password: &str, workspace: Option<&str>) -> Result<Tokens, Problem> {
    let known = users.identity.directory().by_email(email).map(|(id, user)| (id.to_owned(), user.password.clone()));
    let fits = password::fits(password, known.as_ref().map(|(_, hash)| hash.as_str())).await.map_err(Problem::internal)?;
    let (user, _) = known.filter(|_| fits).ok_or_else(unauthorized)?;
    let place = {
        let directory = users.identity.directory();
        let memberships = directory.memberships(&user);
        let wanted = memberships.iter().find(|(id, ..)| workspace.is_none_or(|wanted| wanted == *id));
        wanted.map(|(id, ..)| (*id).to_owned()).ok_or_else(unauthorized)?
    };
    tokens(users, &users.identity.sessions().open(&user, &place).await?)
}

/// A session goes on, in the same workspace or in another one of its user's.
async fn refreshed(users: &Users, token: &str, workspace: Option<&str>) -> Result<Tokens, Problem> {
    let may = |session: &Session| {
        let directory = users.identity.directory();
        let user = directory.users.get(&session.user)?;
        let place = workspace.unwrap_or(&session.workspace);
        (session.opened_ms >= user.since_ms).then_some(())?;
        directory.role(place, &session.user).map(|_| place.to_owned())
    };
    match users.identity.sessions().refresh(token, may).await {
        Ok(opened) => tokens(users, &opened),
        Err(RefreshError::Over) => Err(unauthorized()),
        Err(RefreshError::Identity(e)) => Err(e.into()),
    }
}

pub(crate) async fn log_in(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: LogIn = asked.body()?;
    api.rates.log_in(asked.peer, &wanted.email)?;
    let users = api.gate.users()?;
    Ok(Answer::json(&logged_in(users, &wanted.email, &wanted.password, wanted.workspace_id.as_deref()).await?))
}

pub(crate) async fn refresh(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: Refresh = asked.body()?;
    Ok(Answer::json(&refreshed(api.gate.users()?, &wanted.refresh_token, wanted.workspace_id.as_deref()).await?))
}

/// The session is over, on every device that has its tokens.
pub(crate) async fn log_out(api: Arc<Api>, asked: Asked) -> Handled {
    if let Who::User { session, .. } = &asked.context.who {
        api.gate.users()?.identity.sessions().revoke(session, "logged out").await?;
    }
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// A refusal of the token endpoint, as RFC 6749 (5.2) has it.
pub(crate) fn refused(error: &'static str, about: &str) -> Answer {
    let body = TokenError { error, error_description: about.to_owned() };
    Answer::json(&body).status(StatusCode::BAD_REQUEST)
}

/// The OAuth 2.0 token endpoint (RFC 6749): its errors are that standard's.
pub(crate) async fn token(api: Arc<Api>, mut asked: Asked) -> Handled {
    let basic = asked.header("authorization").and_then(basic);
    let grant: Grant = asked.body()?;
    let users = api.gate.users()?;
    let given = match grant.grant_type.as_str() {
        "password" => {
            let (Some(email), Some(password)) = (&grant.username, &grant.password) else {
                return Ok(refused("invalid_request", "`username` and `password` must be given"));
            };
            api.rates.log_in(asked.peer, email)?;
            logged_in(users, email, password, grant.workspace_id.as_deref()).await
        }
        "refresh_token" => {
            let Some(token) = &grant.refresh_token else {
                return Ok(refused("invalid_request", "`refresh_token` must be given"));
            };
            refreshed(users, token, grant.workspace_id.as_deref()).await
        }
        "client_credentials" => {
            let (id, secret) = match (basic.clone(), grant.client_id, grant.client_secret) {
                (Some((id, secret)), _, _) | (None, Some(id), Some(secret)) => (id, secret),
                _ => return Ok(refused("invalid_request", "`client_id` and `client_secret` must be given")),
            };
            of_key(users, &id, &secret)
        }
        _ => return Ok(refused("unsupported_grant_type", "known are password, refresh_token and client_credentials")),
    };
    match given {
        Ok(tokens) => Ok(Answer::json(&tokens).with(header::PRAGMA, "no-cache")),
        Err(problem) if problem.code == "unauthorized" && grant.grant_type == "client_credentials" => {
            let refused = refused("invalid_client", "this lets nobody in");
            Ok(match basic {
                Some(_) => refused.status(StatusCode::UNAUTHORIZED).with(header::WWW_AUTHENTICATE, "Basic realm=\"commedia\""),
                None => refused,
            })
        }
        Err(problem) if problem.code == "unauthorized" => Ok(refused("invalid_grant", "this lets nobody in")),
        Err(problem) => Err(problem),
    }
}

/// The name and the secret of a program, as `Authorization: Basic` has them.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, text) = header.split_once(' ')?;
    let bytes = STANDARD.decode(text.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

/// An access token for a program that has a key.
fn of_key(users: &Users, id: &str, secret: &str) -> Result<Tokens, Problem> {
    let (found, key) = users.identity.key(secret).filter(|(found, _)| found == id).ok_or_else(unauthorized)?;
    let (access_token, _) = users.issue(&found, None, &key.workspace)?;
    let (role, workspace_id) = (key.role.word(), key.workspace);
    Ok(Tokens { access_token, token_type: "Bearer", expires_in: HOLDS, refresh_token: None, workspace_id, role })
}

/// A ticket that opens one WebSocket, for clients that cannot send headers.
pub(crate) async fn ws_ticket(api: Arc<Api>, asked: Asked) -> Handled {
    let ticket = api.gate.users()?.ticket(&asked.context)?;
    Ok(Answer::json(&Ticket { ticket, expires_in: TICKET_MS / 1000 }))
}

pub(crate) async fn me(api: Arc<Api>, asked: Asked) -> Handled {
    let context = &asked.context;
    let email = api.gate.users().ok().zip(context.user_id()).and_then(|(users, id)| {
        let directory = users.identity.directory();
        directory.users.get(id).map(|user| user.email.clone())
    });
    let key_id = if let Who::Key(id) = &context.who { Some(id.clone()) } else { None };
    Ok(Answer::json(&Me {
        account_id: context.account_id.clone(),
        user_id: context.user_id().map(str::to_owned),
        key_id,
        email,
        workspace_id: context.workspace.to_string(),
        role: context.role.word(),
    }))
}

/// Another password; every session of the user ends, and a new one begins.
pub(crate) async fn password(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: Password = asked.body()?;
    let users = api.gate.users()?;
    let user = asked.context.user_id().ok_or_else(|| Problem::new("conflict", "a key has no password"))?.to_owned();
    let (email, old) = {
        let directory = users.identity.directory();
        let known = directory.users.get(&user).ok_or_else(unauthorized)?;
        (known.email.clone(), known.password.clone())
    };
    api.rates.log_in(asked.peer, &email)?;
    if !password::fits(&wanted.current, Some(&old)).await.map_err(Problem::internal)? {
        return Err(Problem::invalid_at("/current", "is not the password"));
    }
    let hash = hashed(&wanted.new, "/new").await?;
    let change = Change::PasswordSet { user: user.clone(), password: hash };
    users.identity.change(vec![change], &asked.context.principal()).await?;
    let opened = users.identity.sessions().open(&user, asked.context.workspace.as_str()).await?;
    Ok(Answer::json(&tokens(users, &opened)?))
}

/// A new password's hash.
pub(crate) async fn hashed(password: &str, pointer: &str) -> Result<String, Problem> {
    password::check(password).map_err(|failure| Problem::invalid_at(pointer, failure.message))?;
    password::hash(password, &new_id('s')?).await.map_err(Problem::internal)
}

/// The first user: an owner, of the workspace that a local data folder has.
pub(crate) async fn set_up(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: SetUp = asked.body()?;
    api.rates.log_in(asked.peer, &wanted.email)?;
    let users = api.gate.users()?;
    // Taken while it is used: of two who come at once one is the first.
    let link = users.take_setup(&wanted.token).ok_or_else(unauthorized)?;
    let hash = hashed(&wanted.password, "/password").await?;
    let user = users.identity.set_up(&wanted.email, hash, "set-up").await?;
    link.used();
    let opened = users.identity.sessions().open(&user, WorkspaceId::local().as_str()).await?;
    Ok(Answer::json(&tokens(users, &opened)?).status(StatusCode::CREATED))
}

pub(crate) fn log_in_example() -> serde_json::Value {
    json!({"email": "ann@example.com", "password": "correct horse battery"})
}

pub(crate) fn grant_example() -> serde_json::Value {
    json!({"grant_type": "password", "username": "ann@example.com", "password": "correct horse battery"})
}

/// Whether somebody with one role may give another.
pub(crate) fn may_give(mine: Role, other: Role) -> Result<(), Problem> {
    if other <= mine {
        return Ok(());
    }
    Err(Problem::new("forbidden", format!("the role {mine} cannot give the role {other}")))
}
