//! Autoscalers as they come, change and go: from manifest files, from custom resources, from KEDA's calls.
//!
//! One name is one autoscaler, whoever speaks of it. A manifest file stands above a custom resource of its name, and
//! either above what KEDA's calls say; a resource that a file stood above comes into force when that goes.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Entry, REGISTRATION_LIFETIME, Runtime};
use crate::board::{Cell, Intake};
use crate::engine::Event;
use crate::model::{AutoscalerId, Key, Tick};
use crate::spec::{AutoscalerSpec, Change, Origin, SpecsChange};
use crate::telemetry::names;

impl Runtime {
    pub(super) fn registered(&mut self, asks: impl Iterator<Item = Intake>) {
        let now = self.clock.now();
        let mut new = Vec::new();
        let mut replies = Vec::new();
        for Intake::Register { spec, reply } in asks {
            let known = self.entry(&spec.id).map(|entry| (Arc::clone(&entry.cell), entry.origin));
            let cell = match known {
                // A manifest of this very name stands above what a call says.
                Some((cell, Origin::Manifest | Origin::Resource)) => cell,
                // The same metadata may mean another server after the connections changed.
                Some((cell, Origin::KedaMetadata)) if cell.peek(|published| published.spec == spec) => cell,
                Some((cell, Origin::KedaMetadata)) => {
                    let before = cell.peek(|published| Arc::clone(&published.spec));
                    if let Err(full) = self.tenants.admit_instead(&before, &spec, now) {
                        replies.push((reply, Err(full)));
                        continue;
                    }
                    self.set(now, spec)
                }
                None => {
                    if let Err(full) = self.tenants.admit(&spec, now) {
                        replies.push((reply, Err(full)));
                        continue;
                    }
                    if let Some(left_out) = self.flood.admit(now) {
                        tracing::info!(autoscaler = %spec.id, left_out, "registered by a KEDA call");
                    }
                    let cell = self.set(now, spec);
                    new.push(Arc::clone(&cell));
                    cell
                }
            };
            cell.touch(now);
            replies.push((reply, Ok(cell)));
        }
        if !new.is_empty() {
            self.outputs.board.insert(new);
            self.count();
        }
        for (reply, answer) in replies {
            // Nobody listens any more: the caller gave up, and the next call finds it registered.
            drop(reply.send(answer));
        }
    }

    /// Makes the set of manifest autoscalers what was loaded; what did not change is not touched.
    pub(super) fn replace_manifests(&mut self, specs: &[Arc<AutoscalerSpec>]) {
        let now = self.clock.now();
        let wanted: HashMap<&AutoscalerId, &Arc<AutoscalerSpec>> = specs.iter().map(|spec| (&spec.id, spec)).collect();
        let mut gone: Vec<AutoscalerId> = self
            .entries
            .iter()
            .flatten()
            .filter(|entry| entry.origin == Origin::Manifest && !wanted.contains_key(&entry.cell.id))
            .map(|entry| entry.cell.id.clone())
            .collect();
        let mut cells = Vec::new();
        // What it stood above comes into force.
        gone.retain(|id| match self.overshadowed.remove(id) {
            Some(resource) => {
                cells.push(self.set(now, resource));
                false
            }
            None => true,
        });
        self.remove(now, &gone);
        for spec in specs {
            if let Some(entry) = self.entry(&spec.id)
                && entry.origin == Origin::Resource
            {
                let resource = entry.cell.peek(|published| Arc::clone(&published.spec));
                tracing::warn!(autoscaler = %spec.id, "a manifest file stands above the custom resource of this name");
                self.overshadowed.insert(spec.id.clone(), resource);
            }
            if self.entry(&spec.id).is_none_or(|entry| entry.cell.peek(|published| published.spec != *spec)) {
                cells.push(self.set(now, Arc::clone(spec)));
            }
        }
        tracing::info!(autoscalers = specs.len(), changed = cells.len(), removed = gone.len(), "manifests in force");
        self.outputs.board.insert(cells);
        self.count();
    }

    /// Custom resources that came, changed or went.
    pub(super) fn change_resources(&mut self, change: SpecsChange) {
        let now = self.clock.now();
        let SpecsChange { set, mut gone } = change;
        gone.retain(|id| {
            self.overshadowed.remove(id);
            self.entry(id).is_some_and(|entry| entry.origin == Origin::Resource)
        });
        self.remove(now, &gone);
        let mut cells = Vec::new();
        for spec in set {
            match self.entry(&spec.id) {
                Some(entry) if entry.origin == Origin::Manifest => {
                    tracing::warn!(autoscaler = %spec.id, "a manifest file stands above the custom resource of this name");
                    self.overshadowed.insert(spec.id.clone(), spec);
                }
                Some(entry) if entry.cell.peek(|published| published.spec == spec) => {}
                _ => cells.push(self.set(now, spec)),
            }
        }
        tracing::debug!(changed = cells.len(), removed = gone.len(), "custom resources in force");
        self.outputs.board.insert(cells);
        self.count();
    }

    pub(super) fn expire_registrations(&mut self, now: Tick) {
        let expired: Vec<AutoscalerId> = self
            .entries
            .iter()
            .flatten()
            .filter(|entry| entry.origin == Origin::KedaMetadata)
            .filter(|entry| now.since(entry.cell.last_asked()) > REGISTRATION_LIFETIME)
            .map(|entry| entry.cell.id.clone())
            .collect();
        for id in &expired {
            if let Some(left_out) = self.flood.admit(now) {
                tracing::info!(autoscaler = %id, left_out, "registration expired: no KEDA call named it for a while");
            }
        }
        self.remove(now, &expired);
        self.count();
    }

    // === keys ===

    /// Adds or replaces one; its cell is not on the board yet if it is new.
    fn set(&mut self, now: Tick, spec: Arc<AutoscalerSpec>) -> Arc<Cell> {
        let role = self.outputs.roles.of(&spec);
        let key = self.keys.get(&spec.id).copied().unwrap_or_else(|| self.free_key());
        self.keys.insert(spec.id.clone(), key);
        if spec.origin == Origin::KedaMetadata {
            self.tenants.came(&spec);
        }
        let cell = match self.entries.get_mut(key.index()) {
            Some(Some(entry)) => {
                if entry.origin == Origin::KedaMetadata {
                    entry.cell.peek(|published| self.tenants.left(&published.spec));
                }
                entry.cell.respec(Arc::clone(&spec));
                entry.origin = spec.origin;
                Arc::clone(&entry.cell)
            }
            place => {
                let cell = Arc::new(Cell::new(Arc::clone(&spec), now));
                let entry = Entry { cell: Arc::clone(&cell), spare: None, origin: spec.origin, last_desired: None };
                place.map(|place| place.insert(entry));
                cell
            }
        };
        if let Some(since) = self.asking.get_mut(key.index()) {
            *since = now;
        }
        self.handle(now, key, Event::Spec { spec: Arc::clone(&spec), role });
        self.restore(now, key, &spec.id);
        self.pace(now, key);
        // The poller gone means the process is going down.
        drop(self.outputs.polls.send(Change::Set(key, spec)));
        cell
    }

    fn remove(&mut self, now: Tick, ids: &[AutoscalerId]) {
        if ids.is_empty() {
            return;
        }
        for id in ids {
            let Some(key) = self.keys.remove(id) else { continue };
            // What it asked for last is taken back.
            self.handle(now, key, Event::Gone);
            self.slowed.forget(key);
            self.remembering.gone(key, id);
            if let Some(since) = self.asking.get_mut(key.index()) {
                *since = Tick::NEVER;
            }
            if let Some(place) = self.entries.get_mut(key.index()) {
                if let Some(entry) = place.take_if(|entry| entry.origin == Origin::KedaMetadata) {
                    entry.cell.peek(|published| self.tenants.left(&published.spec));
                }
                *place = None;
                self.free.push(key);
            }
            drop(self.outputs.polls.send(Change::Removed(key)));
        }
        self.outputs.board.remove(ids);
    }

    fn free_key(&mut self) -> Key {
        if let Some(key) = self.free.pop() {
            return key;
        }
        self.entries.push(None);
        self.deadlines.push(Tick::NEVER);
        self.asking.push(Tick::NEVER);
        // Four thousand million autoscalers do not fit into memory.
        Key(u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX))
    }

    fn entry(&self, id: &AutoscalerId) -> Option<&Entry> {
        self.entries.get(self.keys.get(id)?.index())?.as_ref()
    }

    fn count(&self) {
        for (origin, label) in
            [(Origin::Manifest, "manifest"), (Origin::Resource, "resource"), (Origin::KedaMetadata, "keda")]
        {
            let count = self.entries.iter().flatten().filter(|entry| entry.origin == origin).count();
            metrics::gauge!(names::AUTOSCALERS, "origin" => label).set(count as f64);
        }
    }
}
