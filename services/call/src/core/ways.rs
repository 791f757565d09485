//! Hosts that dialogs name: asked for, and told to the leg or the subscription that has the dialog.

use super::Core;
use crate::io::{EventKind, NextHop, Output, QueryId};
use crate::leg::{LegKey, UnknownWay, Way};
use crate::subscription::{Party, SubscriptionKey};

impl Core {
    /// Asks for the host that the dialog of a leg has come to name, if it has.
    pub(super) fn look_for_way(&mut self, key: LegKey) {
        let Some(leg) = self.legs.get_mut(key) else { return };
        if let Some(hop) = leg.unsecured_hop(&self.wire) {
            let hop = String::from_utf8_lossy(hop);
            let what =
                format!("{hop} asks for TLS, which no listener speaks: its requests can be read on the way");
            let call = leg.call.and_then(|call| self.calls.get(call)).map(|call| call.id);
            self.wire.event(call, EventKind::Warning { what });
        }
        let Some(UnknownWay { host, port, listener, secure }) = leg.unknown_way(&self.wire) else { return };
        let transport = Some(self.wire.listener(listener).transport);
        let query = self.queries.ask(key);
        leg.await_way(query, listener).into_iter().for_each(|before| self.queries.forget(before));
        let draw = self.wire.ids.random();
        self.wire.outputs.push_back(Output::Resolve { query, host, port, transport, secure, draw });
    }

    /// The same for one end of a subscription that both sides know of.
    pub(crate) fn look_for_way_to(&mut self, key: SubscriptionKey, party: Party) {
        let wire = &self.wire;
        let Some(subscription) = self.subscriptions.get(key) else { return };
        let Some((uri, unknown)) = subscription.unknown_way(party, wire) else { return };
        let UnknownWay { host, port, listener, secure } = unknown;
        let transport = Some(wire.listener(listener).transport);
        let query = self.queries.ask((key, party));
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let before = subscription.await_way(party, Way::awaited(uri, query, listener));
        before.into_iter().for_each(|before| self.queries.forget(before));
        let draw = self.wire.ids.random();
        self.wire.outputs.push_back(Output::Resolve { query, host, port, transport, secure, draw });
    }

    /// A name that nobody knows changes nothing: the peer is reached where it was.
    pub(super) fn on_way_found(&mut self, key: LegKey, query: QueryId, hops: &[NextHop]) {
        if let Some(leg) = self.legs.get_mut(key) {
            leg.way_found(query, hops, &self.wire);
        }
    }
}
