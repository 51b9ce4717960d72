//! Whether a request comes from our own page, as far as the browser tells.

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};
use protocol::error::ErrorCode;

use crate::error::ApiError;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request that a page of another site caused. `Sec-Fetch-Site`, which no script can set
/// (W3C Fetch Metadata), says `same-origin`, or `none` where the user asked in person. A browser that
/// does not send it (plain HTTP beyond this machine) sends an `Origin` with everything that could
/// change something, which must name our host. A request with neither comes from no browser that
/// another page could abuse.
pub(crate) fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_ours =
        headers.get_all(FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none")
            && headers.get_all(header::ORIGIN).iter().all(|origin| names_our_host(origin, headers));
    if is_ours {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::Forbidden, "the request comes from a page of another site"))
}

fn names_our_host(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let authority = |text: &str| text.parse::<Authority>().ok();
    let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
    let origin = origin.and_then(|(_scheme, rest)| authority(rest));
    let host = headers.get(header::HOST).and_then(|host| authority(host.to_str().ok()?));
    origin.is_some() && origin == host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_page_may_ask() {
        let check = |pairs: &[(&'static str, &'static str)], is_ours: bool| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            let headers: HeaderMap = pairs.iter().map(pair).collect();
            assert_eq!(check_origin(&headers).is_ok(), is_ours, "{pairs:?}");
        };
        let host = ("host", "here.example:3000");
        check(&[host], true);
        for site in ["same-origin", "none"] {
            check(&[host, ("sec-fetch-site", site)], true);
            check(&[host, ("sec-fetch-site", site), ("origin", "http://there.example")], false);
        }
        for site in ["cross-site", "same-site", ""] {
            check(&[host, ("sec-fetch-site", site)], false);
            check(&[host, ("sec-fetch-site", site), ("origin", "http://here.example:3000")], false);
        }
        check(&[host, ("origin", "http://here.example:3000")], true);
        check(&[host, ("origin", "https://HERE.example:3000")], true);
        for origin in ["http://here.example", "http://there.example:3000", "null", ""] {
            check(&[host, ("origin", origin)], false);
        }
        check(&[("origin", "http://here.example")], false);
    }
}
