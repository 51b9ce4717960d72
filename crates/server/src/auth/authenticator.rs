//! How requests are authenticated: not at all, by API keys, or by tokens of another issuer; for the
//! web page, by a login that was obtained with a key or token. Rate limits are applied in `access`,
//! and each route's right is checked in `middleware::require_right`.

use std::{future::pending, sync::Arc, time::Duration};

use store::{
    Store,
    logins::{Login, LoginHolder},
};
use tokio::time::{Instant, sleep};

use crate::{
    auth::{
        api_keys::ApiKeyVerifier,
        credential::Credential,
        jwt::JwtVerifier,
        jwt_settings::{JwtSettings, JwtSettingsError},
        logins::LoginVerifier,
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
    Keys(Arc<ApiKeyVerifier>, Arc<LoginVerifier>),
    Jwt(Arc<JwtVerifier>, Arc<LoginVerifier>),
}

impl Authenticator {
    /// Not at all: a request is trusted about whose it is. Only on loopback.
    pub fn none() -> Self {
        Self(Verification::None)
    }

    /// By the API keys of this database.
    pub fn keys(store: Store) -> Self {
        let logins = Arc::new(LoginVerifier::new(store.clone()));
        Self(Verification::Keys(Arc::new(ApiKeyVerifier::new(store)), logins))
    }

    /// By tokens that another issuer signs; logins are kept in the store. Fails where a setting is
    /// unusable, or the file of the signing keys cannot be read; a URL that does not answer yet is
    /// tried again.
    pub async fn jwt(settings: JwtSettings, store: Store) -> Result<Self, JwtSettingsError> {
        let logins = Arc::new(LoginVerifier::new(store));
        Ok(Self(Verification::Jwt(Arc::new(JwtVerifier::new(settings).await?), logins)))
    }

    /// Whether requests are authenticated at all.
    pub(crate) fn is_on(&self) -> bool {
        match self.0 {
            Verification::None => false,
            Verification::Keys(..) | Verification::Jwt(..) => true,
        }
    }

    /// The principal of a credential. The error is the same whatever is wrong with the credential.
    pub(crate) async fn principal(
        &self,
        credential: &Credential<'_>,
    ) -> Result<Principal, ApiError> {
        match (&self.0, credential) {
            (Verification::None, _) => Ok(Principal::anyone()),
            (Verification::Keys(keys, _), Credential::Bearer(key)) => keys.principal(key).await,
            (Verification::Jwt(jwt, _), Credential::Bearer(token)) => jwt.principal(token).await,
            (
                Verification::Keys(_, logins) | Verification::Jwt(_, logins),
                Credential::Login(secret),
            ) => {
                let principal = logins.principal(secret).await?;
                if self.is_still_good(&principal.proof).await? {
                    Ok(principal)
                } else {
                    Err(ApiError::unauthorized())
                }
            }
        }
    }

    /// Whether checking this credential needs no query: a key or login that was valid a moment ago,
    /// or any token, since its signature is checked in this process.
    pub(crate) fn knows(&self, credential: &Credential<'_>) -> bool {
        match (&self.0, credential) {
            (Verification::None, _) | (Verification::Jwt(..), Credential::Bearer(_)) => true,
            (Verification::Keys(keys, _), Credential::Bearer(key)) => keys.knows(key),
            (
                Verification::Keys(_, logins) | Verification::Jwt(_, logins),
                Credential::Login(secret),
            ) => logins.knows(secret),
        }
    }

    /// A login for a principal: the secret for its cookie, and how long it lasts. None without
    /// authentication: there is nothing to log in to.
    pub(crate) async fn log_in(
        &self,
        principal: &Principal,
    ) -> Result<Option<(String, Duration)>, ApiError> {
        match &self.0 {
            Verification::None => Ok(None),
            Verification::Keys(_, logins) | Verification::Jwt(_, logins) => {
                logins.create(principal).await.map(Some)
            }
        }
    }

    /// Ends the login with this secret.
    pub(crate) async fn log_out(&self, secret: &str) -> Result<(), ApiError> {
        match &self.0 {
            Verification::None => Ok(()),
            Verification::Keys(_, logins) | Verification::Jwt(_, logins) => {
                logins.end(secret).await
            }
        }
    }

    /// Returns when a credential that was valid is revoked or expires.
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

    /// Applies a change of keys to this node at once; other nodes see it within a second.
    pub(crate) fn forget_recent(&self) {
        match &self.0 {
            Verification::None => {}
            Verification::Keys(keys, logins) => {
                keys.forget_recent();
                logins.forget_recent();
            }
            Verification::Jwt(_, logins) => logins.forget_recent(),
        }
    }

    async fn is_still_good(&self, proof: &Proof) -> Result<bool, ApiError> {
        match (&self.0, proof) {
            (Verification::Keys(keys, _), Proof::Key(hash)) => {
                Ok(keys.holder(hash).await?.is_some())
            }
            (Verification::Jwt(jwt, _), Proof::Token { kid, expires_at }) => {
                jwt.is_still_good(kid.as_deref(), *expires_at).await
            }
            (Verification::Keys(_, logins) | Verification::Jwt(_, logins), Proof::Login(hash)) => {
                match logins.find(hash).await? {
                    Some(login) => self.still_takes(&login).await,
                    None => Ok(false),
                }
            }
            (Verification::None | Verification::Keys(..) | Verification::Jwt(..), _) => {
                pending().await
            }
        }
    }

    /// Whether the credential behind a login would still be accepted: a login that was obtained with a
    /// token ends where keys are configured, and when the key that signed the token is withdrawn.
    async fn still_takes(&self, login: &Login) -> Result<bool, ApiError> {
        match (&self.0, &login.holder) {
            (Verification::Keys(..), LoginHolder::Key(_)) => Ok(true),
            (Verification::Jwt(jwt, _), LoginHolder::Token { signing_key, .. }) => {
                jwt.has_key(signing_key.as_deref()).await
            }
            (Verification::None | Verification::Keys(..) | Verification::Jwt(..), _) => Ok(false),
        }
    }
}
