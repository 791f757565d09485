//! Calls to phones that registered: found by name, reached by the flow they registered from.

use std::time::Duration;

use crate::story::*;
use simulation::script::{CallScript, Route};
use simulation::{Deed, World};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn to_a_user() -> CallScript {
    let mut script = CallScript::plain(Route::User);
    script.caller.start = MS(2_000);
    script
}

#[test]
fn a_phone_that_registered_is_called_by_its_name() {
    let world = told(to_a_user());
    in_order(&world, &["B> REGISTER", ">B 401 REGISTER", "B> REGISTER", ">B 200 REGISTER", "A> INVITE"]);
    in_order(&world, &["A> INVITE", ">B INVITE", "B> 200 INVITE", ">A 200 INVITE", "A> BYE", ">B BYE"]);
}

#[test]
fn a_phone_that_may_register_no_more_is_called_no_more_and_its_call_goes_on() {
    let mut later = to_a_user();
    later.caller.start = MS(6_000);
    let mut world = World::of(vec![to_a_user(), later]);
    world.instruct(MS(5_000), Deed::Registrar);
    let world = to_the_end(world);
    assert_eq!(world.oracle().records(0)[0].sip_code_a, Some(200));
    assert_eq!(world.oracle().records(1)[0].sip_code_a, Some(404));
}
