//! The life of the running program: it starts whole or not at all, reloads, drains, and ends with its records written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use process::{FREE_PORTS, Folder, PATIENCE, Process, Unread, get, output, post, text};
use rustix::process::Signal;

/// A phone that speaks just enough: it sends texts and answers by copying headers.
struct Phone {
    socket: UdpSocket,
    name: &'static str,
    sip: SocketAddr,
}

impl Phone {
    fn new(name: &'static str, sip: SocketAddr) -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Phone { socket, name, sip }
    }

    fn send(&self, method: &str, to: &str, cseq: u32, to_tag: &str, target: &str, extra: &str) {
        let (sip, own, name) = (self.sip, self.socket.local_addr().unwrap(), self.name);
        let message = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{name}{method}{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{name}@{sip}>;tag={name}\r\nTo: <sip:{to}@{sip}>{to_tag}\r\n\
             Call-ID: {name}-{cseq_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{name}@{own}>\r\n{extra}",
            cseq_id = if method == "REGISTER" { 0 } else { cseq },
        );
        let body = if extra.is_empty() { "Content-Length: 0\r\n\r\n" } else { "" };
        self.socket.send_to(format!("{message}{body}").as_bytes(), self.sip).unwrap();
    }

    fn invite(&self, to: &str, cseq: u32) {
        let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
        let extra = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
        self.send("INVITE", to, cseq, "", &format!("sip:{to}@{}", self.sip), &extra);
    }

    /// The next message that begins so; others are passed over.
    fn next(&self, start: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 65_535];
        let mut passed = Vec::new();
        while Instant::now() < end {
            let Ok(length) = self.socket.recv(&mut buffer) else { break };
            let message = text(&buffer[..length]);
            if message.starts_with(start) {
                return message;
            }
            passed.push(message.lines().next().unwrap_or_default().to_owned());
        }
        panic!("{} waited for {start:?} and got {passed:?}", self.name);
    }

    fn answer(&self, request: &str, status: &str, with_sdp: bool) {
        let own = self.socket.local_addr().unwrap();
        let copied = request
            .lines()
            .filter(|line| ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)));
        let copied: String = copied.map(|line| format!("{line}\r\n")).collect();
        let to = header(request, "To");
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={}", self.name) };
        let body = match request.split_once("\r\n\r\n") {
            Some((_, body)) if with_sdp => body,
            _ => "",
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let message = format!(
            "SIP/2.0 {status}\r\n{copied}To: {to}{tag}\r\nContact: <sip:{}@{own}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.name,
            body.len()
        );
        self.socket.send_to(message.as_bytes(), self.sip).unwrap();
    }

    fn register(&self) {
        self.send("REGISTER", self.name, 1, "", &format!("sip:{}", self.sip), "");
        self.next("SIP/2.0 200");
    }
}

fn header(message: &str, name: &str) -> String {
    let line = message.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
    line.split_once(": ").unwrap().1.to_owned()
}

/// A call between two phones, answered and acknowledged.
fn call(sip: SocketAddr) -> (Phone, Phone) {
    let (alice, bob) = (Phone::new("alice", sip), Phone::new("bob", sip));
    bob.register();
    alice.register();
    alice.invite("bob", 1);
    let invite = bob.next("INVITE");
    bob.answer(&invite, "200 OK", true);
    let ok = alice.next("SIP/2.0 200");
    let to = header(&ok, "To");
    let tag = to.split_once(";tag=").unwrap().1;
    let contact = header(&ok, "Contact");
    let target = contact.trim_start_matches('<').split('>').next().unwrap();
    alice.send("ACK", "bob", 1, &format!(";tag={tag}"), target, "");
    bob.next("ACK");
    (alice, bob)
}

#[test]
fn it_says_where_it_listens_within_a_second_and_answers() {
    let folder = Folder::new();
    let file = folder.write("box.toml", FREE_PORTS);
    let begin = Instant::now();
    let mut process = Process::start(&folder, &["--config", &file]);
    let (sip, api) = process.ready();
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(process.log.iter().any(|line| line.contains("for this machine only: there are no tokens")));
    assert!(
        process.log.iter().any(|line| line.contains("only they, may register any name without a password"))
    );
    assert!(process.log.iter().any(|line| line.contains("media relay runs")));
    assert_eq!(get(api, "/health").0, 200);
    Phone::new("alice", sip).register();
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0), "with no call up it ends at once");
    assert!(UdpSocket::bind(sip).is_ok(), "its port is free again");
}

#[test]
fn a_taken_port_keeps_the_whole_box_from_starting() {
    let folder = Folder::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let file = folder.write(
        "box.toml",
        &FREE_PORTS.replace("bind = '127.0.0.1:0'\n[api]", &format!("bind = '{port}'\n[api]")),
    );
    let said = output(&folder, &["run", "--config", &file]);
    assert_eq!(said.status.code(), Some(1));
    let said = text(&said.stderr);
    assert!(said.contains(&port.to_string()) && said.contains("udp") && !said.contains("ready"), "{said}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let file = folder.write(
        "box.toml",
        &FREE_PORTS.replace("[api]\nbind = '127.0.0.1:0'", &format!("[api]\nbind = '{port}'")),
    );
    let said = output(&folder, &["run", "--config", &file]);
    assert_eq!(said.status.code(), Some(1));
    let said = text(&said.stderr);
    assert!(said.contains(&format!("api.bind: cannot listen on {port}")), "{said}");
}

#[test]
fn a_wrong_file_starts_nothing_and_names_every_mistake() {
    let folder = Folder::new();
    let file = folder.write("box.toml", "[node]\nnmae = 'x'\n[media]\nports = 'many'\n");
    let said = output(&folder, &["run", "--config", &file]);
    assert_eq!(said.status.code(), Some(1));
    let said = text(&said.stderr);
    assert!(said.contains("box.toml:2: node.nmae") && said.contains("box.toml:4: media.ports"), "{said}");
    assert!(!folder.0.join("data").exists(), "nothing was begun");
}

#[test]
fn two_boxes_do_not_share_a_journal() {
    let folder = Folder::new();
    let file = folder.write("box.toml", FREE_PORTS);
    let mut first = Process::start(&folder, &["--config", &file]);
    let (_, api) = first.ready();
    let said = output(&folder, &["--config", &file]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("in use by another drawbridge"), "{}", text(&said.stderr));
    assert_eq!(get(api, "/health").0, 200, "the first goes on");
}

#[test]
fn a_reload_swaps_trunks_and_a_wrong_one_changes_nothing() {
    let folder = Folder::new();
    let with_trunk =
        |name: &str| format!("{FREE_PORTS}[[trunk]]\nname = '{name}'\nsources = ['192.0.2.1']\n");
    let file = folder.write("box.toml", &with_trunk("before"));
    let mut process = Process::start(&folder, &["run", "--config", &file]);
    let (sip, api) = process.ready();
    assert!(get(api, "/v1/trunks").1.contains("\"before\""));

    folder.write("box.toml", &format!("{}colour = 'red'\n[nod]\n", with_trunk("broken")));
    process.signal(Signal::HUP);
    process.line("box.toml:14: trunk.colour: unknown key");
    process.line("box.toml:15: nod: unknown key");
    process.line("the configuration in force stays");
    assert!(get(api, "/v1/trunks").1.contains("\"before\""));
    Phone::new("alice", sip).register();

    folder.write("box.toml", &with_trunk("after").replace("41000-41999", "42000-42999"));
    process.signal(Signal::HUP);
    let warning = process.line("needs a restart");
    assert!(warning.contains("key=\"media\""), "{warning}");
    process.line("configuration read again");
    let trunks = get(api, "/v1/trunks").1;
    assert!(trunks.contains("\"after\"") && !trunks.contains("\"before\""), "{trunks}");

    std::fs::remove_file(folder.0.join("box.toml")).unwrap();
    process.signal(Signal::HUP);
    process.line("expected a readable configuration file");
    assert!(get(api, "/v1/trunks").1.contains("\"after\""));
}

#[test]
fn a_reload_swaps_users_and_ends_registrations_that_are_none_any_more() {
    let folder = Folder::new();
    let open = FREE_PORTS.replace("[media]", "[node]\nworkers = 2\n[media]");
    let closed = open.replace("open_loopback = true", "open_loopback = false");
    let with_user = format!("{closed}[[user]]\nname = 'carol'\npassword = 'secret'\n");
    let file = folder.write("box.toml", &open);
    let mut process = Process::start(&folder, &["--config", &file]);
    let (sip, api) = process.ready();
    let (alice, bob) = (Phone::new("alice", sip), Phone::new("bob", sip));
    bob.register();
    let bindings = |expected: &str| {
        let end = Instant::now() + PATIENCE;
        while !get(api, "/metrics").1.contains(&format!("\ndrawbridge_bindings {expected}\n")) {
            assert!(Instant::now() < end, "{}", get(api, "/metrics").1);
        }
    };
    bindings("1");

    folder.write("box.toml", &with_user);
    process.signal(Signal::HUP);
    assert!(process.line("configuration read again").contains("users=1"));
    bindings("0");
    // Bob never showed a password, so his registration no longer vouches for his socket.
    bob.invite("carol", 2);
    bob.next("SIP/2.0 401");
    bob.send("REGISTER", "carol", 2, "", &format!("sip:{sip}"), "");
    bob.next("SIP/2.0 401");

    folder.write("box.toml", &closed);
    process.signal(Signal::HUP);
    process.line("configuration read again");
    alice.send("REGISTER", "alice", 3, "", &format!("sip:{sip}"), "");
    alice.next("SIP/2.0 403");

    folder.write("box.toml", &open);
    process.signal(Signal::HUP);
    process.line("configuration read again");
    alice.register();
    bindings("1");
    assert!(!process.log.iter().any(|line| line.contains("needs a restart")), "{:?}", process.log);
}

#[test]
fn peers_are_asked_for_life_and_the_api_says_how_they_are() {
    let folder = Folder::new();
    let peer = Phone::new("peer", SocketAddr::from(([127, 0, 0, 1], 9)));
    let own = peer.socket.local_addr().unwrap();
    let trunk = format!("[[trunk]]\nname = 'carrier'\npeers = ['sip:{own}']\noptions_ping = '1s'\n");
    let file = folder.write("box.toml", &format!("{FREE_PORTS}{trunk}"));
    let mut process = Process::start(&folder, &["--config", &file]);
    let (sip, api) = process.ready();
    let peer = Phone { sip, ..peer };
    assert!(get(api, "/v1/trunks").1.contains("\"state\":\"unknown\""));
    let ping = peer.next("OPTIONS");
    peer.answer(&ping, "404 Not Found", false);
    let up = process.line("peer is up");
    assert!(up.contains("trunk=\"carrier\"") && up.contains("status=404"), "{up}");
    let trunks = get(api, "/v1/trunks").1;
    assert!(trunks.contains("\"state\":\"up\"") && trunks.contains("\"status\":404"), "{trunks}");
    let metric = format!("drawbridge_trunk_peer_up{{trunk=\"carrier\",peer=\"sip:{own}\"}} ");
    assert!(get(api, "/metrics").1.contains(&format!("{metric}1\n")));
    process.line("peer is down");
    assert!(get(api, "/metrics").1.contains(&format!("{metric}0\n")));

    // The same peer under a new limit keeps its state; nobody has to find out anew.
    folder.write("box.toml", &format!("{FREE_PORTS}{trunk}max_calls = 5\n"));
    let (status, done) = post(api, "/v1/reload");
    assert_eq!((status, done.contains("\"changed\":[\"routing\"]")), (200, true), "{done}");
    assert!(get(api, "/v1/trunks").1.contains("\"state\":\"down\""));

    folder.write("box.toml", &format!("{FREE_PORTS}{trunk}colour = 'red'\n"));
    let (status, wrong) = post(api, "/v1/reload");
    assert_eq!(status, 422, "{wrong}");
    assert!(wrong.contains("box.toml:") && wrong.contains("trunk.colour: unknown key"), "{wrong}");
}

#[test]
fn a_drain_refuses_new_calls_and_lets_the_last_one_end() {
    let folder = Folder::new();
    let file = folder.write("box.toml", FREE_PORTS);
    let mut process = Process::start(&folder, &["--config", &file]);
    let (sip, api) = process.ready();
    let (alice, bob) = call(sip);
    process.signal(Signal::TERM);
    process.line("draining");
    alice.invite("bob", 2);
    alice.next("SIP/2.0 503");
    assert_eq!(get(api, "/health").0, 503, "a load balancer is told");
    assert!(process.runs(), "the call is still up");

    let dialog = get(api, "/v1/calls").1;
    assert!(dialog.contains("\"alice\""), "{dialog}");
    let id = dialog.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let mut stream = std::net::TcpStream::connect(api).unwrap();
    std::io::Write::write_all(
        &mut stream,
        format!("DELETE /v1/calls/{id} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .unwrap();
    for phone in [&alice, &bob] {
        let bye = phone.next("BYE");
        phone.answer(&bye, "200 OK", false);
    }
    assert_eq!(process.end().code(), Some(0));
}

#[test]
fn told_twice_it_ends_every_call_and_keeps_the_record() {
    let folder = Folder::new();
    let file = folder.write("box.toml", FREE_PORTS);
    let mut process = Process::start(&folder, &["--config", &file, "--log-format", "json"]);
    process.line("\"ready\"");
    let find = |with: &str, before: &str| -> SocketAddr {
        let line = process.log.iter().find(|line| line.contains(with)).unwrap();
        line.split_once(before).unwrap().1.split(['"', ',']).next().unwrap().parse().unwrap()
    };
    let sip = find("listening", "\"address\":\"");
    let (alice, bob) = call(sip);
    let started = process.line("call started");
    let answered = process.line("call answered");
    let id = |line: &str| line.split("\"call\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(id(&started), id(&answered), "a call's lines are joined by its id");
    process.signal(Signal::TERM);
    process.line("draining");
    process.signal(Signal::TERM);
    for phone in [&alice, &bob] {
        let bye = phone.next("BYE");
        phone.answer(&bye, "200 OK", false);
    }
    assert_eq!(process.end().code(), Some(0));

    let mut next = Process::start(&folder, &["--config", &file]);
    let (_, api) = next.ready();
    let (status, records) = get(api, "/v1/cdrs");
    assert_eq!(status, 200);
    let records: serde_json::Value = serde_json::from_str(&records).unwrap();
    let text = records.to_string();
    assert!(text.contains(&id(&started)) && text.contains("\"answered\""), "{text}");
    assert!(text.contains("\"ended_by\":\"policy\""), "{text}");
}

#[test]
fn a_call_whose_peers_are_gone_has_its_record_when_the_program_ends() {
    let folder = Folder::new();
    let file = folder.write("box.toml", FREE_PORTS);
    let mut process = Process::start(&folder, &["--config", &file]);
    let (sip, _) = process.ready();
    drop(call(sip));
    process.signal(Signal::TERM);
    process.line("draining");
    process.signal(Signal::TERM);
    process.line("peers do not answer");
    assert_eq!(process.end().code(), Some(0));

    let mut next = Process::start(&folder, &["--config", &file]);
    let (_, api) = next.ready();
    let (_, records) = get(api, "/v1/cdrs");
    assert!(records.contains("\"answered\"") && records.contains("\"ended_by\":\"policy\""), "{records}");
}

#[test]
fn a_registration_outlives_a_restart() {
    let folder = Folder::new();
    // The port must stay, since a phone's requests come to the address that it registered at.
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = FREE_PORTS.replace("bind = '127.0.0.1:0'\n[api]", &format!("bind = '{free}'\n[api]"));
    let file = folder.write("box.toml", &text);
    let mut process = Process::start(&folder, &["--config", &file]);
    let (sip, _) = process.ready();
    let (alice, bob) = (Phone::new("alice", sip), Phone::new("bob", sip));
    bob.register();
    process.signal(Signal::INT);
    assert_eq!(process.end().code(), Some(0), "Ctrl-C with no call up ends at once");

    let mut process = Process::start(&folder, &["--config", &file]);
    process.ready();
    alice.invite("bob", 1);
    bob.next("INVITE");
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_call() {
    let folder = Folder::new();
    let file = folder.write("unread.toml", FREE_PORTS);
    let (_box, sip, api) = Unread::start(&folder, &["run", "--config", &file]);
    let phone = Phone::new("alice", sip);
    // Far more lines than a pipe takes.
    for cseq in 1..=400 {
        phone.invite("nobody", cseq);
        phone.next("SIP/2.0 4");
    }
    let (status, metrics) = get(api, "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("\ndrawbridge_log_lines_dropped_total "), "{metrics}");
}
