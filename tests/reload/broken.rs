//! Changes that are wrong, or partly.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use crate::folder::{
    Folder, autoscaler, connection, failing, knows, manifests, max_of, push, reloads, states, until_max, until_reloads,
    until_replicas,
};
use crate::support::redis::RedisProcess;
use crate::support::tidegate::until;

#[test]
fn a_broken_change_keeps_the_last_good_spec_and_everybody_is_told() {
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    folder.write("mail.yaml", &autoscaler("mail", "10"));
    let tidegate = folder.start(&["--target", "memory"]);
    let good_since = tidegate.metric("tidegate_manifest_last_reload_success_timestamp_seconds").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - good_since).abs() < 300.0, "{good_since} is not {now}");

    folder.write("mail.yaml", &autoscaler("mail", "many"));
    until_reloads(&tidegate, "broken", 1.0);
    // It goes on polling and deciding.
    push(&redis, "mail", 23);
    until_replicas(&tidegate, "mail", 5);
    assert_eq!(max_of(&tidegate, "mail"), 10);
    let since = tidegate.metric("tidegate_manifest_last_reload_success_timestamp_seconds");
    assert_eq!((failing(&tidegate), since), (1.0, Some(good_since)));

    let said = tidegate.until_log("manifests cannot be used, the last good ones stay");
    assert!(said.contains("\"ERROR\""), "{said}");
    let problem = tidegate.until_log("manifest problem");
    assert!(problem.contains("mail.yaml:6: spec.maxReplicas"), "{problem}");
    let verbose = tidegate.get("/readyz?verbose");
    assert_eq!(verbose.status, 200, "what is in force is as good as it was");
    let line = "[!]manifests: 1 problem, the last good ones are in force; see /api/v1/manifests\n";
    assert!(verbose.body.contains(line), "{verbose:?}");
    assert_eq!(tidegate.get("/api/v1/autoscalers").json()["manifestProblems"], 1);
    let manifests = manifests(&tidegate);
    assert_eq!((&manifests["failing"], &manifests["problemCount"]), (&true.into(), &1.into()));
    let problem = &manifests["problems"][0];
    assert!(problem["file"].as_str().unwrap().ends_with("mail.yaml"), "{problem}");
    assert_eq!((&problem["line"], &problem["path"]), (&6.into(), &"spec.maxReplicas".into()));
    assert_eq!(states(&tidegate), [("mail.yaml".into(), "lastGood".into()), ("main.yaml".into(), "inForce".into())]);

    folder.write("mail.yaml", &autoscaler("mail", "4"));
    until_replicas(&tidegate, "mail", 4);
    until("the cure to be known", || failing(&tidegate) == 0.0);
    assert!(tidegate.get("/readyz?verbose").body.contains("[+]manifests ok"));
    assert!(tidegate.metric("tidegate_manifest_last_reload_success_timestamp_seconds") > Some(good_since));
    let manifests = crate::folder::manifests(&tidegate);
    assert_eq!((&manifests["failing"], manifests["problems"].as_array().unwrap().len()), (&false.into(), 0));
    assert!(states(&tidegate).iter().all(|(_, state)| state == "inForce"));
}

#[test]
fn one_team_s_broken_file_does_not_hold_up_the_others() {
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    for name in ["mail", "sms", "push"] {
        folder.write(&format!("{name}.yaml"), &autoscaler(name, "10"));
    }
    let tidegate = folder.start(&[]);
    folder.write("mail.yaml", &autoscaler("mail", "many"));
    folder.write("sms.yaml", &autoscaler("sms", "20"));
    folder.write("fax.yaml", &autoscaler("fax", "20"));
    folder.write("telex.yaml", "kind: [");
    until_max(&tidegate, "sms", 20);
    until_max(&tidegate, "fax", 20);
    until("the state of the files", || {
        let states = states(&tidegate);
        let state = |file: &str| states.iter().find(|(name, _)| name == file).map(|(_, state)| state.clone());
        [("mail.yaml", "lastGood"), ("telex.yaml", "leftOut"), ("sms.yaml", "inForce"), ("fax.yaml", "inForce")]
            .iter()
            .all(|(file, wanted)| state(file).as_deref() == Some(wanted))
    });
    assert!(max_of(&tidegate, "mail") == 10 && failing(&tidegate) == 1.0);
    until_reloads(&tidegate, "partly", 1.0);

    // While it is broken, others come and go.
    folder.remove("push.yaml");
    until("push is gone", || !knows(&tidegate, "push"));
    assert_eq!((max_of(&tidegate, "mail"), failing(&tidegate)), (10, 1.0));
    folder.remove("telex.yaml");
    folder.write("mail.yaml", &autoscaler("mail", "30"));
    until_max(&tidegate, "mail", 30);
    until("nothing fails", || failing(&tidegate) == 0.0);
}

#[test]
fn a_connection_that_is_taken_away_stays_for_those_who_use_it() {
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    folder.write("mail.yaml", &autoscaler("mail", "10"));
    folder.write("sms.yaml", &autoscaler("sms", "10"));
    let tidegate = folder.start(&[]);
    push(&redis, "mail", 3);
    folder.remove("main.yaml");
    folder.write("sms.yaml", &autoscaler("sms", "20"));
    // Both refer to it: neither can be blamed, and both keep what they have until it is back.
    until("a reload", || failing(&tidegate) == 1.0);
    until("mail is polled", || tidegate.detail("pulse", "mail")["backlog"] == 3.0);
    until_max(&tidegate, "sms", 20);
    let manifests = manifests(&tidegate);
    let problems = manifests["problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem["message"].as_str().unwrap().contains("main.yaml was removed")));
}

#[test]
fn when_everything_is_gone_everything_stays() {
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    folder.write("mail.yaml", &autoscaler("mail", "10"));
    let single = TempDir::new().unwrap();
    let file = single.path().join("sms.yaml");
    fs::write(&file, autoscaler("sms", "10")).unwrap();
    let tidegate = folder.start(&["-f", file.to_str().unwrap(), "--target", "memory"]);
    push(&redis, "mail", 23);
    until_replicas(&tidegate, "mail", 5);

    folder.remove("mail.yaml");
    folder.remove("main.yaml");
    until("the empty folder to be noticed", || failing(&tidegate) == 1.0);
    fs::remove_dir(folder.path()).unwrap();
    until_reloads(&tidegate, "broken", 2.0);
    // The other path goes on meanwhile.
    fs::write(&file, autoscaler("sms", "20")).unwrap();
    until_max(&tidegate, "sms", 20);
    fs::remove_file(&file).unwrap();
    until_reloads(&tidegate, "broken", 3.0);
    // Nor does a file count that was emptied, or that leads nowhere.
    fs::write(&file, "").unwrap();
    until_reloads(&tidegate, "broken", 4.0);
    fs::remove_file(&file).unwrap();
    symlink("nowhere", &file).unwrap();
    push(&redis, "mail", 10);
    until_replicas(&tidegate, "mail", 7);
    assert_eq!(max_of(&tidegate, "sms"), 20);
    assert!(states(&tidegate).iter().all(|(_, state)| state == "lastGood"), "{:?}", states(&tidegate));

    fs::remove_file(&file).unwrap();
    fs::write(&file, autoscaler("sms", "30")).unwrap();
    fs::create_dir(folder.path()).unwrap();
    folder.write("main.yaml", &connection("main", &redis.address()));
    folder.write("mail.yaml", &autoscaler("mail", "30"));
    until("nothing fails", || failing(&tidegate) == 0.0);
    until_max(&tidegate, "mail", 30);
    until_max(&tidegate, "sms", 30);
}

#[test]
fn a_password_in_a_broken_file_is_shown_nowhere() {
    const PLANTED: &str = "pl4nted-secret";
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    folder.write("mail.yaml", &autoscaler("mail", "10"));
    let tidegate = folder.start(&["--log", "trace"]);
    let broken = [
        connection("other", "redis:6379").replace("redis: {", &format!("redis: {{ passwort: {PLANTED},")),
        connection("other", "redis:6379").replace("redis: {", &format!("redis: {{ password: [{PLANTED}],")),
        connection("other", &format!("redis://:{PLANTED}@redis:6379")),
        connection("other", "redis:6379").replace("redis: {", &format!("redis: {{ password: {PLANTED}: :")),
    ];
    for (turn, text) in (1..).zip(&broken) {
        folder.write("other.yaml", text);
        until_reloads(&tidegate, "broken", f64::from(turn));
        for path in ["/api/v1/manifests", "/api/v1/autoscalers", "/readyz?verbose", "/metrics", "/"] {
            let answer = tidegate.get(path).body;
            assert!(!answer.contains(PLANTED), "{path}: {answer}");
        }
    }
    assert_eq!(reloads(&tidegate, "ok"), 0.0);
    assert!(!tidegate.log().contains(PLANTED), "in the log");
}
