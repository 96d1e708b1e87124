//! What the stacks ask of tidegate: checked, simulated for a minute, and run against real servers that are laid out as the
//! stacks' queues are. `TIDEGATE_LONG=1` keeps each of them running for a minute.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::spec::keda_metadata::{Ask, ScaledObject, read};
use tidegate::spec::load::{Loaded, SourceText, Terms, load};
use tidegate::spec::{AutoscalerSpec, Policy, TriggerSpec};

use super::objects::{called, group, kind, name, namespace};
use super::{rendered, tools};
use crate::support::postgres::PostgresProcess;
use crate::support::redis::RedisProcess;
use crate::support::sentinels::{MASTER, Sentinels};
use crate::support::tidegate::{Keda, Tidegate, command, until};

/// Waiting in each queue.
const JOBS: usize = 950;

/// Overlays of stacks in which anything is scaled.
fn scaled() -> Option<Vec<&'static rendered::Rendered>> {
    let of_stacks = |rendered: &&rendered::Rendered| {
        rendered.path.starts_with("stacks/")
            && rendered.path.contains("/overlays/")
            && !rendered.path.contains(" with ")
    };
    Some(rendered::all()?.iter().filter(of_stacks).collect())
}

fn ours(objects: &[Value]) -> Vec<Value> {
    objects.iter().filter(|object| group(object) == "tidegate.dev").cloned().collect()
}

fn yaml(objects: &[Value]) -> String {
    let texts: Vec<String> = objects.iter().map(ToString::to_string).collect();
    texts.join("\n---\n")
}

fn loaded(objects: &[Value]) -> Loaded {
    let text = SourceText { file: "overlay".to_owned(), text: yaml(&ours(objects)) };
    load(&[text], &Terms::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_autoscaler_passes_check_without_a_warning() {
    let Some(all) = scaled() else { return };
    let folder = TempDir::new().unwrap();
    for rendered in all {
        let file = folder.path().join("overlay.yaml");
        fs::write(&file, yaml(&ours(&rendered.objects))).unwrap();
        let output = command(&["check", "-f", file.to_str().unwrap(), "-o", "json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "deploy/{}: {said}", rendered.path);
        assert!(!said.contains("warning"), "deploy/{}: {said}", rendered.path);
        let understood: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let autoscalers = |objects: &[Value]| objects.iter().filter(|object| kind(object) == "QueueAutoscaler").count();
        assert_eq!(autoscalers(&understood), autoscalers(&rendered.objects), "deploy/{}", rendered.path);
    }
}

/// The triggers of ScaledObjects that are tidegate's, with their object.
fn triggers(objects: &[Value]) -> Vec<(&Value, HashMap<String, String>)> {
    let mut found = Vec::new();
    for object in objects.iter().filter(|object| kind(object) == "ScaledObject") {
        for trigger in object["spec"]["triggers"].as_array().unwrap() {
            let metadata = trigger["metadata"].as_object().unwrap();
            let texts = metadata.iter().map(|(key, value)| (key.clone(), value.as_str().expect("a text").to_owned()));
            assert!(trigger["type"].as_str().unwrap().starts_with("external"), "{}", called(object));
            found.push((object, texts.collect()));
        }
    }
    found
}

#[test]
fn every_trigger_of_a_scaled_object_is_understood_without_a_warning() {
    let Some(all) = scaled() else { return };
    let mut met = 0;
    for rendered in all {
        let loaded = loaded(&rendered.objects);
        for (object, metadata) in triggers(&rendered.objects) {
            met += 1;
            let place = format!("deploy/{}: {}", rendered.path, called(object));
            assert!(metadata["scalerAddress"].ends_with(":6000"), "{place}");
            let asked = ScaledObject { namespace: namespace(object), name: name(object), metadata: &metadata };
            match read(&asked, &loaded.grants).unwrap_or_else(|problems| panic!("{place}: {problems}")) {
                Ask::Named { id, .. } => {
                    let named = loaded.autoscalers.iter().find(|spec| spec.id == id);
                    let named = named.unwrap_or_else(|| panic!("{place}: there is no {id}"));
                    assert!(named.dry_run, "{place}: {id} would scale what KEDA scales");
                    let target = named.target.as_ref().unwrap();
                    assert_eq!(object["spec"]["scaleTargetRef"]["name"], *target.name, "{place}");
                    assert_eq!(object["spec"]["maxReplicaCount"], named.bounds.max, "{place}: what would be shown");
                }
                Ask::Trigger(ask) => {
                    let registered = ask.registration.unwrap_or_else(|problems| panic!("{place}: {problems}"));
                    assert_eq!(registered.triggers.len(), 1, "{place}");
                    assert_eq!(ask.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0], "{place}");
                }
            }
        }
    }
    assert!(met >= 6, "{met}");
}

#[test]
fn a_queue_that_several_workloads_drain_is_counted_once() {
    let Some(all) = scaled() else { return };
    let mut shared = 0;
    for rendered in all {
        let loaded = loaded(&rendered.objects);
        let mut shares: HashMap<String, i64> = HashMap::new();
        for spec in &loaded.autoscalers {
            for trigger in &spec.triggers {
                *shares.entry(format!("{:?} {:?}", trigger.connection.name, trigger.source)).or_default() +=
                    trigger.share.0;
            }
        }
        for (object, metadata) in triggers(&rendered.objects) {
            if !metadata.contains_key("autoscaler") {
                let asked = ScaledObject { namespace: namespace(object), name: name(object), metadata: &metadata };
                let Ok(Ask::Trigger(ask)) = read(&asked, &loaded.grants) else { panic!("{}", called(object)) };
                let spec = ask.registration.unwrap();
                let trigger = &spec.triggers[0];
                *shares.entry(format!("{:?} {:?}", trigger.connection.name, trigger.source)).or_default() +=
                    trigger.share.0;
                shared += usize::from(trigger.share != TriggerSpec::WHOLE);
            }
        }
        shared +=
            loaded.autoscalers.iter().flat_map(|spec| &spec.triggers).filter(|t| t.share != TriggerSpec::WHOLE).count();
        for (queue, sum) in shares {
            assert_eq!(sum, TriggerSpec::WHOLE.0, "deploy/{}: {queue}", rendered.path);
        }
    }
    // Blue and green, stable and canary, and the latter behind KEDA.
    assert!(shared >= 6, "{shared}");
}

#[test]
fn every_autoscaler_scales_a_minute_of_simulated_work() {
    let Some(all) = scaled() else { return };
    let folder = TempDir::new().unwrap();
    let mut seen = Vec::new();
    for rendered in all {
        for spec in loaded(&rendered.objects).autoscalers {
            let manifest =
                rendered.objects.iter().find(|o| kind(o) == "QueueAutoscaler" && name(o) == &*spec.id.name).unwrap();
            // Behind KEDA it is the same one, as a dry run.
            let mut acting = manifest.clone();
            acting["spec"].as_object_mut().unwrap().remove("dryRun");
            if seen.contains(&acting) {
                continue;
            }
            seen.push(acting);
            let mut objects = ours(&rendered.objects);
            let jobs: Vec<Value> = (0..spec.triggers.len())
                .map(
                    |_| json!({ "arrivals": [{ "constant": { "perSecond": 5 } }], "service": { "exponential": "2s" } }),
                )
                .collect();
            objects.push(json!({
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "Scenario", "metadata": { "name": "minute" },
                "spec": {
                    "about": "A minute of steady work.", "autoscaler": &*spec.id.name, "duration": "1m", "seeds": 1, "jobs": jobs,
                    "workers": { "slots": 4, "startUp": { "init": { "fixed": "2s" } } },
                },
            }));
            let (file, json) = (folder.path().join("minute.yaml"), folder.path().join("minute.json"));
            fs::write(&file, yaml(&objects)).unwrap();
            let words = ["simulate", "-f", file.to_str().unwrap(), "--json", json.to_str().unwrap()];
            let output = command(&words);
            assert!(output.status.success(), "deploy/{}: {}", rendered.path, tools::text(&output));
            let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
            let jobs = report["scenario"]["jobs"].as_f64().unwrap();
            assert!((200.0..600.0 * spec.triggers.len() as f64).contains(&jobs), "{}: {jobs} jobs", spec.id);
            let policies = report["policies"].as_array().unwrap();
            let ours = policies.iter().find(|policy| policy["kind"] == "tidegate");
            let ours = ours.unwrap_or_else(|| panic!("{}: {policies:?}", spec.id));
            // Everything that came was done.
            assert_eq!((ours["lost"].as_f64(), ours["left"].as_f64()), (Some(0.0), Some(0.0)), "{}", spec.id);
        }
    }
    assert!(seen.len() >= 8, "{}", seen.len());
}

// === against real servers ===

/// The servers of one overlay, in the place of those that its Connections name.
struct Servers {
    redis: Option<RedisProcess>,
    sentinels: Option<Sentinels>,
    postgres: Option<PostgresProcess>,
}

impl Servers {
    /// Starts what the Connections need, and leads them there. Everything else of them stays as it is written.
    fn start(objects: &mut [Value], secrets: &HashMap<(String, String, String), String>, folder: &TempDir) -> Servers {
        let mut servers = Servers { redis: None, sentinels: None, postgres: None };
        for object in objects.iter_mut().filter(|object| kind(object) == "Connection") {
            let namespace = namespace(object).to_owned();
            let server = object["spec"].as_object_mut().unwrap();
            let (which, body) = server.iter_mut().next().unwrap();
            let mut password = None;
            hand_over(body, &namespace, secrets, folder, &mut password);
            match which.as_str() {
                "redis" => servers.lead_to_redis(body, password.as_deref(), folder),
                "postgres" => servers.lead_to_postgres(body, password.as_deref()),
                other => panic!("a Connection of kind {other}"),
            }
        }
        servers
    }

    fn lead_to_redis(&mut self, body: &mut Value, password: Option<&str>, folder: &TempDir) {
        let lines = password.map(|password| vec![format!("requirepass {password}"), format!("masterauth {password}")]);
        let lines = lines.unwrap_or_default();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        if body["sentinel"].is_object() {
            assert_eq!(body["sentinel"]["master"], MASTER);
            let watching = password.map(|password| format!("sentinel auth-pass {MASTER} {password}"));
            let sentinel_password =
                body["sentinel"]["passwordFrom"]["file"].as_str().map(|file| fs::read_to_string(file).unwrap());
            let sentinel_lines = sentinel_password.map(|password| format!("requirepass {password}"));
            let of_sentinels: Vec<&str> =
                [&watching, &sentinel_lines].into_iter().flatten().map(String::as_str).collect();
            let sentinels = Sentinels::with(1, &lines, &of_sentinels);
            body["sentinel"]["addresses"] = json!(sentinels.addresses());
            let _ = folder;
            self.sentinels = Some(sentinels);
        } else {
            let server = self.redis.get_or_insert_with(|| RedisProcess::with(&lines));
            body["address"] = json!(server.address());
        }
    }

    fn lead_to_postgres(&mut self, body: &mut Value, password: Option<&str>) {
        let server = PostgresProcess::start();
        body["address"] = json!(server.address());
        let database = body["database"].as_str().unwrap();
        let _ = server.database(database);
        let user = body["username"].as_str().unwrap();
        let mut admin = server.session(database);
        admin.run(&format!("create role {user} login password '{}'", password.unwrap()));
        self.postgres = Some(server);
    }

    fn redis(&self) -> &RedisProcess {
        match &self.sentinels {
            Some(sentinels) => sentinels.server(&sentinels.master()),
            None => self.redis.as_ref().expect("a Redis"),
        }
    }
}

/// A Secret's value becomes a file: nobody reads Secrets without a cluster.
fn hand_over(
    body: &mut Value,
    namespace: &str,
    secrets: &HashMap<(String, String, String), String>,
    folder: &TempDir,
    password: &mut Option<String>,
) {
    let Some(fields) = body.as_object_mut() else { return };
    for (field, value) in fields {
        if field == "passwordFrom" {
            let reference = &value["secretKeyRef"];
            let key = (namespace.to_owned(), text(&reference["name"]), text(&reference["key"]));
            let secret = secrets.get(&key).unwrap_or_else(|| panic!("no Secret {key:?}"));
            let file = folder.path().join(format!("{}-{}", key.1, key.2));
            fs::write(&file, secret).unwrap();
            *value = json!({ "file": file });
            *password = Some(secret.clone());
        } else {
            let mut inner = None;
            hand_over(value, namespace, secrets, folder, &mut inner);
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn secrets(objects: &[Value]) -> HashMap<(String, String, String), String> {
    let mut found = HashMap::new();
    for object in objects.iter().filter(|object| kind(object) == "Secret") {
        for (key, value) in object["stringData"].as_object().into_iter().flatten() {
            found.insert((namespace(object).to_owned(), name(object).to_owned(), key.clone()), text(value));
        }
    }
    found
}

/// Fills (or, with `None`, empties) a queue as its framework would. Returns how much a reader finds there.
fn lay_out(source: &Value, redis: &RedisProcess, jobs: Option<usize>) -> usize {
    let names = |list: &Value| list.as_array().unwrap().iter().map(text).collect::<Vec<_>>();
    let (lists, sets) = if let Some(block) = source["celery"].as_object() {
        (names(&block["queues"]), Vec::new())
    } else if let Some(block) = source["redisList"].as_object() {
        (names(&block["keys"]), Vec::new())
    } else if let Some(block) = source["arq"].as_object() {
        (Vec::new(), names(&block["queues"]))
    } else {
        panic!("a source that this test does not know: {source}");
    };
    // As kombu writes it: JSON with the body in base64.
    let message =
        json!({ "body": "W1tdLCB7fSwge31d", "content-encoding": "utf-8", "properties": { "priority": 0 } }).to_string();
    for list in &lists {
        match jobs {
            Some(jobs) => {
                let words: Vec<&str> =
                    ["LPUSH", list].into_iter().chain(std::iter::repeat_n(message.as_str(), jobs)).collect();
                let _: i64 = redis.command(&words);
            }
            None => {
                let _: i64 = redis.command(&["DEL", list]);
            }
        }
    }
    for set in &sets {
        match jobs {
            // Scores are milliseconds; these were due long ago.
            Some(jobs) => {
                let members: Vec<String> = (0..jobs).map(|job| format!("job-{job}")).collect();
                let words: Vec<&str> =
                    ["ZADD", set].into_iter().chain(members.iter().flat_map(|member| ["1000", member])).collect();
                let _: i64 = redis.command(&words);
            }
            None => {
                let _: i64 = redis.command(&["DEL", set]);
            }
        }
    }
    jobs.unwrap_or(0) * (lists.len() + sets.len())
}

/// Replicas that a policy asks for, by the formula that stands in the manual.
fn wanted(trigger: &TriggerSpec, backlog: f64) -> f64 {
    match trigger.policy {
        Policy::BacklogPerReplica { target } => (backlog / target.as_f64()).ceil(),
        Policy::Load(load) => (backlog * load.job_duration.as_secs_f64()
            / (load.slots_per_replica.as_f64() * load.drain_within.as_secs_f64()))
        .ceil(),
        Policy::Fixed { replicas } => f64::from(replicas),
    }
}

/// How long a stack is watched while its queues are full.
fn watch() -> Duration {
    if std::env::var_os("TIDEGATE_LONG").is_some() { Duration::from_secs(60) } else { Duration::from_secs(2) }
}

fn run(path: &str) {
    let Some(rendered) = rendered::one(path) else { return };
    let folder = TempDir::new().unwrap();
    let mut objects = ours(rendered);
    let specs = loaded(rendered).autoscalers;
    let servers = Servers::start(&mut objects, &secrets(rendered), &folder);
    // KEDA's triggers name the address, and the Connection that allows it has another one here.
    let address = servers.redis.as_ref().map(RedisProcess::address);
    if let Some(postgres) = &servers.postgres {
        projections(rendered, &mut postgres.session("mydb"));
    }
    let tidegate = Tidegate::start(&yaml(&objects), &["--target", "memory", "--rehearsal-start-up", "100ms"]);
    tidegate.until_ready();

    let mut filled = HashMap::new();
    for object in objects.iter().filter(|object| kind(object) == "QueueAutoscaler") {
        for trigger in object["spec"]["triggers"].as_array().unwrap() {
            let key = trigger.to_string();
            if trigger["postgres"].is_null() && !filled.contains_key(&key) {
                let same = objects.iter().flat_map(|o| o["spec"]["triggers"].as_array().into_iter().flatten());
                let same: Vec<String> =
                    same.filter(|other| source(other) == source(trigger)).map(ToString::to_string).collect();
                let there = lay_out(trigger, servers.redis(), Some(JOBS));
                filled.extend(same.into_iter().map(|key| (key, there)));
            }
        }
    }
    for spec in &specs {
        let object = objects.iter().find(|o| kind(o) == "QueueAutoscaler" && name(o) == &*spec.id.name).unwrap();
        for (trigger, written) in spec.triggers.iter().zip(object["spec"]["triggers"].as_array().unwrap()) {
            let whole = filled.get(&written.to_string()).copied().map_or(45_000.0, |there| there as f64);
            follows(&tidegate, spec, trigger, whole * trigger.share.as_f64(), path);
        }
        let up = &object["spec"]["behavior"]["scaleUp"]["stabilizationWindowSeconds"];
        if !spec.dry_run && up.as_i64().unwrap_or(0) == 0 {
            let most =
                spec.triggers.iter().zip(object["spec"]["triggers"].as_array().unwrap()).map(|(trigger, written)| {
                    let there = filled.get(&written.to_string()).copied().map_or(45_000.0, |there| there as f64);
                    wanted(trigger, there * trigger.share.as_f64())
                });
            let all = most.fold(0.0, f64::max).clamp(f64::from(spec.bounds.min), f64::from(spec.bounds.max));
            let target = spec.target.as_ref().unwrap();
            until(&format!("{path}: {} at {all}", spec.id), || {
                tidegate.replicas(&spec.id.namespace, &target.name) as f64 == all
            });
        }
    }
    behind_keda(&tidegate, rendered, address.as_deref(), &servers, path);
    // Nothing ails it, for as long as it is watched.
    let end = Instant::now() + watch();
    while Instant::now() < end {
        for spec in &specs {
            let detail = tidegate.detail(&spec.id.namespace, &spec.id.name);
            for trigger in detail["triggers"].as_array().unwrap() {
                assert_eq!(trigger["health"], "fresh", "{path}: {trigger}");
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let log = tidegate.log();
    let complaints: Vec<&str> =
        log.lines().filter(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\"")).collect();
    assert!(complaints.is_empty(), "{path}: {complaints:#?}");
}

/// A trigger's source block.
fn source(trigger: &Value) -> Vec<(String, Value)> {
    let rest = ["name", "policy", "share", "connection", "activationThreshold", "inFlight", "maxSampleAge"];
    let fields = trigger.as_object().unwrap().iter().filter(|(name, _)| !rest.contains(&name.as_str()));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Waits until a trigger reads so much, and asks for what the formula says.
fn follows(tidegate: &Tidegate, spec: &AutoscalerSpec, trigger: &TriggerSpec, backlog: f64, path: &str) {
    let place = format!("{path}: {} {}", spec.id, trigger.name);
    let shown = || {
        let detail = tidegate.detail(&spec.id.namespace, &spec.id.name);
        detail["triggers"].as_array().unwrap().iter().find(|t| t["name"] == *trigger.name).cloned().unwrap()
    };
    until(&format!("{place} reads {backlog}"), || {
        shown()["value"].as_f64().is_some_and(|value| (value - backlog).abs() < 1e-6)
    });
    until(&format!("{place} wants {}", wanted(trigger, backlog)), || {
        shown()["wants"].as_f64() == Some(wanted(trigger, backlog))
    });
}

/// What KEDA is told of each trigger: that there is something to do, and how much.
fn behind_keda(tidegate: &Tidegate, objects: &[Value], address: Option<&str>, servers: &Servers, path: &str) {
    let triggers = triggers(objects);
    if triggers.is_empty() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (object, mut metadata) in triggers {
            let place = format!("{path}: {}", called(object));
            let own = metadata.get("listName").cloned();
            if let (Some(written), Some(address)) = (metadata.get_mut("address"), address) {
                address.clone_into(written);
            }
            let mut expected = None;
            if let Some(list) = own {
                let there: i64 = servers.redis().command(&["LLEN", &list]);
                if there == 0 {
                    lay_out(&json!({ "redisList": { "keys": [list] } }), servers.redis(), Some(JOBS));
                }
                let there: i64 = servers.redis().command(&["LLEN", &list]);
                let share = metadata.get("share").map_or(1.0, |share| share.parse().unwrap());
                expected = Some(there as f64 * share);
            }
            let pairs: Vec<(&str, &str)> = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let mut keda = Keda::new(tidegate.client().await, namespace(object), &pairs);
            let specs = keda.specs().await.unwrap_or_else(|status| panic!("{place}: {status}"));
            assert_eq!(specs.len(), 1, "{place}: {specs:?}");
            if let Some(length) = metadata.get("listLength") {
                assert_eq!(specs[0].2.to_string(), *length, "{place}");
            }
            match expected {
                Some(expected) => keda.until_value(expected).await,
                None => {
                    let (_, value) = keda.value("").await.unwrap_or_else(|status| panic!("{place}: {status}"));
                    assert!(value > 0.0, "{place}: {value}");
                }
            }
            assert!(keda.active().await.unwrap(), "{place}");
        }
    });
}

/// The tables of the stack's own migrations, three workers, and 45,000 events that one of three projections has not seen.
fn projections(objects: &[Value], db: &mut crate::support::postgres::Session) {
    let migrations = objects.iter().find(|o| kind(o) == "ConfigMap" && name(o) == "projections-migrations").unwrap();
    for file in ["01-event-store.sql", "02-orchestrator.sql"] {
        db.run(migrations["data"][file].as_str().unwrap());
    }
    // Of the third file, what is not psql's own: the role is there already.
    let grants = migrations["data"]["03-tidegate.sql"].as_str().unwrap();
    for line in grants.lines().filter(|line| line.starts_with("GRANT")) {
        db.run(line);
    }
    db.run(
        "insert into events (bounded_context, aggregate_type, aggregate_id, aggregate_version, event_id, event_type, payload)
         select 'c', 'a', 'x', n, gen_random_uuid(), 'e', '' from generate_series(1, 45000) n",
    );
    let generation = "00000000-0000-4000-8000-000000000001";
    db.run(&format!("insert into orchestrator_generations values ('{generation}', 'main-projections', 3, now())"));
    db.run(&format!(
        "insert into orchestrator_workers (id, replica_set, generation_id, partition_key, state)
         select gen_random_uuid(), 'main-projections', '{generation}', n, 'running' from generate_series(0, 2) n"
    ));
    db.run(
        "insert into projection_checkpoints (projection_name, last_global_position)
         select name || '_p' || n, 45000 from unnest(array['invoices', 'customers']) name, generate_series(0, 2) n",
    );
    db.run("analyze");
}

macro_rules! live {
    ($($test:ident: $path:literal,)*) => {
        $(#[test]
        fn $test() {
            run(concat!("stacks/", $path));
        })*
    };
}

live! {
    parkshare_by_itself: "parkshare/overlays/standalone",
    parkshare_behind_keda: "parkshare/overlays/keda",
    parkshare_blue_and_green: "parkshare/overlays/blue-green",
    parkshare_with_a_canary: "parkshare/overlays/canary",
    parkshare_with_a_canary_behind_keda: "parkshare/overlays/keda-canary",
    jewelry_shop_by_itself: "jewelry-shop/overlays/standalone",
    jewelry_shop_behind_keda: "jewelry-shop/overlays/keda",
    example_service_by_itself: "example-service/overlays/standalone",
    example_service_behind_keda: "example-service/overlays/keda",
    projections_by_themselves: "projections/overlays/standalone",
    projections_behind_keda: "projections/overlays/keda",
    pulse_by_itself: "pulse/overlays/standalone",
    pulse_behind_keda: "pulse/overlays/keda",
}
