//! Orders of the operator.

use uuid::Uuid;

use crate::bridge::table::Event;
use crate::bridge::{Call, CallKey, Cause};
use crate::cdr::EndedBy;
use crate::core::Core;
use crate::io::{Command, Now, Output, Recording, Reply};
use crate::journal::Ordered;
use crate::leg::LegState;
use crate::media::Side;
use crate::view::{CallView, LegView, RecordingView};

impl Core {
    pub(super) fn on_command(&mut self, id: u64, command: Command, now: Now) {
        let reply = match command {
            Command::List { limit } => {
                Reply::Calls(self.calls.values().take(limit).map(|c| self.view(c)).collect())
            }
            Command::Show(id) => Reply::Call(
                self.calls.values().find(|call| call.id == id).map(|call| Box::new(self.view(call))),
            ),
            Command::HangUp(id) => {
                let found = self.calls.iter().find(|(_, call)| call.id == id).map(|(key, _)| key);
                if let Some(key) = found {
                    self.order(key, Ordered::HangUp, now);
                }
                Reply::HungUp(found.is_some())
            }
            Command::Record { id, on } => Reply::Recording(self.on_record(id, on, now)),
            Command::Journal(id) => Reply::Journal(self.journals.of(id, &self.wire.settings)),
            Command::Stats => Reply::Stats(Box::new(self.stats())),
            Command::Drain => {
                self.draining = true;
                Reply::Done
            }
            Command::EndAll => {
                self.draining = true;
                let calls: Vec<CallKey> = self.calls.keys().collect();
                for key in calls {
                    self.order(key, Ordered::EndAll, now);
                }
                Reply::Done
            }
            Command::Abandon => {
                self.draining = true;
                let calls: Vec<CallKey> = self.calls.keys().collect();
                for key in calls {
                    self.order(key, Ordered::Abandon, now);
                }
                Reply::Done
            }
        };
        self.wire.outputs.push_back(Output::Reply { id, reply });
    }

    fn on_record(&mut self, id: Uuid, on: bool, now: Now) -> Recording {
        let found = self.calls.iter().find(|(_, call)| call.id == id);
        let Some((key, is_on)) = found.map(|(key, call)| (key, is_recorded(call))) else {
            return Recording::NoCall;
        };
        match (on, is_on) {
            (true, false) => match self.recordable(key) {
                Ok(_) => self.order(key, Ordered::Record, now),
                Err(why) => return why,
            },
            (false, true) => self.order(key, Ordered::StopRecording, now),
            (true, true) => {}
            (false, false) if self.goes_on_recording(key) => self.order(key, Ordered::StopRecording, now),
            (false, false) => return Recording::NotRecorded,
        }
        let files = self.calls.get(key).and_then(|call| Some((call.record.recordings.as_ref()?, call.id)));
        Recording::Files(files.and_then(|(made, id)| made.names(id)).unwrap_or_default())
    }

    pub(super) fn end(&mut self, key: CallKey, status: u16, by: EndedBy, now: Now) {
        self.drive(key, Cause::new(Event::Operator).status(status).by(by), now);
    }

    /// A record cannot wait for a peer that does not answer its BYE when there is no later.
    pub(super) fn abandon(&mut self, key: CallKey, now: Now) {
        self.end(key, 503, EndedBy::Policy, now);
        let legs: Vec<_> = self.calls.get(key).map(|call| call.legs().collect()).unwrap_or_default();
        for leg in legs {
            if let Some(leg) = self.legs.get_mut(leg).filter(|leg| !leg.is_over()) {
                leg.state = LegState::Gone;
            }
        }
        if self.has_no_legs_left(key) {
            self.drive(key, Cause::new(Event::LegsOver), now);
        }
    }

    pub(crate) fn view(&self, call: &Call) -> CallView {
        let (record, (talk, route)) = (&call.record, call.talk());
        let targets = call.transfer.as_ref().and(call.b);
        let others = call.others.iter().map(|branch| branch.leg).chain([targets]).map(|leg| ("b", leg));
        let legs = [("a", Some(call.a)), ("b", call.leg(Side::B))]
            .into_iter()
            .chain(others)
            .filter_map(|(side, key)| {
                let leg = self.legs.get(key?)?;
                Some(LegView {
                    side,
                    state: leg.state_name(),
                    sip_call_id: leg.call_id.clone(),
                    remote: leg.flow.remote,
                    transport: self.wire.listener(leg.flow.listener).transport.as_param(),
                })
            })
            .collect();
        CallView {
            id: call.id,
            state: call.state.name(),
            started_at: record.started_at,
            answered_at: talk.answered.map(|(utc, _)| utc),
            caller: record.caller.clone(),
            called: record.called.clone(),
            trunk_in: record.trunk_in.clone(),
            trunk_out: talk.trunk_out.clone(),
            route: route.map(Box::from),
            recording: record
                .recordings
                .as_ref()
                .and_then(|made| Some(RecordingView { files: made.names(call.id)?, is_on: made.is_on() })),
            legs,
        }
    }
}

fn is_recorded(call: &Call) -> bool {
    call.record.recordings.as_ref().is_some_and(|recordings| recordings.is_on())
}
