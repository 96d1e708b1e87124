//! The block `postgres`, written back.

use std::sync::Arc;

use super::duration;
use super::source::{names, some};
use crate::spec::manifest::{self, Postgres};
use crate::spec::{self, Partitioning, PostgresRead, Table};

pub(super) fn postgres(written: &spec::Postgres, partitioning: Partitioning) -> Postgres {
    let mut out = Postgres {
        listen: written.listen.as_ref().map(ToString::to_string),
        bound_by_partitions: written.has_partitions().then_some(partitioning.bounds_replicas),
        rebalance_timeout: written.shows_rebalancing().then(|| duration(partitioning.hold_for)).flatten(),
        ..Postgres::default()
    };
    match &written.read {
        PostgresRead::Query(query) => out.query = Some(query.to_string()),
        PostgresRead::Orchestrator(store) => {
            out.pupsourcing_orchestrator = Some(manifest::Orchestrator {
                replica_set: text(&store.replica_set),
                projections: names(&store.projections),
                events_table: table(&store.events),
                checkpoints_table: table(&store.checkpoints),
                generations_table: table(&store.generations),
                workers_table: table(&store.workers),
                stale_after: duration(store.stale_after),
            });
        }
        PostgresRead::Pupsourcing(store) => {
            out.pupsourcing = Some(manifest::Pupsourcing {
                consumers: some(&store.consumers),
                aggregate_types: some(&store.aggregate_types),
                events_table: table(&store.events),
                segments_table: table(&store.segments),
                workers_table: table(&store.workers),
                stale_after: duration(store.stale_after),
            });
        }
        PostgresRead::Marten(store) => {
            out.marten = Some(manifest::Marten { projections: some(&store.projections), schema: text(&store.schema) });
        }
        PostgresRead::MessageDb(store) => {
            out.message_db = Some(manifest::MessageDb {
                category: text(&store.category),
                position_streams: names(&store.position_streams),
                schema: text(&store.schema),
            });
        }
        PostgresRead::Eventuous(store) => {
            let subscriptions = some(&store.subscriptions);
            out.eventuous = Some(manifest::Eventuous { subscriptions, schema: text(&store.schema) });
        }
        PostgresRead::Checkpoint(store) => {
            out.checkpoint = Some(manifest::Checkpoint {
                names: some(&store.names),
                events_table: table(&store.events),
                events_position: text(&store.position),
                checkpoints_table: table(&store.checkpoints),
                checkpoints_name: text(&store.name_column),
                checkpoints_position: text(&store.position_column),
                scope: store
                    .scope
                    .as_ref()
                    .map(|scope| manifest::Scope { column: text(&scope.column), values: names(&scope.values) }),
            });
        }
    }
    out
}

#[expect(clippy::unnecessary_wraps, reason = "fields of a manifest are optional")]
fn text(text: &Arc<str>) -> Option<String> {
    Some(text.to_string())
}

#[expect(clippy::unnecessary_wraps, reason = "fields of a manifest are optional")]
fn table(table: &Table) -> Option<String> {
    Some(table.name().to_owned())
}
