//! Descriptions: rewriting changes the lines that the box owns and no other, and leaves no address but the relay's.
//!
//! Lines are taken apart here in a way of its own, so that a fault of the reader is not forgiven by itself.

use std::net::IpAddr;

use sip::{Edit, Sdp, StreamPorts};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(sdp) = Sdp::parse(bytes) else { return };
    view(&sdp);
    let ports = |at: u16| StreamPorts { rtp: 30_000 + 2 * at, rtcp: 30_001 + 2 * at };
    let odd = StreamPorts { rtp: 40_000, rtcp: 40_007 };
    let all: Vec<StreamPorts> = (0..16).map(ports).collect();
    for (address, streams) in [
        (IpAddr::from([198, 51, 100, 7]), &all[..]),
        (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]), &[odd, StreamPorts { rtp: 0, rtcp: 0 }][..]),
    ] {
        let edit = Edit { origin_user: "", session_id: 77, version: 3, address, streams, encryption: None };
        let written = sdp.rewrite(&edit);
        let again = Sdp::parse(&written).expect("what is written is a description");
        assert_eq!(foreign(&written), foreign(bytes), "only owned lines change");
        media_lines_stay(bytes, &written);
        addresses_are_ours(&written, address);
        streams_are_ours(&sdp, &again, &edit);
        assert_eq!(again.rewrite(&edit), written, "nothing is left to be rewritten");
    }
}

fn view(sdp: &Sdp<'_>) {
    let _ = (sdp.origin(), sdp.session_connection().map(|host| host.is_held()), sdp.session_direction());
    for stream in sdp.streams() {
        let _ = (stream.rtp(), stream.rtcp(), stream.is_held_address(), stream.codec(), stream.rtcp_mux());
        let _ =
            (stream.rtpmap(0), stream.rtpmap(96), stream.direction().sends(), stream.format_list().count());
    }
}

/// The lines, without their ends.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        lines.push(&rest[..end]);
        let eol = match &rest[end..] {
            [b'\r', b'\n', ..] => 2,
            [_, ..] => 1,
            [] => 0,
        };
        rest = &rest[end + eol..];
    }
    lines
}

/// The lines that are not the box's to change. Blank ones say nothing; one may be lost where a CR alone comes before it.
fn foreign(text: &[u8]) -> Vec<&[u8]> {
    const OWNED: [&str; 10] = [
        "rtcp",
        "rtcp-mux",
        "rtcp-mux-only",
        "candidate",
        "remote-candidates",
        "end-of-candidates",
        "alt",
        "altc",
        "ccap",
        "source-filter",
    ];
    let is_foreign = |line: &&[u8]| match line {
        [b'o' | b'c' | b'm', b'=', ..] => false,
        [b'a', b'=', attribute @ ..] => {
            let name = attribute.split(|byte| *byte == b':').next().unwrap_or_default();
            let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
            !OWNED.contains(&name.as_str()) && !name.starts_with("ice-")
        }
        _ => !line.trim_ascii().is_empty(),
    };
    lines(text).into_iter().filter(is_foreign).collect()
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line[2..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).collect()
}

/// As many m= lines in the same order, of which nothing but the port has changed.
fn media_lines_stay(before: &[u8], after: &[u8]) {
    let of =
        |text| lines(text).into_iter().filter(|line| line.starts_with(b"m=")).map(fields).collect::<Vec<_>>();
    let (before, after) = (of(before), of(after));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before[0], &before[2..]), (after[0], &after[2..]));
    }
}

/// Every c= and o= names the relay; only what means hold may stay.
fn addresses_are_ours(text: &[u8], relay: IpAddr) {
    for line in lines(text) {
        let at = match line {
            [b'c', b'=', ..] => 2,
            [b'o', b'=', ..] => 5,
            _ => continue,
        };
        let fields = fields(line);
        let host = fields[at].split(|byte| *byte == b'/').next().unwrap_or_default();
        let host = String::from_utf8_lossy(host);
        let ip: Option<IpAddr> = host.parse().ok();
        let held = at == 2
            && (ip.is_some_and(|ip| ip.is_unspecified()) || host.to_ascii_lowercase().ends_with(".invalid"));
        assert!(ip == Some(relay) || held, "{}", line.escape_ascii());
    }
}

/// Each stream is at the relay's ports, or rejected; what it says of its media is what was said.
fn streams_are_ours(before: &Sdp<'_>, after: &Sdp<'_>, edit: &Edit<'_>) {
    assert_eq!(before.streams().len(), after.streams().len());
    for (at, (before, after)) in before.streams().iter().zip(after.streams()).enumerate() {
        let ports = edit.streams.get(at).filter(|ports| ports.rtp != 0 && !before.is_rejected());
        assert_eq!(after.port, ports.map_or(0, |ports| ports.rtp));
        assert!(!after.rtcp_mux());
        assert_eq!((before.kind, before.proto, before.formats), (after.kind, after.proto, after.formats));
        assert_eq!((before.direction(), before.codec()), (after.direction(), after.codec()));
        assert!(before.is_held_address() == after.is_held_address() || before.address().is_none());
        let Some(ports) = ports else { continue };
        let ours = |ip: IpAddr| ip == edit.address || ip.is_unspecified();
        assert!(after.rtp().is_none_or(|rtp| ours(rtp.ip()) && rtp.port() == ports.rtp));
        assert!(after.rtcp().is_none_or(|rtcp| ours(rtcp.ip()) && rtcp.port() == ports.rtcp));
    }
}
