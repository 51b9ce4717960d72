//! `/api/login` and `/api/logout`: a cookie for the web page in exchange for a credential.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::{
    app::App,
    auth::{
        cookie::{cleared, set},
        origin::check_origin,
    },
    error::ApiError,
    extract::body::ScopedJson,
    limits::COOKIE_CREDENTIAL_MAX_BYTES,
};

/// The credential to log in with.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// An API key, or with `auth = "jwt"` a token.
    #[schema(min_length = 1, max_length = 3800)]
    key: String,
}

/// Log in with a browser
///
/// The cookie stands for the credential in requests of the web page. With `auth = "none"` no cookie is
/// set.
#[utoipa::path(
    post, path = "/api/login", tag = "identity", operation_id = "login", request_body = Login,
    responses(
        (status = 204, description = "Logged in",
         headers(("Set-Cookie" = String, description = "`HttpOnly; SameSite=Strict; Path=/`"))),
        (status = 400, description = "`validation_error`"),
        (status = 401, description = "`unauthorized`: the credential is not valid"),
        (status = 403, description = "`forbidden`: the request came from a page of another site"),
        (status = 429, description = "`rate_limited`: too many bad credentials, or too fast"),
    )
)]
pub(crate) async fn login(
    State(app): State<App>,
    headers: HeaderMap,
    at: Extensions,
    ScopedJson { body: Login { key }, .. }: ScopedJson<Login, ()>,
) -> Result<Response, ApiError> {
    check_origin(&headers)?;
    if !app.authenticator.is_on() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    app.access.principal(&key, &at).await?;
    if key.len() > COOKIE_CREDENTIAL_MAX_BYTES {
        let words = format!("must be at most {COOKIE_CREDENTIAL_MAX_BYTES} bytes for a cookie");
        return Err(ApiError::field("/key", words));
    }
    Ok(with_cookie(set(&key, &headers).ok_or_else(ApiError::unauthorized)?))
}

/// Log out with a browser
#[utoipa::path(
    post, path = "/api/logout", tag = "identity", operation_id = "logout",
    responses(
        (status = 204, description = "Logged out, if it was logged in",
         headers(("Set-Cookie" = String, description = "Deletes the cookie"))),
        (status = 403, description = "`forbidden`: the request came from a page of another site"),
    )
)]
pub(crate) async fn logout(headers: HeaderMap) -> Result<Response, ApiError> {
    check_origin(&headers)?;
    let cookie = cleared(&headers).ok_or_else(|| ApiError::defect("no cookie can be written"))?;
    Ok(with_cookie(cookie))
}

fn with_cookie(cookie: HeaderValue) -> Response {
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}
