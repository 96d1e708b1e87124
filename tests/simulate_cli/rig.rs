//! A folder with a shop's manifests in it, and the binary run there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub const CONNECTION: &str = r#"apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: main, namespace: shop }
spec: { redis: { address: "redis:6379" } }
"#;

pub const AUTOSCALER: &str = r"apiVersion: tidegate.dev/v1alpha1
kind: QueueAutoscaler
metadata: { name: mail, namespace: shop }
spec:
  scaleTargetRef: { name: mail-worker }
  minReplicas: 1
  maxReplicas: 10
  pollingInterval: 1s
  triggers:
    - name: letters
      connection: main
      redisList: { keys: [letters] }
      policy: { backlogPerReplica: { target: 10 } }
  behavior:
    scaleDown: { stabilizationWindowSeconds: 60 }
";

/// Twenty minutes, a job a second, and five a second for one of them.
pub const QUIET: &str = r"apiVersion: tidegate.dev/v1alpha1
kind: Scenario
metadata: { name: quiet }
spec:
  about: A small shop.
  duration: 20m
  slo: { wait: 5s, percent: 95 }
  jobs:
    - arrivals:
        - constant: { perSecond: 1 }
        - spike: { perSecond: 5, at: 8m, lasts: 1m }
      service: { exponential: 1s }
  workers: { slots: 2, startUp: { init: { fixed: 10s } } }
  seeds: 2
";

/// `shop.yaml` has the manifests, `quiet.yaml` a scenario.
pub struct Folder {
    folder: TempDir,
}

/// How it ended, and what it said.
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Self {
        let folder = Folder { folder: tempfile::tempdir().unwrap() };
        folder.write("shop.yaml", &format!("{CONNECTION}---\n{AUTOSCALER}"));
        folder.write("quiet.yaml", QUIET);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// `tidegate` with these arguments.
    pub fn tidegate(&self, arguments: &[&str]) -> Said {
        said(command(self.folder.path(), env!("CARGO_BIN_EXE_tidegate")).args(arguments).output().unwrap())
    }

    /// `tidegate simulate` with the shop's manifests and these arguments.
    pub fn simulate(&self, arguments: &[&str]) -> Said {
        self.tidegate(&[&["simulate", "-f", "shop.yaml"], arguments].concat())
    }

    /// The same, and it must do.
    pub fn simulated(&self, arguments: &[&str]) -> String {
        let said = self.simulate(arguments);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        said.stdout
    }

    /// The report of it.
    pub fn report(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.simulated(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// The same, and it must be refused: nothing on standard output, the message without its first word.
    pub fn refused(&self, arguments: &[&str]) -> String {
        self.simulate(arguments).refusal()
    }

    /// A line as it is written into a shell that knows `tidegate`.
    pub fn shell(&self, line: &str) -> Said {
        let folder = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.display());
        said(command(self.folder.path(), "/bin/sh").args(["-c", line]).env("PATH", path).output().unwrap())
    }
}

impl Said {
    /// What was said of input that is wrong.
    pub fn refusal(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        let message = self.stderr.strip_prefix("error: ").unwrap_or_else(|| panic!("{}", self.stderr));
        message.trim_end().to_owned()
    }

    /// What was said of flags that are wrong.
    pub fn usage(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{}", self.stderr);
        self.stderr
    }
}

/// Unaffected by whatever the environment says.
fn command(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The lines of a message; order is not promised.
#[track_caller]
pub fn has_lines(message: &str, lines: &[&str]) {
    let mut wanted = lines.to_vec();
    let mut found: Vec<&str> = message.lines().collect();
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted, "{message}");
}

/// Names of the report's policies, in its order.
pub fn names(report: &Value) -> Vec<&str> {
    report["policies"].as_array().unwrap().iter().map(|policy| policy["name"].as_str().unwrap()).collect()
}

/// The report's notes as one text.
pub fn notes(report: &Value) -> String {
    let notes: Vec<&str> = report["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    notes.join("\n")
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}
