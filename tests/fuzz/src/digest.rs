//! Digest: what one side writes the other reads, a right password is right and a wrong one wrong, no nonce is believed
//! that was not issued.

use std::time::Duration;

use sip::{Authorization, Challenge, NonceCheck, Nonces, Time, Uri};

/// A value of one of the four headers, and behind a line end the URI that is asked for.
pub(crate) fn check(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let value = lines.next().unwrap_or_default();
    let uri = lines.next().filter(|uri| Uri::parse(uri).is_ok()).unwrap_or(b"sip:b@biloxi.example");
    if let Ok(challenge) = Challenge::parse(value) {
        let written = challenge.write();
        assert_eq!(Challenge::parse(&written), Ok(challenge.clone()), "{}", written.escape_ascii());
        assert_eq!(Challenge::best([value, &written]), Some(challenge.clone()));
        is_answered(&challenge, uri);
    }
    if let Ok(given) = Authorization::parse(value) {
        assert!(!given.verify("a password that nobody has", b"INVITE"));
        is_judged(&given.nonce);
    }
    is_judged(value);
}

fn is_answered(challenge: &Challenge, uri: &[u8]) {
    let value = challenge.authorize("ada", "wonder \"land\\", b"REGISTER", uri, "c0ffee", 0x0a);
    let given = Authorization::parse(&value).expect("our answer is readable");
    assert_eq!((&*given.username, &*given.realm), (&b"ada"[..], &*challenge.realm));
    assert_eq!((&*given.nonce, given.opaque.as_deref()), (&*challenge.nonce, challenge.opaque.as_deref()));
    assert_eq!(given.algorithm, challenge.algorithm);
    assert_eq!(given.nc, challenge.qop_auth.then_some(0x0a));
    assert!(given.verify("wonder \"land\\", b"REGISTER"), "{}", value.escape_ascii());
    assert!(!given.verify("wonderland", b"REGISTER") && !given.verify("wonder \"land\\", b"INVITE"));
}

/// A nonce is what was issued, to the last digit, and nothing else.
fn is_judged(nonce: &[u8]) {
    let nonces = Nonces::new([7; 32]);
    let (now, lifetime) = (Time::from_micros(77_000_000), Duration::from_secs(60));
    assert_eq!(nonces.check(nonce, now, lifetime), NonceCheck::Forged);
    let mut issued = nonces.issue(now).into_bytes();
    assert_eq!(nonces.check(&issued, now, lifetime), NonceCheck::Fresh);
    let place = nonce.first().map_or(0, |byte| usize::from(*byte)) % issued.len();
    issued[place] ^= nonce.last().copied().unwrap_or(0) | 1;
    assert_eq!(nonces.check(&issued, now, lifetime), NonceCheck::Forged);
}
