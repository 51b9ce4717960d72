//! Reads JSON as providers really send it.

use std::borrow::Cow;

use protocol::json::{mended_in_parts, with_exact_integers};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Parses `text`; common breaches of JSON's rules are mended instead of failing, and integers that
/// would be rounded are strings. Halves of characters are kept, to be [joined](protocol::json::joined).
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    let text = &*with_exact_integers(text);
    serde_json::from_str(text).or_else(|error| match mended_in_parts(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(mended) => serde_json::from_str(&mended),
    })
}

/// All values of a text that is nothing but JSON, one after another; none is none.
pub(crate) fn parse_all(text: &str) -> Option<Vec<Value>> {
    let exact = with_exact_integers(text);
    let mended = mended_in_parts(&exact);
    let values = serde_json::Deserializer::from_str(&mended).into_iter::<Value>();
    let values: Vec<Value> = values.collect::<Result<_, _>>().ok()?;
    values.iter().any(|value| value.is_object() || value.is_array()).then_some(values)
}
