//! Two shards that share a call: what one says to the other comes there, however little room there is.

use std::net::UdpSocket;
use std::time::Instant;

use call::shard_of;

use crate::bench::{PATIENCE, Sbc};
use crate::calls::{invite, towards};

const SHARDS: u16 = 2;

fn call_id(start: &str, shard: u16) -> String {
    let mut ids = (0..).map(|number| format!("{start}{number}"));
    ids.find(|id| shard_of(id.as_bytes(), SHARDS) == shard).unwrap()
}

/// The next message to the callee that is a request of this method.
pub fn next(callee: &UdpSocket, method: &str) -> String {
    let mut room = [0; 65_536];
    loop {
        let length = callee.recv(&mut room).unwrap();
        let text = String::from_utf8(room[..length].to_vec()).unwrap();
        if text.starts_with(method) {
            return text;
        }
    }
}

/// 200 with a description, from there.
pub fn accepted(request: &str, callee: &UdpSocket) -> String {
    let body =
        "v=0\r\no=- 2 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4002 RTP/AVP 0\r\n";
    let copied =
        |line: &&str| ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name));
    let head: String = request.lines().filter(copied).map(|line| format!("{line}\r\n")).collect();
    let to = request.lines().find(|line| line.starts_with("To:")).unwrap();
    let tag = if to.contains("tag=") { "" } else { ";tag=callee" };
    let contact = callee.local_addr().unwrap();
    format!(
        "SIP/2.0 200 OK\r\n{head}{to}{tag}\r\nContact: <sip:{contact}>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The same request under another method and without its body.
pub fn renamed(invite: &str, method: &str, to: &str) -> String {
    let head = invite.split("\r\n\r\n").next().unwrap();
    let lines = head.lines().filter(|line| !line.starts_with("Content-"));
    let lines = lines.map(|line| if line.starts_with("To:") { format!("To: {to}") } else { line.to_owned() });
    let head: String = lines.map(|line| line + "\r\n").collect();
    head.replace("INVITE sip:", &format!("{method} sip:")).replace("1 INVITE", &format!("1 {method}"))
        + "Content-Length: 0\r\n\r\n"
}

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

#[test]
fn what_joined_calls_of_two_shards_say_to_each_other_waits_for_room() {
    let callee = UdpSocket::bind("127.0.0.1:0").unwrap();
    callee.set_read_timeout(Some(PATIENCE)).unwrap();
    let sbc = Sbc::start_with(usize::from(SHARDS), |config| {
        towards(format!("sip:{}", callee.local_addr().unwrap()))(config);
        config.limits.queue_messages = 1;
    });
    callee.connect(sbc.udp).unwrap();
    let (caller, newcomer) = (sbc.phone(), sbc.phone());
    let first = call_id("first", 1);
    let placed = invite(&first, caller.address());
    caller.send(&placed);
    callee.send(accepted(&next(&callee, "INVITE"), &callee).as_bytes()).unwrap();
    let ok = caller.receive_past_100();
    next(&callee, "ACK");
    caller.send(&renamed(&placed, "ACK", header(&ok, "To")).replace("z9hG4bK", "z9hG4bKack"));
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    };
    let handle = sbc.net.handle();
    until("the call is up", &|| sbc.wait(handle.calls(9)).unwrap().iter().all(|call| call.state == "up"));

    let to_tag = header(&ok, "To").split("tag=").nth(1).unwrap();
    let replaces = format!("Replaces: {first};to-tag={to_tag};from-tag={first}\r\nMax-Forwards");
    let taking = invite(&call_id("second", 0), newcomer.address()).replace("Max-Forwards", &replaces);
    newcomer.send(&taking);
    let offer = next(&callee, "INVITE");
    assert_eq!(sbc.stats().total.core.calls, 2);
    // Who takes a place takes none at a trunk.
    assert_eq!((handle.trunk_calls("pbx"), handle.trunk_calls("carrier")), (1, 1));
    // Who gives up makes the other shard say two things at once, and there is room for one.
    newcomer.send(&renamed(&taking, "CANCEL", header(&taking, "To")));
    let [one, two] = [newcomer.receive_past_100(), newcomer.receive_past_100()];
    let refused = if header(&one, "CSeq").ends_with("INVITE") { one } else { two };
    assert!(refused.starts_with("SIP/2.0 487 "), "{refused}");
    newcomer.send(&renamed(&taking, "ACK", header(&refused, "To")));
    until("the call of who gave up is over", &|| sbc.stats().total.core.calls == 1);
    callee.send(accepted(&offer, &callee).as_bytes()).unwrap();
    let again = next(&callee, "INVITE");
    assert_eq!(header(&again, "Call-ID"), header(&offer, "Call-ID"), "the callee hears of the caller again");
    sbc.net.shutdown().unwrap();
}
