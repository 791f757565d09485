//! IPv6 addresses where they are easily misread (RFC 5118 §4).

use crate::{Case, Treated};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "six-reference",
        section: "RFC 5118 4.1",
        treated: Treated::Registers(&["<sip:six1@[2001:db8:5::1]>"]),
        template: b"REGISTER sip:[2001:db8:5::c] SIP/2.0
Via: SIP/2.0/UDP [2001:db8:5::1]:5060;branch=z9hG4bKsix-reference
Max-Forwards: 70
From: sip:six1@example.org;tag=six1
To: sip:six1@example.org
{id}
CSeq: 1 REGISTER
Contact: \"Six\" <sip:six1@[2001:db8:5::1]>
Content-Length: 0

",
    },
    Case {
        name: "six-without-brackets",
        section: "RFC 5118 4.2",
        treated: Treated::Answered(400, "Bad Request-URI"),
        template: b"REGISTER sip:2001:db8:5::c SIP/2.0
Via: SIP/2.0/UDP [2001:db8:5::1]:5060;branch=z9hG4bKsix-without
Max-Forwards: 70
From: sip:six2@example.org;tag=six2
To: sip:six2@example.org
{id}
CSeq: 1 REGISTER
Contact: <sip:six2@[2001:db8:5::1]>
Content-Length: 0

",
    },
    Case {
        name: "six-port-inside",
        section: "RFC 5118 4.3",
        treated: Treated::Registers(&["<sip:six3@[2001:db8:5::1:5080]>"]),
        template: b"REGISTER sip:[2001:db8:5::c:5060] SIP/2.0
Via: SIP/2.0/UDP [2001:db8:5::1]:5060;branch=z9hG4bKsix-inside
Max-Forwards: 70
From: sip:six3@example.org;tag=six3
To: sip:six3@example.org
{id}
CSeq: 1 REGISTER
Contact: <sip:six3@[2001:db8:5::1:5080]>
Content-Length: 0

",
    },
    Case {
        name: "six-port-outside",
        section: "RFC 5118 4.4",
        treated: Treated::Registers(&["<sip:six4@[2001:db8:5::1]:5080>"]),
        template: b"REGISTER sip:[2001:db8:5::c]:5060 SIP/2.0
Via: SIP/2.0/UDP [2001:db8:5::1]:5060;branch=z9hG4bKsix-outside
Max-Forwards: 70
From: sip:six4@example.org;tag=six4
To: sip:six4@example.org
{id}
CSeq: 1 REGISTER
Contact: <sip:six4@[2001:db8:5::1]:5080>
Content-Length: 0

",
    },
    Case {
        name: "six-received-in-brackets",
        section: "RFC 5118 4.5",
        treated: Treated::Crosses,
        template: b"OPTIONS sip:1212@[2001:db8:5::c] SIP/2.0
Via: SIP/2.0/UDP [2001:db8:5::1]:5060;received=[2001:db8:5::9];branch=z9hG4bKsix-in-brackets
Max-Forwards: 70
From: sip:six@example.org;tag=six5
To: sip:1212@example.org
{id}
CSeq: 1 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "six-received-bare",
        section: "RFC 5118 4.5",
        treated: Treated::Crosses,
        template: b"OPTIONS sip:1212@[2001:db8:5::c] SIP/2.0
Via: SIP/2.0/UDP [2001:db8:5::1]:5060;received=2001:db8:5::9;branch=z9hG4bKsix-bare
Max-Forwards: 70
From: sip:six@example.org;tag=six6
To: sip:1212@example.org
{id}
CSeq: 1 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "six-in-a-description",
        section: "RFC 5118 4.6",
        treated: Treated::Crosses,
        template: b"INVITE sip:1212@[2001:db8:5::c] SIP/2.0
Via: SIP/2.0/UDP [2001:db8:5::1]:5060;branch=z9hG4bKsix-description
Max-Forwards: 70
From: sip:six@example.org;tag=six7
To: sip:1212@[2001:db8:5::c]
{id}
CSeq: 1 INVITE
Contact: \"Six\" <sip:six@[2001:db8:5::1]>
Content-Type: application/sdp
Content-Length: {length}

v=0
o=six 97 2 IN IP6 2001:db8:5::1
s=six
c=IN IP6 2001:db8:5::1
t=0 0
m=audio 6000 RTP/AVP 2
a=rtpmap:2 G726-32/8000
m=video 6024 RTP/AVP 107
a=rtpmap:107 H263-1998/90000
",
    },
    Case {
        name: "six-and-four-in-headers",
        section: "RFC 5118 4.7",
        treated: Treated::Crosses,
        template: b"MESSAGE sip:1212@{host} SIP/2.0
Via: SIP/2.0/UDP [2001:db8:5::1]:5060;branch=z9hG4bKsix-and-four
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKfour
Via: SIP/2.0/TCP [2001:db8:5::7];branch=z9hG4bKsixagain;received=192.0.2.8
Max-Forwards: 70
From: sip:six@example.org;tag=six8
To: sip:1212@example.org
{id}
CSeq: 6187 MESSAGE
Content-Type: text/plain
Content-Length: {length}

four and six",
    },
    Case {
        name: "six-and-four-in-a-description",
        section: "RFC 5118 4.8",
        treated: Treated::Crosses,
        template: b"INVITE sip:1212@[2001:db8:5::c] SIP/2.0
Via: SIP/2.0/UDP [2001:db8:5::1]:5060;branch=z9hG4bKsix-mixed
Max-Forwards: 70
From: sip:six@example.org;tag=six9
To: sip:1212@[2001:db8:5::c]
{id}
CSeq: 1 INVITE
Contact: \"Six\" <sip:six@[2001:db8:5::1]>
Content-Type: application/sdp
Content-Length: {length}

v=0
o=six 97 2 IN IP6 host.example.org
s=six
t=0 0
m=audio 20000 RTP/AVP 0
c=IN IP4 192.0.2.7
a=rtpmap:0 PCMU/8000
m=video 6024 RTP/AVP 107
c=IN IP6 2001:db8:5::1
a=rtpmap:107 H263-1998/90000
",
    },
    Case {
        name: "six-that-maps-four",
        section: "RFC 5118 4.9",
        treated: Treated::Crosses,
        template: b"INVITE sip:1212@{host} SIP/2.0
Via: SIP/2.0/UDP [::ffff:192.0.2.10]:5060;branch=z9hG4bKsix-maps
Via: SIP/2.0/UDP [::ffff:192.0.2.2];branch=z9hG4bKmapped
Max-Forwards: 70
From: sip:six@example.org;tag=six10
To: sip:1212@example.org
{id}
CSeq: 612 INVITE
Contact: \"Mapped\" <sip:six@[::ffff:192.0.2.2]>
Content-Type: application/sdp
Content-Length: {length}

v=0
o=six 97 0 IN IP6 ::ffff:192.0.2.2
s=six
c=IN IP6 ::ffff:192.0.2.2
t=0 0
m=audio 6000 RTP/AVP 2
a=rtpmap:2 G726-32/8000
",
    },
    Case {
        name: "six-with-three-colons",
        section: "RFC 5118 4.10",
        treated: Treated::Crosses,
        template: b"OPTIONS sip:1212@[2001:db8:5:::192.0.2.1] SIP/2.0
{via}
From: sip:six@example.org;tag=six11
To: sip:1212@[2001:db8:5:::192.0.2.1]
{id}
CSeq: 689 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "six-with-two-colons",
        section: "RFC 5118 4.10",
        treated: Treated::Crosses,
        template: b"OPTIONS sip:1212@[2001:db8:5::192.0.2.1] SIP/2.0
{via}
From: sip:six@example.org;tag=six12
To: sip:1212@[2001:db8:5::192.0.2.1]
{id}
CSeq: 690 OPTIONS
Content-Length: 0

",
    },
];
