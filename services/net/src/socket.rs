//! Sockets as this box wants them: exclusive, non-blocking, with room for bursts.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// What a socket shall hold while its shard is busy: a second of a thousand calls.
const RECEIVE_ROOM: usize = 8 << 20;

const SEND_ROOM: usize = 4 << 20;

const BACKLOG: i32 = 1024;

/// One socket for each shard, all on the same address. The system spreads peers over them by address, so that what one
/// peer sends stays in order.
///
/// The first is bound alone: sockets that share from the start would also share with another process of ours, which
/// would then silently take half of the calls. Only once the address is ours may the others join.
pub(crate) fn bind_udp(address: SocketAddr, shards: usize) -> io::Result<Vec<UdpSocket>> {
    let first = new(address, Type::DGRAM, Protocol::UDP)?;
    first.bind(&address.into())?;
    let bound = first.local_addr()?;
    if shards > 1 {
        first.set_reuse_port(true)?;
    }
    let mut sockets = vec![first];
    for _ in 1..shards {
        let next = new(address, Type::DGRAM, Protocol::UDP)?;
        next.set_reuse_port(true)?;
        next.bind(&bound)?;
        sockets.push(next);
    }
    for socket in &sockets {
        make_room(socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE_ROOM);
        make_room(socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_ROOM);
    }
    Ok(sockets.into_iter().map(UdpSocket::from).collect())
}

/// A listening socket.
pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new(address, Type::STREAM, Protocol::TCP)?;
    // Connections of an earlier process may still be in TIME_WAIT; a process that listens is in the way all the same.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    // Accepted sockets inherit it.
    keep_alive(&socket)?;
    Ok(socket.into())
}

/// How many connections the limit of file descriptors has room for. Most descriptors are for media, and the journal and
/// the API need theirs: a flood of connections must not keep a call from its ports.
pub(crate) fn most_connections() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the system writes one rlimit, which is ours.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
    let descriptors = if known { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 1024 };
    (descriptors / 20).max(64)
}

/// How long a peer may leave what it was sent unacknowledged: as long as a transaction waits (64·T1). The system's own patience is
/// a quarter of an hour, for which each call to a peer behind a dead path would be lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(32);

/// Finds out about peers that are gone without a word: at once where they were sent something, within two minutes else.
pub(crate) fn keep_alive(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let socket = SockRef::from(socket);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.set_tcp_keepalive(&probes)
}

fn new(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
    if address.is_ipv6() {
        // Otherwise `[::]` takes IPv4 as well, under addresses that no trunk's sources name.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// As much as may be had: all of it for a privileged process, else what the system allows. More room is a wish.
fn make_room(socket: &Socket, force: libc::c_int, ask: libc::c_int, octets: usize) {
    let octets = octets as libc::c_int;
    for option in [force, ask] {
        // SAFETY: the option's value is one int, which lives through the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const octets).cast(),
                mem::size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_second_owner_of_an_address_is_turned_away_however_many_sockets_share_it() {
        for shards in [1, 3] {
            let sockets = bind_udp("127.0.0.1:0".parse().unwrap(), shards).unwrap();
            assert_eq!(sockets.len(), shards);
            let address = sockets[0].local_addr().unwrap();
            assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
            for theirs in [1, 3] {
                let error = bind_udp(address, theirs).expect_err("the address is taken");
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            }
        }
    }

    #[test]
    fn datagrams_of_many_peers_reach_all_sockets_that_share_an_address() {
        let sockets = bind_udp("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = sockets[0].local_addr().unwrap();
        for _ in 0..64 {
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", address).unwrap();
        }
        let counts: Vec<usize> = sockets
            .iter()
            .map(|socket| {
                let mut count = 0;
                while socket.recv(&mut [0; 8]).is_ok() {
                    count += 1;
                }
                count
            })
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 64);
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    }

    #[test]
    fn a_tcp_address_has_one_listener() {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind_tcp(listener.local_addr().unwrap()).expect_err("the address is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
