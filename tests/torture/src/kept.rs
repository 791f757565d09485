//! Whether a request came through the box with its content as it was.

/// Headers that belong to one side alone: to its hop, its dialog, its credentials and what it can do, and the few that
/// would show who stands behind the box.
const OWN: [&str; 34] = [
    "via",
    "from",
    "to",
    "call-id",
    "cseq",
    "contact",
    "max-forwards",
    "route",
    "record-route",
    "timestamp",
    "rseq",
    "rack",
    "supported",
    "require",
    "proxy-require",
    "unsupported",
    "allow",
    "accept",
    "accept-encoding",
    "session-expires",
    "min-se",
    "authorization",
    "proxy-authorization",
    "www-authenticate",
    "proxy-authenticate",
    "user-agent",
    "server",
    "organization",
    "content-length",
    "content-type",
    "content-disposition",
    "content-encoding",
    "mime-version",
    "in-reply-to",
];

const COMPACT: [(&str, &str); 9] = [
    ("v", "via"),
    ("f", "from"),
    ("t", "to"),
    ("i", "call-id"),
    ("m", "contact"),
    ("l", "content-length"),
    ("c", "content-type"),
    ("k", "supported"),
    ("e", "content-encoding"),
];

/// Lines of a description that a relay owns; of `m=` it owns the port alone.
const OWNED: [&[u8]; 4] = [b"o=", b"c=", b"a=rtcp", b"a=candidate"];

/// A message taken apart without much thought.
struct Parts {
    start: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// Compares a request as it was sent with what arrived beyond the box: method, called user, the caller's name, every
/// header that is not one side's own, and the body, of a description all but the relay's lines.
///
/// # Errors
/// Says what is not there any more, or not as it was.
pub fn kept(sent: &[u8], arrived: &[u8]) -> Result<(), String> {
    let (sent, arrived) = (take_apart(sent)?, take_apart(arrived)?);
    let method = |parts: &Parts| parts.start.split(|byte| *byte == b' ').next().map(<[u8]>::to_vec);
    same("method", &method(&sent), &method(&arrived))?;
    same("called user", &user(&sent.start), &user(&arrived.start))?;
    let caller = |parts: &Parts| parts.all("from").first().map(|from| (display(from), user(from)));
    same("caller", &caller(&sent), &caller(&arrived))?;
    let mut names: Vec<&str> = sent.headers.iter().map(|(name, _)| &**name).collect();
    names.retain(|name| !OWN.contains(name));
    for name in names {
        same(name, &sent.all(name), &arrived.all(name))?;
    }
    let is_sdp =
        |parts: &Parts| parts.all("content-type").iter().any(|kind| kind.starts_with(b"application/sdp"));
    match (is_sdp(&sent), is_sdp(&arrived)) {
        (true, true) => same("description", &passing(&sent.body), &passing(&arrived.body)),
        (false, false) => {
            same("content type", &sent.all("content-type"), &arrived.all("content-type"))?;
            same("body", &sent.body, &arrived.body)
        }
        (true, false) | (false, true) => Err("the body became something else".to_owned()),
    }
}

impl Parts {
    fn all(&self, name: &str) -> Vec<&[u8]> {
        self.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| &**value).collect()
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, sent: &T, arrived: &T) -> Result<(), String> {
    if sent == arrived { Ok(()) } else { Err(format!("{what}: sent {sent:?}, arrived {arrived:?}")) }
}

fn take_apart(message: &[u8]) -> Result<Parts, String> {
    let end = crate::find(message, b"\r\n\r\n").ok_or("no end of the headers")?;
    let mut lines =
        message[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let start = lines.next().ok_or("no first line")?.to_vec();
    let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
    for line in lines {
        if let [b' ' | b'\t', ..] = line {
            let (_, value) = headers.last_mut().ok_or("a fold without a header")?;
            value.push(b' ');
            value.extend_from_slice(line.trim_ascii());
            *value = value.trim_ascii().to_vec();
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or("no colon in a header")?;
        let name = String::from_utf8_lossy(&line[..colon]).trim().to_ascii_lowercase();
        let long = COMPACT.iter().find(|(short, _)| *short == name).map(|(_, long)| (*long).to_owned());
        headers.push((long.unwrap_or(name), line[colon + 1..].trim_ascii().to_vec()));
    }
    let mut body = message[end + 4..].to_vec();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
    body.truncate(length.unwrap_or(body.len()));
    Ok(Parts { start, headers, body })
}

/// What stands between the scheme and the last `@` of the first URI.
fn user(text: &[u8]) -> Vec<u8> {
    let Some(at) = text.iter().rposition(|byte| *byte == b'@') else { return Vec::new() };
    let start = crate::find(text, b"sip:").map_or(0, |at| at + 4);
    text.get(start..at).unwrap_or_default().to_vec()
}

/// The name before an address.
fn display(address: &[u8]) -> Vec<u8> {
    let end = crate::find(address, b"sip:").unwrap_or_default();
    let name = address.get(..end).unwrap_or_default();
    name.strip_suffix(b"<").unwrap_or(name).trim_ascii().to_vec()
}

fn passing(description: &[u8]) -> Vec<Vec<u8>> {
    let owned = |line: &&[u8]| OWNED.iter().any(|start| line.starts_with(start));
    description.split_inclusive(|byte| *byte == b'\n').filter(|line| !owned(line)).map(without_port).collect()
}

/// A line, its port struck out where it is an `m=`. One that is 0 stays: a stream that is refused stays so.
fn without_port(line: &[u8]) -> Vec<u8> {
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    match (line.starts_with(b"m="), fields.next(), fields.next(), fields.next()) {
        (true, Some(kind), Some(port), Some(rest)) if port != b"0" => [kind, b" PORT ", rest].concat(),
        (true | false, ..) => line.to_vec(),
    }
}
