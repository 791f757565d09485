//! A record as bytes: the values of the columns in their order, for the spool and for attempts that are not over.
//!
//! Columns are only ever added at the end, so an older version's bytes are a beginning of a newer one's: what is missing is
//! NULL, what is too much is left out. Behind those of an attempt that is not over may stand how long the machine had been up
//! when that was said.

use std::fmt;
use std::io::Write;

use uuid::Uuid;

use crate::cdr::{COLUMNS, Value, clean};
use crate::uptime::Uptime;

const NULL: u8 = 0;
const TEXT: u8 = 1;
const INTEGER: u8 = 2;
const REAL: u8 = 3;
/// No column's: the last of all.
const SAID: u8 = 4;

/// Appends one value after the other. Each call of a shard's comes by here three times, so nothing is put together elsewhere first.
pub(crate) struct Encoder<'a>(pub(crate) &'a mut Vec<u8>);

impl Encoder<'_> {
    /// What there is, or NULL.
    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.0.push(NULL),
        }
    }

    /// Text from the wire, as both databases take it.
    pub(crate) fn text(&mut self, text: &str) {
        self.whole(clean(text));
    }

    /// Text that is clean, whole.
    pub(crate) fn whole(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        // Texts of records are cut to far less.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.0.push(TEXT);
        self.0.extend(length.to_le_bytes());
        self.0.extend_from_slice(text.as_bytes().get(..usize::from(length)).unwrap_or_default());
    }

    /// Text of our own making.
    pub(crate) fn shown(&mut self, value: impl fmt::Display) {
        self.0.extend([TEXT, 0, 0]);
        let begin = self.0.len();
        // Writing to a vector does not fail.
        let _ = write!(self.0, "{value}");
        let length = u16::try_from(self.0.len() - begin).unwrap_or_default();
        self.0.truncate(begin + usize::from(length));
        if let Some(place) = self.0.get_mut(begin - 2..begin) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    pub(crate) fn uuid(&mut self, id: Uuid) {
        self.whole(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    }

    pub(crate) fn integer(&mut self, integer: i64) {
        self.0.push(INTEGER);
        self.0.extend(integer.to_le_bytes());
    }

    pub(crate) fn count(&mut self, count: u64) {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn small(&mut self, number: Option<u16>) {
        self.optional(number.map(i64::from), Encoder::integer);
    }

    /// NULL where it is no number.
    pub(crate) fn real(&mut self, real: f32) {
        self.optional(real.is_finite().then_some(f64::from(real)), |to, real| {
            to.0.push(REAL);
            to.0.extend(real.to_le_bytes());
        });
    }
}

/// Appends when an attempt was so far, after its columns.
pub(crate) fn put_said(said: Uptime, to: &mut Vec<u8>) {
    to.push(SAID);
    to.extend(said.to_bytes());
}

/// When an attempt was so far. What an earlier version wrote may be taken for a time, of no start of any machine's.
pub(crate) fn said(bytes: &[u8]) -> Option<Uptime> {
    let (tag, said) = bytes.split_at_checked(bytes.len().checked_sub(1 + Uptime::BYTES)?)?.1.split_first()?;
    (*tag == SAID).then(|| Uptime::from_bytes(said)).flatten()
}

/// A value for each column; `None` when the bytes are not what [`Encoder`] writes.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<Value<'_>>> {
    let mut values = Vec::with_capacity(COLUMNS.len());
    while values.len() < COLUMNS.len() && !bytes.is_empty() {
        let (tag, rest) = bytes.split_first()?;
        let (value, rest) = match *tag {
            NULL => (Value::Null, rest),
            TEXT => {
                let (length, rest) = rest.split_first_chunk()?;
                let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
                (Value::Text(std::str::from_utf8(text).ok()?.into()), rest)
            }
            INTEGER => {
                let (integer, rest) = rest.split_first_chunk()?;
                (Value::Integer(i64::from_le_bytes(*integer)), rest)
            }
            REAL => {
                let (real, rest) = rest.split_first_chunk()?;
                (Value::Real(f64::from_le_bytes(*real)), rest)
            }
            SAID => break,
            5.. => return None,
        };
        values.push(value);
        bytes = rest;
    }
    values.resize_with(COLUMNS.len(), || Value::Null);
    Some(values)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_missing_is_null() {
        let address = SocketAddr::from(([192, 0, 2, 1], 5060));
        let mut bytes = Vec::new();
        let mut to = Encoder(&mut bytes);
        to.text("a\0");
        to.optional(None, Encoder::text);
        to.integer(-7);
        to.real(0.25);
        to.text("");
        to.shown(address);
        to.uuid(Uuid::from_u128(1));
        to.real(f32::NAN);
        let written = [
            Value::Text("a\u{fffd}".into()),
            Value::Null,
            Value::Integer(-7),
            Value::Real(0.25),
            Value::Text("".into()),
            Value::Text("192.0.2.1:5060".into()),
            Value::Text("00000000-0000-0000-0000-000000000001".into()),
            Value::Null,
        ];
        let read = decode(&bytes).unwrap_or_default();
        assert_eq!(read.len(), COLUMNS.len());
        assert_eq!(&read[..8], &written);
        assert!(read[8..].iter().all(|value| *value == Value::Null));
    }

    #[test]
    fn bytes_that_end_too_early_are_no_record() {
        let mut bytes = Vec::new();
        let mut to = Encoder(&mut bytes);
        to.text("caller");
        to.integer(1);
        for end in 1..bytes.len() {
            let whole = end == 9;
            assert_eq!(decode(&bytes[..end]).is_some(), whole, "{end}");
        }
        assert_eq!(decode(&[9]), None);
    }
}
