//! Sixty-four readers that stop reading in the middle of a document about ten thousand autoscalers: each of them costs
//! a piece of it, others are answered meanwhile, and whoever reads on gets all of it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tidegate::board::{Board, Cell};
use tidegate::clock::Clock;
use tidegate::model::{Decision, Health, Observation, Reason, Steps, TriggerReport};
use tidegate::serve::http::{self, HttpState};
use tidegate::serve::ready::Readiness;
use tidegate::telemetry::names::Detail;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::MEMORY;
use crate::support::polling::{autoscaler, list, redis};
use crate::support::tidegate::until;

const AUTOSCALERS: usize = 10_000;
/// As many as one address may have at a time.
const READERS: usize = 32;

/// Bytes held for all readers together. One piece each is 2 MiB, and a connection has buffers of its own; a document
/// each would be 80 MiB and more.
const HELD: usize = 8 << 20;

/// What the kernel may keep on either side of a connection; left alone, it takes the whole of such a document. Below
/// two segments of loopback (64 KiB each) every answer would wait for its timers.
const KERNEL: u32 = 128 * 1024;

/// The HTTP server on a thread of its own, as the program has it, over a board that was filled by hand.
struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let clock = Clock::start();
                let state = HttpState {
                    manifests: Arc::default(),
                    board: board(clock),
                    readiness: Arc::new(Readiness::new()),
                    clock,
                    metrics: None,
                    metrics_detail: Detail::Autoscaler,
                };
                // Taken over by every connection.
                let socket = TcpSocket::new_v4().unwrap();
                socket.set_send_buffer_size(KERNEL).unwrap();
                socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
                let listener = socket.listen(1_024).unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                http::serve(listener, http::router(state), stopped).await.unwrap();
            });
        });
        Server { address: told.recv().unwrap(), stop, thread: Some(thread) }
    }

    /// Asks, and reads no more than the first bytes.
    fn begin(&self, path: &str) -> TcpStream {
        self.begin_on(TcpStream::connect(self.address).unwrap(), path)
    }

    /// As [`Server::begin`], where the kernel keeps little of what is not read.
    fn begin_slowly(&self, path: &str) -> TcpStream {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(KERNEL).unwrap();
            socket.connect(self.address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        self.begin_on(stream, path)
    }

    fn begin_on(&self, mut stream: TcpStream, path: &str) -> TcpStream {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // 1.0, which has no chunks: the body is what there is until the end.
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut first = [0; 9];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.0 ");
        stream
    }

    fn get(&self, path: &str) -> String {
        rest(self.begin(path))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("200 "), "{head}");
    body.to_owned()
}

fn board(clock: Clock) -> Arc<Board> {
    // Nobody registers anything here.
    let (intake, _) = mpsc::channel(1);
    let board = Arc::new(Board::new(intake));
    let connection = redis("127.0.0.1:1".into());
    let now = clock.now();
    let cells = (0..AUTOSCALERS).map(|number| {
        let spec = autoscaler(&format!("a-{number:05}"), Duration::from_secs(1), &[(&connection, list(&["jobs"]))]);
        let cell = Arc::new(Cell::new(spec, now));
        let report = TriggerReport {
            health: Health::Fresh,
            value: Some(number as f64),
            facts: Observation::default(),
            taken: Some(now),
            round: None,
            active: true,
            wants: Some(1),
            reason: Reason::AboveTarget,
            failure: None,
        };
        let decision = Decision {
            at: now,
            round: None,
            current: 1,
            current_known: true,
            desired: 2,
            active: true,
            degraded: false,
            fallback: false,
            paused: false,
            winner: Some(0),
            reason: Reason::AboveTarget,
            steps: Steps::default(),
            triggers: vec![report],
        };
        cell.publish(&decision, &mut None);
        cell
    });
    board.insert(cells.collect::<Vec<_>>());
    board
}

/// Bytes that this process holds.
fn held() -> usize {
    let stats = MEMORY.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Checks that the document is whole.
type Check = fn(&str);

#[test]
fn slow_readers_hold_a_piece_each_and_keep_nobody_waiting() {
    let server = Server::start();
    let documents: [(&str, Check); 2] = [("/metrics", all_metrics), ("/api/v1/autoscalers", all_rows)];
    for (path, check) in documents {
        let whole = server.get(path);
        check(&whole);
        let size = whole.len();
        drop(whole);
        let before = held();
        let readers: Vec<TcpStream> = (0..READERS).map(|_| server.begin_slowly(path)).collect();
        let more = || held().saturating_sub(before);
        until("the readers in the middle of it", || more() > READERS * 64 * 1024);
        // The server goes on for as long as it would: others are answered several times.
        let more = (0..50).map(|_| {
            assert_eq!(server.get("/livez"), "ok\n");
            thread::sleep(Duration::from_millis(10));
            more()
        });
        let more = more.max().unwrap();
        println!("{path}: {size} bytes; {READERS} slow readers hold {more} bytes of this process");
        assert!(more < HELD, "{READERS} readers of {path} hold {more} bytes; a document has {size}");
        assert!(size * READERS > 8 * HELD, "a document each would not be noticed: {size}");
        // The others go away in the middle.
        check(&rest(readers.into_iter().next().unwrap()));
        assert_eq!(server.get("/livez"), "ok\n");
    }
}

fn all_metrics(text: &str) {
    let families = [
        "trigger_backlog",
        "trigger_sample_age_seconds",
        "current_replicas",
        "desired_replicas",
        "min_replicas",
        "max_replicas",
        "active",
    ];
    for family in families {
        let prefix = format!("tidegate_{family}{{");
        let series: BTreeSet<&str> = text
            .lines()
            .filter(|line| line.starts_with(&prefix))
            .map(|line| line.rsplit_once(' ').unwrap().0)
            .collect();
        assert_eq!(series.len(), AUTOSCALERS, "{family}");
        assert_eq!(text.matches(&format!("# TYPE tidegate_{family} gauge\n")).count(), 1);
    }
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), families.len() * AUTOSCALERS);
}

fn all_rows(text: &str) {
    let document: Value = serde_json::from_str(text).unwrap();
    let fields: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["items", "manifestProblems", "ready", "time"]);
    assert!(text.starts_with("{\"time\":\""), "in the order of before");
    let names: BTreeSet<&str> =
        document["items"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), AUTOSCALERS);
    assert_eq!(document["items"].as_array().unwrap().len(), AUTOSCALERS);
    assert_eq!(document["items"][7]["backlog"], 7.0);
}

#[test]
fn no_autoscalers_are_an_empty_list() {
    let (intake, _) = mpsc::channel(1);
    let clock = Clock::start();
    let state = HttpState {
        manifests: Arc::default(),
        board: Arc::new(Board::new(intake)),
        readiness: Arc::new(Readiness::new()),
        clock,
        metrics: None,
        metrics_detail: Detail::Process,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (list, metrics) = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(http::serve(listener, http::router(state), CancellationToken::new()));
        let get = |path: &'static str| {
            tokio::task::spawn_blocking(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                text
            })
        };
        (get("/api/v1/autoscalers").await.unwrap(), get("/metrics").await.unwrap())
    });
    let (head, body) = list.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/json") && head.contains("cache-control: no-store"), "{head}");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["items"], serde_json::json!([]));
    assert!(metrics.starts_with("HTTP/1.0 200") && metrics.ends_with("\r\n\r\n"), "{metrics}");
}
