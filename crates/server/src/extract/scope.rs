//! The scope of a request: that of its credential, narrowed by what the request names in headers, the
//! query string or its body. With `auth = "none"` there is no credential to narrow.

use axum::extract::FromRequestParts;
use http::{HeaderMap, request::Parts};
use protocol::{
    error::ErrorCode,
    name::{OrgId, ProjectId, UserId},
    scope::Scope,
};
use serde_json::{Map, Value};

use crate::{auth::principal::Principal, error::ApiError, extract::query::QueryPairs};

/// Whose data a request can be about.
pub(crate) trait FromScopeParts: Sized {
    /// Looks everywhere the scope may be named, and removes its fields from the body.
    fn of(parts: &Parts, body: Option<&mut Map<String, Value>>) -> Result<Self, ApiError>;
}

/// The data of one scope.
impl FromScopeParts for Scope {
    fn of(parts: &Parts, mut body: Option<&mut Map<String, Value>>) -> Result<Self, ApiError> {
        let bounds = &Principal::of(parts)?.bounds;
        let sources = ScopeSources { headers: &parts.headers, query: QueryPairs::of(&parts.uri)? };
        let org_id = sources.agree(body.as_deref_mut(), "x-org-id", "org_id", OrgId::new)?;
        let user_id = sources.agree(body.as_deref_mut(), "x-user-id", "user_id", UserId::new)?;
        let project_id = sources.agree(body, "x-project-id", "project_id", ProjectId::new)?;
        Ok(Self {
            org_id: within(&bounds.org_id, org_id, "x-org-id")?
                .ok_or_else(|| required("x-org-id"))?,
            user_id: within(&bounds.user_id, user_id, "x-user-id")?
                .ok_or_else(|| required("x-user-id"))?,
            project_id: within(&bounds.project_id, project_id, "x-project-id")?,
        })
    }
}

/// An organisation as a whole, whichever of its users asks.
impl FromScopeParts for OrgId {
    fn of(parts: &Parts, body: Option<&mut Map<String, Value>>) -> Result<Self, ApiError> {
        let sources = ScopeSources { headers: &parts.headers, query: QueryPairs::of(&parts.uri)? };
        let org_id = sources.agree(body, "x-org-id", "org_id", OrgId::new)?;
        within(&Principal::of(parts)?.bounds.org_id, org_id, "x-org-id")?
            .ok_or_else(|| required("x-org-id"))
    }
}

/// No scope: the request concerns no tenant's data.
impl FromScopeParts for () {
    fn of(_parts: &Parts, _body: Option<&mut Map<String, Value>>) -> Result<Self, ApiError> {
        Ok(())
    }
}

/// The scope of a request without a body.
pub(crate) struct RequestScope<A = Scope>(pub(crate) A);

impl<S: Sync, A: FromScopeParts> FromRequestParts<S> for RequestScope<A> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        A::of(parts, None).map(Self)
    }
}

/// Where a request may name a scope, besides its body.
struct ScopeSources<'a> {
    headers: &'a HeaderMap,
    query: QueryPairs,
}

impl ScopeSources<'_> {
    /// The scope that the request names, as far as it names one.
    fn agree<T: PartialEq, E: std::fmt::Display>(
        &self,
        body: Option<&mut Map<String, Value>>,
        header: &str,
        field: &str,
        parse: impl Fn(String) -> Result<T, E>,
    ) -> Result<Option<T>, ApiError> {
        let mut said = in_headers(self.headers, header)?;
        said.extend(self.query.all(field).map(|text| (field.to_owned(), text.to_owned())));
        said.extend(body.map_or(Ok(None), |body| in_body(body, field))?);
        agreed(header, said, parse)
    }
}

/// What the credential says, or what the request says where the credential leaves it open.
fn within<T: PartialEq + Clone>(
    bound: &Option<T>,
    named: Option<T>,
    header: &str,
) -> Result<Option<T>, ApiError> {
    match (bound, named) {
        (Some(bound), Some(named)) if *bound != named => Err(ApiError::new(
            ErrorCode::ScopeMismatch,
            format!("the credential is for another `{header}`"),
        )
        .hint("leave it out")),
        (Some(bound), _) => Ok(Some(bound.clone())),
        (None, named) => Ok(named),
    }
}

fn in_headers(headers: &HeaderMap, header: &str) -> Result<Vec<(String, String)>, ApiError> {
    headers
        .get_all(header)
        .iter()
        .map(|value| match value.to_str() {
            Ok(text) => Ok((header.to_owned(), text.to_owned())),
            Err(_) => Err(ApiError::field(header, "must be ASCII")),
        })
        .collect()
}

fn in_body(
    body: &mut Map<String, Value>,
    field: &str,
) -> Result<Option<(String, String)>, ApiError> {
    match body.shift_remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some((format!("/{field}"), text))),
        Some(_) => Err(ApiError::field(format!("/{field}"), "must be a string")),
    }
}

/// The one value that all sources name, if any names one.
fn agreed<T: PartialEq, E: std::fmt::Display>(
    header: &str,
    said: Vec<(String, String)>,
    parse: impl Fn(String) -> Result<T, E>,
) -> Result<Option<T>, ApiError> {
    let mut first = None;
    for (place, text) in said {
        let value = parse(text).map_err(|error| ApiError::field(place, error.to_string()))?;
        if first.as_ref().is_some_and(|first| *first != value) {
            return Err(ApiError::new(
                ErrorCode::ScopeConflict,
                format!("the request names two different values for `{header}`"),
            ));
        }
        first = Some(value);
    }
    Ok(first)
}

fn required(header: &str) -> ApiError {
    ApiError::new(ErrorCode::ScopeRequired, format!("the header `{header}` is missing"))
}
