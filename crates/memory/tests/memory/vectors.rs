//! Searching by vectors: what they add, whose are compared, and what goes on without them.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use memory::service::{MemoryService, reindex::ReindexError};
use model::{
    embedding::{Embedder, Hashed, Purpose},
    error::ModelError,
};
use protocol::{
    memory::{SearchMemories, VectorScan, Visibility},
    scope::Scope,
};
use store::memories::reindex::Stale;

use crate::{fact, find, found, mine, multilingual::multilingual, scope, seen_by, store, write};

#[tokio::test]
async fn meanings_are_found_in_another_language() {
    let service = MemoryService::new(store().await, Some(multilingual()));
    for text in [
        "My daughter Mia started third grade this autumn",
        "The gate code of the warehouse is 4711",
        "We spent the holidays hiking in the Alps",
        "The quarterly report is due on Friday",
    ] {
        write(&service, fact(text)).await;
    }
    let check = async |query: &str, want: &str| {
        let asked = SearchMemories { explain: true, ..SearchMemories::new(query) };
        let hits = service.search(&mine(), &asked).await.unwrap();
        assert!(hits[0].snippet.contains(want), "{query}: {hits:?}");
        let explain = hits[0].explain.clone().unwrap();
        assert_eq!((explain.vector.rank, explain.vector_scan), (Some(1), VectorScan::Exact));
        explain
    };
    let explain = check("我女儿上几年级？", "daughter").await;
    assert_eq!((explain.lexical.weight, explain.vector.weight), (0.2, 0.8), "no word is known");
    check("仓库大门的密码是多少？", "4711").await;
    check("where did we go on vacation", "Alps").await;
    let explain = check("When is the quarterly report due?", "Friday").await;
    assert_eq!((explain.lexical.weight, explain.vector.weight), (0.6, 0.4));
}

#[tokio::test]
async fn what_has_no_vector_or_an_old_one_gets_a_new_one() {
    let store = store().await;
    let stranger = scope("other", "ada", Some("p"));
    let by_words = MemoryService::new(store.clone(), None);
    let old = MemoryService::new(store.clone(), Some(Arc::new(Hashed::new(256))));
    let new = MemoryService::new(store.clone(), Some(multilingual()));
    let hiking = write(&by_words, fact("We spent the holidays hiking")).await;
    let dinner = write(&old, fact("Dinner was soup")).await;
    by_words.write(&stranger, &fact("The holidays are over"), None).await.unwrap();

    let by_vector = async |service: &MemoryService, scope: &Scope| {
        let asked = SearchMemories { explain: true, ..SearchMemories::new("假期") };
        let hits = service.search(scope, &asked).await.unwrap();
        let mut ids: Vec<_> = hits.iter().map(|hit| hit.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(by_vector(&new, &mine()).await, []);

    let mut done = 0;
    new.embed_stale(Stale::Missing, || 0, |chunks| done += chunks).await.unwrap();
    assert_eq!(done, 2);
    assert_eq!(by_vector(&new, &mine()).await, [hiking], "the hashed vector stays");
    assert_eq!(by_vector(&new, &stranger).await.len(), 1);

    new.embed_stale(Stale::Other, || 0, |chunks| done += chunks).await.unwrap();
    assert_eq!(done, 3);
    let near = by_vector(&new, &mine()).await;
    assert!(near.contains(&hiking) && near.iter().all(|id| [hiking, dinner].contains(id)));
    new.embed_stale(Stale::Other, || 0, |chunks| done += chunks).await.unwrap();
    assert_eq!(done, 3, "nothing is left to do");

    let none = by_words.embed_stale(Stale::Missing, || 0, |_| {}).await;
    assert!(matches!(none, Err(ReindexError::NoEmbedder)), "{none:?}");
}

#[tokio::test]
async fn shared_memories_get_their_vectors_too() {
    let store = store().await;
    let by_words = MemoryService::new(store.clone(), None).reaching(Visibility::Org);
    for visibility in Visibility::ALL {
        write(&by_words, seen_by(visibility, "strawberry marmalade")).await;
    }
    let hashed = MemoryService::new(store, Some(Arc::new(Hashed::new(256))));
    let mut done = 0;
    hashed.embed_stale(Stale::Missing, || 0, |chunks| done += chunks).await.unwrap();
    assert_eq!(done, 3);
    assert_eq!(find(&hashed, "strawbery marmelade").await.len(), 3);
}

#[tokio::test]
async fn vectors_of_another_model_are_not_compared() {
    let store = store().await;
    struct Renamed(Hashed);
    impl Embedder for Renamed {
        fn id(&self) -> &str {
            "test/renamed"
        }
        fn dimensions(&self) -> usize {
            self.0.dimensions()
        }
        fn embed<'a>(
            &'a self,
            texts: &'a [String],
            purpose: Purpose,
        ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
            self.0.embed(texts, purpose)
        }
    }
    let old = MemoryService::new(store.clone(), Some(Arc::new(Hashed::new(256))));
    let new = MemoryService::new(store, Some(Arc::new(Renamed(Hashed::new(256)))));
    write(&old, fact("strawberry marmalade")).await;
    assert_eq!(found(&old, "strawbery marmelade").await, ["strawberry marmalade"]);
    assert_eq!(find(&new, "strawbery marmelade").await, []);
    assert_eq!(found(&new, "strawberry").await, ["strawberry marmalade"]);
}

#[tokio::test]
async fn words_go_on_when_the_embedder_does_not() {
    let store = store().await;
    for (fault, text) in [
        (Fault::Away, "apples are red"),
        (Fault::Silent, "bananas are yellow"),
        (Fault::Zeros, "cherries are sour"),
    ] {
        let service = MemoryService::new(store.clone(), Some(Arc::new(Broken { fault })));
        let id = write(&service, fact(text)).await;
        let asked = SearchMemories { explain: true, ..SearchMemories::new(text) };
        let hits = service.search(&mine(), &asked).await.unwrap();
        assert_eq!(hits[0].id, id);
        let scan = hits[0].explain.clone().unwrap().vector_scan;
        let want = match fault {
            Fault::Silent => VectorScan::Late,
            Fault::Away | Fault::Zeros => VectorScan::Failed,
        };
        assert_eq!(scan, want);
    }
}

#[tokio::test]
async fn an_embedder_that_is_away_ends_a_reindex() {
    let store = store().await;
    let by_words = MemoryService::new(store.clone(), None);
    for user in ["ada", "bob", "eve", "kim"] {
        by_words.write(&scope("acme", user, None), &fact("milk"), None).await.unwrap();
    }
    let broken = MemoryService::new(store, Some(Arc::new(Broken { fault: Fault::Away })));
    let ended = broken.embed_stale(Stale::Missing, || 0, |_| {}).await;
    assert!(matches!(ended, Err(ReindexError::Unanswered)), "{ended:?}");
}

/// An embedder whose endpoint is away, never answers, or answers nonsense.
struct Broken {
    fault: Fault,
}

#[derive(Clone, Copy)]
enum Fault {
    Away,
    Silent,
    Zeros,
}

impl Embedder for Broken {
    fn id(&self) -> &str {
        "test/broken"
    }

    fn dimensions(&self) -> usize {
        256
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        async move {
            match (self.fault, purpose) {
                (Fault::Away, _) => Err(ModelError::Auth { message: "HTTP 401".into() }),
                (Fault::Silent, Purpose::Query) => std::future::pending().await,
                _ => Ok(vec![vec![0.0; 256]; texts.len()]),
            }
        }
        .boxed()
    }
}
