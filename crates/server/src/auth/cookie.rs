//! The cookie of the web page: the secret of its login, out of reach of scripts.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

const NAME: &str = "openintern_login";
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The secret in the cookie.
pub(crate) fn secret_of(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))
}

/// The cookie for the secret of a login that lasts so long.
pub(crate) fn set(secret: &str, lasts: Duration, headers: &HeaderMap) -> Option<HeaderValue> {
    cookie(secret, lasts, headers)
}

/// Deletes the cookie.
pub(crate) fn cleared(headers: &HeaderMap) -> Option<HeaderValue> {
    cookie("", Duration::ZERO, headers)
}

fn cookie(value: &str, lasts: Duration, headers: &HeaderMap) -> Option<HeaderValue> {
    let is_encrypted = headers.get(FORWARDED_PROTO).is_some_and(|proto| proto == "https");
    let secure = if is_encrypted { "; Secure" } else { "" };
    let age_s = lasts.as_secs();
    let text =
        format!("{NAME}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age_s}{secure}");
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
            assert_eq!(secret_of(&headers(&[("cookie", text)])), want, "{text}");
        };
        check("a=b; openintern_login=oil_1; c=d", Some("oil_1"));
        check("openintern_login=", Some(""));
        check("openintern_logins=oil_1; xopenintern_login=oil_2", None);
        check("", None);
    }
}
