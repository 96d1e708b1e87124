//! The watch of one kind, in one namespace or in all.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};

use super::WorkloadRef;
use super::entry::Heard;
use super::slim::Slim;
use super::views::Views;
use crate::cluster::client::Kube;
use crate::cluster::discovery::Kind;

/// Watches for ever; errors are retried with growing pauses of up to half a minute.
pub(super) async fn watch<const META: bool>(kube: Kube, kind: Arc<Kind>, namespace: Arc<str>, views: Arc<Views>) {
    let (group, name): (Arc<str>, Arc<str>) = (kind.api.group.as_str().into(), kind.api.kind.as_str().into());
    let api: Api<Slim<META>> = if namespace.is_empty() {
        Api::all_with(kube.client.clone(), &kind.api)
    } else {
        Api::namespaced_with(kube.client.clone(), &namespace, &kind.api)
    };
    // Lists are not answered from a cache that may lag: what a list does not show is taken for missing.
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut list = None;
    while let Some(event) = events.next().await {
        let read = |object: &Slim<META>| read(object, &group, &name);
        match event {
            // Asked for when the stream is polled again.
            Ok(Event::Init) => list = Some((views.list_begins(), kube.clock.now())),
            Ok(Event::InitApply(object)) => {
                if let Some((workload, heard)) = read(&object) {
                    views.heard(&workload, heard, list);
                }
            }
            Ok(Event::InitDone) => {
                if let Some((round, asked)) = list.take() {
                    views.list_done(&group, &name, &namespace, round, asked);
                }
            }
            Ok(Event::Apply(object)) => {
                views.watch_works(&group, &name, &namespace);
                if let Some((workload, heard)) = read(&object) {
                    views.heard(&workload, heard, None);
                }
            }
            Ok(Event::Delete(object)) => {
                if let Some((workload, heard)) = read(&object) {
                    views.gone(&workload, Some(&heard.uid));
                }
            }
            Err(error) => {
                tracing::debug!(kind = %name, namespace = %namespace, error = said(&error), "watch of workloads failed");
                views.watch_fails(&group, &name, &namespace, &error);
            }
        }
    }
}

fn read<const META: bool>(object: &Slim<META>, group: &Arc<str>, kind: &Arc<str>) -> Option<(WorkloadRef, Heard)> {
    let meta = kube::Resource::meta(object);
    let workload = WorkloadRef {
        group: Arc::clone(group),
        kind: Arc::clone(kind),
        namespace: meta.namespace.as_deref()?.into(),
        name: meta.name.as_deref()?.into(),
    };
    let heard = Heard {
        resource_version: meta.resource_version.as_deref()?.into(),
        uid: meta.uid.as_deref().unwrap_or_default().into(),
        generation: meta.generation,
        counts: object.counts,
        set_by: object.set_by,
    };
    Some((workload, heard))
}

/// Whether a watch ended for want of a right.
pub(in crate::cluster) fn is_forbidden(error: &watcher::Error) -> bool {
    status_of(error).is_some_and(|status| status.code == 403)
}

/// Whether what was to be watched is not served.
pub(in crate::cluster) fn is_not_served(error: &watcher::Error) -> bool {
    status_of(error).is_some_and(|status| status.code == 404)
}

pub(in crate::cluster) fn said(error: &watcher::Error) -> String {
    const LONGEST: usize = 512;
    let text = status_of(error).map_or_else(|| error.to_string(), |status| status.message.clone());
    text.trim().chars().take(LONGEST).collect()
}

fn status_of(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}
