//! Session timers (RFC 4028): each leg agrees on its own, in every INVITE and UPDATE that is answered with 2xx.
//!
//! One side refreshes in time, with UPDATE where the peer takes it and else with a re-INVITE that changes nothing; the
//! other waits a little less than the interval and then ends the call. The box refreshes wherever the peer cannot: a
//! call whose peer vanished ends even if that peer never heard of session timers.
//!
//! ```text
//!   off ──2xx──▶ we refresh: after half the interval ──▶ UPDATE or re-INVITE ──2xx──▶ (begins anew)
//!      └──2xx──▶ the peer refreshes: its INVITE or UPDATE ──2xx──▶ (begins anew)
//!                └── none until min(32 s, a third) before the end ──▶ the call ends
//! ```

use std::time::Duration;

use sip::{Message, Name, Refresher, SessionExpires, Time, Writer};

use super::{Aim, Exchange, Leg, LegKey, LegState, News, Offer, OfferBy, Ours};
use crate::bodies::Body;
use crate::headers::{TIMER, requires_or_supports};
use crate::io::Now;
use crate::settings::Settings;
use crate::wire::{ClientKey, Purpose, Wire};

/// RFC 4028 §10: a side that was to be refreshed gives up this long before the end.
const LEEWAY: Duration = Duration::from_secs(32);

/// How often a first INVITE is sent again with a greater Min-SE.
const MAX_RAISED: u8 = 3;

/// What a leg has agreed on with its peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionTimer {
    /// In seconds; 0 while none runs.
    interval: u32,
    /// The greatest Min-SE that the peer or the way to it asked for.
    min_se: u32,
    we_refresh: bool,
    due: Option<Time>,
}

impl SessionTimer {
    fn begin(&mut self, interval: u32, we_refresh: bool, now: Now) {
        let whole = Duration::from_secs(u64::from(interval));
        let wait = if we_refresh { whole / 2 } else { whole - LEEWAY.min(whole / 3) };
        (self.interval, self.we_refresh) = (interval, we_refresh);
        self.due = (interval > 0).then(|| now.time + wait);
    }

    /// What was agreed on: the interval, the least that the peer takes, and whether we refresh.
    pub(super) fn kept(&self) -> (u32, u32, bool) {
        (self.interval, self.min_se, self.we_refresh)
    }

    /// Goes on in another process, which does not know when the session was refreshed last. Where that is for us to do it is done
    /// soon, though not for all calls at once; the peer may have done it a moment ago.
    pub(super) fn restart(&mut self, (interval, min_se, we_refresh): (u32, u32, bool), draw: u64, now: Now) {
        self.min_se = min_se;
        self.begin(interval, we_refresh, now);
        if we_refresh && interval > 0 {
            let millis = u64::from(interval) * 1000 / 16;
            self.due = Some(now.time + Duration::from_millis(millis + draw % millis.max(1)));
        }
    }

    /// What an INVITE or UPDATE of ours says of session timers (§7.1, §7.4).
    pub(super) fn ask(&self, writer: &mut Writer, settings: &Settings) {
        let running = self.interval;
        let interval = if running > 0 { running } else { seconds(settings.session_expires) };
        if interval == 0 {
            return;
        }
        let interval = interval.max(self.min_se).to_string();
        // A session that has a refresher keeps it.
        let refresher = match (running, self.we_refresh) {
            (0, _) => "",
            (_, true) => ";refresher=uac",
            (_, false) => ";refresher=uas",
        };
        writer.parts("Session-Expires", &[interval.as_bytes(), refresher.as_bytes()]);
        let min_se = seconds(settings.min_se).max(self.min_se);
        if min_se != 90 {
            writer.number("Min-SE", u64::from(min_se));
        }
    }
}

impl Leg {
    /// Whether a 2xx to the INVITE has begun the session (§7.2, §9), though its ACK may be owed.
    pub(super) fn has_session(&self) -> bool {
        match self.state {
            LegState::Answered { .. } | LegState::AckDue { .. } | LegState::Up => true,
            LegState::Invited { .. }
            | LegState::AnsweredLeaving { .. }
            | LegState::Calling { .. }
            | LegState::Proceeding { .. }
            | LegState::CancelWaiting { .. }
            | LegState::Cancelling { .. }
            | LegState::Leaving
            | LegState::Ghost { .. }
            | LegState::Gone => false,
        }
    }

    /// When the session is to be refreshed or given up. An offer that is under way counts as a refresh, so its end is
    /// waited for.
    pub(super) fn session_deadline(&self) -> Option<Time> {
        let waits = matches!((&self.state, &self.exchange), (LegState::Up, Exchange::Idle));
        self.timer.due.filter(|_| waits)
    }

    /// The deadline of the session has come.
    pub(super) fn on_session_timeout(&mut self, key: LegKey, wire: &mut Wire, now: Now) -> News {
        if !self.timer.we_refresh {
            self.timer.due = None;
            return News::SessionExpired;
        }
        self.timer.begin(self.timer.interval, true, now);
        self.refresh(key, wire, now);
        News::Nothing
    }

    /// Says to the peer that the session lives on, and asks whether it still does there.
    pub(super) fn refresh(&mut self, key: LegKey, wire: &mut Wire, now: Now) -> bool {
        let by = if self.allows_update { OfferBy::Update } else { OfferBy::Invite };
        let body = match by {
            OfferBy::Update => None,
            OfferBy::Invite => self.session.offer_again(&mut wire.ids).map(Body::from),
        };
        let ours = Ours::new(by, Aim::Refresh, body.is_none());
        self.offer(key, &Offer { ours, from: None, body: body.as_ref() }, wire, now)
    }

    /// A 2xx to an INVITE or UPDATE of ours (§7.2).
    pub(super) fn hear_timer(&mut self, response: &Message<'_>, settings: &Settings, now: Now) {
        let said = response.first(Name::SessionExpires).and_then(|value| SessionExpires::parse(value).ok());
        let (interval, we_refresh) = match said {
            // A peer that wants to be refreshed every second is not obeyed.
            Some(said) => {
                (said.seconds.max(seconds(settings.min_se)), said.refresher != Some(Refresher::Uas))
            }
            None => (seconds(settings.session_expires).max(self.timer.min_se), true),
        };
        let off = said.is_none() && settings.session_expires.is_zero();
        self.timer.begin(if off { 0 } else { interval }, we_refresh, now);
    }

    /// The 2xx to an INVITE or UPDATE of the peer: what it says of session timers (§9), which begin with it.
    pub(super) fn grant_timer(
        &mut self,
        request: &Message<'_>,
        writer: &mut Writer,
        settings: &Settings,
        now: Now,
    ) {
        let peer_can = requires_or_supports(request, TIMER);
        let asked = request.first(Name::SessionExpires).and_then(|value| SessionExpires::parse(value).ok());
        self.raise_min_se(request);
        let least = seconds(settings.min_se).max(self.timer.min_se);
        let ours = seconds(settings.session_expires);
        // Below the least is only what a proxy asked for on behalf of a peer that cannot be told so; what it asks for is
        // not granted.
        let interval = match asked.filter(|asked| asked.seconds >= seconds(settings.min_se)) {
            Some(asked) if ours == 0 => asked.seconds,
            Some(asked) => asked.seconds.min(ours.max(least)),
            None if ours == 0 => 0,
            None => ours.max(least),
        };
        let we_refresh = !peer_can || asked.is_some_and(|asked| asked.refresher == Some(Refresher::Uas));
        self.timer.begin(interval, we_refresh, now);
        if interval == 0 {
            return;
        }
        let refresher: &[u8] = if we_refresh { b";refresher=uas" } else { b";refresher=uac" };
        writer.parts("Session-Expires", &[interval.to_string().as_bytes(), refresher]);
        if !we_refresh {
            writer.header("Require", TIMER);
        }
    }

    /// Takes note of Min-SE in a request, or in a 422; whether it is more than what was asked for before (§7.3).
    pub(super) fn raise_min_se(&mut self, message: &Message<'_>) -> bool {
        let least = message.first(Name::MinSe).and_then(|value| SessionExpires::parse(value).ok());
        let raised = least.filter(|least| least.seconds > self.timer.min_se);
        if let Some(least) = raised {
            self.timer.min_se = least.seconds;
            // The interval that was agreed on is too small as well.
            self.timer.interval = self.timer.interval.max(least.seconds);
        }
        raised.is_some()
    }

    /// Sends the first INVITE again after a 422, with an interval that is large enough (§7.3).
    pub(super) fn invite_with_min_se(
        &mut self,
        key: LegKey,
        client: ClientKey,
        response: &Message<'_>,
        wire: &mut Wire,
        now: Now,
    ) -> Option<ClientKey> {
        if self.put_off >= MAX_RAISED || !self.raise_min_se(response) {
            return None;
        }
        self.put_off += 1;
        let least = self.timer.min_se.max(seconds(wire.settings.min_se));
        let interval = seconds(wire.settings.session_expires).max(least);
        let text = |seconds: u32| seconds.to_string().into_bytes();
        let said = [(Name::SessionExpires, text(interval)), (Name::MinSe, text(least))];
        self.send_again(key, client, Purpose::Invite, &said, wire, now)
    }
}

/// Whether a request asks for a session interval that is too small, from a peer that can be told so (§9): the Min-SE
/// of the 422.
pub(crate) fn interval_too_small(request: &Message<'_>, settings: &Settings) -> Option<String> {
    let asked = SessionExpires::parse(request.first(Name::SessionExpires)?).ok()?;
    let least = seconds(settings.min_se);
    let told = asked.seconds < least && requires_or_supports(request, TIMER);
    told.then(|| least.to_string())
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
