//! Reading single values: each reader takes a TOML value or says what it expected.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use routing::{Reject, Source, SourceError, Tags};
use store::SpoolPlace;
use toml::de::DeValue;

use super::section::Expected;

/// The longest text that a key may have: generous for paths and URIs, and still a line.
const LONGEST_TEXT: usize = 1024;
/// The longest name: it becomes a label of metrics and a column of records.
const LONGEST_NAME: usize = 64;
/// What a compiled pattern may take: every call is held against it.
const LARGEST_PATTERN: usize = 1 << 20;

/// Text of any kind.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, Expected> {
    match value.as_str() {
        Some(text) if !text.is_empty() && text.len() <= LONGEST_TEXT && !text.contains(char::is_control) => {
            Ok(text.to_owned())
        }
        Some(_) | None => Err(Cow::from("a string on one line, not empty")),
    }
}

/// A name that goes into log lines, labels and records.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, Expected> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match value.as_str() {
        Some(text) if !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(allowed) => {
            Ok(text.to_owned())
        }
        Some(_) | None => Err(Cow::from("a name of 1 to 64 letters, digits, '-', '_' and '.'")),
    }
}

/// The user part of a SIP URI.
pub(super) fn user_name(value: &DeValue<'_>) -> Result<String, Expected> {
    // RFC 3261 §25.1: unreserved and user-unreserved, without the escapes and without what digest would have to quote.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
    match value.as_str() {
        Some(text) if !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(allowed) => {
            Ok(text.to_owned())
        }
        Some(_) | None => {
            Err(Cow::from("the user part of a SIP URI, 1 to 64 characters without '@', ':' and '%'"))
        }
    }
}

/// A word of SIP: a method, an option tag.
pub(super) fn token(value: &DeValue<'_>) -> Result<String, Expected> {
    // RFC 3261 §25.1.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    match value.as_str() {
        Some(text) if !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(allowed) => {
            Ok(text.to_owned())
        }
        Some(_) | None => Err(Cow::from("one word of 1 to 64 letters, digits and -.!%*_+`'~")),
    }
}

/// A method that may cross or not: what makes, changes and ends calls always does, and REGISTER and REFER have keys of
/// their own.
pub(super) fn method(value: &DeValue<'_>) -> Result<String, Expected> {
    const OURS: [&str; 8] = ["INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "REGISTER", "REFER"];
    let method = token(value)?;
    if OURS.contains(&method.as_str()) {
        return Err(Cow::from("a method that is not a call's own, like MESSAGE"));
    }
    Ok(method)
}

/// The name of a codec, with its clock rate or without, as `a=rtpmap` has it.
pub(super) fn codec(value: &DeValue<'_>) -> Result<String, Expected> {
    let expected = "the name of a codec like PCMA, opus or L16/44100";
    let name = text(value)?;
    let is_name = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._+".contains(&byte))
    };
    if name.split('/').count() <= 3 && name.split('/').all(is_name) { Ok(name) } else { Err(expected.into()) }
}

/// `true` or `false`.
pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, Expected> {
    value.as_bool().ok_or(Cow::from("true or false"))
}

/// A whole number within `range`.
pub(super) fn number(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Result<u32, Expected> {
    move |value| {
        let number =
            value.as_integer().and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| Cow::from(format!("a whole number from {} to {}", range.start(), range.end())))
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, Expected> {
    move |value| {
        let found = words.iter().find(|(word, _)| value.as_str() == Some(word));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            Cow::from(words.join(" or "))
        })
    }
}

/// A duration within `range`, `"60s"`, `"30m"` or `"1h 30m"`.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, Expected> {
    move |value| {
        let read = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
        read.filter(|duration| range.contains(duration)).ok_or_else(|| {
            let (least, most) =
                (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
            Cow::from(format!(
                "a duration in quotes like \"500ms\", \"60s\" or \"30m\", from {least} to {most}"
            ))
        })
    }
}

/// `IP:PORT`; port 0 lets the system choose.
pub(super) fn socket(value: &DeValue<'_>) -> Result<SocketAddr, Expected> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or(Cow::from("IP:PORT"))
}

/// An address that a description can name.
pub(super) fn address(value: &DeValue<'_>) -> Result<IpAddr, Expected> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or(Cow::from("an IP address"))
}

pub(super) fn address_v6(value: &DeValue<'_>) -> Result<Ipv6Addr, Expected> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or(Cow::from("an IPv6 address"))
}

/// `IP` or `IP:PORT` of a name server; without a port the usual one.
pub(super) fn name_server(value: &DeValue<'_>) -> Result<SocketAddr, Expected> {
    const PORT: u16 = 53;
    let read = |text: &str| {
        let usual = || text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, PORT));
        text.parse().ok().or_else(usual).filter(|server: &SocketAddr| server.port() != 0)
    };
    value.as_str().and_then(read).ok_or(Cow::from("the address of a name server, IP or IP:PORT"))
}

/// `host`, `host:port`, `IP:port` or `[IPv6]:port`, as Via and Contact will say it.
pub(super) fn host_port(value: &DeValue<'_>) -> Result<String, Expected> {
    let fits = |text: &str| {
        if text
            .parse::<SocketAddr>()
            .is_ok_and(|address| address.port() != 0 && !address.ip().is_unspecified())
        {
            return true;
        }
        let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        let label = |label: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(inner)
        };
        port_fits
            && host.len() <= 253
            && host.split('.').all(label)
            && host
                .parse::<IpAddr>()
                .map_or(!host.ends_with(|last: char| last.is_ascii_digit()), |ip| !ip.is_unspecified())
    };
    let text = value.as_str().filter(|text| fits(text));
    text.map(str::to_owned)
        .ok_or(Cow::from("HOST:PORT as others reach this listener, like \"203.0.113.7:5060\""))
}

/// First and last port for media.
pub(super) fn ports(value: &DeValue<'_>) -> Result<(u16, u16), Expected> {
    let read = value.as_str().and_then(|text| text.split_once('-'));
    let read = read.and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    // A call with one stream takes two pairs.
    read.filter(|(first, last): &(u16, u16)| {
        *first >= 1024 && first % 2 == 0 && last.saturating_sub(*first) >= 3
    })
    .ok_or(Cow::from("\"FIRST-LAST\", two ports from 1024 to 65535, the first even, at least four in all"))
}

/// A path, from the folder in which the program runs.
pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, Expected> {
    text(value).map(PathBuf::from).map_err(|_| Cow::from("a path"))
}

/// Where records wait for the journal.
pub(super) fn spool(value: &DeValue<'_>) -> Result<SpoolPlace, Expected> {
    let place = text(value).map_err(|_| Cow::from("\"auto\", \"data_dir\" or a directory"))?;
    Ok(match place.as_str() {
        "auto" => SpoolPlace::Auto,
        "data_dir" => SpoolPlace::DataDir,
        directory => SpoolPlace::At(PathBuf::from(directory)),
    })
}

/// A network or host whose requests are a trunk's.
pub(super) fn source(value: &DeValue<'_>) -> Result<Source, Expected> {
    const SHAPE: &str = "an IP address, IP:PORT or NETWORK/PREFIX";
    let text = value.as_str().ok_or(Cow::from(SHAPE))?;
    Source::parse(text).map_err(|error| match error {
        SourceError::Address(_) => Cow::from(SHAPE),
        SourceError::Port(_) => Cow::from("a port from 1 to 65535 after the address"),
        SourceError::Prefix { max, .. } => Cow::from(format!("a prefix length from 0 to {max}")),
        SourceError::HostBits { expected, .. } => {
            Cow::from(format!("the network's first address, {expected}"))
        }
    })
}

/// A pattern for the called name.
pub(super) fn pattern(value: &DeValue<'_>) -> Result<Regex, Expected> {
    let text = value.as_str().ok_or(Cow::from("a regular expression in quotes"))?;
    RegexBuilder::new(text).size_limit(LARGEST_PATTERN).build().map_err(|error| refused_pattern(&error))
}

/// What records of calls get besides.
pub(super) fn tags(value: &DeValue<'_>) -> Result<Option<Arc<Tags>>, Expected> {
    let table = value.as_table().ok_or(Cow::from("a table of names with a text each"))?;
    let mut pairs = Vec::with_capacity(table.len());
    for (name, value) in table {
        let value =
            value.get_ref().as_str().ok_or_else(|| Cow::from(format!("a text for {:?}", name.get_ref())))?;
        pairs.push((name.get_ref(), value));
    }
    Tags::new(pairs).map_err(|error| Cow::from(error.to_string().trim_start_matches("expected ").to_owned()))
}

/// The library draws the pattern with a marker below; the last line is what it has to say.
fn refused_pattern(error: &regex::Error) -> Expected {
    let error = error.to_string();
    let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Cow::from(format!("a regular expression ({why})"))
}

/// What gives a scanner away, whatever the case of letters.
pub(super) fn signature(value: &DeValue<'_>) -> Result<regex::bytes::Regex, Expected> {
    let text = value.as_str().filter(|text| !text.is_empty());
    let text = text.ok_or(Cow::from("a regular expression in quotes, not empty"))?;
    ::net::Scanner::pattern(text).map_err(|error| refused_pattern(&error))
}

/// What the calls of a route are answered with: `604`, or `604 No Such Number` with other words than the usual ones.
pub(super) fn reject(value: &DeValue<'_>) -> Result<Reject, Expected> {
    const LONGEST: usize = 100;
    let read = || {
        let (status, phrase) = value.as_str()?.split_once(' ').map_or((value.as_str()?, ""), |split| split);
        let status = status.parse().ok().filter(|status| Reject::is_refusal(*status))?;
        let phrase = phrase.trim();
        let is_phrase = phrase.len() <= LONGEST && !phrase.contains(char::is_control);
        let phrase = Some(phrase.to_owned()).filter(|phrase| !phrase.is_empty());
        is_phrase.then_some(Reject { status, phrase })
    };
    read().ok_or(Cow::from(
        "a status from 400 to 699 other than 401 and 407, like \"604 Does Not Exist Anywhere\"",
    ))
}

/// Final response codes: `503`, or a run of them, `"500-599"`.
pub(super) fn codes(value: &DeValue<'_>) -> Result<RangeInclusive<u16>, Expected> {
    let read = match value {
        DeValue::Integer(code) => code.as_str().parse().ok().map(|code: u16| code..=code),
        DeValue::String(run) => {
            run.split_once('-').and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?))
        }
        DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    read.filter(|run| *run.start() >= 300 && *run.end() <= 699 && run.start() <= run.end())
        .ok_or(Cow::from("final response codes from 300 to 699, like 503 or \"500-599\""))
}

/// The SHA-256 of a token.
pub(super) fn sha256(value: &DeValue<'_>) -> Result<String, Expected> {
    let digits = |text: &&str| text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let text = value.as_str().filter(digits);
    text.map(str::to_owned).ok_or(Cow::from("64 hexadecimal digits: the SHA-256 of the token"))
}

/// Where PostgreSQL is.
/// Where requests go.
pub(super) fn web_address(value: &DeValue<'_>) -> Result<super::Secret, Expected> {
    let is_url = |url: &str| {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '['))
            && url.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let text = text(value).ok().filter(|url| is_url(url));
    text.map(super::Secret).ok_or(Cow::from("a URL like https://billing.example.com/records"))
}

/// What signatures are made with.
pub(super) fn shared_secret(value: &DeValue<'_>) -> Result<super::Secret, Expected> {
    let text = text(value).ok().filter(|secret| secret.len() >= 16);
    text.map(super::Secret).ok_or(Cow::from("16 characters or more"))
}

pub(super) fn postgres(value: &DeValue<'_>) -> Result<super::Secret, Expected> {
    let text =
        text(value).ok().filter(|url| url.starts_with("postgres://") || url.starts_with("postgresql://"));
    text.map(super::Secret).ok_or(Cow::from("a URL like postgres://user:password@host:5432/database"))
}
