//! Lines of a zone as records.

use std::str::FromStr;

use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};

/// `owner ttl KIND data`, one a line; empty lines and what begins with `;` say nothing.
pub(crate) fn records(zone: &str) -> Vec<Record> {
    zone.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(';'))
        .map(record)
        .collect()
}

fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [owner, ttl, kind, data @ ..] = &words[..] else { panic!("no record: {line}") };
    let number = |at: usize| number(data[at]);
    let data = match *kind {
        "A" => RData::A(A(data[0].parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(data[0].parse().unwrap())),
        "CNAME" => RData::CNAME(CNAME(name(data[0]))),
        "SRV" => RData::SRV(SRV::new(number(0), number(1), number(2), name(data[3]))),
        "NAPTR" => {
            let text = |at: usize| Box::from(data[at].trim_matches('"').as_bytes());
            RData::NAPTR(NAPTR::new(number(0), number(1), text(2), text(3), text(4), name(data[5])))
        }
        other => panic!("the kind {other} is not known here: {line}"),
    };
    Record::from_rdata(name(owner), ttl.parse().unwrap(), data)
}

fn number(word: &str) -> u16 {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::from_str(text).unwrap();
    name.set_fqdn(true);
    name
}

/// Where an alias leads.
pub(crate) fn alias(record: &Record) -> Name {
    match &record.data {
        RData::CNAME(alias) => alias.0.clone(),
        other => panic!("{other:?} is no alias"),
    }
}

/// Says for how long "there is none" may be believed (RFC 2308 §3).
pub(crate) fn start_of_authority(seconds: u32) -> Record {
    let soa = SOA::new(name("ns.example"), name("hostmaster.example"), 1, 3600, 600, 86_400, seconds);
    Record::from_rdata(name("example"), seconds, RData::SOA(soa))
}
