//! The credential of a request, and where the request carries it.

use http::{HeaderMap, header};

use crate::auth::cookie;

/// The credential of a request.
pub(crate) enum Credential<'a> {
    /// A key or token in `Authorization`, put there by the caller.
    Bearer(&'a str),
    /// The secret of a login in the cookie, which a browser sends whichever page made the request.
    Login(&'a str),
}

impl<'a> Credential<'a> {
    /// The header wins, even when it is invalid: the cookie is not a second try.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return cookie::secret_of(headers).map(Self::Login) };
        let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer") && values.next().is_none();
        is_bearer.then(|| Self::Bearer(text.trim()))
    }
}
