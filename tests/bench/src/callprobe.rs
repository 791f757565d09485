//! Measures how long a caller waits from its INVITE to the 180, with and without something between it and the callee.
//!
//! `callprobe --next-hop 127.0.5.1:5060` calls through a box, without `--next-hop` straight to the callee.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::ExitCode;
use std::time::Duration;

use bench::agent::Agent;
use bench::arguments::Arguments;
use bench::batch::now;
use bench::histogram::Histogram;

fn main() -> ExitCode {
    match probe() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("callprobe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn probe() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read()?;
    let at = |ip: Ipv4Addr| SocketAddrV4::new(ip, 5060);
    let caller = at(arguments.or("caller", Ipv4Addr::new(127, 0, 5, 2))?);
    let callee = at(arguments.or("callee", Ipv4Addr::new(127, 0, 5, 3))?);
    let next_hop = arguments.or("next-hop", SocketAddr::from(callee))?;
    let rate: f64 = arguments.or("rate", 200.0)?;
    let calls: usize = arguments.or("calls", 2000)?;
    let hold = Duration::from_millis(arguments.or("hold-ms", 100)?);

    let mut agent = Agent::new(caller, callee, next_hop)?;
    let begin = now();
    let limit = Duration::from_secs_f64(calls as f64 / rate) + hold + Duration::from_secs(3);
    let mut ended = 0;
    loop {
        let time = now();
        let gone = time.saturating_sub(begin);
        while agent.calls.len() < ((gone.as_secs_f64() * rate) as usize).min(calls) {
            agent.invite(40_000)?;
        }
        while agent.calls.get(ended).is_some_and(|call| time.saturating_sub(call.invited) > hold) {
            agent.bye(ended)?;
            ended += 1;
        }
        // The kernel notes the times of arrival, but the callee's answer waits for this loop: it looks without pause.
        agent.answer(|_| 40_002)?;
        if gone > limit {
            break;
        }
    }
    let mut waits = Histogram::default();
    for call in &agent.calls {
        if let Some(ringing) = call.ringing {
            waits.add(ringing.saturating_sub(call.invited));
        }
    }
    println!(
        "{{\"calls\": {}, \"rang\": {}, \"refused\": {}, \"wait_us_p50\": {}, \"wait_us_p99\": {}}}",
        agent.calls.len(),
        waits.count(),
        agent.refused.values().sum::<u32>(),
        waits.quantile(0.5),
        waits.quantile(0.99),
    );
    Ok(())
}
