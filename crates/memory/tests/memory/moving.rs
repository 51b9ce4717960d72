//! A memory that more are to see, or fewer, moves with all that belongs to it.

use futures::future::join_all;
use memory::service::MemoryService;
use protocol::{
    memory::{EditMemory, SearchMemories, Visibility},
    page::PageLimit,
    scope::Scope,
};

use crate::{edit_of, fact, mine, scope, seen_by, service, store, strangers, turn, write};

#[tokio::test]
async fn a_memory_moves_with_all_that_belongs_to_it() {
    let store = store().await;
    let service = MemoryService::new(store.clone(), None).reaching(Visibility::Org);
    let [_, other_user, other_project] = strangers();
    let long = "Tea with milk. 今天喝了牛奶。".repeat(100);
    let id = write(&service, turn("g", 1, &long)).await;
    write(&service, fact("bread stays")).await;
    let sees = async |scope: &Scope| {
        !service.search(scope, &SearchMemories::new("milk")).await.unwrap().is_empty()
    };
    let chunks =
        async |scope: &Scope| store.scoped(scope).memory_totals().await.unwrap().chunk_count;
    let all = chunks(&mine()).await;
    let mut edits = 0;
    for (to, text, want) in [
        (Visibility::Org, None, [true, true, true]),
        (Visibility::User, None, [true, true, false]),
        (Visibility::Org, Some("milk, and nothing else"), [true, true, true]),
        (Visibility::Scope, None, [true, false, false]),
        (Visibility::Scope, Some("milk again"), [true, false, false]),
    ] {
        let edit = EditMemory {
            visibility: Some(to),
            text: text.map(str::to_owned),
            ..Default::default()
        };
        let edited = service.edit(&mine(), id, &edit, None).await.unwrap();
        assert_eq!(edited.visibility, to);
        edits += usize::from(text.is_some());
        for (scope, want) in [&mine(), &other_project, &other_user].into_iter().zip(want) {
            assert_eq!(sees(scope).await, want, "{to}: {scope}");
            let rest = if *scope == mine() { 1 } else { 0 };
            let moved = chunks(scope).await - rest;
            assert_eq!(moved > 0, want, "{to}: {scope}");
            assert!(moved < all);
            // What was edited away is seen by whoever sees the memory.
            let versions = service.versions(scope, id, None, PageLimit::default()).await;
            assert_eq!(versions.is_ok(), want, "{to}: {scope}");
            assert_eq!(versions.map_or(edits, |page| page.items.len()), edits, "{to}: {scope}");
        }
    }
    service
        .edit(
            &mine(),
            id,
            &EditMemory { visibility: Some(Visibility::Org), ..edit_of("tea") },
            None,
        )
        .await
        .unwrap();
    service.delete(&mine(), id).await.unwrap();
    assert_eq!((chunks(&mine()).await, chunks(&other_user).await), (1, 0));
}

#[tokio::test]
async fn bulk_writers_of_shared_homes_take_turns() {
    let service = service().await.reaching(Visibility::Org);
    let users = ["ada", "bob", "eve", "kim"].map(|user| scope("acme", user, None));
    let writers = users.into_iter().enumerate().map(|(writer, scope)| {
        let service = service.clone();
        tokio::spawn(async move {
            let mut texts: Vec<_> = (0..30)
                .map(|at| seen_by(Visibility::ALL[at % 3], &format!("shared fact {at}")))
                .collect();
            texts.rotate_left(writer * 7);
            let ids = service.write_bulk(&scope, &texts).await.unwrap().ids;
            for (id, visibility) in ids.iter().zip(Visibility::ALL) {
                let edit = EditMemory { visibility: Some(visibility), ..Default::default() };
                service.edit(&scope, *id, &edit, None).await.ok(); // Another may have moved it away.
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
}
