//! The scripts with the real kubectl, against a real API server (`KUBEBUILDER_ASSETS`).
//!
//! Real are: kubectl and its kustomize, what the API server says to each object (schemas, defaults, admission with pod
//! security and quotas, also of each pod), server-side apply with its managers and conflicts, definitions, RBAC, and the
//! words of all errors. Played ([`super::controllers`]) are the controllers and kubelets. Nothing runs in a pod, tidegate
//! neither: what `validate.sh` asks of them has no answer, and it has to say so and fail. The kinds of the Prometheus
//! Operator are definitions that take anything.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Outcome, controllers, real_kubectl, root, say};
use crate::support::cluster::{Access, Cluster};

const STACKS: [&str; 5] = ["example-service", "parkshare", "jewelry-shop", "projections", "pulse"];
const IMAGE: [&str; 2] = ["--image", "tidegate=registry.example.com/tidegate:0.1.0"];

/// Somebody at a terminal.
struct Desk<'a> {
    cluster: &'a Cluster,
    access: Access,
    folder: TempDir,
}

impl<'a> Desk<'a> {
    fn of(cluster: &'a Cluster, name: &str, rights: Option<&[Value]>) -> Desk<'a> {
        let folder = TempDir::new().unwrap();
        let kubectl = fs::canonicalize(real_kubectl().unwrap()).unwrap();
        std::os::unix::fs::symlink(kubectl, folder.path().join("kubectl")).unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        Desk { cluster, access: cluster.access(name, rights), folder }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.folder.path().to_owned()).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(path).unwrap();
        let program = if program == "kubectl" { self.folder.path().join(program) } else { root().join(program) };
        let mut command = Command::new(program);
        for name in ["IMAGE_REGISTRY", "IMAGE_NAME", "IMAGE_TAG", "TIDEGATE_STACKS"] {
            command.env_remove(name);
        }
        let temporary = self.folder.path().join("tmp");
        let output = command
            .args(arguments)
            .env("PATH", path)
            .env("KUBECONFIG", self.access.path())
            .env("HOME", self.folder.path())
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "something was left in $TMPDIR");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        Outcome { code: output.status.code().unwrap(), text }
    }

    fn deploy(&self, arguments: &[&str]) -> Outcome {
        self.run("deploy/deploy.sh", &[&["--timeout", "60s"], arguments].concat())
    }

    /// A stack, with what a development cluster needs.
    fn deploy_stack(&self, stack: &str, arguments: &[&str]) -> Outcome {
        self.deploy(&[&[stack, "--allow-local-images"], arguments].concat())
    }

    fn kubectl(&self, arguments: &str) -> Outcome {
        self.run("kubectl", &arguments.split(' ').collect::<Vec<_>>())
    }

    /// Fails by what only a kubelet, a load balancer, metrics or tidegate itself could answer, and by nothing else.
    #[track_caller]
    fn validate(&self, what: &str) -> Outcome {
        let outcome = self.run("deploy/validate.sh", &[what]);
        let mut others = String::new();
        for line in outcome.text.lines().filter(|line| line.starts_with("  FAIL") || line.starts_with("  WARN")) {
            let of_pods = [
                " cannot be asked: ",
                " says nothing of itself",
                ": logs cannot be read: ",
                "usage is not known: ",
                " has no address of a load balancer yet",
                "no replica has ever led",
                "more than one minor version apart",
            ];
            if !of_pods.iter().any(|words| line.contains(words)) {
                writeln!(others, "{line}").unwrap();
            }
        }
        assert!(others.is_empty(), "{what}:\n{others}\n{}", outcome.text);
        outcome.ends(1).says("objects are there").says(": logs cannot be read: ")
    }

    fn exists(&self, path: &str) -> bool {
        self.cluster.request("GET", path, "", &Value::Null).code == 200
    }
}

/// A definition of the Prometheus Operator's, with nothing of it but the name.
fn definition(kind: &str) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
        "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

/// "N created, N changed, N unchanged" of the last line.
fn counts(outcome: &Outcome) -> [usize; 3] {
    let line = outcome.text.lines().last().unwrap_or_default();
    let (_, numbers) = line.split_once(" deployed: ").unwrap_or_else(|| panic!("{}", outcome.text));
    let count = |word: &str| {
        let before = numbers.split(word).next().unwrap().trim_end();
        before.rsplit(' ').next().unwrap().parse().unwrap()
    };
    [count(" created"), count(" changed"), count(" unchanged")]
}

fn conversation(cluster: &Cluster) {
    cluster.in_background(controllers::play);
    let desk = Desk::of(cluster, "a", None);
    let stranger = Desk::of(cluster, "b", Some(&[]));

    // --- tidegate: tried, refused to whoever may not, deployed, and again ---
    desk.deploy(&[&["tidegate", "--dry-run"], &IMAGE[..]].concat())
        .ends(0)
        .says("PASS  every kind that is applied is there")
        .says("PASS  13 of 13 permissions")
        .says("8 objects need a namespace or a definition that this deployment makes")
        .says("dry run, nothing was changed");
    assert!(!desk.exists("/api/v1/namespaces/tidegate"));
    stranger
        .deploy(&[&["tidegate"], &IMAGE[..]].concat())
        .ends(1)
        .says("WARN  namespace tidegate may not be looked at")
        .says("FAIL  may not patch deployments.apps in tidegate")
        // Of the cluster and not of a namespace, which kubectl warns of when it is asked.
        .says("FAIL  may not patch customresourcedefinitions.apiextensions.k8s.io\n")
        .says_not("nobody says whether")
        .says("User \"b\" cannot patch resource \"deployments\"")
        .says("nothing was changed");
    desk.deploy(&["pulse", "--dry-run"])
        .ends(1)
        .says("FAIL  the cluster has no QueueAutoscaler of tidegate.dev/v1alpha1: deploy/deploy.sh tidegate")
        .says("FAIL  the cluster has no ServiceMonitor of monitoring.coreos.com/v1: install the Prometheus Operator");
    let first = desk.deploy(&[&["tidegate"], &IMAGE[..]].concat()).ends(0);
    assert_eq!(counts(&first), [16, 0, 0], "{}", first.text);
    first.says("PASS  3 definitions are Established").says("PASS  Deployment tidegate/tidegate has rolled out");
    let health = "FAIL  Service tidegate-http /readyz?verbose cannot be asked: ";
    desk.validate("tidegate").says(health).says("there is no Lease tidegate");
    let second = desk.deploy(&[&["tidegate"], &IMAGE[..]].concat()).ends(0);
    assert_eq!(counts(&second), [0, 0, 16], "{}", second.text);
    desk.validate("tidegate");

    // --- the stacks ---
    for kind in ["ServiceMonitor", "PodMonitor", "PrometheusRule"] {
        cluster.install(&definition(kind));
    }
    for stack in STACKS {
        desk.deploy(&[stack, "--dry-run"]).ends(0).says("PASS  tidegate is deployed").says("nothing was changed");
        assert!(!desk.exists(&format!("/api/v1/namespaces/{stack}")), "{stack}");
        let first = desk.deploy_stack(stack, &["--allow-example-secrets"]).ends(0).says_not("FAIL");
        let [created, 0, 0] = counts(&first) else { panic!("{}", first.text) };
        desk.validate(stack);
        // Without a leave for examples: the Secrets are there.
        let second = desk.deploy_stack(stack, &[]).ends(0).says_not("FAIL");
        let secrets = second.text.matches(" exists and stays as it is").count();
        let jobs = second.text.matches(" of before, complete, is deleted").count();
        assert_eq!(counts(&second), [jobs, 0, created - secrets - jobs], "{}", second.text);
        desk.validate(stack);
        let wanted = desk.kubectl(&format!("get deployments,statefulsets -n {stack} -o name")).ends(0).text;
        let rolled = second.text.matches(" has rolled out").count();
        assert_eq!(wanted.lines().count(), rolled, "{stack}:\n{wanted}");
        let scalers = desk.kubectl(&format!("get queueautoscalers -n {stack} -o name")).ends(0).text;
        assert!(!scalers.is_empty(), "{stack}");
        say(&format!("{stack}: {created} objects, {rolled} workloads, {jobs} Jobs, {secrets} Secrets"));
    }
    troubles(&desk);
}

/// What goes wrong with a stack that is there.
fn troubles(desk: &Desk<'_>) {
    // Replicas that an autoscaler has set are its own.
    desk.kubectl("scale deployment/celery-high -n pulse --replicas=3").ends(0);
    desk.deploy_stack("pulse", &[]).ends(0);
    desk.kubectl("get deployment/celery-high -n pulse -o jsonpath={.spec.replicas}").ends(0).says("3");

    // Somebody set an image by hand.
    desk.kubectl("set image deployment/pulse-web -n pulse *=registry.example.com/by-hand:1").ends(0);
    desk.deploy_stack("pulse", &[])
        .ends(1)
        .says("FAIL  the API server refuses:")
        .says("kubectl-set")
        .says("--force-conflicts")
        .says("nothing was changed");
    desk.deploy_stack("pulse", &["--force-conflicts"]).ends(0).says("changed    Deployment pulse/pulse-web");

    // An image that is nowhere: old pods stay, and the reason is shown.
    let nowhere = ["--image", "pulse=missing.example.com/pulse:v2", "--skip-migrations", "--timeout", "6s"];
    desk.deploy_stack("pulse", &nowhere)
        .ends(1)
        .says("FAIL  Deployment pulse/pulse-web has not rolled out within")
        .says("ErrImagePull")
        .says("the rollout is not complete");
    desk.run("deploy/validate.sh", &["pulse"]).ends(1).says("ErrImagePull").says("it is not there");
    desk.deploy_stack("pulse", &[]).ends(0);

    // A Secret that lost a key, and then itself.
    let patch = r#"{"data":{"SECRET_KEY":null}}"#;
    desk.kubectl(&format!("patch secret pulse-secrets -n pulse -p {patch}")).ends(0);
    desk.deploy_stack("pulse", &[])
        .ends(1)
        .says("FAIL  Secret pulse/pulse-secrets of the cluster has no key SECRET_KEY");
    desk.kubectl("delete secret pulse-secrets -n pulse").ends(0);
    desk.deploy_stack("pulse", &[])
        .ends(1)
        .says("FAIL  Secret pulse/pulse-secrets is an example: ")
        .says("kubectl -n pulse create secret generic pulse-secrets");
}

#[test]
fn a_real_api_server_takes_what_the_scripts_do() {
    if real_kubectl().is_none() {
        return;
    }
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        say("cannot run: deploy.sh and validate.sh against a real API server; KUBEBUILDER_ASSETS names none");
        return;
    }
    conversation(&Cluster::start());
}
