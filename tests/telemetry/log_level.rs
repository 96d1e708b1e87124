//! `/log-level` of the real binary: changed, changed for a while, refused.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::support::tidegate::{Tidegate, until};

const EXAMPLE: &str = "info,tidegate::poller=debug";

#[test]
fn the_filter_is_changed_while_it_runs_and_the_log_says_who() {
    let tidegate = Tidegate::start("", &[]);
    assert_eq!(tidegate.get("/log-level").body, "info\n");
    let answer = tidegate.ask("PUT", "/log-level", EXAMPLE);
    assert_eq!((answer.status, answer.body.as_str()), (200, "info,tidegate::poller=debug\n"));
    let line = tidegate.until_log("log filter changed");
    for said in ["\"from\":\"info\"", "\"to\":\"info,tidegate::poller=debug\"", "\"by\":\"127.0.0.1:"] {
        assert!(line.contains(said), "{said}: {line}");
    }
    // Whoever makes the log silent is heard, too, and so is who makes it speak again.
    assert_eq!(tidegate.ask("PUT", "/log-level", "off").status, 200);
    tidegate.until_log("\"to\":\"off\"");
    assert_eq!(tidegate.ask("PUT", "/log-level", "warn\n").status, 200);
    tidegate.until_log("\"from\":\"off\"");
    assert_eq!(tidegate.get("/log-level").body, "warn\n");
}

#[test]
fn for_a_while_it_goes_back_by_itself() {
    let tidegate = Tidegate::start("", &["--log", "info,hyper=warn"]);
    let answer = tidegate.ask("PUT", "/log-level?for=1h", "debug");
    assert!(answer.body.starts_with("debug\nback to info,hyper=warn in 3"), "{answer:?}");
    // A shorter while takes the longer one's place.
    assert_eq!(tidegate.ask("PUT", "/log-level?for=300ms", "trace").status, 200);
    until("the filter of before", || tidegate.get("/log-level").body == "info,hyper=warn\n");
    let line = tidegate.until_log("the end of its time");
    assert!(line.contains("\"from\":\"trace\""), "{line}");
}

#[test]
fn bad_filters_change_nothing_and_the_example_is_shown() {
    let tidegate = Tidegate::start("", &[]);
    let long = format!("info,{}=debug", "x".repeat(1_100));
    for (path, filter, said) in [
        ("/log-level", "tidegate=loud", "tidegate=loud"),
        ("/log-level", "wran", "is no level"),
        ("/log-level", "", "empty"),
        ("/log-level", long.as_str(), "at most 1024 bytes"),
        ("/log-level?for=10", "debug", "has no unit"),
        ("/log-level?for=48h", "debug", "at most 24h"),
        ("/log-level?four=10m", "debug", "is not known"),
    ] {
        let answer = tidegate.ask("PUT", path, filter);
        assert_eq!(answer.status, 400, "{path} {filter}: {answer:?}");
        assert!(answer.body.contains(said), "{path} {filter}: {answer:?}");
        assert!(answer.body.contains("curl -X PUT -d info,tidegate::poller=debug"), "{answer:?}");
    }
    assert_eq!(tidegate.get("/log-level").body, "info\n");
    assert!(!tidegate.log().contains("log filter changed"));
    assert_eq!(tidegate.ask("POST", "/log-level", "debug").status, 405);
}

/// Any address of ours that is not one of the two of loopback proper will do: 127.0.0.2 is there everywhere.
#[tokio::test]
async fn strangers_are_refused_and_told_the_way() {
    let tidegate = Tidegate::start("", &[]);
    for (from, header) in [("127.0.0.2:0", ""), ("127.0.0.1:0", "X-Forwarded-For: 10.1.2.3\r\n")] {
        for request in ["GET /log-level", "PUT /log-level"] {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(from.parse().unwrap()).unwrap();
            let mut stream = socket.connect(tidegate.http_address()).await.unwrap();
            let text = format!("{request} HTTP/1.0\r\n{header}Content-Length: 5\r\n\r\ndebug");
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.0 403"), "{answer}");
            assert!(answer.contains("kubectl port-forward"), "{answer}");
        }
    }
    assert_eq!(tidegate.get("/log-level").body, "info\n");
}

#[test]
fn a_level_that_is_none_is_refused_at_the_start() {
    let output = crate::support::tidegate::command(&["run", "--log", "debgu"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("debgu=trace"), "{said}");
}
