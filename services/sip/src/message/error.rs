//! Why bytes are no message.

use thiserror::Error;

use super::{MAX_HEADER_LINE, MAX_HEADERS, MAX_MESSAGE};

/// Why bytes are no message: what was expected, what came, and at which byte of the message (its start line begins
/// at byte 0). [`Message::salvage`](super::Message::salvage) reads what can be read of such bytes, for answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Nothing but line ends: a keep-alive, perhaps.
    #[error("expected a message, got line ends only")]
    Empty,
    /// The first line is neither a request line nor a status line.
    #[error("expected `METHOD uri SIP/x.y` or `SIP/x.y code phrase` as the first line, got something else")]
    NotSip,
    /// Longer than [`MAX_MESSAGE`].
    #[error("expected at most {MAX_MESSAGE} bytes, got {length}")]
    TooLong {
        /// How many bytes came.
        length: usize,
    },
    /// More header lines than [`MAX_HEADERS`].
    #[error("expected at most {MAX_HEADERS} headers, got one more at byte {at}")]
    TooManyHeaders {
        /// Where the first line too many starts.
        at: usize,
    },
    /// A header line longer than [`MAX_HEADER_LINE`].
    #[error("expected a header line of at most {MAX_HEADER_LINE} bytes, got {length} at byte {at}")]
    HeaderTooLong {
        /// Where the line starts.
        at: usize,
        /// Its length.
        length: usize,
    },
    /// A line that is no header.
    #[error("expected a header name and a colon at byte {at}, got byte {got:#04x}")]
    NotHeader {
        /// Where the name or the colon should have stood.
        at: usize,
        /// What stood there.
        got: u8,
    },
    /// A CR without its LF, which some readers take for a line end and others do not.
    #[error("expected LF after the CR at byte {at}")]
    BareCr {
        /// Where the CR stands.
        at: usize,
    },
    /// The bytes end before the empty line after the headers.
    #[error("expected an empty line after the headers, got the end at byte {at}")]
    Unterminated {
        /// How many bytes came.
        at: usize,
    },
    /// Content-Length is not a plain number.
    #[error("expected Content-Length at byte {at} to be a number of bytes, got something else")]
    BadContentLength {
        /// Where its line starts.
        at: usize,
    },
    /// Two Content-Length headers that differ.
    #[error("expected one Content-Length, got {first} and, at byte {at}, {second}")]
    TwoContentLengths {
        /// Where the second one's line starts.
        at: usize,
        /// The first value.
        first: u64,
        /// The second value.
        second: u64,
    },
    /// Fewer bytes than Content-Length says.
    #[error("expected a body of {expected} bytes, got {got}")]
    ShortBody {
        /// What Content-Length says.
        expected: u64,
        /// How many bytes came after the headers.
        got: usize,
    },
}

impl ParseError {
    /// The status that answers such a request: 513 when it is too long, else 400.
    pub const fn status(&self) -> u16 {
        match self {
            ParseError::TooLong { .. } => 513,
            ParseError::Empty
            | ParseError::NotSip
            | ParseError::TooManyHeaders { .. }
            | ParseError::HeaderTooLong { .. }
            | ParseError::NotHeader { .. }
            | ParseError::BareCr { .. }
            | ParseError::Unterminated { .. }
            | ParseError::BadContentLength { .. }
            | ParseError::TwoContentLengths { .. }
            | ParseError::ShortBody { .. } => 400,
        }
    }

    /// The reason phrase that tells the peer.
    pub const fn phrase(&self) -> &'static str {
        match self {
            ParseError::Empty | ParseError::NotSip => "Bad Start Line",
            ParseError::TooLong { .. } => "Message Too Large",
            ParseError::TooManyHeaders { .. } => "Too Many Headers",
            ParseError::HeaderTooLong { .. } => "Header Too Long",
            ParseError::NotHeader { .. } | ParseError::BareCr { .. } => "Bad Header Line",
            ParseError::Unterminated { .. } => "Headers Not Ended",
            ParseError::BadContentLength { .. } => "Bad Content-Length Header",
            ParseError::TwoContentLengths { .. } => "Repeated Content-Length Header",
            ParseError::ShortBody { .. } => "Body Shorter Than Content-Length",
        }
    }
}
