//! How everything here is watched: listed in pages, then watched, and after a failure tried again with growing pauses.

use std::time::Duration;

use futures_util::Stream;
use kube::Api;
use kube::runtime::utils::ResetTimerBackoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};

use super::raw::Raw;

/// What a watch says.
pub(in crate::cluster) type Watched = Result<Event<Raw>, watcher::Error>;

/// Objects of one page of a list: what kubectl asks for, some megabytes at most.
const PAGE: u32 = 500;

/// The first pause, as client-go has it.
const FIRST_PAUSE: Duration = Duration::from_millis(800);
/// The longest. Kinds that are installed late are found within this, and an API server that is down hears of a hundred
/// processes ten times a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// After so long without a failure, pauses begin anew.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Pauses that double. They differ a little between processes and between the watches of one, so that they do not come
/// back all at once.
pub(in crate::cluster) struct Backoff {
    spread: f64,
    next: Duration,
}

impl Backoff {
    pub(in crate::cluster) fn new(watch: usize) -> ResetTimerBackoff<Self> {
        // Of 17 steps from 1 to 1.5; neighbours are far apart.
        let step = (std::process::id() as usize).wrapping_add(watch.wrapping_mul(5)) % 17;
        let spread = 1.0 + step as f64 / 32.0;
        ResetTimerBackoff::new(Backoff { spread, next: FIRST_PAUSE }, FORGIVEN)
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(LONGEST_PAUSE);
        Some(pause.mul_f64(self.spread).min(LONGEST_PAUSE))
    }
}

impl kube::runtime::utils::Backoff for Backoff {
    fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }
}

/// Watches what is behind `api`, or the one object of this name. `number` tells the watches of a process apart.
pub(in crate::cluster) fn watched(
    api: Api<Raw>,
    name: Option<&str>,
    number: usize,
) -> impl Stream<Item = Watched> + Send + 'static {
    let mut config = watcher::Config::default();
    if let Some(name) = name {
        config = config.fields(&format!("metadata.name={name}"));
    }
    watched_with(api, config, number)
}

/// The same of what `config` selects.
pub(in crate::cluster) fn watched_with(
    api: Api<Raw>,
    config: watcher::Config,
    number: usize,
) -> impl Stream<Item = Watched> + Send + 'static {
    watch(api, config.page_size(PAGE)).backoff(Backoff::new(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds() {
        let mut backoff = Backoff { spread: 1.5, next: FIRST_PAUSE };
        let pauses: Vec<u128> = backoff.by_ref().take(6).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [1200, 2400, 4800, 9600, 10_000, 10_000]);
        kube::runtime::utils::Backoff::reset(&mut backoff);
        assert_eq!(backoff.next(), Some(Duration::from_millis(1200)));
    }
}
