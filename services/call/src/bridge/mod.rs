//! The call controller: what joins two legs.
//!
//! [`table`] is the behaviour, a pure function over small enums. `orders` carries out what it says, `branches` tries the
//! targets, one or several at a time, `transfer`, `claim` and `replace` exchange a side, `session` writes descriptions, `record` gathers what
//! the CDR will say, `recording` keeps what is said. A `Call` is the data they work on.

#![deny(clippy::wildcard_enum_match_arm)]

mod branches;
mod cause;
mod claim;
mod digits;
mod early;
mod offers;
mod orders;
mod reason;
mod record;
mod recording;
mod replace;
mod security;
mod session;
pub mod table;
mod terms;
mod transfer;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use routing::Snapshot;
use sip::{Message, Sdp, Time};
use slotmap::new_key_type;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::bodies::sdp_of;
use crate::cdr::EndedBy;
use crate::family::{Family, Told};
use crate::leg::LegKey;
use crate::media::Side;

pub(crate) use branches::{Branch, Failure, GoesOn};
pub(crate) use record::{Attempt, Record};
pub(crate) use recording::Recordings;
pub(crate) use security::Security;
pub(crate) use session::{CallMedia, Heard, LocalSession, MediaState};
use table::{Event, State};
pub(crate) use terms::Terms;
pub(crate) use transfer::Transfer;

new_key_type! {
    /// A call.
    pub(crate) struct CallKey;
}

/// One call.
pub(crate) struct Call {
    pub(crate) id: Uuid,
    pub(crate) state: State,
    /// The configuration it began with.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) trunk_in: Option<routing::TrunkId>,
    pub(crate) a: LegKey,
    /// The callee: of several branches the one that was heard last, and in the end the one that answered.
    pub(crate) b: Option<LegKey>,
    /// Other targets that are tried at the same time; see [`Branch`].
    pub(crate) others: Vec<Branch>,
    /// Attempts that were given up and still have something to finish.
    pub(crate) former: SmallVec<[LegKey; 1]>,
    pub(crate) media: CallMedia,
    pub(crate) record: Box<Record>,
    /// What is needed until the call is answered, or the target of a transfer.
    pub(crate) setup: Option<Box<Setup>>,
    /// The side whose 2xx carries an offer that the other side's ACK will answer.
    pub(crate) answer_due: Option<Side>,
    pub(crate) transfer: Option<Box<Transfer>>,
    /// How many REFER were followed.
    pub(crate) referrals: u8,
    pub(crate) armed: Option<Time>,
    pub(crate) deadline: Option<Time>,
}

/// A call that is not answered yet.
#[derive(Default)]
pub(crate) struct Setup {
    /// The caller's INVITE.
    pub(crate) invite: Bytes,
    /// Until when its sender wants an answer at all (RFC 3261 §13.3.1).
    pub(crate) expires: Option<Time>,
    /// To routing, then for the address of `current`.
    pub(crate) query: Option<crate::io::QueryId>,
    /// Not tried yet, in the order of their groups; in a group in the order in which they are tried.
    pub(crate) targets: VecDeque<Candidate>,
    /// Where `Call::b` was invited, or will be.
    pub(crate) current: Option<Candidate>,
    /// URIs of those that failed.
    pub(crate) tried: Vec<Box<[u8]>>,
    pub(crate) failover: Arc<[u16]>,
    /// What the caller's trunk and the route have for the records.
    pub(crate) tags: Option<Arc<routing::Tags>>,
    /// A response of this leg that waits for more ports.
    pub(crate) deferred: Option<(LegKey, Event, Bytes)>,
    /// The leg whose early description the relay knows.
    pub(crate) early: Option<LegKey>,
    /// The best of what targets said that failed, for the caller.
    pub(crate) best: Option<Failure>,
    /// The targets that there were are not reached over TLS, which the caller asks for.
    pub(crate) readable_only: bool,
    /// A target was not invited because no codec of the offer is one that its trunk and the caller's allow.
    pub(crate) no_codec: bool,
}

/// A trunk that a call does not have: it began before there was one of that name, or the name has gone since.
#[derive(Debug)]
pub(crate) struct UnknownTrunk;

impl Call {
    /// The trunk of a leg that comes from elsewhere: a place in one snapshot is another trunk's in the next, only its name stays.
    /// A phone has none anywhere.
    pub(crate) fn own_trunk(
        &self,
        trunk: Option<routing::TrunkId>,
        of: &Arc<Snapshot>,
    ) -> Result<Option<routing::TrunkId>, UnknownTrunk> {
        let Some(id) = trunk.filter(|_| !Arc::ptr_eq(of, &self.snapshot)) else { return Ok(trunk) };
        let own = of.trunk(id).and_then(|trunk| self.snapshot.trunk_named(&trunk.name));
        own.map(Some).ok_or(UnknownTrunk)
    }

    /// What becomes of bodies that come from this trunk, or from a phone.
    pub(crate) fn bodies_of(&self, trunk: Option<routing::TrunkId>) -> routing::Bodies {
        trunk.and_then(|trunk| self.snapshot.trunk(trunk)).map_or_else(Default::default, |trunk| trunk.bodies)
    }
}

impl Call {
    /// In which family peers of this trunk, or phones, are told of the relay.
    pub(crate) fn media_family_of(&self, trunk: Option<routing::TrunkId>) -> routing::MediaFamily {
        let trunk = trunk.and_then(|trunk| self.snapshot.trunk(trunk));
        trunk.map_or_else(Default::default, |trunk| trunk.media_family)
    }

    /// The same for what is called first. Of a name nobody knows yet.
    fn first_target_family(&self) -> Family {
        let first = self.setup.as_ref().and_then(|setup| setup.targets.front());
        let signalling = match first.map(|first| &first.reach) {
            Some(Reach::Flow { flow, .. }) => flow.remote.ip(),
            Some(Reach::Name { .. }) | None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        Told::new(self.media_family_of(first.and_then(|first| first.trunk)), signalling).family()
    }
}

impl Setup {
    /// A server of this line's target answered: what it said counts for all servers of its name.
    pub(crate) fn drop_alternatives(&mut self, line: (u16, u16)) {
        drop_alternatives(&mut self.targets, line);
    }

    /// Whether what comes next in this line is another server of the same name.
    pub(crate) fn has_alternative(&self, line: (u16, u16)) -> bool {
        let next = self.targets.iter().find(|candidate| candidate.line() == line);
        next.is_some_and(|next| next.is_alternative)
    }

    /// Whether the caller's INVITE describes a session; else the callee is to offer one (RFC 3261 §13.2.1).
    pub(crate) fn has_offer(&self) -> bool {
        Message::parse(&self.invite).is_ok_and(|invite| sdp_of(&invite).is_some())
    }
}

/// A place that the call may go to.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) uri: Box<[u8]>,
    pub(crate) to: Box<[u8]>,
    pub(crate) trunk: Option<routing::TrunkId>,
    /// Which of the trunk's peers.
    pub(crate) peer: u16,
    pub(crate) reach: Reach,
    /// Those of one group are tried before those of the next; see [`Branch`].
    pub(crate) group: u16,
    /// Lines of a group are tried at the same time, the candidates of one line one after the other.
    pub(crate) line: u16,
    /// By how many 3xx it was found.
    pub(crate) hops: u8,
    /// Its place in the plan, from 1; 0 where there was none.
    pub(crate) rank: u16,
    /// A 3xx named it and it is no peer of its trunk: the trunk's credentials are not for it.
    pub(crate) is_stranger: bool,
    /// Another server of the name that the one before it in its line was found by: only for when that one was not
    /// reached (RFC 3263 §4.3).
    pub(crate) is_alternative: bool,
}

impl Candidate {
    /// What its place among the others is.
    pub(crate) fn line(&self) -> (u16, u16) {
        (self.group, self.line)
    }

    /// A place that is no trunk's and the only one, as far as is known yet.
    pub(crate) fn new(uri: impl Into<Box<[u8]>>, to: impl Into<Box<[u8]>>, reach: Reach) -> Candidate {
        Candidate {
            uri: uri.into(),
            to: to.into(),
            trunk: None,
            peer: 0,
            reach,
            group: 0,
            line: 0,
            hops: 0,
            rank: 0,
            is_stranger: false,
            is_alternative: false,
        }
    }

    /// The leg that another shard is to put into the place of one that it has.
    pub(crate) fn inside(shard: u16, uri: &[u8]) -> Candidate {
        Candidate::new(uri, uri, Reach::Flow { flow: crate::io::Flow::inner(shard), registered: true })
    }

    /// Whether it is in another shard.
    pub(crate) fn is_inside(&self) -> bool {
        matches!(&self.reach, Reach::Flow { flow, .. } if flow.is_inner())
    }
}

/// Forgets the other servers of the name that stand first in this line.
pub(crate) fn drop_alternatives(targets: &mut VecDeque<Candidate>, line: (u16, u16)) {
    let mut is_first = true;
    targets.retain(|candidate| {
        is_first &= candidate.line() != line || candidate.is_alternative;
        !is_first || candidate.line() != line
    });
}

/// How a candidate is reached.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// Over this flow: a registered phone, or a literal address.
    Flow { flow: crate::io::Flow, registered: bool },
    /// By name.
    Name { host: Box<str>, port: Option<u16>, transport: Option<sip::Transport>, secure: bool },
}

/// What goes with an event: everything that an order may need to know of its cause.
#[derive(Clone, Copy)]
pub(crate) struct Cause<'m> {
    pub(crate) event: Event,
    /// The attempt whose branch it is about, when that is not the one that the call speaks of already; else 0.
    pub(crate) attempt: u32,
    /// The transaction of a request that the bridge itself answers.
    pub(crate) server: Option<crate::wire::ServerKey>,
    /// Whose offer is refused, where several may be open: of the caller, and of targets that ring at the same time.
    pub(crate) offerer: Option<LegKey>,
    /// The message that brought it.
    pub(crate) message: Option<&'m Message<'m>>,
    /// Its description, when it was read already.
    pub(crate) sdp: Option<&'m Sdp<'m>>,
    /// What the other side is told when nothing better is known.
    pub(crate) status: u16,
    /// Reason phrase that goes with it, when not the usual one.
    pub(crate) phrase: Option<&'m str>,
    pub(crate) by: Option<EndedBy>,
    /// Reason that the sides are hung up with, when the message has none.
    pub(crate) reason: Option<&'static [u8]>,
}

impl<'m> Cause<'m> {
    pub(crate) fn new(event: Event) -> Cause<'m> {
        Cause {
            event,
            attempt: 0,
            server: None,
            offerer: None,
            message: None,
            sdp: None,
            status: 0,
            phrase: None,
            by: None,
            reason: None,
        }
    }

    pub(crate) fn branch(mut self, attempt: u32) -> Cause<'m> {
        self.attempt = attempt;
        self
    }

    pub(crate) fn server(mut self, server: crate::wire::ServerKey) -> Cause<'m> {
        self.server = Some(server);
        self
    }

    pub(crate) fn message(mut self, message: &'m Message<'m>) -> Cause<'m> {
        self.message = Some(message);
        self
    }

    pub(crate) fn sdp(mut self, sdp: &'m Sdp<'m>) -> Cause<'m> {
        self.sdp = Some(sdp);
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Cause<'m> {
        self.status = status;
        self
    }

    pub(crate) fn reason(mut self, reason: &'static [u8]) -> Cause<'m> {
        self.reason = Some(reason);
        self
    }

    pub(crate) fn by(mut self, by: EndedBy) -> Cause<'m> {
        self.by = Some(by);
        self
    }

    /// Whether a target brought it, so that it is this target that tells how the call ended.
    pub(crate) fn is_of_target(&self) -> bool {
        matches!(self.event, Event::Refused | Event::BadAnswer | Event::Bye(Side::B))
    }
}

impl Call {
    pub(crate) fn leg(&self, side: Side) -> Option<LegKey> {
        match side {
            Side::A => Some(self.a),
            Side::B => self.talking_callee().or(self.b),
        }
    }

    /// When the call itself has something to do: what it waits for has not come, or the journal is to hear how far it is.
    pub(crate) fn due(&self, interim: std::time::Duration) -> Option<Time> {
        match self.state {
            State::Up => (!interim.is_zero()).then(|| self.record.counted_at + interim),
            State::Over => None,
            State::Routing
            | State::Opening
            | State::Resolving
            | State::Restoring
            | State::Settling
            | State::Calling
            | State::Ringing
            | State::Answered
            | State::Offering(_)
            | State::Transferring(_)
            | State::TransferringAlone(_)
            | State::Rejoining(_)
            | State::JoinWaiting(_)
            | State::Yielding(_)
            | State::YieldingAlone(_)
            | State::Replacing(_)
            | State::ReplacingAlone(_)
            | State::Reverting(_)
            | State::Ending => {
                let expires = self.setup.as_ref().and_then(|setup| setup.expires);
                [self.deadline, expires].into_iter().flatten().min()
            }
        }
    }

    pub(crate) fn legs(&self) -> impl Iterator<Item = LegKey> + '_ {
        let others = self.others.iter().filter_map(|branch| branch.leg);
        std::iter::once(self.a)
            .chain(self.b)
            .chain(self.talking_callee())
            .chain(self.arrival())
            .chain(others)
            .chain(self.former.iter().copied())
    }
}

impl State {
    /// Whether one of the two who talked is gone and the call waits for somebody in its place.
    pub(super) fn has_lost_a_side(self) -> bool {
        match self {
            State::TransferringAlone(_) | State::YieldingAlone(_) | State::ReplacingAlone(_) => true,
            State::Routing
            | State::Opening
            | State::Resolving
            | State::Calling
            | State::Ringing
            | State::Answered
            | State::Up
            | State::Offering(_)
            | State::Transferring(_)
            | State::Rejoining(_)
            | State::JoinWaiting(_)
            | State::Yielding(_)
            | State::Replacing(_)
            | State::Reverting(_)
            | State::Restoring
            | State::Ending
            | State::Settling
            | State::Over => false,
        }
    }

    /// For operators.
    pub fn name(self) -> &'static str {
        match self {
            State::Routing => "routing",
            State::Opening => "opening",
            State::Resolving => "resolving",
            State::Calling => "calling",
            State::Ringing => "ringing",
            State::Answered => "answered",
            State::Up => "up",
            State::Offering(_) => "offering",
            State::Transferring(_) => "transferring",
            State::TransferringAlone(_) => "transferring_alone",
            State::Rejoining(_) => "rejoining",
            State::JoinWaiting(_) => "join_waiting",
            State::Yielding(_) => "yielding",
            State::YieldingAlone(_) => "yielding_alone",
            State::Replacing(_) => "replacing",
            State::ReplacingAlone(_) => "replacing_alone",
            State::Reverting(_) => "reverting",
            State::Ending => "ending",
            State::Settling => "settling",
            State::Restoring => "restoring",
            State::Over => "over",
        }
    }
}
