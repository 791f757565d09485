//! Whose a request is: sources as they are written, and the order in which they win.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;

use routing::{Snapshot, Source, SourceError, Trunk, TrunkId};

fn trunk(name: &str, sources: &[&str]) -> Trunk {
    let sources = sources.iter().map(|text| Source::parse(text).unwrap()).collect();
    Trunk { sources, ..Trunk::new(name) }
}

fn snapshot(trunks: &[(&str, &[&str])]) -> Snapshot {
    Snapshot::new(trunks.iter().map(|(name, sources)| trunk(name, sources)).collect(), vec![]).unwrap()
}

fn owner<'s>(snapshot: &'s Snapshot, address: &str) -> Option<&'s str> {
    let id = snapshot.trunk_of(address.parse::<SocketAddr>().unwrap())?;
    Some(&snapshot.trunk(id).unwrap().name)
}

#[test]
fn a_source_reads_every_form_and_prints_the_same() {
    for text in [
        "192.0.2.10",
        "198.51.100.0/24",
        "0.0.0.0/0",
        "127.0.0.1:5070",
        "198.51.100.0/24:5070",
        "::1",
        "::/0",
        "2001:db8::/32",
        "[::1]:5060",
        "[2001:db8::]/32:5060",
    ] {
        assert_eq!(Source::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).to_string(), text);
    }
}

#[test]
fn a_source_in_another_coat_is_the_same_source() {
    for (text, plain) in [
        ("192.0.2.10/32", "192.0.2.10"),
        ("[::1]", "::1"),
        ("[2001:db8::]/32", "2001:db8::/32"),
        ("::ffff:192.0.2.10", "192.0.2.10"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("[::ffff:192.0.2.10]:5060", "192.0.2.10:5060"),
    ] {
        assert_eq!(Source::parse(text), Source::parse(plain), "{text}");
    }
}

#[test]
fn a_wrong_source_says_what_was_expected() {
    for (text, expected) in [
        ("", "expected an IP address"),
        ("carrier.example", "expected an IP address"),
        ("192.0.2", "expected an IP address"),
        ("[::1", "expected an IP address"),
        ("[192.0.2.10]:5060", "expected an IP address"),
        ("[::1]x", "expected an IP address"),
        ("192.0.2.10 ", "expected an IP address"),
        ("é", "expected an IP address"),
        ("192.0.2.0/33", "a prefix length from 0 to 32, got \"33\""),
        ("192.0.2.0/", "a prefix length from 0 to 32, got \"\""),
        ("2001:db8::/129", "a prefix length from 0 to 128, got \"129\""),
        ("2001:db8::/+32", "a prefix length from 0 to 128, got \"+32\""),
        ("127.0.0.1:0", "a port from 1 to 65535, got \"0\""),
        ("127.0.0.1:65536", "a port from 1 to 65535, got \"65536\""),
        ("127.0.0.1:", "a port from 1 to 65535, got \"\""),
        ("[::1]:sip", "a port from 1 to 65535, got \"sip\""),
    ] {
        let error = Source::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn host_bits_behind_the_prefix_are_a_typing_error_and_the_network_is_offered() {
    let error = Source::parse("192.0.2.10/24").unwrap_err();
    assert!(
        matches!(&error, SourceError::HostBits { expected, .. } if expected.to_string() == "192.0.2.0/24")
    );
    assert_eq!(
        error.to_string(),
        "expected the network's first address, 192.0.2.0/24, got \"192.0.2.10/24\""
    );
    assert!(Source::parse("2001:db8::1/32").is_err());
}

#[test]
fn the_exact_host_and_port_goes_before_the_host_and_the_host_before_its_networks() {
    let snapshot = snapshot(&[
        ("anybody", &["0.0.0.0/0"]),
        ("wide", &["192.0.0.0/8"]),
        ("narrow", &["192.0.2.0/24"]),
        ("host", &["192.0.2.10"]),
        ("port", &["192.0.2.10:5070"]),
    ]);
    assert_eq!(owner(&snapshot, "192.0.2.10:5070"), Some("port"));
    assert_eq!(owner(&snapshot, "192.0.2.10:5060"), Some("host"));
    assert_eq!(owner(&snapshot, "192.0.2.11:5070"), Some("narrow"));
    assert_eq!(owner(&snapshot, "192.0.3.10:5070"), Some("wide"));
    assert_eq!(owner(&snapshot, "203.0.113.1:5060"), Some("anybody"));
    assert_eq!(owner(&snapshot, "[2001:db8::1]:5060"), None, "0.0.0.0/0 says nothing about IPv6");
}

#[test]
fn trunks_on_one_host_are_told_apart_by_port() {
    let snapshot = snapshot(&[("a", &["127.0.0.1:5070", "127.0.0.1:5072"]), ("b", &["127.0.0.1:5071"])]);
    assert_eq!(owner(&snapshot, "127.0.0.1:5070"), Some("a"));
    assert_eq!(owner(&snapshot, "127.0.0.1:5071"), Some("b"));
    assert_eq!(owner(&snapshot, "127.0.0.1:5072"), Some("a"));
    assert_eq!(owner(&snapshot, "127.0.0.1:5073"), None);
}

#[test]
fn ipv6_networks_win_by_length_too() {
    let snapshot = snapshot(&[
        ("all", &["::/0"]),
        ("isp", &["2001:db8::/32"]),
        ("site", &["2001:db8:0:1::/64"]),
        ("phone", &["[2001:db8:0:1::7]:5060"]),
    ]);
    assert_eq!(owner(&snapshot, "[2001:db8:0:1::7]:5060"), Some("phone"));
    assert_eq!(owner(&snapshot, "[2001:db8:0:1::7]:5061"), Some("site"));
    assert_eq!(owner(&snapshot, "[2001:db8:0:2::7]:5060"), Some("isp"));
    assert_eq!(owner(&snapshot, "[fe80::1]:5060"), Some("all"));
    assert_eq!(owner(&snapshot, "192.0.2.1:5060"), None, "::/0 says nothing about IPv4");
}

#[test]
fn a_dual_stack_socket_shows_ipv4_in_an_ipv6_coat_and_it_is_still_ipv4() {
    let snapshot = snapshot(&[("carrier", &["192.0.2.0/24"])]);
    assert_eq!(owner(&snapshot, "[::ffff:192.0.2.10]:5060"), Some("carrier"));
}

#[test]
fn the_index_agrees_with_a_plain_search_over_all_sources() {
    // A fixed pseudo-random walk (Knuth's MMIX constants): many prefix lengths, overlaps and ports in a small space.
    let mut state = 7u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut trunks: Vec<Trunk> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for number in 0..300 {
        let prefix = 24 + draw(9) as u8;
        let bits = (0x0a00_0000 | draw(1024) as u32) & (u32::MAX << (32 - u32::from(prefix)));
        let port = (draw(3) == 0).then(|| 5060 + draw(3) as u16);
        let source = Source { network: std::net::Ipv4Addr::from_bits(bits).into(), prefix, port };
        if !seen.contains(&source.to_string()) {
            seen.push(source.to_string());
            trunks.push(Trunk { sources: vec![source], ..Trunk::new(format!("t{number}")) });
        }
    }
    let snapshot = Snapshot::new(trunks, vec![]).unwrap();
    let mut owned = 0;
    for _ in 0..5_000 {
        let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 | draw(1100) as u32);
        let address = SocketAddr::new(ip.into(), 5060 + draw(4) as u16);
        let plain = (snapshot.trunks().iter().enumerate())
            .filter(|(_, trunk)| trunk.sources[0].contains(address))
            .max_by_key(|(_, trunk)| (trunk.sources[0].prefix, trunk.sources[0].port.is_some()))
            .map(|(index, _)| TrunkId(index as u16));
        assert_eq!(snapshot.trunk_of(address), plain, "{address}");
        owned += usize::from(plain.is_some());
    }
    assert!(
        (1_000..5_000).contains(&owned),
        "the walk must meet both owned and foreign addresses, met {owned}"
    );
}
