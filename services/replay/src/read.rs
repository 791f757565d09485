//! A journal file, taken apart. It may come from anywhere: sizes and times are bounded before a Core sees them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use call::journal::Step;
use call::{Families, JournalLimits, Listener, Now, RegistrarPolicy, Settings, Utc};
use routing::{
    Bodies, CancelMatching, Challenges, Codecs, Credentials, Dtmf, MediaFamily, Redirect, Refer, RtpProfile,
    Snapshot, Source, Trunk,
};
use sip::{Fingerprint, Time, Timing, Transport};

use crate::format::{
    BodiesLine, CodecsLine, Configuration, DtmfLine, FamilyLine, Header, InputLine, Line, ListenerLine,
    Matching, ProfileLine, RedirectLine, ReferLine, TrunkLine, VERSION, unhex,
};
use crate::inputs::{fact, keys, stimulus, tags};

/// The longest text that is read.
const MAX_TEXT: usize = 64 << 20;
/// The most inputs.
const MAX_LINES: usize = 100_000;
/// The most trunks of all configurations together, those included that stand between the ones named.
const MAX_TRUNKS: usize = 4 << 16;
/// Microseconds within which no sum of times overflows: 285 years.
const MAX_MICROS: u64 = 1 << 53;
/// The longest of the timers: a day.
const MAX_TIMER: u64 = 86_400_000_000;

/// What is wrong with a journal file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// What was expected, and what came.
    pub what: String,
}

/// A journal that was read.
#[derive(Clone, Debug)]
pub struct Recording {
    pub(crate) header: Header,
    pub(crate) settings: Settings,
    pub(crate) snapshots: BTreeMap<u32, Arc<Snapshot>>,
    pub(crate) lines: Vec<(Line, Vec<u8>)>,
}

impl Recording {
    /// The ids of the call and of those that it met.
    pub fn calls(&self) -> &[String] {
        &self.header.calls
    }

    /// The input of a line, as a Core takes it.
    pub(crate) fn step<'a>(&self, line: &Line, message: &'a [u8]) -> Option<Step<'a>> {
        Some(Step {
            order: line.order,
            now: Now { time: Time::from_micros(line.time_us), utc: Utc(line.utc_us) },
            generation: line.generation,
            draining: line.draining,
            last_query: line.last_query,
            stimulus: stimulus(&line.input, message)?,
            facts: line.found.iter().map(|text| fact(text)).collect::<Option<_>>()?,
            keys: keys(&line.keys),
            print: 0,
        })
    }
}

/// Reads what [`write()`](crate::write()) wrote.
///
/// # Errors
///
/// The first line that is not as it should be.
pub fn read(text: &str) -> Result<Recording, Mistake> {
    let wrong = |line: usize, what: String| Mistake { line, what };
    if text.len() > MAX_TEXT {
        return Err(wrong(1, format!("expected at most {MAX_TEXT} bytes, found {}", text.len())));
    }
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let (_, first) = lines.next().ok_or_else(|| wrong(1, "expected a journal, found nothing".into()))?;
    let header = header(first).map_err(|what| wrong(1, what))?;
    let settings = settings(&header).map_err(|what| wrong(1, what))?;
    let mut snapshots = BTreeMap::new();
    let mut trunks = 0_usize;
    for configuration in &header.configurations {
        let highest = configuration.trunks.iter().map(|trunk| usize::from(trunk.id) + 1).max();
        trunks = trunks.saturating_add(highest.unwrap_or(1));
        if trunks > MAX_TRUNKS {
            let bound = format!("trunks numbered below {MAX_TRUNKS} in all configurations together");
            return Err(wrong(1, format!("expected {bound}, found more")));
        }
        let snapshot = snapshot(configuration).map_err(|what| wrong(1, what))?;
        snapshots.insert(configuration.generation, Arc::new(snapshot));
    }
    let mut recording = Recording { header, settings, snapshots, lines: Vec::new() };
    for (number, text) in lines.filter(|(_, line)| !line.is_empty()) {
        if recording.lines.len() >= MAX_LINES {
            return Err(wrong(number, format!("expected at most {MAX_LINES} inputs, found more")));
        }
        let line = line(text, &recording).map_err(|what| wrong(number, what))?;
        recording.lines.push(line);
    }
    Ok(recording)
}

/// The version is looked at before anything else: a file of another one has another shape.
fn header(text: &str) -> Result<Header, String> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| format!("expected the first line of a call journal, a JSON object: {error}"))?;
    let version = value.get("drawbridge_journal").and_then(serde_json::Value::as_u64);
    match version {
        Some(version) if version == u64::from(VERSION) => {
            serde_json::from_value(value).map_err(|error| error.to_string())
        }
        Some(version) => {
            Err(format!("expected a call journal of version {VERSION}, found version {version}"))
        }
        None => Err("expected a call journal with \"drawbridge_journal\", found none".to_owned()),
    }
}

fn line(text: &str, recording: &Recording) -> Result<(Line, Vec<u8>), String> {
    let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if line.time_us > MAX_MICROS || line.utc_us.unsigned_abs() > MAX_MICROS {
        return Err(format!("expected times below {MAX_MICROS}, found {} and {}", line.time_us, line.utc_us));
    }
    if !recording.snapshots.contains_key(&line.generation) {
        return Err(format!("expected one of the first line's configurations, found {}", line.generation));
    }
    let message = match &line.input {
        InputLine::Message { message, .. } => {
            message.bytes().ok_or("expected hexadecimal digits in message.hex")?
        }
        InputLine::Restored { state, .. } => unhex(state).ok_or("expected hexadecimal digits in state")?,
        _ => Vec::new(),
    };
    if let Some(bad) = line.found.iter().find(|text| fact(text).is_none()) {
        return Err(format!("expected 16 digits, text: or hex: in found, found {bad:?}"));
    }
    Ok((line, message))
}

fn settings(header: &Header) -> Result<Settings, String> {
    let timer = |name: &str, value: u64| match value {
        1..=MAX_TIMER => Ok(Duration::from_micros(value)),
        _ => Err(format!("expected {name} from 1 to {MAX_TIMER}, found {value}")),
    };
    let listeners = header.listeners.iter().map(listener).collect::<Result<Vec<_>, _>>()?;
    if listeners.is_empty() {
        return Err("expected listeners, found none".to_owned());
    }
    Ok(Settings {
        listeners,
        shard: header.shard,
        shards: header.shards.max(1),
        timing: Timing {
            t1: timer("t1_us", header.t1_us)?,
            t2: timer("t2_us", header.t2_us)?,
            t4: timer("t4_us", header.t4_us)?,
        },
        timer_c: timer("timer_c_us", header.timer_c_us)?,
        session_expires: match header.session_expires_us {
            0 => Duration::ZERO,
            some => timer("session_expires_us", some)?,
        },
        min_se: timer("min_se_us", header.min_se_us)?,
        registrar: RegistrarPolicy::Closed,
        max_calls: usize::MAX,
        product: header.product.clone(),
        journal: JournalLimits::OFF,
        media: match header.media_only {
            FamilyLine::Auto => Families::BOTH,
            FamilyLine::Ipv4 => Families { v6: false, ..Families::BOTH },
            FamilyLine::Ipv6 => Families { v4: false, ..Families::BOTH },
        },
        fingerprint: fingerprint(header.fingerprint.as_deref())?,
        phones: header.phones.into(),
        seed: [0; 32],
        interim: Duration::from_micros(header.interim_us),
        recover_calls: header.recover_calls,
        nonce_secret: [0; 32],
    })
}

fn listener(ListenerLine { name, transport, bind, advertise }: &ListenerLine) -> Result<Listener, String> {
    let known = Transport::parse(transport.as_bytes());
    let transport = known.ok_or_else(|| format!("expected a transport, found {transport:?}"))?;
    Ok(Listener { name: name.clone(), transport, bind: *bind, advertise: advertise.clone() })
}

fn fingerprint(text: Option<&str>) -> Result<Option<Fingerprint>, String> {
    let Some(text) = text else { return Ok(None) };
    let read = Fingerprint::parse(text.as_bytes());
    read.map(Some).ok_or_else(|| format!("expected the SHA-256 of a certificate, found {text:?}"))
}

/// A snapshot in which these trunks have their numbers; between them stand others that nobody has to do with.
fn snapshot(configuration: &Configuration) -> Result<Snapshot, String> {
    let mut trunks: Vec<Trunk> = Vec::new();
    for line in &configuration.trunks {
        let at = usize::from(line.id);
        while trunks.len() <= at {
            trunks.push(Trunk::new(format!("(trunk {})", trunks.len())));
        }
        if let Some(place) = trunks.get_mut(at) {
            *place = trunk(line)?;
        }
    }
    Snapshot::new(trunks, Vec::new()).map_err(|error| error.to_string())
}

fn trunk(line: &TrunkLine) -> Result<Trunk, String> {
    let TrunkLine {
        id: _,
        name,
        sources,
        peers,
        listener,
        cancel_matching,
        refer,
        redirect,
        bodies,
        media_family,
        codecs: CodecsLine { allow, drop, order },
        rtp_profile,
        dtmf,
        media_security,
        record,
        methods,
        authenticates,
        passes_challenges,
        tags: lines,
    } = line;
    let source = |text: &String| {
        Source::parse(text).map_err(|_| format!("expected a network in sources, found {text:?}"))
    };
    Ok(Trunk {
        sources: sources.iter().map(source).collect::<Result<_, _>>()?,
        peers: peers.clone(),
        listener: listener.clone(),
        cancel_matching: match cancel_matching {
            Matching::Strict => CancelMatching::Strict,
            Matching::Lenient => CancelMatching::Lenient,
        },
        refer: match refer {
            ReferLine::Local => Refer::Local,
            ReferLine::Pass => Refer::Pass,
        },
        redirect: match redirect {
            RedirectLine::Follow => Redirect::Follow,
            RedirectLine::Pass => Redirect::Pass,
        },
        bodies: match bodies {
            BodiesLine::Strict => Bodies::Strict,
            BodiesLine::Pass => Bodies::Pass,
        },
        media_family: match media_family {
            FamilyLine::Auto => MediaFamily::Auto,
            FamilyLine::Ipv4 => MediaFamily::Ipv4,
            FamilyLine::Ipv6 => MediaFamily::Ipv6,
        },
        codecs: Codecs { allow: allow.clone(), drop: drop.clone(), order: order.clone() },
        rtp_profile: match rtp_profile {
            ProfileLine::Pass => RtpProfile::Pass,
            ProfileLine::Avp => RtpProfile::Avp,
            ProfileLine::Avpf => RtpProfile::Avpf,
        },
        dtmf: match dtmf {
            DtmfLine::Pass => Dtmf::Pass,
            DtmfLine::Rfc4733 => Dtmf::Rfc4733,
            DtmfLine::Info => Dtmf::Info,
        },
        media_security: (*media_security).into(),
        record: *record,
        methods: methods.clone(),
        // What they answered is on the tape.
        auth: authenticates.then(|| Credentials { username: String::new(), password: String::new() }),
        tags: tags(lines),
        challenges: if *passes_challenges { Challenges::Pass } else { Challenges::Answer },
        ..Trunk::new(name.clone())
    })
}
