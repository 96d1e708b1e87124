//! The loop around a target: numbered cases on several threads, each reproducible alone, none allowed to panic or to
//! take for ever.

use std::any::Any;
use std::collections::BTreeMap;
use std::env;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::mutate::Rng;

/// What an input may cost. A case takes some microseconds, and a megabyte of it some milliseconds; the rest is for
/// busy machines, on which a slow case gets two more tries.
const SLOW: Duration = Duration::from_secs(2);

/// Nothing that ends takes this long: the watchdog then says which case it is and ends the process.
const HUNG: Duration = Duration::from_secs(60);

const DEFAULT_SEED: u64 = 0x71de_6a7e;

/// One thing to be fuzzed. Made once a thread.
pub trait Target {
    type Input;

    /// What case this is.
    fn input(&self, rng: &mut Rng) -> Self::Input;

    /// Runs it. `Ok` is a word for what kind of answer it was, which is counted; `Err` a promise that was broken.
    fn check(&mut self, input: &Self::Input) -> Result<&'static str, String>;

    /// The input as a literal that a test could have.
    fn literal(&self, input: &Self::Input) -> String;
}

/// Runs all cases and fails with those that break a promise. `kinds`: answers that must come up, or the cases are
/// worth nothing.
pub fn drive<T: Target>(name: &'static str, make: impl Fn() -> T + Sync, kinds: &[&str]) {
    let (seed, cases) = (seed(), cases());
    let next = AtomicU64::new(cases.start);
    let done = AtomicBool::new(false);
    let workers = if is_long() { thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    let running: Vec<Mutex<Option<(u64, Instant)>>> = (0..workers).map(|_| Mutex::new(None)).collect();
    let tally = Mutex::new(Tally::default());
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| watch(name, seed, &running, &done));
        let threads: Vec<_> = running
            .iter()
            .map(|running| {
                let (make, next, cases, tally) = (&make, &next, &cases, &tally);
                scope.spawn(move || {
                    let mut own = Tally::default();
                    let mut target = make();
                    loop {
                        let case = next.fetch_add(1, Ordering::Relaxed);
                        if !cases.contains(&case) || own.failures.len() >= 5 {
                            break;
                        }
                        *running.lock().unwrap_or_else(PoisonError::into_inner) = Some((case, Instant::now()));
                        own.run(name, seed, case, &mut target, make);
                    }
                    *running.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    tally.lock().unwrap_or_else(PoisonError::into_inner).add(own);
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("a thread of the fuzzer ends");
        }
        done.store(true, Ordering::Relaxed);
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let took = began.elapsed();
    let ran = tally.kinds.values().sum::<u64>();
    println!(
        "{name}: {ran} cases in {took:.1?} on {workers} thread(s); slowest {:.1?}; {:?}",
        tally.slowest, tally.kinds
    );
    assert!(tally.failures.is_empty(), "{}", tally.failures.join("\n\n"));
    if ran >= 10_000 {
        for kind in kinds {
            assert!(tally.kinds.contains_key(kind), "no case was ever {kind}: {:?}", tally.kinds);
        }
    }
}

#[derive(Default)]
struct Tally {
    kinds: BTreeMap<&'static str, u64>,
    slowest: Duration,
    failures: Vec<String>,
}

impl Tally {
    fn run<T: Target>(&mut self, name: &str, seed: u64, case: u64, target: &mut T, make: impl Fn() -> T) {
        let input = target.input(&mut Rng::new(seed, case));
        let mut took = Duration::MAX;
        for _ in 0..3 {
            let began = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| target.check(&input)));
            took = took.min(began.elapsed());
            let broken = match outcome {
                Ok(Ok(kind)) if took < SLOW => {
                    *self.kinds.entry(kind).or_default() += 1;
                    break;
                }
                // Perhaps only the machine was busy.
                Ok(Ok(_)) => continue,
                Ok(Err(broken)) => broken,
                Err(panic) => {
                    let said = words(&*panic);
                    // Whatever state the panic left behind is not the next case's.
                    *target = make();
                    format!("panicked: {said}")
                }
            };
            self.fail(name, seed, case, &broken, &target.literal(&input));
            break;
        }
        if took >= SLOW {
            self.fail(name, seed, case, &format!("took {took:?}"), &target.literal(&input));
        }
        self.slowest = self.slowest.max(took);
    }

    fn fail(&mut self, name: &str, seed: u64, case: u64, broken: &str, literal: &str) {
        *self.kinds.entry("failed").or_default() += 1;
        self.failures.push(format!(
            "{name}: {}\nagain: TIDEGATE_FUZZ_SEED={seed} TIDEGATE_FUZZ_CASES={case}..{} cargo test --test fuzz {name}\n\
             input: {}",
            clipped(broken),
            case + 1,
            clipped(literal),
        ));
    }

    fn add(&mut self, other: Tally) {
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        self.slowest = self.slowest.max(other.slowest);
        self.failures.extend(other.failures);
    }
}

fn watch(name: &str, seed: u64, running: &[Mutex<Option<(u64, Instant)>>], done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
        for running in running {
            if let Some((case, since)) = *running.lock().unwrap_or_else(PoisonError::into_inner)
                && since.elapsed() > HUNG
            {
                eprintln!("{name}: case {case} of seed {seed} hangs");
                std::process::abort();
            }
        }
    }
}

/// Enough of a text to recognise it; the case makes all of it again.
fn clipped(text: &str) -> String {
    const SHOWN: usize = 6000;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ... ({} bytes in all)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn is_long() -> bool {
    !cfg!(debug_assertions) && env::var_os("TIDEGATE_LONG").is_some()
}

fn seed() -> u64 {
    env::var("TIDEGATE_FUZZ_SEED").ok().map_or(DEFAULT_SEED, |text| text.parse().expect("TIDEGATE_FUZZ_SEED: a number"))
}

fn cases() -> Range<u64> {
    let number =
        |text: &str| text.trim().parse::<u64>().expect("TIDEGATE_FUZZ_CASES: a number, or a range such as 3..7");
    match env::var("TIDEGATE_FUZZ_CASES").ok() {
        Some(text) => match text.split_once("..") {
            Some((start, end)) => number(start)..number(end),
            None => 0..number(&text),
        },
        // The long run has both builds: the million is the optimised one's.
        None if cfg!(debug_assertions) => 0..20_000,
        None if is_long() => 0..1_000_000,
        None => 0..100_000,
    }
}
