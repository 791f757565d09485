//! SIP and SDP as pure data.
//!
//! Messages are an index over the received bytes, the four transactions of RFC 3261 §17 are state machines that are
//! told the time, dialogs and digest are values. Nothing here opens a socket, reads a clock or draws a random number.

mod dialog;
pub mod digest;
pub mod message;
pub mod sdp;
mod time;
pub mod transaction;
mod transport;
pub mod write;

pub use dialog::{Dialog, OutOfOrder};
pub use digest::{Algorithm, Authorization, Challenge, NonceCheck, Nonces};
pub use message::{
    Address, CSeq, Fault, Header, List, MAX_HEADER_LINE, MAX_HEADERS, MAX_LIST, MAX_MESSAGE, MAX_PARTS,
    Message, Method, Multipart, Name, Params, ParseError, Part, RAck, Reason, Refresher, Replaces, Scheme,
    SessionExpires, Uri, Via, call_id_of, is_media_type, reason_phrase, unquote,
};
pub use sdp::{
    Crypto, Direction, Edit, Encryption, Fingerprint, Host, MAX_STREAMS, MasterKey, Origin, Sdp, SdpError,
    Selection, Setup, SrtpSuite, Stream, StreamEncryption, StreamPorts,
};
pub use time::Time;
pub use transaction::{
    InviteClient, InviteClientState, InviteServer, InviteServerState, NonInviteClient, NonInviteClientState,
    NonInviteServer, NonInviteServerState, Send, Step, Tell, Timing,
};
pub use transport::Transport;
pub use write::{Writer, ack_for_failure, cancel_for, respond};
