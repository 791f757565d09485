//! Every message of `torture` against the running box: what is sound crosses it with its content as it was, what is not
//! is answered with its fault named, or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use interop::{Direction, Drawbridge, Message, Place, Wire};
use torture::{Answers, Case, Parties, Treated, cases, kept};

const LIMIT: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(300);

/// A caller and a callee without a stack, and the box between them.
struct Stage {
    sender: String,
    /// Where the callee is.
    answers_from: String,
    host: String,
    caller: Wire,
    callee: Wire,
    /// What was heard, which may come again.
    seen: RefCell<HashSet<Vec<u8>>>,
}

fn start(place: &Place) -> Drawbridge {
    let configuration = format!(
        "[sip]\nt1 = \"100ms\"\nt2 = \"400ms\"\nt4 = \"500ms\"\n\n[access]\nopen_loopback = true\n\n\
         [[trunk]]\nname = \"pbx\"\nsources = [\"{a}\"]\n\n\
         [[trunk]]\nname = \"carrier\"\nsources = [\"{b}\"]\npeers = [\"sip:{b}:5060\"]\n\n\
         [[route]]\nname = \"out\"\nfrom = [\"pbx\"]\nto = [\"carrier\"]\n",
        a = place.ip(Place::A),
        b = place.ip(Place::B),
    );
    // Descriptions of RFC 5118 ask for media over IPv6.
    Drawbridge::start_dual(place, &configuration)
}

/// A message as text, with its folds undone.
fn text(bytes: &[u8]) -> Message {
    let text = String::from_utf8_lossy(bytes).replace('\r', "");
    Message { direction: Direction::Received, text: text.replace("\n ", " ").replace("\n\t", " ") }
}

impl Stage {
    fn new(place: &Place) -> Stage {
        let wire = |host| Wire::new(place.ip(host), place.sip(Place::BOX));
        Stage {
            sender: place.ip(Place::A).to_string(),
            answers_from: place.ip(Place::B).to_string(),
            host: place.ip(Place::BOX).to_string(),
            caller: wire(Place::A),
            callee: wire(Place::B),
            seen: RefCell::default(),
        }
    }

    fn parties(&self) -> Parties<'_> {
        Parties { sender: &self.sender, host: &self.host }
    }

    /// The next message that is wanted and was not heard before; what is left of other cases is passed over.
    fn hear(&self, wire: &Wire, wanted: impl Fn(&Message) -> bool) -> Result<(Vec<u8>, Message), String> {
        let end = Instant::now() + LIMIT;
        let mut heard = String::new();
        while let Some(bytes) = wire.hear_bytes(end.saturating_duration_since(Instant::now())) {
            if !self.seen.borrow_mut().insert(bytes.clone()) {
                continue;
            }
            let message = text(&bytes);
            if wanted(&message) {
                return Ok((bytes, message));
            }
            heard.push_str(message.text.lines().next().unwrap_or_default());
            heard.push_str("; ");
        }
        Err(format!("waits in vain, heard only: {heard}"))
    }

    fn final_answer(&self, method: &str) -> Result<Message, String> {
        let is_final = |message: &Message| message.kind().parse::<u16>().is_ok_and(|status| status >= 200);
        self.hear(&self.caller, |message| is_final(message) && message.method() == method)
            .map(|(_, message)| message)
    }

    fn play(&self, case: &Case) -> Result<(), String> {
        match case.treated {
            Treated::Crosses => self.crosses(&case.write(self.parties())),
            Treated::Registers(contacts) => {
                self.caller.send(&case.write(self.parties()));
                let ok = self.final_answer("REGISTER")?;
                let is_named = |contact: &str| {
                    let contact = contact.replace("{sender}", &self.sender).replace("{host}", &self.host);
                    // Up to the parameters, so that one that begins another is not taken for it.
                    let is_it = |found: &String| found.split('>').next() == contact.strip_suffix('>');
                    ok.headers("Contact").iter().any(|found| is_it(&found.to_string()))
                };
                match contacts.iter().find(|contact| !is_named(contact)) {
                    None if ok.kind() == "200" => Ok(()),
                    missing => {
                        Err(format!("expected {} in a 200, came:\n{}", missing.unwrap_or(&"it"), ok.text))
                    }
                }
            }
            Treated::Answered(status, phrase) => {
                self.caller.send(&case.write(self.parties()));
                let first_line = format!("SIP/2.0 {status} {phrase}");
                let is_it = |message: &Message| message.text.lines().next() == Some(&first_line);
                let (_, answer) =
                    self.hear(&self.caller, is_it).map_err(|why| format!("{first_line}: {why}"))?;
                // Where a To cannot be read, nobody knows where its tag would have to stand.
                let unreadable =
                    phrase == "Bad To Header" || answer.header("To").is_some_and(|to| to.ends_with(";;;"));
                let tagged = unreadable || answer.header("To").is_none_or(|to| to.contains("tag="));
                if tagged { Ok(()) } else { Err(format!("no To-tag in\n{}", answer.text)) }
            }
            Treated::CarriedBack(status, phrase) => {
                let invite = self.ring(case)?;
                self.callee.send(&case.answer(self.callee_parties(), answers(&invite)));
                let answer = self.final_answer("INVITE")?;
                self.finish(&answer)?;
                let first_line = format!("SIP/2.0 {status} {phrase}");
                let came = answer.text.lines().next().unwrap_or_default();
                if came == first_line {
                    Ok(())
                } else {
                    Err(format!("expected {first_line:?}, came {came:?}"))
                }
            }
            Treated::Dropped => {
                let invite = self.ring(case)?;
                self.callee.send(&case.answer(self.callee_parties(), answers(&invite)));
                while let Some(bytes) = self.caller.hear_bytes(QUIET) {
                    let message = text(&bytes);
                    if message.kind() != "100" && !self.seen.borrow().contains(&bytes) {
                        return Err(format!("the caller heard {}", message.text));
                    }
                }
                self.callee.say(&response(&invite, "486 Busy Here", ""));
                let busy = self.final_answer("INVITE")?;
                self.finish(&busy)?;
                if busy.kind() == "486" { Ok(()) } else { Err(busy.text) }
            }
        }
    }

    fn callee_parties(&self) -> Parties<'_> {
        Parties { sender: &self.answers_from, host: &self.host }
    }

    /// An ordinary call for this case's response.
    fn ring(&self, case: &Case) -> Result<Message, String> {
        let offer = cases().find(|case| case.name == "escapes").ok_or("no ordinary INVITE")?;
        let invite = String::from_utf8_lossy(&offer.write(self.parties())).replace("escapes", case.name);
        self.caller.send(invite.as_bytes());
        self.hear(&self.callee, |message| message.kind() == "INVITE").map(|(_, message)| message)
    }

    /// ACK, and BYE where there is something to end.
    fn finish(&self, answer: &Message) -> Result<(), String> {
        let within = |method: &str, cseq: u32, branch: &str| {
            format!(
                "{method} sip:drawbridge@{host} SIP/2.0\nVia: SIP/2.0/UDP {sender}:5060;branch={branch}\n\
                 Max-Forwards: 70\nFrom: {from}\nTo: {to}\nCall-ID: {call_id}\nCSeq: {cseq} {method}\n\
                 Content-Length: 0\n\n",
                host = self.host,
                sender = self.sender,
                from = answer.header("From").unwrap_or_default(),
                to = answer.header("To").unwrap_or_default(),
                call_id = answer.header("Call-ID").unwrap_or_default(),
            )
        };
        let number =
            answer.header("CSeq").and_then(|cseq| cseq.split_whitespace().next()?.parse().ok()).unwrap_or(1);
        let branch = answer.parameter("Via", "branch").unwrap_or_default();
        if answer.kind() != "200" {
            self.caller.say(&within("ACK", number, branch));
            return Ok(());
        }
        self.caller.say(&within("ACK", number, &format!("{branch}-ack")));
        self.caller.say(&within("BYE", number + 1, &format!("{branch}-bye")));
        self.hear(&self.caller, |message| message.method() == "BYE")?;
        let (_, bye) = self.hear(&self.callee, |message| message.kind() == "BYE")?;
        self.callee.say(&response(&bye, "200 OK", ""));
        Ok(())
    }

    fn crosses(&self, sent: &[u8]) -> Result<(), String> {
        let method = text(sent).kind().to_owned();
        self.caller.send(sent);
        let (arrived, request) = self.hear(&self.callee, |message| message.kind() == method)?;
        if method == "INVITE" {
            let streams = request.body().lines().filter(|line| line.starts_with("m=")).count();
            let stream = "m=audio 8000 RTP/AVP 0\n".repeat(streams);
            let body = format!("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n{stream}");
            self.callee.say(&response(&request, "200 OK", &body));
        } else {
            self.callee.say(&response(&request, "200 OK", ""));
        }
        let answer = self.final_answer(&method)?;
        if answer.kind() != "200" {
            return Err(answer.text);
        }
        if method == "INVITE" {
            self.finish(&answer)?;
        }
        kept(sent, &arrived).map_err(|why| format!("{why}\n{}", request.text))
    }
}

fn answers(request: &Message) -> Answers<'_> {
    Answers {
        via: request.header("Via").unwrap(),
        from: request.header("From").unwrap(),
        to: request.header("To").unwrap(),
        call_id: request.header("Call-ID").unwrap(),
    }
}

fn response(request: &Message, status: &str, body: &str) -> String {
    // The box sends the callee's requests to where its Request-URI already went.
    let contact = request.text.split(' ').nth(1).unwrap().rsplit('@').next().unwrap();
    let Answers { via, from, to, call_id } = answers(request);
    let tag = if to.contains("tag=") { "" } else { ";tag=callee" };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
    format!(
        "SIP/2.0 {status}\nVia: {via}\nFrom: {from}\nTo: {to}{tag}\nCall-ID: {call_id}\nCSeq: {cseq}\n\
         Contact: <sip:callee@{contact}>\n{kind}Content-Length: {length}\n\n{body}",
        cseq = request.header("CSeq").unwrap(),
        length = body.len() + body.lines().count(),
    )
}

#[test]
fn every_message_of_both_torture_rfcs_is_treated_as_they_say() {
    Place::own_network();
    let place = Place::new("torture");
    let mut drawbridge = start(&place);
    let stage = Stage::new(&place);
    let mut wrong = Vec::new();
    for case in cases() {
        if let Err(why) = stage.play(case) {
            wrong.push(format!("{} ({}), {:?}: {why}", case.name, case.section, case.treated));
        }
        drawbridge.assert_alive();
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases().count(), wrong.join("\n"));
}

#[test]
fn faulty_requests_get_the_same_answers_over_tcp() {
    Place::own_network();
    let place = Place::new("torture-tcp");
    let mut drawbridge = start(&place);
    let stage = Stage::new(&place);
    let mut wrong = Vec::new();
    for case in cases() {
        let Treated::Answered(status, phrase) = case.treated else { continue };
        let mut stream = dial(&place);
        stream.write_all(&case.write(stage.parties())).unwrap();
        // A body that is shorter than it says has not ended yet.
        if case.name == "length-too-large" {
            stream.set_read_timeout(Some(QUIET)).unwrap();
            let came = stream.read(&mut [0; 1]);
            assert!(came.is_err(), "{}: {came:?}", case.name);
            continue;
        }
        let mut buffer = vec![0; 65_536];
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let length = stream.read(&mut buffer).unwrap_or_default();
        let answer = text(&buffer[..length]);
        // Where the next message would begin is a question of the stream, which has words of its own for it.
        let first_line = if phrase.contains("Content-Length") {
            format!("SIP/2.0 {status} ")
        } else {
            format!("SIP/2.0 {status} {phrase}\n")
        };
        if !answer.text.starts_with(&first_line) {
            wrong.push(format!(
                "{} ({}): expected {first_line}, came {:?}",
                case.name, case.section, answer.text
            ));
        }
        drawbridge.assert_alive();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A connection from the caller's address.
fn dial(place: &Place) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &std::net::SocketAddr::from((place.ip(Place::A), 0))).unwrap();
    connect(&socket, &place.sip(Place::BOX)).unwrap();
    TcpStream::from(socket)
}
