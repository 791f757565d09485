//! What the configuration says of strangers: how fast, how many offences, for how long, and what scanners look like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};
use routing::Source;
use sip::{Message, Name};

use super::reason::Reason;

/// `[guard]` and `[[scanner]]`. A limit or number of 0 is none.
#[derive(Clone, Debug)]
pub struct GuardRules {
    /// Networks that are neither limited nor banned. Whether they may call is another matter.
    pub exempt: Vec<Source>,
    /// Messages a second of a stranger.
    pub rate: u32,
    /// Messages of a stranger at once.
    pub burst: u32,
    /// Messages a second of a source where a phone has registered or that the box sends requests to.
    pub known_rate: u32,
    /// Messages a second of one source of a trunk.
    pub trunk_rate: u32,
    /// How many strangers are remembered.
    pub sources: usize,
    /// The time in which offences are counted together.
    pub window: Duration,
    /// How many per cent of what a stranger sent in that time, leaving out what belongs to something begun, must have been
    /// malformed for that number to count.
    pub share: u32,
    /// Requests that are nobody's, in the window.
    pub strangers: u32,
    /// What is no message.
    pub malformed: u32,
    /// Wrong credentials.
    pub passwords: u32,
    /// Different names asked for without credentials that are right.
    pub names: u32,
    /// New calls begun without credentials that are right.
    pub invites: u32,
    /// Messages above the rate.
    pub flood: u32,
    /// How long the first ban is; each further one is twice as long. Zero: nobody is banned.
    pub ban: Duration,
    /// The longest ban; for as long after a ban it is remembered that there was one.
    pub ban_max: Duration,
    /// How many may be banned at once.
    pub bans: usize,
    /// A message that waits longer than this for its shard has waited too long.
    pub overload_delay: Duration,
    /// How long that must last before new calls are refused, and how often it is looked at again.
    pub overload_interval: Duration,
    /// What scanners look like.
    pub scanners: Vec<Scanner>,
}

/// What gives a scanner away: one of the two suffices.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// In the configuration.
    pub name: String,
    /// Held against User-Agent.
    pub user_agent: Option<Regex>,
    /// Held against From.
    pub from: Option<Regex>,
}

/// What a compiled signature may take.
const LARGEST_SIGNATURE: usize = 1 << 18;

impl Scanner {
    /// A pattern as signatures are compiled: whatever the case of letters, and bounded in size.
    ///
    /// # Errors
    ///
    /// The pattern is no regular expression, or too large.
    pub fn pattern(text: &str) -> Result<Regex, regex::Error> {
        RegexBuilder::new(text).case_insensitive(true).unicode(false).size_limit(LARGEST_SIGNATURE).build()
    }

    fn matches(&self, request: &Message<'_>) -> bool {
        let shows = |pattern: &Option<Regex>, name| {
            pattern.as_ref().is_some_and(|pattern| request.values(name).any(|value| pattern.is_match(value)))
        };
        shows(&self.user_agent, Name::UserAgent) || shows(&self.from, Name::From)
    }
}

/// Names and what they send as User-Agent or in From. sipsak is not among them: monitoring uses it. Softphones that
/// attackers pretend to be are not either.
const SCANNERS: [(&str, &str, Option<&str>); 7] = [
    ("sipvicious", "friendly-(scanner|request)|sipvicious", Some("sipvicious")),
    ("sipcli", "^sipcli", None),
    ("sip-scan", "sip-?scan", None),
    ("sundayddr", "^sundayddr", None),
    ("vaxsip", "^vax(sip|ip)useragent", None),
    ("pplsip", "^pplsip", None),
    ("siparmyknife", "siparmyknife|^iwar|^smap", None),
];

impl Default for GuardRules {
    fn default() -> GuardRules {
        let host = |ip: IpAddr, prefix| Source { network: ip, prefix, port: None };
        GuardRules {
            exempt: vec![
                host(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
                host(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
            ],
            rate: 20,
            burst: 100,
            known_rate: 5000,
            trunk_rate: 0,
            sources: 65_536,
            window: Duration::from_secs(60),
            share: 25,
            strangers: 20,
            malformed: 20,
            passwords: 10,
            names: 30,
            invites: 30,
            flood: 1000,
            ban: Duration::from_secs(10 * 60),
            ban_max: Duration::from_secs(24 * 60 * 60),
            bans: 10_000,
            overload_delay: Duration::from_millis(100),
            overload_interval: Duration::from_millis(500),
            scanners: SCANNERS.iter().filter_map(|&(name, agent, from)| usual(name, agent, from)).collect(),
        }
    }
}

fn usual(name: &str, user_agent: &str, from: Option<&str>) -> Option<Scanner> {
    let from = from.map(Scanner::pattern).transpose().ok()?;
    Some(Scanner { name: name.to_owned(), user_agent: Some(Scanner::pattern(user_agent).ok()?), from })
}

impl GuardRules {
    pub(crate) fn is_exempt(&self, source: SocketAddr) -> bool {
        self.exempt.iter().any(|network| network.contains(source))
    }

    pub(crate) fn is_scanner(&self, request: &Message<'_>) -> bool {
        self.scanners.iter().any(|scanner| scanner.matches(request))
    }

    /// How many offences of a kind in the window lead to a ban; `None`: no number does.
    pub(crate) fn most(&self, reason: Reason) -> Option<u32> {
        let most = match reason {
            Reason::Scanner => 1,
            Reason::Malformed => self.malformed,
            Reason::Stranger => self.strangers,
            Reason::Password => self.passwords,
            Reason::Names => self.names,
            Reason::Invites => self.invites,
            Reason::Flood => self.flood,
            Reason::Banned | Reason::Known | Reason::Trunk => 0,
        };
        (most > 0 && !self.ban.is_zero()).then_some(most)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn looks_like_a_scanner(headers: &str) -> bool {
        let text = format!("OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n{headers}\r\n");
        GuardRules::default().is_scanner(&Message::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn scanners_of_the_field_are_known_by_what_they_say_of_themselves() {
        assert_eq!(GuardRules::default().scanners.len(), SCANNERS.len(), "every usual pattern compiles");
        for headers in [
            "User-Agent: friendly-scanner\r\n",
            "User-Agent: Friendly-Scanner/9\r\n",
            "From: \"sipvicious\"<sip:100@1.1.1.1>;tag=1\r\nUser-Agent: Telephone\r\n",
            "User-Agent: sipcli/v1.8\r\n",
            "User-Agent: pplsip\r\n",
            "User-Agent: VaxSIPUserAgent/3.1\r\n",
            "User-Agent: sundayddr\r\n",
            "User-Agent: sip-scan\r\n",
        ] {
            assert!(looks_like_a_scanner(headers), "{headers}");
        }
        for headers in [
            "",
            "User-Agent: sipsak 0.9.7\r\n",
            "User-Agent: baresip v1.0.0 (x86_64/linux)\r\n",
            "User-Agent: MySIPClient\r\nFrom: <sip:alice@h>;tag=1\r\n",
            "User-Agent: \u{e9}\u{0}\r\n",
        ] {
            assert!(!looks_like_a_scanner(headers), "{headers}");
        }
    }
}
