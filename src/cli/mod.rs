//! One file a command, and what they share.
//!
//! Data goes to standard output, everything else to standard error; only `main` prints an error that ended a command.

pub mod check;
pub mod cluster;
pub mod crd;
pub mod demo;
pub mod import;
pub mod metrics;
pub mod replay;
pub mod run;
pub mod simulate;
pub mod tenants;
pub mod tls;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::spec::units::parse_duration;

/// Queue-depth autoscaler for Kubernetes.
///
/// Samples queues many times a second, decides how many replicas every workload needs, explains each
/// decision, and scales by itself (a controller of custom resources) or answers KEDA's external-scaler
/// calls from memory.
///
/// Try it without anything:   tidegate demo
/// Check your manifests:      tidegate check -f manifests/
/// Scale in a cluster:        tidegate run --target kubernetes
/// Run it behind KEDA:        tidegate run -f manifests/
/// Compare policies offline:  tidegate simulate -f scenario.yaml
/// Come from KEDA or an HPA:  tidegate import -f manifests/
/// Rehearse without cluster:  tidegate run -f manifests/ --target memory
/// Guard a change of them:    tidegate replay decisions.rec -f changed.yaml
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100, verbatim_doc_comment)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const RUN_EXAMPLES: &str = "\
Examples:
  tidegate run -f manifests/                                behind KEDA, for what the manifests declare
  tidegate run --allow-address 'redis.*.svc:6379'           behind KEDA, for what its metadata names
  tidegate run --target kubernetes                          scales in a cluster, for custom resources
  tidegate run -f manifests/ --target memory                a rehearsal: tidegate scales
  tidegate run -f manifests/ --target keda-box --keda-push  a rehearsal: KEDA and an HPA scale";

const DEMO_EXAMPLES: &str = "\
Examples:
  tidegate demo                           until Ctrl-C; then look at http://127.0.0.1:8080
  tidegate demo --duration 2m --seed 7    two minutes of other bursts";

const CHECK_EXAMPLES: &str = "\
Examples:
  tidegate check -f manifests/                       problems and warnings, and every default filled in
  tidegate check -f manifests/ -o json               the same for scripts; exit code 1 if anything is wrong
  tidegate check -f manifests/ --acl                 the users that each Redis needs, with the least of rights
  kustomize build overlays/prod | tidegate check -f -";

const IMPORT_EXAMPLES: &str = "\
Examples:
  tidegate import -f keda/ > autoscalers.yaml          from files
  kubectl get scaledobjects,triggerauthentications,deployments -n shop -o yaml | tidegate import -f -
  tidegate import -f keda/ | tidegate check -f -       what it means, with every default";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  tidegate simulate -f benches/scenarios/pulse-high.yaml       a scenario with its manifest
  tidegate simulate -f queue.yaml -f black-friday.yaml --seeds 20 --json report.json
  tidegate simulate -f old.yaml -f new.yaml -f scenario.yaml   several policies side by side";

const CRD_EXAMPLES: &str = "\
Examples:
  tidegate crd | kubectl apply --server-side -f -      install or update the definitions
  tidegate crd QueueAutoscaler                         one of them
  tidegate crd --rbac | kubectl apply -f -             permissions for the whole cluster
  tidegate crd --rbac --namespace shop --secret redis  for one namespace, and one Secret in it
  tidegate crd --rbac --scale-kind argoproj.io/rollouts";

const REPLAY_EXAMPLES: &str = "\
Examples:
  tidegate run -f manifests/ --record decisions.rec    make a recording
  tidegate replay decisions.rec*                       does this release decide the same?
  tidegate replay decisions.rec* -f changed.yaml       what would other manifests have decided?
  tidegate replay decisions.rec* -f changed.yaml --max-changed 5%
                                                       for a pull request: fails beyond that";

const METRICS_EXAMPLES: &str = "\
Examples:
  tidegate metrics                                 the reference, as Markdown
  tidegate metrics -o json | jq -r '.[].name'      the same for scripts";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll, decide and serve until told to stop (SIGTERM or Ctrl-C; a second one ends at once).
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<run::RunArgs>),
    /// Show it at work: an in-memory queue, workers, KEDA in a box; no Redis and no cluster needed.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(demo::DemoArgs),
    /// Read manifests: print every problem, or what was understood of them.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(check::CheckArgs),
    /// Turn KEDA's ScaledObjects and HPAs into QueueAutoscalers, and say what could not be carried over.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(import::ImportArgs),
    /// Compare scaling policies offline: the manifests', the HPA's, KEDA's, and the best of hindsight.
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(Box<simulate::SimulateArgs>),
    /// Print what a cluster needs to know of tidegate: custom resource definitions, or permissions.
    #[command(after_help = CRD_EXAMPLES)]
    Crd(crd::CrdArgs),
    /// Decide again what was recorded (run --record), and compare: as it was, or under changed manifests.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(replay::ReplayArgs),
    /// Every metric of /metrics: its labels and their values, what it says, and what for.
    #[command(after_help = METRICS_EXAMPLES)]
    Metrics(metrics::MetricsArgs),
}

impl Cli {
    /// Runs the command that was chosen.
    ///
    /// # Errors
    /// What ended it, for `main` to print.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => run::run(*args),
            Command::Demo(args) => demo::run(&args),
            Command::Check(args) => Ok(check::run(args)),
            Command::Import(args) => import::run(&args),
            Command::Simulate(args) => simulate::run(&args),
            Command::Crd(args) => crd::run(args),
            Command::Replay(args) => replay::run(&args),
            Command::Metrics(args) => metrics::run(&args),
        }
    }
}

/// A duration as manifests have it.
fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
