//! Calls over connections, which are cut into pieces, reset and opened again.

use std::time::Duration;

use crate::story::*;
use simulation::script::{CallScript, Route};
use simulation::{BOX, Deed, World};
use sip::Name;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn over_tcp() -> CallScript {
    let mut script = CallScript::plain(Route::Stream);
    script.caller.stream = true;
    script
}

#[test]
fn a_call_over_connections_is_the_same_call() {
    let world = told(over_tcp());
    let (on_streams, on_datagrams) = (flow(&world), flow(&told(call(|_| {}))));
    assert_eq!(on_streams, on_datagrams);
    for line in world.tape().lines().filter(|line| line.from == BOX && line.bytes.starts_with(b"INVITE")) {
        assert!(header(&line.bytes, Name::Via).starts_with("SIP/2.0/TCP "));
    }
}

#[test]
fn a_call_outlives_the_connections_that_set_it_up() {
    let mut world = World::of(vec![over_tcp()]);
    // One for each side.
    world.tear(MS(5_000));
    world.tear(MS(5_001));
    let world = to_the_end(world);
    in_order(&world, &[">B ACK", "A> BYE", ">A 200 BYE", ">B BYE", "B> 200 BYE"]);
    assert!(world.caller(0).results.contains(&("BYE", 200)));
}

#[test]
fn a_200_whose_connection_is_gone_reaches_the_caller_over_another() {
    let mut world = World::of(vec![over_tcp()]);
    world.tear(MS(500));
    world.tear(MS(501));
    let world = to_the_end(world);
    assert!(world.ladder(None).contains("is reset"));
    assert!(count(&world, ">A 200 INVITE") >= 1, "{}", world.ladder(None));
    in_order(&world, &[">A 200 INVITE", "A> ACK", "A> BYE", ">B BYE"]);
}

#[test]
fn a_box_that_ends_all_calls_says_so_over_connections() {
    let mut world = World::of(vec![over_tcp()]);
    world.instruct(MS(3_000), Deed::EndAll);
    let world = to_the_end(world);
    in_order(&world, &[">A BYE", ">B BYE"]);
}
