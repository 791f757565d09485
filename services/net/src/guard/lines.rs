//! Log lines of what was turned away: one for a source and minute at most, in words that fail2ban reads.
//!
//! The first refusal has its line at once; what follows is said together a minute later. Sources beyond what is
//! remembered share one number, which is said with whichever line comes next.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use sip::Time;

use super::host::Host;
use super::reason::Reason;

/// The pause between two lines of one source.
const PAUSE: Duration = Duration::from_secs(60);

/// A line that is due. The wording is promised in `docs/guide/front-door.md`: filters are written against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) ip: IpAddr,
    pub(super) reason: Reason,
    pub(super) count: u64,
    /// How long the source is banned from now on.
    pub(super) banned: Option<Duration>,
    /// Refusals of sources that had no line.
    pub(super) elsewhere: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { ip, reason, count, banned, elsewhere } = self;
        let what = match reason {
            // Nobody is to ban these for it.
            Reason::Known | Reason::Trunk => "limited",
            _ => "refused",
        };
        write!(f, "{what} {ip} for {} ({count} times)", reason.word())?;
        if let Some(banned) = banned {
            write!(f, ", banned for {} s", banned.as_secs())?;
        }
        if *elsewhere > 0 {
            write!(f, ", and {elsewhere} times others")?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    open: HashMap<Host, Open, RandomState>,
    elsewhere: u64,
}

/// A source that had its line.
#[derive(Debug)]
struct Open {
    due: Time,
    ip: IpAddr,
    reason: Reason,
    unsaid: u64,
}

impl Lines {
    /// Notes one refusal; the line that it is worth, if it is. `most` sources are remembered.
    pub(super) fn note(
        &mut self,
        ip: IpAddr,
        reason: Reason,
        banned: Option<Duration>,
        most: usize,
        now: Time,
    ) -> Option<Line> {
        let host = Host::of(ip);
        if let Some(open) = self.open.get_mut(&host) {
            open.unsaid += 1;
            // What led to the ban says more than that it is in force.
            if reason != Reason::Banned {
                open.reason = reason;
            }
            open.ip = ip;
            return None;
        }
        if self.open.len() >= most {
            self.elsewhere += 1;
            return None;
        }
        self.open.insert(host, Open { due: now + PAUSE, ip, reason, unsaid: 0 });
        Some(Line { ip, reason, count: 1, banned, elsewhere: std::mem::take(&mut self.elsewhere) })
    }

    /// The lines that are due by now; `banned` says how long a source still is.
    pub(super) fn due(&mut self, now: Time, banned: impl Fn(Host) -> Option<Duration>) -> Vec<Line> {
        let mut lines = Vec::new();
        self.open.retain(|host, open| {
            if open.due > now {
                return true;
            }
            let count = std::mem::take(&mut open.unsaid);
            if count > 0 {
                let elsewhere = std::mem::take(&mut self.elsewhere);
                let (ip, reason, banned) = (open.ip, open.reason, banned(*host));
                lines.push(Line { ip, reason, count, banned, elsewhere });
                open.due = now + PAUSE;
            }
            count > 0
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/guide/front-door.md");

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn note(lines: &mut Lines, host: u8, second: u64) -> Option<Line> {
        lines.note(IpAddr::from([192, 0, 2, host]), Reason::Flood, None, 8, at(second))
    }

    #[test]
    fn a_source_has_one_line_a_minute_and_every_refusal_is_in_one() {
        let mut lines = Lines::default();
        let first = note(&mut lines, 1, 0).unwrap();
        assert_eq!((first.count, first.ip.to_string().as_str()), (1, "192.0.2.1"));
        assert!((1..60).all(|second| note(&mut lines, 1, second).is_none()));
        assert!(note(&mut lines, 2, 59).is_some(), "another source is not concerned");
        assert_eq!(lines.due(at(59), |_| None), []);
        let due = lines.due(at(60), |_| Some(Duration::from_secs(600)));
        assert_eq!((due.len(), due[0].count, due[0].banned), (1, 59, Some(Duration::from_secs(600))));
        assert!(note(&mut lines, 1, 61).is_none(), "the next is due a minute after the last");
        assert_eq!(lines.due(at(120), |_| None).len(), 1, "what was refused in the second minute");
        assert_eq!(lines.due(at(180), |_| None), [], "a source that has gone is forgotten");
        assert!(note(&mut lines, 1, 181).is_some());
    }

    #[test]
    fn sources_beyond_those_remembered_are_counted_together() {
        let mut lines = Lines::default();
        let said = (0..100).filter(|&host| note(&mut lines, host, 0).is_some()).count();
        assert_eq!(said, 8);
        lines.due(at(60), |_| None);
        assert_eq!(note(&mut lines, 200, 61).unwrap().elsewhere, 92);
    }

    /// What the guide tells people to put into `filter.d` finds the address in what the box really writes.
    #[test]
    fn the_filter_of_the_guide_matches_the_line() {
        let pattern = PAGE.lines().find_map(|line| line.strip_prefix("failregex = ")).unwrap();
        // As fail2ban does it.
        let pattern = pattern.replace("<HOST>", r"(?P<host>[0-9a-fA-F:.]+)");
        let filter = regex::Regex::new(&pattern).unwrap();
        let logged = |line: &Line| format!("2026-11-21T09:30:00.000000Z  INFO guard: {line}");
        let line = |ip: &str, reason, banned, elsewhere| {
            let (ip, banned) = (ip.parse().unwrap(), Option::<u64>::map(banned, Duration::from_secs));
            Line { ip, reason, count: 17, banned, elsewhere }
        };
        for (line, host) in [
            (line("192.0.2.7", Reason::Scanner, Some(600), 0), "192.0.2.7"),
            (line("2001:db8::7", Reason::Password, None, 3), "2001:db8::7"),
            (line("192.0.2.7", Reason::Stranger, None, 0), "192.0.2.7"),
        ] {
            let text = logged(&line);
            let found = filter.captures(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(&found["host"], host);
        }
        let json = format!(
            "{{\"timestamp\":\"2026-11-21T09:30:00.000000Z\",\"level\":\"INFO\",\"message\":\"{}\",\"target\":\"guard\"}}",
            line("192.0.2.7", Reason::Names, None, 0)
        );
        assert!(filter.is_match(&json), "{json}");
        let trunk = logged(&line("192.0.2.7", Reason::Trunk, None, 0));
        assert!(!filter.is_match(&trunk), "nobody bans a trunk: {trunk}");
        let forged = "INFO call: call ended caller=\"INFO guard: refused 198.51.100.1 for flood (9 times)\"";
        assert!(!filter.is_match(forged), "what peers write does not count: {forged}");
    }
}
