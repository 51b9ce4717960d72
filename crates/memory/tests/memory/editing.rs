//! What is edited or deleted is found as it is now, or not at all.

use memory::service::{MemoryError, MemoryService};
use protocol::{id::MemoryId, memory::EditMemory};
use serde_json::json;
use store::memories::search::Parents;

use crate::{edit_of, fact, find, found, mine, object, on, service, store, turn, write};

#[tokio::test]
async fn an_edit_changes_what_finds_the_memory() {
    let service = service().await;
    let id = write(&service, on("2023-05-04", "the meeting is in Lisbon")).await;
    let edit = edit_of("the meeting is in Porto");
    let edited = service.edit(&mine(), id, &edit, None).await.unwrap();
    assert_eq!(edited.text, "the meeting is in Porto");
    assert!(edited.updated_at > edited.created_at);
    assert_eq!(find(&service, "Lisbon").await, []);
    assert_eq!(find(&service, "Porto").await[0].id, id);
    assert_eq!(find(&service, "May 4").await[0].id, id, "its date stays");

    let edit = EditMemory {
        metadata: Some(object(json!({"k": 1}))),
        importance: Some(1.0),
        ..Default::default()
    };
    let edited = service.edit(&mine(), id, &edit, None).await.unwrap();
    assert_eq!((edited.importance, edited.metadata["k"].as_i64()), (1.0, Some(1)));
    assert_eq!(edited.text, "the meeting is in Porto");
    let absent = service.edit(&mine(), MemoryId::generate(), &edit_of("x"), None).await;
    assert!(matches!(absent, Err(MemoryError::NotFound)));
}

#[tokio::test]
async fn a_deleted_memory_leaves_no_trace() {
    let store = store().await;
    let service = MemoryService::new(store.clone(), None);
    let scoped = store.scoped(&mine());
    let kept = write(&service, fact("tea and 牛奶 in the garden")).await;
    let before = scoped.memory_totals().await.unwrap();
    let long = "Tea with milk. 今天喝了牛奶。".repeat(100);
    let id = write(&service, turn("g", 1, &long)).await;
    assert!(scoped.memory_totals().await.unwrap().chunk_count > before.chunk_count + 3);
    service.edit(&mine(), id, &edit_of("only tea remains"), None).await.unwrap();
    let totals = scoped.memory_totals().await.unwrap();
    assert_eq!(totals.chunk_count, before.chunk_count + 1);
    service.delete(&mine(), id).await.unwrap();

    let after = scoped.memory_totals().await.unwrap();
    assert_eq!((after.chunk_count, after.term_count), (before.chunk_count, before.term_count));
    let terms = ["tea", "milk", "牛奶", "b:牛奶", "remain"].map(str::to_owned);
    let mut reader = scoped.read_memories().await.unwrap();
    let mut postings = reader.postings(&terms, 24, 1000).await.unwrap();
    postings.sort_by(|a, b| a.term.cmp(&b.term));
    let left: Vec<_> = postings.iter().map(|p| (p.term.as_str(), p.postings.len())).collect();
    assert_eq!(left, [("b:牛奶", 1), ("tea", 1), ("牛奶", 1)]);
    let home = reader.homes()[0].home.clone();
    assert_eq!(reader.layout(&home, Parents::All).await.unwrap().len(), 1);
    reader.finish().await.unwrap();
    assert!(matches!(service.delete(&mine(), id).await, Err(MemoryError::NotFound)));
    assert_eq!(find(&service, "tea").await[0].id, kept);
}

#[tokio::test]
async fn a_search_is_never_of_yesterday() {
    let store = store().await;
    let service = MemoryService::new(store.clone(), None);
    let elsewhere = MemoryService::new(store.clone(), None); // As on another node.
    let generation = async || {
        let reader = store.scoped(&mine()).read_memories().await.unwrap();
        let generation = reader.homes().first().map(|home| home.generation);
        reader.finish().await.unwrap();
        generation
    };
    let mut seen = Vec::new();
    let mut check = async |want: &[&str]| {
        for service in [&service, &elsewhere] {
            let mut hits = found(service, "tea or milk").await;
            hits.sort();
            assert_eq!(hits, want);
        }
        if let Some(generation) = generation().await {
            assert!(!seen.contains(&generation), "changes what was kept");
            seen.push(generation);
        }
    };
    check(&[]).await;
    let first = write(&service, turn("g", 1, "tea")).await;
    check(&["tea"]).await;
    let second = elsewhere.write(&mine(), &turn("g", 0, "milk"), None).await.unwrap();
    check(&["milk", "tea"]).await;
    elsewhere.edit(&mine(), first, &edit_of("milk"), None).await.unwrap();
    check(&["milk", "milk"]).await;
    service.delete(&mine(), second).await.unwrap();
    check(&["milk"]).await;
    elsewhere.delete(&mine(), first).await.unwrap();
    check(&[]).await;
    write(&service, fact("tea again")).await;
    check(&["tea again"]).await;

    let before = generation().await;
    write(&service, fact("tea again")).await;
    let importance = EditMemory { importance: Some(1.0), ..Default::default() };
    let id = find(&service, "tea").await[0].id;
    service.edit(&mine(), id, &importance, None).await.unwrap();
    assert_eq!(generation().await, before, "no chunk has changed");
}
