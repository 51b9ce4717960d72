//! How many streams are open: in all, of an organisation, of whoever holds a credential. A place is
//! given back when it is dropped. Counted are the streams of this process alone.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use protocol::{error::ErrorCode, name::OrgId};

use crate::{Settings, identity::Holder, refusal::Refusal};

/// The streams of this process.
#[derive(Clone, Default)]
pub(crate) struct OpenStreams(Arc<Mutex<Counts>>);

/// Nobody is in here with 0, so that there are never more entries than streams.
#[derive(Default)]
struct Counts {
    all: usize,
    of_org: HashMap<OrgId, usize>,
    of_holder: HashMap<Holder, usize>,
}

impl OpenStreams {
    /// A place for one more stream, or which bound is reached.
    pub(crate) fn enter(
        &self,
        org_id: &OrgId,
        holder: Option<&Holder>,
        settings: &Settings,
    ) -> Result<StreamPlace, Refusal> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |who: &str| {
            let words = format!("{who} has as many streams open as it may (hint: close one)");
            Refusal::new(ErrorCode::QuotaExceeded, words)
        };
        let limits = &settings.tenants;
        if counts.all >= settings.streams_max {
            let words = "too many streams are open (hint: try again)";
            return Err(Refusal::new(ErrorCode::QuotaExceeded, words));
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
        metrics::gauge!("streams_open").increment(1);
        Ok(StreamPlace { open: self.clone(), org_id: org_id.clone(), holder: holder.cloned() })
    }
}

/// Counts as one open stream while it lives.
pub(crate) struct StreamPlace {
    open: OpenStreams,
    org_id: OrgId,
    holder: Option<Holder>,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut counts = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        leave(&mut counts.of_org, &self.org_id);
        if let Some(holder) = &self.holder {
            leave(&mut counts.of_holder, holder);
        }
        metrics::gauge!("streams_open").decrement(1);
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
