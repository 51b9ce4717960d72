//! How many bytes wait in this process for whoever sends or reads them: of a credential, of an
//! organisation, in all. Pages of streams wait for followers (what these share counts once, for the
//! follower that had it read), and bodies of requests for their rest.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use protocol::name::OrgId;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{auth::principal::CredentialHolder, limits::ByteBounds};

/// The bytes of one kind that wait in this process.
#[derive(Clone)]
pub(crate) struct WaitingBytes(Arc<Waiting>);

struct Waiting {
    bounds: ByteBounds,
    /// Shows how many there are in all.
    gauge: metrics::Gauge,
    counts: Mutex<ByteCounts>,
    freed: Notify,
}

/// There are no entries of 0, so that there are never more entries than rooms.
#[derive(Default)]
struct ByteCounts {
    all: usize,
    of_org: HashMap<Option<OrgId>, usize>,
    of_holder: HashMap<CredentialHolder, usize>,
}

/// For whom bytes are kept. Those who are not known count together.
#[derive(Clone, Default)]
pub(crate) struct BytesOwner {
    pub(crate) org_id: Option<OrgId>,
    pub(crate) holder: Option<CredentialHolder>,
}

/// The bound on waiting bytes is reached, and none of them went in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl WaitingBytes {
    pub(crate) fn new(bounds: ByteBounds, gauge: metrics::Gauge) -> Self {
        let (counts, freed) = (Mutex::default(), Notify::new());
        Self(Arc::new(Waiting { bounds, gauge, counts, freed }))
    }

    /// Room for so many bytes, as soon as others leave it.
    pub(crate) async fn reserve(
        &self,
        owner: &BytesOwner,
        bytes: usize,
    ) -> Result<ByteRoom, NoRoom> {
        let until = Instant::now() + self.0.bounds.wait;
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable(); // Before the look, so that nothing falls between.
            if let Some(room) = self.try_reserve(owner, bytes) {
                return Ok(room);
            }
            timeout_at(until, freed).await.map_err(|_| NoRoom)?;
        }
    }

    fn try_reserve(&self, owner: &BytesOwner, bytes: usize) -> Option<ByteRoom> {
        let bounds = self.0.bounds;
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |held: usize, most: usize| held == 0 || held + bytes <= most;
        let held_by = |holder| count_of(&counts.of_holder, holder);
        if !fits(counts.all, bounds.all)
            || !fits(count_of(&counts.of_org, &owner.org_id), bounds.per_org)
            || !owner.holder.as_ref().is_none_or(|holder| fits(held_by(holder), bounds.per_key))
        {
            return None;
        }
        counts.change(owner, 0, bytes);
        self.0.gauge.set(counts.all as f64);
        Some(ByteRoom { waiting: Arc::clone(&self.0), owner: owner.clone(), bytes })
    }
}

/// Counts as so many bytes while it lives.
pub(crate) struct ByteRoom {
    waiting: Arc<Waiting>,
    owner: BytesOwner,
    bytes: usize,
}

impl ByteRoom {
    /// Sets the number of bytes, which is known once they have been read.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let mut counts = self.waiting.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.change(&self.owner, self.bytes, bytes);
        self.waiting.gauge.set(counts.all as f64);
        drop(counts);
        let is_freed = bytes < self.bytes;
        self.bytes = bytes;
        if is_freed {
            self.waiting.freed.notify_waiters();
        }
    }
}

impl Drop for ByteRoom {
    fn drop(&mut self) {
        self.resize(0);
    }
}

impl ByteCounts {
    fn change(&mut self, owner: &BytesOwner, from: usize, to: usize) {
        self.all = (self.all + to).saturating_sub(from);
        change_count(&mut self.of_org, &owner.org_id, from, to);
        if let Some(holder) = &owner.holder {
            change_count(&mut self.of_holder, holder, from, to);
        }
    }
}

fn count_of<K: Hash + Eq>(counts: &HashMap<K, usize>, who: &K) -> usize {
    counts.get(who).copied().unwrap_or(0)
}

fn change_count<K: Hash + Eq + Clone>(
    counts: &mut HashMap<K, usize>,
    who: &K,
    from: usize,
    to: usize,
) {
    let count = (count_of(counts, who) + to).saturating_sub(from);
    if count == 0 {
        counts.remove(who);
    } else {
        counts.insert(who.clone(), count);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn owner(org: &str, user: &str) -> BytesOwner {
        let org_id: OrgId = org.parse().unwrap();
        let holder = CredentialHolder::User(org_id.clone(), user.parse().unwrap());
        BytesOwner { org_id: Some(org_id), holder: Some(holder) }
    }

    fn waiting(wait: Duration) -> WaitingBytes {
        let bounds = ByteBounds { per_key: 10, per_org: 15, all: 25, wait };
        WaitingBytes::new(bounds, metrics::Gauge::noop())
    }

    #[tokio::test]
    async fn a_credential_an_organisation_and_a_process_hold_so_much_and_no_more() {
        let bytes = waiting(Duration::ZERO);
        let room = |org, user, size| bytes.try_reserve(&owner(org, user), size);
        let li = room("a", "li", 10).expect("a credential's bound");
        assert!(room("a", "li", 1).is_none());
        let _wang = room("a", "wang", 5).expect("another credential of the organisation");
        assert!(room("a", "wang", 1).is_none(), "the organisation's bound");
        let _other = room("b", "li", 10).expect("another organisation");
        assert!(room("c", "li", 10).is_none(), "the bound of the process");
        drop(li);
        assert!(room("c", "li", 10).is_some());
        assert!(room("d", "li", 100).is_none(), "more than the process may hold");
    }

    #[tokio::test]
    async fn what_is_larger_than_was_thought_counts_as_it_is() {
        let bytes = waiting(Duration::ZERO);
        let li = owner("a", "li");
        let mut held = bytes.reserve(&li, 10).await.unwrap();
        held.resize(30);
        assert_eq!(bytes.reserve(&owner("b", "li"), 1).await.err(), Some(NoRoom));
        held.resize(9);
        assert!(bytes.reserve(&li, 1).await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_for_room_goes_on_when_somebody_leaves_it() {
        let bytes = waiting(Duration::from_secs(3600));
        let li = owner("a", "li");
        let mut held = bytes.reserve(&li, 10).await.unwrap();
        let waits = bytes.reserve(&li, 4);
        let leaves = async { held.resize(6) };
        let (waited, ()) = tokio::join!(waits, leaves);
        drop(waited.unwrap());
        drop(held);
        assert!(bytes.0.counts.lock().unwrap().of_org.is_empty());
        assert!(bytes.0.counts.lock().unwrap().of_holder.is_empty());
    }
}
