//! Secrets of the cluster, as they are now. Whoever follows them writes, whoever connects reads; nothing is asked of
//! anybody on the way, so that a slow API server holds up no connect.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::spec::{Secret, SecretContent, SecretKey};

/// What is known of the cluster's Secrets; copies share it. The default one knows of no cluster.
#[derive(Clone, Default)]
pub struct Secrets(Option<Arc<Store>>);

struct Store {
    all: ArcSwap<HashMap<Name, SecretContent>>,
    /// Counts changes.
    changes: watch::Sender<u64>,
}

/// Namespace and name.
type Name = (Arc<str>, Arc<str>);

/// Why there is no value.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Absent {
    /// tidegate runs without a cluster.
    NoCluster,
    /// Asked for, and not answered yet.
    NotRead,
    NoSecret,
    NoKey,
    NotText,
    Unreadable(Arc<str>),
}

impl Secrets {
    /// Of a cluster; nothing has been read yet.
    #[must_use]
    pub fn of_cluster() -> Self {
        Secrets(Some(Arc::new(Store { all: ArcSwap::default(), changes: watch::Sender::new(0) })))
    }

    /// What is known of a Secret from now on; `None` where nobody asks for it any more. For one writer.
    pub fn set(&self, namespace: &str, name: &str, content: Option<SecretContent>) {
        let Some(store) = &self.0 else { return };
        let name: Name = (namespace.into(), name.into());
        let before = store.all.load();
        if before.get(&name) == content.as_ref() {
            return;
        }
        let mut all = HashMap::clone(&before);
        match content {
            Some(content) => drop(all.insert(name, content)),
            None => drop(all.remove(&name)),
        }
        store.all.store(Arc::new(all));
        store.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The value as it is now.
    ///
    /// # Errors
    /// There is none, or none is known.
    pub fn get(&self, key: &SecretKey) -> Result<Secret, Absent> {
        let store = self.0.as_ref().ok_or(Absent::NoCluster)?;
        let all = store.all.load();
        let name: Name = (key.namespace.as_str().into(), key.name.as_str().into());
        match all.get(&name) {
            None => Err(Absent::NotRead),
            Some(SecretContent::Missing) => Err(Absent::NoSecret),
            Some(SecretContent::Unreadable(why)) => Err(Absent::Unreadable(Arc::clone(why))),
            Some(SecretContent::Keys(keys)) => match keys.get(&key.key) {
                None => Err(Absent::NoKey),
                Some(None) => Err(Absent::NotText),
                Some(Some(secret)) => Ok(secret.clone()),
            },
        }
    }

    /// The same, but waits for as long as `patience` for the first answer of the API server: a new Connection's Secret
    /// and its first connect are on their way at the same time.
    ///
    /// # Errors
    /// As [`Secrets::get`].
    pub async fn get_soon(&self, key: &SecretKey, patience: Duration) -> Result<Secret, Absent> {
        if let Some(mut changes) = self.changes() {
            let read = async { while self.get(key) == Err(Absent::NotRead) && changes.changed().await.is_ok() {} };
            // Too late is what the last look says.
            let _ = tokio::time::timeout(patience, read).await;
        }
        self.get(key)
    }

    /// Tells of changes, of whichever Secret; `None` where there can be none.
    #[must_use]
    pub fn changes(&self) -> Option<watch::Receiver<u64>> {
        self.0.as_ref().map(|store| store.changes.subscribe())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets([redacted])")
    }
}

impl Absent {
    /// The sentence about `key`, with the cure.
    #[must_use]
    pub fn of(&self, key: &SecretKey) -> String {
        let SecretKey { namespace, name, key: wanted } = key;
        match self {
            Absent::NoCluster => format!(
                "it is {key}, and tidegate runs without a cluster to read it from; name an environment variable or a \
                 file instead, or run with --target kubernetes"
            ),
            Absent::NotRead => format!("it is {key}, which the API server has not answered for yet"),
            Absent::NoSecret => {
                format!(
                    "there is no Secret {namespace}/{name}; create it, with the key {wanted:?}, and it is used at once"
                )
            }
            Absent::NoKey => {
                format!("the Secret {namespace}/{name} has no key {wanted:?}; add it, and it is used at once")
            }
            Absent::NotText => format!("{key} is not text"),
            Absent::Unreadable(why) => format!("the Secret {namespace}/{name} cannot be read: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, key: &str) -> SecretKey {
        SecretKey { namespace: "shop".into(), name: name.into(), key: key.into() }
    }

    #[test]
    fn what_is_missing_says_what_is_missing() {
        assert_eq!(Secrets::default().get(&key("redis", "password")), Err(Absent::NoCluster));
        let secrets = Secrets::of_cluster();
        assert_eq!(secrets.get(&key("redis", "password")), Err(Absent::NotRead));
        secrets.set("shop", "redis", Some(SecretContent::Missing));
        let absent = secrets.get(&key("redis", "password")).unwrap_err();
        assert_eq!(
            absent.of(&key("redis", "password")),
            "there is no Secret shop/redis; create it, with the key \"password\", and it is used at once"
        );
        let keys = [("password".to_owned(), Some(Secret::new("planted"))), ("binary".to_owned(), None)];
        secrets.set("shop", "redis", Some(SecretContent::Keys(keys.into())));
        assert_eq!(secrets.get(&key("redis", "password")).unwrap().reveal(), "planted");
        assert_eq!(secrets.get(&key("redis", "binary")), Err(Absent::NotText));
        assert_eq!(secrets.get(&key("redis", "user")), Err(Absent::NoKey));
        assert_eq!(secrets.get(&key("other", "user")), Err(Absent::NotRead));
        assert!(!format!("{secrets:?} {:?}", secrets.get(&key("redis", "password"))).contains("planted"));
        secrets.set("shop", "redis", None);
        assert_eq!(secrets.get(&key("redis", "password")), Err(Absent::NotRead));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_is_waited_for_and_not_for_ever() {
        let secrets = Secrets::of_cluster();
        let later = secrets.clone();
        let answer = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            later.set("other", "other", Some(SecretContent::Missing));
            tokio::time::sleep(Duration::from_millis(300)).await;
            later.set("shop", "redis", Some(SecretContent::Missing));
        };
        let wanted = key("redis", "password");
        let (absent, ()) = tokio::join!(secrets.get_soon(&wanted, Duration::from_secs(1)), answer);
        assert_eq!(absent, Err(Absent::NoSecret));
        let never = secrets.get_soon(&key("never", "x"), Duration::from_secs(1)).await;
        assert_eq!(never, Err(Absent::NotRead));
    }
}
