//! An API server, what tidegate asked of it and when, and what a watch of our own sees.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::figures::{cpu_seconds, wall};
use crate::support::cluster::{Access, Cluster};
use crate::support::tidegate::Tidegate;

/// Posts at once.
const HANDS: usize = 8;

/// What is served at all, asked for now and then.
pub const DISCOVERY: &str = "(discovery)";

pub struct Server {
    pub cluster: Cluster,
    pub name: &'static str,
    access: Access,
    own: Access,
    /// The scripted server's time 0.
    epoch: f64,
    audit: Option<Mutex<Audit>>,
}

/// One request of tidegate's.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its arrival.
    pub at: f64,
    pub verb: String,
    pub resource: String,
    pub name: String,
    /// Whether it was answered with success.
    pub ok: bool,
    /// What was sent with it; only the scripted server knows.
    pub bytes: usize,
}

impl Server {
    pub fn name(assets: Option<&Path>) -> &'static str {
        if assets.is_some() { "real kube-apiserver" } else { "scripted API server" }
    }

    pub fn start(assets: Option<&Path>) -> Self {
        let cluster = Cluster::measured(assets);
        cluster.install_crds();
        let access = cluster.access("tidegate", None);
        let own = cluster.access("a", None);
        let epoch = if cluster.is_scripted() { wall() - cluster.server().now().as_secs_f64() } else { 0.0 };
        let audit = cluster.audit_log().map(|path| Mutex::new(Audit { path, read: 0, asked: Vec::new() }));
        Server { cluster, name: Server::name(assets), access, own, epoch, audit }
    }

    /// A `tidegate run` that leads.
    pub fn tidegate(&self, arguments: &[&str]) -> Tidegate {
        let own = ["--target", "kubernetes", "--lease-namespace", "default", "--log", "warn,tidegate::app=info"];
        let environment = [("KUBECONFIG", self.access.path())];
        let tidegate = Tidegate::start_within(&environment, "", &[&own[..], arguments].concat());
        tidegate.until_ready();
        crate::support::tidegate::until("the Lease", || tidegate.metric("tidegate_leader") == Some(1.0));
        tidegate
    }

    /// Everything tidegate asked since, by arrival.
    pub fn asked(&self, since: f64) -> Vec<Asked> {
        match &self.audit {
            Some(audit) => audit.lock().unwrap_or_else(PoisonError::into_inner).since(since),
            None => {
                let mark = self.cluster.server().requests_from(Duration::from_secs_f64((since - self.epoch).max(0.0)));
                let entries = mark.client("tidegate").0.into_iter();
                entries
                    .map(|entry| Asked {
                        at: self.epoch + entry.at.as_secs_f64(),
                        ok: entry.code().is_some_and(|code| code < 300),
                        bytes: if entry.body.is_null() { 0 } else { entry.body.to_string().len() },
                        verb: if entry.verb.is_empty() { "get".to_owned() } else { entry.verb.to_owned() },
                        resource: resource(entry.resource),
                        name: entry.name,
                    })
                    .collect()
            }
        }
    }

    /// When each workload was first patched since, with success.
    pub fn patched(&self, since: f64) -> HashMap<String, f64> {
        let mut first = HashMap::new();
        for asked in self.asked(since) {
            if asked.ok && asked.verb == "patch" && asked.resource == "deployments/scale" {
                first.entry(asked.name).or_insert(asked.at);
            }
        }
        first
    }

    /// CPU time of the API server and of its storage, seconds; nothing where it is a part of this process.
    pub fn cpu(&self) -> BTreeMap<&'static str, f64> {
        self.cluster.processes().into_iter().map(|(name, pid)| (name, cpu_seconds(pid))).collect()
    }

    /// Creates all of them, several at once.
    pub fn create_all(&self, objects: &[Value]) {
        std::thread::scope(|scope| {
            for part in objects.chunks(objects.len().div_ceil(HANDS).max(1)) {
                scope.spawn(|| part.iter().for_each(|object| drop(self.cluster.create(object))));
            }
        });
    }

    pub fn watch<T: Send + 'static>(
        &self,
        resource: (&str, &str, &str),
        look: impl Fn(&Value) -> T + Send + 'static,
    ) -> Watched<T> {
        let (group, version, plural) = resource;
        let api_version = format!("{group}/{version}");
        let kind = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version,
            kind: String::new(),
            plural: plural.into(),
        };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel::<()>();
        let (begin, begun) = std::sync::mpsc::channel();
        let namespace = self.cluster.namespace().to_owned();
        let (filled, config) = (Arc::clone(&seen), self.own.config());
        std::thread::scope(|scope| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let config = scope.spawn(move || (runtime.block_on(config), runtime)).join().unwrap();
            std::thread::spawn(move || {
                let (config, runtime) = config;
                runtime.block_on(async move {
                    let api: Api<DynamicObject> =
                        Api::namespaced_with(kube::Client::try_from(config).unwrap(), &namespace, &kind);
                    let list = api.list_metadata(&ListParams::default().limit(1)).await.unwrap();
                    let follow = follow(api, list.metadata.resource_version.unwrap(), filled, look);
                    begin.send(()).unwrap();
                    tokio::select! {
                        () = follow => {}
                        _ = stopped => {}
                    }
                });
            });
        });
        begun.recv().unwrap();
        Watched { seen, _stop: stop }
    }
}

async fn follow<T>(
    api: Api<DynamicObject>,
    mut version: String,
    seen: Arc<Mutex<Vec<(f64, String, T)>>>,
    look: impl Fn(&Value) -> T,
) {
    loop {
        let mut events = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
        while let Some(event) = events.next().await {
            match event.unwrap() {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version = object.metadata.resource_version.clone().unwrap_or(version);
                    let found = (wall(), object.metadata.name.unwrap_or_default(), look(&object.data));
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(found);
                }
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                WatchEvent::Deleted(_) => {}
                WatchEvent::Error(error) => panic!("our own watch: {error}"),
            }
        }
    }
}

/// What a watch has seen, and when; ends when dropped.
pub struct Watched<T> {
    seen: Arc<Mutex<Vec<(f64, String, T)>>>,
    _stop: oneshot::Sender<()>,
}

impl<T> Watched<T> {
    pub fn seen(&self) -> MutexGuard<'_, Vec<(f64, String, T)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A real server's log, read as it grows.
struct Audit {
    path: PathBuf,
    read: u64,
    asked: Vec<Asked>,
}

impl Audit {
    fn since(&mut self, since: f64) -> Vec<Asked> {
        let mut text = String::new();
        if let Ok(mut file) = File::open(&self.path) {
            file.seek(SeekFrom::Start(self.read)).unwrap();
            file.read_to_string(&mut text).unwrap();
        }
        // The last line may still be under way.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        self.asked.extend(text[..whole].lines().filter_map(asked));
        let mut found: Vec<Asked> = self.asked.iter().filter(|asked| asked.at >= since).cloned().collect();
        found.sort_by(|a, b| a.at.total_cmp(&b.at));
        found
    }
}

fn resource(named: String) -> String {
    if named.is_empty() { DISCOVERY.to_owned() } else { named }
}

fn asked(line: &str) -> Option<Asked> {
    let event: Value = serde_json::from_str(line).ok()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let verb = text(&event["verb"]);
    // A watch is one request: it counts when it begins.
    if (verb == "watch") != (event["stage"] == "ResponseStarted") {
        return None;
    }
    let at: jiff::Timestamp = event["requestReceivedTimestamp"].as_str()?.parse().ok()?;
    let object = &event["objectRef"];
    let resource_name = match object["subresource"].as_str() {
        Some(sub) => format!("{}/{sub}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    let ok = event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300);
    let resource = resource(resource_name);
    Some(Asked { at: at.as_microsecond() as f64 / 1e6, verb, resource, name: text(&object["name"]), ok, bytes: 0 })
}

/// The status of the condition of this type.
pub fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == name)?["status"].as_str()
}

/// A `Connection` to this server.
pub fn connection(name: &str, address: &str) -> Value {
    json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Connection", "metadata": {"name": name},
        "spec": {"redis": {"address": address}}})
}
