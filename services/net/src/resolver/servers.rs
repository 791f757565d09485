//! The servers of a name, as its records describe them, and the order in which one request tries them.

use std::time::Instant;

use call::NextHop;

/// More are not tried for one request.
const MAX_HOPS: usize = 16;

/// What a name came to.
#[derive(Debug)]
pub(crate) struct Servers {
    /// By priority, the first to be tried first.
    pub(crate) groups: Vec<Vec<Server>>,
    /// What could not be used, or why there are none.
    pub(crate) note: Option<Box<str>>,
    /// How long it is believed: as long as the shortest-lived of the records that it was made of.
    pub(crate) until: Instant,
}

/// One of several servers of the same priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// How often it is chosen, relative to the others.
    pub(crate) weight: u16,
    /// Its addresses, in order.
    pub(crate) hops: Vec<NextHop>,
}

impl Servers {
    /// Whether there is nothing to send to.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.iter().flatten().all(|server| server.hops.is_empty())
    }

    /// Everything in the order of one request: by priority, within a priority by lot, weighted (RFC 2782). The same
    /// number draws the same lots.
    pub(crate) fn drawn(&self, number: u64) -> Vec<NextHop> {
        let mut lots = Lots(number);
        let mut hops = Vec::new();
        for group in &self.groups {
            let mut waiting: Vec<&Server> = group.iter().collect();
            // Those of weight 0 first, so that a sum of 0 finds them and hardly any other does.
            waiting.sort_by_key(|server| server.weight != 0);
            while !waiting.is_empty() && hops.len() < MAX_HOPS {
                let server = waiting.remove(chosen(&waiting, &mut lots));
                hops.extend_from_slice(&server.hops);
            }
        }
        hops.truncate(MAX_HOPS);
        hops
    }
}

/// The one whose running sum of weights is the first to reach a number between 0 and their sum.
fn chosen(waiting: &[&Server], lots: &mut Lots) -> usize {
    if waiting.len() == 1 {
        return 0;
    }
    let sum: u64 = waiting.iter().map(|server| u64::from(server.weight)).sum();
    let lot = lots.up_to(sum);
    let mut reached = 0;
    let found = waiting.iter().position(|server| {
        reached += u64::from(server.weight);
        reached >= lot
    });
    found.unwrap_or(0)
}

/// As many numbers as are needed from the one that came with the question (SplitMix64: each looks like chance).
struct Lots(u64);

impl Lots {
    /// Between 0 and `most`, both included.
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * (u128::from(most) + 1)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use sip::Transport;

    use super::*;

    const DRAWS: u64 = 2000;

    fn server(weight: u16, number: u8) -> Server {
        let address = SocketAddr::from(([192, 0, 2, number], 5060));
        Server { weight, hops: vec![NextHop { address, transport: Transport::Udp }] }
    }

    fn servers(groups: Vec<Vec<Server>>) -> Servers {
        Servers { groups, note: None, until: Instant::now() }
    }

    /// How often each comes first, by the last octet of its address.
    fn firsts(servers: &Servers) -> BTreeMap<String, u64> {
        let mut firsts = BTreeMap::new();
        for draw in 0..DRAWS {
            let first = servers.drawn(draw).first().map(|hop| hop.address.ip().to_string());
            *firsts.entry(first.unwrap_or_default()).or_default() += 1;
        }
        firsts
    }

    #[test]
    fn weights_share_the_calls_of_one_priority() {
        let firsts = firsts(&servers(vec![vec![server(60, 1), server(30, 2), server(10, 3)]]));
        for (address, share) in [("192.0.2.1", 60), ("192.0.2.2", 30), ("192.0.2.3", 10)] {
            let (got, expected) = (firsts[address], DRAWS * share / 100);
            assert!(got.abs_diff(expected) < DRAWS / 25, "{address}: {got} of {DRAWS}, expected {expected}");
        }
    }

    #[test]
    fn without_weights_all_come_first_now_and_then() {
        let even = firsts(&servers(vec![vec![server(7, 1), server(7, 2), server(7, 3), server(7, 4)]]));
        assert!(even.values().all(|count| count.abs_diff(DRAWS / 4) < DRAWS / 20), "{even:?}");
    }

    #[test]
    fn weight_0_beside_others_is_hardly_ever_first_and_never_left_out() {
        let group = servers(vec![vec![server(100, 1), server(0, 2)]]);
        assert!(firsts(&group).get("192.0.2.2").is_none_or(|count| *count < DRAWS / 20));
        assert!((0..DRAWS).all(|draw| group.drawn(draw).len() == 2));
    }

    #[test]
    fn priorities_are_kept_whatever_the_weights() {
        let servers = servers(vec![vec![server(0, 1)], vec![server(65535, 2), server(1, 3)]]);
        for draw in 0..DRAWS {
            let hops = servers.drawn(draw);
            assert_eq!(hops.len(), 3);
            assert_eq!(hops[0].address.ip().to_string(), "192.0.2.1");
        }
    }

    #[test]
    fn the_same_number_draws_the_same_order() {
        let servers = servers(vec![(1..=8).map(|n| server(u16::from(n), n)).collect()]);
        assert_eq!(servers.drawn(99), servers.drawn(99));
        assert!((0..50).any(|draw| servers.drawn(draw) != servers.drawn(99)));
    }

    #[test]
    fn no_request_is_given_more_than_it_will_try() {
        let servers = servers(vec![(1..=200).map(|n| server(1, n)).collect()]);
        assert_eq!(servers.drawn(1).len(), MAX_HOPS);
    }
}
