//! Journal files: whoever wrote one, it is refused or read, drawn and lived through again, and what it takes to do so is in
//! proportion to its length.
//!
//! Bytes that begin with `{` are a file. All others are changes to the file of a real call, because bytes that a machine
//! turns over are hardly ever JSON.

use std::sync::LazyLock;

use serde_json::Value;

/// A call that an earlier build wrote down, line by line.
static RECORDED: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let text = include_str!("../../../services/replay/tests/golden/call.journal");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
});

/// The most changes of one file.
const MAX_CHANGES: usize = 16;

/// The longest list that changes make: again and again ten times as long would fill any memory.
const MAX_ITEMS: usize = 4_096;

/// What numbers trip over.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    7,
    127,
    200,
    487,
    u16::MAX as u64,
    u16::MAX as u64 + 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32 | 1,
    1 << 53,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

/// What texts trip over.
const TEXTS: [&str; 16] = [
    "",
    "a",
    "udp",
    "tcp",
    "wss",
    "west",
    "sip:203.0.113.111:5060",
    "sip:[::1]",
    "tel:1",
    "0.0.0.0/0",
    "[::1]:0",
    "203.0.113.111:5060",
    "hex:ff",
    "text:Digest",
    "ffffffffffffffff",
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\n\r\n",
];

pub(crate) fn check(bytes: &[u8]) {
    let text = match bytes {
        [b'{', ..] => String::from_utf8_lossy(bytes).into_owned(),
        _ => changed(bytes),
    };
    let Ok(recording) = replay::read(&text) else { return };
    assert!(recording.calls().len() <= text.len());
    let ladder = replay::ladder(&recording);
    let room = 4_096 + 256 * text.len();
    assert!(ladder.to_string().len() <= room, "a ladder in proportion");
    assert!(ladder.svg().len() <= room, "a drawing in proportion");
    let outcome = replay::replay(&recording);
    assert!(format!("{outcome:?}").len() <= room, "a verdict in proportion");
}

/// The file of the call after changes of four bytes each: which line, which value of it, what becomes of it.
fn changed(bytes: &[u8]) -> String {
    let mut lines = RECORDED.clone();
    for change in bytes.chunks_exact(4).take(MAX_CHANGES) {
        let &[line, place, what, with] = change else { continue };
        let count = lines.len();
        let at = usize::from(line) % count;
        match what % 16 {
            0 => drop(lines.remove(at)),
            1 => lines.insert(usize::from(with) % (count + 1), lines[at].clone()),
            2 => lines.swap(at, usize::from(place) % count),
            what => {
                let mut left = usize::from(place);
                if let Some(value) = nth(&mut lines[at], &mut left) {
                    alter(value, what, with);
                }
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The value at that place, counted in the order of writing.
fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(fields) => fields.values_mut().find_map(|field| nth(field, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn alter(value: &mut Value, what: u8, with: u8) {
    let pick = usize::from(with % 16);
    match value {
        Value::Array(items) => match what {
            3..=6 if !items.is_empty() => items.push(items[usize::from(with) % items.len()].clone()),
            7..=8 if !items.is_empty() => drop(items.remove(usize::from(with) % items.len())),
            9 => items.clear(),
            10 => {
                let longer = (items.len() * pick).min(MAX_ITEMS);
                *items = items.iter().cycle().take(longer).cloned().collect();
            }
            11.. if !items.is_empty() => items.reverse(),
            _ => *value = Value::Null,
        },
        Value::Number(number) => match what {
            3..=8 => *value = NUMBERS[pick].into(),
            9..=12 => *value = number.as_u64().unwrap_or(0).wrapping_add(u64::from(with)).into(),
            13.. => *value = (-i64::from(with)).into(),
            _ => *value = Value::Null,
        },
        Value::String(text) => match what {
            3..=6 => *value = TEXTS[pick].into(),
            7..=9 => *value = text.replacen('\n', TEXTS[pick], 1 + usize::from(with >> 4)).into(),
            10..=11 => *value = text.chars().skip(usize::from(with)).collect::<String>().into(),
            12..=13 => *value = text.chars().take(usize::from(with)).collect::<String>().into(),
            14.. => *value = text.replace("INVITE", ["BYE", "ACK", "CANCEL", "REFER"][pick % 4]).into(),
            _ => *value = Value::Null,
        },
        Value::Bool(flag) => *value = Value::Bool(!*flag),
        Value::Null => *value = TEXTS[pick].into(),
        Value::Object(fields) => {
            let name = fields.keys().nth(pick % fields.len().max(1)).cloned();
            name.map(|name| fields.remove(&name));
        }
    }
}
