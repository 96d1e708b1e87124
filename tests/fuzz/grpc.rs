//! Bodies of gRPC calls, posted into the external scaler where tonic hands them over after HTTP/2: no socket, and a
//! clock that stands still while there is work, so that waiting a second for a first sample takes no time.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http_body_util::BodyExt;
use tidegate::board::{Board, Cell, Intake};
use tidegate::clock::Clock;
use tidegate::model::{Decision, Health, Observation, Reason, Steps, TriggerReport};
use tidegate::proto::externalscaler::external_scaler_server::ExternalScalerServer;
use tidegate::serve::keda::{KedaScaler, Parts};
use tidegate::serve::ready::Readiness;
use tidegate::spec::grants::Grants;
use tidegate::spec::load::{Terms, load};
use tidegate::spec::{AutoscalerSpec, load::SourceText};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::codegen::{Service, http};
use tracing_subscriber::fmt::MakeWriter;

use super::drive::{Target, drive};
use super::metadata::{Maps, declared};
use super::mutate::Rng;
use super::promises::{LONGEST_STATUS, SECRET};
use super::wire::Call;

#[test]
fn grpc() {
    let kinds = ["ok", "a stream", "invalid argument", "not found", "failed precondition", "unimplemented", "internal"];
    drive("grpc", Door::new, &kinds);
}

/// Everything a call may be answered, a list's name of 32 KiB included, which is told once as a metric's name.
const LONGEST_ANSWER: usize = 80 << 10;

/// What a call may leave in the log: each warning on its line, in JSON.
const LONGEST_LOG: usize = 64 << 10;

struct Door {
    maps: Maps,
    runtime: Runtime,
    service: ExternalScalerServer<KedaScaler>,
    log: Log,
    _logging: tracing::subscriber::DefaultGuard,
    shutdown: CancellationToken,
}

impl Door {
    fn new() -> Self {
        let log = Log::default();
        let subscriber =
            tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
        let logging = tracing::subscriber::set_default(subscriber);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let shutdown = CancellationToken::new();
        let scaler = runtime.block_on(async { scaler(&shutdown) });
        let service = ExternalScalerServer::new(scaler);
        Door { maps: Maps::new(), runtime, service, log, _logging: logging, shutdown }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The service over a board with one autoscaler of a manifest, and in the runtime's place a task that registers what
/// it is asked to; only few stay on the board, which would be copied for each.
fn scaler(shutdown: &CancellationToken) -> KedaScaler {
    const STAY: usize = 64;
    let clock = Clock::start();
    let (intake, mut asked) = mpsc::channel(64);
    let board = Arc::new(Board::new(intake));
    let orders = SourceText { file: "orders.yaml".to_owned(), text: ORDERS.to_owned() };
    for spec in load(&[orders], &Terms::default()).unwrap_or_else(|problems| panic!("{problems}")).autoscalers {
        board.insert([decided(&spec, clock)]);
    }
    tokio::spawn({
        let board = Arc::clone(&board);
        async move {
            let mut turn = 0_u64;
            while let Some(Intake::Register { spec, reply }) = asked.recv().await {
                turn += 1;
                let new = || match turn % 4 {
                    0 => Arc::new(Cell::new(Arc::clone(&spec), clock.now())),
                    _ => decided(&spec, clock),
                };
                let cell = board.get(&spec.id).unwrap_or_else(new);
                if board.all().len() < STAY {
                    board.insert([Arc::clone(&cell)]);
                }
                drop(reply.send(Ok(cell)));
            }
        }
    });
    let readiness = Arc::new(Readiness::new());
    readiness.specs_loaded();
    readiness.first_round_done();
    let grants: Grants = declared();
    let grants = Arc::new(ArcSwap::from_pointee(grants));
    KedaScaler::new(Parts { board, grants, readiness, clock, shutdown: shutdown.clone() })
}

const ORDERS: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: QueueAutoscaler
metadata: { name: orders, namespace: pulse }
spec:
  scaleTargetRef: { name: orders }
  maxSampleAge: 8760h
  triggers: [{ memory: { queue: orders }, policy: { backlogPerReplica: { target: 10 } } }]
";

/// A cell with a decision that has read seven items.
fn decided(spec: &Arc<AutoscalerSpec>, clock: Clock) -> Arc<Cell> {
    let now = clock.now();
    let cell = Arc::new(Cell::new(Arc::clone(spec), now));
    let read = |_: &_| TriggerReport {
        health: Health::Fresh,
        value: Some(7.0),
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
        current: 2,
        current_known: true,
        desired: 7,
        active: true,
        degraded: false,
        fallback: false,
        paused: false,
        winner: Some(0),
        reason: Reason::AboveTarget,
        steps: Steps::default(),
        triggers: spec.triggers.iter().map(read).collect(),
    };
    cell.publish(&decision, &mut None);
    cell
}

/// What came back: the status if there was one, and all that was said.
#[derive(Debug)]
struct Told {
    http: u16,
    status: Option<String>,
    message: String,
    bytes: usize,
    said: String,
    ended: bool,
}

impl Target for Door {
    type Input = Call;

    fn input(&self, rng: &mut Rng) -> Call {
        Call::make(rng, &self.maps)
    }

    fn check(&mut self, call: &Call) -> Result<&'static str, String> {
        self.log.clear();
        let told = self.runtime.block_on(ask(&mut self.service, call));
        let stream = call.method.starts_with("Stream");
        if told.http != 200 {
            return Err(format!("no gRPC answer: {told:?}"));
        }
        if told.bytes > LONGEST_ANSWER || told.message.len() > 3 * LONGEST_STATUS {
            return Err(format!("an answer of {} bytes, its message {} bytes", told.bytes, told.message.len()));
        }
        let log = self.log.text();
        if log.len() > LONGEST_LOG {
            return Err(format!("{} bytes of log for {} bytes", log.len(), call.len()));
        }
        if call.keeps_a_secret && (log.contains(SECRET) || told.said.contains(SECRET)) {
            return Err(format!("the planted password is shown: {told:?} {log}"));
        }
        match told.status.as_deref() {
            // The body has not ended, and neither has the call: only a deadline of the connection's could end it.
            None if !told.ended && (stream || call.hangs) => Ok("a stream"),
            None => Err(format!("no status: {told:?}")),
            Some("0") => Ok("ok"),
            Some("3") => Ok("invalid argument"),
            Some("5") => Ok("not found"),
            Some("8") => Ok("resource exhausted"),
            Some("9") => Ok("failed precondition"),
            Some("11") => Ok("out of range"),
            Some("12") => Ok("unimplemented"),
            Some("13") => Ok("internal"),
            Some("14") => Ok("unavailable"),
            Some(other) => Err(format!("status {other}: {told:?}")),
        }
    }

    fn literal(&self, call: &Call) -> String {
        let pieces: Vec<String> = call.pieces.iter().map(|piece| format!("b\"{}\"", piece.escape_ascii())).collect();
        format!("{} encoding {:?} hangs {}: [{}]", call.method, call.encoding, call.hangs, pieces.join(", "))
    }
}

/// Longer than everything that a unary call may wait for.
const PATIENCE: Duration = Duration::from_secs(10);

async fn ask(service: &mut ExternalScalerServer<KedaScaler>, call: &Call) -> Told {
    let mut request = http::Request::post(format!("/externalscaler.ExternalScaler/{}", call.method))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = call.encoding.and_then(|text| http::HeaderValue::from_bytes(text.as_bytes()).ok()) {
        request = request.header("grpc-encoding", encoding);
    }
    let mut told =
        Told { http: 200, status: None, message: String::new(), bytes: 0, said: String::new(), ended: false };
    let Ok(answer) = timeout(PATIENCE, service.call(request.body(call.body()).unwrap())).await else { return told };
    let (parts, mut body) = answer.unwrap().into_parts();
    told.http = parts.status.as_u16();
    told.take(&parts.headers);
    // Of a stream, what comes in a bounded time.
    for _ in 0..100 {
        match timeout(PATIENCE, body.frame()).await {
            Err(_) => return told,
            Ok(None) => break,
            Ok(Some(frame)) => {
                let frame = frame.unwrap();
                if let Some(data) = frame.data_ref() {
                    told.bytes += data.len();
                    told.said.push_str(&String::from_utf8_lossy(data));
                }
                if let Some(trailers) = frame.trailers_ref() {
                    told.take(trailers);
                }
            }
        }
    }
    told.ended = true;
    told
}

impl Told {
    fn take(&mut self, headers: &http::HeaderMap) {
        for (name, value) in headers {
            self.bytes += name.as_str().len() + value.len();
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            self.said.push_str(&value);
            match name.as_str() {
                "grpc-status" => self.status = Some(value),
                "grpc-message" => self.message = value,
                _ => {}
            }
        }
    }
}

/// The log of one case.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        self.clone()
    }
}
