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
            pub const KNOWN: &[Name] = &[$(Name::$variant),*];

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
        let mut block = [0; BLOCK];
        match block.get_mut(..text.len()) {
            Some(start) => start.copy_from_slice(text),
            None => return Name::Other,
        }
        Name::at_start(&block, text.len())
    }

    /// Reads the name that the first `length` bytes of the block are; what follows them does not matter.
    #[inline]
    pub(super) fn at_start(block: &[u8; BLOCK], length: usize) -> Name {
        match block.get(..length) {
            None | Some([]) => Name::Other,
            Some([letter]) => Name::compact(*letter),
            Some([first, .., last]) => {
                let entry = &ENTRIES[usize::from(INDEX[hash(length, *first, *last)])];
                if entry.length == length && entry.is_start_of(block) { entry.name } else { Name::Other }
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

/// No name that is known is longer.
pub(super) const BLOCK: usize = 32;

/// A perfect hash over the known names: each has its own slot, so that reading a name compares one text only. The
/// factors were found by search; the tables below do not compile when a new name breaks them.
const fn hash(length: usize, first: u8, last: u8) -> usize {
    (length + (first | 0x20) as usize * 9 + (last | 0x20) as usize * 14) % 256
}

/// A known name as it is compared: in words, because every header of every message comes by here.
struct Entry {
    name: Name,
    length: usize,
    text: [u64; BLOCK / 8],
    /// What of the text counts: all bits of its bytes, save the one that tells upper from lower case in its letters.
    mask: [u64; BLOCK / 8],
}

impl Entry {
    const NONE: Entry = Entry { name: Name::Other, length: 0, text: [0; 4], mask: [0; 4] };

    const fn new(name: Name) -> Entry {
        let bytes = name.as_str().as_bytes();
        let mut entry = Entry { name, length: bytes.len(), ..Entry::NONE };
        let mut at = 0;
        while at < bytes.len() {
            let (byte, place) = (bytes[at], at % 8 * 8);
            let mask = if byte.is_ascii_alphabetic() { !0x20 } else { 0xff };
            entry.text[at / 8] |= ((byte & mask) as u64) << place;
            entry.mask[at / 8] |= (mask as u64) << place;
            at += 1;
        }
        entry
    }

    #[inline]
    fn is_start_of(&self, block: &[u8; BLOCK]) -> bool {
        let words = block.as_chunks().0.iter().zip(self.text.iter().zip(&self.mask));
        words.fold(0, |differ, (word, (text, mask))| differ | (u64::from_le_bytes(*word) & mask) ^ text) == 0
    }
}

/// One for each name, and the first for texts that are none.
static ENTRIES: [Entry; Name::KNOWN.len() + 1] = {
    // A set of names is a word.
    assert!(Name::KNOWN.len() < 64);
    let mut entries = [const { Entry::NONE }; Name::KNOWN.len() + 1];
    let mut at = 0;
    while at < Name::KNOWN.len() {
        entries[at + 1] = Entry::new(Name::KNOWN[at]);
        at += 1;
    }
    entries
};

/// Where the entry of each hash is. Two names in one slot are an error of compilation.
static INDEX: [u8; 256] = {
    let mut index = [0; 256];
    let mut at = 0;
    while at < Name::KNOWN.len() {
        let text = Name::KNOWN[at].as_str().as_bytes();
        let slot = hash(text.len(), text[0], text[text.len() - 1]);
        assert!(index[slot] == 0);
        index[slot] = at as u8 + 1;
        at += 1;
    }
    index
};

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
        assert_eq!(Name::parse(&[b'v'; 40]), Name::Other);
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
