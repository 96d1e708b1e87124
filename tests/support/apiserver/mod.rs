//! An API server for tests: real semantics in memory, plain HTTP on a loopback port, on a thread and a runtime of its
//! own, so that it also serves processes and goes on while a test's time is paused.
//!
//! ```ignore
//! let server = ApiServer::start();
//! server.run_controllers(Duration::from_millis(50));                    // pods become ready
//! server.insert(&json!({"apiVersion": "apps/v1", "kind": "Deployment", ...}));
//!
//! let tidegate = server.client("tidegate");                             // a port and a token of its own
//! let kube = kube::Client::try_from(tidegate.config())?;                // or tidegate.kubeconfig() for a process
//! tidegate.restrict(Grants::of(&rbac_documents));                       // 403 for all the rest
//! tidegate.net(Net::Frozen);                                            // the partition; Net::Open ends it
//!
//! let fault = server.fault(Fault::on("patch", "deployments/scale").named("web").times(1).effect(Effect::DropAfter));
//! server.end_watches(Ending::Breaks);  server.compact();  server.expire();   // the last: everybody lists anew
//!
//! let mark = server.mark();
//! let patches = server.since(mark).verb("patch").resource("deployments/scale").named("default", "web").applied();
//! assert_eq!(patches.len(), 1, "{}", patches.lines());
//! ```
//!
//! Bodies of refusals are those of a kube-apiserver 1.36. What it does not do: validate against schemas, run
//! admission, convert between versions, keep a list's history (`resourceVersionMatch=Exact` of the past is 410).

pub mod admission;
mod call;
mod controllers;
mod discovery;
pub mod errors;
pub mod faults;
pub mod fields;
pub mod kinds;
pub mod link;
pub mod patch;
pub mod rbac;
pub mod record;
mod routes;
mod scale;
mod select;
pub mod store;
mod watch;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use errors::Refusal;
pub use faults::{Armed, Effect, Fault};
pub use link::Net;
pub use rbac::Grants;
pub use record::{Entry, Outcome, Requests};
pub use watch::Ending;

use fields::Writer;
use link::{Link, Wire};
use record::Record;
use store::{Deleted, Store};
use watch::Order;

/// As a real server sends them.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// What all connections share.
pub struct Shared {
    store: Mutex<Store>,
    record: Record,
    faults: Mutex<Vec<Arc<Armed>>>,
    /// By token.
    users: Mutex<HashMap<String, User>>,
    orders: broadcast::Sender<Order>,
    latency: Mutex<Duration>,
    bookmarks: Mutex<Duration>,
}

struct User {
    name: String,
    /// Everything without them.
    grants: Option<Arc<Grants>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        locked(&self.store)
    }

    fn user(&self, token: &str) -> Option<(String, Option<Arc<Grants>>)> {
        if token.is_empty() {
            return Some(("system:anonymous".to_owned(), Some(Arc::default())));
        }
        locked(&self.users).get(token).map(|user| (user.name.clone(), user.grants.clone()))
    }

    fn bookmark_every(&self) -> Duration {
        *locked(&self.bookmarks)
    }

    /// What the faults in force do to a request: a delay, and something else.
    fn strike(&self, number: usize) -> (Duration, Option<Effect>) {
        let mut delay = *locked(&self.latency);
        let faults = locked(&self.faults);
        if faults.is_empty() {
            return (delay, None);
        }
        let entry = self.record.get(number);
        for fault in faults.iter() {
            match fault.strikes(&entry) {
                Some(Effect::Delay(more)) => delay += more,
                Some(effect) => return (delay, Some(effect)),
                None => {}
            }
        }
        (delay, None)
    }
}

/// The server. Ends when dropped.
pub struct ApiServer {
    shared: Arc<Shared>,
    runtime: Handle,
    folder: TempDir,
    clients: Mutex<HashMap<String, Client>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One who talks to the server: with a port, a token and a kubeconfig of its own, so that its network can be cut and
/// its requests be told from others'.
#[derive(Clone)]
pub struct Client {
    pub name: String,
    pub address: SocketAddr,
    kubeconfig: PathBuf,
    link: Arc<Link>,
    shared: Arc<Shared>,
}

impl ApiServer {
    pub fn start() -> Self {
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new()),
            record: Record::new(),
            faults: Mutex::default(),
            users: Mutex::default(),
            orders: broadcast::channel(16).0,
            latency: Mutex::default(),
            bookmarks: Mutex::new(BOOKMARK_EVERY),
        });
        let (handles, handle) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("apiserver".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            handles.send(runtime.handle().clone()).unwrap();
            let _ = runtime.block_on(stopped);
        });
        ApiServer {
            shared,
            runtime: handle.recv().unwrap(),
            folder: TempDir::new().unwrap(),
            clients: Mutex::default(),
            stop: Some(stop),
            thread: Some(thread.unwrap()),
        }
    }

    /// The client of this name; made when first asked for. It may do everything until it is restricted.
    pub fn client(&self, name: &str) -> Client {
        let mut clients = locked(&self.clients);
        if let Some(client) = clients.get(name) {
            return client.clone();
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let token = token(name);
        locked(&self.shared.users).insert(token.clone(), User { name: name.to_owned(), grants: None });
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "scripted",
            "clusters": [{"name": "scripted", "cluster": {"server": format!("http://{address}")}}],
            "contexts": [{"name": "scripted", "context": {"cluster": "scripted", "user": name}}],
            "users": [{"name": name, "user": {"token": token}}],
        });
        let kubeconfig = self.folder.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let (link, shared) = (Link::new(), Arc::clone(&self.shared));
        self.runtime.spawn(accept(listener, Arc::clone(&shared), Arc::clone(&link), name.into()));
        let client = Client { name: name.to_owned(), address, kubeconfig, link, shared };
        clients.insert(name.to_owned(), client.clone());
        client
    }

    // === the objects, without a request ===

    /// Creates, or replaces, an object with the given manager; its namespace comes into being with it.
    pub fn insert_as(&self, manager: &str, object: &Value) {
        let mut store = self.shared.store();
        let (kind, version) = kind_of(&store, object);
        let metadata = &object["metadata"];
        let namespace = if kind.namespaced { metadata["namespace"].as_str().unwrap_or("default") } else { "" };
        if kind.namespaced {
            store.ensure_namespace(namespace);
        }
        let writer = writer(manager, "", kind.api_version(&version));
        let key = (namespace.to_owned(), metadata["name"].as_str().unwrap_or_default().to_owned());
        let done = if store.find(&kind, &key).is_ok() {
            let mut object = object.clone();
            object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
            let rv = store.find(&kind, &key).unwrap().rv;
            object["metadata"]["resourceVersion"] = rv.to_string().into();
            store.update(&kind, &key, object, &writer, None, false)
        } else {
            store.create(&kind, namespace, object.clone(), &writer, false)
        };
        done.unwrap_or_else(|refusal| panic!("{}", refusal.status()));
    }

    /// As [`ApiServer::insert_as`], by `kubectl-client-side-apply`.
    pub fn insert(&self, object: &Value) {
        self.insert_as("kubectl-client-side-apply", object);
    }

    /// Replaces the status, as a controller would.
    pub fn set_status(&self, resource: &str, namespace: &str, name: &str, status: &Value) {
        let mut store = self.shared.store();
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let kind = store.kind(group, plural).unwrap_or_else(|| panic!("nothing serves {resource}"));
        let key = (namespace.to_owned(), name.to_owned());
        let mut value = store.find(&kind, &key).unwrap_or_else(|refusal| panic!("{}", refusal.status())).value.clone();
        value["status"] = status.clone();
        let writer = writer("kube-controller-manager", "status", kind.api_version(&kind.versions[0]));
        store.update(&kind, &key, value, &writer, None, false).unwrap();
    }

    /// The object as it is; plural with its group, as in `deployments.apps` or `secrets`.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let store = self.shared.store();
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let table = store.table(group, plural)?;
        table.objects.get(&(namespace.to_owned(), name.to_owned())).map(|object| object.value.clone())
    }

    /// All objects of a resource, in the order of their names.
    pub fn all(&self, resource: &str) -> Vec<Value> {
        let store = self.shared.store();
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let table = store.table(group, plural);
        table.into_iter().flat_map(|table| table.objects.values()).map(|object| object.value.clone()).collect()
    }

    /// Deletes as a request would: finalizers hold it.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let mut store = self.shared.store();
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let Some(kind) = store.kind(group, plural) else { return false };
        let gone = store.delete(&kind, &(namespace.to_owned(), name.to_owned()), &Value::Null, false);
        matches!(gone, Ok(Deleted::Gone { .. }))
    }

    /// Pods follow the replicas asked for: counted at once, ready after `delay`. Workloads that stand already are
    /// looked at, too.
    pub fn run_controllers(&self, delay: Duration) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut store = self.shared.store();
        for (key, table) in store.tables.iter().filter(|(_, table)| table.kind.scale.is_some()) {
            for object in table.objects.keys() {
                let _ = sender.send((key.clone(), object.clone()));
            }
        }
        store.workloads = Some(sender);
        drop(store);
        self.runtime.spawn(controllers::run(Arc::downgrade(&self.shared), receiver, delay));
    }

    // === faults ===

    /// In force from now on. Faults are asked in the order in which they came.
    pub fn fault(&self, fault: Fault) -> Arc<Armed> {
        let armed = Armed::new(fault);
        locked(&self.shared.faults).push(Arc::clone(&armed));
        armed
    }

    /// Every answer takes so much longer.
    pub fn set_latency(&self, latency: Duration) {
        *locked(&self.shared.latency) = latency;
    }

    /// How often watches that asked for bookmarks get one; for watches that begin from now on.
    pub fn set_bookmarks(&self, every: Duration) {
        *locked(&self.shared.bookmarks) = every;
    }

    /// Does this to all watches that are open.
    pub fn end_watches(&self, how: Ending) {
        let _ = self.shared.orders.send(Order { what: how, plural: None, client: None });
    }

    /// Does this to the open watches of one resource (its plural).
    pub fn end_watches_of(&self, plural: &str, how: Ending) {
        let _ = self.shared.orders.send(Order { what: how, plural: Some(plural.to_owned()), client: None });
    }

    /// Forgets the past: watches from before, and lists half read, get 410. Open watches go on.
    pub fn compact(&self) {
        self.shared.store().compact();
    }

    /// Forgets the past and ends the watches: everybody has to list anew.
    pub fn expire(&self) {
        self.compact();
        self.end_watches(Ending::Ends);
    }

    // === the record ===

    /// Where the record is now; for [`ApiServer::since`].
    pub fn mark(&self) -> usize {
        self.shared.record.len()
    }

    /// Every request so far.
    pub fn requests(&self) -> Requests {
        self.since(0)
    }

    pub fn since(&self, mark: usize) -> Requests {
        self.shared.record.since(mark)
    }

    /// From this time of the record on.
    pub fn requests_from(&self, at: Duration) -> Requests {
        self.shared.record.from(at)
    }

    /// The time of the record: since its start.
    pub fn now(&self) -> Duration {
        self.shared.record.now()
    }

    /// The current revision.
    pub fn revision(&self) -> u64 {
        self.shared.store().rv
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Client {
    /// For a process: `KUBECONFIG`.
    pub fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    pub fn token(&self) -> String {
        token(&self.name)
    }

    /// For a client within the test. It repeats nothing by itself, as ours does not.
    pub fn config(&self) -> kube::Config {
        let mut config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        config.auth_info.token = Some(self.token().into());
        config.default_retry = false;
        config
    }

    /// What it may do from now on.
    pub fn restrict(&self, grants: Grants) {
        let mut users = locked(&self.shared.users);
        users.get_mut(&self.token()).unwrap().grants = Some(Arc::new(grants));
    }

    /// What it was granted and never used, as `verb resource.group`; nothing where it is not restricted.
    pub fn unused_grants(&self) -> Vec<String> {
        let users = locked(&self.shared.users);
        users[&self.token()].grants.as_ref().map(|grants| grants.unused()).unwrap_or_default()
    }

    pub fn net(&self, state: Net) {
        self.link.set(state);
    }
}

fn token(name: &str) -> String {
    format!("token-of-{name}")
}

fn writer(manager: &str, subresource: &str, api_version: String) -> Writer {
    let (manager, subresource) = (manager.to_owned(), subresource.to_owned());
    Writer { manager, operation: "Update", subresource, api_version, time: store::now() }
}

/// The kind of a manifest, and its version.
fn kind_of(store: &Store, object: &Value) -> (Arc<kinds::Kind>, String) {
    let text = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    let found = store.tables.values().find(|table| table.kind.group == group && object["kind"] == *table.kind.kind);
    let kind = found.unwrap_or_else(|| panic!("nothing serves {text} {}", object["kind"]));
    (Arc::clone(&kind.kind), version.to_owned())
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>, link: Arc<Link>, client: Arc<str>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        if link.is(Net::Cut) {
            continue;
        }
        let _ = stream.set_nodelay(true);
        let (shared, link, client) = (Arc::clone(&shared), Arc::clone(&link), Arc::clone(&client));
        tokio::spawn(async move {
            let wire = Wire { stream, link: Arc::clone(&link) };
            let service = service_fn(|request| routes::serve(Arc::clone(&shared), Arc::clone(&client), request));
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(wire), service);
            tokio::select! {
                _ = connection => {}
                () = link.cut() => {}
            }
        });
    }
}
