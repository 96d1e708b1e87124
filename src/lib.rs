//! tidegate: a queue-depth autoscaler for Kubernetes. This page is the tour of the house; the README is for its users.
//!
//! > Everything outside turns reality into **events**. One synchronous, deterministic **engine** turns events into
//! > **decisions** and **effects**. Everything outside carries the effects out.
//!
//! ```text
//!   manifests ────────► spec ────────┐             ┌──► board ──► serve: KEDA's gRPC · API · status page · metrics
//!   custom resources ──► (catalog)   ▼             │      └──────► cluster: status, Events
//!   Redis ──► source ──► poller ──► runtime ───────┤
//!                                   (owns engine)  │
//!                                    ▲             └──► target: the actuator ──► cluster: /scale, or memory
//!                                    └─────────── what was applied, what stands ──┘
//! ```
//!
//! # What happens when an item is pushed
//!
//! 1. The next round of the item's Redis is due. A task of [`poller`], one for each server, knows which keys to read
//!    (a key that ten autoscalers share is read once) and asks its [`source`] for all of them in one pipeline.
//! 2. The replies become one [`model::Sample`] for each trigger. A reply that is an error is a sample too: failed reads
//!    are data, and what they mean for the replicas is for the engine to decide. The round goes, as one batch, to
//!    [`runtime`].
//! 3. The runtime is the only task that holds the [`engine`]. For each sample it calls [`engine::Engine::handle`],
//!    which is given the time, does no I/O, and runs the stages in order: observe, want, activation, stabilization,
//!    rate limit, bounds, pause. Each leaves a line in the [`model::Decision`]: that is how a decision explains itself.
//! 4. `Effect::Publish` puts the decision on the [`board`], a snapshot that readers take without waiting. [`serve`]
//!    answers KEDA, the API, the page and the scrape from there; no question ever reaches a Redis.
//! 5. `Effect::Scale` goes to the actuator in [`target`], the most urgent first, one request in flight for each workload,
//!    the latest wish wins. In a cluster it becomes a patch of /scale in [`cluster`], if this process holds the Lease;
//!    what became of it comes back to the engine as an event. Behind KEDA there is no such effect: KEDA and the HPA act.
//!
//! Polling and deciding share a thread of their own; serving has another (see [`app`], which puts it all together).
//!
//! # Where to find things
//!
//! | question | look in |
//! |---|---|
//! | what a user may write, and what it means | [`spec::manifest`], then `spec/validate/` |
//! | how changed manifests come into force | [`files`], then `app/reload.rs` |
//! | what KEDA's metadata may say | [`spec::keda_metadata`] |
//! | why the replicas are what they are | [`engine`]: `slot.rs` is one evaluation from top to bottom |
//! | `behavior`, exactly as the HPA has it | [`engine::behavior`], [`engine::window`], [`engine::ratelimit`] |
//! | what KEDA and the HPA would have done | [`engine::keda`], [`engine::hpa`]: the baselines |
//! | how Redis is read, and what its errors mean | [`source::redis`] |
//! | how far projections are behind, and what event stores keep where | [`source::postgres`], `source/postgres/stores/` |
//! | which keys a queue framework keeps | `source/redis/queues/`, one file each |
//! | how ten thousand numbers are read in a round, and why idle queues cost nothing | `source/redis/hot/` |
//! | how a Prometheus is asked a thousand queries in twenty requests | `source/prometheus/query/` |
//! | how pages of metrics are read, of one URL or of pods, and what a missing pod counts | `source/prometheus/scrape.rs` |
//! | what a line of such a page may be | `source/prometheus/exposition.rs` |
//! | Sentinels, Clusters, who is the master now | `source/redis/topology/` |
//! | what happens when a server dies | `poller/task.rs`, `poller/backoff.rs` |
//! | Sentinels, Clusters, replicas; failovers | `source/redis/topology/` |
//! | what happens when a password or a certificate changes | `poller/renewal.rs`, `source/material.rs` |
//! | what one namespace may ask for, and who is held back | [`spec::limits`], `poller/budget.rs`, `runtime/tenants.rs` |
//! | which servers anybody may be led to | [`spec::grants`] |
//! | what KEDA is answered | `serve/keda/answer.rs` |
//! | who gets in, and what callers may take | `serve/listen.rs`, `serve/limits.rs`, `serve/http/door.rs` |
//! | TLS: versions, ciphers, changes of certificates | [`serve::tls`] |
//! | whose zero it is, and who may be woken | `engine/slot/zero.rs` |
//! | what survives a restart | [`checkpoint`], `engine/envelope.rs` |
//! | how decisions are recorded and replayed, and what a change would have decided | [`record`], `cli/replay.rs` |
//! | an autoscaler's state, exact to the byte | `engine/slot/snapshot.rs`, `engine/words.rs` |
//! | the name of a metric | [`telemetry::names`] |
//! | everything that is said to the Kubernetes API | [`cluster`] |
//! | a cluster without a cluster | [`rehearse`] and [`target::memory`] |
//! | what a policy would cost: the world, the baselines, the bound of hindsight | [`sim`] |
//! | the commands and their flags | [`cli`] |
//!
//! # Who may import whom
//!
//! `tests/layering.rs` reads this table and names every line of `src/` that breaks it; there is no other copy of the
//! rules. Test code (`#[cfg(test)]`) may do as it likes.
//!
//! | room | may import | libraries |
//! |---|---|---|
//! | `model` | nothing | only `std`; never `std::time::Instant`, `std::time::SystemTime` |
//! | `proto` | nothing | only `std`, `prost`, `tonic`, `tonic_prost` |
//! | `clock` | `model` | only `std`, `tokio` |
//! | `telemetry` | `model` | only `std`, `tokio`, `thiserror`, `metrics`, `metrics_exporter_prometheus`, `tracing`, `tracing_subscriber` |
//! | `spec` | `model` | only `std`, `regex`, `serde`, `serde_json`, `serde_saphyr`, `schemars`, `thiserror`, `kube::CustomResource`; never `std::time::Instant`, `std::time::SystemTime`, `std::fs`, `std::env`, `std::thread` |
//! | `files` | `model`, `spec`, `clock`, `telemetry` | only `std`, `tokio`, `thiserror`, `tracing`; never `std::time::Instant`, `std::time::SystemTime` |
//! | `engine` | `model`, `spec` | only `std`, `thiserror`, `libm`; never `std::time::Instant`, `std::time::SystemTime`, `std::collections::HashMap`, `std::collections::HashSet`, `std::collections::hash_map`, `std::collections::hash_set`, `std::hash::RandomState`, `std::fs`, `std::net`, `std::env`, `std::thread` |
//! | `source` | `model`, `spec` | never `axum`, `kube`, `metrics`, `tonic`, `std::time::Instant`, `std::time::SystemTime` |
//! | `target` | `model`, `spec`, `clock`, `telemetry` | never `axum`, `deadpool_redis`, `redis`, `tokio_postgres`, `tonic` |
//! | `poller` | `model`, `spec`, `clock`, `telemetry`, `source` | never `axum`, `deadpool_redis`, `kube`, `redis`, `tokio_postgres`, `tonic` |
//! | `sim` | `model`, `spec`, `engine` | only `std`, `comfy_table`, `csv`, `hdrhistogram`, `jiff`, `libm`, `plotters`, `rayon`, `serde`, `serde_json`, `serde_saphyr`, `thiserror`; never `std::time::Instant`, `std::time::SystemTime`, `std::collections::HashMap`, `std::collections::HashSet`, `std::env`, `std::net`, `std::thread` |
//! | `board` | `model`, `spec` | never `axum`, `deadpool_redis`, `kube`, `redis`, `tokio_postgres`, `tonic` |
//! | `serve` | `model`, `spec`, `clock`, `telemetry`, `proto`, `board` | never `deadpool_redis`, `kube`, `redis`, `tokio_postgres` |
//! | `checkpoint` | `model`, `clock`, `telemetry`, `engine` | only `std`, `tokio`, `tokio_util`, `thiserror`, `metrics`, `tracing`; never `std::time::Instant` |
//! | `record` | `model`, `spec`, `telemetry`, `engine` | only `std`, `crc32fast`, `thiserror`, `metrics`, `tracing`; never `std::time::Instant`, `std::time::SystemTime`, `std::env` |
//! | `cluster` | `model`, `spec`, `clock`, `telemetry`, `target`, `board`, `checkpoint` | never `axum`, `deadpool_redis`, `redis`, `tokio_postgres`, `tonic`, `std::time::Instant`, `std::time::SystemTime` |
//! | `runtime` | `model`, `spec`, `clock`, `telemetry`, `engine`, `board`, `checkpoint`, `record` | never `axum`, `deadpool_redis`, `kube`, `redis`, `tokio_postgres`, `tonic` |
//! | `rehearse` | `model`, `spec`, `clock`, `telemetry`, `proto`, `engine`, `target` | never `deadpool_redis`, `kube`, `redis`, `tokio_postgres` |
//! | `app` | everything but `cli` | never `deadpool_redis`, `redis`, `tokio_postgres` |
//! | `cli` | everything | never `deadpool_redis`, `redis`, `tokio_postgres`, `tonic` |
//! | `main` | `cli` | |
//!
//! A hash map has no place in the engine because its order differs from run to run, and replaying the same events must
//! give the same decisions, byte for byte.
//!
//! What may surprise in it:
//!
//! * `model` imports nothing, so the engine's `Event` and `Effect` live in [`engine`]: an event may carry a spec.
//! * `clock` is the one place that reads the time. Rooms that decide are given a [`model::Tick`].
//! * `proto` is apart because both sides of the wire need it: `serve` answers, `rehearse` asks.
//! * `board` knows `spec`: what is published is a decision together with the spec that it was made under.
//! * `rehearse` holds everybody who would act on a workload if there were a cluster. It meets the rest of the house
//!   over gRPC and channels, as the real ones would; that is why it may use `target`, where the workloads stand, but
//!   not `serve`.
//! * `files` reads manifests and watches them; what becomes of a change is for `app` to say. Besides it
//!   only `source` (secrets, certificates), `checkpoint` (memory) and `record` (recordings) touch the disk.
//! * `target` and `poller` may measure, and wait by the clock.
//! * `sim` reads traces from files, and nothing else of the outside; what a run is like depends on its seed alone.
//!
//! # How to add a policy
//!
//! A block in [`spec::manifest::Policy`] and a variant of [`spec::Policy`]; `spec/validate/trigger.rs` turns one into
//! the other, and `spec/render.rs` back. Then a file in `engine/policy/`, from a value to wanted replicas. From there
//! the compiler leads: every `match` is exhaustive, that for KEDA's target in `serve/keda/answer.rs` included.
//!
//! # How to add a source
//!
//! A block in `spec/manifest/sources.rs` and a variant of [`spec::Source`]; `spec/validate/source.rs` and
//! `spec/render/source.rs` go from one to the other and back. On a Redis, a file in `source/redis/queues/` then turns the
//! block into reads: numbers of one command each, and surveys for what takes several. What the reads add up to is an
//! [`model::Observation`].
//!
//! Where it is another kind of server, a variant of [`spec::Server`] and a [`source::Backend`]: a batch of reads in, an
//! answer or a failure for each out. `poller.rs` makes the backend of a connection; schedule, timeouts, backoff and
//! isolation are there already. A failure says its kind and, where one is known, its cure.

pub mod app;
pub mod board;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod engine;
pub mod files;
pub mod model;
pub mod poller;
pub mod proto;
pub mod record;
pub mod rehearse;
pub mod runtime;
pub mod serve;
pub mod sim;
pub mod source;
pub mod spec;
pub mod target;
pub mod telemetry;
