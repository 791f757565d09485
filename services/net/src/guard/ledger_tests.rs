//! The books in virtual time.
#![allow(clippy::unwrap_used)]

use super::*;

fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1000)
}

fn host(number: u32) -> Host {
    Host::of(std::net::Ipv4Addr::from_bits(number).into())
}

fn share(rules: &GuardRules) -> Share {
    Share {
        stranger: Pace::new(rules.rate, rules.burst),
        known: Pace::new(rules.known_rate, rules.known_rate),
        trunk: Pace::new(rules.trunk_rate, rules.trunk_rate),
        sources: rules.sources,
        bans: rules.bans,
    }
}

const WINDOW: Duration = Duration::from_secs(60);

#[test]
fn offences_of_one_kind_within_a_window_lead_to_a_ban() {
    let rules = GuardRules::default();
    let (share, mut ledger, bad) = (share(&rules), Ledger::default(), host(1));
    for nth in 1..=20_u64 {
        assert_eq!(ledger.knock(bad, &share, at(nth * 100), WINDOW), Knock::Stranger);
        assert_eq!(ledger.offence(bad, Reason::Malformed, &rules, &share, at(nth * 100)), nth == 20);
    }
    assert_eq!(ledger.knock(bad, &share, at(2_100), WINDOW), Knock::Banned);
    assert_eq!(ledger.knock(host(2), &share, at(2_100), WINDOW), Knock::Stranger);
    // Ten minutes later it may try again, and its record is clean.
    assert_eq!(ledger.knock(bad, &share, at(602_100), WINDOW), Knock::Stranger);
    assert!(!ledger.offence(bad, Reason::Malformed, &rules, &share, at(602_100)));
}

#[test]
fn offences_that_are_spread_over_windows_do_not() {
    let rules = GuardRules::default();
    let (share, mut ledger) = (share(&rules), Ledger::default());
    // A phone with a wrong password that tries again every half minute, for a day.
    for nth in 0..2_880 {
        let now = at(nth * 30_000);
        assert_eq!(ledger.knock(host(1), &share, now, WINDOW), Knock::Stranger);
        assert!(!ledger.offence(host(1), Reason::Password, &rules, &share, now));
    }
}

#[test]
fn a_little_rubbish_among_many_requests_does_not() {
    let rules = GuardRules::default();
    let (share, mut ledger) = (share(&rules), Ledger::default());
    for nth in 0..1_000_u64 {
        let now = at(nth * 59);
        assert_eq!(ledger.knock(host(1), &share, now, WINDOW), Knock::Stranger);
        assert_eq!(ledger.asks(host(1), None, false, &rules, &share, now), None);
        if nth % 10 == 0 {
            assert!(!ledger.offence(host(1), Reason::Malformed, &rules, &share, now), "{nth}");
        }
    }
}

#[test]
fn one_sight_of_a_scanner_is_enough() {
    let rules = GuardRules::default();
    let mut ledger = Ledger::default();
    for _ in 0..5 {
        assert_eq!(ledger.knock(host(1), &share(&rules), at(0), WINDOW), Knock::Stranger);
        assert_eq!(ledger.asks(host(1), None, false, &rules, &share(&rules), at(0)), None);
    }
    assert!(ledger.offence(host(1), Reason::Scanner, &rules, &share(&rules), at(0)));
    let nobody = GuardRules { ban: Duration::ZERO, ..rules };
    let share = share(&nobody);
    assert!(!ledger.offence(host(2), Reason::Scanner, &nobody, &share, at(0)), "bans are off");
}

#[test]
fn many_names_are_an_offence_and_one_name_many_times_is_not() {
    let rules = GuardRules::default();
    let (share, mut ledger) = (share(&rules), Ledger::default());
    let hashed = |name: u64| name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 13;
    let mut asks = |host, name: u64| ledger.asks(host, Some(hashed(name)), false, &rules, &share, at(0));
    assert!((0..1000).all(|_| asks(host(1), 77).is_none()));
    let needed = (0..1000).position(|name| asks(host(2), name) == Some(Reason::Names)).unwrap();
    assert!((29..40).contains(&needed), "{needed}");
}

#[test]
fn who_sends_too_fast_is_held_to_the_pace_and_then_banned() {
    let rules = GuardRules::default();
    let (share, mut ledger) = (share(&rules), Ledger::default());
    let mut kinds = Vec::new();
    for nth in 0..5_000 {
        // A message each 20 microseconds, which is 50,000 a second.
        let now = Time::from_micros(nth * 20);
        let knock = ledger.knock(host(1), &share, now, WINDOW);
        if knock == Knock::TooFast {
            ledger.offence(host(1), Reason::Flood, &rules, &share, now);
        }
        if kinds.last() != Some(&knock) {
            kinds.push(knock);
        }
    }
    assert_eq!(kinds, [Knock::Stranger, Knock::TooFast, Knock::Banned]);
    assert_eq!(ledger.bans(at(100)).next().unwrap().1.dropped, 5_000 - 100 - 1_000);
}

#[test]
fn a_flood_from_forged_sources_has_its_bound_and_forgets_neither_bans_nor_who_is_known() {
    let rules = GuardRules { sources: 1000, bans: 100, ..GuardRules::default() };
    let (share, mut ledger) = (share(&rules), Ledger::default());
    ledger.acquaint(host(u32::MAX), at(3_600_000), at(0));
    ledger.offence(host(u32::MAX - 1), Reason::Scanner, &rules, &share, at(0));
    let slow = host(u32::MAX - 2);
    for number in 0..100_000 {
        let now = at(u64::from(number / 100));
        ledger.knock(host(number), &share, now, WINDOW);
        ledger.line([10, 0, 0, 1].into(), Reason::Stranger, now);
        if number % 400 == 0 {
            ledger.knock(slow, &share, now, WINDOW);
            ledger.offence(slow, Reason::Stranger, &rules, &share, now);
        }
        assert!(ledger.strangers.len() <= 1001);
    }
    assert_eq!(ledger.knock(host(u32::MAX), &share, at(1_000), WINDOW), Knock::Known);
    assert_eq!(ledger.knock(host(u32::MAX - 1), &share, at(1_000), WINDOW), Knock::Banned);
    assert_eq!(ledger.knock(slow, &share, at(1_000), WINDOW), Knock::Banned, "who comes again is remembered");
    assert!(ledger.lines.note([10, 0, 0, 9].into(), Reason::Flood, None, MAX_LINES, at(0)).is_some());
}

#[test]
fn a_phone_that_has_registered_is_known_until_its_registration_ends() {
    let rules = GuardRules { known_rate: 100, ..GuardRules::default() };
    let (share, mut ledger, phone) = (share(&rules), Ledger::default(), host(1));
    ledger.offence(phone, Reason::Scanner, &rules, &share, at(0));
    ledger.acquaint(phone, at(60_000), at(1));
    assert_eq!(ledger.knock(phone, &share, at(2), WINDOW), Knock::Known, "it has shown a password");
    assert!(!ledger.offence(phone, Reason::Scanner, &rules, &share, at(2)));
    let knocks: Vec<_> = (0..200).map(|_| ledger.knock(phone, &share, at(3), WINDOW)).collect();
    assert_eq!(knocks.iter().filter(|knock| **knock == Knock::KnownTooFast).count(), 101);
    assert_eq!(ledger.knock(phone, &share, at(60_000), WINDOW), Knock::Banned);
    ledger.lift(phone, at(60_000));
    assert_eq!(ledger.knock(phone, &share, at(60_000), WINDOW), Knock::Stranger);
}
