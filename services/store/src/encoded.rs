//! A record as bytes: the values of the columns in their order, for the spool and for attempts that are not over.
//!
//! Columns are only ever added at the end, so an older version's bytes are a beginning of a newer one's: what is missing is
//! NULL, what is too much is left out.

use crate::cdr::{COLUMNS, Value};

const NULL: u8 = 0;
const TEXT: u8 = 1;
const INTEGER: u8 = 2;
const REAL: u8 = 3;

/// Appends the values.
pub(crate) fn encode(values: &[Value<'_>], bytes: &mut Vec<u8>) {
    for value in values {
        match value {
            Value::Null => bytes.push(NULL),
            Value::Text(text) => {
                // Texts of records are cut to far less.
                let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
                bytes.push(TEXT);
                bytes.extend(length.to_le_bytes());
                bytes.extend(text.as_bytes().get(..usize::from(length)).unwrap_or_default());
            }
            Value::Integer(integer) => {
                bytes.push(INTEGER);
                bytes.extend(integer.to_le_bytes());
            }
            Value::Real(real) => {
                bytes.push(REAL);
                bytes.extend(real.to_le_bytes());
            }
        }
    }
}

/// A value for each column; `None` when the bytes are not what [`encode`] writes.
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
            _ => return None,
        };
        values.push(value);
        bytes = rest;
    }
    values.resize_with(COLUMNS.len(), || Value::Null);
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_missing_is_null() {
        let written = [
            Value::Text("a\u{fffd}".into()),
            Value::Null,
            Value::Integer(-7),
            Value::Real(0.25),
            Value::Text("".into()),
        ];
        let mut bytes = Vec::new();
        encode(&written, &mut bytes);
        let read = decode(&bytes).unwrap_or_default();
        assert_eq!(read.len(), COLUMNS.len());
        assert_eq!(&read[..5], &written);
        assert!(read[5..].iter().all(|value| *value == Value::Null));
    }

    #[test]
    fn bytes_that_end_too_early_are_no_record() {
        let mut bytes = Vec::new();
        encode(&[Value::Text("caller".into()), Value::Integer(1)], &mut bytes);
        for end in 1..bytes.len() {
            let whole = end == 9;
            assert_eq!(decode(&bytes[..end]).is_some(), whole, "{end}");
        }
        assert_eq!(decode(&[9]), None);
    }
}
