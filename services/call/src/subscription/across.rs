//! What each end says, carried to the other.

use sip::{Dialog, Message, Method, Name};

use super::{Event, Party, State, SubscriptionKey, granted, notified, step};
use crate::core::{Arrival, Core, unsupported};
use crate::headers::{ALLOW, Between, contact, copy_body_headers};
use crate::ids::subscription_of_tag;
use crate::io::{Flow, Now};
use crate::leg::{again_with, via_pieces};
use crate::standalone::copy_across;
use crate::timers::TimerOf;
use crate::wire::{ClientKey, ClientUser, ServerKey};

const MAX_FORWARDS: u8 = 70;

impl Core {
    /// The subscription that a request belongs to, if it comes from where that end is.
    pub(crate) fn subscription_of(
        &self,
        message: &Message<'_>,
        flow: Flow,
    ) -> Option<(SubscriptionKey, Party)> {
        let key = subscription_of_tag(message.to().ok()?.tag()?)?;
        let subscription = self.subscriptions.get(key)?;
        let party = subscription.party_of(message)?;
        let peer = match party {
            Party::Subscriber => subscription.subscriber.reach,
            Party::Notifier => subscription.notifier.as_ref()?.reach,
        };
        let peer = crate::core::Peer { flow: peer.flow, trunk: peer.trunk, snapshot: &subscription.snapshot };
        self.may_send(&peer, flow).then_some((key, party))
    }

    /// A request within the dialog of a subscription.
    pub(crate) fn on_subscription_request(
        &mut self,
        key: SubscriptionKey,
        party: Party,
        arrival: &Arrival<'_>,
    ) {
        let Arrival { flow, message, via, now } = *arrival;
        let server = self.wire.accept(message, via, flow, true, now);
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        if let Some(peer) = subscription.peer_mut(party)
            && (peer.by_flow || peer.flow.remote == flow.remote)
        {
            peer.flow = flow;
        }
        // RFC 6665 §4.4.1: the NOTIFY that overtook the 2xx makes the dialog.
        if let (Party::Notifier, Method::Notify, Some(notifier)) =
            (party, message.method(), &mut subscription.notifier)
            && notifier.dialog.is_none()
            && let Ok(mut dialog) = Dialog::uas(message, notifier.tag.as_bytes())
        {
            dialog.remote_cseq = None;
            dialog.local_cseq = 1;
            notifier.dialog = Some(dialog);
        }
        let Some(dialog) = subscription.dialog_mut(party) else {
            return self.respond(server, 500, Some("No Subscription Yet"), "", &[("Retry-After", b"1")], now);
        };
        if dialog.receive(message).is_err() {
            return self.respond(server, 500, Some("CSeq Out Of Order"), "", &[], now);
        }
        dialog.refresh_target(message);
        if let Some(unsupported) = unsupported(message) {
            return self.respond(server, 420, None, "", &[("Unsupported", &unsupported)], now);
        }
        match (party, message.method()) {
            (Party::Subscriber, Method::Subscribe) => {
                self.carry_in_subscription(key, Party::Notifier, message, server, now);
            }
            (Party::Notifier, Method::Notify) => {
                let (event, left) = notified(message);
                self.step_subscription(key, event, left, now);
                self.carry_in_subscription(key, Party::Subscriber, message, server, now);
            }
            (_, Method::Options) => self.respond(server, 200, None, "", &[("Allow", ALLOW)], now),
            (_, _other) => self.respond(server, 405, None, "", &[("Allow", ALLOW)], now),
        }
        self.look_for_way_to(key, party);
    }

    fn carry_in_subscription(
        &mut self,
        key: SubscriptionKey,
        to: Party,
        message: &Message<'_>,
        server: ServerKey,
        now: Now,
    ) {
        let subscription = self.subscriptions.get_mut(key);
        let flow = subscription.as_ref().and_then(|subscription| subscription.flow_to(to, &self.wire));
        let dialog = subscription.and_then(|subscription| subscription.dialog_mut(to));
        let Some((flow, dialog)) = flow.zip(dialog) else {
            return self.respond(server, 500, Some("No Subscription Yet"), "", &[("Retry-After", b"1")], now);
        };
        let wire = &mut self.wire;
        let user = ClientUser::Subscription(key, server);
        let (client, branch) = wire.prepare(message.method(), user, flow, now);
        let listener = wire.listener(flow.listener);
        let pieces = via_pieces(listener, &branch);
        let mut writer = dialog.request(message.method_text(), None, &pieces[1..], MAX_FORWARDS);
        writer.header("User-Agent", wire.settings.product.as_bytes());
        contact(&mut writer, listener, dialog.secure);
        copy_across(message, &mut writer, listener, Between::default());
        copy_body_headers(message, &mut writer);
        let body = message.body();
        let kind = message.first(Name::ContentType).filter(|_| !body.is_empty());
        let bytes = writer.body(kind, body);
        wire.launch(client, bytes, now);
    }

    /// The target's answer to the SUBSCRIBE that began it, after the subscriber got it.
    pub(crate) fn on_subscribe_answered(
        &mut self,
        key: SubscriptionKey,
        client: ClientKey,
        response: &Message<'_>,
        now: Now,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        if response.status().is_none_or(|status| status >= 300) {
            return self.step_subscription(key, Event::Refused, None, now);
        }
        let request = self.wire.client_request(client);
        if let Some(notifier) = &mut subscription.notifier {
            let made = request
                .as_ref()
                .and_then(|request| Dialog::uac(&Message::parse(request).ok()?, response).ok());
            match (&mut notifier.dialog, made) {
                (Some(dialog), Some(made)) => dialog.local_cseq = dialog.local_cseq.max(made.local_cseq),
                (dialog @ None, made) => *dialog = made,
                (Some(_), None) => {}
            }
        }
        self.grant(key, response, now);
        // Both sides know of it now, and either may have a name for a Contact.
        self.look_for_way_to(key, Party::Subscriber);
        self.look_for_way_to(key, Party::Notifier);
    }

    fn grant(&mut self, key: SubscriptionKey, response: &Message<'_>, now: Now) {
        let granted = granted(response);
        let event = if granted.is_zero() { Event::GivenBack } else { Event::Granted };
        self.step_subscription(key, event, Some(granted), now);
    }

    /// The other end's answer to what was carried to it.
    pub(crate) fn on_subscription_response(
        &mut self,
        key: SubscriptionKey,
        server: ServerKey,
        client: ClientKey,
        response: &Message<'_>,
        now: Now,
    ) {
        let status = response.status().unwrap_or(500);
        if status < 200 {
            return;
        }
        if matches!(status, 401 | 407)
            && self.answer_subscription_challenge(key, server, client, response, now)
        {
            return;
        }
        self.carry_back(server, response, now);
        let method = response.method();
        match status {
            200..300 if method == Method::Subscribe => {
                if let Some(dialog) =
                    self.subscriptions.get_mut(key).and_then(|s| s.dialog_mut(Party::Notifier))
                {
                    dialog.refresh_target(response);
                }
                self.grant(key, response, now);
                self.look_for_way_to(key, Party::Notifier);
            }
            408 | 481 => self.step_subscription(key, Event::Lost, None, now),
            _ if method == Method::Notify => self.step_subscription(key, Event::NotifyAnswered, None, now),
            _ => {}
        }
    }

    /// Whether the request was sent again with the credentials of the trunk that asks for them (RFC 3261 §22): the next of its
    /// dialog, as within calls.
    fn answer_subscription_challenge(
        &mut self,
        key: SubscriptionKey,
        server: ServerKey,
        client: ClientKey,
        response: &Message<'_>,
        now: Now,
    ) -> bool {
        let party = if response.method() == Method::Notify { Party::Subscriber } else { Party::Notifier };
        let Some(subscription) = self.subscriptions.get_mut(key) else { return false };
        let snapshot = subscription.snapshot.clone();
        let trunk = subscription.peer_mut(party).and_then(|peer| snapshot.trunk(peer.trunk?));
        let credentials = trunk.and_then(|trunk| trunk.auth.as_ref());
        let (Some(credentials), Some(old)) = (credentials, self.wire.client_request(client)) else {
            return false;
        };
        let Ok(old) = Message::parse(&old) else { return false };
        let Some(auth) = subscription.auth_mut(party) else { return false };
        let Some(answers) = auth.answer(response, credentials, &old, &mut self.wire) else { return false };
        let Some((flow, dialog)) = self.wire.client_flow(client).zip(subscription.dialog_mut(party)) else {
            return false;
        };
        let cseq = dialog.local_cseq.saturating_add(1);
        let user = ClientUser::Subscription(key, server);
        let (next, branch) = self.wire.prepare(old.method(), user, flow, now);
        let listener = self.wire.listener(flow.listener);
        let Some(bytes) = again_with(&old, listener, &branch, cseq, &answers, old.body()) else {
            self.wire.abandon(next);
            return false;
        };
        dialog.local_cseq = cseq;
        self.wire.launch(next, bytes, now);
        true
    }

    /// Timer F: a NOTIFY that nobody answers ends the subscription (RFC 6665 §4.2.2), a refresh only fails (§4.1.2.2).
    pub(crate) fn on_subscription_unanswered(
        &mut self,
        key: SubscriptionKey,
        server: ServerKey,
        request: &[u8],
        now: Now,
    ) {
        self.wire.forget_server(server);
        if Message::parse(request).is_ok_and(|request| request.method() == Method::Notify) {
            self.step_subscription(key, Event::Lost, None, now);
        }
    }

    /// Its time is over, and with it the grace in which the last NOTIFY could have come.
    pub(crate) fn on_subscription_timeout(&mut self, key: SubscriptionKey, now: Now) {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.armed = None;
        }
        self.step_subscription(key, Event::Expired, None, now);
    }

    /// `left`: how long it lasts from now on, when that was said.
    fn step_subscription(
        &mut self,
        key: SubscriptionKey,
        event: Event,
        left: Option<std::time::Duration>,
        now: Now,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let before = subscription.state;
        subscription.state = step(before, event);
        // The last NOTIFY may take its time (Timer N, RFC 6665 §4.1.2.4).
        let grace = now.time + self.wire.settings.timing.t1 * 64;
        match subscription.state {
            State::Over => return self.drop_subscription(key),
            State::Active => subscription.deadline = left.map_or(subscription.deadline, |left| grace + left),
            State::Ending | State::Closing if before != subscription.state => subscription.deadline = grace,
            State::Asked | State::Early | State::Ending | State::Closing => {}
        }
        self.arm_subscription(key);
    }

    pub(crate) fn arm_subscription(&mut self, key: SubscriptionKey) {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            let deadline = Some(subscription.deadline);
            self.wire.timers.set(TimerOf::Subscription(key), &mut subscription.armed, deadline);
        }
    }

    pub(crate) fn drop_subscription(&mut self, key: SubscriptionKey) {
        if let Some(mut subscription) = self.subscriptions.remove(key) {
            self.wire.timers.set(TimerOf::Subscription(key), &mut subscription.armed, None);
            subscription.queries().for_each(|query| self.queries.forget(query));
        }
    }
}
