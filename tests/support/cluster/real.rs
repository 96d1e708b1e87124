//! A real kube-apiserver, started for a test: with etcd, RBAC and certificates made for it, in a temporary folder.

use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::Request;
use kube::client::Body;
use kube::config::Kubeconfig;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Who has a token; all but the first are nobody until a binding names them.
const USERS: [&str; 5] = ["admin", "tidegate", "a", "b", "c"];
/// From its start to `/readyz`; about three seconds on a machine at rest.
const START_UP: Duration = Duration::from_secs(120);

/// Killed on drop.
pub struct Real {
    processes: Vec<Child>,
    folder: TempDir,
    port: u16,
    authority: String,
}

impl Real {
    /// `audited`: with a log of what the user `tidegate` asks for.
    pub fn start(assets: &Path, audited: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let [port, client, peer] = free_ports();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let authority = write_certificates(folder.path());
        let tokens = USERS.map(|user| {
            let group = if user == "admin" { "system:masters" } else { "tidegate:tests" };
            format!("token-of-{user},{user},uid-{user},\"{group}\"\n")
        });
        std::fs::write(at("tokens.csv"), tokens.concat()).unwrap();
        let etcd = format!("http://127.0.0.1:{client}");
        let mut real = Real { processes: Vec::new(), port, authority, folder };
        let at = |name: &str| real.folder.path().join(name).to_str().unwrap().to_owned();
        let etcd_arguments = [
            format!("--data-dir={}", at("etcd")),
            format!("--listen-client-urls={etcd}"),
            format!("--advertise-client-urls={etcd}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            "--unsafe-no-fsync".to_owned(),
        ];
        let mut server_arguments = vec![
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--etcd-servers={etcd}"),
            format!("--cert-dir={}", at("")),
            format!("--tls-cert-file={}", at("tls.crt")),
            format!("--tls-private-key-file={}", at("tls.key")),
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", at("tokens.csv")),
            format!("--service-account-issuer=https://127.0.0.1:{port}"),
            format!("--service-account-key-file={}", at("accounts.pub")),
            format!("--service-account-signing-key-file={}", at("accounts.key")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        if audited {
            let policy = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
                "rules": [{"level": "Metadata", "users": ["tidegate"]}, {"level": "None"}]});
            std::fs::write(at("audit-policy.json"), policy.to_string()).unwrap();
            server_arguments.push(format!("--audit-policy-file={}", at("audit-policy.json")));
            server_arguments.push(format!("--audit-log-path={}", real.audit_log().display()));
        }
        for (name, arguments) in [("etcd", &etcd_arguments[..]), ("kube-apiserver", &server_arguments[..])] {
            let log = File::create(at(&format!("{name}.log"))).unwrap();
            let mut command = Command::new(assets.join(name));
            command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            let child = command.spawn().unwrap_or_else(|error| panic!("{}/{name}: {error}", assets.display()));
            real.processes.push(child);
        }
        real.until_ready();
        real
    }

    pub fn audit_log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    pub fn pids(&self) -> Vec<(&'static str, u32)> {
        let pid = |index: usize| self.processes.get(index).map(Child::id);
        [("etcd", pid(0)), ("kube-apiserver", pid(1))]
            .into_iter()
            .filter_map(|(name, pid)| Some((name, pid?)))
            .collect()
    }

    fn until_ready(&mut self) {
        let config = super::blocking_config(self.kubeconfig("admin", None));
        let ready = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let give_up = Instant::now() + START_UP;
            runtime.block_on(async {
                let client = kube::Client::try_from(config).unwrap();
                while Instant::now() < give_up {
                    let ready = |path: &'static str| {
                        let (client, request) = (client.clone(), Request::get(path).body(Body::empty()).unwrap());
                        async move { client.send(request).await.is_ok_and(|answer| answer.status() == 200) }
                    };
                    if ready("/readyz").await && ready("/api/v1/namespaces/default").await {
                        return true;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                false
            })
        });
        if !ready.join().unwrap() {
            let log = std::fs::read_to_string(self.folder.path().join("kube-apiserver.log")).unwrap_or_default();
            panic!("kube-apiserver is not ready after {START_UP:?}; its log:\n{log}");
        }
    }

    pub fn kubeconfig(&self, user: &str, server: Option<&str>) -> Kubeconfig {
        assert!(USERS.contains(&user), "a real server knows no {user}: one of {USERS:?}");
        let own = format!("https://127.0.0.1:{}", self.port);
        let authority = base64(self.authority.as_bytes());
        let cluster = json!({"server": server.unwrap_or(&own), "certificate-authority-data": authority});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "users": [{"name": user, "user": {"token": format!("token-of-{user}")}}],
        });
        serde_json::from_value(config).unwrap()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // The apiserver first, so that it does not mourn its storage.
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The same cluster, as somebody else.
pub fn impersonating(kubeconfig: &Kubeconfig, user: &str) -> Kubeconfig {
    let mut config = serde_json::to_value(kubeconfig).unwrap();
    for entry in config["users"].as_array_mut().into_iter().flatten() {
        entry["user"]["as"] = user.into();
    }
    serde_json::from_value(config).unwrap()
}

/// Writes the status of workloads as if their pods were there: no kubelet and no scheduler runs here.
pub async fn pretend_pods(client: kube::Client, collections: Vec<String>, delay: Duration) {
    let mut due: HashMap<String, (i64, tokio::time::Instant)> = HashMap::new();
    let ask = async |method: &str, path: &str, body: Value| -> Option<Value> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("Content-Type", super::MERGE);
        let answer = client.send(request.body(Body::from(bytes)).unwrap()).await.ok()?;
        serde_json::from_slice(&answer.into_body().collect_bytes().await.ok()?).ok()
    };
    loop {
        for collection in &collections {
            let list = ask("GET", collection, Value::Null).await.unwrap_or_default();
            for object in list["items"].as_array().into_iter().flatten() {
                let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
                let count = |value: &Value| value.as_i64().unwrap_or(0);
                let (wanted, status) = (count(&object["spec"]["replicas"]), &object["status"]);
                let now = tokio::time::Instant::now();
                let entry = due.entry(path.clone()).or_insert((wanted, now + delay));
                if entry.0 != wanted {
                    *entry = (wanted, now + delay);
                }
                let ready = if now >= entry.1 { wanted } else { count(&status["readyReplicas"]).min(wanted) };
                if count(&status["replicas"]) != wanted || count(&status["readyReplicas"]) != ready {
                    let status = json!({"replicas": wanted, "readyReplicas": ready, "availableReplicas": ready,
                        "updatedReplicas": wanted, "observedGeneration": object["metadata"]["generation"]});
                    let mut patch = json!({"status": status});
                    if collection.ends_with("replicasets") {
                        patch["status"].as_object_mut().unwrap().remove("updatedReplicas");
                    }
                    let path = format!("{path}/status?fieldManager=kube-controller-manager");
                    let _ = ask("PATCH", &path, patch).await;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn free_ports() -> [u16; 3] {
    // All are held until all are known, so that they differ.
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// The server's certificate and the keys of service accounts; returns the authority's certificate.
fn write_certificates(folder: &Path) -> String {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "tidegate tests");
    let key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    write("tls.crt", server.signed_by(&key, &issuer).unwrap().pem());
    write("tls.key", key.serialize_pem());
    let accounts = KeyPair::generate().unwrap();
    write("accounts.key", accounts.serialize_pem());
    write("accounts.pub", accounts.public_key_pem());
    certificate
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
