//! One HTTP exchange with a provider: sent, classified, read in bounded pieces.
//!
//! Redirects and proxies are off, so that a key reaches only the configured address. Retries are in
//! [`crate::retry`].

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::{
    RequestBuilder, Response, StatusCode,
    header::{HeaderMap, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    error::{ModelError, PROVIDER_MESSAGE_MAX_CHARS, Phase, SettingsError, cut},
    limits::{ERROR_BODY_MAX_BYTES, check},
    retry::parse_retry_after,
    said::Said,
    settings::{Provider, WireFormat},
};

/// How long the rest of a body may take behind its end marker, so that the connection can be kept.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(25);
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// The client that all providers share.
pub(crate) fn client(connect_timeout: Duration) -> Result<reqwest::Client, SettingsError> {
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("openintern/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
    };
    builder()
        .build()
        .or_else(|error| {
            // A bare machine has no certificates; local providers and the demo need none.
            tracing::warn!(error = chain(&error), "providers that need https cannot be reached");
            builder().tls_certs_only([]).build()
        })
        .map_err(|error| SettingsError::new("model", format!("no HTTP client: {}", chain(&error))))
}

/// Puts the provider's key where its wire format wants it.
pub(crate) fn with_key(request: RequestBuilder, provider: &Provider) -> RequestBuilder {
    let request = match provider.kind {
        WireFormat::Anthropic => request.header("anthropic-version", ANTHROPIC_VERSION),
        WireFormat::OpenAi | WireFormat::Demo => request,
    };
    match (&provider.api_key, provider.kind) {
        (Some(key), WireFormat::Anthropic) => request.header("x-api-key", sensitive(key, "")),
        (Some(key), WireFormat::OpenAi) => {
            request.header("authorization", sensitive(key, "Bearer "))
        }
        (Some(_), WireFormat::Demo) | (None, _) => request,
    }
}

/// A header value that is never shown; an invalid key becomes an empty value, and a 401.
fn sensitive(key: &SecretString, prefix: &str) -> HeaderValue {
    let text = SecretString::from(format!("{prefix}{}", key.expose_secret()));
    let mut value =
        HeaderValue::from_str(text.expose_secret()).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Sends a request and gives the body of a good answer.
///
/// `deadline` is that of the whole call, `max_bytes` bounds the body.
pub(crate) async fn send(
    request: RequestBuilder,
    provider: &Provider,
    deadline: Instant,
    max_bytes: (&'static str, usize),
) -> Result<Body, ModelError> {
    let timeouts = provider.timeouts;
    let sent = timeout_at(deadline, timeout(timeouts.first_byte, request.send())).await;
    let response = sent
        .map_err(|_| timed_out(Phase::Total, timeouts.total))?
        .map_err(|_| timed_out(Phase::FirstByte, timeouts.first_byte))?
        .map_err(|error| not_sent(&error, timeouts.connect))?;
    let status = response.status();
    if let Some(encoding) = unasked_encoding(response.headers()) {
        return Err(ModelError::protocol(format!(
            "it is compressed, `content-encoding: {encoding}`, which was not asked for"
        )));
    }
    let retry_after = retry_after(response.headers());
    let (idle, total) = (timeouts.idle, timeouts.total);
    let mut body = Body { response, idle, total, deadline, read: 0, max_bytes };
    if status == StatusCode::OK {
        return Ok(body);
    }
    let words = "it answers with a redirect, and redirects are not followed";
    if status.is_redirection() {
        return Err(ModelError::BadRequest { status: status.as_u16(), message: words.into() });
    }
    let said = Said::from_body(&without_key(&body.beginning().await, provider.api_key.as_ref()));
    Err(match status.is_informational() || status.is_success() {
        true => said.error(None, retry_after),
        false => said.error(Some(status.as_u16()), retry_after),
    })
}

/// A compression of the body. We ask for none.
fn unasked_encoding(headers: &HeaderMap) -> Option<String> {
    let encoding = headers.get("content-encoding")?.to_str().ok()?.trim().to_ascii_lowercase();
    let is_known = matches!(encoding.as_str(), "gzip" | "x-gzip" | "deflate" | "br" | "zstd");
    is_known.then_some(encoding)
}

/// How long the provider asks us to wait. OpenAI and Azure also say it in milliseconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let millis = text("retry-after-ms").and_then(|value| value.trim().parse::<f64>().ok());
    millis
        .and_then(|millis| Duration::try_from_secs_f64(millis / 1e3).ok())
        .or_else(|| parse_retry_after(text("retry-after")?, SystemTime::now()))
}

/// The body of an answer, read piece by piece.
pub(crate) struct Body {
    response: Response,
    idle: Duration,
    total: Duration,
    deadline: Instant,
    read: usize,
    max_bytes: (&'static str, usize),
}

impl Body {
    /// The next piece; `None` at a clean end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, ModelError> {
        let next = timeout_at(self.deadline, timeout(self.idle, self.response.chunk())).await;
        let chunk = next
            .map_err(|_| timed_out(Phase::Total, self.total))?
            .map_err(|_| timed_out(Phase::Idle, self.idle))?
            .map_err(|_| ModelError::Truncated)?;
        self.read += chunk.as_ref().map_or(0, Bytes::len);
        check(self.max_bytes.0, self.read, self.max_bytes.1)?;
        Ok(chunk)
    }

    /// Everything that is left.
    pub(crate) async fn whole(&mut self) -> Result<Vec<u8>, ModelError> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    /// Waits a moment for the end, so that the connection can be used again.
    pub(crate) async fn drain(mut self) {
        let end = async { while let Ok(Some(_)) = self.chunk().await {} };
        // A server that keeps the body open loses its connection, and nothing else.
        let _ = timeout(DRAIN_TIMEOUT, end).await;
    }

    async fn beginning(&mut self) -> Vec<u8> {
        let mut beginning = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            beginning.extend_from_slice(&chunk);
            if beginning.len() > ERROR_BODY_MAX_BYTES {
                break;
            }
        }
        beginning
    }
}

/// What came, without the key if it repeats it.
fn without_key(body: &[u8], key: Option<&SecretString>) -> Vec<u8> {
    match key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty()) {
        Some(key) => String::from_utf8_lossy(body).replace(key, "[redacted]").into_bytes(),
        None => body.to_vec(),
    }
}

const fn timed_out(phase: Phase, after: Duration) -> ModelError {
    ModelError::Timeout { phase, after }
}

fn not_sent(error: &reqwest::Error, connect_timeout: Duration) -> ModelError {
    match error.is_timeout() {
        true => timed_out(Phase::Connect, connect_timeout), // The client has no other timeout.
        false => ModelError::Unavailable { status: None, retry_after: None, message: chain(error) },
    }
}

/// The causes on one line. The URL is left out: it is for the operator only.
fn chain(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    let text = match words.is_empty() {
        true => "the connection failed".to_owned(),
        false => words.join(": "),
    };
    cut(&text, PROVIDER_MESSAGE_MAX_CHARS)
}
