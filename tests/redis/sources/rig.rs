//! From the text of a trigger to what is observed: the manifest is loaded, and the poller asks a real server.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tidegate::model::{FailureKind, Measure, Observation, ReadFailure};
use tidegate::spec::AutoscalerSpec;
use tidegate::spec::load::{SourceText, Terms, load};

use crate::support::polling::{PATIENCE, Polling};
use crate::support::redis::RedisProcess;

/// What a busy machine may add to an age, seconds.
const LATE: f64 = 5.0;

pub type Observed = Result<Observation, ReadFailure>;

/// Milliseconds since the epoch.
pub fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

pub fn run(server: &RedisProcess, words: &[&str]) {
    let _: redis::Value = server.command(words);
}

/// An autoscaler of these triggers, each a source block as it stands in a manifest. `login`: further fields of the
/// connection.
pub fn spec(server: &RedisProcess, login: &str, blocks: &[&str]) -> Arc<AutoscalerSpec> {
    let triggers: Vec<String> = blocks
        .iter()
        .map(|block| format!("    - {{ connection: c, {block}, policy: {{ backlogPerReplica: {{ target: 1 }} }} }}\n"))
        .collect();
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: c, namespace: n }}\n\
         spec: {{ redis: {{ address: \"{}\"{login} }} }}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: a, namespace: n }}\n\
         spec:\n  scaleTargetRef: {{ name: a }}\n  pollingInterval: 100ms\n  triggers:\n{}",
        server.address(),
        triggers.concat()
    );
    let source = SourceText { file: "sources.yaml".to_owned(), text: text.clone() };
    let loaded = load(&[source], &Terms::default()).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    Arc::clone(&loaded.autoscalers[0])
}

/// What each of these triggers is found to be at first sight.
pub fn observe(server: &RedisProcess, blocks: &[&str]) -> Vec<Observed> {
    observe_as(server, "", blocks)
}

pub fn observe_as(server: &RedisProcess, login: &str, blocks: &[&str]) -> Vec<Observed> {
    let polling = Polling::start();
    polling.set(0, &spec(server, login, blocks));
    let mut batch = polling.batch(PATIENCE).expect("a first round");
    batch.sort_by_key(|sample| sample.trigger);
    assert_eq!(batch.len(), blocks.len(), "{batch:?}");
    batch.into_iter().map(|sample| sample.value).collect()
}

pub fn observe_one(server: &RedisProcess, block: &str) -> Observation {
    let mut all = observe(server, &[block]);
    all.remove(0).unwrap_or_else(|failure| panic!("{block}: {failure}"))
}

/// All that was observed is this, ages within what time has passed.
pub fn assert_same(what: &str, found: &Observation, expected: &Observation) {
    let age = match (found.oldest_age.get(), expected.oldest_age.get()) {
        (Some(found), Some(expected)) => (expected..expected + LATE).contains(&found),
        (found, expected) => found == expected,
    };
    let rest = |one: &Observation| Observation { oldest_age: Measure::UNKNOWN, ..*one };
    assert!(age && rest(found) == rest(expected), "{what}:\nfound    {found:?}\nexpected {expected:?}");
}

pub fn assert_fails(what: &str, found: &Observed, kind: FailureKind) {
    match found {
        Err(failure) if failure.kind == kind => {
            assert!(!failure.message.contains(char::is_control), "{what}: {failure:?}");
        }
        other => panic!("{what}: not {kind:?} but {other:?}"),
    }
}
