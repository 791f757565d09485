//! How a relay thread moves datagrams: from the funnel or a port's own socket, through the rules of their stream, out of the port
//! of the other side.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use call::Side;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recvfrom, send, sendto};

use super::funnel::{self, Arrived, Batch};
use super::seats::Seat;
use super::sockets::Kind;
use super::worker::{DATAGRAM, FUNNEL, INTERRUPT, ROUNDS, Worker, socket_of};
use super::{Path, PathEnd, Socket};
use crate::ports::SlotId;
use crate::stream::{Channel, News, OVERHEAD, Verdict, makes_keys};

/// Packets read per visit from a socket that comes up again: a video frame, or what gathered while the thread was kept
/// from running.
const BURST: usize = 32;
/// As many as a socket holds, and more.
const BACKLOG: usize = 1024;
/// So many records of handshakes are read in a wake-up: each takes a tenth of a millisecond or more, in which nothing else moves. The
/// rest stays in its sockets and comes up again.
const RECORDS: u32 = 4;
/// Octets of those that came by the funnel and wait in memory, with what comes behind them; what is beyond is sent again by who
/// wants keys.
const MAX_PUT_OFF: usize = 4 << 20;

impl Worker {
    /// Moves what the funnel holds, up to a bound. Whether there is more.
    pub(super) fn pour(&mut self, batch: &mut Batch) -> bool {
        let shared = Arc::clone(&self.shared);
        let funnel = shared.threads[self.thread].funnel.as_ref();
        while self.records < RECORDS {
            let Some((arrived, datagram)) = self.put_off.pop_front() else { break };
            self.octets_put_off -= arrived.length;
            let mut room = datagram.into_vec();
            room.resize(arrived.length + OVERHEAD, 0);
            self.take_in(arrived, &mut room);
        }
        for _ in 0..ROUNDS {
            let came = funnel.map_or(0, |funnel| funnel.receive(batch, |port| shared.steered(port)));
            self.tally.steered += came as u64;
            self.now = self.shared.clock();
            let slots = batch.arrived().iter().filter_map(|arrived| Some(arrived.at?.0));
            // Not their sockets, which nothing is read from nor, if all goes well, written to.
            self.seats.approach(slots, |near, far| (near.slot.0 ^ far.slot.0) as i32);
            for (arrived, buffer) in batch.datagrams() {
                self.take_in(arrived, buffer);
            }
            if came < funnel::BATCH {
                return false;
            }
        }
        true
    }

    /// A datagram of the funnel.
    fn take_in(&mut self, arrived: Arrived, buffer: &mut [u8]) {
        let Arrived { length, source: Some(source), at: Some((id, kind)) } = arrived else { return };
        let seat = self.seats.take(id).or_else(|| {
            let (path, side) = self.shared.slot(id)?.user.clone()?;
            Some(Seat::new(path, side, self.wakeup))
        });
        let Some(seat) = seat else {
            self.tally.late += 1;
            return;
        };
        let Seat { path, side, .. } = &seat;
        if self.records >= RECORDS && path.state().is_keyless(*side) {
            if self.octets_put_off < MAX_PUT_OFF {
                self.octets_put_off += length;
                self.put_off.push_back((arrived, buffer.get(..length).unwrap_or_default().into()));
            } else {
                self.tally.dropped += 1;
            }
        } else if let Some(socket) = path.end_at(*side, id).and_then(|end| end.socket(kind.channel())) {
            self.datagram(path, *side, socket, kind.channel(), (buffer, length), source);
        }
        self.seats.seat(id, seat);
    }

    pub(super) fn visit(&mut self, token: u64, buffer: &mut [u8]) {
        if token == INTERRUPT {
            let _ = rustix::io::read(&self.state().interrupt, &mut [0; 8]);
            return;
        }
        if token == FUNNEL {
            return;
        }
        let Some((id, kind)) = socket_of(token) else { return };
        match self.seats.take(id) {
            Some(mut seat) => {
                let burst = if seat.comes_up_again(self.wakeup) { BURST } else { 1 };
                self.serve(&seat.path, seat.side, id, kind, burst, buffer);
                self.seats.seat(id, seat);
            }
            None => self.visit_slot(id, kind, buffer),
        }
    }

    /// A slot where nobody sits yet.
    fn visit_slot(&mut self, id: SlotId, kind: Kind, buffer: &mut [u8]) {
        let Some(mut slot) = self.shared.slot(id) else { return };
        let burst = if slot.comes_up_again(self.wakeup) { BURST } else { 1 };
        let user = slot.user.clone();
        let socket = user.is_none().then(|| slot.socket(kind).cloned()).flatten();
        drop(slot);
        if let Some((path, side)) = user {
            self.serve(&path, side, id, kind, burst, buffer);
            self.seats.seat(id, Seat::new(path, side, self.wakeup));
        } else if let Some(socket) = socket {
            read(burst, &socket, buffer, |_, _, _| self.tally.late += 1);
        }
    }

    /// Moves what came to one socket of a stream.
    fn serve(
        &mut self,
        path: &Arc<Path>,
        side: Side,
        id: SlotId,
        kind: Kind,
        burst: usize,
        buffer: &mut [u8],
    ) {
        if self.records >= RECORDS && path.state().is_keyless(side) {
            return;
        }
        if kind == Kind::Strangers {
            // The path does not have that one.
            let socket = self.shared.slot(id).and_then(|slot| slot.socket(kind).cloned());
            if let Some(socket) = socket {
                self.relay(path, side, &socket, kind.channel(), burst, buffer);
            }
        } else if let Some(socket) = path.end_at(side, id).and_then(|end| end.socket(kind.channel())) {
            self.relay(path, side, socket, kind.channel(), burst, buffer);
        }
    }

    fn relay(
        &mut self,
        path: &Arc<Path>,
        side: Side,
        socket: &Socket,
        channel: Channel,
        burst: usize,
        buffer: &mut [u8],
    ) {
        if self.relay_some(path, side, socket, channel, burst, buffer) {
            // A peer that was heard beside its port's first socket is heard there from now on. What it sent until now
            // goes ahead of that.
            self.relay_some(path, side, socket, channel, BACKLOG, buffer);
        }
    }

    /// Moves up to `burst` packets. Whether a port has been connected to its peer meanwhile.
    fn relay_some(
        &mut self,
        path: &Arc<Path>,
        side: Side,
        socket: &Socket,
        channel: Channel,
        burst: usize,
        buffer: &mut [u8],
    ) -> bool {
        let mut connected = false;
        read(burst, socket, buffer, |buffer, length, source| {
            connected |= self.datagram(path, side, socket, channel, (buffer, length), source);
        });
        connected
    }

    /// Moves one datagram, which is so much of the buffer. Whether its port has been connected to its peer meanwhile.
    fn datagram(
        &mut self,
        path: &Arc<Path>,
        side: Side,
        socket: &Socket,
        channel: Channel,
        (buffer, length): (&mut [u8], usize),
        source: SocketAddr,
    ) -> bool {
        let mut connected = false;
        let is_record = buffer.get(..length).is_some_and(makes_keys);
        let ((verdict, length), news) = {
            let mut state = path.state();
            let verdict = state.pass(side, channel, source, buffer, length, self.now);
            match state.ripe(side) {
                Some(peer) if self.shared.may_connect(peer) => {
                    connected = path.connect(&self.shared, side, peer, &mut state);
                }
                // Not to be asked again for each packet.
                Some(_) => state.connected(side, None),
                None => {}
            }
            if channel == Channel::Rtp {
                self.shared.settle(path, side, &mut state);
            }
            (verdict, state.news())
        };
        if let Some(news) = news {
            self.report(path, news);
        }
        match verdict {
            Verdict::Relay { out, to, connected, media } => {
                let packet = buffer.get(..length).unwrap_or_default();
                let far = path.end_towards(side.other(), to);
                let sent = far.is_some_and(|far| self.send(far, out, packet, to, connected));
                self.count(sent, path, side, media);
            }
            Verdict::Withhold => self.tally.withheld += 1,
            Verdict::Reply => {
                self.records += u32::from(is_record);
                for (to, packet) in path.state().replies(side) {
                    transmit(socket, &packet, to, false);
                }
            }
            Verdict::Drop => self.tally.dropped += 1,
            Verdict::InVain => {
                self.records += 1;
                self.tally.dropped += 1;
            }
            Verdict::NotRtp => self.tally.not_rtp += 1,
            Verdict::Forged => self.tally.forged += 1,
            Verdict::Replayed => self.tally.replayed += 1,
        }
        let is_known = !matches!(
            verdict,
            Verdict::Drop | Verdict::InVain | Verdict::NotRtp | Verdict::Forged | Verdict::Replayed
        );
        if channel == Channel::Rtp && !path.control.load(Relaxed) && is_known {
            path.open_control(&self.shared);
        }
        connected
    }

    /// Sends from a port of a stream: by the funnel, or by the port's own socket where there is none or the system does not
    /// take it so, as what is longer than the way allows.
    fn send(&mut self, from: &PathEnd, out: Channel, packet: &[u8], to: SocketAddr, connected: bool) -> bool {
        let Some(socket) = from.socket(out) else { return false };
        let mut by_funnel = || {
            let funnel = self.shared.threads[self.thread].funnel.as_ref()?;
            let (SocketAddr::V4(to), SocketAddr::V4(port)) = (to, self.shared.port_of(from)) else {
                return None;
            };
            let port = SocketAddrV4::new(*port.ip(), port.port() + u16::from(out == Channel::Rtcp));
            match funnel.send(&mut self.whole, port, to, packet) {
                Ok(()) => Some(true),
                // A firewall's word, which another attempt would only ask for again.
                Err(Errno::PERM | Errno::ACCESS) => Some(false),
                Err(_) => None,
            }
        };
        by_funnel().unwrap_or_else(|| transmit(socket, packet, to, connected))
    }

    fn count(&mut self, sent: bool, path: &Path, from: Side, media: Option<usize>) {
        match (sent, media) {
            (true, Some(octets)) => {
                self.tally.packets += 1;
                self.tally.octets += octets as u64;
            }
            (true, None) => self.tally.control += 1,
            (false, Some(octets)) => {
                self.tally.unsent += 1;
                path.state().unsent(from, octets);
            }
            (false, None) => self.tally.unsent += 1,
        }
    }

    /// Hands the digits that a stream has heard to its shard, and what is recorded to the writer.
    fn report(&self, path: &Path, News { session, digits, tapped }: News) {
        if let Some(recorder) = self.shared.recorder.as_ref().filter(|_| !tapped.is_empty()) {
            recorder.heard(session, tapped);
        }
        if digits.is_empty() {
            return;
        }
        let shard = path.shard as usize;
        self.shared.shards[shard].heard_digits(session, digits);
        for (_, wake) in self.wakers.iter().filter(|(of, _)| *of == shard) {
            wake();
        }
    }
}

/// Sends a datagram; whether the network took it.
///
/// A connected socket may fail for a datagram that it sent before and that an ICMP message came back for, or because a
/// shard disconnected it this instant. Neither is a reason to lose this one, and a second attempt that names the address
/// meets neither.
pub(super) fn transmit(socket: &Socket, packet: &[u8], to: SocketAddr, connected: bool) -> bool {
    connected && send(socket, packet, SendFlags::empty()).is_ok()
        || sendto(socket, packet, SendFlags::empty(), &to).is_ok()
}

/// Reads up to `burst` datagrams, each with its source: a connected socket still holds what strangers sent before. Errors other
/// than "nothing there" belong to a single datagram, so reading goes on. `each` is given the whole buffer, in which a packet may grow, and how much of it the packet is.
fn read(
    burst: usize,
    socket: &Socket,
    buffer: &mut [u8],
    mut each: impl FnMut(&mut [u8], usize, SocketAddr),
) {
    for _ in 0..burst {
        let Some(room) = buffer.get_mut(..DATAGRAM) else { return };
        match recvfrom(socket, room, RecvFlags::empty()) {
            Ok((length, _, Some(source))) => {
                if let Ok(source) = source.try_into() {
                    each(buffer, length, source);
                }
            }
            Err(Errno::AGAIN) => return,
            Ok((_, _, None)) | Err(_) => {}
        }
    }
}
