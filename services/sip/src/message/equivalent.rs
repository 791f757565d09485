//! When two URIs are the same (RFC 3261 §19.1.4, RFC 3966 §4).

use super::{Params, Scheme, Uri};

/// Parameters are compared each with each. Beyond so many, two URIs are the same only when their bytes are: what is
/// quadratic must be small.
const MAX_COMPARED: usize = 32;

impl Uri<'_> {
    /// Whether both name the same resource. `sip:a@b` and `sip:a@b:5060` do not; parameters that only one has count
    /// when they are `user`, `ttl`, `method`, `maddr` or `transport`.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if self.raw == other.raw {
            return true;
        }
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Sip | Scheme::Sips => self.same_sip(other),
            Scheme::Tel => self.same_number(other) && same_tel_params(self.params, other.params),
            Scheme::Other => false,
        }
    }

    /// Whether both name the same user at the same host and port, or the same number, whatever else they say. Between
    /// `sip` and `sips`, and a usual port written or not, is no difference.
    pub fn names_same(&self, other: &Uri<'_>) -> bool {
        let port = |uri: &Uri<'_>| match (uri.port, uri.scheme) {
            (Some(port), _) => port,
            (None, Scheme::Sips) => 5061,
            (None, Scheme::Sip | Scheme::Tel | Scheme::Other) => 5060,
        };
        match (self.scheme, other.scheme) {
            (Scheme::Sip | Scheme::Sips, Scheme::Sip | Scheme::Sips) => {
                same_text(self.user, other.user) && self.same_host(other) && port(self) == port(other)
            }
            (Scheme::Tel, Scheme::Tel) => self.same_number(other),
            (Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Other, _) => self.raw == other.raw,
        }
    }

    fn same_sip(&self, other: &Uri<'_>) -> bool {
        same_text(self.user, other.user)
            && same_text(self.password, other.password)
            && self.same_host(other)
            && self.port == other.port
            && same_params(self.params, other.params)
            && same_headers(self.headers, other.headers)
    }

    /// An IPv6 address has many spellings.
    fn same_host(&self, other: &Uri<'_>) -> bool {
        match (self.host_ip(), other.host_ip()) {
            (Some(one), Some(two)) => one == two,
            (None, None) => self.host.eq_ignore_ascii_case(other.host),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn same_number(&self, other: &Uri<'_>) -> bool {
        let digits = |uri: &Uri<'_>| {
            let user = uri.user.unwrap_or_default().to_ascii_lowercase();
            user.into_iter().filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')')).collect::<Vec<u8>>()
        };
        digits(self) == digits(other)
    }
}

/// The bytes of a text whose `%` escapes are resolved, each with whether it was a reserved character that was
/// escaped: those are not the same as themselves unescaped. A `%` without two hexadecimal digits stands for itself.
pub(super) struct Unescaped<'a>(pub(super) &'a [u8]);

impl Iterator for Unescaped<'_> {
    type Item = (u8, bool);

    fn next(&mut self) -> Option<(u8, bool)> {
        if let [b'%', high, low, rest @ ..] = self.0
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            self.0 = rest;
            let byte = high << 4 | low;
            return Some((
                byte,
                matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b','),
            ));
        }
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some((*first, false))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// User parts are compared in their case.
fn same_text(one: Option<&[u8]>, two: Option<&[u8]>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => Unescaped(one).eq(Unescaped(two)),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn same_in_any_case(one: &[u8], two: &[u8]) -> bool {
    let lower = |text| Unescaped(text).map(|(byte, escaped)| (byte.to_ascii_lowercase(), escaped));
    lower(one).eq(lower(two))
}

fn same_params(one: Params<'_>, two: Params<'_>) -> bool {
    const COUNT_WHEN_ALONE: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
    if one.iter().count() > MAX_COMPARED || two.iter().count() > MAX_COMPARED {
        return false;
    }
    let covered = |one: Params<'_>, two: Params<'_>| {
        one.iter().all(|(name, value)| match two.find(name) {
            Some(other) => same_in_any_case(value.unwrap_or_default(), other.unwrap_or_default()),
            None => !COUNT_WHEN_ALONE.iter().any(|alone| name.eq_ignore_ascii_case(alone)),
        })
    };
    covered(one, two) && covered(two, one)
}

/// RFC 3966 §4: each parameter must be in both, whatever it is.
fn same_tel_params(one: Params<'_>, two: Params<'_>) -> bool {
    if one.iter().count() > MAX_COMPARED || two.iter().count() > MAX_COMPARED {
        return false;
    }
    let covered = |one: Params<'_>, two: Params<'_>| {
        one.iter().all(|(name, value)| {
            let same =
                |other: Option<&[u8]>| same_in_any_case(value.unwrap_or_default(), other.unwrap_or_default());
            two.find(name).is_some_and(same)
        })
    };
    covered(one, two) && covered(two, one)
}

/// Headers are never left aside (RFC 3261 §19.1.4): both must have the same ones, in any order.
fn same_headers(one: &[u8], two: &[u8]) -> bool {
    let parts = |text| <[u8]>::split(text, |byte| *byte == b'&').filter(|part| !part.is_empty());
    let count = parts(one).count();
    if count != parts(two).count() || count > MAX_COMPARED {
        return false;
    }
    parts(one).all(|part| {
        let times = |text| parts(text).filter(|other| same_in_any_case(part, other)).count();
        times(one) == times(two)
    })
}

#[cfg(test)]
mod tests {
    use super::Unescaped;

    #[test]
    fn an_escape_that_is_cut_off_stands_for_itself() {
        let text: Vec<u8> = Unescaped(b"a%4").map(|(byte, _)| byte).collect();
        assert_eq!(text, b"a%4");
        let text: Vec<u8> = Unescaped(b"%41%zz").map(|(byte, _)| byte).collect();
        assert_eq!(text, b"A%zz");
    }
}
