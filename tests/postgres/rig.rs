//! A poller that reads a database some twenty times a second, and blocks for it to read.

use std::sync::Arc;
use std::time::Duration;

use tidegate::model::{FailureKind, Key, Observation, Sample};
use tidegate::spec::{
    Checkpoint, ConnectionSpec, Eventuous, Marten, MessageDb, Orchestrator, Postgres, PostgresRead, PostgresServer,
    Pupsourcing, Scope, Server, Source, Table,
};

use crate::support::polling::{Polling, autoscaler};

pub const FAST: Duration = Duration::from_millis(50);

pub fn connection(server: PostgresServer) -> Arc<ConnectionSpec> {
    Arc::new(ConnectionSpec { name: "shop/db".into(), server: Server::Postgres(server) })
}

/// Autoscalers of one connection, by key.
pub struct Rig {
    pub polling: Polling,
    connection: Arc<ConnectionSpec>,
}

impl Rig {
    pub fn on(server: PostgresServer) -> Self {
        Rig::beside(Polling::start(), server)
    }

    pub fn beside(polling: Polling, server: PostgresServer) -> Self {
        Rig { polling, connection: connection(server) }
    }

    pub fn set(&self, key: u32, read: PostgresRead) {
        self.set_every(key, FAST, read, None);
    }

    pub fn set_every(&self, key: u32, interval: Duration, read: PostgresRead, listen: Option<&str>) {
        let source = Source::Postgres(Postgres { read, listen: listen.map(Arc::from) });
        self.polling.set(key, &autoscaler(&format!("a{key}"), interval, &[(&self.connection, source)]));
    }

    /// Waits until this is what is served, and sees that nothing else is served then.
    pub fn assert_lag(&self, key: u32, lag: i64) -> Observation {
        let sample = self.polling.until_backlog(key, lag as f64);
        for sample in self.polling.collect(FAST * 2) {
            if sample.key == Key(key) {
                assert_eq!(sample.value.as_ref().unwrap().backlog, lag as f64);
            }
        }
        sample.value.unwrap()
    }

    /// What is served from now on, once this holds of it.
    pub fn until(&self, key: u32, what: &str, holds: impl Fn(&Observation) -> bool) -> Observation {
        self.polling.drain();
        let wanted = |sample: &Sample| sample.key == Key(key) && sample.value.as_ref().is_ok_and(&holds);
        self.polling.until(what, wanted).value.unwrap()
    }

    /// The next sentence of a failure of this kind.
    pub fn failure(&self, key: u32, kind: FailureKind) -> String {
        let sentence = self.polling.until_failure(key, kind);
        assert!(!sentence.contains("planted"), "a secret: {sentence}");
        sentence
    }
}

fn texts(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn table(name: &str) -> Table {
    Table::new(name).unwrap()
}

pub fn orchestrator(set: &str, projections: &[&str]) -> PostgresRead {
    PostgresRead::Orchestrator(Orchestrator {
        replica_set: set.into(),
        projections: texts(projections),
        events: table("events"),
        checkpoints: table("projection_checkpoints"),
        generations: table("orchestrator_generations"),
        workers: table("orchestrator_workers"),
        stale_after: Duration::from_secs(30),
    })
}

pub fn pupsourcing(consumers: &[&str], types: &[&str]) -> PostgresRead {
    PostgresRead::Pupsourcing(Pupsourcing {
        consumers: texts(consumers),
        events: table("events"),
        segments: table("consumer_segments"),
        workers: table("consumer_workers"),
        aggregate_types: texts(types),
        stale_after: Duration::from_secs(30),
    })
}

pub fn marten(projections: &[&str], schema: &str) -> PostgresRead {
    PostgresRead::Marten(Marten { projections: texts(projections), schema: schema.into() })
}

pub fn message_db(category: &str, streams: &[&str]) -> PostgresRead {
    PostgresRead::MessageDb(MessageDb {
        category: category.into(),
        position_streams: texts(streams),
        schema: "message_store".into(),
    })
}

pub fn eventuous(subscriptions: &[&str], schema: &str) -> PostgresRead {
    PostgresRead::Eventuous(Eventuous { subscriptions: texts(subscriptions), schema: schema.into() })
}

/// `projection_checkpoints` over `events`, as anybody might have them.
pub fn checkpoint(names: &[&str], scope: Option<&[&str]>) -> PostgresRead {
    PostgresRead::Checkpoint(Checkpoint {
        names: texts(names),
        events: table("events"),
        position: "global_position".into(),
        checkpoints: table("public.projection_checkpoints"),
        name_column: "projection_name".into(),
        position_column: "last_global_position".into(),
        scope: scope.map(|values| Scope { column: "aggregate_type".into(), values: texts(values) }),
    })
}

pub fn query(text: &str) -> PostgresRead {
    PostgresRead::Query(text.into())
}
