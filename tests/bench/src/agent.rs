//! A caller and a callee in one, as small as SIP lets them be: enough to hold calls through a box that is in order.
//!
//! Each call dials the user `c<number>`; the callee finds the number in the Request-URI and so knows which of the
//! caller's calls it has in hand.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use crate::batch::{self, Receiver, now};

/// A description with one audio line.
pub fn description(ip: Ipv4Addr, port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 0 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
    )
}

/// The port of the first audio line in `text`.
pub fn audio_port(text: &str) -> Option<u16> {
    text.split("m=audio ").nth(1)?.split(' ').next()?.parse().ok()
}

/// What one call has come to.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// When the INVITE was sent.
    pub invited: Duration,
    /// When the 180 came.
    pub ringing: Option<Duration>,
    /// Where the caller's media goes: the port of the answer that it got.
    pub towards_caller: Option<u16>,
    /// Where the callee's media goes: the port of the offer that it got.
    pub towards_callee: Option<u16>,
    dialog: Dialog,
}

/// Where the caller's requests inside a call go (RFC 3261 §12.1.2).
#[derive(Clone, Debug, Default)]
struct Dialog {
    target: String,
    to: String,
    routes: String,
}

impl Dialog {
    /// From the 200 to the INVITE.
    fn read(text: &str) -> Dialog {
        let contact = header(text, "Contact").unwrap_or_default();
        let target = contact.split(['<', '>']).find(|part| part.starts_with("sip:")).unwrap_or_default();
        let mut routes: Vec<_> =
            headers(text, "Record-Route").map(|route| format!("Route: {route}\r\n")).collect();
        routes.reverse();
        let to = header(text, "To").unwrap_or_default();
        Dialog { target: target.to_owned(), to: to.to_owned(), routes: routes.concat() }
    }
}

/// Both ends of all calls.
pub struct Agent {
    caller: UdpSocket,
    callee: UdpSocket,
    caller_at: SocketAddrV4,
    callee_at: SocketAddrV4,
    next_hop: SocketAddr,
    receiver: Receiver,
    run: u32,
    /// By number.
    pub calls: Vec<Call>,
    /// BYEs of callers that were answered, and those that callees heard.
    pub byes: (HashSet<usize>, HashSet<String>),
    /// Callers' requests that were answered with something else than was hoped for, and what it was.
    pub refused: HashMap<String, u32>,
}

impl Agent {
    /// Calls go from `caller` to `next_hop`, which shall bring them to `callee`.
    pub fn new(caller: SocketAddrV4, callee: SocketAddrV4, next_hop: SocketAddr) -> io::Result<Agent> {
        Agent::with(UdpSocket::bind(caller)?, UdpSocket::bind(callee)?, (caller, callee), next_hop)
    }

    /// The same with sockets that are bound there already.
    pub fn with(
        from: UdpSocket,
        to: UdpSocket,
        (caller, callee): (SocketAddrV4, SocketAddrV4),
        next_hop: SocketAddr,
    ) -> io::Result<Agent> {
        batch::prepare(&from)?;
        batch::prepare(&to)?;
        Ok(Agent {
            caller: from,
            callee: to,
            caller_at: caller,
            callee_at: callee,
            next_hop,
            receiver: Receiver::default(),
            run: std::process::id(),
            calls: Vec::new(),
            byes: Default::default(),
            refused: HashMap::new(),
        })
    }

    fn request(&self, method: &str, number: usize, cseq: u32, dialog: &Dialog) -> String {
        let (at, run, Dialog { target, to, routes }) = (self.caller_at, self.run, dialog);
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {at};rport;branch=z9hG4bK-{method}-{run}-{number}\r\n\
             Max-Forwards: 70\r\n{routes}From: <sip:load@{at}>;tag=a{number}\r\nTo: {to}\r\n\
             Call-ID: {run}-{number}@{ip}\r\nCSeq: {cseq} {method}\r\nContact: <sip:load@{at}>\r\n",
            ip = at.ip(),
        )
    }

    /// Sends the next call's INVITE; `media` is where its caller wants its packets.
    pub fn invite(&mut self, media: u16) -> io::Result<()> {
        let number = self.calls.len();
        let sdp = description(*self.caller_at.ip(), media);
        let target = format!("sip:c{number}@{}", self.next_hop);
        let to = format!("<{target}>");
        let head = self.request("INVITE", number, 1, &Dialog { target, to, routes: String::new() });
        let text =
            format!("{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
        self.calls.push(Call { invited: now(), ..Call::default() });
        self.caller.send_to(text.as_bytes(), self.next_hop)?;
        Ok(())
    }

    /// Ends a call that is answered.
    pub fn bye(&mut self, number: usize) -> io::Result<()> {
        let Some(call) = self.calls.get(number) else { return Ok(()) };
        let text = self.request("BYE", number, 2, &call.dialog) + "Content-Length: 0\r\n\r\n";
        self.caller.send_to(text.as_bytes(), self.next_hop)?;
        Ok(())
    }

    /// Answers what has arrived on both sides; `callee_media` says where the callee of a call wants its packets.
    /// Returns how many messages there were.
    pub fn answer(&mut self, callee_media: impl Fn(usize) -> u16) -> io::Result<usize> {
        let mut inbox = Vec::new();
        let mut receiver = std::mem::take(&mut self.receiver);
        let mut count = receiver.receive(&self.callee, |bytes, at| inbox.push((true, bytes.to_vec(), at)));
        count += receiver.receive(&self.caller, |bytes, at| inbox.push((false, bytes.to_vec(), at)));
        self.receiver = receiver;
        for (at_callee, bytes, at) in inbox {
            let text = String::from_utf8_lossy(&bytes);
            if at_callee {
                self.at_callee(&text, &callee_media)?;
            } else {
                self.at_caller(&text, at)?;
            }
        }
        Ok(count)
    }

    fn at_callee(&mut self, text: &str, callee_media: &impl Fn(usize) -> u16) -> io::Result<()> {
        let method = text.split(' ').next().unwrap_or_default();
        let answers: &[&str] = match method {
            "INVITE" => &["180 Ringing", "200 OK"],
            "BYE" | "CANCEL" | "OPTIONS" => &["200 OK"],
            _ => return Ok(()),
        };
        if method == "BYE" {
            self.byes.1.extend(header(text, "Call-ID").map(str::to_owned));
        }
        let number =
            text.split(['@', ' ']).nth(1).and_then(|uri| uri.rsplit(":c").next()?.parse().ok()).unwrap_or(0);
        if let (Some(call), "INVITE") = (self.calls.get_mut(number), method) {
            call.towards_callee = audio_port(text);
        }
        let back = reply_address(text).unwrap_or(self.next_hop);
        let copied: String = text
            .split("\r\n")
            .take_while(|line| !line.is_empty())
            .filter(|line| {
                ["Via:", "Record-Route:", "From:", "Call-ID:", "CSeq:"]
                    .iter()
                    .any(|name| line.starts_with(name))
            })
            .map(|line| format!("{line}\r\n"))
            .collect();
        let to = header(text, "To").unwrap_or_default();
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag=b{number}") };
        for answer in answers {
            let mut reply = format!(
                "SIP/2.0 {answer}\r\n{copied}To: {to}{tag}\r\nContact: <sip:load@{}>\r\n",
                self.callee_at
            );
            if method == "INVITE" && *answer == "200 OK" {
                let sdp = description(*self.callee_at.ip(), callee_media(number));
                reply +=
                    &format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
            } else {
                reply += "Content-Length: 0\r\n\r\n";
            }
            self.callee.send_to(reply.as_bytes(), back)?;
        }
        Ok(())
    }

    fn at_caller(&mut self, text: &str, at: Duration) -> io::Result<()> {
        let Some(code) = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)) else { return Ok(()) };
        let number =
            header(text, "Call-ID").and_then(|id| id.split(['-', '@']).nth(1)?.parse::<usize>().ok());
        let Some((number, call)) = number.and_then(|number| Some((number, self.calls.get_mut(number)?)))
        else {
            return Ok(());
        };
        let of_invite = header(text, "CSeq").is_some_and(|cseq| cseq.ends_with("INVITE"));
        match code {
            "100" => {}
            "180" => call.ringing = call.ringing.or(Some(at)),
            "200" if of_invite => {
                call.towards_caller = audio_port(text);
                call.dialog = Dialog::read(text);
                let ack = self.request("ACK", number, 1, &Dialog::read(text));
                self.caller.send_to((ack + "Content-Length: 0\r\n\r\n").as_bytes(), self.next_hop)?;
            }
            "200" => {
                self.byes.0.insert(number);
            }
            _ => *self.refused.entry(text.lines().next().unwrap_or_default().to_owned()).or_default() += 1,
        }
        Ok(())
    }
}

fn header<'a>(text: &'a str, name: &'a str) -> Option<&'a str> {
    headers(text, name).next()
}

fn headers<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = text.split("\r\n").take_while(|line| !line.is_empty());
    lines.filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Where the answer to a request goes: sent-by of its top Via.
fn reply_address(text: &str) -> Option<SocketAddr> {
    let sent_by = header(text, "Via")?.split_once(' ')?.1.split(';').next()?;
    sent_by.parse().ok().or_else(|| Some(SocketAddr::from((sent_by.parse::<Ipv4Addr>().ok()?, 5060))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caller_and_callee_agree_when_nothing_is_between_them() {
        let at = |port| SocketAddrV4::new(Ipv4Addr::new(127, 0, 77, 1), port);
        let mut agent = Agent::new(at(15060), at(15061), at(15061).into()).unwrap();
        for call in 0..20 {
            agent.invite(20_000 + 2 * call).unwrap();
        }
        for _ in 0..200 {
            agent.answer(|number| 30_000 + 2 * number as u16).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        for (number, call) in agent.calls.iter().enumerate() {
            assert!(call.ringing.is_some());
            assert_eq!(call.towards_callee, Some(20_000 + 2 * number as u16));
            assert_eq!(call.towards_caller, Some(30_000 + 2 * number as u16));
        }
        assert!(agent.refused.is_empty());
    }
}
