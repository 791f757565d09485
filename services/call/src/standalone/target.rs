//! Towards the target: sending a request with ids of the box, and what its answer, silence or failure means.

use sip::{Message, Method, Name, Writer};

use super::{Standalone, StandaloneKey, State, copy_across};
use crate::bridge::{Candidate, Reach, drop_alternatives};
use crate::core::Core;
use crate::headers::{Between, advertised_host, contact, copy_body_headers, is_sips};
use crate::io::{EventKind, Flow, NextHop, Now, Output};
use crate::leg::{again_with, from_header, via};
use crate::timers::TimerOf;
use crate::wire::{ClientKey, ClientUser};

/// When nothing was said of why the last target failed.
const UNAVAILABLE: u16 = 480;
const BAD_GATEWAY: u16 = 502;

impl Core {
    pub(super) fn next_standalone_target(&mut self, key: StandaloneKey, now: Now) {
        let Some(request) = self.standalones.get_mut(key) else { return };
        let Some(candidate) = request.targets.pop_front() else {
            let status = if request.last_failure == 0 { UNAVAILABLE } else { request.last_failure };
            return self.refuse_standalone(key, status, None, now);
        };
        let reach = candidate.reach.clone();
        request.current = Some(candidate);
        match reach {
            Reach::Flow { flow, .. } => self.send_standalone(key, flow, now),
            Reach::Name { host, port, transport, secure } => {
                let query = self.queries.ask(key);
                request.state = State::Resolving { query };
                let draw = self.wire.ids.random();
                let question = Output::Resolve { query, host, port, transport, secure, draw };
                self.wire.outputs.push_back(question);
            }
        }
    }

    /// The name of the current target stands for these servers.
    pub(crate) fn on_standalone_resolved(
        &mut self,
        key: StandaloneKey,
        hops: &[NextHop],
        note: Option<Box<str>>,
        now: Now,
    ) {
        let Some(request) = self.standalones.get(key) else { return };
        let Some(named) = request.current.clone() else { return };
        let snapshot = request.snapshot.clone();
        if let Some(note) = note {
            self.wire.event(None, EventKind::Warning { what: note.into() });
        }
        let mut flows = self.at_servers(None, &named, hops, &snapshot);
        let Some(request) = self.standalones.get_mut(key) else { return };
        if flows.is_empty() {
            request.last_failure = 503;
        }
        while let Some(candidate) = flows.pop_back() {
            request.targets.push_front(candidate);
        }
        self.next_standalone_target(key, now);
    }

    fn send_standalone(&mut self, key: StandaloneKey, flow: Flow, now: Now) {
        let Some(request) = self.standalones.get_mut(key) else { return };
        // The asker's transaction is over: whatever would come back is too late.
        let Some(bytes) = self.wire.server_request(request.server) else { return self.drop_standalone(key) };
        let (Ok(source), Some(target)) = (Message::parse(&bytes), request.current.as_ref()) else { return };
        let call_id = self.wire.ids.call_id();
        let tag = match request.subscription {
            Some(subscription) => self.wire.ids.subscription_tag(subscription),
            None => format!("{:016x}", self.wire.ids.random()).into(),
        };
        let asker = self.wire.server_flow(request.server);
        let between = Between {
            said_by_phone: asker
                .is_some_and(|asker| !asker.is_inner() && request.snapshot.trunk_of(asker.remote).is_none()),
            heard_by_phone: target.trunk.is_none() && !flow.is_inner(),
        };
        let user = ClientUser::Standalone(key);
        let (client, branch) = self.wire.prepare(source.method(), user, flow, now);
        let listener = self.wire.listener(flow.listener);
        let mut writer = Writer::request(source.method_text(), &target.uri);
        via(&mut writer, listener, &branch);
        let hops = source.max_forwards().ok().flatten().unwrap_or(70).saturating_sub(1);
        writer.number("Max-Forwards", u64::from(hops));
        from_header(&mut writer, &source, advertised_host(listener).as_bytes(), &tag);
        writer.parts("To", &[b"<", &target.to, b">"]);
        writer.header("Call-ID", call_id.as_bytes());
        writer.parts("CSeq", &[b"1 ", source.method_text()]);
        writer.header("User-Agent", self.wire.settings.product.as_bytes());
        // Those that make or belong to a dialog; a MESSAGE must not have one (RFC 3428 §4).
        if matches!(source.method(), Method::Subscribe | Method::Notify) {
            contact(&mut writer, listener, is_sips(&target.uri));
        }
        copy_across(&source, &mut writer, listener, between);
        copy_body_headers(&source, &mut writer);
        let body = source.body();
        let kind = source.first(Name::ContentType).filter(|_| !body.is_empty());
        let bytes = writer.body(kind, body);
        request.state = State::Sent { client };
        if let Some(subscription) = request.subscription.and_then(|key| self.subscriptions.get_mut(key)) {
            subscription.sent(call_id, tag, flow, target);
        }
        self.wire.launch(client, bytes, now);
    }

    /// A final response of the target; a provisional one says nothing (RFC 4320 §4.1).
    pub(crate) fn on_standalone_response(
        &mut self,
        key: StandaloneKey,
        client: ClientKey,
        response: &Message<'_>,
        now: Now,
    ) {
        let status = response.status().unwrap_or(500);
        let Some(request) = self.standalones.get_mut(key) else { return };
        if status < 200 || request.state != (State::Sent { client }) {
            return;
        }
        if matches!(status, 401 | 407) && self.answer_standalone_challenge(key, client, response, now) {
            return;
        }
        let Some(request) = self.standalones.get_mut(key) else { return };
        // The challenge of a peer is this box's business; nobody else can answer it.
        let status = match status {
            401 | 407 => BAD_GATEWAY,
            300..=399 => request.status_of_redirect(status),
            _ => status,
        };
        // RFC 3263 §4.3: 503 is of this server, everything else of all that its name stands for.
        let is_elsewhere = status == 503 && request.targets.front().is_some_and(|next| next.is_alternative);
        if status != 503
            && let Some(line) = request.current.as_ref().map(Candidate::line)
        {
            drop_alternatives(&mut request.targets, line);
        }
        let goes_on = !request.targets.is_empty() && request.failover.contains(&status);
        if status >= 300 && (is_elsewhere || goes_on) {
            request.last_failure = status;
            return self.next_standalone_target(key, now);
        }
        if response.status() != Some(status) {
            return self.refuse_standalone(key, status, None, now);
        }
        self.answer_standalone(key, client, response, now);
    }

    fn answer_standalone(&mut self, key: StandaloneKey, client: ClientKey, response: &Message<'_>, now: Now) {
        let Some(request) = self.standalones.get(key) else { return };
        let (server, tag, subscription) = (request.server, request.tag.clone(), request.subscription);
        let status = response.status().unwrap_or(500);
        // 408 is never sent for anything but INVITE (RFC 4320 §4.2).
        if status == 408 {
            self.wire.forget_server(server);
            return self.drop_standalone(key);
        }
        let bytes = match status {
            300..=399 => self.wire.redirect_across(server, &tag, response),
            _ => self.wire.answer_across(server, Some(&tag), response),
        };
        if let Some(bytes) = bytes {
            self.wire.respond(server, status, bytes, now);
        }
        if let Some(subscription) = subscription {
            self.on_subscribe_answered(subscription, client, response, now);
        }
        if let Some(request) = self.standalones.get_mut(key) {
            request.subscription = None;
        }
        self.drop_standalone(key);
    }

    /// Whether the request was sent again with credentials.
    fn answer_standalone_challenge(
        &mut self,
        key: StandaloneKey,
        client: ClientKey,
        response: &Message<'_>,
        now: Now,
    ) -> bool {
        let Some(request) = self.standalones.get_mut(key) else { return false };
        let snapshot = request.snapshot.clone();
        let credentials = request.trunk().and_then(|trunk| snapshot.trunk(trunk)?.auth.as_ref());
        let (Some(credentials), Some(old)) = (credentials, self.wire.client_request(client)) else {
            return false;
        };
        let Ok(old) = Message::parse(&old) else { return false };
        let Some(answer) = request.auth.answer(response, credentials, &old, &mut self.wire) else {
            return false;
        };
        let Some(flow) = self.wire.client_flow(client) else { return false };
        let cseq = old.cseq().map_or(1, |cseq| cseq.number).saturating_add(1);
        let (next, branch) = self.wire.prepare(old.method(), ClientUser::Standalone(key), flow, now);
        let listener = self.wire.listener(flow.listener);
        let Some(bytes) = again_with(&old, listener, &branch, cseq, &answer, old.body()) else {
            self.wire.abandon(next);
            return false;
        };
        request.state = State::Sent { client: next };
        self.wire.launch(next, bytes, now);
        true
    }

    /// Nothing will come of the target: `failed` where the request never left, else it may have been delivered and is not
    /// sent to anybody else.
    pub(crate) fn on_standalone_unanswered(&mut self, key: StandaloneKey, failed: bool, now: Now) {
        let Some(request) = self.standalones.get_mut(key) else { return };
        if failed {
            request.last_failure = 503;
            return self.next_standalone_target(key, now);
        }
        self.wire.forget_server(request.server);
        self.drop_standalone(key);
    }

    /// The asker's time is over.
    pub(crate) fn on_standalone_timeout(&mut self, key: StandaloneKey) {
        let Some(request) = self.standalones.get_mut(key) else { return };
        request.armed = None;
        self.wire.forget_server(request.server);
        self.drop_standalone(key);
    }

    /// `phrase`: other words than the usual ones.
    pub(super) fn refuse_standalone(
        &mut self,
        key: StandaloneKey,
        status: u16,
        phrase: Option<&str>,
        now: Now,
    ) {
        let Some(request) = self.standalones.get(key) else { return };
        let (server, tag) = (request.server, request.tag.clone());
        if let Some(mut writer) = self.wire.response(server, status, phrase.map(str::as_bytes), Some(&tag)) {
            if status == 503 {
                writer.header("Retry-After", b"5");
            }
            writer.header("Server", self.wire.settings.product.as_bytes());
            self.wire.respond(server, status, writer.finish(), now);
        }
        self.drop_standalone(key);
    }

    pub(super) fn drop_standalone(&mut self, key: StandaloneKey) {
        let Some(mut request) = self.standalones.remove(key) else { return };
        self.wire.timers.set(TimerOf::Standalone(key), &mut request.armed, None);
        match request.state {
            State::Routing { query } | State::Resolving { query } => self.queries.forget(query),
            State::Sent { .. } => {}
        }
        if let Some(subscription) = request.subscription {
            self.drop_subscription(subscription);
        }
    }

    pub(super) fn arm_standalone(&mut self, key: StandaloneKey) {
        let Some(Standalone { armed, deadline, .. }) = self.standalones.get_mut(key) else { return };
        self.wire.timers.set(TimerOf::Standalone(key), armed, Some(*deadline));
    }
}
