//! Registrations (RFC 3261 §10): who can be called by name, and over which flow.
//!
//! Every shard holds all bindings: the shard that got the REGISTER tells the others by [`BindingChange`], and the store
//! hands them in again after a restart. A request is all or nothing; a binding is found by user and contact URI.

mod access;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use foldhash::quality::FixedState;
use sip::{Message, Name, Time, Uri, Via, Writer};

use crate::headers::text;
use crate::io::{EventKind, Flow, Now, Output, Utc};
use crate::settings::{RegistrarPolicy, User};
use crate::wire::Wire;

pub(crate) use access::{Access, Verdict};

const DEFAULT_EXPIRES: u32 = 3600;
const MAX_EXPIRES: u32 = 7200;
const MIN_EXPIRES: u32 = 60;
const MAX_CONTACTS: usize = 10;
const MAX_USERS: usize = 100_000;
const SWEEP: Duration = Duration::from_secs(5);

/// A contact of a user, as the registrar accepted it. `expires_at` not after the time of reading: the binding is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingChange {
    /// User part of the address of record.
    pub user: Box<str>,
    /// Contact URI as registered.
    pub contact: Box<str>,
    /// Where requests to it are sent: the flow that it registered over.
    pub flow: Flow,
    /// When it ends.
    pub expires_at: Utc,
    /// Call-ID of the REGISTER.
    pub call_id: Box<str>,
    /// CSeq of the REGISTER.
    pub cseq: u32,
    /// Preference in thousandths (RFC 3261 §20.10).
    pub q: u16,
    /// User-Agent of the phone.
    pub user_agent: Option<Box<str>>,
}

/// All bindings.
#[derive(Default)]
pub(crate) struct Registrar {
    /// Ordered, so that what is listed and swept is the same in every run.
    users: BTreeMap<Box<str>, Vec<BindingChange>>,
    count: usize,
    /// How many bindings each source holds: asked for every request that no trunk owns.
    sources: HashMap<SocketAddr, u32, FixedState>,
    pub(crate) armed: Option<Time>,
    sweep_at: Option<Time>,
}

/// Why a REGISTER changes nothing.
enum Refusal {
    Status(u16, &'static str),
    TooBrief,
}

impl Registrar {
    /// Answers a REGISTER of `user`, who is who they say.
    pub(crate) fn register(
        &mut self,
        request: &Message<'_>,
        via: &Via<'_>,
        flow: Flow,
        user: &str,
        wire: &mut Wire,
        now: Now,
    ) {
        let server = wire.accept(request, via, flow, true, now);
        let tag = format!("{:016x}", wire.ids.random());
        let (status, phrase) = match self.changes(request, flow, user, now) {
            Ok(changes) => {
                for change in changes {
                    self.apply(change.clone(), now);
                    let expires =
                        u32::try_from((change.expires_at.0 - now.utc.0).max(0) / 1_000_000).unwrap_or(0);
                    wire.event(None, EventKind::Registered { user: change.user.clone(), expires });
                    wire.outputs.push_back(Output::Binding(change));
                }
                (200, None)
            }
            Err(Refusal::Status(status, phrase)) => (status, Some(phrase.as_bytes())),
            Err(Refusal::TooBrief) => (423, None),
        };
        let Some(mut writer) = wire.response(server, status, phrase, Some(&tag)) else { return };
        match status {
            200 => self.list(user, now, &mut writer),
            423 => {
                writer.number("Min-Expires", u64::from(MIN_EXPIRES));
            }
            _ => {}
        }
        wire.respond(server, status, writer.finish(), now);
        self.rearm(wire, now);
    }

    /// The contacts of a user that can be called, best first.
    pub(crate) fn contacts(&self, user: &str, now: Now) -> Vec<BindingChange> {
        let mut live: Vec<_> =
            self.users.get(user).into_iter().flatten().filter(|b| b.expires_at > now.utc).collect();
        // Equal preference: who registered last is most likely there.
        live.sort_by_key(|binding| std::cmp::Reverse((binding.q, binding.expires_at)));
        live.into_iter().cloned().collect()
    }

    /// Whether a phone registered from this address. A binding that just expired counts until it is swept.
    pub(crate) fn has_binding_from(&self, flow: Flow) -> bool {
        self.sources.contains_key(&flow.remote)
    }

    /// Whether a phone of this user registered from this address.
    pub(crate) fn is_bound_from(&self, user: &str, flow: Flow) -> bool {
        self.users.get(user).is_some_and(|bindings| bindings.iter().any(|it| it.flow.remote == flow.remote))
    }

    pub(crate) fn is_registered(&self, user: &str, now: Now) -> bool {
        self.users.get(user).is_some_and(|bindings| bindings.iter().any(|b| b.expires_at > now.utc))
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// A binding that another shard accepted or the store kept. The store may have kept it for a user who is none any
    /// more: a binding vouches for its source, so only those that the policy would let in count.
    pub(crate) fn learn(&mut self, change: BindingChange, wire: &mut Wire, now: Now) {
        if change.expires_at > now.utc && !admits(&wire.settings.registrar, &change) {
            return;
        }
        self.apply(change, now);
        self.rearm(wire, now);
    }

    /// Puts another policy in force, and drops the bindings that were not made under its terms: of users who are gone,
    /// who have another password now, or who never showed one.
    pub(crate) fn enforce(&mut self, policy: RegistrarPolicy, wire: &mut Wire, now: Now) {
        let before = std::mem::replace(&mut wire.settings.registrar, policy);
        let after = &wire.settings.registrar;
        let stays =
            |binding: &BindingChange| admits(after, binding) && is_same_access(&before, after, binding);
        let gone: Vec<BindingChange> =
            self.users.values().flatten().filter(|binding| !stays(binding)).cloned().collect();
        for binding in gone {
            let change = BindingChange { expires_at: now.utc, ..binding };
            // Every shard gets the policy and drops its own copy; one of them tells the store.
            if wire.settings.shard == 0 {
                wire.event(None, EventKind::Registered { user: change.user.clone(), expires: 0 });
                wire.outputs.push_back(Output::Binding(change.clone()));
            }
            self.apply(change, now);
        }
        self.rearm(wire, now);
    }

    /// Drops what has expired.
    pub(crate) fn on_timeout(&mut self, wire: &mut Wire, now: Now) {
        self.armed = None;
        self.sweep_at = None;
        let dead = |binding: &&BindingChange| binding.expires_at <= now.utc;
        let gone: Vec<BindingChange> = self.users.values().flatten().filter(dead).cloned().collect();
        for binding in gone {
            let user = binding.user.clone();
            self.apply(binding, now);
            wire.event(None, EventKind::Registered { user, expires: 0 });
        }
        self.rearm(wire, now);
    }

    fn rearm(&mut self, wire: &mut Wire, now: Now) {
        self.sweep_at = if self.count == 0 { None } else { self.sweep_at.or(Some(now.time + SWEEP)) };
        wire.timers.set(crate::timers::TimerOf::Registrar, &mut self.armed, self.sweep_at);
    }

    fn apply(&mut self, change: BindingChange, now: Now) {
        let bindings = self.users.entry(change.user.clone()).or_default();
        let old = bindings.iter().position(|binding| same_contact(&binding.contact, &change.contact));
        if let Some(old) = old.map(|index| bindings.remove(index)) {
            self.count -= 1;
            if let Some(held) = self.sources.get_mut(&old.flow.remote) {
                *held -= 1;
                if *held == 0 {
                    self.sources.remove(&old.flow.remote);
                }
            }
        }
        if change.expires_at > now.utc {
            self.count += 1;
            *self.sources.entry(change.flow.remote).or_default() += 1;
            bindings.push(change);
        } else if bindings.is_empty() {
            self.users.remove(&change.user);
        }
    }

    /// What the request asks for, checked as a whole before anything is done (§10.3, steps 6 and 7).
    fn changes(
        &self,
        request: &Message<'_>,
        flow: Flow,
        user: &str,
        now: Now,
    ) -> Result<Vec<BindingChange>, Refusal> {
        let existing = self.users.get(user).map(Vec::as_slice).unwrap_or_default();
        let call_id = text(request.call_id().unwrap_or_default());
        let cseq = request.cseq().map(|cseq| cseq.number).unwrap_or(0);
        let in_order = |binding: &BindingChange| binding.call_id != call_id || binding.cseq < cseq;
        let header_expires = match request.first(Name::Expires) {
            // A malformed value means the default (§10.3 step 7); so does one that is too large.
            Some(value) => number(value).unwrap_or(DEFAULT_EXPIRES),
            None => DEFAULT_EXPIRES,
        };
        let contacts: Vec<&[u8]> = request.elements(Name::Contact).collect();
        if contacts.len() > MAX_CONTACTS {
            return Err(Refusal::Status(403, "Too Many Contacts"));
        }
        if contacts.contains(&&b"*"[..]) {
            if contacts.len() != 1 || request.first(Name::Expires).and_then(number) != Some(0) {
                return Err(Refusal::Status(400, "Contact * Needs Expires 0 And No Other Contact"));
            }
            if !existing.iter().all(in_order) {
                return Err(Refusal::Status(500, "CSeq Too Low"));
            }
            return Ok(existing
                .iter()
                .map(|b| BindingChange { expires_at: now.utc, cseq, ..b.clone() })
                .collect());
        }
        let mut changes = Vec::with_capacity(contacts.len());
        for value in contacts {
            let contact =
                sip::Address::parse(value).map_err(|_| Refusal::Status(400, "Bad Contact Header"))?;
            let uri = contact.parsed_uri().map_err(|_| Refusal::Status(400, "Bad Contact URI"))?;
            if !matches!(uri.scheme, sip::Scheme::Sip | sip::Scheme::Sips) {
                return Err(Refusal::Status(400, "Contact Is No SIP URI"));
            }
            let asked = contact
                .params
                .value("expires")
                .map_or(header_expires, |v| number(v).unwrap_or(DEFAULT_EXPIRES));
            if asked > 0 && asked < MIN_EXPIRES {
                return Err(Refusal::TooBrief);
            }
            let contact_uri =
                std::str::from_utf8(contact.uri).map_err(|_| Refusal::Status(400, "Bad Contact URI"))?;
            let old = existing.iter().find(|binding| same_contact(&binding.contact, contact_uri));
            if !old.is_none_or(in_order) {
                return Err(Refusal::Status(500, "CSeq Too Low"));
            }
            if asked == 0 && old.is_none() {
                continue;
            }
            let granted = i64::from(asked.min(MAX_EXPIRES)) * 1_000_000;
            changes.push(BindingChange {
                user: user.into(),
                contact: contact_uri.into(),
                flow,
                expires_at: Utc(now.utc.0 + granted),
                call_id: call_id.clone(),
                cseq,
                q: contact.params.value("q").map_or(1000, thousandths),
                user_agent: request.first(Name::UserAgent).map(text),
            });
        }
        let added =
            changes.iter().filter(|c| !existing.iter().any(|b| same_contact(&b.contact, &c.contact))).count();
        if existing.len() + added > MAX_CONTACTS || (existing.is_empty() && self.users.len() >= MAX_USERS) {
            return Err(Refusal::Status(403, "Too Many Contacts"));
        }
        Ok(changes)
    }

    fn list(&self, user: &str, now: Now, writer: &mut Writer) {
        for binding in self.contacts(user, now) {
            let left = ((binding.expires_at.0 - now.utc.0) / 1_000_000).to_string();
            writer.parts("Contact", &[b"<", binding.contact.as_bytes(), b">;expires=", left.as_bytes()]);
        }
    }
}

/// Whether the policy would have let this registration in.
fn admits(policy: &RegistrarPolicy, binding: &BindingChange) -> bool {
    match policy {
        RegistrarPolicy::Closed => false,
        RegistrarPolicy::OpenLoopback => binding.flow.remote.ip().is_loopback(),
        RegistrarPolicy::Users(_) => is_configured(policy, &binding.user),
    }
}

/// Whether the phone would have had to show the same under both policies.
fn is_same_access(before: &RegistrarPolicy, after: &RegistrarPolicy, binding: &BindingChange) -> bool {
    match (before, after) {
        (RegistrarPolicy::Users(before), RegistrarPolicy::Users(after)) => {
            let of = |users: &[User]| users.iter().find(|user| *user.name == *binding.user).cloned();
            of(before) == of(after)
        }
        (RegistrarPolicy::OpenLoopback, RegistrarPolicy::OpenLoopback) => true,
        (
            RegistrarPolicy::Closed | RegistrarPolicy::OpenLoopback | RegistrarPolicy::Users(_),
            RegistrarPolicy::Closed | RegistrarPolicy::OpenLoopback | RegistrarPolicy::Users(_),
        ) => false,
    }
}

/// Who the policy lets in.
pub(crate) fn is_configured(policy: &RegistrarPolicy, user: &str) -> bool {
    match policy {
        RegistrarPolicy::Closed | RegistrarPolicy::OpenLoopback => false,
        RegistrarPolicy::Users(users) => users.iter().any(|known| known.name == user),
    }
}

/// §10.3 step 7 compares contacts by §19.1.4.
fn same_contact(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (Uri::parse(one.as_bytes()), Uri::parse(other.as_bytes())) {
        (Ok(one), Ok(other)) => one.equivalent(&other),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// A q-value, `0.7` as 700 (§25.1: at most three decimals).
pub(crate) fn thousandths(value: &[u8]) -> u16 {
    let text = std::str::from_utf8(value).unwrap_or("1");
    let value: f32 = text.trim().parse().unwrap_or(1.0);
    if value.is_finite() { (value.clamp(0.0, 1.0) * 1000.0).round() as u16 } else { 1000 }
}
