//! Subscriptions outside calls (RFC 6665): a dialog with the subscriber and another with the notifier, joined here.
//!
//! SUBSCRIBE crosses one way and NOTIFY the other, each with the ids of its own dialog; bodies and events are between the
//! two ends. A NOTIFY may be faster than the 2xx of the SUBSCRIBE that it belongs to, and then makes the dialog (§4.4.1);
//! a second notifier that a proxy forked to finds the place taken and gets 481. Whatever the ends forget, a subscription
//! lasts no longer than what was granted.
//!
//! ```text
//!   Asked ──2xx──▶ Active ──2xx to Expires: 0──▶ Ending ──last NOTIFY──▶ Closing ──answered──▶ Over
//!     │ NOTIFY       ▲ │                            ▲                        ▲
//!     ▼              │ └──── NOTIFY "terminated" ───┼────────────────────────┤
//!   Early ───2xx─────┘            2xx of a fetch ───┘   (from every state) ──┘
//!
//!   refused, 481 or no answer within the dialog, expired: Over, from every state
//! ```

#![deny(clippy::wildcard_enum_match_arm)]

mod across;

use std::sync::Arc;
use std::time::Duration;

use routing::{Snapshot, TrunkId};
use sip::{Dialog, Message, Name, Time, Writer};
use slotmap::{SlotMap, new_key_type};

use crate::bridge::{Candidate, Reach};
use crate::io::{Flow, QueryId};
use crate::leg::{AuthTries, UnknownWay, Way, by_way, unknown_way};
use crate::wire::Wire;

new_key_type! {
    /// A subscription.
    pub(crate) struct SubscriptionKey;
}

/// All of them.
pub(crate) type Subscriptions = SlotMap<SubscriptionKey, Subscription>;

/// Nothing is granted for longer; who wants more refreshes.
const MAX_LIFETIME: u32 = 7200;
/// When a 2xx says nothing of it, which it must (RFC 6665 §4.2.1.1).
const DEFAULT_LIFETIME: u32 = 3600;

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// The SUBSCRIBE is on its way.
    Asked,
    /// A NOTIFY came before the 2xx.
    Early,
    /// Granted.
    Active,
    /// Given back, or asked for one NOTIFY only: that one is awaited.
    Ending,
    /// The last NOTIFY is with the subscriber.
    Closing,
    /// Nothing is left but to forget it.
    Over,
}

/// What happened to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// 2xx to a SUBSCRIBE, the first or one that refreshes.
    Granted,
    /// The same with Expires: 0.
    GivenBack,
    /// The first SUBSCRIBE failed.
    Refused,
    /// NOTIFY.
    Notified,
    /// NOTIFY that says `terminated`.
    LastNotify,
    /// The subscriber answered a NOTIFY.
    NotifyAnswered,
    /// One end does not know the dialog, or does not answer within it.
    Lost,
    /// Its time is over.
    Expired,
}

/// One step of a subscription.
pub(crate) fn step(state: State, event: Event) -> State {
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Asked | S::Early | S::Active, E::Granted) => S::Active,
        (S::Asked | S::Early | S::Active, E::GivenBack) => S::Ending,
        (S::Asked, E::Notified) => S::Early,
        (S::Asked | S::Early | S::Active | S::Ending | S::Closing, E::LastNotify) => S::Closing,
        (S::Closing, E::NotifyAnswered) => S::Over,
        (S::Early | S::Active | S::Ending | S::Closing, E::Notified)
        | (S::Ending | S::Closing, E::Granted | E::GivenBack)
        | (S::Asked | S::Early | S::Active | S::Ending, E::NotifyAnswered) => state,
        (S::Asked | S::Early | S::Active | S::Ending | S::Closing, E::Refused | E::Lost | E::Expired) => {
            S::Over
        }
        (
            S::Over,
            E::Granted
            | E::GivenBack
            | E::Refused
            | E::Notified
            | E::LastNotify
            | E::NotifyAnswered
            | E::Lost
            | E::Expired,
        ) => S::Over,
    }
}

/// One subscription.
pub(crate) struct Subscription {
    pub(crate) state: State,
    pub(crate) subscriber: End,
    /// Since the SUBSCRIBE left.
    pub(crate) notifier: Option<Box<Notifier>>,
    /// The configuration it began with.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) deadline: Time,
    pub(crate) armed: Option<Time>,
    /// To the ends whose route or Contact is a name.
    ways: [Option<Box<Way>>; 2],
    /// What each end was shown of who asks.
    auth: [AuthTries; 2],
}

/// The side that sends SUBSCRIBE.
pub(crate) struct End {
    pub(crate) dialog: Dialog,
    pub(crate) reach: Peer,
}

/// The side that sends NOTIFY. Its dialog is made by its 2xx or its first NOTIFY, whichever comes first.
pub(crate) struct Notifier {
    pub(crate) dialog: Option<Dialog>,
    pub(crate) call_id: Box<str>,
    pub(crate) tag: Box<str>,
    pub(crate) reach: Peer,
}

/// Where one side is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) flow: Flow,
    pub(crate) trunk: Option<TrunkId>,
    /// A phone of ours: its flow is the only way to it.
    pub(crate) by_flow: bool,
}

impl Peer {
    /// Whether requests go where the last one came from, whatever the dialog says (RFC 5626 §5.3).
    pub(crate) fn is_by_flow(&self, wire: &Wire) -> bool {
        let stream = wire.listener(self.flow.listener).transport.is_reliable();
        self.by_flow || (stream && self.flow.connection != 0)
    }
}

/// Which of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Subscriber,
    Notifier,
}

impl Subscription {
    /// A SUBSCRIBE came that made this dialog.
    pub(crate) fn asked(
        dialog: Dialog,
        flow: Flow,
        trunk: Option<TrunkId>,
        snapshot: Arc<Snapshot>,
        deadline: Time,
    ) -> Subscription {
        let reach = Peer { flow, trunk, by_flow: trunk.is_none() };
        Subscription {
            state: State::Asked,
            subscriber: End { dialog, reach },
            notifier: None,
            snapshot,
            deadline,
            armed: None,
            ways: [None, None],
            auth: [AuthTries::default(), AuthTries::default()],
        }
    }

    /// The SUBSCRIBE left for a target with these ids. One that was sent elsewhere before is no more.
    pub(crate) fn sent(&mut self, call_id: Box<str>, tag: Box<str>, flow: Flow, target: &Candidate) {
        let by_flow = matches!(target.reach, Reach::Flow { registered: true, .. });
        let reach = Peer { flow, trunk: target.trunk, by_flow };
        self.notifier = Some(Box::new(Notifier { dialog: None, call_id, tag, reach }));
    }

    /// Whose request this is by its ids (RFC 3261 §12.2.2), if of one of the two.
    pub(crate) fn party_of(&self, request: &Message<'_>) -> Option<Party> {
        let (to, from) = (request.to().ok()?.tag()?, request.from().ok()?.tag().unwrap_or_default());
        let call_id = request.call_id().ok()?;
        if self.subscriber.dialog.matches(call_id, to, from) {
            return Some(Party::Subscriber);
        }
        let notifier = self.notifier.as_ref()?;
        let ours = notifier.call_id.as_bytes() == call_id && notifier.tag.as_bytes() == to;
        // The first notifier that speaks has the dialog; another fork finds none.
        let theirs = notifier.dialog.as_ref().is_none_or(|dialog| *dialog.remote_tag == *from);
        (ours && theirs).then_some(Party::Notifier)
    }

    pub(crate) fn peer_mut(&mut self, party: Party) -> Option<&mut Peer> {
        match party {
            Party::Subscriber => Some(&mut self.subscriber.reach),
            Party::Notifier => self.notifier.as_mut().map(|notifier| &mut notifier.reach),
        }
    }

    pub(crate) fn dialog_mut(&mut self, party: Party) -> Option<&mut Dialog> {
        match party {
            Party::Subscriber => Some(&mut self.subscriber.dialog),
            Party::Notifier => self.notifier.as_mut()?.dialog.as_mut(),
        }
    }

    /// The name in the dialog of one end that is to be looked up, with the URI that has it.
    pub(crate) fn unknown_way(&self, party: Party, wire: &Wire) -> Option<(Box<[u8]>, UnknownWay)> {
        let (dialog, reach) = self.end(party)?;
        if reach.is_by_flow(wire) {
            return None;
        }
        let unknown = unknown_way(dialog, reach.flow, self.way(party), wire)?;
        Some((dialog.next_hop().into(), unknown))
    }

    /// Where requests to this end go: see [`Leg::request_flow`](crate::leg::Leg).
    pub(crate) fn flow_to(&self, party: Party, wire: &Wire) -> Option<Flow> {
        let (dialog, reach) = self.end(party)?;
        Some(if reach.is_by_flow(wire) {
            reach.flow
        } else {
            by_way(dialog, reach.flow, self.way(party), wire)
        })
    }

    fn end(&self, party: Party) -> Option<(&Dialog, Peer)> {
        match party {
            Party::Subscriber => Some((&self.subscriber.dialog, self.subscriber.reach)),
            Party::Notifier => {
                let notifier = self.notifier.as_ref()?;
                Some((notifier.dialog.as_ref()?, notifier.reach))
            }
        }
    }

    /// What is known of the name in the dialog of one end.
    fn way(&self, party: Party) -> Option<&Way> {
        self.ways.get(party as usize)?.as_deref()
    }

    pub(crate) fn way_mut(&mut self, party: Party) -> Option<&mut Way> {
        self.ways.get_mut(party as usize)?.as_deref_mut()
    }

    /// The challenges of one end.
    pub(crate) fn auth_mut(&mut self, party: Party) -> Option<&mut AuthTries> {
        self.auth.get_mut(party as usize)
    }

    /// A look-up has begun; the one that it takes the place of.
    pub(crate) fn await_way(&mut self, party: Party, way: Way) -> Option<QueryId> {
        self.ways.get_mut(party as usize)?.replace(Box::new(way))?.query()
    }

    /// What was asked and not answered.
    pub(crate) fn queries(&self) -> impl Iterator<Item = QueryId> + '_ {
        self.ways.iter().flatten().filter_map(|way| way.query())
    }

    /// A stream is gone; what is still to be sent opens another.
    pub(crate) fn on_closed(&mut self, connection: u64) {
        for party in [Party::Subscriber, Party::Notifier] {
            if let Some(peer) = self.peer_mut(party)
                && peer.flow.connection == connection
                && !peer.by_flow
            {
                peer.flow.connection = 0;
            }
        }
    }
}

/// How long a 2xx grants.
pub(crate) fn granted(response: &Message<'_>) -> Duration {
    let seconds = response.first(Name::Expires).map_or(DEFAULT_LIFETIME, seconds);
    Duration::from_secs(u64::from(seconds.min(MAX_LIFETIME)))
}

/// Expires of a SUBSCRIBE or its 2xx, no longer than the box keeps a subscription.
pub(crate) fn write_expires(from: &Message<'_>, to: &mut Writer) {
    if let Some(value) = from.first(Name::Expires) {
        to.number("Expires", u64::from(seconds(value).min(MAX_LIFETIME)));
    }
}

/// What cannot be read is taken for the default.
fn seconds(value: &[u8]) -> u32 {
    std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_LIFETIME)
}

/// What a NOTIFY says of the subscription: whether it is the last, and how long the rest lasts.
pub(crate) fn notified(notify: &Message<'_>) -> (Event, Option<Duration>) {
    let state = notify.first(Name::SubscriptionState).unwrap_or_default();
    let mut pieces = state.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    if pieces.next().is_some_and(|state| state.eq_ignore_ascii_case(b"terminated")) {
        return (Event::LastNotify, None);
    }
    let left = pieces.find_map(|piece| {
        let (name, value) = piece.split_at_checked(8)?;
        name.eq_ignore_ascii_case(b"expires=").then(|| seconds(value))
    });
    (Event::Notified, left.map(|left| Duration::from_secs(u64::from(left.min(MAX_LIFETIME)))))
}
