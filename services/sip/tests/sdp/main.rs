//! Session descriptions as the field writes them: what is read, what is rewritten, and what is left alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod corpus;
mod fitting;
mod hostile;
mod reading;
mod rewriting;
mod selecting;

use std::net::{IpAddr, Ipv4Addr};

use sip::{Edit, Sdp, StreamPorts};

/// The relay's address in all tests.
const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

const PORTS: [StreamPorts; 3] = [
    StreamPorts { rtp: 20_000, rtcp: 20_001 },
    StreamPorts { rtp: 20_002, rtcp: 20_003 },
    StreamPorts { rtp: 20_004, rtcp: 20_005 },
];

fn edit() -> Edit<'static> {
    Edit {
        origin_user: "drawbridge",
        session_id: 77,
        version: 3,
        address: RELAY,
        streams: &PORTS,
        encryption: None,
    }
}

fn parse(text: &[u8]) -> Sdp<'_> {
    match Sdp::parse(text) {
        Ok(sdp) => sdp,
        Err(error) => panic!("{error} in\n{}", String::from_utf8_lossy(text)),
    }
}

fn rewrite(text: &str, edit: &Edit<'_>) -> String {
    String::from_utf8(parse(text.as_bytes()).rewrite(edit)).unwrap()
}

/// Lines with CRLF at each end.
fn crlf(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [*line, "\r\n"]).collect()
}
