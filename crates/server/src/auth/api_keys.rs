//! API keys: found in the database by their hash.

use std::{sync::Arc, time::Instant};

use store::{
    Store,
    keys::{KeyHash, KeyHolder},
};

use crate::{
    auth::{
        principal::{CredentialHolder, Principal, Proof, ScopeBounds},
        recent::RecentlyGood,
    },
    error::ApiError,
};

pub(super) struct ApiKeyVerifier {
    store: Store,
    recent: RecentlyGood<KeyHash, KeyHolder>,
}

impl ApiKeyVerifier {
    pub(super) fn new(store: Store) -> Self {
        Self { store, recent: RecentlyGood::new() }
    }

    pub(super) async fn principal(&self, key: &str) -> Result<Principal, ApiError> {
        let hash = KeyHash::of(key).ok_or_else(ApiError::unauthorized)?;
        let holder = self.holder(&hash).await?.ok_or_else(ApiError::unauthorized)?;
        Ok(Principal {
            bounds: ScopeBounds {
                org_id: Some(holder.org_id.clone()),
                user_id: holder.user_id.clone(),
                project_id: holder.project_id.clone(),
            },
            rights: holder.rights.clone(),
            actor: Some(holder.key_id.to_string()),
            holder: Some(CredentialHolder::Key(holder.key_id)),
            proof: Proof::Key(hash),
        })
    }

    /// Whether this key was valid when it was last looked up.
    pub(super) fn knows(&self, key: &str) -> bool {
        KeyHash::of(key).is_some_and(|hash| self.recent.knows(&hash))
    }

    /// The holder of the key, as it is now or was a moment ago.
    pub(super) async fn holder(&self, hash: &KeyHash) -> Result<Option<Arc<KeyHolder>>, ApiError> {
        let asked_at = Instant::now(); // Before the answer: it may be old when it comes.
        if let Some(holder) = self.recent.find(hash) {
            return Ok(Some(holder));
        }
        let Some(holder) = self.store.find_key(hash).await? else { return Ok(None) };
        if !holder.is_touched
            && let Err(error) = self.store.touch_key(&holder.org_id, holder.key_id).await
        {
            tracing::warn!(%error, key_id = %holder.key_id, "the last use of a key could not be recorded");
        }
        let holder = Arc::new(holder);
        self.recent.keep(hash, &holder, asked_at);
        Ok(Some(holder))
    }

    pub(super) fn forget_recent(&self) {
        self.recent.forget();
    }
}
