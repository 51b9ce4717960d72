//! Whose data a request is about. With `auth = "none"` the request says so itself, in headers, the
//! query string or its body; this is the one place where a credential would narrow that.

use axum::extract::FromRequestParts;
use http::{HeaderMap, request::Parts};
use protocol::{
    error::ErrorCode,
    name::{OrgId, ProjectId, UserId},
    scope::Scope,
};
use serde_json::{Map, Value};

use crate::{query::Parameters, refusal::Refusal};

/// The scope of a request that says it in its headers and query string.
pub(crate) struct InScope(pub(crate) Scope);

impl<S: Sync> FromRequestParts<S> for InScope {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        resolve(parts, None).map(Self)
    }
}

/// The scope of a request, from all places that may name it. Takes its fields out of the body.
pub(crate) fn resolve(
    parts: &Parts,
    mut body: Option<&mut Map<String, Value>>,
) -> Result<Scope, Refusal> {
    let parameters = Parameters::of(parts)?;
    let mut name = |header: &str, field: &str| {
        let mut said = in_headers(&parts.headers, header)?;
        said.extend(parameters.all(field).map(|text| (field.to_owned(), text.to_owned())));
        said.extend(body.as_mut().map_or(Ok(None), |body| in_body(body, field))?);
        Ok::<_, Refusal>(said)
    };
    let org_id = agreed("x-org-id", name("x-org-id", "org_id")?, OrgId::new)?;
    let user_id = agreed("x-user-id", name("x-user-id", "user_id")?, UserId::new)?;
    let project_id = agreed("x-project-id", name("x-project-id", "project_id")?, ProjectId::new)?;
    Ok(Scope {
        org_id: org_id.ok_or_else(|| required("x-org-id"))?,
        user_id: user_id.ok_or_else(|| required("x-user-id"))?,
        project_id,
    })
}

fn in_headers(headers: &HeaderMap, header: &str) -> Result<Vec<(String, String)>, Refusal> {
    headers
        .get_all(header)
        .iter()
        .map(|value| match value.to_str() {
            Ok(text) => Ok((header.to_owned(), text.to_owned())),
            Err(_) => Err(Refusal::field(header, "must be ASCII")),
        })
        .collect()
}

fn in_body(
    body: &mut Map<String, Value>,
    field: &str,
) -> Result<Option<(String, String)>, Refusal> {
    match body.shift_remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some((format!("/{field}"), text))),
        Some(_) => Err(Refusal::field(format!("/{field}"), "must be a string")),
    }
}

/// What all places say, if any says something.
fn agreed<T: PartialEq, E: std::fmt::Display>(
    header: &str,
    said: Vec<(String, String)>,
    parse: impl Fn(String) -> Result<T, E>,
) -> Result<Option<T>, Refusal> {
    let mut first = None;
    for (place, text) in said {
        let value = parse(text).map_err(|error| Refusal::field(place, error.to_string()))?;
        if first.as_ref().is_some_and(|first| *first != value) {
            return Err(Refusal::new(
                ErrorCode::ScopeConflict,
                format!("two places name different values for `{header}`"),
            ));
        }
        first = Some(value);
    }
    Ok(first)
}

fn required(header: &str) -> Refusal {
    Refusal::new(ErrorCode::ScopeRequired, format!("the header `{header}` is missing"))
}
