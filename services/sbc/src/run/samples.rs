//! Figures of the rooms as `/metrics` has them. Totals are taken apart, so that a new one cannot be forgotten here.

use ::net::{GuardTotals, NetTotals, ShardLoad};
use api::{Kind, Sample};
use call::{PeerChange, PeerState};
use media::{RecordingTotals, Totals};
use store::JournalHealth;

use crate::log;

pub(super) fn gauge(name: &'static str, help: &'static str, value: f64) -> Sample {
    Sample { name, help, kind: Kind::Gauge, labels: Vec::new(), value }
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Sample {
    Sample { name, help, kind: Kind::Counter, labels: Vec::new(), value: value as f64 }
}

fn recording_samples(totals: RecordingTotals, samples: &mut Vec<Sample>) {
    let RecordingTotals { open, begun, cut, missed, full } = totals;
    samples.extend([
        gauge("drawbridge_recordings", "Recordings that are being written.", open as f64),
        counter("drawbridge_recordings_begun_total", "Recordings begun.", begun),
        counter(
            "drawbridge_recordings_cut_total",
            "Recordings that ended before their calls, or did not begin, for want of room or time, or because the disk refused.",
            cut,
        ),
        gauge(
            "drawbridge_recordings_full",
            "Whether the recordings have reached recording.max_mb.",
            f64::from(u8::from(full)),
        ),
        counter(
            "drawbridge_recordings_missed_total",
            "Packets that are not in their recording because its writer was behind.",
            missed,
        ),
    ]);
}

/// One line for each figure. Totals are taken apart, so that a new one cannot be forgotten here.
pub(super) fn media_samples(totals: &Totals, samples: &mut Vec<Sample>) {
    let Totals {
        packets,
        octets,
        kernel_packets,
        kernel_octets,
        kernel_flows,
        steered,
        control,
        dropped,
        not_rtp,
        forged,
        replayed,
        withheld,
        unsent,
        late,
        opened,
        closed,
        refused,
        ports_in_use: _,
        ports_total,
        ports_taken,
        recordings,
        sockets,
        sockets_limit,
    } = *totals;
    if let Some(recordings) = recordings {
        recording_samples(recordings, samples);
    }
    samples.extend([
        counter("drawbridge_media_packets_total", "Media packets relayed.", packets),
        counter("drawbridge_media_octets_total", "Payload octets of the media packets relayed.", octets),
        counter(
            "drawbridge_media_kernel_packets_total",
            "Media packets relayed in the kernel, of all that were.",
            kernel_packets,
        ),
        counter(
            "drawbridge_media_kernel_octets_total",
            "Payload octets of the media packets relayed in the kernel.",
            kernel_octets,
        ),
        gauge(
            "drawbridge_media_kernel_streams",
            "Directions of media streams that the kernel relays.",
            kernel_flows as f64,
        ),
        counter(
            "drawbridge_media_steered_total",
            "Datagrams that came to the one socket of a relay thread, of all ports.",
            steered,
        ),
        counter("drawbridge_media_control_packets_total", "RTCP packets relayed.", control),
        counter(
            "drawbridge_media_dropped_total",
            "Packets of a source that is not the call's, beyond the rate limit, not RTP, forged or replayed.",
            dropped,
        ),
        counter(
            "drawbridge_media_not_rtp_total",
            "Packets from where a side may send that described itself with RTP, and are none.",
            not_rtp,
        ),
        counter(
            "drawbridge_media_forged_total",
            "Packets from where an encrypted side may send, that nobody who has its key wrote.",
            forged,
        ),
        counter("drawbridge_media_replayed_total", "Encrypted packets that were here before.", replayed),
        counter("drawbridge_media_withheld_total", "Packets for a side on hold.", withheld),
        counter("drawbridge_media_unsent_total", "Packets that the network refused.", unsent),
        counter("drawbridge_media_late_total", "Packets to ports that belong to no call.", late),
        counter("drawbridge_media_sessions_opened_total", "Media sessions opened.", opened),
        counter("drawbridge_media_sessions_closed_total", "Media sessions closed.", closed),
        counter(
            "drawbridge_media_sessions_refused_total",
            "Media sessions refused for want of ports.",
            refused,
        ),
        gauge("drawbridge_media_ports", "Media ports configured.", ports_total as f64),
        counter(
            "drawbridge_media_ports_taken_total",
            "Ports found in the hands of another process.",
            ports_taken,
        ),
        gauge("drawbridge_media_sockets", "Open media sockets, also of resting ports.", sockets as f64),
        gauge(
            "drawbridge_media_sockets_limit",
            "Media sockets that the system allows.",
            sockets_limit as f64,
        ),
    ]);
}

pub(super) fn log_samples(samples: &mut Vec<Sample>) {
    let help = "Log lines that were dropped because nobody read those before them.";
    samples.push(counter("drawbridge_log_lines_dropped_total", help, log::dropped()));
}

pub(super) fn net_samples(totals: &NetTotals, samples: &mut Vec<Sample>) {
    let NetTotals {
        datagrams_in,
        datagrams_out,
        keepalives_in,
        datagrams_unsent,
        stream_messages_in,
        stream_messages_out,
        handed_over,
        dropped_queue_full,
        answered_503,
        connections_open: _,
        connections_accepted,
        connections_opened,
        connections_failed,
        connections_refused,
        connections_slow,
        connections_idle,
        framing_faults,
        lookups,
        lookups_failed,
    } = *totals;
    samples.extend([
        counter("drawbridge_datagrams_in_total", "SIP datagrams received.", datagrams_in),
        counter("drawbridge_datagrams_out_total", "SIP datagrams sent.", datagrams_out),
        counter("drawbridge_keepalives_in_total", "Datagrams that were only a keep-alive.", keepalives_in),
        counter(
            "drawbridge_datagrams_unsent_total",
            "SIP datagrams that the system refused.",
            datagrams_unsent,
        ),
        counter(
            "drawbridge_stream_messages_in_total",
            "SIP messages of streams received.",
            stream_messages_in,
        ),
        counter(
            "drawbridge_stream_messages_out_total",
            "SIP messages handed to streams.",
            stream_messages_out,
        ),
        counter("drawbridge_handed_over_total", "Messages received by a shard for another.", handed_over),
        counter(
            "drawbridge_queue_full_total",
            "Messages dropped at a shard's full queue.",
            dropped_queue_full,
        ),
        counter("drawbridge_queue_full_503_total", "INVITEs among them that got 503.", answered_503),
        counter("drawbridge_connections_accepted_total", "Streams accepted.", connections_accepted),
        counter("drawbridge_connections_opened_total", "Streams opened.", connections_opened),
        counter(
            "drawbridge_connections_failed_total",
            "Streams that could not be opened.",
            connections_failed,
        ),
        counter(
            "drawbridge_connections_refused_total",
            "Streams beyond the most allowed.",
            connections_refused,
        ),
        counter(
            "drawbridge_connections_slow_total",
            "Streams cut off for reading too slowly.",
            connections_slow,
        ),
        counter("drawbridge_connections_idle_total", "Streams closed for silence.", connections_idle),
        counter("drawbridge_framing_faults_total", "Streams closed for what is no SIP.", framing_faults),
        counter("drawbridge_lookups_total", "Host names looked up.", lookups),
        counter("drawbridge_lookups_failed_total", "Look-ups that gave nothing.", lookups_failed),
    ]);
}

/// What was turned away at the door, and how the shards keep up.
pub(super) fn guard_samples(totals: &GuardTotals, loads: &[ShardLoad], samples: &mut Vec<Sample>) {
    let GuardTotals { refused, imposed, banned } = totals;
    let by_reason = |name, help, counts: &[(::net::Reason, u64)]| {
        let sample = |(reason, count): &(::net::Reason, u64)| Sample {
            labels: vec![("reason", reason.word().to_owned())],
            ..counter(name, help, *count)
        };
        counts.iter().map(sample).collect::<Vec<_>>()
    };
    samples.extend(by_reason("drawbridge_guard_refused_total", "Messages turned away at the door.", refused));
    samples.extend(by_reason("drawbridge_guard_bans_total", "Bans imposed.", imposed));
    samples.push(gauge("drawbridge_guard_bans", "Sources that are banned.", *banned as f64));
    let worst = |of: fn(&ShardLoad) -> f64| loads.iter().map(of).fold(0.0, f64::max);
    samples.extend([
        gauge(
            "drawbridge_queue_delay_seconds",
            "How long the oldest message has waited for its shard, of the shard where it is longest.",
            worst(|load| load.waited.as_secs_f64()),
        ),
        gauge(
            "drawbridge_overload",
            "The share of new calls refused for want of time, of the shard that refuses most.",
            worst(|load| load.refusing),
        ),
        counter(
            "drawbridge_overload_503_total",
            "New requests refused because messages waited too long.",
            loads.iter().map(|load| load.refused).sum(),
        ),
    ]);
}

/// What the journal of records holds, and could not.
pub(super) fn record_samples(journal: &JournalHealth, samples: &mut Vec<Sample>) {
    samples.extend([
        gauge("drawbridge_cdr_open", "Attempts in progress that the journal knows of.", journal.open as f64),
        counter(
            "drawbridge_cdr_unopened_total",
            "How often what a call in progress would leave waited in the spool for room.",
            journal.unopened,
        ),
        counter("drawbridge_cdr_unspooled_total", "Records that the spool did not take.", journal.unspooled),
    ]);
}

/// A peer that was not asked yet is neither up nor down.
pub(super) fn peer_samples(peers: &[PeerChange], samples: &mut Vec<Sample>) {
    let labels = |peer: &PeerChange| vec![("trunk", peer.trunk.to_string()), ("peer", peer.peer.to_string())];
    for peer in peers {
        let up = match peer.life.as_ref().map(|life| life.state) {
            Some(PeerState::Up) => 1.0,
            Some(PeerState::Down | PeerState::Aside) => 0.0,
            Some(PeerState::Unknown) | None => continue,
        };
        let help = "Whether a peer that is asked for life answers and takes calls.";
        samples.push(Sample { labels: labels(peer), ..gauge("drawbridge_trunk_peer_up", help, up) });
    }
    for peer in peers {
        let Some(took) = peer.life.as_ref().and_then(|life| life.round_trip) else { continue };
        let name = "drawbridge_trunk_peer_round_trip_seconds";
        let help = "How long the last answer of a peer to OPTIONS took.";
        samples.push(Sample { labels: labels(peer), ..gauge(name, help, took.as_secs_f64()) });
    }
}
