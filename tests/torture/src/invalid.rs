//! What is wrong (RFC 4475 §3.1.2, and the faulty ones of §3.2 and §3.3).

use crate::{Case, Treated};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "extra-separators",
        section: "3.1.2.1",
        treated: Treated::Answered(400, "Bad Via Header"),
        template: b"INVITE sip:1212@{host} SIP/2.0
Via: SIP/2.0/UDP {sender}:5060;;branch=z9hG4bKseparators,;,,
Max-Forwards: 70
{from}
To: sip:1212@{host};;;
{id}
CSeq: 1 INVITE
Contact: \"Ada\" <sip:ada@{sender}:5060>;;,,;,
{offer}",
    },
    Case {
        name: "length-too-large",
        section: "3.1.2.2",
        treated: Treated::Answered(400, "Body Shorter Than Content-Length"),
        template: b"INVITE sip:1212@{host} SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 2 INVITE
{contact}
Content-Type: application/sdp
Content-Length: 5000

v=0
o=- 11 1 IN IP4 {sender}
s=-
c=IN IP4 {sender}
t=0 0
m=audio 7000 RTP/AVP 8
",
    },
    Case {
        name: "length-negative",
        section: "3.1.2.3",
        treated: Treated::Answered(400, "Bad Content-Length Header"),
        template: b"INVITE sip:1212@{host} SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 3 INVITE
{contact}
Content-Type: application/sdp
Content-Length: -7

v=0
",
    },
    Case {
        name: "numbers-too-large",
        section: "3.1.2.4",
        treated: Treated::Answered(400, "Bad Max-Forwards Header"),
        template: b"REGISTER sip:{host} SIP/2.0
Via: SIP/2.0/UDP {sender}:5060;branch=z9hG4bKnumbers
Max-Forwards: 256
From: <sip:large@{host}>;tag=large
To: <sip:large@{host}>
{id}
CSeq: 18446744073709551616 REGISTER
Expires: 1000000000000000000000000
Contact: <sip:large@{sender}>;expires=4294967297
Content-Length: 0

",
    },
    Case {
        name: "response-numbers-too-large",
        section: "3.1.2.5",
        treated: Treated::Dropped,
        template: b"SIP/2.0 503 Service Unavailable
{via}
{from}
{to}
{id}
CSeq: 18446744073709551617 INVITE
Retry-After: 999999999999999999999999
Warning: 70000 elsewhere \"too large\"
Content-Length: 0

",
    },
    Case {
        name: "open-quote",
        section: "3.1.2.6",
        treated: Treated::Answered(400, "Bad To Header"),
        template: b"INVITE sip:1212@{host} SIP/2.0
{via}
{from}
To: \"No end <sip:1212@{host}>
{id}
CSeq: 6 INVITE
{contact}
{offer}",
    },
    Case {
        name: "brackets-around-the-target",
        section: "3.1.2.7",
        treated: Treated::Answered(400, "Bad Request-URI"),
        template: b"INVITE <sip:1212@{host}> SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 7 INVITE
{contact}
{offer}",
    },
    Case {
        name: "blank-in-the-target",
        section: "3.1.2.8",
        treated: Treated::Answered(400, "Bad Request-URI"),
        template: b"INVITE sip:1212@{host}; lr SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 8 INVITE
{contact}
{offer}",
    },
    Case {
        name: "wide-request-line",
        section: "3.1.2.9",
        treated: Treated::Answered(400, "Bad Request Line"),
        template: b"INVITE  sip:1212@{host}  SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 9 INVITE
{contact}
{offer}",
    },
    Case {
        name: "blanks-behind-the-version",
        section: "3.1.2.10",
        treated: Treated::Answered(400, "Bad Request Line"),
        template: b"OPTIONS sip:1212@{host} SIP/2.0  \n{via}
{from}
{to}
{id}
CSeq: 10 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "headers-in-the-target",
        section: "3.1.2.11",
        treated: Treated::Answered(400, "Bad Request-URI"),
        template: b"INVITE sip:1212@{host}?Subject=hello SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 11 INVITE
{contact}
{offer}",
    },
    Case {
        name: "clock-elsewhere",
        section: "3.1.2.12",
        treated: Treated::Answered(400, "Bad Date Header"),
        template: b"INVITE sip:1212@{host} SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 12 INVITE
Date: Sat, 21 Nov 2026 07:00:00 CET
{contact}
{offer}",
    },
    Case {
        name: "bare-headers-in-a-contact",
        section: "3.1.2.13",
        treated: Treated::Answered(400, "Bad Contact Header"),
        template: b"REGISTER sip:{host} SIP/2.0
{via}
From: sip:bare@{host};tag=bare
To: sip:bare@{host}
{id}
CSeq: 13 REGISTER
Contact: sip:bare@{sender}?Subject=hello
Content-Length: 0

",
    },
    Case {
        name: "blanks-in-an-address",
        section: "3.1.2.14",
        treated: Treated::Answered(400, "Bad To Header"),
        template: b"OPTIONS sip:1212@{host} SIP/2.0
{via}
{from}
To: \"There, Over\" < sip:1212@{host} >
{id}
CSeq: 14 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "comma-in-a-bare-name",
        section: "3.1.2.15",
        treated: Treated::Answered(400, "Bad From Header"),
        template: b"OPTIONS sip:1212@{host} SIP/2.0
{via}
From: Lovelace, Ada <sip:ada@{sender}>;tag=comma
{to}
{id}
CSeq: 15 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "version-of-tomorrow",
        section: "3.1.2.16",
        treated: Treated::Answered(505, "Version Not Supported"),
        template: b"OPTIONS sip:1212@{host} SIP/3.1
{via}
{from}
{to}
{id}
CSeq: 16 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "another-method-in-cseq",
        section: "3.1.2.17",
        treated: Treated::Answered(400, "Bad CSeq Header"),
        template: b"OPTIONS sip:1212@{host} SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 17 INVITE
Content-Length: 0

",
    },
    Case {
        name: "unknown-method-and-another-in-cseq",
        section: "3.1.2.18",
        treated: Treated::Answered(400, "Bad CSeq Header"),
        template: b"FETCH sip:1212@{host} SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 18 INVITE
{contact}
{offer}",
    },
    Case {
        name: "code-too-large",
        section: "3.1.2.19",
        treated: Treated::Dropped,
        template: b"SIP/2.0 4294967496 taken for two hundred
{via}
{from}
{to}
{id}
CSeq: 1 INVITE
Contact: <sip:bob@{sender}:5060>
{offer}",
    },
    Case {
        name: "cookie-alone",
        section: "3.2.1",
        treated: Treated::Answered(400, "Bad Via Header"),
        template: b"OPTIONS sip:1212@{host} SIP/2.0
Via: SIP/2.0/UDP {sender}:5060;branch=z9hG4bK
Max-Forwards: 70
{from}
{to}
{id}
CSeq: 20 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "next-to-nothing",
        section: "3.3.1",
        treated: Treated::Answered(400, "Missing From Header"),
        template: b"INVITE sip:1212@{host} SIP/2.0
{via}
CSeq: 31 INVITE
Content-Type: application/sdp
Content-Length: {length}

v=0
",
    },
    Case {
        name: "said-twice",
        section: "3.3.8",
        treated: Treated::Answered(400, "Repeated From Header"),
        template: b"INVITE sip:1212@{host} SIP/2.0
{via}
From: <sip:ada@{sender}>;tag=one
From: <sip:eve@{sender}>;tag=two
To: <sip:1212@{host}>
To: <sip:1313@{host}>
Call-ID: once@{sender}
Call-ID: twice@{sender}
CSeq: 38 INVITE
CSeq: 39 INVITE
Max-Forwards: 5
{contact}
{offer}",
    },
    Case {
        name: "two-lengths",
        section: "3.3.9",
        treated: Treated::Answered(400, "Repeated Content-Length Header"),
        template: b"OPTIONS sip:1212@{host} SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 39 OPTIONS
Content-Length: 13
Content-Type: text/plain
Content-Length: 5

One or other?",
    },
    Case {
        name: "answer-for-somebody-else",
        section: "3.3.10",
        treated: Treated::Dropped,
        template: b"SIP/2.0 200 OK
{via}
Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKbroadcast
{from}
{to}
{id}
CSeq: 1 INVITE
Contact: <sip:bob@{sender}:5060>
{offer}",
    },
];
