//! Header names.

macro_rules! names {
    ($($variant:ident = $text:literal,)*) => {
        /// A header name. In any case and in the compact form it is the same name (RFC 3261 §7.3.1, §7.3.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Name {
            $(#[doc = concat!("`", $text, "`.")] $variant,)*
            /// Any other; its text is with the header.
            Other,
        }

        impl Name {
            /// All that have a name of their own.
            const KNOWN: &[Name] = &[$(Name::$variant),*];

            /// The canonical long form; `Other` for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Name::$variant => $text,)*
                    Name::Other => "Other",
                }
            }
        }
    };
}

names! {
    Via = "Via",
    From = "From",
    To = "To",
    CallId = "Call-ID",
    CSeq = "CSeq",
    Contact = "Contact",
    MaxForwards = "Max-Forwards",
    Route = "Route",
    RecordRoute = "Record-Route",
    ContentType = "Content-Type",
    ContentLength = "Content-Length",
    ContentEncoding = "Content-Encoding",
    ContentDisposition = "Content-Disposition",
    Authorization = "Authorization",
    ProxyAuthorization = "Proxy-Authorization",
    WwwAuthenticate = "WWW-Authenticate",
    ProxyAuthenticate = "Proxy-Authenticate",
    AuthenticationInfo = "Authentication-Info",
    Supported = "Supported",
    Require = "Require",
    ProxyRequire = "Proxy-Require",
    Unsupported = "Unsupported",
    Allow = "Allow",
    AllowEvents = "Allow-Events",
    Accept = "Accept",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    Expires = "Expires",
    MinExpires = "Min-Expires",
    Reason = "Reason",
    Warning = "Warning",
    SessionExpires = "Session-Expires",
    MinSe = "Min-SE",
    RSeq = "RSeq",
    RAck = "RAck",
    Event = "Event",
    SubscriptionState = "Subscription-State",
    ReferTo = "Refer-To",
    ReferredBy = "Referred-By",
    Replaces = "Replaces",
    UserAgent = "User-Agent",
    Server = "Server",
    Date = "Date",
    Timestamp = "Timestamp",
    RetryAfter = "Retry-After",
    Path = "Path",
    ServiceRoute = "Service-Route",
    PAssertedIdentity = "P-Asserted-Identity",
    PPreferredIdentity = "P-Preferred-Identity",
    RemotePartyId = "Remote-Party-ID",
    Diversion = "Diversion",
    HistoryInfo = "History-Info",
    Privacy = "Privacy",
    MimeVersion = "MIME-Version",
    Organization = "Organization",
    Subject = "Subject",
}

impl Name {
    /// Reads a name in any case, long or compact.
    pub fn parse(text: &[u8]) -> Name {
        match text {
            [] => Name::Other,
            [letter] => Name::compact(*letter),
            [first, .., last] => {
                let (candidate, name) = TABLE[hash(text.len(), *first, *last)];
                if same(text, candidate) { name } else { Name::Other }
            }
        }
    }

    /// The compact forms of RFC 3261 §7.3.3 and of the extensions that registered one.
    fn compact(letter: u8) -> Name {
        match letter.to_ascii_lowercase() {
            b'v' => Name::Via,
            b'f' => Name::From,
            b't' => Name::To,
            b'i' => Name::CallId,
            b'm' => Name::Contact,
            b'l' => Name::ContentLength,
            b'c' => Name::ContentType,
            b'e' => Name::ContentEncoding,
            b'k' => Name::Supported,
            b's' => Name::Subject,
            b'o' => Name::Event,
            b'u' => Name::AllowEvents,
            b'r' => Name::ReferTo,
            b'b' => Name::ReferredBy,
            b'x' => Name::SessionExpires,
            _ => Name::Other,
        }
    }

    /// This name's bit in a set of names.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// A perfect hash over the known names: each has its own slot, so that reading a name compares one text only. The
/// factors were found by search; the table below does not compile when a new name breaks them.
const fn hash(length: usize, first: u8, last: u8) -> usize {
    (length + (first | 0x20) as usize * 9 + (last | 0x20) as usize * 14) % 256
}

/// Two names in one slot, or more names than a set has bits, are errors of compilation.
static TABLE: [(&[u8], Name); 256] = {
    assert!(Name::KNOWN.len() < 64);
    let mut table: [(&[u8], Name); 256] = [(b"", Name::Other); 256];
    let mut at = 0;
    while at < Name::KNOWN.len() {
        let name = Name::KNOWN[at];
        let text = name.as_str().as_bytes();
        let slot = hash(text.len(), text[0], text[text.len() - 1]);
        assert!(matches!(table[slot].1, Name::Other));
        table[slot] = (text, name);
        at += 1;
    }
    table
};

/// Whether the text is the name in any case. Done in words, because every header of every message comes by here.
fn same(text: &[u8], name: &[u8]) -> bool {
    if text.len() != name.len() {
        return false;
    }
    match (text.last_chunk(), name.last_chunk()) {
        (Some(text_end), Some(name_end)) => {
            let mut words = text.as_chunks().0.iter().zip(name.as_chunks().0);
            words.all(|(text, name)| same_word(*text, *name)) && same_word(*text_end, *name_end)
        }
        _ => text.eq_ignore_ascii_case(name),
    }
}

/// The bit that tells upper from lower case counts where the name has something other than a letter: all letters have
/// the bit above it, and the hyphen does not.
fn same_word(text: [u8; 8], name: [u8; 8]) -> bool {
    let (text, name) = (u64::from_ne_bytes(text), u64::from_ne_bytes(name));
    let case = (name & 0x4040_4040_4040_4040) >> 1;
    (text ^ name) & !case == 0
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn every_name_is_found_in_any_case() {
        for name in Name::KNOWN {
            let text = name.as_str();
            assert_eq!(Name::parse(text.as_bytes()), *name);
            assert_eq!(Name::parse(text.to_lowercase().as_bytes()), *name);
            assert_eq!(Name::parse(text.to_uppercase().as_bytes()), *name);
            assert_eq!(Name::parse(format!("X{text}").as_bytes()), Name::Other);
        }
        assert_eq!(Name::parse(b"Other"), Name::Other);
        assert_eq!(Name::parse(b"Max\rForwards"), Name::Other);
        assert_eq!(Name::parse(b""), Name::Other);
    }

    #[test]
    fn compact_forms_are_the_same_names() {
        for (letter, name) in [(b"v", Name::Via), (b"i", Name::CallId), (b"x", Name::SessionExpires)] {
            assert_eq!(Name::parse(letter), name);
            assert_eq!(Name::parse(&letter.to_ascii_uppercase()), name);
        }
        assert_eq!(Name::parse(b"z"), Name::Other);
    }
}
