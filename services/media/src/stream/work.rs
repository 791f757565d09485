//! What is done with a stream's packets besides relaying them, for the few streams with which anything is: key presses taken
//! out, and put in, copies for a recording, and another codec.

use std::net::SocketAddr;
use std::time::Duration;

use call::{Digit, MediaId, Side};
use sip::Time;

use super::digits::{Heard, Listener, PACKET, Player, Position};
use super::header::{self, Datagram};
use super::numbers::Numbers;
use super::transcode::{self, Codecs};
use super::{Stream, Verdict};
use crate::recording::{Tapped, g711};

/// Digits, and copies of packets, that wait to be fetched; they are after each packet.
const MAX_WAITING: usize = 64;
/// A packet with more of G.711 than this, 300 ms, is none that anybody sends to talk.
const MAX_COPIED: usize = 2_400;

/// See above. A stream that has any of it stays in userspace.
#[derive(Debug)]
pub(crate) struct Work {
    session: MediaId,
    /// Of what A sends, and of what B sends.
    listeners: [Option<Listener>; 2],
    /// Of what A sends, and B, without what was taken.
    numbers: [Numbers; 2],
    /// Into what A is sent, and B.
    players: [Option<Player>; 2],
    digits: Vec<(Side, Digit)>,
    /// Of what A presses, and B.
    paces: [Pace; 2],
    /// Whether what is heard is recorded.
    is_tapped: bool,
    tapped: Vec<Tapped>,
    /// What A and B talk in, where that is not the same.
    codecs: Option<Codecs>,
}

/// What came of the work on packets, for those who wait for it.
#[derive(Debug, PartialEq)]
pub(crate) struct News {
    pub(crate) session: MediaId,
    pub(crate) digits: Vec<(Side, Digit)>,
    pub(crate) tapped: Vec<Tapped>,
}

/// How fast keys may be pressed. Each press becomes a request in the dialog opposite, and a stream of packets can hold hundreds
/// a second.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// When it would have been pressed by who keeps to the pace.
    next: Time,
}

impl Pace {
    /// The fastest keypad there is has 40 ms of tone and as much of pause (ITU-T Q.24); packets may come closer.
    const EACH: Duration = Duration::from_millis(60);
    const AT_ONCE: Duration = Duration::from_millis(600);

    fn takes(&mut self, now: Time) -> bool {
        let is_taken = self.next <= now + Pace::AT_ONCE;
        if is_taken {
            self.next = self.next.max(now) + Pace::EACH;
        }
        is_taken
    }
}

fn place(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

impl Stream {
    /// From now on packets of this payload type that `side` sends are key presses for [`Stream::news`].
    pub(crate) fn take_digits(&mut self, session: MediaId, side: Side, payload_type: Option<u8>) {
        if payload_type.is_none() && self.work.is_none() {
            return;
        }
        self.work(session).listeners[place(side)] = payload_type.map(Listener::new);
        // What a player has shifted stays shifted, and so does what went on behind keys.
        self.work = self.work.take().filter(|work| !work.is_idle());
    }

    /// Something will be done with this stream: its packets are to come here from now on.
    pub(crate) fn keep(&mut self, session: MediaId) {
        self.work(session);
    }

    /// Plays a digit to `side`. [`Stream::played`] says what is to be sent, and when. Whether it has to be asked from now on:
    /// it was not playing before.
    pub(crate) fn play(
        &mut self,
        session: MediaId,
        side: Side,
        digit: Digit,
        payload_type: u8,
        seed: u64,
    ) -> bool {
        let was_playing = self.is_playing(side);
        let [a, b, c, d, e, f, g, h] = seed.to_be_bytes();
        let position = self.end(side.other()).reception.position().unwrap_or(Position {
            ssrc: u32::from_be_bytes([a, b, c, d]),
            sequence: u16::from_be_bytes([e, f]),
            timestamp: u32::from_be_bytes([f, g, h, a]),
            at: None,
        });
        let player = &mut self.work(session).players[place(side)];
        player.get_or_insert_with(|| Player::new(position)).push(digit, payload_type);
        !was_playing
    }

    /// Whether [`Stream::played`] has more to say for `side`, now or later.
    pub(crate) fn is_playing(&self, side: Side) -> bool {
        let player = self.work.as_ref().and_then(|work| work.players[place(side)].as_ref());
        !self.closed && player.is_some_and(Player::is_playing)
    }

    /// Writes the packet that is due for `side` into the buffer; how long it is, where it goes, and whether the port is
    /// connected there.
    pub(crate) fn played(
        &mut self,
        side: Side,
        buffer: &mut [u8],
        now: Time,
    ) -> Option<(usize, SocketAddr, bool)> {
        let target = self.end(side).media_target();
        let packet = self.work.as_mut()?.players[place(side)].as_mut()?.due(now)?;
        buffer.get_mut(..PACKET)?.copy_from_slice(&packet);
        let length = self.seal(side, true, buffer, PACKET).ok()?;
        match target {
            super::Target::At(to, connected) => Some((length, to, connected)),
            super::Target::Unknown | super::Target::Held => None,
        }
    }

    /// What has come of it since this was asked last.
    pub(crate) fn news(&mut self) -> Option<News> {
        let work = self.work.as_mut().filter(|work| !work.digits.is_empty() || !work.tapped.is_empty())?;
        let (digits, tapped) = (std::mem::take(&mut work.digits), std::mem::take(&mut work.tapped));
        Some(News { session: work.session, digits, tapped })
    }

    /// Turns what A and B talk in into each other from now on, or nothing.
    pub(crate) fn transcode(&mut self, session: MediaId, codecs: Option<Codecs>) {
        if codecs.is_some() || self.work.is_some() {
            self.work(session).codecs = codecs;
        }
        self.work = self.work.take().filter(|work| !work.is_idle());
    }

    /// Whether what is relayed is copied for a recording from now on.
    pub(crate) fn tap(&mut self, session: MediaId, on: bool) {
        if on || self.work.is_some() {
            self.work(session).is_tapped = on;
        }
        self.work = self.work.take().filter(|work| !work.is_idle());
    }

    /// A packet that is to be relayed, before it is: whether it still is.
    pub(super) fn worked(&mut self, from: Side, packet: &mut [u8], now: Time) -> bool {
        let Some(work) = self.work.as_mut() else { return true };
        let Datagram::Rtp(mut rtp) = header::classify_media(packet, false) else { return true };
        let payload = header::payload(packet, &rtp);
        let is_copied = work.is_tapped && g711::decoder(rtp.payload_type).is_some();
        if is_copied && payload.len() <= MAX_COPIED && work.tapped.len() < MAX_WAITING {
            work.tapped.push(Tapped {
                side: from,
                payload_type: rtp.payload_type,
                ssrc: rtp.ssrc,
                timestamp: rtp.timestamp,
                at: now,
                payload: payload.into(),
            });
        }
        if let Some(listener) = &mut work.listeners[place(from)] {
            let (digits, is_event) = match listener.hear(&rtp, payload) {
                Heard::Other(digit) => ([digit, None], false),
                Heard::Event(digits) => (digits, true),
            };
            let room = MAX_WAITING.saturating_sub(work.digits.len());
            let pace = &mut work.paces[place(from)];
            let digits = digits.into_iter().flatten().filter(|_| pace.takes(now));
            work.digits.extend(digits.take(room).map(|digit| (from, digit)));
            if is_event {
                work.numbers[place(from)].take(&rtp);
                return false;
            }
        }
        rtp.sequence = work.numbers[place(from)].of(&rtp);
        header::renumber(packet, rtp.sequence);
        if let Some(codecs) = work.codecs {
            transcode::turn(codecs, from, &rtp, packet);
        }
        work.players[place(from.other())].as_mut().is_none_or(|player| player.relay(packet, &rtp, now))
    }

    /// Takes back the count of a packet that was not relayed in the end, which is nobody's fault.
    pub(super) fn kept_back(&mut self, from: Side, octets: usize) -> Verdict {
        let near = self.end_mut(from);
        near.packets = near.packets.saturating_sub(1);
        near.octets = near.octets.saturating_sub(octets as u64);
        Verdict::Withhold
    }

    fn work(&mut self, session: MediaId) -> &mut Work {
        self.work.get_or_insert_with(|| {
            Box::new(Work {
                session,
                listeners: [None, None],
                numbers: Default::default(),
                players: [None, None],
                digits: Vec::new(),
                paces: Default::default(),
                is_tapped: false,
                tapped: Vec::new(),
                codecs: None,
            })
        })
    }
}

impl Work {
    fn is_idle(&self) -> bool {
        self.listeners.iter().all(Option::is_none)
            && !self.numbers.iter().any(Numbers::are_shifted)
            && self.players.iter().all(Option::is_none)
            && self.digits.is_empty()
            && self.tapped.is_empty()
            && !self.is_tapped
            && self.codecs.is_none()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use call::RemoteStream;

    use super::super::{Channel, OVERHEAD};
    use super::*;

    fn remote(rtp: &str) -> RemoteStream {
        let rtp: SocketAddr = rtp.parse().unwrap();
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        RemoteStream {
            rtp,
            rtcp,
            signalling: rtp.ip(),
            sends: true,
            receives: true,
            is_rtp: true,
            is_audio: true,
        }
    }

    fn described() -> Stream {
        let mut stream = Stream::default();
        stream.describe(Side::A, Some(remote("192.0.2.10:4000")));
        stream.describe(Side::B, Some(remote("198.51.100.20:6000")));
        stream
    }

    fn from_a(stream: &mut Stream, packet: &[u8]) -> (Verdict, Vec<u8>) {
        let mut buffer = [packet, &[0; OVERHEAD]].concat();
        let source = "192.0.2.10:4000".parse().unwrap();
        let (verdict, length) =
            stream.pass(Side::A, Channel::Rtp, source, &mut buffer, packet.len(), Time::ZERO);
        buffer.truncate(length);
        (verdict, buffer)
    }

    fn rtp(payload_type: u8, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let [high, low] = sequence.to_be_bytes();
        [&[0x80, payload_type, high, low, 0, 0, 0, 0, 0, 0, 0, 9][..], payload].concat()
    }

    #[test]
    fn key_presses_that_are_taken_are_told_and_not_relayed() {
        let mut stream = described();
        stream.take_digits(MediaId(7), Side::A, Some(101));
        assert!(stream.needs_payload());
        assert!(matches!(from_a(&mut stream, &rtp(0, 1, &[0xd5; 160])).0, Verdict::Relay { .. }));
        for _ in 0..3 {
            assert_eq!(from_a(&mut stream, &rtp(101, 2, &[5, 0x8a, 3, 0x20])).0, Verdict::Withhold);
        }
        let five = Digit::new(5, 100).unwrap();
        let news = stream.news().unwrap();
        assert_eq!((news.session, news.digits), (MediaId(7), vec![(Side::A, five)]));
        assert_eq!(stream.news(), None);
        let (a, _) = stream.close();
        assert_eq!((a.packets, a.octets, a.dropped), (1, 160, 0));
    }

    #[test]
    fn who_took_no_key_out_has_nothing_left_to_do() {
        let mut stream = described();
        stream.take_digits(MediaId(7), Side::A, Some(101));
        assert!(matches!(from_a(&mut stream, &rtp(0, 1, &[0xd5; 160])).0, Verdict::Relay { .. }));
        stream.take_digits(MediaId(7), Side::A, None);
        assert!(!stream.needs_payload());
    }

    /// What A sends, `true` for a packet of a key, and the numbers with which B is sent the others.
    fn renumbered(sent: &[(u16, bool)]) -> Vec<u16> {
        let mut stream = described();
        stream.take_digits(MediaId(7), Side::A, Some(101));
        let relayed = sent.iter().filter_map(|(sequence, is_key)| {
            let (payload_type, payload) =
                if *is_key { (101, &[5, 0x8a, 3, 0x20][..]) } else { (0, &[0xd5; 160][..]) };
            let (verdict, packet) = from_a(&mut stream, &rtp(payload_type, *sequence, payload));
            assert_eq!(matches!(verdict, Verdict::Relay { .. }), !is_key, "{sequence}");
            (!is_key).then(|| u16::from_be_bytes([packet[2], packet[3]]))
        });
        relayed.collect()
    }

    #[test]
    fn no_gap_is_left_where_a_key_was_and_what_was_lost_still_shows() {
        let talk = |from: u16, count: u16| (0..count).map(move |n| (from.wrapping_add(n), false));
        let keys = |from: u16, count: u16| (0..count).map(move |n| (from.wrapping_add(n), true));
        let sent: Vec<_> = talk(65_530, 4)
            .chain(keys(65_534, 5))
            .chain(talk(3, 3))
            .chain(keys(6, 2))
            .chain(talk(8, 2))
            .collect();
        assert_eq!(renumbered(&sent), [65_530, 65_531, 65_532, 65_533, 65_534, 65_535, 0, 1, 2]);
        let lost: Vec<_> = talk(10, 2).chain(keys(12, 3)).chain(talk(17, 2)).collect();
        assert_eq!(renumbered(&lost), [10, 11, 14, 15], "two that never came");
    }

    #[test]
    fn packets_out_of_order_around_a_key_keep_theirs() {
        let (talk, key) = (false, true);
        let late_talk = [(10, talk), (12, key), (13, key), (11, talk), (14, talk), (14, talk)];
        assert_eq!(renumbered(&late_talk), [10, 11, 12, 12]);
        let late_key =
            [(10, talk), (11, key), (13, talk), (12, key), (14, talk), (15, key), (15, key), (16, talk)];
        assert_eq!(renumbered(&late_key), [10, 12, 13, 14], "its place was left already");
        let old = [(1_000, talk), (1_001, key), (1_002, talk), (900, talk), (1_003, talk)];
        assert_eq!(renumbered(&old), [1_000, 1_001, 900, 1_002], "from before the keys that are remembered");
        let anew = [(1_000, key), (1_001, talk), (40_000, talk), (40_001, key), (40_002, talk)];
        assert_eq!(renumbered(&anew), [1_000, 39_999, 40_000]);
    }

    #[test]
    fn another_source_has_its_own_numbers_and_one_that_was_shifted_stays_so() {
        let mut stream = described();
        stream.take_digits(MediaId(7), Side::A, Some(101));
        from_a(&mut stream, &rtp(101, 1, &[5, 0x8a, 3, 0x20]));
        assert_eq!(from_a(&mut stream, &rtp(0, 2, &[0xd5; 160])).1[3], 1);
        stream.take_digits(MediaId(7), Side::A, None);
        assert!(stream.needs_payload());
        assert_eq!(from_a(&mut stream, &rtp(0, 3, &[0xd5; 160])).1[3], 2);
        let mut other = rtp(0, 9, &[0xd5; 160]);
        other[11] = 1;
        assert_eq!(from_a(&mut stream, &other).1[3], 9);
    }

    #[test]
    fn a_stream_that_is_recorded_is_copied_where_it_is_g711_and_stays_out_of_the_kernel_meanwhile() {
        let mut stream = described();
        stream.tap(MediaId(7), true);
        assert!(stream.needs_payload());
        let mut copied = |packet: &[u8]| {
            assert!(matches!(from_a(&mut stream, packet).0, Verdict::Relay { .. }));
            stream.news().map(|news| news.tapped)
        };
        let tapped = copied(&rtp(8, 1, &[0xd5; 160])).unwrap();
        assert_eq!((tapped[0].side, tapped[0].payload_type, tapped[0].payload.len()), (Side::A, 8, 160));
        for other in [rtp(101, 2, &[5, 0x8a, 3, 0x20]), rtp(9, 3, &[0; 160]), rtp(0, 4, &[0; 2_401])] {
            assert_eq!(copied(&other), None);
        }
        stream.tap(MediaId(7), false);
        assert!(!stream.needs_payload());
    }

    #[test]
    fn keys_are_pressed_no_faster_than_a_keypad_could() {
        let mut stream = described();
        stream.take_digits(MediaId(7), Side::A, Some(101));
        let mut told = 0;
        for packet in 0..1000_u32 {
            let mut press = rtp(101, packet as u16, &[5, 0x8a, 3, 0x20]);
            press[4..8].copy_from_slice(&packet.to_be_bytes());
            let mut buffer = [&press[..], &[0; OVERHEAD]].concat();
            let source = "192.0.2.10:4000".parse().unwrap();
            let now = Time::from_micros(u64::from(packet) * 1000);
            stream.pass(Side::A, Channel::Rtp, source, &mut buffer, press.len(), now);
            told += stream.news().map_or(0, |news| news.digits.len());
        }
        assert!((16..=28).contains(&told), "{told} in a second");
    }

    #[test]
    fn a_player_is_asked_for_once_however_many_digits_it_gets() {
        let mut stream = described();
        let mut play = || stream.play(MediaId(7), Side::B, Digit::new(9, 40).unwrap(), 101, 0);
        assert_eq!([play(), play(), play()], [true, false, false]);
    }

    #[test]
    fn a_digit_is_played_in_place_of_what_comes_and_the_rest_is_renumbered() {
        let mut stream = described();
        from_a(&mut stream, &rtp(0, 1, &[0xd5; 160]));
        stream.play(MediaId(7), Side::B, Digit::new(9, 40).unwrap(), 101, 0);
        let mut buffer = [0; 64];
        let (length, to, _) = stream.played(Side::B, &mut buffer, Time::from_micros(20_000)).unwrap();
        assert_eq!((length, to), (16, "198.51.100.20:6000".parse().unwrap()));
        assert_eq!((buffer[1], buffer[3], buffer[12]), (0x80 | 101, 2, 9));
        assert_eq!(from_a(&mut stream, &rtp(0, 2, &[0xd5; 160])).0, Verdict::Withhold);
        let mut more = 0;
        for millis in 21..100 {
            while stream.played(Side::B, &mut buffer, Time::from_micros(millis * 1000)).is_some() {
                more += 1;
            }
        }
        assert_eq!((more, stream.is_playing(Side::B)), (3, false));
        assert_eq!(from_a(&mut stream, &rtp(0, 3, &[0xd5; 160])).1[3], 6);
    }
}
