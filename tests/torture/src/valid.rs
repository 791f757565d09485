//! What is legal and looks as if it were not (RFC 4475 §3.1.1, and the requests of §3.2 to §3.4 that are in order).

use crate::{Case, Treated};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "crooked",
        section: "3.1.1.1",
        treated: Treated::Crosses,
        template: b"INVITE sip:1212@{host};odd-parameter SIP/2.0
TO :
 sip:1212@{host}
from   : \"N. O. \\\\ \\\"Body\\\"\"       <sip:nobody@{sender}>
  ;
  tag = crooked
MaX-fOrWaRdS: 0042
i: crooked@{sender}
Content-Length   : {length}
cseq: 000007
  INVITE
v:  SIP  / 2.0
 /UDP
    {sender}:5060;branch=z9hG4bKcrooked
s :
X-New:   first
 second
   third
X-Odd-Value: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:edge.example.org;lr;more=route;than=known>
v:  SIP  / 2.0  / TCP     other.example.org   ;
  branch  =   z9hG4bKsecond  , SIP  /    2.0   / UDP  192.0.2.44 ; branch=
 z9hG4bKthird
m:\"Long \\\"Way\\\" Round\" <sip:nobody@{sender}:5060> ; odd = 1 ;
 odder = \"a ; b, c \" ; flag

v=0
o=- 11 1 IN IP4 {sender}
s=-
c=IN IP4 {sender}
t=0 0
m=audio 7000 RTP/AVP 8
",
    },
    Case {
        name: "odd-method",
        section: "3.1.1.2",
        treated: Treated::Answered(501, "Not Implemented"),
        template: b"Do.%~what'*+`_-I!mean0 sip:odd~(user)&x=y+z$/,;?*:pass(!)w*@{host} SIP/2.0
Via: SIP/2.0/UDP {sender}:5060;branch=z9hG4bK.odd!%~*_+`'-
Max-Forwards: 255
From: odd.token!%*_+'~ <sip:ada@{sender}>;tag=_token~1'+`*%!.
To: \"tab:\\\t nul:\\\x00 del:\\\x7f\" <sip:odd~(user)&x=y+z$/,;?*:pass(!)w*@{host}>
Call-ID: odd%word(<>)\\:/[]?{}.\"~@{sender}
CSeq: 4711 Do.%~what'*+`_-I!mean0
X.Odd!%*_+`'~Name: a \xce\xb2
Content-Length: 0

",
    },
    Case {
        name: "escapes",
        section: "3.1.1.3",
        treated: Treated::Crosses,
        template: b"INVITE sip:sip%3A1212%40inner.example@{host} SIP/2.0
{via}
From: <sip:%61d%61@{sender}>;tag=with%20percent
To: sip:%31212@{host}
{id}
CSeq: 1 INVITE
Contact: <sip:c%61ller@{sender}:5060;%6cr;n%61me=v%61lue%25%34%31>
X-Escapes: 100%25
{offer}",
    },
    Case {
        name: "escaped-nulls",
        section: "3.1.1.4",
        treated: Treated::Registers(&["<sip:%00@{sender}>", "<sip:%00%00@{sender}>"]),
        template: b"REGISTER sip:{host} SIP/2.0
{via}
From: sip:nul-%00-nul@{host};tag=nulls
To: sip:nul-%00-nul@{host}
{id}
CSeq: 3 REGISTER
Contact: <sip:%00@{sender}>
Contact: <sip:%00%00@{sender}>
Content-Length: 0

",
    },
    Case {
        name: "percent-method",
        section: "3.1.1.5",
        treated: Treated::Answered(501, "Not Implemented"),
        template: b"IN%56ITE sip:1212@{host} SIP/2.0
{via}
From: \"%Q%41\" <sip:ada@{sender}>;tag=p%65r
{to}
{id}
CSeq: 9 IN%56ITE
Contact: <sip:ada@{sender}:5060>
Content-Length: 0

",
    },
    Case {
        name: "tight-names",
        section: "3.1.1.6",
        treated: Treated::Crosses,
        template: b"OPTIONS sip:1212@{host} SIP/2.0
{via}
From: ada<sip:ada@{sender}>;tag=tight
To: there<sip:1212@{host}>
{id}
CSeq: 60 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "long-values",
        section: "3.1.1.7",
        treated: Treated::Crosses,
        template: b"INVITE sip:1212@{host} SIP/2.0
Via: SIP/2.0/UDP {sender}:5060;branch=z9hG4bKlong-values;longparameterlongparameterlongparameterlongparameter=longvalue\
longvaluelongvaluelongvaluelongvaluelongvaluelongvaluelongvaluelongvaluelongvaluelongvaluelongvaluelongvaluelongvalue
Via: SIP/2.0/TCP h1.example.org, SIP/2.0/TCP h2.example.org, SIP/2.0/TCP h3.example.org, SIP/2.0/TCP h4.example.org,
 SIP/2.0/TCP h5.example.org, SIP/2.0/TCP h6.example.org, SIP/2.0/TCP h7.example.org, SIP/2.0/TCP h8.example.org,
 SIP/2.0/TCP h9.example.org, SIP/2.0/TCP h10.example.org, SIP/2.0/TCP h11.example.org, SIP/2.0/TCP h12.example.org,
 SIP/2.0/TCP h13.example.org, SIP/2.0/TCP h14.example.org, SIP/2.0/TCP h15.example.org, SIP/2.0/TCP h16.example.org,
 SIP/2.0/TCP h17.example.org, SIP/2.0/TCP h18.example.org, SIP/2.0/TCP h19.example.org, SIP/2.0/TCP h20.example.org
Max-Forwards: 70
From: sip:adaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaadaada@{sender}
 ;tag=tagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtagtag
 ;unknownunknownunknownunknownunknownunknownunknown=valuevaluevaluevaluevaluevaluevaluevaluevaluevalue
To: \"A name that goes on and on and on and on and on and on and on and on and on and on and on\"<sip:1212@{host}>
Call-ID: longlonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglonglong@{sender}
CSeq: 3882340 INVITE
Contact: <sip:{sender}:5060;mm=averyveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryverylongparameter>
X-Unknown-Unknown-Unknown-Unknown-Unknown-Unknown-Unknown-Unknown-Unknown: value value value value value value
 value value value value value value value value value value value value value value value value value value
{offer}",
    },
    Case {
        name: "second-behind",
        section: "3.1.1.8",
        treated: Treated::Registers(&["<sip:second@{sender}>"]),
        template: b"REGISTER sip:{host} SIP/2.0
{via}
From: sip:second@{host};tag=behind
To: sip:second@{host}
{id}
CSeq: 8 REGISTER
Contact: <sip:second@{sender}>
Content-Length: 0


INVITE sip:1212@{host} SIP/2.0
{via}
From: sip:second@{host};tag=behind
To: sip:1212@{host}
Call-ID: behind@{sender}
CSeq: 1 INVITE
Contact: <sip:second@{sender}>
Content-Length: 0

",
    },
    Case {
        name: "semicolon-user",
        section: "3.1.1.9",
        treated: Treated::Crosses,
        template: b"OPTIONS sip:1212;phone-context=%40inner@{host} SIP/2.0
{via}
{from}
To: sip:1212@{host}
{id}
CSeq: 8 OPTIONS
Accept: application/sdp, application/pkcs7-mime,
 multipart/mixed, message/sip
Content-Length: 0

",
    },
    Case {
        name: "every-transport",
        section: "3.1.1.10",
        treated: Treated::Crosses,
        template: b"OPTIONS sip:1212@{host} SIP/2.0
{via}
Via: SIP/2.0/SCTP two.example.org;branch=z9hG4bKtwo
Via: SIP/2.0/TLS three.example.org;branch=z9hG4bKthree
Via: SIP/2.0/PIGEON four.example.org;branch=z9hG4bKfour
Via: SIP/2.0/TCP five.example.org;branch=z9hG4bKfive
{from}
{to}
{id}
CSeq: 10 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "binary-parts",
        section: "3.1.1.11",
        treated: Treated::Crosses,
        template: b"MESSAGE sip:1212@{host} SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 11 MESSAGE
MIME-Version: 1.0
Content-Type: multipart/mixed;boundary=\"= of :two\"
Content-Length: {length}

--= of :two
Content-Type: text/plain
Content-Transfer-Encoding: binary

Words
--= of :two
Content-Type: application/octet-stream
Content-Transfer-Encoding: binary

0\x82\x01\x00\x06\xff\xfe\x00--\x00= of\r\x80SIP/2.0\x1a
--= of :two--",
    },
    Case {
        name: "odd-words",
        section: "3.1.1.12",
        treated: Treated::CarriedBack(200, "= 2*100, \u{434}\u{432}\u{435}\u{441}\u{442}\u{438}: \"ok\" % \\"),
        template: b"SIP/2.0 200 = 2*100, \xd0\xb4\xd0\xb2\xd0\xb5\xd1\x81\xd1\x82\xd0\xb8: \"ok\" % \\
{via}
{from}
{to}
{id}
CSeq: 1 INVITE
Contact: <sip:bob@{sender}:5060>
{offer}",
    },
    Case {
        name: "no-words",
        section: "3.1.1.13",
        treated: Treated::CarriedBack(486, ""),
        template: b"SIP/2.0 486 \n{via}
{from}
{to}
{id}
CSeq: 1 INVITE
Contact: <sip:bob@{sender}:5060>
Content-Length: 0

",
    },
    Case {
        name: "unknown-scheme",
        section: "3.3.2",
        treated: Treated::Answered(416, "Unsupported URI Scheme"),
        template: b"OPTIONS pigeon:coop-seven SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 32 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "scheme-of-its-own",
        section: "3.3.3",
        treated: Treated::Answered(416, "Unsupported URI Scheme"),
        template: b"OPTIONS xmlrpc.beep://192.0.2.44:3002 SIP/2.0
{via}
{from}
To: sip:1212@{host}
{id}
CSeq: 33 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "schemes-elsewhere",
        section: "3.3.4",
        treated: Treated::Answered(400, "Bad To Header"),
        template: b"REGISTER sip:{host} SIP/2.0
{via}
From: <https://example.org/ada>;tag=schemes
To: urn:isbn:0451450523
{id}
CSeq: 34 REGISTER
Contact: <callto:ada>
Content-Length: 0

",
    },
    Case {
        name: "unknown-extensions",
        section: "3.3.5",
        treated: Treated::Answered(420, "Bad Extension"),
        template: b"OPTIONS sip:1212@{host} SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 35 OPTIONS
Require: nobody-has-this, nor-this
Proxy-Require: no-proxy-has-this
Content-Length: 0

",
    },
    Case {
        name: "unknown-content",
        section: "3.3.6",
        treated: Treated::Answered(415, "Unsupported Media Type"),
        template: b"INVITE sip:1212@{host} SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 36 INVITE
{contact}
Content-Type: application/x-nobody-knows
Content-Length: {length}

<sound codec=\"8\" port=\"7000\"/>
",
    },
    Case {
        name: "unknown-login",
        section: "3.3.7",
        treated: Treated::Registers(&["<sip:login@{sender}>"]),
        template: b"REGISTER sip:{host} SIP/2.0
{via}
From: <sip:login@{host}>;tag=login
To: <sip:login@{host}>
{id}
CSeq: 37 REGISTER
Contact: <sip:login@{sender}>
Authorization: Handshake strength=firm, hand=\"left, or right\"
Content-Length: 0

",
    },
    Case {
        name: "no-hops",
        section: "3.3.11",
        treated: Treated::Answered(483, "Too Many Hops"),
        template: b"OPTIONS sip:1212@{host} SIP/2.0
Via: SIP/2.0/UDP {sender}:5060;branch=z9hG4bKno-hops
Max-Forwards: 0
{from}
{to}
{id}
CSeq: 41 OPTIONS
Content-Length: 0

",
    },
    Case {
        name: "contact-parameter",
        section: "3.3.12",
        treated: Treated::Registers(&["<sip:outside@{sender}>"]),
        template: b"REGISTER sip:{host} SIP/2.0
{via}
From: sip:outside@{host};tag=outside
To: sip:outside@{host}
{id}
CSeq: 42 REGISTER
Contact: sip:outside@{sender};unknown
Content-Length: 0

",
    },
    Case {
        name: "uri-parameter",
        section: "3.3.13",
        treated: Treated::Registers(&["<sip:inside@{sender};unknown>"]),
        template: b"REGISTER sip:{host} SIP/2.0
{via}
From: sip:inside@{host};tag=inside
To: sip:inside@{host}
{id}
CSeq: 43 REGISTER
Contact: <sip:inside@{sender};unknown>
Content-Length: 0

",
    },
    Case {
        name: "escaped-header",
        section: "3.3.14",
        treated: Treated::Registers(&["<sip:headers@{sender}?Route=%3Csip:edge.example.org%3E>"]),
        template: b"REGISTER sip:{host} SIP/2.0
{via}
From: sip:headers@{host};tag=headers
To: sip:headers@{host}
{id}
CSeq: 44 REGISTER
Contact: <sip:headers@{sender}?Route=%3Csip:edge.example.org%3E>
Content-Length: 0

",
    },
    Case {
        name: "takes-no-description",
        section: "3.3.15",
        treated: Treated::Answered(406, "Not Acceptable"),
        template: b"INVITE sip:1212@{host} SIP/2.0
{via}
{from}
{to}
{id}
CSeq: 45 INVITE
{contact}
Accept: text/x-nobody-reads
{offer}",
    },
    Case {
        name: "old-caller",
        section: "3.4.1",
        treated: Treated::Crosses,
        template: b"INVITE sip:1212@{host} SIP/2.0
Via: SIP/2.0/UDP {sender}:5060
From: <sip:ada@{sender};user=phone>
To: sip:1212@{host};user=phone
{id}
CSeq: 51 INVITE
Record-Route: <sip:1212@{host};maddr={sender}>
{offer}",
    },
];
