//! Whose data a request is about: what its credential says, narrowed by what it says itself, in
//! headers, the query string or its body. With `auth = "none"` there is no credential to narrow.

use axum::extract::FromRequestParts;
use http::{HeaderMap, request::Parts};
use protocol::{
    error::ErrorCode,
    name::{OrgId, ProjectId, UserId},
    scope::Scope,
};
use serde_json::{Map, Value};

use crate::{identity::Caller, query::Parameters, refusal::Refusal};

/// What a request can be about.
pub(crate) trait About: Sized {
    /// Finds it in all places that may name it. Takes its fields out of the body.
    fn of(parts: &Parts, body: Option<&mut Map<String, Value>>) -> Result<Self, Refusal>;
}

/// The data of one scope.
impl About for Scope {
    fn of(parts: &Parts, mut body: Option<&mut Map<String, Value>>) -> Result<Self, Refusal> {
        let bounds = &Caller::of(parts)?.bounds;
        let places = Places { headers: &parts.headers, parameters: Parameters::of(parts)? };
        let org_id = places.agree(body.as_deref_mut(), "x-org-id", "org_id", OrgId::new)?;
        let user_id = places.agree(body.as_deref_mut(), "x-user-id", "user_id", UserId::new)?;
        let project_id = places.agree(body, "x-project-id", "project_id", ProjectId::new)?;
        Ok(Self {
            org_id: within(&bounds.org_id, org_id, "x-org-id")?
                .ok_or_else(|| required("x-org-id"))?,
            user_id: within(&bounds.user_id, user_id, "x-user-id")?
                .ok_or_else(|| required("x-user-id"))?,
            project_id: within(&bounds.project_id, project_id, "x-project-id")?,
        })
    }
}

/// An organisation as a whole: which user asks is beside the point.
impl About for OrgId {
    fn of(parts: &Parts, body: Option<&mut Map<String, Value>>) -> Result<Self, Refusal> {
        let places = Places { headers: &parts.headers, parameters: Parameters::of(parts)? };
        let org_id = places.agree(body, "x-org-id", "org_id", OrgId::new)?;
        within(&Caller::of(parts)?.bounds.org_id, org_id, "x-org-id")?
            .ok_or_else(|| required("x-org-id"))
    }
}

/// Nobody's data.
impl About for () {
    fn of(_parts: &Parts, _body: Option<&mut Map<String, Value>>) -> Result<Self, Refusal> {
        Ok(())
    }
}

/// What a request without a body is about.
pub(crate) struct InScope<A = Scope>(pub(crate) A);

impl<S: Sync, A: About> FromRequestParts<S> for InScope<A> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        A::of(parts, None).map(Self)
    }
}

/// Where a request may name a scope, but for its body.
struct Places<'a> {
    headers: &'a HeaderMap,
    parameters: Parameters,
}

impl Places<'_> {
    /// What all places say, the body included, if any says something.
    fn agree<T: PartialEq, E: std::fmt::Display>(
        &self,
        body: Option<&mut Map<String, Value>>,
        header: &str,
        field: &str,
        parse: impl Fn(String) -> Result<T, E>,
    ) -> Result<Option<T>, Refusal> {
        let mut said = in_headers(self.headers, header)?;
        said.extend(self.parameters.all(field).map(|text| (field.to_owned(), text.to_owned())));
        said.extend(body.map_or(Ok(None), |body| in_body(body, field))?);
        agreed(header, said, parse)
    }
}

/// What the credential says, or what the request says where the credential leaves it open.
fn within<T: PartialEq + Clone>(
    bound: &Option<T>,
    named: Option<T>,
    header: &str,
) -> Result<Option<T>, Refusal> {
    match (bound, named) {
        (Some(bound), Some(named)) if *bound != named => Err(Refusal::new(
            ErrorCode::ScopeMismatch,
            format!("the credential is for another `{header}` (hint: leave it out)"),
        )),
        (Some(bound), _) => Ok(Some(bound.clone())),
        (None, named) => Ok(named),
    }
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
