//! Memories that say the same, and those that a later one has overtaken: found, shown, and gone
//! when either text changes or moves.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::{BoxFuture, FutureExt};
use memory::service::{MemoryError, MemoryService, consolidation::Pass};
use model::{
    embedding::{Embedder, Purpose},
    error::ModelError,
};
use protocol::{
    id::MemoryId,
    memory::{
        EditMemory, LinkKind, MemoryLink, MemoryType, SearchMemories, Visibility, WriteMemory,
    },
};
use store::memories::VECTOR_DIMENSIONS;

use crate::{edit_of, mine, store, strangers};

/// Memories under names of one letter.
struct World {
    service: MemoryService,
    ids: BTreeMap<char, MemoryId>,
}

impl World {
    async fn new(embedder: Option<Arc<dyn Embedder>>, texts: &[(char, &str)]) -> Self {
        let mut world =
            Self { service: MemoryService::new(store().await, embedder), ids: BTreeMap::new() };
        for (name, text) in texts {
            world.write(*name, &WriteMemory::new(MemoryType::Archival, *text)).await;
        }
        world
    }

    async fn write(&mut self, name: char, memory: &WriteMemory) {
        let id = self.service.write(&mine(), memory, None).await.unwrap();
        self.ids.insert(name, id);
    }

    /// What a pass finds, as `b=a` (b says what a says) and `a<b` (b has taken a's place).
    async fn pass(&self, pass: Pass) -> (u32, Vec<String>) {
        let done = self.service.consolidate(&mine(), pass).await.unwrap();
        assert!(!done.more);
        (done.looked_at, self.told(&done.links))
    }

    async fn links(&self, name: char) -> Vec<String> {
        self.told(&self.service.links(&mine(), self.ids[&name]).await.unwrap())
    }

    fn told(&self, links: &[MemoryLink]) -> Vec<String> {
        let name = |id: MemoryId| self.ids.iter().find(|(_, known)| **known == id).unwrap().0;
        let mut told: Vec<_> = links
            .iter()
            .map(|link| {
                assert!(link.score > 0.0 && link.score <= 1.0, "{link:?}");
                let sign = match link.kind {
                    LinkKind::Duplicate => '=',
                    LinkKind::Superseded => '<',
                };
                format!("{}{sign}{}", name(link.from), name(link.to))
            })
            .collect();
        told.sort();
        told
    }
}

const TEXTS: [(char, &str); 7] = [
    ('a', "The gate code of the office is 4711."),
    ('b', "The office gate code is 4711!"),
    ('c', "Ann plays chess on Sundays."),
    ('d', "李想喜欢喝绿茶"),
    ('e', "The gate code of the office is 1234."),
    ('f', "李想不喜欢喝绿茶"),
    ('g', "Tea."),
];

#[tokio::test]
async fn what_says_the_same_and_what_was_overtaken_is_found_once() {
    let world = World::new(None, &TEXTS).await;
    let want: Vec<String> = ["a<e", "b<e", "b=a", "d<f"].map(str::to_owned).to_vec();
    for _ in 0..2 {
        assert_eq!(world.pass(Pass::OnlyLooks).await, (7, want.clone()));
    }
    assert_eq!(world.links('a').await, Vec::<String>::new(), "it has only looked");
    assert_eq!(world.pass(Pass::Marks).await, (7, want.clone()));
    for _ in 0..2 {
        assert_eq!(world.pass(Pass::Marks).await, (0, vec![]));
    }
    assert_eq!(world.links('a').await, ["a<e", "b=a"]);
    assert_eq!(world.links('f').await, ["d<f"]);
    assert_eq!(world.links('c').await, Vec::<String>::new());
    // Nothing is hidden.
    let hits = world.service.search(&mine(), &SearchMemories::new("gate code 4711")).await.unwrap();
    assert!(hits.iter().any(|hit| hit.id == world.ids[&'a']));
    assert_eq!(world.service.consolidate_all(0).await.unwrap(), 0);
}

#[tokio::test]
async fn a_link_goes_with_either_text_and_comes_again() {
    let world = World::new(None, &TEXTS).await;
    world.pass(Pass::Marks).await;
    let importance = EditMemory { importance: Some(0.9), ..EditMemory::default() };
    world.service.edit(&mine(), world.ids[&'d'], &importance, None).await.unwrap();
    assert_eq!(world.links('d').await, ["d<f"], "its text is the same");
    let told = edit_of("The office gate code is 4711, again.");
    world.service.edit(&mine(), world.ids[&'b'], &told, None).await.unwrap();
    assert_eq!(world.links('a').await, ["a<e"]);
    assert_eq!(world.links('e').await, ["a<e"]);
    world.service.delete(&mine(), world.ids[&'e']).await.unwrap();
    assert_eq!(world.links('a').await, Vec::<String>::new());
    // What has changed is looked at again, and nothing else.
    assert_eq!(world.pass(Pass::Marks).await, (2, vec!["b=a".to_owned()]));
}

#[tokio::test]
async fn a_link_goes_with_who_sees_either_memory_and_comes_again() {
    let world = World::new(None, &TEXTS).await;
    world.pass(Pass::Marks).await;
    let service = world.service.reaching(Visibility::Org);
    let show_to = async |visibility| {
        let edit = EditMemory { visibility: Some(visibility), ..EditMemory::default() };
        service.edit(&mine(), world.ids[&'a'], &edit, None).await.unwrap();
    };
    for wider in [Visibility::User, Visibility::Org] {
        show_to(Visibility::Scope).await;
        assert_eq!(world.links('a').await, ["a<e", "b=a"], "{wider}: it has not moved");
        show_to(wider).await;
        assert_eq!(world.links('a').await, Vec::<String>::new(), "{wider}");
        assert_eq!(world.links('b').await, ["b<e"], "{wider}: its end of a link is gone, too");
        assert_eq!(world.links('e').await, ["b<e"], "{wider}");
        assert_eq!(world.pass(Pass::Marks).await, (0, vec![]), "{wider}: it lives elsewhere");
        show_to(Visibility::Scope).await;
        assert_eq!(world.links('a').await, Vec::<String>::new(), "{wider}: not of itself");
        let again = ["a<e", "b=a"].map(str::to_owned).to_vec();
        assert_eq!(world.pass(Pass::Marks).await, (1, again), "{wider}");
    }
}

#[tokio::test]
async fn a_later_time_is_what_is_said_to_have_happened_later() {
    let mut world = World::new(None, &[]).await;
    let meeting = |day: &str, room: &str| WriteMemory {
        occurred_at: Some(day.to_owned().try_into().unwrap()),
        ..WriteMemory::new(MemoryType::Archival, format!("The budget meeting is in room {room}."))
    };
    world.write('n', &meeting("2026-03-02", "12")).await;
    world.write('o', &meeting("2026-02-02", "7")).await;
    assert_eq!(world.pass(Pass::Marks).await, (2, vec!["o<n".to_owned()]));
}

#[tokio::test]
async fn only_one_layer_of_one_scope_is_compared() {
    let mut world = World::new(None, &TEXTS[..1]).await;
    world.write('x', &WriteMemory::new(MemoryType::Core, TEXTS[1].1)).await;
    for stranger in &strangers() {
        let twin = WriteMemory::new(MemoryType::Archival, TEXTS[1].1);
        world.service.write(stranger, &twin, None).await.unwrap();
    }
    assert_eq!(world.pass(Pass::Marks).await, (2, vec![]));
    for stranger in &strangers() {
        let done = world.service.consolidate(stranger, Pass::Marks).await.unwrap();
        assert_eq!((done.looked_at, done.links), (1, vec![]));
        let links = world.service.links(stranger, world.ids[&'a']).await;
        assert!(matches!(links, Err(MemoryError::NotFound)), "{links:?}");
    }
}

/// Knows two subjects: whatever is of the same one has the same vector.
struct Subjects;

impl Embedder for Subjects {
    fn id(&self) -> &str {
        "test/subjects"
    }

    fn dimensions(&self) -> usize {
        VECTOR_DIMENSIONS
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        _: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        let of = |text: &String| {
            let mut vector = vec![0.0; VECTOR_DIMENSIONS];
            vector[usize::from(text.contains("museum"))] = 1.0;
            vector
        };
        async move { Ok(texts.iter().map(of).collect()) }.boxed()
    }
}

#[tokio::test]
async fn with_vectors_fewer_words_must_be_the_same() {
    let texts = [
        ('a', "The museum opens early every morning."),
        ('b', "Every morning the museum unlocks its doors."), // 3 of 7 words of both.
        ('c', "The museum opens early in the morning."),      // 4 of 5, and 2 of 7 of `b`.
        ('d', "The director plays chess every morning early."), // Another subject.
    ];
    let by_words = World::new(None, &texts).await.pass(Pass::Marks).await;
    let both = World::new(Some(Arc::new(Subjects)), &texts).await.pass(Pass::Marks).await;
    assert_eq!(by_words, (4, vec!["c=a".to_owned()]));
    assert_eq!(both, (4, vec!["b=a".to_owned(), "c=a".to_owned()]));
}
