//! `/api/login` and `/api/logout`: a login for the web page in exchange for a credential.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::{
    app::App,
    auth::{
        cookie::{cleared, secret_of, set},
        credential::Credential,
        origin::check_origin,
    },
    error::ApiError,
    extract::body::ScopedJson,
    limits::LOGIN_KEY_MAX_BYTES,
};

/// The credential to log in with.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginBody {
    /// An API key, or with `auth = "jwt"` a token.
    #[schema(min_length = 1, max_length = 16384)]
    key: String,
}

/// Log in with a browser
///
/// The cookie stands for the credential in requests of the web page. It is a secret of its own, which
/// ends after 7 days, with its key or token, at logout, or when the browser logs in again. With
/// `auth = "none"` no cookie is set.
#[utoipa::path(
    post, path = "/api/login", tag = "identity", operation_id = "login", request_body = LoginBody,
    responses(
        (status = 204, description = "Logged in",
         headers(("Set-Cookie" = String, description = "`HttpOnly; SameSite=Strict; Path=/; Max-Age=…`"))),
        (status = 400, description = "`validation_error`"),
        (status = 401, description = "`unauthorized`: the credential is not valid"),
        (status = 403, description = "`forbidden`: the request came from a page of another site"),
        (status = 429, description = "`rate_limited`: too many invalid credentials, or requests, in a short time"),
    )
)]
pub(crate) async fn login(
    State(app): State<App>,
    headers: HeaderMap,
    at: Extensions,
    ScopedJson { body: LoginBody { key }, .. }: ScopedJson<LoginBody, ()>,
) -> Result<Response, ApiError> {
    check_origin(&headers)?;
    if key.len() > LOGIN_KEY_MAX_BYTES {
        let words = format!("must be at most {LOGIN_KEY_MAX_BYTES} bytes");
        return Err(ApiError::field("/key", words));
    }
    let principal = app.access.principal(&Credential::Bearer(&key), &at).await?;
    let login = app.authenticator.log_in(&principal).await?;
    if let Some(earlier) = secret_of(&headers) {
        // Its cookie is replaced: nobody could log out of it any more.
        app.authenticator.log_out(earlier).await?;
    }
    match login {
        Some((secret, lasts)) => with_cookie(set(&secret, lasts, &headers)),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
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
pub(crate) async fn logout(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_origin(&headers)?;
    if let Some(secret) = secret_of(&headers) {
        app.authenticator.log_out(secret).await?;
    }
    with_cookie(cleared(&headers))
}

fn with_cookie(cookie: Option<HeaderValue>) -> Result<Response, ApiError> {
    let cookie = cookie.ok_or_else(|| ApiError::defect("no cookie can be written"))?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}
