//! A peer that says what the test writes and tells what it hears, once each: what is only repeated is passed over,
//! unless the test waits for the repetition.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use interop::{Direction, Drawbridge, Message, Place, Wire};

/// How long a message that must come may take. Only a failing test waits so long.
const LIMIT: Duration = Duration::from_secs(10);
/// How long silence is listened to where silence is the outcome.
pub const QUIET: Duration = Duration::from_millis(400);

pub const OFFER: &str =
    "v=0\no=- 11 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 7000 RTP/AVP 8\n";
pub const ANSWER: &str =
    "v=0\no=- 22 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 8000 RTP/AVP 8\n";

/// A peer without a stack.
pub struct Party {
    wire: Wire,
    tag: &'static str,
    seen: RefCell<Vec<String>>,
    cseq: Cell<u32>,
}

impl Party {
    /// The caller, at the trunk `pbx`.
    pub fn caller(place: &Place) -> Party {
        Party::at(place, Place::A, "caller")
    }

    /// The callee, at the trunk `carrier`.
    pub fn callee(place: &Place) -> Party {
        Party::at(place, Place::B, "callee")
    }

    /// A peer at any host of the place.
    pub fn at(place: &Place, host: u8, tag: &'static str) -> Party {
        let wire = Wire::new(place.ip(host), place.sip(Place::BOX));
        Party { wire, tag, seen: RefCell::default(), cseq: Cell::new(1) }
    }

    /// Its address.
    pub fn local(&self) -> String {
        self.wire.local()
    }

    pub fn say(&self, text: &str) {
        self.wire.say(text);
    }

    /// The next message that was not heard before and is no 100, which must be of this kind: a method or a status.
    pub fn expect(&self, kind: &str) -> Message {
        self.expect_either(&[kind])
    }

    /// The same where either of several may come first.
    pub fn expect_either(&self, kinds: &[&str]) -> Message {
        let end = Instant::now() + LIMIT;
        while let Some(message) = self.hear(end) {
            if message.kind() == "100" || self.seen.borrow().contains(&message.text) {
                continue;
            }
            self.seen.borrow_mut().push(message.text.clone());
            let fits = kinds.contains(&message.kind());
            assert!(fits, "{} expected {kinds:?} and heard:\n{}", self.tag, message.text);
            return message;
        }
        panic!("{} waits for {kinds:?} in vain", self.tag);
    }

    /// Waits until a message is heard again, octet for octet.
    pub fn expect_again(&self, message: &Message) {
        let end = Instant::now() + LIMIT;
        while let Some(again) = self.hear(end) {
            if again.text == message.text {
                return;
            }
            let known = again.kind() == "100" || self.seen.borrow().contains(&again.text);
            assert!(known, "{} expected a repetition and heard:\n{}", self.tag, again.text);
        }
        panic!("{} waits in vain for the repetition of\n{}", self.tag, message.text);
    }

    /// Nothing new comes for a while.
    pub fn expect_nothing(&self) {
        let end = Instant::now() + QUIET;
        while let Some(message) = self.hear(end) {
            let known = message.kind() == "100" || self.seen.borrow().contains(&message.text);
            assert!(known, "{} should hear nothing and heard:\n{}", self.tag, message.text);
        }
    }

    /// How often a message comes in a while.
    pub fn count_of(&self, message: &Message) -> usize {
        let end = Instant::now() + QUIET;
        let mut count = 0;
        while let Some(again) = self.hear(end) {
            count += usize::from(again.text == message.text);
        }
        count
    }

    fn hear(&self, end: Instant) -> Option<Message> {
        let text = self.wire.hear(end.saturating_duration_since(Instant::now()))?;
        Some(Message { direction: Direction::Received, text: text.replace('\r', "") })
    }

    /// An INVITE with this branch.
    pub fn invite(&self, branch: &str, body: &str) -> String {
        self.request("INVITE", branch, "", body)
    }

    /// A request outside of dialogs with the CSeq of the call's INVITE; `extra` are whole header lines.
    pub fn request(&self, method: &str, branch: &str, extra: &str, body: &str) -> String {
        let local = self.local();
        let uri = "sip:12125551000@box.example";
        let text = format!(
            "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK{branch}\nMax-Forwards: 70\n\
             From: <sip:100@pbx.example>;tag={tag}\nTo: <{uri}>\nCall-ID: race-{local}\nCSeq: {cseq} {method}\n\
             Contact: <sip:100@{local}>\n{extra}",
            tag = self.tag,
            cseq = self.cseq.get(),
        );
        with_body(text, body)
    }

    /// The ACK of a refusal: the INVITE's branch, the To of the response (RFC 3261 §17.1.1.3).
    pub fn ack_refusal(&self, branch: &str, refusal: &Message) {
        let ack = self.request("ACK", branch, "", "");
        let to = format!("To: {}", refusal.header("To").unwrap());
        self.say(
            &ack.lines()
                .map(|line| if line.starts_with("To:") { &to } else { line })
                .fold(String::new(), |text, line| text + line + "\n"),
        );
    }

    /// A request within the dialog that the box's 2xx (or 18x) to this caller made.
    pub fn in_dialog(&self, method: &str, branch: &str, ok: &Message, extra: &str, body: &str) -> String {
        let local = self.local();
        if !matches!(method, "ACK" | "CANCEL") {
            self.cseq.set(self.cseq.get() + 1);
        }
        let text = format!(
            "{method} {target} SIP/2.0\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK{branch}\nMax-Forwards: 70\n\
             From: {from}\nTo: {to}\nCall-ID: {call_id}\nCSeq: {cseq} {method}\nContact: <sip:100@{local}>\n{extra}",
            target = target(ok),
            from = ok.header("From").unwrap(),
            to = ok.header("To").unwrap(),
            call_id = ok.header("Call-ID").unwrap(),
            cseq = self.cseq.get(),
        );
        with_body(text, body)
    }

    /// A request of the callee within the dialog that the box's INVITE began.
    pub fn back(&self, method: &str, branch: &str, invite: &Message, extra: &str, body: &str) -> String {
        let local = self.local();
        if !matches!(method, "ACK" | "CANCEL") {
            self.cseq.set(self.cseq.get() + 1);
        }
        let text = format!(
            "{method} {target} SIP/2.0\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK{branch}\nMax-Forwards: 70\n\
             From: {from};tag={tag}\nTo: {to}\nCall-ID: {call_id}\nCSeq: {cseq} {method}\n\
             Contact: <sip:callee@{local}>\n{extra}",
            target = target(invite),
            from = invite.header("To").unwrap(),
            to = invite.header("From").unwrap(),
            call_id = invite.header("Call-ID").unwrap(),
            tag = self.tag,
            cseq = self.cseq.get(),
        );
        with_body(text, body)
    }

    /// Answers a request of the box.
    pub fn respond(&self, request: &Message, status: &str, extra: &str, body: &str) {
        self.respond_as(self.tag, request, status, extra, body);
    }

    /// Answers with this To-tag, as one of several phones behind a forking proxy does.
    pub fn respond_as(&self, tag: &str, request: &Message, status: &str, extra: &str, body: &str) {
        let contact = format!("Contact: <sip:callee@{}>\n", self.local());
        let text = response(tag, request, status, &(contact + extra));
        self.say(&with_body(text, body));
    }

    /// A response with no other Contact than what `extra` says.
    pub fn response(&self, request: &Message, status: &str, extra: &str) -> String {
        with_body(response(self.tag, request, status, extra), "")
    }

    /// The final response to the caller, whichever it is.
    pub fn hear_final(&self) -> Message {
        let end = Instant::now() + LIMIT;
        while let Some(message) = self.hear(end) {
            let is_final = message.kind().parse::<u16>().is_ok_and(|status| status >= 200);
            if is_final && !self.seen.borrow().contains(&message.text) {
                return message;
            }
        }
        panic!("{} waits for a final response in vain", self.tag);
    }
}

fn response(tag: &str, request: &Message, status: &str, extra: &str) -> String {
    let to = request.header("To").unwrap();
    let tagless = to.contains("tag=") || status.starts_with("100");
    let tag = if tagless { String::new() } else { format!(";tag={tag}") };
    format!(
        "SIP/2.0 {status}\nVia: {via}\nFrom: {from}\nTo: {to}{tag}\nCall-ID: {call_id}\nCSeq: {cseq}\n{extra}",
        via = request.header("Via").unwrap(),
        from = request.header("From").unwrap(),
        call_id = request.header("Call-ID").unwrap(),
        cseq = request.header("CSeq").unwrap(),
    )
}

fn with_body(head: String, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
    let length = body.replace('\n', "\r\n").len();
    format!("{head}{kind}Content-Length: {length}\n\n{body}")
}

fn target(message: &Message) -> String {
    let contact = message.header("Contact").unwrap();
    contact.trim_start_matches('<').split('>').next().unwrap().to_owned()
}

/// The branch of a request's top Via.
pub fn branch(message: &Message) -> &str {
    message.parameter("Via", "branch").unwrap()
}

/// A tag of From or To.
pub fn tag<'a>(message: &'a Message, header: &str) -> &'a str {
    message.parameter(header, "tag").unwrap_or_else(|| panic!("no tag in {header} of\n{}", message.text))
}

/// The box between a trunk `pbx` and a trunk `carrier`, which have these keys besides, with timers ten times as fast as
/// RFC 3261's.
pub fn start(place: &Place, pbx: &str, carrier: &str) -> Drawbridge {
    start_with(place, pbx, carrier, "\"carrier\"", "")
}

/// The same with a route to other trunks and with other keys.
pub fn start_with(place: &Place, pbx: &str, carrier: &str, to: &str, route: &str) -> Drawbridge {
    Drawbridge::start(place, &configuration(place, pbx, carrier, to, route))
}

/// The configuration of that.
pub fn configuration(place: &Place, pbx: &str, carrier: &str, to: &str, route: &str) -> String {
    format!(
        "[sip]\nt1 = \"50ms\"\nt2 = \"400ms\"\nt4 = \"500ms\"\n\n\
             [[trunk]]\nname = \"pbx\"\nsources = [\"{a}\"]\n{pbx}\n\n\
             [[trunk]]\nname = \"carrier\"\nsources = [\"{b}\"]\npeers = [\"sip:{b}:5060\"]\n{carrier}\n\n\
             [[route]]\nname = \"out\"\nfrom = [\"pbx\"]\nto = [{to}]\n{route}\n",
        a = place.ip(Place::A),
        b = place.ip(Place::B),
    )
}

/// A call that rings: the caller's 180 and the callee's INVITE.
pub fn ringing(caller: &Party, callee: &Party) -> (Message, Message) {
    caller.say(&caller.invite("1", OFFER));
    let invite = callee.expect("INVITE");
    callee.respond(&invite, "180 Ringing", "", "");
    (caller.expect("180"), invite)
}

/// A call that both sides acknowledged: the caller's 200, the callee's INVITE and its ACK.
pub fn up(drawbridge: &Drawbridge, caller: &Party, callee: &Party) -> (Message, Message) {
    let (_, invite) = ringing(caller, callee);
    callee.respond(&invite, "200 OK", "", ANSWER);
    let ok = caller.expect("200");
    caller.say(&caller.in_dialog("ACK", "ack1", &ok, "", ""));
    callee.expect("ACK");
    // The callee's ACK does not wait for the caller's: that the call is up, only the box knows.
    interop::until("the call is up", LIMIT, || {
        let calls = drawbridge.ask("GET", "/v1/calls").json();
        calls["calls"]
            .as_array()
            .is_some_and(|calls| calls.iter().all(|call| call["state"] == "up"))
            .then_some(())
    });
    (ok, invite)
}
