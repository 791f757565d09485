//! Starting: everything or nothing, and a reason.

use std::net::{TcpListener, UdpSocket};

use net::{Listen, NetError, bind};
use sip::Transport;

use crate::bench::{config, listen};

fn complaint(shards: usize, listeners: Vec<Listen>) -> String {
    let (mut config, ..) = config(shards);
    config.listeners = listeners;
    bind(config).err().expect("it cannot start").to_string()
}

#[test]
fn an_address_that_is_taken_is_named_with_its_listener_and_nothing_stays_bound() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken_udp, taken_tcp) = (taken.local_addr().unwrap(), listening.local_addr().unwrap());
    for shards in [1, 2] {
        for (transport, address) in [(Transport::Udp, taken_udp), (Transport::Tcp, taken_tcp)] {
            let listeners = vec![
                listen("inside", Transport::Udp, &free.to_string()),
                listen("outside", transport, &address.to_string()),
            ];
            let said = complaint(shards, listeners);
            let expected = format!(
                "listener \"outside\": cannot listen on {} {address}: address in use",
                transport.as_param()
            );
            assert!(said.starts_with(&expected), "{said}");
            UdpSocket::bind(free).expect("the first listener's address is free again");
        }
    }
}

#[test]
fn an_address_of_another_machine_is_named() {
    let said = complaint(1, vec![listen("outside", Transport::Udp, "192.0.2.1:5060")]);
    assert_eq!(
        said,
        "listener \"outside\": cannot listen on udp 192.0.2.1:5060: no such address on this machine"
    );
}

#[test]
fn every_address_is_no_address_to_advertise() {
    let mut all = listen("outside", Transport::Udp, "0.0.0.0:0");
    assert!(complaint(1, vec![all.clone()]).contains("`advertise` must name one"));

    all.advertise = Some("sbc.example.com".to_owned());
    let (mut config, ..) = config(1);
    config.listeners = vec![all];
    let bound = bind(config).unwrap();
    let listener = &bound.listeners()[0];
    assert_ne!(listener.bind.port(), 0);
    assert_eq!(listener.advertise, format!("sbc.example.com:{}", listener.bind.port()));
}

#[test]
fn tls_without_a_certificate_and_parts_that_do_not_fit_are_refused() {
    let tls = listen("outside", Transport::Tls, "127.0.0.1:0");
    assert!(complaint(1, vec![tls]).contains("tls needs a certificate"));
    assert!(complaint(1, Vec::new()).contains("listeners, got 0"));

    let (mut config, ..) = config(2);
    config.engines.pop();
    assert!(matches!(bind(config), Err(NetError::Parts { what: "media engines", got: 1, .. })));
}
