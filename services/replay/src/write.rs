//! A journal as text. What came of each input is not in memory; it is found by living through the journal once more.

use std::collections::BTreeSet;
use std::time::Duration;

use call::journal::{Journal, Replay, Step, Stimulus};
use call::{CallView, Event, EventKind, Families, Listener, Output, RouteQuery, Settings};
use routing::{
    Bodies, CancelMatching, Codecs, Decision, Dtmf, MediaFamily, Redirect, Refer, RtpProfile, Snapshot,
    Target, Trunk, TrunkId,
};

use crate::format::{
    BodiesLine, Bytes, CodecsLine, Configuration, DtmfLine, FamilyLine, Header, Line, ListenerLine, Matching,
    OutputLine, ProfileLine, RedirectLine, ReferLine, StateLine, TrunkLine, VERSION,
};
use crate::inputs::{fact_line, input_line, keys_line, tag_lines};

/// The journal as a file has it.
pub fn write(journal: &Journal) -> String {
    let mut replay = Replay::new(journal.settings.clone());
    let mut trunks = BTreeSet::new();
    let mut lines = Vec::new();
    for step in journal.steps() {
        let Some(snapshot) = journal.snapshot(step.generation) else { continue };
        let (outputs, gone) = replay.step(&step, snapshot);
        trunks.extend(outputs.iter().flat_map(trunks_of).chain(targets_of(&step)));
        let repeated = gone.is_ok() && step.gave(&outputs);
        lines.push(line(&step, &outputs, &replay.calls(), repeated));
    }
    let mut text = json(&header(journal, &trunks));
    for line in &lines {
        text.push('\n');
        text.push_str(&json(line));
    }
    text.push('\n');
    text
}

fn json(line: &impl serde::Serialize) -> String {
    // Plain data with string keys: serialising it has nothing to fail on.
    serde_json::to_string(line).unwrap_or_default()
}

fn header(journal: &Journal, trunks: &BTreeSet<TrunkId>) -> Header {
    let Settings {
        listeners,
        shard,
        shards,
        timing,
        timer_c,
        session_expires,
        min_se,
        product,
        media,
        fingerprint,
        phones,
        // Who was let in was decided then; secrets are in no journal.
        registrar: _,
        max_calls: _,
        journal: _,
        seed: _,
        nonce_secret: _,
        interim,
        recover_calls,
    } = &journal.settings;
    Header {
        drawbridge_journal: VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        calls: journal.calls.iter().map(ToString::to_string).collect(),
        cut: journal.cut.map(str::to_owned),
        product: product.clone(),
        shard: *shard,
        shards: *shards,
        t1_us: micros(timing.t1),
        t2_us: micros(timing.t2),
        t4_us: micros(timing.t4),
        timer_c_us: micros(*timer_c),
        session_expires_us: micros(*session_expires),
        min_se_us: micros(*min_se),
        media_only: match media {
            Families { v4: true, v6: false } => FamilyLine::Ipv4,
            Families { v4: false, v6: true } => FamilyLine::Ipv6,
            Families { v4: true, v6: true } | Families { v4: false, v6: false } => FamilyLine::Auto,
        },
        phones: (*phones).into(),
        interim_us: micros(*interim),
        recover_calls: *recover_calls,
        fingerprint: fingerprint.map(|fingerprint| fingerprint.write()),
        listeners: listeners.iter().map(listener_line).collect(),
        configurations: journal
            .snapshots
            .iter()
            .map(|(generation, snapshot)| configuration(*generation, snapshot, trunks))
            .collect(),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn listener_line(Listener { name, transport, bind, advertise }: &Listener) -> ListenerLine {
    ListenerLine {
        name: name.clone(),
        transport: transport.as_param().to_owned(),
        bind: *bind,
        advertise: advertise.clone(),
    }
}

fn configuration(generation: u32, snapshot: &Snapshot, trunks: &BTreeSet<TrunkId>) -> Configuration {
    let known = trunks.iter().filter_map(|id| Some(trunk_line(*id, snapshot.trunk(*id)?)));
    Configuration { generation, trunks: known.collect() }
}

fn trunk_line(id: TrunkId, trunk: &Trunk) -> TrunkLine {
    let Trunk {
        name,
        sources,
        peers,
        listener,
        cancel_matching,
        refer,
        redirect,
        bodies,
        media_family,
        codecs: Codecs { allow, drop, order },
        rtp_profile,
        dtmf,
        media_security,
        record,
        tags,
        methods,
        auth,
        challenges: _,
        // Limits, pings and what a new call must support are no business of a call that was let in.
        require: _,
        max_calls: _,
        max_cps: _,
        options_ping: _,
    } = trunk;
    TrunkLine {
        id: id.0,
        name: name.clone(),
        sources: sources.iter().map(ToString::to_string).collect(),
        peers: peers.clone(),
        listener: listener.clone(),
        cancel_matching: match cancel_matching {
            CancelMatching::Strict => Matching::Strict,
            CancelMatching::Lenient => Matching::Lenient,
        },
        refer: match refer {
            Refer::Local => ReferLine::Local,
            Refer::Pass => ReferLine::Pass,
        },
        redirect: match redirect {
            Redirect::Follow => RedirectLine::Follow,
            Redirect::Pass => RedirectLine::Pass,
        },
        bodies: match bodies {
            Bodies::Strict => BodiesLine::Strict,
            Bodies::Pass => BodiesLine::Pass,
        },
        media_family: match media_family {
            MediaFamily::Auto => FamilyLine::Auto,
            MediaFamily::Ipv4 => FamilyLine::Ipv4,
            MediaFamily::Ipv6 => FamilyLine::Ipv6,
        },
        codecs: CodecsLine { allow: allow.clone(), drop: drop.clone(), order: order.clone() },
        rtp_profile: match rtp_profile {
            RtpProfile::Pass => ProfileLine::Pass,
            RtpProfile::Avp => ProfileLine::Avp,
            RtpProfile::Avpf => ProfileLine::Avpf,
        },
        dtmf: match dtmf {
            Dtmf::Pass => DtmfLine::Pass,
            Dtmf::Rfc4733 => DtmfLine::Rfc4733,
            Dtmf::Info => DtmfLine::Info,
        },
        media_security: (*media_security).into(),
        record: *record,
        methods: methods.clone(),
        authenticates: auth.is_some(),
        passes_challenges: trunk.passes_challenges(),
        tags: tag_lines(tags),
    }
}

/// The trunk that a call came from, and of one that is restored also where it went.
fn trunks_of(output: &Output) -> impl Iterator<Item = TrunkId> {
    let [from, to] = match output {
        Output::Route(query) => [query.trunk, None],
        Output::Event(Event { kind: EventKind::CallStarted { trunk, .. }, .. }) => [*trunk, None],
        Output::Event(Event { kind: EventKind::CallRestored { trunk_in, trunk_out, .. }, .. }) => {
            [*trunk_in, *trunk_out]
        }
        _ => [None, None],
    };
    from.into_iter().chain(to)
}

fn targets_of(step: &Step<'_>) -> Vec<TrunkId> {
    let Stimulus::Routed { decision: Decision::Route(plan), .. } = &step.stimulus else { return Vec::new() };
    let trunk = |target: &Target| match target {
        Target::Trunk { trunk, .. } => Some(*trunk),
        Target::User { .. } => None,
    };
    plan.targets.iter().filter_map(trunk).collect()
}

fn line(step: &Step<'_>, outputs: &[Output], calls: &[CallView], repeated: bool) -> Line {
    let Step { order, now, generation, draining, last_query, stimulus, facts, keys, print: _ } = step;
    Line {
        order: *order,
        time_us: now.time.as_micros(),
        utc_us: now.utc.0,
        generation: *generation,
        draining: *draining,
        last_query: *last_query,
        input: input_line(stimulus),
        found: facts.iter().map(fact_line).collect(),
        keys: keys_line(keys),
        outputs: outputs.iter().map(output_line).collect(),
        calls: calls.iter().map(state_line).collect(),
        repeated,
    }
}

pub(crate) fn output_line(output: &Output) -> OutputLine {
    match output {
        Output::Send { flow, bytes, token } => OutputLine::Send {
            listener: flow.listener.0,
            remote: flow.remote,
            connection: flow.connection,
            token: token.0,
            message: Bytes::of(bytes),
        },
        Output::Route(query) => {
            let RouteQuery { query, call, transfer, snapshot: _, trunk, source, caller, uri, local_user } =
                &**query;
            let transfer = if *transfer { ", transfer" } else { "" };
            OutputLine::Note(format!(
                "Route {{ query: {}, call: {call:?}{transfer}, trunk: {trunk:?}, source: {source}, \
                 caller: {caller:?}, uri: {uri:?}, local_user: {local_user} }}",
                query.0
            ))
        }
        Output::OpenCdr { fact, state: _ } => OutputLine::Note(format!("OpenCdr({fact:?})")),
        other => OutputLine::Note(format!("{other:?}")),
    }
}

fn state_line(call: &CallView) -> StateLine {
    StateLine {
        id: call.id.to_string(),
        state: call.state.to_owned(),
        legs: call.legs.iter().map(|leg| format!("{} {}", leg.side, leg.state)).collect(),
    }
}
