//! What every workload must have, whoever wrote it: the checks that linters of Kubernetes policies agree on, with our own
//! about scaling. An exception stands in [`EXCEPTIONS`] with its reason, and one that nothing needs is a failure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::objects::{called, containers, kind, name, namespace, pod_template, selects};
use super::rendered;

/// In which kustomizations, part of a finding, and why it stands.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("overlays/", "/tidegate: mounts a token", "it talks to the API server"),
    ("/components/without-secrets", ": its Secret ", "what it is for: the Secrets are made in the cluster"),
    ("pulse/overlays/production", ": its Secret ", "an ExternalSecret of that name makes it"),
    ("pulse/overlays/", "allow-acme-solver: selects no pod", "cert-manager makes these pods when a certificate is due"),
];

/// Kinds whose objects have no namespace.
const OF_THE_CLUSTER: [&str; 8] = [
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "PriorityClass",
    "ClusterTriggerAuthentication",
    "ClusterConnection",
    "ClusterIssuer",
];

/// Findings of everything that one kustomization makes.
fn findings(objects: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for object in objects {
        if namespace(object).is_empty() && !OF_THE_CLUSTER.contains(&kind(object)) {
            found.push(format!("{}: would land in whatever namespace is the current one", called(object)));
        }
        if let Some(template) = pod_template(object) {
            pods(object, template, &mut found);
            together(object, template, objects, &mut found);
        }
        match kind(object) {
            "Service" => service(object, objects, &mut found),
            "PodDisruptionBudget" | "NetworkPolicy" => {
                let field = if kind(object) == "NetworkPolicy" { "podSelector" } else { "selector" };
                let selector = &object["spec"][field]["matchLabels"];
                if !selector.is_null() && !anybody(selector, object, objects) {
                    found.push(format!("{}: selects no pod", called(object)));
                }
            }
            "Ingress" => ingress(object, objects, &mut found),
            "Role" | "ClusterRole" => {
                let text = object["rules"].to_string();
                if text.contains("\"*\"") {
                    found.push(format!("{}: grants *", called(object)));
                }
            }
            _ => {}
        }
    }
    owners(objects, &mut found);
    found
}

fn pods(object: &Value, template: &Value, found: &mut Vec<String>) {
    let who = called(object);
    let mut say = |what: &str| found.push(format!("{who}: {what}"));
    let spec = &template["spec"];
    let pod = &spec["securityContext"];
    if pod["runAsNonRoot"] != true {
        say("may run as root");
    }
    if pod["runAsUser"].as_u64().is_none_or(|user| user == 0) {
        say("has no runAsUser");
    }
    if pod["seccompProfile"]["type"] != "RuntimeDefault" {
        say("has no seccomp profile");
    }
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[host] == true {
            say(&format!("uses {host}"));
        }
    }
    if spec["automountServiceAccountToken"] != false {
        say("mounts a token");
    }
    if spec["serviceAccountName"].as_str().is_none_or(|account| account == "default") {
        say("runs under the default ServiceAccount");
    }
    if !spec["terminationGracePeriodSeconds"].is_u64() && !matches!(kind(object), "Job" | "CronJob") {
        say("leaves terminationGracePeriodSeconds to chance");
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        if !volume["hostPath"].is_null() {
            say("mounts a folder of the node");
        }
    }
    let long_running = kind(object) != "Job" && kind(object) != "CronJob";
    let all = containers(template);
    if all.is_empty() {
        say("has no container");
    }
    for (container, first) in all {
        let name = container["name"].as_str().unwrap_or_default();
        let mut say = |what: &str| found.push(format!("{who}: container {name}: {what}"));
        let context = &container["securityContext"];
        if context["allowPrivilegeEscalation"] != false {
            say("may escalate privileges");
        }
        if context["readOnlyRootFilesystem"] != true {
            say("writes to its root file system");
        }
        if context["privileged"] == true {
            say("is privileged");
        }
        if context["capabilities"]["drop"] != serde_json::json!(["ALL"]) || !context["capabilities"]["add"].is_null() {
            say("keeps capabilities");
        }
        for (kind, what) in [("requests", "cpu"), ("requests", "memory"), ("limits", "cpu"), ("limits", "memory")] {
            if container["resources"][kind][what].is_null() {
                say(&format!("has no {kind}.{what}"));
            }
        }
        let image = container["image"].as_str().unwrap_or_default();
        if !image.rsplit_once(':').is_some_and(|(_, tag)| tag != "latest" && !tag.contains('/')) {
            say(&format!("image {image} has no fixed tag"));
        }
        if long_running && !first {
            for probe in ["livenessProbe", "readinessProbe"] {
                if container[probe].is_null() {
                    say(&format!("has no {probe}"));
                }
            }
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap_or_default().to_ascii_uppercase();
            let secret = ["PASSWORD", "SECRET", "TOKEN"].iter().any(|word| name.contains(word));
            if secret
                && variable["value"].as_str().is_some_and(|value| !value.starts_with('/') && !value.contains("$("))
            {
                say(&format!("has a secret in variable {name}"));
            }
        }
        let ports: Vec<&Value> = container["ports"].as_array().into_iter().flatten().collect();
        if ports.iter().any(|port| port["name"].is_null()) {
            say("has a port without a name");
        }
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            for action in ["httpGet", "tcpSocket", "grpc"] {
                let port = &container[probe][action]["port"];
                if !port.is_null()
                    && !ports.iter().any(|known| &known["name"] == port || &known["containerPort"] == port)
                {
                    say(&format!("its {probe} asks port {port}, which it does not have"));
                }
            }
        }
    }
}

/// What a workload needs beside it.
fn together(object: &Value, template: &Value, objects: &[Value], found: &mut Vec<String>) {
    let mut say = |what: &str| found.push(format!("{}: {what}", called(object)));
    let labels = &template["metadata"]["labels"];
    if !matches!(kind(object), "Job" | "CronJob" | "DaemonSet") {
        let selector = &object["spec"]["selector"]["matchLabels"];
        if !selects(selector, labels) {
            say("does not select its own pods");
        }
        let many = maximum(object, objects) > 1;
        if many {
            let spread = &template["spec"]["affinity"]["podAntiAffinity"];
            if spread.is_null() {
                say("may have all its pods on one node");
            }
            if template["spec"]["topologySpreadConstraints"].as_array().is_none_or(Vec::is_empty) {
                say("may have all its pods in one zone");
            }
            let budget = objects.iter().any(|other| {
                kind(other) == "PodDisruptionBudget"
                    && namespace(other) == namespace(object)
                    && selects(&other["spec"]["selector"]["matchLabels"], labels)
            });
            if !budget {
                say("has no PodDisruptionBudget");
            }
        }
        let others = objects.iter().filter(|other| {
            pod_template(other).is_some_and(|template| selects(selector, &template["metadata"]["labels"]))
                && namespace(other) == namespace(object)
        });
        if others.count() > 1 {
            say("selects pods of another workload");
        }
    }
    let isolated = objects.iter().any(|other| {
        kind(other) == "NetworkPolicy"
            && namespace(other) == namespace(object)
            && selects(&or_empty(&other["spec"]["podSelector"]["matchLabels"]), labels)
    });
    if !isolated {
        say("is under no NetworkPolicy");
    }
    let account = template["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    let there = |wanted_kind: &str, wanted: &str| {
        objects
            .iter()
            .any(|other| kind(other) == wanted_kind && name(other) == wanted && namespace(other) == namespace(object))
    };
    if !there("ServiceAccount", account) {
        say(&format!("its ServiceAccount {account} is not there"));
    }
    for (kind, name) in references(template) {
        if !there(kind, &name) && !made_by_others(kind, &name) {
            say(&format!("its {kind} {name} is not there"));
        }
    }
}

/// Secrets that cert-manager writes.
fn made_by_others(kind: &str, name: &str) -> bool {
    kind == "Secret" && (name.ends_with("-tls") || name == "tidegate-grpc")
}

/// ConfigMaps, Secrets and claims that a pod names, unless it can do without.
fn references(template: &Value) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut add = |kind: &'static str, reference: &Value, field: &str| {
        if let Some(name) = reference[field].as_str().filter(|_| reference["optional"] != true) {
            found.push((kind, name.to_owned()));
        }
    };
    for (container, _) in containers(template) {
        for source in container["envFrom"].as_array().into_iter().flatten() {
            add("ConfigMap", &source["configMapRef"], "name");
            add("Secret", &source["secretRef"], "name");
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            add("ConfigMap", &variable["valueFrom"]["configMapKeyRef"], "name");
            add("Secret", &variable["valueFrom"]["secretKeyRef"], "name");
        }
    }
    for volume in template["spec"]["volumes"].as_array().into_iter().flatten() {
        add("ConfigMap", &volume["configMap"], "name");
        add("Secret", &volume["secret"], "secretName");
        add("PersistentVolumeClaim", &volume["persistentVolumeClaim"], "claimName");
    }
    found
}

fn or_empty(selector: &Value) -> Value {
    if selector.is_null() { serde_json::json!({}) } else { selector.clone() }
}

/// How many replicas it may come to have.
fn maximum(object: &Value, objects: &[Value]) -> u64 {
    let written = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let scaled = scalers(objects)
        .into_iter()
        .filter(|(target, _)| {
            *target == (namespace(object).to_owned(), kind(object).to_owned(), name(object).to_owned())
        })
        .map(|(_, scaler)| {
            scaler["spec"]["maxReplicas"].as_u64().or(scaler["spec"]["maxReplicaCount"].as_u64()).unwrap_or(100)
        });
    scaled.fold(written, u64::max)
}

type Target = (String, String, String);

/// Everything that scales something.
fn scalers(objects: &[Value]) -> Vec<(Target, &Value)> {
    let scaler =
        |object: &&Value| ["HorizontalPodAutoscaler", "ScaledObject", "QueueAutoscaler"].contains(&kind(object));
    let target = |object: &Value| {
        let target = &object["spec"]["scaleTargetRef"];
        let kind = target["kind"].as_str().unwrap_or("Deployment");
        (namespace(object).to_owned(), kind.to_owned(), target["name"].as_str().unwrap_or_default().to_owned())
    };
    objects.iter().filter(scaler).map(|object| (target(object), object)).collect()
}

/// Two owners of one workload fight; and an owner's workload says nothing about replicas, or each apply sets them back.
fn owners(objects: &[Value], found: &mut Vec<String>) {
    let mut by_target: BTreeMap<Target, Vec<&Value>> = BTreeMap::new();
    for (target, scaler) in scalers(objects) {
        by_target.entry(target).or_default().push(scaler);
    }
    for ((namespace_, kind_, name_), scalers) in by_target {
        let who = format!("{kind_} {namespace_}/{name_}");
        let acting: Vec<String> =
            scalers.iter().filter(|scaler| scaler["spec"]["dryRun"] != true).map(|scaler| called(scaler)).collect();
        if acting.len() > 1 {
            found.push(format!("{who}: is scaled by {}", acting.join(" and ")));
        }
        let workload = objects
            .iter()
            .find(|object| kind(object) == kind_ && namespace(object) == namespace_ && name(object) == name_);
        match workload {
            None => found.push(format!("{who}: is not there, and is to be scaled by {}", acting.join(", "))),
            Some(workload) if !acting.is_empty() && !workload["spec"]["replicas"].is_null() => {
                found.push(format!("{who}: says how many replicas, and {} scales it", acting.join(", ")));
            }
            Some(_) => {}
        }
    }
}

fn anybody(selector: &Value, of: &Value, objects: &[Value]) -> bool {
    objects.iter().any(|object| {
        namespace(object) == namespace(of)
            && pod_template(object).is_some_and(|template| selects(selector, &template["metadata"]["labels"]))
    })
}

fn service(object: &Value, objects: &[Value], found: &mut Vec<String>) {
    let mut say = |what: &str| found.push(format!("{}: {what}", called(object)));
    let spec = &object["spec"];
    if spec["type"] == "ExternalName" {
        return;
    }
    if spec["type"] == "NodePort" {
        say("opens a port of every node");
    }
    let workloads: Vec<&Value> = objects
        .iter()
        .filter(|other| namespace(other) == namespace(object))
        .filter_map(pod_template)
        .filter(|template| selects(&spec["selector"], &template["metadata"]["labels"]))
        .collect();
    if workloads.is_empty() {
        say("selects no pod");
        return;
    }
    for port in spec["ports"].as_array().into_iter().flatten() {
        if port["name"].is_null() {
            say("has a port without a name");
        }
        let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
        let has = |template: &&Value| {
            containers(template).iter().any(|(container, _)| {
                let ports = container["ports"].as_array();
                ports.is_some_and(|ports| {
                    ports.iter().any(|port| &port["name"] == target || &port["containerPort"] == target)
                })
            })
        };
        if !workloads.iter().any(has) {
            say(&format!("leads to port {target}, which no pod has"));
        }
    }
}

fn ingress(object: &Value, objects: &[Value], found: &mut Vec<String>) {
    let mut say = |what: &str| found.push(format!("{}: {what}", called(object)));
    if object["spec"]["tls"].as_array().is_none_or(Vec::is_empty) {
        say("has no TLS");
    }
    for rule in object["spec"]["rules"].as_array().into_iter().flatten() {
        for path in rule["http"]["paths"].as_array().into_iter().flatten() {
            let backend = &path["backend"]["service"];
            let service = objects.iter().find(|other| {
                kind(other) == "Service"
                    && namespace(other) == namespace(object)
                    && other["metadata"]["name"] == backend["name"]
            });
            let port = &backend["port"];
            let leads = service.is_some_and(|service| {
                let ports = service["spec"]["ports"].as_array();
                ports.is_some_and(|ports| {
                    ports.iter().any(|known| {
                        known["name"] == port["name"] && !port["name"].is_null() || known["port"] == port["number"]
                    })
                })
            });
            if !leads {
                say(&format!("leads to {backend}, which is not there"));
            }
        }
    }
}

#[test]
fn no_workload_lacks_what_all_must_have() {
    let Some(all) = rendered::all() else { return };
    let mut used = vec![false; EXCEPTIONS.len()];
    let mut unexcused = Vec::new();
    // A base alone, and tidegate's pieces, are not applied.
    let applied = |path: &str| path.contains("overlays/");
    for rendered in all.iter().filter(|rendered| applied(&rendered.path)) {
        for finding in findings(&rendered.objects) {
            let excused =
                |(place, part, _): &(&str, &str, &str)| rendered.path.contains(place) && finding.contains(part);
            match EXCEPTIONS.iter().position(excused) {
                Some(exception) => used[exception] = true,
                None => unexcused.push(format!("deploy/{}: {finding}", rendered.path)),
            }
        }
    }
    unexcused.sort();
    unexcused.dedup();
    assert!(unexcused.is_empty(), "{} findings:\n{}", unexcused.len(), unexcused.join("\n"));
    for ((place, exception, why), used) in EXCEPTIONS.iter().zip(used) {
        assert!(used, "nothing needs the exception `{exception}` in {place} ({why}) any more");
    }
}

/// A check that cannot fail is none: each is shown an object that it must find fault with.
#[test]
fn every_check_finds_what_it_is_for() {
    let Some(objects) = rendered::one("stacks/pulse/overlays/standalone") else { return };
    type Spoil = fn(&mut Vec<Value>);
    fn web(objects: &mut [Value]) -> &mut Value {
        objects.iter_mut().find(|object| kind(object) == "Deployment" && name(object) == "pulse-web").unwrap()
    }
    fn container(objects: &mut [Value]) -> &mut Value {
        &mut web(objects)["spec"]["template"]["spec"]["containers"][0]
    }
    fn take(value: &mut Value, field: &str) {
        value.as_object_mut().unwrap().remove(field);
    }
    let spoils: [(&str, Spoil); 23] = [
        ("whatever namespace", |o| take(&mut web(o)["metadata"], "namespace")),
        ("may run as root", |o| take(&mut web(o)["spec"]["template"]["spec"], "securityContext")),
        ("has no seccomp profile", |o| {
            take(&mut web(o)["spec"]["template"]["spec"]["securityContext"], "seccompProfile");
        }),
        ("uses hostNetwork", |o| web(o)["spec"]["template"]["spec"]["hostNetwork"] = true.into()),
        ("mounts a token", |o| take(&mut web(o)["spec"]["template"]["spec"], "automountServiceAccountToken")),
        ("runs under the default ServiceAccount", |o| {
            take(&mut web(o)["spec"]["template"]["spec"], "serviceAccountName");
        }),
        ("may escalate privileges", |o| take(&mut container(o)["securityContext"], "allowPrivilegeEscalation")),
        ("writes to its root file system", |o| take(&mut container(o)["securityContext"], "readOnlyRootFilesystem")),
        ("keeps capabilities", |o| take(&mut container(o)["securityContext"], "capabilities")),
        ("has no limits.memory", |o| take(&mut container(o)["resources"]["limits"], "memory")),
        ("has no fixed tag", |o| container(o)["image"] = "registry.example.com:5000/pulse".into()),
        ("has no readinessProbe", |o| take(container(o), "readinessProbe")),
        ("has a secret in variable", |o| {
            container(o)["env"] = serde_json::json!([{ "name": "DB_PASSWORD", "value": "planted" }]);
        }),
        ("which it does not have", |o| {
            container(o)["livenessProbe"] = serde_json::json!({ "httpGet": { "path": "/", "port": "nothing" } });
        }),
        ("does not select its own pods", |o| {
            web(o)["spec"]["selector"]["matchLabels"] = serde_json::json!({ "app": "another" });
        }),
        ("may have all its pods on one node", |o| take(&mut web(o)["spec"]["template"]["spec"], "affinity")),
        ("has no PodDisruptionBudget", |o| o.retain(|object| kind(object) != "PodDisruptionBudget")),
        ("is under no NetworkPolicy", |o| o.retain(|object| kind(object) != "NetworkPolicy")),
        ("is not there", |o| o.retain(|object| kind(object) != "ConfigMap")),
        ("selects no pod", |o| {
            let service = o.iter_mut().find(|object| kind(object) == "Service").unwrap();
            service["spec"]["selector"] = serde_json::json!({ "app": "nobody" });
        }),
        ("has no TLS", |o| {
            let ingress = o.iter_mut().find(|object| kind(object) == "Ingress").unwrap();
            take(&mut ingress["spec"], "tls");
        }),
        ("says how many replicas", |o| web(o)["spec"]["replicas"] = 3.into()),
        ("is scaled by", |o| {
            let mut second = o.iter().find(|object| kind(object) == "QueueAutoscaler").unwrap().clone();
            second["metadata"]["name"] = "second".into();
            o.push(second);
        }),
    ];
    for (finding, spoil) in spoils {
        let mut spoilt = objects.to_vec();
        spoil(&mut spoilt);
        let found = findings(&spoilt);
        assert!(found.iter().any(|found| found.contains(finding)), "`{finding}` is not found: {found:#?}");
    }
}
