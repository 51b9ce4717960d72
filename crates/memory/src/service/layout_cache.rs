//! Layouts of homes, kept between searches. Whether one is up to date is told by the generation that
//! the search itself has read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use store::homes::Home;

use crate::rank::Layout;

/// Most memory for layouts, of all homes together. A chunk takes 60 to 90 bytes.
const LAYOUTS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// A cache that drops what was used longest ago first.
pub(super) struct LayoutCache(Mutex<Entries>);

struct Entries {
    homes: LruCache<Home, Entry>,
    size_bytes: usize,
    max_bytes: usize,
}

struct Entry {
    generation: i64,
    layout: Arc<Layout>,
}

impl Default for LayoutCache {
    fn default() -> Self {
        Self::up_to(LAYOUTS_MAX_BYTES)
    }
}

impl LayoutCache {
    fn up_to(max_bytes: usize) -> Self {
        let homes = LruCache::new_unbounded();
        Self(Mutex::new(Entries { homes, size_bytes: 0, max_bytes }))
    }

    /// The layout of a home, and the generation that it is of.
    pub(super) fn get(&self, home: &Home) -> Option<(i64, Arc<Layout>)> {
        let mut entries = self.entries();
        entries.homes.get(home).map(|entry| (entry.generation, entry.layout.clone()))
    }

    /// Keeps the layout that a home had at a generation, unless a newer one is kept.
    pub(super) fn insert(&self, home: &Home, generation: i64, layout: Arc<Layout>) {
        let mut entries = self.entries();
        if entries.homes.peek(home).is_some_and(|entry| entry.generation > generation) {
            return;
        }
        entries.size_bytes += size_bytes(home, &layout);
        if let Some(old) = entries.homes.insert(home.clone(), Entry { generation, layout }) {
            entries.size_bytes -= size_bytes(home, &old.layout);
        }
        while entries.size_bytes > entries.max_bytes
            && let Some((home, oldest)) = entries.homes.remove_lru()
        {
            entries.size_bytes -= size_bytes(&home, &oldest.layout);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an entry takes with its key.
fn size_bytes(home: &Home, layout: &Layout) -> usize {
    size_of_val(home) + home.name_bytes() + size_of::<Entry>() + layout.size_bytes()
}

#[cfg(test)]
mod tests {
    use protocol::{memory::Visibility, scope::Scope};
    use store::memories::search::ChunkPlace;
    use uuid::Uuid;

    use super::*;

    fn home(user: &str) -> Home {
        let (org_id, user_id) = ("acme".parse().unwrap(), user.parse().unwrap());
        let scope = Scope { org_id, user_id, project_id: None };
        Home::of(&scope, Visibility::Scope)
    }

    fn layout(chunks: i64) -> Arc<Layout> {
        let chunks = (0..chunks).map(|chunk_id| ChunkPlace {
            chunk_id,
            memory_id: Uuid::nil(),
            parent_id: Uuid::nil(),
            length: 1,
        });
        Arc::new(Layout::new(chunks.collect()))
    }

    #[test]
    fn the_newest_generation_stays() {
        let cache = LayoutCache::default();
        let generation = |user| cache.get(&home(user)).map(|(generation, _)| generation);
        cache.insert(&home("a"), 2, layout(1));
        assert_eq!(generation("a"), Some(2));
        cache.insert(&home("a"), 1, layout(1));
        assert_eq!(generation("a"), Some(2));
        cache.insert(&home("a"), 3, layout(1));
        assert_eq!(generation("a"), Some(3));
        assert_eq!(generation("b"), None);
    }

    #[test]
    fn those_used_longest_ago_go_first() {
        let one = size_bytes(&home("a"), &layout(64));
        let cache = LayoutCache::up_to(2 * one);
        let kept =
            || ["a", "b", "c", "d"].map(|user| cache.entries().homes.contains_key(&home(user)));
        cache.insert(&home("a"), 1, layout(64));
        cache.insert(&home("b"), 1, layout(64));
        cache.get(&home("a"));
        cache.insert(&home("c"), 1, layout(64));
        assert_eq!(kept(), [true, false, true, false]);
        cache.insert(&home("c"), 2, layout(1));
        assert!(cache.entries().size_bytes < 2 * one);
        cache.insert(&home("d"), 1, layout(1_000));
        assert_eq!(kept(), [false; 4], "what is larger than all is not kept");
        assert_eq!(cache.entries().size_bytes, 0);
    }
}
