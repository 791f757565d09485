//! Where calls go: a pure function from (configuration snapshot, question) to a decision.
//!
//! A [`Snapshot`] is immutable; a reload swaps it for another. [`Snapshot::trunk_of`] says whose a source address is,
//! [`Snapshot::decide`] where a call goes, [`Snapshot::explain`] the same with every step said aloud.
// Signatures fixed; bodies to be written.
use std::net::{IpAddr, SocketAddr};

/// Index of a trunk in its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrunkId(pub u16);

#[derive(Clone, Debug)]
pub struct Trunk {
    pub name: String,
    pub sources: Vec<Source>,
    pub peers: Vec<String>, // SIP URIs, checked
    pub cancel_matching: CancelMatching,
    pub refer: Refer,
    pub redirect: Redirect,
    pub auth: Option<Credentials>, // Debug must not show the password
    pub max_calls: u32,            // 0 = no limit
    pub max_cps: u32,
    pub options_ping: Option<std::time::Duration>,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source { pub network: IpAddr, pub prefix: u8, pub port: Option<u16> } // parse("192.0.2.0/24" | "127.0.0.1:5070" | "[::1]:5060" | "2001:db8::/32")
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelMatching { Strict, Lenient }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refer { Local, Pass }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect { Follow, Pass }
#[derive(Clone, Debug)]
pub struct Credentials { pub username: String, pub password: String }

#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    pub from: Option<Vec<TrunkId>>,
    pub called: Option<regex::Regex>, // over the user part
    pub to: Vec<TrunkId>,
    pub failover: Vec<u16>, // codes that move on to the next target; default 408, 480, 500-599
}

/// The question.
#[derive(Clone, Debug)]
pub struct Query<'a> { pub trunk: Option<TrunkId>, pub source: SocketAddr, pub caller: &'a str, pub uri: &'a str, pub local_user: bool }

#[derive(Clone, Debug)]
pub enum Decision { Route(Plan), Refuse(Refusal) }
#[derive(Clone, Debug)]
pub struct Plan { pub route: Option<String>, pub targets: Vec<Target>, pub failover: std::sync::Arc<[u16]> }
/// Trunk: one peer of a trunk (`peer` indexes Trunk::peers); User: the registered contacts of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target { Trunk { trunk: TrunkId, peer: usize }, User { name: String } }
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal { pub status: u16, pub why: String, pub blocked: bool }

#[derive(Debug)]
pub struct Snapshot { /* trunks, routes, and an index for trunk_of (longest prefix, with port first) */ }
