//! The box's reader and the messages: sound ones are read in full, faulty ones name their fault.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use sip::{Message, Name};
use torture::{Parties, Treated, cases};

const PARTIES: Parties<'_> = Parties { sender: "192.0.2.9", host: "192.0.2.1" };

/// What the reader says is wrong, in the words that the peer gets.
fn fault(bytes: &[u8]) -> Option<(u16, String)> {
    match Message::parse(bytes) {
        Ok(message) => message.check().err().map(|fault| (fault.status(), fault.phrase())),
        Err(error) => Some((error.status(), error.phrase().to_owned())),
    }
}

/// Every part that a router reads.
fn read_in_full(bytes: &[u8]) {
    let message = Message::parse(bytes).unwrap();
    for via in message.elements(Name::Via) {
        sip::Via::parse(via).unwrap();
    }
    for address in [message.from(), message.to()] {
        address.unwrap().parsed_uri().unwrap();
    }
    for name in [Name::Contact, Name::Route, Name::RecordRoute] {
        for element in message.elements(name) {
            sip::Address::parse(element).unwrap().parsed_uri().unwrap();
        }
    }
    message.cseq().unwrap();
    message.call_id().unwrap();
    if let Some(uri) = message.request_uri() {
        sip::Uri::parse(uri).unwrap();
    }
}

#[test]
fn what_is_sound_is_read_in_full_and_what_is_not_names_its_fault() {
    for case in cases() {
        let bytes = case.write(PARTIES);
        let found = fault(&bytes);
        match case.treated {
            // The address of a registrar is no question of grammar.
            Treated::Answered(400, phrase) if case.name == "schemes-elsewhere" => {
                assert_eq!((found, phrase), (None, "Bad To Header"), "{}", case.name);
            }
            treated if treated.is_valid() => {
                assert_eq!(found, None, "{}", case.name);
                read_in_full(&bytes);
            }
            Treated::Answered(status, phrase) => {
                assert_eq!(found, Some((status, phrase.to_owned())), "{}", case.name);
            }
            _ => assert!(found.is_some(), "{} is read", case.name),
        }
    }
}

#[test]
fn every_section_of_both_rfcs_has_its_message() {
    let sections: BTreeSet<&str> = cases().map(|case| case.section).collect();
    let wanted = (1..=13)
        .map(|number| format!("3.1.1.{number}"))
        .chain((1..=19).map(|number| format!("3.1.2.{number}")))
        .chain((1..=15).map(|number| format!("3.3.{number}")))
        .chain(["3.2.1", "3.4.1"].map(str::to_owned))
        .chain((1..=10).map(|number| format!("RFC 5118 4.{number}")));
    let missing: Vec<String> = wanted.filter(|section| !sections.contains(section.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let names: BTreeSet<&str> = cases().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().count(), "each has a name of its own");
}
