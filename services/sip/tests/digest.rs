//! Digest authentication: the RFCs' own examples, both ends against each other, and what is turned away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use sip::{Algorithm, Authorization, Challenge, NonceCheck, Nonces, Time};

fn challenge(algorithm: Algorithm) -> Challenge {
    Challenge {
        realm: b"example.org".as_slice().into(),
        nonce: b"abc123".as_slice().into(),
        opaque: None,
        algorithm,
        qop_auth: true,
        stale: false,
    }
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8(value).unwrap()
}

#[test]
fn rfc_2617_section_3_5() {
    let challenge = Challenge::parse(
        br#"Digest realm="testrealm@host.com", qop="auth,auth-int",
            nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#,
    )
    .unwrap();
    let value = challenge.authorize("Mufasa", "Circle Of Life", b"GET", b"/dir/index.html", "0a4f113b", 1);
    assert_eq!(
        text(value),
        "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", \
         response=\"6629fae49393a05397450978507c4ef1\", algorithm=MD5, cnonce=\"0a4f113b\", \
         opaque=\"5ccc069c403ebaf9f0171e9517f40e41\", qop=auth, nc=00000001"
    );
}

#[test]
fn rfc_7616_section_3_9_1() {
    let challenges: [&[u8]; 2] = [
        br#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256,
            nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#,
        br#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5,
            nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#,
    ];
    let responses = [
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        "8ca523f5e9506fed4657c9700eebdbec",
    ];
    for (value, response) in challenges.into_iter().zip(responses) {
        let challenge = Challenge::parse(value).unwrap();
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let credentials =
            challenge.authorize("Mufasa", "Circle of Life", b"GET", b"/dir/index.html", cnonce, 1);
        assert!(text(credentials.clone()).contains(&format!("response=\"{response}\"")));
        let read = Authorization::parse(&credentials).unwrap();
        assert!(read.verify("Circle of Life", b"GET"));
        assert!(!read.verify("Circle Of Life", b"GET"));
        assert!(!read.verify("Circle of Life", b"POST"));
    }
}

#[test]
fn every_algorithm_with_and_without_quality_of_protection_is_proved_and_believed() {
    for algorithm in [Algorithm::Md5, Algorithm::Md5Sess, Algorithm::Sha256, Algorithm::Sha256Sess] {
        for qop_auth in [true, false] {
            let sent = Challenge { qop_auth, stale: true, ..challenge(algorithm) };
            let received = Challenge::parse(&sent.write()).unwrap();
            assert_eq!(received, sent);
            let value = received.authorize("alice", "secret", b"INVITE", b"sip:bob@example.org", "c", 10);
            let proof = Authorization::parse(&value).unwrap();
            assert_eq!(proof.algorithm, algorithm);
            assert_eq!(proof.nc, qop_auth.then_some(10));
            assert_eq!(proof.qop.is_some(), qop_auth);
            assert!(proof.verify("secret", b"INVITE"), "{algorithm:?}, qop {qop_auth}");
            assert!(!proof.verify("Secret", b"INVITE"), "{algorithm:?}, qop {qop_auth}");
        }
    }
}

/// The numbers were computed with Python's hashlib.
#[test]
fn the_ways_without_an_example_in_an_rfc_agree_with_another_implementation() {
    let response = |challenge: Challenge| {
        let value = challenge.authorize("alice", "secret", b"INVITE", b"sip:b@h", "c", 1);
        text(Authorization::parse(&value).unwrap().response.to_vec())
    };
    assert_eq!(response(challenge(Algorithm::Md5Sess)), "ccd5a24b0001561715e07eb96395048e");
    assert_eq!(
        response(challenge(Algorithm::Sha256Sess)),
        "b8885eaa185f140ef9ce299a6cdd2ba6c3a4cc28f94741e2bd8623247f51b462"
    );
    let without_qop = Challenge { qop_auth: false, ..challenge(Algorithm::Md5) };
    assert_eq!(response(without_qop), "27a6d30b08dce50469cbbc6582ce89dd");
}

#[test]
fn nc_counts_in_hex() {
    let value = challenge(Algorithm::Md5).authorize("alice", "secret", b"INVITE", b"sip:b@h", "c", 0x1_f0a);
    assert!(text(value.clone()).ends_with("nc=00001f0a"));
    assert_eq!(Authorization::parse(&value).unwrap().nc, Some(0x1_f0a));
    let nc = |nc: &str| {
        let value =
            format!("Digest username=a, realm=r, nonce=n, uri=u, response=x, qop=auth, cnonce=c, nc={nc}");
        Authorization::parse(value.as_bytes()).ok().map(|read| read.nc)
    };
    assert_eq!(nc("0000000A"), Some(Some(10)));
    assert_eq!(nc("ffffffff"), Some(Some(u32::MAX)));
    for wrong in ["", "100000000", "+0000001", "0x000001", "one"] {
        assert_eq!(nc(wrong), None, "{wrong}");
    }
}

#[test]
fn the_uri_is_hashed_as_it_is_written() {
    let odd = b"sip:Bob%41@EXAMPLE.org:5060;lr;transport=UDP?a=b";
    let value = challenge(Algorithm::Md5).authorize("alice", "secret", b"INVITE", odd, "c", 1);
    let proof = Authorization::parse(&value).unwrap();
    assert_eq!(proof.uri, odd);
    assert!(proof.verify("secret", b"INVITE"));
    let normalised = text(value).replace("EXAMPLE", "example");
    assert!(!Authorization::parse(normalised.as_bytes()).unwrap().verify("secret", b"INVITE"));
}

#[test]
fn quotes_and_backslashes_in_names_survive_both_ways() {
    let challenge =
        Challenge { realm: br#"the "main" \ realm"#.as_slice().into(), ..challenge(Algorithm::Sha256) };
    assert_eq!(Challenge::parse(&challenge.write()).unwrap(), challenge);
    let value = challenge.authorize(r#"al"ice\"#, "secret", b"REGISTER", b"sip:h", "c", 1);
    assert!(
        text(value.clone()).starts_with(r#"Digest username="al\"ice\\", realm="the \"main\" \\ realm","#)
    );
    let proof = Authorization::parse(&value).unwrap();
    assert_eq!(&*proof.username, br#"al"ice\"#);
    assert!(proof.verify("secret", b"REGISTER"));
}

#[test]
fn the_order_case_and_spacing_of_parameters_do_not_matter() {
    let proof = Authorization::parse(
        b"dIGEST\t ,NC = 00000001 , Qop=\"auth\",CNONCE=c,unknown=\"x, y\",uri=\"sip:h\",\r\n response=R , \
          Realm = \"a, b\",nonce=\"n==\",algorithm=\"md5\", USERNAME=\"u\",,",
    )
    .unwrap();
    assert_eq!((&*proof.username, &*proof.realm, &*proof.nonce), (&b"u"[..], &b"a, b"[..], &b"n=="[..]));
    assert_eq!((proof.algorithm, proof.nc), (Algorithm::Md5, Some(1)));
    assert_eq!(proof.cnonce.as_deref(), Some(&b"c"[..]));
}

#[test]
fn an_upper_case_response_is_as_good() {
    let value = text(challenge(Algorithm::Md5).authorize("alice", "secret", b"BYE", b"sip:h", "c", 1));
    let start = value.find("response=\"").unwrap() + 10;
    let upper =
        format!("{}{}{}", &value[..start], value[start..start + 32].to_uppercase(), &value[start + 32..]);
    assert_ne!(upper, value);
    assert!(Authorization::parse(upper.as_bytes()).unwrap().verify("secret", b"BYE"));
}

#[test]
fn credentials_that_do_not_add_up_are_faults() {
    for wrong in [
        "",
        "Digest",
        "Basic YTpi",
        "Digestusername=a, realm=r, nonce=n, uri=u, response=x",
        "Digest realm=r, nonce=n, uri=u, response=x",
        "Digest username=a, realm=r, uri=u, response=x",
        "Digest username=a, realm=r, nonce=n, uri=u",
        "Digest username=a, username=b, realm=r, nonce=n, uri=u, response=x",
        "Digest username=\"a, realm=r, nonce=n, uri=u, response=x",
        "Digest username=\"a\" b, realm=r, nonce=n, uri=u, response=x",
        "Digest username=a, realm=r, nonce=n, uri=u, response=x, algorithm=SHA-512-256",
        "Digest username=a, realm=r, nonce=n, uri=u, response=x, qop=auth",
        "Digest username=a, realm=r, nonce=n, uri=u, response=x, qop=auth, cnonce=c",
        "Digest username=a, realm=r, nonce=n, uri=u, response=x, algorithm=MD5-sess",
        "Digest username=a realm=r",
        "Digest =a",
    ] {
        let fault = Authorization::parse(wrong.as_bytes()).expect_err(wrong);
        assert_eq!((fault.header, fault.status()), ("Authorization", 400));
    }
}

#[test]
fn integrity_protection_and_truncated_proofs_are_not_believed() {
    let value = text(challenge(Algorithm::Md5).authorize("alice", "secret", b"BYE", b"sip:h", "c", 1));
    let integrity = value.replace("qop=auth", "qop=auth-int");
    assert!(!Authorization::parse(integrity.as_bytes()).unwrap().verify("secret", b"BYE"));
    let proof = Authorization::parse(value.as_bytes()).unwrap();
    for length in 0..proof.response.len() {
        let mut short = proof.clone();
        short.response = &proof.response[..length];
        assert!(!short.verify("secret", b"BYE"), "{length} digits");
    }
}

#[test]
fn the_strongest_challenge_that_can_be_answered_is_picked() {
    let values: [&[u8]; 5] = [
        b"Digest realm=a, nonce=1",
        b"Digest realm=a, nonce=2, algorithm=SHA-512-256",
        b"Digest realm=a, nonce=3, algorithm=SHA-256, qop=\"auth-int\"",
        b"Digest realm=a, nonce=4, algorithm=SHA-256, qop=\"auth-int , auth\"",
        b"Digest realm=a, nonce=5, algorithm=SHA-256",
    ];
    let best = Challenge::best(values).unwrap();
    assert_eq!((&*best.nonce, best.algorithm, best.qop_auth), (&b"4"[..], Algorithm::Sha256, true));
    assert_eq!(&*Challenge::best(values[..2].iter().copied()).unwrap().nonce, b"1");
    assert_eq!(Challenge::best(values[1..3].iter().copied()), None);
}

#[test]
fn a_challenge_needs_a_realm_and_a_nonce() {
    assert!(Challenge::parse(b"Digest nonce=1").is_err());
    assert!(Challenge::parse(b"Digest realm=\"\"").is_err());
    assert!(Challenge::parse(b"Digest realm=a, nonce=1, nonce=2").is_err());
    let plain = Challenge::parse(b"Digest realm=\"\", nonce=1, stale=TRUE").unwrap();
    assert_eq!(
        (&*plain.realm, plain.algorithm, plain.qop_auth, plain.stale),
        (&b""[..], Algorithm::Md5, false, true)
    );
}

#[test]
fn a_nonce_is_known_again_until_it_is_too_old() {
    let nonces = Nonces::new([7; 32]);
    let lifetime = Duration::from_secs(300);
    let issued = Time::from_micros(1_234_567_890);
    let nonce = nonces.issue(issued);
    let check = |nonce: &str, now| nonces.check(nonce.as_bytes(), now, lifetime);
    assert_eq!(check(&nonce, issued), NonceCheck::Fresh);
    assert_eq!(check(&nonce, issued + Duration::from_micros(299_999_999)), NonceCheck::Fresh);
    assert_eq!(check(&nonce, issued + lifetime), NonceCheck::Stale);
    assert_eq!(check(&nonce, Time::ZERO), NonceCheck::Stale, "the clock's origin moved");
}

#[test]
fn a_nonce_that_was_not_issued_here_is_forged() {
    let nonces = Nonces::new([7; 32]);
    let now = Time::from_micros(1_000_000);
    let nonce = nonces.issue(now);
    let check = |nonce: &[u8]| nonces.check(nonce, now, Duration::from_secs(60));
    assert_eq!(check(b""), NonceCheck::Forged);
    assert_eq!(check(Nonces::new([8; 32]).issue(now).as_bytes()), NonceCheck::Forged);
    for at in 0..nonce.len() {
        let mut changed = nonce.clone().into_bytes();
        changed[at] ^= 1;
        assert_eq!(check(&changed), NonceCheck::Forged, "changed at {at}");
        assert_eq!(check(&nonce.as_bytes()[..at]), NonceCheck::Forged, "cut at {at}");
    }
    assert_eq!(check(format!("{nonce}0").as_bytes()), NonceCheck::Forged);
    assert!(!format!("{nonces:?}").contains('7'), "the secret is not for logs");
}

/// A generator that is the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

#[test]
fn no_mutation_panics_or_is_believed() {
    const LIKELY: &[u8] = b"\",\\= ;\r\n\x00\xffaA0";
    let seed = challenge(Algorithm::Sha256Sess).authorize("al\"ice", "secret", b"INVITE", b"sip:b@h", "c", 1);
    let original = Authorization::parse(&seed).unwrap();
    let mut random = Random(0x0dd_ba11_5eed_cafe);
    let mut read = 0;
    for _ in 0..20_000 {
        let mut value = seed.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(value.len());
            match random.below(4) {
                0 => value[at] = LIKELY[random.below(LIKELY.len())],
                1 => value.insert(at, LIKELY[random.below(LIKELY.len())]),
                2 => value.truncate(at.max(1)),
                _ => drop(value.remove(at)),
            }
            if value.is_empty() {
                value.push(b'D');
            }
        }
        let _ = Challenge::parse(&value);
        let Ok(proof) = Authorization::parse(&value) else { continue };
        read += 1;
        // What is not part of the proof may change without harm, and a response in capitals is the same.
        let same_proof = proof.username == original.username
            && proof.realm == original.realm
            && proof.nonce == original.nonce
            && proof.cnonce == original.cnonce
            && proof.uri == original.uri
            && proof.nc == original.nc
            && proof.response.eq_ignore_ascii_case(original.response);
        assert!(same_proof || !proof.verify("secret", b"INVITE"), "{}", String::from_utf8_lossy(&value));
    }
    assert!(read > 1_000, "the mutations must be read at times: {read}");
}

/// No URI has a backslash, and peers write Contacts that do.
#[test]
fn a_uri_that_must_be_escaped_is_hashed_as_it_is_written() {
    let value =
        challenge(Algorithm::Sha256).authorize("ada", "secret", b"BYE", b"sip:a\\b@example.org", "c", 1);
    let given = Authorization::parse(&value).unwrap();
    assert_eq!(given.uri, b"sip:a\\\\b@example.org");
    assert!(given.verify("secret", b"BYE"));
}
