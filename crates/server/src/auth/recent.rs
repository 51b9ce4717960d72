//! Credentials that were valid a moment ago, which are accepted without another query.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::limits::{CREDENTIAL_CACHED, CREDENTIALS_CACHED_MAX};

/// Holders by the hash of their credential. Only valid ones are kept, so that guessing does not
/// fill the memory.
pub(super) struct RecentlyGood<K, V>(Mutex<HashMap<K, (Arc<V>, Instant)>>);

impl<K: Hash + Eq + Copy, V> RecentlyGood<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Whether this credential was valid when it was last looked up.
    pub(super) fn knows(&self, hash: &K) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(hash)
    }

    /// The holder, as it was at most [`CREDENTIAL_CACHED`] ago.
    pub(super) fn find(&self, hash: &K) -> Option<Arc<V>> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (holder, at) = cache.get(hash)?;
        (at.elapsed() < CREDENTIAL_CACHED).then(|| Arc::clone(holder))
    }

    pub(super) fn keep(&self, hash: &K, holder: &Arc<V>, asked_at: Instant) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CREDENTIALS_CACHED_MAX {
            cache.retain(|_, (_, at)| at.elapsed() < CREDENTIAL_CACHED);
        }
        if cache.len() < CREDENTIALS_CACHED_MAX {
            cache.insert(*hash, (Arc::clone(holder), asked_at));
        }
    }

    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
