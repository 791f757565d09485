//! A call as a ladder: who sent what to whom, when, and how the call stood in between.
//!
//! It is drawn from what the file says and from nothing else, so a journal can be looked at that this version would not
//! repeat.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use call::{Flow, ListenerId};
use sip::Message;

use crate::format::{InputLine, OrderLine, OutputLine, OwnerLine, ServerLine, StateLine, TargetLine};
use crate::read::Recording;

/// More parties than this are not drawn apart.
const MAX_PARTIES: usize = 12;

/// A ladder.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    pub(crate) title: String,
    /// From left to right; the box is [`BOX`].
    pub(crate) parties: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

/// The column of the box.
pub(crate) const BOX: usize = 1;

/// Something on the ladder.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Since the first row.
    pub(crate) at_us: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A message from one party to another.
    Arrow { from: usize, to: usize, label: String },
    /// What is no message.
    Note(String),
    /// How the call stands now.
    State(String),
}

/// Draws a recording.
pub fn ladder(recording: &Recording) -> Ladder {
    // Trunks keep their numbers for as long as they are there; the last configuration has the last word.
    let trunks = recording.header.configurations.iter().flat_map(|configuration| &configuration.trunks);
    let mut drawing = Drawing {
        ladder: Ladder { title: title(recording), ..Ladder::default() },
        trunks: trunks.map(|trunk| (trunk.id, (trunk.name.clone(), trunk.peers.clone()))).collect(),
        seen: BTreeMap::new(),
        columns: BTreeMap::new(),
        standing: Vec::new(),
        at_us: 0,
    };
    // The caller is to the left of the box, everybody else to the right in the order of appearance.
    drawing.ladder.parties = vec![String::new(), recording.header.product.clone()];
    let began = recording.lines.first().map_or(0, |(line, _)| line.time_us);
    for (line, message) in &recording.lines {
        drawing.at_us = line.time_us.saturating_sub(began);
        drawing.input(&line.input, message);
        for output in &line.outputs {
            drawing.output(output);
        }
        drawing.stands(&line.calls);
        if !line.repeated {
            drawing
                .row(What::Note("the box could not repeat this input when it wrote the journal".to_owned()));
        }
    }
    if let Some(why) = &recording.header.cut {
        drawing.row(What::Note(format!("the rest is missing: {why}")));
    }
    drawing.ladder
}

fn title(recording: &Recording) -> String {
    let began = recording.lines.first().map_or(0, |(line, _)| line.utc_us);
    format!("call {} at {}", recording.header.calls.join(", "), civil(began))
}

/// UTC as RFC 3339 has it.
fn civil(utc_us: i64) -> String {
    let (seconds, micros) = (utc_us.div_euclid(1_000_000), utc_us.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that begin in March end with the leap day; 400 of them are 146,097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

struct Drawing {
    ladder: Ladder,
    /// Names and peers.
    trunks: BTreeMap<u16, (String, Vec<String>)>,
    /// Messages that were drawn, with the way they went.
    seen: BTreeMap<(usize, usize, Vec<u8>), u32>,
    columns: BTreeMap<SocketAddr, usize>,
    standing: Vec<StateLine>,
    at_us: u64,
}

impl Drawing {
    fn row(&mut self, what: What) {
        self.ladder.rows.push(Row { at_us: self.at_us, what });
    }

    fn column(&mut self, flow: Flow) -> usize {
        let remote = flow.remote;
        let name = || flow.inner_shard().map_or(remote.to_string(), |shard| format!("shard {shard}"));
        if let Some(column) = self.columns.get(&remote) {
            return *column;
        }
        let last = self.ladder.parties.len() - 1;
        let column = match self.columns.is_empty() {
            true => {
                self.ladder.parties[0] = name();
                0
            }
            false if self.ladder.parties.len() < MAX_PARTIES => {
                self.ladder.parties.push(name());
                last + 1
            }
            false => {
                self.ladder.parties[last] = "others".to_owned();
                last
            }
        };
        self.columns.insert(remote, column);
        column
    }

    fn arrow(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let times = self.seen.entry((from, to, bytes.to_vec())).or_default();
        *times += 1;
        let again = if *times > 1 { " (again)" } else { "" };
        let label = format!("{}{again}", label(bytes));
        self.row(What::Arrow { from, to, label });
    }

    fn input(&mut self, input: &InputLine, message: &[u8]) {
        let note = match input {
            InputLine::Message { from, .. } => {
                let from = self.column((*from).into());
                return self.arrow(from, BOX, message);
            }
            InputLine::Closed { connection, .. } if connection.connection == 0 => {
                format!("nothing arrives at {}", connection.remote)
            }
            InputLine::Closed { connection, .. } => format!("connection to {} closed", connection.remote),
            InputLine::Undeliverable { .. } => "undeliverable".to_owned(),
            InputLine::Routed { route, targets, parallel, .. } => {
                let targets: Vec<String> = targets
                    .iter()
                    .map(|target| match target {
                        TargetLine::Trunk { trunk, peer } => {
                            let known = self.trunks.get(trunk);
                            let peer = usize::try_from(*peer).ok().and_then(|peer| known?.1.get(peer));
                            let name = known.map_or("?", |(name, _)| name.as_str());
                            format!("{name} {}", peer.map_or("?", String::as_str))
                        }
                        TargetLine::User { name } => format!("user {name}"),
                    })
                    .collect();
                let route = route.as_ref().map_or(String::new(), |route| format!(" by {route:?}"));
                let between = if *parallel { " and " } else { ", then " };
                format!("routed{route} to {}", targets.join(between))
            }
            InputLine::Refused { status, why, .. } => format!("refused by routing with {status}: {why}"),
            InputLine::Resolved { servers, note, .. } => {
                let servers: Vec<String> = servers
                    .iter()
                    .map(|ServerLine { address, transport }| format!("{address} {transport}"))
                    .collect();
                let found = match servers.is_empty() {
                    true => "name not found".to_owned(),
                    false => format!("name found: {}", servers.join(", ")),
                };
                note.as_ref().map_or(found.clone(), |note| format!("{found} ({note})"))
            }
            InputLine::Opened { address, ports, .. } => {
                let ports: Vec<String> =
                    ports.iter().map(|[a, _, b, _]| format!("{a} towards A, {b} towards B")).collect();
                format!("ports of {address}: {}", ports.join("; "))
            }
            InputLine::NoPorts { why, .. } | InputLine::NotListening { why, .. } => {
                format!("no ports: {why}")
            }
            InputLine::RecordingEnded { why, .. } => format!("the recording ends: {why}"),
            InputLine::NotRecording { why, .. } => format!("the recording does not begin: {why}"),
            InputLine::Silent { side, .. } => format!("side {side:?} is silent"),
            InputLine::Digit { side, digit, .. } => format!("side {side:?} pressed {digit}"),
            InputLine::OneWay { side, deaf, .. } => format!("side {side:?} is not heard: {deaf}"),
            InputLine::CountedSoFar { from_a, from_b, .. } => {
                format!("media so far: {} packets from A, {} from B", from_a.packets, from_b.packets)
            }
            InputLine::Counted { from_a, from_b, .. } => {
                format!("media closed: {} packets from A, {} from B", from_a.packets, from_b.packets)
            }
            InputLine::Restored { .. } => "the call goes on, the process before this one died".to_owned(),
            InputLine::Timer { of } => match of {
                OwnerLine::Client(_) => "timer of a client transaction".to_owned(),
                OwnerLine::Server(_) => "timer of a server transaction".to_owned(),
                OwnerLine::Leg(_) => "timer of a leg".to_owned(),
                OwnerLine::Call(_) => "timer of the call".to_owned(),
            },
            InputLine::Operator { order, .. } => match order {
                OrderLine::HangUp => "the operator hangs up".to_owned(),
                OrderLine::EndAll => "the operator ends all calls".to_owned(),
                OrderLine::Abandon => "the process ends".to_owned(),
                OrderLine::Record => "the operator has the call recorded".to_owned(),
                OrderLine::StopRecording => "the operator ends the recording".to_owned(),
            },
        };
        self.row(What::Note(note));
    }

    fn output(&mut self, output: &OutputLine) {
        match output {
            OutputLine::Send { listener, remote, connection, message, token: _ } => {
                let flow = Flow { listener: ListenerId(*listener), remote: *remote, connection: *connection };
                let to = self.column(flow);
                self.arrow(BOX, to, &message.bytes().unwrap_or_default());
            }
            // Orders to the relay, records and events: what matters of them is in the states and the messages.
            OutputLine::Note(_) => {}
        }
    }

    fn stands(&mut self, calls: &[StateLine]) {
        for call in calls.iter().filter(|call| !self.standing.contains(call)).cloned().collect::<Vec<_>>() {
            let legs =
                if call.legs.is_empty() { String::new() } else { format!(" ({})", call.legs.join(", ")) };
            self.row(What::State(format!("{}{legs}", call.state)));
        }
        let over = self.standing.iter().any(|call| calls.iter().all(|now| now.id != call.id));
        if over {
            self.row(What::State("over".to_owned()));
        }
        self.standing = calls.to_vec();
    }
}

/// What an arrow says: the method or the status, what it answers, whether it has a description.
fn label(bytes: &[u8]) -> String {
    let Ok(message) = Message::parse(bytes) else { return "(no SIP message)".to_owned() };
    let cseq = message.cseq().ok();
    let number = cseq.as_ref().map_or(0, |cseq| cseq.number);
    let method = cseq.map_or(&b"?"[..], |cseq| cseq.method_text);
    let body = match message.content_type() {
        _ if message.body().is_empty() => "",
        Some(kind) if kind.eq_ignore_ascii_case(b"application/sdp") => " +SDP",
        Some(_) | None => " +body",
    };
    let printable = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.chars().filter(|c| !c.is_control()).take(40).collect::<String>()
    };
    match message.status() {
        Some(status) => {
            format!("{status} {} ({number} {}){body}", printable(message.reason_phrase()), printable(method))
        }
        None => format!("{} ({number}){body}", printable(message.method_text())),
    }
}

/// How wide a column of the text is.
const WIDTH: usize = 34;
/// How wide the times are.
const TIMES: usize = 12;

impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let mut line = Canvas::new(self.parties.len());
        for (column, name) in self.parties.iter().enumerate() {
            line.centred(name, column);
        }
        writeln!(f, "{}", line.text())?;
        let mut last = None;
        for row in &self.rows {
            let mut line = Canvas::new(self.parties.len());
            for column in 0..self.parties.len() {
                line.put("│", Canvas::middle(column));
            }
            if last != Some(row.at_us) {
                let at = format!("{:>8}.{:03}", row.at_us / 1_000_000, row.at_us / 1_000 % 1_000);
                line.put(&at, 0);
            }
            last = Some(row.at_us);
            match &row.what {
                What::Arrow { from, to, label } => line.arrow(*from, *to, label),
                What::Note(text) => line.put(&format!("· {text}"), Canvas::middle(BOX) + 2),
                What::State(text) => line.put(&format!("▪ {text}"), Canvas::middle(BOX) + 2),
            }
            writeln!(f, "{}", line.text())?;
        }
        Ok(())
    }
}

/// A line of characters, written at places.
struct Canvas(Vec<char>);

impl Canvas {
    fn new(columns: usize) -> Canvas {
        Canvas(vec![' '; TIMES + columns * WIDTH])
    }

    fn middle(column: usize) -> usize {
        TIMES + column * WIDTH + WIDTH / 2
    }

    fn put(&mut self, text: &str, at: usize) {
        for (offset, character) in text.chars().enumerate() {
            match self.0.get_mut(at + offset) {
                Some(place) => *place = character,
                None => self.0.push(character),
            }
        }
    }

    fn centred(&mut self, text: &str, column: usize) {
        let width = text.chars().count().min(WIDTH - 1);
        let text: String = text.chars().take(width).collect();
        self.put(&text, Canvas::middle(column) - width / 2);
    }

    fn arrow(&mut self, from: usize, to: usize, label: &str) {
        let (left, right) = (Canvas::middle(from.min(to)) + 1, Canvas::middle(from.max(to)));
        for at in left..right {
            self.put("─", at);
        }
        if from < to {
            self.put("▶", right - 1);
        } else {
            self.put("◀", left);
        }
        let room = (right - left).saturating_sub(6);
        let label: String = label.chars().take(room).collect();
        self.put(&format!(" {label} "), left + 2);
    }

    fn text(&self) -> String {
        self.0.iter().collect::<String>().trim_end().to_owned()
    }
}
