//! A call that is recorded, with real sockets and a real file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use call::{MediaId, MediaOrder, MediaReport, StreamPorts};
use harness::{Bench, Phone, receive};
use media::{Config, Layout, RecordingLimits};

/// A tone as mu-law, 20 ms from this sample on.
fn tone(hertz: f64, from: u32) -> Vec<u8> {
    (from..from + 160)
        .map(|n| encode((f64::from(n) * hertz * std::f64::consts::TAU / 8000.0).sin() * 8000.0))
        .collect()
}

/// ITU-T G.711, the inverse of what the recorder does: the octet whose value is nearest below.
fn encode(sample: f64) -> u8 {
    let magnitude = (sample.abs() as i32 + 132).min(32_635);
    let segment = (magnitude >> 7).ilog2() as i32;
    let code = (segment << 4 | (magnitude >> (segment + 3)) & 15) as u8;
    !(code | if sample < 0.0 { 0x80 } else { 0 })
}

fn rtp(sequence: u16, ssrc: u8, payload: Vec<u8>) -> Vec<u8> {
    let stamp = (u32::from(sequence) * 160).to_be_bytes();
    [&[0x80, 0][..], &sequence.to_be_bytes(), &stamp, &[0, 0, 0, ssrc], &payload].concat()
}

/// How much of a frequency is in samples (Goertzel).
fn power(samples: &[f64], hertz: f64) -> f64 {
    let turn = 2.0 * (hertz * std::f64::consts::TAU / 8000.0).cos();
    let (one, two) = samples.iter().fold((0.0, 0.0), |(one, two), sample| (sample + turn * one - two, one));
    (one * one + two * two - turn * one * two) / samples.len() as f64
}

/// A place for the files of one test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let place = std::env::temp_dir().join(format!("drawbridge-recording-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        Place(place)
    }

    fn bench(&self, first_port: u16, layout: Layout, max_bytes: u64) -> Bench {
        let limits = RecordingLimits {
            directory: self.0.clone(),
            max_bytes,
            max_length: Duration::from_secs(60),
            layout,
        };
        let ports = first_port..=first_port + 19;
        Bench::with(Config { ports, recordings: Some(limits), ..Config::default() })
    }

    /// The samples of a file once it is whole, channel by channel.
    fn channels(&self, name: &str) -> Vec<Vec<f64>> {
        let (file, start) = (self.0.join(name), Instant::now());
        while !file.exists() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut wav = hound::WavReader::open(&file).unwrap();
        assert_eq!((wav.spec().sample_rate, wav.spec().bits_per_sample), (8000, 16));
        let count = usize::from(wav.spec().channels);
        let samples: Vec<f64> = wav.samples::<i16>().map(|sample| f64::from(sample.unwrap())).collect();
        (0..count).map(|channel| samples.iter().skip(channel).step_by(count).copied().collect()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn record(bench: &mut Bench, name: Option<&str>) {
    let order = MediaOrder::Record { session: MediaId(1), stream: 0, name: name.map(Box::from) };
    assert_eq!(bench.order(order), []);
}

/// Waits until the recording has ended by itself; why.
fn ended(bench: &mut Bench) -> String {
    for _ in 0..500 {
        match &bench.poll()[..] {
            [] => std::thread::sleep(Duration::from_millis(10)),
            [MediaReport::RecordingEnded { session: MediaId(1), why }] => return format!("ended: {why}"),
            [MediaReport::NotRecording { session: MediaId(1), why }] => return format!("not begun: {why}"),
            other => panic!("{other:?}"),
        }
    }
    panic!("the recording goes on")
}

/// Talks for a second; what A sends between these packets is lost. How many frames that may have been, on a machine that does
/// other things as well.
fn talk(a: &Phone, b: &Phone, ports: &StreamPorts, lost: Range<u16>) -> Range<usize> {
    let start = Instant::now();
    for n in 0..50u16 {
        if !lost.contains(&n) {
            a.send(ports.a.rtp, &rtp(n, 1, tone(440.0, u32::from(n) * 160)));
        }
        b.send(ports.b.rtp, &rtp(n, 2, tone(1000.0, u32::from(n) * 160)));
        receive(&a.rtp);
        std::thread::sleep(Duration::from_millis(u64::from(n + 1) * 20).saturating_sub(start.elapsed()));
    }
    let longest = start.elapsed() + Duration::from_millis(500);
    7_500..longest.as_millis() as usize * 8
}

#[test]
fn each_side_is_recorded_in_its_channel_and_what_is_lost_is_silence() {
    let place = Place::new("split");
    let mut bench = place.bench(22_000, Layout::Split, 1 << 20);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    record(&mut bench, Some("one.wav"));
    let frames = talk(&a, &b, &ports, 20..30);
    bench.close(1);
    let channels = place.channels("one.wav");
    let [left, right] = &channels[..] else { panic!("{} channels", channels.len()) };
    assert!(frames.contains(&left.len()), "{} frames of a second", left.len());
    assert!(power(left, 440.0) > 100.0 * power(left, 1000.0), "the caller on the left");
    assert!(power(right, 1000.0) > 100.0 * power(right, 440.0), "the callee on the right");
    let silent = left.windows(1400).any(|run| run.iter().all(|sample| *sample == 0.0));
    assert!(silent, "200 ms that were not sent");
}

#[test]
fn both_sides_may_be_mixed_and_what_is_said_while_nothing_is_recorded_is_in_no_file() {
    let place = Place::new("mixed");
    let mut bench = place.bench(22_020, Layout::Mixed, 1 << 20);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    record(&mut bench, Some("one.wav"));
    let frames = talk(&a, &b, &ports, 0..0);
    record(&mut bench, None);
    talk(&a, &b, &ports, 0..0);
    record(&mut bench, Some("one-2.wav"));
    talk(&a, &b, &ports, 0..50);
    bench.close(1);
    let mixed = place.channels("one.wav");
    let [first] = &mixed[..] else { panic!("{} channels", mixed.len()) };
    assert!(frames.contains(&first.len()), "{} samples of a second", first.len());
    let neither = power(first, 700.0);
    assert!(power(first, 440.0) > 100.0 * neither && power(first, 1000.0) > 100.0 * neither);
    let second = &place.channels("one-2.wav")[0];
    assert!(power(second, 1000.0) > 100.0 * power(second, 440.0), "only B talked");
    let totals = bench.relay.totals().recordings.unwrap();
    assert_eq!((totals.begun, totals.open, totals.cut, totals.full), (2, 0, 0, false));
}

#[test]
fn a_recording_that_comes_to_the_limit_ends_and_is_reported_while_the_call_goes_on() {
    let place = Place::new("full");
    let mut bench = place.bench(22_040, Layout::Split, 10_000);
    let (a, b) = (Phone::new(), Phone::new());
    let ports = bench.call(1, &a, &b);
    record(&mut bench, Some("one.wav"));
    talk(&a, &b, &ports, 0..0);
    assert_eq!(ended(&mut bench), "ended: recording.max_mb is reached");
    assert_eq!(bench.poll(), [], "reported once");
    let size = std::fs::metadata(place.0.join("one.wav")).unwrap().len();
    // What was heard since the writer looked last, at most a second of a busy machine.
    assert!((10_000..42_000).contains(&size), "{size} octets");
    record(&mut bench, Some("two.wav"));
    talk(&a, &b, &ports, 0..0);
    assert_eq!(ended(&mut bench), "not begun: recording.max_mb is reached", "no room for another one");
    assert!(!place.0.join("two.wav").exists() && !place.0.join("two.part").exists());
    let totals = bench.relay.totals().recordings.unwrap();
    assert_eq!((totals.begun, totals.open, totals.cut, totals.full), (1, 0, 2, true));
    let (from_a, from_b) = bench.close(1);
    assert_eq!((from_a.packets, from_b.packets), (100, 100), "nobody's voice was lost");
}

#[test]
fn what_a_process_left_that_died_is_made_whole_at_the_next_start() {
    let place = Place::new("part");
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let part = place.0.join("one.part");
    let mut wav = hound::WavWriter::create(&part, spec).unwrap();
    (0..4_000).for_each(|n| wav.write_sample(n as i16).unwrap());
    wav.finalize().unwrap();
    let whole = std::fs::read(&part).unwrap();
    // As it was before anybody wrote its length, and torn in the middle of a sample.
    let torn = [&whole[..4], &[0; 4], &whole[8..40], &[0; 4], &whole[44..whole.len() - 1]].concat();
    std::fs::write(&part, torn).unwrap();
    let bench = place.bench(22_060, Layout::Split, 1 << 20);
    let channels = place.channels("one.wav");
    assert_eq!((channels[0].len(), channels[1].len()), (1_999, 1_999));
    assert_eq!((channels[0][1_998], channels[1][1_998]), (3_996.0, 3_997.0));
    assert!(!part.exists());
    drop(bench);
}
