//! `sips`: what is asked for with it goes over TLS and nothing else, and says so in every Contact of the box (RFC 3261
//! §26.2.2, RFC 5630).

use crate::harness::*;
use call::{Flow, Listener, ListenerId, Settings, TlsVersion};
use routing::Trunk;
use sip::Transport;

const TLS: ListenerId = ListenerId(3);

fn with_tls(peer: &str) -> World {
    World::shaped(
        |trunks: &mut Vec<Trunk>| trunks[1].peers = vec![peer.to_owned()],
        |settings: &mut Settings| {
            settings.listeners.push(Listener {
                name: "tls".into(),
                transport: Transport::Tls,
                bind: "192.0.2.1:5061".parse().unwrap(),
                advertise: "192.0.2.1:5061".into(),
            });
        },
    )
}

/// The caller's INVITE over TLS to a sips URI.
fn calls_securely(world: &mut World) -> Flow {
    let flow = Flow { listener: TLS, remote: CALLER.parse().unwrap(), connection: 7 };
    world.receive_on(flow, &invite("1", Some(OFFER)).replace("INVITE sip:", "INVITE sips:"));
    world.expect(CALLER, "SIP/2.0 100");
    flow
}

#[test]
fn a_secure_call_is_secure_on_both_legs_and_in_both_contacts() {
    for peer in ["sip:10.2.2.2:5061;transport=tls", "sips:10.2.2.2"] {
        let mut world = with_tls(peer);
        calls_securely(&mut world);
        let port = if peer.starts_with("sips") { "" } else { ":5061" };
        let out = world.expect("10.2.2.2:5061", &format!("INVITE sips:4912345@10.2.2.2{port} SIP/2.0"));
        assert_eq!(out.flow.listener, TLS);
        assert_eq!(out.header("Contact"), "<sips:drawbridge@192.0.2.1:5061>");
        world.receive_on(out.flow, &response(&out, "200 OK", "b1", Some(ANSWER)));
        let ok = world.expect(CALLER, "SIP/2.0 200");
        assert_eq!(ok.header("Contact"), "<sips:drawbridge@192.0.2.1:5061>");
        let ack = world.expect("10.2.2.2:5061", "ACK");
        assert_eq!(ack.flow.listener, TLS, "whatever the callee's Contact says");
    }
}

#[test]
fn a_name_stands_for_its_servers_that_speak_tls_when_the_call_is_secure() {
    let mut world = with_tls("sip:carrier.example");
    calls_securely(&mut world);
    assert!(world.names[0].secure);
}

#[test]
fn a_secure_call_to_peers_that_can_be_read_gets_480_with_a_warning_and_a_line() {
    let mut world = with_tls("sip:10.2.2.2");
    calls_securely(&mut world);
    let refusal = world.expect(CALLER, "SIP/2.0 480");
    assert_eq!(refusal.header("Warning"), "380 192.0.2.1 \"SIPS Not Allowed\"");
    assert!(world.warnings.iter().any(|line| line.contains("asks for TLS")), "{:?}", world.warnings);
    world.expect_silence();
}

#[test]
fn a_sips_request_that_could_be_read_on_its_way_here_is_refused_as_sips_not_allowed() {
    let mut world = with_tls("sips:10.2.2.2");
    let stream = Flow { listener: ListenerId(2), remote: CALLER.parse().unwrap(), connection: 7 };
    let udp = Flow { listener: ListenerId(0), remote: CALLER.parse().unwrap(), connection: 0 };
    for (number, (method, flow)) in
        [("INVITE", udp), ("INVITE", stream), ("MESSAGE", udp)].into_iter().enumerate()
    {
        let transport = if flow == udp { "UDP" } else { "TCP" };
        let text = invite(&number.to_string(), None)
            .replace("INVITE", method)
            .replace("/UDP", &format!("/{transport}"));
        world.receive_on(flow, &text.replace(&format!("{method} sip:"), &format!("{method} sips:")));
        let refusal = world.expect(CALLER, "SIP/2.0 480");
        assert_eq!(refusal.header("Warning"), "380 192.0.2.1 \"SIPS Not Allowed\"", "{method}");
        world.expect_silence();
    }
}

#[test]
fn a_redirection_leads_a_secure_call_nowhere_that_can_be_read() {
    let mut world = with_tls("sips:10.2.2.2");
    calls_securely(&mut world);
    let out = world.expect("10.2.2.2:5061", "INVITE");
    let moved = response(&out, "302 Moved", "m", None).replace(
        "Contact: <sip:bob@10.2.2.2:5061>",
        "Contact: <sip:bob@10.3.3.3>, <sips:bob@10.4.4.4>;q=0.1",
    );
    world.receive_on(out.flow, &moved);
    world.expect("10.2.2.2:5061", "ACK");
    world.expect("10.4.4.4:5061", "INVITE sips:bob@10.4.4.4 SIP/2.0");
    world.expect_silence();
}

#[test]
fn a_contact_that_asks_for_tls_gets_it_or_the_operator_is_told() {
    for has_tls in [true, false] {
        let mut world = if has_tls { with_tls("sip:10.2.2.2:5060") } else { World::new() };
        let (out, _) = call_ringing(&mut world);
        let ok = response(&out, "200 OK", "b1", Some(ANSWER))
            .replace(&format!("Contact: <sip:bob@{CALLEE}>"), "Contact: <sips:bob@10.4.4.4>");
        world.receive(CALLEE, &ok);
        world.expect(CALLER, "SIP/2.0 200");
        let at = if has_tls { "10.4.4.4:5061" } else { "10.4.4.4:5060" };
        let ack = world.expect(at, "ACK sips:bob@10.4.4.4 SIP/2.0");
        assert_eq!(ack.flow.listener == TLS, has_tls);
        let told = world.warnings.iter().any(|line| line.contains("sips:bob@10.4.4.4 asks for TLS"));
        assert_eq!(told, !has_tls, "{:?}", world.warnings);
        world.expect_replays();
    }
}

#[test]
fn the_record_says_which_tls_each_side_spoke() {
    let mut world = with_tls("sip:10.2.2.2:5061;transport=tls");
    let flow = calls_securely(&mut world);
    // The connection that the shell opened has a number when something comes over it, and a version with it.
    let out = world.expect("10.2.2.2:5061", "INVITE");
    assert_eq!((out.flow.connection, out.flow.tls()), (0, None));
    let theirs = Flow { connection: 8, ..out.flow }.secured(TlsVersion::V1_2);
    assert_eq!((theirs.number(), theirs.tls()), (8, Some(TlsVersion::V1_2)));
    world.receive_on(theirs, &response(&out, "486 Busy Here", "b1", None));
    world.expect("10.2.2.2:5061", "ACK");
    world.expect(CALLER, "SIP/2.0 486");
    let record = &world.records[0];
    assert_eq!((record.a_tls, record.b_tls), (None, Some(TlsVersion::V1_2)), "{flow:?}");

    let mut world = with_tls("sip:10.2.2.2:5061;transport=tls");
    let flow = flow.secured(TlsVersion::V1_3);
    world.receive_on(flow, &invite("1", Some(OFFER)));
    world.expect(CALLER, "SIP/2.0 100");
    world.expect("10.2.2.2:5061", "INVITE");
    world.receive_on(flow, &cancel("1"));
    world.expect(CALLER, "SIP/2.0 200");
    let refused = world.expect(CALLER, "SIP/2.0 487");
    assert_eq!(refused.flow, flow);
    world.input(call::Input::Command { id: 1, command: call::Command::Abandon });
    let record = &world.records[0];
    assert_eq!(
        (record.a_tls, record.b_tls),
        (Some(TlsVersion::V1_3), None),
        "nothing was heard of the callee"
    );
}
