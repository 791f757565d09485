//! SRTP and SRTCP (RFC 3711, RFC 7714) as plain data: packets are turned in place, in the buffer they were read into.
//!
//! An [`Srtp`] is what one side of a stream has: a [`Context`] for what comes from it and one for what goes to it. Each
//! context knows its session keys (`derive`, `cipher`) and, for every synchronisation source, how far the packet index
//! has come and which indices were there already (`index`). There is no socket, no clock and no allocation per packet.
//!
//! What goes out is held against the indices as well: the relay passes on what another party sends, and one index used
//! for two packets would give both away (RFC 3711 §9.1). So no key that was sent with is begun anew either; nor one that
//! was received with, because what it has protected could be played again, and its packets may count from far on.

mod authenticator;
mod cipher;
mod derive;
mod index;

use call::SrtpKeys;
use sip::{MasterKey, SrtpSuite};

use self::cipher::Cipher;
use self::index::{Indices, Reached};

/// How much longer than its plain form a protected packet is at most: a tag of GCM and the index of SRTCP.
pub(crate) const OVERHEAD: usize = 16 + 4;

/// The fixed header of RTP.
const RTP_HEADER: usize = 12;
/// The part of RTCP that stays readable (RFC 3711 §3.4).
const RTCP_HEADER: usize = 8;
/// The index that SRTCP carries, and the bit that says "encrypted".
const RTCP_INDEX: usize = 4;
const ENCRYPTED: u32 = 1 << 31;

/// Why a packet was not turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is no RTP or RTCP packet, or there is no room for its protected form.
    Malformed,
    /// Its tag is not the one that the key makes: somebody else wrote it.
    Forged,
    /// Its index was there already, or is too old to tell.
    Replayed,
    /// The key has protected as many packets as it may (RFC 3711 §9.2).
    Exhausted,
}

/// The protection of one side.
#[derive(Debug)]
pub(crate) struct Srtp {
    keys: SrtpKeys,
    inbound: Direction,
    outbound: Direction,
}

/// What comes from the side, or what goes to it.
#[derive(Debug)]
struct Direction {
    context: Context,
    /// Keys that were used before, the last of them at the end: should one come again, it goes on.
    spent: Vec<(SrtpSuite, MasterKey, Context)>,
}

impl Direction {
    fn new(suite: SrtpSuite, key: &MasterKey) -> Direction {
        Direction { context: Context::new(suite, key), spent: Vec::new() }
    }

    fn rekey(&mut self, (suite, key): (SrtpSuite, &MasterKey), before: (SrtpSuite, &MasterKey)) {
        if (suite, key) == before {
            return;
        }
        let known = self.spent.iter().position(|(of, spent, _)| (*of, spent) == (suite, key));
        let next = known.map(|known| self.spent.remove(known).2);
        let reached = self.context.indices.reached(&self.context.reached);
        let next = next.unwrap_or_else(|| Context { reached, ..Context::new(suite, key) });
        let context = std::mem::replace(&mut self.context, next);
        if self.spent.len() >= MAX_SPENT {
            self.spent.remove(0);
        }
        self.spent.push((before.0, before.1.clone(), context));
    }
}

/// Keys are made for each session of a side; more than this a call does not come back to.
const MAX_SPENT: usize = 8;

impl Srtp {
    pub(crate) fn new(keys: SrtpKeys) -> Srtp {
        let inbound = Direction::new(keys.suite, &keys.inbound);
        let outbound = Direction::new(keys.suite, &keys.outbound);
        Srtp { keys, inbound, outbound }
    }

    /// Takes the keys of a new description. A direction whose key is the same, or one of those before, goes on where it was:
    /// its indices count on (RFC 4568 §7.1.4), and what was there already is not taken again.
    pub(crate) fn rekey(&mut self, keys: &SrtpKeys) {
        let (now, before) = (keys.suite, self.keys.suite);
        self.inbound.rekey((now, &keys.inbound), (before, &self.keys.inbound));
        self.outbound.rekey((now, &keys.outbound), (before, &self.keys.outbound));
        self.keys = keys.clone();
    }

    /// What is done with the keys.
    pub(crate) fn suite(&self) -> SrtpSuite {
        self.keys.suite
    }

    /// For what comes from the side.
    pub(crate) fn inbound(&mut self) -> &mut Context {
        &mut self.inbound.context
    }

    /// For what goes to it.
    pub(crate) fn outbound(&mut self) -> &mut Context {
        &mut self.outbound.context
    }
}

/// One direction of one master key.
#[derive(Debug)]
pub(crate) struct Context {
    rtp: Cipher,
    rtcp: Cipher,
    indices: Indices,
    /// Under the key before this one, of what comes in.
    reached: Reached,
}

impl Context {
    pub(crate) fn new(suite: SrtpSuite, master: &MasterKey) -> Context {
        let [rtp, rtcp] = derive::ciphers(suite, master);
        Context { rtp, rtcp, indices: Indices::default(), reached: Reached::default() }
    }

    /// Encrypts the RTP packet that the first `length` octets of the buffer are; how long it is now.
    pub(crate) fn protect_rtp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, Refused> {
        let Head { header, ssrc, sequence } = Head::of(buffer.get(..length).ok_or(Refused::Malformed)?)?;
        let at = self.indices.sent(ssrc)?.next_rtp(sequence)?;
        if let Some(number) = buffer.get_mut(2..4) {
            number.copy_from_slice(&(at as u16).to_be_bytes());
        }
        self.rtp.seal_rtp(buffer, header, length, ssrc, at)
    }

    /// Takes the protection off an SRTP packet; how long it is now. Nothing is changed for one that is refused, but for
    /// its own octets.
    pub(crate) fn unprotect_rtp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, Refused> {
        let packet = buffer.get_mut(..length).ok_or(Refused::Malformed)?;
        let Head { header, ssrc, sequence } = Head::of(packet)?;
        let Some(source) = self.indices.heard(ssrc) else { return self.unprotect_first(packet) };
        let at = source.rtp.guess(sequence);
        // Before the tag is looked at, which costs more.
        source.rtp.check(at)?;
        let length = self.rtp.open_rtp(packet, header, ssrc, at)?;
        self.indices.enter(ssrc).rtp.note(at);
        Ok(length)
    }

    /// The first packet that is heard of a source. Its numbers may have begun again before, unheard, though they should not
    /// begin where that can be; and of a source that was heard under the key before, the count of those turns must not begin
    /// anew with a key (RFC 3711 §3.3.1), which peers read in two ways.
    fn unprotect_first(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let Head { header, ssrc, sequence } = Head::of(packet)?;
        let at = u64::from(sequence);
        let counts_on = self.reached.guess(ssrc, sequence).filter(|reached| *reached != at);
        let has_turned =
            (sequence < index::BEGUN).then_some(1 << 16 | at).filter(|one| counts_on != Some(*one));
        // What does not come out may have been changed.
        let whole = (counts_on.is_some() || has_turned.is_some()).then(|| packet.to_vec());
        let mut opened = self.rtp.open_rtp(packet, header, ssrc, at).map(|length| (at, length));
        for at in counts_on.into_iter().chain(has_turned) {
            if let (Err(Refused::Forged), Some(whole)) = (&opened, &whole) {
                packet.copy_from_slice(whole);
                opened = self.rtp.open_rtp(packet, header, ssrc, at).map(|length| (at, length));
            }
        }
        let (at, length) = opened?;
        self.indices.enter(ssrc).rtp.note(at);
        Ok(length)
    }

    /// Encrypts the compound RTCP packet that the first `length` octets of the buffer are; how long it is now.
    pub(crate) fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, Refused> {
        let packet = buffer.get(..length).ok_or(Refused::Malformed)?;
        let ssrc = rtcp_ssrc(packet)?;
        let at = self.indices.sent(ssrc)?.next_rtcp().ok_or(Refused::Exhausted)?;
        self.rtcp.seal_rtcp(buffer, length, ssrc, at)
    }

    /// Takes the protection off an SRTCP packet; how long it is now. Control that is not encrypted was not agreed upon
    /// and is refused.
    pub(crate) fn unprotect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, Refused> {
        let packet = buffer.get_mut(..length).ok_or(Refused::Malformed)?;
        let ssrc = rtcp_ssrc(packet)?;
        let word = self.rtcp.rtcp_index(packet).ok_or(Refused::Malformed)?;
        if word & ENCRYPTED == 0 {
            return Err(Refused::Malformed);
        }
        let at = word & !ENCRYPTED;
        if let Some(source) = self.indices.of(ssrc) {
            source.rtcp.check(u64::from(at))?;
        }
        let length = self.rtcp.open_rtcp(packet, ssrc, at)?;
        self.indices.enter(ssrc).rtcp.note(u64::from(at));
        Ok(length)
    }
}

/// What the protection of RTP has to know of a header.
struct Head {
    /// Octets before the payload: fixed header, contributing sources, extension.
    header: usize,
    ssrc: u32,
    sequence: u16,
}

impl Head {
    fn of(packet: &[u8]) -> Result<Head, Refused> {
        let fixed = packet.first_chunk::<RTP_HEADER>().ok_or(Refused::Malformed)?;
        if fixed[0] >> 6 != 2 {
            return Err(Refused::Malformed);
        }
        let mut header = RTP_HEADER + usize::from(fixed[0] & 0x0f) * 4;
        if fixed[0] & 0x10 != 0 {
            let extension = packet.get(header..).and_then(|rest| rest.first_chunk::<4>());
            let &[_, _, high, low] = extension.ok_or(Refused::Malformed)?;
            header += 4 + usize::from(u16::from_be_bytes([high, low])) * 4;
        }
        if header > packet.len() {
            return Err(Refused::Malformed);
        }
        let &[_, _, high, low, _, _, _, _, s0, s1, s2, s3] = fixed;
        Ok(Head {
            header,
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
            sequence: u16::from_be_bytes([high, low]),
        })
    }
}

fn rtcp_ssrc(packet: &[u8]) -> Result<u32, Refused> {
    let &[first, _, _, _, s0, s1, s2, s3] = packet.first_chunk::<RTCP_HEADER>().ok_or(Refused::Malformed)?;
    if first >> 6 != 2 {
        return Err(Refused::Malformed);
    }
    Ok(u32::from_be_bytes([s0, s1, s2, s3]))
}

#[cfg(test)]
mod tests;
