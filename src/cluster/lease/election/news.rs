//! What a candidate hears of the Lease between two looks: a release within milliseconds, and renewals without asking.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::{Election, bounded};
use crate::cluster::lease::store::{News, Store};

/// After a watch that could not even begin (it may be forbidden, where looking is not). Looks do meanwhile.
const WATCH_AGAIN: Duration = Duration::from_secs(30);

impl<S: Store> Election<S> {
    /// The next thing that a watch tells; for ever where there is nothing to watch for.
    pub(super) async fn next_news(&mut self) -> News {
        if self.news.is_none() {
            let version = self.seen.as_ref().filter(|seen| !seen.deleted).and_then(|seen| seen.version());
            let (Some(version), None, false) = (version, self.held, self.in_doubt) else {
                return std::future::pending().await;
            };
            if self.clock.now() < self.no_watch_before {
                return std::future::pending().await;
            }
            match bounded(self.limit(), self.store.watch(version)).await {
                Ok(news) => self.news = Some(news),
                Err(error) => {
                    tracing::debug!(lease = self.lease(), %error, "the Lease cannot be watched; it is looked at instead");
                    self.no_watch_before = self.clock.now().after(WATCH_AGAIN);
                    return std::future::pending().await;
                }
            }
        }
        match &mut self.news {
            Some(news) => news.next().await.unwrap_or(News::Ended),
            None => std::future::pending().await,
        }
    }

    pub(super) fn learn(&mut self, news: News) {
        match news {
            News::Lease(lease) => self.observe(Some(*lease)),
            News::Deleted => self.observe(None),
            News::Alive => self.heard = self.clock.now(),
            News::Ended => {
                self.news = None;
                // What ends at once must not be asked for again at once; until then there are looks.
                self.no_watch_before = self.clock.now().after(self.settings.retry_period);
            }
        }
    }
}
