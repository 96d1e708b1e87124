//! The recorded vectors as they lie in the files, and how they are read: one scenario a line, one line at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tidegate::engine::hpa::{BehaviorAsWritten, HpaBehavior, HpaRules, HpaSpec, RulesAsWritten, SpecAsWritten};
use tidegate::model::Replicas;
use tidegate::spec::{MilliValue, RateKind, RatePolicy, SelectPolicy};

const QUANTITIES: &str = "quantity_cases.jsonl";

// === files ===

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hpa")
}

/// Every scenario of every file of the folder, in the order of the files' names.
pub(crate) fn for_each_scenario(mut each: impl FnMut(&Scenario)) {
    let folder = std::env::var_os("TIDEGATE_HPA_VECTORS").map_or_else(fixtures, PathBuf::from);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != QUANTITIES))
        .filter(|path| path.to_string_lossy().ends_with(".jsonl") || path.to_string_lossy().ends_with(".jsonl.gz"))
        .collect();
    files.sort();
    for path in files {
        let mut reader = open(&path);
        let mut line = String::new();
        for number in 1.. {
            line.clear();
            if reader.read_line(&mut line).unwrap_or_else(|error| panic!("{}:{number}: {error}", path.display())) == 0 {
                break;
            }
            if line.trim().is_empty() {
                continue;
            }
            let scenario = serde_json::from_str(&with_exact_tolerances(&line))
                .unwrap_or_else(|error| panic!("{}:{number}: {error}", path.display()));
            each(&scenario);
        }
    }
}

fn open(path: &Path) -> BufReader<Box<dyn Read>> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let gzip = path.extension().is_some_and(|extension| extension == "gz");
    BufReader::new(if gzip { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Puts quotes around the numbers that are tolerances. serde_json reads a float to within its last digit; these have
/// to be exact, and std's parser is.
fn with_exact_tolerances(line: &str) -> String {
    const KEY: &str = "\"tolerance\":";
    let mut out = String::with_capacity(line.len() + 64);
    let mut pieces = line.split(KEY);
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        out.push_str(KEY);
        let piece = piece.trim_start();
        let number = piece.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+' | 'e' | 'E')).unwrap_or(piece.len());
        match piece.split_at(number) {
            ("", rest) => out.push_str(rest),
            (number, rest) => out.extend(["\"", number, "\"", rest]),
        }
    }
    out
}

/// One line of the quantity cases.
pub(crate) struct QuantityCase {
    pub(crate) text: String,
    pub(crate) canonical: String,
    pub(crate) milli: i64,
    pub(crate) float: f64,
}

/// Always those of the fixtures: other folders hold scenarios.
pub(crate) fn quantity_cases() -> impl Iterator<Item = QuantityCase> {
    #[derive(Deserialize)]
    struct Line {
        r#in: String,
        canonical: String,
        milli: i64,
    }
    open(&fixtures().join(QUANTITIES)).lines().map(|line| {
        let line = line.unwrap();
        let case: Line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        // Not by serde_json, for the last digit.
        let float = line.split_once("\"float\":").and_then(|(_, rest)| rest.split([',', '}']).next()).unwrap();
        QuantityCase { text: case.r#in, canonical: case.canonical, milli: case.milli, float: float.parse().unwrap() }
    })
}

// === their content ===

#[derive(Deserialize)]
pub(crate) struct Scenario {
    pub(crate) id: String,
    pub(crate) controller: Controller,
    pub(crate) initial: Initial,
    pub(crate) spec: Option<WrittenSpec>,
    pub(crate) resolved: Option<ResolvedSpec>,
    pub(crate) steps: Vec<Step>,
    pub(crate) r#final: Option<State>,
}

#[derive(Deserialize)]
pub(crate) struct Controller {
    pub(crate) tolerance: Exact,
    #[serde(rename = "downscaleStabilizationMs")]
    pub(crate) downscale_stabilization_ms: u64,
    #[serde(rename = "HPAScaleToZero")]
    pub(crate) scale_to_zero: bool,
    #[serde(rename = "HPAConfigurableTolerance")]
    pub(crate) configurable_tolerance: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Initial {
    pub(crate) replicas: Replicas,
    pub(crate) scaled_to_zero: Option<Condition>,
    #[serde(default)]
    pub(crate) recs_empty: bool,
}

#[derive(Deserialize)]
pub(crate) struct Step {
    pub(crate) t: u64,
    #[serde(default)]
    pub(crate) recreate: bool,
    #[serde(default)]
    pub(crate) restart: bool,
    pub(crate) spec: Option<WrittenSpec>,
    pub(crate) resolved: Option<ResolvedSpec>,
    #[serde(rename = "r")]
    pub(crate) replicas: Option<Replicas>,
    #[serde(rename = "sr")]
    pub(crate) status_replicas: Option<Replicas>,
    #[serde(rename = "m", default)]
    pub(crate) metrics: Vec<Option<Vec<i64>>>,
    #[serde(rename = "se", default)]
    pub(crate) update_fails: bool,
    pub(crate) out: Out,
}

#[derive(Deserialize)]
pub(crate) struct Out {
    pub(crate) d: Replicas,
    pub(crate) mode: Mode,
    pub(crate) raw: Option<Replicas>,
    pub(crate) st: Option<Replicas>,
    pub(crate) want: Option<Replicas>,
    pub(crate) lim: Option<String>,
    pub(crate) able: Option<String>,
    pub(crate) why: Option<String>,
    #[serde(default)]
    pub(crate) err: bool,
    pub s0: Option<Condition>,
    pub(crate) state: Option<State>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Mode {
    Metrics,
    MetricsError,
    Disabled,
    AboveMax,
    BelowMin,
}

impl Mode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Mode::Metrics => "metrics",
            Mode::MetricsError => "metricsError",
            Mode::Disabled => "disabled",
            Mode::AboveMax => "aboveMax",
            Mode::BelowMin => "belowMin",
        }
    }
}

/// The controller's memory: recommendations with their time in ms; changes with their time and whether outdated.
#[derive(Deserialize)]
pub(crate) struct State {
    pub(crate) rec: Vec<(Replicas, u64)>,
    pub(crate) up: Vec<(Replicas, u64, u8)>,
    pub(crate) down: Vec<(Replicas, u64, u8)>,
}

/// A float to its last digit; see [`with_exact_tolerances`].
#[derive(Clone, Copy)]
pub(crate) struct Exact(pub(crate) f64);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Exact).map_err(|error| D::Error::custom(format!("{text}: {error}")))
    }
}

/// Status of a condition: `"True"` or `"False"`.
#[derive(Clone, Copy)]
pub(crate) struct Condition(pub(crate) bool);

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match String::deserialize(from)?.as_str() {
            "True" => Ok(Condition(true)),
            "False" => Ok(Condition(false)),
            other => Err(D::Error::custom(format!("{other} is no status of a condition"))),
        }
    }
}

// === specs, as written and as resolved ===

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WrittenSpec {
    min_replicas: Option<Replicas>,
    max_replicas: Replicas,
    metrics: Vec<Metric>,
    behavior: Option<WrittenBehavior>,
}

#[derive(Deserialize)]
struct Metric {
    external: External,
}

#[derive(Deserialize)]
struct External {
    metric: MetricName,
    target: Target,
}

#[derive(Deserialize)]
struct MetricName {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    average_value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenBehavior {
    scale_up: Option<WrittenRules>,
    scale_down: Option<WrittenRules>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRules {
    stabilization_window_seconds: Option<u32>,
    select_policy: Option<Select>,
    policies: Option<Vec<Policy>>,
    tolerance: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResolvedSpec {
    min_replicas: Replicas,
    max_replicas: Replicas,
    targets_milli: Vec<i64>,
    behavior: Option<ResolvedBehavior>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResolvedBehavior {
    scale_up: ResolvedRules,
    scale_down: ResolvedRules,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResolvedRules {
    stabilization_window_seconds: Option<u32>,
    select_policy: Select,
    policies: Vec<Policy>,
    tolerance: Option<Exact>,
}

#[derive(Clone, Copy, Deserialize)]
enum Select {
    Max,
    Min,
    Disabled,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    r#type: Kind,
    value: i32,
    period_seconds: u32,
}

#[derive(Clone, Copy, Deserialize)]
enum Kind {
    Pods,
    Percent,
}

impl WrittenSpec {
    pub(crate) fn names(&self) -> Vec<String> {
        self.metrics.iter().map(|metric| metric.external.metric.name.clone()).collect()
    }

    pub(crate) fn to_hpa(&self) -> SpecAsWritten {
        let rules = |rules: &WrittenRules| RulesAsWritten {
            stabilization_window_seconds: rules.stabilization_window_seconds,
            select_policy: rules.select_policy.map(Select::to_spec),
            policies: rules.policies.as_deref().map(to_policies),
            tolerance: rules.tolerance.clone(),
        };
        SpecAsWritten {
            min_replicas: self.min_replicas,
            max_replicas: self.max_replicas,
            average_values: self.metrics.iter().map(|metric| metric.external.target.average_value.clone()).collect(),
            behavior: self.behavior.as_ref().map(|behavior| BehaviorAsWritten {
                scale_up: behavior.scale_up.as_ref().map(rules),
                scale_down: behavior.scale_down.as_ref().map(rules),
            }),
        }
    }
}

impl ResolvedSpec {
    pub(crate) fn to_hpa(&self) -> HpaSpec {
        let rules = |rules: &ResolvedRules| HpaRules {
            window: rules.stabilization_window_seconds.map(|seconds| Duration::from_secs(u64::from(seconds))),
            select_policy: rules.select_policy.to_spec(),
            policies: to_policies(&rules.policies),
            tolerance: rules.tolerance.map(|tolerance| tolerance.0),
        };
        HpaSpec {
            min: self.min_replicas,
            max: self.max_replicas,
            targets: self.targets_milli.iter().copied().map(MilliValue).collect(),
            behavior: self
                .behavior
                .as_ref()
                .map(|behavior| HpaBehavior { up: rules(&behavior.scale_up), down: rules(&behavior.scale_down) }),
        }
    }
}

impl Select {
    fn to_spec(self) -> SelectPolicy {
        match self {
            Select::Max => SelectPolicy::Max,
            Select::Min => SelectPolicy::Min,
            Select::Disabled => SelectPolicy::Disabled,
        }
    }
}

fn to_policies(policies: &[Policy]) -> Vec<RatePolicy> {
    let policy = |policy: &Policy| RatePolicy {
        kind: match policy.r#type {
            Kind::Pods => RateKind::Pods,
            Kind::Percent => RateKind::Percent,
        },
        value: policy.value,
        period: Duration::from_secs(u64::from(policy.period_seconds)),
    };
    policies.iter().map(policy).collect()
}
