//! The query string as a struct, which also documents it. A parameter that is given twice must have
//! the same value both times; unknown ones are refused earlier, in `middleware::known_query`.

use axum::extract::{FromRequestParts, Query};
use http::{Uri, request::Parts};
use protocol::page::PageLimit;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{error::ApiError, json, limits::QUERY_PARAMETERS_MAX};

/// The query string as a `T`; an error names the parameter. Each field of `T` must be readable from
/// a string.
pub(crate) struct QueryParams<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let mut map = Map::new();
        for (name, value) in QueryPairs::of(&parts.uri)?.0 {
            let value = Value::String(value);
            // The scope may stand in several places; `extract::scope` compares them.
            if !SCOPE_PARAMETERS.contains(&name.as_str())
                && map.get(&name).is_some_and(|first| *first != value)
            {
                return Err(ApiError::field(name, "is given twice with different values"));
            }
            map.insert(name, value);
        }
        json::typed(&Value::Object(map))
            .map(Self)
            .map_err(|fault| ApiError::field(fault.field.trim_start_matches('/'), fault.message))
    }
}

/// Parameters that every route with a scope takes.
pub(crate) const SCOPE_PARAMETERS: [&str; 3] = ["org_id", "user_id", "project_id"];

/// The parameters, decoded, in their order.
pub(crate) struct QueryPairs(Vec<(String, String)>);

impl QueryPairs {
    pub(crate) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| ApiError::field("query", "is not well formed"))?;
        if pairs.len() > QUERY_PARAMETERS_MAX {
            return Err(ApiError::field(
                "query",
                format!("must have at most {QUERY_PARAMETERS_MAX} parameters"),
            ));
        }
        Ok(Self(pairs))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// All values of a parameter, as given.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// How many rows a page has at most.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = u32, minimum = 1, maximum = 500, default = 100)]
pub(crate) struct LimitParam(pub(crate) PageLimit);

impl TryFrom<String> for LimitParam {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        decimal(&text)
            .and_then(|rows| u32::try_from(rows).ok())
            .and_then(|rows| PageLimit::try_from(rows).ok())
            .map(Self)
            .ok_or("must be a number from 1 to 500")
    }
}

/// The `seq` of the last event seen.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = u64, minimum = 0, maximum = 9223372036854775807i64, default = 0)]
pub(crate) struct SeqCursor(pub(crate) u64);

impl TryFrom<String> for SeqCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        decimal(&text).map(Self).ok_or("must be the `seq` of an event, or 0")
    }
}

/// A number from 1 to `MOST`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct UpTo<const MOST: u32>(pub(crate) u32);

impl<const MOST: u32> TryFrom<String> for UpTo<MOST> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = decimal(&text).and_then(|number| u32::try_from(number).ok());
        number
            .filter(|number| (1..=MOST).contains(number))
            .map(Self)
            .ok_or_else(|| format!("must be a number from 1 to {MOST}"))
    }
}

/// `true` or `false`.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = bool)]
pub(crate) struct BoolParam(pub(crate) bool);

impl TryFrom<String> for BoolParam {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_| "must be `true` or `false`")
    }
}

/// A number in decimal digits and nothing else, no larger than the database can hold.
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
