//! A cluster's API for tests: scripted, or a real one where the environment offers it. The same tests run against both.
//!
//! * `KUBEBUILDER_ASSETS`: a folder with `etcd` and `kube-apiserver`; they are started in a temporary folder, on free
//!   ports, with RBAC.
//! * `KUBECONFIG`: a cluster that stands already; its current context must be allowed everything. A namespace is made
//!   there and deleted again, as are the rights that tests give; definitions stay.
//! * neither: [`super::apiserver`].
//!
//! ```ignore
//! let cluster = Cluster::start();                       // says on standard error what it is
//! cluster.install_crds();
//! cluster.run_controllers(Duration::from_millis(50));   // pods become ready
//! cluster.create(&deployment("web", 2));                // the namespace is the cluster's own where none is written
//! let access = cluster.access("tidegate", Some(&rbac)); // a kubeconfig with just these rights; None: with all
//! let tidegate = Tidegate::start_within(&[("KUBECONFIG", access.path())], "", &["--target", "kubernetes"]);
//! cluster.until("deployments.apps", "web", "five replicas", |web| web["spec"]["replicas"] == 5);
//! cluster.scale("deployments.apps", "web", 0);          // as `kubectl scale` does
//!
//! let cluster = Cluster::scripted("faults");            // for tests that need what only the scripted one can do
//! cluster.server().fault(...);
//! ```
//!
//! Everything here blocks, and may be called from within a runtime all the same: the requests run on another thread.

mod real;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::apiserver::{ApiServer, Grants};
use super::tidegate::PATIENCE;
use real::Real;

/// What answers.
enum Backend {
    Scripted(ApiServer),
    /// Started here.
    Real(Real),
    /// Somebody else's.
    Standing(kube::config::Kubeconfig),
}

pub struct Cluster {
    backend: Backend,
    namespace: String,
    client: kube::Client,
    handle: Handle,
    folder: TempDir,
    /// Paths of what is to be deleted in somebody else's cluster.
    made: Mutex<Vec<String>>,
    stop: Option<oneshot::Sender<()>>,
    /// Real servers are heavy: one at a time in a process.
    _alone: Option<MutexGuard<'static, ()>>,
}

/// Somebody's way in.
pub struct Access {
    kubeconfig: PathBuf,
}

impl Access {
    /// For a process: `KUBECONFIG`.
    pub fn path(&self) -> &str {
        self.kubeconfig.to_str().unwrap()
    }

    /// For a client within the test. It repeats nothing by itself, as ours does not.
    pub async fn config(&self) -> kube::Config {
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        config.default_retry = false;
        config
    }
}

/// What a request was answered.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub retry_after: Option<u64>,
    /// Null where it is no JSON.
    pub json: Value,
    pub text: String,
}

static ALONE: Mutex<()> = Mutex::new(());

/// Past the harness, which keeps what a test prints for itself.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Cluster {
    /// Whatever the environment offers.
    pub fn start() -> Self {
        static SAID: Once = Once::new();
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let standing = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty());
        let alone =
            (assets.is_some() || standing.is_some()).then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner));
        let (backend, what) = if let Some(assets) = assets {
            let real = Real::start(&assets, false);
            let what = format!("a real kube-apiserver from {}", assets.display());
            (Backend::Real(real), what)
        } else if let Some(path) = standing {
            let kubeconfig = kube::config::Kubeconfig::read_from(&path).unwrap();
            (Backend::Standing(kubeconfig), format!("the cluster of {}", Path::new(&path).display()))
        } else {
            (Backend::Scripted(ApiServer::start()), "the scripted API server".to_owned())
        };
        let cluster = Cluster::over(backend, alone);
        let version = cluster.request("GET", "/version", "", &Value::Null).json["gitVersion"].clone();
        SAID.call_once(|| say(&format!("cluster: tests run against {what}, {version}")));
        cluster
    }

    /// The scripted one, for a test that needs what only that can do. Where a real one is offered, a line says so.
    pub fn scripted(needs: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        if std::env::var_os("KUBEBUILDER_ASSETS").is_some() || std::env::var_os("KUBECONFIG").is_some() {
            let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            say(&format!(
                "cluster: {test} runs against the scripted API server only, it needs {needs} ({count} so far)"
            ));
        }
        Cluster::over(Backend::Scripted(ApiServer::start()), None)
    }

    /// For measurements, which say themselves what they ran against: a real server from this folder, which logs what
    /// the user `tidegate` asks for ([`Cluster::audit_log`]), or the scripted one.
    pub fn measured(assets: Option<&Path>) -> Self {
        let alone = assets.map(|_| ALONE.lock().unwrap_or_else(PoisonError::into_inner));
        let backend =
            assets.map_or_else(|| Backend::Scripted(ApiServer::start()), |path| Backend::Real(Real::start(path, true)));
        Cluster::over(backend, alone)
    }

    fn over(backend: Backend, alone: Option<MutexGuard<'static, ()>>) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let folder = TempDir::new().unwrap();
        let (handles, handle) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let config = match &backend {
            Backend::Scripted(server) => server.client("admin").config(),
            Backend::Real(real) => blocking_config(real.kubeconfig("admin", None)),
            Backend::Standing(kubeconfig) => blocking_config(kubeconfig.clone()),
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = kube::Client::try_from(config).unwrap();
                handles.send((Handle::current(), client)).unwrap();
                let _ = stopped.await;
            });
        });
        let (handle, client) = handle.recv().unwrap();
        let namespace = match &backend {
            Backend::Standing(_) => {
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                format!("tidegate-test-{}-{number}", std::process::id())
            }
            _ => "default".to_owned(),
        };
        let stop = Some(stop);
        let made = Mutex::new(vec![format!("/api/v1/namespaces/{namespace}")]);
        let cluster = Cluster { backend, namespace, client, handle, folder, made, stop, _alone: alone };
        cluster.ensure_namespace(&cluster.namespace);
        cluster
    }

    /// Where this test's objects belong.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn is_scripted(&self) -> bool {
        matches!(self.backend, Backend::Scripted(_))
    }

    /// The scripted server: faults, the record, what it keeps.
    pub fn server(&self) -> &ApiServer {
        match &self.backend {
            Backend::Scripted(server) => server,
            _ => panic!("a real server takes no faults: use Cluster::scripted"),
        }
    }

    /// Of a measured real server: what `tidegate` asked for, a line of JSON each.
    pub fn audit_log(&self) -> Option<PathBuf> {
        match &self.backend {
            Backend::Real(real) => Some(real.audit_log()),
            _ => None,
        }
    }

    /// The processes of a real server that was started here, by name.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        match &self.backend {
            Backend::Real(real) => real.pids(),
            _ => Vec::new(),
        }
    }

    // === requests, as somebody who may do everything ===

    /// One request; null sends no body.
    pub fn request(&self, method: &str, path: &str, content_type: &str, body: &Value) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let mut request = Request::builder().method(method).uri(path);
        if !content_type.is_empty() {
            request = request.header("Content-Type", content_type);
        }
        let (client, request) = (self.client.clone(), request.body(Body::from(bytes)).unwrap());
        let path = path.to_owned();
        self.run(async move {
            let answer = client.send(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
            let code = answer.status().as_u16();
            let header = answer.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
            let bytes = answer.into_body().collect_bytes().await.unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Answer { code, retry_after: header, json: serde_json::from_slice(&bytes).unwrap_or_default(), text }
        })
    }

    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.handle.spawn(async move { sender.send(work.await) });
        receiver.recv().unwrap()
    }

    fn expect(answer: Answer, what: &str) -> Value {
        assert!((200..300).contains(&answer.code), "{what}: {} {}", answer.code, answer.text);
        answer.json
    }

    /// Makes it where it is not there.
    pub fn ensure_namespace(&self, name: &str) {
        if self.request("GET", &format!("/api/v1/namespaces/{name}"), "", &Value::Null).code == 404 {
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let answer = self.request("POST", "/api/v1/namespaces", JSON, &body);
            assert!(matches!(answer.code, 201 | 409), "{answer:?}");
        }
    }

    /// Where a manifest belongs: its collection's path, its namespace and its name.
    fn place(&self, object: &Value) -> (String, String) {
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let root =
            if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
        let plural = plural(kind);
        if CLUSTER_SCOPED.contains(&plural.as_str()) {
            return (format!("{root}/{plural}"), name);
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(&self.namespace);
        (format!("{root}/namespaces/{namespace}/{plural}"), name)
    }

    /// Creates an object, and its namespace where there is none.
    pub fn create(&self, object: &Value) -> Value {
        if let Some(namespace) = object["metadata"]["namespace"].as_str() {
            self.ensure_namespace(namespace);
        }
        let (path, name) = self.place(object);
        let answer = self.request("POST", &format!("{path}?fieldManager=kubectl-create"), JSON, object);
        Cluster::expect(answer, &format!("create {name}"))
    }

    /// As `kubectl apply --server-side --force-conflicts`.
    pub fn apply(&self, object: &Value) -> Value {
        if let Some(namespace) = object["metadata"]["namespace"].as_str() {
            self.ensure_namespace(namespace);
        }
        let (path, name) = self.place(object);
        let path = format!("{path}/{name}?fieldManager=kubectl&force=true");
        Cluster::expect(self.request("PATCH", &path, APPLY, object), &format!("apply {name}"))
    }

    /// The path of an object of this test's namespace, or of the cluster.
    pub fn path(&self, resource: &str, name: &str) -> String {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let version = version(group);
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let place =
            if CLUSTER_SCOPED.contains(&plural) { String::new() } else { format!("/namespaces/{}", self.namespace) };
        let name = if name.is_empty() { String::new() } else { format!("/{name}") };
        format!("{root}{place}/{plural}{name}")
    }

    /// Resources are named as messages name them: `deployments.apps`, `secrets`, `queueautoscalers.tidegate.dev`.
    pub fn get(&self, resource: &str, name: &str) -> Option<Value> {
        let answer = self.request("GET", &self.path(resource, name), "", &Value::Null);
        if answer.code == 404 { None } else { Some(Cluster::expect(answer, name)) }
    }

    /// All of this test's namespace.
    pub fn list(&self, resource: &str) -> Vec<Value> {
        let answer = Cluster::expect(self.request("GET", &self.path(resource, ""), "", &Value::Null), resource);
        answer["items"].as_array().cloned().unwrap_or_default()
    }

    /// A merge patch by `kubectl-edit`.
    pub fn patch(&self, resource: &str, name: &str, patch: &Value) -> Value {
        let path = format!("{}?fieldManager=kubectl-edit", self.path(resource, name));
        Cluster::expect(self.request("PATCH", &path, MERGE, patch), name)
    }

    /// What a controller would write.
    pub fn set_status(&self, resource: &str, name: &str, status: &Value) -> Value {
        let path = format!("{}/status?fieldManager=kube-controller-manager", self.path(resource, name));
        Cluster::expect(self.request("PATCH", &path, MERGE, &json!({"status": status})), name)
    }

    /// Deletes it; false if there is none.
    pub fn delete(&self, resource: &str, name: &str) -> bool {
        let answer = self.request("DELETE", &self.path(resource, name), "", &Value::Null);
        answer.code != 404 && !Cluster::expect(answer, name).is_null()
    }

    /// What `kubectl scale` does.
    pub fn scale(&self, resource: &str, name: &str, replicas: i64) -> Value {
        let path = format!("{}/scale?fieldManager=kubectl", self.path(resource, name));
        let answer = self.request("PATCH", &path, MERGE, &json!({"spec": {"replicas": replicas}}));
        Cluster::expect(answer, name)
    }

    /// `spec.replicas`.
    pub fn replicas(&self, resource: &str, name: &str) -> i64 {
        let object = self.get(resource, name).unwrap_or_else(|| panic!("no {resource} {name}"));
        object["spec"]["replicas"].as_i64().unwrap_or_else(|| panic!("no replicas: {object}"))
    }

    /// Polls until the object is so, and returns it.
    pub fn until(&self, resource: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let object = self.get(resource, name).unwrap_or_default();
            if holds(&object) {
                return object;
            }
            assert!(Instant::now() < give_up, "{resource} {name}: waited in vain for {what}, but:\n{object:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn until_gone(&self, resource: &str, name: &str) {
        self.until(resource, name, "its end", Value::is_null);
    }

    // === what a cluster has ===

    /// The definitions under `deploy/crds`, in force when this returns.
    pub fn install_crds(&self) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crds");
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        // Beside them is what kustomize makes of them.
        files.retain(|file| {
            file.extension().is_some_and(|name| name == "yaml") && !file.ends_with("kustomization.yaml")
        });
        for file in files {
            self.install(&yaml(&std::fs::read_to_string(file).unwrap())[0]);
        }
    }

    /// A CustomResourceDefinition, served when this returns. One that is there already stays.
    pub fn install(&self, definition: &Value) {
        let definitions = "customresourcedefinitions.apiextensions.k8s.io";
        let name = definition["metadata"]["name"].as_str().unwrap();
        if self.get(definitions, name).is_none() {
            self.create(definition);
        }
        self.until(definitions, name, "established", |found| {
            let conditions = found["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|one| one["type"] == "Established" && one["status"] == "True")
        });
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (group, version) = (text(&spec["group"]), text(&spec["versions"][0]["name"]));
        let path = format!("/apis/{group}/{version}/{}", text(&spec["names"]["plural"]));
        // "Established" comes before the handler is there.
        super::tidegate::until("the new resource is served", || {
            self.request("GET", &path, "", &Value::Null).code == 200
        });
    }

    /// Pods of this test's Deployments, StatefulSets and ReplicaSets: there at once, ready after `delay`.
    pub fn run_controllers(&self, delay: Duration) {
        if let Backend::Scripted(server) = &self.backend {
            return server.run_controllers(delay);
        }
        let paths = ["deployments.apps", "statefulsets.apps", "replicasets.apps"].map(|kind| self.path(kind, ""));
        self.handle.spawn(real::pretend_pods(self.client.clone(), paths.to_vec(), delay));
    }

    /// Runs until the cluster goes; with a client that may do everything.
    pub fn in_background<W: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(kube::Client) -> W) {
        self.handle.spawn(work(self.client.clone()));
    }

    /// A way in for somebody with these rights (roles and bindings; whom they bind is not looked at), or with all.
    /// Names other than `tidegate`, `a`, `b` and `c` are for the scripted server only.
    pub fn access(&self, name: &str, rights: Option<&[Value]>) -> Access {
        let kubeconfig = self.folder.path().join(format!("{name}.kubeconfig"));
        let config = match &self.backend {
            Backend::Scripted(server) => {
                let client = server.client(name);
                if let Some(rights) = rights {
                    client.restrict(Grants::of(rights));
                }
                return Access { kubeconfig: client.kubeconfig().to_owned() };
            }
            Backend::Real(real) => real.kubeconfig(name, None),
            Backend::Standing(kubeconfig) => real::impersonating(kubeconfig, name),
        };
        let everything = [json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": format!("tidegate-test-{name}")},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}})];
        for document in rights.unwrap_or(&everything) {
            let mut document = document.clone();
            if document["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")) {
                document["subjects"] = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]);
            }
            self.apply(&document);
            let (collection, name) = self.place(&document);
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{collection}/{name}"));
        }
        std::fs::write(&kubeconfig, serde_json::to_string(&config).unwrap()).unwrap();
        Access { kubeconfig }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Backend::Standing(_) = &self.backend {
            for path in self.made.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                let (client, request) = (self.client.clone(), Request::delete(path).body(Body::empty()).unwrap());
                let (sender, receiver) = std::sync::mpsc::channel();
                self.handle.spawn(async move { sender.send(client.send(request).await.is_ok()) });
                let _ = receiver.recv_timeout(PATIENCE);
            }
        }
        self.stop.take();
    }
}

pub const JSON: &str = "application/json";
pub const MERGE: &str = "application/merge-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

const CLUSTER_SCOPED: [&str; 5] =
    ["namespaces", "customresourcedefinitions", "clusterroles", "clusterrolebindings", "clusterconnections"];

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_ascii_lowercase())
}

/// Which version of a group the tests speak.
fn version(group: &str) -> &'static str {
    match group {
        "tidegate.dev" | "keda.sh" | "argoproj.io" => "v1alpha1",
        "autoscaling" => "v2",
        _ => "v1",
    }
}

/// The documents of a YAML text.
pub fn yaml(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

fn blocking_config(kubeconfig: kube::config::Kubeconfig) -> kube::Config {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = kube::config::KubeConfigOptions::default();
    // On a thread of its own: the caller may be within a runtime.
    let made = std::thread::spawn(move || runtime.block_on(kube::Config::from_custom_kubeconfig(kubeconfig, &options)));
    let mut config = made.join().unwrap().unwrap();
    config.default_retry = false;
    config
}

/// A Deployment of this many replicas.
pub fn deployment(name: &str, replicas: i64) -> Value {
    workload("Deployment", name, replicas)
}

/// A Deployment, a StatefulSet or a ReplicaSet.
pub fn workload(kind: &str, name: &str, replicas: i64) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "registry.k8s.io/pause"}]}}}});
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = name.into();
    }
    object
}

/// The definition of a custom kind that scales: as Argo's Rollout, with nothing else of it.
pub fn rollouts() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.argoproj.io"},
        "spec": {"group": "argoproj.io", "scope": "Namespaced",
            "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout", "shortNames": ["ro"]},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {
                        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                            "properties": {"replicas": {"type": "integer"}}},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                            "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}}}}}]}})
}

/// The definition of KEDA's ScaledObject, with nothing else of it.
pub fn scaled_objects() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {"group": "keda.sh", "scope": "Namespaced",
            "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject", "shortNames": ["so"]},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}
