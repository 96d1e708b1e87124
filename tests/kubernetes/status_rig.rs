//! A board, custom resources and an API server of a few lines in this process, so that an hour of status takes no time:
//! with the runtime's time paused no real connection can be used.
#![allow(unreachable_pub, reason = "what several tests share")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tidegate::board::{Board, Cell, Published};
use tidegate::clock::Clock;
use tidegate::cluster::client::{Kube, Scope};
use tidegate::cluster::events;
use tidegate::cluster::lease::{Leadership, Term};
use tidegate::cluster::resources::{Resource, Resources};
use tidegate::cluster::standing::{Standings, Workload};
use tidegate::cluster::status::StatusWriter;
use tidegate::model::*;
use tidegate::spec::*;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

pub fn id(name: &str) -> AutoscalerId {
    AutoscalerId::new("shop", name)
}

pub fn spec(name: &str) -> AutoscalerSpec {
    let rules = || ScalingRules {
        stabilization_window: Duration::ZERO,
        select_policy: SelectPolicy::Max,
        policies: Vec::new(),
        tolerance: 0.0,
    };
    AutoscalerSpec {
        id: id(name),
        origin: Origin::Resource,
        target: Some(TargetRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: name.into() }),
        bounds: Bounds { min: 0, max: 10, idle: None },
        polling_interval: Duration::from_secs(1),
        max_sample_age: Duration::from_secs(10),
        cooldown: Duration::ZERO,
        initial_cooldown: Duration::ZERO,
        triggers: vec![TriggerSpec {
            name: "orders".into(),
            metric_name: "orders".into(),
            connection: Arc::new(ConnectionSpec { name: "shop/redis".into(), server: Server::Memory }),
            source: Source::Memory { queue: "orders".into() },
            in_flight: None,
            policy: Policy::BacklogPerReplica { target: MilliValue(1000) },
            activation_threshold: 0.0,
            max_sample_age: None,
            partitioning: Partitioning::default(),
            share: TriggerSpec::WHOLE,
        }],
        behavior: Behavior::Rules { up: rules(), down: rules() },
        fallback: Fallback { after: Duration::from_secs(30), behavior: FallbackBehavior::Hold },
        pause: Pause::default(),
        dry_run: false,
        restore_on_delete: false,
        force_activation: false,
    }
}

pub fn resource(spec: &Arc<AutoscalerSpec>) -> Resource {
    Resource {
        id: spec.id.clone(),
        uid: format!("uid-{}", spec.id.name).into(),
        resource_version: "1".into(),
        generation: 1,
        created: 0,
        deleting: false,
        finalizers: Vec::new(),
        status: None,
        spec: Some(Arc::clone(spec)),
        problems: Arc::default(),
        warnings: Arc::default(),
    }
}

/// One that stands where it should, with work.
pub fn decision(now: Tick, replicas: Replicas, backlog: f64) -> Decision {
    let mut steps = Steps::starting_at(replicas);
    steps.push(Stage::Observe, replicas, Reason::Fresh);
    steps.push(Stage::Want, replicas, Reason::AboveTarget);
    let activation = if backlog > 0.0 { Reason::Active } else { Reason::Idle };
    steps.push(Stage::Activation, replicas, activation);
    steps.push(Stage::Bounds, replicas, Reason::DesiredWithinRange);
    Decision {
        at: now,
        round: None,
        current: replicas,
        current_known: true,
        desired: replicas,
        active: backlog > 0.0,
        degraded: false,
        fallback: false,
        paused: false,
        winner: Some(0),
        reason: Reason::AboveTarget,
        steps,
        triggers: vec![TriggerReport {
            health: Health::Fresh,
            value: Some(backlog),
            facts: Observation::default(),
            taken: Some(now),
            round: None,
            active: backlog > 0.0,
            wants: Some(replicas),
            reason: Reason::AboveTarget,
            failure: None,
        }],
    }
}

/// The same while its queue cannot be read.
pub fn unreadable(now: Tick, replicas: Replicas) -> Decision {
    let mut decision = decision(now, replicas, 5.0);
    let report = &mut decision.triggers[0];
    report.health = Health::Stale;
    report.failure = Some(ReadFailure::new(FailureKind::Unreachable, "connection refused by redis:6379"));
    decision.degraded = true;
    decision
}

// === the API server ===

#[derive(Default)]
pub struct Store {
    pub revision: u64,
    pub objects: BTreeMap<AutoscalerId, Object>,
    /// Name of the object, and what was sent: each attempt to write a status.
    pub writes: Vec<(String, Value)>,
    pub events: Vec<Value>,
    pub requests: usize,
    /// Answered to the next writes of a status instead of doing them.
    pub refusals: VecDeque<u16>,
}

#[derive(Clone)]
pub struct Object {
    pub revision: u64,
    pub resource: Resource,
    pub status: Value,
}

#[derive(Clone, Default)]
pub struct Mock(Arc<Mutex<Store>>);

impl Mock {
    pub fn with<T>(&self, does: impl FnOnce(&mut Store) -> T) -> T {
        does(&mut self.0.lock().unwrap())
    }

    pub fn status(&self, name: &str) -> Value {
        self.with(|store| store.objects[&id(name)].status.clone())
    }

    /// `Ready=False SourceFailing`.
    pub fn condition(&self, name: &str, kind: &str) -> String {
        let status = self.status(name);
        let found = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
        found.map_or(String::new(), |found| {
            format!("{}={} {}", kind, found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
        })
    }

    fn answer(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        self.with(|store| {
            store.requests += 1;
            let parts: Vec<&str> = path.split('/').collect();
            if method == "POST" && parts.last() == Some(&"events") {
                store.events.push(body.clone());
                return (201, body);
            }
            // /apis/tidegate.dev/v1alpha1/namespaces/shop/queueautoscalers/NAME/status
            let [.., namespace, "queueautoscalers", name, "status"] = parts[..] else {
                return refusal(404, &format!("{method} {path}"));
            };
            assert_eq!(method, "PATCH");
            store.writes.push((name.to_owned(), body.clone()));
            if let Some(code) = store.refusals.pop_front() {
                return refusal(code, "as the test wants it");
            }
            let Some(object) = store.objects.get_mut(&AutoscalerId::new(namespace, name)) else {
                return refusal(404, "not found");
            };
            if body["metadata"]["resourceVersion"] != json!(object.revision.to_string()) {
                return refusal(409, "the object has been modified");
            }
            for (field, value) in body["status"].as_object().unwrap() {
                match value {
                    Value::Null => drop(object.status.as_object_mut().unwrap().remove(field)),
                    value => object.status[field] = value.clone(),
                }
            }
            store.revision += 1;
            object.revision = store.revision;
            let version = object.revision.to_string();
            (200, json!({"metadata": {"name": name, "namespace": namespace, "resourceVersion": version}}))
        })
    }
}

fn refusal(code: u16, message: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}))
}

impl Service<Request<Body>> for Mock {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            // An answer takes as long as a healthy server's.
            tokio::time::sleep(Duration::from_millis(10)).await;
            let (code, answer) = server.answer(head.method.as_str(), head.uri.path(), &body);
            let answer = Body::from(answer.to_string().into_bytes());
            Ok(Response::builder().status(code).body(answer).unwrap())
        })
    }
}

// === everything around the writer ===

pub struct World {
    pub clock: Clock,
    pub server: Mock,
    pub board: Arc<Board>,
    pub resources: Arc<Resources>,
    pub standings: Arc<Standings>,
    pub kube: Kube,
    spares: HashMap<AutoscalerId, Option<Arc<Published>>>,
    shown: u64,
    /// Writers.
    pub running: CancellationToken,
    terms: watch::Sender<Option<Term>>,
}

impl World {
    pub fn new() -> Self {
        let clock = Clock::start();
        let server = Mock::default();
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let mut kube = Kube::new(config, clock, Scope::Cluster).unwrap();
        kube.client = kube::Client::new(server.clone(), "shop");
        World {
            clock,
            server,
            board: Arc::new(Board::new(mpsc::channel(1).0)),
            resources: Arc::default(),
            standings: Arc::default(),
            kube,
            spares: HashMap::new(),
            shown: 0,
            running: CancellationToken::new(),
            terms: watch::Sender::new(Some(Term { number: 1, until: Tick::NEVER })),
        }
    }

    /// A writer of its own, as of a process that has just begun.
    pub fn lead(&mut self, number: u64) {
        self.running.cancel();
        self.running = CancellationToken::new();
        self.standings = Arc::default();
        self.terms = watch::Sender::new(Some(Term { number, until: Tick::NEVER }));
        let leadership = Leadership::new(self.terms.subscribe());
        let (events, sender) = events::channel(self.kube.clone(), leadership.clone(), format!("tidegate-{number}"));
        let writer = StatusWriter::new(
            self.kube.clone(),
            leadership,
            Arc::clone(&self.board),
            Arc::clone(&self.resources),
            Arc::clone(&self.standings),
            events,
        );
        tokio::spawn(writer.run(self.running.clone()));
        tokio::spawn(sender.run(self.running.clone()));
    }

    pub fn end_term(&self) {
        self.terms.send_replace(None);
    }

    /// Adds it to the API server and to the board, without a decision.
    pub fn add(&mut self, spec: AutoscalerSpec) {
        let spec = Arc::new(spec);
        self.server.with(|store| {
            store.revision += 1;
            let object = Object { revision: store.revision, resource: resource(&spec), status: json!({}) };
            store.objects.insert(spec.id.clone(), object);
        });
        self.board.insert([Arc::new(Cell::new(spec, self.clock.now()))]);
    }

    pub fn publish(&mut self, name: &str, decision: &Decision) {
        let id = id(name);
        let cell = self.board.get(&id).unwrap();
        cell.publish(decision, self.spares.entry(id).or_default());
    }

    pub fn seen(&self, name: &str, replicas: Replicas) {
        self.standings.update(&id(name), |standing| standing.workload = Workload::Seen { replicas, ready: replicas });
    }

    /// What the watch does.
    pub fn show(&mut self) {
        let (resources, shown) = (&self.resources, &mut self.shown);
        self.server.with(|store| {
            if std::mem::replace(shown, store.revision) == store.revision {
                return;
            }
            let before = resources.all();
            let mut all = BTreeMap::new();
            for (id, object) in &store.objects {
                let version = object.revision.to_string();
                let known = before.get(id).filter(|known| *known.resource_version == *version).cloned();
                let fresh = || {
                    Arc::new(Resource {
                        resource_version: version.as_str().into(),
                        status: serde_json::from_value(object.status.clone()).ok(),
                        ..object.resource.clone()
                    })
                };
                all.insert(id.clone(), known.unwrap_or_else(fresh));
            }
            resources.set(all);
        });
    }

    /// Lets `time` pass; the watch is 100 ms behind.
    pub async fn pass(&mut self, time: Duration) {
        let end = self.clock.now().after(time);
        while self.clock.now() < end {
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.show();
        }
    }

    pub fn writes(&self) -> Vec<(String, Value)> {
        self.server.with(|store| std::mem::take(&mut store.writes))
    }

    /// `Warning SourceFailing`, in the order in which they came.
    pub fn events(&self) -> Vec<String> {
        let said = |event: &Value| format!("{} {}", event["type"].as_str().unwrap(), event["reason"].as_str().unwrap());
        self.server.with(|store| store.events.drain(..).map(|event| said(&event)).collect())
    }
}
