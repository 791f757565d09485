//! Two-way RTP streams: so many packets a second on each leg, each with its time of departure in the payload.
//!
//! The legs of one side share a few sockets, so that the generator can send and receive in batches and stays the
//! smaller part of the work; the relay cannot tell the difference, because it has its own ports for each leg.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use crate::batch::{self, Receiver, Sender, now};
use crate::histogram::Histogram;
use crate::network::within;

/// RTP header and 20 ms of G.711.
const PACKET: usize = 172;
const SOCKETS: usize = 8;
const BASE_PORT: u16 = 40_000;

/// Which end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Sends from the caller's address.
    Caller,
    /// Sends from the callee's address.
    Callee,
}

/// The port where an end of call `number` sends from and receives.
pub fn media_port(end: End, number: usize) -> u16 {
    let side = if end == End::Caller { 0 } else { 2 * SOCKETS };
    BASE_PORT + (side + 2 * (number % SOCKETS)) as u16
}

#[derive(Debug)]
struct Leg {
    socket: usize,
    to: SocketAddrV4,
    sequence: u16,
    timestamp: u32,
    sent: u64,
    received: u64,
    /// When the last packet of it came, and the longest time without one.
    heard: Option<Duration>,
    gap: Duration,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Packets sent, both ways.
    pub sent: u64,
    /// Packets that arrived at the other end.
    pub received: u64,
    /// Packets that arrived where they did not belong or were changed.
    pub wrong: u64,
    /// Packets that the kernel did not take.
    pub unsent: u64,
    /// Legs that heard nothing.
    pub deaf: usize,
    /// The longest time between two packets, of each leg, the shortest first.
    pub gaps: Vec<Duration>,
    /// From departure to the kernel's arrival.
    pub delay: Histogram,
}

/// The legs of all calls and their sockets.
pub struct Streams {
    sockets: Vec<UdpSocket>,
    legs: Vec<Leg>,
    receiver: Receiver,
    sender: Sender<PACKET>,
    report: Report,
    /// How long to sleep after each round of sending and receiving, so that the generator's own time is the packets'.
    /// Zero: only when there is nothing to do.
    pub tick: Duration,
}

impl Streams {
    /// Opens the sockets of both ends.
    ///
    /// Each is an address and the name of its network namespace, empty for the one of this process.
    pub fn open(caller: (Ipv4Addr, &str), callee: (Ipv4Addr, &str)) -> io::Result<Streams> {
        let mut sockets = Vec::new();
        for (end, (ip, place)) in [(End::Caller, caller), (End::Callee, callee)] {
            for n in 0..SOCKETS {
                let socket = within(place, || UdpSocket::bind((ip, media_port(end, n))))?;
                batch::prepare(&socket)?;
                sockets.push(socket);
            }
        }
        let (legs, receiver, sender, report, tick) = Default::default();
        Ok(Streams { sockets, legs, receiver, sender, report, tick })
    }

    /// Adds call `number`: its caller sends to `caller_to`, its callee to `callee_to`.
    pub fn add(&mut self, number: usize, caller_to: SocketAddrV4, callee_to: SocketAddrV4) {
        for (side, to) in [(0, caller_to), (SOCKETS, callee_to)] {
            let socket = side + number % SOCKETS;
            let sequence = (self.legs.len() * 7) as u16;
            let (timestamp, sent, received, heard, gap) = Default::default();
            self.legs.push(Leg { socket, to, sequence, timestamp, sent, received, heard, gap });
        }
    }

    /// Streams for `time`; `each_second` is called about then, with the seconds gone.
    pub fn run(
        &mut self,
        packets_per_second: f64,
        time: Duration,
        mut each_second: impl FnMut(u64),
    ) -> Report {
        self.report = Report::default();
        for leg in &mut self.legs {
            (leg.sent, leg.received, leg.heard, leg.gap) = Default::default();
        }
        // In the order of the sockets, so that a batch is full.
        let mut order: Vec<usize> = (0..self.legs.len()).collect();
        order.sort_by_key(|leg| self.legs.get(*leg).map(|leg| leg.socket));
        let begin = now();
        let rate = packets_per_second * order.len() as f64;
        let mut turns = order.iter().copied().cycle();
        let (mut sent, mut second) = (0_u64, 0);
        loop {
            let gone = now().saturating_sub(begin);
            if gone >= time {
                break;
            }
            if gone.as_secs() > second {
                second = gone.as_secs();
                each_second(second);
            }
            let due = (gone.as_secs_f64() * rate) as u64;
            // Bounded, so that a generator that is late does not forget to receive.
            let turn = due.saturating_sub(sent).min(1024);
            self.send(turns.by_ref().take(turn as usize));
            sent += turn;
            if self.tick > Duration::ZERO {
                while self.receive() > 0 {}
                std::thread::sleep(self.tick);
            } else if self.receive() == 0 && turn < 64 {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        let end = now();
        while now().saturating_sub(end) < Duration::from_secs(1) {
            if self.receive() == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let mut report = self.report.clone();
        report.sent = self.legs.iter().map(|leg| leg.sent).sum();
        report.received = self.legs.iter().map(|leg| leg.received).sum();
        report.gaps = self.legs.iter().map(|leg| leg.gap).collect();
        report.gaps.sort_unstable();
        report.deaf = self.legs.iter().filter(|leg| leg.received == 0).count();
        report
    }

    fn send(&mut self, turns: impl Iterator<Item = usize>) {
        let mut current = None;
        let mut waiting = 0;
        for turn in turns {
            let Some(leg) = self.legs.get_mut(turn) else { continue };
            if let Some(before) = current
                && (before != leg.socket || waiting == batch::BATCH)
            {
                let taken = self.sockets.get(before).map_or(0, |socket| self.sender.flush(socket));
                self.report.unsent += (waiting - taken) as u64;
                waiting = 0;
            }
            current = Some(leg.socket);
            self.sender.push(packet(turn, leg), leg.to);
            waiting += 1;
            leg.sequence = leg.sequence.wrapping_add(1);
            leg.timestamp = leg.timestamp.wrapping_add(160);
            leg.sent += 1;
        }
        if let Some(socket) = current.and_then(|socket| self.sockets.get(socket)) {
            let taken = self.sender.flush(socket);
            self.report.unsent += (waiting - taken) as u64;
        }
    }

    fn receive(&mut self) -> usize {
        let Streams { sockets, legs, receiver, report, .. } = self;
        let mut all = 0;
        for (socket, udp) in sockets.iter().enumerate() {
            loop {
                let count = receiver.receive(udp, |bytes, arrived| {
                    let Some((from, departed)) = read(bytes) else {
                        report.wrong += 1;
                        return;
                    };
                    // Legs come in pairs: the other end of leg 2n is leg 2n + 1.
                    match legs.get_mut(from ^ 1) {
                        Some(leg) if leg.socket == socket => {
                            leg.received += 1;
                            let before = leg.heard.replace(arrived).unwrap_or(arrived);
                            leg.gap = leg.gap.max(arrived.saturating_sub(before));
                        }
                        Some(_) | None => report.wrong += 1,
                    }
                    report.delay.add(arrived.saturating_sub(departed));
                });
                all += count;
                if count < batch::BATCH {
                    break;
                }
            }
        }
        all
    }
}

fn packet(number: usize, leg: &Leg) -> [u8; PACKET] {
    let mut packet = [0xd5; PACKET];
    let marker = if leg.sent == 0 { 0x80 } else { 0 };
    let departed = now().as_nanos() as u64;
    let fields: [&[u8]; 6] = [
        &[0x80, marker | 8],
        &leg.sequence.to_be_bytes(),
        &leg.timestamp.to_be_bytes(),
        &(0x1000_0000 + number as u32).to_be_bytes(),
        &departed.to_be_bytes(),
        &(number as u32).to_be_bytes(),
    ];
    let bytes = fields.into_iter().flatten();
    packet.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    packet
}

/// The leg that sent a packet and when it did; nothing when it is none of ours.
fn read(bytes: &[u8]) -> Option<(usize, Duration)> {
    if bytes.len() != PACKET {
        return None;
    }
    let departed = u64::from_be_bytes(bytes.get(12..20)?.try_into().ok()?);
    let number = u32::from_be_bytes(bytes.get(20..24)?.try_into().ok()?);
    Some((number as usize, Duration::from_nanos(departed)))
}
