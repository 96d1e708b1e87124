//! Who logs in to a server, and whom to trust: the same fields in every block of a server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PasswordFrom, PasswordText, Tls, UsernameFrom};

/// Stands in a server's block, not in one of its own.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// Name of the user. Without it, a Redis is asked as its default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Where the user's name is, instead of username.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_from: Option<UsernameFrom>,
    /// The password itself. Only in manifest files, and only in those that nobody else reads; better is passwordFrom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordText>,
    /// Where the password is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_from: Option<PasswordFrom>,
    /// Encrypt the connection: whom to trust, and who we are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}
