//! The manifests that people start from: accepted by validation and by the API server, and each does what its comment
//! says when the engine is given the backlogs that it speaks of.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "crds/walker.rs"]
mod walker;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidegate::cluster::crd::{self, Kind};
use tidegate::engine::{Effect, Engine, Event, Role};
use tidegate::model::*;
use tidegate::spec::AutoscalerSpec;
use tidegate::spec::load::{Loaded, SourceText, Terms, load};
use tidegate::spec::manifest;

const KEY: Key = Key(0);

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples")
}

fn read(text: &str) -> Loaded {
    let source = SourceText { file: "example.yaml".to_owned(), text: text.to_owned() };
    load(&[source], &Terms::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn spec(loaded: &Loaded, name: &str) -> AutoscalerSpec {
    (**loaded.autoscalers.iter().find(|spec| &*spec.id.name == name).unwrap()).clone()
}

// === all of them ===

#[test]
fn the_sweep_of_a_job_has_a_pod_for_each_shard_and_arguments_that_tidegate_takes() {
    use clap::Parser as _;
    let text = fs::read_to_string(folder().join("simulate/sweep-job.yaml")).unwrap();
    let job: Value = serde_saphyr::from_str(&text).unwrap();
    let pods = job["spec"]["completions"].as_u64().unwrap();
    assert_eq!(job["spec"]["completionMode"], "Indexed");
    let args = job.pointer("/spec/template/spec/containers/0/args").unwrap().as_array().unwrap();
    for index in 0..pods {
        let args = args.iter().map(|arg| arg.as_str().unwrap().replace("$(JOB_COMPLETION_INDEX)", &index.to_string()));
        let words: Vec<String> = ["tidegate".to_owned()].into_iter().chain(args).collect();
        let cli = tidegate::cli::Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let tidegate::cli::Command::Simulate(args) = cli.command else { panic!("not simulate") };
        let shard = args.shard.unwrap();
        assert_eq!((shard.index as u64, shard.of as u64), (index, pods));
        assert_eq!(args.vary.len(), 3);
    }
}

#[test]
fn every_example_is_accepted_and_reads_back_as_it_was_stored() {
    let mut files: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    assert!(files.len() >= 10);
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{} says what it is", path.display());
        let loaded = read(&text);
        // Another kind in the file is left alone, with a warning.
        let others = ["Secret of v1 is not", "HorizontalPodAutoscaler of autoscaling/v2 is not"];
        for warning in &loaded.warnings {
            let warning = warning.to_string();
            assert!(others.iter().any(|other| warning.contains(other)), "{}: {warning}", path.display());
        }
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let mut ours = 0;
        for mut object in documents {
            let Some(kind) = Kind::ALL.into_iter().find(|kind| object["kind"] == kind.as_str()) else { continue };
            ours += 1;
            let schema = crd::schema_of(kind);
            walker::fill_defaults(&schema, &mut object);
            assert_eq!(walker::misfits(&schema, &object, ""), [""; 0], "{}", path.display());
            let stored = object["spec"].clone();
            let read = match kind {
                Kind::QueueAutoscaler => {
                    serde_json::to_value(serde_json::from_value::<manifest::QueueAutoscaler>(object).unwrap())
                }
                Kind::Connection => {
                    serde_json::to_value(serde_json::from_value::<manifest::Connection>(object).unwrap())
                }
                Kind::ClusterConnection => {
                    serde_json::to_value(serde_json::from_value::<manifest::ClusterConnection>(object).unwrap())
                }
            };
            assert_eq!(read.unwrap()["spec"], stored, "{}", path.display());
        }
        assert!(ours >= 2, "{}", path.display());
    }
}

// === what each of them does ===

/// An engine, and a workload that does as it is told. Every trigger is read once a second.
struct World {
    engine: Engine,
    now: Tick,
    spec: Arc<AutoscalerSpec>,
    replicas: Replicas,
    /// How often the workload was scaled.
    scaled: usize,
    rounds: u64,
}

impl World {
    fn new(spec: AutoscalerSpec, replicas: Replicas) -> World {
        let role = if spec.dry_run { Role::Advises } else { Role::Controls };
        let mut world = World {
            engine: Engine::new(),
            now: Tick::ZERO.after(Duration::from_secs(100_000)),
            spec: Arc::new(spec),
            replicas,
            scaled: 0,
            rounds: 0,
        };
        world.tell(Event::Spec { spec: Arc::clone(&world.spec), role });
        world.tell(Event::Current { replicas, set_by: SetBy::Unknown, another: false });
        world
    }

    fn of(name: &str, autoscaler: &str, replicas: Replicas) -> World {
        World::new(spec(&read(&text(name)), autoscaler), replicas)
    }

    fn tell(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.engine.handle(self.now, KEY, event, &mut effects);
        let asked = effects.iter().rev().find_map(|effect| match effect {
            Effect::Scale { from, to, .. } => Some((*from, *to)),
            Effect::Publish { .. } | Effect::Withdraw { .. } => None,
        });
        if let Some((from, to)) = asked {
            assert_eq!(from, self.replicas);
            (self.replicas, self.scaled) = (to, self.scaled + 1);
            self.tell(Event::Applied { from, to, succeeded: true });
        }
    }

    fn round(&mut self, backlogs: &[Result<u32, ()>]) {
        self.rounds += 1;
        for (trigger, backlog) in backlogs.iter().enumerate() {
            let value = backlog
                .map(|backlog| Observation::of_backlog(f64::from(backlog)))
                .map_err(|()| ReadFailure::new(FailureKind::Timeout, "scripted"));
            let trigger = u16::try_from(trigger).unwrap();
            self.tell(Event::Sample { trigger, round: Round(self.rounds), taken: self.now, value });
        }
    }

    /// Reads these backlogs, and again every second for so long; returns where the workload stands then.
    fn during(&mut self, seconds: u32, backlogs: &[u32]) -> Replicas {
        let backlogs: Vec<Result<u32, ()>> = backlogs.iter().copied().map(Ok).collect();
        self.repeat(seconds, &backlogs)
    }

    /// The same with a source that does not answer.
    fn silent(&mut self, seconds: u32) -> Replicas {
        self.repeat(seconds, &[Err(())])
    }

    fn repeat(&mut self, seconds: u32, backlogs: &[Result<u32, ()>]) -> Replicas {
        self.round(backlogs);
        for _ in 0..seconds {
            self.now = self.now.after(Duration::from_secs(1));
            self.round(backlogs);
        }
        self.replicas
    }

    fn at_once(&mut self, backlogs: &[u32]) -> Replicas {
        self.during(0, backlogs)
    }

    fn desired(&self) -> Replicas {
        self.engine.decision(KEY).expect("it exists").desired
    }
}

#[test]
fn a_celery_worker_goes_up_in_one_step_and_down_by_halves() {
    let mut world = World::of("01-celery-worker", "celery-worker", 0);
    assert_eq!((world.at_once(&[300]), world.scaled), (30, 1), "thirty, in one step");
    assert_eq!(world.during(59, &[0]), 30, "no worker goes for a minute");
    assert_eq!(world.during(1, &[0]), 15, "then half of them");
    assert_eq!(world.during(14, &[0]), 15);
    assert_eq!(world.during(1, &[0]), 7, "every 15 seconds");
    assert!(world.during(220, &[0]) > 0, "the last ones wait");
    assert_eq!(world.during(10, &[0]), 0, "for five minutes");
}

#[test]
fn a_stateful_set_takes_the_higher_wish_and_loses_one_pod_a_minute() {
    let mut world = World::of("02-statefulset", "indexer", 1);
    assert_eq!(world.at_once(&[0, 1]), 4, "a rebuild needs four");
    assert_eq!(world.at_once(&[0, 90]), 4, "however many are waiting");
    assert_eq!(world.at_once(&[5500, 1]), 6, "and a pod for every thousand documents");
    // The HPA's rule: what was added within the period may go again in it.
    assert_eq!(world.during(61, &[90_000, 1]), 8, "never more than eight");
    assert_eq!(world.at_once(&[0, 0]), 7, "one pod");
    assert_eq!(world.during(59, &[0, 0]), 7);
    assert_eq!(world.during(1, &[0, 0]), 6, "a minute");
    assert_eq!(world.during(600, &[0, 0]), 1, "there is always one");
    let loaded = read(&text("02-statefulset"));
    assert_eq!(spec(&loaded, "indexer").target.unwrap().kind, "StatefulSet");
}

#[test]
fn a_rollout_works_with_two_or_rests_with_none() {
    let mut world = World::of("03-argo-rollout", "checkout", 0);
    assert_eq!(world.at_once(&[1]), 2, "two are the least that may work");
    assert_eq!(world.at_once(&[100]), 4);
    assert!(world.during(119, &[0]) >= 2);
    assert_eq!(world.during(2, &[0]), 0, "two minutes later");
    let target = spec(&read(&text("03-argo-rollout")), "checkout").target.unwrap();
    assert_eq!((target.api_version.as_str(), target.kind.as_str()), ("argoproj.io/v1alpha1", "Rollout"));
}

#[test]
fn a_shared_server_is_for_the_namespaces_that_it_allows() {
    let mut mailer = World::of("04-shared-server", "mailer", 0);
    assert_eq!(mailer.at_once(&[1]), 1, "from the first mail on");
    assert_eq!(mailer.at_once(&[120]), 3, "one for every 50, rounded up");
    let mut reports = World::of("04-shared-server", "reports", 0);
    assert_eq!(reports.at_once(&[5]), 0, "not at its threshold");
    assert_eq!(reports.at_once(&[6]), 2, "above it");
    let loaded = read(&text("04-shared-server"));
    for (namespace, allowed) in [("shop", true), ("team-finance", true), ("team-a", true), ("platform", false)] {
        assert_eq!(loaded.grants.find_by_name(namespace, "redis-shared").is_some(), allowed, "{namespace}");
    }
}

#[test]
fn a_shadow_decides_and_never_scales() {
    let mut world = World::of("05-shadow-beside-an-hpa", "thumbnails", 3);
    world.at_once(&[200]);
    assert_eq!((world.desired(), world.replicas, world.scaled), (10, 3, 0));
}

#[test]
fn a_maintenance_window_keeps_it_at_zero_until_it_is_over() {
    let during = text("06-maintenance-window");
    let mut world = World::new(spec(&read(&during), "billing"), 5);
    assert_eq!(world.at_once(&[80]), 0, "scaled to zero, whatever waits");
    assert_eq!(world.during(600, &[80]), 0, "and stays there");
    let over = during.replace("  annotations: { tidegate.dev/paused-replicas: \"0\" }\n", "");
    assert_ne!(over, during);
    world.tell(Event::Spec { spec: Arc::new(spec(&read(&over), "billing")), role: Role::Controls });
    assert_eq!(world.at_once(&[80]), 8, "what waits is worked on at once");

    let mut sale = World::new(spec(&read(&during), "payments"), 2);
    assert_eq!(sale.at_once(&[90]), 9, "more where they are needed");
    assert_eq!(sale.during(600, &[0]), 9, "none taken away");
}

#[test]
fn a_trial_stays_in_its_bounds_and_is_undone_at_its_end() {
    let spec = spec(&read(&text("07-restore-on-delete")), "trial");
    assert!(spec.restore_on_delete);
    let mut world = World::new(spec, 2);
    assert_eq!(world.at_once(&[50]), 3);
    assert_eq!(world.during(900, &[0]), 1);
}

#[test]
fn batch_workers_leave_all_at_once_and_are_there_in_an_outage() {
    let mut world = World::of("08-batch-to-zero-at-once", "frames", 0);
    assert_eq!((world.at_once(&[40]), world.scaled), (40, 1), "one for every job, in one step");
    assert_eq!((world.at_once(&[0]), world.scaled), (0, 2), "all of them at once");
    assert_eq!(world.silent(50), 0);
    assert_eq!(world.silent(20), 5, "after a minute, in case there is something to do");
}

#[test]
fn projections_change_seldom_by_little_and_not_while_they_divide_the_work() {
    let mut world = World::of("09-projections", "projections", 2);
    assert_eq!(world.during(299, &[45_000]), 2, "a lag has to stand for five minutes");
    assert_eq!(world.during(2, &[45_000]), 4, "two more at first");
    assert_eq!(world.during(117, &[45_000]), 4);
    assert_eq!(world.during(5, &[45_000]), 5, "and the fifth two minutes later");
    assert_eq!(world.during(890, &[0]), 5, "a quarter of an hour");
    assert_eq!(world.during(15, &[0]), 4);

    let mut world = World::of("09-projections", "projections", 2);
    let dividing = Observation { rebalancing: true, ..Observation::of_backlog(45_000.0) };
    world.during(290, &[45_000]);
    for second in 0..89 {
        world.now = world.now.after(Duration::from_secs(1));
        world.tell(Event::Sample { trigger: 0, round: Round(9_000 + second), taken: world.now, value: Ok(dividing) });
    }
    assert_eq!(world.replicas, 2, "nothing is scaled meanwhile");
    world.now = world.now.after(Duration::from_secs(3));
    world.tell(Event::Sample { trigger: 0, round: Round(9_999), taken: world.now, value: Ok(dividing) });
    assert_eq!(world.replicas, 4, "for 90 seconds at most");
}

#[test]
fn what_prometheus_returns_is_stale_after_a_minute() {
    let mut world = World::of("10-prometheus", "mailer", 0);
    assert_eq!(world.at_once(&[40]), 8, "forty emails");
    world.now = world.now.after(Duration::from_secs(400));
    let old = Observation { age: 61.0.into(), ..Observation::of_backlog(0.0) };
    world.tell(Event::Sample { trigger: 0, round: Round(99), taken: world.now, value: Ok(old) });
    assert_eq!(world.replicas, 8, "nothing is scaled down");
    let mut importer = World::of("10-prometheus", "importer", 0);
    assert_eq!(importer.at_once(&[250]), 3, "a pod for each 100 rows");
    let loaded = read(&text("10-prometheus"));
    let connection = |name: &str| loaded.grants.find_by_name("shop", name).unwrap();
    let reads = |name: &str| spec(&loaded, name).triggers[0].connection.clone();
    assert_eq!(reads("mailer"), reads("invoicer"));
    assert_eq!((reads("mailer"), reads("importer")), (connection("prometheus"), connection("exporter")));
}
