//! Logins of the web page: what its cookie stands for, found in the database by the hash of its secret.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use protocol::name::OrgId;
use store::{
    Store,
    logins::{Login, LoginHash, LoginHolder},
};

use crate::{
    auth::{
        principal::{CredentialHolder, Principal, Proof, ScopeBounds},
        recent::RecentlyGood,
    },
    error::ApiError,
    limits::LOGIN_LASTS,
};

pub(super) struct LoginVerifier {
    store: Store,
    recent: RecentlyGood<LoginHash, Login>,
}

impl LoginVerifier {
    pub(super) fn new(store: Store) -> Self {
        Self { store, recent: RecentlyGood::new() }
    }

    /// Makes a login for a principal that has just shown its credential; returns its secret and how
    /// long it lasts.
    pub(super) async fn create(
        &self,
        principal: &Principal,
    ) -> Result<(String, Duration), ApiError> {
        let (org_id, holder, lasts) = stands_for(principal)
            .ok_or_else(|| ApiError::defect("a credential without an organisation"))?;
        let secret = self.store.create_login(&org_id, &holder, lasts).await?;
        Ok((secret, lasts))
    }

    /// Ends a login, if it has not ended.
    pub(super) async fn end(&self, secret: &str) -> Result<(), ApiError> {
        let Some(hash) = LoginHash::of(secret) else { return Ok(()) };
        if let Some(login) = self.store.find_login(&hash).await? {
            self.store.delete_login(&login.org_id, &hash).await?;
        }
        self.recent.forget();
        Ok(())
    }

    pub(super) async fn principal(&self, secret: &str) -> Result<Principal, ApiError> {
        let hash = LoginHash::of(secret).ok_or_else(ApiError::unauthorized)?;
        let login = self.find(&hash).await?.ok_or_else(ApiError::unauthorized)?;
        let (holder, actor) = match (&login.holder, &login.user_id) {
            (LoginHolder::Key(key_id), _) => (CredentialHolder::Key(*key_id), key_id.to_string()),
            (LoginHolder::Token { user_id, .. }, _) => {
                (CredentialHolder::User(login.org_id.clone(), user_id.clone()), user_id.to_string())
            }
        };
        Ok(Principal {
            bounds: ScopeBounds {
                org_id: Some(login.org_id.clone()),
                user_id: login.user_id.clone(),
                project_id: login.project_id.clone(),
            },
            rights: login.rights.clone(),
            actor: Some(actor),
            holder: Some(holder),
            proof: Proof::Login(hash),
        })
    }

    /// Whether this login was valid when it was last looked up.
    pub(super) fn knows(&self, secret: &str) -> bool {
        LoginHash::of(secret).is_some_and(|hash| self.recent.knows(&hash))
    }

    /// The login as it is now, or was a moment ago.
    pub(super) async fn find(&self, hash: &LoginHash) -> Result<Option<Arc<Login>>, ApiError> {
        let asked_at = Instant::now(); // Before the answer: it may be old when it comes.
        if let Some(login) = self.recent.find(hash) {
            return Ok(Some(login));
        }
        let Some(login) = self.store.find_login(hash).await? else { return Ok(None) };
        if let LoginHolder::Key(key_id) = login.holder
            && !login.is_touched
            && let Err(error) = self.store.touch_key(&login.org_id, key_id).await
        {
            tracing::warn!(%error, %key_id, "the last use of a key could not be recorded");
        }
        let login = Arc::new(login);
        self.recent.keep(hash, &login, asked_at);
        Ok(Some(login))
    }

    pub(super) fn forget_recent(&self) {
        self.recent.forget();
    }
}

/// What a login of this principal stands for, and for how long: never longer than its token.
fn stands_for(principal: &Principal) -> Option<(OrgId, LoginHolder, Duration)> {
    let bounds = &principal.bounds;
    let org_id = bounds.org_id.clone()?;
    match (&principal.holder, &principal.proof) {
        (Some(CredentialHolder::Key(key_id)), _) => {
            Some((org_id, LoginHolder::Key(*key_id), LOGIN_LASTS))
        }
        (Some(CredentialHolder::User(_, user_id)), Proof::Token { kid, expires_at }) => {
            let holder = LoginHolder::Token {
                user_id: user_id.clone(),
                project_id: bounds.project_id.clone(),
                rights: principal.rights.clone(),
                signing_key: kid.clone(),
            };
            let left = expires_at.duration_since(SystemTime::now()).unwrap_or_default();
            Some((org_id, holder, left.min(LOGIN_LASTS)))
        }
        (Some(CredentialHolder::User(..)) | None, _) => None,
    }
}
