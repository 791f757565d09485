//! Registrations (RFC 3261 §10).

use crate::io::{Flow, Utc};

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
