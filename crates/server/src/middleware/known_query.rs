//! Refuses query parameters that a route does not have: a misspelt filter must not list everything.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::Method;
use utoipa::openapi::{
    RefOr,
    path::{Operation, ParameterIn, Paths},
};

use crate::{
    error::ApiError,
    extract::query::{QueryPairs, SCOPE_PARAMETERS},
};

/// The query parameters of a path by method, as the document has them.
#[derive(Clone)]
pub(crate) struct KnownQuery(Arc<HashMap<Method, Vec<String>>>);

impl KnownQuery {
    /// Those that the document declares.
    pub(crate) fn new(paths: &Paths) -> Self {
        let mut known = HashMap::new();
        for item in paths.paths.values() {
            for (method, operation) in [
                (Method::GET, &item.get),
                (Method::HEAD, &item.get),
                (Method::POST, &item.post),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ] {
                if let Some(operation) = operation {
                    known.insert(method, parameters_of(operation));
                }
            }
        }
        Self(Arc::new(known))
    }

    /// The same, and those that name a scope.
    pub(crate) fn with_scope(paths: &Paths) -> Self {
        let Self(mut known) = Self::new(paths);
        if let Some(known) = Arc::get_mut(&mut known) {
            for names in known.values_mut() {
                names.extend(SCOPE_PARAMETERS.map(str::to_owned));
            }
        }
        Self(known)
    }
}

/// Lets a request through if all its query parameters are known.
pub(crate) async fn known_query(
    State(KnownQuery(known)): State<KnownQuery>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(known) = known.get(request.method()) {
        let pairs = QueryPairs::of(request.uri())?;
        if let Some(name) = pairs.names().find(|name| !known.iter().any(|known| known == name)) {
            return Err(ApiError::field(name, unknown(known)));
        }
    }
    Ok(next.run(request).await)
}

fn unknown(known: &[String]) -> String {
    if known.is_empty() {
        return "is not a known parameter; this path takes none".to_owned();
    }
    format!("is not a known parameter; use one of `{}`", known.join("`, `"))
}

fn parameters_of(operation: &Operation) -> Vec<String> {
    let parameters = operation.parameters.iter().flatten();
    parameters
        .filter_map(|parameter| match parameter {
            RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => {
                Some(parameter.name.clone())
            }
            RefOr::T(_) | RefOr::Ref(_) => None,
        })
        .collect()
}
