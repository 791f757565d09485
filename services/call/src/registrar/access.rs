//! Who may register and call without being a trunk: digest (RFC 3261 §22, RFC 8760).
//!
//! Nonces are stateless, a time and a keyed hash. What is kept is the highest count seen for each nonce in use, so that
//! an overheard answer cannot be sent again; the table is bounded, and when it is full the key is changed, which makes
//! every older nonce stale instead of forgotten.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::quality::FixedState;
use sip::{Algorithm, Authorization, Challenge, Message, Name, NonceCheck, Nonces};

use crate::ids::Ids;
use crate::io::{Flow, Now};
use crate::settings::{RegistrarPolicy, User};

/// What descriptions of the protection space say.
const REALM: &str = "drawbridge";
const NONCE_LIFETIME: Duration = Duration::from_secs(300);
const MAX_NONCES: usize = 16_384;

/// What is known of the sender of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This user.
    User(Box<str>),
    /// Ask for a password; `stale`: the answer was right but its nonce is old.
    Challenge { stale: bool },
    /// Credentials that are nobody's: ask again, with the same answer as to somebody who showed none.
    Wrong,
    /// Nobody that we deal with.
    Nobody,
}

pub(crate) struct Access {
    secret: [u8; 32],
    /// How often the table was full.
    epoch: u64,
    nonces: Nonces,
    counts: HashMap<u64, u32, FixedState>,
}

impl Access {
    /// Each shard has nonces of its own: a count that one shard has seen cannot be used again at another.
    pub(crate) fn new(mut secret: [u8; 32], ids: &mut Ids) -> Access {
        for (byte, random) in secret.iter_mut().zip(std::iter::repeat_with(|| ids.random())) {
            *byte ^= random as u8;
        }
        let counts = HashMap::with_hasher(FixedState::with_seed(ids.random()));
        Access { nonces: nonces(&secret, 0), secret, epoch: 0, counts }
    }

    /// Who sent this request; `name` is who it says it is.
    pub(crate) fn judge(
        &mut self,
        request: &Message<'_>,
        flow: Flow,
        name: &str,
        policy: &RegistrarPolicy,
        now: Now,
    ) -> Verdict {
        match policy {
            RegistrarPolicy::Closed => Verdict::Nobody,
            RegistrarPolicy::OpenLoopback if flow.remote.ip().is_loopback() => Verdict::User(name.into()),
            RegistrarPolicy::OpenLoopback => Verdict::Nobody,
            RegistrarPolicy::Users(users) => {
                let given = request
                    .values(Name::Authorization)
                    .chain(request.values(Name::ProxyAuthorization))
                    .filter_map(|value| Authorization::parse(value).ok())
                    .find(|given| &*given.realm == REALM.as_bytes());
                let Some(given) = given else { return Verdict::Challenge { stale: false } };
                // An unknown name costs the same work as a wrong password, and gets the same answer. So does one at the
                // end of the list: all of it is looked through.
                let is_it = |user: &User| user.name.as_bytes() == &*given.username;
                let user =
                    users.iter().fold(None, |found, user| if is_it(user) { Some(user) } else { found });
                let password = user.map_or("\u{0}", |user| user.password.as_str());
                let right = given.verify(password, request.method_text());
                match user {
                    Some(user) if right => self.fresh(&given, &user.name, now),
                    Some(_) | None => Verdict::Wrong,
                }
            }
        }
    }

    /// A WWW-Authenticate value. MD5 alone: there are phones in use (baresip 1.0 for one) that give up at the sight of
    /// another algorithm instead of taking the one that they know (RFC 8760 §2.4 would have both offered). A phone that
    /// answers with SHA-256 all the same is verified with it.
    pub(crate) fn challenge(&self, stale: bool, now: Now) -> Vec<u8> {
        let realm = REALM.as_bytes().into();
        let nonce = self.nonces.issue(now.time).into_bytes().into();
        Challenge { realm, nonce, opaque: None, algorithm: Algorithm::Md5, qop_auth: true, stale }.write()
    }

    fn fresh(&mut self, given: &Authorization<'_>, user: &str, now: Now) -> Verdict {
        match self.nonces.check(&given.nonce, now.time, NONCE_LIFETIME) {
            NonceCheck::Fresh => {}
            NonceCheck::Stale | NonceCheck::Forged => return Verdict::Challenge { stale: true },
        }
        let count = given.nc.unwrap_or(1);
        let nonce = self.counts.hasher().hash_one(&given.nonce);
        if self.counts.get(&nonce).is_some_and(|&seen| count <= seen) {
            return Verdict::Challenge { stale: true };
        }
        if self.counts.len() >= MAX_NONCES && !self.counts.contains_key(&nonce) {
            self.epoch += 1;
            self.nonces = nonces(&self.secret, self.epoch);
            self.counts.clear();
            return Verdict::Challenge { stale: true };
        }
        self.counts.insert(nonce, count);
        Verdict::User(user.into())
    }
}

fn nonces(secret: &[u8; 32], epoch: u64) -> Nonces {
    let mut secret = *secret;
    for (byte, epoch) in secret.iter_mut().zip(epoch.to_le_bytes()) {
        *byte ^= epoch;
    }
    Nonces::new(secret)
}
