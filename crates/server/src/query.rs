//! The query string. A parameter that is given twice must say the same twice; one that nobody
//! asks for is ignored.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use protocol::page::PageLimit;

use crate::{limits::QUERY_PARAMETERS_MAX, refusal::Refusal};

/// The parameters, decoded.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn of(parts: &Parts) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Refusal::field("query", "is not well formed"))?;
        if pairs.len() > QUERY_PARAMETERS_MAX {
            return Err(Refusal::field(
                "query",
                format!("must have at most {QUERY_PARAMETERS_MAX} parameters"),
            ));
        }
        Ok(Self(pairs))
    }

    /// All values of a parameter, as given.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter; 400 if it has two.
    pub(crate) fn text<'a>(&'a self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        match first {
            Some(first) if values.any(|value| value != first) => {
                Err(Refusal::field(name, "is given twice with different values"))
            }
            first => Ok(first),
        }
    }

    /// The value of a parameter as a `T`; 400 if it is none.
    pub(crate) fn parsed<T>(&self, name: &str) -> Result<Option<T>, Refusal>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        self.text(name)?
            .map(|text| {
                text.parse().map_err(|error: T::Err| Refusal::field(name, error.to_string()))
            })
            .transpose()
    }

    /// `limit`: how many rows.
    pub(crate) fn limit(&self) -> Result<PageLimit, Refusal> {
        let Some(text) = self.text("limit")? else { return Ok(PageLimit::default()) };
        decimal(text)
            .and_then(|rows| u32::try_from(rows).ok())
            .and_then(|rows| PageLimit::try_from(rows).ok())
            .ok_or_else(|| Refusal::field("limit", "must be a number from 1 to 500"))
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        Self::of(parts)
    }
}

/// A number in decimal digits and nothing else, no larger than the database's.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = text.parse().ok().filter(|_| digits)?;
    i64::try_from(number).is_ok().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_that_the_database_can_hold() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("9223372036854775807"), Some(i64::MAX as u64));
        for text in ["", "+1", "-1", "1.0", "0x1", " 1", "１", "9223372036854775808"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
