//! Sentinels and nodes that lead elsewhere: beyond the fence, in circles, or to nowhere.

use tidegate::model::{FailureKind, Key};
use tidegate::spec::grants::Fence;

use super::FAST;
use super::liar::Liar;
use super::specs::{cluster_server, of_sentinels, sentinel_server};
use crate::support::polling::{Polling, autoscaler, backlog_of, connection, kind_of, list};
use crate::support::redis::RedisProcess;
use crate::support::redis_cluster::RedisCluster;
use crate::support::sentinels::Sentinels;

fn fence(addresses: &[String]) -> Fence {
    Fence::new(Some(addresses))
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// A map in which `host:port` has all slots.
fn all_slots_at(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    format!("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n{}:{port}\r\n{}", bulk(host), bulk("id"))
}

#[test]
fn a_sentinel_leads_nowhere_beyond_the_fence() {
    let secret = RedisProcess::start();
    let port = secret.port();
    let lying = Liar::start(move |words, _| match words[0].as_str() {
        "SENTINEL" => format!("*2\r\n{}{}", bulk("127.0.0.1"), bulk(&port.to_string())),
        _ => "+OK\r\n".to_owned(),
    });
    let inside = fence(std::slice::from_ref(&lying.address));
    let polling = Polling::start_with(|poller| poller.behind(inside));
    let led = connection(sentinel_server(vec![lying.address.clone()]));
    polling.set(0, &autoscaler("led", FAST, &[(&led, list(&["jobs"]))]));
    let sentence = polling.until_failure(0, FailureKind::Configuration);
    assert!(sentence.contains(&secret.address()) && sentence.contains("--only-addresses"), "{sentence}");
    let connections: String = secret.command(&["INFO", "stats"]);
    let received = |line: &str| line.strip_prefix("total_connections_received:").and_then(|n| n.parse::<u32>().ok());
    // The test's own, two of them: to see that it is ready, and now.
    assert_eq!(connections.lines().find_map(|line| received(line.trim())), Some(2), "{connections}");
}

#[test]
fn honest_sentinels_within_the_fence_are_followed() {
    let rig = Sentinels::with(0, &[], &[]);
    let _: i64 = rig.servers[0].command(&["RPUSH", "jobs", "a"]);
    let inside = fence(&[rig.addresses(), vec![rig.servers[0].address()]].concat());
    let polling = Polling::start_with(|poller| poller.behind(inside));
    polling.set(0, &autoscaler("jobs", FAST, &[(&of_sentinels(&rig), list(&["jobs"]))]));
    polling.until_backlog(0, 1.0);
}

#[test]
fn a_cluster_leads_nowhere_beyond_the_fence_and_the_rest_of_it_is_read() {
    let cluster = RedisCluster::start();
    let keys: Vec<String> = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
    cluster.fill(&keys, |_| 1);
    let outside = cluster.home("a");
    let inside: Vec<String> = cluster
        .addresses()
        .into_iter()
        .enumerate()
        .filter(|(i, _)| *i != outside)
        .map(|(_, address)| address)
        .collect();
    let polling = Polling::start_with(|poller| poller.behind(fence(&inside)));
    let redis = connection(cluster_server(inside.clone()));
    for (i, key) in keys.iter().enumerate() {
        polling.set(i as u32, &autoscaler(key, FAST, &[(&redis, list(&[key]))]));
    }
    let sentence = polling.until_failure(0, FailureKind::Configuration);
    assert!(sentence.contains(&cluster.nodes[outside].address()), "{sentence}");
    for (i, key) in keys.iter().enumerate() {
        if cluster.home(key) == outside {
            polling.until_failure(i as u32, FailureKind::Configuration);
        } else {
            polling.until_backlog(i as u32, 1.0);
        }
    }
    assert_eq!(cluster.nodes[outside].clients("tidegate"), 0);
}

#[test]
fn who_is_sent_in_circles_gives_up_and_others_are_read() {
    let honest = RedisProcess::start();
    let _: i64 = honest.command(&["RPUSH", "jobs", "a", "b"]);
    let lying = Liar::start(|words, own| match words[0].as_str() {
        "CLUSTER" => all_slots_at(own),
        "LLEN" if words[1] == "moved" => format!("-MOVED 1 {own}\r\n"),
        "LLEN" if words[1] == "asked" => format!("-ASK 1 {own}\r\n"),
        "LLEN" if words[1] == "nowhere" => "-MOVED 1 ?:6379\r\n".to_owned(),
        "LLEN" if words[1] == "later" => "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_owned(),
        "LLEN" => ":7\r\n".to_owned(),
        _ => "+OK\r\n".to_owned(),
    });
    let polling = Polling::start();
    let redis = connection(cluster_server(vec![lying.address.clone()]));
    for (i, key) in ["moved", "asked", "nowhere", "later", "fine"].iter().enumerate() {
        polling.set(i as u32, &autoscaler(key, FAST, &[(&redis, list(&[key]))]));
    }
    polling.until_backlog(4, 7.0);
    for (key, kind, words) in [
        (0, FailureKind::Protocol, "from one to the other"),
        (1, FailureKind::Protocol, "from one to the other"),
        (2, FailureKind::Configuration, "another node"),
        (3, FailureKind::NotServing, "on its way"),
    ] {
        let sentence = polling.until_failure(key, kind);
        assert!(sentence.contains(words), "{sentence}");
    }
    polling.drain();
    let samples = polling.collect(10 * FAST);
    let fine = samples.iter().filter(|sample| sample.key == Key(4));
    assert!(fine.clone().count() > 5 && fine.clone().all(|sample| backlog_of(sample) == Some(7.0)));
    assert!(lying.connections() <= 4, "{} connections", lying.connections());
}

#[test]
fn who_names_ever_new_nodes_is_not_followed_for_ever() {
    // Each read is sent to another port of the liar's choice, where nobody is.
    let lying = Liar::start(|words, own| match words[0].as_str() {
        "CLUSTER" => all_slots_at(own),
        "LLEN" => format!("-MOVED 1 127.0.0.1:{}\r\n", 2000 + words[1].parse::<u16>().unwrap()),
        _ => "+OK\r\n".to_owned(),
    });
    let polling = Polling::start();
    let redis = connection(cluster_server(vec![lying.address.clone()]));
    let keys: Vec<String> = (0..200).map(|i| i.to_string()).collect();
    for (i, key) in keys.iter().enumerate() {
        polling.set(i as u32, &autoscaler(key, FAST, &[(&redis, list(&[key]))]));
    }
    let sample = polling.until("given up", |sample| kind_of(sample) == Some(FailureKind::Protocol));
    assert!(sample.value.unwrap_err().message.contains("more nodes than there are"));
}

#[test]
fn maps_that_are_none_are_refused() {
    for (reply, kind) in [
        (":1\r\n".to_owned(), FailureKind::Protocol),
        ("*0\r\n".to_owned(), FailureKind::NotServing),
        ("-ERR This instance has cluster support disabled\r\n".to_owned(), FailureKind::Configuration),
        ("-NOPERM no permission for cluster|slots\r\n".to_owned(), FailureKind::PermissionDenied),
        (all_slots_at("127.0.0.1:1").replace("16383", "16384"), FailureKind::Protocol),
    ] {
        let lying = Liar::start(move |words, _| match words[0].as_str() {
            "CLUSTER" => reply.clone(),
            _ => "+OK\r\n".to_owned(),
        });
        let polling = Polling::start();
        let redis = connection(cluster_server(vec![lying.address.clone()]));
        polling.set(0, &autoscaler("jobs", FAST, &[(&redis, list(&["jobs"]))]));
        polling.until_failure(0, kind);
    }
}
