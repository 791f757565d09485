//! Choosing among a description's formats: payload types left out, put into another order, or added, with every line that
//! speaks of them.

use std::io::Write;

use super::line::{Line, lines, number, tokens};
use super::stream::MediaLine;
use super::{Sdp, Stream};

/// What remains of a stream's formats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The payload types in their new order. None at all: the stream is rejected, with its formats as they are.
    pub payload_types: Vec<u8>,
    /// The protocol, where it is another one than before.
    pub proto: Option<String>,
    /// Whether `a=rtcp-fb` is left out, as in a profile without early feedback (RFC 4585 §4.2).
    pub without_feedback: bool,
    /// Lines of payload types that were not there, without their ends.
    pub lines: Vec<String>,
}

impl Selection {
    /// Of a stream that nothing is left of.
    pub fn is_empty(&self) -> bool {
        self.payload_types.is_empty()
    }
}

impl<'a> Sdp<'a> {
    /// The description with the formats that `select` chooses for each stream that is in use; `None` leaves a stream as
    /// it is. Lines about payload types that are not chosen (`a=rtpmap`, `a=fmtp`, `a=rtcp-fb` and the like) go with them; all other lines
    /// pass as they are. `None` when nothing changes.
    pub fn select(&self, mut select: impl FnMut(usize, &Stream<'a>) -> Option<Selection>) -> Option<Vec<u8>> {
        let streams = self.streams.iter().enumerate();
        let chosen: Vec<Option<Selection>> = streams
            .map(|(index, stream)| if stream.is_rejected() { None } else { select(index, stream) })
            .collect();
        if chosen.iter().all(Option::is_none) {
            return None;
        }
        let eol = lines(self.bytes).map(|line| line.eol).find(|eol| !eol.is_empty()).unwrap_or(b"\r\n");
        let mut out = Vec::with_capacity(self.bytes.len() + 64);
        let mut sections = chosen.iter().zip(&self.streams);
        let mut current: Option<&Selection> = None;
        for line in lines(self.bytes) {
            if line.kind() == Some(b'm') {
                finish(&mut out, current, eol);
                let Some((selection, stream)) = sections.next() else { break };
                current = selection.as_ref();
                match current {
                    Some(selection) => media(&mut out, &line, stream, selection),
                    None => copy(&mut out, &line),
                }
            } else if current.is_none_or(|selection| selection.keeps(&line)) {
                copy(&mut out, &line);
            }
        }
        finish(&mut out, current, eol);
        Some(out)
    }
}

impl Selection {
    fn keeps(&self, line: &Line<'_>) -> bool {
        /// Those whose value begins with a payload type: RFC 8866 §6.6 and §6.15, RFC 4585 §4.2, RFC 6236, RFC 5583, and the
        /// `gpmd` of ITU-T V.152.
        const OF_PAYLOAD_TYPE: [&[u8]; 6] =
            [b"rtpmap", b"fmtp", b"rtcp-fb", b"imageattr", b"depend", b"gpmd"];
        if self.is_empty() || line.kind() != Some(b'a') {
            return true;
        }
        let attribute = line.attribute();
        let is = |name: &[u8]| attribute.name.eq_ignore_ascii_case(name);
        // A list with one packet time for each format, in their order.
        if is(b"mptime") || self.without_feedback && is(b"rtcp-fb") {
            return false;
        }
        if !OF_PAYLOAD_TYPE.into_iter().any(is) {
            return true;
        }
        // `*` is all of them.
        let spoken_of = tokens(attribute.value).next().and_then(number);
        spoken_of.is_none_or(|spoken_of| self.payload_types.iter().any(|kept| u16::from(*kept) == spoken_of))
    }
}

fn media(out: &mut Vec<u8>, line: &Line<'_>, stream: &Stream<'_>, selection: &Selection) {
    let Some(cut) = MediaLine::parse(line.text) else { return copy(out, line) };
    out.extend_from_slice(cut.before_port);
    if selection.is_empty() {
        out.push(b'0');
        out.extend_from_slice(cut.after_port);
    } else if selection.proto.is_none() && stream.payload_types().eq(selection.payload_types.iter().copied())
    {
        out.extend_from_slice(cut.port);
        out.extend_from_slice(cut.after_port);
    } else {
        out.extend_from_slice(cut.port);
        out.push(b' ');
        out.extend_from_slice(selection.proto.as_ref().map_or(cut.proto, |proto| proto.as_bytes()));
        for payload_type in &selection.payload_types {
            // Writing to a Vec does not fail.
            let _ = write!(out, " {payload_type}");
        }
    }
    out.extend_from_slice(line.eol);
}

/// Adds the new lines behind a section.
fn finish(out: &mut Vec<u8>, selection: Option<&Selection>, eol: &[u8]) {
    for line in selection.iter().flat_map(|selection| &selection.lines) {
        if !out.ends_with(b"\n") && !out.ends_with(b"\r") {
            out.extend_from_slice(eol);
        }
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(eol);
    }
}

fn copy(out: &mut Vec<u8>, line: &Line<'_>) {
    out.extend_from_slice(line.text);
    out.extend_from_slice(line.eol);
}
