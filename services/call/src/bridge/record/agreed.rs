//! What the two who talk said of their media, and the codec that they agreed on.
//!
//! A row names where each wants its media and what is talked in. Where media goes is in every description that counts, the codec in
//! the one that answers: an offer names several (RFC 3264 §6.1).

use std::net::SocketAddr;

use sip::{Message, Sdp, Stream};

use super::{Attempt, Record};
use crate::bridge::session::codec;
use crate::bridge::table::Event;
use crate::bridge::{Call, Cause};
use crate::cdr::EndedBy;
use crate::media::Side;

/// What one of the two said last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Described {
    /// Where it wants its media.
    pub(super) media: Option<SocketAddr>,
    /// How many milliseconds of it in a packet.
    pub(super) ptime: Option<u16>,
    /// What it talks in.
    pub(super) codec: Option<Box<str>>,
}

impl Described {
    /// A hold, and a description without a stream in use, name no other place than there was.
    fn hear(&mut self, sdp: &Sdp<'_>) {
        let Some(stream) = sdp.streams().iter().find(|stream| !stream.is_rejected()) else { return };
        self.ptime = Stream::ptime(stream);
        let media = stream.rtp();
        if media.is_none_or(|media| !media.ip().is_unspecified()) {
            self.media = media;
        }
    }
}

impl Record {
    /// Where this side of the attempt wants its media, and how much of it in a packet.
    pub(crate) fn described(&mut self, side: Side, sdp: &Sdp<'_>) {
        self.party(None, side).hear(sdp);
    }

    /// Of the row's party on this side. `talk`: the attempt that brought the two together, where the record speaks of another.
    fn party<'r>(&'r mut self, talk: Option<&'r mut Attempt>, side: Side) -> &'r mut Described {
        let attempt = talk.unwrap_or(&mut self.attempt);
        if side == attempt.side() { &mut attempt.described } else { &mut self.described }
    }
}

impl Call {
    /// Who this side is in the row of those who talk.
    pub(crate) fn who(&self, side: Side) -> EndedBy {
        let talk = self.transfer.as_ref().and_then(|transfer| transfer.talking());
        talk.unwrap_or(&self.record.attempt).who(side)
    }

    /// The call ends with this message.
    pub(in crate::bridge) fn saw_reason(&mut self, message: &Message<'_>, cause: &Cause<'_>) {
        let talk = self.transfer.as_mut().and_then(|transfer| transfer.talk());
        // What a target says is of its own attempt.
        let talk = talk.filter(|_| matches!(cause.event, Event::Bye(_)));
        self.record.saw_reason(talk, message, cause.by.unwrap_or(EndedBy::Error));
    }

    fn party_described(&mut self, side: Side) -> &mut Described {
        let talk = self.transfer.as_mut().and_then(|transfer| transfer.talk());
        self.record.party(talk, side)
    }

    /// Where this side of those who talk wants its media, and how much of it in a packet.
    pub(crate) fn note_media(&mut self, side: Side, sdp: &Sdp<'_>) {
        self.party_described(side).hear(sdp);
    }

    /// What a newcomer said, before the other side was asked: what that talks in is still to come.
    pub(crate) fn note_newcomer(&mut self, side: Side, sdp: &Sdp<'_>) {
        self.note_media(side, sdp);
        self.party_described(side).codec = codec(sdp);
    }

    /// The same of a description that answers: both talk in its first codec, unless the relay turns that into another.
    pub(crate) fn note_answer(&mut self, side: Side, sdp: &Sdp<'_>) {
        self.note_media(side, sdp);
        let codecs = match self.media.translated() {
            Some(codecs) => codecs.map(|codec| Some(codec.name().into())),
            None => [codec(sdp), codec(sdp)],
        };
        for (side, codec) in [Side::A, Side::B].into_iter().zip(codecs) {
            if codec.is_some() {
                self.party_described(side).codec = codec;
            }
        }
    }
}
