//! The stores themselves: what is damaged or somebody else's is said and left out, and two leaders do not overwrite each
//! other.
#![allow(clippy::indexing_slicing, reason = "JSON that is not there is null")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tidegate::checkpoint::folder::Folder;
use tidegate::checkpoint::{self, Ask, Checkpointer, Memories, Note, SHARDS, Saved, Store, codec};
use tidegate::clock::Clock;
use tidegate::cluster::checkpoints::ConfigMaps;
use tidegate::cluster::client::{Kube, Scope};
use tidegate::engine::{Engine, Envelope, Event, Role};
use tidegate::model::*;
use tokio::sync::mpsc;

use crate::world::{KEY, Shape, autoscaler};

/// What an engine remembers of a workload that stands at `replicas`.
fn envelope(clock: &Clock, replicas: Replicas) -> Envelope {
    use proptest::strategy::{Strategy, ValueTree};
    let shape = Shape { up_window: false, rates: false, tolerance: false, fallback: false };
    let spec = autoscaler(shape).new_tree(&mut proptest::test_runner::TestRunner::deterministic()).expect("a spec");
    let (mut engine, mut effects) = (Engine::new(), Vec::new());
    let spec = Event::Spec { spec: Arc::new(spec.current()), role: Role::Follows };
    engine.handle(clock.now(), KEY, spec, &mut effects);
    engine.handle(clock.now(), KEY, Event::Current { replicas, set_by: SetBy::Other, another: false }, &mut effects);
    engine.envelope(clock.now(), KEY).expect("it was seen")
}

fn id(index: usize) -> AutoscalerId {
    AutoscalerId::new("ns", format!("n{index}"))
}

/// A checkpointer, and a runtime that says these notes once.
async fn written(
    checkpointer: &mut Checkpointer<impl Store>,
    asks: &mut mpsc::Receiver<Ask>,
    notes: Vec<Note>,
) -> usize {
    let answering = async { asks.recv().await.expect("it asks").reply.send(notes).expect("it waits") };
    let (written, ()) = tokio::join!(checkpointer.checkpoint(), answering);
    written.expect("the runtime is there")
}

#[tokio::test]
async fn a_torn_or_foreign_file_costs_its_own_autoscalers_their_memory_and_nobody_elses() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::start();
    let mut store = Folder::open(folder.path().join("made")).expect("it can be made");
    let (sender, mut asks) = mpsc::channel(1);
    let mut checkpointer = Checkpointer::new(clock, store.clone(), sender, Memories::new());
    let notes: Vec<Note> = (0..100).map(|index| Note::Remember(id(index), envelope(&clock, 3))).collect();
    assert_eq!(written(&mut checkpointer, &mut asks, notes).await, SHARDS, "a hundred are spread over all of them");
    assert_eq!(written(&mut checkpointer, &mut asks, Vec::new()).await, 0, "nothing is new");
    let one = vec![Note::Remember(id(7), envelope(&clock, 4))];
    assert_eq!(written(&mut checkpointer, &mut asks, one).await, 1, "one shard is");
    let of = |shard: usize| (0..100).filter(|index| checkpoint::shard_of(&id(*index)) == shard).count();

    let file = |shard: usize| folder.path().join(format!("made/checkpoint-{shard}.tidegate"));
    let whole = std::fs::read(file(0)).expect("it was written");
    std::fs::write(file(0), whole.get(..whole.len() - 9).expect("longer")).expect("torn");
    std::fs::write(file(1), b"somebody's notes").expect("foreign");
    std::fs::write(folder.path().join("made/checkpoint-2.tidegate-new"), b"half of one").expect("a temporary one");
    let memories = checkpoint::load(&mut store, clock).await;
    assert_eq!(memories.len(), 100 - of(0) - of(1));

    // A process that has seen none of them yet writes what it read, and not less.
    let (sender, mut asks) = mpsc::channel(1);
    let mut next = Checkpointer::new(clock, store.clone(), sender, memories);
    assert_eq!(written(&mut next, &mut asks, Vec::new()).await, SHARDS);
    assert_eq!(checkpoint::load(&mut store, clock).await.len(), 100 - of(0) - of(1));
    let forgotten = (0..100).map(|index| Note::Forget(id(index))).collect();
    assert_eq!(written(&mut next, &mut asks, forgotten).await, SHARDS);
    assert_eq!(checkpoint::load(&mut store, clock).await.len(), 0);
}

#[tokio::test]
async fn a_clock_that_went_back_makes_memories_younger_and_never_older() {
    let clock = Clock::start();
    let memory = envelope(&clock, 3).memory(clock.now());
    for (written, elapsed) in [
        (clock.wall(clock.now()) + Duration::from_secs(3_600), Duration::ZERO),
        (std::time::SystemTime::UNIX_EPOCH, Duration::from_secs(7 * 24 * 3_600)),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Folder::open(folder.path()).expect("it can be written to");
        let mut writer = codec::Writer::new(written, store.room());
        writer.push(&id(0), &memory);
        assert_eq!(store.save(0, writer.finish().0).await, Ok(Saved::Written));
        let memories = checkpoint::load(&mut store, clock).await;
        assert_eq!(memories.get(&id(0)).map(|restored| restored.elapsed), Some(elapsed));
    }
}

// === ConfigMaps ===

/// The ConfigMaps of a namespace, with resourceVersions, and a refusal for whoever has an old one.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<(u64, BTreeMap<String, Value>)>>);

fn refused(code: StatusCode, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code.as_u16(),
        "message": reason});
    (code, Json(status)).into_response()
}

impl Server {
    fn put(&self, name: &str, mut map: Value, new: bool) -> Response {
        let mut state = self.0.lock().expect("whole");
        let (version, maps) = &mut *state;
        match maps.get(name) {
            Some(_) if new => return refused(StatusCode::CONFLICT, "AlreadyExists"),
            None if !new => return refused(StatusCode::NOT_FOUND, "NotFound"),
            Some(there) if there["metadata"]["resourceVersion"] != map["metadata"]["resourceVersion"] => {
                return refused(StatusCode::CONFLICT, "Conflict");
            }
            _ => {}
        }
        *version += 1;
        map["metadata"]["resourceVersion"] = json!(version.to_string());
        maps.insert(name.to_owned(), map.clone());
        Json(map).into_response()
    }

    async fn start(&self) -> ConfigMaps {
        let create = |State(server): State<Server>, Json(map): Json<Value>| async move {
            let name = map["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            server.put(&name, map, true)
        };
        let replace = |State(server): State<Server>, Path(name): Path<String>, Json(map): Json<Value>| async move {
            server.put(&name, map, false)
        };
        let read = |State(server): State<Server>, Path(name): Path<String>| async move {
            let found = server.0.lock().expect("whole").1.get(&name).cloned();
            found.map_or_else(|| refused(StatusCode::NOT_FOUND, "NotFound"), |map| Json(map).into_response())
        };
        let router = axum::Router::new()
            .route("/api/v1/namespaces/home/configmaps", post(create))
            .route("/api/v1/namespaces/home/configmaps/{name}", get(read).put(replace))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = kube::Config::new(format!("http://{address}").parse().expect("an address"));
        let kube = Kube::new(config, Clock::start(), Scope::Cluster).expect("it can be used");
        ConfigMaps::new(kube, "home")
    }
}

#[tokio::test]
async fn configmaps_are_made_replaced_and_left_to_a_leader_who_wrote_since() {
    let server = Server::default();
    let clock = Clock::start();
    let (mut first, mut second) = (server.start().await, server.start().await);
    assert_eq!(checkpoint::load(&mut first, clock).await.len(), 0, "there are none yet");
    assert_eq!(checkpoint::load(&mut second, clock).await.len(), 0);
    let shard = |replicas| {
        let mut writer = codec::Writer::new(clock.wall(clock.now()), 1 << 19);
        writer.push(&id(0), &envelope(&clock, replicas).memory(clock.now()));
        writer.finish().0
    };
    assert_eq!(first.save(0, shard(3)).await, Ok(Saved::Written));
    assert_eq!(first.save(0, shard(4)).await, Ok(Saved::Written));
    assert_eq!(second.save(0, shard(5)).await, Ok(Saved::Overtaken), "it did not know of that one");

    // Through the checkpointer: it reads what is there before its first write, and again after it was overtaken.
    let (sender, mut asks) = mpsc::channel(1);
    let mut checkpointer = Checkpointer::new(clock, second, sender, Memories::new());
    let all = || (0..40).map(|index| Note::Remember(id(index), envelope(&clock, 6))).collect::<Vec<_>>();
    assert_eq!(written(&mut checkpointer, &mut asks, all()).await, SHARDS);
    assert_eq!(checkpoint::load(&mut first, clock).await.len(), 40);
    assert_eq!(first.save(checkpoint::shard_of(&id(0)), shard(7)).await, Ok(Saved::Written));
    let one = vec![Note::Remember(id(0), envelope(&clock, 8))];
    assert_eq!(written(&mut checkpointer, &mut asks, one).await, 0, "overtaken");
    assert_eq!(written(&mut checkpointer, &mut asks, all()).await, SHARDS);
    assert_eq!(checkpoint::load(&mut first, clock).await.len(), 40);
}

#[tokio::test]
async fn an_api_server_that_refuses_is_said_with_a_cure_and_costs_nothing_else() {
    let router = axum::Router::new().fallback(|| async { refused(StatusCode::FORBIDDEN, "Forbidden") });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = kube::Config::new(format!("http://{address}").parse().expect("an address"));
    let clock = Clock::start();
    let kube = Kube::new(config, clock, Scope::Cluster).expect("it can be used");
    let mut maps = ConfigMaps::new(kube, "home");
    assert_eq!(checkpoint::load(&mut maps, clock).await.len(), 0);
    let said = maps.save(3, Vec::new()).await.expect_err("it is forbidden").to_string();
    assert!(said.contains("ConfigMap home/tidegate-checkpoint-3") && said.contains("tidegate crd --rbac"), "{said}");
}

/// It often comes up together with tidegate, and who starts without the memory that is there may be below who goes on.
#[tokio::test]
async fn an_api_server_that_is_not_ready_yet_is_asked_again_for_the_memory_of_before() {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let clock = Clock::start();
    let mut writer = codec::Writer::new(clock.wall(clock.now()), 1 << 19);
    writer.push(&id(0), &envelope(&clock, 3).memory(clock.now()));
    let map = k8s_openapi::ByteString(writer.finish().0);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "resourceVersion": "1"},
        "binaryData": {"checkpoint": map}});
    let router = axum::Router::new().fallback(move || {
        let (count, map) = (Arc::clone(&count), map.clone());
        async move {
            let mut asked = count.lock().expect("whole");
            *asked += 1;
            match *asked {
                1 => refused(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
                2 => refused(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
                3 => Json(map).into_response(),
                _ => refused(StatusCode::NOT_FOUND, "NotFound"),
            }
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = kube::Config::new(format!("http://{address}").parse().expect("an address"));
    let kube = Kube::new(config, clock, Scope::Cluster).expect("it can be used");
    assert_eq!(checkpoint::load(&mut ConfigMaps::new(kube, "home"), clock).await.len(), 1);
    assert_eq!(*asked.lock().expect("whole"), 2 + SHARDS);
}
