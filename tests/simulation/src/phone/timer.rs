//! A phone's session timers (RFC 4028), written apart from the product's.

use std::time::Duration;

use sip::{Message, Method, Name, Time};

use super::client::Purpose;
use super::{Act, Phone, SDP, Stage};
use crate::script::Timer;

/// The least that a slow phone wants.
const SLOW: u64 = 120;

/// What was agreed on last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreed {
    /// In seconds; 0 while none runs.
    interval: u64,
    we_refresh: bool,
    /// Seconds for which a refresh that was due had to wait for an offer under way.
    waited: u8,
}

/// The longest that a refresh waits.
const LONGEST_WAIT: u8 = 40;

impl Phone {
    /// What a request of this phone says of session timers.
    pub(super) fn ask(&mut self, method: &str) -> String {
        if self.talk().timer == Timer::Unknown || !matches!(method, "INVITE" | "UPDATE") {
            return String::new();
        }
        let least = if self.talk().timer == Timer::Slow { "Min-SE: 120\r\n" } else { "" };
        let said = match self.timer {
            Agreed { interval: 0, .. } if self.stage != Stage::Confirmed => {
                let refresher = self.chance.pick(&["", "", ";refresher=uac", ";refresher=uas"]);
                match self.chance.below(8) {
                    0 | 1 => String::new(),
                    // Too small for anybody, where no greater Min-SE says so.
                    2 if least.is_empty() => "Session-Expires: 60\r\n".to_owned(),
                    _ => format!("Session-Expires: {SLOW}{refresher}\r\n"),
                }
            }
            Agreed { interval: 0, .. } => String::new(),
            Agreed { interval, we_refresh, .. } => {
                let refresher = if we_refresh { "uac" } else { "uas" };
                format!("Session-Expires: {interval};refresher={refresher}\r\n")
            }
        };
        format!("Supported: timer\r\n{said}{least}")
    }

    /// What a 200 of this phone says of session timers, which begin with it.
    pub(super) fn grant(&mut self, request: &Message<'_>, now: Time) -> String {
        let asked = matches!(request.method(), Method::Invite | Method::Update);
        let Some((interval, refresher)) = expires(request).filter(|_| asked) else { return String::new() };
        if self.talk().timer == Timer::Unknown {
            return String::new();
        }
        let by_box = refresher.map_or_else(|| self.chance.happens(500), |refresher| refresher == "uac");
        self.begin(interval, !by_box, now);
        let (refresher, require) = if by_box { ("uac", "Require: timer\r\n") } else { ("uas", "") };
        format!("Session-Expires: {interval};refresher={refresher}\r\n{require}")
    }

    /// A 2xx of the box to an INVITE or UPDATE of this phone.
    pub(super) fn agree(&mut self, response: &Message<'_>, now: Time) {
        let Some((interval, refresher)) = expires(response) else { return };
        let we_refresh = refresher.as_deref() == Some("uac");
        if self.talk().timer == Timer::Unknown {
            if we_refresh {
                self.complaints.push("made to refresh a session without knowing how".to_owned());
            }
            return;
        }
        if interval < if self.talk().timer == Timer::Slow { SLOW } else { 90 } {
            self.complaints.push(format!("a session of {interval} s, less than Min-SE"));
        }
        self.begin(interval, we_refresh, now);
    }

    /// Whether this phone wants a longer session than a request asks for.
    pub(super) fn is_too_fast(&self, request: &Message<'_>) -> bool {
        self.talk().timer == Timer::Slow && expires(request).is_some_and(|(interval, _)| interval < SLOW)
    }

    fn begin(&mut self, interval: u64, we_refresh: bool, now: Time) {
        self.timer = Agreed { interval, we_refresh, waited: 0 };
        self.agenda.retain(|(_, act)| !matches!(act, Act::Refresh | Act::Expire));
        let whole = Duration::from_secs(interval);
        match (we_refresh, self.talk().timer) {
            (true, Timer::Promises) => {}
            (true, _) => self.plan(now + whole / 2, Act::Refresh),
            (false, _) => self.plan(now + whole, Act::Expire),
        }
    }

    pub(super) fn refresh(&mut self, now: Time) {
        if self.stage != Stage::Confirmed {
            return;
        }
        if self.is_bargaining() && self.timer.waited == LONGEST_WAIT {
            return self.hang_up(now);
        }
        if self.is_bargaining() {
            self.timer.waited += 1;
            return self.plan(now + Duration::from_secs(1), Act::Refresh);
        }
        if self.peer_updates && self.talk().terms.updates {
            return self.send_update(None, now);
        }
        let offer = self.session.offer("sendrecv");
        self.send("INVITE", Purpose::Reinvite { offered: true }, Some((SDP, &offer)), now);
    }
}

/// Seconds of Session-Expires, and its refresher.
fn expires(message: &Message<'_>) -> Option<(u64, Option<String>)> {
    let value = String::from_utf8_lossy(message.first(Name::SessionExpires)?).into_owned();
    let (seconds, parameters) = value.split_once(';').unwrap_or((&value, ""));
    let refresher = parameters.split(';').find_map(|it| it.trim().strip_prefix("refresher="));
    Some((seconds.trim().parse().ok()?, refresher.map(str::to_owned)))
}
