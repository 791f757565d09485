//! Many datagrams with one system call, and the kernel's own time of arrival.
//!
//! Linux only. All of this module's `unsafe` is the two calls and the reading of one control message.

use std::io;
use std::mem;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libc::{iovec, mmsghdr, sockaddr_in};

/// The most datagrams of one call.
pub const BATCH: usize = 64;
const LARGEST: usize = 1500;
const CONTROL: usize = 64;

/// Asks the kernel to note when each datagram arrives, and for room to keep many.
pub fn prepare(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let options = [(libc::SO_RCVBUF, 8 << 20), (libc::SO_SNDBUF, 8 << 20), (libc::SO_TIMESTAMPNS, 1)];
    for (option, value) in options {
        let value: libc::c_int = value;
        // SAFETY: the pointer and the size are those of `value`.
        let done = unsafe {
            let value = (&raw const value).cast();
            let size = mem::size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, size)
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Time since 1970, the clock that [`prepare`] makes the kernel use.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Room for a batch that is received.
pub struct Receiver {
    buffers: Box<[[u8; LARGEST]; BATCH]>,
    controls: Box<[[u64; CONTROL / 8]; BATCH]>,
}

impl Default for Receiver {
    fn default() -> Receiver {
        Receiver { buffers: Box::new([[0; LARGEST]; BATCH]), controls: Box::new([[0; CONTROL / 8]; BATCH]) }
    }
}

impl Receiver {
    /// Takes what has arrived, at most a batch, and calls `each` with a datagram and its time of arrival. Returns how
    /// many there were.
    pub fn receive(&mut self, socket: &UdpSocket, mut each: impl FnMut(&[u8], Duration)) -> usize {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let mut headers: [mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut vectors: [iovec; BATCH] = unsafe { mem::zeroed() };
        let rooms = self.buffers.iter_mut().zip(self.controls.iter_mut());
        for ((header, vector), (buffer, control)) in headers.iter_mut().zip(vectors.iter_mut()).zip(rooms) {
            *vector = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: LARGEST };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL;
        }
        // SAFETY: each header points to one vector and one control buffer, each vector to one buffer, all of them
        // alive and not moved until the call has returned; the lengths are theirs.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).unwrap_or(0);
        for (header, buffer) in headers.iter().zip(self.buffers.iter()).take(received) {
            let arrived = arrival(&header.msg_hdr).unwrap_or_else(now);
            each(buffer.get(..header.msg_len as usize).unwrap_or_default(), arrived);
        }
        received
    }
}

/// The time that the kernel wrote into the control buffer.
fn arrival(header: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the kernel has filled the control buffer and its length; CMSG_FIRSTHDR checks that a whole header is in
    // it, and a message of this type holds one timespec.
    let time = unsafe {
        let message = libc::CMSG_FIRSTHDR(header).as_ref()?;
        if message.cmsg_level != libc::SOL_SOCKET || message.cmsg_type != libc::SCM_TIMESTAMPNS {
            return None;
        }
        libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned()
    };
    Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
}

/// Datagrams of one size that wait to be sent from one socket.
pub struct Sender<const SIZE: usize> {
    packets: Vec<([u8; SIZE], sockaddr_in)>,
}

impl<const SIZE: usize> Default for Sender<SIZE> {
    fn default() -> Sender<SIZE> {
        Sender { packets: Vec::with_capacity(BATCH) }
    }
}

impl<const SIZE: usize> Sender<SIZE> {
    /// Adds one. Returns whether the batch is full: then it must be [`flush`](Sender::flush)ed.
    pub fn push(&mut self, packet: [u8; SIZE], to: SocketAddrV4) -> bool {
        let address = sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
            sin_zero: [0; 8],
        };
        self.packets.push((packet, address));
        self.packets.len() >= BATCH
    }

    /// Sends what waits; returns how many the kernel took.
    pub fn flush(&mut self, socket: &UdpSocket) -> usize {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let mut headers: [mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut vectors: [iovec; BATCH] = unsafe { mem::zeroed() };
        for ((header, vector), (packet, to)) in
            headers.iter_mut().zip(vectors.iter_mut()).zip(&mut self.packets)
        {
            *vector = iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: SIZE };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut *to).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<sockaddr_in>() as libc::socklen_t;
        }
        let waiting = self.packets.len().min(BATCH);
        // SAFETY: the first `waiting` headers point to one vector and one address each, all of them alive and not moved
        // until the call has returned.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                waiting as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        self.packets.clear();
        usize::try_from(sent).unwrap_or(0)
    }
}
