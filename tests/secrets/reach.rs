//! How far metadata reaches: to no server, file or variable that the operator has not named.
//!
//! A port of loopback counts who connects; a named pipe tells whether anybody wants to read it; variables stand ready
//! under the names that metadata asks for.

use std::fs::OpenOptions;
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::support::redis::RedisProcess;
use super::support::tidegate::{Tidegate, until, until_along};
use super::{Trigger, everything_said, map};

/// Somebody's server: counts connections, on both kinds of loopback, and says nothing.
struct Forbidden {
    port: u16,
    connected: Arc<AtomicUsize>,
}

impl Forbidden {
    fn listen() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connected = Arc::new(AtomicUsize::new(0));
        // Not every machine has the other.
        let also = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok();
        for listener in std::iter::once(listener).chain(also) {
            let connected = Arc::clone(&connected);
            std::thread::spawn(move || {
                for _stream in listener.incoming() {
                    connected.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Forbidden { port, connected }
    }

    fn connected(&self) -> usize {
        self.connected.load(Ordering::SeqCst)
    }

    /// Its address in every spelling that some resolver, parser or proxy takes for it. What stands behind an `@`, a
    /// `#` or a line's end is there to be mistaken for what the allow list covers.
    fn spellings(&self) -> Vec<String> {
        [
            "127.0.0.1:P",
            "localhost:P",
            "LOCALHOST:P",
            "localhost.:P",
            "localhost.localdomain:P",
            "127.1:P",
            "127.0.1:P",
            "127.0.0.1.:P",
            "2130706433:P",
            "0x7f000001:P",
            "0x7f.0x0.0x0.0x1:P",
            "0177.0.0.1:P",
            "017700000001:P",
            "0:P",
            "0.0.0.0:P",
            "[::1]:P",
            "[::]:P",
            "[::ffff:127.0.0.1]:P",
            "[0:0:0:0:0:ffff:7f00:1]:P",
            "[::127.0.0.1]:P",
            "[::1%lo]:P",
            "ip6-localhost:P",
            "127.0.0.2:P",
            "１２７.0.0.1:P",
            "127。0。0。1:P",
            "127.0.0.1:0P",
            "127.0.0.1:+P",
            " 127.0.0.1:P ",
            "127.0.0.1:P,a.allowed.svc:6379",
            "redis://127.0.0.1:P",
            "redis://127.0.0.1:P/0#a.allowed.svc:6379",
            "tcp://127.0.0.1:P",
            "127.0.0.1:P/.allowed.svc:6379",
            "127.0.0.1:P#.allowed.svc:6379",
            "127.0.0.1:P?.allowed.svc:6379",
            "127.0.0.1:P\\.allowed.svc:6379",
            "127.0.0.1:P\n.allowed.svc:6379",
            "127.0.0.1:P\0.allowed.svc:6379",
            "127.0.0.1:P@a.allowed.svc:6379",
            "a.allowed.svc:6379@127.0.0.1:P",
            "a.allowed.svc:6379,127.0.0.1:P",
            "10.99.0.1:1@127.0.0.1:P",
            "10.99.0.1:127.0.0.1:P",
            "[10.99.0.1]:127.0.0.1:P",
            "10.99.0.1:1 127.0.0.1:P",
        ]
        .map(|text| text.replace('P', &self.port.to_string()))
        .into()
    }
}

/// A pipe in the file system. Whoever opens it to read waits for somebody who writes, and can be seen waiting.
struct Pipe(PathBuf);

impl Pipe {
    fn make(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        Pipe(path)
    }

    fn has_a_reader(&self) -> bool {
        const O_NONBLOCK: i32 = 0o4000;
        OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&self.0).is_ok()
    }
}

/// An operator's Redis, declared; its autoscaler shows that the poller has been round.
fn declared(address: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: redis-main, namespace: pulse }}\nspec: {{ \
         redis: {{ address: \"{address}\" }} }}\n---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: \
         {{ name: mail, namespace: pulse }}\nspec:\n  scaleTargetRef: {{ name: mail }}\n  pollingInterval: 100ms\n  \
         triggers:\n  - connection: redis-main\n    redisList: {{ keys: [mail] }}\n    policy: {{ backlogPerReplica: {{ \
         target: 5 }} }}\n---\n"
    )
}

fn worker(pairs: &[(&str, &str)]) -> Trigger {
    ("worker".to_owned(), map(pairs))
}

#[tokio::test]
async fn metadata_leads_to_no_server_that_nobody_allowed() {
    let (redis, forbidden) = (RedisProcess::start(), Forbidden::listen());
    let arguments = ["--allow-address", "*.allowed.svc:6379,10.99.0.1:*"];
    let tidegate = Tidegate::start(&declared(&redis.address()), &arguments);
    let mut triggers = Vec::new();
    for spelling in forbidden.spellings() {
        let (host, port) = spelling.rsplit_once(':').unwrap_or((&spelling, ""));
        triggers.extend([
            worker(&[("listName", "mail"), ("address", &spelling)]),
            worker(&[("listName", "mail"), ("addressesFromEnv", &spelling)]),
            worker(&[("listName", "mail"), ("host", host), ("port", port)]),
            worker(&[("listName", "mail"), ("hosts", host), ("ports", port), ("enableTLS", "1"), ("unsafeSsl", "1")]),
            worker(&[("listName", "mail"), ("connection", &spelling)]),
        ]);
    }
    let answers = everything_said(&tidegate, "pulse", &triggers).await;
    let refused = answers.iter().filter(|answer| answer.contains("FailedPrecondition")).count();
    // Those that begin with what is allowed are asked for there, and nobody answers.
    assert!(refused > 200 && triggers.len() - refused < 20, "{refused} of {} are refused", triggers.len());
    // A namespace is a part of the address of a Service, and whoever calls writes it.
    let port = forbidden.port;
    for namespace in [format!("127.0.0.1:{port}"), format!("x@127.0.0.1:{port}#"), format!("127.0.0.1:{port}/")] {
        let triggers = [
            worker(&[("listName", "mail"), ("address", "a:6379")]),
            (format!("127.0.0.1:{port}"), map(&[("listName", "mail"), ("address", "a.allowed.svc:6379")])),
        ];
        let answers = everything_said(&tidegate, &namespace, &triggers).await;
        assert!(answers.iter().all(|answer| answer.contains("is not a namespace")), "{answers:?}");
    }
    tidegate.keda("pulse", &[("autoscaler", "mail")]).await.until_value(0.0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(forbidden.connected(), 0, "of {} triggers, one was connected for", triggers.len());

    // The operator may, and then it is.
    let allowed = format!("127.0.0.1:{port}");
    let tidegate = Tidegate::start("", &["--allow-address", &allowed]);
    everything_said(&tidegate, "pulse", &[worker(&[("listName", "mail"), ("address", &allowed)])]).await;
    until_along("a connection that is allowed", || forbidden.connected() > 0).await;
}

#[tokio::test]
async fn metadata_reads_no_file_and_no_variable() {
    const CONTENT: &str = "c0nt3nt-0f-a-variable";
    let (redis, forbidden, folder) = (RedisProcess::start(), Forbidden::listen(), TempDir::new().unwrap());
    let (pipe, operators) = (Pipe::make(folder.path(), "strangers"), Pipe::make(folder.path(), "operators"));
    let (path, port) = (pipe.0.display().to_string(), forbidden.port);
    let address = format!("127.0.0.1:{port}");
    let environment = [
        ("PLANTED_ADDRESS", address.as_str()),
        ("PLANTED_TEXT", CONTENT),
        // By the names of the keys, too.
        ("password", CONTENT),
        ("PASSWORD", CONTENT),
        ("REDIS_PASSWORD", CONTENT),
        ("address", &address),
        ("REDIS_ADDRESS", &address),
        ("REDIS_URL", &address),
    ];
    let manifests = declared(&redis.address())
        + &format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: with-pipe, namespace: pulse }}\nspec: \
             {{ redis: {{ address: \"{address}\", passwordFrom: {{ file: \"{}\" }} }} }}\n",
            operators.0.display()
        );
    // Wherever metadata might have led, the allow list would not have stood in the way.
    let arguments = ["--log", "trace", "--allow-address", "*"];
    let mut tidegate = Tidegate::start_within(&environment, &manifests, &arguments);
    let values = |name: &str| {
        ["N", "$N", "${N}", "$(N)", "%N%", "{{ .N }}", "{{ env \"N\" }}", "env:N", "!env N"]
            .map(|text| text.replace('N', name))
    };
    let mut triggers = Vec::new();
    let home = redis.address();
    for value in values("PLANTED_ADDRESS") {
        for key in ["addressFromEnv", "addressesFromEnv", "address", "connectionFromEnv"] {
            triggers.push(worker(&[("listName", "mail"), (key, &value)]));
        }
        triggers.push(worker(&[("listName", "mail"), ("hostFromEnv", &value), ("portFromEnv", &value)]));
    }
    let files = ["P", "file:P", "file://P", "@P", "<P", "$(cat P)", "unix://P", "redis+unix://P"]
        .map(|text| text.replace('P', &path));
    for value in values("PLANTED_TEXT").iter().chain(&files) {
        for key in [
            "passwordFromEnv",
            "password",
            "passwordFromFile",
            "usernameFromEnv",
            "listNameFromEnv",
            "ca",
            "tlsClientCert",
            "address",
            "host",
            "connection",
        ] {
            let mut trigger = worker(&[("listName", "mail"), (key, value)]);
            if !["address", "host", "connection"].contains(&key) {
                trigger.1.push(("address".to_owned(), home.clone()));
            }
            triggers.push(trigger);
        }
    }
    let said = everything_said(&tidegate, "pulse", &triggers).await.concat();
    tidegate.keda("pulse", &[("autoscaler", "mail")]).await.until_value(0.0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(forbidden.connected(), 0, "nobody was told to use PLANTED_ADDRESS");
    assert!(!pipe.has_a_reader(), "{path} is being read");

    // A Connection of the operator's does read its file: asked for by name, because nobody polls what nobody needs.
    everything_said(&tidegate, "pulse", &[worker(&[("listName", "mail"), ("connection", "with-pipe")])]).await;
    until("a reader of the operator's own pipe", || operators.has_a_reader());
    tidegate.signal("-KILL");
    tidegate.wait_along().await;
    for door in [said, tidegate.log(), tidegate.stdout()] {
        assert!(!door.contains(CONTENT), "a variable's value is shown");
    }
    assert!(tidegate.log().contains("PLANTED_TEXT"), "and its name, which metadata had, is to be found");
}
