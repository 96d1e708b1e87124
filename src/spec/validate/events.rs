//! The block `postgres` of a trigger: which store it is, and what its tables are called.

use std::sync::Arc;
use std::time::Duration;

use super::source::{Noun, names};
use super::values;
use crate::spec::manifest::{self, DurationText};
use crate::spec::report::{Report, join};
use crate::spec::{
    Checkpoint, Eventuous, Marten, MessageDb, Orchestrator, Partitioning, Postgres, PostgresRead, Pupsourcing, Scope,
    Table,
};

/// What both generations of pupsourcing take a worker for gone after.
const STALE_AFTER: Duration = Duration::from_secs(30);
/// The orchestrator's own patience with a division of the work (60 s), and the time until it takes a worker for gone.
const ORCHESTRATOR_REBALANCES: Duration = Duration::from_secs(90);
/// A step of scale settles in 10 to 20 s, and nobody is at rest meanwhile.
const PUPSOURCING_REBALANCES: Duration = Duration::from_secs(30);
/// What PostgreSQL has for the name of a channel; longer ones are cut off without a word.
const LONGEST_NAME: usize = 63;

const PROJECTION: Noun = Noun { one: "projection", example: "projections: [orders]" };
const CONSUMER: Noun = Noun { one: "consumer", example: "consumers: [orders]" };
const SUBSCRIPTION: Noun = Noun { one: "subscription", example: "subscriptions: [orders]" };
const STREAM: Noun = Noun { one: "stream", example: "positionStreams: [\"orders:position\"]" };
const TYPE: Noun = Noun { one: "aggregate type", example: "aggregateTypes: [Order]" };
const READER: Noun = Noun { one: "name", example: "names: [orders]" };
const VALUE: Noun = Noun { one: "value", example: "values: [Order]" };

pub(super) fn postgres(written: &manifest::Postgres, path: &str, report: &mut Report<'_>) -> Option<Postgres> {
    report.exactly_one(
        path,
        "of query and the event stores",
        &[
            ("query", written.query.is_some()),
            ("pupsourcingOrchestrator", written.pupsourcing_orchestrator.is_some()),
            ("pupsourcing", written.pupsourcing.is_some()),
            ("marten", written.marten.is_some()),
            ("messageDb", written.message_db.is_some()),
            ("eventuous", written.eventuous.is_some()),
            ("checkpoint", written.checkpoint.is_some()),
        ],
        "pupsourcing: {}",
    );
    let read = read(written, path, report)?;
    let listen = written.listen.as_deref().map(|channel| {
        let path = join(path, "listen");
        let channel = values::text(Some(channel), &path, "listen: pupsourcing_events", report);
        if channel.len() > LONGEST_NAME || channel.contains('\0') {
            let message = format!("a channel's name has at most {LONGEST_NAME} bytes");
            report.problem(&path, message, "write the name that NOTIFY is called with");
        }
        Arc::from(channel)
    });
    Some(Postgres { read, listen })
}

/// What is made of how the workers divide the work.
pub(super) fn partitioning(
    written: &manifest::Postgres,
    source: &Postgres,
    path: &str,
    report: &mut Report<'_>,
) -> Partitioning {
    let bounds_replicas = written.bound_by_partitions.unwrap_or(false);
    if bounds_replicas && !source.has_partitions() {
        let message = match source.read {
            PostgresRead::Orchestrator(_) => {
                "the orchestrator makes as many partitions as there are workers: they would bound each other for ever"
            }
            _ => "a query does not say how many partitions there are",
        };
        report.problem(&join(path, "boundByPartitions"), message, "take it out, and write maxReplicas");
    }
    let default = match source.read {
        PostgresRead::Orchestrator(_) => ORCHESTRATOR_REBALANCES,
        PostgresRead::Pupsourcing(_) => PUPSOURCING_REBALANCES,
        _ => Duration::ZERO,
    };
    let path = join(path, "rebalanceTimeout");
    if written.rebalance_timeout.is_some() && !source.shows_rebalancing() {
        report.problem(&path, "nothing here shows that workers divide the work anew", "take it out");
    }
    let hold_for = values::duration(written.rebalance_timeout.as_ref(), &path, values::ANY, default, report);
    Partitioning { bounds_replicas, hold_for }
}

fn read(written: &manifest::Postgres, path: &str, report: &mut Report<'_>) -> Option<PostgresRead> {
    if let Some(query) = &written.query {
        let example = "query: \"select count(*) from jobs where done_at is null\"";
        let query = values::text(Some(query), &join(path, "query"), example, report);
        return Some(PostgresRead::Query(query.into()));
    }
    if let Some(written) = &written.pupsourcing_orchestrator {
        return Some(orchestrator(written, &join(path, "pupsourcingOrchestrator"), report));
    }
    if let Some(written) = &written.pupsourcing {
        return Some(pupsourcing(written, &join(path, "pupsourcing"), report));
    }
    if let Some(written) = &written.marten {
        let path = join(path, "marten");
        return Some(PostgresRead::Marten(Marten {
            projections: some(written.projections.as_deref(), &join(&path, "projections"), &PROJECTION, report),
            schema: schema(written.schema.as_deref(), "public", &path, report),
        }));
    }
    if let Some(written) = &written.message_db {
        let path = join(path, "messageDb");
        let category = written.category.as_deref();
        let streams = written.position_streams.as_deref();
        return Some(PostgresRead::MessageDb(MessageDb {
            category: values::text(category, &join(&path, "category"), "category: orders", report).into(),
            position_streams: names(streams, &join(&path, "positionStreams"), &STREAM, report),
            schema: schema(written.schema.as_deref(), "message_store", &path, report),
        }));
    }
    if let Some(written) = &written.eventuous {
        let path = join(path, "eventuous");
        let subscriptions = written.subscriptions.as_deref();
        return Some(PostgresRead::Eventuous(Eventuous {
            subscriptions: some(subscriptions, &join(&path, "subscriptions"), &SUBSCRIPTION, report),
            schema: schema(written.schema.as_deref(), "eventuous", &path, report),
        }));
    }
    let written = written.checkpoint.as_ref()?;
    Some(checkpoint(written, &join(path, "checkpoint"), report))
}

fn orchestrator(written: &manifest::Orchestrator, path: &str, report: &mut Report<'_>) -> PostgresRead {
    let replica_set = written.replica_set.as_deref();
    let projections = written.projections.as_deref();
    let mut table = |written: &Option<String>, field: &str, default: &str| {
        table(written.as_deref().or(Some(default)), &join(path, field), default, report)
    };
    let events = table(&written.events_table, "eventsTable", "events");
    let checkpoints = table(&written.checkpoints_table, "checkpointsTable", "projection_checkpoints");
    let generations = table(&written.generations_table, "generationsTable", "orchestrator_generations");
    let workers = table(&written.workers_table, "workersTable", "orchestrator_workers");
    PostgresRead::Orchestrator(Orchestrator {
        replica_set: values::text(replica_set, &join(path, "replicaSet"), "replicaSet: main-projections", report)
            .into(),
        projections: names(projections, &join(path, "projections"), &PROJECTION, report),
        events,
        checkpoints,
        generations,
        workers,
        stale_after: stale_after(written.stale_after.as_ref(), path, report),
    })
}

fn pupsourcing(written: &manifest::Pupsourcing, path: &str, report: &mut Report<'_>) -> PostgresRead {
    let consumers = some(written.consumers.as_deref(), &join(path, "consumers"), &CONSUMER, report);
    let types = some(written.aggregate_types.as_deref(), &join(path, "aggregateTypes"), &TYPE, report);
    let mut table = |written: &Option<String>, field: &str, default: &str| {
        table(written.as_deref().or(Some(default)), &join(path, field), default, report)
    };
    let events = table(&written.events_table, "eventsTable", "events");
    let segments = table(&written.segments_table, "segmentsTable", "consumer_segments");
    let workers = table(&written.workers_table, "workersTable", "consumer_workers");
    PostgresRead::Pupsourcing(Pupsourcing {
        consumers,
        events,
        segments,
        workers,
        aggregate_types: types,
        stale_after: stale_after(written.stale_after.as_ref(), path, report),
    })
}

fn checkpoint(written: &manifest::Checkpoint, path: &str, report: &mut Report<'_>) -> PostgresRead {
    let scope = written.scope.as_ref().map(|scope| {
        let path = join(path, "scope");
        Scope {
            column: column_at(scope.column.as_deref(), &join(&path, "column"), "column: aggregate_type", report),
            values: names(scope.values.as_deref(), &join(&path, "values"), &VALUE, report),
        }
    });
    let mut column = |written: &Option<String>, field: &str, example: &str| {
        column_at(written.as_deref(), &join(path, field), &format!("{field}: {example}"), report)
    };
    let position = column(&written.events_position, "eventsPosition", "global_position");
    let name_column = column(&written.checkpoints_name, "checkpointsName", "name");
    let position_column = column(&written.checkpoints_position, "checkpointsPosition", "last_global_position");
    PostgresRead::Checkpoint(Checkpoint {
        names: some(written.names.as_deref(), &join(path, "names"), &READER, report),
        events: table(written.events_table.as_deref(), &join(path, "eventsTable"), "events", report),
        position,
        checkpoints: table(
            written.checkpoints_table.as_deref(),
            &join(path, "checkpointsTable"),
            "projection_checkpoints",
            report,
        ),
        name_column,
        position_column,
        scope,
    })
}

fn stale_after(written: Option<&DurationText>, path: &str, report: &mut Report<'_>) -> Duration {
    let limits = values::Limits { min: Duration::from_secs(1), ..values::ANY };
    values::duration(written, &join(path, "staleAfter"), limits, STALE_AFTER, report)
}

/// Names where none at all means every one.
fn some(written: Option<&[String]>, path: &str, noun: &Noun, report: &mut Report<'_>) -> Vec<Arc<str>> {
    if written.is_none() { Vec::new() } else { names(written, path, noun, report) }
}

fn table(written: Option<&str>, path: &str, example: &str, report: &mut Report<'_>) -> Table {
    let field = path.rsplit('.').next().unwrap_or(path);
    let text = values::text(written, path, &format!("{field}: {example}"), report);
    let stand_in = || Table::new(example);
    match Table::new(&text).or_else(stand_in) {
        Some(table) if text.is_empty() || table.name() == text => table,
        table => {
            let cure = "write the table's name as the catalog has it, without quotes: events, or store.events";
            report.problem(path, format!("`{text}` is not the name of a table"), cure);
            table.unwrap_or_else(Table::unnamed)
        }
    }
}

fn column_at(written: Option<&str>, path: &str, example: &str, report: &mut Report<'_>) -> Arc<str> {
    let text = values::text(written, path, example, report);
    if text.contains(['"', '\0', '.']) || text.len() > LONGEST_NAME {
        let cure = "write the column's name as the catalog has it, without quotes";
        report.problem(path, format!("`{text}` is not the name of a column"), cure);
    }
    text.into()
}

fn schema(written: Option<&str>, default: &str, path: &str, report: &mut Report<'_>) -> Arc<str> {
    let path = join(path, "schema");
    let text = values::text(written.or(Some(default)), &path, &format!("schema: {default}"), report);
    if text.contains(['"', '\0', '.']) || text.len() > LONGEST_NAME {
        let cure = "write the schema's name as the catalog has it, without quotes";
        report.problem(&path, format!("`{text}` is not the name of a schema"), cure);
    }
    text.into()
}
