//! From the asker: who may send a request across, and the question where it goes.

use routing::Decision;
use sip::{Dialog, Method, Scheme, Uri};

use super::{Standalone, StandaloneKey, State};
use crate::bodies::{ANYTHING_ELSE, shows_addresses};
use crate::core::{Arrival, Core, Sender};
use crate::io::{Now, Output, RouteQuery};
use crate::registrar::is_configured;
use crate::subscription::{Subscription, SubscriptionKey};

impl Core {
    /// A request outside calls that the policy lets cross (RFC 3261 §8.2 in its order).
    pub(crate) fn on_standalone(&mut self, arrival: &Arrival<'_>, sender: Sender) {
        let message = arrival.message;
        let Some(trunk) = self.known_source(arrival, sender) else { return };
        if let Some(refusal) = self.header_fault(arrival, trunk) {
            return self.refuse(arrival, &refusal);
        }
        // A description would show the other side addresses that no relay stands in front of.
        if shows_addresses(message) {
            return self.stateless(
                arrival,
                415,
                Some("No Session To Describe"),
                &[("Accept", ANYTHING_ELSE), ("Accept-Encoding", b"identity")],
            );
        }
        let most = self.wire.settings.max_calls;
        if self.draining || self.standalones.len() >= most || self.subscriptions.len() >= most {
            self.refused(
                arrival,
                503,
                if self.draining { "draining" } else { "as many requests as allowed" },
            );
            return self.stateless(arrival, 503, None, &[("Retry-After", b"10")]);
        }
        let made = (message.method() == Method::Subscribe).then(|| self.subscribe(arrival, trunk));
        let subscription = match made.transpose() {
            Ok(subscription) => subscription,
            Err(fault) => return self.stateless(arrival, fault.status(), Some(&fault.phrase()), &[]),
        };
        let key = self.begin_standalone(arrival, subscription);
        self.ask_where(key, arrival, trunk);
        self.arm_standalone(key);
    }

    fn subscribe(
        &mut self,
        arrival: &Arrival<'_>,
        trunk: Option<routing::TrunkId>,
    ) -> Result<SubscriptionKey, sip::Fault> {
        let Arrival { flow, message, now, .. } = *arrival;
        let (ids, timing) = (&mut self.wire.ids, self.wire.settings.timing);
        let snapshot = self.snapshot.clone();
        let key = self.subscriptions.try_insert_with_key(|key| {
            let tag = ids.subscription_tag(key);
            let dialog = Dialog::uas(message, tag.as_bytes())?;
            Ok(Subscription::asked(dialog, flow, trunk, snapshot, now.time + timing.t1 * 64))
        })?;
        self.arm_subscription(key);
        Ok(key)
    }

    fn begin_standalone(
        &mut self,
        arrival: &Arrival<'_>,
        subscription: Option<SubscriptionKey>,
    ) -> StandaloneKey {
        let Arrival { flow, message, via, now } = *arrival;
        let server = self.wire.accept(message, via, flow, true, now);
        let tag = match subscription.and_then(|key| self.subscriptions.get(key)) {
            Some(subscription) => String::from_utf8_lossy(&subscription.subscriber.dialog.local_tag).into(),
            None => format!("{:016x}", self.wire.ids.random()).into(),
        };
        self.standalones.insert(Standalone {
            // Replaced at once; a question that was never asked is never answered.
            state: State::Routing { query: crate::io::QueryId(0) },
            server,
            tag,
            snapshot: self.snapshot.clone(),
            targets: Default::default(),
            current: None,
            failover: Default::default(),
            last_failure: 0,
            auth: Default::default(),
            subscription,
            deadline: now.time + self.wire.settings.timing.t1 * 64,
            armed: None,
        })
    }

    fn ask_where(&mut self, key: StandaloneKey, arrival: &Arrival<'_>, trunk: Option<routing::TrunkId>) {
        let Arrival { flow, message, now, .. } = *arrival;
        let query = self.queries.ask(key);
        let Some(request) = self.standalones.get_mut(key) else { return };
        request.state = State::Routing { query };
        let uri = message.request_uri().unwrap_or_default();
        let called = Uri::parse(uri)
            .map(|uri| String::from_utf8_lossy(&uri.unescaped_user()).into_owned())
            .unwrap_or_default();
        let local_user = is_configured(&self.wire.settings.registrar, &called)
            || self.registrar.is_registered(&called, now);
        let caller = message.from().map_or(&b""[..], |from| from.uri);
        self.wire.outputs.push_back(Output::Route(Box::new(RouteQuery {
            query,
            call: None,
            transfer: false,
            snapshot: request.snapshot.clone(),
            trunk,
            source: flow.remote,
            caller: String::from_utf8_lossy(caller).into(),
            uri: String::from_utf8_lossy(uri).into(),
            local_user,
        })));
    }

    /// Routing answered.
    pub(crate) fn on_standalone_routed(&mut self, key: StandaloneKey, decision: Decision, now: Now) {
        let Some(request) = self.standalones.get(key) else { return };
        let snapshot = request.snapshot.clone();
        match decision {
            Decision::Route(plan) => {
                let Some(bytes) = self.wire.server_request(request.server) else {
                    return self.drop_standalone(key);
                };
                let Ok(message) = sip::Message::parse(&bytes) else { return };
                let targets = self.candidates_for(&message, None, &snapshot, &plan, now).places;
                let Some(request) = self.standalones.get_mut(key) else { return };
                request.targets = targets;
                request.failover = plan.failover;
                self.next_standalone_target(key, now);
            }
            Decision::Refuse(refusal) => {
                self.refuse_standalone(key, refusal.status, refusal.phrase.as_deref(), now);
            }
        }
    }

    /// OPTIONS to the box and not through it: to no user, or to the one that its own Contact names.
    pub(crate) fn is_for_the_box(arrival: &Arrival<'_>) -> bool {
        let uri = arrival.message.request_uri().and_then(|uri| Uri::parse(uri).ok());
        uri.is_some_and(|uri| match uri.scheme {
            Scheme::Sip | Scheme::Sips => uri.user.is_none_or(|user| user == b"drawbridge"),
            Scheme::Tel | Scheme::Other => false,
        })
    }
}
