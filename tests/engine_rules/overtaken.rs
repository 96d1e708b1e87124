//! News of a count that comes before the answer to the request that made it, or without one: the change is counted once
//! by the rate limits, whichever comes first.

use super::*;

const LONG: Duration = Duration::from_secs(1_000);

/// Three more a minute, or one fewer.
fn limited() -> AutoscalerSpec {
    spec(|s| {
        s.max_sample_age = LONG;
        s.bounds = Bounds { min: 1, max: 100, idle: None };
        let (mut up, mut down) = (rules(), rules());
        up.policies = vec![policy(RateKind::Pods, 3, 60)];
        down.policies = vec![policy(RateKind::Pods, 1, 60)];
        s.behavior = Behavior::Rules { up, down };
    })
}

/// Five are asked for where there were two, and seen before anybody has said that it was done.
fn seen_first(by: SetBy) -> World {
    let mut world = World::unseen(limited());
    world.see_set(2, SetBy::Tidegate);
    world.read(0, 50.0);
    assert_eq!(world.asked(), [(2, 5)]);
    world.see_set(5, by);
    assert_eq!((world.asked(), world.reason()), (vec![], Reason::ScaleUpLimit), "{by:?}: the minute is used up");
    world
}

#[test]
fn an_answer_that_comes_later_does_not_count_it_again() {
    for by in [SetBy::Tidegate, SetBy::Unknown] {
        let mut world = seen_first(by);
        world.applied(2, 5, true);
        assert_eq!(world.asked(), [], "{by:?}");
        assert_eq!(world.pass(seconds(59)), 5, "{by:?}");
        assert_eq!(world.pass(seconds(1)), 8, "{by:?}: not fewer, either");
    }
}

#[test]
fn an_answer_that_was_lost_frees_nothing() {
    for lost in [true, false] {
        let mut world = seen_first(SetBy::Tidegate);
        if !lost {
            // As far as the target knows.
            world.applied(2, 5, false);
        }
        world.now = world.now.after(seconds(30));
        world.read(0, 50.0);
        assert_eq!((world.asked(), world.reason()), (vec![], Reason::ScaleUpLimit), "lost: {lost}");
        assert_eq!(world.pass(seconds(30)), 8);
        // And what comes then counts by itself.
        world.read(0, 50.0);
        assert_eq!((world.asked(), world.reason()), (vec![], Reason::ScaleUpLimit), "lost: {lost}");
        assert_eq!(world.pass(seconds(60)), 11);
    }
}

#[test]
fn the_same_holds_downwards() {
    let mut world = World::unseen(limited());
    world.see_set(9, SetBy::Tidegate);
    world.read(0, 9.0);
    world.read(0, 1.0);
    assert_eq!(world.asked(), [(9, 8)]);
    world.see_set(8, SetBy::Tidegate);
    assert_eq!((world.asked(), world.reason()), (vec![], Reason::ScaleDownLimit));
    world.applied(9, 8, true);
    assert_eq!(world.asked(), []);
    assert_eq!(world.pass(seconds(60)), 7);
}

#[test]
fn what_somebody_else_does_meanwhile_is_no_change_of_ours() {
    let mut world = World::unseen(limited());
    world.see_set(2, SetBy::Tidegate);
    world.read(0, 50.0);
    assert_eq!(world.asked(), [(2, 5)]);
    world.see_set(4, SetBy::Other);
    assert_eq!(world.asked(), [(4, 7)], "its own allowance is whole");
}
