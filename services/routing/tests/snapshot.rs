//! What makes trunks and routes a snapshot, and how a mistake is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use routing::{Credentials, Entry, Problem, Route, Snapshot, Source, Trunk, TrunkId};

fn trunk(name: &str) -> Trunk {
    Trunk { peers: vec!["sip:192.0.2.10:5060".into()], ..Trunk::new(name) }
}

fn refused(trunks: Vec<Trunk>, routes: Vec<Route>) -> String {
    Snapshot::new(trunks, routes).unwrap_err().to_string()
}

#[test]
fn trunks_are_found_by_id_and_name() {
    let snapshot = Snapshot::new(vec![trunk("carrier"), trunk("pbx")], vec![]).unwrap();
    let pbx = snapshot.trunk_named("pbx").unwrap();
    assert_eq!(pbx, TrunkId(1));
    assert_eq!(snapshot.trunk(pbx).unwrap().name, "pbx");
    assert_eq!(snapshot.trunk_named("PBX"), None);
    assert!(snapshot.trunk(TrunkId(2)).is_none());
    assert!(Snapshot::empty().trunks().is_empty() && Snapshot::empty().routes().is_empty());
}

#[test]
fn names_are_needed_and_unique_among_their_kind() {
    assert_eq!(
        refused(vec![trunk("a"), trunk("a")], vec![]),
        "trunk \"a\": name: expected a name of its own, this one is taken"
    );
    assert_eq!(refused(vec![trunk("")], vec![]), "trunk \"\": name: expected a name, got none");
    let twice = vec![Route::new("r", [TrunkId(0)]), Route::new("r", [TrunkId(0)])];
    assert_eq!(
        refused(vec![trunk("a")], twice),
        "route \"r\": name: expected a name of its own, this one is taken"
    );
    Snapshot::new(vec![trunk("same")], vec![Route::new("same", [TrunkId(0)])]).unwrap();
}

#[test]
fn a_route_needs_trunks_that_exist_and_can_be_called() {
    let with = |route: Route| refused(vec![trunk("a"), Trunk::new("deaf")], vec![route]);
    assert_eq!(with(Route::new("r", [])), "route \"r\": to: expected at least one trunk, got none");
    assert_eq!(
        with(Route::new("r", [TrunkId(0), TrunkId(1)])),
        "route \"r\": to[1]: expected a trunk with peers, trunk \"deaf\" has none"
    );
    assert_eq!(
        with(Route::new("r", [TrunkId(9)])),
        "route \"r\": to[0]: expected a trunk of this configuration, got number 9"
    );
    assert_eq!(
        with(Route { from: Some(vec![TrunkId(0), TrunkId(7)]), ..Route::new("r", [TrunkId(0)]) }),
        "route \"r\": from[1]: expected a trunk of this configuration, got number 7"
    );
    assert_eq!(
        with(Route { from: Some(vec![]), ..Route::new("r", [TrunkId(0)]) }),
        "route \"r\": from: expected at least one trunk, or no `from` for calls from anywhere"
    );
}

#[test]
fn only_final_failure_codes_can_move_a_call_on() {
    for code in [0, 100, 180, 200, 299, 700, u16::MAX] {
        let route = Route { failover: vec![503, code], ..Route::new("r", [TrunkId(0)]) };
        let said = refused(vec![trunk("a")], vec![route]);
        assert_eq!(
            said,
            format!("route \"r\": failover[1]: expected final response codes from 300 to 699, got {code}")
        );
    }
}

#[test]
fn a_peer_is_a_sip_or_sips_uri_with_a_host() {
    for good in [
        "sip:192.0.2.10",
        "sip:192.0.2.10:5060;transport=udp",
        "sips:sbc.example.com",
        "sip:[2001:db8::1]:5060;transport=tcp",
        "SIP:gw@example.com",
    ] {
        let trunk = Trunk { peers: vec![good.into()], ..Trunk::new("t") };
        assert!(Snapshot::new(vec![trunk], vec![]).is_ok(), "{good}");
    }
    for (bad, expected) in [
        ("", "scheme:address"),
        ("192.0.2.10", "scheme:address"),
        ("tel:+12015550123", "a sip or sips URI"),
        ("http://example.com", "a sip or sips URI"),
        ("sip:h?a=b", "no ?headers behind the URI"),
        ("sip:", ""),
        ("sip:x@", ""),
        ("sip:[::1", ""),
    ] {
        let trunk = Trunk { peers: vec!["sip:ok".into(), bad.into()], ..Trunk::new("t") };
        let said = refused(vec![trunk], vec![]);
        assert!(said.starts_with(&format!("trunk \"t\": peers[1]: expected {expected}")), "{bad}: {said}");
        assert!(
            said.ends_with(&format!(", as in sip:192.0.2.10:5060;transport=udp, got {bad:?}")),
            "{bad}: {said}"
        );
    }
}

#[test]
fn two_trunks_cannot_claim_the_very_same_source() {
    let claim = |name: &str, sources: &[&str]| Trunk {
        sources: sources.iter().map(|text| Source::parse(text).unwrap()).collect(),
        ..trunk(name)
    };
    assert_eq!(
        refused(vec![claim("a", &["192.0.2.10"]), claim("b", &["::1", "::ffff:192.0.2.10"])], vec![]),
        "trunk \"b\": sources[1]: expected a source of its own, 192.0.2.10 is claimed by trunk \"a\" already"
    );
    // Overlap is not conflict: the narrower one wins. Nor is repeating oneself.
    let trunks = vec![
        claim("a", &["192.0.2.10", "192.0.2.10/32"]),
        claim("b", &["192.0.2.10:5060"]),
        claim("c", &["192.0.2.0/24"]),
    ];
    Snapshot::new(trunks, vec![]).unwrap();
}

#[test]
fn a_source_that_no_text_could_give_is_refused_too() {
    let source = Source { network: [192, 0, 2, 0].into(), prefix: 33, port: None };
    let said = refused(vec![Trunk { sources: vec![source], ..trunk("a") }], vec![]);
    assert!(said.starts_with("trunk \"a\": sources[0]: expected a prefix that fits"), "{said}");
}

#[test]
fn all_mistakes_are_named_with_the_entry_and_field_they_are_in() {
    let trunks = [trunk("a"), Trunk { peers: vec!["nonsense".into()], ..trunk("a") }];
    let routes =
        [Route::new("fine", [TrunkId(0)]), Route { failover: vec![1], ..Route::new("r", [TrunkId(5)]) }];
    let mistakes = Snapshot::mistakes(&trunks, &routes);
    let places: Vec<_> = mistakes.iter().map(|m| (m.entry, m.field, m.element)).collect();
    assert_eq!(
        places,
        [
            (Entry::Trunk(1), "name", None),
            (Entry::Trunk(1), "peers", Some(0)),
            (Entry::Route(1), "to", Some(0)),
            (Entry::Route(1), "failover", Some(0)),
        ]
    );
    assert_eq!(mistakes[0].problem, Problem::NameTaken);
}

#[test]
fn more_trunks_than_ids_are_refused_not_wrapped() {
    let trunks = (0..=65_536).map(|number| Trunk::new(format!("t{number}"))).collect();
    let error = Snapshot::new(trunks, vec![]).unwrap_err();
    assert_eq!((error.entry, error.problem), (Entry::Trunk(65_536), Problem::TooManyTrunks));
}

#[test]
fn a_password_is_never_shown() {
    let auth = Credentials { username: "box".into(), password: "s3cret".into() };
    let snapshot = Snapshot::new(vec![Trunk { auth: Some(auth), ..trunk("a") }], vec![]).unwrap();
    let shown = format!("{snapshot:?} {snapshot:#?}");
    assert!(shown.contains("box") && !shown.contains("s3cret"), "{shown}");
}
