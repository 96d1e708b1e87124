//! Conditions as a table: what is known on the left, what is said on the right. Read the snapshot as somebody who was
//! woken up by it.

use std::sync::Arc;
use std::time::Duration;

use tidegate::board::Published;
use tidegate::cluster::conditions::{View, conditions};
use tidegate::cluster::resources::Resource;
use tidegate::cluster::standing::{Failed, Refused, Standing, Workload};
use tidegate::model::*;
use tidegate::spec::manifest::status::{Condition, QueueAutoscalerStatus};
use tidegate::spec::problem::Problem;
use tidegate::spec::*;

use super::status_rig::{decision, resource, spec, unreadable};

/// Everything is well; each case changes something.
struct Case {
    spec: AutoscalerSpec,
    decision: Option<Decision>,
    standing: Standing,
    resource: Resource,
}

const NOW: Tick = Tick::from_millis(1_000_000);

fn well() -> Case {
    let spec = spec("web");
    Case {
        decision: Some(decision(NOW, 4, 4.0)),
        standing: Standing { workload: Workload::Seen { replicas: 4, ready: 4 }, ..Standing::default() },
        resource: resource(&Arc::new(spec.clone())),
        spec,
    }
}

impl Case {
    fn conditions(&self, previous: &[Condition], now: &str) -> Vec<Condition> {
        let spec = Arc::new(self.spec.clone());
        let published = Published { spec: Arc::clone(&spec), decision: self.decision.clone(), pace: None };
        let known = self.resource.spec.is_some();
        let resource = Resource { spec: known.then_some(spec), ..self.resource.clone() };
        let view = View { published: known.then_some(&published), standing: &self.standing, resource: &resource };
        conditions(view, previous, now, Some(resource.generation))
    }

    fn decided(&mut self) -> &mut Decision {
        self.decision.as_mut().unwrap()
    }

    fn ends_with(&mut self, stage: Stage, after: Replicas, reason: Reason) {
        let decision = self.decided();
        decision.steps.push(stage, after, reason);
        (decision.desired, decision.reason) = (after, reason);
    }

    fn in_vain(&mut self, label: &'static str, message: &str) {
        self.standing.failed = Some(Failed { label, message: message.into() });
    }

    fn deleted(&mut self) {
        self.spec.restore_on_delete = true;
        self.resource.deleting = true;
        self.resource.finalizers = vec!["tidegate.dev/restore-replicas".into()];
        self.resource.status =
            Some(QueueAutoscalerStatus { original_replica_count: Some(3), ..QueueAutoscalerStatus::default() });
    }
}

type Change = fn(&mut Case);

const CASES: &[(&str, Change)] = &[
    ("all is well", |_| {}),
    ("nothing read yet", |case| case.decided().triggers[0] = TriggerReport::pending()),
    ("not decided yet", |case| case.decision = None),
    ("workload not looked at yet", |case| case.standing.workload = Workload::Unknown),
    ("never valid", |case| {
        case.resource.spec = None;
        let problem = |path: &str| Problem::new(path, "must be written", "e.g. 10");
        case.resource.problems = ["spec.a", "spec.b", "spec.c", "spec.d", "spec.e"].map(problem).to_vec().into();
    }),
    ("valid before", |case| {
        case.resource.problems = vec![Problem::new("spec.maxReplicas", "0 is too few", "write at least 1")].into();
    }),
    ("a problem as long as a book", |case| {
        case.resource.problems = vec![Problem::new("p".repeat(9_000), "m".repeat(9_000), "c".repeat(9_000)); 9].into();
    }),
    ("no such workload", |case| {
        case.standing.workload = Workload::Missing("There is no Deployment web in namespace shop; create it.".into());
    }),
    ("a workload without scale", |case| {
        case.standing.workload = Workload::Unreadable("CronJob web has no /scale; use a kind that has.".into());
    }),
    ("an owner", |case| case.standing.refused = Some(Refused { by: "HorizontalPodAutoscaler shop/web".into() })),
    ("shadow", |case| {
        case.standing.refused = Some(Refused { by: "ScaledObject shop/web".into() });
        case.spec.dry_run = true;
    }),
    ("dry run", |case| case.spec.dry_run = true),
    ("forbidden", |case| {
        case.in_vain("forbidden", "403 deployments.apps \"web\" is forbidden; see `tidegate crd --rbac`");
    }),
    ("conflict", |case| case.in_vain("conflict", "it stands at 5 replicas, the decision was based on 4")),
    ("no answer in time", |case| case.in_vain("timeout", "no answer in 5s.")),
    ("failing for a moment", |case| {
        let report = &mut case.decided().triggers[0];
        report.health = Health::Failing;
        report.taken = Some(NOW.before(Duration::from_secs(4)));
        report.failure = Some(ReadFailure::new(FailureKind::Timeout, "no answer in 500ms"));
    }),
    ("failing for some seconds", |case| {
        let report = &mut case.decided().triggers[0];
        report.health = Health::Failing;
        report.taken = Some(NOW.before(Duration::from_secs(6)));
        report.failure = Some(ReadFailure::new(FailureKind::Timeout, "no answer in 500ms"));
    }),
    ("no value any more", |case| case.decision = Some(unreadable(NOW, 4))),
    ("fallback", |case| {
        case.decision = Some(unreadable(NOW, 4));
        case.spec.fallback.behavior = FallbackBehavior::Static { replicas: 6 };
        let decision = case.decided();
        decision.fallback = true;
        decision.triggers[0].reason = Reason::Fallback;
    }),
    ("stopped by hand", |case| {
        case.decision = Some(decision(NOW, 0, 9.0));
        case.decided().reason = Reason::ManuallyStopped;
    }),
    ("asleep", |case| case.decision = Some(decision(NOW, 0, 0.0))),
    ("kept awake", |case| case.spec.force_activation = true),
    ("cooling down", |case| {
        let mut steps = Steps::starting_at(1);
        steps.push(Stage::Activation, 1, Reason::Cooldown);
        let decision = case.decided();
        (decision.active, decision.steps) = (false, steps);
    }),
    ("paused", |case| case.spec.pause.frozen = true),
    ("paused at a number", |case| case.spec.pause.at_replicas = Some(2)),
    ("paused scale-in", |case| case.spec.pause.scale_in = true),
    ("paused scale-out", |case| case.spec.pause.scale_out = true),
    ("at the maximum", |case| case.ends_with(Stage::Bounds, 10, Reason::TooManyReplicas)),
    ("at the minimum", |case| case.ends_with(Stage::Bounds, 1, Reason::TooFewReplicas)),
    ("above the maximum", |case| case.ends_with(Stage::Bounds, 3, Reason::OutOfBounds)),
    ("limited upwards", |case| case.ends_with(Stage::RateLimit, 6, Reason::ScaleUpLimit)),
    ("limited downwards", |case| case.ends_with(Stage::RateLimit, 3, Reason::ScaleDownLimit)),
    ("after a restart", |case| case.ends_with(Stage::RateLimit, 4, Reason::MemoryLost)),
    ("being restored", Case::deleted),
    ("restored in vain", |case| {
        case.deleted();
        case.in_vain("unreachable", "the API server cannot be reached");
    }),
];

#[test]
fn every_condition_says_what_is_wrong_and_what_helps() {
    let usual = well().conditions(&[], "now");
    let mut text = String::new();
    for (name, change) in CASES {
        let mut case = well();
        change(&mut case);
        let said = case.conditions(&[], "now");
        text.push_str(&format!("# {name}\n"));
        for condition in &said {
            assert!(condition.message.len() <= 900, "{name}: {} bytes", condition.message.len());
            let told = usual.iter().any(|usual| usual.kind == condition.kind && usual.message == condition.message);
            if *name == "all is well" || !told {
                let Condition { kind, status, reason, message, .. } = condition;
                text.push_str(&format!("{kind}={status} {reason}: {message}\n"));
            }
        }
        text.push('\n');
    }
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("kubernetes__conditions", text);
    });
}

#[test]
fn a_time_changes_only_with_its_status() {
    let mut case = well();
    let first = case.conditions(&[], "first");
    assert!(first.iter().all(|condition| condition.last_transition_time == "first"));
    let again = case.conditions(&first, "second");
    assert_eq!(first, again);
    case.spec.dry_run = true;
    let other_reason = case.conditions(&first, "third");
    assert_eq!((&*other_reason[0].reason, &*other_reason[0].last_transition_time), ("DryRun", "first"));
    case.standing.workload = Workload::Missing("gone".into());
    let lost = case.conditions(&other_reason, "fourth");
    let times: Vec<&str> = lost.iter().map(|condition| &*condition.last_transition_time).collect();
    assert_eq!(times, ["fourth", "first", "first", "first", "first"]);
}

#[test]
fn nothing_that_changes_by_itself_is_in_a_message() {
    for (name, change) in CASES {
        let mut case = well();
        change(&mut case);
        let before = case.conditions(&[], "now");
        let later = |decision: &mut Decision| {
            decision.at = decision.at.after(Duration::from_secs(1));
            for report in &mut decision.triggers {
                report.taken = report.taken.map(|taken| taken.after(Duration::from_secs(1)));
                report.value = report.value.map(|value| value * 1.1);
            }
        };
        case.decision.iter_mut().for_each(later);
        assert_eq!(before, case.conditions(&before, "later"), "{name}");
    }
}
