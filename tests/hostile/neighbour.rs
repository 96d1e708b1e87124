//! Somebody who asks for a value while others misbehave, and a look at what the process has in memory.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidegate::proto::externalscaler::GetMetricsRequest;
use tokio::task::JoinHandle;

use super::support::redis::RedisProcess;
use super::support::tidegate::Tidegate;

/// Between two of the neighbour's calls: enough of them for a 99th percentile, too few to be a load.
const PAUSE: Duration = Duration::from_millis(2);

/// Before and after, in calls of the neighbour's.
const QUIET_CALLS: usize = 500;

/// What was seen in one stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub calls: usize,
    pub failed: usize,
    pub p99: Duration,
    /// Most of what was resident, KiB.
    pub memory: u64,
}

/// Before, during and after something.
#[derive(Debug)]
pub struct Story {
    pub before: Seen,
    pub during: Seen,
    pub after: Seen,
}

/// A process with one autoscaler, which has seven items waiting, and its neighbour's connection.
pub struct House {
    pub tidegate: Tidegate,
    _redis: RedisProcess,
}

impl House {
    pub async fn open() -> Self {
        let redis = RedisProcess::start();
        redis.command::<i64>(&["RPUSH", "mail", "1", "2", "3", "4", "5", "6", "7"]);
        let manifests = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: redis-main, namespace: pulse }}\n\
             spec: {{ redis: {{ address: \"{}\" }} }}\n---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\n\
             metadata: {{ name: mail, namespace: pulse }}\nspec:\n  scaleTargetRef: {{ name: mail }}\n  pollingInterval: \
             100ms\n  triggers:\n  - connection: redis-main\n    redisList: {{ keys: [mail] }}\n    policy: {{ \
             backlogPerReplica: {{ target: 5 }} }}\n",
            redis.address()
        );
        let tidegate = Tidegate::start(&manifests, &[]);
        tidegate.keda("pulse", &[("autoscaler", "mail")]).await.until_value(7.0).await;
        House { tidegate, _redis: redis }
    }

    /// What `hostility` does to the process and to the neighbour.
    pub async fn endure(&self, hostility: impl Future<Output = ()>) -> Story {
        let before = self.look_until(QUIET_CALLS, &AtomicBool::new(false)).await;
        let over = Arc::new(AtomicBool::new(false));
        let (during, ()) = tokio::join!(self.look_until(usize::MAX, &over), async {
            hostility.await;
            over.store(true, Ordering::Relaxed);
        });
        let after = self.look_until(QUIET_CALLS, &AtomicBool::new(false)).await;
        Story { before, during, after }
    }

    /// Asks for the value until `over`, at most so many times.
    async fn look_until(&self, calls: usize, over: &AtomicBool) -> Seen {
        let keda = self.tidegate.keda("pulse", &[("autoscaler", "mail")]).await;
        let mut took = Vec::new();
        let (mut failed, mut memory) = (0, 0);
        while took.len() < calls && !over.load(Ordering::Relaxed) {
            let request =
                GetMetricsRequest { scaled_object_ref: Some(keda.object.clone()), metric_name: String::new() };
            let mut client = keda.client.clone();
            // On a task of its own: the hostile caller's work is not to be counted in.
            let asked: JoinHandle<(Duration, bool)> = tokio::spawn(async move {
                let began = Instant::now();
                let answer = client.get_metrics(request).await;
                let right = answer.is_ok_and(|answer| answer.into_inner().metric_values[0].metric_value == 7);
                (began.elapsed(), right)
            });
            let (elapsed, right) = asked.await.unwrap();
            took.push(elapsed);
            failed += usize::from(!right);
            memory = memory.max(self.memory());
            tokio::time::sleep(PAUSE).await;
        }
        took.sort_unstable();
        let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
        Seen { calls: took.len(), failed, p99, memory }
    }

    /// What is resident, KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.tidegate.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of VmRSS");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Story {
    /// Everybody was served, and memory grew by at most so much. The bound on the latency is for machines on which
    /// several of these run at once; what it was is printed.
    pub fn bounded(&self, what: &str, growth: u64) {
        const LATENCY: Duration = Duration::from_secs(1);
        println!("{what}:");
        for (when, seen) in [("before", self.before), ("during", self.during), ("after", self.after)] {
            let Seen { calls, failed, p99, memory } = seen;
            println!("  {when:6} {calls:6} calls, {failed} failed, p99 {p99:>9.1?}, {memory} KiB resident");
            assert_eq!(failed, 0, "{what}, {when}: others are served");
            assert!(p99 < LATENCY, "{what}, {when}: {p99:?}");
            let most = self.before.memory + growth;
            assert!(memory <= most, "{what}, {when}: {memory} KiB resident, at most {most} were expected");
        }
    }
}
