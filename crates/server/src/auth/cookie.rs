//! The cookie of the web page: it holds the credential, out of reach of scripts, and counts only
//! for requests that the page itself makes.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const NAME: &str = "openintern_key";
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

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
