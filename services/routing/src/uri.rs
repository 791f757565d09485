//! Stand-in for `sip::Uri` with the same shape.
use std::borrow::Cow;

pub(crate) enum Scheme {
    Sip,
    Sips,
    Tel,
    Other,
}
pub(crate) struct Fault {
    pub expected: &'static str,
}
pub(crate) struct Uri<'a> {
    pub scheme: Scheme,
    pub user: Option<&'a [u8]>,
    pub host: &'a [u8],
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Uri<'a>, Fault> {
        let raw = std::str::from_utf8(raw).map_err(|_| Fault { expected: "UTF-8" })?;
        let (scheme, rest) = raw.split_once(':').ok_or(Fault { expected: "a scheme and a colon" })?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "sip" => Scheme::Sip,
            "sips" => Scheme::Sips,
            "tel" => Scheme::Tel,
            _ => Scheme::Other,
        };
        if let Scheme::Tel = scheme {
            let number = rest.split(';').next().unwrap_or_default();
            return Ok(Uri { scheme, user: Some(number.as_bytes()), host: b"", headers: b"" });
        }
        let (user, rest) = match rest.split_once('@') {
            Some((user, rest)) => (Some(user.split(':').next().unwrap_or_default().as_bytes()), rest),
            None => (None, rest),
        };
        let (rest, headers) = rest.split_once('?').unwrap_or((rest, ""));
        let host_port = rest.split(';').next().unwrap_or_default();
        let host = if host_port.starts_with('[') {
            let end = host_port.find(']').ok_or(Fault { expected: "a closing bracket" })?;
            &host_port[..=end]
        } else {
            host_port.split(':').next().unwrap_or_default()
        };
        if host.is_empty() {
            return Err(Fault { expected: "a host" });
        }
        Ok(Uri { scheme, user, host: host.as_bytes(), headers: headers.as_bytes() })
    }

    pub(crate) fn unescaped_user(&self) -> Cow<'a, [u8]> {
        let user = self.user.unwrap_or_default();
        if !user.contains(&b'%') {
            return Cow::Borrowed(user);
        }
        let mut out = Vec::new();
        let mut i = 0;
        while let Some(&b) = user.get(i) {
            let hex = (b == b'%').then(|| user.get(i + 1..i + 3)).flatten();
            match hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok()) {
                Some(byte) => {
                    out.push(byte);
                    i += 3;
                }
                None => {
                    out.push(b);
                    i += 1;
                }
            }
        }
        Cow::Owned(out)
    }
}
