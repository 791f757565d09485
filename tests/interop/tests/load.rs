//! Many calls at once, and nothing left of them afterwards. `DRAWBRIDGE_CALLS` and `DRAWBRIDGE_CANCELS` set how many;
//! `make bench-sipp` runs this with the full figures and the release build.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;
use std::time::Duration;

use interop::{Drawbridge, Place, Sipp, from_environment, to_the_carrier};

/// One load at a time: two would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_thousand_calls_leave_a_thousand_records_and_nothing_else() {
    let _alone = ALONE.lock();
    let calls = from_environment("DRAWBRIDGE_CALLS", 1000);
    let rate = from_environment("DRAWBRIDGE_RATE", 150);
    let limit = Duration::from_secs(u64::from(60 + calls / rate));
    let place = Place::new("load");
    let drawbridge = Drawbridge::start(&place, &to_the_carrier(&place));
    let callee = Sipp::callee("uas.xml", place.ip(Place::B)).calls(calls).start(&place);
    let caller = Sipp::caller("uac.xml", place.ip(Place::A), place.sip(Place::BOX)).calls(calls).rate(rate);
    let caller = caller.hold(Duration::from_millis(500)).start(&place);
    caller.finish(limit).assert_clean(calls);
    callee.finish(limit).assert_clean(calls);
    drawbridge.assert_comes_to_rest();
    let cdrs = drawbridge.cdrs(calls as usize);
    assert_eq!(cdrs.len(), calls as usize, "as many records as calls");
    assert!(cdrs.iter().all(|cdr| cdr["disposition"] == "answered" && cdr["is_last"] == true));
}

#[test]
fn every_cancelled_call_is_cancelled_on_both_legs() {
    let _alone = ALONE.lock();
    let calls = from_environment("DRAWBRIDGE_CANCELS", 200);
    let rate = from_environment("DRAWBRIDGE_RATE", 100);
    let limit = Duration::from_secs(u64::from(60 + calls / rate));
    let place = Place::new("cancels");
    let drawbridge = Drawbridge::start(&place, &to_the_carrier(&place));
    let callee = Sipp::callee("uas_cancel.xml", place.ip(Place::B)).calls(calls).logged().start(&place);
    let caller =
        Sipp::caller("uac_cancel.xml", place.ip(Place::A), place.sip(Place::BOX)).calls(calls).rate(rate);
    caller.start(&place).finish(limit).assert_clean(calls);
    let callee = callee.finish(limit);
    callee.assert_clean(calls);
    let branches = |kind: &str| {
        let of_kind = callee.messages.iter().filter(|message| message.kind() == kind);
        let mut branches: Vec<_> =
            of_kind.map(|message| message.parameter("Via", "branch").unwrap()).collect();
        branches.sort_unstable();
        branches.dedup();
        branches
    };
    assert_eq!(branches("INVITE").len(), calls as usize);
    assert_eq!(branches("CANCEL"), branches("INVITE"), "each CANCEL has the branch of its INVITE");
    assert_eq!(branches("ACK"), branches("INVITE"), "each 487 has its ACK");
    drawbridge.assert_comes_to_rest();
    let cdrs = drawbridge.cdrs(calls as usize);
    assert_eq!(cdrs.len(), calls as usize);
    assert!(cdrs.iter().all(|cdr| cdr["disposition"] == "cancelled" && cdr["sip_code_b"] == 487));
}
