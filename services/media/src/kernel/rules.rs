//! Whether routes of this host depend on protocol or ports (`ip rule … ipproto udp sport …`): the system looks up the way of a
//! packet from a raw socket without either.

use std::io;

use super::netlink::{DUMP, Questions, attributes};

const NEW_RULE: u16 = 32;
const GET_RULE: u16 = 34;
const IPV4: u8 = 2;
/// `struct fib_rule_hdr`.
const HEADER: usize = 12;
/// FRA_IP_PROTO, FRA_SPORT_RANGE and FRA_DPORT_RANGE.
const BY_PORT: [u16; 3] = [22, 23, 24];

/// Whether any rule for IPv4 goes by protocol or port.
pub(super) fn go_by_port() -> io::Result<bool> {
    let mut of_ipv4 = [0; HEADER];
    of_ipv4[0] = IPV4;
    let mut found = false;
    Questions::of(None)?.ask(GET_RULE, DUMP, &of_ipv4, |kind, body| {
        found |= kind == NEW_RULE && attributes(body, HEADER).any(|(of, _)| BY_PORT.contains(&of));
    })?;
    Ok(found)
}
