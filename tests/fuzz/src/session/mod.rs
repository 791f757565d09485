//! Whole sessions: bytes are read as a story of what happens to a Core, a list of messages, answers, timers and orders
//! in any order and with anything wrong with them.
//!
//! After each of them the Core's books agree and everything that it sends is a readable message ([`world`]); when the
//! story is over everything ends, nothing is left, each call has one last record and its journal gives the same again.

mod operands;
mod text;
mod world;

use std::time::Duration;

use bytes::Bytes;
use call::{
    BindingChange, Command, Flow, Input, ListenerId, MediaReport, NextHop, RegistrarPolicy, SendToken, Side,
};
use routing::{Decision, Plan, Refusal, Target, TrunkId};
use sip::Transport;

use operands::Operands;
use world::{World, snapshot};

/// A story with more happenings than this teaches nothing new.
const MOST_STEPS: usize = 96;

pub(crate) fn check(bytes: &[u8]) {
    let mut operands = Operands(bytes);
    let mut world = World::new(operands.byte());
    for _ in 0..MOST_STEPS {
        if operands.is_empty() {
            break;
        }
        step(&mut world, &mut operands);
    }
    world.ends();
}

fn step(world: &mut World, operands: &mut Operands<'_>) {
    match operands.byte() % 16 {
        0 | 14 => {
            let request = text::request(operands);
            arrive(world, operands, request);
        }
        1 => {
            let Some(sent) = world.sent_request(operands.byte()) else { return };
            let (flow, bytes) = (sent.flow, text::response(&sent.bytes, operands));
            arrive_on(world, operands, flow, bytes);
        }
        2 => {
            let Some(sent) = world.sent(operands.byte()) else { return };
            let (flow, bytes) = (sent.flow, text::within(&sent.bytes, operands));
            arrive_on(world, operands, flow, bytes);
        }
        3 => {
            let Some((flow, bytes)) = world.heard_request(operands.byte()) else { return };
            let cancel = text::cancel(&bytes);
            arrive_on(world, operands, flow, cancel);
        }
        4 => {
            let Some((flow, bytes)) = world.heard(operands.byte()) else { return };
            arrive_on(world, operands, flow, bytes);
        }
        5 => {
            const WAITS: [u64; 8] = [1, 200, 500, 4_000, 32_000, 95_000, 181_000, 1_801_000];
            world.pass(Duration::from_millis(WAITS[operands.below(WAITS.len())]));
        }
        6 => answer_route(world, operands),
        7 => answer_name(world, operands),
        8 => report(world, operands),
        9 => command(world, operands),
        10 => {
            if let Some((flow, _)) = world.heard(operands.byte()) {
                world.input(Input::Closed { flow });
            }
        }
        11 => {
            let token = world.sent(operands.byte()).map_or(SendToken::NONE, |sent| sent.token);
            world.input(Input::Undeliverable { token });
        }
        12 => reconfigure(world, operands),
        13 => {
            let length = usize::from(operands.byte()) * 4;
            let bytes = operands.take(length).to_vec();
            arrive(world, operands, bytes);
        }
        _ => {
            let Some(sent) = world.last_success() else { return };
            let (flow, bytes) = (sent.flow, text::acknowledge(&sent.bytes, operands));
            arrive_on(world, operands, flow, bytes);
        }
    }
}

/// From somebody, over a datagram or a connection.
fn arrive(world: &mut World, operands: &mut Operands<'_>, bytes: Vec<u8>) {
    let who = operands.byte();
    let remote = world::PARTIES[usize::from(who % 8) % world::PARTIES.len()].parse().unwrap();
    let stream = who >= 192;
    let flow = Flow {
        listener: ListenerId(if stream { 2 } else { u16::from(who >> 5 & 1) }),
        remote,
        connection: if stream { 1 + u64::from(who & 1) } else { 0 },
    };
    arrive_on(world, operands, flow, bytes);
}

/// From who was spoken to, mostly.
fn arrive_on(world: &mut World, operands: &mut Operands<'_>, flow: Flow, bytes: Vec<u8>) {
    let change = operands.byte();
    let flow = match change {
        250.. => Flow {
            remote: world::PARTIES[usize::from(change) % world::PARTIES.len()].parse().unwrap(),
            ..flow
        },
        _ => flow,
    };
    let bytes = if change % 4 == 3 { text::mutated(bytes, operands) } else { bytes };
    world.receive(flow, Bytes::from(bytes));
}

fn answer_route(world: &mut World, operands: &mut Operands<'_>) {
    let Some(query) = world.questions.pop_front() else { return };
    let decision = match operands.byte() % 4 {
        0 => {
            let status = [404, 403, 480, 503, 600, 302, 484, 699][operands.below(8)];
            Decision::Refuse(Refusal::new(status, "so it was decided".to_owned(), operands.byte() & 1 == 1))
        }
        1 => {
            let target = |operands: &mut Operands<'_>| match operands.byte() {
                user @ 0..64 => Target::User { name: format!("u{}", user % 2) },
                other => {
                    Target::Trunk { trunk: TrunkId(u16::from(other % 5)), peer: usize::from(other >> 6) }
                }
            };
            let targets = (0..operands.below(6)).map(|_| target(operands)).collect();
            let fork = if operands.byte() & 1 == 0 { routing::Fork::Serial } else { routing::Fork::Parallel };
            Decision::Route(Plan {
                route: None,
                targets,
                fork,
                failover: vec![408, 486, 500, 503].into(),
                record: fork == routing::Fork::Parallel,
                tags: None,
            })
        }
        _ => world::decided(&query),
    };
    world.input(Input::Routed { query: query.query, decision });
}

fn answer_name(world: &mut World, operands: &mut Operands<'_>) {
    let Some(query) = world.names.pop_front() else { return };
    let hop = |operands: &mut Operands<'_>| {
        let what = operands.byte();
        let transport =
            [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws][usize::from(what & 3)];
        // Who is called by name is no stranger any more.
        NextHop {
            address: world::PARTIES[usize::from(what >> 2) % (world::PARTIES.len() - 1)].parse().unwrap(),
            transport,
        }
    };
    let hops = (0..operands.below(4)).map(|_| hop(operands)).collect();
    world.input(Input::Resolved { query, hops, note: None });
}

fn report(world: &mut World, operands: &mut Operands<'_>) {
    match operands.byte() % 4 {
        0 | 1 => {
            let Some(mut report) = world.reports.pop_front() else { return };
            if let MediaReport::Opened { streams, .. } = &mut report {
                // A relay gives what it was asked for, or says that it has none.
                if operands.byte() >= 224 {
                    streams.pop();
                }
            }
            world.input(Input::Media(report));
        }
        2 => {
            let Some(session) = world.session(operands.byte()) else { return };
            let side = if operands.byte() & 1 == 0 { Side::A } else { Side::B };
            world.input(Input::Media(MediaReport::Silent { session, side }));
        }
        _ => {
            let Some(session) = world.session(operands.byte()) else { return };
            world.input(Input::Media(MediaReport::Refused { session, why: "none left".into() }));
        }
    }
}

fn command(world: &mut World, operands: &mut Operands<'_>) {
    let call = world.begun(operands.byte());
    let command = match operands.byte() % 8 {
        0 => Command::List { limit: operands.below(4) },
        1 => Command::Show(call),
        2 => Command::HangUp(call),
        3 => Command::Record { id: call, on: operands.byte() & 1 == 0 },
        4 => Command::Journal(call),
        5 => Command::Stats,
        6 => Command::Drain,
        _ => Command::EndAll,
    };
    world.input(Input::Command { id: 1, command });
}

fn reconfigure(world: &mut World, operands: &mut Operands<'_>) {
    match operands.byte() % 8 {
        0 => world.input(Input::Snapshot(snapshot(1))),
        1 => world.input(Input::Snapshot(snapshot(0))),
        2 => world.input(Input::Registrar(RegistrarPolicy::Closed)),
        3 => world.input(Input::Registrar(RegistrarPolicy::OpenLoopback)),
        _ => {
            let flow =
                Flow { listener: ListenerId(0), remote: world::PARTIES[0].parse().unwrap(), connection: 0 };
            let change = BindingChange {
                user: format!("u{}", operands.below(3)).into(),
                contact: ["sip:u0@127.0.0.1:5090", "sip:gw.example.net", "tel:1"][operands.below(3)].into(),
                flow,
                expires_at: call::Utc(world.now.utc.0 + 1_000_000 * i64::from(operands.byte())),
                call_id: "kept".into(),
                cseq: u32::from(operands.byte()),
                q: u16::from(operands.byte()) * 4,
                user_agent: None,
            };
            world.input(Input::Binding(change));
        }
    }
}
