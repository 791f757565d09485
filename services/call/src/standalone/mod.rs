//! Requests outside calls that cross the box: MESSAGE, PUBLISH, OPTIONS, INFO, NOTIFY and the SUBSCRIBE that makes a
//! subscription.
//!
//! Each is a transaction on either side, joined here: routed as a call would be, sent with ids of its own, tried at the
//! next target where a failure says that nothing was delivered, answered with what the target said. Everything must be
//! over when the asker's own Timer F is (RFC 4320): one deadline from the start bounds it, and past it the box is silent
//! for ever. There is no record; a request outside calls is no call.
//!
//! ```text
//!   Routing ──targets──▶ Resolving ──address──▶ Sent ──final──▶ answered, forgotten
//!      │ refused            ▲   │ none left        │
//!      ▼                    └───┴── next target ───┘        any ──64·T1──▶ forgotten in silence
//!   answered
//! ```

#![deny(clippy::wildcard_enum_match_arm)]

mod arrival;
mod target;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use routing::{Redirect, Snapshot, TrunkId};
use sip::{Message, Method, Name, Time, Writer};
use slotmap::{SlotMap, new_key_type};

use crate::bodies::shows_addresses;
use crate::bridge::{Candidate, Reach};
use crate::core::Core;
use crate::headers::{ALLOW, Between, contact, copy_body_headers, copy_some, crosses, is_sips};
use crate::io::QueryId;
use crate::leg::AuthTries;
use crate::settings::Listener;
use crate::subscription::{self, SubscriptionKey, write_expires};
use crate::wire::{ClientKey, ServerKey, Wire};

new_key_type! {
    /// A request outside calls on its way across.
    pub(crate) struct StandaloneKey;
}

/// All that are on their way.
pub(crate) type Standalones = SlotMap<StandaloneKey, Standalone>;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Routing was asked where it goes.
    Routing { query: QueryId },
    /// The current target's address is being found.
    Resolving { query: QueryId },
    /// The current target has it.
    Sent { client: ClientKey },
}

/// One request.
pub(crate) struct Standalone {
    pub(crate) state: State,
    /// Where the asker waits. Its transaction keeps the request.
    pub(crate) server: ServerKey,
    /// The To-tag of whatever is answered.
    pub(crate) tag: Box<str>,
    /// The configuration it began with.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) targets: VecDeque<Candidate>,
    pub(crate) current: Option<Candidate>,
    pub(crate) failover: Arc<[u16]>,
    /// What the last target that failed said.
    pub(crate) last_failure: u16,
    pub(crate) auth: AuthTries,
    /// Of a SUBSCRIBE: what it will make.
    pub(crate) subscription: Option<SubscriptionKey>,
    pub(crate) deadline: Time,
    pub(crate) armed: Option<Time>,
}

impl Standalone {
    /// What a challenge of the current target is answered with.
    fn trunk(&self) -> Option<TrunkId> {
        self.current.as_ref()?.trunk
    }

    /// What a 3xx of the current target comes to for the asker: the same as that of a call which names no place to go on at,
    /// since the box sends nothing but calls on.
    fn status_of_redirect(&self, status: u16) -> u16 {
        match self.trunk().and_then(|trunk| self.snapshot.trunk(trunk)).map(|trunk| trunk.redirect) {
            Some(Redirect::Follow) => 502,
            // Where a phone sends others on to is its own address book.
            None if matches!(
                &self.current,
                Some(Candidate { reach: Reach::Flow { registered: true, .. }, .. })
            ) =>
            {
                480
            }
            Some(Redirect::Pass) | None => status,
        }
    }
}

/// What the box does with a request of this method that belongs to no dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// It crosses.
    Carry,
    /// It only makes sense within a dialog: 481.
    NeedsDialog,
    /// 405.
    Refuse,
    /// Nobody here knows it: 501 (RFC 3261 §8.2.1).
    Unknown,
}

/// See [`Policy`]. INVITE and REGISTER are the box's own business and never asked about.
pub(crate) fn policy(method: Method) -> Policy {
    match method {
        Method::Message
        | Method::Subscribe
        | Method::Publish
        | Method::Notify
        | Method::Options
        | Method::Info => Policy::Carry,
        Method::Bye | Method::Prack | Method::Update => Policy::NeedsDialog,
        Method::Invite | Method::Ack | Method::Cancel | Method::Register | Method::Refer => Policy::Refuse,
        Method::Unknown => Policy::Unknown,
    }
}

/// Copies what crosses of a request or response outside calls: besides what always does, what the two ends have to tell
/// each other of bodies and events that the box does not look into.
pub(crate) fn copy_across(from: &Message<'_>, to: &mut Writer, listener: &Listener, between: Between) {
    let between_ends =
        |name| matches!(name, Name::Accept | Name::AcceptEncoding | Name::AllowEvents | Name::MinExpires);
    if from.method() == Method::Subscribe {
        let is_wanted = |name| name != Name::Expires && (crosses(name) || between_ends(name));
        copy_some(from, to, listener, between, is_wanted);
        write_expires(from, to);
    } else {
        copy_some(from, to, listener, between, |name| crosses(name) || between_ends(name));
    }
}

impl Wire {
    /// Whether the request of a server transaction was to a `sips` URI.
    fn was_asked_securely(&self, server: ServerKey) -> bool {
        let request = self.server_request(server);
        let uri = |request: &Bytes| Some(is_sips(Message::parse(request).ok()?.request_uri()?));
        request.as_ref().and_then(uri) == Some(true)
    }

    /// The 3xx of a trunk whose redirections are the asker's to follow (RFC 3261 §8.1.3.4), with where it points.
    fn redirect_across(&self, server: ServerKey, tag: &str, response: &Message<'_>) -> Option<Bytes> {
        let mut writer =
            self.response(server, response.status()?, Some(response.reason_phrase()), Some(tag))?;
        response.values(Name::Contact).for_each(|value| {
            writer.header("Contact", value);
        });
        Some(writer.finish())
    }

    /// The answer of the other side to a request that was carried across, for who asked.
    pub(crate) fn answer_across(
        &self,
        server: ServerKey,
        tag: Option<&str>,
        response: &Message<'_>,
    ) -> Option<Bytes> {
        let status = response.status()?;
        let mut writer = self.response(server, status, Some(response.reason_phrase()), tag)?;
        let listener = self.listener(self.server_flow(server)?.listener);
        if (200..300).contains(&status) {
            match response.method() {
                Method::Subscribe => contact(&mut writer, listener, self.was_asked_securely(server)),
                // What may be sent is between the asker and the box.
                Method::Options => drop(writer.header("Allow", ALLOW)),
                Method::Invite
                | Method::Ack
                | Method::Bye
                | Method::Cancel
                | Method::Register
                | Method::Prack
                | Method::Update
                | Method::Info
                | Method::Message
                | Method::Notify
                | Method::Refer
                | Method::Publish
                | Method::Unknown => {}
            }
        }
        copy_across(response, &mut writer, listener, Between::default());
        // The description in an answer to OPTIONS names addresses behind the box.
        if response.body().is_empty() || shows_addresses(response) {
            return Some(writer.finish());
        }
        copy_body_headers(response, &mut writer);
        Some(writer.body(response.first(Name::ContentType), response.body()))
    }
}

impl Core {
    /// The part of [`Core::check_invariants`] that is about requests outside calls and subscriptions.
    pub(crate) fn check_requests(&self) -> Result<(), String> {
        for (key, request) in &self.standalones {
            if !self.wire.is_open(request.server) {
                return Err(format!("request {key:?} ({:?}) is carried for nobody", request.state));
            }
            if request.armed != Some(request.deadline) {
                return Err(format!("request {key:?} ({:?}): its deadline is not armed", request.state));
            }
        }
        for (key, subscription) in &self.subscriptions {
            if subscription.state == subscription::State::Over {
                return Err(format!("subscription {key:?} is over and still here"));
            }
            if subscription.armed != Some(subscription.deadline) {
                return Err(format!(
                    "subscription {key:?} ({:?}): its deadline is not armed",
                    subscription.state
                ));
            }
            let asked = self.standalones.values().any(|request| request.subscription == Some(key));
            if subscription.state == subscription::State::Asked && !asked {
                return Err(format!("subscription {key:?} waits for a SUBSCRIBE that nobody carries"));
            }
        }
        Ok(())
    }
}
