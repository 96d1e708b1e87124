//! Connections to what the tests start.

use std::sync::Arc;

use tidegate::spec::{ConnectionSpec, ReadFrom, RedisServer, Sentinel, Topology};

use crate::support::polling::{connection, redis_server};
use crate::support::redis_cluster::RedisCluster;
use crate::support::sentinels::{MASTER, Sentinels};

pub fn cluster_server(addresses: Vec<String>) -> RedisServer {
    let address = addresses.first().cloned().unwrap_or_default();
    RedisServer { topology: Topology::Cluster { addresses }, ..redis_server(address) }
}

pub fn of_cluster(cluster: &RedisCluster) -> Arc<ConnectionSpec> {
    connection(cluster_server(cluster.addresses().into_iter().take(2).collect()))
}

pub fn replicas_of_cluster(cluster: &RedisCluster) -> Arc<ConnectionSpec> {
    let server = cluster_server(cluster.addresses().into_iter().take(2).collect());
    connection(RedisServer { read_from: ReadFrom::Replica, ..server })
}

pub fn sentinel_server(addresses: Vec<String>) -> RedisServer {
    let address = addresses.first().cloned().unwrap_or_default();
    let master = MASTER.to_owned();
    let sentinel = Sentinel { addresses, master, username: None, password: None, tls: None };
    RedisServer { topology: Topology::Sentinel(Box::new(sentinel)), ..redis_server(address) }
}

pub fn of_sentinels(sentinels: &Sentinels) -> Arc<ConnectionSpec> {
    connection(sentinel_server(sentinels.addresses()))
}
