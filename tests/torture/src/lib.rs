//! Messages that fool readers: one for each case of RFC 4475 and RFC 5118, written for this project, with what a border
//! element does with it.
//!
//! A [`Case`] is a template: [`Case::write`] puts the addresses of a test in. What crosses the box is compared by
//! [`kept`], which reads messages in a way of its own, so that a fault of the box's reader is not forgiven by itself.

#![allow(clippy::panic)]

mod invalid;
mod kept;
mod six;
mod valid;

pub use kept::kept;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treated {
    /// A request that the other side gets with its content as it was.
    Crosses,
    /// A REGISTER that is accepted; the 200 names each of these contacts.
    Registers(&'static [&'static str]),
    /// A request that the box answers so, with these words as the reason phrase.
    Answered(u16, &'static str),
    /// A response that reaches the caller with this status and these words.
    CarriedBack(u16, &'static str),
    /// A response that nobody may act on: silence.
    Dropped,
}

impl Treated {
    /// Whether there is nothing wrong with the message itself.
    pub fn is_valid(self) -> bool {
        match self {
            Treated::Crosses | Treated::Registers(_) | Treated::CarriedBack(..) => true,
            // What the message says is sound, and the box cannot do it.
            Treated::Answered(status, _) => !matches!(status, 400 | 505),
            Treated::Dropped => false,
        }
    }
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What the test calls it.
    pub name: &'static str,
    /// Where its kind is described: the section, of RFC 4475 unless it says otherwise.
    pub section: &'static str,
    /// What becomes of it.
    pub treated: Treated,
    template: &'static [u8],
}

/// Where a case is played.
#[derive(Clone, Copy, Debug)]
pub struct Parties<'a> {
    /// The host of who sends it, which listens on port 5060.
    pub sender: &'a str,
    /// The host of the box.
    pub host: &'a str,
}

/// What a response must repeat of the request that it answers.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    /// The value of Via.
    pub via: &'a str,
    /// The value of From.
    pub from: &'a str,
    /// The value of To.
    pub to: &'a str,
    /// The value of Call-ID.
    pub call_id: &'a str,
}

/// Every case.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    valid::CASES.iter().chain(invalid::CASES).chain(six::CASES)
}

impl Case {
    /// Whether it is a response.
    pub fn is_response(&self) -> bool {
        self.template.starts_with(b"SIP/2.0 ")
    }

    /// The message, with CRLF as its line ends.
    pub fn write(&self, parties: Parties<'_>) -> Vec<u8> {
        self.fill(parties, None)
    }

    /// The message as the answer to a request.
    pub fn answer(&self, parties: Parties<'_>, request: Answers<'_>) -> Vec<u8> {
        self.fill(parties, Some(request))
    }

    fn fill(&self, Parties { sender, host }: Parties<'_>, request: Option<Answers<'_>>) -> Vec<u8> {
        let name = self.name;
        let via = format!("Via: SIP/2.0/UDP {sender}:5060;branch=z9hG4bK{name}\nMax-Forwards: 70");
        let from = format!("From: \"Ada\" <sip:ada@{sender}>;tag=from-{name}");
        let words: [(&str, String); 8] = [
            ("{via}", request.map_or(via, |request| format!("Via: {}", request.via))),
            ("{from}", request.map_or(from, |request| format!("From: {}", request.from))),
            (
                "{to}",
                request
                    .map_or(format!("To: <sip:1212@{host}>"), |request| format!("To: {};tag=b", request.to)),
            ),
            (
                "{id}",
                format!(
                    "Call-ID: {}",
                    request.map_or(&*format!("{name}@{sender}"), |request| request.call_id)
                ),
            ),
            ("{contact}", format!("Contact: <sip:ada@{sender}:5060>")),
            (
                "{offer}",
                format!("Content-Type: application/sdp\nContent-Length: {{length}}\n\n{}", offer(sender)),
            ),
            ("{sender}", sender.to_owned()),
            ("{host}", host.to_owned()),
        ];
        let mut text = self.template.to_vec();
        for (word, value) in &words {
            text = replace(&text, word.as_bytes(), value.as_bytes());
        }
        let text = with_crlf(&text);
        let body = find(&text, b"\r\n\r\n").map_or(0, |at| text.len() - at - 4);
        replace(&text, b"{length}", body.to_string().as_bytes())
    }
}

fn offer(host: &str) -> String {
    format!(
        "v=0\no=- 11 1 IN IP4 {host}\ns=-\nc=IN IP4 {host}\nt=0 0\nm=audio 7000 RTP/AVP 8\na=x-odd: kept \n"
    )
}

fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    for (at, byte) in text.iter().enumerate() {
        if *byte == b'\n' && (at == 0 || text[at - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

fn replace(text: &[u8], word: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, word) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(value);
        rest = &rest[at + word.len()..];
    }
    out.extend_from_slice(rest);
    out
}

pub(crate) fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}
