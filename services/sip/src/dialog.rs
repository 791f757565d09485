//! Dialogs (RFC 3261 §12): what two user agents have agreed to call their conversation, and how to reach the peer.
//!
//! A [`Dialog`] is made from the request and response that create it, writes the head of each request sent inside it,
//! and judges the order of each request received inside it. It knows nothing of calls, of offers and answers, or of
//! the 2xx that is repeated until its ACK. Every held call keeps two of these, so it stores bytes and nothing twice.

use crate::message::{Address, Fault, Message, Method, Name, Scheme, Uri};
use crate::write::Writer;

/// One side of a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// The Call-ID.
    pub call_id: Box<[u8]>,
    /// Our tag.
    pub local_tag: Box<[u8]>,
    /// The peer's tag; empty for an RFC 2543 peer that has none.
    pub remote_tag: Box<[u8]>,
    /// What we write into From, without the tag: display name and `<uri>`.
    pub local_uri: Box<[u8]>,
    /// What we write into To, without the tag.
    pub remote_uri: Box<[u8]>,
    /// The peer's Contact: the Request-URI of what we send.
    pub remote_target: Box<[u8]>,
    /// Through which proxies, in the order that we write them into Route; each with its `<>`.
    pub route_set: Vec<Box<[u8]>>,
    /// The CSeq number of the last request that we sent; 0 before the first.
    pub local_cseq: u32,
    /// The CSeq number of the last request that the peer sent.
    pub remote_cseq: Option<u32>,
    /// Whether the dialog was asked for with a `sips` URI.
    pub secure: bool,
}

/// A request whose CSeq number is not above that of the one before it, to be answered with 500 (§12.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a CSeq above {last}, got {got}")]
pub struct OutOfOrder {
    /// The number of the last request.
    pub last: u32,
    /// The number that came.
    pub got: u32,
}

impl Dialog {
    /// The dialog that a received request creates when it is answered with `local_tag` (§12.1.1).
    ///
    /// # Errors
    /// From, To, Call-ID, CSeq or a Record-Route that cannot be read, or no Contact with a sip or sips URI, which only a
    /// caller of RFC 2543 may leave out. Such a request cannot create a dialog and is answered with the fault.
    pub fn uas(request: &Message<'_>, local_tag: &[u8]) -> Result<Dialog, Fault> {
        let from = request.from()?;
        let contact = match request.contact()? {
            Some(contact) => contact.uri,
            // RFC 2543 §6.13 lets a caller do without, and be reached where it says it is from.
            None if !request.via()?.has_magic_cookie() => from.uri,
            None => return Err(Fault::missing("Contact")),
        };
        let request_uri = Uri::parse(request.request_uri().unwrap_or_default());
        Ok(Dialog {
            call_id: request.call_id()?.into(),
            local_tag: local_tag.into(),
            remote_tag: from.tag().unwrap_or_default().into(),
            local_uri: without_tag(&request.to()?),
            remote_uri: without_tag(&from),
            remote_target: target(contact).ok_or(Fault::new("Contact", "a sip or sips uri"))?,
            route_set: route_set(request)?,
            local_cseq: 0,
            remote_cseq: Some(request.cseq()?.number),
            secure: request_uri.is_ok_and(|uri| uri.scheme == Scheme::Sips),
        })
    }

    /// The dialog that a response to our request creates (§12.1.2): a 2xx, or a provisional response with a To tag.
    /// Without a readable Contact in it the Request-URI stays the target, because a 2xx has to be acknowledged and
    /// ended whatever is wrong with it.
    ///
    /// # Errors
    /// From, To, Call-ID, CSeq or a Record-Route that cannot be read.
    pub fn uac(request: &Message<'_>, response: &Message<'_>) -> Result<Dialog, Fault> {
        let from = request.from()?;
        let request_uri = request.request_uri().unwrap_or_default();
        let contact = response.contact().ok().flatten().and_then(|contact| target(contact.uri));
        Ok(Dialog {
            call_id: request.call_id()?.into(),
            local_tag: from.tag().unwrap_or_default().into(),
            remote_tag: response.to()?.tag().unwrap_or_default().into(),
            local_uri: without_tag(&from),
            remote_uri: without_tag(&request.to()?),
            remote_target: contact.unwrap_or_else(|| request_uri.into()),
            route_set: reversed(route_set(response)?),
            local_cseq: request.cseq()?.number,
            remote_cseq: None,
            secure: Uri::parse(request_uri).is_ok_and(|uri| uri.scheme == Scheme::Sips),
        })
    }

    /// The 2xx to the request that created this dialog early: its route set is taken over, which a dialog otherwise
    /// never changes (§13.2.2.4), and its Contact.
    ///
    /// # Errors
    /// A Record-Route that cannot be read; the dialog stays as it was.
    pub fn confirm(&mut self, response: &Message<'_>) -> Result<(), Fault> {
        self.route_set = reversed(route_set(response)?);
        self.refresh_target(response);
        Ok(())
    }

    /// Whether a received message with these belongs here. To and From say which tag is whose: of a request we
    /// received, the To tag is ours.
    pub fn matches(&self, call_id: &[u8], local_tag: &[u8], remote_tag: &[u8]) -> bool {
        *self.call_id == *call_id && *self.local_tag == *local_tag && *self.remote_tag == *remote_tag
    }

    /// Starts a request inside the dialog (§12.2.1.1): start line, Via, Max-Forwards, Route, From, To, Call-ID, CSeq.
    /// `cseq` is `None` for the next number; an ACK passes the number of its INVITE. `top_via` are the pieces of the
    /// Via value.
    pub fn request(
        &mut self,
        method: &[u8],
        cseq: Option<u32>,
        top_via: &[&[u8]],
        max_forwards: u8,
    ) -> Writer {
        let cseq = cseq.unwrap_or_else(|| self.local_cseq.saturating_add(1));
        self.local_cseq = self.local_cseq.max(cseq);
        let strict = self.strict_router();
        let mut writer = match &strict {
            Some(router) => Writer::request(method, router),
            None => Writer::request(method, &self.remote_target),
        };
        writer.parts("Via", top_via).number("Max-Forwards", u64::from(max_forwards));
        for route in self.route_set.iter().skip(usize::from(strict.is_some())) {
            writer.header("Route", route);
        }
        if strict.is_some() {
            // A strict router puts the last Route back into the Request-URI: it has to be the target.
            writer.parts("Route", &[b"<", &self.remote_target, b">"]);
        }
        with_tag(&mut writer, "From", &self.local_uri, &self.local_tag);
        with_tag(&mut writer, "To", &self.remote_uri, &self.remote_tag);
        writer.header("Call-ID", &self.call_id);
        writer.parts("CSeq", &[crate::write::decimal(u64::from(cseq), &mut [0; 20]), b" ", method]);
        writer
    }

    /// The URI of the element that a request has to be sent to: the first proxy of the route set, else the target
    /// (§8.1.2).
    pub fn next_hop(&self) -> &[u8] {
        let first = self.route_set.first().and_then(|route| Address::parse(route).ok());
        first.map_or(&self.remote_target, |route| route.uri)
    }

    /// Judges a request that came inside the dialog by its CSeq (§12.2.2) and takes note of it. ACK and CANCEL have
    /// the number of their INVITE and always pass. A number seen before is refused as well: real repetitions end in
    /// their transaction and do not get here.
    ///
    /// # Errors
    /// The request is out of order and must change nothing.
    pub fn receive(&mut self, request: &Message<'_>) -> Result<(), OutOfOrder> {
        if matches!(request.method(), Method::Ack | Method::Cancel) {
            return Ok(());
        }
        let got = request.cseq().map_or(0, |cseq| cseq.number);
        match self.remote_cseq {
            Some(last) if got <= last => Err(OutOfOrder { last, got }),
            Some(_) | None => {
                self.remote_cseq = Some(got);
                Ok(())
            }
        }
    }

    /// Takes over the Contact of a target refresh request or of a response to one (§12.2.1.2, §12.2.2): INVITE and
    /// UPDATE, and the methods of subscriptions (RFC 6665 §4.4.1, RFC 3515 §2). Of responses only a 2xx counts.
    /// Everything else, and a Contact that cannot be read, leaves the target as it is.
    pub fn refresh_target(&mut self, message: &Message<'_>) {
        let refreshes = matches!(
            message.method(),
            Method::Invite | Method::Update | Method::Subscribe | Method::Notify | Method::Refer
        );
        if !refreshes || message.status().is_some_and(|status| !(200..300).contains(&status)) {
            return;
        }
        if let Ok(Some(contact)) = message.contact()
            && let Some(target) = target(contact.uri)
        {
            self.remote_target = target;
        }
    }

    /// The first route's URI as a Request-URI, where it is a strict router's (no `lr`).
    fn strict_router(&self) -> Option<Box<[u8]>> {
        let route = Address::parse(self.route_set.first()?).ok()?;
        let uri = route.parsed_uri().ok()?;
        if uri.is_lr() { None } else { Some(uri.to_request_uri()) }
    }
}

fn with_tag(writer: &mut Writer, name: &str, uri: &[u8], tag: &[u8]) {
    if tag.is_empty() {
        writer.header(name, uri);
    } else {
        writer.parts(name, &[uri, b";tag=", tag]);
    }
}

/// Display name and URI of a From or To. Its other parameters are the request's, not the dialog's.
fn without_tag(address: &Address<'_>) -> Box<[u8]> {
    let space: &[u8] = if address.display.is_empty() { b"" } else { b" " };
    [address.display, space, b"<", address.uri, b">"].concat().into()
}

/// A message's Record-Route elements, each readable.
fn route_set(message: &Message<'_>) -> Result<Vec<Box<[u8]>>, Fault> {
    let mut routes = Vec::new();
    for element in message.elements(Name::RecordRoute) {
        let fault = |fault: Fault| fault.in_header("Record-Route");
        let address = Address::parse(element).map_err(fault)?;
        address.parsed_uri().map_err(fault)?;
        // Route has no other form than the one with <> (§20.34); a peer that left them out meant a URI all the same.
        let bare = memchr::memchr(b'<', element).is_none();
        routes.push(if bare { [b"<", element, b">"].concat().into() } else { element.into() });
    }
    Ok(routes)
}

fn reversed(mut routes: Vec<Box<[u8]>>) -> Vec<Box<[u8]>> {
    routes.reverse();
    routes
}

/// A Contact's URI as a remote target: `None` when no request can be sent to it.
fn target(contact: &[u8]) -> Option<Box<[u8]>> {
    let uri = Uri::parse(contact).ok()?;
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => Some(uri.to_request_uri()),
        Scheme::Tel | Scheme::Other => None,
    }
}
