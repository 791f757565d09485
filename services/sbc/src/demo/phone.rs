//! A very small SIP phone: UDP, one call at a time, G.711. Each method is one thing a person would do, and says what it
//! missed when the box did not do its part.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sip::{Dialog, Message, Method, Sdp, Writer, ack_for_failure, cancel_for, respond};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::tone::{Heard, Tone, talk};

/// How long a phone waits for anything.
const PATIENCE: Duration = Duration::from_secs(5);
/// T1 (RFC 3261 §17.1.1.1).
const T1: Duration = Duration::from_millis(500);

/// What should have happened and did not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missed {
    /// The box did something else, or nothing.
    #[error("{phone} expected {expected}, got {got}")]
    Unexpected {
        /// Whose view.
        phone: &'static str,
        /// What should have come.
        expected: String,
        /// What came.
        got: String,
    },
    /// This machine's sockets or random numbers.
    #[error("{phone}: {source}")]
    System {
        /// Whose.
        phone: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A phone on a loopback port of its own.
pub(super) struct Phone {
    pub(super) name: &'static str,
    tone: Tone,
    signalling: UdpSocket,
    media: UdpSocket,
    registrar: SocketAddr,
    /// The last answer given, to give again when its request is repeated.
    last_answer: Option<(Bytes, Bytes)>,
}

/// A call that is ringing at the other end.
pub(super) struct Ringing {
    invite: Bytes,
}

/// A call in which both talk.
pub(super) struct Talking {
    dialog: Dialog,
    media: SocketAddr,
}

impl Phone {
    pub(super) async fn new(name: &'static str, pitch: u16, registrar: SocketAddr) -> Result<Phone, Missed> {
        let own = SocketAddr::new(registrar.ip(), 0);
        let system = |source| Missed::System { phone: name, source };
        let signalling = UdpSocket::bind(own).await.map_err(system)?;
        let media = UdpSocket::bind(own).await.map_err(system)?;
        Ok(Phone { name, tone: Tone { pitch }, signalling, media, registrar, last_answer: None })
    }

    pub(super) fn address(&self) -> Result<SocketAddr, Missed> {
        self.signalling.local_addr().map_err(|source| self.system(source))
    }

    /// Says where it is (RFC 3261 §10.2).
    pub(super) async fn register(&mut self) -> Result<(), Missed> {
        let registrar = format!("sip:{}", self.registrar);
        let request = self.request(b"REGISTER", registrar.as_bytes(), self.name)?;
        let request = request.finish();
        self.send(&request).await?;
        self.response(&request, Method::Register, 200).await.map(drop)
    }

    /// Calls and waits until it rings over there.
    pub(super) async fn call(&mut self, name: &str) -> Result<Ringing, Missed> {
        let target = format!("sip:{name}@{}", self.registrar);
        let request = self.request(b"INVITE", target.as_bytes(), name)?;
        let description = self.description()?;
        let invite = request.body(Some(b"application/sdp"), description.as_bytes());
        self.send(&invite).await?;
        self.response(&invite, Method::Invite, 180).await?;
        Ok(Ringing { invite })
    }

    /// Waits for the answer and acknowledges it (§13.2.2.4).
    pub(super) async fn answered(&mut self, ringing: Ringing) -> Result<Talking, Missed> {
        let answer = self.response(&ringing.invite, Method::Invite, 200).await?;
        let invite = self.read(&ringing.invite)?;
        let answer = self.read(&answer)?;
        let media = self.media_of(&answer)?;
        let mut dialog = Dialog::uac(&invite, &answer).map_err(|fault| self.got("a 200", fault))?;
        let number = dialog.local_cseq;
        let ack = dialog.request(b"ACK", Some(number), &[self.via()?.as_bytes()], 70).finish();
        self.send(&ack).await?;
        Ok(Talking { dialog, media })
    }

    /// Changes its mind while it rings (§9.1): both the CANCEL and the INVITE get their answers.
    pub(super) async fn cancel(&mut self, ringing: Ringing) -> Result<(), Missed> {
        let cancel = cancel_for(&self.read(&ringing.invite)?, None);
        self.send(&cancel).await?;
        // The two answers may come in either order, so the first that is asked for must not throw the other away.
        let mut open = vec![(Method::Cancel, 200), (Method::Invite, 487)];
        while !open.is_empty() {
            let expected = open.iter().map(|(method, status)| format!("{status} to {}", method.as_str()));
            let expected = expected.collect::<Vec<_>>().join(" and ");
            let bytes = self.next(&expected, Some(&cancel)).await?;
            let message = self.read(&bytes)?;
            let got = (message.method(), message.status().unwrap_or_default());
            if got == (Method::Invite, 487) {
                self.send(&ack_for_failure(&self.read(&ringing.invite)?, &message)).await?;
            }
            open.retain(|wanted| *wanted != got);
        }
        Ok(())
    }

    /// Talks and listens.
    pub(super) async fn talk(&self, call: &Talking, other: Tone, time: Duration) -> Result<Heard, Missed> {
        talk(&self.media, call.media, self.tone, other, time).await.map_err(|source| self.system(source))
    }

    pub(super) fn tone(&self) -> Tone {
        self.tone
    }

    /// Ends a call (§15.1.1).
    pub(super) async fn hang_up(&mut self, mut call: Talking) -> Result<(), Missed> {
        let bye = call.dialog.request(b"BYE", None, &[self.via()?.as_bytes()], 70).finish();
        self.send(&bye).await?;
        self.response(&bye, Method::Bye, 200).await.map(drop)
    }

    /// Waits for a call and lets it ring.
    pub(super) async fn ring(&mut self) -> Result<Ringing, Missed> {
        let invite = self.arrival(Method::Invite).await?;
        let answer = self.answer(&invite, 180)?.finish();
        self.reply(&invite, answer).await?;
        Ok(Ringing { invite })
    }

    /// Picks up and waits for the ACK.
    pub(super) async fn pick_up(&mut self, ringing: Ringing) -> Result<Talking, Missed> {
        let invite = self.read(&ringing.invite)?;
        let media = self.media_of(&invite)?;
        let dialog =
            Dialog::uas(&invite, self.name.as_bytes()).map_err(|fault| self.got("an INVITE", fault))?;
        let description = self.description()?;
        let answer =
            self.answer(&ringing.invite, 200)?.body(Some(b"application/sdp"), description.as_bytes());
        self.reply(&ringing.invite, answer).await?;
        self.arrival(Method::Ack).await?;
        Ok(Talking { dialog, media })
    }

    /// Waits for the other to hang up.
    pub(super) async fn hung_up(&mut self, _call: Talking) -> Result<(), Missed> {
        let bye = self.arrival(Method::Bye).await?;
        let answer = self.answer(&bye, 200)?.finish();
        self.reply(&bye, answer).await
    }

    /// Waits for the other to change its mind.
    pub(super) async fn cancelled(&mut self, ringing: Ringing) -> Result<(), Missed> {
        let cancel = self.arrival(Method::Cancel).await?;
        let answer = self.answer(&cancel, 200)?.finish();
        self.send(&answer).await?;
        let answer = self.answer(&ringing.invite, 487)?.finish();
        self.reply(&ringing.invite, answer).await?;
        self.arrival(Method::Ack).await.map(drop)
    }

    fn request(&self, method: &[u8], uri: &[u8], to: &str) -> Result<Writer, Missed> {
        let own = format!("<sip:{}@{}>", self.name, self.registrar);
        let mut request = Writer::request(method, uri);
        request
            .header("Via", self.via()?.as_bytes())
            .number("Max-Forwards", 70)
            .parts("From", &[own.as_bytes(), b";tag=", self.token()?.as_bytes()])
            .header("To", format!("<sip:{to}@{}>", self.registrar).as_bytes())
            .header("Call-ID", self.token()?.as_bytes())
            .parts("CSeq", &[b"1 ", method])
            .header("Contact", self.contact()?.as_bytes())
            .header("User-Agent", b"Drawbridge demo phone");
        Ok(request)
    }

    fn answer(&self, request: &[u8], status: u16) -> Result<Writer, Missed> {
        let mut answer =
            respond(&self.read(request)?, status, None, Some(self.name.as_bytes()), self.registrar);
        answer.header("Contact", self.contact()?.as_bytes());
        Ok(answer)
    }

    fn via(&self) -> Result<String, Missed> {
        Ok(format!("SIP/2.0/UDP {};branch=z9hG4bK{};rport", self.address()?, self.token()?))
    }

    fn contact(&self) -> Result<String, Missed> {
        Ok(format!("<sip:{}@{}>", self.name, self.address()?))
    }

    fn description(&self) -> Result<String, Missed> {
        let media = self.media.local_addr().map_err(|source| self.system(source))?;
        let (family, ip, port) = (if media.is_ipv4() { "IP4" } else { "IP6" }, media.ip(), media.port());
        Ok(format!(
            "v=0\r\no={} 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n",
            self.name
        ))
    }

    fn media_of(&self, message: &Message<'_>) -> Result<SocketAddr, Missed> {
        let description = Sdp::parse(message.body()).map_err(|error| self.got("a description", error))?;
        let address = description.streams().first().and_then(sip::Stream::rtp);
        address.ok_or_else(|| self.got("a description with an address", "none"))
    }

    async fn send(&self, message: &[u8]) -> Result<(), Missed> {
        self.signalling.send_to(message, self.registrar).await.map_err(|source| self.system(source)).map(drop)
    }

    async fn reply(&mut self, request: &Bytes, answer: Bytes) -> Result<(), Missed> {
        self.send(&answer).await?;
        self.last_answer = Some((request.clone(), answer));
        Ok(())
    }

    /// The response with this status; provisional ones before it are passed over, any other final one is not.
    async fn response(&mut self, request: &Bytes, method: Method, status: u16) -> Result<Bytes, Missed> {
        let expected = format!("{status} to {}", method.as_str());
        let mut repeat = Some(request.clone());
        loop {
            let bytes = self.next(&expected, repeat.as_ref()).await?;
            let message = self.read(&bytes)?;
            match message.status() {
                Some(got) if message.method() == method && got == status => return Ok(bytes),
                // §17.1.1.2: a provisional response ends the retransmissions of an INVITE.
                Some(100..=199) => repeat = None,
                Some(got) => {
                    return Err(self.got(&expected, format!("{got} to {}", message.method().as_str())));
                }
                None => return Err(self.got(&expected, message.method().as_str())),
            }
        }
    }

    /// The next request, which must have this method.
    async fn arrival(&mut self, method: Method) -> Result<Bytes, Missed> {
        let bytes = self.next(method.as_str(), None).await?;
        let message = self.read(&bytes)?;
        if message.is_request() && message.method() == method {
            return Ok(bytes);
        }
        let got = message.status().map_or(message.method().as_str().to_owned(), |status| status.to_string());
        Err(self.got(method.as_str(), got))
    }

    /// The next message that is no repetition; `repeat` is sent again at T1, 2·T1 … until something comes.
    async fn next(&mut self, expected: &str, repeat: Option<&Bytes>) -> Result<Bytes, Missed> {
        let end = Instant::now() + PATIENCE;
        let mut pause = T1;
        let mut buffer = vec![0; sip::MAX_MESSAGE];
        loop {
            let wait = if repeat.is_some() { (Instant::now() + pause).min(end) } else { end };
            match timeout_at(wait, self.signalling.recv_from(&mut buffer)).await {
                Ok(Ok((length, _))) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    match &self.last_answer {
                        Some((request, answer)) if request == bytes => self.send(answer).await?,
                        Some(_) | None => return Ok(Bytes::copy_from_slice(bytes)),
                    }
                }
                Ok(Err(source)) => return Err(self.system(source)),
                Err(_) if Instant::now() >= end => {
                    return Err(self.got(expected, format!("nothing in {} s", PATIENCE.as_secs())));
                }
                Err(_) => {
                    if let Some(message) = repeat {
                        self.send(message).await?;
                    }
                    pause *= 2;
                }
            }
        }
    }

    fn read<'a>(&self, bytes: &'a [u8]) -> Result<Message<'a>, Missed> {
        Message::parse(bytes).map_err(|error| self.got("a SIP message", error))
    }

    fn token(&self) -> Result<String, Missed> {
        let random = getrandom::u64().map_err(|error| self.system(error.into()))?;
        Ok(format!("{random:016x}"))
    }

    fn got(&self, expected: &str, got: impl std::fmt::Display) -> Missed {
        Missed::Unexpected { phone: self.name, expected: expected.to_owned(), got: got.to_string() }
    }

    fn system(&self, source: std::io::Error) -> Missed {
        Missed::System { phone: self.name, source }
    }
}
