//! `tidegate crd`: what a cluster must have before tidegate can work in it.
//!
//! Copies of what it prints are kept in `deploy/`, for people who install without a binary; a test compares them.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::anyhow;

use crate::cluster::crd::{self, Kind};
use crate::cluster::rbac::{self, ScaleKind, SecretName};

/// Prints custom resource definitions, or the permissions that tidegate needs.
#[derive(Clone, Debug, clap::Args)]
pub struct CrdArgs {
    /// Only these kinds: QueueAutoscaler, Connection, ClusterConnection.
    #[arg(value_name = "KIND", value_parser = kind, conflicts_with = "rbac")]
    pub kinds: Vec<Kind>,
    /// Print Roles and their bindings instead: every call that tidegate makes, and nothing more.
    #[arg(long)]
    pub rbac: bool,
    /// Only for objects of this namespace, as with tidegate run --watch-namespace. May be repeated; without it, the cluster.
    #[arg(long = "namespace", short = 'n', value_name = "NAME", value_parser = name, requires = "rbac")]
    pub namespaces: Vec<String>,
    /// The namespace that tidegate runs in: its Lease and its checkpoints are there.
    #[arg(long, value_name = "NAME", value_parser = name, default_value = rbac::OWN_NAMESPACE, requires = "rbac")]
    pub own_namespace: String,
    /// The ServiceAccount that tidegate runs under.
    #[arg(long, value_name = "NAME", value_parser = name, default_value = "tidegate", requires = "rbac")]
    pub service_account: String,
    /// Name of the Lease, as with tidegate run --lease-name.
    #[arg(long, value_name = "NAME", value_parser = name, default_value = rbac::LEASE, requires = "rbac")]
    pub lease_name: String,
    /// Another kind to scale, by its group and its resource. May be repeated.
    #[arg(long = "scale-kind", value_name = "GROUP/RESOURCE", value_parser = scale_kind, requires = "rbac")]
    pub scale_kinds: Vec<ScaleKind>,
    /// The only Secrets to read, by name, in every namespace or in the one that is written. May be repeated.
    #[arg(long = "secret", value_name = "[NAMESPACE/]NAME", value_parser = secret, requires = "rbac")]
    pub secrets: Vec<SecretName>,
    /// Whether to change workloads is among the permissions. without: for tidegate behind KEDA, where every
    /// QueueAutoscaler has dryRun. only: what is missing there, under a name of its own.
    #[arg(long, value_name = "WHETHER", value_enum, default_value = "with", requires = "rbac")]
    pub scaling: Scaling,
}

/// As [`rbac::Scaling`], on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Scaling {
    With,
    Without,
    Only,
}

fn kind(name: &str) -> anyhow::Result<Kind> {
    let known = Kind::ALL.map(Kind::as_str).join(", ");
    Kind::named(name).ok_or_else(|| anyhow!("no kind of ours; write one of {known}"))
}

/// What stands in YAML without quotes, as every name of Kubernetes does.
fn name(text: &str) -> anyhow::Result<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.starts_with(plain) && text.ends_with(plain) && text.chars().all(|c| plain(c) || "-.".contains(c)) {
        Ok(text.to_owned())
    } else {
        Err(anyhow!("not a name that Kubernetes takes; use lower-case letters, digits, `-` and `.`"))
    }
}

fn scale_kind(text: &str) -> anyhow::Result<ScaleKind> {
    let (group, resource) = text.split_once('/').ok_or_else(|| {
        anyhow!("no group; write it before the resource, e.g. argoproj.io/rollouts, or / for the core")
    })?;
    let group = if group.is_empty() { String::new() } else { name(group)? };
    Ok(ScaleKind { group, resource: name(resource)? })
}

fn secret(text: &str) -> anyhow::Result<SecretName> {
    let (namespace, text) = match text.split_once('/') {
        Some((namespace, text)) => (Some(name(namespace)?), text),
        None => (None, text),
    };
    Ok(SecretName { namespace, name: name(text)? })
}

/// Runs the command.
///
/// # Errors
/// Standard output is closed.
pub fn run(args: CrdArgs) -> anyhow::Result<ExitCode> {
    let text = if args.rbac {
        rbac::yaml(&rbac::Request {
            namespaces: args.namespaces,
            own_namespace: args.own_namespace,
            service_account: args.service_account,
            lease: args.lease_name,
            scale_kinds: args.scale_kinds,
            secrets: args.secrets,
            scaling: match args.scaling {
                Scaling::With => rbac::Scaling::With,
                Scaling::Without => rbac::Scaling::Without,
                Scaling::Only => rbac::Scaling::Only,
            },
        })
    } else {
        crd::yaml(if args.kinds.is_empty() { &Kind::ALL } else { &args.kinds })?
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
