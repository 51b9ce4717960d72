//! The web UI: what `npm run build` leaves in `web/dist`, inside the executable. It has routes of its
//! own, whose paths are all answered with its page.
//!
//! A build without Node has no UI, and serves a page that says how to get one.

use std::borrow::Cow;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use protocol::error::ErrorCode;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::error::ApiError;

/// Nothing from elsewhere, no script and no style inline, and nobody may frame us.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// The name of what lies here changes with its content.
const HASHED: &str = "assets/";
const FOREVER: &str = "public, max-age=31536000, immutable";
/// Kept, and asked about each time: an upgrade is seen at once.
const ASK: &str = "no-cache";
const NOT_BUILT: &[u8] = br#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>OpenIntern</title></head>
<body>
<h1>OpenIntern</h1>
<p>This build has no web UI. To build one, with Node 20.19 or newer: <code>make build</code>.</p>
<p>The API is here, and described at <a href="/docs">/docs</a>.</p>
</body>
</html>
"#;

/// How the paths of the page begin: the routes of `web/src/router.tsx`.
const PAGES: [&str; 12] = [
    "", "login", "sessions", "runs", "memory", "queue", "usage", "agents", "tools", "keys",
    "audit", "settings",
];

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Dist;

/// Answers every path without a route.
pub(crate) async fn rest(request: Request) -> Response {
    let path = request.uri().path();
    if path == "/api" || path.starts_with("/api/") {
        return ApiError::not_found().into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let error = ApiError::new(ErrorCode::MethodNotAllowed, "this path can only be read");
        return ([(header::ALLOW, HeaderValue::from_static("GET,HEAD"))], error).into_response();
    }
    let path = path.strip_prefix('/').unwrap_or(path);
    if PAGES.contains(&path.split('/').next().unwrap_or(path)) {
        return page(request.headers());
    }
    match Dist::get(path) {
        Some(file) => served(path, file, request.headers()),
        None => (StatusCode::NOT_FOUND, "there is no such page\n").into_response(),
    }
}

fn page(asked: &HeaderMap) -> Response {
    const NAME: &str = "index.html";
    match Dist::get(NAME) {
        Some(file) => served(NAME, file, asked),
        None => {
            let headers = [
                (header::CONTENT_TYPE, content_type(NAME)),
                (header::CACHE_CONTROL, ASK),
                (header::CONTENT_SECURITY_POLICY, POLICY),
            ];
            (headers, NOT_BUILT).into_response()
        }
    }
}

fn served(path: &str, file: EmbeddedFile, asked: &HeaderMap) -> Response {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let etag = format!("\"{hex}\"");
    let headers = [
        (header::CONTENT_TYPE, content_type(path)),
        (header::CACHE_CONTROL, if path.starts_with(HASHED) { FOREVER } else { ASK }),
        (header::ETAG, &etag),
        (header::VARY, "Accept-Encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    if is_kept(&etag, asked.get(header::IF_NONE_MATCH)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    match compressed(path, asked) {
        Some(bytes) => (headers, [(header::CONTENT_ENCODING, "gzip")], bytes).into_response(),
        None => (headers, file.data).into_response(),
    }
}

/// The compressed file that the build wrote beside it, for clients that accept it.
fn compressed(path: &str, asked: &HeaderMap) -> Option<Cow<'static, [u8]>> {
    let encodings = asked.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
    let takes_gzip = encodings.split(',').any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
        name.trim() == "gzip" && weight.trim() != "q=0"
    });
    takes_gzip.then(|| Dist::get(&format!("{path}.gz"))).flatten().map(|file| file.data)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some(_) | None => "application/octet-stream",
    }
}

fn is_kept(etag: &str, tags: Option<&HeaderValue>) -> bool {
    tags.and_then(|tags| tags.to_str().ok()).is_some_and(|tags| {
        tags.split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag == etag)
    })
}
