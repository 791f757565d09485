//! INVITE with Replaces for a place in another shard, and what else a shard may ask of another: nothing.

use super::*;

#[test]
fn an_invite_with_replaces_takes_a_place_in_another_shard() {
    let mut shards = Shards::new(2);
    let talk = Talk::begin(&mut shards, 1, CALLEE);
    let call_id = shards.call_id("pickup", 0);
    shards.receive(DESK, &talk.pickup(&call_id, ""));
    shards.expect(DESK, "SIP/2.0 100");
    let offer = shards.expect(CALLEE, "INVITE");
    assert_eq!(offer.header("Call-ID"), talk.out.header("Call-ID"));
    shards.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    shards.expect_among(CALLEE, "ACK");
    let taken = shards.expect_among(DESK, "SIP/2.0 200");
    assert!(taken.body().contains("m=audio 30000"), "{}", taken.text);
    let_go(&mut shards, CALLER, &talk.call_id);
    shards.receive(DESK, &from_desk("ACK", 1, &call_id, &taken));
    shards.expect_silence();
    assert_eq!(described(&shards, 0, Side::A), "10.1.1.1:4000");
    assert_eq!(described(&shards, 0, Side::B), "192.0.2.1:31000");
    assert_eq!(described(&shards, 1, Side::A), "192.0.2.1:30002");
    assert!(shards.rows(0).is_empty() && shards.rows(1).is_empty());
    shards.receive(DESK, &from_desk("BYE", 2, &call_id, &taken));
    shards.expect(DESK, "SIP/2.0 200");
    let_go(&mut shards, CALLEE, talk.out.header("Call-ID"));
    assert_eq!((shards.rows(0), shards.rows(1)), (vec![(1, true)], vec![(1, true)]));
    let ended = [&shards.worlds[0].records[0], &shards.worlds[1].records[0]].map(|fact| fact.ended_by);
    assert_eq!(ended, [EndedBy::Caller, EndedBy::Caller]);
    shards.expect_nothing_left();
}

#[test]
fn an_invite_with_replaces_of_another_shard_that_is_refused_or_cancelled_changes_nothing() {
    let mut shards = Shards::new(2);
    let talk = Talk::begin(&mut shards, 1, CALLEE);
    let ids = ["one", "two"].map(|id| shards.call_id(id, 0));
    shards.receive(DESK, &talk.pickup(&ids[0], ""));
    shards.expect(DESK, "SIP/2.0 100");
    let offer = shards.expect(CALLEE, "INVITE");
    shards.receive(CALLEE, &response(&offer, "488 Not Acceptable Here", "", None));
    shards.expect(CALLEE, "ACK");
    let refused = shards.expect(DESK, "SIP/2.0 488");
    shards.receive(DESK, &from_desk("ACK", 1, &ids[0], &refused).replace("bKACK1", "bKp1"));
    let second = talk.pickup(&ids[1], "").replace("bKp1", "bKp2");
    shards.receive(DESK, &second);
    shards.expect(DESK, "SIP/2.0 100");
    let offer = shards.expect(CALLEE, "INVITE");
    shards.receive(DESK, &second.replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL"));
    shards.expect(DESK, "SIP/2.0 200");
    let cancelled = shards.expect(DESK, "SIP/2.0 487");
    shards.receive(DESK, &from_desk("ACK", 1, &ids[1], &cancelled).replace("bKACK1", "bKp2"));
    // The offer was out already.
    shards.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    shards.expect(CALLEE, "ACK");
    let back = shards.expect(CALLEE, "INVITE");
    shards.receive(CALLEE, &response(&back, "200 OK", "", Some(ANSWER)));
    shards.expect(CALLEE, "ACK");
    shards.receive(CALLER, &talk.of_caller("BYE", 2, ""));
    shards.expect(CALLER, "SIP/2.0 200");
    let_go(&mut shards, CALLEE, talk.out.header("Call-ID"));
    assert_eq!((shards.rows(0), shards.rows(1)), (vec![(1, true), (1, true)], vec![(1, true)]));
    shards.expect_nothing_left();
}

#[test]
fn replaces_of_nothing_in_another_shard_is_refused_as_in_ones_own() {
    let mut shards = Shards::new(2);
    let talk = Talk::begin(&mut shards, 1, CALLEE);
    let unknown = talk.pickup("x", "").replace(&format!("from-tag={}", talk.tag), "from-tag=zz");
    let strange = unknown.replace(talk.ok.tag("To"), "not-one-of-ours");
    let early = talk.pickup("x", ";early-only");
    for (number, (text, status)) in
        [(unknown, "481"), (strange, "481"), (early, "486")].into_iter().enumerate()
    {
        let call_id = shards.call_id(&format!("refused{number}-"), 0);
        let branch = format!("bKq{number}");
        let text = text.replace("Call-ID: x", &format!("Call-ID: {call_id}")).replace("bKp1", &branch);
        shards.receive(DESK, &text);
        let refused = shards.expect_among(DESK, &format!("SIP/2.0 {status}"));
        shards.receive(DESK, &from_desk("ACK", 1, &call_id, &refused).replace("bKACK1", &branch));
        shards.sent.clear();
    }
    // A dialog that cannot be of this box costs no call.
    assert_eq!(shards.worlds[0].core.stats().calls_started, 2);
    shards.receive(
        "198.51.100.9:5060",
        &talk.pickup(&shards.call_id("stranger", 0), "").replace(DESK, "198.51.100.9:5060"),
    );
    shards.expect("198.51.100.9:5060", "SIP/2.0 403");
    shards.expect_silence();
}

#[test]
fn drain_lets_a_place_be_taken_across_shards_and_ending_all_ends_both_calls() {
    let mut shards = Shards::new(2);
    let talk = Talk::begin(&mut shards, 1, CALLEE);
    for shard in [0, 1] {
        shards.input(shard, Input::Command { id: 1, command: Command::Drain });
    }
    let call_id = shards.call_id("pickup", 0);
    shards.receive(DESK, &talk.pickup(&call_id, ""));
    shards.expect(DESK, "SIP/2.0 100");
    let offer = shards.expect(CALLEE, "INVITE");
    shards.receive(CALLEE, &response(&offer, "200 OK", "", Some(ANSWER)));
    let taken = shards.expect_among(DESK, "SIP/2.0 200");
    let_go(&mut shards, CALLER, &talk.call_id);
    shards.receive(DESK, &from_desk("ACK", 1, &call_id, &taken));
    shards.sent.clear();
    // The orders reach the shards before either has heard what the other says of it.
    shards.is_held = true;
    for shard in [0, 1] {
        shards.input(shard, Input::Command { id: 2, command: Command::EndAll });
    }
    shards.release();
    let_go(&mut shards, DESK, &call_id);
    let_go(&mut shards, CALLEE, talk.out.header("Call-ID"));
    assert_eq!((shards.rows(0), shards.rows(1)), (vec![(1, true)], vec![(1, true)]));
    shards.expect_nothing_left();
}

#[test]
fn what_comes_from_a_shard_never_goes_on_to_a_third() {
    let mut shards = Shards::new(3);
    let talk = Talk::begin(&mut shards, 2, CALLEE);
    // As if shard 0 had taken shard 1 for the one that has the dialog.
    let text = talk.pickup("lost", "");
    let (head, body) = text.split_once("\n\n").unwrap();
    let bytes = format!("{head}\nContent-Length: {}\n\n{body}", body.len()).replace('\n', "\r\n");
    let bytes = bytes.replace(
        &format!("Content-Length: {}", body.len()),
        &format!("Content-Length: {}", body.replace('\n', "\r\n").len()),
    );
    shards.is_held = true;
    shards.input(1, Input::Message { flow: Flow::inner(0), bytes: bytes.as_bytes() });
    let (from, to, answer) = shards.mail.pop_front().unwrap();
    assert_eq!((from, to, answer.first_line()), (1, 0, "SIP/2.0 404 No Such Dialog Here"));
    assert!(shards.mail.is_empty() && shards.sent.is_empty());
}

#[test]
fn a_shard_may_take_a_place_and_nothing_else() {
    let mut shards = Shards::new(2);
    shards.is_held = true;
    for method in ["INVITE", "REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE"] {
        let text = invite("1", None).replace("INVITE", method).replace('\n', "\r\n");
        shards.input(1, Input::Message { flow: Flow::inner(0), bytes: text.as_bytes() });
        let (_, _, answer) = shards.mail.pop_front().unwrap();
        assert_eq!(answer.first_line(), "SIP/2.0 403 Forbidden");
    }
    // And no peer is a shard, whatever address it writes.
    let from = Flow::inner(0).remote.to_string();
    shards.worlds[1].receive(&from, &invite("2", Some(OFFER)));
    let answer = shards.worlds[1].sent.pop_front().unwrap();
    assert_eq!((answer.first_line(), answer.flow.is_inner()), ("SIP/2.0 403 Forbidden", false));
}
