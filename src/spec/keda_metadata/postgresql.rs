//! KEDA's `postgresql` trigger: a query, and a target for what it gives.
//!
//! It is one where both are there, or where `triggerType` says so. Its server is a declared Connection, by name or by
//! host, port and database, or one that the allow list covers and that lets `userName` in without a password: passwords
//! do not come from here, nor do connection strings, which have one in them.

use std::sync::Arc;
use std::time::Duration;

use super::ScaledObject;
use super::counts::Counts;
use super::keys::{Keys, path};
use super::server::{Wanted, declared, permitted};
use crate::spec::address;
use crate::spec::grants::Grants;
use crate::spec::problem::Problem;
use crate::spec::{ConnectionSpec, Postgres, PostgresRead, PostgresServer, Server, Source, UserRef};

/// What `triggerType` has for it.
pub(super) const TYPE: &str = "postgresql";

/// A Connection's default.
const TIMEOUT: Duration = Duration::from_secs(1);
const PORT: &str = "5432";

/// What it reads.
pub(super) const KEYS: [&str; 8] =
    ["query", "targetQueryValue", "activationTargetQueryValue", "host", "port", "userName", "dbName", "sslmode"];

/// Whether the trigger is one of these.
pub(super) fn is_meant(keys: &Keys<'_>) -> bool {
    match keys.text("triggerType") {
        Some(kind) => kind == TYPE,
        None => keys.find(&["query"]).is_some() && keys.find(&["targetQueryValue"]).is_some(),
    }
}

pub(super) fn counts(keys: &mut Keys<'_>) -> Option<Counts> {
    let query = keys.text("query");
    if query.is_none() {
        let cure = "e.g. query: \"select count(*) from jobs where done_at is null\"";
        keys.problem("query", "missing: what gives the number", cure);
    }
    let target = keys.target("targetQueryValue", "it");
    let activation = keys.number("activationTargetQueryValue").unwrap_or(0.0);
    let read = PostgresRead::Query(Arc::from(query?));
    Some(Counts {
        source: Source::Postgres(Postgres { read, listen: None }),
        target: target?,
        activation,
        name_key: "query",
        target_key: "targetQueryValue",
        activation_key: "activationTargetQueryValue",
    })
}

/// The connection, or `None` and at least one problem.
pub(super) fn connection(
    object: &ScaledObject<'_>,
    grants: &Grants,
    keys: &mut Keys<'_>,
) -> Option<Arc<ConnectionSpec>> {
    if let Some(found) = keys.find(&["connection"]) {
        return declared(object, found, Wanted::POSTGRES, grants, keys);
    }
    let Some(host) = keys.find(&["host"]) else {
        let cure = "e.g. connection: orders-db, with a Connection of kind postgres; or host, port, userName and dbName";
        keys.problem("host", "missing: the server that is to be asked", cure);
        return None;
    };
    let asked = format!("{}:{}", host.value, keys.text("port").unwrap_or(PORT));
    if address::split(&asked).is_none() {
        let (message, cure) = address::complaint(&asked);
        keys.problem(host.key, message, cure);
        return None;
    }
    let database = keys.text("dbName");
    if let Some(connection) = grants.postgres(object.namespace, &asked, database) {
        return Some(connection);
    }
    let what = database.map_or_else(|| "has the address".to_owned(), |name| format!("has the database `{name}` at"));
    let address = permitted(object, &asked, host.key, &what, grants, keys)?;
    let user = keys.text("userName");
    for (key, found) in [("userName", user), ("dbName", database)] {
        if found.is_none() {
            keys.problem(
                key,
                format!("missing: no Connection is declared for {address}, to say it"),
                format!("e.g. {key}: app"),
            );
        }
    }
    if keys.text("sslmode").is_some_and(|mode| mode == "require" || mode.starts_with("verify")) {
        keys.problem(
            "sslmode",
            format!("no authority is known whose certificates could be trusted at {address}"),
            "declare a Connection for it with tls: { caFile: ... }",
        );
    }
    Some(Arc::new(ConnectionSpec {
        name: address.as_str().into(),
        server: Server::Postgres(PostgresServer {
            address,
            database: database?.to_owned(),
            username: Some(UserRef::Inline(user?.to_owned())),
            password: None,
            url: None,
            tls: None,
            connect_timeout: TIMEOUT,
            response_timeout: TIMEOUT,
        }),
    }))
}

/// What a declared Connection overrules.
pub(super) fn warnings(
    object: &ScaledObject<'_>,
    keys: &Keys<'_>,
    connection: Option<&ConnectionSpec>,
) -> Vec<Problem> {
    let Some(ConnectionSpec { name, server: Server::Postgres(server) }) = connection else { return Vec::new() };
    let mut warnings = Vec::new();
    let mut warn = |key: &str, message: String| {
        warnings.push(Problem::new(path(key), message, "take it out, or write it into the Connection"));
    };
    let says = |key| keys.find(&[key]);
    if let Some(found) =
        says("userName").filter(|found| server.username.as_ref().and_then(UserRef::name) != Some(found.value))
    {
        warn(found.key, format!("ignored: Connection `{name}` says who logs in"));
    }
    if let Some(found) = says("sslmode").filter(|found| found.value != "disable" && server.tls.is_none()) {
        warn(found.key, format!("ignored: Connection `{name}` says that nothing is encrypted"));
    }
    if let Some(found) = says("dbName").filter(|found| server.database != found.value) {
        warn(found.key, format!("ignored: Connection `{name}` says which database"));
    }
    let declared_in = name.split_once('/').map(|(namespace, _)| namespace);
    let asked = says("host").map(|host| (host, format!("{}:{}", host.value, keys.text("port").unwrap_or(PORT))));
    if let Some((host, asked)) = asked.filter(|(_, asked)| {
        !server.address.is_empty() && !address::same_server(&server.address, declared_in, asked, object.namespace)
    }) {
        warn(host.key, format!("ignored: Connection `{name}` is at {}, not at {asked}", server.address));
    }
    warnings
}
