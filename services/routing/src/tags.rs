//! Tags: names and values that the operator gives a trunk or a route, for the records of their calls.
//!
//! A record tells what routing knew of a call without another system being asked again: a tariff, a customer, a product.
//! They are few and short, since every record of every such call carries them.

use std::sync::Arc;

/// The most tags of one trunk, of one route, or of one answer about a call.
pub const MOST_TAGS: usize = 16;

/// The longest name, in octets.
pub const LONGEST_TAG_NAME: usize = 32;

/// The longest value, in octets.
pub const LONGEST_TAG_VALUE: usize = 128;

/// Names with a value each, in the order of the names. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tags(Box<[(Box<str>, Box<str>)]>);

/// Why these are no tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagsError {
    /// More than a record is to carry.
    #[error("expected at most {MOST_TAGS} tags, got {0}")]
    TooMany(usize),
    /// A name that not every database and spreadsheet takes as it is.
    #[error("expected names of up to {LONGEST_TAG_NAME} of a to z, 0 to 9 and _, a letter first, got {0:?}")]
    Name(String),
    /// A value that is longer than a record is to carry, or would not stay on its line.
    #[error("expected a value of up to {LONGEST_TAG_VALUE} octets without control characters for {0:?}")]
    Value(String),
}

impl Tags {
    /// Tags of these names and values; `None` where there are none. A name that comes twice has its last value.
    ///
    /// # Errors
    /// The first thing that is beyond the bounds.
    pub fn new<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Option<Arc<Tags>>, TagsError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut tags: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            if !is_name(name) {
                return Err(TagsError::Name(name.chars().take(LONGEST_TAG_NAME * 2).collect()));
            }
            if value.len() > LONGEST_TAG_VALUE || value.chars().any(char::is_control) {
                return Err(TagsError::Value(name.to_owned()));
            }
            put(&mut tags, name, value);
            if tags.len() > MOST_TAGS {
                return Err(TagsError::TooMany(tags.len()));
            }
        }
        Ok((!tags.is_empty()).then(|| Arc::new(Tags(tags.into()))))
    }

    /// Tags that were taken once. What is no tag is left out, and there may be as many as [`Tags::merged`] makes.
    pub fn kept<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Arc<Tags>> {
        let mut tags = Vec::new();
        let known =
            pairs.into_iter().filter(|(name, value)| is_name(name) && value.len() <= LONGEST_TAG_VALUE);
        known.take(MOST_TAGS * 3).for_each(|(name, value)| put(&mut tags, name, value));
        (!tags.is_empty()).then(|| Arc::new(Tags(tags.into())))
    }

    /// Both together. Where both have a name the second one's value counts. Nothing is copied where one of them is none.
    pub fn merged(first: Option<&Arc<Tags>>, second: Option<&Arc<Tags>>) -> Option<Arc<Tags>> {
        match (first, second) {
            (first, None) => first.cloned(),
            (None, second) => second.cloned(),
            (Some(first), Some(second)) => Tags::kept(first.iter().chain(second.iter())),
        }
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_TAG_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn put(tags: &mut Vec<(Box<str>, Box<str>)>, name: &str, value: &str) {
    match tags.binary_search_by(|(known, _)| (**known).cmp(name)) {
        Ok(at) => {
            if let Some((_, known)) = tags.get_mut(at) {
                *known = value.into();
            }
        }
        Err(at) => tags.insert(at, (name.into(), value.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Option<Arc<Tags>> {
        Tags::new(pairs.iter().copied()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn what_is_more_special_goes_over_what_is_less_so_and_names_are_in_order() {
        let trunk = tags(&[("tariff", "silver"), ("customer", "acme")]);
        let route = tags(&[("tariff", "gold"), ("product", "\"premium\" ü")]);
        let both = Tags::merged(trunk.as_ref(), route.as_ref());
        let pairs: Vec<_> = both.iter().flat_map(|both| both.iter()).collect();
        assert_eq!(pairs, [("customer", "acme"), ("product", "\"premium\" ü"), ("tariff", "gold")]);
        assert_eq!(Tags::merged(trunk.as_ref(), None), trunk);
        assert_eq!(Tags::merged(None, route.as_ref()), route);
        assert_eq!(tags(&[]), None);
    }

    #[test]
    fn what_a_record_is_not_to_carry_is_refused_with_what_is_allowed() {
        let error = |pairs: &[(&str, &str)]| Tags::new(pairs.iter().copied()).unwrap_err().to_string();
        let name = error(&[("Tariff", "gold")]);
        assert_eq!(
            name,
            "expected names of up to 32 of a to z, 0 to 9 and _, a letter first, got \"Tariff\""
        );
        for name in ["", "1st", "a-b", "=a", &"a".repeat(33)] {
            assert!(error(&[(name, "")]).starts_with("expected names"), "{name:?}");
        }
        let value = "expected a value of up to 128 octets without control characters for \"tariff\"";
        assert_eq!(error(&[("tariff", &"x".repeat(129))]), value);
        assert_eq!(error(&[("tariff", "a\nb")]), value);
        let names: Vec<String> = (0..17).map(|n| format!("t{n}")).collect();
        let many = Tags::new(names.iter().map(|name| (name, "")));
        assert_eq!(many, Err(TagsError::TooMany(17)));
        assert!(Tags::new(names.iter().take(16).map(|name| (name, ""))).is_ok());
    }
}
