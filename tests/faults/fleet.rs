//! tidegate in each way of holding replicas, a process each, all of them on the same servers; and what there is to
//! see of one.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::Code;

use crate::inject::{Fault, KEY, Victim};
use crate::support::redis::RedisProcess;
use crate::support::tidegate::{Keda, Tidegate};

pub const NAMESPACE: &str = "faults";
pub const POLLING: Duration = Duration::from_millis(250);
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
pub const RESPONSE_TIMEOUT: Duration = Duration::from_millis(300);
/// How old a reading may be, for all but the patient.
pub const MAX_AGE: Duration = Duration::from_secs(2);
/// Stabilization window of the scale-down.
pub const WINDOW: Duration = Duration::from_secs(4);
/// Items a replica.
pub const TARGET: usize = 5;
/// Replicas before and after the faults.
pub const STANDING: i64 = 6;
/// What the fallbacks ask for: more than stands there.
pub const FALLBACK: i64 = 8;
/// What the server that is well asks for during the faults.
pub const BUSY: i64 = 9;
/// The connection to it.
const WELL: &str = "well";

/// How fast the box is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub keda_polling: &'static str,
    pub hpa_sync: &'static str,
    /// The faults last at least this long: beyond the greatest age, and a window after that.
    pub hold: Duration,
    /// How long anything in the box may take.
    pub patience: Duration,
}

/// Who holds the replicas, and what the box asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Memory,
    Backlog { fallback: bool },
    Replicas { fallback: bool },
}

impl Mode {
    pub const ALL: [Mode; 5] = [
        Mode::Memory,
        Mode::Backlog { fallback: false },
        Mode::Backlog { fallback: true },
        Mode::Replicas { fallback: false },
        Mode::Replicas { fallback: true },
    ];

    pub fn name(self) -> &'static str {
        match self {
            Mode::Memory => "memory",
            Mode::Backlog { fallback: false } => "backlog",
            Mode::Backlog { fallback: true } => "backlog+fallback",
            Mode::Replicas { fallback: false } => "replicas",
            Mode::Replicas { fallback: true } => "replicas+fallback",
        }
    }

    fn serve(self) -> &'static str {
        if matches!(self, Mode::Replicas { .. }) { "replicas" } else { "backlog" }
    }

    fn keda_falls_back(self) -> bool {
        matches!(self, Mode::Backlog { fallback: true } | Mode::Replicas { fallback: true })
    }

    /// Whether our own window decides when it goes down. The box's HPA has 300 s of its own in front of a backlog.
    pub fn goes_down(self) -> bool {
        !matches!(self, Mode::Backlog { .. })
    }

    pub fn arguments(self, pace: &Pace) -> Vec<&'static str> {
        let mut arguments = vec!["--rehearsal-replicas", "2", "--rehearsal-start-up", "100ms"];
        if self == Mode::Memory {
            arguments.extend(["--target", "memory"]);
            return arguments;
        }
        arguments.extend(["--target", "keda-box", "--keda-serve", self.serve()]);
        arguments.extend(["--keda-polling-interval", pace.keda_polling, "--hpa-sync-period", pace.hpa_sync]);
        if self.keda_falls_back() {
            arguments.extend(["--keda-fallback-replicas", "8"]);
        }
        arguments
    }
}

/// Kinds of autoscaler, each reading the same key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Its readings grow too old during a fault.
    Plain,
    /// Its readings never do: the fault is over before.
    Patient,
    /// With a fallback of its own, which counts where we scale ourselves.
    OwnFallback,
    /// May sleep soon after the last item.
    Sleeper,
    /// A second trigger reads the server that is well.
    Mixed,
}

/// One autoscaler and its workload, in one process.
pub struct Cell {
    pub fault: Fault,
    pub kind: Kind,
    pub name: String,
    keda: Keda,
}

/// A process with all the faults' autoscalers.
pub struct Process {
    pub mode: Mode,
    pub tidegate: Tidegate,
    pub cells: Vec<Cell>,
    runtime: Runtime,
}

/// When a fault was undone, on both clocks; unset until then.
pub type Undone = OnceLock<(Instant, SystemTime)>;

impl Process {
    pub fn start(mode: Mode, victims: &[Victim], well: &RedisProcess, pace: &Pace) -> Self {
        let kinds = |fault| {
            let mut kinds = vec![Kind::Plain, Kind::Patient, Kind::Mixed];
            kinds.extend((mode == Mode::Memory).then_some(Kind::OwnFallback));
            kinds.extend((fault == Fault::Killed).then_some(Kind::Sleeper));
            kinds
        };
        let mut manifests = connection(WELL, &well.address(), "");
        for victim in victims {
            manifests += &connection(victim.fault.name(), &victim.address(), victim.fault.login());
            for kind in kinds(victim.fault) {
                manifests += &autoscaler(victim.fault, kind);
            }
        }
        let tidegate = Tidegate::start(&manifests, &mode.arguments(pace));
        tidegate.until_ready();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(tidegate.client());
        let cells = victims.iter().flat_map(|victim| kinds(victim.fault).into_iter().map(|kind| (victim.fault, kind)));
        let cells = cells.map(|(fault, kind)| {
            let name = name(fault, kind);
            let keda = Keda::new(client.clone(), NAMESPACE, &[("autoscaler", &name), ("serve", mode.serve())]);
            Cell { fault, kind, name, keda }
        });
        Process { mode, cells: cells.collect(), tidegate, runtime }
    }

    pub fn books(&self) -> Vec<Book> {
        let list = self.tidegate.get("/api/v1/workloads").json();
        let workloads = list["workloads"].as_array().unwrap();
        let book = |cell: &Cell| workloads.iter().find(|workload| workload["name"] == *cell.name).map(Book::read);
        self.cells.iter().map(|cell| book(cell).unwrap_or_else(|| panic!("no {} in {list}", cell.name))).collect()
    }

    /// Every cell's health, and when its value was taken.
    pub fn samples(&self) -> Vec<(String, Instant)> {
        let list = self.tidegate.get("/api/v1/autoscalers").json();
        let now = Instant::now();
        let items = list["items"].as_array().unwrap();
        let sample = |cell: &Cell| {
            let item = items.iter().find(|item| item["name"] == *cell.name)?;
            let age = Duration::from_secs_f64(item["valueAgeSeconds"].as_f64()?);
            Some((item["health"].as_str()?.to_owned(), now.checked_sub(age)?))
        };
        self.cells.iter().map(|cell| sample(cell).unwrap_or_else(|| panic!("no {} in {list}", cell.name))).collect()
    }

    /// What GetMetrics and IsActive answer.
    pub fn asked(&mut self, cell: usize) -> (Result<f64, tonic::Status>, Result<bool, tonic::Status>) {
        let keda = &mut self.cells[cell].keda;
        self.runtime.block_on(async { (keda.value("").await.map(|(_, value)| value), keda.active().await) })
    }

    /// What stands there during the fault.
    pub fn expected(&self, cell: usize) -> i64 {
        match self.cells[cell].kind {
            Kind::Patient => STANDING,
            Kind::OwnFallback => FALLBACK,
            // More is wanted, and nothing that is not known may keep it from coming. (A decision needs all of its
            // triggers: the box is not told one where it asks for replicas.)
            Kind::Mixed if !matches!(self.mode, Mode::Replicas { .. }) => BUSY,
            _ if self.mode.keda_falls_back() => FALLBACK,
            _ => STANDING,
        }
    }

    /// Whether both RPCs refuse and say why; if not, what they do. There is work for sure where the server that is
    /// well has some.
    pub fn refuses(&mut self, cell: usize) -> Result<(), String> {
        let cause = self.cells[cell].fault.kind().as_str();
        let (value, active) = self.asked(cell);
        let mut answers = vec![value.map(|value| value.to_string())];
        if self.cells[cell].kind == Kind::Mixed {
            assert!(active.as_ref().is_ok_and(|active| *active), "the server that is well has work: {active:?}");
        } else {
            answers.push(active.map(|active| active.to_string()));
        }
        for answer in answers {
            match answer {
                Err(status) if status.code() == Code::Unavailable && status.message().contains(cause) => {}
                other => return Err(format!("RPCs do not answer UNAVAILABLE ({cause}), but {other:?}")),
            }
        }
        Ok(())
    }

    /// Whether the metrics tell of the cell's fault, by its name.
    pub fn tells(&self, metrics: &str, cell: usize) -> Result<(), String> {
        let Cell { fault, name, .. } = &self.cells[cell];
        let (kind, connection) = (fault.kind().as_str(), format!("{NAMESPACE}/{}", fault.name()));
        let up = series(metrics, &format!("tidegate_connection_up{{connection=\"{connection}\"}}"));
        let failures =
            series(metrics, &format!("tidegate_poll_failures_total{{connection=\"{connection}\",kind=\"{kind}\"}}"));
        let failing = series(metrics, &format!("{}kind=\"{kind}\"}}", failing(name)));
        let wanted_up = if fault.takes_the_server() { 0.0 } else { 1.0 };
        if up == Some(wanted_up) && failures.is_some_and(|count| count > 0.0) && failing == Some(1.0) {
            return Ok(());
        }
        Err(format!("metrics: up {up:?}, failures {failures:?}, failing {failing:?}"))
    }

    /// The opposite, after recovery.
    pub fn tells_of_health(&self, metrics: &str, cell: usize) -> Result<(), String> {
        let Cell { fault, name, .. } = &self.cells[cell];
        let up = series(metrics, &format!("tidegate_connection_up{{connection=\"{NAMESPACE}/{}\"}}", fault.name()));
        if up == Some(1.0) && !metrics.contains(&failing(name)) {
            return Ok(());
        }
        Err(format!("metrics: up {up:?}, still failing: {}", metrics.contains(&failing(name))))
    }
}

fn failing(autoscaler: &str) -> String {
    format!("tidegate_trigger_failing{{namespace=\"{NAMESPACE}\",autoscaler=\"{autoscaler}\",trigger=\"trigger-0\",")
}

fn series(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok())
}

pub fn name(fault: Fault, kind: Kind) -> String {
    let suffix = match kind {
        Kind::Plain => "",
        Kind::Patient => "-patient",
        Kind::OwnFallback => "-fallback",
        Kind::Sleeper => "-sleeper",
        Kind::Mixed => "-mixed",
    };
    format!("{}{suffix}", fault.name())
}

pub fn connection(name: &str, address: &str, login: &str) -> String {
    let (connect, response) = (CONNECT_TIMEOUT.as_millis(), RESPONSE_TIMEOUT.as_millis());
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: {name}, namespace: {NAMESPACE} }}\n\
         spec: {{ redis: {{ address: \"{address}\", connectTimeout: {connect}ms, responseTimeout: {response}ms{login} }} }}\n"
    )
}

fn autoscaler(fault: Fault, kind: Kind) -> String {
    let age = if kind == Kind::Patient { Duration::from_secs(600) } else { MAX_AGE };
    let cooldown = if kind == Kind::Sleeper { "2s" } else { "300s" };
    let fallback = format!("fallback: {{ after: 3s, behavior: currentReplicasIfHigher, replicas: {FALLBACK} }}");
    let more = [
        format!("cooldownPeriod: {cooldown}"),
        format!("maxSampleAge: {}s", age.as_secs()),
        format!("behavior: {{ scaleDown: {{ stabilizationWindowSeconds: {} }} }}", WINDOW.as_secs()),
        if kind == Kind::OwnFallback { fallback } else { "maxReplicas: 12".to_owned() },
    ];
    let connections = if kind == Kind::Mixed { vec![fault.name(), WELL] } else { vec![fault.name()] };
    queue_autoscaler(&name(fault, kind), &connections, POLLING, &more.join(", "))
}

/// An autoscaler of each connection's [`KEY`], with further fields of its spec.
pub fn queue_autoscaler(name: &str, connections: &[&str], polling: Duration, more: &str) -> String {
    let trigger = |connection: &&str| {
        format!(
            "{{ connection: {connection}, redisList: {{ keys: [{KEY}] }}, \
             policy: {{ backlogPerReplica: {{ target: {TARGET} }} }} }}"
        )
    };
    let triggers: Vec<String> = connections.iter().map(trigger).collect();
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\n\
         metadata: {{ name: {name}, namespace: {NAMESPACE} }}\n\
         spec: {{ scaleTargetRef: {{ name: {name} }}, pollingInterval: {}ms, {more}, triggers: [{}] }}\n",
        polling.as_millis(),
        triggers.join(", ")
    )
}

/// A workload's replicas, now and before.
#[derive(Clone, Debug)]
pub struct Book {
    pub replicas: i64,
    /// Since it was marked.
    pub lowest: i64,
    pub highest: i64,
    changes: Vec<(SystemTime, i64)>,
}

impl Book {
    fn read(workload: &Value) -> Self {
        let number = |field: &str| workload[field].as_i64().unwrap_or_else(|| panic!("no {field}: {workload}"));
        let change = |change: &Value| {
            let at: jiff::Timestamp = change["at"].as_str().unwrap().parse().unwrap();
            (SystemTime::from(at), change["replicas"].as_i64().unwrap())
        };
        Book {
            replicas: number("replicas"),
            lowest: number("lowest"),
            highest: number("highest"),
            changes: workload["history"].as_array().unwrap().iter().map(change).collect(),
        }
    }

    /// When it first went down after `since`, if it has.
    pub fn first_drop(&self, since: SystemTime) -> Option<SystemTime> {
        let mut drops = self.changes.windows(2).filter(|pair| pair[1].1 < pair[0].1 && pair[1].0 >= since);
        drops.next().map(|pair| pair[1].0)
    }

    /// When it first stood at `replicas` after `since`.
    pub fn first_at(&self, replicas: i64, since: SystemTime) -> Option<SystemTime> {
        self.changes.iter().find(|(at, count)| *count == replicas && *at >= since).map(|(at, _)| *at)
    }
}
