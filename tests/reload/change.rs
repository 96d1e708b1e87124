//! Changes that are right.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;
use tonic::Code;

use crate::folder::{
    Folder, autoscaler, connection, failing, knows, manifests, push, reloads, states, until_max, until_reloads,
    until_replicas,
};
use crate::support::redis::RedisProcess;
use crate::support::tidegate::{PATIENCE, Tidegate, until, until_along};

#[tokio::test]
async fn files_of_a_folder_are_changed_added_and_removed() {
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    folder.write("mail.yaml", &autoscaler("mail", "10"));
    let tidegate = folder.start(&["--target", "memory", "--allow-address", "127.0.0.1:*"]);
    push(&redis, "mail", 23);
    until_along("five replicas", || tidegate.replicas("pulse", "mail") == 5).await;

    folder.write("mail.yaml", &autoscaler("mail", "3"));
    until_along("the new maximum", || tidegate.replicas("pulse", "mail") == 3).await;

    // Added: it is polled, decided, scaled and served.
    let mut sms = tidegate.keda("pulse", &[("autoscaler", "sms")]).await;
    assert_eq!(sms.specs().await.unwrap_err().code(), Code::NotFound);
    push(&redis, "sms", 7);
    folder.write("sms.yaml", &autoscaler("sms", "10"));
    until_along("sms is known", || knows(&tidegate, "sms")).await;
    sms.until_value(7.0).await;
    assert_eq!(sms.specs().await.unwrap(), [("redis-sms".to_owned(), 5, 5.0)]);
    let workload = || tidegate.get("/api/v1/workloads/pulse/sms");
    until_along("its workload", || workload().status == 200).await;
    until_along("two replicas", || tidegate.replicas("pulse", "sms") == 2).await;

    // Removed: whoever asks is told, and a stream that is open ends with OK.
    let mut mail = tidegate.keda("pulse", &[("autoscaler", "mail")]).await;
    let mut stream = mail.client.stream_is_active(mail.object.clone()).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().unwrap().result);
    // Another trigger, by address, has nothing to do with it: its stream lives.
    let address = redis.address();
    let metadata = [("address", address.as_str()), ("listName", "mail"), ("pollingInterval", "100ms")];
    let other = tidegate.keda("pulse", &metadata).await;
    let mut lives = other.client.clone().stream_is_active(other.object.clone()).await.unwrap().into_inner();
    assert!(lives.message().await.unwrap().unwrap().result);
    folder.remove("mail.yaml");
    let end = tokio::time::timeout(PATIENCE, stream.message()).await.expect("the stream ends");
    assert!(end.unwrap().is_none(), "with OK");
    until_along("mail is gone", || !knows(&tidegate, "mail")).await;
    assert_eq!(mail.value("").await.unwrap_err().code(), Code::NotFound);
    assert!(tokio::time::timeout(Duration::from_millis(300), lives.message()).await.is_err(), "it lives");

    until_along("three reloads", || reloads(&tidegate, "ok") == 3.0).await;
    assert_eq!((reloads(&tidegate, "partly"), reloads(&tidegate, "broken"), failing(&tidegate)), (0.0, 0.0, 0.0));
    let states = states(&tidegate);
    assert_eq!(states, [("main.yaml".into(), "inForce".into()), ("sms.yaml".into(), "inForce".into())]);
    let manifests = manifests(&tidegate);
    assert_eq!((&manifests["autoscalers"], &manifests["connections"]), (&1.into(), &1.into()));
    assert!(tidegate.get("/readyz?verbose").body.contains("[+]manifests ok\n"));
    assert!(tidegate.log().contains("manifests reloaded"));
}

#[test]
fn a_single_file_is_followed_and_replaced_files_are_too() {
    let redis = RedisProcess::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("all.manifests");
    let text = |max: &str| connection("main", &redis.address()) + "---\n" + &autoscaler("mail", max);
    fs::write(&file, text("10")).unwrap();
    let tidegate = Tidegate::start("", &["-f", file.to_str().unwrap()]);
    tidegate.until_ready();
    fs::write(&file, text("20")).unwrap();
    until_max(&tidegate, "mail", 20);
    // As editors with manners do.
    let next = folder.path().join("next");
    fs::write(&next, text("30")).unwrap();
    fs::rename(&next, &file).unwrap();
    until_max(&tidegate, "mail", 30);
}

#[test]
fn a_hangup_asks_for_a_look_at_once_and_ends_nothing() {
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    folder.write("mail.yaml", &autoscaler("mail", "10"));
    let tidegate = folder.start(&[]);
    tidegate.signal("-HUP");
    tidegate.until_log("nothing has changed");
    for max in ["20", "30", "40"] {
        folder.write("mail.yaml", &autoscaler("mail", max));
        tidegate.signal("-HUP");
        until_max(&tidegate, "mail", max.parse().unwrap());
    }
    // Without files there is nothing to look at, and no reason to end.
    let without = Tidegate::start("", &[]);
    until("its ears", || without.is_ready());
    without.signal("-HUP");
    without.until_log("nothing has changed");
    assert!(without.is_ready());
}

#[test]
fn a_mounted_configmap_is_followed_as_it_is_swapped() {
    let redis = RedisProcess::start();
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    // What the kubelet does: a folder with a time for a name, a link to it that is renamed over the old one, links to
    // the files through that link.
    let publish = |stamp: &str, files: &[(&str, &str)]| {
        let data = at(stamp);
        fs::create_dir(&data).unwrap();
        for (name, text) in files {
            fs::write(data.join(name), text).unwrap();
            if fs::symlink_metadata(at(name)).is_err() {
                symlink(format!("..data/{name}"), at(name)).unwrap();
            }
        }
        symlink(stamp, at("..data_tmp")).unwrap();
        let old = fs::read_link(at("..data")).ok();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(at(old.to_str().unwrap())).unwrap();
        }
    };
    let main = connection("main", &redis.address());
    publish("..2026_01_01_00_00_00.1", &[("main.yaml", &main), ("mail.yaml", &autoscaler("mail", "10"))]);
    let tidegate = Tidegate::start("", &["-f", folder.path().to_str().unwrap()]);
    tidegate.until_ready();
    publish("..2026_01_01_00_01_00.2", &[("main.yaml", &main), ("mail.yaml", &autoscaler("mail", "20"))]);
    until_max(&tidegate, "mail", 20);
    let more =
        [("main.yaml", main.as_str()), ("mail.yaml", &autoscaler("mail", "30")), ("sms.yaml", &autoscaler("sms", "9"))];
    publish("..2026_01_01_00_02_00.3", &more);
    until_max(&tidegate, "sms", 9);
    until_max(&tidegate, "mail", 30);
    assert_eq!(reloads(&tidegate, "broken") + reloads(&tidegate, "partly"), 0.0, "{}", tidegate.log());
}

#[test]
fn a_connection_that_moved_is_read_at_its_new_address() {
    let (old, new) = (RedisProcess::start(), RedisProcess::start());
    push(&old, "mail", 10);
    push(&new, "mail", 35);
    let folder = Folder::new(&old);
    folder.write("mail.yaml", &autoscaler("mail", "10"));
    let tidegate = folder.start(&["--target", "memory"]);
    until_replicas(&tidegate, "mail", 2);
    tidegate.mark("pulse", "mail");
    folder.write("main.yaml", &connection("main", &new.address()));
    until_replicas(&tidegate, "mail", 7);
    assert_eq!(tidegate.detail("pulse", "mail")["backlog"], 35.0);
    assert_eq!(tidegate.workload("pulse", "mail")["lowest"], 2, "it did not fall in between");
    until("the old server is left", || old.clients("tidegate") == 0);
}

#[test]
fn what_is_added_to_the_box_is_scaled_by_it() {
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    folder.write("mail.yaml", &autoscaler("mail", "10"));
    let box_of_keda = ["--target", "keda-box", "--keda-polling-interval", "1s", "--hpa-sync-period", "1s"];
    let tidegate = folder.start(&box_of_keda);
    push(&redis, "sms", 7);
    folder.write("sms.yaml", &autoscaler("sms", "10"));
    until("its workload", || tidegate.get("/api/v1/workloads/pulse/sms").status == 200);
    until_replicas(&tidegate, "sms", 2);
}

#[test]
fn a_storm_of_changes_costs_one_reload() {
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    folder.write("mail.yaml", &autoscaler("mail", "1"));
    let tidegate = folder.start(&[]);
    for max in 2..=200 {
        folder.write("mail.yaml", &autoscaler("mail", &max.to_string()));
        std::thread::sleep(Duration::from_millis(5));
    }
    until_max(&tidegate, "mail", 200);
    until_reloads(&tidegate, "ok", 1.0);
    // A busy machine may hold up the writer for longer than two looks.
    let total: f64 = ["ok", "partly", "broken"].iter().map(|outcome| reloads(&tidegate, outcome)).sum();
    assert!(total <= 2.0, "{total} reloads");
}
