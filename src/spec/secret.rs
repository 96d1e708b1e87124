//! Secrets, and where in a cluster they are: the words in which those who read them and those who need them speak.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A key of a Secret in the cluster: of the Connection's own namespace, or of the one that a ClusterConnection names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SecretKey {
    pub namespace: String,
    pub name: String,
    pub key: String,
}

/// As messages have it; nothing of it is secret.
impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:?} of the Secret {}/{}", self.key, self.namespace, self.name)
    }
}

/// A secret's text. Prints as `[redacted]`, everywhere.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself. Call it only where it is handed to a server.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What is known of a Secret in the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretContent {
    /// The keys that somebody asked for and that it has; `None` where the value is no text.
    Keys(BTreeMap<String, Option<Secret>>),
    /// There is no such Secret.
    Missing,
    /// It cannot be read. With the sentence that says why, and the cure.
    Unreadable(Arc<str>),
}
