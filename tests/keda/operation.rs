//! What an operator meets: ports, signals, exit codes, help, and secrets that stay secret.

use std::net::TcpListener;
use std::process::Output;

use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::support::redis::RedisProcess;
use super::support::tidegate::{Tidegate, command};
use super::{autoscaler, connection, next};

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A file of a folder that lasts as long as the answer.
fn file(text: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("manifests.yaml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

#[test]
fn port_zero_takes_a_free_port_and_says_which() {
    let (one, two) = (Tidegate::start("", &[]), Tidegate::start("", &[]));
    let mut ports: Vec<u16> =
        [&one, &two].iter().flat_map(|t| [t.grpc_address().port(), t.http_address().port()]).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((ports.len(), ports.contains(&0)), (4, false), "{ports:?}");
    one.until_ready();
    assert_eq!((one.get("/livez").status, one.get("/livez").body.as_str()), (200, "ok\n"));
    assert_eq!(
        one.get("/readyz?verbose").body,
        "[+]specs ok\n[+]first-round ok\n[+]not-shutting-down ok\n[+]manifests ok\nok\n"
    );
}

#[test]
fn a_taken_port_is_an_error_that_names_the_port_and_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--grpc-address", "--http-address"), ("--http-address", "--grpc-address")] {
        let output = command(&["run", flag, &address, other, "127.0.0.1:0"]);
        assert_eq!(output.status.code(), Some(1));
        let errors = stderr(&output);
        let expected = format!("error: cannot listen on {address}; choose another with {flag}: Address already in use");
        assert!(errors.contains(&expected), "{errors}");
    }
}

#[tokio::test]
async fn a_signal_ends_it_in_order() {
    let redis = RedisProcess::start();
    for signal in ["-TERM", "-INT"] {
        let manifests = connection(&redis.address()) + &autoscaler("mail");
        let mut tidegate = Tidegate::start(&manifests, &["--target", "memory"]);
        tidegate.until_ready();
        let mut keda = tidegate.keda("pulse", &[("autoscaler", "mail")]).await;
        keda.until_value(0.0).await;
        tidegate.signal(signal);
        assert_eq!(tidegate.wait_along().await.code(), Some(0), "{signal}");
        assert!(!tidegate.is_ready());
        let log = tidegate.log();
        assert!(log.contains("\"message\":\"stopping\"") && log.contains("\"message\":\"stopped\""), "{log}");
        assert!(keda.value("").await.is_err(), "nobody answers any more");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut tidegate = Tidegate::start("", &[]);
    // Somebody else's stream, which holds the drain up.
    let mut health = HealthClient::new(tidegate.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    next(&mut watch).await.unwrap();
    tidegate.signal("-TERM");
    // Both at the same time would be one to the kernel.
    tidegate.until_log("\"message\":\"stopping\"");
    tidegate.signal("-TERM");
    assert_eq!(tidegate.wait_along().await.code(), Some(143));
    let log = tidegate.log();
    assert!(log.contains("told twice to stop") && !log.contains("\"message\":\"stopped\""), "{log}");
}

#[tokio::test]
async fn somebody_else_s_stream_does_not_hold_it_for_ever() {
    let mut tidegate = Tidegate::start("", &[]);
    let mut health = HealthClient::new(tidegate.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    next(&mut watch).await.unwrap();
    tidegate.signal("-TERM");
    assert_eq!(tidegate.wait_along().await.code(), Some(0));
    drop(watch);
}

/// Three mistakes in two objects.
const BROKEN: &str = r#"
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: redis-main, namespace: pulse }
spec: { redis: { address: "redis" } }
---
apiVersion: tidegate.dev/v1alpha1
kind: QueueAutoscaler
metadata: { name: mail, namespace: pulse }
spec:
  scaleTargetRef: { name: mail }
  maxReplicas: 0
  triggers:
    - connection: redis-mian
      redisList: { keys: [mail] }
      policy: { backlogPerReplica: { target: 5 } }
"#;

#[test]
fn manifests_that_cannot_be_used_end_it_with_every_problem() {
    let (_folder, path) = file(BROKEN);
    let problems =
        ["spec.redis.address: `redis` has no port", "spec.maxReplicas: ", "spec.triggers[0].connection: no Connection"];
    let running = command(&["run", "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", "-f", &path]);
    let checking = command(&["check", "-f", &path]);
    for output in [&running, &checking] {
        assert_eq!(output.status.code(), Some(1));
        let errors = stderr(output);
        for problem in problems {
            assert!(errors.contains(&format!(": {problem}")), "{problem} is missing:\n{errors}");
        }
        assert!(stdout(output).is_empty());
    }
}

#[test]
fn check_tells_by_its_exit_code() {
    let (_folder, good) = file(&(connection("redis:6379") + &autoscaler("mail")));
    let (_broken_folder, broken) = file(BROKEN);
    let output = command(&["check", "-f", &good]);
    let hint = "hint: pulse/mail trigger-0: work in flight is not visible here, because BRPOP and its like";
    assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(0), 1));
    assert!(stderr(&output).starts_with(hint), "{}", stderr(&output));
    assert!(stdout(&output).contains("cooldownPeriod: 5m"), "defaults are filled in: {}", stdout(&output));
    let output = command(&["check", "-f", &good, "-o", "json"]);
    let understood: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((output.status.code(), understood.as_array().unwrap().len()), (Some(0), 2));
    for (arguments, code) in [
        (vec!["check", "-f", &broken], 1),
        (vec!["check", "-f", &good, &broken], 1),
        (vec!["check", "-f", "no/such/file.yaml"], 1),
        (vec!["check"], 2),
        (vec!["check", "-f", &good, "--output", "prose"], 2),
        (vec!["run", "--target", "nowhere"], 2),
        (vec!["frobnicate"], 2),
        (vec!["--version"], 0),
    ] {
        let output = command(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn help_shows_examples_of_every_command() {
    let all = ["tidegate demo", "tidegate check -f", "tidegate run -f", "--target memory"];
    for (arguments, examples) in [
        (vec!["--help"], all.as_slice()),
        (vec!["run", "--help"], &["tidegate run -f", "--allow-address", "--target memory"]),
        (vec!["check", "--help"], &["tidegate check -f", "-o json"]),
        (vec!["demo", "--help"], &["tidegate demo", "--duration"]),
    ] {
        let output = command(&arguments);
        let help = stdout(&output);
        assert_eq!(output.status.code(), Some(0));
        for example in examples {
            assert!(help.contains(example), "{arguments:?}: {example} is missing:\n{help}");
        }
        if arguments.len() > 1 {
            assert!(help.contains("Examples:"), "{help}");
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "too long: {line}");
        }
    }
}

const SECRET: &str = "planted-secret-7c1f";

#[tokio::test]
async fn secrets_are_shown_nowhere() {
    let redis = RedisProcess::with(&[&format!("requirepass {SECRET}")]);
    let address = redis.address();
    let by_name = address.replace("127.0.0.1", "localhost");
    let folder = TempDir::new().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, format!("{SECRET}\n")).unwrap();
    let declare = |name: &str, redis: &str| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: {name}, namespace: pulse }}\nspec: \
             {{ redis: {{ {redis} }} }}\n---\n"
        )
    };
    let manifests = [
        declare("redis-main", &format!("address: \"{address}\", password: {SECRET}")),
        declare("from-file", &format!("address: \"{by_name}\", passwordFrom: {{ file: {} }}", password.display())),
        declare("wrong", &format!("address: \"{by_name}\", username: nobody, password: wrong-{SECRET}")),
        declare("dead", &format!("address: \"127.0.0.1:1\", password: {SECRET}")),
        autoscaler("mail"),
        autoscaler("file").replace("redis-main", "from-file"),
        autoscaler("wrong").replace("redis-main", "wrong"),
        autoscaler("dead").replace("redis-main", "dead"),
    ];
    let manifests = manifests.concat();
    let (_file_folder, path) = file(&manifests);
    let mut seen = String::new();
    for output in [&["check", "-f", &path] as &[&str], &["check", "-f", &path, "-o", "json"]] {
        let output = command(output);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        seen += &(stdout(&output) + &stderr(&output));
    }

    let mut tidegate =
        Tidegate::start(&manifests, &["--target", "memory", "--log", "trace", "--allow-address", "127.0.0.1:*"]);
    tidegate.until_ready();
    redis.command::<i64>(&["LPUSH", "mail", "item"]);
    redis.command::<i64>(&["LPUSH", "file", "item"]);
    for name in ["mail", "file"] {
        tidegate.keda("pulse", &[("autoscaler", name)]).await.until_value(1.0).await;
    }
    let url = format!("redis://me:{SECRET}@{address}");
    let maps: [&[(&str, &str)]; 7] = [
        &[("autoscaler", "wrong"), ("password", SECRET)],
        &[("autoscaler", "dead"), ("passwordFromEnv", SECRET)],
        &[("address", &address), ("listName", "mail"), ("password", SECRET), ("sentinelPassword", SECRET)],
        &[("address", &address), ("listName", "mail"), ("passwordFromEnv", SECRET), ("listLength", "many")],
        &[("address", &url), ("listName", "mail")],
        &[("addressFromEnv", &url), ("listName", "mail"), ("usernameFromEnv", "me"), ("accessToken", SECRET)],
        &[("connection", "redis-mian"), ("listName", "mail"), ("ca", SECRET), ("tlsClientKey", SECRET)],
    ];
    for map in maps {
        let mut keda = tidegate.keda("pulse", map).await;
        for _ in 0..2 {
            seen += &format!("{:?} {:?} {:?}\n", keda.specs().await, keda.value("").await, keda.active().await);
        }
        let stream = keda.client.stream_is_active(keda.object.clone()).await;
        seen += &format!("{:?}\n", stream.err());
    }
    assert!(seen.contains("rejected the user or the password"), "{seen}");
    for path in ["/", "/metrics", "/api/v1/autoscalers", "/api/v1/workloads", "/readyz?verbose"] {
        seen += &tidegate.get(path).body;
    }
    let items = tidegate.get("/api/v1/autoscalers").json();
    for item in items["items"].as_array().unwrap() {
        seen += &tidegate.detail(item["namespace"].as_str().unwrap(), item["name"].as_str().unwrap()).to_string();
    }
    tidegate.signal("-TERM");
    tidegate.wait_along().await;
    seen += &tidegate.log();
    assert!(seen.contains("credentials in metadata are ignored") && seen.contains("TRACE"), "the log is searched");
    let place = seen.find(SECRET).map(|at| &seen[at.saturating_sub(300)..(at + 100).min(seen.len())]);
    assert!(place.is_none(), "{}", place.unwrap_or_default());
}

#[test]
fn mistakes_about_secrets_do_not_repeat_them() {
    let head =
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: redis-main, namespace: pulse }\n";
    for spec in [
        format!("redis: {{ address: \"me:{SECRET}@redis:6379\" }}"),
        format!("redis: {{ address: \"redis://:{SECRET}@redis:6379/0\" }}"),
        format!("redis: {{ host: \"me:{SECRET}@redis\" }}"),
        format!("redis: {{ address: \"redis:6379\", pasword: {SECRET} }}"),
        format!("redis: {{ address: \"redis:6379\", password: [{SECRET}] }}"),
        format!("redis: {{ address: \"redis:6379\", password: {{ value: {SECRET} }} }}"),
        format!("redis: {{ address: \"redis:6379\", passwordFrom: {SECRET} }}"),
        format!("redis: {{ address: \"redis:6379\", passwordFrom: {{ password: {SECRET} }} }}"),
        format!("redis: {{ address: \"redis:6379\", tls: \"rediss://me:{SECRET}@redis:6379\" }}"),
        format!("redis: \"redis://:{SECRET}@redis:6379\""),
        format!("password: {SECRET}"),
    ] {
        let (_folder, path) = file(&format!("{head}spec: {{ {spec} }}\n"));
        let output = command(&["check", "-f", &path]);
        assert_eq!(output.status.code(), Some(1), "{spec}");
        assert!(!stderr(&output).contains(SECRET), "{spec}\n{}", stderr(&output));
    }
    // Nor does one of a whole file that is no YAML at all.
    let (_folder, path) = file(&format!("{head}spec: {{ redis: {{ password: \"{SECRET} }} }}\n"));
    let output = command(&["check", "-f", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!stderr(&output).contains(SECRET), "{}", stderr(&output));
}
