//! How much is asked of the box in tests that make many calls, and the trunks that these go between.

use crate::place::Place;

/// A number that the environment may say otherwise, for runs that are longer than those of every day.
pub fn from_environment(name: &str, otherwise: u32) -> u32 {
    std::env::var(name)
        .ok()
        .map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name}: {value}?")))
}

/// A configuration that takes the calls of [`Place::A`] to [`Place::B`].
pub fn to_the_carrier(place: &Place) -> String {
    format!(
        "[[trunk]]\nname = \"pbx\"\nsources = [\"{a}\"]\n\n\
         [[trunk]]\nname = \"carrier\"\nsources = [\"{b}\"]\npeers = [\"sip:{b}:5060\"]\n\n\
         [[route]]\nname = \"out\"\nfrom = [\"pbx\"]\nto = [\"carrier\"]\n",
        a = place.ip(Place::A),
        b = place.ip(Place::B),
    )
}
