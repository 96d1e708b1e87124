//! Somebody who asks for a value while others misbehave, and a look at what the process has in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tidegate::proto::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::support::redis::RedisProcess;
use super::support::tidegate::{PATIENCE, Tidegate};
use super::wire::channel_from;

/// Between two of the neighbour's calls: enough of them for a 99th percentile, too few to be a load.
const PAUSE: Duration = Duration::from_millis(2);

/// One probe, on a connection of its own as the kubelet's are, for so many calls.
const CALLS_PER_PROBE: usize = 8;

/// Before and after, in calls of the neighbour's.
const QUIET_CALLS: usize = 500;

/// Series that may come with new outcomes of calls: codes of methods, reasons of refusals.
const OUTCOMES: usize = 40;

/// `number` where the long tests are wanted, a fifth of it otherwise.
pub fn in_the_long_run(number: usize) -> usize {
    if is_long() { number } else { number / 5 }
}

pub fn is_long() -> bool {
    std::env::var_os("TIDEGATE_LONG").is_some()
}

/// A process with one autoscaler, which has seven items waiting, and its neighbour's connection.
pub struct House {
    pub tidegate: Tidegate,
    pub redis: RedisProcess,
}

/// What was seen in one stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    calls: usize,
    probes: usize,
    /// Of both.
    failed: usize,
    p99: Duration,
    probe_p99: Duration,
    /// Most of what was resident, MiB.
    memory: f64,
}

/// Before, during and after something.
#[derive(Debug)]
pub struct Story {
    before: Seen,
    during: Seen,
    after: Seen,
    /// In `/metrics`, before and after.
    series: [usize; 2],
}

impl House {
    pub async fn open() -> Self {
        House::with("", |_| Vec::new()).await
    }

    /// With further manifests, for which there is the Connection `redis-main` in namespace `pulse`, and with arguments
    /// that may depend on where that is.
    pub async fn with(more: &str, arguments: impl FnOnce(&str) -> Vec<String>) -> Self {
        let redis = RedisProcess::start();
        redis.command::<i64>(&["RPUSH", "mail", "1", "2", "3", "4", "5", "6", "7"]);
        let connection = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: redis-main, namespace: pulse }}\n\
             spec: {{ redis: {{ address: \"{}\" }} }}\n",
            redis.address()
        );
        let arguments = arguments(&redis.address());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let tidegate = Tidegate::start(&(connection + &autoscaler("mail") + more), &arguments);
        tidegate.keda("pulse", &[("autoscaler", "mail")]).await.until_value(7.0).await;
        House { tidegate, redis }
    }

    /// What `hostility` does to the process and to the neighbour.
    pub async fn endure(&self, hostility: impl Future<Output = ()>) -> Story {
        let window = Window {
            grpc: self.tidegate.grpc_address(),
            http: self.tidegate.http_address(),
            process: self.tidegate.pid(),
        };
        let quiet = in_the_long_run(QUIET_CALLS);
        let series = self.series();
        let before = window.look(quiet, &Arc::default()).await;
        let over = Arc::new(AtomicBool::new(false));
        let (during, ()) = tokio::join!(window.look(usize::MAX, &over), async {
            hostility.await;
            over.store(true, Ordering::Relaxed);
        });
        let after = window.look(quiet, &Arc::default()).await;
        Story { before, during, after, series: [series, self.series()] }
    }

    fn series(&self) -> usize {
        self.tidegate.get("/metrics").body.lines().filter(|line| !line.starts_with('#')).count()
    }
}

/// An autoscaler `name` in namespace `pulse` over the list of that name.
pub fn autoscaler(name: &str) -> String {
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: {name}, namespace: pulse }}\n\
         spec:\n  scaleTargetRef: {{ name: {name} }}\n  pollingInterval: 100ms\n  triggers:\n  - connection: redis-main\n    \
         redisList: {{ keys: [{name}] }}\n    policy: {{ backlogPerReplica: {{ target: 5 }} }}\n"
    )
}

/// From where the neighbour sees the process.
#[derive(Clone, Copy)]
struct Window {
    grpc: SocketAddr,
    http: SocketAddr,
    process: u32,
}

impl Window {
    /// Asks until `over`, at most so many times; on a thread of its own, so that the hostile callers' work is not
    /// counted in.
    async fn look(self, calls: usize, over: &Arc<AtomicBool>) -> Seen {
        let over = Arc::clone(over);
        let looking = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(self.look_here(calls, &over))
        };
        tokio::task::spawn_blocking(looking).await.unwrap()
    }

    async fn look_here(self, calls: usize, over: &AtomicBool) -> Seen {
        let mut client = ExternalScalerClient::new(channel_from(Ipv4Addr::LOCALHOST.into(), self.grpc).await);
        let object = ScaledObjectRef {
            name: "worker".to_owned(),
            namespace: "pulse".to_owned(),
            scaler_metadata: [("autoscaler".to_owned(), "mail".to_owned())].into(),
        };
        let (mut took, mut probed) = (Vec::new(), Vec::new());
        let (mut failed, mut memory) = (0, 0.0_f64);
        while took.len() < calls && (took.is_empty() || !over.load(Ordering::Relaxed)) {
            if took.len() % CALLS_PER_PROBE == 0 {
                let began = Instant::now();
                let alive = timeout(PATIENCE, self.is_alive()).await;
                probed.push(began.elapsed());
                failed += usize::from(!alive.is_ok_and(|alive| alive.unwrap_or(false)));
            }
            let request = GetMetricsRequest { scaled_object_ref: Some(object.clone()), metric_name: String::new() };
            let began = Instant::now();
            let answer = timeout(PATIENCE, client.get_metrics(request)).await;
            took.push(began.elapsed());
            let right = answer
                .is_ok_and(|answer| answer.is_ok_and(|answer| answer.into_inner().metric_values[0].metric_value == 7));
            failed += usize::from(!right);
            memory = memory.max(self.memory());
            sleep(PAUSE).await;
        }
        let (calls, probes) = (took.len(), probed.len());
        Seen { calls, probes, failed, p99: p99(took), probe_p99: p99(probed), memory }
    }

    /// As a kubelet asks.
    async fn is_alive(self) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(self.http).await?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"ok\n"))
    }

    /// What is resident, MiB.
    fn memory(self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of VmRSS");
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

impl Story {
    /// Everybody was served, memory grew by at most so much (MiB), and `/metrics` by no more than there are outcomes.
    pub fn bounded(&self, what: &str, growth: f64) {
        self.bounded_with_series(what, growth, OUTCOMES);
    }

    /// The bound on the latency is for machines on which several of these run at once; what it was is printed.
    pub fn bounded_with_series(&self, what: &str, growth: f64, series: usize) {
        const LATENCY: Duration = Duration::from_secs(1);
        let Story { before, during, after, series: [series_before, series_after] } = self;
        println!(
            "| {what} | {} + {} | {:.1?} / {:.1?} / {:.1?} | {:.1?} / {:.1?} / {:.1?} | {:.1} / {:.1} / {:.1} | \
             {series_before} / {series_after} |",
            during.calls,
            during.probes,
            before.p99,
            during.p99,
            after.p99,
            before.probe_p99,
            during.probe_p99,
            after.probe_p99,
            before.memory,
            during.memory,
            after.memory,
        );
        for (when, seen) in [("before", before), ("during", during), ("after", after)] {
            assert_eq!(seen.failed, 0, "{what}, {when}: others are served: {seen:?}");
            assert!(seen.p99 < LATENCY && seen.probe_p99 < LATENCY, "{what}, {when}: {seen:?}");
            let most = before.memory + growth;
            assert!(seen.memory <= most, "{what}, {when}: at most {most} MiB were expected: {seen:?}");
        }
        let more = series_after.saturating_sub(*series_before);
        assert!(more <= series, "{what}: {more} series more in /metrics");
    }
}
