//! Who may register and call without being a trunk: digest (RFC 3261 §22, RFC 8760).
//!
//! Nonces are stateless, a time and a keyed hash. What is kept is the highest count seen for each nonce in use, so that
//! an overheard answer cannot be sent again; the table is bounded, and when it is full the key is changed, which makes
//! every older nonce stale instead of forgotten.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::quality::FixedState;
use sip::{Algorithm, Authorization, Challenge, Message, Name, NonceCheck, Nonces, Uri};

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
    /// Credentials for another request, which somebody may have taken from there.
    OfAnother,
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
                if !is_for(&given, request) {
                    return Verdict::OfAnother;
                }
                let (user, password) = self.claimed(users, &given.username);
                let right = given.verify(password, request.method_text());
                match user {
                    Some(user) if right => self.fresh(&given, &user.name, now),
                    Some(_) | None => Verdict::Wrong,
                }
            }
        }
    }

    /// The user of this name, and the password that its proof is held against. An unknown name costs the same work as a wrong
    /// password: it is held against that of another user, whose choice nobody outside can know and which is the same each
    /// time, since a long password is more to hash than a short one. A name at the end of the list costs what one at its
    /// beginning does: all of it is looked through.
    fn claimed<'u>(&self, users: &'u [User], name: &[u8]) -> (Option<&'u User>, &'u str) {
        let stand_in = self.counts.hasher().hash_one(name) % (users.len() as u64).max(1);
        let is_it = |user: &User| user.name.as_bytes() == name;
        let user = users.iter().fold(None, |found, user| if is_it(user) { Some(user) } else { found });
        let held_against = user.or(users.get(stand_in as usize));
        (user, held_against.map_or("", |user| user.password.as_str()))
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

/// RFC 7616 §3.4.6: what is proven is the right to ask for this. Phones leave parameters of the Request-URI out, or have
/// them in other places, so it is the user and the host that count.
fn is_for(given: &Authorization<'_>, request: &Message<'_>) -> bool {
    let asked = request.request_uri().unwrap_or_default();
    given.uri == asked
        || matches!((Uri::parse(given.uri), Uri::parse(asked)), (Ok(given), Ok(asked)) if given.names_same(&asked))
}

fn nonces(secret: &[u8; 32], epoch: u64) -> Nonces {
    let mut secret = *secret;
    for (byte, epoch) in secret.iter_mut().zip(epoch.to_le_bytes()) {
        *byte ^= epoch;
    }
    Nonces::new(secret)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_proof_of_an_unknown_name_is_held_against_the_password_of_some_user_always_the_same() {
        let user = |n: usize| User { name: format!("user{n}"), password: "x".repeat(8 + n) };
        let users: Vec<User> = (0..50).map(user).collect();
        let access = Access::new([7; 32], &mut Ids::new([9; 32], 0, 1));
        let mut lengths = BTreeSet::new();
        for n in 0..500 {
            let name = format!("nobody{n}");
            let (user, password) = access.claimed(&users, name.as_bytes());
            assert_eq!(user, None);
            assert!((8..58).contains(&password.len()));
            assert_eq!(access.claimed(&users, name.as_bytes()).1, password);
            lengths.insert(password.len());
        }
        assert!(lengths.len() > 40, "as different as those of users: {lengths:?}");
        let (user, password) = access.claimed(&users, b"user31");
        assert_eq!((user, password.len()), (Some(&users[31]), 39));
        assert_eq!(access.claimed(&[], b"anybody"), (None, ""));
    }
}
