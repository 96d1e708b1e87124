//! Watches: what changed, a line of JSON each, from a revision on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::Shared;
use super::call::Call;
use super::errors::Refusal;
use super::kinds::Kind;
use super::select::Selector;
use super::store::{Change, Store, Stored, What};

pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Events taken at a time, so that one slow watch keeps nobody out.
const BATCH: usize = 500;

/// What a test does to watches.
#[derive(Clone, Debug)]
pub struct Order {
    pub what: Ending,
    /// All of them without one.
    pub plural: Option<String>,
    pub client: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// As when `timeoutSeconds` are over.
    Ends,
    /// In the middle of it all, as when a server goes.
    Breaks,
    /// With 410 within the stream.
    Expires,
}

pub struct Watch {
    pub shared: Arc<Shared>,
    pub client: String,
    pub kind: Arc<Kind>,
    api_version: String,
    namespace: String,
    selector: Selector,
    metadata: bool,
    bookmarks: bool,
    lasts: Duration,
    /// Up to where everything was sent.
    at: u64,
}

/// What to send, and whether that is the end.
enum Next {
    Lines(Vec<Bytes>),
    Expired(Bytes),
}

impl Watch {
    /// The first lines, and the watch to go on with.
    pub fn open(
        shared: &Arc<Shared>,
        store: &Store,
        client: &str,
        kind: &Arc<Kind>,
        call: &Call,
    ) -> Result<(Vec<Bytes>, Watch), Refusal> {
        let target = call.target.as_ref().unwrap();
        let mut selector = Selector::parse(call.query("labelSelector"), call.query("fieldSelector"))?;
        if !target.name.is_empty() {
            selector = Selector::parse("", &format!("metadata.name={}", target.name))?;
        }
        let given = call.query("resourceVersion");
        let from = match given {
            "" => 0,
            text => text.parse::<u64>().map_err(|_| {
                let why = format!("strconv.ParseUint: parsing \"{text}\": invalid syntax");
                Refusal::no_number(&format!("resourceVersion: Invalid value: \"{text}\": {why}"))
            })?,
        };
        let streamed = call.flag("sendInitialEvents");
        if streamed && call.query("resourceVersionMatch") != "NotOlderThan" {
            let what = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            let (reason, field) = ("FieldValueForbidden", "resourceVersionMatch");
            return Err(Refusal::invalid("ListOptions", "meta.k8s.io", "", reason, field, what));
        }
        let seconds = call.query("timeoutSeconds").parse().unwrap_or(1800);
        let mut watch = Watch {
            shared: Arc::clone(shared),
            client: client.to_owned(),
            kind: Arc::clone(kind),
            api_version: kind.api_version(&target.version),
            namespace: target.namespace.clone(),
            selector,
            metadata: call.wants_metadata(),
            bookmarks: call.flag("allowWatchBookmarks"),
            lasts: Duration::from_secs(seconds),
            at: from,
        };
        let mut lines = Vec::new();
        if from == 0 || streamed {
            let all = store.matching(kind, &watch.namespace, &watch.selector);
            lines.extend(all.iter().map(|object| watch.line("ADDED", object)));
            watch.at = store.rv;
            // From 0 it comes unasked.
            if watch.bookmarks && (streamed || given == "0") {
                lines.push(watch.bookmark(store.rv, true));
            }
        }
        Ok((lines, watch))
    }

    fn line(&self, what: &str, object: &Stored) -> Bytes {
        let bytes = if self.metadata { object.partial() } else { object.full() };
        let mut line = Vec::with_capacity(bytes.len() + 32);
        line.extend_from_slice(format!("{{\"type\":\"{what}\",\"object\":").as_bytes());
        line.extend_from_slice(&bytes);
        line.extend_from_slice(b"}\n");
        line.into()
    }

    fn bookmark(&self, rv: u64, initial: bool) -> Bytes {
        let mut object = if self.metadata {
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"})
        } else {
            json!({"kind": self.kind.kind, "apiVersion": self.api_version})
        };
        object["metadata"] = json!({"resourceVersion": rv.to_string()});
        if initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        if self.kind.scale.is_some() && !self.kind.custom && !self.metadata {
            // Go writes a type's fields even where they are nothing.
            object["spec"] = json!({"replicas": 0, "selector": null,
                "template": {"metadata": {}, "spec": {"containers": null}}, "strategy": {}});
            object["status"] = json!({});
        }
        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into()
    }

    fn error(status: &Value) -> Bytes {
        format!("{}\n", json!({"type": "ERROR", "object": status})).into()
    }

    /// What of a change this watch sees: an object that begins to match is new to it, one that ceases to is gone.
    fn event(&self, change: &Change) -> Option<Bytes> {
        if !self.namespace.is_empty() && change.object.key.0 != self.namespace {
            return None;
        }
        let matches = |object: &Stored| self.selector.matches(&object.key, &object.value);
        let before = change.before.as_ref().is_some_and(|object| matches(object));
        let after = change.what != What::Deleted && matches(&change.object);
        let what = match (before, after) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        match &change.before {
            // As it last matched, but at this revision.
            Some(before) if what == "DELETED" && change.what != What::Deleted => {
                Some(self.line(what, &before.at(change.rv)))
            }
            _ => Some(self.line(what, &change.object)),
        }
    }

    fn next(&mut self) -> Next {
        let store = self.shared.store();
        let Some(table) = store.table(&self.kind.group, &self.kind.plural) else {
            // The definition is gone.
            return Next::Expired(Watch::error(Refusal::watch_expired(self.at, store.rv).status()));
        };
        if self.at < table.compacted {
            return Next::Expired(Watch::error(Refusal::watch_expired(self.at, table.compacted).status()));
        }
        let from = table.history.partition_point(|change| change.rv <= self.at);
        let batch: Vec<Arc<Change>> = table.history.iter().skip(from).take(BATCH).cloned().collect();
        drop(store);
        if let Some(last) = batch.last() {
            self.at = last.rv;
        }
        Next::Lines(batch.iter().filter_map(|change| self.event(change)).collect())
    }

    /// The body: `first`, and everything that happens until it ends.
    pub fn run(mut self, first: Vec<Bytes>) -> Body {
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            if let Some(end) = self.send(&sender, first).await {
                let _ = sender.send(end).await;
            }
        });
        StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync()
    }

    /// Some is the last thing to send.
    async fn send(
        &mut self,
        sender: &mpsc::Sender<io::Result<Frame<Bytes>>>,
        first: Vec<Bytes>,
    ) -> Option<io::Result<Frame<Bytes>>> {
        let mut orders = self.shared.orders.subscribe();
        let mut changed = self.shared.store().table(&self.kind.group, &self.kind.plural)?.changed.subscribe();
        let data = |lines: Vec<Bytes>| Ok(Frame::data(Bytes::from(lines.concat())));
        if !first.is_empty() {
            sender.send(data(first)).await.ok()?;
        }
        let ends = Instant::now() + self.lasts;
        let every = self.shared.bookmark_every();
        let start = Instant::now();
        // The last one comes shortly before the end.
        let farewell = start + self.lasts.saturating_sub(Duration::from_secs(2));
        let mut bookmark = (start + every).min(farewell);
        loop {
            changed.borrow_and_update();
            let sent = self.at;
            match self.next() {
                Next::Expired(line) => return Some(data(vec![line])),
                Next::Lines(lines) if !lines.is_empty() => {
                    sender.send(data(lines)).await.ok()?;
                    continue;
                }
                Next::Lines(_) if self.at != sent => continue,
                Next::Lines(_) => {}
            }
            tokio::select! {
                gone = changed.changed() => gone.ok().unwrap_or_default(),
                () = sender.closed() => return None,
                () = tokio::time::sleep_until(ends) => return None,
                () = tokio::time::sleep_until(bookmark), if self.bookmarks => {
                    bookmark = if bookmark < farewell { (bookmark + every).min(farewell) } else { ends };
                    // Nothing up to now is unsent: whatever comes has a higher revision.
                    let rv = {
                        let store = self.shared.store();
                        let table = store.table(&self.kind.group, &self.kind.plural)?;
                        if *table.changed.borrow() > self.at { continue }
                        store.rv
                    };
                    self.at = self.at.max(rv);
                    sender.send(data(vec![self.bookmark(rv, false)])).await.ok()?;
                }
                order = orders.recv() => match order {
                    Ok(order) if self.obeys(&order) => return self.end(order.what),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    fn obeys(&self, order: &Order) -> bool {
        order.plural.as_ref().is_none_or(|plural| *plural == self.kind.plural)
            && order.client.as_ref().is_none_or(|client| *client == self.client)
    }

    fn end(&self, how: Ending) -> Option<io::Result<Frame<Bytes>>> {
        match how {
            Ending::Ends => None,
            Ending::Breaks => Some(Err(io::Error::other("cut"))),
            Ending::Expires => {
                let rv = self.shared.store().rv;
                Some(Ok(Frame::data(Watch::error(Refusal::watch_expired(self.at, rv).status()))))
            }
        }
    }
}
