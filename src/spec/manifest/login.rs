//! Who logs in to a server, and whom to trust: the same fields in every block of a server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PasswordText;

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

/// Where a user's name is. Exactly one of the three.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsernameFrom {
    /// A key of a Secret of this object's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// Name of an environment variable of tidegate. Only in manifest files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Path of a file that tidegate can read; read anew when it changes. Only in manifest files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Where a password is. Exactly one of the three.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordFrom {
    /// A key of a Secret of this object's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// Name of an environment variable of tidegate. Only in manifest files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Path of a file that tidegate can read; read anew when it changes. Only in manifest files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// A key of a Secret.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Only for a ClusterConnection, which has no namespace of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Key within it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Where certificates or a key are, in PEM.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PemFrom {
    /// A key of a Secret of this object's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// Encryption of a connection: TLS 1.3 or 1.2. Files and Secrets are read anew when they change.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// PEM file of the authorities to trust. Only in manifest files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Where the authorities to trust are, instead of caFile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<PemFrom>,
    /// PEM file of the certificate to show to the server, its intermediates after it. Together with the key. Only in
    /// manifest files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// Where the certificate to show is, instead of certFile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_from: Option<PemFrom>,
    /// PEM file of the private key of the certificate. Only in manifest files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Where the private key of the certificate is, instead of keyFile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_from: Option<PemFrom>,
    /// The name that the server's certificate must have. Default: the host of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Do not check the server's certificate at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}
