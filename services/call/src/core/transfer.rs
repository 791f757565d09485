//! REFER and Replaces as they come in: what is asked, and whether it may be.

use bytes::Bytes;
use routing::{Refer, TrunkId};
use sip::{Address, Message, Method, Name, Replaces, Sdp, Writer};

use super::hairpin::NOT_HERE;
use super::ingress::Arrival;
use crate::bodies::sdp_of;
use crate::bridge::table::{Event, State};
use crate::bridge::{CallKey, Cause, MediaState, Security, Transfer};
use crate::core::Core;
use crate::io::Now;
use crate::leg::{Leg, LegKey, Referral};
use crate::media::Side;
use crate::wire::ServerKey;

/// Two parties that send each other's peers round in circles are stopped here, if their hops do not run out before.
const MAX_REFERRALS: u8 = 10;

impl Core {
    /// A REFER within the dialog of a leg (RFC 3515 §2.4.2).
    pub(super) fn on_refer(&mut self, key: LegKey, server: ServerKey, message: &Message<'_>, now: Now) {
        debug_assert_eq!(message.method(), Method::Refer);
        let Some(leg) = self.legs.get(key) else { return };
        let (tag, trunk) = (leg.tag.clone(), leg.trunk);
        let Some((call, side)) = leg.call.and_then(|call| Some((call, self.side_of(call, key)?))) else {
            return self.respond(server, 481, None, &tag, &[], now);
        };
        let snapshot = self.calls.get(call).map(|call| call.snapshot.clone());
        let policy = match trunk {
            // What the policy of its sender's trunk let pass in another shard goes on.
            None if leg.flow.is_inner() => Refer::Pass,
            trunk => trunk.and_then(|trunk| Some(snapshot?.trunk(trunk)?.refer)).unwrap_or_default(),
        };
        if policy == Refer::Pass {
            let mapped = self.with_mapped_replaces(message);
            let mapped = mapped.as_ref().and_then(|bytes| Message::parse(bytes).ok());
            return self.carry_over(key, server, mapped.as_ref().unwrap_or(message), now);
        }
        if let Err((status, phrase)) = Referral::read(message) {
            return self.respond(server, status, Some(phrase), &tag, &[], now);
        }
        let referrals = self.calls.get(call).map_or(0, |call| call.referrals);
        if referrals >= MAX_REFERRALS {
            return self.respond(server, 403, Some("Too Many Transfers"), &tag, &[], now);
        }
        if !self.is_settled(call) {
            return self.respond(server, 491, None, &tag, &[], now);
        }
        self.drive(call, Cause::new(Event::Referred(side)).message(message).server(server), now);
    }

    /// Whether nothing is on the way that came before the sides of a call are exchanged and would be taken for a part of
    /// that: the answer to an offer made before the 2xx, or ports for an offer that was taken back.
    pub(crate) fn is_settled(&self, call: CallKey) -> bool {
        let Some(call) = self.calls.get(call) else { return true };
        let sides = [Side::A, Side::B].into_iter().filter_map(|side| self.legs.get(call.leg(side)?));
        call.state != State::Up
            || call.media.state != MediaState::Growing && !sides.into_iter().any(Leg::carries)
    }

    /// Which side of its call a leg is, if it is one.
    pub(crate) fn side_of(&self, call: CallKey, leg: LegKey) -> Option<Side> {
        let call = self.calls.get(call)?;
        [Side::A, Side::B].into_iter().find(|side| call.leg(*side) == Some(leg))
    }

    /// The leg whose dialog a Replaces names: as its peer knows it, or as the party on the other side of the box does,
    /// where somebody sees through the box.
    pub(crate) fn leg_named(&self, replaces: &[u8]) -> Option<LegKey> {
        let replaces = Replaces::parse(replaces).ok()?;
        let of = |local: &[u8], remote: &[u8]| {
            let key = self.leg_with_tag(local)?;
            let dialog = self.legs.get(key)?.dialog.as_ref()?;
            dialog.matches(replaces.call_id, local, remote).then_some(key)
        };
        of(replaces.to_tag, replaces.from_tag).or_else(|| {
            let far = of(replaces.from_tag, replaces.to_tag)?;
            let call = self.legs.get(far)?.call?;
            self.calls.get(call)?.leg(self.side_of(call, far)?.other())
        })
    }

    /// A REFER that goes on to the other side, with a dialog of ours in its Refer-To called what it is called there;
    /// `None` when there is nothing to change.
    fn with_mapped_replaces(&mut self, refer: &Message<'_>) -> Option<Bytes> {
        let address = Address::parse(refer.first(Name::ReferTo)?).ok()?;
        let uri = address.parsed_uri().ok()?;
        let named = self.leg_named(&uri.header_values("Replaces").next()?)?;
        // Told in one journal, for what is written here stands in the other call.
        self.legs.get_mut(named);
        let call = self.legs.get(named)?.call?;
        let far = self.calls.get(call)?.leg(self.side_of(call, named)?.other())?;
        let dialog = self.legs.get(far)?.dialog.as_ref()?;
        let mut value = Vec::new();
        for (piece, escaped) in [
            (&*dialog.call_id, true),
            (b"%3Bto-tag%3D", false),
            (&*dialog.remote_tag, true),
            (b"%3Bfrom-tag%3D", false),
            (&*dialog.local_tag, true),
        ] {
            if escaped { escape(piece, &mut value) } else { value.extend_from_slice(piece) }
        }
        let mut writer = Writer::request(refer.method_text(), refer.request_uri()?);
        let target = uri.to_request_uri();
        for header in refer.headers() {
            if header.name == Name::ReferTo {
                writer.parts("Refer-To", &[b"<", &target, b"?Replaces=", &value, b">"]);
            } else if header.name != Name::ContentLength && header.name != Name::ContentType {
                writer.copy(&header);
            }
        }
        Some(writer.body(refer.first(Name::ContentType), refer.body()))
    }

    /// An INVITE with Replaces (RFC 3891 §3).
    pub(super) fn on_replacement(&mut self, arrival: &Arrival<'_>, trunk: Option<TrunkId>) {
        let message = arrival.message;
        let replaced = named_dialog(message).and_then(|(value, replaces)| match self.leg_named(value) {
            Some(named) => {
                let (call, side) = self.replaceable(message, &replaces, named)?;
                let own = self.calls.get(call).map(|call| call.own_trunk(trunk, &self.snapshot));
                // A call that began before a reload may have no trunk of the name of who comes, nor anything to say of it.
                let own = own.ok_or((603, None))?.map_err(|_unknown| (488, None))?;
                Ok(Place::Here(call, side, own))
            }
            // What came from a shard never goes on to another: who sent it knows whose dialog it is.
            None if arrival.flow.is_inner() => Err((NOT_HERE, Some("No Such Dialog Here"))),
            None => self.shard_with(value).map(Place::Elsewhere).ok_or((481, None)),
        });
        match replaced {
            Ok(Place::Here(call, side, own)) => {
                let known = trunk.and_then(|id| self.snapshot.trunk(id));
                let security = self.wire.settings.security_of(known, arrival.flow);
                self.begin_replacement(arrival, (own, security), call, side);
            }
            Ok(Place::Elsewhere(shard)) => self.call_inside(arrival, trunk, shard),
            Err((status, phrase)) => {
                // By a transaction: what is said of it is another thing when its repetition comes (RFC 3261 §17.2.1).
                let Arrival { flow, message, via, now } = *arrival;
                let server = self.wire.accept(message, via, flow, true, now);
                let tag = format!("{:016x}", self.wire.ids.random());
                self.respond(server, status, phrase, &tag, &[], now);
            }
        }
    }

    /// Whose place an INVITE takes that names this leg.
    fn replaceable(
        &self,
        invite: &Message<'_>,
        replaces: &Replaces<'_>,
        named: LegKey,
    ) -> Result<(CallKey, Side), Refused> {
        let leg = self.legs.get(named).ok_or((481, None))?;
        let call_key = leg.call.ok_or((603, None))?;
        let call = self.calls.get(call_key).ok_or((603, None))?;
        if leg.has_left() || matches!(call.state, State::Ending | State::Settling | State::Over) {
            return Err((603, None));
        }
        if leg.is_early() {
            // Who answers an early dialog may not be replaced in it (§3).
            return Err((481, None));
        }
        if replaces.early_only {
            return Err((486, None));
        }
        let side = self.side_of(call_key, named).ok_or((603, None))?;
        let stays = call.leg(side.other()).and_then(|leg| self.legs.get(leg)).ok_or((481, None))?;
        let offered = sdp_of(invite).and_then(|body| Sdp::parse(body).ok()).map(|sdp| sdp.streams().len());
        if offered != Some(stays.session.streams()) {
            return Err((488, Some("An Offer With As Many Streams Is Needed")));
        }
        if call.state != State::Up || !stays.can_offer() || !self.is_settled(call_key) {
            return Err((491, None));
        }
        Ok((call_key, side))
    }

    fn begin_replacement(
        &mut self,
        arrival: &Arrival<'_>,
        (trunk, security): (Option<TrunkId>, Option<Box<Security>>),
        call_key: CallKey,
        side: Side,
    ) {
        let Arrival { flow, message, via, now } = *arrival;
        let server = self.wire.accept(message, via, flow, true, now);
        if let Some(trying) = self.wire.response(server, 100, None, None) {
            self.wire.respond(server, 100, trying.finish(), now);
        }
        let wire = &mut self.wire;
        let made =
            self.legs.try_insert_with_key(|leg| Leg::invited(leg, call_key, message, server, flow, wire));
        let comes = match made {
            Ok(comes) => comes,
            Err(fault) => {
                let tag = format!("{:016x}", self.wire.ids.random());
                return self.respond(server, fault.status(), Some(&fault.phrase()), &tag, &[], now);
            }
        };
        self.wire.set_server_user(server, comes);
        if let Some(leg) = self.legs.get_mut(comes) {
            (leg.side, leg.trunk, leg.by_flow) = (side, trunk, trunk.is_none());
            leg.session.security = security;
        }
        if let Some(call) = self.calls.get_mut(call_key) {
            call.transfer = Some(Box::new(Transfer::arrival(comes)));
        }
        self.drive(call_key, Cause::new(Event::Replaced(side)).message(message), now);
    }
}

/// A status and, where it is not the usual one, its phrase.
type Refused = (u16, Option<&'static str>);

/// Where the leg is whose place an INVITE takes.
enum Place {
    /// The trunk of who comes, as that call has it.
    Here(CallKey, Side, Option<TrunkId>),
    /// In this shard, if anywhere.
    Elsewhere(u16),
}

/// The dialog that an INVITE names to take a place in it: the header, and what it says.
fn named_dialog<'m>(invite: &Message<'m>) -> Result<(&'m [u8], Replaces<'m>), Refused> {
    let value = invite.first(Name::Replaces).ok_or((481, None))?;
    if invite.other(b"Join").is_some() {
        return Err((400, Some("Join Beside Replaces")));
    }
    let replaces = Replaces::parse(value).map_err(|_| (400, Some("Replaces Not Readable")))?;
    Ok((value, replaces))
}

/// Writes a text so that it may stand in a header of a URI (RFC 3261 §25.1, `hvalue`).
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}
