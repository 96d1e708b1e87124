//! One turn of one contestant, and its instruments: CPU of its own thread and of the server, allocations, and when each
//! round began and ended.

use std::time::{Duration, Instant};

use crate::ALLOCATOR;
use crate::support::redis::RedisProcess;

/// What is to be read, and how often.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub server: &'a RedisProcess,
    pub names: &'a [String],
    pub interval: Duration,
    /// For how long, once everything has settled.
    pub span: Duration,
    /// Items of the queue of that number.
    pub expected: fn(usize) -> u64,
}

#[derive(Default, Clone)]
pub struct Turn {
    pub rounds: u64,
    pub skipped: u64,
    pub samples: u64,
    pub cpu: Duration,
    pub server: Duration,
    pub allocations: usize,
    pub bytes: usize,
    /// Commands by name.
    pub commands: [(&'static str, u64); 3],
    /// Between a round's due time and its request, milliseconds.
    pub lateness: Vec<f64>,
    /// Between the request and the last value stored, milliseconds.
    pub latency: Vec<f64>,
}

impl Turn {
    pub fn client_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.samples as f64
    }

    pub fn server_micros(&self) -> f64 {
        self.server.as_secs_f64() * 1e6 / self.samples as f64
    }

    pub fn allocations_a_round(&self) -> f64 {
        self.allocations as f64 / self.rounds as f64
    }
}

/// The instruments of one turn.
pub struct Measure<'a> {
    load: Load<'a>,
    began: Option<Instant>,
    cpu: Duration,
    server: (f64, [u64; 3]),
    heap: stats_alloc::Stats,
    phases: Vec<Duration>,
    turn: Turn,
}

/// Runs `body` on a single-threaded runtime on a thread of its own.
pub fn on_own_runtime<'a>(load: Load<'a>, body: impl AsyncFnOnce(&mut Measure<'a>) + Send) -> Turn {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut measure = Measure {
                load,
                began: None,
                cpu: Duration::ZERO,
                server: (0.0, [0; 3]),
                heap: stats_alloc::Stats::default(),
                phases: Vec::new(),
                turn: Turn::default(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(body(&mut measure));
            measure.turn
        });
        thread.join().unwrap()
    })
}

impl Measure<'_> {
    pub fn begin(&mut self) {
        self.server = books(self.load.server);
        self.heap = ALLOCATOR.stats();
        self.cpu = thread_cpu();
        self.began = Some(Instant::now());
    }

    pub fn running(&self) -> bool {
        self.began.is_some_and(|began| began.elapsed() < self.load.span)
    }

    /// A round has ended; it had been sent so long after the first.
    pub fn round(&mut self, samples: usize, since_first: Duration, latency: Duration) {
        self.turn.rounds += 1;
        self.turn.samples += samples as u64;
        self.turn.latency.push(latency.as_secs_f64() * 1e3);
        self.phases.push(since_first);
    }

    pub fn end(&mut self) {
        self.turn.cpu = thread_cpu() - self.cpu;
        let heap = ALLOCATOR.stats() - self.heap;
        self.turn.allocations = heap.allocations + heap.reallocations;
        self.turn.bytes = heap.bytes_allocated;
        let (cpu, commands) = books(self.load.server);
        self.turn.server = Duration::from_secs_f64(cpu - self.server.0);
        self.turn.commands = std::array::from_fn(|at| (COMMANDS[at], commands[at] - self.server.1[at]));
        // A round's distance from the nearest grid point. Nobody is early: the grid is where the most punctual ones are
        // (not the one that is earliest, which may be half an interval late).
        let interval = self.load.interval.as_secs_f64();
        let offset = |phase: &Duration| (phase.as_secs_f64() + interval / 2.0).rem_euclid(interval) - interval / 2.0;
        let offsets: Vec<f64> = self.phases.iter().map(offset).collect();
        let punctual = quantile(&offsets, 0.02);
        self.turn.lateness = offsets.iter().map(|offset| (offset - punctual).max(0.0) * 1e3).collect();
        let grid = |phase: Option<&Duration>| phase.map_or(0.0, |phase| (phase.as_secs_f64() / interval).round());
        let due = grid(self.phases.iter().max()) - grid(self.phases.iter().min()) + 1.0;
        self.turn.skipped = (due as u64).saturating_sub(self.turn.rounds);
    }
}

/// What numbers are asked with.
const COMMANDS: [&str; 3] = ["llen", "exists", "client|caching"];

/// CPU seconds of a server, and how often it has run each of these.
fn books(server: &RedisProcess) -> (f64, [u64; 3]) {
    (server.cpu_seconds(), COMMANDS.map(|command| server.calls(command)))
}

/// CPU time of this thread: `se.sum_exec_runtime`, the first field of `schedstat`, nanoseconds.
pub fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

pub fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = ((sorted.len().saturating_sub(1)) as f64 * at).round() as usize;
    sorted.get(position).copied().unwrap_or(f64::NAN)
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(&values.collect::<Vec<_>>(), 0.5)
}
