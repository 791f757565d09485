//! How many peers may shake hands at once.
//!
//! A handshake of TLS costs more than a call does, and one that is never finished holds its place for seconds. So places are
//! few, a host whom nobody knows has some of them, and all such hosts together leave room for those who are known: trunks,
//! phones that have registered, and peers that the box has spoken to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::guard::Host;

/// The places.
#[derive(Debug)]
pub(crate) struct Handshakes {
    most: usize,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    of_strangers: usize,
    by_stranger: HashMap<Host, usize>,
}

/// A place, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Handshake {
    of: Arc<Handshakes>,
    stranger: Option<Host>,
}

impl Handshakes {
    pub(crate) fn new(most: usize) -> Arc<Handshakes> {
        Arc::new(Handshakes { most, under_way: Mutex::default() })
    }

    /// A place for somebody, who may be a stranger from this host; `None`: there is none.
    pub(crate) fn begin(self: &Arc<Self>, stranger: Option<Host>) -> Option<Handshake> {
        let mut under_way = self.lock();
        if under_way.all >= self.most {
            return None;
        }
        if let Some(host) = stranger {
            let of_strangers = under_way.of_strangers;
            let of_host = under_way.by_stranger.get(&host).copied().unwrap_or(0);
            if of_strangers >= less_a_quarter(self.most) || of_host >= (self.most / 8).max(2) {
                return None;
            }
            under_way.of_strangers += 1;
            under_way.by_stranger.insert(host, of_host + 1);
        }
        under_way.all += 1;
        Some(Handshake { of: Arc::clone(self), stranger })
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut under_way = self.of.lock();
        under_way.all -= 1;
        let Some(host) = self.stranger else { return };
        under_way.of_strangers -= 1;
        match under_way.by_stranger.get_mut(&host) {
            Some(1) | None => drop(under_way.by_stranger.remove(&host)),
            Some(count) => *count -= 1,
        }
    }
}

/// What strangers may have of so many places; the rest is for those who are known.
pub(crate) fn less_a_quarter(most: usize) -> usize {
    most - most / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(last: u8) -> Option<Host> {
        Some(Host::of(std::net::Ipv4Addr::new(192, 0, 2, last).into()))
    }

    #[test]
    fn a_stranger_has_an_eighth_all_of_them_three_quarters_and_who_is_known_the_rest() {
        let handshakes = Handshakes::new(32);
        let of_one: Vec<_> = (0..6).map(|_| handshakes.begin(host(1))).collect();
        assert_eq!(of_one.iter().flatten().count(), 4);
        let of_others: Vec<_> = (2..60).map(|last| handshakes.begin(host(last))).collect();
        assert_eq!(of_others.iter().flatten().count(), 20);
        let known: Vec<_> = (0..10).map(|_| handshakes.begin(None)).collect();
        assert_eq!(known.iter().flatten().count(), 8);
        drop(of_one);
        assert_eq!(
            (0..10).map(|_| handshakes.begin(host(1))).collect::<Vec<_>>().iter().flatten().count(),
            4
        );
        drop((of_others, known));
        let under_way = handshakes.lock();
        assert_eq!((under_way.all, under_way.of_strangers, under_way.by_stranger.len()), (0, 0, 0));
    }
}
