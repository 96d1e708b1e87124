//! Maps of a KEDA trigger: whoever may create a ScaledObject writes them.

use std::collections::{BTreeMap, HashMap};

use tidegate::spec::grants::{Declared, Grants};
use tidegate::spec::keda_metadata::{Ask, ScaledObject, read};
use tidegate::spec::load::{SourceText, Terms, load};
use tidegate::spec::problem::Problem;
use tidegate::spec::{AutoscalerSpec, Server};

use super::drive::{Target, drive};
use super::mutate::{self, Dictionary, Rng};
use super::promises::{self, LONGEST_STATUS, SECRET, is_metric_name, only_as_userinfo};

#[test]
fn metadata() {
    drive("metadata", Metadata::new, &["refused", "named", "registered", "not registered"]);
}

/// What KEDA sends: a namespace, a name and a map.
#[derive(Clone, Debug)]
pub struct Object {
    pub namespace: String,
    pub name: String,
    pub map: BTreeMap<String, String>,
}

/// Makes objects.
pub struct Maps {
    corpus: Vec<BTreeMap<String, String>>,
    dictionary: Dictionary,
}

/// Every key that means something, to us or to KEDA's scalers.
const KEYS: [&str; 56] = [
    "serverAddress",
    "query",
    "threshold",
    "activationThreshold",
    "ignoreNullValues",
    "timeout",
    "queryParameters",
    "customHeaders",
    "listName",
    "listLength",
    "activationListLength",
    "address",
    "addresses",
    "host",
    "hosts",
    "port",
    "ports",
    "username",
    "databaseIndex",
    "enableTLS",
    "unsafeSsl",
    "autoscaler",
    "serve",
    "triggerType",
    "connection",
    "pollingInterval",
    "scalerAddress",
    "sentinelMaster",
    "stream",
    "consumerGroup",
    "pendingEntriesCount",
    "lagCount",
    "streamLength",
    "metricType",
    "password",
    "sentinelPassword",
    "sentinelUsername",
    "accessToken",
    "tls",
    "ca",
    "cert",
    "key",
    "keyPassword",
    "caCert",
    "tlsClientCert",
    "tlsClientKey",
    "PASSWORD",
    "Password",
    "redisPassword",
    "passwd",
    "clientSecret",
    "credentials",
    "apiToken",
    "useCachedMetrics",
    "name",
    "metricName",
];

const VALUES: [&str; 39] = [
    "http://prometheus:9090",
    "https://a.allowed.svc:6379/x",
    "sum(jobs)",
    "0.5",
    "1e300",
    "redis:6379",
    "redis",
    "localhost:6379",
    "127.0.0.1:6379",
    "[::1]:6379",
    "::1:6379",
    "10.0.0.1:7000",
    "redis.pulse.svc:6379",
    "redis.pulse.svc.cluster.local.:6379",
    "a.allowed.svc:6379",
    "redis.shared.svc:6379",
    "redis.billing.svc:6379",
    "redis://redis:6379/0",
    "rediss://redis",
    "unix:///run/redis.sock",
    "/run/redis.sock",
    "*:6379",
    ":6379",
    "redis:0",
    "redis:65536",
    "a,b,c",
    ",",
    "6379,6380",
    "redis-main",
    "embedded",
    "shared",
    "billing-only",
    "true",
    "F",
    "replicas",
    "redis-sentinel",
    "30",
    "250ms",
    "$(REDIS_PASSWORD)",
];

/// Keys whose value is nobody's to see, by the reading of this test and not of the code under it.
const SECRET_KEYS: [&str; 5] = ["password", "passwd", "secret", "token", "credential"];

impl Maps {
    pub fn new() -> Self {
        let prometheus = include_str!("../keda_metadata/prometheus.rs");
        let sources = [include_str!("../keda_metadata.rs"), include_str!("../keda/maps.rs"), prometheus];
        let corpus: Vec<_> = sources.into_iter().flat_map(maps_of).collect();
        assert!(corpus.len() > 100, "the other tests' maps are found: {}", corpus.len());
        let texts: Vec<String> = corpus.iter().flat_map(BTreeMap::values).cloned().collect();
        Maps { corpus, dictionary: Dictionary::of(&VALUES, &texts) }
    }

    pub fn object(&self, rng: &mut Rng) -> Object {
        let mut map = rng.pick(&self.corpus).clone();
        for _ in 0..rng.below(6) {
            self.change(rng, &mut map);
        }
        let mut names = ["pulse".to_owned(), "worker".to_owned()];
        if rng.once_in(8) {
            let name = &mut names[rng.below(2)];
            mutate::text(rng, name, "billing", &self.dictionary);
        }
        let [namespace, name] = names;
        Object { namespace, name, map }
    }

    pub fn word(&self, rng: &mut Rng) -> String {
        self.dictionary.word(rng)
    }

    fn change(&self, rng: &mut Rng, map: &mut BTreeMap<String, String>) {
        let some_key = map.keys().nth(rng.below(map.len())).cloned();
        match (rng.below(12), some_key) {
            (0, Some(key)) => drop(map.remove(&key)),
            (1 | 2, _) => drop(map.insert(self.key(rng), self.dictionary.word(rng))),
            (3, Some(key)) => {
                let value = map.remove(&key).unwrap_or_default();
                map.insert(self.key(rng), value);
            }
            (4, _) => map.extend(rng.pick(&self.corpus).clone()),
            (5, _) => {
                let (key, other) = (self.key(rng), rng.pick(&["", "!", "\"; x", "\n"]));
                map.insert(key, format!("{SECRET}{other}"));
            }
            (6, _) => {
                let key = *rng.pick(&[
                    "address",
                    "addresses",
                    "host",
                    "hosts",
                    "addressFromEnv",
                    "connection",
                    "serve",
                    "serverAddress",
                ]);
                let scheme = *rng.pick(&["", "redis://", "rediss://", "redis:6379,", "tcp:", "http://", "https://"]);
                let host = *rng.pick(&["redis:6379", "redis", "127.0.0.1:1/3", "", "[::1]:6379", "a@b:6379"]);
                let user = *rng.pick(&["me:", ":", "", "me:p@", "a b:"]);
                map.insert(key.to_owned(), format!("{scheme}{user}{SECRET}@{host}"));
            }
            (7, _) if rng.once_in(40) => {
                for i in 0..rng.below(5000) {
                    map.insert(format!("key{i}"), "x".to_owned());
                }
            }
            (_, Some(key)) => {
                let other = rng.pick(&self.corpus).values().next().cloned().unwrap_or_default();
                if let Some(value) = map.get_mut(&key) {
                    mutate::text(rng, value, &other, &self.dictionary);
                }
            }
            (_, None) => {}
        }
    }

    fn key(&self, rng: &mut Rng) -> String {
        let mut key = (*rng.pick(&KEYS)).to_owned();
        if rng.once_in(4) {
            key.push_str("FromEnv");
        }
        if rng.once_in(8) {
            mutate::text(rng, &mut key, "listName", &self.dictionary);
        }
        key
    }
}

impl Object {
    /// Whether the planted password stands only where no answer may show it.
    pub fn keeps_a_secret(&self) -> bool {
        let mut planted = false;
        for (key, value) in &self.map {
            if key.contains(SECRET) {
                return false;
            }
            if value.contains(SECRET) {
                let lower = key.to_lowercase();
                // A list, a stream or a group may be called what it likes, and its name is shown.
                let name = lower.strip_suffix("fromenv").unwrap_or(&lower);
                let is_name = matches!(name, "listname" | "stream" | "consumergroup" | "query");
                let hidden =
                    SECRET_KEYS.iter().any(|part| lower.contains(part)) || (!is_name && only_as_userinfo(value));
                if !hidden {
                    return false;
                }
                planted = true;
            }
        }
        planted && !self.namespace.contains(SECRET) && !self.name.contains(SECRET)
    }

    pub fn literal(&self) -> String {
        let pairs: Vec<(&String, &String)> = self.map.iter().collect();
        format!("namespace {:?}, name {:?}, &{pairs:?}", self.namespace, self.name)
    }
}

struct Metadata {
    maps: Maps,
    grants: Vec<Grants>,
}

impl Metadata {
    fn new() -> Self {
        let all = |pattern: &str| Grants::new(&[pattern.to_owned()]);
        Metadata { maps: Maps::new(), grants: vec![declared(), all("*"), Grants::default(), all("*.svc:6379")] }
    }
}

impl Target for Metadata {
    type Input = (Object, usize);

    fn input(&self, rng: &mut Rng) -> (Object, usize) {
        (self.maps.object(rng), [0, 0, 0, 1, 1, 2, 3][rng.below(7)])
    }

    fn check(&mut self, (object, grants): &(Object, usize)) -> Result<&'static str, String> {
        let map: HashMap<String, String> = object.map.clone().into_iter().collect();
        let grants = &self.grants[*grants];
        let answer = read(&ScaledObject { namespace: &object.namespace, name: &object.name, metadata: &map }, grants);
        let mut said = String::new();
        let kind = match &answer {
            Err(problems) => {
                told(&problems.0, &mut said)?;
                "refused"
            }
            Ok(Ask::Named { id, .. }) => {
                said = id.to_string();
                if said.len() > 400 {
                    return Err(format!("a name of {} bytes", said.len()));
                }
                "named"
            }
            Ok(Ask::Trigger(ask)) => {
                let in_range = is_metric_name(&ask.metric_name) && ask.target >= 0.001 && ask.target <= 9.3e15;
                if !in_range {
                    return Err(format!("metric {:?} with target {}", ask.metric_name, ask.target));
                }
                let mut warned = String::new();
                for warning in &ask.warnings {
                    promises::problem(warning)?;
                    warned.push_str(&warning.to_string());
                }
                if warned.len() > 2 * LONGEST_STATUS {
                    return Err(format!("{} warnings of {} bytes", ask.warnings.len(), warned.len()));
                }
                said.push_str(&warned);
                match &ask.registration {
                    Err(problems) => {
                        told(&problems.0, &mut said)?;
                        "not registered"
                    }
                    Ok(spec) => {
                        promises::spec(spec)?;
                        permitted(spec, grants, &object.namespace)?;
                        "registered"
                    }
                }
            }
        };
        // Who logs in is part of a spec, though of no message.
        let in_spec = object.map.iter().any(|(key, value)| key.starts_with("username") && value.contains(SECRET));
        let printed = if in_spec { String::new() } else { format!("{answer:?}") };
        if object.keeps_a_secret() && (said.contains(SECRET) || printed.contains(SECRET)) {
            return Err(format!("the planted password is shown: {said} {answer:?}"));
        }
        Ok(kind)
    }

    fn literal(&self, (object, grants): &(Object, usize)) -> String {
        format!("grants {grants}, {}", object.literal())
    }
}

/// Problems of a refusal: there must be some, and they must fit into an answer.
fn told(problems: &[Problem], said: &mut String) -> Result<(), String> {
    if problems.is_empty() {
        return Err("refused without a reason".to_owned());
    }
    for problem in problems {
        promises::problem(problem)?;
        said.push_str(&problem.to_string());
    }
    if said.len() > 4 * LONGEST_STATUS {
        return Err(format!("{} problems of {} bytes", problems.len(), said.len()));
    }
    Ok(())
}

/// A server that metadata leads to was declared, or the allow list covers it; and no password came along.
fn permitted(spec: &AutoscalerSpec, grants: &Grants, namespace: &str) -> Result<(), String> {
    for trigger in &spec.triggers {
        if let Server::Prometheus(server) = &trigger.connection.server {
            let is_bare = server.password.is_none() && server.headers.is_empty() && grants.allows(&server.url.address);
            let is_it = |known: &Declared<'_>| known.connection == &trigger.connection;
            if !is_bare && !grants.declared().iter().any(is_it) {
                return Err(format!("nobody permitted {server:?}"));
            }
        }
        let Server::Redis(redis) = &trigger.connection.server else { continue };
        let declared = grants.declared().into_iter().any(|declared| {
            let Server::Redis(known) = &declared.connection.server else { return false };
            let usable = declared.namespace.is_none_or(|home| home == namespace);
            let reached = known.address == redis.address && known.topology == redis.topology;
            usable && reached && known.password == redis.password && known.tls == redis.tls
        });
        let listed = redis.addresses().all(|address| grants.allows(address))
            && redis.logins().all(|login| login.password.is_none());
        if !declared && !listed {
            return Err(format!("nobody permitted {redis:?}"));
        }
    }
    Ok(())
}

/// What the tests of KEDA's metadata have declared, too.
pub fn declared() -> Grants {
    let source = include_str!("../keda_metadata.rs");
    let text = source.split("r#\"").nth(1).and_then(|rest| rest.split("\"#").next()).expect("the manifest");
    let text = SourceText { file: "grants.yaml".to_owned(), text: text.to_owned() };
    let allowed = ["*.allowed.svc:6379".to_owned(), "10.0.0.1:*".to_owned()];
    load(&[text], &Terms { allow_addresses: allowed.to_vec(), ..Terms::default() })
        .unwrap_or_else(|problems| panic!("{problems}"))
        .grants
}

/// The maps that stand as `&[("key", "value"), ...]` in a test's source.
fn maps_of(source: &str) -> Vec<BTreeMap<String, String>> {
    let constants =
        [("LIST", "listName", "celery"), ("HERE", "address", "redis:6379"), ("SCALER", "scalerAddress", "x:1")];
    let mut maps = Vec::new();
    for chunk in source.split("&[").skip(1) {
        let mut map = BTreeMap::new();
        let chunk = chunk.split("\n        ],").next().unwrap_or(chunk);
        for (name, key, value) in constants {
            if chunk.contains(name) {
                map.insert(key.to_owned(), value.to_owned());
            }
        }
        for pair in chunk.split("(\"").skip(1) {
            let mut quoted = pair.split('"');
            if let (Some(key), Some(", "), Some(value)) = (quoted.next(), quoted.next(), quoted.next()) {
                let value = value.replace("{main}", "redis:6379").replace("{host}", "redis").replace("{port}", "6379");
                map.insert(key.to_owned(), value);
            }
        }
        if map.len() > 1 {
            maps.push(map);
        }
    }
    maps
}
