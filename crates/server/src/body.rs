//! Request bodies: read whole before any handler runs, within a bound and a time; then, where a
//! handler asks for one, understood as strict JSON.

use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header, request::Parts};
use http_body_util::BodyExt;
use protocol::{error::ErrorCode, limits::BODY_MAX_BYTES, scope::Scope};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{
    Settings, json,
    limits::{DISCARD_MAX_BYTES, DISCARD_TIMEOUT},
    refusal::Refusal,
    scope::About,
};

/// A JSON body, and what it or the rest of the request is about.
pub(crate) struct Asked<T, A = Scope> {
    pub(crate) scope: A,
    pub(crate) body: T,
    /// The body as it came, without the scope.
    pub(crate) raw: Value,
}

/// The body of a request that needs none: it may still name the scope.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// A JSON body that may be absent.
pub(crate) struct MayAsk(pub(crate) Scope);

impl<S: Send + Sync, T: DeserializeOwned, A: About> FromRequest<S> for Asked<T, A> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let (parts, bytes) = split(request, state).await?;
        if !bytes.is_empty() {
            check_content_type(&parts.headers)?;
        }
        understood(&parts, &bytes)
    }
}

impl<S: Send + Sync> FromRequest<S> for MayAsk {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let (parts, bytes) = split(request, state).await?;
        if bytes.is_empty() {
            return Scope::of(&parts, None).map(Self);
        }
        check_content_type(&parts.headers)?;
        understood::<Nothing, _>(&parts, &bytes).map(|asked| Self(asked.scope))
    }
}

/// Reads the whole body, or says why not. What is over the bound is read and thrown away for a
/// while, so that its sender comes to read the refusal.
pub(crate) async fn read_whole(body: Body, settings: &Settings) -> Result<Bytes, Refusal> {
    let deadline = Instant::now() + settings.body_read_timeout;
    let mut body = body;
    let mut whole = BytesMut::new();
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
            Refusal::new(ErrorCode::RequestTimeout, "the body did not arrive in time")
        })?;
        let Some(frame) = frame else { return Ok(whole.freeze()) };
        let frame = frame.map_err(|_| Refusal::field("", "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > BODY_MAX_BYTES {
            discard(body, whole.len() + data.len()).await;
            return Err(Refusal::new(
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

async fn split<S: Send + Sync>(request: Request, state: &S) -> Result<(Parts, Bytes), Refusal> {
    let (parts, body) = request.into_parts();
    let bytes = Bytes::from_request(Request::new(body), state)
        .await
        .map_err(|_| Refusal::field("", "the body broke off"))?;
    Ok((parts, bytes))
}

fn understood<T: DeserializeOwned, A: About>(
    parts: &Parts,
    bytes: &[u8],
) -> Result<Asked<T, A>, Refusal> {
    let mut raw = json::parse(bytes).map_err(|fault| Refusal::invalid(vec![fault]))?;
    let object = raw.as_object_mut().ok_or_else(|| Refusal::field("", "must be a JSON object"))?;
    let scope = A::of(parts, Some(object))?;
    let body = json::typed(&raw).map_err(|fault| Refusal::invalid(vec![fault]))?;
    Ok(Asked { scope, body, raw })
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let fits = values
        .next()
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| is_json(&text.to_ascii_lowercase()))
        && values.next().is_none();
    if fits {
        Ok(())
    } else {
        Err(Refusal::new(
            ErrorCode::UnsupportedMediaType,
            "the content type must be `application/json` in UTF-8",
        ))
    }
}

fn is_json(content_type: &str) -> bool {
    let mut words = content_type.split(';').map(str::trim);
    words.next() == Some("application/json")
        && words.all(|word| match word.split_once('=') {
            Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
            Some(_) => true,
            None => word.is_empty(),
        })
}
