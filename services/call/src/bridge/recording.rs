//! Recording a call: when it begins and ends, what can be recorded, and what the files are called.
//!
//! The relay writes the files; here is decided which stream goes into which. A recording begins with the answer where the
//! route or a trunk says so, or whenever an operator wants one, and ends with the call, by order, or because the relay came to
//! a limit. Each has a file of its own.

use routing::TrunkId;
use sip::{Sdp, Stream};
use uuid::Uuid;

use super::security::Privacy;
use super::session::MediaState;
use super::{Call, CallKey};
use crate::core::Core;
use crate::headers::text;
use crate::io::{EventKind, Now, Output, Recording};
use crate::media::{MediaOrder, Side};

/// The most recordings of one call: each is a file, and the record names them all.
const MOST_FILES: u8 = 16;
/// PCMU and PCMA (RFC 3551 §6), which the relay can read.
const RECORDABLE: [u8; 2] = [0, 8];

/// The recordings of a call that has any, or is to have one.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    files: u8,
    is_on: bool,
    /// It ended where the sides went over to what cannot be read, and goes on when they come back from it.
    is_interrupted: bool,
}

impl Recordings {
    /// Whether there is one now.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// How many there were, whether there is one now, and whether one waits for another codec.
    pub(super) fn kept(&self) -> (u8, bool, bool) {
        (self.files, self.is_on, self.is_interrupted)
    }

    /// Those of the process before this one.
    pub(super) fn restored((files, is_on, is_interrupted): (u8, bool, bool)) -> Recordings {
        Recordings { files, is_on, is_interrupted }
    }

    /// The files, in the order of their making; `None` where there are none.
    pub(crate) fn names(&self, call: Uuid) -> Option<Box<str>> {
        let names: Vec<String> = (1..=self.files).map(|number| name(call, number)).collect();
        (!names.is_empty()).then(|| names.join(" ").into())
    }
}

fn name(call: Uuid, number: u8) -> String {
    match number {
        1 => format!("{call}.wav"),
        number => format!("{call}-{number}.wav"),
    }
}

impl Call {
    /// A route wants its calls recorded. That of the target of a transfer speaks of who may come, and not of who talk until then.
    pub(crate) fn wants_recording(&mut self) {
        match &mut self.transfer {
            Some(transfer) => transfer.is_recorded = true,
            None => drop(self.record.recordings.get_or_insert_default()),
        }
    }

    /// The target of a transfer has answered: what its route or this trunk, which it is at, wants is the call's wish from now on.
    pub(super) fn wants_newcomer_recorded(&mut self, trunk: Option<TrunkId>) {
        let of_trunk = self.records(trunk);
        let Some(transfer) = &mut self.transfer else { return };
        transfer.is_recorded |= of_trunk;
        if transfer.is_recorded {
            self.record.recordings.get_or_insert_default();
        }
    }

    /// Whether calls of this trunk are recorded.
    pub(super) fn records(&self, trunk: Option<TrunkId>) -> bool {
        trunk.and_then(|id| self.snapshot.trunk(id)).is_some_and(|trunk| trunk.record)
    }
}

impl Core {
    /// Those who talk are recorded from now on where their route or a trunk says so. `for_newcomer`: one of them has just come,
    /// and is recorded whatever was ended before.
    pub(super) fn begin_wanted_recording(&mut self, key: CallKey, for_newcomer: bool, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        let mut legs = [Side::A, Side::B].into_iter().filter_map(|side| self.legs.get(call.leg(side)?));
        let is_wanted = match &call.record.recordings {
            Some(recordings) if recordings.is_on || recordings.is_interrupted => false,
            Some(recordings) => for_newcomer || recordings.files == 0,
            None => legs.any(|leg| call.records(leg.trunk)),
        };
        if !is_wanted {
            return;
        }
        let id = call.id;
        match self.recordable(key) {
            Ok(_) => self.begin_recording(key, now),
            Err(why) => {
                let what = format!("the call is not recorded as its route or trunk wants: {}", why.text());
                self.wire.event(Some(id), EventKind::Warning { what });
            }
        }
    }

    /// The stream of a call that would be recorded, or why it cannot be.
    pub(crate) fn recordable(&self, key: CallKey) -> Result<u8, Recording> {
        let call = self.calls.get(key).ok_or(Recording::NoCall)?;
        let (talk, _) = call.talk();
        let do_talk = talk.answered.is_some() && !call.state.has_lost_a_side();
        if !do_talk || call.record.ended.is_some() || !is_open(call) {
            return Err(Recording::NotAnswered);
        }
        if call.record.recordings.as_ref().is_some_and(|recordings| recordings.files >= MOST_FILES) {
            return Err(Recording::TooMany);
        }
        self.readable(call)
    }

    /// The stream that the two talk in, if that can be read.
    fn readable(&self, call: &Call) -> Result<u8, Recording> {
        let told = |side| {
            let leg = call.leg(side).and_then(|leg| self.legs.get(leg));
            leg.and_then(|leg| talk(&Sdp::parse(leg.session.standing()).ok()?))
        };
        let talks = [told(Side::A), told(Side::B)];
        let [a, b] = talks.each_ref().map(|talk| talk.as_ref().map(|talk| talk.privacy).unwrap_or_default());
        if !call.media.is_secured() && a.is_private(b) {
            return Err(Recording::Encrypted);
        }
        // Of an offer and its answer the answer has the shorter list, and its first codec is talked in (RFC 3264 §6.1).
        match talks.into_iter().flatten().min_by_key(|talk| talk.codecs) {
            Some(talk) if RECORDABLE.contains(&talk.payload_type) => Ok(talk.stream),
            Some(talk) => Err(Recording::Codec(talk.codec)),
            None => Err(Recording::Codec("no audio".into())),
        }
    }

    /// Begins a recording, where [`recordable`](Core::recordable) says that it can be and there is none. Should the process die, the
    /// record names it all the same.
    pub(crate) fn begin_recording(&mut self, key: CallKey, now: Now) {
        let Ok(stream) = self.recordable(key) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        let recordings = call.record.recordings.get_or_insert_default();
        if recordings.is_on {
            return;
        }
        (recordings.is_on, recordings.is_interrupted) = (true, false);
        recordings.files += 1;
        let name = Some(name(call.id, recordings.files).into());
        let order = MediaOrder::Record { session: call.media.id, stream, name };
        self.wire.outputs.push_back(Output::Media(order));
        self.tell_recording(key, now);
    }

    /// The record is to name the files should the process die. Where a transfer is under way it has nothing new until that is
    /// over: the call speaks of the target's attempt.
    fn tell_recording(&mut self, key: CallKey, now: Now) {
        if self.calls.get(key).is_some_and(|call| call.talking_callee().is_none()) {
            self.open_record(key, now);
        }
    }

    /// A call of the process before this one was being recorded: what is said from now on goes into another file.
    pub(crate) fn resume_recording(&mut self, key: CallKey, now: Now) {
        let recordings = self.calls.get_mut(key).and_then(|call| call.record.recordings.as_mut());
        if recordings.is_some_and(|recordings| std::mem::take(&mut recordings.is_on)) {
            self.begin_recording(key, now);
        }
    }

    /// Ends the recording, if there is one; the call goes on.
    pub(crate) fn stop_recording(&mut self, key: CallKey, now: Now) {
        self.end_recording(key, false, now);
    }

    /// The same; `is_interrupted`: it is to go on as soon as it can.
    fn end_recording(&mut self, key: CallKey, is_interrupted: bool, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(recordings) = &mut call.record.recordings else { return };
        let was_interrupted = std::mem::replace(&mut recordings.is_interrupted, is_interrupted);
        let was_on = std::mem::take(&mut recordings.is_on);
        if was_on {
            let order = MediaOrder::Record { session: call.media.id, stream: 0, name: None };
            self.wire.outputs.push_back(Output::Media(order));
        }
        if was_on || was_interrupted {
            self.keep_call(key, now);
        }
    }

    /// Whether a recording that is interrupted goes on as soon as it can.
    pub(crate) fn goes_on_recording(&self, key: CallKey) -> bool {
        let recordings = self.calls.get(key).and_then(|call| call.record.recordings.as_ref());
        recordings.is_some_and(|recordings| recordings.is_interrupted)
    }

    /// The two have agreed anew on what they talk in: what cannot be read any more would be silence in the file.
    pub(super) fn review_recording(&mut self, key: CallKey, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(recordings) = &call.record.recordings else { return };
        match (recordings.is_on, recordings.is_interrupted, self.readable(call)) {
            (true, _, Err(why)) => {
                let id = call.id;
                self.end_recording(key, true, now);
                let what = format!("the recording of the call ends: {}", why.text());
                self.wire.event(Some(id), EventKind::Warning { what });
            }
            (false, true, Ok(_)) => self.begin_recording(key, now),
            (true, _, Ok(_)) | (false, true, Err(_)) | (false, false, _) => {}
        }
    }

    /// The relay could not begin the recording that it was asked for last: there is no such file.
    pub(crate) fn on_not_recording(&mut self, key: CallKey, why: &str, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let id = call.id;
        if let Some(recordings) = &mut call.record.recordings {
            recordings.is_on = false;
            recordings.files = recordings.files.saturating_sub(1);
        }
        let has_ended = call.record.ended.is_some();
        let what = format!("the call is not recorded: {why}");
        self.wire.event(Some(id), EventKind::Warning { what });
        if !has_ended {
            self.tell_recording(key, now);
        }
    }

    /// The relay has ended the recording.
    pub(crate) fn on_recording_ended(&mut self, key: CallKey, why: &str, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let id = call.id;
        if let Some(recordings) = &mut call.record.recordings {
            recordings.is_on = false;
        }
        let what = format!("the recording of the call ends: {why}");
        self.wire.event(Some(id), EventKind::Warning { what });
        self.keep_call(key, now);
    }
}

fn is_open(call: &Call) -> bool {
    match call.media.state {
        MediaState::Open | MediaState::Growing => true,
        MediaState::Unopened | MediaState::Opening | MediaState::Closing | MediaState::Closed => false,
    }
}

/// What a description says of talk.
struct Talk {
    stream: u8,
    payload_type: u8,
    codec: Box<str>,
    codecs: usize,
    privacy: Privacy,
}

/// Of the first audio stream.
fn talk(sdp: &Sdp<'_>) -> Option<Talk> {
    let is_audio = |stream: &Stream<'_>| stream.kind.eq_ignore_ascii_case(b"audio") && !stream.is_rejected();
    let (index, stream) = sdp.streams().iter().enumerate().find(|(_, stream)| is_audio(stream))?;
    let name = |payload_type: u8| stream.rtpmap(payload_type).map(text);
    let is_talk =
        |payload_type: &u8| name(*payload_type).is_none_or(|name| !routing::is_companion(name.as_bytes()));
    let payload_type = stream.payload_types().find(is_talk)?;
    let codec = name(payload_type).unwrap_or_else(|| format!("payload type {payload_type}").into());
    let codecs = stream.payload_types().filter(is_talk).count();
    let privacy = Privacy::of(sdp, index);
    Some(Talk { stream: u8::try_from(index).ok()?, payload_type, codec, codecs, privacy })
}
