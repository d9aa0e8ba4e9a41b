//! What is said of users, workspaces, keys and tokens.

use commedia_domain::identity::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What somebody may do: each may do all that those before may.
#[derive(JsonSchema)]
#[schemars(rename = "Role", rename_all = "lowercase")]
#[expect(dead_code, reason = "it is the schema of the domain's type")]
enum RoleWord {
    /// Look.
    Viewer,
    /// Start runs and command them.
    Operator,
    /// Let others in, and keys.
    Admin,
    /// Everything.
    Owner,
}

/// Who logs in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogIn {
    /// The user's address.
    #[schemars(length(min = 3, max = 254))]
    pub(crate) email: String,
    /// The password.
    #[schemars(length(min = 1, max = 256))]
    pub(crate) password: String,
    /// The workspace to work in. Default: the user's oldest.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    pub(crate) workspace_id: Option<String>,
}

/// What goes on with a session.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    /// The newest token that refreshes; good once.
    #[schemars(length(min = 1, max = 256))]
    pub(crate) refresh_token: String,
    /// The workspace to go on in. Default: the same.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    pub(crate) workspace_id: Option<String>,
}

/// What the OAuth 2.0 token endpoint takes, as a form.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Grant {
    /// `password`, `refresh_token` or `client_credentials`.
    #[schemars(length(max = 64))]
    pub(crate) grant_type: String,
    /// For `password`: the user's address.
    #[serde(default)]
    #[schemars(length(max = 254))]
    pub(crate) username: Option<String>,
    /// For `password`.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub(crate) password: Option<String>,
    /// For `refresh_token`.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub(crate) refresh_token: Option<String>,
    /// For `client_credentials`: a key's id; or with its secret in `Authorization: Basic`.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(crate) client_id: Option<String>,
    /// For `client_credentials`: the key.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub(crate) client_secret: Option<String>,
    /// The workspace to work in.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(crate) workspace_id: Option<String>,
}

/// Tokens of a session.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tokens {
    /// For `Authorization: Bearer`.
    pub(crate) access_token: String,
    /// `Bearer`.
    pub(crate) token_type: &'static str,
    /// Seconds that the access token holds.
    pub(crate) expires_in: u64,
    /// What gets the next tokens, once; a program with a key has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    /// The workspace that they are for.
    pub(crate) workspace_id: String,
    /// The role there.
    #[schemars(with = "RoleWord")]
    pub(crate) role: &'static str,
}

/// Why the token endpoint gave none (RFC 6749).
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TokenError {
    /// `invalid_request`, `invalid_grant` or `unsupported_grant_type`.
    pub(crate) error: &'static str,
    /// For people.
    pub(crate) error_description: String,
}

/// The first user.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetUp {
    /// What the set-up link carries.
    #[schemars(length(min = 1, max = 256))]
    pub(crate) token: String,
    /// The user's address.
    #[schemars(length(min = 3, max = 254))]
    pub(crate) email: String,
    /// The password.
    #[schemars(length(min = 10, max = 256))]
    pub(crate) password: String,
}

/// Another password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Password {
    /// The one that holds.
    #[schemars(length(min = 1, max = 256))]
    pub(crate) current: String,
    /// The one that shall.
    #[schemars(length(min = 10, max = 256))]
    pub(crate) new: String,
}

/// A ticket for a WebSocket.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ticket {
    /// For `?ticket=`; good once.
    pub(crate) ticket: String,
    /// Seconds that it is good.
    pub(crate) expires_in: i64,
}

/// Who asks.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Me {
    /// The account.
    pub(crate) account_id: String,
    /// The user, unless it is a key.
    pub(crate) user_id: Option<String>,
    /// The key, if it is one.
    pub(crate) key_id: Option<String>,
    /// The user's address.
    pub(crate) email: Option<String>,
    /// The workspace.
    pub(crate) workspace_id: String,
    /// The role there.
    #[schemars(with = "RoleWord")]
    pub(crate) role: &'static str,
}

/// A user to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// The address to log in with.
    #[schemars(length(min = 3, max = 254), regex(pattern = r"^[^\s@\x00-\x1f\x7f-\x9f]+@[^\s@\x00-\x1f\x7f-\x9f]+$"))]
    pub(crate) email: String,
    /// The first password.
    #[schemars(length(min = 10, max = 256))]
    pub(crate) password: String,
    /// What they may do in this workspace.
    #[schemars(with = "RoleWord")]
    pub(crate) role: Role,
}

/// A user, as the asker's workspace sees them.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UserView {
    /// Its id.
    pub(crate) user_id: String,
    /// The address.
    pub(crate) email: String,
    /// The role in the workspace.
    #[schemars(with = "RoleWord")]
    pub(crate) role: &'static str,
    /// When it came.
    pub(crate) created_at: String,
}

/// All users.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UsersPage {
    /// The users.
    pub(crate) data: Vec<UserView>,
    /// What `after` asks for the next page; `null` at the end.
    pub(crate) next: Option<String>,
}

/// A workspace to be made, or its other name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWorkspace {
    /// What people call it.
    #[schemars(
        length(min = 1, max = 100),
        regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$")
    )]
    pub(crate) name: String,
}

/// A workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WorkspaceView {
    /// Its id.
    pub(crate) workspace_id: String,
    /// What people call it.
    pub(crate) name: String,
    /// The asker's role there.
    #[schemars(with = "RoleWord")]
    pub(crate) role: &'static str,
    /// How many work in it.
    pub(crate) members: usize,
    /// When it came.
    pub(crate) created_at: String,
}

/// The asker's workspaces.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WorkspacesPage {
    /// The workspaces, the oldest first.
    pub(crate) data: Vec<WorkspaceView>,
    /// What `after` asks for the next page; `null` at the end.
    pub(crate) next: Option<String>,
}

/// Somebody who shall work here, too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMember {
    /// The address of a user of the same account.
    #[schemars(length(min = 3, max = 254))]
    pub(crate) email: String,
    /// What they may do.
    #[schemars(with = "RoleWord")]
    pub(crate) role: Role,
}

/// Another role.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberRole {
    /// What the member may do.
    #[schemars(with = "RoleWord")]
    pub(crate) role: Role,
}

/// A member of a workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MemberView {
    /// The user.
    pub(crate) user_id: String,
    /// The address.
    pub(crate) email: String,
    /// The role.
    #[schemars(with = "RoleWord")]
    pub(crate) role: &'static str,
}

/// All members of a workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MembersPage {
    /// The members.
    pub(crate) data: Vec<MemberView>,
    /// What `after` asks for the next page; `null` at the end.
    pub(crate) next: Option<String>,
}

/// What a workspace uses.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UsageView {
    /// The workspace.
    pub(crate) workspace_id: String,
    /// Its runs that have an orchestrator now.
    pub(crate) live_runs: usize,
    /// Tokens of the day's budget that runs have taken; 0 where there is none.
    pub(crate) granted_tokens_today: u64,
    /// USD of the day's budget that runs have taken; 0 where there is none.
    pub(crate) granted_usd_today: f64,
}

/// A key to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What people call it.
    #[schemars(
        length(min = 1, max = 100),
        regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$")
    )]
    pub(crate) name: String,
    /// What it may do.
    #[schemars(with = "RoleWord")]
    pub(crate) role: Role,
    /// The workspace that it opens: the asker's, which is the default.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    pub(crate) workspace_id: Option<String>,
    /// When it ends, as `2027-01-01T00:00:00Z`. Default: never.
    #[serde(default)]
    #[schemars(extend("format" = "date-time"))]
    pub(crate) expires_at: Option<String>,
}

/// A key that was just made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeyMade {
    /// Its id.
    pub(crate) key_id: String,
    /// What opens; it is not told again.
    pub(crate) key: String,
}

/// A key.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeyView {
    /// Its id.
    pub(crate) key_id: String,
    /// What people call it.
    pub(crate) name: String,
    /// What it may do.
    #[schemars(with = "RoleWord")]
    pub(crate) role: &'static str,
    /// The workspace that it opens.
    pub(crate) workspace_id: String,
    /// When it was made.
    pub(crate) created_at: String,
    /// When it ends.
    pub(crate) expires_at: Option<String>,
}

/// All keys of a workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeysPage {
    /// The keys.
    pub(crate) data: Vec<KeyView>,
    /// What `after` asks for the next page; `null` at the end.
    pub(crate) next: Option<String>,
}
