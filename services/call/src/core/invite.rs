//! A new call: who may place it, whether it can be understood, and the question where it goes.

use std::time::Duration;

use bytes::Bytes;
use sip::{Message, Method, Name, Uri};

use super::ingress::{Arrival, Sender};
use super::media_id;
use crate::bridge::table::{Event, State};
use crate::bridge::{Call, CallKey, CallMedia, Cause, Record, Setup};
use crate::cdr::EndedBy;
use crate::core::Core;
use crate::family::Told;
use crate::headers::text;
use crate::io::{EventKind, Now, Output, RouteQuery};
use crate::leg::{Leg, LegKey, interval_too_small};
use crate::media::MediaId;
use crate::registrar::{Verdict, is_configured};

/// Why a call is refused that another Core might take.
pub(super) const FULL: &str = "as many calls as allowed";

/// What routing is asked about a call.
pub(crate) struct RouteQuestion<'a> {
    pub(crate) trunk: Option<routing::TrunkId>,
    pub(crate) source: std::net::SocketAddr,
    /// The URI of From.
    pub(crate) caller: &'a [u8],
    /// The Request-URI.
    pub(crate) uri: &'a [u8],
}

impl Core {
    pub(super) fn on_invite(&mut self, arrival: &Arrival<'_>, sender: Sender) {
        let message = arrival.message;
        let Some(trunk) = self.known_source(arrival, sender) else { return };
        let fault = self.header_fault(arrival, trunk).or_else(|| self.extension_fault(message, trunk));
        if let Some(refusal) = fault {
            return self.refuse(arrival, &refusal);
        }
        if let Some(least) = interval_too_small(message, &self.wire.settings) {
            return self.stateless(arrival, 422, None, &[("Min-SE", least.as_bytes())]);
        }
        let known = trunk.and_then(|trunk| self.snapshot.trunk(trunk));
        if let Some(refusal) = self.content_fault(message, known, arrival.flow) {
            return self.refuse(arrival, &refusal);
        }
        if message.has(sip::Name::Replaces) {
            return self.on_replacement(arrival, trunk);
        }
        if self.draining || self.calls.len() >= self.wire.settings.max_calls {
            return self.refuse_call(arrival, if self.draining { "draining" } else { FULL });
        }
        if let Some(call) = self.begin_call(arrival, trunk) {
            let caller = message.from().map_or(&b""[..], |from| from.uri);
            let uri = message.request_uri().unwrap_or_default();
            let source = arrival.flow.remote;
            self.ask_route(call, &RouteQuestion { trunk, source, caller, uri }, arrival.now);
            self.settle(call, arrival.now);
        }
    }

    /// There is no place for another call now.
    pub(super) fn refuse_call(&mut self, arrival: &Arrival<'_>, why: &'static str) {
        self.refused(arrival, 503, why);
        self.stateless(arrival, 503, None, &[("Retry-After", b"10")]);
    }

    /// The trunk that sent a new call or request, or none for a phone that is who it says. `None` when it may not; then it
    /// has been told.
    pub(crate) fn known_source(
        &mut self,
        arrival: &Arrival<'_>,
        sender: Sender,
    ) -> Option<Option<routing::TrunkId>> {
        match sender {
            Sender::Trunk(trunk) => Some(Some(trunk)),
            Sender::Shard => Some(None),
            Sender::Phone | Sender::Unproven => self.caller_is_known(arrival).then_some(None),
            Sender::Stranger => {
                self.refuse_stranger(arrival);
                None
            }
        }
    }

    /// Whether a caller that is no trunk may call; if not, it has been told.
    fn caller_is_known(&mut self, arrival: &Arrival<'_>) -> bool {
        let message = arrival.message;
        let name = user_of(message.from().ok().and_then(|from| from.parsed_uri().ok()));
        let (access, policy) = (&mut self.access, &self.wire.settings.registrar);
        let mut verdict = Verdict::Nobody;
        let is_known = self.wire.ids.tape.yes(|| {
            verdict = access.judge(message, arrival.flow, &name, policy, arrival.now);
            matches!(&verdict, Verdict::User(user) if **user == *name)
        });
        match verdict {
            _ if is_known => true,
            Verdict::User(_) => {
                self.stateless(arrival, 403, Some("From Is Not The Authenticated User"), &[]);
                false
            }
            Verdict::Challenge { stale } => {
                self.challenge(arrival, stale);
                false
            }
            Verdict::Wrong => {
                self.refuse_credentials(arrival);
                false
            }
            Verdict::OfAnother => {
                self.refuse_misplaced_credentials(arrival);
                false
            }
            Verdict::Nobody => {
                self.refuse_stranger(arrival);
                false
            }
        }
    }

    /// A call with the leg of its caller. Where it goes is still to be found out.
    pub(super) fn begin_call(
        &mut self,
        arrival: &Arrival<'_>,
        trunk: Option<routing::TrunkId>,
    ) -> Option<CallKey> {
        let Arrival { flow, message, via, now } = *arrival;
        let server = self.wire.accept(message, via, flow, true, now);
        let caller = user_of(message.from().ok().and_then(|from| from.parsed_uri().ok()));
        let called = user_of(message.request_uri().and_then(|uri| Uri::parse(uri).ok()));
        let id = self.wire.ids.uuid(now.utc);
        let transport = self.wire.listener(flow.listener).transport;
        let mut record = Record::new(
            message,
            text(caller.as_bytes()),
            text(called.as_bytes()),
            flow.remote,
            transport,
            now,
        );
        record.a_tls = flow.tls();
        let known = trunk.and_then(|id| self.snapshot.trunk(id));
        record.attempt.tags = known.and_then(|trunk| trunk.tags.clone());
        record.trunk_in = known.map(|trunk| trunk.name.as_str().into());
        let media_family = known.map_or_else(Default::default, |trunk| trunk.media_family);
        let security = self.wire.settings.security_of(known, flow);
        let key = self.calls.insert(Call {
            id,
            state: State::Routing,
            snapshot: self.snapshot.clone(),
            trunk_in: trunk,
            a: LegKey::default(),
            b: None,
            others: Vec::new(),
            former: smallvec::SmallVec::new(),
            media: CallMedia::new(MediaId(0)),
            record: Box::new(record),
            setup: Some(Box::new(Setup {
                invite: wire_copy(&self.wire, server, message),
                expires: expires(message).map(|left| now.time + left),
                ..Setup::default()
            })),
            answer_due: None,
            transfer: None,
            referrals: 0,
            armed: None,
            deadline: None,
        });
        let wire = &mut self.wire;
        let leg = self.legs.try_insert_with_key(|leg| Leg::invited(leg, key, message, server, flow, wire));
        let leg = match leg {
            Ok(leg) => leg,
            Err(fault) => {
                self.calls.remove(key);
                let tag = format!("{:016x}", self.wire.ids.random());
                self.respond(server, fault.status(), Some(&fault.phrase()), &tag, &[], now);
                return None;
            }
        };
        self.wire.set_server_user(server, leg);
        if let Some(trying) = self.wire.response(server, 100, None, None) {
            self.wire.respond(server, 100, trying.finish(), now);
        }
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.trunk = trunk;
            leg.by_flow = trunk.is_none();
            leg.told = Told::new(media_family, flow.remote.ip());
            leg.session.security = security;
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.a = leg;
            call.media = CallMedia::new(media_id(key, &self.wire.settings));
        }
        self.wire.stats.calls_started += 1;
        let started = EventKind::CallStarted {
            trunk,
            source: flow.remote,
            caller: text(caller.as_bytes()),
            called: text(called.as_bytes()),
        };
        self.wire.event(Some(id), started);
        self.open_record(key, now);
        Some(key)
    }

    /// Asks where a call goes, or the target of its transfer.
    pub(crate) fn ask_route(&mut self, key: CallKey, question: &RouteQuestion<'_>, now: Now) {
        let query = self.queries.ask(key);
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(setup) = call.setup.as_mut() {
            setup.query = Some(query);
        }
        let RouteQuestion { trunk, source, caller, uri } = *question;
        let called = user_of(Uri::parse(uri).ok());
        let (policy, registrar) = (&self.wire.settings.registrar, &self.registrar);
        let known = || is_configured(policy, &called) || registrar.is_registered(&called, now);
        let local_user = self.wire.ids.tape.yes(known);
        self.wire.outputs.push_back(Output::Route(Box::new(RouteQuery {
            query,
            call: Some(call.id),
            transfer: call.transfer.is_some(),
            snapshot: call.snapshot.clone(),
            trunk,
            source,
            caller: String::from_utf8_lossy(caller).into(),
            uri: String::from_utf8_lossy(uri).into(),
            local_user,
        })));
    }

    /// Rows S1 and S8: the caller left before an answer.
    pub(super) fn on_cancelled(&mut self, call: CallKey, message: &Message<'_>, now: Now) {
        debug_assert_eq!(message.method(), Method::Cancel);
        let cause = Cause::new(Event::Cancelled).message(message).status(487).by(EndedBy::Caller);
        self.drive(call, cause, now);
    }
}

fn wire_copy(wire: &crate::wire::Wire, server: crate::wire::ServerKey, message: &Message<'_>) -> Bytes {
    wire.server_request(server).unwrap_or_else(|| Bytes::copy_from_slice(message.bytes()))
}

/// How long the sender of an INVITE will wait. Some write 0 for "not at all said", and nobody calls who wants no answer.
fn expires(invite: &Message<'_>) -> Option<Duration> {
    let seconds = std::str::from_utf8(invite.first(Name::Expires)?).ok()?.trim().parse::<u32>().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// The user part of a URI with its escapes undone; empty when there is none.
fn user_of(uri: Option<Uri<'_>>) -> String {
    uri.map(|uri| String::from_utf8_lossy(&uri.unescaped_user()).into_owned()).unwrap_or_default()
}
