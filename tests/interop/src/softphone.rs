//! A phone of the tests' own that speaks every transport of the box, with an RTP socket for a voice.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::certificates::Authority;
use crate::line::{Line, Over};
use crate::place::Place;

/// A registered user, or a peer that the box has connected to, with one call at a time.
pub struct Softphone {
    line: Line,
    over: Over,
    user: String,
    /// What stands in Via and Contact: a browser does not know its own address (RFC 7118 §5).
    host: String,
    rtp: UdpSocket,
    cseq: u32,
}

/// A message that the phone got.
#[derive(Clone, Debug)]
pub struct Heard(pub String);

impl Heard {
    /// Its first line.
    pub fn first_line(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        let found = self.0.lines().find_map(|line| line.strip_prefix(&prefix));
        found.unwrap_or_else(|| panic!("no {name} in\n{}", self.0))
    }

    /// Where the description of this message wants media.
    pub fn media(&self) -> SocketAddr {
        let value = |prefix: &str| {
            let found = self.0.lines().find_map(|line| line.strip_prefix(prefix));
            found.unwrap_or_else(|| panic!("no {prefix} in\n{}", self.0)).to_owned()
        };
        let ip: IpAddr = value("c=IN IP").split(' ').nth(1).unwrap().parse().unwrap();
        let port: u16 = value("m=audio ").split(' ').next().unwrap().parse().unwrap();
        SocketAddr::new(ip, port)
    }
}

impl Softphone {
    /// Who is called by a connection that the box has opened; its media is at `media`.
    pub fn connected(line: Line, over: Over, user: &str, media: IpAddr) -> Softphone {
        let host = line.local().to_string();
        let rtp = UdpSocket::bind((media, 0)).unwrap();
        rtp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Softphone { line, over, user: user.to_owned(), host, rtp, cseq: 1 }
    }

    /// `user` of the box at a place, registered by UDP from one of its hosts.
    pub fn at(place: &Place, user: &str, host: u8) -> Softphone {
        let host = IpAddr::V4(place.ip(host));
        let tls = Authority::new("lab").client(None);
        let line = Line::open(Over::Udp, host, place.sip(Place::BOX), &tls).unwrap();
        Softphone::registered(line, Over::Udp, user, host)
    }

    /// Registers `user` over this line; its media is at `media`.
    pub fn registered(line: Line, over: Over, user: &str, media: IpAddr) -> Softphone {
        let host = match over {
            Over::Ws | Over::Wss => format!("{user}.invalid"),
            Over::Udp | Over::Tcp | Over::Tls => line.local().to_string(),
        };
        let mut phone = Softphone { host, ..Softphone::connected(line, over, user, media) };
        let to = format!("<sip:{user}@edge.example>");
        phone.request("REGISTER", "sip:edge.example", &to, "Expires: 600\r\n", "");
        let answer = phone.hear();
        assert!(answer.first_line().starts_with("SIP/2.0 200"), "{}", answer.0);
        phone
    }

    /// The next message that is neither a 100 nor a keep-alive.
    pub fn hear(&mut self) -> Heard {
        loop {
            let text = self.line.receive().unwrap_or_else(|error| panic!("{}: {error}", self.user));
            if !text.starts_with("SIP/2.0 100") && !text.trim().is_empty() {
                return Heard(text);
            }
        }
    }

    /// Calls another user.
    pub fn call(&mut self, user: &str) {
        let (uri, body) = (format!("sip:{user}@edge.example"), self.description());
        let to = format!("<{uri}>");
        self.request("INVITE", &uri, &to, "Content-Type: application/sdp\r\n", &body);
    }

    /// Waits for a call and takes it.
    pub fn answer(&mut self) -> Heard {
        let invite = self.hear();
        assert!(invite.first_line().starts_with("INVITE "), "{}", invite.0);
        let body = self.description();
        self.respond(&invite, "200 OK", &body);
        invite
    }

    /// The caller's side of an answer: waits for it and acknowledges.
    pub fn confirm(&mut self) -> Heard {
        let ok = self.hear();
        assert!(ok.first_line().starts_with("SIP/2.0 200"), "{}", ok.0);
        self.within("ACK", &ok);
        ok
    }

    /// Ends the call that `ok` made.
    pub fn hang_up(&mut self, ok: &Heard) {
        self.cseq += 1;
        self.within("BYE", ok);
        let answer = self.hear();
        assert!(answer.first_line().starts_with("SIP/2.0 200"), "{}", answer.0);
    }

    /// Waits for a request of this method and answers 200, unless it is an ACK.
    pub fn take(&mut self, method: &str) -> Heard {
        let request = self.hear();
        assert!(request.first_line().starts_with(&format!("{method} ")), "{}", request.0);
        if method != "ACK" {
            self.respond(&request, "200 OK", "");
        }
        request
    }

    /// Says something five times to where `description` wants it.
    pub fn say(&self, description: &Heard, what: u8) {
        for number in 0..5 {
            let packet = [&[0x80, 0, 0, number, 0, 0, 0, number, 1, 2, 3, what][..], &[what; 160]].concat();
            self.rtp.send_to(&packet, description.media()).unwrap();
        }
    }

    /// Whether five packets of `what` come.
    pub fn listens(&self, what: u8) -> bool {
        let mut room = [0; 2048];
        (0..5).all(|_| self.rtp.recv(&mut room).is_ok_and(|count| count == 172 && room[171] == what))
    }

    fn description(&self) -> String {
        let at = self.rtp.local_addr().unwrap();
        let family = if at.is_ipv4() { "IP4" } else { "IP6" };
        format!(
            "v=0\r\no={user} 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n",
            user = self.user,
            ip = at.ip(),
            port = at.port(),
        )
    }

    fn request(&mut self, method: &str, uri: &str, to: &str, more: &str, body: &str) {
        let Softphone { user, host, over, cseq, .. } = self;
        let name = over.name();
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{} {host};branch=z9hG4bK{user}{method}{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@edge.example>;tag={user}\r\nTo: {to}\r\n\
             Call-ID: {method}-{user}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{host};transport={name}>\r\n{more}Content-Length: {}\r\n\r\n{body}",
            name.to_uppercase(),
            body.len(),
        );
        let text = if matches!(method, "ACK" | "BYE") {
            text.replace(&format!("Call-ID: {method}-"), "Call-ID: INVITE-")
        } else {
            text
        };
        self.line.send(&text);
    }

    fn within(&mut self, method: &str, ok: &Heard) {
        let uri = ok.header("Contact").trim_start_matches('<').split('>').next().unwrap().to_owned();
        let to = ok.header("To").to_owned();
        self.request(method, &uri, &to, "", "");
    }

    fn respond(&mut self, request: &Heard, line: &str, body: &str) {
        let to = request.header("To");
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={}", self.user) };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "SIP/2.0 {line}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:{}@{};transport={}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            request.header("Via"),
            request.header("From"),
            request.header("Call-ID"),
            request.header("CSeq"),
            self.user,
            self.host,
            self.over.name(),
            body.len(),
        );
        self.line.send(&text);
    }
}
