//! Around every handler: bounds, time, panics, request ids, and the one form of every error. It knows
//! no route.

use std::{panic::AssertUnwindSafe, time::Instant};

use axum::{
    Json,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use protocol::error::ErrorCode;
use tokio::time::sleep;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    app::App,
    error::ApiError,
    limits::{HEADERS_MAX, HEADERS_MAX_BYTES, URI_MAX_BYTES},
    middleware::browser_guard,
};

/// An answer depends on who asks, and about whom.
const VARIES: &str = "authorization, cookie, x-org-id, x-user-id, x-project-id";
const NOT_FRAMED: HeaderValue = HeaderValue::from_static("frame-ancestors 'none'");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = format!("req_{}", Uuid::now_v7().simple());
    let method = method_label(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", request_id, method, route);
    let response = async {
        let answer = AssertUnwindSafe(handle(&app, request, next)).catch_unwind().await;
        let response = answer.unwrap_or_else(|_panic| {
            metrics::counter!("openintern_panics_total").increment(1);
            Err(ApiError::internal())
        });
        let response = response.into_response();
        if let Some(reason) = response.extensions().get().and_then(ApiError::reason) {
            app.database_reason.note(reason);
        }
        finish(response, &request_id)
    }
    .instrument(span)
    .await;
    let status = response.status().as_str().to_owned();
    metrics::counter!("openintern_http_requests_total", "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("openintern_http_request_duration_seconds", "method" => method, "route" => route)
        .record(started.elapsed());
    response
}

async fn handle(app: &App, mut request: Request, next: Next) -> Result<Response, ApiError> {
    check_size(&request)?;
    check_framing(request.headers())?;
    check_encoding(request.headers())?;
    browser_guard::check(app, &request)?;
    let body = app.bodies.for_request(&request);
    request.extensions_mut().insert(body.clone());
    let overdue = async {
        body.done().await;
        sleep(app.settings.answer_timeout).await;
    };
    let too_long = || ApiError::unavailable("the answer took too long").hint("try again");
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = next.run(request);
    if reads {
        return tokio::select! {
            response = answer => Ok(response),
            () = overdue => Err(too_long()),
        };
    }
    // In a task of its own: a client that goes away does not stop it halfway.
    let task = app.tasks.spawn(answer.in_current_span());
    tokio::select! {
        answered = task => answered.or_else(|ended| match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(ApiError::unavailable("the server is shutting down")),
        }),
        () = overdue => Err(too_long()),
    }
}

fn check_size(request: &Request) -> Result<(), ApiError> {
    if request.uri().path_and_query().is_some_and(|text| text.as_str().len() > URI_MAX_BYTES) {
        return Err(ApiError::new(
            ErrorCode::UriTooLong,
            format!("path and query are longer than {URI_MAX_BYTES} bytes"),
        ));
    }
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > HEADERS_MAX || bytes > HEADERS_MAX_BYTES {
        return Err(ApiError::new(
            ErrorCode::HeadersTooLarge,
            format!(
                "there are more than {HEADERS_MAX} headers or {HEADERS_MAX_BYTES} bytes of them"
            ),
        ));
    }
    Ok(())
}

/// With several codings, two readers may pick different ones (RFC 9112, section 6.1).
fn check_framing(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.get_all(header::TRANSFER_ENCODING).iter().nth(1).is_some() {
        return Err(ApiError::field("transfer-encoding", "must be given at most once"));
    }
    Ok(())
}

/// A compressed body could grow without bound.
fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let plain = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if plain {
        Ok(())
    } else {
        Err(ApiError::new(
            ErrorCode::UnsupportedMediaType,
            "the body must not be compressed (`Content-Encoding: identity`)",
        ))
    }
}

/// The response as it leaves: errors have their JSON, and every response the id of its request.
fn finish(mut response: Response, request_id: &str) -> Response {
    let error = response.extensions_mut().remove::<ApiError>().or_else(|| routing_error(&response));
    if let Some(error) = error {
        log(&error);
        let body = Json(error.into_body(request_id.to_owned())).into_response();
        let (mut head, _) = response.into_parts();
        head.headers.remove(header::CONTENT_LENGTH);
        head.headers.extend(body.headers().clone());
        response = Response::from_parts(head, body.into_body());
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Nobody may show an answer inside a page of theirs. Our own page says more than that.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(NOT_FRAMED);
    // A response is for its caller alone, except for the files of the page, which set the header.
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.entry(header::VARY).or_insert(HeaderValue::from_static(VARIES));
    response
}

/// The router's own errors are a bare status. Others have a body of their own.
fn routing_error(response: &Response) -> Option<ApiError> {
    if response.headers().contains_key(header::CONTENT_TYPE) {
        return None;
    }
    match response.status() {
        StatusCode::NOT_FOUND => Some(ApiError::not_found()),
        StatusCode::METHOD_NOT_ALLOWED => Some(
            ApiError::new(ErrorCode::MethodNotAllowed, "this path does not support the method")
                .hint("the header `Allow` names the methods that it supports"),
        ),
        _ => None,
    }
}

fn log(error: &ApiError) {
    let Some(cause) = error.cause() else { return };
    let chain =
        std::iter::successors(Some(cause as &dyn std::error::Error), |cause| cause.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
    match error.code() {
        ErrorCode::Internal => tracing::error!(cause = chain, "a request failed"),
        // The store says it once a minute.
        ErrorCode::Unavailable if error.reason().is_some() => {
            tracing::debug!(cause = chain, "a request could not be served");
        }
        ErrorCode::Unavailable => tracing::warn!(cause = chain, "a request could not be served"),
        code => tracing::info!(cause = chain, ?code, "a request was refused"),
    }
}

/// A method as a label: an unknown one must not make a series of its own.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
