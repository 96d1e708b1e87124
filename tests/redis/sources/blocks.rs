//! Each layout, observed in whole; and an empty database, of which every block says that there is nothing to do.

use super::layouts::{self, Layout};
use super::rig::{assert_same, observe, observe_one};
use crate::support::redis::RedisProcess;

pub fn lay_out(server: &RedisProcess, layout: &Layout) {
    let mut connection = server.connect().unwrap();
    for words in std::iter::once(&vec!["FLUSHALL".to_owned()]).chain(&layout.made_by) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _: redis::Value = server.command_on(&mut connection, &words);
    }
}

#[test]
fn what_a_framework_lays_out_is_observed_in_whole() {
    let server = RedisProcess::start();
    for layout in layouts::all() {
        lay_out(&server, &layout);
        assert_same(layout.name, &observe_one(&server, layout.block), &layout.holds);
    }
}

/// All blocks at once, as an autoscaler's triggers on one connection.
#[test]
fn nothing_at_all_is_no_failure() {
    let server = RedisProcess::start();
    let layouts = layouts::all();
    let blocks: Vec<&str> = layouts.iter().map(|layout| layout.block).collect();
    for (layout, found) in layouts.iter().zip(observe(&server, &blocks)) {
        let found = found.unwrap_or_else(|failure| panic!("{}: {failure}", layout.name));
        assert_same(layout.name, &found, &layout.empty);
    }
}
