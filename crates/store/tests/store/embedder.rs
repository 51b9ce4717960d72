//! Which embedder a database has: who may take the place, whose vectors are kept.

use std::collections::HashMap;

use protocol::{
    id::MemoryId,
    memory::{MemoryType, Visibility},
};
use sqlx::{Connection, PgConnection};
use store::{
    Store,
    connect::inspect,
    homes::Home,
    memories::{Content, MemoryChange, NewChunk, NewMemory, reindex::Stale},
};

use crate::{fresh_with_database, ours};

/// Writes a memory of one chunk, as a node with `embedder` would.
async fn write(store: &Store, embedder: &str, text: &str) -> MemoryId {
    let id = MemoryId::generate();
    let memory = NewMemory {
        id,
        kind: MemoryType::Archival,
        content: content(embedder, text),
        metadata: serde_json::Map::new(),
        importance: 0.5,
        group_key: None,
        position: None,
        occurred_at: None,
        parent_id: id.uuid(),
        origin: None,
        visibility: Visibility::Scope,
    };
    store.scoped(&ours()).write_memories(&[memory]).await.unwrap();
    id
}

fn content(embedder: &str, text: &str) -> Content {
    let mut text_hash = [0; 32];
    text_hash.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    let chunk = NewChunk {
        text: text.into(),
        terms: vec![(text.into(), 1)],
        embedding: Some(vec![1.0; 256]),
    };
    let embedding_model = Some(embedder.into());
    Content { text: text.into(), text_hash, chunks: vec![chunk], embedding_model }
}

/// Of each chunk, by its text: whose vector it has.
async fn vectors(admin: &mut PgConnection) -> HashMap<String, Option<String>> {
    let rows: Vec<(String, Option<String>)> =
        sqlx::query_as("select chunk_text, embedding_model from memory_chunks")
            .fetch_all(admin)
            .await
            .unwrap();
    rows.into_iter().collect()
}

#[tokio::test]
async fn the_first_embedder_stays_as_long_as_something_stands_by_it() {
    let (store, database) = fresh_with_database().await;
    let adopt = async |embedder: &str| store.adopt_embedder(embedder).await.unwrap();
    let in_force = async || inspect(&database.app_url).await.unwrap().embedder;
    assert_eq!(in_force().await, None);
    assert_eq!(adopt("first").await, None);
    assert_eq!(adopt("first").await, None);
    assert_eq!(adopt("second").await, None, "nothing stands by the first");
    write(&store, "first", "without a vector, since it came too late").await;
    assert_eq!(in_force().await, None);
    assert_eq!(adopt("first").await, None);

    write(&store, "first", "with a vector").await;
    assert_eq!(in_force().await.as_deref(), Some("first"));
    assert_eq!(adopt("second").await.as_deref(), Some("first"));
    assert_eq!(adopt("first").await, None);
    store.set_embedder("second").await.unwrap();
    assert_eq!(adopt("first").await.as_deref(), Some("second"));
    assert_eq!(adopt("second").await, None);
}

#[tokio::test]
async fn a_worker_or_a_vector_that_was_filled_in_stands_by_an_embedder() {
    let (store, _database) = fresh_with_database().await;
    let adopt = async |embedder: &str| store.adopt_embedder(embedder).await.unwrap();
    assert_eq!(adopt("filled in").await, None);
    write(&store, "another", "a").await;
    let home = Home::of(&ours(), Visibility::Scope);
    let chunks = store.chunks_to_embed(&home, Stale::Missing, "filled in", 0, 10).await.unwrap();
    let vectors = [(chunks[0].chunk_id, vec![1.0; 256])];
    store.set_embeddings(&home, "filled in", &vectors).await.unwrap();
    assert_eq!(adopt("another").await.as_deref(), Some("filled in"));

    let (store, _database) = fresh_with_database().await;
    let adopt = async |embedder: &str| store.adopt_embedder(embedder).await.unwrap();
    assert_eq!(adopt("at work").await, None);
    let _alive = store.enter().await.unwrap();
    assert_eq!(adopt("another").await.as_deref(), Some("at work"));
    assert_eq!(adopt("at work").await, None);
}

#[tokio::test]
async fn vectors_of_another_than_the_one_in_force_are_left_out() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    write(&store, "old", "before any start").await;
    store.set_embedder("new").await.unwrap();
    write(&store, "old", "late").await;
    let edited = write(&store, "new", "on time").await;
    let kept = vectors(&mut admin).await;
    let of = |text: &str| kept[text].as_deref();
    assert_eq!(of("before any start"), Some("old"));
    assert_eq!((of("late"), of("on time")), (None, Some("new")));
    let change = MemoryChange { content: Some(content("old", "edited")), ..Default::default() };
    store.scoped(&ours()).home(Visibility::Scope).edit_memory(edited, &change, None).await.unwrap();
    assert_eq!(vectors(&mut admin).await["edited"], None);

    let home = Home::of(&ours(), Visibility::Scope);
    let to_fill_in = async |embedder: &str| -> Vec<String> {
        let chunks = store.chunks_to_embed(&home, Stale::Missing, embedder, 0, 10).await.unwrap();
        chunks.into_iter().map(|chunk| chunk.text).collect()
    };
    assert_eq!(to_fill_in("old").await, [""; 0], "that is for others");
    assert_eq!(to_fill_in("new").await, ["late", "edited"]);
    let all = store.chunks_to_embed(&home, Stale::Other, "new", 0, 10).await.unwrap();
    assert_eq!(all.len(), 3);
}
