//! The web page: a few files inside the executable.

use std::sync::LazyLock;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use protocol::error::ErrorCode;
use sha2::{Digest, Sha256};

use crate::error::ApiError;

/// Nothing from elsewhere, nothing inline, and nobody may frame us.
const POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    etag: String,
}

impl Asset {
    fn new(path: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { path, content_type, bytes, etag: format!("\"{hex}\"") }
    }
}

static ASSETS: LazyLock<[Asset; 4]> = LazyLock::new(|| {
    [
        Asset::new("/", "text/html; charset=utf-8", include_bytes!("../../../../web/index.html")),
        Asset::new(
            "/app.js",
            "text/javascript; charset=utf-8",
            include_bytes!("../../../../web/app.js"),
        ),
        Asset::new(
            "/style.css",
            "text/css; charset=utf-8",
            include_bytes!("../../../../web/style.css"),
        ),
        Asset::new("/favicon.svg", "image/svg+xml", include_bytes!("../../../../web/favicon.svg")),
    ]
});

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
    let path = if is_of_a_run(path) { "/" } else { path };
    match ASSETS.iter().find(|asset| asset.path == path) {
        Some(asset) => served(asset, request.headers()),
        None => (StatusCode::NOT_FOUND, "there is no such page\n").into_response(),
    }
}

/// `/runs/{run_id}` is the page, too, which then shows this run.
fn is_of_a_run(path: &str) -> bool {
    path.strip_prefix("/runs/").is_some_and(|run| !run.is_empty() && !run.contains('/'))
}

fn served(asset: &'static Asset, asked: &HeaderMap) -> Response {
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        // Kept, and asked about each time: an upgrade is seen at once.
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, asset.etag.as_str()),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    if is_kept(asset, asked.get(header::IF_NONE_MATCH)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, asset.bytes).into_response()
}

fn is_kept(asset: &Asset, tags: Option<&HeaderValue>) -> bool {
    tags.and_then(|tags| tags.to_str().ok()).is_some_and(|tags| {
        tags.split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag == asset.etag)
    })
}
