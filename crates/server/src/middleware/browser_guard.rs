//! Which `Host` names the server answers to, and which pages may send it requests. A browser lets any
//! page send requests to any address: a page of another site must neither read nor change anything
//! here, even if its name was made to resolve to this machine (DNS rebinding).

use std::net::IpAddr;

use axum::extract::{MatchedPath, Request};
use http::{HeaderName, Method, header, uri::Authority};
use protocol::error::ErrorCode;

use crate::{app::AppState, auth::origin::check_origin, error::ApiError};

const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Checks the `Host` of every request. Without authentication it must be a name of this machine, and
/// the request must not come from a page of another site: every caller is trusted, so such a page
/// would be trusted too.
pub(super) fn check(app: &AppState, request: &Request) -> Result<(), ApiError> {
    let host = host_of(request)?;
    if app.authenticator.is_on() {
        return Ok(()); // A credential decides; that of the cookie has a check of its own.
    }
    if !is_ours(host.host(), &app.settings.allowed_hosts) {
        return Err(ApiError::new(
            ErrorCode::MisdirectedRequest,
            "the `Host` of the request is not a name of this server",
        )
        .hint("use `localhost`, or add the name to `server.allowed_hosts`"));
    }
    if opens_the_page(request) { Ok(()) } else { check_origin(request.headers()) }
}

/// The one `Host`, which an absolute target must name as well (RFC 9112, section 3.2).
fn host_of(request: &Request) -> Result<Authority, ApiError> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(authority),
        (None | Some(_), _) => None,
    };
    host.filter(|host| request.uri().authority().is_none_or(|target| target == host)).ok_or_else(
        || ApiError::field("host", "must be given once, as a name with an optional port"),
    )
}

/// A host and a port, and nothing else.
fn authority(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let port = text.strip_prefix(authority.host())?;
    let is_port = |port: &str| port.parse::<u16>().is_ok() && !port.starts_with('+');
    let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    // A list is what a proxy makes of two `Host` fields.
    let is_one = !authority.host().is_empty() && !authority.host().contains(',');
    (is_whole && is_one).then_some(authority)
}

/// Names that lead to this machine wherever they are resolved (RFC 6761, section 6.3), and those that
/// the operator has named.
fn is_ours(host: &str, allowed_hosts: &[String]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
        || host == "localhost"
        || host.ends_with(".localhost")
        || allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&host))
}

/// A link to the page, which holds no data and which nobody may frame, can be followed from anywhere.
fn opens_the_page(request: &Request) -> bool {
    let navigates = request.headers().get(FETCH_MODE).is_some_and(|mode| mode == "navigate");
    let is_page = request.extensions().get::<MatchedPath>().is_none();
    *request.method() == Method::GET && navigates && is_page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_maybe_a_port() {
        for good in ["localhost", "a.example:3000", "127.0.0.1:1", "[::1]", "[::1]:65535"] {
            assert!(authority(good).is_some(), "{good}");
        }
        for bad in ["", ":3000", "a:b", "a:65536", "a:+1", "u@a", "a/b", "a b", "a:", "[::1", "a,b"]
        {
            assert!(authority(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn ours_are_the_names_of_this_machine_and_those_that_are_configured() {
        let ours = |host: &str| is_ours(host, &["intern.lan".to_owned()]);
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "intern.lan",
            "Intern.LAN.",
        ] {
            assert!(ours(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
            "127.0.0.1.nip.io",
            "lan",
            "xintern.lan",
            "notlocalhost",
        ] {
            assert!(!ours(host), "{host}");
        }
    }
}
