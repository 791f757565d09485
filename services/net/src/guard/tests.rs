//! Strangers at the door, in virtual time: what each of them gets, and what it costs the others.
#![allow(clippy::unwrap_used, clippy::panic)]

use call::User;
use routing::{Source, Trunk};

use super::*;

const STRANGER: &str = "192.0.2.66:5060";
const TRUNK: &str = "198.51.100.1:5060";

fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1000)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn snapshot() -> Arc<Snapshot> {
    let mut trunk = Trunk::new("carrier");
    trunk.sources = vec![Source::parse("198.51.100.0/24").unwrap()];
    Arc::new(Snapshot::new(vec![trunk], Vec::new()).unwrap())
}

fn users() -> RegistrarPolicy {
    RegistrarPolicy::Users(vec![User { name: "alice".to_owned(), password: "wonderland".to_owned() }])
}

fn guard(registrar: &RegistrarPolicy) -> Guard {
    Guard::new(GuardRules::default(), snapshot(), registrar)
}

fn request(method: &str, user: &str, extra: &str) -> Vec<u8> {
    format!(
        "{method} sip:{user}@box SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK{user}\r\nMax-Forwards: 70\r\n\
         From: <sip:x@y>;tag=1\r\nTo: <sip:{user}@box>\r\nCall-ID: {user}@y\r\nCSeq: 1 {method}\r\n{extra}\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn count(guard: &Guard, reason: Reason) -> u64 {
    guard.refused.get(reason)
}

#[test]
fn a_stranger_is_refused_with_the_same_answer_each_time_and_its_ack_is_not_answered() {
    let guard = guard(&RegistrarPolicy::Closed);
    let invite = request("INVITE", "100", "");
    let Admission::Answer(first, target) = guard.admit(addr(STRANGER), &invite, at(0)) else { panic!() };
    assert!(first.starts_with(b"SIP/2.0 403 Forbidden\r\n"));
    assert_eq!(target, addr(STRANGER));
    assert_eq!(guard.admit(addr(STRANGER), &invite, at(500)), Admission::Answer(first, target));
    for method in ["ACK", "CANCEL"] {
        assert_eq!(guard.admit(addr(STRANGER), &request(method, "100", ""), at(600)), Admission::Pass);
    }
    assert_eq!(count(&guard, Reason::Stranger), 2);
    let response = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\r\n";
    assert_eq!(guard.admit(addr(STRANGER), response, at(700)), Admission::Pass, "perhaps a peer's");
}

#[test]
fn a_scanner_hears_nothing_at_all_and_then_is_banned() {
    let guard = guard(&users());
    let scan = request("OPTIONS", "100", "User-Agent: friendly-scanner\r\n");
    assert_eq!(guard.admit(addr(STRANGER), &scan, at(0)), Admission::Drop);
    let ordinary = request("REGISTER", "alice", "");
    assert_eq!(guard.admit(addr(STRANGER), &ordinary, at(1)), Admission::Banned);
    assert_eq!(guard.admit(addr("192.0.2.66:9999"), &ordinary, at(2)), Admission::Banned, "from any port");
    assert_eq!(guard.admit(addr("192.0.2.67:5060"), &ordinary, at(2)), Admission::Pass);
    assert!(guard.is_banned(addr(STRANGER), at(3)));
    assert_eq!(guard.bans(at(3)).len(), 1);
    assert!(guard.lift(addr(STRANGER).ip(), at(4)));
    assert_eq!(guard.admit(addr(STRANGER), &ordinary, at(5)), Admission::Pass);
}

#[test]
fn a_trunk_is_limited_where_that_is_configured_and_never_banned() {
    let rules = GuardRules { trunk_rate: 100, ..GuardRules::default() };
    let guard = Guard::new(rules, snapshot(), &RegistrarPolicy::Closed);
    let scan = request("OPTIONS", "100", "User-Agent: friendly-scanner\r\n");
    let passed = (0..10_000).filter(|_| guard.admit(addr(TRUNK), &scan, at(0)) == Admission::Pass).count();
    assert_eq!(passed, 100);
    assert_eq!(count(&guard, Reason::Trunk), 9_900);
    for _ in 0..100 {
        assert!(guard.report_malformed(addr(TRUNK), &scan, at(1)));
        assert!(!guard.report(addr(TRUNK), 403, at(1)));
    }
    assert_eq!(guard.bans(at(1)), []);
    assert_eq!(guard.admit(addr(TRUNK), &scan, at(1_000)), Admission::Pass);
}

#[test]
fn loopback_is_neither_limited_nor_banned_unless_it_is_taken_off_the_list() {
    let tester = addr("127.0.0.9:5060");
    let invite = request("INVITE", "100", "User-Agent: friendly-scanner\r\n");
    let plain = request("INVITE", "100", "");
    let guard = guard(&users());
    assert!((0..10_000).all(|_| guard.admit(tester, &plain, at(0)) == Admission::Pass));
    assert!(
        (0..100).all(|_| guard.admit(tester, &invite, at(0)) == Admission::Drop),
        "a scanner is one anywhere"
    );
    assert_eq!((guard.bans(at(0)), count(&guard, Reason::Scanner)), (vec![], 100));
    assert_eq!(guard.admit(tester, &plain, at(0)), Admission::Pass);
    let closed = Guard::new(GuardRules::default(), snapshot(), &RegistrarPolicy::Closed);
    assert!(matches!(closed.admit(tester, &plain, at(0)), Admission::Answer(..)), "and may call no more");
    guard.obey(GuardRules { exempt: Vec::new(), ..GuardRules::default() });
    assert_eq!(guard.admit(tester, &invite, at(0)), Admission::Drop);
    assert_eq!(guard.admit(tester, &invite, at(0)), Admission::Banned);
}

#[test]
fn wrong_passwords_and_names_one_after_the_other_are_banned_within_the_window() {
    let guard = guard(&users());
    let guesses = (0..100).take_while(|_| {
        guard.report(addr(STRANGER), 401, at(0));
        guard.bans(at(0)).is_empty()
    });
    assert_eq!(guesses.count(), 9, "the tenth is one too many");

    let other = addr("192.0.2.99:5060");
    let asked = (100..1000).take_while(|name| {
        guard.admit(other, &request("REGISTER", &name.to_string(), ""), at(name * 60)) == Admission::Pass
    });
    let asked = asked.count();
    assert!((28..45).contains(&asked), "{asked}");
    assert_eq!(guard.bans(at(5_000)).len(), 2);
}

#[test]
fn a_phone_behind_the_address_of_others_that_have_registered_is_not_counted_among_strangers() {
    let guard = guard(&users());
    guard.acquaint(addr(STRANGER).ip(), at(3_600_000), at(0));
    for name in 0..200_u64 {
        let register = request("REGISTER", &name.to_string(), "");
        assert_eq!(guard.admit(addr(STRANGER), &register, at(name)), Admission::Pass);
        guard.report(addr(STRANGER), 401, at(name));
    }
    assert_eq!((guard.bans(at(300)), count(&guard, Reason::Password)), (Vec::new(), 200));
}

#[test]
fn rubbish_is_dropped_unread_once_it_is_too_fast_and_no_trunk_notices() {
    let guard = guard(&RegistrarPolicy::Closed);
    let invite = request("INVITE", "100", "");
    for nth in 0..50_000 {
        let now = Time::from_micros(nth * 20);
        assert_ne!(guard.admit(addr(STRANGER), b"rubbish rubbish rubbish", now), Admission::Pass);
        if nth % 250 == 0 {
            assert_eq!(guard.admit(addr(TRUNK), &invite, now), Admission::Pass);
        }
    }
    assert_eq!(count(&guard, Reason::Malformed), 20, "what was read before the ban");
    assert_eq!(count(&guard, Reason::Banned), 49_980);
}

#[test]
fn a_trunk_that_is_new_after_a_reload_is_heard_and_its_ban_is_of_no_account() {
    let guard = Guard::new(GuardRules::default(), Arc::new(Snapshot::empty()), &RegistrarPolicy::Closed);
    let scan = request("OPTIONS", "100", "User-Agent: friendly-scanner\r\n");
    guard.admit(addr(TRUNK), &scan, at(0));
    assert_eq!(guard.admit(addr(TRUNK), &scan, at(1)), Admission::Banned);
    guard.follow(&snapshot(), &RegistrarPolicy::Closed);
    assert_eq!(guard.admit(addr(TRUNK), &scan, at(2)), Admission::Pass);
    assert!(!guard.is_banned(addr(TRUNK), at(2)));
}

/// What costs its sender nothing and is answered by nobody.
fn stray(nth: u64) -> [Vec<u8>; 4] {
    let response = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK{nth}\r\nCSeq: 1 OPTIONS\r\n\r\n"
    );
    let bye = String::from_utf8(request("BYE", "1", ""))
        .unwrap()
        .replace("<sip:1@box>\r\n", "<sip:1@box>;tag=2\r\n");
    [request("ACK", "1", ""), response.into_bytes(), bye.into_bytes(), request("CANCEL", "1", "")]
}

/// Sends what `offend` does every 300 ms, and four stray messages in between; how many it did before the ban.
fn diluted(guard: &Guard, most: u64, mut offend: impl FnMut(&Guard, u64, Time)) -> u64 {
    for nth in 0..most {
        for stray in stray(nth) {
            if guard.admit(addr(STRANGER), &stray, at(nth * 300)) == Admission::Banned {
                return nth;
            }
        }
        offend(guard, nth, at(nth * 300));
    }
    most
}

#[test]
fn stray_acks_responses_and_requests_of_no_dialog_buy_nobody_another_guess() {
    let guesses = diluted(&guard(&users()), 40, |guard, nth, now| {
        guard.admit(addr(STRANGER), &request("REGISTER", "alice", &format!("X: {nth}\r\n")), now);
        guard.report(addr(STRANGER), 401, now);
    });
    assert_eq!(guesses, 10, "wrong passwords");
    let names = diluted(&guard(&users()), 60, |guard, nth, now| {
        guard.admit(addr(STRANGER), &request("REGISTER", &format!("{nth}"), ""), now);
    });
    assert!((30..45).contains(&names), "names: {names}");
    let invites = diluted(&guard(&users()), 60, |guard, _, now| {
        guard.admit(addr(STRANGER), &request("INVITE", "alice", ""), now);
    });
    assert_eq!(invites, 30, "new calls");
    let requests = diluted(&guard(&RegistrarPolicy::Closed), 60, |guard, _, now| {
        guard.admit(addr(STRANGER), &request("OPTIONS", "alice", ""), now);
    });
    assert_eq!(requests, 20, "requests that are nobody's");
    let rubbish = diluted(&guard(&users()), 60, |guard, _, now| {
        guard.admit(addr(STRANGER), b"rubbish rubbish", now);
    });
    assert_eq!(rubbish, 20, "what is no message");
}

#[test]
fn a_scanner_is_banned_at_first_sight_whatever_it_sent_before() {
    let guard = guard(&users());
    for nth in 0..5 {
        assert_eq!(guard.admit(addr(STRANGER), &request("REGISTER", "alice", ""), at(nth)), Admission::Pass);
    }
    let scan = request("REGISTER", "alice", "User-Agent: friendly-scanner\r\n");
    assert_eq!(guard.admit(addr(STRANGER), &scan, at(6)), Admission::Drop);
    assert_eq!(guard.admit(addr(STRANGER), &request("REGISTER", "alice", ""), at(7)), Admission::Banned);
}

#[test]
fn a_scanner_that_cannot_write_is_still_a_scanner() {
    for fault in ["no header at all\r\n", "Content-Length: 5\r\n", " : x\r\n"] {
        let guard = guard(&users());
        let scan = request("OPTIONS", "100", &format!("{fault}User-Agent: friendly-scanner\r\n"));
        assert_eq!(guard.admit(addr(STRANGER), &scan, at(0)), Admission::Drop);
        assert_eq!((count(&guard, Reason::Scanner), count(&guard, Reason::Malformed)), (1, 0), "{fault:?}");
        assert_eq!(guard.bans(at(1)).len(), 1, "{fault:?}");
    }
}

#[test]
fn a_via_that_says_nothing_counts_as_malformed_in_whatever_it_is() {
    for (method, registrar) in [("REGISTER", users()), ("ACK", users()), ("INVITE", RegistrarPolicy::Closed)]
    {
        let guard = guard(&registrar);
        let text = String::from_utf8(request(method, "alice", "")).unwrap();
        let (head, tail) = text.split_once("Via: ").unwrap();
        let garbage = format!("{head}Via: garbage\r\n{}", tail.split_once("\r\n").unwrap().1);
        let heard =
            (0..60).take_while(|_| guard.admit(addr(STRANGER), garbage.as_bytes(), at(0)) == Admission::Drop);
        assert_eq!(heard.count(), 20, "{method}");
        assert_eq!(count(&guard, Reason::Malformed), 20, "{method}");
    }
    let guard = guard(&users());
    assert_eq!(
        guard.admit(addr(STRANGER), b"SIP/2.0 200 OK\r\nVia: garbage\r\n\r\n", at(0)),
        Admission::Drop
    );
    assert_eq!(guard.admit(addr(STRANGER), b"SIP/2.0 200 OK\r\nTo: <sip:h>\r\n\r\n", at(0)), Admission::Drop);
}

/// Of one office, before any phone of it has registered: rubbish is held against what is right, a password is not.
#[test]
fn one_bad_phone_of_an_office_does_not_shut_the_others_out() {
    let guard = guard(&users());
    for nth in 0..600_u64 {
        let now = at(nth * 100);
        assert_eq!(guard.admit(addr(STRANGER), &request("REGISTER", "alice", ""), now), Admission::Pass);
        if nth % 10 == 0 {
            assert_eq!(guard.admit(addr(STRANGER), b"rubbish rubbish", now), Admission::Drop);
        }
    }
    // One of them has registered; from then on nothing from there is counted.
    guard.acquaint(addr(STRANGER).ip(), at(3_600_000), at(60_000));
    for nth in 0..1000_u64 {
        guard.report(addr(STRANGER), 401, at(60_000 + nth));
        assert_eq!(guard.admit(addr(STRANGER), b"rubbish rubbish", at(60_000 + nth)), Admission::Pass);
    }
    assert_eq!(guard.bans(at(61_000)), []);
}

#[test]
fn one_source_of_a_trunk_that_sends_too_much_is_limited_and_the_others_of_it_are_not() {
    let rules = GuardRules { trunk_rate: 100, ..GuardRules::default() };
    let guard = Guard::new(rules, snapshot(), &RegistrarPolicy::Closed);
    let invite = request("INVITE", "100", "");
    let passed = |source: &str, now| {
        (0..1_000).filter(|_| guard.admit(addr(source), &invite, now) == Admission::Pass).count()
    };
    assert_eq!(passed("198.51.100.1:5060", at(0)), 100);
    assert_eq!(passed("198.51.100.1:5062", at(0)), 0, "by its host, whatever the port");
    assert_eq!(passed("198.51.100.2:5060", at(0)), 100, "has a bucket of its own");
    assert_eq!(passed("198.51.100.1:5060", at(500)), 50);
    assert_eq!((count(&guard, Reason::Trunk), guard.bans(at(500))), (900 + 1_000 + 900 + 950, Vec::new()));
}

/// Not asserted, since it is a matter of the machine: `cargo test -p net --release -- --ignored --nocapture cost_of`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_datagram_at_the_door() {
    const ROUNDS: u32 = 1_000_000;
    let guard = guard(&RegistrarPolicy::Closed);
    let invite = request("INVITE", "100", "");
    guard.acquaint(addr("192.0.2.1:5060").ip(), at(3_600_000), at(0));
    for (who, source) in [("trunk", TRUNK), ("known", "192.0.2.1:5060"), ("banned stranger", STRANGER)] {
        let source = addr(source);
        guard.admit(source, &request("OPTIONS", "1", "User-Agent: sipcli\r\n"), at(0));
        let begin = std::time::Instant::now();
        for nth in 0..ROUNDS {
            std::hint::black_box(guard.admit(source, &invite, Time::from_micros(u64::from(nth) * 200)));
        }
        println!("{who}: {:?} each", begin.elapsed() / ROUNDS);
    }
    assert_eq!(guard.bans(at(1)).len(), 1);
}
