//! Around the handlers that need a credential: authentication, and the right that the route declares.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use protocol::{error::ErrorCode, key::Right};

use crate::{auth::access::AccessControl, error::ApiError};

/// Lets a request through if its credential is good and has the right; handlers find the principal
/// in its extensions.
pub(crate) async fn require_right(
    State((access, right)): State<(AccessControl, Right)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let principal = access.principal_of(request.headers(), request.extensions()).await?;
    if !principal.allows(right) {
        return Err(ApiError::new(
            ErrorCode::Forbidden,
            format!("the credential lacks the right `{right}`"),
        ));
    }
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// Lets a request through if its credential is good, whatever its rights.
pub(crate) async fn require_credential(
    State(access): State<AccessControl>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let principal = access.principal_of(request.headers(), request.extensions()).await?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}
