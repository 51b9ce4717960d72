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
    identity::jwt::SettingsFault,
    limits::{
        JWKS_FETCH_TIMEOUT, JWKS_FRESH, JWKS_KEPT_MAX, JWKS_KEYS_MAX, JWKS_MAX_BYTES,
        JWKS_RETRY_AFTER,
    },
    refusal::Refusal,
};

/// Where the set is.
pub(super) enum Source {
    Url { url: Url, http: Client },
    File(PathBuf),
}

pub(super) struct Jwks {
    source: Source,
    set: Lock<Arc<Set>>,
    /// When it was last tried to read the set. Whoever reads it holds this.
    tried_at: Mutex<Option<Instant>>,
}

/// What was read, and when.
struct Set {
    keys: Vec<Arc<Key>>,
    read_at: Option<Instant>,
}

/// A key, with the one algorithm that it is for.
pub(super) struct Key {
    kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

impl Source {
    pub(super) fn url(text: &str) -> Result<Self, SettingsFault> {
        let url = Url::parse(text).ok().filter(is_safe).ok_or_else(|| {
            SettingsFault::new("`jwks_url` must be `https`, or `http` on this machine")
        })?;
        // As with models: the keys come from the configured address and from nowhere else.
        let http =
            Client::builder().redirect(Policy::none()).no_proxy().timeout(JWKS_FETCH_TIMEOUT);
        let http = if url.scheme() == "http" { http.tls_certs_only([]) } else { http };
        let http = http.build().map_err(|error| SettingsFault::new(error.to_string()))?;
        Ok(Self::Url { url, http })
    }

    pub(super) fn file(path: PathBuf) -> Self {
        Self::File(path)
    }

    async fn read(&self) -> Result<Vec<Arc<Key>>, String> {
        let text = match self {
            Self::Url { url, http } => fetch(http, url).await.map_err(|error| error.to_string())?,
            Self::File(path) => read(path)
                .await
                .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?,
        };
        if text.len() > JWKS_MAX_BYTES {
            return Err(format!("the set is larger than {JWKS_MAX_BYTES} bytes"));
        }
        let keys = keys(&text).ok_or("it is no JWK set")?;
        if keys.is_empty() {
            return Err("it has no key for RS256, ES256 or EdDSA".into());
        }
        Ok(keys)
    }
}

impl Jwks {
    /// Reads the set once. A file must be there; an address may come to answer later.
    pub(super) async fn open(source: Source) -> Result<Self, SettingsFault> {
        let is_file = matches!(source, Source::File(_));
        let set = Set { keys: Vec::new(), read_at: None };
        let jwks = Self { source, set: Lock::new(Arc::new(set)), tried_at: Mutex::default() };
        match jwks.source.read().await {
            Ok(keys) => jwks.keep(keys),
            Err(why) if is_file => return Err(SettingsFault::new(why)),
            Err(why) => tracing::warn!(why, "the signing keys of tokens cannot be read yet"),
        }
        Ok(jwks)
    }

    /// The key that a token names; a token that names none means the only one. Reads the set again
    /// when it is old or does not have the key, but not more often than [`JWKS_RETRY_AFTER`].
    pub(super) async fn find(&self, kid: Option<&str>) -> Result<Option<Arc<Key>>, Refusal> {
        let set = self.set();
        let found = set.find(kid);
        if found.is_some() && set.is_younger_than(JWKS_FRESH) {
            return Ok(found);
        }
        self.refresh(&set).await;
        let set = self.set();
        if !set.is_younger_than(JWKS_KEPT_MAX) {
            return Err(Refusal::unavailable("the signing keys of tokens cannot be read"));
        }
        Ok(set.find(kid))
    }

    /// Reads the set again, unless somebody just did or tried to.
    async fn refresh(&self, seen: &Arc<Set>) {
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

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.set.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, keys: Vec<Arc<Key>>) {
        let set = Set { keys, read_at: Some(Instant::now()) };
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }
}

impl Set {
    fn find(&self, kid: Option<&str>) -> Option<Arc<Key>> {
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

/// The keys that we can use; none if this is no set at all.
fn keys(text: &[u8]) -> Option<Vec<Arc<Key>>> {
    #[derive(Deserialize)]
    struct Whole {
        keys: Vec<Value>,
    }
    let whole: Whole = serde_json::from_slice(text).ok()?;
    let keys = whole.keys.into_iter().filter_map(|value| serde_json::from_value(value).ok());
    Some(keys.filter_map(usable).take(JWKS_KEYS_MAX).map(Arc::new).collect())
}

/// A key of a kind that we take, which its owner does not mean for something else. A shared secret
/// is none: whoever can check with it could sign with it.
fn usable(jwk: Jwk) -> Option<Key> {
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
    Some(Key { kid: jwk.common.key_id, algorithm, decoding })
}
