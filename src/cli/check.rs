//! `tidegate check`: every problem in a set of manifests, or what was understood of them.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::files;
use crate::source::redis::acl::{Rights, setuser, setuser_of_sentinels};
use crate::spec::limits::Limits;
use crate::spec::load::{Loaded, Terms, load};
use crate::spec::{Server, advice, render};

/// Reads manifests and says what is wrong with them, or what they mean with every default filled in.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// A manifest, a folder of them, or - for standard input. May be repeated.
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// How to print what was understood.
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    pub output: Output,
    /// Print what a user of each Redis must be allowed, and nothing more, instead of what was understood: a line for
    /// redis-cli for each Connection (Redis 7.0 or later).
    #[arg(long, conflicts_with = "output")]
    pub acl: bool,
    /// Addresses that KEDA's metadata may name without a Connection: host:port, where * stands for anything.
    #[arg(long = "allow-address", value_name = "HOST:PORT")]
    pub allow_addresses: Vec<String>,
    /// The only addresses that anything may lead to, Connections included; patterns as for --allow-address.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub only_addresses: Option<Vec<String>>,
    /// QueueAutoscalers that one namespace may have.
    #[arg(long, value_name = "N", default_value_t = Limits::default().autoscalers_per_namespace)]
    pub max_autoscalers_per_namespace: usize,
}

/// How to print what was understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Output {
    /// YAML documents.
    Yaml,
    /// One JSON array.
    Json,
}

/// Runs the command. Problems, warnings and hints go to stderr, one a line; what was understood goes to stdout.
#[must_use]
pub fn run(args: CheckArgs) -> ExitCode {
    let CheckArgs { files, output, acl, allow_addresses, only_addresses, max_autoscalers_per_namespace } = args;
    let output = if acl { None } else { Some(output) };
    let limits = Limits { autoscalers_per_namespace: max_autoscalers_per_namespace, ..Limits::default() };
    match check(&files, output, &Terms { allow_addresses, only_addresses, limits, alternatives: false }) {
        Ok(Findings { understood, warnings, hints }) => {
            say(warnings.iter().map(|warning| format!("warning: {warning}")));
            say(hints.iter().map(|hint| format!("hint: {hint}")));
            match io::Write::write_all(&mut io::stdout().lock(), understood.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                // `check | head` is no mistake of the manifests, but nobody has read all of it either.
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(lines) => {
            say(lines.iter().map(|line| format!("error: {line}")));
            ExitCode::FAILURE
        }
    }
}

/// What there is to print, where nothing is wrong.
struct Findings {
    understood: String,
    warnings: Vec<String>,
    hints: Vec<String>,
}

/// `output`: how to print what was understood; `None`: what it takes to read it.
fn check(paths: &[PathBuf], output: Option<Output>, terms: &Terms) -> Result<Findings, Vec<String>> {
    let set = files::read(paths).map_err(|errors| lines(&errors))?;
    let loaded = load(&files::texts(&set), terms).map_err(|problems| lines(&problems.0))?;
    let understood = match output {
        Some(output) => print(&loaded, output).map_err(|error| vec![error])?,
        None => acl(&loaded),
    };
    let mut warnings = lines(&loaded.warnings);
    warnings.extend(lines(&advice::warnings(&loaded.autoscalers)));
    warnings.extend(lines(&advice::shares(&loaded.autoscalers)));
    Ok(Findings { understood, warnings, hints: lines(&advice::hints(&loaded.autoscalers)) })
}

/// What was understood, in manifest form.
///
/// # Errors
///
/// What the serializer says; it has no reason to.
pub fn print(loaded: &Loaded, output: Output) -> Result<String, String> {
    let documents = render::documents(loaded);
    match output {
        Output::Yaml if documents.is_empty() => Ok(String::new()),
        Output::Yaml => {
            let text = serde_saphyr::to_string_multiple(&documents).map_err(|error| error.to_string())?;
            if text.chars().all(render::is_printable) {
                return Ok(text);
            }
            // The library writes characters that YAML's readers refuse; JSON, which is YAML, has a way for them.
            let documents: Result<Vec<String>, String> = documents.iter().map(json).collect();
            Ok(documents?.join("---\n"))
        }
        Output::Json => json(&documents),
    }
}

fn json(what: &impl serde::Serialize) -> Result<String, String> {
    let text = serde_json::to_string_pretty(what).map_err(|error| error.to_string())?;
    let mut escaped = render::escaped(&text);
    escaped.push('\n');
    Ok(escaped)
}

/// For each Redis, the user who may read what is read there.
fn acl(loaded: &Loaded) -> String {
    let mut out = String::from(
        "# Put the user's password in place of PASSWORD. In an ACL file, leave out \"ACL SETUSER\", write \"user\".\n",
    );
    for declared in loaded.grants.declared() {
        let Server::Redis(redis) = &declared.connection.server else { continue };
        let mut rights = Rights::default();
        let mut readers: Vec<String> = Vec::new();
        for spec in &loaded.autoscalers {
            for trigger in spec.triggers.iter().filter(|trigger| trigger.connection == *declared.connection) {
                rights.add(&trigger.source);
                trigger.in_flight.iter().for_each(|source| rights.add(source));
                readers.push(format!("{} {} ({})", spec.id, trigger.name, trigger.source.block()));
            }
        }
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "\n# Connection {} ({})", declared.connection.name, redis.address);
        if readers.is_empty() {
            let _ = writeln!(out, "# Nothing here reads it.");
            continue;
        }
        let _ = writeln!(out, "# for {}\n{}", readers.join(", "), setuser(redis, &rights));
        if let Some(line) = setuser_of_sentinels(redis) {
            let _ = writeln!(out, "# and at its sentinels:\n{line}");
        }
    }
    out
}

fn lines(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// To stderr; a closed one is no reason to fail.
fn say(lines: impl Iterator<Item = String>) {
    let mut stderr = io::stderr().lock();
    for line in lines {
        let _ = io::Write::write_fmt(&mut stderr, format_args!("{line}\n"));
    }
}
