//! A box that is killed under calls and started again: the calls go on, and end as whoever hangs up wants.
//! `make recovery` runs it with a thousand calls and the release build, and prints the figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use interop::{Drawbridge, Heard, Place, Postgres, Sipp, Softphone, WallClock, from_environment, until};

const LIMIT: Duration = Duration::from_secs(90);
/// The caller and the callee of calls that the callee ends.
const A2: u8 = 5;
const B2: u8 = 6;

fn configuration(place: &Place, postgres: Option<&Postgres>) -> String {
    let postgres =
        postgres.map(|postgres| format!("[cdr]\npostgres = \"{}\"\n\n", postgres.url())).unwrap_or_default();
    format!(
        "{postgres}[[trunk]]\nname = \"pbx\"\nsources = [\"{a}\"]\n\n\
         [[trunk]]\nname = \"carrier\"\npeers = [\"sip:{b}:5060\"]\n\n\
         [[trunk]]\nname = \"pbx2\"\nsources = [\"{a2}\"]\n\n\
         [[trunk]]\nname = \"carrier2\"\npeers = [\"sip:{b2}:5060\"]\n\n\
         [[route]]\nname = \"out\"\nfrom = [\"pbx\"]\nto = [\"carrier\"]\n\n\
         [[route]]\nname = \"out2\"\nfrom = [\"pbx2\"]\nto = [\"carrier2\"]\n",
        a = place.ip(Place::A),
        b = place.ip(Place::B),
        a2 = place.ip(A2),
        b2 = place.ip(B2),
    )
}

/// Half of the calls are ended by their caller and half by their callee, all of them after the restart. SIPp goes through
/// each of its scenarios: every BYE is answered, the other side gets one, and nobody has to say anything twice.
#[test]
fn calls_that_were_up_when_the_box_was_killed_end_as_whoever_hangs_up_wants() {
    let calls = from_environment("DRAWBRIDGE_CALLS", 50);
    let (half, rate) = (calls / 2, from_environment("DRAWBRIDGE_RATE", 25));
    let begins = Duration::from_secs(u64::from(half.div_ceil(rate)));
    // Long enough for the last to have begun, the box to be killed, and to be back.
    let hold = begins + Duration::from_secs(from_environment("DRAWBRIDGE_AWAY", 7).into());
    let place = Place::new("recovery");
    let postgres = Postgres::start(&place);
    let configuration = configuration(&place, Some(&postgres));
    let drawbridge = Drawbridge::start(&place, &configuration);
    let box_ = place.sip(Place::BOX);
    let callees = [
        Sipp::callee("uas.xml", place.ip(Place::B)),
        Sipp::callee("uas_says_bye.xml", place.ip(B2)).hold(hold),
    ];
    let callees = callees.map(|callee| callee.calls(half).patience(LIMIT).start(&place));
    let callers = [
        Sipp::caller("uac.xml", place.ip(Place::A), box_).hold(hold),
        Sipp::caller("uac_hears_bye.xml", place.ip(A2), box_),
    ];
    let callers = callers
        .map(|caller| caller.calls(half).rate(rate).calling("12125551000").patience(LIMIT).start(&place));
    until("all calls are up", LIMIT, || {
        (drawbridge.metrics().sum("drawbridge_calls_answered_total") == f64::from(half * 2)).then_some(())
    });
    // The last ACK, and the commit of what is open.
    std::thread::sleep(Duration::from_millis(300));
    // The process is killed.
    let killed = Instant::now();
    drop(drawbridge);
    let drawbridge = Drawbridge::start(&place, &configuration);
    println!("{} calls up, ready again {:?} after the kill", half * 2, killed.elapsed());
    let metrics = drawbridge.metrics();
    assert_eq!(metrics.sum("drawbridge_calls"), f64::from(half * 2), "{}", drawbridge.log());
    assert_eq!(metrics.sum("drawbridge_ports_in_use"), f64::from(half * 2 * 4), "each has its ports");
    for outcome in callers.map(|caller| caller.finish(LIMIT)) {
        outcome.assert_clean(half);
    }
    for outcome in callees.map(|callee| callee.finish(LIMIT)) {
        outcome.assert_clean(half);
    }
    let rows = drawbridge.cdrs((half * 2) as usize);
    assert_eq!(rows.len(), (half * 2) as usize, "one row each");
    for row in &rows {
        let by = if row["trunk_in"] == "pbx" { "caller" } else { "callee" };
        assert_eq!((&row["disposition"], &row["ended_by"]), (&"answered".into(), &by.into()), "{row}");
        assert_eq!((&row["recovered"], &row["is_last"]), (&1.into(), &true.into()), "{row}");
        let talked = row["duration_ms"].as_u64().unwrap();
        let error = talked.abs_diff(hold.as_millis() as u64);
        assert!(error < 500, "the phones talked for {hold:?}, the record says {talked} ms: {row}");
    }
    until("PostgreSQL has them all", LIMIT, || {
        let rows = postgres.query("SELECT count(*), count(DISTINCT id), count(DISTINCT call_id) FROM cdr");
        (rows == [format!("{0}|{0}|{0}", half * 2)]).then_some(())
    });
    assert_eq!(postgres.query("SELECT DISTINCT recovered, is_last FROM cdr"), ["1|t"]);
    drawbridge.assert_comes_to_rest();
    assert_eq!(drawbridge.metrics().sum("drawbridge_cdr_open"), 0.0);
    drawbridge.stop();
}

#[test]
fn two_who_talk_hear_each_other_again_and_however_often_the_box_dies_there_is_one_row() {
    let place = Place::new("recovery-voice");
    let configuration = "[access]\nopen_loopback = true\n";
    let drawbridge = Drawbridge::start(&place, configuration);
    let phone = |user: &str, host: u8| Softphone::at(&place, user, host);
    let (mut alice, mut bob) = (phone("alice", Place::A), phone("bob", Place::B));
    alice.call("bob");
    let invite = bob.answer();
    let ok = alice.confirm();
    bob.take("ACK");
    let talk = |alice: &Softphone, bob: &Softphone, what: u8| {
        alice.say(&ok, what);
        assert!(bob.listens(what), "bob hears alice");
        bob.say(&invite, what + 1);
        assert!(alice.listens(what + 1), "alice hears bob");
    };
    talk(&alice, &bob, 10);
    let call = drawbridge.ask("GET", "/v1/calls").json()["calls"][0]["id"].clone();
    let mut drawbridge = drawbridge;
    for round in 1..=3 {
        std::thread::sleep(Duration::from_millis(300));
        drop(drawbridge);
        drawbridge = Drawbridge::start(&place, configuration);
        let calls = drawbridge.ask("GET", "/v1/calls").json();
        assert_eq!((&calls["calls"][0]["id"], &calls["calls"][0]["state"]), (&call, &"up".into()), "{calls}");
        talk(&alice, &bob, 10 + round * 2);
    }
    let id = call.as_str().unwrap();
    let journal = drawbridge.ask("GET", &format!("/v1/calls/{id}/journal")).body;
    assert!(journal.lines().nth(1).unwrap().contains("\"restored\""), "it begins anew:\n{journal}");
    alice.hang_up(&ok);
    bob.take("BYE");
    let rows = drawbridge.cdrs(1);
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&row["call_id"], &row["recovered"], &row["ended_by"]), (&call, &3.into(), &"caller".into()));
    assert_eq!((&row["a_packets"], &row["b_packets"]), (&5.into(), &5.into()), "since the last start");
    nothing_is_held(&drawbridge);
    let journal = drawbridge.ask("GET", &format!("/v1/calls/{id}/journal")).body;
    let file = place.write("call.journal", &journal);
    let replay = interop::run_command(&["replay", &file.display().to_string()]);
    assert!(replay.contains("identical"), "{replay}");
    drawbridge.stop();
}

#[test]
fn a_call_that_rings_when_the_box_dies_is_closed_and_nobody_is_known_any_more() {
    let place = Place::new("recovery-ringing");
    let drawbridge = Drawbridge::start(&place, "[access]\nopen_loopback = true\n");
    let phone = |user: &str, host: u8| Softphone::at(&place, user, host);
    let (mut alice, mut bob) = (phone("alice", Place::A), phone("bob", Place::B));
    alice.call("bob");
    let invite = bob.hear();
    assert!(invite.first_line().starts_with("INVITE"), "{}", invite.0);
    std::thread::sleep(Duration::from_millis(300));
    drop(drawbridge);
    let drawbridge = Drawbridge::start(&place, "[access]\nopen_loopback = true\n");
    let rows = drawbridge.cdrs(0);
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&row["ended_by"], &row["recovered"]), (&"crash".into(), &0.into()));
    nothing_is_held(&drawbridge);
}

/// Two who talk for a while before somebody sets the clock and for a while after that, and whose box is killed then.
fn talk_through_a_clock_that_is_set(
    place: &Place,
    clock: &WallClock,
    node: &str,
    ahead: i64,
) -> ([Softphone; 2], Heard, Instant) {
    let drawbridge = Drawbridge::start_by(clock, place, node, "[access]\nopen_loopback = true\n");
    let phone = |user: &str, host: u8| Softphone::at(place, user, host);
    let (mut alice, mut bob) = (phone("alice", Place::A), phone("bob", Place::B));
    alice.call("bob");
    bob.answer();
    let ok = alice.confirm();
    let answered = Instant::now();
    bob.take("ACK");
    std::thread::sleep(Duration::from_secs(1));
    clock.set(ahead);
    std::thread::sleep(Duration::from_secs(2));
    drop(drawbridge);
    ([alice, bob], ok, answered)
}

#[test]
fn a_call_that_goes_on_after_a_kill_lasts_no_longer_because_somebody_has_set_the_clock() {
    for (ahead, story) in [(3600, "recovery-clock-ahead"), (-3600, "recovery-clock-back")] {
        let place = Place::new(story);
        let clock = WallClock::new(&place);
        let ([mut alice, mut bob], ok, answered) =
            talk_through_a_clock_that_is_set(&place, &clock, "", ahead);
        let drawbridge = Drawbridge::start_by(&clock, &place, "", "[access]\nopen_loopback = true\n");
        std::thread::sleep(Duration::from_secs(1));
        alice.hang_up(&ok);
        let talked = answered.elapsed();
        bob.take("BYE");
        let rows = drawbridge.cdrs(1);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((&row["ended_by"], &row["recovered"]), (&"caller".into(), &1.into()));
        assert_lasted(row, talked);
        drawbridge.stop();
    }
}

#[test]
fn a_call_that_a_kill_ends_lasted_until_then_though_somebody_has_set_the_clock() {
    for (ahead, story) in [(3600, "crash-clock-ahead"), (-3600, "crash-clock-back")] {
        let place = Place::new(story);
        let clock = WallClock::new(&place);
        let none = "recover_calls = false";
        let (_, _, answered) = talk_through_a_clock_that_is_set(&place, &clock, none, ahead);
        let talked = answered.elapsed();
        let drawbridge = Drawbridge::start_by(&clock, &place, none, "[access]\nopen_loopback = true\n");
        let rows = drawbridge.cdrs(0);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((&row["ended_by"], &row["recovered"]), (&"crash".into(), &0.into()));
        assert_lasted(row, talked);
        drawbridge.stop();
    }
}

fn assert_lasted(row: &serde_json::Value, talked: Duration) {
    let said = Duration::from_millis(row["duration_ms"].as_u64().unwrap());
    assert!(said.abs_diff(talked) < Duration::from_millis(1500), "{talked:?}, and the record says: {row}");
}

/// But for the registrations.
fn nothing_is_held(drawbridge: &Drawbridge) {
    until("every call has ended", LIMIT, || {
        let metrics = drawbridge.metrics();
        let held = ["drawbridge_calls", "drawbridge_legs", "drawbridge_ports_in_use"];
        held.iter().all(|name| metrics.sum(name) == 0.0).then_some(())
    });
}
