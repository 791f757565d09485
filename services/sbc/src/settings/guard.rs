//! `[guard]` and `[[scanner]]`: strangers, and too much to do.

use std::time::Duration;

use ::net::{GuardRules, Scanner};

use super::section::Section;
use super::sections::Taken;
use super::values::{duration, name, number, signature, source};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) fn guard(root: &mut Section<'_>, default: GuardRules) -> GuardRules {
    const RATE: u32 = 100_000;
    let mut section = root.section("guard");
    let document = section.document();
    let exempt = section.list("exempt", "IP addresses or NETWORK/PREFIX", source);
    for network in exempt.iter().flatten().filter(|network| network.value.port.is_some()) {
        document
            .mistake(&network.place, "an address or network without a port: whoever is banned is so at all");
    }
    let exempt = exempt.map(|networks| networks.into_iter().map(|network| network.value).collect());
    let ban = section.or("ban", default.ban, duration(Duration::ZERO..=DAY));
    let ban_max = section.get("ban_max", duration(SECOND..=30 * DAY));
    if let Some(most) = ban_max.as_ref().filter(|most| most.value < ban) {
        document.mistake(&most.place, "guard.ban_max not below guard.ban");
    }
    let mut offences = |key, default| section.or(key, default, number(0..=1_000_000));
    let (strangers, malformed) =
        (offences("strangers", default.strangers), offences("malformed", default.malformed));
    let (passwords, invites) =
        (offences("passwords", default.passwords), offences("invites", default.invites));
    let flood = offences("flood", default.flood);
    let rules = GuardRules {
        exempt: exempt.unwrap_or(default.exempt),
        rate: section.or("rate", default.rate, number(0..=RATE)),
        burst: section.or("burst", default.burst, number(1..=RATE)),
        known_rate: section.or("known_rate", default.known_rate, number(0..=RATE)),
        trunk_rate: section.or("trunk_rate", default.trunk_rate, number(0..=RATE)),
        sources: section.or("sources", default.sources as u32, number(1_000..=10_000_000)) as usize,
        window: section.or("window", default.window, duration(SECOND..=DAY)),
        share: section.or("share", default.share, number(0..=100)),
        strangers,
        malformed,
        passwords,
        // They are counted with a bit of 256 each.
        names: section.or("names", default.names, number(0..=150)),
        invites,
        flood,
        ban,
        ban_max: ban_max.map_or(default.ban_max.max(ban), |most| most.value),
        bans: section.or("bans", default.bans as u32, number(100..=1_000_000)) as usize,
        overload_delay: section.or(
            "overload_delay",
            default.overload_delay,
            duration(Duration::ZERO..=10 * SECOND),
        ),
        overload_interval: section.or(
            "overload_interval",
            default.overload_interval,
            duration(10 * MILLISECOND..=60 * SECOND),
        ),
        scanners: Vec::new(),
    };
    section.finish();
    let own = scanners(root);
    let scanners = if root.has("scanner") { own } else { default.scanners };
    GuardRules { scanners, ..rules }
}

fn scanners(root: &mut Section<'_>) -> Vec<Scanner> {
    let document = root.document();
    let mut taken = Taken::default();
    let mut scanners = Vec::new();
    for mut section in root.sections("scanner") {
        let name = section.need("name", "a name", name);
        let user_agent = section.get("user_agent", signature);
        let from = section.get("from", signature);
        if !section.has("user_agent") && !section.has("from") {
            let expected = "a pattern for User-Agent, or scanner.from, or both";
            document.mistake(&section.here("user_agent", "missing, as is scanner.from"), expected);
        }
        if let Some(name) = &name {
            taken.check(document, name, "scanner");
        }
        section.finish();
        let (user_agent, from) = (user_agent.map(|found| found.value), from.map(|found| found.value));
        if let Some(name) = name {
            scanners.push(Scanner { name: name.value, user_agent, from });
        }
    }
    scanners
}
