//! Every place where a password can stand, and every door where it could come out.

use std::fmt::Write as _;
use std::process::Output;

use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use super::support::redis::RedisProcess;
use super::support::tidegate::{Tidegate, command};
use super::{Trigger, everything_said, map};

/// Every planted password begins so, and goes on with its place.
const SECRET: &str = "s3cr3t9f1d";

/// The same in base64, wherever in a text of three bytes it begins.
const IN_BASE64: [&str; 3] = ["czNjcjN0OWYxZ", "MzY3IzdDlmMW", "zM2NyM3Q5ZjFk"];

fn secret(place: &str) -> String {
    format!("{SECRET}-{place}")
}

/// What may be shown, and stands beside the secret of this place.
fn marker(place: &str) -> String {
    format!("mark-{place}")
}

/// All that was said, in lower case, and where.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn hear(&mut self, door: impl Into<String>, text: impl Into<String>) {
        self.0.push((door.into(), text.into().to_lowercase()));
    }

    fn hear_output(&mut self, door: &str, output: &Output) {
        self.hear(format!("{door}, stdout"), String::from_utf8_lossy(&output.stdout));
        self.hear(format!("{door}, stderr"), String::from_utf8_lossy(&output.stderr));
    }

    /// The doors at which `word` is to be found, with what stands around it.
    fn find(&self, word: &str) -> Vec<String> {
        let found = self.0.iter().filter_map(|(door, text)| {
            let at = text.find(&word.to_lowercase())?;
            let (before, after) = text.split_at(at);
            let before: String = before.chars().rev().take(200).collect();
            let before: String = before.chars().rev().collect();
            let after: String = after.chars().take(200).collect();
            Some(format!("{door}: {before}{after}"))
        });
        found.collect()
    }

    /// No secret anywhere, every marker somewhere.
    fn judge(&self, places: &[String]) {
        let shown: Vec<String> = std::iter::once(SECRET).chain(IN_BASE64).flat_map(|word| self.find(word)).collect();
        assert!(shown.is_empty(), "{} doors show a password:\n{}", shown.len(), shown.join("\n\n"));
        for place in places {
            let mark = marker(place).to_lowercase();
            assert!(
                self.0.iter().any(|(_, text)| text.contains(&mark)),
                "nothing was said of {place}: is it searched at all?"
            );
        }
        assert!(self.find("panicked").is_empty(), "{:?}", self.find("panicked"));
    }
}

/// Connection and autoscaler of a place; its list has the marker as its name.
fn declare(place: &str, redis: &str) -> String {
    let mark = marker(place);
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: {mark}, namespace: pulse }}\nspec: {{ \
         redis: {{ {redis} }} }}\n---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: \
         {mark}, namespace: pulse }}\nspec:\n  scaleTargetRef: {{ name: {mark} }}\n  pollingInterval: 100ms\n  triggers:\n  \
         - connection: {mark}\n    redisList: {{ keys: [{mark}] }}\n    policy: {{ backlogPerReplica: {{ target: 5 }} }}\n---\n"
    )
}

/// Keys that mean a password to somebody, in spellings that people use. Their values are ignored.
const CREDENTIALS: [&str; 24] = [
    "password",
    "passwordFromEnv",
    "Password",
    "PASSWORD",
    "passWord",
    "redisPassword",
    "redis_password",
    "passwd",
    "sentinelPassword",
    "sentinelPasswordFromEnv",
    "accessToken",
    "token",
    "apiToken",
    "clientSecret",
    "secretKey",
    "credentials",
    "tlsClientKey",
    "key",
    "ca",
    "cert",
    "auth",
    "pass",
    "x-api-key",
    "requirepass",
];

/// Keys under which a URL with a password in it may end up: where an address belongs, and where none does.
const URL_KEYS: [&str; 26] = [
    "address",
    "addresses",
    "addressFromEnv",
    "addressesFromEnv",
    "host",
    "hosts",
    "hostFromEnv",
    "hostsFromEnv",
    "url",
    "uri",
    "dsn",
    "redisUrl",
    "connectionString",
    "connection",
    "autoscaler",
    "serve",
    "triggerType",
    "databaseIndex",
    "listLength",
    "activationListLength",
    "pollingInterval",
    "enableTLS",
    "unsafeSsl",
    "sentinelMaster",
    "stream",
    "scalerAddress",
];

/// URLs, and what people make of them.
const URLS: [&str; 6] = [
    "redis://me:SECRET@redis:6379/0",
    "me:SECRET@127.0.0.1:6379",
    ":SECRET@redis",
    "rediss://me:SECRET@@redis:6379",
    "redis:6379,redis://:SECRET@redis-2:6379",
    "redis://me:two words SECRET@redis:6379",
];

#[tokio::test]
async fn no_door_shows_a_password() {
    let root = secret("root");
    let users = ["inline", "env", "file"].map(|user| format!("user {user} on >{} ~* +@all", secret(user)));
    let lines: Vec<&str> = users.iter().map(String::as_str).collect();
    let requirepass = format!("requirepass {root}");
    let redis = RedisProcess::with(&[&[requirepass.as_str()], lines.as_slice()].concat());
    let open = RedisProcess::start();
    let (address, folder) = (redis.address(), TempDir::new().unwrap());
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{}\n", secret("file"))).unwrap();
    let (file, nowhere) = (file.display().to_string(), folder.path().join("mark-nofile").display().to_string());

    let mut places: Vec<String> = Vec::new();
    let mut manifests = String::new();
    for (place, redis) in [
        ("root", format!("address: \"{address}\", password: {root}")),
        ("inline", format!("address: \"{address}\", username: inline, password: {}", secret("inline"))),
        ("env", format!("address: \"{address}\", username: env, passwordFrom: {{ env: PLANTED_PASSWORD }}")),
        ("file", format!("address: \"{address}\", username: file, passwordFrom: {{ file: \"{file}\" }}")),
        ("wrong", format!("address: \"{address}\", password: {}", secret("wrong"))),
        ("wrong-user", format!("address: \"{address}\", username: nobody, password: {}", secret("wrong-user"))),
        ("unwanted", format!("address: \"{}\", password: {}", open.address(), secret("unwanted"))),
        ("dead", format!("address: \"127.0.0.1:1\", password: {}", secret("dead"))),
        ("unresolved", format!("address: \"nowhere.invalid:1\", password: {}", secret("unresolved"))),
        ("tls", format!("address: \"{address}\", password: {}, tls: {{ insecureSkipVerify: true }}", secret("tls"))),
        ("nofile", format!("address: \"{address}\", passwordFrom: {{ file: \"{nowhere}\" }}")),
        ("noenv", format!("address: \"{address}\", passwordFrom: {{ env: MARK_NOENV }}")),
    ] {
        places.push(place.to_owned());
        manifests += &declare(place, &redis);
    }

    let mut said = Said::default();
    let path = folder.path().join("manifests.yaml");
    std::fs::write(&path, &manifests).unwrap();
    for output in ["yaml", "json"] {
        let output = command(&["check", "-f", &path.display().to_string(), "-o", output]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        said.hear_output("check", &output);
    }

    let environment = [("PLANTED_PASSWORD", secret("env")), ("UNUSED_PASSWORD", secret("unused"))];
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // Each made-up user is a connection of its own.
    let many = ["--max-connections-per-namespace", "1000"];
    let arguments = ["--target", "memory", "--log", "trace", "--allow-address", "127.0.0.1:*", many[0], many[1]];
    let mut tidegate = Tidegate::start_within(&environment, &manifests, &arguments);
    tidegate.until_ready();
    // Those that are right are let in, so that what follows is said of passwords in use.
    for place in ["root", "inline", "env", "file"] {
        redis.command::<i64>(&["LPUSH", &marker(place), "item"]);
        tidegate.keda("pulse", &[("autoscaler", &marker(place))]).await.until_value(1.0).await;
    }
    let named = |place: &String| {
        let pairs = [("autoscaler", marker(place)), ("password", secret("named"))];
        (marker(place), pairs.map(|(key, value)| (key.to_owned(), value)).to_vec())
    };
    let named: Vec<Trigger> = places.iter().map(named).collect();
    for ((name, _), answers) in named.iter().zip(everything_said(&tidegate, "pulse", &named).await) {
        said.hear(format!("RPCs of {name}"), answers);
    }
    assert!(!said.find("rejected the user or the password").is_empty(), "a wrong password is refused");

    let planted = maps(&open.address());
    for ((name, _), answers) in planted.iter().zip(everything_said(&tidegate, "pulse", &planted).await) {
        said.hear(format!("RPCs of {name}"), answers);
    }
    places.extend(planted.iter().filter_map(|(name, _)| name.strip_prefix("mark-").map(str::to_owned)));

    said.hear("health and reflection", around(&tidegate).await);
    let of_all = ["/", "/metrics", "/livez", "/readyz?verbose", "/api/v1/autoscalers", "/api/v1/workloads", "/nowhere"];
    for path in of_all {
        said.hear(path, tidegate.get(path).body);
    }
    let items = tidegate.get("/api/v1/autoscalers").json();
    let items = items["items"].as_array().unwrap();
    assert!(items.len() > 20, "what metadata registered is there too: {}", items.len());
    for item in items {
        let (namespace, name) = (item["namespace"].as_str().unwrap(), item["name"].as_str().unwrap());
        for kind in ["autoscalers", "workloads"] {
            let path = format!("/api/v1/{kind}/{namespace}/{name}");
            said.hear(&path, tidegate.get(&path).body);
        }
    }
    tidegate.signal("-TERM");
    tidegate.wait_along().await;
    let log = tidegate.log();
    assert!(log.contains("\"TRACE\"") && log.contains("credentials in metadata are ignored"), "all of it is searched");
    said.hear("log", log);
    said.hear("stdout", tidegate.stdout());
    said.judge(&places);
}

/// Metadata with a password in it.
fn maps(allowed: &str) -> Vec<Trigger> {
    let mut triggers = Vec::new();
    let mut plant = |place: &str, key: &str, value: &str, address: &[(&str, &str)]| {
        let mark = marker(place);
        let mut pairs = map(&[("listName", &mark), ("pollingInterval", "100ms")]);
        pairs.extend(map(address));
        pairs.retain(|(known, _)| known != key);
        pairs.push((key.to_owned(), value.replace("SECRET", &secret(place))));
        triggers.push((mark, pairs));
    };
    // Who logs in is no secret to the server, and none of anybody else's business.
    let users = ["username", "usernameFromEnv", "sentinelUsername"];
    for (i, key) in CREDENTIALS.iter().chain(&users).enumerate() {
        plant(&format!("meta-{i}"), key, "SECRET", &[("address", allowed)]);
    }
    for (i, key) in URL_KEYS.iter().enumerate() {
        for (j, url) in URLS.iter().enumerate() {
            let address: &[(&str, &str)] = match *key {
                key if key.starts_with("address") => &[],
                key if key.starts_with("host") => &[("port", "6379")],
                _ => &[("address", allowed)],
            };
            plant(&format!("url-{i}-{j}"), key, url, address);
        }
    }
    triggers
}

/// What the services beside ours say.
async fn around(tidegate: &Tidegate) -> String {
    let mut said = String::new();
    let channel = tidegate.channel().await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "externalscaler.ExternalScaler", &secret("health")] {
        let asked = HealthCheckRequest { service: service.to_owned() };
        let _ = writeln!(said, "{:?}", health.check(asked).await.map(tonic::Response::into_inner));
    }
    let mut reflection = ServerReflectionClient::new(channel);
    for message in [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol("externalscaler.ExternalScaler".to_owned()),
        MessageRequest::FileByFilename("nowhere.proto".to_owned()),
    ] {
        let asked = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let answers = reflection.server_reflection_info(tokio_stream::iter([asked])).await;
        let answer = answers.unwrap().into_inner().message().await;
        let _ = writeln!(said, "{answer:?}");
    }
    said
}

#[test]
fn broken_manifests_do_not_show_their_passwords() {
    let mut said = Said::default();
    let mut places = Vec::new();
    let folder = TempDir::new().unwrap();
    for (i, redis) in [
        "address: \"me:SECRET@redis:6379\"",
        "address: \"redis://:SECRET@redis:6379/0\"",
        "address: \"redis://me:two words SECRET@redis\"",
        "host: \"me:SECRET@redis\"",
        "address: \"redis:6379\", pasword: SECRET",
        "address: \"redis:6379\", password: [SECRET]",
        "address: \"redis:6379\", password: { value: SECRET }",
        "address: \"redis:6379\", passwordFrom: SECRET",
        "address: \"redis:6379\", passwordFrom: { env: X, file: SECRET }",
        "address: \"redis:6379\", password: SECRET, passwordFrom: { env: X }",
        "address: \"redis:6379\", password: SECRET, database: minus",
        "address: \"redis:6379\", password: SECRET, password: SECRET",
        "address: \"redis:6379\", tls: \"rediss://me:SECRET@redis:6379\"",
        "address: \"redis:6379\", database: \"redis://me:SECRET@redis:6379/1\"",
        "address: \"redis:6379\", connectTimeout: \"redis://me:SECRET@redis\"",
        "address: \"redis\", password: \"SECRET",
        "address: \"redis\", password: SECRET }, memory: { ",
        "address: \"redis\", password: >SECRET",
    ]
    .iter()
    .enumerate()
    {
        let place = format!("broken-{i}");
        let path = folder.path().join(format!("{}.yaml", marker(&place)));
        std::fs::write(&path, declare(&place, &redis.replace("SECRET", &secret(&place)))).unwrap();
        let path = path.display().to_string();
        let checked = command(&["check", "-f", &path]);
        let ran = command(&[
            "run",
            "--log",
            "trace",
            "--log-format",
            "json",
            "--grpc-address",
            "127.0.0.1:0",
            "--http-address",
            "127.0.0.1:0",
            "-f",
            &path,
        ]);
        for (door, output) in [("check", &checked), ("run", &ran)] {
            assert_eq!(output.status.code(), Some(1), "{redis}: {}", String::from_utf8_lossy(&output.stderr));
            said.hear_output(door, output);
        }
        places.push(place);
    }
    said.judge(&places);
}
