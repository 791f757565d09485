//! A reload while calls are up: each keeps the snapshot that it began with, and a leg that comes to another call is of the trunk of its
//! name there (a `TrunkId` is a place in its own snapshot).

use std::sync::Arc;

use call::Input;
use routing::{Credentials, Route, Snapshot, Trunk, TrunkId};

use crate::harness::*;
use crate::replaces::{DESK, FAR, from_desk, notified, of_second, pickup, to_consulted};

/// The usual trunks, each with a password of its own.
fn trunks() -> Vec<Trunk> {
    let mut trunks = usual_trunks();
    for trunk in &mut trunks {
        trunk.auth = Some(Credentials { username: trunk.name.clone(), password: "secret".into() });
    }
    trunks
}

/// A call that began before the reload: the box's 200 and INVITE.
fn call_of_before() -> (World, Sent, Sent) {
    let mut world = World::with(call::RegistrarPolicy::Closed, |usual| *usual = trunks());
    let (ok, out) = call_up_in(&mut world);
    (world, ok, out)
}

/// The same trunks in another order, and changed.
fn reload(world: &mut World, change: impl Fn(&mut Trunk)) {
    let mut trunks = trunks();
    trunks.iter_mut().for_each(change);
    trunks.reverse();
    let mut route = Route::new("out", [TrunkId(0)]);
    route.failover = routing::default_failover();
    world.input(Input::Snapshot(Arc::new(Snapshot::new(trunks, vec![route]).unwrap())));
}

/// The caller's second call, which began behind the reload: to [`FAR`].
fn consultation(world: &mut World) -> Sent {
    let second = invite("c1", Some(OFFER)).replace("call-a@", "call-c@").replace("tag=a1", "tag=a2");
    world.receive(CALLER, &second.replace("4912345@", "888@"));
    world.expect(CALLER, "SIP/2.0 100");
    let first = world.expect(CALLEE, "INVITE sip:888@");
    world.receive(CALLEE, &response(&first, "503 Service Unavailable", "x", None));
    world.expect(CALLEE, "ACK");
    let out = world.expect(FAR, "INVITE sip:888@");
    world.receive(FAR, &response(&out, "200 OK", "f1", Some(ANSWER)));
    let ok = world.expect(CALLER, "SIP/2.0 200");
    world.expect(FAR, "ACK");
    world.receive(CALLER, &of_second(&from_caller("ACK", 1, &ok, "")));
    world.expect_silence();
    world.records.clear();
    ok
}

/// A request that the box sent is challenged, and comes again with this name.
fn is_known_as(world: &mut World, at: &str, request: &Sent, name: &str) {
    let asks = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"";
    let contact = format!("Contact: <sip:bob@{at}>");
    world.receive(at, &response(request, "401 Unauthorized", "", None).replace(&contact, asks));
    let again = world.expect(at, request.text.split(' ').next().unwrap());
    assert!(again.header("Authorization").contains(&format!("username=\"{name}\"")), "{}", again.text);
    world.receive(at, &response(&again, "200 OK", "", None));
}

#[test]
fn who_comes_over_from_a_call_behind_a_reload_is_of_its_own_trunk() {
    let (mut world, ok, _) = call_of_before();
    reload(&mut world, |_| {});
    let ok2 = consultation(&mut world);
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, "SIP/2.0 100 Trying");
    let offer = world.expect(FAR, "INVITE");
    world.receive(FAR, &response(&offer, "200 OK", "", Some(ANSWER)));
    world.expect(FAR, "ACK");
    notified(&mut world, "SIP/2.0 200 OK");
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    let joined = world.expect(CALLEE, "INVITE");
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.receive(CALLEE, &response(&joined, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    world.receive(CALLEE, &from_callee("INFO", 1, &joined, "").replace(";tag=b1;tag=b1", ";tag=b1"));
    let info = world.expect(FAR, "INFO");
    is_known_as(&mut world, FAR, &info, "carrier");
    world.expect(CALLEE, "SIP/2.0 200");
    world.receive(CALLEE, &from_callee("BYE", 2, &joined, "").replace(";tag=b1;tag=b1", ";tag=b1"));
    world.expect(CALLEE, "SIP/2.0 200");
    let bye = world.expect(FAR, "BYE");
    world.receive(FAR, &response(&bye, "200 OK", "", None));
    let last = world.records.iter().rfind(|fact| fact.is_last).unwrap();
    assert_eq!(last.trunk_out.as_deref(), Some("carrier"));
    world.expect_replays();
}

#[test]
fn who_takes_a_place_in_a_call_of_before_a_reload_is_of_its_own_trunk() {
    let (mut world, ok, out) = call_of_before();
    reload(&mut world, |_| {});
    world.receive(DESK, &pickup(&ok, ""));
    world.expect(DESK, "SIP/2.0 100");
    let offer = world.expect(CALLEE, "INVITE");
    world.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    world.expect(CALLEE, "ACK");
    let taken = world.expect(DESK, "SIP/2.0 200");
    let both = ["pbx", "carrier"].map(|name| Some(name.to_owned()));
    assert_eq!(world.joined, [both.clone(), both], "their places are at the trunks of their own names");
    let bye = world.expect(CALLER, "BYE");
    world.receive(CALLER, &response(&bye, "200 OK", "", None));
    world.receive(DESK, &from_desk("ACK", 1, &taken));
    world.receive(CALLEE, &from_callee("INFO", 1, &out, ""));
    let info = world.expect(DESK, "INFO");
    is_known_as(&mut world, DESK, &info, "pbx");
    world.expect(CALLEE, "SIP/2.0 200");
    world.receive(DESK, &from_desk("BYE", 2, &taken));
    world.expect(DESK, "SIP/2.0 200");
    let bye = world.expect(CALLEE, "BYE");
    world.receive(CALLEE, &response(&bye, "200 OK", "", None));
    let last = world.records.iter().rfind(|fact| fact.is_last).unwrap();
    assert_eq!(last.trunk_out.as_deref(), Some("pbx"));
    world.expect_replays();
}

#[test]
fn whose_trunk_a_call_of_before_a_reload_does_not_have_stays_where_it_is() {
    let (mut world, ok, _) = call_of_before();
    reload(&mut world, |trunk| trunk.name.push_str("_2"));
    let ok2 = consultation(&mut world);
    world.receive(CALLER, &from_caller("REFER", 2, &ok, &to_consulted(&ok2)));
    world.expect(CALLER, "SIP/2.0 202");
    notified(&mut world, "SIP/2.0 100 Trying");
    notified(&mut world, "SIP/2.0 488 Not Acceptable Here");
    world.expect_silence();
    world.receive(DESK, &pickup(&ok, ""));
    world.expect(DESK, "SIP/2.0 488");
    world.expect_silence();
    assert_eq!(world.core.stats().calls, 2);
    world.expect_replays();
}
