//! Key presses as RTP (RFC 4733): read out of a stream, and put into one.
//!
//! An event is a run of packets with one time stamp, each with how long the key is down by then; the last is sent three
//! times and says that it is the last. [`Listener`] tells each press once, whichever of them arrive. [`Player`] writes such
//! a run in the place of what the side sends meanwhile, and shifts the sequence numbers of everything behind it, so that
//! the receiver sees one stream without a gap.

use std::collections::VecDeque;
use std::time::Duration;

use call::Digit;
use sip::Time;

use super::header::{self, RtpHeader};

/// Of the clock of `telephone-event/8000`, in a millisecond.
const UNITS: u32 = 8;
/// Between two packets of an event.
const STEP: Duration = Duration::from_millis(20);
const STEP_UNITS: u16 = 160;
/// Between two digits, so that the receiver can tell them apart (ITU-T Q.24).
const PAUSE: Duration = Duration::from_millis(60);
/// The last packet of an event is sent so often (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;
/// So many other packets behind an event whose end was lost, and it is over.
const RESUMED: u8 = 5;
/// What is further back than this is not late: ten seconds, in the units of time stamps and in packets.
const MOST_LATE_UNITS: u32 = 10_000 * UNITS;
const MOST_LATE: u16 = 500;
/// The longest duration of an event.
const SEGMENT: u32 = u16::MAX as u32;
/// More digits than anybody types ahead.
const MAX_QUEUE: usize = 32;
/// The size of a packet with an event.
pub(crate) const PACKET: usize = 16;

/// Reads the events of one payload type.
#[derive(Debug)]
pub(crate) struct Listener {
    payload_type: u8,
    /// The one that was heard last.
    last: Option<Press>,
}

#[derive(Clone, Copy, Debug)]
struct Press {
    ssrc: u32,
    timestamp: u32,
    /// Of the first packet of it that was heard.
    sequence: u16,
    digit: Digit,
    is_told: bool,
    /// Other packets since.
    behind: u8,
}

impl Press {
    /// Whether a packet is from before it, and late. Who is far from where it was, by either count, has begun anew with its
    /// numbers, as some do behind a transfer without another SSRC.
    fn is_behind(&self, rtp: &RtpHeader) -> bool {
        let units = self.timestamp.wrapping_sub(rtp.timestamp);
        let packets = self.sequence.wrapping_sub(rtp.sequence);
        rtp.ssrc == self.ssrc && units < MOST_LATE_UNITS && packets < MOST_LATE
    }

    /// Goes over to its next segment, if a packet is of that: a key that is down for longer than a duration can say
    /// comes in several, each where the one before it is full (RFC 4733 §2.5.1.3).
    fn go_on(&mut self, rtp: &RtpHeader, event: u8) {
        let is_next = rtp.timestamp == self.timestamp.wrapping_add(SEGMENT);
        if is_next && !self.is_told && (rtp.ssrc, event) == (self.ssrc, self.digit.event) {
            (self.timestamp, self.sequence) = (rtp.timestamp, rtp.sequence);
            self.digit = Digit::new(event, SEGMENT / UNITS).unwrap_or(self.digit);
        }
    }
}

/// What a packet was to a [`Listener`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Not part of an event; one before it may be over by it.
    Other(Option<Digit>),
    /// Part of one; those that are over by it.
    Event([Option<Digit>; 2]),
}

impl Listener {
    pub(crate) fn new(payload_type: u8) -> Listener {
        Listener { payload_type, last: None }
    }

    /// Takes note of a packet; `payload` is what is behind its header.
    pub(crate) fn hear(&mut self, rtp: &RtpHeader, payload: &[u8]) -> Heard {
        if rtp.payload_type != self.payload_type {
            return Heard::Other(self.other());
        }
        let Some(&[event, flags, high, low]) = payload.first_chunk::<4>() else {
            return Heard::Event([None, None]);
        };
        let units = u16::from_be_bytes([high, low]);
        let Some(digit) = Digit::new(event, u32::from(units) / UNITS) else {
            return Heard::Event([None, None]);
        };
        let is_end = flags & 0x80 != 0;
        if let Some(press) = &mut self.last {
            press.go_on(rtp, event);
        }
        let same = |press: &Press| press.ssrc == rtp.ssrc && press.timestamp == rtp.timestamp;
        if let Some(press) = self.last.as_mut().filter(|press| same(press)) {
            press.behind = 0;
            press.digit = Digit { millis: press.digit.millis.max(digit.millis), ..press.digit };
            let over = (is_end && !press.is_told).then_some(press.digit);
            press.is_told |= is_end;
            return Heard::Event([over, None]);
        }
        // A packet of the one before that comes late begins nothing.
        if self.last.is_some_and(|press| press.is_behind(rtp)) {
            return Heard::Event([None, None]);
        }
        let before = self.last.filter(|press| !press.is_told).map(|press| press.digit);
        let &RtpHeader { ssrc, timestamp, sequence, .. } = rtp;
        self.last = Some(Press { ssrc, timestamp, sequence, digit, is_told: is_end, behind: 0 });
        Heard::Event([before, is_end.then_some(digit)])
    }

    fn other(&mut self) -> Option<Digit> {
        let press = self.last.as_mut().filter(|press| !press.is_told)?;
        press.behind += 1;
        (press.behind >= RESUMED).then(|| {
            press.is_told = true;
            press.digit
        })
    }
}

/// Where a stream of packets has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    /// When; `None`: the time stamp is not known, nor when it was (RFC 3550 §5.1 has streams begin anywhere).
    pub(crate) at: Option<Time>,
}

/// Writes events into what one side is sent.
#[derive(Debug)]
pub(crate) struct Player {
    /// The last packet that was sent, relayed or written here.
    sent: Position,
    /// What is added to the sequence numbers of what is relayed.
    shift: u16,
    /// The next packet relayed goes behind the last one written.
    is_behind: bool,
    queue: VecDeque<(Digit, u8)>,
    playing: Option<Playing>,
    /// No digit begins before.
    ready: Option<Time>,
}

/// How long a first packet is waited for that says where the time stamps of a stream are: streams of voice have one every 20
/// or 30 ms.
const FIRST_PACKET: Duration = Duration::from_millis(60);

#[derive(Debug)]
struct Playing {
    event: u8,
    payload_type: u8,
    timestamp: u32,
    units: u16,
    total: u16,
    ends: u8,
    next: Time,
}

impl Player {
    /// For a side that was sent this last; of one that was sent nothing yet, chosen at random.
    pub(crate) fn new(sent: Position) -> Player {
        Player { sent, shift: 0, is_behind: false, queue: VecDeque::new(), playing: None, ready: sent.at }
    }

    /// One more digit, to be sent with this payload type.
    pub(crate) fn push(&mut self, digit: Digit, payload_type: u8) {
        if self.queue.len() < MAX_QUEUE {
            self.queue.push_back((digit, payload_type));
        }
    }

    /// Whether [`Player::due`] has more to send, now or later.
    pub(crate) fn is_playing(&self) -> bool {
        self.playing.is_some() || !self.queue.is_empty()
    }

    /// The packet that is due, if one is.
    pub(crate) fn due(&mut self, now: Time) -> Option<[u8; PACKET]> {
        if self.playing.is_none() && now >= *self.ready.get_or_insert(now + FIRST_PACKET) {
            let (digit, payload_type) = self.queue.pop_front()?;
            let passed = self.sent.at.map_or(Duration::ZERO, |at| now.since(at)).as_millis();
            let passed = u32::try_from(passed).unwrap_or(0).max(1);
            let total = (digit.millis * UNITS).clamp(u32::from(STEP_UNITS) * 2, u32::from(u16::MAX)) as u16;
            self.playing = Some(Playing {
                event: digit.event,
                payload_type,
                timestamp: self.sent.timestamp.wrapping_add(passed * UNITS),
                units: 0,
                total,
                ends: 0,
                next: now,
            });
        }
        let playing = self.playing.as_mut().filter(|playing| playing.next <= now)?;
        let is_first = playing.units == 0;
        playing.units = playing.units.saturating_add(STEP_UNITS).min(playing.total);
        let is_end = playing.units == playing.total;
        playing.ends += u8::from(is_end);
        // The copies of the end need not be apart (RFC 4733 §2.5.1.4).
        playing.next = playing.next + if is_end { Duration::ZERO } else { STEP };
        self.sent.sequence = self.sent.sequence.wrapping_add(1);
        self.is_behind = true;
        let mut packet = [0; PACKET];
        packet[0] = 0x80;
        packet[1] = playing.payload_type | if is_first { 0x80 } else { 0 };
        packet[2..4].copy_from_slice(&self.sent.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&playing.timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&self.sent.ssrc.to_be_bytes());
        packet[12] = playing.event;
        // Volume −10 dBm0, what keypads send.
        packet[13] = 10 | if is_end { 0x80 } else { 0 };
        packet[14..16].copy_from_slice(&playing.units.to_be_bytes());
        if playing.ends == ENDS {
            self.sent.timestamp = playing.timestamp.wrapping_add(u32::from(playing.total));
            self.sent.at = Some(now);
            self.ready = Some(now + PAUSE);
            self.playing = None;
        }
        Some(packet)
    }

    /// A packet for the same side: its sequence number is put right. False: a key is down, the packet is not sent.
    pub(crate) fn relay(&mut self, packet: &mut [u8], rtp: &RtpHeader, now: Time) -> bool {
        if self.playing.is_some() {
            return false;
        }
        if rtp.ssrc != self.sent.ssrc {
            // Another source has numbers of its own.
            self.shift = 0;
        } else if std::mem::take(&mut self.is_behind) {
            self.shift = self.sent.sequence.wrapping_add(1).wrapping_sub(rtp.sequence);
        }
        let sequence = rtp.sequence.wrapping_add(self.shift);
        header::renumber(packet, sequence);
        if rtp.ssrc != self.sent.ssrc || sequence.wrapping_sub(self.sent.sequence) < 0x8000 {
            self.is_behind = false;
            if self.sent.at.is_none() {
                self.ready = Some(now);
            }
            self.sent = Position { ssrc: rtp.ssrc, sequence, timestamp: rtp.timestamp, at: Some(now) };
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::super::header::{Datagram, classify_media};
    use super::*;

    const EVENTS: u8 = 101;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn header(packet: &[u8]) -> RtpHeader {
        let Datagram::Rtp(rtp) = classify_media(packet, false) else { panic!("{packet:?}") };
        rtp
    }

    fn rtp(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let head =
            [&[0x80, payload_type][..], &sequence.to_be_bytes(), &timestamp.to_be_bytes(), &[0, 0, 0, 9]];
        [&head.concat()[..], payload].concat()
    }

    fn event(timestamp: u32, event: u8, end: bool, units: u16) -> Vec<u8> {
        numbered(1, timestamp, event, end, units)
    }

    fn numbered(sequence: u16, timestamp: u32, event: u8, end: bool, units: u16) -> Vec<u8> {
        let [high, low] = units.to_be_bytes();
        rtp(EVENTS, sequence, timestamp, &[event, 10 | if end { 0x80 } else { 0 }, high, low])
    }

    fn audio() -> Vec<u8> {
        rtp(0, 1, 0, &[0xd5; 160])
    }

    /// The digits that a run of packets tells.
    fn told(packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<(char, u32)> {
        let mut listener = Listener::new(EVENTS);
        let digits =
            packets.into_iter().flat_map(|packet| match listener.hear(&header(&packet), &packet[12..]) {
                Heard::Other(digit) => [digit, None],
                Heard::Event(digits) => digits,
            });
        digits.flatten().map(|digit| (digit.symbol(), digit.millis)).collect()
    }

    #[test]
    fn a_digit_is_told_once_at_its_end_however_often_that_comes() {
        let press = [160, 320, 480].map(|units| event(8000, 5, false, units));
        let ends = [800; 3].map(|units| event(8000, 5, true, units));
        assert_eq!(told(press.into_iter().chain(ends).chain([audio()])), [('5', 100)]);
    }

    #[test]
    fn a_digit_whose_end_is_lost_is_told_by_what_comes_behind() {
        let press = || [160, 320].map(|units| event(8000, 11, false, units));
        assert_eq!(told(press().into_iter().chain(std::iter::repeat_with(audio).take(9))), [('#', 40)]);
        assert_eq!(told(press().into_iter().chain([event(16_000, 10, true, 400)])), [('#', 40), ('*', 50)]);
        let late = event(8000, 11, true, 480);
        assert_eq!(
            told(press().into_iter().chain([event(16_000, 1, true, 400), late])).len(),
            2,
            "not again"
        );
        assert_eq!(told(press().into_iter().chain([audio(), audio()])), [], "it may go on");
    }

    #[test]
    fn the_same_key_twice_is_two_digits_and_what_is_no_key_none() {
        assert_eq!(told([event(0, 1, true, 800), event(2000, 1, true, 800)]), [('1', 100), ('1', 100)]);
        assert_eq!(told([event(0, 66, true, 800), rtp(EVENTS, 1, 9, &[1, 0x80])]), []);
    }

    /// After a transfer, or behind a gateway that has changed its mind.
    #[test]
    fn keys_are_told_also_where_the_numbers_of_the_sender_begin_anew_below_what_they_were() {
        let first = numbered(700, 3_000_000, 1, true, 800);
        for (sequence, timestamp) in [(701, 80_000), (9, 2_999_000), (20_000, 40_000), (9, 3_000_000_000)] {
            let anew = numbered(sequence, timestamp, 2, true, 800);
            assert_eq!(told([first.clone(), anew]), [('1', 100), ('2', 100)], "{sequence} {timestamp}");
        }
    }

    /// RFC 4733 §2.5.1.3: longer than a duration can be, it comes in segments, of which only the last has an end.
    #[test]
    fn a_key_that_is_held_for_long_is_one_press() {
        let full = u32::from(u16::MAX);
        let segment = |from: u32| [160, 32_000, u16::MAX].map(|units| event(from, 5, false, units));
        let last = || [160, 320].map(|units| event(8000 + 2 * full, 5, units == 320, units));
        let held = || segment(8000).into_iter().chain(segment(8000 + full));
        assert_eq!(told(held().chain(last())), [('5', 8000)]);
        let late = event(8000 + full, 5, false, 48_000);
        assert_eq!(told(held().chain(last()).chain([late])), [('5', 8000)]);
        let without_their_last = held().filter(|packet| packet[14..16] != [0xff; 2]);
        assert_eq!(told(without_their_last.chain(last())), [('5', 8000)], "lost, or not yet here");
        let other = event(8000 + 2 * full, 6, true, 320);
        assert_eq!(told(held().chain([other])), [('5', 8000), ('6', 40)], "another key");
    }

    #[test]
    fn what_comes_late_of_a_key_begins_no_other() {
        let [first, second] = [(700, 8_000, 1), (706, 16_000, 2)]
            .map(|(sequence, timestamp, event)| numbered(sequence, timestamp, event, true, 800));
        let late = numbered(699, 8_000, 1, false, 640);
        assert_eq!(told([first, second, late]), [('1', 100), ('2', 100)]);
    }

    fn position(sequence: u16, timestamp: u32, millis: u64) -> Position {
        Position { ssrc: 9, sequence, timestamp, at: Some(at(millis)) }
    }

    /// What a player sends by itself when it is asked each millisecond.
    fn played(player: &mut Player, millis: std::ops::Range<u64>) -> Vec<(u64, Vec<u8>)> {
        let mut packets = Vec::new();
        for millis in millis {
            while let Some(packet) = player.due(at(millis)) {
                packets.push((millis, packet.to_vec()));
            }
        }
        packets
    }

    #[test]
    fn a_digit_waits_for_a_packet_that_says_where_the_time_stamps_are() {
        let unknown = Position { ssrc: 9, sequence: 7, timestamp: 0, at: None };
        let mut player = Player::new(unknown);
        player.push(Digit::new(3, 100).unwrap(), EVENTS);
        assert_eq!(played(&mut player, 1000..1015), []);
        let mut packet = rtp(0, 8, 70_000, &[0xd5; 160]);
        let head = header(&packet);
        assert!(player.relay(&mut packet, &head, at(1015)));
        let (_, first) = played(&mut player, 1015..1017).remove(0);
        assert_eq!((header(&first).sequence, header(&first).timestamp), (9, 70_000 + 8));

        let mut player = Player::new(unknown);
        player.push(Digit::new(3, 100).unwrap(), EVENTS);
        assert_eq!(played(&mut player, 1000..1200)[0].0, 1060, "of a side that sends nothing");
    }

    #[test]
    fn a_digit_is_played_in_steps_with_its_end_three_times() {
        let mut player = Player::new(position(65_534, 1600, 1000));
        player.push(Digit::new(3, 100).unwrap(), EVENTS);
        let packets = played(&mut player, 1020..1400);
        let what: Vec<_> = packets
            .iter()
            .map(|(millis, packet)| {
                let rtp = header(packet);
                assert_eq!(
                    (rtp.ssrc, rtp.payload_type, rtp.timestamp),
                    (9, EVENTS, 1600 + 160),
                    "one time stamp"
                );
                let units = u16::from_be_bytes([packet[14], packet[15]]);
                (*millis, rtp.sequence, packet[1] >> 7, packet[13] >> 7, units)
            })
            .collect();
        let expected = [
            (1020, 65_535, 1, 0, 160),
            (1040, 0, 0, 0, 320),
            (1060, 1, 0, 0, 480),
            (1080, 2, 0, 0, 640),
            (1100, 3, 0, 1, 800),
            (1100, 4, 0, 1, 800),
            (1100, 5, 0, 1, 800),
        ];
        assert_eq!(what, expected);
        assert_eq!(told(packets.into_iter().map(|(_, packet)| packet)), [('3', 100)]);
        assert!(!player.is_playing());
    }

    #[test]
    fn what_is_relayed_behind_a_digit_goes_on_without_a_gap() {
        let mut player = Player::new(position(100, 0, 0));
        let relay = |player: &mut Player, sequence: u16, millis: u64| {
            let mut packet = rtp(0, sequence, u32::from(sequence) * 160, &[0xd5; 160]);
            let header_before = header(&packet);
            player.relay(&mut packet, &header_before, at(millis)).then(|| header(&packet).sequence)
        };
        assert_eq!(relay(&mut player, 101, 20), Some(101), "nothing was played yet");
        player.push(Digit::new(0, 40).unwrap(), EVENTS);
        let first = played(&mut player, 21..22);
        assert_eq!(header(&first[0].1).sequence, 102);
        assert_eq!(relay(&mut player, 102, 40), None, "a key is down");
        let rest = played(&mut player, 41..100);
        assert_eq!(rest.last().map(|(_, packet)| header(packet).sequence), Some(105));
        assert_eq!(relay(&mut player, 104, 100), Some(106));
        assert_eq!(relay(&mut player, 106, 140), Some(108), "loss stays loss");
        assert_eq!(relay(&mut player, 105, 141), Some(107));
        assert_eq!(relay(&mut player, 107, 160), Some(109));
    }

    #[test]
    fn digits_wait_for_each_other_with_a_pause_between_them() {
        let mut player = Player::new(position(1, 0, 0));
        for event in [1, 2] {
            player.push(Digit::new(event, 40).unwrap(), EVENTS);
        }
        let packets = played(&mut player, 10..400);
        let first_of_second = packets.iter().find(|(_, packet)| packet[12] == 2).unwrap();
        assert_eq!(first_of_second.0, 10 + 20 + 60);
        let stamps: Vec<u32> = packets.iter().map(|(_, packet)| header(packet).timestamp).collect();
        assert!(stamps.is_sorted() && stamps.first() < stamps.last(), "{stamps:?}");
        assert_eq!(told(packets.into_iter().map(|(_, packet)| packet)), [('1', 40), ('2', 40)]);
        for event in 0..100 {
            player.push(Digit::new(event % 10, 40).unwrap(), EVENTS);
        }
        assert_eq!(player.queue.len(), MAX_QUEUE);
    }
}
