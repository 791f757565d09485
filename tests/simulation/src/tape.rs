//! The tape: every datagram of a world, and how it is told as a ladder.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sip::{Message, Time};
use smallvec::SmallVec;

/// One datagram, as it was sent.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was sent.
    pub at: Time,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: Bytes,
    /// How long its copies took; none: lost.
    pub copies: SmallVec<[Duration; 2]>,
}

/// Something on the tape.
#[derive(Clone, Debug)]
enum Entry {
    Line(Line),
    /// What is no datagram: an answer of routing, a command, a report; of one call or of all.
    Note(Time, Option<usize>, String),
}

/// Everything that happened, in order.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    entries: Vec<Entry>,
}

impl Tape {
    pub(crate) fn line(&mut self, line: Line) {
        self.entries.push(Entry::Line(line));
    }

    pub(crate) fn note(&mut self, at: Time, call: Option<usize>, text: impl Into<String>) {
        self.entries.push(Entry::Note(at, call, text.into()));
    }

    /// All datagrams, in the order in which they were sent.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Line(line) => Some(line),
            Entry::Note(..) => None,
        })
    }

    /// Some line, counted from the start.
    pub fn nth_line(&self, chosen: u64) -> Option<&Line> {
        let count = self.entries.len() as u64;
        if count == 0 {
            return None;
        }
        match self.entries.get(usize::try_from(chosen % count).ok()?) {
            Some(Entry::Line(line)) => Some(line),
            Some(Entry::Note(..)) | None => None,
        }
    }

    /// The ladder of a call and the dialogs with these Call-IDs, of everything when there are none.
    pub fn ladder(
        &self,
        call: Option<usize>,
        call_ids: &BTreeSet<Vec<u8>>,
        name: impl Fn(SocketAddr) -> String,
    ) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            match entry {
                Entry::Note(at, of, note) => {
                    if call.is_some() && of.is_some() && call != *of {
                        continue;
                    }
                    let _ = writeln!(text, "{} · {note}", seconds(*at));
                }
                Entry::Line(line) => {
                    let ours = |id: &[u8]| call_ids.is_empty() || call_ids.contains(id);
                    if Message::parse(&line.bytes).is_ok_and(|m| !m.call_id().is_ok_and(ours)) {
                        continue;
                    }
                    let _ = writeln!(
                        text,
                        "{} {:>10} → {:<10} {}{}",
                        seconds(line.at),
                        name(line.from),
                        name(line.to),
                        brief(&line.bytes),
                        fate(line)
                    );
                }
            }
        }
        text
    }
}

fn seconds(time: Time) -> String {
    format!("{:>11.6}", Duration::from_micros(time.as_micros()).as_secs_f64())
}

fn fate(line: &Line) -> String {
    match line.copies.as_slice() {
        [] => "  LOST".to_owned(),
        [one] if *one <= Duration::from_millis(1) => String::new(),
        copies => copies.iter().map(|copy| format!("  +{:.3}", copy.as_secs_f64())).collect(),
    }
}

/// First line, CSeq, the ends of branch, tags and Call-ID: what one looks for in a ladder.
pub fn brief(bytes: &[u8]) -> String {
    let Ok(message) = Message::parse(bytes) else {
        let head = bytes.get(..bytes.len().min(40)).unwrap_or_default();
        return format!("{:?}", String::from_utf8_lossy(head));
    };
    let what = match message.status() {
        Some(status) => {
            format!(
                "{status} ({})",
                String::from_utf8_lossy(message.cseq().map_or(b"?", |cseq| cseq.method_text))
            )
        }
        None => format!(
            "{} {}",
            String::from_utf8_lossy(message.method_text()),
            String::from_utf8_lossy(message.request_uri().unwrap_or_default())
        ),
    };
    let sdp = if message.body().is_empty() { "" } else { " +body" };
    format!(
        "{what:<44} {:<7} branch={} from={} to={} id={}{sdp}",
        message.cseq().map_or(0, |cseq| cseq.number),
        end(message.via().ok().and_then(|via| via.branch())),
        end(message.from().ok().and_then(|from| from.tag())),
        end(message.to().ok().and_then(|to| to.tag())),
        end(message.call_id().ok()),
    )
}

fn end(token: Option<&[u8]>) -> String {
    let token = token.unwrap_or(b"-");
    String::from_utf8_lossy(token.get(token.len().saturating_sub(6)..).unwrap_or_default()).into_owned()
}
