//! Status and Events: written on edges, coalesced, and not at all where nothing happens.

use std::time::Duration;

use serde_json::json;
use tidegate::cluster::standing::{Refused, Scaled};
use tidegate::model::*;
use tidegate::spec::Pause;

use super::status_rig::{World, decision, id, resource, spec, unreadable};

const SECOND: Duration = Duration::from_secs(1);

/// All of them written once, and quiet.
async fn standing(names: &[String], replicas: Replicas) -> World {
    let mut world = World::new();
    for name in names {
        world.add(spec(name));
    }
    world.show();
    world.lead(1);
    for name in names {
        world.seen(name, replicas);
        let now = world.clock.now();
        world.publish(name, &decision(now, replicas, f64::from(replicas)));
    }
    world.pass(60 * SECOND).await;
    assert_eq!(
        world.server.with(|store| store.objects.values().filter(|o| o.status["conditions"].is_array()).count()),
        names.len()
    );
    world.writes();
    world.events();
    world
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("w{number:04}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_steady_autoscaler_costs_no_request_in_an_hour() {
    let names = names(40);
    let mut world = standing(&names, 4).await;
    let before = world.server.with(|store| store.requests);
    for second in 0..3_600 {
        for name in &names {
            let now = world.clock.now();
            world.publish(name, &decision(now, 4, 4.0 + f64::from(second % 2)));
        }
        world.pass(SECOND).await;
    }
    assert_eq!(world.server.with(|store| store.requests) - before, 0);
}

#[tokio::test(start_paused = true)]
async fn an_edge_is_written_within_a_second_and_what_comes_with_it_goes_along() {
    let mut world = standing(&names(1), 4).await;
    let now = world.clock.now();
    let mut wish = decision(now, 4, 9.0);
    wish.desired = 9;
    world.publish("w0000", &wish);
    world.pass(SECOND / 10).await;
    world.standings.update(&id("w0000"), |standing| standing.scaled = Some(Scaled { at: now, from: 4, to: 9 }));
    world.seen("w0000", 9);
    world.publish("w0000", &decision(world.clock.now(), 9, 9.0));
    world.pass(SECOND * 9 / 10).await;
    let writes = world.writes();
    assert_eq!(writes.len(), 1, "{writes:?}");
    let status = &writes[0].1["status"];
    assert_eq!([&status["desiredReplicas"], &status["currentReplicas"], &status["backlog"]], [9, 9, 9]);
    assert!(status["lastScaleTime"].is_string() && status.get("conditions").is_none(), "{status}");
    world.pass(120 * SECOND).await;
    assert_eq!(world.writes(), vec![], "it is said");
    assert_eq!(world.events(), ["Normal Scaled"]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_edges_at_once_are_all_told_and_the_most_important_first() {
    let names = names(1_000);
    let mut world = standing(&names, 0).await;
    let begin = world.clock.now();
    for (number, name) in names.iter().enumerate() {
        let mut wish = decision(begin, 0, 0.0);
        if number % 100 == 99 {
            wish = unreadable(begin, 0);
        } else {
            wish.current = 1;
            world.seen(name, 1);
        }
        world.publish(name, &wish);
    }
    world.pass(SECOND).await;
    let first = world.server.with(|store| store.writes.clone());
    assert!((500..=560).contains(&first.len()), "a burst and no more: {}", first.len());
    let alarms = first.iter().take(10).filter(|(name, _)| name.ends_with("99")).count();
    assert_eq!(alarms, 10, "{:?}", first.iter().map(|(name, _)| name).take(20).collect::<Vec<_>>());
    world.pass(24 * SECOND).await;
    let told = |store: &mut super::status_rig::Store| {
        store.objects.values().filter(|object| object.status["currentReplicas"] == 1).count()
    };
    assert_eq!(world.server.with(told), 990);
    assert_eq!(world.writes().len(), 1_000, "each of them once");
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_flaps_becomes_rarer() {
    let mut world = standing(&names(1), 4).await;
    for second in 0..600u32 {
        let now = world.clock.now();
        let mut flapping = decision(now, 4, 4.0);
        flapping.active = second % 2 == 0;
        world.publish("w0000", &flapping);
        world.pass(SECOND).await;
    }
    let writes = world.writes().len();
    assert!((10..=30).contains(&writes), "{writes} in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_alone_is_written_seldom_and_only_where_it_changed_a_lot() {
    let mut world = standing(&names(1), 4).await;
    for second in 0..300u32 {
        let now = world.clock.now();
        world.publish("w0000", &decision(now, 4, f64::from(100 + second * 10)));
        world.pass(SECOND).await;
    }
    let writes = world.writes().len();
    assert!((3..=10).contains(&writes), "{writes} in five minutes");
}

#[tokio::test(start_paused = true)]
async fn after_a_conflict_it_waits_for_the_new_version_and_keeps_what_others_wrote() {
    let mut world = standing(&names(1), 4).await;
    // Somebody writes, and the watch is late.
    let theirs =
        json!({"type": "Theirs", "status": "True", "reason": "Why", "message": "", "lastTransitionTime": "then"});
    world.server.with(|store| {
        store.revision += 1;
        let object = store.objects.get_mut(&id("w0000")).unwrap();
        object.revision = store.revision;
        object.status["conditions"].as_array_mut().unwrap().push(theirs.clone());
    });
    let now = world.clock.now();
    world.publish("w0000", &unreadable(now, 4));
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(world.writes().len(), 1, "one attempt, and no more before the watch has caught up");
    assert_eq!(world.events(), Vec::<String>::new());
    world.pass(5 * SECOND).await;
    assert_eq!(world.writes().len(), 1);
    assert_eq!(world.server.condition("w0000", "Ready"), "Ready=False SourceFailing");
    assert!(world.server.status("w0000")["conditions"].as_array().unwrap().contains(&theirs));
    assert_eq!(world.events(), ["Warning SourceFailing"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_leads_next_repeats_neither_status_nor_events() {
    let mut world = standing(&names(3), 4).await;
    for name in names(3) {
        let now = world.clock.now();
        world.publish(&name, &unreadable(now, 4));
        world.standings.update(&id(&name), |standing| standing.scaled = Some(Scaled { at: now, from: 3, to: 4 }));
    }
    world.pass(5 * SECOND).await;
    let mut events = world.events();
    events.sort();
    assert_eq!(events, [["Normal Scaled"; 3], ["Warning SourceFailing"; 3]].concat());
    world.writes();

    world.lead(2);
    for name in names(3) {
        world.seen(&name, 4);
    }
    world.pass(60 * SECOND).await;
    assert_eq!((world.writes(), world.events()), (vec![], vec![]));

    for name in names(3) {
        let now = world.clock.now();
        world.publish(&name, &decision(now, 4, 4.0));
    }
    world.pass(5 * SECOND).await;
    assert_eq!(world.events(), ["Normal Ready"; 3]);
    assert_eq!(world.writes().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_has_read_nothing_yet_leaves_alone_what_stands() {
    let mut world = standing(&names(2), 4).await;
    let stood = world.server.status("w0000");
    world.end_term();
    // Started anew: no decision, no workload seen.
    let restarted = names(2).iter().map(|name| spec(name)).collect::<Vec<_>>();
    world.board.insert(restarted.into_iter().map(|spec| {
        let known = world.resources.get(&spec.id).and_then(|resource| resource.spec.clone()).unwrap();
        std::sync::Arc::new(tidegate::board::Cell::new(known, world.clock.now()))
    }));
    world.lead(2);
    world.pass(10 * SECOND).await;
    for name in names(2) {
        world.seen(&name, 4);
        let now = world.clock.now();
        world.publish(&name, &decision(now, 4, 4.0));
    }
    world.pass(60 * SECOND).await;
    assert_eq!(world.writes(), vec![]);
    assert_eq!(world.server.status("w0000"), stood);
}

#[tokio::test(start_paused = true)]
async fn a_new_one_is_written_once_it_has_been_read_or_soon_in_any_case() {
    let mut world = standing(&names(1), 4).await;
    world.add(spec("read"));
    world.add(spec("unread"));
    world.pass(SECOND).await;
    world.seen("read", 0);
    world.publish("read", &decision(world.clock.now(), 0, 0.0));
    world.pass(2 * SECOND).await;
    assert_eq!(world.server.condition("read", "Ready"), "Ready=True Ready");
    world.pass(2 * SECOND).await;
    assert_eq!(world.server.condition("unread", "Ready"), "Ready=Unknown NoSampleYet");
    world.pass(60 * SECOND).await;
    assert_eq!(world.writes().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_leadership_nothing_is_said() {
    let mut world = standing(&names(2), 4).await;
    world.end_term();
    let before = world.server.with(|store| store.requests);
    let now = world.clock.now();
    world.publish("w0000", &unreadable(now, 4));
    world.standings.update(&id("w0001"), |standing| standing.refused = Some(Refused { by: "somebody".into() }));
    world.pass(60 * SECOND).await;
    assert_eq!(world.server.with(|store| store.requests), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_asked_once_a_minute_and_a_server_that_fails_is_left_alone() {
    let mut world = standing(&names(50), 4).await;
    world.server.with(|store| store.refusals.extend([403; 16]));
    for name in names(50) {
        let now = world.clock.now();
        world.publish(&name, &unreadable(now, 4));
    }
    world.pass(50 * SECOND).await;
    assert_eq!(world.writes().len(), 16, "those that were on their way together");
    world.pass(20 * SECOND).await;
    assert_eq!(world.writes().len(), 50, "a minute later somebody may have granted it");

    world.server.with(|store| store.refusals.extend([500; 1_000]));
    let now = world.clock.now();
    world.publish("w0007", &decision(now, 4, 4.0));
    world.pass(300 * SECOND).await;
    let attempts = world.writes().len();
    assert!((7..=12).contains(&attempts), "with growing pauses: {attempts}");
    world.server.with(|store| store.refusals.clear());
    world.pass(61 * SECOND).await;
    assert_eq!(world.server.condition("w0007", "Ready"), "Ready=True Ready");
}

#[tokio::test(start_paused = true)]
async fn events_of_one_object_are_few_and_its_scalings_do_not_hide_its_troubles() {
    let mut world = standing(&names(1), 4).await;
    for step in 0..120 {
        let (from, to) = (4 + step % 3, 5 + step % 3);
        let now = world.clock.now();
        world.standings.update(&id("w0000"), |standing| standing.scaled = Some(Scaled { at: now, from, to }));
        if step == 100 {
            world.publish("w0000", &unreadable(now, 4));
        }
        world.pass(SECOND).await;
    }
    world.pass(5 * SECOND).await;
    let events = world.events();
    let scaled = events.iter().filter(|event| *event == "Normal Scaled").count();
    assert!((11..=13).contains(&scaled), "ten, and one a minute: {scaled}");
    assert_eq!(events.iter().filter(|event| *event == "Warning SourceFailing").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn paused_and_resumed_are_events_and_an_invalid_spec_names_its_problems() {
    let mut world = standing(&names(1), 4).await;
    let edit = |world: &mut World, edit: &dyn Fn(&mut tidegate::cluster::resources::Resource)| {
        let known = world.resources.get(&id("w0000")).unwrap();
        world.server.with(|store| {
            store.revision += 1;
            let object = store.objects.get_mut(&id("w0000")).unwrap();
            object.revision = store.revision;
            let mut changed = resource(known.spec.as_ref().unwrap());
            edit(&mut changed);
            if let Some(spec) = &changed.spec {
                world.board.get(&id("w0000")).unwrap().respec(std::sync::Arc::clone(spec));
            }
            object.resource = changed;
        });
    };
    let pause = |replicas| Pause { at_replicas: replicas, ..Pause::default() };
    for (pause, event) in [(pause(Some(7)), "Normal PausedReplicas"), (pause(None), "Normal Resumed")] {
        edit(&mut world, &|resource| {
            resource.spec = Some(std::sync::Arc::new(tidegate::spec::AutoscalerSpec { pause, ..spec("w0000") }));
        });
        world.pass(5 * SECOND).await;
        assert_eq!(world.events(), [event]);
    }
    let problem = || tidegate::spec::problem::Problem::new("spec.maxReplicas", "0 is too few", "write at least 1");
    edit(&mut world, &|resource| {
        resource.generation = 2;
        resource.problems = vec![problem()].into();
    });
    world.pass(5 * SECOND).await;
    assert_eq!(world.events(), ["Warning InvalidSpec"]);
    let status = world.server.status("w0000");
    assert_eq!(status["observedGeneration"], 2);
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("spec.maxReplicas: 0 is too few; write at least 1 | "), "{message}");
}

#[tokio::test(start_paused = true)]
async fn looking_at_everybody_costs_little() {
    let count = 2_000;
    let world = standing(&names(count), 4).await;
    let begin = std::time::Instant::now();
    tokio::time::sleep(300 * SECOND).await;
    let looks = 300 * 4;
    let each = begin.elapsed() / looks / u32::try_from(count).unwrap();
    println!("{looks} looks at {count} steady autoscalers: {each:?} for each of them");
    assert_eq!(world.writes(), vec![]);
}
