//! Stores as their libraries lay them out, as far as it matters for reading lag, and what writers and readers of theirs do.

use crate::support::postgres::Session;

/// Events of both pupsourcings; with the index that its `store` module makes, or without.
pub fn events(session: &mut Session, with_scope_index: bool) {
    session.run(
        "create table events (
            global_position bigserial primary key,
            bounded_context text not null,
            aggregate_type text not null,
            aggregate_id text not null,
            payload bytea not null default '',
            created_at timestamptz not null default now())",
    );
    if with_scope_index {
        session.run("create index on events (aggregate_type, global_position)");
    }
}

/// So many events of a type, as one transaction.
pub fn append(session: &mut Session, kind: &str, events: u64) {
    session.run(&format!(
        "insert into events (bounded_context, aggregate_type, aggregate_id)
         select 'shop', '{kind}', 'a' || n % 100 from generate_series(1, {events}) n"
    ));
}

/// Numbers that were taken and rolled back: a gap, as every store has them.
pub fn gap(session: &mut Session, events: u64) {
    session.run("begin");
    append(session, "Order", events);
    session.run("rollback");
}

pub fn orchestrator(session: &mut Session) {
    events(session, false);
    session.run(
        "create table projection_checkpoints (
            projection_name text primary key,
            last_global_position bigint not null default 0,
            updated_at timestamptz not null default now());
         create table orchestrator_generations (
            id uuid primary key default gen_random_uuid(),
            replica_set text not null,
            total_partitions int not null,
            created_at timestamptz not null default clock_timestamp());
         create index on orchestrator_generations (replica_set, created_at desc);
         create table orchestrator_workers (
            id uuid primary key default gen_random_uuid(),
            replica_set text not null,
            generation_id uuid not null,
            partition_key int not null default -1,
            state text not null,
            last_heartbeat timestamptz not null default clock_timestamp(),
            started_at timestamptz not null default clock_timestamp())",
    );
}

/// A new generation of so many partitions; returns its id.
pub fn generation(session: &mut Session, set: &str, partitions: u32) -> String {
    session.text(&format!(
        "insert into orchestrator_generations (replica_set, total_partitions) values ('{set}', {partitions}) returning id"
    ))
}

/// A worker in this state; returns its id.
pub fn worker(session: &mut Session, set: &str, generation: &str, state: &str) -> String {
    session.text(&format!(
        "insert into orchestrator_workers (replica_set, generation_id, state) values ('{set}', '{generation}', '{state}')
         returning id"
    ))
}

/// A reader of pupsourcing-orchestrator notes where it is.
pub fn checkpoint(session: &mut Session, row: &str, position: i64) {
    session.run(&format!(
        "insert into projection_checkpoints (projection_name, last_global_position) values ('{row}', {position})
         on conflict (projection_name) do update set last_global_position = excluded.last_global_position, updated_at = now()"
    ));
}

pub fn pupsourcing(session: &mut Session, with_scope_index: bool) {
    events(session, with_scope_index);
    session.run(
        "create table consumer_segments (
            consumer_name text not null,
            segment_id int not null,
            total_segments int not null,
            owner_id text,
            checkpoint bigint not null default 0,
            primary key (consumer_name, segment_id));
         create table consumer_workers (
            consumer_name text not null,
            worker_id text not null,
            last_heartbeat timestamptz not null default now(),
            primary key (consumer_name, worker_id))",
    );
}

/// A consumer's segments, as its first worker makes them.
pub fn segments(session: &mut Session, consumer: &str, segments: u32) {
    session.run(&format!(
        "insert into consumer_segments (consumer_name, segment_id, total_segments)
         select '{consumer}', n, {segments} from generate_series(0, {segments} - 1) n"
    ));
}

pub fn marten(session: &mut Session, schema: &str) {
    session.run(&format!(
        "create schema if not exists {schema};
         create sequence {schema}.mt_events_sequence;
         create table {schema}.mt_events (
            seq_id bigint primary key,
            id uuid not null default gen_random_uuid(),
            stream_id uuid not null,
            version bigint not null,
            data jsonb not null default '{{}}',
            type text not null default 'trip_started',
            timestamp timestamptz not null default now());
         create table {schema}.mt_event_progression (
            name text primary key,
            last_seq_id bigint,
            last_updated timestamptz default transaction_timestamp())"
    ));
}

pub fn append_to_marten(session: &mut Session, schema: &str, events: u64) {
    session.run(&format!(
        "insert into {schema}.mt_events (seq_id, stream_id, version)
         select nextval('{schema}.mt_events_sequence'), gen_random_uuid(), 1 from generate_series(1, {events})"
    ));
}

pub fn progression(session: &mut Session, schema: &str, name: &str, position: i64) {
    session.run(&format!(
        "insert into {schema}.mt_event_progression (name, last_seq_id) values ('{name}', {position})
         on conflict (name) do update set last_seq_id = excluded.last_seq_id, last_updated = now()"
    ));
}

/// With the functions that its indexes and its writers use.
pub fn message_db(session: &mut Session) {
    session.run(
        "create schema message_store;
         create table message_store.messages (
            global_position bigserial primary key,
            position bigint not null,
            id uuid not null default gen_random_uuid(),
            time timestamp not null default (now() at time zone 'utc'),
            stream_name text not null,
            type text not null,
            data jsonb,
            metadata jsonb);
         create function message_store.category(stream_name varchar) returns varchar language plpgsql immutable
            as $$ begin return split_part(category.stream_name, '-', 1); end $$;
         create index messages_category on message_store.messages
            (message_store.category(stream_name), global_position, message_store.category(metadata->>'correlationStreamName'));
         create unique index messages_stream on message_store.messages (stream_name, position)",
    );
}

/// So many messages, each in a stream of its own of this category.
pub fn append_to_category(session: &mut Session, category: &str, messages: u64) {
    session.run(&format!(
        "insert into message_store.messages (position, stream_name, type, data)
         select 0, '{category}-' || gen_random_uuid(), 'Deposited', '{{}}' from generate_series(1, {messages})"
    ));
}

/// A consumer's message about where it is.
pub fn record_position(session: &mut Session, stream: &str, position: i64) {
    session.run(&format!(
        "insert into message_store.messages (position, stream_name, type, data)
         select coalesce(max(position) + 1, 0), '{stream}', 'Recorded', jsonb_build_object('position', {position})
         from message_store.messages where stream_name = '{stream}'"
    ));
}

pub fn eventuous(session: &mut Session, schema: &str) {
    session.run(&format!(
        "create schema {schema};
         create table {schema}.messages (
            message_id uuid not null default gen_random_uuid(),
            message_type varchar not null default 'V1.Booked',
            stream_id integer not null default 1,
            stream_position integer not null default 0,
            global_position bigint primary key generated always as identity,
            json_data jsonb not null default '{{}}',
            created timestamp not null default now());
         create table {schema}.checkpoints (id varchar primary key, position bigint null)"
    ));
}

pub fn append_to_eventuous(session: &mut Session, schema: &str, events: u64) {
    session.run(&format!(
        "insert into {schema}.messages (message_id) select gen_random_uuid() from generate_series(1, {events})"
    ));
}
