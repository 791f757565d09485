//! The four transactions of RFC 3261 §17, with the corrections of RFC 6026 and RFC 4320.
//!
//! A transaction is a small value: its state and when its timers fire. It holds no bytes, opens no socket and reads no
//! clock. Whoever owns it keeps the message that may have to be sent again, tells the transaction what happened, and
//! does what the [`Step`] it gets back says: something to [`Send`], something to [`Tell`] the transaction user.
//!
//! The owner asks [`deadline`](InviteClient::deadline) after every step and calls
//! [`on_timeout`](InviteClient::on_timeout) once that time has come, again while the deadline is not in the future.
//! A terminated transaction has no deadline and answers every input with [`Step::NOTHING`].

#![deny(clippy::wildcard_enum_match_arm)]

mod invite_client;
mod invite_server;
mod non_invite_client;
mod non_invite_server;
mod timers;

pub use invite_client::{InviteClient, InviteClientState};
pub use invite_server::{InviteServer, InviteServerState};
pub use non_invite_client::{NonInviteClient, NonInviteClientState};
pub use non_invite_server::{NonInviteServer, NonInviteServerState};
pub use timers::Timing;

/// What the owner of a transaction has to put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// Nothing.
    Nothing,
    /// The response just given to `respond`: send it and keep it in place of the one before. When `respond` does not
    /// say this, the response comes too late or is not allowed, and must neither be sent nor kept.
    Response,
    /// What is kept, once more: the request of a client transaction, the last response of a server transaction
    /// (nothing, where no response has been given yet).
    Retransmit,
    /// The ACK for the failure that was just received (RFC 3261 §17.1.1.3). Build it with `ack_for_failure`; the
    /// INVITE need not be kept any longer, a repeated failure asks for the same ACK.
    Ack,
}

/// What the transaction user has to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Nothing.
    Nothing,
    /// The response just received.
    Response,
    /// A client transaction: no final response in time (Timer B, Timer F), to be treated as a 408 (§8.1.3.1).
    /// A non-INVITE server transaction: no response was given in time, and none can be sent any more (RFC 4320).
    Timeout,
    /// The message could not be sent, to be treated as a 503 by a client (§8.1.3.1).
    TransportError,
    /// The INVITE server transaction got an ACK: in Completed the one for its failure; in Accepted one for the 2xx,
    /// which is the dialog's (only a peer that repeats the INVITE's branch in it gets it there).
    Ack,
    /// The failure was never acknowledged (Timer H).
    NoAck,
}

/// What follows from an input to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// For the wire. To be done even if the transaction has terminated by this step.
    pub send: Send,
    /// For the transaction user.
    pub tell: Tell,
}

impl Step {
    /// The input changed nothing that anyone has to act on.
    pub const NOTHING: Step = Step { send: Send::Nothing, tell: Tell::Nothing };

    const RESPONSE: Step = Step { send: Send::Response, tell: Tell::Nothing };
    const RETRANSMIT: Step = Step { send: Send::Retransmit, tell: Tell::Nothing };
    const ACK: Step = Step { send: Send::Ack, tell: Tell::Nothing };

    const fn tell(tell: Tell) -> Step {
        Step { send: Send::Nothing, tell }
    }
}

/// The three kinds of response that transactions tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 300 and above.
    Failure,
}

impl Class {
    const fn of(status: u16) -> Class {
        match status {
            0..=199 => Class::Provisional,
            200..=299 => Class::Success,
            300..=u16::MAX => Class::Failure,
        }
    }
}
