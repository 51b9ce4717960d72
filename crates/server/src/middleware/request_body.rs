//! Reads a request's body whole before its handler runs, within a bound, a time and the room that its
//! sender has. What needs a credential is read once that is known to be good.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header, request::Parts};
use http_body_util::BodyExt;
use protocol::error::ErrorCode;
use tokio::time::{Instant, timeout_at};

use crate::{
    auth::principal::Principal,
    body_reader::BodyReader,
    error::ApiError,
    limits::{DISCARD_MAX_BYTES, DISCARD_TIMEOUT},
    waiting_bytes::BytesOwner,
};

/// Gives the handler a body that has been read, of at most so many bytes.
pub(crate) async fn read_body(
    State(max_bytes): State<usize>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let reader: &BodyReader = parts
        .extensions
        .get()
        .ok_or_else(|| ApiError::defect("a request came past the request guard"))?;
    let expected = expected_bytes(&parts.headers, &body);
    if expected == Some(0) {
        reader.is_done();
        return Ok(next.run(Request::from_parts(parts, Body::empty())).await);
    }
    if expected.is_some_and(|bytes| bytes > max_bytes) {
        // One that waits for our word to go on sends nothing.
        if !parts.headers.contains_key(header::EXPECT) {
            discard(body, 0).await;
        }
        return Err(too_large(max_bytes));
    }
    let owner = owner_of(&parts);
    let room = reader.room(&owner, expected.unwrap_or(max_bytes)).await.map_err(|_| {
        let words = "too many bodies of requests are on their way at once";
        ApiError::new(ErrorCode::RateLimited, words).hint("send fewer at once")
    })?;
    let bytes = read_whole(body, max_bytes, reader.patience).await?;
    reader.is_done();
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    drop(room);
    Ok(response)
}

/// What the head says about its length; none of a body in pieces.
fn expected_bytes(headers: &HeaderMap, body: &Body) -> Option<usize> {
    if body.is_end_stream() {
        return Some(0);
    }
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn owner_of(parts: &Parts) -> BytesOwner {
    let of = |principal: &Principal| BytesOwner {
        org_id: principal.bounds.org_id.clone(),
        holder: principal.holder().cloned(),
    };
    parts.extensions.get().map(of).unwrap_or_default()
}

/// Reads the whole body. What is over the bound is read and thrown away for a while, so that its
/// sender gets to read the error.
async fn read_whole(
    mut body: Body,
    max_bytes: usize,
    patience: Duration,
) -> Result<Bytes, ApiError> {
    let deadline = Instant::now() + patience;
    let mut whole = BytesMut::new();
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
            ApiError::new(ErrorCode::RequestTimeout, "the body did not arrive in time")
        })?;
        let Some(frame) = frame else { return Ok(whole.freeze()) };
        let frame = frame.map_err(|_| ApiError::field("", "the body was cut off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > max_bytes {
            discard(body, whole.len() + data.len()).await;
            return Err(too_large(max_bytes));
        }
        whole.extend_from_slice(&data);
    }
}

fn too_large(max_bytes: usize) -> ApiError {
    let words = format!("the body is larger than {max_bytes} bytes");
    ApiError::new(ErrorCode::PayloadTooLarge, words)
}

async fn discard(mut body: Body, mut read_bytes: usize) {
    let deadline = Instant::now() + DISCARD_TIMEOUT;
    while read_bytes < DISCARD_MAX_BYTES {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => read_bytes += frame.data_ref().map_or(0, Bytes::len),
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}
