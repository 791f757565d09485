//! Several Cores as the shards of one box: messages from outside find theirs by their Call-ID, and what one shard sends on
//! an inner flow comes out in the other.

use std::collections::VecDeque;
use std::time::Duration;

use call::{Flow, Input, SendToken, shard_of};

use crate::harness::{Sent, World};

pub struct Shards {
    pub worlds: Vec<World>,
    /// What left the box, in order.
    pub sent: VecDeque<Sent>,
    /// On its way between shards: from, to, what.
    pub mail: VecDeque<(u16, u16, Sent)>,
    /// Nothing is delivered between shards.
    pub is_held: bool,
    /// This shard takes no letters.
    pub full: Option<u16>,
}

impl Shards {
    pub fn new(shards: u16) -> Shards {
        let world = |shard| {
            let mut world = World::tuned(|settings| (settings.shard, settings.shards) = (shard, shards));
            world.ports += shard * 1_000;
            world
        };
        let worlds = (0..shards).map(world).collect();
        Shards { worlds, sent: VecDeque::new(), mail: VecDeque::new(), is_held: false, full: None }
    }

    /// A Call-ID of this shard that begins like this.
    pub fn call_id(&self, start: &str, shard: u16) -> String {
        let shards = self.worlds.len() as u16;
        let mut numbered = (0..).map(|number| format!("{start}{number}@10.1.1.1"));
        numbered.find(|id| shard_of(id.as_bytes(), shards) == shard).unwrap()
    }

    /// Hands the box a message by way of the shard that its Call-ID belongs to.
    pub fn receive(&mut self, from: &str, text: &str) {
        let line = text.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap();
        let shard = shard_of(line.trim().as_bytes(), self.worlds.len() as u16);
        self.worlds[usize::from(shard)].receive(from, text);
        self.work();
    }

    pub fn input(&mut self, shard: u16, input: Input<'_>) {
        self.worlds[usize::from(shard)].input(input);
        self.work();
    }

    /// Delivers what was held back.
    pub fn release(&mut self) {
        self.is_held = false;
        self.work();
    }

    fn work(&mut self) {
        loop {
            for (from, world) in (0..).zip(&mut self.worlds) {
                while let Some(sent) = world.sent.pop_front() {
                    match sent.flow.inner_shard() {
                        Some(to) => self.mail.push_back((from, to, sent)),
                        None => {
                            assert!(!sent.text.contains("0.0.0."), "an inner address left:\n{}", sent.text);
                            self.sent.push_back(sent);
                        }
                    }
                }
            }
            if self.is_held {
                return;
            }
            let Some((from, to, sent)) = self.mail.pop_front() else { return };
            if self.full != Some(to) {
                let flow = Flow::inner(from);
                self.worlds[usize::from(to)].input(Input::Message { flow, bytes: sent.text.as_bytes() });
            } else if sent.token != SendToken::NONE {
                self.worlds[usize::from(from)].input(Input::Undeliverable { token: sent.token });
            }
        }
    }

    /// Lets time pass in all shards, a tenth of a second at a time.
    pub fn pass(&mut self, time: Duration) {
        let step = Duration::from_millis(100);
        for _ in 0..time.as_millis() / step.as_millis() {
            self.worlds.iter_mut().for_each(|world| world.pass(step));
            self.work();
        }
    }

    /// The next message that left the box, which must go to this address and begin like this.
    pub fn expect(&mut self, to: &str, start: &str) -> Sent {
        let sent = self.sent.pop_front().unwrap_or_else(|| panic!("nothing sent, expected {start} to {to}"));
        assert!(
            sent.to == to.parse().unwrap() && sent.text.starts_with(start),
            "expected {start} to {to}, sent to {}:\n{}",
            sent.to,
            sent.text
        );
        sent
    }

    /// The first message to this address that begins like this, whatever others left before it to others.
    pub fn expect_among(&mut self, to: &str, start: &str) -> Sent {
        let fits = |sent: &Sent| sent.to == to.parse().unwrap() && sent.text.starts_with(start);
        let at = self.sent.iter().position(fits);
        let at = at.unwrap_or_else(|| panic!("expected {start} to {to}, sent: {:#?}", self.sent));
        self.sent.remove(at).unwrap()
    }

    pub fn expect_silence(&self) {
        assert!(self.sent.is_empty(), "nothing expected, sent {:#?}", self.sent);
    }

    /// The records of this shard's calls: number of the attempt, whether it is the last.
    pub fn rows(&self, shard: u16) -> Vec<(u32, bool)> {
        let records = &self.worlds[usize::from(shard)].records;
        records.iter().map(|fact| (fact.attempt, fact.is_last)).collect()
    }

    /// Nothing may be left in any shard when every timer has run out, and every call can be lived through again.
    pub fn expect_nothing_left(&mut self) {
        self.pass(Duration::from_secs(300));
        self.expect_silence();
        self.worlds.iter_mut().for_each(World::expect_nothing_left);
    }
}
