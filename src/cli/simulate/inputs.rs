//! What an experiment is made of: manifests, a scenario, traces.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use serde_json::{Map, Value, json};

use super::SimulateArgs;
use crate::files;
use crate::model::fnv1a;
use crate::sim::contestant;
use crate::sim::experiment::Experiment;
use crate::sim::report::Input;
use crate::sim::trace::{self, Format, Options, Role, SecondsPerToken};
use crate::sim::vary::Documents;
use crate::sim::workload::Recorded;
use crate::spec::TriggerSpec;
use crate::spec::load::{SourceText, Terms, load, scenarios};
use crate::spec::problem::Problems;
use crate::spec::scenario::{Guess, Scenario, TraceFile};
use crate::spec::units::format_duration;

/// An experiment, and the documents whose fields may be varied.
pub(super) struct Inputs {
    pub(super) experiment: Experiment,
    pub(super) documents: Documents,
}

pub(super) fn read(args: &SimulateArgs) -> anyhow::Result<Inputs> {
    let set = files::read(&args.files).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!(lines.join("\n"))
    })?;
    let texts: Vec<SourceText> = files::texts(&set).into_iter().map(|text| SourceText::clone(&text)).collect();
    let mut worlds = texts.clone();
    worlds.extend(of_the_command_line(args));
    // Both say all that they have to say.
    let (found, loaded) = match (scenarios(&worlds), load(&texts, &Terms { alternatives: true, ..Terms::default() })) {
        (Ok(found), Ok(loaded)) => (found, loaded),
        (found, loaded) => {
            let mut all = found.err().map(|Problems(problems)| problems).unwrap_or_default();
            all.extend(loaded.err().map(|Problems(problems)| problems).unwrap_or_default());
            bail!(Problems(all));
        }
    };
    let wanted = args.scenario.as_deref().or(args.trace.is_some().then_some(COMMAND_LINE));
    let mut scenario = chosen(found, wanted)?;
    if let Some(seeds) = args.seeds {
        scenario.seeds = seeds;
    }
    let mut autoscalers = loaded.autoscalers;
    if let Some(name) = &scenario.autoscaler {
        autoscalers.retain(|spec| *spec.id.name == **name);
        if autoscalers.is_empty() {
            bail!(
                "Scenario {} is for QueueAutoscaler `{name}`, and no file declares one; add it with -f",
                scenario.name
            );
        }
    }
    let Some(first) = autoscalers.first() else {
        bail!("no QueueAutoscaler in these files; add a manifest with -f");
    };
    let slots = contestant::slots(&scenario, first);
    let mut inputs: Vec<Input> = texts.iter().map(|text| input(&text.file, text.text.as_bytes())).collect();
    let (mut recorded, mut notes, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for (stream, file) in contestant::traces(&scenario) {
        let path = beside(&scenario.file, &file.file);
        let service = contestant::mean_service(&scenario, stream).map(|service| service.as_secs_f64());
        match options(file, service, slots)
            .map_err(|error| format!("{}: {error}", path.display()))
            .and_then(|options| trace::read(&path, &options).map_err(|errors| errors.to_string()))
        {
            Ok(read) => {
                inputs.push(hashed(&path));
                notes.extend(read.notes.iter().map(|note| format!("{}: {note}", file.file)));
                notes.extend(uncertain(&read));
                match supposed(read, file.band) {
                    Ok(arrivals) => recorded.push(arrivals),
                    Err(error) => wrong.push(format!("{}: {error}", path.display())),
                }
            }
            Err(errors) => wrong.push(errors),
        }
    }
    if !wrong.is_empty() {
        bail!(wrong.join("\n"));
    }
    if autoscalers.iter().flat_map(|spec| &spec.triggers).any(|trigger| trigger.share != TriggerSpec::WHOLE) {
        notes.push(
            "a trigger's share is left out: the scenario's jobs are those that this workload has to do".to_owned(),
        );
    }
    let documents = Documents::read(&texts).map_err(|error| anyhow!(error))?;
    let experiment =
        Experiment { recorded, autoscalers, first_seed: args.seed, command: command(args), inputs, notes, scenario };
    Ok(Inputs { experiment, documents })
}

/// How a scenario without a file is called.
const COMMAND_LINE: &str = "command-line";

/// The scenario that `--trace` and its company describe.
fn of_the_command_line(args: &SimulateArgs) -> Option<SourceText> {
    let file = args.trace.as_ref()?;
    let columns: Map<String, Value> = args
        .columns
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(role, column)| (role.to_owned(), column.into()))
        .collect();
    let trace = block([
        ("file", Some(file.as_str().into())),
        ("bin", args.bin.map(|bin| format_duration(bin).into())),
        ("replicas", args.replicas.map(Value::from)),
        ("band", args.band.clone().map(Value::from)),
        ("secondsPerToken", args.seconds_per_token.map(|seconds| seconds.to_string().into())),
        ("columns", Some(columns.into())),
    ]);
    let jobs = block([
        ("arrivals", Some(json!([{ "trace": trace }]))),
        ("service", args.service.map(|service| json!({ "exponential": format_duration(service) }))),
    ]);
    let workers = block([
        ("startUp", Some(json!({ "init": { "fixed": format_duration(args.start_up) } }))),
        ("slots", args.slots.map(Value::from)),
    ]);
    let document = json!({
        "apiVersion": crate::spec::manifest::API_VERSION,
        "kind": "Scenario",
        "metadata": { "name": COMMAND_LINE },
        "spec": {
            "about": format!("{file} replayed."),
            "slo": { "wait": format_duration(args.slo) },
            "jobs": [jobs],
            "workers": workers,
        },
    });
    Some(SourceText { file: "--trace".to_owned(), text: document.to_string() })
}

/// What of it is written.
fn block<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let written = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(written.collect())
}

fn options(file: &TraceFile, service: Option<f64>, slots: u32) -> Result<Options, String> {
    let format = match &file.format {
        None => None,
        Some(name) => Some(Format::named(name).ok_or_else(|| {
            format!("unknown format `{name}`; write one of {}", Format::ALL.map(Format::name).join(", "))
        })?),
    };
    let mut map = Vec::new();
    for (role, column) in &file.columns {
        map.push((named(role)?, column.clone()));
    }
    Ok(Options {
        format,
        map,
        seconds_per_token: file.seconds_per_token.map(|(input, output)| SecondsPerToken { input, output }),
        bin: file.bin.and_then(|bin| u64::try_from(bin.as_nanos()).ok()),
        replicas: file.replicas,
        service,
        slots,
        ..Options::default()
    })
}

fn named(role: &str) -> Result<Role, String> {
    Role::named(role)
        .ok_or_else(|| format!("unknown role `{role}`; write one of {}", Role::ALL.map(Role::name).join(", ")))
}

/// `arrivals=value`, for `--column`.
pub(super) fn column(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((role, column)) if !column.is_empty() => named(role).map(|_| text.to_owned()),
        _ => Err(format!("`{text}` names no column; write ROLE=NAME, e.g. arrivals=value")),
    }
}

/// What is to be replayed: of a reconstruction the part of the band that is asked for.
fn supposed(read: trace::Trace, guess: Guess) -> Result<Recorded, String> {
    let trace::Trace { arrivals, services, span, uncertainty, .. } = read;
    let arrivals = match (guess, uncertainty) {
        (Guess::Likely, Some(band)) if arrivals.is_empty() => {
            return Err(format!(
                "nothing has to have come: whenever it was looked, the queue was empty; --band high (in a Scenario, band: \
                 high) replays the most that can have, {} jobs",
                band.high.len()
            ));
        }
        (Guess::Likely, _) => arrivals,
        (Guess::Low, Some(band)) => band.low,
        (Guess::High, Some(band)) => band.high,
        (Guess::Low | Guess::High, None) => {
            return Err("a band is of what depths allow for, and this trace tells what came; take band out".to_owned());
        }
    };
    if arrivals.is_empty() {
        return Err("that end of the band has no job at all; write band: likely or high".to_owned());
    }
    Ok(Recorded { arrivals, services, span })
}

/// What a reconstruction leaves open.
fn uncertain(read: &trace::Trace) -> Option<String> {
    let band = read.uncertainty.as_ref()?;
    Some(format!(
        "{}: reconstructed from depths, {} jobs; {} to {} are possible, and every figure here is as uncertain as \
         that: --band low and --band high (in a Scenario, band) simulate the ends",
        read.name,
        read.arrivals.len(),
        band.low.len(),
        band.high.len()
    ))
}

fn chosen(found: Vec<Scenario>, name: Option<&str>) -> anyhow::Result<Scenario> {
    let names: Vec<String> = found.iter().map(|scenario| scenario.name.clone()).collect();
    let known = names.join(", ");
    let mut fitting = found.into_iter().filter(|scenario| name.is_none_or(|name| scenario.name == name));
    match (fitting.next(), fitting.next(), name) {
        (Some(one), None, _) => Ok(one),
        (None, _, Some(name)) if !known.is_empty() => bail!("no Scenario `{name}` in these files; they have {known}"),
        (None, ..) => bail!(
            "no Scenario in these files; add one with -f (kind: Scenario, see benches/scenarios), or replay what was \
             recorded with --trace"
        ),
        (Some(_), Some(_), _) => bail!("several Scenarios in these files ({known}); choose one with --scenario"),
    }
}

/// What makes the same report again. Paths as they were given.
fn command(args: &SimulateArgs) -> String {
    let mut words = vec!["tidegate simulate".to_owned()];
    let mut word = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("--{name} {value}")));
    for file in &args.files {
        word("file", Some(quoted(&file.display().to_string())));
    }
    word("scenario", args.scenario.clone());
    word("trace", args.trace.as_deref().map(quoted));
    if args.trace.is_some() {
        word("service", args.service.map(format_duration));
        word("slots", args.slots.map(|slots| slots.to_string()));
        word("start-up", Some(format_duration(args.start_up)));
        word("slo", Some(format_duration(args.slo)));
        word("bin", args.bin.map(format_duration));
        word("replicas", args.replicas.map(|replicas| replicas.to_string()));
        word("band", args.band.clone());
        word("seconds-per-token", args.seconds_per_token.map(|seconds| seconds.to_string()));
        for column in &args.columns {
            word("column", Some(quoted(column)));
        }
    }
    word("seed", Some(args.seed.to_string()));
    word("seeds", args.seeds.map(|seeds| seeds.to_string()));
    for field in &args.vary {
        word("vary", Some(quoted(&format!("{}={}", field.path, field.values.join(",")))));
    }
    if args.tune {
        words.push("--tune".to_owned());
    }
    words.join(" ")
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn input(name: &str, bytes: &[u8]) -> Input {
    let hash = fnv1a(bytes.iter().copied());
    Input { name: name.to_owned(), bytes: bytes.len() as u64, hash: format!("{hash:016x}") }
}

fn hashed(path: &Path) -> Input {
    input(&path.display().to_string(), &std::fs::read(path).unwrap_or_default())
}

/// A path of a scenario's: a relative one begins where the scenario stands.
fn beside(scenario: &str, file: &str) -> PathBuf {
    Path::new(scenario).parent().map_or_else(|| PathBuf::from(file), |folder| folder.join(file))
}
