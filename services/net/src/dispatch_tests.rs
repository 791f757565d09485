//! Whose calls count where, and when they count no more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use call::QueryId;
use routing::{Route, Trunk};

use super::*;

const PBX: TrunkId = TrunkId(0);
const CARRIER: TrunkId = TrunkId(1);
const SECOND: TrunkId = TrunkId(2);

/// Calls of the pbx go to the carrier, then to the second.
fn snapshot(limits: [u32; 3]) -> Arc<Snapshot> {
    snapshot_with(limits, |_| {})
}

fn snapshot_with(limits: [u32; 3], change: impl FnOnce(&mut Route)) -> Arc<Snapshot> {
    let trunks = ["pbx", "carrier", "second"]
        .into_iter()
        .zip(limits)
        .map(|(name, max_calls)| {
            let mut trunk = Trunk::new(name);
            trunk.max_calls = max_calls;
            trunk.peers = vec!["sip:127.0.0.1:5999".into(), "sip:127.0.0.1:5998".into()];
            trunk
        })
        .collect();
    let mut route = Route::new("out", vec![CARRIER, SECOND]);
    change(&mut route);
    Arc::new(Snapshot::new(trunks, vec![route]).unwrap())
}

fn query(snapshot: &Arc<Snapshot>, call: u128) -> RouteQuery {
    RouteQuery {
        query: QueryId(1),
        call: Some(Uuid::from_u128(call)),
        transfer: false,
        snapshot: Arc::clone(snapshot),
        trunk: Some(PBX),
        source: "127.0.0.1:5060".parse().unwrap(),
        caller: "alice".into(),
        uri: "sip:bob@example.com".into(),
        local_user: false,
    }
}

fn event(call: u128, kind: EventKind) -> Event {
    Event { call: Some(Uuid::from_u128(call)), kind }
}

fn started(call: u128, attempt: u32, trunk: TrunkId) -> Event {
    let destination = "127.0.0.1:5999".parse().unwrap();
    event(call, EventKind::AttemptStarted { attempt, trunk: Some(trunk), destination })
}

fn failed(call: u128, attempt: u32, trunk: TrunkId) -> Event {
    event(call, EventKind::AttemptEnded { attempt, trunk: Some(trunk), status: 503 })
}

fn ended(call: u128) -> Event {
    let kind = EventKind::CallEnded {
        trunk: Some(PBX),
        caller: "alice".into(),
        called: "bob".into(),
        status: 200,
        disposition: "answered",
        ended_by: "caller",
        duration_ms: 1000,
    };
    event(call, kind)
}

fn trunks_of(decision: Decision) -> Vec<TrunkId> {
    match decision {
        Decision::Route(plan) => plan
            .targets
            .into_iter()
            .map(|target| match target {
                Target::Trunk { trunk, .. } => trunk,
                Target::User { name } => panic!("no user {name}"),
            })
            .collect(),
        Decision::Refuse(refusal) => panic!("{refusal:?}"),
    }
}

fn calls(dispatch: &Dispatch) -> [u32; 3] {
    let admission = lock(&dispatch.admission);
    ["pbx", "carrier", "second"].map(|name| admission.calls(name))
}

#[test]
fn a_call_counts_on_both_its_trunks_until_it_ends() {
    let snapshot = snapshot([0, 0, 0]);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    assert_eq!(
        trunks_of(dispatch.decide(&query(&snapshot, 1), Time::ZERO)),
        [CARRIER, CARRIER, SECOND, SECOND]
    );
    assert_eq!(calls(&dispatch), [1, 1, 0]);

    dispatch.observe(&started(1, 1, CARRIER), Time::ZERO);
    let answered = EventKind::AttemptEnded { attempt: 1, trunk: Some(CARRIER), status: 200 };
    dispatch.observe(&event(1, answered), Time::ZERO);
    dispatch.observe(&event(1, EventKind::CallAnswered), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 1, 0], "counted once and still there");

    dispatch.observe(&ended(1), Time::ZERO);
    dispatch.observe(&ended(1), Time::ZERO);
    assert_eq!(calls(&dispatch), [0, 0, 0]);
    assert!(dispatch.held.is_empty());
}

#[test]
fn a_call_that_moves_on_takes_its_place_along() {
    let snapshot = snapshot([0, 0, 0]);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    dispatch.decide(&query(&snapshot, 1), Time::ZERO);
    dispatch.observe(&started(1, 1, CARRIER), Time::ZERO);
    dispatch.observe(&failed(1, 1, CARRIER), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 0, 0]);
    dispatch.observe(&started(1, 2, CARRIER), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 1, 0], "the trunk's next peer");
    dispatch.observe(&started(1, 3, SECOND), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 0, 1]);
    dispatch.observe(&failed(1, 2, CARRIER), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 0, 1], "news of an older attempt");
    dispatch.observe(&ended(1), Time::ZERO);
    assert_eq!(calls(&dispatch), [0, 0, 0]);
}

#[test]
fn the_last_place_goes_to_one_call_even_before_its_attempt_begins() {
    let snapshot = snapshot([0, 1, 1]);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    assert_eq!(
        trunks_of(dispatch.decide(&query(&snapshot, 1), Time::ZERO)),
        [CARRIER, CARRIER, SECOND, SECOND]
    );
    assert_eq!(trunks_of(dispatch.decide(&query(&snapshot, 2), Time::ZERO)), [SECOND, SECOND]);
    let Decision::Refuse(refusal) = dispatch.decide(&query(&snapshot, 3), Time::ZERO) else {
        panic!("both targets are full");
    };
    assert_eq!((refusal.status, refusal.blocked), (503, true));
    assert_eq!((refusal.route.as_deref(), refusal.trunk), (Some("out"), Some(SECOND)));
    assert_eq!(calls(&dispatch), [2, 1, 1], "a refused call holds nothing");

    dispatch.observe(&ended(1), Time::ZERO);
    assert_eq!(trunks_of(dispatch.decide(&query(&snapshot, 4), Time::ZERO)), [CARRIER, CARRIER]);
}

#[test]
fn a_source_at_its_limit_is_refused_and_costs_its_targets_nothing() {
    let tags = routing::Tags::new([("tariff", "night")]).unwrap();
    let snapshot = snapshot_with([1, 0, 0], |route| route.tags.clone_from(&tags));
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    dispatch.decide(&query(&snapshot, 1), Time::ZERO);
    let Decision::Refuse(refusal) = dispatch.decide(&query(&snapshot, 2), Time::ZERO) else {
        panic!("the source is full");
    };
    assert_eq!((refusal.route.as_deref(), refusal.tags, refusal.trunk), (Some("out"), tags, None));
    assert_eq!(calls(&dispatch), [1, 1, 0]);
}

#[test]
fn asking_twice_for_one_call_counts_it_once() {
    let snapshot = snapshot([0, 0, 0]);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    dispatch.decide(&query(&snapshot, 1), Time::ZERO);
    dispatch.decide(&query(&snapshot, 1), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 1, 0]);
}

#[test]
fn a_call_to_all_trunks_at_once_counts_on_each_until_its_branch_is_over() {
    let snapshot = snapshot_with([0, 0, 0], |route| route.fork = Fork::Parallel);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    dispatch.decide(&query(&snapshot, 1), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 1, 1]);
    dispatch.observe(&started(1, 1, CARRIER), Time::ZERO);
    dispatch.observe(&started(1, 2, SECOND), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 1, 1]);
    dispatch.observe(&failed(1, 1, CARRIER), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 0, 1]);
    dispatch.observe(&started(1, 3, CARRIER), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 1, 1], "its next peer");
    dispatch.observe(&failed(1, 3, CARRIER), Time::ZERO);
    dispatch.observe(&event(1, EventKind::CallAnswered), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 0, 1]);
    dispatch.observe(&ended(1), Time::ZERO);
    assert_eq!(calls(&dispatch), [0, 0, 0]);
}

#[test]
fn a_full_trunk_is_left_out_of_those_that_are_called_at_once() {
    let snapshot = snapshot_with([0, 1, 0], |route| route.fork = Fork::Parallel);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    dispatch.decide(&query(&snapshot, 1), Time::ZERO);
    assert_eq!(trunks_of(dispatch.decide(&query(&snapshot, 2), Time::ZERO)), [SECOND, SECOND]);
    assert_eq!(calls(&dispatch), [2, 1, 2]);
}

fn news(peer: &str, state: call::PeerState) -> call::PeerChange {
    let life = call::PeerLife { state, since: call::Utc(0), answered_at: None, round_trip: None, status: 0 };
    call::PeerChange { trunk: "carrier".into(), peer: peer.into(), life: Some(life) }
}

/// The trunk and peer of each target.
fn targets(decision: Decision) -> Vec<(TrunkId, usize)> {
    let Decision::Route(plan) = decision else { panic!("{decision:?}") };
    let place = |target: &Target| match target {
        Target::Trunk { trunk, peer } => (*trunk, *peer),
        Target::User { name } => panic!("{name}"),
    };
    plan.targets.iter().map(place).collect()
}

#[test]
fn a_peer_that_is_away_is_passed_over_while_others_are_not() {
    let snapshot = snapshot([0, 0, 0]);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    let asked = |dispatch: &mut Dispatch| targets(dispatch.decide(&query(&snapshot, 1), Time::ZERO));
    let all = [(CARRIER, 0), (CARRIER, 1), (SECOND, 0), (SECOND, 1)];
    assert_eq!(asked(&mut dispatch), all);
    dispatch.peers().learn(news("sip:127.0.0.1:5999", call::PeerState::Down));
    assert_eq!(asked(&mut dispatch), all[1..]);
    dispatch.peers().learn(news("sip:127.0.0.1:5998", call::PeerState::Aside));
    assert_eq!(asked(&mut dispatch), all[2..]);
    dispatch.peers().learn(news("sip:127.0.0.1:5999", call::PeerState::Up));
    assert_eq!(asked(&mut dispatch), [all[0], all[2], all[3]]);
    let gone = call::PeerChange { life: None, ..news("sip:127.0.0.1:5998", call::PeerState::Aside) };
    dispatch.peers().learn(gone);
    assert_eq!(asked(&mut dispatch), all);
}

#[test]
fn when_all_peers_are_away_they_are_tried_all_the_same() {
    let snapshot = snapshot_with([0, 0, 0], |route| route.to = vec![CARRIER]);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    for peer in ["sip:127.0.0.1:5999", "sip:127.0.0.1:5998"] {
        dispatch.peers().learn(news(peer, call::PeerState::Down));
    }
    assert_eq!(targets(dispatch.decide(&query(&snapshot, 1), Time::ZERO)), [(CARRIER, 0), (CARRIER, 1)]);
}

#[test]
fn a_peer_that_is_away_is_tried_where_the_others_have_no_room() {
    let snapshot = snapshot([0, 0, 1]);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    for peer in ["sip:127.0.0.1:5999", "sip:127.0.0.1:5998"] {
        dispatch.peers().learn(news(peer, call::PeerState::Down));
    }
    let mut asked = |call| targets(dispatch.decide(&query(&snapshot, call), Time::ZERO));
    assert_eq!(asked(1), [(SECOND, 0), (SECOND, 1)]);
    assert_eq!(asked(2), [(CARRIER, 0), (CARRIER, 1)], "the second trunk is full");
    assert_eq!(calls(&dispatch), [2, 1, 1]);
}

/// What a call found out about a peer of the carrier.
fn unwilling(peer: &str, left: Duration) -> call::PeerAside {
    call::PeerAside { trunk: "carrier".into(), peer: peer.into(), status: 503, at: call::Utc(5), left }
}

#[test]
fn a_peer_that_a_call_found_unwilling_is_passed_over_for_its_time() {
    let snapshot = snapshot([0, 0, 0]);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    let asked =
        |dispatch: &mut Dispatch, seconds| targets(dispatch.decide(&query(&snapshot, 1), at(seconds)));
    let all = [(CARRIER, 0), (CARRIER, 1), (SECOND, 0), (SECOND, 1)];
    let first = "sip:127.0.0.1:5999";
    dispatch.peers().put_aside(unwilling(first, Duration::from_secs(60)), at(10));
    dispatch.peers().put_aside(unwilling(first, Duration::from_secs(20)), at(12));
    assert_eq!(asked(&mut dispatch, 69), all[1..], "the longer time counts");
    let [told] = &dispatch.peers().all(at(69))[..] else { panic!() };
    let life = told.life.as_ref().unwrap();
    assert_eq!((&*told.peer, life.state, life.status), (first, call::PeerState::Aside, 503));
    assert_eq!(asked(&mut dispatch, 70), all);
    assert_eq!(dispatch.peers().all(at(70)), []);
}

#[test]
fn an_answer_to_a_ping_ends_what_a_call_found_out_and_a_missed_one_does_not() {
    let snapshot = snapshot([0, 0, 0]);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    let asked = |dispatch: &mut Dispatch| targets(dispatch.decide(&query(&snapshot, 1), Time::ZERO)).len();
    let first = "sip:127.0.0.1:5999";
    let answered = |at| {
        let mut news = news(first, call::PeerState::Up);
        news.life.as_mut().unwrap().answered_at = Some(call::Utc(at));
        news
    };
    dispatch.peers().learn(answered(1));
    dispatch.peers().put_aside(unwilling(first, Duration::from_secs(60)), Time::ZERO);
    dispatch.peers().learn(answered(1));
    assert_eq!(asked(&mut dispatch), 3, "the same answer as before: a ping was missed");
    let told = dispatch.peers().all(Time::ZERO).remove(0).life.unwrap();
    assert_eq!((told.state, told.answered_at), (call::PeerState::Aside, Some(call::Utc(1))));
    dispatch.peers().learn(answered(2));
    assert_eq!(asked(&mut dispatch), 4);
    dispatch.peers().put_aside(unwilling(first, Duration::from_secs(60)), Time::ZERO);
    dispatch.peers().learn(call::PeerChange { life: None, ..answered(2) });
    assert_eq!(asked(&mut dispatch), 4, "asked no more, and forgotten");
}

#[test]
fn servers_that_calls_found_unwilling_are_behind_the_others_for_their_time() {
    let peers = Peers::default();
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    let server = |host: u8| call::NextHop {
        address: std::net::SocketAddr::from(([10, 0, 0, host], 5060)),
        transport: sip::Transport::Udp,
    };
    let order = |seconds| {
        let mut servers = [1, 2, 3].map(server);
        peers.willing_first(&mut servers, at(seconds));
        servers.map(|hop| hop.address.to_string().as_bytes()[7] - b'0')
    };
    let aside =
        |host, left| call::ServerAside { server: server(host), status: 0, left: Duration::from_secs(left) };
    assert_eq!(order(0), [1, 2, 3]);
    peers.put_last(aside(1, 32), at(0));
    assert_eq!(order(1), [2, 3, 1]);
    peers.put_last(aside(2, 300), at(1));
    peers.put_last(aside(2, 5), at(2));
    assert_eq!(order(2), [3, 1, 2], "they keep their own order");
    assert_eq!(order(31), [3, 1, 2]);
    assert_eq!(order(32), [1, 3, 2]);
    peers.put_last(aside(3, 300), at(32));
    peers.put_last(aside(1, 300), at(32));
    assert_eq!(order(33), [1, 2, 3], "when all are unwilling nothing is gained");
    for host in 0..5_000_u32 {
        let address = std::net::SocketAddr::from((host.to_be_bytes(), 5060));
        let server = call::NextHop { address, transport: sip::Transport::Udp };
        peers.put_last(call::ServerAside { server, status: 0, left: Duration::from_secs(9) }, at(34));
    }
    assert!(peers.remembered() <= 1024);
}

fn asked_by_refer(snapshot: &Arc<Snapshot>, call: u128, by: TrunkId) -> RouteQuery {
    RouteQuery { transfer: true, trunk: Some(by), ..query(snapshot, call) }
}

/// A call of the pbx that the carrier answered.
fn answered(dispatch: &mut Dispatch, snapshot: &Arc<Snapshot>, call: u128) {
    dispatch.decide(&query(snapshot, call), Time::ZERO);
    dispatch.observe(&started(call, 1, CARRIER), Time::ZERO);
    dispatch.observe(&event(call, EventKind::CallAnswered), Time::ZERO);
    dispatch.seat(Uuid::from_u128(call), snapshot, Some(PBX), Some(CARRIER), Time::ZERO);
    assert_eq!(calls(dispatch), [1, 1, 0]);
}

#[test]
fn those_who_talk_keep_their_places_while_the_target_of_a_transfer_is_tried() {
    let snapshot = snapshot_with([1, 1, 1], |route| route.to = vec![SECOND]);
    let id = Uuid::from_u128(1);
    for (by, a, b, after) in [(CARRIER, PBX, SECOND, [1, 0, 1]), (PBX, SECOND, CARRIER, [0, 1, 1])] {
        let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
        // The call goes to the carrier, however the route is now.
        dispatch.seat(id, &snapshot, Some(PBX), Some(CARRIER), Time::ZERO);
        let decision = dispatch.decide(&asked_by_refer(&snapshot, 1, by), Time::ZERO);
        assert_eq!(trunks_of(decision), [SECOND, SECOND]);
        assert_eq!(calls(&dispatch), [1, 1, 1]);
        dispatch.observe(&started(1, 2, SECOND), Time::ZERO);
        assert_eq!(calls(&dispatch), [1, 1, 1]);
        assert!(
            matches!(dispatch.decide(&query(&snapshot, 2), Time::ZERO), Decision::Refuse(_)),
            "there is no room for another"
        );
        dispatch.seat(id, &snapshot, Some(a), Some(b), Time::ZERO);
        assert_eq!(calls(&dispatch), after);
        dispatch.observe(&ended(1), Time::ZERO);
        assert_eq!(calls(&dispatch), [0, 0, 0]);
        assert!(dispatch.held.is_empty());
    }
}

#[test]
fn a_transfer_that_comes_to_nothing_leaves_the_places_as_they_were() {
    let snapshot = snapshot([0, 0, 1]);
    let id = Uuid::from_u128(1);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    answered(&mut dispatch, &snapshot, 1);
    // Its first target is at the carrier, where the call is already: a place of its own.
    dispatch.decide(&asked_by_refer(&snapshot, 1, CARRIER), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 2, 0]);
    dispatch.observe(&started(1, 2, CARRIER), Time::ZERO);
    dispatch.observe(&failed(1, 2, CARRIER), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 1, 0]);
    dispatch.observe(&started(1, 3, SECOND), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 1, 1]);
    // Asked once more, and refused.
    dispatch.decide(&asked_by_refer(&snapshot, 1, CARRIER), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 2, 0]);
    dispatch.seat(id, &snapshot, Some(PBX), Some(CARRIER), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 1, 0]);
    dispatch.observe(&ended(1), Time::ZERO);
    assert_eq!(calls(&dispatch), [0, 0, 0]);
}

#[test]
fn a_party_that_comes_without_being_routed_takes_the_place_of_who_leaves() {
    let snapshot = snapshot([1, 1, 1]);
    let id = Uuid::from_u128(1);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    answered(&mut dispatch, &snapshot, 1);
    dispatch.seat(id, &snapshot, Some(PBX), Some(SECOND), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 0, 1]);
    // A phone comes, and then another shard.
    dispatch.seat(id, &snapshot, None, Some(SECOND), Time::ZERO);
    assert_eq!(calls(&dispatch), [0, 0, 1]);
    dispatch.seat(id, &snapshot, None, None, Time::ZERO);
    assert_eq!(calls(&dispatch), [0, 0, 0]);
    assert!(dispatch.held.is_empty());
    // A call between phones holds nothing, and takes a place for a target of its transfer.
    dispatch.decide(&RouteQuery { trunk: None, ..asked_by_refer(&snapshot, 2, PBX) }, Time::ZERO);
    assert_eq!(calls(&dispatch), [0, 1, 0]);
    dispatch.observe(&ended(2), Time::ZERO);
    assert_eq!(calls(&dispatch), [0, 0, 0]);
}

#[test]
fn who_comes_to_a_call_of_before_a_reload_has_its_place_at_the_trunk_of_its_name() {
    let before = snapshot([0, 0, 0]);
    let trunks = before.trunks().iter().rev().cloned().collect();
    let today = Arc::new(Snapshot::new(trunks, Vec::new()).unwrap());
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    // Between phones the call held nothing.
    let joined = EventKind::Joined { trunk_a: Some(PBX), trunk_b: None, of: call::Began(before) };
    dispatch.resume(&event(1, joined), &today, Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 0, 0]);
    dispatch.observe(&ended(1), Time::ZERO);
    assert_eq!(calls(&dispatch), [0, 0, 0]);
}

#[test]
fn the_call_of_one_of_several_branches_gives_the_places_of_the_others_back() {
    let snapshot = snapshot_with([0, 0, 0], |route| route.fork = Fork::Parallel);
    let mut dispatch = Dispatch::new(Arc::default(), Arc::default());
    dispatch.decide(&query(&snapshot, 1), Time::ZERO);
    dispatch.observe(&started(1, 1, CARRIER), Time::ZERO);
    dispatch.observe(&started(1, 2, SECOND), Time::ZERO);
    dispatch.seat(Uuid::from_u128(1), &snapshot, Some(PBX), Some(SECOND), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 0, 1]);
    dispatch.observe(&failed(1, 1, CARRIER), Time::ZERO);
    assert_eq!(calls(&dispatch), [1, 0, 1]);
    dispatch.observe(&ended(1), Time::ZERO);
    assert_eq!(calls(&dispatch), [0, 0, 0]);
}
