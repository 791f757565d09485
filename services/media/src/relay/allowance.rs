//! How much of a peer's datagrams a handshake is given. Its library keeps the fragments of messages and joins them by
//! calling itself, one level for each: a peer that cuts a message into thousands of them must run out before the stack
//! does.

/// The type of a handshake record, and of what is in it (RFC 6347 §4.1, §4.2.2).
const HANDSHAKE: u8 = 22;
const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;

/// The largest datagram: a flight with a chain of certificates comes in several, each within the path's MTU.
const DATAGRAM: usize = 4096;
/// What an association may cost. A handshake of which every flight is sent eight times costs a third of it.
const BUDGET: usize = 2000;
/// So many octets cost as much as a fragment.
const OCTETS: usize = 64;

/// What is left.
#[derive(Debug)]
pub(super) struct Allowance(usize);

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance(BUDGET)
    }
}

impl Allowance {
    /// Whether there is enough left for this datagram, which is gone then.
    pub(super) fn takes(&mut self, datagram: &[u8]) -> bool {
        let left = (datagram.len() <= DATAGRAM).then(|| self.0.checked_sub(cost(datagram))).flatten();
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// Fragments and octets of a datagram.
fn cost(datagram: &[u8]) -> usize {
    let mut cost = 1 + datagram.len() / OCTETS;
    let mut rest = datagram;
    while let Some((header, after)) = rest.split_first_chunk::<RECORD_HEADER>() {
        let &[kind, _, _, epoch_high, epoch_low, .., high, low] = header;
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (record, next) = after.split_at(length);
        cost += match (kind, epoch_high, epoch_low) {
            (HANDSHAKE, 0, 0) => messages(record),
            // What is in an encrypted one is not seen here: as many as it has room for.
            _ => 1 + length / MESSAGE_HEADER,
        };
        rest = next;
    }
    cost
}

/// Messages, or fragments of them, in a record. The library takes the length of the whole message for that of its fragment.
fn messages(mut record: &[u8]) -> usize {
    let mut count = 1;
    while let Some((&[_, a, b, c, ..], after)) = record.split_first_chunk::<MESSAGE_HEADER>() {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        record = after.get(length..).unwrap_or_default();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: u8, fragments: usize, each: usize) -> Vec<u8> {
        let message = [&[1, 0, 0, each as u8, 0, 0, 0, 0, 0, 0, 0, each as u8][..], &vec![7; each]].concat();
        let body = message.repeat(fragments);
        let length = (body.len() as u16).to_be_bytes();
        [&[HANDSHAKE, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 0, length[0], length[1]][..], &body].concat()
    }

    #[test]
    fn a_handshake_with_every_flight_sent_eight_times_is_taken() {
        let mut left = Allowance::default();
        for _ in 0..8 {
            assert!(left.takes(&record(0, 1, 200)), "hello");
            assert!(left.takes(&record(0, 1, 220)), "hello with a cookie");
            (0..8).for_each(|_| assert!(left.takes(&record(0, 1, 250)), "certificates, key, signature"));
            assert!(left.takes(&record(1, 1, 28)), "finished");
        }
    }

    #[test]
    fn a_message_cut_into_thousands_of_pieces_is_not() {
        for epoch in [0, 1] {
            let mut left = Allowance::default();
            let taken = (0..100).filter(|_| left.takes(&record(epoch, 300, 1))).count();
            assert!(taken * 300 <= BUDGET, "{taken} datagrams of epoch {epoch}");
        }
        let mut left = Allowance::default();
        assert!((0..10_000).filter(|_| left.takes(&[HANDSHAKE; 2000])).count() * 2000 <= BUDGET * OCTETS);
        assert!(!Allowance::default().takes(&[HANDSHAKE; DATAGRAM + 1]));
    }
}
