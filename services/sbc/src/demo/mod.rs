//! `drawbridge demo`: the box inside this process, on free loopback ports, and two small phones that use it. The story
//! is told as it happens; the outcome is whether everything was as it should be.

mod phone;
mod tone;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use call::{CdrFact, Disposition, EndedBy};
use store::Filter;
use tokio::time::{Instant, sleep};

use crate::run::{Running, StartError, runtime};
use crate::settings::Settings;
use phone::{Missed, Phone};
use tone::Heard;

/// How long the phones talk.
const TALK: Duration = Duration::from_secs(2);
/// How long records may take to be on disk.
const RECORDS: Duration = Duration::from_secs(5);
/// Ports for media: enough for the calls of the story and for those that another process holds.
const PORTS: u16 = 200;

/// What was not as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The box.
    #[error("the box does not start: {0}")]
    Start(#[from] StartError),
    /// This machine.
    #[error("this machine: {0}")]
    System(#[from] std::io::Error),
    /// A phone.
    #[error(transparent)]
    Phone(#[from] Missed),
    /// Packets.
    #[error(
        "{listener} heard {tone} of the {sent} packets that {speaker} sent, and {other} of something else"
    )]
    Media {
        /// Who listened.
        listener: &'static str,
        /// Who played.
        speaker: &'static str,
        /// Packets sent.
        sent: u32,
        /// Heard as sent.
        tone: u32,
        /// Heard and strange.
        other: u32,
    },
    /// Records.
    #[error("expected the record of {expected}, got {got}")]
    Record {
        /// What it should say.
        expected: &'static str,
        /// What it says.
        got: String,
    },
    /// The end.
    #[error("the box does not end: {0}")]
    End(#[from] net::NetError),
}

/// Tells the story on stdout.
///
/// # Errors
///
/// The first thing that was not as it should be.
pub(crate) fn demo() -> Result<(), DemoError> {
    let folder = Folder::new()?;
    runtime()?.block_on(async {
        let running = Running::start(&settings(&folder)?).await?;
        let told = tell(&running).await;
        running.stop().await?;
        told
    })?;
    say(format_args!("\nEverything was as it should be."));
    Ok(())
}

/// A line of the story. With nobody left to read it the outcome still counts.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn tell(running: &Running) -> Result<(), DemoError> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sip = running.listeners().first().map_or(nowhere, |listener| listener.bind);
    say(format_args!(
        "The box listens on {sip} (UDP and TCP); its API is on http://{}.\n",
        running.api_address()
    ));
    let mut alice = Phone::new("alice", 440, sip).await?;
    let mut bob = Phone::new("bob", 620, sip).await?;
    for phone in [&mut alice, &mut bob] {
        phone.register().await?;
        say(format_args!("{:5} registers from {}: 200", phone.name, phone.address()?));
    }
    answered_call(&mut alice, &mut bob).await?;
    cancelled_call(&mut alice, &mut bob).await?;
    records(running).await
}

/// Alice calls, Bob picks up, both play their tones and listen, Alice hangs up.
async fn answered_call(alice: &mut Phone, bob: &mut Phone) -> Result<(), DemoError> {
    say(format_args!("\nalice calls bob: INVITE"));
    let (ringing, rings) = tokio::try_join!(alice.call("bob"), bob.ring())?;
    say(format_args!("bob's phone rings; alice hears it: 180"));
    let (of_alice, of_bob) = tokio::try_join!(alice.answered(ringing), bob.pick_up(rings))?;
    say(format_args!("bob picks up: 200, ACK; they talk for {} s", TALK.as_secs()));
    let (low, high) = (alice.tone(), bob.tone());
    let (alice_heard, bob_heard) =
        tokio::try_join!(alice.talk(&of_alice, high, TALK), bob.talk(&of_bob, low, TALK))?;
    for (listener, heard, speaker, sent) in
        [("alice", alice_heard, "bob", bob_heard.sent), ("bob", bob_heard, "alice", alice_heard.sent)]
    {
        say(format_args!("{listener:5} heard {} of {speaker}'s {sent} packets", heard.tone));
        check_media(listener, heard, speaker, sent)?;
    }
    tokio::try_join!(alice.hang_up(of_alice), bob.hung_up(of_bob))?;
    say(format_args!("alice hangs up: BYE, 200 on both sides"));
    Ok(())
}

/// Alice calls and changes her mind while it rings.
async fn cancelled_call(alice: &mut Phone, bob: &mut Phone) -> Result<(), DemoError> {
    say(format_args!("\nalice calls bob again: INVITE, 180"));
    let (ringing, rings) = tokio::try_join!(alice.call("bob"), bob.ring())?;
    tokio::try_join!(alice.cancel(ringing), bob.cancelled(rings))?;
    say(format_args!("alice changes her mind: CANCEL, 200, 487, ACK on both sides"));
    Ok(())
}

/// Reads both records back from the journal.
async fn records(running: &Running) -> Result<(), DemoError> {
    let end = Instant::now() + RECORDS;
    let mut records = loop {
        let page = running.store().cdrs(&Filter { limit: 10, ..Filter::default() }).await;
        let page = page.map_err(StartError::Registrations)?;
        if page.records.len() >= 2 || Instant::now() > end {
            break page.records;
        }
        sleep(Duration::from_millis(20)).await;
    };
    records.reverse();
    say(format_args!("\nThe journal has {} records:", records.len()));
    for record in &records {
        let CdrFact { caller, called, disposition, ended_by, duration_ms, from_a, from_b, .. } = &record.fact;
        say(format_args!(
            "{caller} to {called}: {}, ended by {}, {duration_ms} ms, packets {} from {caller} and {} from {called}",
            disposition.as_str(),
            ended_by.as_str(),
            from_a.packets,
            from_b.packets
        ));
    }
    let mut records = records.into_iter().map(|record| record.fact);
    expect(
        records.next(),
        "a call that was answered and ended by the caller, with packets both ways",
        |fact| {
            fact.disposition == Disposition::Answered
                && fact.ended_by == EndedBy::Caller
                && fact.duration_ms >= TALK.as_millis() as u64
                && fact.from_a.packets > 0
                && fact.from_b.packets > 0
        },
    )?;
    expect(records.next(), "a call that the caller cancelled", |fact| {
        fact.disposition == Disposition::Cancelled
            && fact.sip_code_a == Some(487)
            && fact.answered_at.is_none()
    })
}

fn expect(
    record: Option<CdrFact>,
    what: &'static str,
    fits: impl Fn(&CdrFact) -> bool,
) -> Result<(), DemoError> {
    match record {
        Some(fact) if fits(&fact) => Ok(()),
        Some(fact) => Err(DemoError::Record { expected: what, got: format!("{fact:?}") }),
        None => Err(DemoError::Record { expected: what, got: "none".to_owned() }),
    }
}

fn check_media(
    listener: &'static str,
    heard: Heard,
    speaker: &'static str,
    sent: u32,
) -> Result<(), DemoError> {
    // The first packets may find the relay not yet told of the answer; on a busy machine a few more are late.
    let enough = sent > 0 && heard.tone >= sent - sent / 10;
    if enough && heard.other == 0 {
        return Ok(());
    }
    Err(DemoError::Media { listener, speaker, sent, tone: heard.tone, other: heard.other })
}

/// What the box does without a file, on ports that are free and with a folder that goes away.
fn settings(folder: &Folder) -> Result<Settings, DemoError> {
    let mut settings = Settings::default();
    for listener in &mut settings.listeners {
        listener.bind.set_port(0);
    }
    settings.api.bind.set_port(0);
    settings.node.data_dir = folder.0.clone();
    // Below the ports that the system hands out by itself, and not where a box without a file would be.
    let place = getrandom::u32().map_err(std::io::Error::from)? % 40;
    let first = 20_000 + place as u16 * PORTS;
    settings.media.ports = (first, first + PORTS - 1);
    Ok(settings)
}

/// A folder for the journal that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Folder> {
        let name = format!("drawbridge-demo-{:016x}", getrandom::u64()?);
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clear away.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
