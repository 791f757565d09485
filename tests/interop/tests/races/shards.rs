//! Replaces between calls of different shards: three parties of which two are left, and what they say to each other.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use call::shard_of;
use interop::{Drawbridge, Message, Place, run_command};

use crate::party::{ANSWER, OFFER, Party};

const WORKERS: u16 = 3;
/// How long what must come may take. Only a failing test waits so long.
const LIMIT: Duration = Duration::from_secs(10);

/// The box with several workers, a caller's trunk and two callees': numbers that begin with 77 go to the second.
fn start(place: &Place) -> Drawbridge {
    let [a, b, c] = [Place::A, Place::B, Place::C].map(|host| place.ip(host));
    Drawbridge::start_node(
        place,
        &format!("workers = {WORKERS}"),
        &format!(
            "[sip]\nt1 = \"50ms\"\nt2 = \"400ms\"\nt4 = \"500ms\"\n\n\
             [[trunk]]\nname = \"pbx\"\nsources = [\"{a}\"]\n\n\
             [[trunk]]\nname = \"carrier\"\nsources = [\"{b}\"]\npeers = [\"sip:{b}:5060\"]\n\n\
             [[trunk]]\nname = \"desk\"\nsources = [\"{c}\"]\npeers = [\"sip:{c}:5060\"]\n\n\
             [[route]]\nname = \"to-desk\"\ncalled = \"^77\"\nto = [\"desk\"]\n\n\
             [[route]]\nname = \"out\"\nfrom = [\"pbx\"]\nto = [\"carrier\"]\n"
        ),
    )
}

/// A Call-ID of this shard.
fn call_id(start: &str, shard: u16) -> String {
    let mut ids = (0..).map(|number| format!("{start}-{number}"));
    ids.find(|id| shard_of(id.as_bytes(), WORKERS) == shard).unwrap()
}

/// The caller's INVITE of this call.
fn invite(caller: &Party, called: &str, call_id: &str, extra: &str) -> String {
    let text = caller.request("INVITE", &format!("invite{call_id}"), extra, &at(caller, OFFER));
    let usual = format!("race-{}", caller.local());
    text.replace("12125551000@", &format!("{called}@")).replace(&usual, call_id)
}

/// The description with the party's own address.
fn at(party: &Party, description: &str) -> String {
    description.replace("127.0.0.1", party.local().split(':').next().unwrap())
}

/// A call that is up: the caller's 200 and the callee's INVITE.
fn up(
    drawbridge: &Drawbridge,
    caller: &Party,
    callee: &Party,
    called: &str,
    call_id: &str,
    port: u16,
) -> (Message, Message) {
    caller.say(&invite(caller, called, call_id, ""));
    let invite = callee.expect("INVITE");
    callee.respond(&invite, "200 OK", "", &at(callee, ANSWER).replace("8000", &port.to_string()));
    let ok = caller.expect("200");
    caller.say(&caller.in_dialog("ACK", &format!("ack{call_id}"), &ok, "", ""));
    callee.expect("ACK");
    // A REFER may overtake the caller's ACK on its way to another shard.
    interop::until("the call is up", LIMIT, || {
        let calls = drawbridge.ask("GET", "/v1/calls").json();
        calls["calls"].as_array()?.iter().all(|call| call["state"] == "up").then_some(())
    });
    (ok, invite)
}

/// Where a description says that media goes.
fn media_of(message: &Message) -> SocketAddr {
    let value =
        |start: &str| message.body().lines().find_map(|line| line.strip_prefix(start)).unwrap().to_owned();
    let port = value("m=audio ").split(' ').next().unwrap().to_owned();
    format!("{}:{port}", value("c=IN IP4 ")).parse().unwrap()
}

fn socket(party: &Party, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((party.local().split(':').next().unwrap(), port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    socket
}

/// What this party says reaches the other. `mark` is nobody else's.
fn is_heard(says: &UdpSocket, to: SocketAddr, hears: &UdpSocket, mark: u32) {
    let end = Instant::now() + LIMIT;
    let mut buffer = [0; 2_048];
    for sequence in 0..u16::MAX {
        assert!(Instant::now() < end, "nothing of {:?} reaches {:?}", says.local_addr(), hears.local_addr());
        let mut packet = vec![0x80, 8];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
        packet.extend_from_slice(&mark.to_be_bytes());
        packet.extend_from_slice(&[0xd5; 160]);
        says.send_to(&packet, to).unwrap();
        if let Ok(length) = hears.recv(&mut buffer)
            && length == packet.len()
            && buffer[8..12] == mark.to_be_bytes()
        {
            return;
        }
    }
}

/// Answers the NOTIFYs and BYEs that end the caller's part, whichever comes first.
fn is_released(caller: &Party, byes: usize, word: &str) {
    let (mut left, mut told) = (byes, false);
    while left > 0 || !told {
        let message = caller.expect_either(&["NOTIFY", "BYE"]);
        caller.respond(&message, "200 OK", "", "");
        match message.kind() {
            "BYE" => left -= 1,
            _ => told |= message.body().starts_with(&format!("SIP/2.0 {word}")),
        }
    }
}

/// Every journal of a call that is there is lived through again; one of them shows another shard.
fn journals_replay(place: &Place, drawbridge: &Drawbridge) {
    let calls = drawbridge.ask("GET", "/v1/calls").json();
    let mut ladders = String::new();
    for call in calls["calls"].as_array().unwrap() {
        let journal = drawbridge.ask("GET", &format!("/v1/calls/{}/journal", call["id"].as_str().unwrap()));
        assert_eq!(journal.status, 200, "{}", journal.body);
        let file = place.write("call.jsonl", &journal.body);
        run_command(&["replay", file.to_str().unwrap()]);
        ladders += &run_command(&["ladder", file.to_str().unwrap()]);
    }
    assert!(ladders.contains("shard "), "{ladders}");
}

#[test]
fn attended_transfers_between_any_two_shards_join_who_is_left() {
    let place = Place::new("hairpins");
    let drawbridge = start(&place);
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let target = Party::at(&place, Place::C, "target");
    let mut rounds = 0;
    for (x, y) in (0..WORKERS).flat_map(|x| (0..WORKERS).map(move |y| (x, y))).filter(|(x, y)| x != y) {
        rounds += 1;
        let name = |which: &str| format!("{which}{x}{y}");
        let [first, second] = [call_id(&name("first"), x), call_id(&name("second"), y)];
        let ports = [8_000 + 2 * rounds, 9_000 + 2 * rounds];
        let (ok, invite) = up(&drawbridge, &caller, &callee, "12125551000", &first, ports[0]);
        let (consulted, _) = up(&drawbridge, &caller, &target, "7712", &second, ports[1]);
        let tags = ["To", "From"].map(|header| consulted.parameter(header, "tag").unwrap().to_owned());
        let refer_to = format!(
            "Refer-To: <sip:7712@box.example?Replaces={second}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>\n",
            tags[0], tags[1]
        );
        caller.say(&caller.in_dialog("REFER", &name("refer"), &ok, &refer_to, ""));
        assert_eq!(caller.expect("202").method(), "REFER");
        // Every other caller hangs up both calls at once.
        let leaves = rounds % 2 == 0;
        if leaves {
            let notify = caller.expect("NOTIFY");
            caller.respond(&notify, "200 OK", "", "");
            for (nth, dialog) in [&consulted, &ok].into_iter().enumerate() {
                caller.say(&caller.in_dialog("BYE", &format!("{}{nth}", name("leave")), dialog, "", ""));
                assert_eq!(caller.expect("200").method(), "BYE");
            }
        }
        let offered = target.expect("INVITE");
        assert!(!offered.text.contains("0.0.0."), "{}", offered.text);
        target.respond(&offered, "200 OK", "", &at(&target, ANSWER).replace("8000", &ports[1].to_string()));
        target.expect("ACK");
        let joined = callee.expect("INVITE");
        let answer = at(&callee, ANSWER).replace("22 1", "22 2").replace("8000", &ports[0].to_string());
        callee.respond(&joined, "200 OK", "", &answer);
        callee.expect("ACK");
        is_released(&caller, if leaves { 0 } else { 2 }, "200");
        let [here, there] = [socket(&callee, ports[0]), socket(&target, ports[1])];
        let mark = u32::from(rounds) << 8;
        is_heard(&here, media_of(&joined), &there, mark);
        is_heard(&there, media_of(&offered), &here, mark + 1);
        // The places at trunks are those of the two who talk: the caller has left both calls.
        assert_eq!(drawbridge.metrics().sum("drawbridge_trunk_calls"), 2.0);
        if rounds == 1 {
            journals_replay(&place, &drawbridge);
        }
        callee.say(&callee.back("BYE", &name("bye"), &invite, "", ""));
        assert_eq!(callee.expect("200").method(), "BYE");
        let bye = target.expect("BYE");
        target.respond(&bye, "200 OK", "", "");
    }
    let rows = drawbridge.cdrs(3 * usize::from(rounds));
    assert_eq!(rows.len(), 3 * usize::from(rounds));
    let last = rows.iter().filter(|row| row["is_last"] == true).count();
    assert_eq!(last, 2 * usize::from(rounds), "one for each call: {rows:#?}");
    drawbridge.assert_comes_to_rest();
    drawbridge.stop();
}

#[test]
fn an_invite_with_replaces_takes_a_place_in_any_shard() {
    let place = Place::new("pickups");
    let drawbridge = start(&place);
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let newcomer = Party::at(&place, Place::C, "newcomer");
    for shard in 0..WORKERS {
        let first = call_id(&format!("replaced{shard}"), shard);
        let (ok, invited) = up(&drawbridge, &caller, &callee, "12125551000", &first, 8_000);
        let replaces = format!(
            "Replaces: {first};to-tag={};from-tag={}\n",
            ok.parameter("To", "tag").unwrap(),
            ok.parameter("From", "tag").unwrap()
        );
        let mine = call_id(&format!("newcomer{shard}"), (shard + 1) % WORKERS);
        newcomer.say(&invite(&newcomer, "12125551000", &mine, &replaces));
        let offered = callee.expect("INVITE");
        callee.respond(&offered, "200 OK", "", &at(&callee, ANSWER));
        callee.expect("ACK");
        let taken = newcomer.expect("200");
        newcomer.say(&newcomer.in_dialog("ACK", &format!("ack{mine}"), &taken, "", ""));
        let bye = caller.expect("BYE");
        caller.respond(&bye, "200 OK", "", "");
        let [here, there] = [socket(&newcomer, 7_000), socket(&callee, 8_000)];
        is_heard(&here, media_of(&taken), &there, 1);
        is_heard(&there, media_of(&invited), &here, 2);
        newcomer.say(&newcomer.in_dialog("BYE", &format!("bye{mine}"), &taken, "", ""));
        assert_eq!(newcomer.expect("200").method(), "BYE");
        let bye = callee.expect("BYE");
        callee.respond(&bye, "200 OK", "", "");
    }
    assert_eq!(drawbridge.cdrs(2 * usize::from(WORKERS)).len(), 2 * usize::from(WORKERS));
    drawbridge.assert_comes_to_rest();
}

#[test]
fn an_operator_s_end_of_one_call_ends_what_spans_two_shards() {
    let place = Place::new("hairpin-end");
    let drawbridge = start(&place);
    let (caller, callee) = (Party::caller(&place), Party::callee(&place));
    let newcomer = Party::at(&place, Place::C, "newcomer");
    let first = call_id("replaced", 1);
    let (ok, _) = up(&drawbridge, &caller, &callee, "12125551000", &first, 8_000);
    let tags = ["To", "From"].map(|header| ok.parameter(header, "tag").unwrap().to_owned());
    let replaces = format!("Replaces: {first};to-tag={};from-tag={}\n", tags[0], tags[1]);
    newcomer.say(&invite(&newcomer, "12125551000", &call_id("newcomer", 2), &replaces));
    let offered = callee.expect("INVITE");
    callee.respond(&offered, "200 OK", "", &at(&callee, ANSWER));
    callee.expect("ACK");
    let taken = newcomer.expect("200");
    newcomer.say(&newcomer.in_dialog("ACK", "ack", &taken, "", ""));
    let bye = caller.expect("BYE");
    caller.respond(&bye, "200 OK", "", "");
    let calls = drawbridge.ask("GET", "/v1/calls").json();
    let calls = calls["calls"].as_array().unwrap().clone();
    assert_eq!(calls.len(), 2);
    // An operator ends one, and both are over.
    let id = calls[0]["id"].as_str().unwrap();
    assert_eq!(drawbridge.ask("DELETE", &format!("/v1/calls/{id}")).status, 204);
    for party in [&newcomer, &callee] {
        let bye = party.expect("BYE");
        party.respond(&bye, "200 OK", "", "");
    }
    assert_eq!(drawbridge.cdrs(2).len(), 2);
    drawbridge.assert_comes_to_rest();
    drawbridge.stop();
}
