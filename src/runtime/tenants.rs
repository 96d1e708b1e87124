//! What each namespace has registered through KEDA's calls, and whether there is room for more.
//!
//! Manifests are the operator's own and are counted where they are read; a call's metadata is written by whoever may
//! create a ScaledObject, so that what it makes this process keep must be bounded here.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::Tick;
use crate::spec::limits::{Cap, Full, Limits};
use crate::spec::{AutoscalerSpec, ConnectionSpec};
use crate::telemetry::hush::Hush;
use crate::telemetry::names;

pub(super) struct Tenants {
    limits: Limits,
    registrations: usize,
    namespaces: HashMap<Arc<str>, Tenant>,
    hush: Hush,
}

/// One namespace, as long as it has registrations.
#[derive(Default)]
struct Tenant {
    registrations: usize,
    /// Connections with the number of triggers that use them.
    connections: HashMap<Arc<ConnectionSpec>, usize>,
}

impl Tenants {
    pub(super) fn new(limits: Limits) -> Self {
        for cap in Cap::ALL {
            // A rate needs to have seen where it began.
            metrics::counter!(names::REGISTRATIONS_REFUSED, "reason" => cap.as_str()).increment(0);
        }
        Tenants { limits, registrations: 0, namespaces: HashMap::new(), hush: Hush::default() }
    }

    /// Whether a new registration may come.
    ///
    /// # Errors
    /// The cap that it would break.
    pub(super) fn admit(&mut self, spec: &AutoscalerSpec, now: Tick) -> Result<(), Full> {
        let Some(full) = self.full(spec) else { return Ok(()) };
        metrics::counter!(names::REGISTRATIONS_REFUSED, "reason" => full.cap.as_str()).increment(1);
        if self.hush.may_speak(&spec.id.namespace, now) {
            tracing::warn!(namespace = %spec.id.namespace, autoscaler = %spec.id, reason = %full, "registration refused");
        }
        Err(full)
    }

    /// Whether `spec` may come where `before` is in force and would leave: it may name another server.
    ///
    /// # Errors
    /// As [`Tenants::admit`].
    pub(super) fn admit_instead(
        &mut self,
        before: &AutoscalerSpec,
        spec: &AutoscalerSpec,
        now: Tick,
    ) -> Result<(), Full> {
        self.left(before);
        let admitted = self.admit(spec, now);
        self.came(before);
        admitted
    }

    fn full(&self, spec: &AutoscalerSpec) -> Option<Full> {
        let Limits { registrations, registrations_per_namespace, connections_per_namespace, .. } = self.limits;
        if self.registrations >= registrations {
            return Some(Full { cap: Cap::Registrations, there: self.registrations });
        }
        let there = self.namespaces.get(&spec.id.namespace);
        let count = there.map_or(0, |tenant| tenant.registrations);
        if count >= registrations_per_namespace {
            return Some(Full { cap: Cap::RegistrationsPerNamespace, there: count });
        }
        let is_open = |connection| there.is_some_and(|tenant| tenant.connections.contains_key(connection));
        let opens = spec.triggers.iter().any(|trigger| !is_open(&trigger.connection));
        let count = there.map_or(0, |tenant| tenant.connections.len());
        (opens && count >= connections_per_namespace)
            .then_some(Full { cap: Cap::ConnectionsPerNamespace, there: count })
    }

    /// A registration that is in force now.
    pub(super) fn came(&mut self, spec: &AutoscalerSpec) {
        self.registrations += 1;
        let tenant = self.namespaces.entry(Arc::clone(&spec.id.namespace)).or_default();
        tenant.registrations += 1;
        for trigger in &spec.triggers {
            *tenant.connections.entry(Arc::clone(&trigger.connection)).or_default() += 1;
        }
    }

    /// A registration that is not in force any more.
    pub(super) fn left(&mut self, spec: &AutoscalerSpec) {
        self.registrations = self.registrations.saturating_sub(1);
        let Some(tenant) = self.namespaces.get_mut(&spec.id.namespace) else { return };
        tenant.registrations = tenant.registrations.saturating_sub(1);
        for trigger in &spec.triggers {
            if let Some(users) = tenant.connections.get_mut(&trigger.connection) {
                *users = users.saturating_sub(1);
                if *users == 0 {
                    tenant.connections.remove(&trigger.connection);
                }
            }
        }
        if tenant.registrations == 0 {
            self.namespaces.remove(&spec.id.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AutoscalerId;
    use crate::spec::{
        Behavior, Bounds, Fallback, FallbackBehavior, MilliValue, Origin, Partitioning, Pause, Policy, Server, Source,
        TriggerSpec,
    };
    use std::time::Duration;

    fn spec(namespace: &str, connection: &str) -> AutoscalerSpec {
        let second = Duration::from_secs(1);
        AutoscalerSpec {
            id: AutoscalerId::new(namespace, "worker"),
            origin: Origin::KedaMetadata,
            target: None,
            bounds: Bounds { min: 0, max: 1, idle: None },
            polling_interval: second,
            max_sample_age: second,
            cooldown: second,
            initial_cooldown: second,
            triggers: vec![TriggerSpec {
                name: "trigger-0".into(),
                metric_name: "jobs".into(),
                connection: Arc::new(ConnectionSpec { name: connection.into(), server: Server::Memory }),
                source: Source::Memory { queue: "jobs".into() },
                in_flight: None,
                policy: Policy::BacklogPerReplica { target: MilliValue(1000) },
                activation_threshold: 0.0,
                max_sample_age: None,
                partitioning: Partitioning::default(),
                share: TriggerSpec::WHOLE,
            }],
            behavior: Behavior::HpaWithoutBehavior { downscale_stabilization: second },
            fallback: Fallback { after: second, behavior: FallbackBehavior::Hold },
            pause: Pause::default(),
            dry_run: false,
            restore_on_delete: false,
            force_activation: false,
        }
    }

    fn caps(tenants: &mut Tenants, namespace: &str, connection: &str) -> Result<(), Full> {
        let spec = spec(namespace, connection);
        tenants.admit(&spec, Tick::ZERO).map(|()| tenants.came(&spec))
    }

    #[test]
    fn each_cap_is_kept_and_room_that_is_given_back_is_used_again() {
        let mut tenants = Tenants::new(Limits {
            registrations_per_namespace: 3,
            registrations: 5,
            connections_per_namespace: 2,
            ..Limits::default()
        });
        let refused = |cap, there| Err(Full { cap, there });
        assert_eq!(caps(&mut tenants, "a", "one"), Ok(()));
        assert_eq!(caps(&mut tenants, "a", "two"), Ok(()));
        assert_eq!(caps(&mut tenants, "a", "three"), refused(Cap::ConnectionsPerNamespace, 2));
        assert_eq!(caps(&mut tenants, "a", "two"), Ok(()));
        assert_eq!(caps(&mut tenants, "a", "one"), refused(Cap::RegistrationsPerNamespace, 3));
        assert_eq!(caps(&mut tenants, "b", "three"), Ok(()));
        assert_eq!(caps(&mut tenants, "c", "three"), Ok(()));
        assert_eq!(caps(&mut tenants, "d", "three"), refused(Cap::Registrations, 5));

        let mut instead = |before, after| tenants.admit_instead(&spec("a", before), &spec("a", after), Tick::ZERO);
        assert_eq!(instead("one", "three"), Ok(()), "the only one on its connection");
        assert_eq!(instead("two", "one"), Ok(()));
        assert_eq!(instead("two", "three"), refused(Cap::ConnectionsPerNamespace, 2), "another stays on it");

        tenants.left(&spec("a", "one"));
        assert_eq!(caps(&mut tenants, "a", "three"), Ok(()));
        for (namespace, connection) in [("a", "two"), ("a", "two"), ("a", "three"), ("b", "three"), ("c", "three")] {
            tenants.left(&spec(namespace, connection));
        }
        assert!(tenants.namespaces.is_empty());
        assert_eq!(tenants.registrations, 0);
    }
}
