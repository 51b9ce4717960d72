//! The cookie of the web page: it holds the credential, out of reach of scripts, and counts only
//! for requests that the page itself makes.

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};
use protocol::error::ErrorCode;

use crate::error::ApiError;

const NAME: &str = "openintern_key";
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The credential in the cookie.
pub(super) fn credential_of(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))
}

/// The cookie for a credential; none if it cannot stand in one.
pub(crate) fn set(credential: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let stands =
        credential.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    stands.then(|| cookie(credential, "", headers)).flatten()
}

/// Takes the cookie away.
pub(crate) fn cleared(headers: &HeaderMap) -> Option<HeaderValue> {
    cookie("", "; Max-Age=0", headers)
}

/// What a cookie asks for must come from our own page: `Sec-Fetch-Site`, which no script can set,
/// says `same-origin`; where a browser does not send it (plain HTTP beyond this machine), an
/// `Origin`, which it sends with everything that changes something, names our host. A request with
/// neither comes from no browser that another page could abuse.
pub(crate) fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_ours = match (headers.get(FETCH_SITE), headers.get(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => names_our_host(origin, headers),
        (None, None) => true,
    };
    if is_ours {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::Forbidden, "the cookie counts for requests of our own page only"))
}

fn names_our_host(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let authority = |text: &str| text.parse::<Authority>().ok();
    let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
    let origin = origin.and_then(|(_scheme, rest)| authority(rest));
    let host = headers.get(header::HOST).and_then(|host| authority(host.to_str().ok()?));
    origin.is_some() && origin == host
}

fn cookie(value: &str, more: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let is_encrypted = headers.get(FORWARDED_PROTO).is_some_and(|proto| proto == "https");
    let secure = if is_encrypted { "; Secure" } else { "" };
    let text = format!("{NAME}={value}; HttpOnly; SameSite=Strict; Path=/{secure}{more}");
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_cookie_counts_for_our_own_page_only() {
        let check = |pairs: &[(&'static str, &'static str)], is_ours: bool| {
            assert_eq!(check_origin(&headers(pairs)).is_ok(), is_ours, "{pairs:?}");
        };
        let host = ("host", "here.example:3000");
        check(&[host], true);
        check(&[host, ("sec-fetch-site", "same-origin")], true);
        for site in ["cross-site", "same-site", "none", ""] {
            check(&[host, ("sec-fetch-site", site), ("origin", "http://here.example:3000")], false);
        }
        check(&[host, ("origin", "http://here.example:3000")], true);
        check(&[host, ("origin", "https://HERE.example:3000")], true);
        for origin in ["http://here.example", "http://there.example:3000", "null", ""] {
            check(&[host, ("origin", origin)], false);
        }
        check(&[("origin", "http://here.example")], false);
    }

    #[test]
    fn it_is_found_among_others() {
        let check = |text: &'static str, want: Option<&str>| {
            assert_eq!(credential_of(&headers(&[("cookie", text)])), want, "{text}");
        };
        check("a=b; openintern_key=oi_1; c=d", Some("oi_1"));
        check("openintern_key=", Some(""));
        check("openintern_keys=oi_1; xopenintern_key=oi_2", None);
        check("", None);
    }
}
