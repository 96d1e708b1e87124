//! Broken exports, twenty thousand of them: each is a trace that keeps its promises, or words that say why not.

use super::super::{Format, Options, Role, Rows, SecondsPerToken, Spread, Stamp, Unit, parse};
use super::formats::{KEDA, SQS};
use super::sound;

const CASES: u64 = 20_000;

const FIXTURES: &[&str] = &[
    KEDA,
    SQS,
    "timestamp,depth,enqueued_total,replicas\n1700000000,5,100,1\n1700000010,6,104,1\n1700000020,0,1,2\n1700000090,3,9,2\n",
    "timestamp,depth,replicas\n2026-01-31T12:00:00Z,5,1\n2026-01-31T12:00:10Z,0,1\n2026-01-31T12:00:20Z,NaN,2\n2026-01-31T12:00:30Z,7,2\n",
    "ts\tcompleted_total\tdepth\tin_flight\n0\t0\t1\t1\n10\t3\t1\t1\n20\t4\t0\t0\n30\t9\t0\t1\n",
    "date;value\n2026-01-31 12:00:00;3\n2026-01-31 12:05:00;0\n2026-01-31 12:10:00;4,5\n",
    "time,rps\n0,0.5\n2,0.25\n4,1e1\n",
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n",
    "{\"t\":0.5,\"service\":0.2}\n{\"t\":0,\"service\":null}\n{\"t\":2,\"service\":1e-3,\"x\":[1,{\"a\":2}]}\n",
    "2 0 1 4\n3\t1\n0\n",
    "; Version: 2.2\n1 0 5 60 1 -1 -1 1 -1 -1 1 1 1 -1 1 -1 -1 -1\n2 10 0 30 8 -1 -1 8 -1 -1 0 1 1 -1 1 -1 -1 -1\n",
];

/// What breaks parsers.
const TOKENS: &[&str] = &[
    "",
    "-1",
    "0",
    "1e308",
    "-0",
    "NaN",
    "inf",
    "1700000000",
    "1700000000000",
    "9223372036854775807",
    "18446744073709551616",
    "99999999999999",
    "2026-02-30",
    "2262-04-11T23:47:16Z",
    "\"",
    "\"\"",
    ",",
    "\n",
    "\r\n",
    "\t",
    ";",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "null",
    "\u{feff}",
    "\u{0}",
    "é",
    "value",
    "depth",
    "arrivals",
    "_total",
    "#",
    ":",
    ".",
    "-",
    "60",
    "0.0000000001",
    "4611686018427387904",
    "+23:59",
];

/// splitmix64, so that a failure is the same everywhere.
struct Luck(u64);

impl Luck {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        let at = self.below(all.len());
        all.get(at).unwrap().clone()
    }

    fn maybe<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        self.next().is_multiple_of(2).then(|| self.of(all))
    }
}

fn mutated(luck: &mut Luck) -> Vec<u8> {
    let mut text = luck.of(FIXTURES).as_bytes().to_vec();
    for _ in 0..luck.below(6) {
        let at = luck.below(text.len() + 1);
        let end = (at + luck.below(12)).min(text.len());
        match luck.below(6) {
            0 => text.truncate(at),
            1 => drop(text.splice(at..end, luck.of(TOKENS).bytes())),
            2 => drop(text.splice(at..at, luck.of(TOKENS).bytes())),
            3 => text.get_mut(at..end).unwrap().iter_mut().for_each(|byte| *byte ^= 1 << (luck.next() % 8)),
            4 => {
                let copy = text.get(at..).unwrap().to_vec();
                text.extend(copy);
            }
            _ => drop(text.drain(at..end)),
        }
    }
    text
}

fn options(luck: &mut Luck) -> Options {
    let map = luck.maybe(&[
        vec![(Role::Arrivals, "value".to_owned())],
        vec![(Role::Depth, "depth".to_owned()), (Role::Enqueued, "replicas".to_owned())],
        vec![(Role::Completions, "#1".to_owned()), (Role::Depth, "m2".to_owned())],
        vec![(Role::Time, "depth".to_owned())],
    ]);
    Options {
        format: luck.maybe(&[None, None, None].into_iter().chain(Format::ALL.map(Some)).collect::<Vec<_>>()).flatten(),
        map: map.filter(|_| luck.below(3) == 0).unwrap_or_default(),
        time_unit: luck.maybe(&[None, None, Some(Unit::Millis), Some(Unit::Nanos)]).flatten(),
        service_unit: luck.maybe(&[Unit::Seconds, Unit::Micros]),
        rows: luck.maybe(&[None, None, Some(Rows::Events), Some(Rows::Series)]).flatten(),
        seconds_per_token: luck.maybe(&[SecondsPerToken::same(0.01), SecondsPerToken::same(f64::NAN)]),
        bin: luck.maybe(&[None, None, Some(0), Some(1), Some(60_000_000_000), Some(u64::MAX)]).flatten(),
        stamp: luck.maybe(&[Stamp::Start, Stamp::End]),
        spread: luck.of(&[Spread::Even, Spread::Random { seed: 1 }]),
        replicas: luck.maybe(&[2.0, 0.0, f64::INFINITY]),
        service: luck.maybe(&[1.0, 0.001, f64::NAN]),
        service_error: luck.of(&[0.2, 0.0, 2.0]),
        slots: luck.of(&[1, 4, u32::MAX]),
        max_arrivals: 20_000,
        max_bytes: 10_000,
    }
}

#[test]
fn broken_exports_are_traces_or_words() {
    let (mut imported, mut refused) = (0, 0);
    for case in 0..CASES {
        let mut luck = Luck(case);
        let options = if luck.below(3) == 0 {
            Options { max_arrivals: 20_000, ..Options::default() }
        } else {
            options(&mut luck)
        };
        let text = mutated(&mut luck);
        let result = std::panic::catch_unwind(|| match parse("t", &text, &options) {
            Ok(trace) => {
                sound(&trace);
                true
            }
            Err(errors) => {
                assert!(!errors.problems.is_empty() && errors.problems.len() <= 20);
                assert!(errors.problems.iter().all(|problem| !problem.message.is_empty()));
                assert_eq!(errors.to_string().lines().count(), errors.problems.len() + usize::from(errors.more > 0));
                false
            }
        });
        match result {
            Ok(true) => imported += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("case {case}: {options:?}\n{}", String::from_utf8_lossy(&text)),
        }
    }
    assert!(imported > CASES / 10 && refused > CASES / 10, "{imported} imported, {refused} refused");
}
