//! The public keys with which tokens are signed (JWK sets, RFC 7517): read from a file or an
//! address, within bounds, and kept for a while.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex as Lock, PoisonError},
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use reqwest::{Client, Url, redirect::Policy};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    fs::File,
    io::AsyncReadExt,
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    auth::jwt_settings::{JwtSettings, JwtSettingsError},
    error::ApiError,
    limits::{
        JWKS_FETCH_TIMEOUT, JWKS_FRESH, JWKS_KEPT_MAX, JWKS_KEYS_MAX, JWKS_MAX_BYTES,
        JWKS_RETRY_AFTER,
    },
};

/// Where the set is.
pub(super) enum JwksSource {
    Url { url: Url, http: Client },
    File(PathBuf),
}

pub(super) struct JwksCache {
    source: JwksSource,
    set: Lock<Arc<KeySet>>,
    /// When a read of the set last began. A reader holds this lock.
    tried_at: Mutex<Option<Instant>>,
}

/// What was read, and when.
struct KeySet {
    keys: Vec<Arc<VerificationKey>>,
    read_at: Option<Instant>,
}

/// A key, with the one algorithm that it is for.
pub(super) struct VerificationKey {
    kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

impl JwksSource {
    /// The place that the settings name; they have been checked.
    pub(super) fn new(settings: &JwtSettings) -> Result<Self, JwtSettingsError> {
        match (&settings.jwks_url, &settings.jwks_file) {
            (Some(url), _) => Self::url(url),
            (None, Some(file)) => Ok(Self::File(file.clone())),
            (None, None) => Err(JwtSettingsError::new("`jwks_url` (or `jwks_file`) is missing")),
        }
    }

    fn url(text: &str) -> Result<Self, JwtSettingsError> {
        let url = Url::parse(text).ok().filter(is_safe).ok_or_else(|| {
            JwtSettingsError::new("`jwks_url` must be `https`, or `http` on this machine")
        })?;
        // As with models: the keys come from the configured address and from nowhere else.
        let http =
            Client::builder().redirect(Policy::none()).no_proxy().timeout(JWKS_FETCH_TIMEOUT);
        let http = if url.scheme() == "http" { http.tls_certs_only([]) } else { http };
        let http = http.build().map_err(|error| JwtSettingsError::new(error.to_string()))?;
        Ok(Self::Url { url, http })
    }

    async fn read(&self) -> Result<Vec<Arc<VerificationKey>>, String> {
        let text = match self {
            Self::Url { url, http } => fetch(http, url).await.map_err(|error| error.to_string())?,
            Self::File(path) => read(path)
                .await
                .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?,
        };
        if text.len() > JWKS_MAX_BYTES {
            return Err(format!("the set is larger than {JWKS_MAX_BYTES} bytes"));
        }
        let keys = keys(&text).ok_or("it is not a JWK set")?;
        if keys.is_empty() {
            return Err("it has no key for RS256, ES256 or EdDSA".into());
        }
        Ok(keys)
    }
}

impl JwksCache {
    /// Reads the set once. A file must be there; an address may come to answer later.
    pub(super) async fn open(source: JwksSource) -> Result<Self, JwtSettingsError> {
        let is_file = matches!(source, JwksSource::File(_));
        let set = KeySet { keys: Vec::new(), read_at: None };
        let jwks = Self { source, set: Lock::new(Arc::new(set)), tried_at: Mutex::default() };
        match jwks.source.read().await {
            Ok(keys) => jwks.keep(keys),
            Err(why) if is_file => return Err(JwtSettingsError::new(why)),
            Err(why) => tracing::warn!(why, "the signing keys of tokens cannot be read yet"),
        }
        Ok(jwks)
    }

    /// The key that a token names; a token that names none means the only one. Reads the set again
    /// when it is old or does not have the key, but not more often than [`JWKS_RETRY_AFTER`].
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
    ) -> Result<Option<Arc<VerificationKey>>, ApiError> {
        let set = self.set();
        let found = set.find(kid);
        if found.is_some() && set.is_younger_than(JWKS_FRESH) {
            return Ok(found);
        }
        self.refresh(&set).await;
        let set = self.set();
        if !set.is_younger_than(JWKS_KEPT_MAX) {
            return Err(ApiError::unavailable("the signing keys of tokens cannot be read"));
        }
        Ok(set.find(kid))
    }

    /// Reads the set again, unless another request just did or tried to.
    async fn refresh(&self, seen: &Arc<KeySet>) {
        let mut tried_at = self.tried_at.lock().await;
        let was_tried = tried_at.is_some_and(|at| at.elapsed() < JWKS_RETRY_AFTER);
        if was_tried || !Arc::ptr_eq(seen, &self.set()) {
            return;
        }
        *tried_at = Some(Instant::now());
        match self.source.read().await {
            Ok(keys) => self.keep(keys),
            Err(why) => tracing::warn!(why, "the signing keys of tokens cannot be read"),
        }
    }

    fn set(&self) -> Arc<KeySet> {
        Arc::clone(&self.set.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, keys: Vec<Arc<VerificationKey>>) {
        let set = KeySet { keys, read_at: Some(Instant::now()) };
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }
}

impl KeySet {
    fn find(&self, kid: Option<&str>) -> Option<Arc<VerificationKey>> {
        match (kid, self.keys.as_slice()) {
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => None,
            (Some(kid), keys) => {
                keys.iter().find(|key| key.kid.as_deref() == Some(kid)).map(Arc::clone)
            }
        }
    }

    fn is_younger_than(&self, age: std::time::Duration) -> bool {
        self.read_at.is_some_and(|at| at.elapsed() < age)
    }
}

fn is_safe(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && is_here)
}

/// At most one byte more than the bound, which says that it is passed.
async fn fetch(http: &Client, url: &Url) -> reqwest::Result<Vec<u8>> {
    let mut response = http.get(url.clone()).send().await?.error_for_status()?;
    let mut text = Vec::new();
    while text.len() <= JWKS_MAX_BYTES
        && let Some(chunk) = response.chunk().await?
    {
        text.extend(chunk.iter().take(JWKS_MAX_BYTES + 1 - text.len()));
    }
    Ok(text)
}

async fn read(path: &PathBuf) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let bound = JWKS_MAX_BYTES as u64 + 1;
    let whole = async { File::open(path).await?.take(bound).read_to_end(&mut text).await };
    timeout(JWKS_FETCH_TIMEOUT, whole).await??;
    Ok(text)
}

/// The keys that can be used; none if the text is not a JWK set.
fn keys(text: &[u8]) -> Option<Vec<Arc<VerificationKey>>> {
    #[derive(Deserialize)]
    struct RawKeySet {
        keys: Vec<Value>,
    }
    let whole: RawKeySet = serde_json::from_slice(text).ok()?;
    let keys = whole.keys.into_iter().filter_map(|value| serde_json::from_value(value).ok());
    Some(keys.filter_map(usable).take(JWKS_KEYS_MAX).map(Arc::new).collect())
}

/// A key of a supported kind that is meant for signatures. A shared secret is refused: anyone who can
/// verify with it can also sign with it.
fn usable(jwk: Jwk) -> Option<VerificationKey> {
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let is_meant = jwk.common.key_algorithm.is_none_or(|said| said == name);
    let signs =
        jwk.common.public_key_use.as_ref().is_none_or(|said| *said == PublicKeyUse::Signature);
    let decoding = DecodingKey::from_jwk(&jwk).ok().filter(|_| is_meant && signs)?;
    Some(VerificationKey { kid: jwk.common.key_id, algorithm, decoding })
}
