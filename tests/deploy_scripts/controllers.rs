//! The controllers and the kubelets of a bare API server, played: what they would write, and nothing of what they would run.
//!
//! Pods are made from the workloads' own templates, so that the API server admits them or not; they are Running and Ready
//! at once, on a node that is none. An image of `missing.example.com` cannot be pulled. Jobs are complete at once, claims
//! are bound, quotas are counted as unused, and a Service's slice has the ready pods that it selects. Pods of a Deployment
//! are the Deployment's own: there are no ReplicaSets. The address of each pod is one that nothing can be connected to.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use crate::support::cluster::{JSON, MERGE};

const STARTED: &str = "2026-01-01T00:00:00Z";
/// Whose images nobody has.
const MISSING: &str = "missing.example.com/";

pub(crate) async fn play(client: kube::Client) {
    let mut player = Player { client, refused: HashSet::new() };
    loop {
        player.round().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

struct Player {
    client: kube::Client,
    /// Pods that the API server did not take, said once each.
    refused: HashSet<String>,
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

fn owned_by<'a>(objects: &'a [Value], owner: &Value) -> Vec<&'a Value> {
    let uid = text(owner, "/metadata/uid");
    objects.iter().filter(|object| text(object, "/metadata/ownerReferences/0/uid") == uid).collect()
}

fn is_ready(pod: &Value) -> bool {
    list(&pod["status"]["conditions"]).iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn owner(object: &Value, version: &str, kind: &str) -> Value {
    json!([{"apiVersion": version, "kind": kind, "name": name(object), "uid": text(object, "/metadata/uid"),
        "controller": true}])
}

fn condition(kind: &str, reason: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": reason, "message": reason, "lastTransitionTime": STARTED})
}

impl Player {
    async fn ask(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let content = if method == "PATCH" { MERGE } else { JSON };
        let request = Request::builder().method(method).uri(path).header("Content-Type", content);
        let answer = self.client.send(request.body(Body::from(bytes)).ok()?).await.ok()?;
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect_bytes().await.ok()?;
        Some((code, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// Of all namespaces.
    async fn all(&self, path: &str) -> Vec<Value> {
        let answer = self.ask("GET", path, &Value::Null).await;
        answer.and_then(|(_, list)| list["items"].as_array().cloned()).unwrap_or_default()
    }

    /// Writes a status where it differs from what is there.
    async fn status(&self, root: &str, plural: &str, object: &Value, status: Value) {
        let same = |(field, value): (&String, &Value)| object["status"][field] == *value;
        if !status.as_object().is_some_and(|status| status.iter().all(same)) {
            let path = format!("{root}/namespaces/{}/{plural}/{}/status", namespace(object), name(object));
            let path = format!("{path}?fieldManager=kube-controller-manager");
            self.ask("PATCH", &path, &json!({ "status": status })).await;
        }
    }

    async fn round(&mut self) {
        let pods = self.all("/api/v1/pods").await;
        let mut uids = HashSet::new();
        for quota in self.all("/api/v1/resourcequotas").await {
            let hard = quota["spec"]["hard"].clone();
            let used: Value =
                hard.as_object().into_iter().flatten().map(|(key, _)| (key.clone(), Value::from("0"))).collect();
            if quota["status"]["hard"].is_null() {
                self.status("/api/v1", "resourcequotas", &quota, json!({"hard": hard, "used": used})).await;
            }
        }
        for claim in self.all("/api/v1/persistentvolumeclaims").await {
            self.status("/api/v1", "persistentvolumeclaims", &claim, json!({"phase": "Bound"})).await;
        }
        for (plural, kind) in [("deployments", "Deployment"), ("statefulsets", "StatefulSet")] {
            for workload in self.all(&format!("/apis/apps/v1/{plural}")).await {
                uids.insert(text(&workload, "/metadata/uid").to_owned());
                self.run(&workload, plural, kind, &owned_by(&pods, &workload)).await;
            }
        }
        for job in self.all("/apis/batch/v1/jobs").await {
            uids.insert(text(&job, "/metadata/uid").to_owned());
            self.finish(&job, &owned_by(&pods, &job)).await;
        }
        for pod in &pods {
            if uids.contains(text(pod, "/metadata/ownerReferences/0/uid")) {
                self.start(pod).await;
            } else {
                self.remove(pod).await;
            }
        }
        self.fill_slices(&pods).await;
    }

    async fn run(&mut self, workload: &Value, plural: &str, kind: &str, pods: &[&Value]) {
        let (wanted, stateful) = (workload["spec"]["replicas"].as_u64().unwrap_or(1), kind == "StatefulSet");
        let revision = format!("{:x}", hash(&workload["spec"]["template"]) & 0xfff_ffff);
        let called = |ordinal: u64| match stateful {
            true => format!("{}-{ordinal}", name(workload)),
            false => format!("{}-{revision}-{ordinal}", name(workload)),
        };
        let names: Vec<String> = (0..wanted).map(called).collect();
        let is_new = |pod: &&&Value| text(pod, "/metadata/annotations/tests~1revision") == revision;
        let (new, old): (Vec<&Value>, Vec<&Value>) =
            pods.iter().partition(|pod| is_new(pod) && names.iter().any(|wanted| wanted == name(pod)));
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        let new_ready = new.iter().filter(|pod| is_ready(pod)).count() as u64;
        // Old ones serve until the new ones do.
        if stateful || new_ready == wanted {
            for pod in &old {
                self.remove(pod).await;
            }
        }
        for (ordinal, called) in names.iter().enumerate() {
            let claims = list(&workload["spec"]["volumeClaimTemplates"]);
            for claim in claims {
                let mut claim = claim.clone();
                claim["metadata"]["name"] = format!("{}-{}-{ordinal}", name(&claim), name(workload)).into();
                let path = format!("/api/v1/namespaces/{}/persistentvolumeclaims", namespace(workload));
                if new.is_empty() {
                    self.ask("POST", &path, &claim).await;
                }
            }
            if pods.iter().all(|pod| name(pod) != called) {
                let mut pod = workload["spec"]["template"].clone();
                for claim in claims {
                    let claimed = format!("{}-{called}", name(claim));
                    let volume = json!({"name": name(claim), "persistentVolumeClaim": {"claimName": claimed}});
                    match pod["spec"]["volumes"].as_array_mut() {
                        Some(volumes) => volumes.push(volume),
                        None => pod["spec"]["volumes"] = json!([volume]),
                    }
                }
                pod["metadata"]["annotations"]["tests/revision"] = revision.clone().into();
                self.make(pod, workload, ("apps/v1", kind), called).await;
            }
        }
        let mut status = json!({"observedGeneration": workload["metadata"]["generation"], "replicas": pods.len(),
            "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": new.len()});
        if stateful {
            // It has one of its own for what is not updated yet; once all are, both are the same.
            status["updateRevision"] = revision.clone().into();
            status["currentRevision"] = revision.into();
            status["currentReplicas"] = new.len().into();
        } else {
            let available = if ready as u64 >= wanted { "True" } else { "False" };
            let mut first = condition("Available", "MinimumReplicasAvailable");
            first["status"] = available.into();
            status["conditions"] = json!([first, condition("Progressing", "NewReplicaSetAvailable")]);
        }
        self.status("/apis/apps/v1", plural, workload, status).await;
    }

    async fn finish(&mut self, job: &Value, pods: &[&Value]) {
        let called = format!("{}-played", name(job));
        if pods.is_empty() {
            let pod = job["spec"]["template"].clone();
            self.make(pod, job, ("batch/v1", "Job"), &called).await;
        } else if list(&job["status"]["conditions"]).is_empty() {
            // As its controller does: first it has begun, then its conditions.
            self.status("/apis/batch/v1", "jobs", job, json!({"startTime": STARTED})).await;
            let conditions = [("SuccessCriteriaMet", STARTED), ("Complete", STARTED)].map(
                |(kind, at)| json!({"type": kind, "status": "True", "lastTransitionTime": at, "lastProbeTime": at}),
            );
            let status = json!({"startTime": STARTED, "completionTime": STARTED, "succeeded": 1, "ready": 0,
                "terminating": 0, "uncountedTerminatedPods": {}, "conditions": conditions});
            self.status("/apis/batch/v1", "jobs", job, status).await;
        }
    }

    async fn make(&mut self, mut pod: Value, workload: &Value, (version, kind): (&str, &str), called: &str) {
        pod["metadata"]["name"] = called.into();
        pod["metadata"]["ownerReferences"] = owner(workload, version, kind);
        pod["spec"]["nodeName"] = "played".into();
        let path = format!("/api/v1/namespaces/{}/pods", namespace(workload));
        let answer = self.ask("POST", &path, &pod).await;
        if let Some((code @ 400.., answer)) = answer
            && code != 409
            && self.refused.insert(format!("{}/{called}", namespace(workload)))
        {
            super::say(&format!("no pod of {kind} {}/{}: {}", namespace(workload), name(workload), answer["message"]));
        }
    }

    async fn remove(&self, pod: &Value) {
        let path = format!("/api/v1/namespaces/{}/pods/{}?gracePeriodSeconds=0", namespace(pod), name(pod));
        self.ask("DELETE", &path, &Value::Null).await;
    }

    /// As a kubelet: its containers run, or their images are nowhere.
    async fn start(&self, pod: &Value) {
        if text(pod, "/status/phase") != "Pending" || !pod["status"]["containerStatuses"].is_null() {
            return;
        }
        let containers = list(&pod["spec"]["containers"]);
        let is_missing = |container: &Value| text(container, "/image").starts_with(MISSING);
        let missing = containers.iter().any(is_missing);
        let done = text(pod, "/metadata/ownerReferences/0/kind") == "Job";
        let state = |container: &Value| match (is_missing(container), done) {
            (true, _) => json!({"waiting": {"reason": "ErrImagePull", "message": "it is not there"}}),
            (_, true) => json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": STARTED,
                "finishedAt": STARTED}}),
            _ => json!({"running": {"startedAt": STARTED}}),
        };
        let statuses: Vec<Value> = containers
            .iter()
            .map(|container| {
                json!({"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0,
                    "ready": !missing && !done, "started": !missing && !done, "state": state(container)})
            })
            .collect();
        let ready = if missing || done { "False" } else { "True" };
        let phase = if missing {
            "Pending"
        } else if done {
            "Succeeded"
        } else {
            "Running"
        };
        let number = hash(&pod["metadata"]["uid"]);
        // Nobody can connect to an address of many, so the answer comes at once.
        let address = format!("239.1.{}.{}", (number >> 8) & 255, 1 + number % 254);
        let status = json!({"phase": phase, "podIP": address, "podIPs": [{"ip": address}], "startTime": STARTED,
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}],
            "containerStatuses": statuses});
        self.status("/api/v1", "pods", pod, status).await;
    }

    async fn fill_slices(&self, pods: &[Value]) {
        let slices = self.all("/apis/discovery.k8s.io/v1/endpointslices").await;
        for service in self.all("/api/v1/services").await {
            let Some(selector) = service["spec"]["selector"].as_object() else { continue };
            let selected = |pod: &&Value| {
                namespace(pod) == namespace(&service)
                    && selector.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value)
                    && text(pod, "/status/phase") == "Running"
            };
            let mut endpoints: Vec<Value> = pods
                .iter()
                .filter(selected)
                .map(|pod| {
                    json!({"addresses": [pod["status"]["podIP"]], "conditions": {"ready": is_ready(pod)},
                        "targetRef": {"kind": "Pod", "name": name(pod), "namespace": namespace(pod)}})
                })
                .collect();
            endpoints.sort_by_key(ToString::to_string);
            let ports: Vec<Value> = list(&service["spec"]["ports"])
                .iter()
                .map(|port| json!({"name": port["name"].as_str().unwrap_or(""), "port": port["port"], "protocol": "TCP"}))
                .collect();
            let called = format!("{}-played", name(&service));
            let path = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", namespace(&service));
            let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": called, "labels": {"kubernetes.io/service-name": name(&service)},
                    "ownerReferences": owner(&service, "v1", "Service")},
                "endpoints": endpoints, "ports": ports});
            let is_it = |slice: &&Value| namespace(slice) == namespace(&service) && name(slice) == called;
            match slices.iter().find(is_it) {
                None => drop(self.ask("POST", &path, &slice).await),
                Some(found) if list(&found["endpoints"]) != list(&slice["endpoints"]) => {
                    drop(self.ask("PATCH", &format!("{path}/{called}"), &json!({ "endpoints": endpoints })).await);
                }
                Some(_) => {}
            }
        }
    }
}
