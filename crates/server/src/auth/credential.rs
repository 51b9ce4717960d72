//! What a request proves its caller by, and where it carries it.

use http::{HeaderMap, header};

use crate::auth::cookie;

/// The credential of a request.
pub(crate) enum Credential<'a> {
    /// A key or token in `Authorization`: the caller put it there.
    Bearer(&'a str),
    /// The secret of a login in the cookie: the browser put it there, whichever page made it ask.
    Login(&'a str),
}

impl<'a> Credential<'a> {
    /// The header wins, even when it is bad: two credentials are not both meant.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return cookie::secret_of(headers).map(Self::Login) };
        let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer") && values.next().is_none();
        is_bearer.then(|| Self::Bearer(text.trim()))
    }
}
