//! Request bodies as strict JSON, with the scope that they may name.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use protocol::{error::ErrorCode, limits::JSON_VALUES_MAX, scope::Scope, strict_json};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{error::ApiError, extract::scope::FromScopeParts, json};

/// A JSON body, and the scope that it or the rest of the request names.
pub(crate) struct ScopedJson<T, A = Scope> {
    pub(crate) scope: A,
    pub(crate) body: T,
    /// The body as it came, without the scope.
    pub(crate) raw: Value,
}

/// The scope of a request whose body is optional: a body may name the scope and nothing else.
pub(crate) struct ScopedEmpty(pub(crate) Scope);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyObject {}

impl<S: Send + Sync, T: DeserializeOwned, A: FromScopeParts> FromRequest<S> for ScopedJson<T, A> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, bytes) = split(request, state).await?;
        if !bytes.is_empty() {
            check_content_type(&parts.headers)?;
        }
        parse(&parts, &bytes)
    }
}

impl<S: Send + Sync> FromRequest<S> for ScopedEmpty {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, bytes) = split(request, state).await?;
        if bytes.is_empty() {
            return Scope::of(&parts, None).map(Self);
        }
        check_content_type(&parts.headers)?;
        parse::<EmptyObject, _>(&parts, &bytes).map(|json| Self(json.scope))
    }
}

async fn split<S: Send + Sync>(request: Request, state: &S) -> Result<(Parts, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = Bytes::from_request(Request::new(body), state)
        .await
        .map_err(|_| ApiError::field("", "the body was cut off"))?;
    Ok((parts, bytes))
}

fn parse<T: DeserializeOwned, A: FromScopeParts>(
    parts: &Parts,
    bytes: &[u8],
) -> Result<ScopedJson<T, A>, ApiError> {
    let mut raw = strict_json::parse(bytes, JSON_VALUES_MAX)
        .map_err(|fault| ApiError::invalid(vec![fault]))?;
    let object = raw.as_object_mut().ok_or_else(|| ApiError::field("", "must be a JSON object"))?;
    let scope = A::of(parts, Some(object))?;
    let body = json::typed(&raw).map_err(|fault| ApiError::invalid(vec![fault]))?;
    Ok(ScopedJson { scope, body, raw })
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let fits = values
        .next()
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| is_json(&text.to_ascii_lowercase()))
        && values.next().is_none();
    if fits {
        Ok(())
    } else {
        Err(ApiError::new(
            ErrorCode::UnsupportedMediaType,
            "the content type must be `application/json` in UTF-8",
        ))
    }
}

fn is_json(content_type: &str) -> bool {
    let mut words = content_type.split(';').map(str::trim);
    words.next() == Some("application/json")
        && words.all(|word| match word.split_once('=') {
            Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
            Some(_) => true,
            None => word.is_empty(),
        })
}
