//! JSON as runtimes write it and as the reference reads it: keys match without regard to case,
//! the last of two equal keys wins, `null` is absence. Messages name the path of the field.

mod field;
mod parser;

pub use field::{Field, FieldError};

use std::borrow::Cow;

use parser::Parser;
use thiserror::Error;

/// Where and why text is not JSON.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("not JSON at byte {offset}: expected {expected}")]
pub struct SyntaxError {
    /// Bytes from the start.
    pub offset: usize,
    /// What would have been right there.
    pub expected: &'static str,
}

/// One JSON value. Numbers stay as written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As written.
    Number(Cow<'a, str>),
    /// Unescaped; what is no UTF-8 became U+FFFD. A part of the text where nothing was escaped.
    String(Cow<'a, str>),
    /// In order.
    Array(Vec<Self>),
    /// In order, equal keys included.
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Json<'a> {
    /// Reads one value and nothing after it.
    ///
    /// # Errors
    ///
    /// [`SyntaxError`] with the first byte that does not fit.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SyntaxError> {
        Parser::new(bytes).document()
    }

    /// The root as a field without a name.
    #[must_use]
    pub fn root(&self) -> Field<'_> {
        Field::root(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Json;

    #[test]
    fn the_last_of_two_keys_wins_without_regard_to_case() {
        let value = Json::parse(br#"{"name":"a","NAME":"b"}"#).unwrap();
        let name = value.root().get("Name").unwrap();
        assert_eq!(name.string().unwrap(), Some("b"));
    }

    #[test]
    fn a_wrong_kind_is_told_with_its_path() {
        let value = Json::parse(br#"{"ipam":{"routes":[{"dst":7}]}}"#).unwrap();
        let routes = value.root().get("ipam").unwrap().get("routes").unwrap();
        let route = routes.elements().unwrap().next().unwrap();
        let error = route.get("dst").unwrap().string().unwrap_err();
        assert_eq!(error.to_string(), "`ipam.routes[0].dst` is not a string");
    }

    #[test]
    fn deep_nesting_passes_and_bottomless_nesting_does_not() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Json::parse(nested(200).as_bytes()).is_ok());
        assert!(Json::parse(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "{}x",
            "{\"a\":1,}",
            "[1,]",
            "01",
            "1.",
            "\"\\x\"",
            "\"\n\"",
            "\u{feff}{}",
            "{//c\n}",
            "nul",
        ] {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    proptest! {
        /// What serde_json reads, we read, and no bytes panic.
        #[test]
        fn agrees_with_another_reader(text in "[\\[\\]{}\",:0-9.eE+\\-a-d \\\\ntrufls]{0,24}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            let ours = Json::parse(text.as_bytes()).is_ok();
            // serde_json refuses numbers past its range and lone surrogates; we keep them.
            prop_assert!(ours || !theirs);
        }
    }
}
