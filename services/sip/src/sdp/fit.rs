//! An answer with as many m= lines as its offer (RFC 3264 §6), whatever its author has sent.

use super::Sdp;
use super::line::{Line, lines};

impl Sdp<'_> {
    /// The description with as many m= sections as this offer: those that it does not answer are rejected, with the formats
    /// that were offered, and those that were not offered are left out. `None` where it has as many.
    pub fn fitted_to(&self, offer: &Sdp<'_>) -> Option<Vec<u8>> {
        let (said, offered) = (self.streams.len(), offer.streams.len());
        if said == offered {
            return None;
        }
        let mut media = lines(self.bytes).filter(|line| line.kind() == Some(b'm'));
        let begins = |line: Line<'_>| line.end - line.eol.len() - line.text.len();
        let kept = media.nth(offered).map_or(self.bytes.len(), begins);
        let mut out = self.bytes.get(..kept)?.to_vec();
        let eol = lines(self.bytes).map(|line| line.eol).find(|eol| !eol.is_empty()).unwrap_or(b"\r\n");
        for stream in offer.streams.iter().skip(said) {
            if !matches!(out.last(), Some(b'\r' | b'\n')) {
                out.extend_from_slice(eol);
            }
            let words: [&[u8]; 3] = [stream.kind, b"0", stream.proto];
            out.extend_from_slice(b"m=");
            out.extend_from_slice(&words.join(&b' '));
            if !stream.formats.is_empty() {
                out.push(b' ');
                out.extend_from_slice(stream.formats);
            }
            out.extend_from_slice(eol);
        }
        Some(out)
    }
}
