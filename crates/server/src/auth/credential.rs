//! Where a request carries its credential.

use http::{HeaderMap, header};

use crate::auth::cookie;

/// The credential of a request, and who put it there.
pub(crate) enum Credential<'a> {
    /// In `Authorization`: the caller put it there.
    Header(&'a str),
    /// In the cookie: the browser put it there, whichever page made it ask.
    Cookie(&'a str),
}

impl<'a> Credential<'a> {
    /// The header wins, even when it is bad: two credentials are not both meant.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return cookie::credential_of(headers).map(Self::Cookie);
        };
        let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer") && values.next().is_none();
        is_bearer.then(|| Self::Header(text.trim()))
    }
}
