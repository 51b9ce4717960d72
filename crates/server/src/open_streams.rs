//! How many streams are open: in all, by organisation, by credential. A slot is
//! given back when it is dropped. Only the streams of this process are counted.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use protocol::{error::ErrorCode, name::OrgId};

use crate::{auth::principal::CredentialHolder, error::ApiError, settings::ServerSettings};

/// The streams of this process.
#[derive(Clone, Default)]
pub(crate) struct OpenStreams(Arc<Mutex<OpenCounts>>);

/// There are no entries of 0, so that there are never more entries than streams.
#[derive(Default)]
struct OpenCounts {
    all: usize,
    of_org: HashMap<OrgId, usize>,
    of_holder: HashMap<CredentialHolder, usize>,
}

impl OpenStreams {
    /// A slot for one more stream, or an error that says which bound is reached.
    pub(crate) fn acquire(
        &self,
        org_id: &OrgId,
        holder: Option<&CredentialHolder>,
        settings: &ServerSettings,
    ) -> Result<StreamSlot, ApiError> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |who: &str| {
            let words = format!("{who} has reached its limit of open streams");
            ApiError::new(ErrorCode::QuotaExceeded, words).hint("close one")
        };
        let limits = &settings.tenants;
        if counts.all >= settings.streams_max {
            let words = "this server has reached its limit of open streams";
            return Err(ApiError::new(ErrorCode::QuotaExceeded, words).hint("try again"));
        }
        if open_of(&counts.of_org, org_id) >= limits.streams_per_org as usize {
            return Err(open("the organisation"));
        }
        if holder.is_some_and(|holder| {
            open_of(&counts.of_holder, holder) >= limits.streams_per_key as usize
        }) {
            return Err(open("the credential"));
        }
        counts.all += 1;
        *counts.of_org.entry(org_id.clone()).or_default() += 1;
        if let Some(holder) = holder {
            *counts.of_holder.entry(holder.clone()).or_default() += 1;
        }
        metrics::gauge!("openintern_streams_open").increment(1);
        Ok(StreamSlot { open: self.clone(), org_id: org_id.clone(), holder: holder.cloned() })
    }
}

/// Counts as one open stream while it lives.
pub(crate) struct StreamSlot {
    open: OpenStreams,
    org_id: OrgId,
    holder: Option<CredentialHolder>,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut counts = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        leave(&mut counts.of_org, &self.org_id);
        if let Some(holder) = &self.holder {
            leave(&mut counts.of_holder, holder);
        }
        metrics::gauge!("openintern_streams_open").decrement(1);
    }
}

fn open_of<K: Hash + Eq>(counts: &HashMap<K, usize>, who: &K) -> usize {
    counts.get(who).copied().unwrap_or(0)
}

fn leave<K: Hash + Eq>(counts: &mut HashMap<K, usize>, who: &K) {
    if let Some(count) = counts.get_mut(who) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(who);
        }
    }
}
