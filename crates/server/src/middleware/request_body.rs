//! Reads a request's body whole before any handler runs, within a bound and a time.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use protocol::{error::ErrorCode, limits::BODY_MAX_BYTES};
use tokio::time::{Instant, timeout_at};

use crate::{
    error::ApiError,
    limits::{DISCARD_MAX_BYTES, DISCARD_TIMEOUT},
    settings::ServerSettings,
};

/// Reads the whole body. What is over the bound is read and thrown away for a while, so that its
/// sender gets to read the error.
pub(super) async fn read_whole(body: Body, settings: &ServerSettings) -> Result<Bytes, ApiError> {
    let deadline = Instant::now() + settings.body_read_timeout;
    let mut body = body;
    let mut whole = BytesMut::new();
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
            ApiError::new(ErrorCode::RequestTimeout, "the body did not arrive in time")
        })?;
        let Some(frame) = frame else { return Ok(whole.freeze()) };
        let frame = frame.map_err(|_| ApiError::field("", "the body was cut off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > BODY_MAX_BYTES {
            discard(body, whole.len() + data.len()).await;
            return Err(ApiError::new(
                ErrorCode::PayloadTooLarge,
                format!("the body is larger than {BODY_MAX_BYTES} bytes"),
            ));
        }
        whole.extend_from_slice(&data);
    }
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
