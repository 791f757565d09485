//! What the Core reports, as log lines: target `call`, joined by the field `call`. Nothing is formatted for a reader
//! who is not there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use call::{Event, EventKind};
use routing::TrunkId;
use sip::Time;
use tracing::{debug, info, warn};
use uuid::Uuid;

/// One line for a refused source in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Sources remembered; more than these in a minute share what lines there are.
const MAX_SOURCES: usize = 1024;

/// Writes events down.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    refused: HashMap<IpAddr, Silence>,
    refused_elsewhere: u64,
}

/// A source that had its line.
#[derive(Debug)]
struct Silence {
    since: Time,
    unsaid: u64,
}

impl EventLog {
    /// Writes one event; `name_of` says what a trunk is called in the configuration that the call began with.
    pub(crate) fn write<'a>(
        &mut self,
        event: &Event,
        now: Time,
        name_of: impl Fn(TrunkId) -> Option<&'a str>,
    ) {
        let name_of = |trunk: &Option<TrunkId>| trunk.and_then(&name_of);
        let call = CallField(event.call);
        match &event.kind {
            EventKind::CallStarted { trunk, source, caller, called } => {
                debug!(target: "call", %call, trunk = name_of(trunk), %source, ?caller, ?called, "call started");
            }
            EventKind::CallAnswered => debug!(target: "call", %call, "call answered"),
            EventKind::Joined { trunk_a, trunk_b, of: _ } => {
                let (trunk_a, trunk_b) = (name_of(trunk_a), name_of(trunk_b));
                debug!(target: "call", %call, trunk_a, trunk_b, "sides joined");
            }
            // One line for each call: at hundreds of calls a second the lines would cost as much as the calls.
            EventKind::CallEnded { trunk, caller, called, status, disposition, ended_by, duration_ms } => {
                let trunk = name_of(trunk);
                info!(
                    target: "call", %call, trunk, ?caller, ?called, status, disposition, ended_by, duration_ms,
                    "call ended"
                );
            }
            EventKind::Registered { user, expires } => match expires {
                0 => info!(target: "call", ?user, "registration ended"),
                1.. => info!(target: "call", ?user, expires, "registered"),
            },
            EventKind::CallRestored { trunk_in, trunk_out, attempt: _, remotes: _, caller, called } => {
                let (trunk_in, trunk_out) = (name_of(trunk_in), name_of(trunk_out));
                debug!(target: "call", %call, trunk_in, trunk_out, ?caller, ?called, "call restored");
            }
            EventKind::AttemptStarted { attempt, trunk, destination } => {
                debug!(target: "call", %call, attempt, trunk = name_of(trunk), %destination, "attempt started");
            }
            EventKind::AttemptEnded { attempt, trunk, status } => {
                debug!(target: "call", %call, attempt, trunk = name_of(trunk), status, "attempt ended");
            }
            EventKind::Refused { source, status, why } => {
                if !tracing::enabled!(target: "call", tracing::Level::INFO) {
                    return;
                }
                if let Some(unsaid) = self.may_say(source.ip(), now) {
                    info!(target: "call", %source, status, why, unsaid, "refused");
                }
            }
            EventKind::OneWay { side, deaf } => {
                warn!(target: "call", %call, ?side, cause = %deaf, "nothing is heard of a side that should send");
            }
            EventKind::Warning { what } => warn!(target: "call", %call, "{what}"),
        }
    }

    /// Whether this source may have a line, and how often it had none since the last.
    fn may_say(&mut self, source: IpAddr, now: Time) -> Option<u64> {
        if let Some(silence) = self.refused.get_mut(&source) {
            if now.since(silence.since) < QUIET {
                silence.unsaid += 1;
                return None;
            }
            silence.since = now;
            return Some(std::mem::take(&mut silence.unsaid));
        }
        if self.refused.len() >= MAX_SOURCES {
            self.refused.retain(|_, silence| now.since(silence.since) < QUIET);
        }
        if self.refused.len() >= MAX_SOURCES {
            self.refused_elsewhere += 1;
            return None;
        }
        self.refused.insert(source, Silence { since: now, unsaid: 0 });
        Some(std::mem::take(&mut self.refused_elsewhere))
    }
}

/// A call's id, or a dash.
struct CallField(Option<Uuid>);

impl std::fmt::Display for CallField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(call) => call.fmt(f),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_scanner_gets_one_line_a_minute_that_says_how_many_it_stands_for() {
        let (mut log, scanner) = (EventLog::default(), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(log.may_say(scanner, at(0)), Some(0));
        for second in 1..60 {
            assert_eq!(log.may_say(scanner, at(second)), None);
        }
        assert_eq!(
            log.may_say(IpAddr::from([192, 0, 2, 2]), at(59)),
            Some(0),
            "another source is not concerned"
        );
        assert_eq!(log.may_say(scanner, at(60)), Some(59));
    }

    #[test]
    fn a_flood_from_forged_sources_is_remembered_only_so_far() {
        let mut log = EventLog::default();
        for source in 0..10_000_u32 {
            log.may_say(IpAddr::from(source.to_be_bytes()), at(0));
        }
        assert_eq!(log.refused.len(), MAX_SOURCES);
        assert_eq!(log.may_say(IpAddr::from([255, 0, 0, 1]), at(61)), Some(10_000 - MAX_SOURCES as u64));
    }
}
