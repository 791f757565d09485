//! Holds calls through a relay and streams packets both ways; says what was lost, how late it was and what it cost.
//!
//! `rtpload --through sip --relay 127.0.5.1:5060` sets the calls up through a box, `--through ng` through an rtpengine's
//! control port, `--through nothing` sends straight from end to end. `--caller-net` and `--callee-net` name the network
//! namespaces where the ends are. `--tick 1000` sends and receives once in so many microseconds and sleeps otherwise.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use bench::agent::Agent;
use bench::arguments::Arguments;
use bench::batch::now;
use bench::network::within;
use bench::ng::Rtpengine;
use bench::processor::{self, Processes};
use bench::stream::{End, Streams, media_port};

fn main() -> ExitCode {
    match load() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rtpload: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Plan {
    through: String,
    relay: SocketAddr,
    caller: Ipv4Addr,
    callee: Ipv4Addr,
    caller_net: String,
    callee_net: String,
    calls: usize,
}

fn load() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read()?;
    let plan = Plan {
        through: arguments.or("through", "sip".to_owned())?,
        relay: arguments.or("relay", SocketAddr::from(([127, 0, 5, 1], 5060)))?,
        caller: arguments.or("caller", Ipv4Addr::new(127, 0, 5, 2))?,
        callee: arguments.or("callee", Ipv4Addr::new(127, 0, 5, 3))?,
        caller_net: arguments.or("caller-net", String::new())?,
        callee_net: arguments.or("callee-net", String::new())?,
        calls: arguments.or("calls", 1000)?,
    };
    let seconds = arguments.or("seconds", 10)?;
    let packets_per_second = arguments.or("pps", 50.0)?;
    let relay = Processes::parse(&arguments.or("pids", String::new())?)?;

    let mut streams = Streams::open((plan.caller, &plan.caller_net), (plan.callee, &plan.callee_net))?;
    streams.tick = Duration::from_micros(arguments.or("tick", 0)?);
    let mut agent = set_up(&plan, &mut streams)?;
    // A second for latching and for caches to warm up; it does not count.
    streams.run(packets_per_second, Duration::from_secs(1), |_| {});
    let softirq = processor::softirq_threads();
    let before = (relay.nanoseconds(), processor::own_nanoseconds(), softirq.nanoseconds());
    let report = streams.run(packets_per_second, Duration::from_secs(seconds), |_| {});
    let (relay_time, own_time) = (relay.nanoseconds() - before.0, processor::own_nanoseconds() - before.1);
    let all_time = relay_time + own_time + softirq.nanoseconds() - before.2;
    if let Some(agent) = &mut agent {
        hang_up(agent)?;
    }
    let per_packet = |time: u64| time as f64 / 1000.0 / report.received.max(1) as f64;
    let gap = |share: f64| {
        let at = (report.gaps.len().saturating_sub(1) as f64 * share) as usize;
        report.gaps.get(at).map_or(0, Duration::as_millis)
    };
    println!(
        "{{\"calls\": {}, \"sent\": {}, \"received\": {}, \"lost\": {}, \"wrong\": {}, \"unsent\": {}, \"deaf\": {}, \
         \"delay_us_p50\": {}, \"delay_us_p99\": {}, \"gap_ms_p50\": {}, \"gap_ms_p99\": {}, \"gap_ms_max\": {}, \
         \"byes_answered\": {}, \"byes_heard\": {}, \"relay_us_per_packet\": {:.3}, \"all_us_per_packet\": {:.3}, \
         \"relay_load\": {:.3}, \"generator_load\": {:.3}}}",
        plan.calls,
        report.sent,
        report.received,
        report.sent - report.unsent - report.received,
        report.wrong,
        report.unsent,
        report.deaf,
        report.delay.quantile(0.5),
        report.delay.quantile(0.99),
        gap(0.5),
        gap(0.99),
        gap(1.0),
        agent.as_ref().map_or(0, |agent| agent.byes.0.len()),
        agent.as_ref().map_or(0, |agent| agent.byes.1.len()),
        per_packet(relay_time),
        per_packet(all_time),
        relay_time as f64 / 1e9 / seconds as f64,
        own_time as f64 / 1e9 / seconds as f64,
    );
    Ok(())
}

/// Sets the calls up and adds their streams.
fn set_up(plan: &Plan, streams: &mut Streams) -> Result<Option<Agent>, Box<dyn Error>> {
    let relay_ip = match plan.relay {
        SocketAddr::V4(relay) => *relay.ip(),
        SocketAddr::V6(_) => return Err("the relay must have an IPv4 address".into()),
    };
    match plan.through.as_str() {
        "nothing" => {
            for number in 0..plan.calls {
                let caller = SocketAddrV4::new(plan.caller, media_port(End::Caller, number));
                let callee = SocketAddrV4::new(plan.callee, media_port(End::Callee, number));
                streams.add(number, callee, caller);
            }
            Ok(None)
        }
        "ng" => {
            let mut rtpengine = within(&plan.caller_net, || Rtpengine::connect(plan.relay))?;
            for number in 0..plan.calls {
                let caller = (plan.caller, media_port(End::Caller, number));
                let callee = (plan.callee, media_port(End::Callee, number));
                let (for_caller, for_callee) = rtpengine.call(number, caller, callee)?;
                let at = |port| SocketAddrV4::new(relay_ip, port);
                streams.add(number, at(for_caller), at(for_callee));
            }
            Ok(None)
        }
        "sip" => {
            let at = |ip| SocketAddrV4::new(ip, 5060);
            let ends = (at(plan.caller), at(plan.callee));
            let caller = within(&plan.caller_net, || UdpSocket::bind(ends.0))?;
            let callee = within(&plan.callee_net, || UdpSocket::bind(ends.1))?;
            let mut agent = Agent::with(caller, callee, ends, plan.relay)?;
            dial(&mut agent, plan.calls)?;
            for (number, call) in agent.calls.iter().enumerate() {
                let ports = call.towards_caller.zip(call.towards_callee);
                let (for_caller, for_callee) = ports
                    .ok_or_else(|| format!("call {number} was not answered; refused: {:?}", agent.refused))?;
                let at = |port| SocketAddrV4::new(relay_ip, port);
                streams.add(number, at(for_caller), at(for_callee));
            }
            Ok(Some(agent))
        }
        other => Err(format!("--through {other}: sip, ng or nothing").into()),
    }
}

/// Sends the INVITEs, 200 a second, and waits for the last answers.
fn dial(agent: &mut Agent, calls: usize) -> Result<(), Box<dyn Error>> {
    let begin = now();
    let limit = Duration::from_secs(10 + calls as u64 / 200);
    loop {
        let gone = now().saturating_sub(begin);
        let due = ((gone.as_secs_f64() * 200.0) as usize).min(calls);
        while agent.calls.len() < due {
            agent.invite(media_port(End::Caller, agent.calls.len()))?;
        }
        if agent.answer(|number| media_port(End::Callee, number))? == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
        let answered = agent.calls.iter().filter(|call| call.towards_caller.is_some()).count();
        if answered == calls || gone > limit {
            return Ok(());
        }
    }
}

/// Ends the calls, 500 a second.
fn hang_up(agent: &mut Agent) -> Result<(), Box<dyn Error>> {
    for number in 0..agent.calls.len() {
        agent.bye(number)?;
        std::thread::sleep(Duration::from_millis(2));
        agent.answer(|_| 0)?;
    }
    let end = now();
    while now().saturating_sub(end) < Duration::from_millis(500) {
        agent.answer(|_| 0)?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
