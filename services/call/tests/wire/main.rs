//! The Core alone, with every message written and read by hand: each file is one subject, each test one behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod basic_call;
mod bodies;
mod cancel_client;
mod cancel_server;
mod corpora;
mod digest;
mod early_update;
mod forking;
mod hairpin;
mod harness;
mod journal;
mod long_requests;
mod names;
mod pings;
mod reason;
mod records;
mod redirect;
mod refusals;
mod registrar;
mod reinvite;
mod reliable;
mod replaces;
mod rules;
mod secure;
mod session_timer;
mod shards;
mod standalone;
mod streams;
mod subscription;
mod teardown;
mod transfer;
mod transfer_races;
mod update;
mod ways;
mod withdrawn_offer;
