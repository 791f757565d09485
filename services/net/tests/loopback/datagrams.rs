//! Datagrams: each is answered, wherever its call lives.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::bench::{Sbc, call_id, request};

#[test]
fn a_bye_for_no_dialog_is_answered_481() {
    let sbc = Sbc::start(1);
    let phone = sbc.phone();
    phone.send(&request("BYE", "b1", "UDP", phone.address()));
    let answer = phone.receive();
    assert!(answer.starts_with("SIP/2.0 481 "), "{answer}");
    assert_eq!(call_id(&answer), "b1");
    sbc.net.shutdown().unwrap();
}

#[test]
fn every_message_reaches_the_shard_of_its_call_whichever_socket_received_it() {
    let sbc = Sbc::start(2);
    let phones = [sbc.phone(), sbc.phone(), sbc.phone(), sbc.phone()];
    let mut expected = BTreeSet::new();
    for (index, phone) in phones.iter().enumerate() {
        for count in 0..50 {
            let call = format!("call-{index}-{count}");
            phone.send(&request("BYE", &call, "UDP", phone.address()));
            expected.insert(call);
        }
    }
    let mut answered = BTreeSet::new();
    for phone in &phones {
        for _ in 0..50 {
            answered.insert(call_id(&phone.receive()).to_owned());
        }
    }
    assert_eq!(answered, expected);

    let stats = sbc.stats();
    let shares: Vec<u64> = stats.shards.iter().map(|shard| shard.core.requests_in).collect();
    let calls_of =
        |shard| expected.iter().filter(|call| call::shard_of(call.as_bytes(), 2) == shard).count() as u64;
    assert_eq!(shares, [calls_of(0), calls_of(1)], "each shard got exactly its own");
    let totals = sbc.net.handle().net_totals();
    assert_eq!((totals.datagrams_in, totals.datagrams_out), (200, 200));
    assert!(totals.handed_over > 0, "{totals:?}");
    sbc.net.shutdown().unwrap();
}

#[test]
fn messages_of_one_call_keep_their_order_on_the_way_to_another_shard() {
    let sbc = Sbc::start(2);
    // Some peers' datagrams arrive at the wrong socket, whichever shard the call belongs to.
    for peer in 0..4 {
        let phone = sbc.phone();
        for count in 0..60 {
            let text = request("BYE", &format!("same-{peer}"), "UDP", phone.address());
            phone.send(&text.replace("branch=z9hG4bK", &format!("branch=z9hG4bK{count}-")));
        }
        for count in 0..60 {
            let answer = phone.receive();
            assert!(answer.contains(&format!("branch=z9hG4bK{count}-BYE")), "{count}: {answer}");
        }
    }
    sbc.net.shutdown().unwrap();
}

#[test]
fn keep_alives_cost_the_core_nothing() {
    let sbc = Sbc::start(1);
    let phone = sbc.phone();
    for text in ["\r\n\r\n", "\r\n", "\0\0\0\0", ""] {
        phone.send(text);
    }
    phone.send(&request("BYE", "after", "UDP", phone.address()));
    phone.receive();
    assert_eq!(sbc.net.handle().net_totals().keepalives_in, 4);
    assert_eq!(sbc.stats().total.core.malformed, 0);
    sbc.net.shutdown().unwrap();
}

#[test]
fn noise_is_survived() {
    let sbc = Sbc::start(2);
    let phone = sbc.phone();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for length in 5..400 {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        phone.socket.send(&noise).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    phone.send(&request("BYE", "after", "UDP", phone.address()));
    assert!(phone.receive().starts_with("SIP/2.0 481 "));
    sbc.net.shutdown().unwrap();
}
