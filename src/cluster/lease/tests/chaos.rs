//! Hours of bad luck, again and again: whatever happens to three processes, never do two of them find a term.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

use super::pass;
use super::rig::{Process, Server};

/// Marsaglia's xorshift64: the same bad luck for the same seed.
struct Luck(u64);

impl Luck {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[tokio::test(start_paused = true)]
async fn never_do_two_processes_find_a_term_at_the_same_time() {
    let (mut led, mut takings) = (0, 0);
    for seed in 1..=8 {
        let mut luck = Luck(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let server = Server::new();
        let mut started = 0;
        let mut start = |luck: &mut Luck| {
            started += 1;
            let hours = i64::try_from(luck.below(21)).unwrap() - 10;
            Process::start_shifted(&server, &format!("{started}"), SignedDuration::from_hours(hours))
        };
        let mut processes: Vec<Process> = (0..3).map(|_| start(&mut luck)).collect();
        let end = server.clock.now().after(Duration::from_secs(1_800));
        while server.clock.now() < end {
            if luck.below(100) == 0 {
                let which = usize::try_from(luck.below(3)).unwrap();
                let victim = processes.get_mut(which).unwrap();
                match luck.below(9) {
                    0 | 1 => victim.freeze(),
                    2 => victim.thaw(),
                    3 => {
                        let cut = victim.faults().cut;
                        victim.faults().cut = !cut;
                    }
                    4 => victim.faults().lose_answers = 1 + u32::try_from(luck.below(5)).unwrap(),
                    5 => {
                        victim.kill();
                        *victim = start(&mut luck);
                    }
                    6 => victim.slow(Duration::from_millis(1 + luck.below(3_000))),
                    7 => victim.slow(Duration::from_millis(5)),
                    _ => {
                        for process in &processes {
                            process.thaw();
                            process.faults().cut = false;
                        }
                    }
                }
            }
            let leaders: Vec<_> = processes.iter().filter_map(Process::number).collect();
            assert!(leaders.len() <= 1, "seed {seed} at {:?}: terms {leaders:?}", server.clock.now());
            led += leaders.len();
            pass(Duration::from_millis(97)).await;
        }
        let mut holders = BTreeMap::new();
        let mut highest = 0;
        for write in server.all_writes() {
            let (number, holder) = (write.spec.lease_transitions.unwrap(), write.spec.holder_identity.unwrap());
            assert!(number >= highest, "seed {seed}: {number} after {highest}");
            highest = number;
            let first = holders.entry(number).or_insert_with(|| holder.clone());
            assert_eq!(*first, holder, "seed {seed}: two holders of term {number}");
        }
        takings += highest;
    }
    // The rig does what it says: there is somebody most of the time, and not always the same.
    assert!(takings > 100 && led > 50_000, "{takings} terms, a leader in {led} moments");
}
