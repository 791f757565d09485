//! What the relay does to payloads on their way: it turns one codec into another, and takes key presses out.
//!
//! It is told so when a description is answered, of which the answer says enough; an offer alone changes nothing (RFC 3264 §8).

use sip::Sdp;

use super::super::terms::{Terms, Translation};
use super::{CallMedia, TakenDigits, place};
use crate::io::Output;
use crate::media::{Codec, MediaOrder, Side};
use crate::wire::Wire;

impl CallMedia {
    /// This description is what counts from now on: the relay is told what it has to do for its reader, on `side`, to
    /// understand its writer. What the reader is told in place of what it says.
    pub(crate) fn agree(
        &mut self,
        sdp: &Sdp<'_>,
        side: Side,
        terms: Terms<'_>,
        wire: &mut Wire,
    ) -> Option<Translation> {
        let translation = terms.read(self.is_secured).translation(sdp, self.said(side));
        self.translate(side, translation, wire);
        self.take_digits(side, terms, wire);
        translation
    }

    /// What A and B talk in, where the relay turns one into the other.
    pub(crate) fn translated(&self) -> Option<[Codec; 2]> {
        self.said.as_deref().and_then(|heard| heard.translated).map(|(_, codecs)| codecs)
    }

    /// Has the relay turn what the writer of a description talks in into what its reader, on `side`, is told of.
    fn translate(&mut self, side: Side, translation: Option<Translation>, wire: &mut Wire) {
        let (session, is_open) = (self.id, self.is_open());
        let Some(heard) = self.said.as_deref_mut().filter(|_| is_open) else { return };
        let wanted = translation.map(|Translation { stream, from, to }| match side {
            Side::A => (stream, [to, from]),
            Side::B => (stream, [from, to]),
        });
        let before = std::mem::replace(&mut heard.translated, wanted);
        if before == wanted {
            return;
        }
        let mut order = |stream, codecs| {
            let order = MediaOrder::Transcode { session, stream, codecs };
            wire.outputs.push_back(Output::Media(order));
        };
        if let Some((stream, _)) = before.filter(|(stream, _)| wanted.is_none_or(|(now, _)| now != *stream)) {
            order(stream, None);
        }
        if let Some((stream, codecs)) = wanted {
            order(stream, Some(codecs));
        }
    }

    /// Where a side has said that it takes key presses, if any can be put there.
    pub(crate) fn digits_of(&self, side: Side) -> Option<TakenDigits> {
        self.said(side)?.digits.filter(|_| !self.is_private())
    }

    /// Whether the two encrypt what they say past the box.
    fn is_private(&self) -> bool {
        let [a, b] =
            [Side::A, Side::B].map(|side| self.said(side).map(|said| said.privacy).unwrap_or_default());
        !self.is_secured && a.is_private(b)
    }

    /// Has the relay take out what the trunk of the other side wants in INFO. `side` is who a description goes to.
    fn take_digits(&mut self, side: Side, terms: Terms<'_>, wire: &mut Wire) {
        let (session, is_open, is_private) = (self.id, self.is_open(), self.is_private());
        let Some(heard) = self.said.as_deref_mut().filter(|_| is_open) else { return };
        for (of, taken) in [(side, terms.writer_wants_info()), (side.other(), terms.reader_wants_info())] {
            let digits = heard.said[place(of)].and_then(|said| said.digits).filter(|_| taken && !is_private);
            let before = std::mem::replace(&mut heard.taken[place(of)], digits);
            if before == digits {
                continue;
            }
            let stream = digits.or(before).map_or(0, |digits| digits.stream);
            let payload_type = digits.map(|digits| digits.payload_type);
            let order = MediaOrder::TakeDigits { session, stream, side: of, payload_type };
            wire.outputs.push_back(Output::Media(order));
        }
    }
}
