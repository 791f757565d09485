//! A trunk's limits on calls at once and calls per second.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use routing::{Admission, Trunk};
use sip::Time;

fn trunk(max_calls: u32, max_cps: u32) -> Trunk {
    Trunk { max_calls, max_cps, ..Trunk::new("carrier") }
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn admitted(admission: &mut Admission, trunk: &Trunk, now: Time, offered: u32) -> u32 {
    (0..offered).filter(|_| admission.admit(trunk, now).is_ok()).count() as u32
}

#[test]
fn a_call_over_max_calls_is_503_until_one_ends() {
    let mut admission = Admission::new();
    let trunk = trunk(2, 0);
    assert_eq!(admitted(&mut admission, &trunk, at(0), 2), 2);
    let refusal = admission.admit(&trunk, at(0)).unwrap_err();
    assert_eq!(
        (refusal.status, refusal.why.as_str(), refusal.blocked),
        (503, "trunk \"carrier\" is at max_calls = 2", true)
    );
    assert_eq!(admission.calls("carrier"), 2, "a refused call is not counted");
    admission.release("carrier");
    assert_eq!(admission.calls("carrier"), 1);
    admission.admit(&trunk, at(0)).unwrap();
    assert_eq!(admission.calls("carrier"), 2);
}

#[test]
fn zero_is_no_limit_and_calls_are_counted_all_the_same() {
    let mut admission = Admission::new();
    assert_eq!(admitted(&mut admission, &trunk(0, 0), at(0), 10_000), 10_000);
    assert_eq!(admission.calls("carrier"), 10_000);
    for _ in 0..10_000 {
        admission.release("carrier");
    }
    assert_eq!(admission.calls("carrier"), 0);
    admission.release("carrier");
    admission.release("nobody");
    assert_eq!(admission.calls("carrier"), 0, "one release too many wraps nothing");
    assert_eq!(admission.calls("nobody"), 0);
}

#[test]
fn one_seconds_calls_may_come_at_once_and_then_only_at_the_rate() {
    let mut admission = Admission::new();
    let trunk = trunk(0, 10);
    assert_eq!(admitted(&mut admission, &trunk, at(0), 100), 10);
    let refusal = admission.admit(&trunk, at(0)).unwrap_err();
    assert_eq!((refusal.status, refusal.why.as_str()), (503, "trunk \"carrier\" is at max_cps = 10"));
    assert_eq!(admitted(&mut admission, &trunk, at(99), 5), 0);
    assert_eq!(admitted(&mut admission, &trunk, at(100), 5), 1);
    assert_eq!(admitted(&mut admission, &trunk, at(350), 5), 2);
    assert_eq!(
        admitted(&mut admission, &trunk, at(60_000), 100),
        10,
        "an idle minute is one burst, not sixty"
    );
}

#[test]
fn the_rate_is_exact_over_a_long_time_whatever_the_steps() {
    for step in [1, 7, 33, 333] {
        let mut admission = Admission::new();
        let trunk = trunk(0, 3);
        let total: u32 =
            (0..=60_000).step_by(step).map(|ms| admitted(&mut admission, &trunk, at(ms), 5)).sum();
        let last = 60_000 / step as u64 * step as u64;
        assert_eq!(u64::from(total), 3 + last * 3 / 1_000, "steps of {step} ms");
    }
}

#[test]
fn a_call_refused_for_max_calls_costs_no_token() {
    let mut admission = Admission::new();
    let trunk = trunk(1, 2);
    admission.admit(&trunk, at(0)).unwrap();
    assert_eq!(admitted(&mut admission, &trunk, at(0), 50), 0);
    admission.release("carrier");
    admission.admit(&trunk, at(0)).unwrap();
}

#[test]
fn ending_calls_gives_no_tokens_back() {
    let mut admission = Admission::new();
    let trunk = trunk(0, 1);
    admission.admit(&trunk, at(0)).unwrap();
    admission.release("carrier");
    assert!(admission.admit(&trunk, at(500)).is_err());
    admission.admit(&trunk, at(1_000)).unwrap();
}

#[test]
fn a_reload_changes_limits_and_keeps_counts() {
    let mut admission = Admission::new();
    assert_eq!(admitted(&mut admission, &trunk(0, 100), at(0), 40), 40);
    assert_eq!(admission.calls("carrier"), 40);
    assert!(admission.admit(&trunk(40, 100), at(0)).is_err());
    assert_eq!(
        admitted(&mut admission, &trunk(0, 5), at(0), 50),
        5,
        "what was saved is cut to the new depth"
    );
    assert_eq!(admitted(&mut admission, &trunk(0, 0), at(0), 50), 50);
    assert_eq!(admitted(&mut admission, &trunk(0, 5), at(0), 50), 5);
}

#[test]
fn a_clock_that_stands_or_steps_back_gives_nothing_away() {
    let mut admission = Admission::new();
    let trunk = trunk(0, 1);
    admission.admit(&trunk, at(5_000)).unwrap();
    assert!(admission.admit(&trunk, at(1_000)).is_err());
    assert!(admission.admit(&trunk, at(5_500)).is_err());
    admission.admit(&trunk, at(6_000)).unwrap();
}

#[test]
fn the_largest_limits_overflow_nothing() {
    let mut admission = Admission::new();
    let trunk = trunk(u32::MAX, u32::MAX);
    admission.admit(&trunk, Time::ZERO).unwrap();
    admission.admit(&trunk, Time::from_micros(u64::MAX)).unwrap();
    assert_eq!(admission.calls("carrier"), 2);
}

#[test]
fn trunks_are_counted_apart_and_the_table_is_bounded() {
    let mut admission = Admission::new();
    let named = |number: u32| Trunk { max_cps: 1, ..Trunk::new(format!("t{number}")) };
    for number in 0..65_536 {
        admission.admit(&named(number), at(0)).unwrap();
    }
    let refusal = admission.admit(&named(65_536), at(0)).unwrap_err();
    assert!(refusal.why.contains("no room to count \"t65536\""), "{}", refusal.why);
    admission.release("t7");
    assert!(admission.admit(&named(65_536), at(10)).is_err(), "t7's bucket is not full yet");
    admission.admit(&named(65_536), at(1_000)).unwrap();
    assert_eq!((admission.calls("t7"), admission.calls("t8"), admission.calls("t65536")), (0, 1, 1));
}
