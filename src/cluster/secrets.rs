//! Follows the Secrets that connections in force name, and no others: one watch for each, of the one object, so that
//! tidegate's rights can be cut down to these names.
//!
//! Only the keys that somebody asked for are kept. No value is in any log, error or `Debug`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::Api;
use kube::discovery::ApiResource;
use kube::runtime::watcher::{self, Event};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::client::Kube;
use super::resources::{RawObject, Watched, watched};
use crate::spec::catalog::WantedSecrets;
use crate::spec::{Secret, SecretContent};

/// Namespace and name.
type Name = (String, String);

/// A Secret that is followed.
struct Followed {
    keys: BTreeSet<String>,
    /// Which of several watches of one Secret, one after another.
    number: usize,
    _task: AbortOnDropHandle<()>,
}

/// Found things on their way; a handful at a time, and whoever finds more waits.
const WAITING: usize = 64;

/// Follows what is `wanted` for as long as somebody wants anything; `keep` is told of every change, and with `None` of
/// what nobody wants any more.
pub async fn follow(
    kube: Kube,
    mut wanted: watch::Receiver<WantedSecrets>,
    keep: impl Fn(&str, &str, Option<SecretContent>),
) {
    let (sender, mut found) = mpsc::channel(WAITING);
    let mut followed: HashMap<Name, Followed> = HashMap::new();
    let mut numbers = 0;
    wanted.mark_changed();
    loop {
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = wanted.borrow_and_update().clone();
                followed.retain(|name, _| {
                    let stays = now.contains_key(name);
                    if !stays {
                        keep(&name.0, &name.1, None);
                    }
                    stays
                });
                for (name, keys) in now {
                    if followed.get(&name).is_some_and(|followed| followed.keys == keys) {
                        continue;
                    }
                    numbers += 1;
                    let task = one(watch_of(&kube, &name, numbers), name.clone(), keys.clone(), numbers, sender.clone());
                    let task = AbortOnDropHandle::new(tokio::spawn(task));
                    // What was found before stays in use until the new watch says something.
                    followed.insert(name, Followed { keys, number: numbers, _task: task });
                }
            }
            Some(Found { name, number, content }) = found.recv() => {
                // It may have been on its way when nobody wanted it any more.
                if followed.get(&name).is_some_and(|followed| followed.number == number) {
                    keep(&name.0, &name.1, Some(content));
                }
            }
        }
    }
}

struct Found {
    name: Name,
    number: usize,
    content: SecretContent,
}

fn watch_of(kube: &Kube, (namespace, name): &Name, number: usize) -> impl Stream<Item = Watched> + Send + 'static {
    let resource = ApiResource::erase::<KubeSecret>(&());
    watched(Api::namespaced_with(kube.client.clone(), namespace, &resource), Some(name), number)
}

/// Follows one Secret until it is aborted.
async fn one(
    events: impl Stream<Item = Watched> + Send,
    name: Name,
    keys: BTreeSet<String>,
    number: usize,
    sender: mpsc::Sender<Found>,
) {
    let (namespace, secret) = (name.0.as_str(), name.1.as_str());
    let mut events = std::pin::pin!(events);
    // Whether the list that is arriving has it.
    let mut listed = false;
    let mut known = false;
    let mut failed: Option<u16> = None;
    while let Some(event) = events.next().await {
        let content = match event {
            Ok(Event::Init) => {
                listed = false;
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listed = true;
                content(&object, &keys)
            }
            Ok(Event::Apply(object)) => content(&object, &keys),
            Ok(Event::InitDone) if listed => continue,
            Ok(Event::InitDone | Event::Delete(_)) => SecretContent::Missing,
            Err(error) => {
                let Some((code, sentence)) = refusal(&error, namespace, secret) else { continue };
                if failed.replace(code) != Some(code) {
                    tracing::warn!(namespace, secret, reason = %sentence, "a Secret cannot be followed; tried again until it can");
                }
                // What was read once stays in use: that it cannot be read now says nothing about it.
                if known {
                    continue;
                }
                SecretContent::Unreadable(sentence)
            }
        };
        if !matches!(content, SecretContent::Unreadable(_)) {
            known = true;
            if failed.take().is_some() {
                tracing::info!(namespace, secret, "the Secret is followed again");
            }
        }
        if sender.send(Found { name: name.clone(), number, content }).await.is_err() {
            return;
        }
    }
}

/// What the server will not have. That it cannot be reached, or has to be asked anew, is no news about a Secret.
fn refusal(error: &watcher::Error, namespace: &str, secret: &str) -> Option<(u16, Arc<str>)> {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return None;
    };
    let sentence = match status.code {
        403 => format!(
            "tidegate may not get, list and watch it; grant that in namespace {namespace} for the Secret {secret} (tidegate \
             crd --rbac prints the whole of it)"
        ),
        400..=499 if status.code != 410 && status.code != 429 => {
            let said: String = status.message.chars().take(200).collect();
            format!("the API server says {} {said}", status.code)
        }
        _ => return None,
    };
    Some((status.code, sentence.into()))
}

fn content(object: &RawObject, keys: &BTreeSet<String>) -> SecretContent {
    let data = object.object.get("data");
    let value = |key: &String| {
        let value = data.and_then(|data| data.get(key))?;
        Some((key.clone(), text(value)))
    };
    SecretContent::Keys(keys.iter().filter_map(value).collect::<BTreeMap<_, _>>())
}

/// `None`: not text, or no value of a Secret.
fn text(value: &Json) -> Option<Secret> {
    let ByteString(bytes) = ByteString::deserialize(value).ok()?;
    String::from_utf8(bytes).ok().map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keys_asked_for_are_kept_and_nothing_is_shown() {
        let object: RawObject = serde_json::from_str(
            r#"{"metadata": {"name": "redis", "namespace": "shop"},
                "data": {"password": "cGxhbnRlZA==", "other": "cGxhbnRlZA==", "binary": "/w==", "odd": 7}}"#,
        )
        .unwrap();
        let keys = ["password", "binary", "odd", "missing"].map(str::to_owned).into();
        let content = content(&object, &keys);
        let expected = [("password", Some(Secret::new("planted"))), ("binary", None), ("odd", None)]
            .map(|(key, text)| (key.to_owned(), text));
        assert_eq!(content, SecretContent::Keys(expected.into()));
        assert!(!format!("{object:?} {content:?}").contains("planted") && !format!("{object:?}").contains("cGxh"));
    }
}
