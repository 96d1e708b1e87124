//! Which servers a namespace may name: the declared connections, and the operator's address allow list.
//!
//! KEDA's metadata is written by whoever may create a ScaledObject. What it names is therefore never connected to
//! unless somebody with more authority said so here. And whatever anybody said, `--only-addresses` is the outer fence:
//! no door leads to a server beyond it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::spec::address;
use crate::spec::report::closest;
use crate::spec::{ConnectionSpec, HttpUrl, RedisServer, Server, Topology};

/// Declared connections by scope, and the address patterns of `--allow-address`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Grants {
    namespaced: HashMap<String, BTreeMap<String, Arc<ConnectionSpec>>>,
    cluster: BTreeMap<String, Grant>,
    /// Declared, but with problems of their own; `None` for cluster-scoped ones. Who refers to them is not told that
    /// they do not exist.
    broken: HashSet<(Option<String>, String)>,
    allow_addresses: Vec<String>,
    fence: Fence,
}

/// The operator's outer fence, `--only-addresses`: the addresses that anything may lead to. It stands before what is
/// declared, and again before what servers tell: a Sentinel or a Cluster names addresses while it is polled, and one
/// that lies leads nowhere beyond.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fence(Option<Arc<[String]>>);

impl Fence {
    /// `None`: no fence.
    #[must_use]
    pub fn new(only_addresses: Option<&[String]>) -> Self {
        Fence(only_addresses.map(Arc::from))
    }

    /// Whether anybody may connect to `address` (`host:port`, or the path of a Unix socket).
    #[must_use]
    pub fn permits(&self, address: &str) -> bool {
        let covered = |only: &Arc<[String]>| only.iter().any(|pattern| address::covers(pattern, address));
        self.0.as_ref().is_none_or(covered)
    }
}

/// A connection, and who may use it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Grant {
    pub(crate) connection: Arc<ConnectionSpec>,
    /// Patterns of namespaces; of a ClusterConnection alone.
    pub(crate) allowed: Vec<String>,
}

/// One declared connection, for listings.
#[derive(Clone, Copy, Debug)]
pub struct Declared<'a> {
    /// `None`: a ClusterConnection.
    pub namespace: Option<&'a str>,
    pub name: &'a str,
    /// Of a ClusterConnection.
    pub allowed_namespaces: &'a [String],
    pub connection: &'a Arc<ConnectionSpec>,
}

/// What became of a reference by name.
pub(crate) enum Lookup {
    Found(Arc<ConnectionSpec>),
    /// A ClusterConnection that does not allow the namespace.
    Forbidden,
    /// Declared with problems, which are reported where it is.
    Broken,
    /// Not declared at all; [`Grants::suggest`] knows what the namespace could have meant.
    Unknown,
}

impl Grants {
    /// No connections; addresses that match one of `allow_addresses` (`host:port`, `*` for any run of characters).
    #[must_use]
    pub fn new(allow_addresses: &[String]) -> Self {
        Grants { allow_addresses: allow_addresses.to_vec(), ..Grants::default() }
    }

    /// The same, with no way to any server but those that match one of `only_addresses`; `None` for no such fence.
    #[must_use]
    pub fn fenced(self, only_addresses: Option<&[String]>) -> Self {
        Grants { fence: Fence::new(only_addresses), ..self }
    }

    /// Of `namespace`, or (`None`) of the cluster; in place of one that had the name.
    pub(crate) fn declare(&mut self, namespace: Option<&str>, name: &str, grant: Grant) {
        self.withdraw(namespace, name);
        match namespace {
            Some(namespace) => {
                let here = self.namespaced.entry(namespace.to_owned()).or_default();
                here.insert(name.to_owned(), grant.connection);
            }
            None => {
                self.cluster.insert(name.to_owned(), grant);
            }
        }
    }

    pub(crate) fn declare_broken(&mut self, namespace: Option<&str>, name: &str) {
        self.withdraw(namespace, name);
        self.broken.insert((namespace.map(str::to_owned), name.to_owned()));
    }

    /// As if it had never been declared.
    pub(crate) fn withdraw(&mut self, namespace: Option<&str>, name: &str) {
        match namespace {
            Some(namespace) => {
                if let Some(here) = self.namespaced.get_mut(namespace) {
                    here.remove(name);
                    if here.is_empty() {
                        self.namespaced.remove(namespace);
                    }
                }
            }
            None => drop(self.cluster.remove(name)),
        }
        if !self.broken.is_empty() {
            self.broken.remove(&(namespace.map(str::to_owned), name.to_owned()));
        }
    }

    /// Whether the ClusterConnection `name` is there and does not allow `namespace`.
    pub(crate) fn forbids(&self, namespace: &str, name: &str) -> bool {
        self.cluster.get(name).is_some_and(|grant| !grant.allows(namespace))
    }

    /// Whether there is one of this name, usable or not.
    pub(crate) fn declares(&self, namespace: Option<&str>, name: &str) -> bool {
        let usable = match namespace {
            Some(namespace) => self.namespaced.get(namespace).is_some_and(|here| here.contains_key(name)),
            None => self.cluster.contains_key(name),
        };
        usable || self.broken.contains(&(namespace.map(str::to_owned), name.to_owned()))
    }

    /// The Connection of this name in `namespace`, or a ClusterConnection that allows the namespace.
    #[must_use]
    pub fn find_by_name(&self, namespace: &str, name: &str) -> Option<Arc<ConnectionSpec>> {
        match self.look_up(namespace, name) {
            Lookup::Found(connection) => Some(connection),
            Lookup::Forbidden | Lookup::Broken | Lookup::Unknown => None,
        }
    }

    pub(crate) fn look_up(&self, namespace: &str, name: &str) -> Lookup {
        if let Some(connection) = self.namespaced.get(namespace).and_then(|here| here.get(name)) {
            return Lookup::Found(Arc::clone(connection));
        }
        if self.broken.contains(&(Some(namespace.to_owned()), name.to_owned())) {
            return Lookup::Broken;
        }
        if let Some(grant) = self.cluster.get(name) {
            return if grant.allows(namespace) {
                Lookup::Found(Arc::clone(&grant.connection))
            } else {
                Lookup::Forbidden
            };
        }
        if self.broken.contains(&(None, name.to_owned())) {
            return Lookup::Broken;
        }
        Lookup::Unknown
    }

    /// What of the connections that `namespace` may use `name` was probably meant to be, and all of them. Apart from
    /// the look-up, because it compares the name with each: strangers who make up names must not have that for free.
    pub(crate) fn suggest(&self, namespace: &str, name: &str) -> (Option<&str>, Vec<&str>) {
        let usable: Vec<&str> = self.usable(namespace).map(|(name, _)| name).collect();
        (closest(name, usable.iter().copied()), usable)
    }

    /// A declared connection to the Redis that is asked for, if `namespace` may use it: its own before the cluster's, and
    /// one that is declared for `database` before others. Declared for another database, it is the same server with the
    /// same credentials, and comes back for the one asked for.
    pub(crate) fn find(&self, namespace: &str, asked: &Asked<'_>, database: u32) -> Option<Arc<ConnectionSpec>> {
        let mut other_database = None;
        for (_, connection) in self.usable(namespace) {
            let Server::Redis(redis) = &connection.server else { continue };
            let declared_in = connection.name.split_once('/').map(|(namespace, _)| namespace);
            if !asked.is_met_by(redis, declared_in, namespace) {
                continue;
            }
            if redis.database == database {
                return Some(Arc::clone(connection));
            }
            other_database = other_database.or(Some(connection));
        }
        other_database.map(|connection| with_database(connection, database))
    }

    /// A declared connection to the Prometheus at `url`, if `namespace` may use it: its own before the cluster's.
    pub(crate) fn prometheus(&self, namespace: &str, url: &HttpUrl) -> Option<Arc<ConnectionSpec>> {
        let is_it = |connection: &&Arc<ConnectionSpec>| {
            let Server::Prometheus(server) = &connection.server else { return false };
            let declared_in = connection.name.split_once('/').map(|(namespace, _)| namespace);
            let own = &server.url;
            own.encrypted == url.encrypted
                && own.path == url.path
                && address::same_server(&own.address, declared_in, &url.address, namespace)
        };
        self.usable(namespace).map(|(_, connection)| connection).find(is_it).map(Arc::clone)
    }

    /// A declared connection to the PostgreSQL at `asked`, for `database` where that is said, if `namespace` may use it: its
    /// own before the cluster's. Another database is another connection: who may read one may not read the next.
    pub(crate) fn postgres(&self, namespace: &str, asked: &str, database: Option<&str>) -> Option<Arc<ConnectionSpec>> {
        let is_meant = |connection: &ConnectionSpec| {
            let Server::Postgres(server) = &connection.server else { return false };
            let declared_in = connection.name.split_once('/').map(|(namespace, _)| namespace);
            database.is_none_or(|database| server.database == database)
                && address::same_server(&server.address, declared_in, asked, namespace)
        };
        self.usable(namespace).map(|(_, connection)| connection).find(|connection| is_meant(connection)).cloned()
    }

    /// Whether the operator's allow list covers `address` (`host:port`).
    #[must_use]
    pub fn allows(&self, address: &str) -> bool {
        self.allow_addresses.iter().any(|pattern| address::covers(pattern, address))
    }

    /// Whether the operator's outer fence lets anybody connect to `address` (`host:port`, as it will be connected to).
    #[must_use]
    pub fn permits(&self, address: &str) -> bool {
        self.fence.permits(address)
    }

    /// The fence itself, for those who learn of addresses later.
    #[must_use]
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Every declared connection: by namespace and name, the cluster's last.
    #[must_use]
    pub fn declared(&self) -> Vec<Declared<'_>> {
        let namespaces: BTreeMap<_, _> = self.namespaced.iter().collect();
        let namespaced = namespaces.into_iter().flat_map(|(namespace, connections)| {
            connections.iter().map(move |(name, connection)| Declared {
                namespace: Some(namespace.as_str()),
                name,
                allowed_namespaces: &[],
                connection,
            })
        });
        let cluster = self.cluster.iter().map(|(name, grant)| Declared {
            namespace: None,
            name,
            allowed_namespaces: &grant.allowed,
            connection: &grant.connection,
        });
        namespaced.chain(cluster).collect()
    }

    fn usable<'a>(&'a self, namespace: &str) -> impl Iterator<Item = (&'a str, &'a Arc<ConnectionSpec>)> {
        let own = self.namespaced.get(namespace).into_iter().flatten().map(|(name, spec)| (name.as_str(), spec));
        let namespace = namespace.to_owned();
        let cluster = self.cluster.iter().filter(move |(_, grant)| grant.allows(&namespace));
        own.chain(cluster.map(|(name, grant)| (name.as_str(), &grant.connection)))
    }
}

/// A Redis as somebody asks for it who has no Connection of that name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// `host:port`; any of them will do.
    pub(crate) addresses: &'a [String],
    pub(crate) layout: Layout<'a>,
}

/// What is asked for at those addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout<'a> {
    /// Nothing is said: a server, or a Cluster's node.
    Any,
    Single,
    Sentinel {
        master: &'a str,
    },
    Cluster,
}

impl Asked<'_> {
    fn is_met_by(&self, redis: &RedisServer, declared_in: Option<&str>, namespace: &str) -> bool {
        let fits = match (&redis.topology, self.layout) {
            (Topology::Single, Layout::Any | Layout::Single)
            | (Topology::Cluster { .. }, Layout::Any | Layout::Cluster) => true,
            (Topology::Sentinel(sentinel), Layout::Sentinel { master }) => sentinel.master == master,
            _ => false,
        };
        let same = |declared: &str| {
            self.addresses.iter().any(|asked| address::same_server(declared, declared_in, asked, namespace))
        };
        fits && redis.addresses().any(same)
    }
}

impl Grant {
    fn allows(&self, namespace: &str) -> bool {
        self.allowed.iter().any(|pattern| address::matches(pattern, namespace))
    }
}

/// The same server and credentials, another database.
pub(crate) fn with_database(connection: &Arc<ConnectionSpec>, database: u32) -> Arc<ConnectionSpec> {
    match &connection.server {
        // A Cluster has one database, whatever is asked for.
        Server::Redis(redis) if redis.database != database && !matches!(redis.topology, Topology::Cluster { .. }) => {
            let mut redis = redis.clone();
            redis.database = database;
            Arc::new(ConnectionSpec { name: Arc::clone(&connection.name), server: Server::Redis(redis) })
        }
        Server::Redis(_) | Server::Postgres(_) | Server::Prometheus(_) | Server::Scrape(_) | Server::Memory => {
            Arc::clone(connection)
        }
    }
}
