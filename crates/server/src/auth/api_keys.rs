//! API keys: found in the database by their hash, and believed for a moment without asking again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use store::{
    Store,
    keys::{KeyHash, KeyHolder},
};

use crate::{
    auth::principal::{CredentialHolder, Principal, Proof, ScopeBounds},
    error::ApiError,
    limits::{KEY_CACHED, KEYS_CACHED_MAX},
};

pub(super) struct ApiKeyVerifier {
    store: Store,
    /// Only keys that are good: what is unknown is not kept, so that guessing fills no memory.
    cache: Mutex<HashMap<KeyHash, (Arc<KeyHolder>, Instant)>>,
}

impl ApiKeyVerifier {
    pub(super) fn new(store: Store) -> Self {
        Self { store, cache: Mutex::default() }
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
            holder: Some(CredentialHolder::Key(hash)),
            proof: Proof::Key(hash),
        })
    }

    /// Whether this key was good when it was asked for last.
    pub(super) fn knows(&self, key: &str) -> bool {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        KeyHash::of(key).is_some_and(|hash| cache.contains_key(&hash))
    }

    /// Who holds the key, as it was at most [`KEY_CACHED`] ago.
    pub(super) async fn holder(&self, hash: &KeyHash) -> Result<Option<Arc<KeyHolder>>, ApiError> {
        let asked_at = Instant::now(); // Before the answer: it may be old when it comes.
        if let Some(holder) = self.cached(hash) {
            return Ok(Some(holder));
        }
        let Some(holder) = self.store.find_key(hash).await? else { return Ok(None) };
        if !holder.is_touched
            && let Err(error) = self.store.touch_key(&holder.org_id, holder.key_id).await
        {
            tracing::warn!(%error, key_id = %holder.key_id, "the use of a key was not noted");
        }
        let holder = Arc::new(holder);
        self.keep(hash, &holder, asked_at);
        Ok(Some(holder))
    }

    pub(super) fn forget_cached(&self) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn cached(&self, hash: &KeyHash) -> Option<Arc<KeyHolder>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (holder, at) = cache.get(hash)?;
        (at.elapsed() < KEY_CACHED).then(|| Arc::clone(holder))
    }

    fn keep(&self, hash: &KeyHash, holder: &Arc<KeyHolder>, at: Instant) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= KEYS_CACHED_MAX {
            cache.retain(|_, (_, at)| at.elapsed() < KEY_CACHED);
        }
        if cache.len() < KEYS_CACHED_MAX {
            cache.insert(*hash, (Arc::clone(holder), at));
        }
    }
}
