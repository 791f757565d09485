//! Following a 3xx (RFC 3261 §8.1.3.4): its contacts become the next candidates of the line that was redirected.
//!
//! Whoever redirects chooses where this box calls next, so that nothing of it is taken on trust: only schemes that can
//! be called, never a URI that was tried before, never this box itself, a few contacts and a few hops. A host that is
//! no peer of the trunk is called as the trunk's, but is never shown the trunk's credentials.

use std::net::SocketAddr;

use routing::{Redirect, Trunk};
use sip::{Address, Message, Name, Scheme, Uri};

use super::candidates::{Dialled, MAX_CANDIDATES};
use crate::bridge::{CallKey, Candidate, GoesOn, Reach};
use crate::core::{Core, Destination, Host};
use crate::io::EventKind;

/// How often one call may be sent on from where it was sent to.
const MAX_HOPS: u8 = 5;
/// More contacts of one response are not read.
const MAX_CONTACTS: usize = 8;

/// What a 3xx comes to: the status that counts, and whether the line goes on.
pub(super) type Redirected = (u16, GoesOn);

impl Core {
    /// Puts the contacts of a 3xx in front of what is left of its line, the preferred first.
    pub(super) fn follow_redirect(
        &mut self,
        key: CallKey,
        status: u16,
        response: &Message<'_>,
    ) -> Redirected {
        let passed = (status, GoesOn::AsListed);
        let Some(call) = self.calls.get(key) else { return passed };
        let Some(current) = call.setup.as_ref().and_then(|setup| setup.current.as_ref()) else {
            return passed;
        };
        let (snapshot, line) = (call.snapshot.clone(), current.line());
        let trunk = match current.trunk.and_then(|trunk| snapshot.trunk(trunk)) {
            Some(trunk) if trunk.redirect == Redirect::Follow => trunk,
            // Where a phone sends others on to is the phone's own address book, in its own network: what is left for the
            // caller is that it is not there now.
            None if matches!(current.reach, Reach::Flow { registered: true, .. }) => {
                return (480, GoesOn::AsListed);
            }
            Some(_) | None => return passed,
        };
        let secure = self.legs.get(call.a).is_some_and(crate::leg::Leg::is_secure);
        let mut found: Vec<Candidate> = Vec::new();
        // 380 names another service and not another place (§21.3.5). Which to use would be the caller's to choose, who is
        // not shown the contacts of a trunk whose redirections are followed here.
        let contacts = if status == 380 { Vec::new() } else { by_preference(response) };
        for contact in contacts {
            let next = match status {
                // §21.3.4: the same request, by the proxy that the contact names.
                305 => self.by_way_of(&contact, current, trunk),
                _ => self.contact_candidate(&contact, current, trunk).filter(|next| {
                    let known = |uri: &[u8]| same_place(uri, &next.uri);
                    !call.tried_uris().any(known) && !found.iter().any(|other| known(&other.uri))
                }),
            };
            // RFC 5630 §3.1.3: nor does a redirection lead out of what is secure.
            found.extend(next.filter(|next| !secure || self.is_reached_securely(next)));
        }
        let id = call.id;
        if found.is_empty() {
            let what = format!("the {status} of trunk {:?} names no place that can be tried", trunk.name);
            self.wire.event(Some(id), EventKind::Warning { what });
            // A gateway that answers with something of no use (§21.5.3), as far as the rest of the route goes.
            return (502, GoesOn::AsListed);
        }
        if let Some(setup) = self.calls.get_mut(key).and_then(|call| call.setup.as_mut()) {
            setup.drop_alternatives(line);
            setup.targets.retain(|waiting| !found.iter().any(|next| same_place(&waiting.uri, &next.uri)));
            found.truncate(MAX_CANDIDATES.saturating_sub(setup.targets.len() + setup.tried.len()).max(1));
            found.into_iter().rev().for_each(|next| setup.targets.push_front(next));
        }
        (status, GoesOn::Elsewhere)
    }

    /// A contact as a place to call.
    fn contact_candidate(&self, contact: &[u8], current: &Candidate, trunk: &Trunk) -> Option<Candidate> {
        let hops = current.hops.checked_add(1).filter(|hops| *hops <= MAX_HOPS)?;
        let uri = Uri::parse(contact).ok()?;
        match uri.scheme {
            Scheme::Sip | Scheme::Sips => {}
            // Another number: it is asked for where the first one was.
            Scheme::Tel => {
                let number = Dialled::of(&uri).filter(|number| !number.user.is_empty())?;
                let at = Uri::parse(&current.uri).ok()?;
                let port = at.port.map(|port| format!(":{port}")).unwrap_or_default();
                let to = [b"sip:", &*number.user, b"@", at.host, port.as_bytes(), number.kind()].concat();
                let full = [&to, at.params.raw()].concat();
                let next = Candidate { uri: full.into(), to: to.into(), hops, ..current.clone() };
                return Some(Candidate { is_alternative: false, ..next });
            }
            Scheme::Other => return None,
        }
        let reach = self.reach_of(&uri, trunk)?;
        let secure: &[u8] = if uri.scheme == Scheme::Sips { b"sips:" } else { b"sip:" };
        let port = uri.port.map(|port| format!(":{port}")).unwrap_or_default();
        let (user, at): (&[u8], &[u8]) = uri.user.map_or((b"", b""), |user| (user, b"@"));
        let to = [secure, user, at, uri.host, port.as_bytes()].concat();
        let is_stranger = !is_peer(&uri, trunk);
        Some(Candidate {
            uri: uri.to_request_uri(),
            to: to.into(),
            reach,
            hops,
            is_stranger,
            is_alternative: false,
            ..current.clone()
        })
    }

    /// The same request to another hop.
    fn by_way_of(&self, contact: &[u8], current: &Candidate, trunk: &Trunk) -> Option<Candidate> {
        let next = self.contact_candidate(contact, current, trunk)?;
        Some(Candidate { uri: current.uri.clone(), to: current.to.clone(), ..next })
    }

    fn reach_of(&self, uri: &Uri<'_>, trunk: &Trunk) -> Option<Reach> {
        let destination = Destination::of(uri)?;
        let is_allowed = match destination.host {
            Host::Address(_) => self.may_be_sent_to(destination.address(destination.transport()?)?),
            Host::Name(host) => !self
                .wire
                .settings
                .listeners
                .iter()
                .any(|listener| crate::headers::advertised_host(listener).eq_ignore_ascii_case(host)),
        };
        if is_allowed { self.reach(&destination, trunk.listener.as_deref()) } else { None }
    }

    /// Whether a redirection may lead there: to a host, and not to this box itself.
    pub(super) fn may_be_sent_to(&self, remote: SocketAddr) -> bool {
        let ip = remote.ip();
        if remote.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return false;
        }
        !self.wire.settings.listeners.iter().any(|listener| {
            let bound = listener.bind.ip() == ip || (listener.bind.ip().is_unspecified() && ip.is_loopback());
            (bound && listener.bind.port() == remote.port()) || listener.advertise.parse() == Ok(remote)
        })
    }
}

/// The URIs of the contacts, by their q-values (§8.1.3.4, §20.10); those of one value as they stand.
fn by_preference(response: &Message<'_>) -> Vec<Box<[u8]>> {
    let mut contacts: Vec<(u16, Box<[u8]>)> = response
        .elements(Name::Contact)
        .take(MAX_CONTACTS)
        .filter_map(|value| {
            let contact = Address::parse(value).ok()?;
            let q = contact.params.value("q").map_or(1000, crate::registrar::thousandths);
            Some((q, contact.uri.into()))
        })
        .collect();
    contacts.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
    contacts.into_iter().map(|(_, uri)| uri).collect()
}

/// §19.1.4.
fn same_place(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    match (Uri::parse(one), Uri::parse(other)) {
        (Ok(one), Ok(other)) => one.equivalent(&other),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

/// Whether this is a host that the trunk was given the credentials for.
fn is_peer(uri: &Uri<'_>, trunk: &Trunk) -> bool {
    trunk.peers.iter().filter_map(|peer| Uri::parse(peer.as_bytes()).ok()).any(|peer| {
        match (peer.target_ip(), uri.target_ip()) {
            (Some(peer), Some(ip)) => peer == ip,
            (None, None) => peer.target().eq_ignore_ascii_case(uri.target()),
            (Some(_), None) | (None, Some(_)) => false,
        }
    })
}
