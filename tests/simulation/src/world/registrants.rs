//! Phones that register before they are called: REGISTER, the challenge, REGISTER again.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use call::{RegistrarPolicy, User};
use sip::{Challenge, Message, Name};

use super::{BOX, Happening, World, setup};
use crate::script::Route;

/// A password that all users of a world share.
const PASSWORD: &str = "open sesame";
/// Seconds that a registration lasts: shorter than a world may take.
const EXPIRES: u32 = 600;
/// Tries at an interval of a second, in case the network loses them.
const TRIES: u64 = 4;

/// Where the phone of a user is.
pub(super) fn address_of_user(call: usize) -> SocketAddr {
    let last = u8::try_from(101 + call).unwrap_or(255);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, last)), 5060)
}

/// Who may register: the called names of calls to users.
pub(super) fn policy(routes: impl Iterator<Item = Route>) -> RegistrarPolicy {
    let users: Vec<User> = routes
        .enumerate()
        .filter(|(_, route)| *route == Route::User)
        .map(|(call, route)| User { name: setup::number(route, call), password: PASSWORD.to_owned() })
        .collect();
    if users.is_empty() { RegistrarPolicy::Closed } else { RegistrarPolicy::Users(users) }
}

impl World {
    /// Whose phones register.
    pub(super) fn plan_registrations(&mut self) {
        for call in 0..self.scripts.len() {
            if self.scripts[call].route != Route::User {
                continue;
            }
            for at in 0..TRIES {
                let after = Duration::from_secs(at);
                self.schedule(after, Happening::Register { call });
            }
        }
    }

    pub(super) fn register(&mut self, call: usize) {
        if !self.registered.contains(&call) {
            self.send_register(call, None);
        }
    }

    /// A response to a REGISTER of one of these phones; false when it is something else.
    pub(super) fn hear_registrar(&mut self, to: SocketAddr, bytes: &Bytes) -> bool {
        let Some(call) = (0..self.scripts.len()).find(|call| address_of_user(*call) == to) else {
            return false;
        };
        let Ok(message) = Message::parse(bytes) else { return false };
        if message.is_request() || !message.cseq().is_ok_and(|cseq| cseq.method_text == b"REGISTER") {
            return false;
        }
        match message.status() {
            Some(200) => {
                self.registered.insert(call);
            }
            Some(401) if !self.registered.contains(&call) => {
                let challenge = Challenge::best(message.values(Name::WwwAuthenticate));
                self.send_register(call, challenge.as_ref());
            }
            Some(_) | None => {}
        }
        true
    }

    fn send_register(&mut self, call: usize, challenge: Option<&Challenge>) {
        let address = address_of_user(call);
        let name = setup::number(Route::User, call);
        let uri = format!("sip:{}", BOX.ip());
        self.cseq += 1;
        let mut text = format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};rport;branch=z9hG4bK{}\r\nMax-Forwards: 70\r\n\
             From: <sip:{name}@{host}>;tag=r{call}\r\nTo: <sip:{name}@{host}>\r\nCall-ID: register-{call}\r\n\
             CSeq: {} REGISTER\r\nContact: <sip:{name}@{address}>;expires={EXPIRES}\r\n",
            self.chance.word(),
            self.cseq,
            host = BOX.ip(),
        );
        if let Some(challenge) = challenge {
            let cnonce = self.chance.word();
            let value = challenge.authorize(&name, PASSWORD, b"REGISTER", uri.as_bytes(), &cnonce, 1);
            let _ = write!(text, "Authorization: {}\r\n", String::from_utf8_lossy(&value));
        }
        text.push_str("Content-Length: 0\r\n\r\n");
        self.transmit(address, BOX, text.into());
    }
}
