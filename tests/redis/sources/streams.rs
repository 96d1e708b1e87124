//! Consumer groups: lags that Redis knows, does not know, and gets wrong; groups and streams that are not there.

use tidegate::model::{Measure, Observation};

use super::rig::{assert_same, now, observe_one, run};
use crate::support::redis::RedisProcess;

const LAG: &str = "redisStream: { key: orders, group: workers }";
const PENDING: &str = "redisStream: { key: orders, group: workers, backlog: pending }";
const LENGTH: &str = "redisStream: { key: orders, backlog: length }";

/// A stream of entries a second apart, the first of which is `entries` seconds old.
struct Stream {
    server: RedisProcess,
    began: u64,
    entries: u64,
}

impl Stream {
    fn of(entries: u64) -> Self {
        let stream = Stream { server: RedisProcess::start(), began: now() - entries * 1000, entries };
        let script = "for i = 0, ARGV[2] - 1 do redis.call('XADD', 'orders', string.format('%.0f-0', ARGV[1] + i * 1000), \
                      'a', 'b') end";
        stream.run(&["EVAL", script, "0", &stream.began.to_string(), &entries.to_string()]);
        stream
    }

    fn id(&self, entry: u64) -> String {
        format!("{}-0", self.began + entry * 1000)
    }

    fn run(&self, words: &[&str]) {
        run(&self.server, words);
    }

    /// Makes the group and has it take so many.
    fn taken(self, entries: u64) -> Self {
        self.run(&["XGROUP", "CREATE", "orders", "workers", "0"]);
        self.take(entries);
        self
    }

    fn take(&self, entries: u64) {
        let count = entries.to_string();
        self.run(&["XREADGROUP", "GROUP", "workers", "me", "COUNT", &count, "STREAMS", "orders", ">"]);
    }

    /// Whether Redis itself says so; if it ever says something else, the test is about nothing any more.
    fn says_lag(&self, lag: Option<i64>) {
        let groups: Vec<redis::Value> = self.server.command(&["XINFO", "GROUPS", "orders"]);
        let group: std::collections::HashMap<String, redis::Value> =
            redis::from_redis_value(groups[0].clone()).unwrap();
        let said: Option<i64> = redis::from_redis_value(group["lag"].clone()).unwrap();
        assert_eq!(said, lag, "{group:?}");
    }

    fn assert_holds(&self, what: &str, block: &str, expected: Observation) {
        assert_same(what, &observe_one(&self.server, block), &expected);
    }

    /// `behind` entries the group was not given, `pending` that it has not acknowledged.
    fn lags(&self, behind: u64, pending: u64, added: u64, taken: Option<u64>) -> Observation {
        let oldest = |behind: u64| Measure::new((now() - self.began) as f64 / 1000.0 - (self.entries - behind) as f64);
        Observation {
            in_flight: (pending as f64).into(),
            oldest_age: if behind == 0 { Measure::UNKNOWN } else { oldest(behind) },
            added: (added as f64).into(),
            taken: taken.map(|taken| (taken as f64).into()).unwrap_or_default(),
            ..Observation::of_backlog(behind as f64)
        }
    }
}

#[test]
fn what_the_group_was_not_given_waits_and_what_it_has_not_acknowledged_is_in_flight() {
    let stream = Stream::of(10).taken(4);
    stream.run(&["XACK", "orders", "workers", &stream.id(0)]);
    stream.says_lag(Some(6));
    stream.assert_holds("lag", LAG, stream.lags(6, 3, 10, Some(4)));
    let pending =
        Observation { in_flight: Measure::UNKNOWN, oldest_age: Measure::UNKNOWN, ..stream.lags(3, 0, 10, Some(4)) };
    stream.assert_holds("pending", PENDING, pending);
    stream.assert_holds("length", LENGTH, Observation::of_backlog(10.0));
    stream.take(6);
    stream.assert_holds("all given", LAG, stream.lags(0, 9, 10, Some(10)));
}

#[test]
fn what_does_not_exist_yet_is_no_failure() {
    let server = RedisProcess::start();
    let nothing = Observation { in_flight: 0.0.into(), ..Observation::default() };
    assert_same("no stream", &observe_one(&server, LAG), &nothing);
    assert_same("no stream", &observe_one(&server, PENDING), &Observation::default());
    assert_same("no stream", &observe_one(&server, LENGTH), &Observation::default());
}

#[test]
fn all_of_a_stream_waits_for_a_group_that_does_not_exist_yet() {
    let stream = Stream::of(10);
    stream.run(&["XGROUP", "DESTROY", "orders", "workers"]);
    stream.run(&["XGROUP", "CREATE", "orders", "others", "0"]);
    stream.assert_holds("no group", LAG, stream.lags(10, 0, 10, None));
    let pending = Observation { added: 10.0.into(), ..Observation::default() };
    stream.assert_holds("no group", PENDING, pending);
    // Its workers make it when they start.
    stream.run(&["XGROUP", "CREATE", "orders", "workers", "$"]);
    stream.assert_holds("made at the end", LAG, stream.lags(0, 0, 10, None));
}

#[test]
fn a_lag_that_redis_does_not_know_is_counted() {
    // A group that begins in the middle.
    let stream = Stream::of(10);
    stream.run(&["XGROUP", "CREATE", "orders", "workers", &stream.id(6)]);
    stream.says_lag(None);
    stream.assert_holds("begun in the middle", LAG, stream.lags(3, 0, 10, None));

    // An entry that was deleted before the group was given it.
    let stream = Stream::of(10).taken(4);
    stream.run(&["XDEL", "orders", &stream.id(6)]);
    stream.says_lag(None);
    let behind = Observation { backlog: 5.0, ..stream.lags(6, 4, 10, Some(4)) };
    stream.assert_holds("deleted before it was given", LAG, behind);
}

#[test]
fn a_lag_that_redis_gets_wrong_is_mended() {
    // What was trimmed is behind nobody any more.
    let stream = Stream::of(10).taken(2);
    stream.run(&["XTRIM", "orders", "MAXLEN", "3"]);
    stream.says_lag(Some(8));
    stream.assert_holds("trimmed", LAG, stream.lags(3, 2, 10, Some(2)));
    stream.take(3);
    stream.assert_holds(
        "trimmed and then all given",
        LAG,
        Observation { taken: stream_taken(&stream), ..stream.lags(0, 5, 10, None) },
    );

    let stream = Stream::of(10).taken(2);
    stream.run(&["XTRIM", "orders", "MAXLEN", "0"]);
    stream.assert_holds("all trimmed", LAG, stream.lags(0, 2, 10, Some(2)));

    // The last entries were deleted: there is nothing behind the group, whatever it was not given.
    let stream = Stream::of(10).taken(8);
    stream.run(&["XDEL", "orders", &stream.id(8), &stream.id(9)]);
    let nothing = stream.lags(0, 8, 10, Some(8));
    stream.assert_holds("the last ones deleted", LAG, nothing);

    // Deleting what was given changes nothing about what was not.
    let stream = Stream::of(10).taken(6);
    stream.run(&["XDEL", "orders", &stream.id(1), &stream.id(2)]);
    stream.assert_holds("deleted after it was given", LAG, stream.lags(4, 6, 10, Some(6)));
}

/// What Redis says of entries read after it lost count.
fn stream_taken(stream: &Stream) -> Measure {
    let groups: Vec<redis::Value> = stream.server.command(&["XINFO", "GROUPS", "orders"]);
    let group: std::collections::HashMap<String, redis::Value> = redis::from_redis_value(groups[0].clone()).unwrap();
    let read: Option<f64> = redis::from_redis_value(group["entries-read"].clone()).unwrap();
    read.map(Measure::new).unwrap_or_default()
}

/// More entries than are counted one by one.
#[test]
fn a_long_lag_that_redis_does_not_know_is_reckoned() {
    // By the counters: one entry too many, the deleted one.
    let stream = Stream::of(5_000).taken(10);
    stream.run(&["XDEL", "orders", &stream.id(3_000)]);
    stream.says_lag(None);
    let backlog = observe_one(&stream.server, LAG).backlog;
    assert!((4_989.0..=4_990.0).contains(&backlog), "{backlog}");

    // By the times.
    let stream = Stream::of(5_000);
    stream.run(&["XGROUP", "CREATE", "orders", "workers", &stream.id(1_999)]);
    stream.says_lag(None);
    let backlog = observe_one(&stream.server, LAG).backlog;
    assert!((2_990.0..=3_010.0).contains(&backlog), "{backlog}");
}
