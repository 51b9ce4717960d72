//! Layouts of homes, kept between searches. Whether one is still good is told by the generation that
//! the search itself has read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use store::homes::Home;

use crate::rank::Layout;

/// Most memory for layouts, of all homes together. A chunk takes 60 to 90 bytes.
const LAYOUTS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The layouts that are kept: those used longest ago go first.
pub(super) struct Layouts(Mutex<Kept>);

struct Kept {
    homes: LruCache<Home, Dated>,
    size_bytes: usize,
    max_bytes: usize,
}

struct Dated {
    generation: i64,
    layout: Arc<Layout>,
}

impl Default for Layouts {
    fn default() -> Self {
        Self::up_to(LAYOUTS_MAX_BYTES)
    }
}

impl Layouts {
    fn up_to(max_bytes: usize) -> Self {
        let homes = LruCache::new_unbounded();
        Self(Mutex::new(Kept { homes, size_bytes: 0, max_bytes }))
    }

    /// The layout of a home, and the generation that it is of.
    pub(super) fn get(&self, home: &Home) -> Option<(i64, Arc<Layout>)> {
        let mut kept = self.kept();
        kept.homes.get(home).map(|dated| (dated.generation, dated.layout.clone()))
    }

    /// Keeps the layout that a home had at a generation, if none that is newer is kept.
    pub(super) fn keep(&self, home: &Home, generation: i64, layout: Arc<Layout>) {
        let mut kept = self.kept();
        if kept.homes.peek(home).is_some_and(|dated| dated.generation > generation) {
            return;
        }
        kept.size_bytes += bytes_of(home, &layout);
        if let Some(old) = kept.homes.insert(home.clone(), Dated { generation, layout }) {
            kept.size_bytes -= bytes_of(home, &old.layout);
        }
        while kept.size_bytes > kept.max_bytes
            && let Some((home, oldest)) = kept.homes.remove_lru()
        {
            kept.size_bytes -= bytes_of(&home, &oldest.layout);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With what keeping it takes besides.
fn bytes_of(home: &Home, layout: &Layout) -> usize {
    size_of_val(home) + home.name_bytes() + size_of::<Dated>() + layout.size_bytes()
}

#[cfg(test)]
mod tests {
    use protocol::{memory::Visibility, scope::Scope};
    use uuid::Uuid;

    use super::*;
    use crate::rank::Placed;

    fn home(user: &str) -> Home {
        let (org_id, user_id) = ("acme".parse().unwrap(), user.parse().unwrap());
        let scope = Scope { org_id, user_id, project_id: None };
        Home::of(&scope, Visibility::Scope)
    }

    fn layout(chunks: i64) -> Arc<Layout> {
        let placed = (0..chunks).map(|chunk_id| Placed {
            chunk_id,
            memory_id: Uuid::nil(),
            parent_id: Uuid::nil(),
            length: 1,
        });
        Arc::new(Layout::new(placed.collect()))
    }

    #[test]
    fn the_newest_generation_stays() {
        let layouts = Layouts::default();
        let generation = |user| layouts.get(&home(user)).map(|(generation, _)| generation);
        layouts.keep(&home("a"), 2, layout(1));
        assert_eq!(generation("a"), Some(2));
        layouts.keep(&home("a"), 1, layout(1));
        assert_eq!(generation("a"), Some(2));
        layouts.keep(&home("a"), 3, layout(1));
        assert_eq!(generation("a"), Some(3));
        assert_eq!(generation("b"), None);
    }

    #[test]
    fn those_used_longest_ago_go_first() {
        let one = bytes_of(&home("a"), &layout(64));
        let layouts = Layouts::up_to(2 * one);
        let kept =
            || ["a", "b", "c", "d"].map(|user| layouts.kept().homes.contains_key(&home(user)));
        layouts.keep(&home("a"), 1, layout(64));
        layouts.keep(&home("b"), 1, layout(64));
        layouts.get(&home("a"));
        layouts.keep(&home("c"), 1, layout(64));
        assert_eq!(kept(), [true, false, true, false]);
        layouts.keep(&home("c"), 2, layout(1));
        assert!(layouts.kept().size_bytes < 2 * one);
        layouts.keep(&home("d"), 1, layout(1_000));
        assert_eq!(kept(), [false; 4], "what is larger than all is not kept");
        assert_eq!(layouts.kept().size_bytes, 0);
    }
}
