//! How requests are authenticated: not at all, by API keys, or by tokens that somebody else signs.
//! Whether the principal may then do what it asks is decided in `access` and by its route's right.

use std::{future::pending, sync::Arc};

use store::Store;
use tokio::time::{Instant, sleep};

use crate::{
    auth::{
        api_keys::ApiKeyVerifier,
        jwt::JwtVerifier,
        jwt_settings::{JwtSettings, JwtSettingsError},
        principal::{Principal, Proof},
    },
    error::ApiError,
    limits::{CREDENTIAL_OUTAGE_MAX, CREDENTIAL_POLL},
};

/// How requests are authenticated.
#[derive(Clone)]
pub struct Authenticator(Verification);

#[derive(Clone)]
enum Verification {
    None,
    Keys(Arc<ApiKeyVerifier>),
    Jwt(Arc<JwtVerifier>),
}

impl Authenticator {
    /// Not at all: whoever the request names is believed. Only for loopback.
    pub fn none() -> Self {
        Self(Verification::None)
    }

    /// By the API keys of this database.
    pub fn keys(store: Store) -> Self {
        Self(Verification::Keys(Arc::new(ApiKeyVerifier::new(store))))
    }

    /// By tokens that somebody else signs. Fails where a setting is unusable, or the file of the
    /// signing keys cannot be read; an address that does not answer yet is tried again.
    pub async fn jwt(settings: JwtSettings) -> Result<Self, JwtSettingsError> {
        Ok(Self(Verification::Jwt(Arc::new(JwtVerifier::new(settings).await?))))
    }

    /// Whether anything is authenticated.
    pub(crate) fn is_on(&self) -> bool {
        match self.0 {
            Verification::None => false,
            Verification::Keys(_) | Verification::Jwt(_) => true,
        }
    }

    /// Who holds a credential. Whatever is wrong with it, the error is the same.
    pub(crate) async fn principal(&self, credential: &str) -> Result<Principal, ApiError> {
        match &self.0 {
            Verification::None => Ok(Principal::anyone()),
            Verification::Keys(keys) => keys.principal(credential).await,
            Verification::Jwt(jwt) => jwt.principal(credential).await,
        }
    }

    /// Whether checking this credential costs nobody else anything: a key that was good a while
    /// ago, or any token, since its signature is checked here.
    pub(crate) fn knows(&self, credential: &str) -> bool {
        match &self.0 {
            Verification::None | Verification::Jwt(_) => true,
            Verification::Keys(keys) => keys.knows(credential),
        }
    }

    /// Returns when a credential that was good no longer is: it was revoked, or has expired.
    pub(crate) async fn lost(&self, principal: &Principal) {
        let mut unknown_since = None;
        loop {
            sleep(CREDENTIAL_POLL).await;
            match self.is_still_good(&principal.proof).await {
                Ok(true) => unknown_since = None,
                Ok(false) => return,
                Err(_) => {
                    let since = *unknown_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= CREDENTIAL_OUTAGE_MAX {
                        return;
                    }
                }
            }
        }
    }

    /// Makes a change of keys count here at once; other nodes see it within a second.
    pub(crate) fn forget_cached(&self) {
        match &self.0 {
            Verification::Keys(keys) => keys.forget_cached(),
            Verification::None | Verification::Jwt(_) => {}
        }
    }

    async fn is_still_good(&self, proof: &Proof) -> Result<bool, ApiError> {
        match (&self.0, proof) {
            (Verification::Keys(keys), Proof::Key(hash)) => Ok(keys.holder(hash).await?.is_some()),
            (Verification::Jwt(jwt), Proof::Token { kid, expires_at }) => {
                jwt.is_still_good(kid.as_deref(), *expires_at).await
            }
            (Verification::None | Verification::Keys(_) | Verification::Jwt(_), _) => {
                pending().await
            }
        }
    }
}
