//! How many bytes of streams wait for their followers: of a credential, of an organisation, in all.
//! What followers share counts once, for the follower that had it read. Only the bytes of this
//! process are counted.

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

use crate::{auth::principal::CredentialHolder, settings::ServerSettings};

/// The bytes that wait in this process.
#[derive(Clone, Default)]
pub(crate) struct StreamBytes(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    counts: Mutex<ByteCounts>,
    freed: Notify,
}

/// There are no entries of 0, so that there are never more entries than rooms.
#[derive(Default)]
struct ByteCounts {
    all: usize,
    of_org: HashMap<OrgId, usize>,
    of_holder: HashMap<CredentialHolder, usize>,
}

/// For whom bytes are read.
#[derive(Clone)]
pub(crate) struct StreamReader {
    pub(crate) org_id: OrgId,
    pub(crate) holder: Option<CredentialHolder>,
}

/// The bound on waiting bytes is reached, and no follower read any in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl StreamBytes {
    /// Room for so many bytes, as soon as the followers who have theirs leave it.
    pub(crate) async fn reserve(
        &self,
        reader: &StreamReader,
        bytes: usize,
        settings: &ServerSettings,
    ) -> Result<ByteRoom, NoRoom> {
        let until = Instant::now() + settings.stream_room_wait;
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable(); // Before the look, so that nothing falls between.
            if let Some(room) = self.try_reserve(reader, bytes, settings) {
                return Ok(room);
            }
            timeout_at(until, freed).await.map_err(|_| NoRoom)?;
        }
    }

    fn try_reserve(
        &self,
        reader: &StreamReader,
        bytes: usize,
        settings: &ServerSettings,
    ) -> Option<ByteRoom> {
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |held: usize, most: usize| held == 0 || held + bytes <= most;
        let held_by = |holder| count_of(&counts.of_holder, holder);
        if !fits(counts.all, settings.stream_bytes_max)
            || !fits(count_of(&counts.of_org, &reader.org_id), settings.stream_bytes_per_org)
            || !reader
                .holder
                .as_ref()
                .is_none_or(|holder| fits(held_by(holder), settings.stream_bytes_per_key))
        {
            return None;
        }
        counts.change(reader, 0, bytes);
        Some(ByteRoom { waiting: Arc::clone(&self.0), reader: reader.clone(), bytes })
    }
}

/// Counts as so many bytes while it lives.
pub(crate) struct ByteRoom {
    waiting: Arc<Waiting>,
    reader: StreamReader,
    bytes: usize,
}

impl ByteRoom {
    /// Sets the number of bytes, which is known once they have been read.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let mut counts = self.waiting.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.change(&self.reader, self.bytes, bytes);
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
    fn change(&mut self, reader: &StreamReader, from: usize, to: usize) {
        self.all = (self.all + to).saturating_sub(from);
        change_count(&mut self.of_org, &reader.org_id, from, to);
        if let Some(holder) = &reader.holder {
            change_count(&mut self.of_holder, holder, from, to);
        }
        metrics::gauge!("openintern_stream_bytes_waiting").set(self.all as f64);
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

    fn reader(org: &str, user: &str) -> StreamReader {
        let org_id: OrgId = org.parse().unwrap();
        let holder = CredentialHolder::User(org_id.clone(), user.parse().unwrap());
        StreamReader { org_id, holder: Some(holder) }
    }

    fn settings() -> ServerSettings {
        ServerSettings {
            stream_bytes_per_key: 10,
            stream_bytes_per_org: 15,
            stream_bytes_max: 25,
            stream_room_wait: Duration::from_secs(3600),
            ..ServerSettings::default()
        }
    }

    #[tokio::test]
    async fn a_credential_an_organisation_and_a_process_hold_so_much_and_no_more() {
        let bytes = StreamBytes::default();
        let settings = settings();
        let room = |org, user, size| bytes.try_reserve(&reader(org, user), size, &settings);
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
    async fn who_waits_for_room_goes_on_when_somebody_leaves_it() {
        let bytes = StreamBytes::default();
        let settings = settings();
        let li = reader("a", "li");
        let mut held = bytes.reserve(&li, 10, &settings).await.unwrap();
        let waits = bytes.reserve(&li, 4, &settings);
        let leaves = async { held.resize(6) };
        let (waited, ()) = tokio::join!(waits, leaves);
        drop(waited.unwrap());
        held.resize(30); // It is larger than was thought: it counts as it is.
        let hurried = ServerSettings { stream_room_wait: Duration::ZERO, ..settings.clone() };
        assert_eq!(bytes.reserve(&li, 1, &hurried).await.err(), Some(NoRoom));
        drop(held);
        assert!(bytes.0.counts.lock().unwrap().of_org.is_empty());
        assert!(bytes.0.counts.lock().unwrap().of_holder.is_empty());
    }
}
