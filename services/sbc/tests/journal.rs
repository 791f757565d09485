//! A call through the running box, its journal out of the API, and what `replay` and `ladder` make of the file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::net::{SocketAddr, UdpSocket};

use process::{FREE_PORTS, Folder, PATIENCE, Process, get, output, text};

/// Sends a request to the box and gives the final response.
fn ask(socket: &UdpSocket, sip: SocketAddr, request: &str) -> String {
    socket.send_to(request.as_bytes(), sip).unwrap();
    next(socket, "SIP/2.0 ")
}

/// The next message that begins so, provisional responses passed over.
fn next(socket: &UdpSocket, start: &str) -> String {
    let mut buffer = [0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).expect("the box answers");
        let message = text(&buffer[..length]);
        if message.starts_with(start) && !message.starts_with("SIP/2.0 1") {
            return message;
        }
    }
}

fn phone() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let own = socket.local_addr().unwrap();
    (socket, own)
}

fn request(method: &str, own: SocketAddr, sip: SocketAddr, rest: &str) -> String {
    format!(
        "{method} sip:bob@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-{method};rport\r\nMax-Forwards: 70\r\n\
         Contact: <sip:phone@{own}>\r\n{rest}Content-Length: 0\r\n\r\n"
    )
}

fn headers(message: &str, names: &[&str]) -> String {
    let wanted =
        message.lines().filter(|line| names.iter().any(|name| line.starts_with(&format!("{name}: "))));
    wanted.map(|line| format!("{line}\r\n")).collect()
}

#[test]
fn the_journal_of_a_call_is_handed_out_replayed_and_drawn() {
    let folder = Folder::new();
    let config = folder.write("box.toml", FREE_PORTS);
    let mut running = Process::start(&folder, &["run", "--config", &config]);
    let (sip, api) = running.ready();
    let ((alice, alice_at), (bob, bob_at)) = (phone(), phone());

    let me =
        format!("From: <sip:bob@{sip}>;tag=r\r\nTo: <sip:bob@{sip}>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\n");
    assert!(ask(&bob, sip, &request("REGISTER", bob_at, sip, &me)).starts_with("SIP/2.0 200"));
    let dialog =
        format!("From: <sip:alice@{sip}>;tag=a\r\nTo: <sip:bob@{sip}>\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\n");
    alice.send_to(request("INVITE", alice_at, sip, &dialog).as_bytes(), sip).unwrap();
    let invite = next(&bob, "INVITE ");
    let (_, listed) = get(api, "/v1/calls");
    let id = listed.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let busy = headers(&invite, &["Via", "From", "To", "Call-ID", "CSeq"])
        .replace("\r\nCall-ID", ";tag=b\r\nCall-ID");
    bob.send_to(format!("SIP/2.0 486 Busy Here\r\n{busy}Content-Length: 0\r\n\r\n").as_bytes(), sip).unwrap();
    let refused = next(&alice, "SIP/2.0 486");
    let ack = headers(&refused, &["From", "To", "Call-ID"]) + "CSeq: 1 ACK\r\n";
    alice
        .send_to(request("ACK", alice_at, sip, &ack).replace("bK-ACK", "bK-INVITE").as_bytes(), sip)
        .unwrap();

    // The call is over; its journal is in the ring.
    let (status, journal) = get(api, &format!("/v1/calls/{id}/journal"));
    assert_eq!(status, 200, "{journal}");
    let file = folder.write("call.journal", &journal);
    let replayed = output(&folder, &["replay", &file]);
    assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed.stderr));
    assert!(text(&replayed.stdout).trim_end().ends_with("identical"), "{}", text(&replayed.stdout));
    let drawn = output(&folder, &["ladder", &file, "--svg", "call.svg"]);
    let ladder = text(&drawn.stdout);
    assert!(ladder.contains("INVITE (1)") && ladder.contains("486 Busy Here (1 INVITE)"), "{ladder}");
    assert!(std::fs::read_to_string(folder.0.join("call.svg")).unwrap().ends_with("</svg>\n"));

    folder.write("broken", &journal.replacen("\"drawbridge_journal\":2", "\"drawbridge_journal\":1", 1));
    let refused = output(&folder, &["replay", "broken"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(text(&refused.stderr), "broken:1: expected a call journal of version 2, found version 1\n");
    let (status, problem) = get(api, "/v1/calls/01987e9f-0000-7000-8000-000000000000/journal");
    assert_eq!(status, 404, "{problem}");
}
