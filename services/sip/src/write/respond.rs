//! The response to a request.

use std::io::Write;
use std::net::SocketAddr;

use super::{Folds, Writer, decimal, push_value};
use crate::message::{Fault, List, Message, Name, Params, Via, is_space, parameter, reason_phrase};

/// Starts the response to a request that came from `source` (RFC 3261 §8.2.6): all Via in order, the top one completed
/// with `received` and `rport` (§18.2.1, RFC 3581 §4), From, To, Call-ID and CSeq as they came, and Timestamp for a
/// 100. To gets `to_tag` when it has no tag. Record-Route is the caller's to add. Without `reason` the status's own
/// phrase is written. Headers that the request lacks are lacking here too: this answers faulty requests as well.
pub fn respond(
    request: &Message<'_>,
    status: u16,
    reason: Option<&[u8]>,
    to_tag: Option<&[u8]>,
    source: SocketAddr,
) -> Writer {
    let phrase = reason.unwrap_or_else(|| reason_phrase(status).as_bytes());
    let mut writer = Writer::response(status, phrase);
    write_vias(&mut writer, request, source);
    for (name, text) in
        [(Name::From, "From"), (Name::To, "To"), (Name::CallId, "Call-ID"), (Name::CSeq, "CSeq")]
    {
        let Some(value) = request.first(name) else { continue };
        writer.name(text.as_bytes());
        match to_tag {
            Some(tag) if name == Name::To && !has_tag(request.to()) => {
                // The semicolon that some end their parameters with would make an empty one.
                push_value(&mut writer.out, value.strip_suffix(b";").unwrap_or(value), Folds::Any);
                writer.out.extend_from_slice(b";tag=");
                push_value(&mut writer.out, tag, Folds::None);
            }
            Some(_) | None => push_value(&mut writer.out, value, Folds::Any),
        }
        writer.out.extend_from_slice(b"\r\n");
    }
    if let (100, Some(timestamp)) = (status, request.first(Name::Timestamp)) {
        // RFC 3261 §8.2.6.1: with the delay, which is none: a 100 goes out with what it answers.
        let stamp = timestamp.split(|byte| is_space(*byte)).next().unwrap_or(timestamp);
        writer.parts("Timestamp", &[stamp, b" 0"]);
    }
    writer
}

/// A To that cannot be read gets no tag: where it would have to stand is unknown.
fn has_tag(to: Result<crate::message::Address<'_>, Fault>) -> bool {
    to.map_or(true, |to| to.params.has("tag"))
}

fn write_vias(writer: &mut Writer, request: &Message<'_>, source: SocketAddr) {
    let mut found = false;
    for value in request.values(Name::Via) {
        writer.name(b"Via");
        let mut elements = List::new(value);
        let top = if found { None } else { elements.next() };
        found |= top.is_some();
        match top.and_then(|element| Some((element, Via::parse(element).ok()?))) {
            Some((element, via)) => {
                write_top_via(&mut writer.out, element, &via, source);
                // What follows the element in its line stays as it is.
                if !elements.rest().is_empty() {
                    writer.out.push(b',');
                    push_value(&mut writer.out, elements.rest(), Folds::Any);
                }
            }
            None => push_value(&mut writer.out, value, Folds::Any),
        }
        writer.out.extend_from_slice(b"\r\n");
    }
}

/// Copies the element and puts what we know of its sender in place of what the sender said.
fn write_top_via(out: &mut Vec<u8>, element: &[u8], via: &Via<'_>, source: SocketAddr) {
    let asked = via.rport().is_some();
    let (sent_by, params) = Params::split(element);
    push_value(out, sent_by, Folds::Any);
    let mut digits = [0; 20];
    for piece in params.pieces() {
        let (name, _) = parameter(piece);
        if name.eq_ignore_ascii_case(b"received") || name.is_empty() {
            continue;
        }
        out.push(b';');
        if name.eq_ignore_ascii_case(b"rport") {
            out.extend_from_slice(b"rport=");
            out.extend_from_slice(decimal(u64::from(source.port()), &mut digits));
        } else {
            push_value(out, piece, Folds::Any);
        }
    }
    if asked || !via.is_sent_by(source.ip()) {
        // Formatting into a Vec cannot fail.
        let _ = write!(out, ";received={}", source.ip().to_canonical());
    }
}
