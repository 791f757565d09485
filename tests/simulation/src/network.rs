//! The network between the phones and the box: what becomes of one datagram.

use std::time::Duration;

use smallvec::SmallVec;

use crate::chance::Chance;

/// How a network treats its datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// How many of 1000 are lost.
    pub loss: u64,
    /// How many of 1000 arrive twice.
    pub duplicates: u64,
    /// How many of 1000 are held up for as long as `stray` says.
    pub strays: u64,
    /// The longest hold-up.
    pub stray: Duration,
    /// The shortest way.
    pub delay: Duration,
    /// What comes on top, at most: datagrams closer together than this overtake each other.
    pub jitter: Duration,
}

impl Network {
    /// Nothing is lost, everything takes one millisecond and order is kept.
    pub fn perfect() -> Network {
        Network {
            loss: 0,
            duplicates: 0,
            strays: 0,
            stray: Duration::ZERO,
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
        }
    }

    /// A network as bad as chance wants it.
    pub fn seeded(chance: &mut Chance) -> Network {
        let ms = Duration::from_millis;
        let mut network = Network::perfect();
        match chance.below(6) {
            0 => {}
            1 => network.jitter = ms(3),
            2 => {
                network.delay = ms(20);
                network.jitter = ms(80);
                network.duplicates = 20;
            }
            3 => {
                network.jitter = ms(5);
                network.loss = 50;
            }
            4 => {
                network.delay = ms(100);
                network.jitter = ms(600);
                network.loss = 100;
                network.duplicates = 100;
            }
            _ => {
                network.jitter = ms(30);
                network.loss = 200;
                network.duplicates = 50;
                network.strays = 30;
                // RFC 3261 §17.1.2.2: no datagram lives longer than T4, 5 s; a later one would be a new call.
                network.stray = ms(4_500);
            }
        }
        network
    }

    /// When the copies of one datagram arrive, counted from now; none: it is lost.
    pub fn carry(&self, chance: &mut Chance) -> SmallVec<[Duration; 2]> {
        let mut copies = SmallVec::new();
        if !chance.happens(self.loss) {
            copies.push(self.way(chance));
        }
        if chance.happens(self.duplicates) {
            copies.push(self.way(chance));
        }
        copies
    }

    pub(crate) fn way(&self, chance: &mut Chance) -> Duration {
        let stray = if chance.happens(self.strays) { chance.up_to(self.stray) } else { Duration::ZERO };
        self.delay + chance.up_to(self.jitter) + stray
    }
}
