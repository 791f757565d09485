//! Whether packets of this host are to be encrypted on their way out (IPsec): the program sends them by a way that does not
//! ask for it.

use std::io;

use rustix::io::Errno;
use rustix::net::netlink::XFRM;

use super::netlink::{DUMP, Questions};

const NEW_POLICY: u16 = 0x13;
const GET_POLICY: u16 = 0x15;
/// `struct xfrm_userpolicy_id`, of which a dump wants nothing.
const ANY: [u8; 64] = [0; 64];
/// Of the direction in `struct xfrm_userpolicy_info`: behind the selector, limits, use, priority and index.
const DIRECTION: usize = 56 + 64 + 32 + 8;
const OUT: u8 = 1;

/// Whether the host has policies for packets that leave it. Takes CAP_NET_ADMIN.
pub(super) fn has_output_policies() -> io::Result<bool> {
    let questions = match Questions::of(Some(XFRM)) {
        // A system that does not know the protocol has no policies.
        Err(error) if error.raw_os_error() == Some(Errno::PROTONOSUPPORT.raw_os_error()) => return Ok(false),
        questions => questions?,
    };
    let mut any = false;
    questions.ask(GET_POLICY, DUMP, &ANY, |kind, body| {
        any |= kind == NEW_POLICY && body.get(DIRECTION) == Some(&OUT);
    })?;
    Ok(any)
}
