//! `deploy/deploy.sh` and `deploy/validate.sh`, from the outside: what they call, in which order, and what they say.
//!
//! They run against a scripted kubectl (`deploy/kubectl`, which says what it knows), whose cluster is a folder that each
//! test lays out: objects, answers, refusals. What needs no cluster (building, reading objects by Go templates) the real
//! kubectl does, so that the templates are tried as well. Where there is none, these tests say so and pass, unless they
//! are required (`TIDEGATE_FRAMEWORKS=required`). They deploy the small stack in `deploy/stack/`, but where it is about
//! tidegate and the real stacks themselves.
//!
//! `real` has them deploy tidegate and all five stacks to a real API server, where there is one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

mod support;

#[path = "deploy_scripts/controllers.rs"]
mod controllers;
#[path = "deploy_scripts/real.rs"]
mod real;

/// Past the harness, which keeps what a test prints for itself.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The one that `tests/run` installs, or that of the PATH.
fn real_kubectl() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        let candidates = std::env::split_paths(&on_path).map(|folder| folder.join("kubectl"));
        let mut candidates = [target.join("frameworks/kubernetes/bin/kubectl")].into_iter().chain(candidates);
        let runs = |path: &PathBuf| {
            let mut command = Command::new(path);
            command.args(["kustomize", "-h"]).stdin(Stdio::null());
            command.output().is_ok_and(|output| output.status.success())
        };
        let found = candidates.find(runs);
        if found.is_none() {
            let required = std::env::var("TIDEGATE_FRAMEWORKS").is_ok_and(|word| word == "required");
            assert!(!required, "there is no kubectl; tests/run installs it");
            let _ = writeln!(std::io::stderr(), "cannot run: kubectl; tests/run installs it");
        }
        found
    });
    found.as_deref()
}

/// The kinds of a cluster that has everything.
const SERVED: &str = "\
namespaces v1 false Namespace
configmaps v1 true ConfigMap
secrets v1 true Secret
services v1 true Service
serviceaccounts v1 true ServiceAccount
persistentvolumeclaims v1 true PersistentVolumeClaim
pods v1 true Pod
deployments apps/v1 true Deployment
statefulsets apps/v1 true StatefulSet
daemonsets apps/v1 true DaemonSet
jobs batch/v1 true Job
horizontalpodautoscalers autoscaling/v2 true HorizontalPodAutoscaler
endpointslices discovery.k8s.io/v1 true EndpointSlice
ingresses networking.k8s.io/v1 true Ingress
networkpolicies networking.k8s.io/v1 true NetworkPolicy
storageclasses storage.k8s.io/v1 false StorageClass
leases coordination.k8s.io/v1 true Lease
clusterroles rbac.authorization.k8s.io/v1 false ClusterRole
clusterrolebindings rbac.authorization.k8s.io/v1 false ClusterRoleBinding
roles rbac.authorization.k8s.io/v1 true Role
rolebindings rbac.authorization.k8s.io/v1 true RoleBinding
poddisruptionbudgets policy/v1 true PodDisruptionBudget
customresourcedefinitions apiextensions.k8s.io/v1 false CustomResourceDefinition
nodemetrics metrics.k8s.io/v1beta1 false NodeMetrics
";
const TIDEGATE: &str = "\
connections tidegate.dev/v1alpha1 true Connection
queueautoscalers tidegate.dev/v1alpha1 true QueueAutoscaler
";
const KEDA: &str = "scaledobjects keda.sh/v1alpha1 true ScaledObject\n";

/// A cluster in a folder.
struct Scene {
    folder: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Outcome {
    code: i32,
    text: String,
}

impl Outcome {
    #[track_caller]
    fn ends(self, code: i32) -> Outcome {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }

    #[track_caller]
    fn says(self, words: &str) -> Outcome {
        assert!(self.text.contains(words), "not said: {words}\n{}", self.text);
        self
    }

    #[track_caller]
    fn says_not(self, words: &str) -> Outcome {
        assert!(!self.text.contains(words), "said: {words}\n{}", self.text);
        self
    }
}

impl Scene {
    /// An empty cluster that has tidegate, KEDA, and the Secret that the shop's team makes by itself.
    fn new() -> Option<Scene> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        real_kubectl()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tidegate-scripts-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("objects")).unwrap();
        let scene = Scene { folder };
        scene.write("client", "v1.33.1");
        scene.write("server", "v1.33.2");
        scene.write("served", &[SERVED, TIDEGATE, KEDA].concat());
        scene.object("deployment tidegate tidegate", "metadata:\n  labels:\n    app.kubernetes.io/name: tidegate\n");
        scene.object("secret shop shop-payment", "data:\n  api-key: eA==\n");
        Some(scene)
    }

    /// The shop, deployed and at work.
    fn running() -> Option<Scene> {
        static RENDERED: OnceLock<String> = OnceLock::new();
        let scene = Scene::new()?;
        let rendered = RENDERED.get_or_init(|| {
            let folder = root().join("tests/deploy/stack/shop/overlays/standalone");
            let output = Command::new(real_kubectl().unwrap()).arg("kustomize").arg(folder).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        });
        scene.object("namespace - shop", "status:\n  phase: Active\n");
        scene.write("rendered.yaml", rendered);
        let file = scene.folder.join("rendered.yaml");
        assert_eq!(
            scene.command(&root().join("tests/deploy/kubectl"), &["apply", "-f", file.to_str().unwrap()]).code,
            0
        );
        for (pod, app) in [("web-1", "web"), ("worker-1", "worker"), ("worker-2", "worker"), ("redis-0", "redis")] {
            scene.pod(pod, app, "restartCount: 0\n    state: {running: {}}\n");
        }
        for service in ["web", "redis"] {
            scene.object(
                &format!("endpointslice shop {service}-1"),
                &format!(
                    "metadata:\n  labels:\n    kubernetes.io/service-name: {service}\n\
                     endpoints:\n- addresses: [10.0.0.1]\n  conditions: {{ready: true}}\n"
                ),
            );
        }
        scene.object(
            "persistentvolumeclaim shop data-redis-0",
            "spec: {storageClassName: standard}\nstatus:\n  phase: Bound\n",
        );
        scene.status(
            "horizontalpodautoscaler shop web",
            &[
                ("AbleToScale", "True", "ReadyForNewScale", "ready"),
                ("ScalingActive", "True", "ValidMetricFound", "valid"),
            ],
        );
        scene.status(
            "queueautoscaler shop worker",
            &[("Ready", "True", "Ready", "fine"), ("Active", "True", "AboveTarget", "there is work")],
        );
        scene.raw("shop", "services/web:80/proxy/health/ready/", "ready\n");
        scene.raw("shop", "services/web:80/proxy/health/live/", "alive\n");
        scene.write("top", "web-1 web 10m 100Mi\nworker-1 worker 10m 90Mi\n");
        scene.write("log", "");
        Some(scene)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// An object by kind, namespace and name. The rest is YAML that may open with more of its metadata.
    fn object(&self, whose: &str, rest: &str) {
        let [kind, namespace, name] = whose.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let all = [SERVED, TIDEGATE, KEDA].concat();
        let served = all.lines().find(|line| line.to_lowercase().ends_with(&format!(" {kind}"))).unwrap();
        let words: Vec<&str> = served.split(' ').collect();
        let rest = rest.strip_prefix("metadata:\n").unwrap_or(rest);
        let at = if namespace == "-" { String::new() } else { format!("  namespace: {namespace}\n") };
        let text = format!("apiVersion: {}\nkind: {}\nmetadata:\n  name: {name}\n{at}{rest}", words[1], words[3]);
        self.write(&format!("objects/{kind}.{namespace}.{name}"), &text);
    }

    /// A pod that is Ready, with one container of the app's name.
    fn pod(&self, name: &str, app: &str, container: &str) {
        let tier = if app == "web" { "    tier: front\n" } else { "" };
        let claim = if app == "web" {
            "  volumes:\n  - name: media\n    persistentVolumeClaim: {claimName: media}\n"
        } else {
            ""
        };
        self.object(
            &format!("pod shop {name}"),
            &format!(
                "metadata:\n  labels:\n    app: {app}\n{tier}spec:\n  containers:\n  - name: {app}\n    \
                 resources: {{limits: {{memory: 512Mi}}}}\n{claim}status:\n  phase: Running\n  conditions:\n  \
                 - {{type: Ready, status: \"True\"}}\n  containerStatuses:\n  - name: {app}\n    {container}"
            ),
        );
    }

    /// Gives an object that is there conditions: type, status, reason and message.
    fn status(&self, whose: &str, conditions: &[(&str, &str, &str, &str)]) {
        let file = format!("objects/{}", whose.replace(' ', "."));
        let text = self.read(&file);
        let before = text.split("\nstatus:\n").next().unwrap().trim_end();
        let mut text = format!("{before}\nstatus:\n  currentReplicas: 2\n  desiredReplicas: 3\n  conditions:\n");
        for (kind, status, reason, message) in conditions {
            text += &format!("  - {{type: {kind}, status: \"{status}\", reason: {reason}, message: \"{message}\"}}\n");
        }
        self.write(&file, &text);
    }

    fn raw(&self, namespace: &str, path: &str, text: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/{path}").replace('/', "_");
        self.write(&format!("raw/{path}"), text);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).unwrap();
    }

    /// A program, with the cluster of this scene.
    fn command(&self, program: &Path, arguments: &[&str]) -> Outcome {
        self.command_with(program, arguments, &[])
    }

    fn command_with(&self, program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(root().join("tests/deploy")).chain(std::env::split_paths(&path));
        let temporary = self.folder.join("tmp");
        fs::create_dir_all(&temporary).unwrap();
        let mut command = Command::new(program);
        for name in ["IMAGE_REGISTRY", "IMAGE_NAME", "IMAGE_TAG"] {
            command.env_remove(name);
        }
        let output = command
            .args(arguments)
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("REAL_KUBECTL", real_kubectl().unwrap())
            .env("KUBECTL_STATE", &self.folder)
            .env("TIDEGATE_STACKS", root().join("tests/deploy/stack"))
            .env("TMPDIR", &temporary)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // Secrets were among what was rendered.
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "something was left in $TMPDIR");
        let text = [output.stdout, output.stderr].concat();
        Outcome { code: output.status.code().unwrap(), text: String::from_utf8(text).unwrap() }
    }

    fn deploy(&self, arguments: &[&str]) -> Outcome {
        self.command(&root().join("deploy/deploy.sh"), arguments)
    }

    /// Makes a stack of these objects, of one overlay.
    fn stack(&self, name: &str, objects: &str) {
        let overlay = format!("stacks/{name}/overlays/standalone");
        let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [all.yaml]\n";
        self.write(&format!("{overlay}/kustomization.yaml"), text);
        self.write(&format!("{overlay}/all.yaml"), objects);
    }

    fn deploy_stack(&self, name: &str, arguments: &[&str]) -> Outcome {
        let stacks = self.folder.join("stacks");
        let environment = [("TIDEGATE_STACKS", stacks.to_str().unwrap())];
        self.command_with(&root().join("deploy/deploy.sh"), &[&[name], arguments].concat(), &environment)
    }

    /// With what a development cluster needs.
    fn deploy_shop(&self, arguments: &[&str]) -> Outcome {
        self.deploy(&[&["shop", "--allow-local-images", "--allow-example-secrets"], arguments].concat())
    }

    fn validate(&self, arguments: &[&str]) -> Outcome {
        self.command(&root().join("deploy/validate.sh"), &[&["shop"], arguments].concat())
    }

    fn calls(&self) -> Vec<String> {
        self.read("log").lines().map(str::to_owned).collect()
    }

    /// What was changed, in order: `KIND NAMESPACE NAME` that were applied, and whole calls of other kinds.
    fn changes(&self) -> Vec<String> {
        let changes = self.calls().into_iter().filter_map(|call| {
            if let Some(object) = call.strip_prefix("  applied ") {
                return Some(object.to_owned());
            }
            let reads =
                ["version", "config", "api-", "auth", "get", "logs", "top", "wait", "rollout status", "port-forward"];
            let looks = reads.iter().any(|read| call.starts_with(read)) || call.contains("--dry-run=server");
            let applies = call.starts_with("apply ");
            (!looks && !applies).then_some(call)
        });
        changes.collect()
    }
}

#[track_caller]
fn assert_order(lines: &[String], expected: &[&str]) {
    let mut rest = lines.iter();
    for one in expected {
        assert!(
            rest.any(|line| line.contains(one)),
            "{one} does not come, or not in this order:\n{}",
            lines.join("\n")
        );
    }
}

// === deploy.sh: in order ===

#[test]
fn everything_is_applied_in_the_order_in_which_it_is_needed() {
    let Some(scene) = Scene::new() else { return };
    scene
        .deploy_shop(&[])
        .ends(0)
        .says("PASS  every kind that is applied is there")
        .says("WARN  Secret shop/shop-secrets is made from the example: REDIS_PASSWORD SECRET_KEY")
        .says("created    StatefulSet shop/redis")
        .says("PASS  Job shop/shop-migrate is complete")
        .says("PASS  Deployment shop/web has rolled out")
        .says("port-forward service/web 8080:80")
        .says("deploy/validate.sh shop")
        .says("shop deployed: 15 created, 0 changed, 0 unchanged");
    let calls = scene.calls();
    assert_order(
        &calls,
        &[
            "version",
            "auth can-i patch deployments.apps -n shop",
            "--dry-run=server",
            "applied namespace - shop",
            // What needs the namespace is tried once it is there, and before anything of it is applied.
            "--dry-run=server",
            "applied configmap shop shop-config",
            "applied persistentvolumeclaim shop media",
            "applied statefulset shop redis",
            "rollout status statefulset/redis",
            "applied job shop shop-migrate",
            "applied job shop shop-collectstatic",
            "applied deployment shop web",
            "applied queueautoscaler shop worker",
            "rollout status deployment/web",
            "rollout status deployment/worker",
        ],
    );
    let applies = |call: &&String| call.starts_with("apply ");
    assert!(calls.iter().filter(applies).all(|call| call.contains("--server-side --field-manager=tidegate-deploy")));
    // The store's Service comes with the store, the others with what is behind them.
    let changes = scene.changes();
    assert_order(
        &changes,
        &["service shop redis", "statefulset shop redis", "job shop shop-migrate", "service shop web"],
    );
}

#[test]
fn a_second_run_changes_nothing_but_the_jobs_that_run_again() {
    let Some(scene) = Scene::new() else { return };
    scene.deploy_shop(&[]).ends(0);
    scene.write("log", "");
    let before = scene.read("objects/deployment.shop.worker");
    scene
        .deploy(&["shop", "--allow-local-images"])
        .ends(0)
        .says("Secret shop/shop-secrets exists and stays as it is; the example is not applied")
        .says("Job shop/shop-migrate of before, complete, is deleted")
        .says("configuration: 0 created, 0 changed, 2 unchanged")
        .says("application: 0 created, 0 changed, 6 unchanged")
        .says("shop deployed: 2 created, 0 changed, 12 unchanged");
    assert_eq!(scene.read("objects/deployment.shop.worker"), before);
    assert!(!scene.changes().contains(&"secret shop shop-secrets".to_owned()));
    assert_order(
        &scene.changes(),
        &["delete job shop-migrate -n shop", "job shop shop-migrate", "deployment shop web"],
    );
}

#[test]
fn replicas_that_an_autoscaler_has_are_left_alone() {
    let Some(scene) = Scene::new() else { return };
    scene.deploy_shop(&[]).ends(0);
    // The manifest names two, and the autoscaler has seven.
    let worker = scene.read("objects/deployment.shop.worker").replace("replicas: 2", "replicas: 7");
    scene.write("objects/deployment.shop.worker", &worker);
    // This one's manifest names none, but one of ours did once: left out now, it would go back to one.
    let web = scene.read("objects/deployment.shop.web").replace("replicas: 1", "replicas: 4").replace(
        "metadata:\n  generation",
        "metadata:\n  managedFields:\n  - manager: tidegate-deploy\n    operation: Apply\n    \
         fieldsV1: {\"f:spec\": {\"f:replicas\": {}}}\n  generation",
    );
    scene.write("objects/deployment.shop.web", &web);
    scene
        .deploy_shop(&[])
        .ends(0)
        .says("Deployment shop/worker keeps its 7 replicas")
        .says("Deployment shop/web keeps its 4 replicas");
    assert!(scene.read("applied/deployment.shop.worker").contains("\n  replicas: 7\n"));
    assert!(!scene.read("applied/deployment.shop.worker").contains("replicas: 2"));
    assert!(scene.read("applied/deployment.shop.web").contains("\n  replicas: 4\n"));
    // Nobody scales that one.
    assert!(scene.read("applied/statefulset.shop.redis").contains("\n  replicas: 1\n"));
}

#[test]
fn a_dry_run_changes_nothing() {
    let Some(scene) = Scene::running() else { return };
    scene
        .deploy(&["shop", "--dry-run"])
        .ends(0)
        .says("WARN  shop:1.0.0 has no registry")
        .says("PASS  14 objects would be taken")
        .says("dry run, nothing was changed");
    assert!(scene.calls().iter().any(|call| call.contains("--dry-run=server")));
    assert_eq!(scene.changes(), [""; 0]);
}

#[test]
fn a_dry_run_does_without_a_cluster_and_says_so() {
    let Some(scene) = Scene::new() else { return };
    scene.remove("server");
    scene
        .deploy(&["shop", "--dry-run"])
        .ends(0)
        .says("WARN  no cluster answers")
        .says("127.0.0.1:6443 was refused")
        .says("WARN  Secret shop/shop-secrets is an example: REDIS_PASSWORD SECRET_KEY")
        .says("Secret shop/shop-payment is not in the overlay: it must be in the cluster, with api-key, for Deployment web");
    assert_eq!(scene.changes(), [""; 0]);
}

#[test]
fn a_job_is_tried_under_another_name() {
    let Some(scene) = Scene::running() else { return };
    scene.deploy_shop(&["--dry-run"]).ends(0);
    // As it is there already and cannot be changed, neither an apply nor its own name would do.
    let creates = scene.calls().iter().filter(|call| call.starts_with("create --dry-run=server")).count();
    assert_eq!(creates, 2);
}

#[test]
fn migrations_can_be_left_out() {
    let Some(scene) = Scene::new() else { return };
    scene.deploy_shop(&["--skip-migrations"]).ends(0).says("skipped");
    assert!(!scene.changes().contains(&"job shop shop-migrate".to_owned()));
    assert!(scene.changes().contains(&"job shop shop-collectstatic".to_owned()));
}

#[test]
fn another_namespace_is_everywhere() {
    let Some(scene) = Scene::new() else { return };
    scene.object("secret trial shop-payment", "data:\n  api-key: eA==\n");
    scene.deploy_shop(&["--namespace", "trial", "--context", "lab"]).ends(0).says("kubectl --context lab -n trial");
    assert!(scene.changes().contains(&"namespace - trial".to_owned()));
    assert!(scene.changes().iter().all(|change| !change.contains(" shop ")), "{}", scene.changes().join("\n"));
    assert!(scene.calls().iter().any(|call| call.starts_with("--context lab ")));
}

#[test]
fn tidegate_s_definitions_are_there_before_it() {
    let Some(scene) = Scene::new() else { return };
    scene.write("served", SERVED);
    scene
        .deploy(&["tidegate", "--allow-local-images"])
        .ends(0)
        .says("3 definitions are Established")
        .says("port-forward service/tidegate-http 8080:8080")
        .says("kubectl get queueautoscalers -A");
    assert_order(
        &scene.calls(),
        &[
            "applied customresourcedefinition - queueautoscalers.tidegate.dev",
            "wait --for=condition=Established --timeout=300s customresourcedefinition/clusterconnections.tidegate.dev",
            "applied namespace - tidegate",
            "applied serviceaccount tidegate tidegate",
            "applied deployment tidegate tidegate",
            "rollout status deployment/tidegate",
        ],
    );
}

#[test]
fn an_overlay_may_bring_a_definition_and_objects_of_it() {
    let Some(scene) = Scene::new() else { return };
    scene.object("namespace - bakery", "status:\n  phase: Active\n");
    scene.stack(
        "bakery",
        "apiVersion: bread.example.com/v1\nkind: Oven\nmetadata: { name: first, namespace: bakery }\n---\n\
         apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: { name: ovens.bread.example.com }\n\
         spec:\n  group: bread.example.com\n  scope: Namespaced\n  names: { kind: Oven, plural: ovens }\n  \
         versions: [{ name: v1, served: true, storage: true }]\n",
    );
    scene
        .deploy_stack("bakery", &[])
        .ends(0)
        .says("PASS  every kind that is applied is there")
        .says("1 objects need a namespace or a definition that this deployment makes")
        .says("bakery deployed: 2 created");
    assert_eq!(scene.changes(), ["customresourcedefinition - ovens.bread.example.com", "oven bakery first"]);
}

#[test]
fn a_secret_with_a_value_replaces_another_only_where_that_is_wanted() {
    let Some(scene) = Scene::new() else { return };
    scene.object("namespace - bakery", "status:\n  phase: Active\n");
    scene.stack(
        "bakery",
        "apiVersion: v1\nkind: Secret\nmetadata: { name: yeast, namespace: bakery }\nstringData: { strain: new }\n",
    );
    scene.object("secret bakery yeast", "data:\n  strain: b2xk\n");
    let kept = "PASS  Secret bakery/yeast exists and stays as it is (--update-secrets would apply the overlay's)";
    scene.deploy_stack("bakery", &[]).ends(0).says(kept);
    assert_eq!(scene.changes(), [""; 0]);
    let replaced = "PASS  Secret bakery/yeast is applied over the one that exists";
    scene.deploy_stack("bakery", &["--update-secrets"]).ends(0).says(replaced);
    assert_eq!(scene.changes(), ["secret bakery yeast"]);
}

// === deploy.sh: what it refuses ===

#[test]
fn without_a_cluster_nothing_is_deployed() {
    let Some(scene) = Scene::new() else { return };
    scene.remove("server");
    scene
        .deploy_shop(&[])
        .ends(1)
        .says("FAIL  no cluster answers")
        .says("127.0.0.1:6443 was refused")
        .says("nothing was changed");
}

#[test]
fn an_old_kubectl_is_refused() {
    let Some(scene) = Scene::new() else { return };
    scene.write("client", "v1.20.2");
    scene.deploy_shop(&[]).ends(1).says("FAIL  kubectl v1.20.2 is too old: install 1.24 or later");
    scene.validate(&[]).ends(1).says("too old");
    scene.write("client", "v1.33.1");
    scene.write("server", "v1.22.0");
    scene.deploy_shop(&[]).ends(1).says("FAIL  the cluster is Kubernetes v1.22.0");
}

#[test]
fn a_kind_that_the_cluster_has_not_is_named_with_the_cure() {
    let Some(scene) = Scene::new() else { return };
    scene.write("served", &[SERVED, TIDEGATE].concat());
    scene
        .deploy_shop(&["--overlay", "keda"])
        .ends(1)
        .says("FAIL  the cluster has no ScaledObject of keda.sh/v1alpha1: install KEDA, or take --overlay standalone");
    scene.write("served", &[SERVED, KEDA].concat());
    scene
        .deploy_shop(&[])
        .ends(1)
        .says("FAIL  the cluster has no Connection of tidegate.dev/v1alpha1: deploy/deploy.sh tidegate")
        .says("FAIL  the cluster has no QueueAutoscaler of tidegate.dev/v1alpha1");
    assert_eq!(scene.changes(), [""; 0]);
}

#[test]
fn all_that_is_missing_is_listed_at_once() {
    let Some(scene) = Scene::new() else { return };
    scene.remove("objects/secret.shop.shop-payment");
    scene.object("secret shop shop-secrets", "data:\n  SECRET_KEY: eA==\n");
    scene
        .deploy_shop(&[])
        .ends(1)
        .says("FAIL  Secret shop/shop-secrets of the cluster has no key REDIS_PASSWORD, which is wanted by Connection redis")
        .says("FAIL  Secret shop/shop-payment is neither in the overlay nor in the cluster; wanted by Deployment web, with api-key")
        // That one is optional.
        .says_not("shop-features")
        .says("2 of the checks failed, nothing was changed");
    assert_eq!(scene.changes(), [""; 0]);
}

#[test]
fn an_example_is_no_secret() {
    let Some(scene) = Scene::new() else { return };
    scene
        .deploy(&["shop", "--allow-local-images"])
        .ends(1)
        .says("FAIL  Secret shop/shop-secrets is an example: REDIS_PASSWORD SECRET_KEY")
        .says("kubectl -n shop create secret generic shop-secrets --from-literal=REDIS_PASSWORD=...")
        .says_not("change-me");
    assert_eq!(scene.changes(), [""; 0]);
}

#[test]
fn a_secret_that_is_there_is_never_overwritten() {
    let Some(scene) = Scene::new() else { return };
    let theirs = "data:\n  REDIS_PASSWORD: cmVhbA==\n  SECRET_KEY: cmVhbA==\n";
    scene.object("secret shop shop-secrets", theirs);
    // Whatever is allowed: an example is none.
    scene
        .deploy_shop(&["--update-secrets"])
        .ends(0)
        .says("PASS  Secret shop/shop-secrets exists and stays as it is; the example is not applied");
    assert!(scene.read("objects/secret.shop.shop-secrets").contains(theirs));
    assert!(scene.changes().iter().all(|change| !change.starts_with("secret ")));
}

#[test]
fn what_may_not_be_done_is_listed() {
    let Some(scene) = Scene::new() else { return };
    scene.write("denied", "patch deployments.apps\ndelete jobs.batch\npatch namespaces\n");
    scene
        .deploy_shop(&[])
        .ends(1)
        .says("FAIL  may not patch namespaces\n")
        .says("FAIL  may not patch deployments.apps in shop")
        .says("FAIL  may not delete jobs.batch in shop")
        .says("3 of the checks failed");
}

#[test]
fn what_the_api_server_refuses_is_said_before_anything_is_applied() {
    let Some(scene) = Scene::running() else { return };
    scene.write(
        "refused",
        "error: Apply failed with 1 conflict: conflict with \"kubectl-set\": .spec.template.spec.containers",
    );
    scene
        .deploy_shop(&[])
        .ends(1)
        .says("FAIL  the API server refuses:")
        .says("conflict with \"kubectl-set\"")
        .says("--force-conflicts")
        .says("nothing was changed");
    assert_eq!(scene.changes(), [""; 0]);
}

#[test]
fn a_call_that_is_wrong_says_why() {
    let Some(scene) = Scene::new() else { return };
    scene.deploy(&[]).ends(2).says("tidegate, or a stack: shop");
    scene.deploy(&["bakery"]).ends(2).says("there is no bakery; there are: tidegate shop");
    scene.deploy(&["shop", "--overlay", "green"]).ends(2).says("shop has no overlay green; it has: keda standalone");
    scene.deploy(&["shop", "--overlay", "../../x"]).ends(2);
    scene.deploy(&["shop", "--timeout", "soon"]).ends(2).says("5m, 90s, 1h30m");
    scene.deploy(&["shop", "--fast"]).ends(2).says("no such option: --fast");
    scene.deploy(&["shop", "--image", "shop"]).ends(2).says("NAME=REF");
    scene.deploy(&["--help"]).ends(0).says("usage: deploy/deploy.sh WHAT");
    scene.validate(&["--since", "late"]).ends(2);
    scene.validate(&["--health", "web"]).ends(2).says("SERVICE:PORT/PATH");
    scene.validate(&["--help"]).ends(0).says("usage: deploy/validate.sh WHAT");
}

// === deploy.sh: images ===

#[test]
fn an_image_without_a_registry_is_refused_unless_it_is_a_well_known_one() {
    let Some(scene) = Scene::new() else { return };
    scene
        .deploy(&["shop", "--allow-example-secrets"])
        .ends(1)
        .says("PASS  redis:7.4-alpine")
        .says("FAIL  shop:1.0.0 has no registry: IMAGE_REGISTRY=..., --image shop=REF, or --allow-local-images");
    assert_eq!(scene.changes(), [""; 0]);
}

#[test]
fn images_come_from_the_environment_or_by_name() {
    let Some(scene) = Scene::new() else { return };
    let script = root().join("deploy/deploy.sh");
    let images = |environment: &[(&str, &str)], arguments: &[&str]| {
        let arguments = [&["shop", "--dry-run"], arguments].concat();
        scene.command_with(&script, &arguments, environment)
    };
    images(
        &[("IMAGE_REGISTRY", "registry.example.com:5000/team"), ("IMAGE_NAME", "the-shop"), ("IMAGE_TAG", "v2")],
        &[],
    )
    .ends(0)
    .says("PASS  registry.example.com:5000/team/the-shop:v2")
    .says("PASS  redis:7.4-alpine");
    images(&[("IMAGE_REGISTRY", "registry.example.com")], &[]).ends(0).says("PASS  registry.example.com/shop:1.0.0");
    images(&[("IMAGE_TAG", "v3")], &[]).ends(0).says("WARN  shop:v3 has no registry");
    images(&[("IMAGE_TAG", "v3")], &["--image", "shop=registry.example.com/other:v4"])
        .ends(0)
        .says("PASS  registry.example.com/other:v4");
    let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    images(&[], &["--image", &format!("redis=registry.example.com/redis@{digest}")])
        .ends(0)
        .says(&format!("PASS  registry.example.com/redis@{digest}"));
    images(&[], &["--image", "shop=registry.example.com/shop:latest"]).ends(0).says("is another one tomorrow");
    images(&[], &["--image", "chop=registry.example.com/shop:1"])
        .ends(1)
        .says("FAIL  --image chop=registry.example.com/shop:1: no image here is called chop; there are: redis shop");
}

// === deploy.sh: when it goes wrong on the way ===

#[test]
fn a_migration_that_fails_stops_before_the_application() {
    let Some(scene) = Scene::new() else { return };
    scene.write("jobs/shop-migrate", "failed");
    scene.write("logs/shop-migrate", "relation \"orders\" does not exist\n");
    scene
        .deploy_shop(&[])
        .ends(1)
        .says("FAIL  Job shop/shop-migrate has failed; its pods said last:")
        .says("| relation \"orders\" does not exist")
        .says("shop not deployed: the application is as it was before");
    let changes = scene.changes();
    assert!(changes.contains(&"job shop shop-migrate".to_owned()));
    assert!(!changes.contains(&"job shop shop-collectstatic".to_owned()));
    assert!(!changes.contains(&"deployment shop web".to_owned()));
}

#[test]
fn a_migration_of_before_that_still_runs_is_not_run_twice() {
    let Some(scene) = Scene::running() else { return };
    scene.object("job shop shop-migrate", "spec: {}\n");
    scene
        .deploy_shop(&["--timeout", "1s"])
        .ends(1)
        .says("FAIL  Job shop/shop-migrate of before has not ended within 1s: kubectl -n shop delete job shop-migrate");
    assert!(!scene.changes().iter().any(|change| change.starts_with("delete job") || change.starts_with("job ")));
}

#[test]
fn a_rollout_that_does_not_come_to_an_end_shows_pods_and_logs() {
    let Some(scene) = Scene::running() else { return };
    scene.write("rollout/web", "timed out waiting for the condition");
    scene.pod("web-2", "web", "restartCount: 4\n    state: {waiting: {reason: CrashLoopBackOff}}\n");
    let broken = scene.read("objects/pod.shop.web-2").replace("status: \"True\"", "status: \"False\"");
    scene.write("objects/pod.shop.web-2", &broken);
    scene.write("logs/web-2", "ImproperlyConfigured: PAYMENT_KEY is empty\n");
    scene
        .deploy_shop(&["--timeout", "3s"])
        .ends(1)
        .says("FAIL  Deployment shop/web has not rolled out within 3s: timed out waiting for the condition")
        .says("PASS  Deployment shop/worker has rolled out")
        .says("| pod/web-2")
        .says("last lines of web-2:")
        .says("| ImproperlyConfigured: PAYMENT_KEY is empty")
        .says("before its last restart")
        .says_not("last lines of web-1:")
        .says("rollout undo");
    assert!(scene.calls().iter().any(|call| call.starts_with("logs web-2 ") && call.contains("--previous")));
}

#[test]
fn a_store_that_does_not_start_stops_before_the_migrations() {
    let Some(scene) = Scene::new() else { return };
    scene.write("rollout/redis", "timed out waiting for the condition");
    scene.deploy_shop(&["--timeout", "2s"]).ends(1).says("FAIL  StatefulSet shop/redis has not rolled out");
    assert!(!scene.changes().contains(&"job shop shop-migrate".to_owned()));
}

// === deploy.sh: the real ones ===

#[test]
fn every_overlay_holds_together() {
    let Some(scene) = Scene::new() else { return };
    scene.remove("server");
    let mut wanted = Vec::new();
    let overlays = |folder: PathBuf| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let built = entries.filter(|path| path.join("kustomization.yaml").exists());
        built.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    wanted.extend(overlays(root().join("deploy/overlays")).into_iter().map(|overlay| ("tidegate".to_owned(), overlay)));
    for stack in ["parkshare", "jewelry-shop", "example-service", "projections", "pulse"] {
        let folder = root().join("deploy/stacks").join(stack).join("overlays");
        wanted.extend(overlays(folder).into_iter().map(|overlay| (stack.to_owned(), overlay)));
    }
    assert!(wanted.len() > 10, "{wanted:?}");
    let stacks = root().join("deploy/stacks");
    let environment = [("TIDEGATE_STACKS", stacks.to_str().unwrap())];
    for (what, overlay) in wanted {
        let arguments = [what.as_str(), "--overlay", overlay.as_str(), "--dry-run"];
        scene.command_with(&root().join("deploy/deploy.sh"), &arguments, &environment).ends(0);
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let scripts = ["deploy/deploy.sh", "deploy/validate.sh", "deploy/lib.sh", "tests/deploy/kubectl"];
    let output = Command::new("shellcheck").arg("-x").args(scripts).current_dir(root()).output();
    let Ok(output) = output else {
        let required = std::env::var("TIDEGATE_FRAMEWORKS").is_ok_and(|word| word == "required");
        assert!(!required, "there is no shellcheck; tests/run installs it");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

// === validate.sh ===

#[test]
fn what_runs_passes() {
    let Some(scene) = Scene::running() else { return };
    scene
        .validate(&[])
        .ends(0)
        .says("PASS  namespace shop")
        .says("PASS  13 of 13 objects are there")
        .says("PASS  Deployment worker: 2 of 2 ready")
        .says("PASS  Deployment worker: 2 pods, none restarting")
        .says("PASS  Service web: 1 endpoints")
        .says("PASS  PersistentVolumeClaim media is Bound")
        .says("PASS  PersistentVolumeClaim data-redis-0 is Bound")
        .says("PASS  Deployment web /health/ready/: ready (by the API server)")
        .says("PASS  2 containers, none above 90 % of its memory limit")
        .says("PASS  Deployment web: no errors in 0 lines")
        .says("PASS  HorizontalPodAutoscaler web: ScalingActive (ValidMetricFound); CURRENT 2, DESIRED 3")
        .says("PASS  QueueAutoscaler worker: Ready (Ready), Active True (AboveTarget); CURRENT 2, DESIRED 3")
        .says("0 warnings, 0 failed: shop runs");
    assert_eq!(scene.changes(), [""; 0]);
}

#[test]
fn without_a_cluster_there_is_nothing_to_validate() {
    let Some(scene) = Scene::new() else { return };
    scene.remove("server");
    scene.validate(&[]).ends(1).says("FAIL  no cluster answers");
    scene
        .validate(&["--dry-run", "--since", "30m"])
        .ends(0)
        .says("Deployment web: ready, pods not restarting (above 3), logs since 30m")
        .says("Deployment web: /health/ready/")
        .says("PersistentVolumeClaim data-redis-0: Bound")
        .says("QueueAutoscaler worker: conditions, and no second owner of Deployment worker");
}

#[test]
fn an_empty_cluster_fails_and_names_what_is_missing() {
    let Some(scene) = Scene::new() else { return };
    scene
        .validate(&[])
        .ends(1)
        .says("FAIL  there is no namespace shop: deploy/deploy.sh shop")
        .says("FAIL  there is no Deployment shop/web")
        .says("FAIL  there is no Deployment web")
        .says("FAIL  there is no QueueAutoscaler worker");
}

#[test]
fn a_pod_that_crashes_fails() {
    let Some(scene) = Scene::running() else { return };
    scene.pod(
        "worker-2",
        "worker",
        "restartCount: 9\n    state: {waiting: {reason: CrashLoopBackOff, message: back-off 5m0s restarting}}\n    \
         lastState: {terminated: {reason: OOMKilled, finishedAt: \"2024-01-01T00:00:00Z\"}}\n",
    );
    scene
        .validate(&[])
        .ends(1)
        .says("FAIL  pod worker-2, container worker: CrashLoopBackOff, 9 restarts, last OOMKilled; back-off 5m0s restarting")
        .says("shop does not run as it should");
}

#[test]
fn restarts_fail_if_they_are_many_and_fresh() {
    let Some(scene) = Scene::running() else { return };
    let restarted = |count: u32, finished: &str| {
        scene.pod(
            "worker-2",
            "worker",
            &format!(
                "restartCount: {count}\n    state: {{running: {{}}}}\n    \
                 lastState: {{terminated: {{reason: Error, finishedAt: \"{finished}\"}}}}\n"
            ),
        );
    };
    restarted(5, "2024-01-01T00:00:00Z");
    scene.validate(&[]).ends(0).says("WARN  pod worker-2, container worker: 5 restarts, none within 10m (last Error)");
    restarted(5, &ago(60));
    scene.validate(&[]).ends(1).says("FAIL  pod worker-2, container worker: 5 restarts, the last at");
    restarted(3, &ago(60));
    scene.validate(&[]).ends(0).says("PASS  Deployment worker: 2 pods, none restarting");
    scene.validate(&["--max-restarts", "2"]).ends(1);
}

#[test]
fn a_claim_that_is_pending_fails_unless_it_waits_for_its_first_pod() {
    let Some(scene) = Scene::running() else { return };
    scene.object("persistentvolumeclaim shop media", "spec: {storageClassName: shared}\nstatus:\n  phase: Pending\n");
    scene.validate(&[]).ends(1).says(
        "FAIL  PersistentVolumeClaim media is Pending (storage class shared): kubectl -n shop describe pvc media",
    );
    scene.object("storageclass - shared", "volumeBindingMode: WaitForFirstConsumer\n");
    // A pod has it.
    scene.validate(&[]).ends(1);
    let web = scene.read("objects/pod.shop.web-1").replace("claimName: media", "claimName: another");
    scene.write("objects/pod.shop.web-1", &web);
    scene.validate(&[]).ends(0).says("WARN  PersistentVolumeClaim media is Pending: it is bound once a pod uses it");
}

#[test]
fn a_service_without_endpoints_fails_unless_what_is_behind_it_is_at_zero() {
    let Some(scene) = Scene::running() else { return };
    let slice = scene.read("objects/endpointslice.shop.web-1").replace("ready: true", "ready: false");
    scene.write("objects/endpointslice.shop.web-1", &slice);
    scene.validate(&[]).ends(1).says("FAIL  Service web has no endpoints: Deployment web has no ready pod");
    let web = scene.read("objects/deployment.shop.web");
    let web = web.replace("replicas: 1", "replicas: 0").replace("readyReplicas: 1", "readyReplicas: 0");
    scene.write("objects/deployment.shop.web", &web);
    scene
        .validate(&[])
        .ends(0)
        .says("PASS  Deployment web: at zero, where its autoscaler has it")
        .says("PASS  Service web: no endpoints, as Deployment web is at zero");
}

#[test]
fn a_workload_that_is_not_ready_fails() {
    let Some(scene) = Scene::running() else { return };
    let redis = scene.read("objects/statefulset.shop.redis").replace("readyReplicas: 1", "readyReplicas: 0");
    scene.write("objects/statefulset.shop.redis", &redis);
    let web = scene.read("objects/deployment.shop.web")
        + "  conditions:\n  - {type: ReplicaFailure, status: \"True\", reason: FailedCreate, message: exceeded quota}\n";
    scene.write("objects/deployment.shop.web", &web);
    scene
        .validate(&[])
        .ends(1)
        .says("FAIL  StatefulSet redis: 0 of 1 ready")
        .says("FAIL  Deployment web: 1 of 1 ready; FailedCreate: exceeded quota");
}

#[test]
fn an_autoscaler_that_is_not_ready_fails_with_its_reason() {
    let Some(scene) = Scene::running() else { return };
    scene.status(
        "queueautoscaler shop worker",
        &[("Ready", "False", "SourceFailing", "redis:6379 refused the connection")],
    );
    scene.status(
        "horizontalpodautoscaler shop web",
        &[
            ("AbleToScale", "True", "x", ""),
            ("ScalingActive", "False", "FailedGetResourceMetric", "no metrics returned"),
        ],
    );
    scene
        .validate(&[])
        .ends(1)
        .says("FAIL  QueueAutoscaler worker: Ready is False, SourceFailing: redis:6379 refused the connection")
        .says(
            "FAIL  HorizontalPodAutoscaler web: ScalingActive is False, FailedGetResourceMetric: no metrics returned",
        );
    scene.status(
        "queueautoscaler shop worker",
        &[
            ("Ready", "True", "Ready", ""),
            ("Active", "False", "Idle", ""),
            ("Paused", "True", "PausedByAnnotation", "paused"),
        ],
    );
    scene.status(
        "horizontalpodautoscaler shop web",
        &[("ScalingActive", "True", "x", ""), ("ScalingLimited", "True", "TooManyReplicas", "")],
    );
    scene
        .validate(&[])
        .ends(0)
        .says("PASS  QueueAutoscaler worker: Ready (Ready), Active False (Idle)")
        .says("WARN  QueueAutoscaler worker: Paused (PausedByAnnotation): paused")
        .says("WARN  HorizontalPodAutoscaler web: at its maximum");
}

#[test]
fn behind_keda_the_scaled_object_and_its_hpa_are_looked_at() {
    let Some(scene) = Scene::running() else { return };
    scene.object("scaledobject shop worker", "spec: {scaleTargetRef: {name: worker}}\n");
    scene.remove("objects/queueautoscaler.shop.worker");
    scene.status(
        "scaledobject shop worker",
        &[
            ("Ready", "True", "ScaledObjectReady", ""),
            ("Active", "True", "ScalerActive", ""),
            ("Fallback", "True", "FallbackExists", "at least one trigger is falling back"),
        ],
    );
    scene.object(
        "horizontalpodautoscaler shop keda-hpa-worker",
        "metadata:\n  ownerReferences:\n  - {kind: ScaledObject, name: worker}\n\
         spec: {scaleTargetRef: {kind: Deployment, name: worker}}\n",
    );
    scene.status(
        "horizontalpodautoscaler shop keda-hpa-worker",
        &[("ScalingActive", "False", "ScalingDisabled", "zero")],
    );
    scene
        .validate(&["--overlay", "keda"])
        .ends(0)
        .says("PASS  ScaledObject worker: Ready (ScaledObjectReady), Active True (ScalerActive)")
        .says("WARN  ScaledObject worker: Fallback (FallbackExists): at least one trigger is falling back")
        .says("PASS  HorizontalPodAutoscaler keda-hpa-worker: rests, as its workload is at zero")
        .says_not("two owners");
}

#[test]
fn two_owners_of_one_workload_fail() {
    let Some(scene) = Scene::running() else { return };
    scene.object("horizontalpodautoscaler shop by-hand", "spec: {scaleTargetRef: {kind: Deployment, name: worker}}\n");
    scene
        .validate(&[])
        .ends(1)
        .says("FAIL  Deployment worker has two owners: HorizontalPodAutoscaler by-hand and QueueAutoscaler worker; delete one");
    // Who only watches owns nothing.
    let watching = scene.read("objects/queueautoscaler.shop.worker").replace("spec:\n", "spec:\n  dryRun: true\n");
    scene.write("objects/queueautoscaler.shop.worker", &watching);
    scene.validate(&[]).ends(0).says_not("two owners");
}

#[test]
fn errors_in_logs_are_counted_and_the_last_three_are_shown() {
    let Some(scene) = Scene::running() else { return };
    scene.write(
        "logs/web",
        "[pod/web-1/web] INFO 0 errors, ERROR_COUNT=0\n\
         [pod/web-1/web] ERROR one\n\
         [pod/web-1/web] {\"level\":\"error\",\"message\":\"two\"}\n\
         [pod/web-1/web] Traceback (most recent call last):\n\
         [pod/web-1/web] 2024/01/01 [error] 12#12: four\n",
    );
    scene
        .validate(&["--since", "1h"])
        .ends(0)
        .says("WARN  Deployment web: 4 lines of errors, the last of them:")
        .says("| [pod/web-1/web] {\"level\":\"error\",\"message\":\"two\"}")
        .says("| [pod/web-1/web] 2024/01/01 [error] 12#12: four")
        .says_not("ERROR one")
        .says("PASS  Deployment worker: no errors in 0 lines");
    let asked = "logs -n shop -l app=web --all-containers --since=1h --tail=-1 --prefix";
    assert!(scene.calls().iter().any(|call| call.starts_with(asked)));
    scene.validate(&["--log-pattern", "12#1[23]"]).ends(0).says("WARN  Deployment web: 1 lines of errors");
}

#[test]
fn logs_that_cannot_be_read_are_not_logs_without_errors() {
    let Some(scene) = Scene::running() else { return };
    // As kubectl says it with --ignore-errors: among the lines, and it ends well.
    scene.write("logs/web", "error: dial tcp 10.0.0.7:10250: connect: connection refused\n");
    scene.write("logs/worker", "[pod/worker-1/worker] INFO ready\nerror: pods \"worker-2\" not found\n");
    scene
        .validate(&[])
        .ends(0)
        .says("WARN  Deployment web: logs cannot be read: dial tcp 10.0.0.7:10250: connect: connection refused")
        .says_not("Deployment web: no errors")
        .says("WARN  Deployment worker: logs cannot be read: pods \"worker-2\" not found")
        .says("PASS  Deployment worker: no errors in 1 lines");
    scene.remove("logs/web");
    scene.remove("objects/pod.shop.web-1");
    scene
        .validate(&[])
        .says("        Deployment web has no pods whose logs could be read")
        .says_not("Deployment web: no errors");
}

#[test]
fn memory_near_its_limit_is_a_warning() {
    let Some(scene) = Scene::running() else { return };
    scene.write("top", "web-1 web 10m 500Mi\nworker-1 worker 10m 90Mi\n");
    scene.validate(&[]).ends(0).says("WARN  pod web-1, container web: 500Mi of the 512Mi of memory that it may have");
    scene.remove("top");
    scene.validate(&[]).ends(0).says("WARN  usage is not known: Metrics API not available");
}

/// Answers one request after another with the next of these statuses; gives the requests back.
fn answering(scene: &Scene, statuses: &'static [&'static str]) -> thread::JoinHandle<Vec<String>> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    scene.write("forward", &listener.local_addr().unwrap().port().to_string());
    thread::spawn(move || {
        let mut requests = Vec::new();
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            write!(stream, "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n\r\nsaid by the pod\n").unwrap();
            requests.push(String::from_utf8(request).unwrap());
        }
        requests
    })
}

#[test]
fn where_the_api_server_gets_no_answer_a_port_forward_does() {
    let Some(scene) = Scene::running() else { return };
    fs::remove_dir_all(scene.folder.join("raw")).unwrap();
    let server = answering(&scene, &["200 OK", "200 OK"]);
    scene
        .validate(&[])
        .ends(0)
        .says("PASS  Deployment web /health/live/: 200 said by the pod (by a port-forward)")
        .says("PASS  Deployment web /health/ready/: 200 said by the pod (by a port-forward)");
    let requests = server.join().unwrap();
    // With the headers of each probe, and a Host where the probe names none.
    assert_eq!(requests[0], "GET /health/live/ HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert_eq!(requests[1], "GET /health/ready/ HTTP/1.0\r\nHost: shop.internal\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert!(scene.calls().iter().any(|call| call == "port-forward pod/web-1 :8000 -n shop"));
    let forwards = scene.read("forwards");
    assert_eq!(forwards.lines().count(), 2);
    for process in forwards.lines() {
        assert!(!Path::new("/proc").join(process).exists(), "a port-forward goes on");
    }
}

#[test]
fn a_bad_answer_fails_and_so_does_none() {
    let Some(scene) = Scene::running() else { return };
    fs::remove_dir_all(scene.folder.join("raw")).unwrap();
    let server = answering(&scene, &["503 Service Unavailable", "200 OK"]);
    scene
        .validate(&[])
        .ends(1)
        .says("FAIL  Deployment web /health/live/: 503 said by the pod (by a port-forward)")
        .says("PASS  Deployment web /health/ready/");
    server.join().unwrap();
    scene.remove("forward");
    scene.validate(&[]).ends(1).says("FAIL  Deployment web /health/live/ cannot be asked: (ServiceUnavailable)");
}

#[test]
fn another_endpoint_can_be_asked() {
    let Some(scene) = Scene::running() else { return };
    scene.raw("shop", "services/web:80/proxy/health/detailed/", "{\"database\": \"ok\"}\n");
    scene
        .validate(&["--health", "web:80/health/detailed/"])
        .ends(0)
        .says("PASS  Service web /health/detailed/: {\"database\": \"ok\"} (by the API server)");
}

/// The time of so many seconds ago. `date` reads the clock, so that tests need not.
fn ago(seconds: u32) -> String {
    let output =
        Command::new("date").args(["-u", "-d", &format!("{seconds} seconds ago"), "+%FT%T.000000Z"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn tidegate_has_a_leader_that_is_alive() {
    let Some(scene) = Scene::new() else { return };
    scene.object("namespace - tidegate", "status:\n  phase: Active\n");
    let validate = || scene.command(&root().join("deploy/validate.sh"), &["tidegate"]);
    let lease = |renewed: &str| {
        let spec =
            format!("spec: {{holderIdentity: tidegate-7d4b, renewTime: \"{renewed}\", leaseDurationSeconds: 15}}\n");
        scene.object("lease tidegate tidegate", &spec);
    };
    for (path, answer) in [("readyz?verbose", "[+] polled\n"), ("api/v1/autoscalers", "{\"autoscalers\":[]}\n")] {
        scene.raw("tidegate", &format!("services/tidegate-http:8080/proxy/{path}"), answer);
    }
    validate().says("FAIL  there is no Lease tidegate");
    lease(&ago(3));
    validate()
        .says("PASS  Lease tidegate: tidegate-7d4b leads, renewed ")
        .says("PASS  Service tidegate-http /readyz?verbose: [+] polled (by the API server)")
        .says("PASS  Service tidegate-http /api/v1/autoscalers: {\"autoscalers\":[]}");
    lease(&ago(60));
    validate().ends(1).says("FAIL  Lease tidegate of tidegate-7d4b was renewed 6").says("nobody scales");
}
