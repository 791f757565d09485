//! A relay on loopback and phones with real sockets. Each test names its own ports, so that tests may run side by side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, missing_docs)]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use call::{
    DirectionStats, Engine, Family, MediaId, MediaOrder, MediaReport, RemoteStream, Side, StreamPorts,
};
use media::{Config, Relay, Totals, start};
use sip::Time;

pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const LOCAL_6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// Long enough for a packet to cross a busy machine; waiting ends when it has come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to make sure that nothing comes. The relay moves packets within a tick of a millisecond.
const QUIET: Duration = Duration::from_millis(60);

/// One shard's handle with a clock that the test moves.
pub struct Bench {
    pub engine: Box<dyn Engine + Send>,
    pub relay: Relay,
    pub now: Time,
}

impl Bench {
    pub fn new(ports: RangeInclusive<u16>) -> Bench {
        // That nothing came at all is the business of few tests.
        let one_way_after = Duration::from_secs(24 * 60 * 60);
        Bench::with(Config { ports, one_way_after, ..Config::default() })
    }

    pub fn with(config: Config) -> Bench {
        let (mut engines, relay) = start(config, 1, vec![Box::new(|| {})]).unwrap();
        Bench { engine: engines.remove(0), relay, now: Time::ZERO }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub fn order(&mut self, order: MediaOrder) -> Vec<MediaReport> {
        let mut reports = Vec::new();
        self.engine.order(order, self.now, &mut reports);
        reports
    }

    pub fn try_open(&mut self, session: u64, streams: u8) -> Result<Vec<StreamPorts>, String> {
        self.try_open_in([Family::V4; 2], session, streams)
    }

    pub fn try_open_in(
        &mut self,
        families: [Family; 2],
        session: u64,
        streams: u8,
    ) -> Result<Vec<StreamPorts>, String> {
        let reports = self.order(MediaOrder::Open { session: MediaId(session), streams, families });
        match reports.as_slice() {
            [MediaReport::Opened { session: id, streams, .. }] if *id == MediaId(session) => {
                Ok(streams.to_vec())
            }
            [MediaReport::Refused { session: id, why }] if *id == MediaId(session) => Err(why.to_string()),
            other => panic!("expected one answer, came {other:?}"),
        }
    }

    pub fn open(&mut self, session: u64) -> StreamPorts {
        self.try_open(session, 1).unwrap()[0]
    }

    pub fn describe(&mut self, session: u64, side: Side, remote: impl Into<Option<RemoteStream>>) {
        let order = MediaOrder::Describe {
            session: MediaId(session),
            stream: 0,
            side,
            remote: remote.into(),
            protection: None,
        };
        assert_eq!(self.order(order), []);
    }

    pub fn watch(&mut self, session: u64, on: bool) {
        assert_eq!(self.order(MediaOrder::Watch { session: MediaId(session), on }), []);
    }

    pub fn count(&mut self, session: u64) -> (DirectionStats, DirectionStats) {
        let reports = self.order(MediaOrder::Count { session: MediaId(session) });
        match reports.as_slice() {
            &[MediaReport::Counted { session: id, from_a, from_b }] if id == MediaId(session) => {
                (from_a, from_b)
            }
            other => panic!("expected one answer, came {other:?}"),
        }
    }

    pub fn close(&mut self, session: u64) -> (DirectionStats, DirectionStats) {
        let reports = self.order(MediaOrder::Close { session: MediaId(session) });
        match reports.as_slice() {
            &[MediaReport::Closed { session: id, from_a, from_b }] if id == MediaId(session) => {
                (from_a, from_b)
            }
            other => panic!("expected one answer, came {other:?}"),
        }
    }

    pub fn poll(&mut self) -> Vec<MediaReport> {
        let mut reports = Vec::new();
        self.engine.poll(self.now, &mut reports);
        reports
    }

    /// A call between two phones that both sides have described.
    pub fn call(&mut self, session: u64, a: &Phone, b: &Phone) -> StreamPorts {
        let ports = self.open(session);
        self.describe(session, Side::A, a.description());
        self.describe(session, Side::B, b.description());
        ports
    }

    /// Waits until the totals, which the threads publish after each wake-up, say so.
    pub fn totals_when(&self, done: impl Fn(&Totals) -> bool) -> Totals {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let totals = self.relay.totals();
            if done(&totals) || Instant::now() > deadline {
                return totals;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A phone: an RTP and an RTCP socket.
pub struct Phone {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

impl Phone {
    pub fn new() -> Phone {
        Phone::at("127.0.0.1")
    }

    /// Any address of 127.0.0.0/8 is local, which makes strangers easy.
    pub fn at(ip: &str) -> Phone {
        let socket = || {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        Phone { rtp: socket(), rtcp: socket() }
    }

    pub fn description(&self) -> RemoteStream {
        RemoteStream {
            rtp: self.rtp.local_addr().unwrap(),
            rtcp: self.rtcp.local_addr().unwrap(),
            signalling: if self.rtp.local_addr().unwrap().is_ipv4() { LOCAL } else { LOCAL_6 },
            sends: true,
            receives: true,
            is_rtp: true,
            is_audio: true,
        }
    }

    pub fn send(&self, port: u16, packet: &[u8]) {
        self.rtp.send_to(packet, (LOCAL, port)).unwrap();
    }

    pub fn send_control(&self, port: u16, packet: &[u8]) {
        self.rtcp.send_to(packet, (LOCAL, port)).unwrap();
    }
}

/// The next datagram and its source.
pub fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (length, source) = loop {
        match socket.recv_from(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            came => break came.expect("a packet within the time allowed"),
        }
    };
    (buffer[..length].to_vec(), source)
}

/// Fails if anything comes in the time a relay would need.
pub fn expect_nothing(socket: &UdpSocket) {
    socket.set_read_timeout(Some(QUIET)).unwrap();
    let came = loop {
        match socket.recv_from(&mut [0; 2048]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            came => break came,
        }
    };
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    match came {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        other => panic!("expected nothing, came {other:?}"),
    }
}

/// A G.711 packet of 20 ms.
pub fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0x5e, 0xed, 0, 1];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend((0..160u8).map(|octet| octet ^ sequence as u8));
    packet
}

/// An empty receiver report.
pub const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0x5e, 0xed, 0, 1];

pub fn from_relay(port: u16) -> SocketAddr {
    SocketAddr::new(LOCAL, port)
}
