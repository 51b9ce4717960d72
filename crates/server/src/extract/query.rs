//! The query string as a struct, which also documents it. A parameter that is given twice must have
//! the same value both times; unknown ones are refused earlier, in `middleware::known_query`.

use axum::extract::FromRequestParts;
use http::{Uri, request::Parts};
use percent_encoding::percent_decode_str;
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
        let query = uri.query().unwrap_or_default();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        if pairs.clone().count() > QUERY_PARAMETERS_MAX {
            return Err(ApiError::field(
                "query",
                format!("must have at most {QUERY_PARAMETERS_MAX} parameters"),
            ));
        }
        pairs.map(decoded_pair).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// All values of a parameter, as given.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// As the URL standard decodes a form, but what it would mend or the database cannot keep is refused.
fn decoded_pair(pair: &str) -> Result<(String, String), ApiError> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let name = decoded(name).map_err(|fault| ApiError::field("query", fault))?;
    match decoded(value) {
        Ok(value) => Ok((name, value)),
        Err(fault) => Err(ApiError::field(name, fault)),
    }
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let text = text.replace('+', " ");
    let text = percent_decode_str(&text).decode_utf8().map_err(|_| "must be UTF-8")?;
    if text.contains('\0') {
        return Err("must not contain the NUL character");
    }
    Ok(text.into_owned())
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

    fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
        let uri = format!("/runs?{query}").parse().unwrap();
        QueryPairs::of(&uri)
            .map(|pairs| pairs.0)
            .map_err(|error| error.into_body(String::new()).error.message)
    }

    #[test]
    fn parameters_are_decoded_as_forms_are() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let check = |query: &str, want: &[(String, String)]| {
            assert_eq!(pairs(query).as_deref(), Ok(want), "{query}");
        };
        check("", &[]);
        check("a=1&&b", &[pair("a", "1"), pair("b", "")]);
        check(
            "a+b=c%20d%2B=&%C3%A9=%EF%BF%BD%zz",
            &[pair("a b", "c d+="), pair("é", "\u{fffd}%zz")],
        );
    }

    #[test]
    fn what_is_not_text_is_refused_by_name() {
        let check = |query: &str, want: &str| assert_eq!(pairs(query), Err(want.into()), "{query}");
        check("a=1&session_key=%00", "`session_key` must not contain the NUL character");
        check("session_key=a%FFb", "`session_key` must be UTF-8");
        check("%ff=1", "`query` must be UTF-8");
    }

    #[test]
    fn a_number_is_digits_that_the_database_can_hold() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("9223372036854775807"), Some(i64::MAX as u64));
        for text in ["", "+1", "-1", "1.0", "0x1", " 1", "１", "9223372036854775808"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
