//! Which pods there are to be asked, as it is now. Whoever follows the cluster writes, whoever scrapes reads and says what
//! it needs; nothing is asked of anybody on the way, so that a slow API server holds up no round.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::model::FoundPods;
use crate::spec::Pods;

/// What is known of the pods that somebody scrapes; copies share it. The default one knows of no cluster.
#[derive(Clone, Default)]
pub struct Endpoints(Option<Arc<Store>>);

struct Store {
    /// What is known of each that is wanted, and how many want it.
    wanted: Mutex<HashMap<Pods, Wanted>>,
    needs: AtomicU64,
    /// Counts changes of what is wanted.
    changes: watch::Sender<u64>,
}

struct Wanted {
    /// Tells this need from an earlier one for the same pods, of which nothing is known any more.
    number: u64,
    users: usize,
    found: watch::Sender<FoundPods>,
}

/// Follows the pods of one Connection; dropping it ends the need for them.
pub struct Watching {
    of: Pods,
    store: Arc<Store>,
    found: watch::Receiver<FoundPods>,
}

impl Endpoints {
    /// Of a cluster; nothing has been read yet.
    #[must_use]
    pub fn of_cluster() -> Self {
        Endpoints(Some(Arc::new(Store {
            wanted: Mutex::default(),
            needs: AtomicU64::default(),
            changes: watch::Sender::new(0),
        })))
    }

    /// Begins to follow these pods. `None`: tidegate runs without a cluster.
    #[must_use]
    pub fn watch(&self, pods: &Pods) -> Option<Watching> {
        let store = self.0.as_ref()?;
        let mut wanted = store.lock();
        let entry = wanted.entry(pods.clone()).or_insert_with(|| Wanted {
            number: store.needs.fetch_add(1, Ordering::Relaxed),
            users: 0,
            found: watch::Sender::default(),
        });
        entry.users += 1;
        let found = entry.found.subscribe();
        let is_new = entry.users == 1;
        drop(wanted);
        if is_new {
            store.changed();
        }
        Some(Watching { of: pods.clone(), store: Arc::clone(store), found })
    }

    /// All that is wanted now, each with the number of the need. For whoever follows the cluster: what was found for an
    /// earlier need has to be found anew for a later one.
    #[must_use]
    pub fn wanted(&self) -> Vec<(Pods, u64)> {
        let all =
            |store: &Arc<Store>| store.lock().iter().map(|(pods, wanted)| (pods.clone(), wanted.number)).collect();
        self.0.as_ref().map_or_else(Vec::new, all)
    }

    /// What is known of some pods from now on. Nobody may want them any more.
    pub fn set(&self, pods: &Pods, found: FoundPods) {
        let Some(store) = &self.0 else { return };
        if let Some(wanted) = store.lock().get(pods) {
            wanted.found.send_if_modified(|known| {
                let other = *known != found;
                *known = found;
                other
            });
        }
    }

    /// Tells that something else is wanted; `None` where there is no cluster.
    #[must_use]
    pub fn changes(&self) -> Option<watch::Receiver<u64>> {
        self.0.as_ref().map(|store| store.changes.subscribe())
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Endpoints(of a cluster)" } else { "Endpoints(none)" })
    }
}

impl Store {
    /// A thread that panicked while holding the lock left counts behind: nothing to repair.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Pods, Wanted>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Watching {
    /// What is known now.
    #[must_use]
    pub fn found(&self) -> FoundPods {
        self.found.borrow().clone()
    }

    /// The same, but waits for the first answer of the API server. May be dropped at any time.
    pub async fn found_soon(&mut self) -> FoundPods {
        // The sender lives as long as this.
        let known = self.found.wait_for(|found| *found != FoundPods::NotRead).await;
        known.map_or(FoundPods::NotRead, |found| found.clone())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut wanted = self.store.lock();
        let Some(entry) = wanted.get_mut(&self.of) else { return };
        entry.users = entry.users.saturating_sub(1);
        if entry.users == 0 {
            wanted.remove(&self.of);
            drop(wanted);
            self.store.changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pod;
    use crate::spec::{PodPort, Which};

    fn pods(service: &str) -> Pods {
        Pods { namespace: "shop".into(), which: Which::Service(service.into()), port: PodPort::Number(8080) }
    }

    #[test]
    fn what_nobody_wants_is_forgotten() {
        assert!(Endpoints::default().watch(&pods("a")).is_none());
        let endpoints = Endpoints::of_cluster();
        let mut changes = endpoints.changes().unwrap();
        let (one, two) = (endpoints.watch(&pods("a")).unwrap(), endpoints.watch(&pods("a")).unwrap());
        assert!(changes.has_changed().unwrap());
        assert_eq!((endpoints.wanted(), one.found()), (vec![(pods("a"), 0)], FoundPods::NotRead));
        let ready = FoundPods::Ready([Pod { name: "a-0".into(), address: "10.0.0.1:8080".into() }].into());
        endpoints.set(&pods("a"), ready.clone());
        endpoints.set(&pods("b"), ready.clone());
        assert_eq!(two.found(), ready);
        changes.mark_unchanged();
        drop(one);
        assert!(!changes.has_changed().unwrap());
        drop(two);
        assert!(changes.has_changed().unwrap() && endpoints.wanted().is_empty());
        let again = endpoints.watch(&pods("a")).unwrap();
        assert_eq!((endpoints.wanted(), again.found()), (vec![(pods("a"), 1)], FoundPods::NotRead));
    }

    #[tokio::test]
    async fn the_first_answer_is_waited_for() {
        let endpoints = Endpoints::of_cluster();
        let mut watching = endpoints.watch(&pods("a")).unwrap();
        let missing = FoundPods::Missing("there is no Service shop/a".into());
        let (found, ()) = tokio::join!(watching.found_soon(), async {
            tokio::task::yield_now().await;
            endpoints.set(&pods("a"), missing.clone());
        });
        assert_eq!(found, missing);
    }
}
