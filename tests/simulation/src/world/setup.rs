//! Where everything is: addresses, numbers, trunks, routes and settings of every world.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use call::{JournalLimits, Listener, RegistrarPolicy, Settings};
use regex::Regex;
use routing::{Credentials, Fork, Snapshot, Source, Trunk, TrunkId};
use sip::{Timing, Transport};

use crate::chance::Chance;
use crate::phone::{PASSWORD, USERNAME};
use crate::script::Route;

/// The box.
pub const BOX: SocketAddr = v4([192, 0, 2, 1]);
/// Somebody who is no party to anything.
pub const STRANGER: SocketAddr = v4([198, 18, 0, 66]);

const fn v4(octets: [u8; 4]) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])), 5060)
}

/// Where the caller of the `at`th call is.
pub fn caller_address(at: usize) -> SocketAddr {
    v4([10, 10, 1, u8::try_from(101 + at).unwrap_or(255)])
}

/// Where a carrier is: 0 west, 1 east, 2 guarded, 3 and 4 those found by name, 5 over TCP.
pub fn carrier_address(at: u8) -> SocketAddr {
    v4([203, 0, 113, 111 + at])
}

/// The number that the `at`th call goes to.
pub(crate) fn number(route: Route, at: usize) -> String {
    format!("{}{at:05}", route.prefix())
}

/// Which call goes to this number.
pub(crate) fn call_of_number(number: &str) -> Option<usize> {
    number.get(2..).filter(|digits| digits.len() == 5)?.parse().ok()
}

/// What a name is resolved to.
pub(crate) fn address_of(host: &str) -> Vec<SocketAddr> {
    match host {
        "gw1.carrier.example" => vec![carrier_address(3)],
        "gw2.carrier.example" => vec![carrier_address(4)],
        _ => Vec::new(),
    }
}

/// Five trunks and a route for each kind of number, the same for all worlds; `changed`: without the first route.
pub(crate) fn snapshot(changed: bool) -> Arc<Snapshot> {
    static FIRST: LazyLock<Arc<Snapshot>> = LazyLock::new(|| make_snapshot(0));
    static CHANGED: LazyLock<Arc<Snapshot>> = LazyLock::new(|| make_snapshot(1));
    Arc::clone(if changed { &CHANGED } else { &FIRST })
}

fn make_snapshot(left_out: usize) -> Arc<Snapshot> {
    let trunk = |name: &str, sources: &[&str], peers: &[&str]| {
        let mut trunk = Trunk::new(name);
        trunk.sources = sources.iter().filter_map(|text| Source::parse(text).ok()).collect();
        trunk.peers = peers.iter().map(|&peer| peer.to_owned()).collect();
        trunk
    };
    let mut guarded = trunk("guarded", &["203.0.113.113"], &["sip:203.0.113.113:5060"]);
    guarded.auth = Some(Credentials { username: USERNAME.to_owned(), password: PASSWORD.to_owned() });
    let trunks = vec![
        trunk("access", &["10.10.1.0/24"], &[]),
        trunk("west", &["203.0.113.111"], &["sip:203.0.113.111:5060"]),
        trunk("east", &["203.0.113.112"], &["sip:203.0.113.112:5060"]),
        guarded,
        trunk(
            "named",
            &["203.0.113.114", "203.0.113.115"],
            &["sip:gw1.carrier.example", "sip:gw2.carrier.example"],
        ),
        trunk("stream", &["203.0.113.116"], &["sip:203.0.113.116:5060;transport=tcp"]),
        trunk("twin", &[], &["sip:gw2.carrier.example"]),
    ];
    let route = |kind: Route, to: &[u16]| {
        let to: Vec<TrunkId> = to.iter().map(|&id| TrunkId(id)).collect();
        let mut route = routing::Route::new(format!("{kind:?}").to_lowercase(), to);
        route.called = Regex::new(&format!("^{}", kind.prefix())).ok();
        route
    };
    let at_once = |route: routing::Route| routing::Route { fork: Fork::Parallel, ..route };
    let routes = [
        route(Route::West, &[1]),
        route(Route::WestThenEast, &[1, 2]),
        route(Route::Named, &[4]),
        route(Route::Guarded, &[3]),
        route(Route::Long, &[1, 2, 4]),
        route(Route::Stream, &[5]),
        at_once(route(Route::Both, &[1, 2])),
        at_once(route(Route::Fan, &[1, 2, 4])),
        at_once(route(Route::Names, &[4, 6])),
    ];
    let routes = routes.into_iter().skip(left_out).collect();
    // A world that cannot be described is a mistake of this file, and every test says so.
    Arc::new(Snapshot::new(trunks, routes).unwrap_or_else(|error| unreachable!("{error}")))
}

/// The settings of one shard.
pub(crate) fn settings(shard: u16, shards: u16, registrar: RegistrarPolicy, chance: &mut Chance) -> Settings {
    let mut seed = [0; 32];
    for part in seed.chunks_mut(8) {
        part.copy_from_slice(&chance.bits().to_le_bytes());
    }
    Settings {
        listeners: vec![listener("main", Transport::Udp), listener("streams", Transport::Tcp)],
        shard,
        shards,
        timing: Timing::default(),
        timer_c: Duration::from_secs(180),
        session_expires: Duration::from_secs(1_800),
        min_se: Duration::from_secs(90),
        media: call::Families::BOTH,
        registrar,
        max_calls: 1_000,
        product: "Drawbridge".to_owned(),
        journal: JournalLimits { calls: 1_000, max_bytes: 1 << 20, memory: 1 << 30 },
        seed,
        fingerprint: None,
        phones: routing::MediaSecurity::None,
        interim: Duration::from_secs(60),
        recover_calls: true,
        nonce_secret: [7; 32],
    }
}

fn listener(name: &str, transport: Transport) -> Listener {
    Listener { name: name.to_owned(), transport, bind: BOX, advertise: BOX.to_string() }
}
