//! Hostile questions and the largest texts.

use memory::service::{MemoryError, MemoryService};
use protocol::memory::SearchMemories;

use store::memories::search::Parents;

use crate::{fact, find, found, mine, service, store, write};

#[tokio::test]
async fn hostile_questions_are_bounded_and_answered() {
    let service = service().await;
    write(&service, fact("tea")).await;
    for query in [
        "\0".to_owned(),
        "tea\0tea".to_owned(),
        "spam ".repeat(819),
        "a".repeat(4096),
        "字".repeat(1365),
        "' ; drop table memories; --".to_owned(),
        "的".to_owned(),
        "?!".to_owned(),
        "%_\\ & | ! ( )".to_owned(),
        (0..1000).map(|n| format!("w{n} ")).collect::<String>().chars().take(4000).collect(),
        "\u{202e}\u{feff}\u{1f9ea}".to_owned(),
    ] {
        let search = SearchMemories { explain: true, ..SearchMemories::new(query.clone()) };
        let hits = service.search(&mine(), &search).await;
        assert!(hits.is_ok(), "{query:?}: {hits:?}");
    }
    for search in [
        SearchMemories::new(" "),
        SearchMemories::new("x".repeat(4097)),
        SearchMemories { top_k: 0, ..SearchMemories::new("x") },
        SearchMemories { top_k: 51, ..SearchMemories::new("x") },
    ] {
        let refused = service.search(&mine(), &search).await;
        assert!(matches!(refused, Err(MemoryError::Invalid(_))), "{search:?}");
    }
}

#[tokio::test]
async fn the_largest_texts_are_kept() {
    let service = service().await;
    for text in ["长".repeat(170_000), "word ".repeat(100_000), "x".repeat(512 * 1024)] {
        let id = write(&service, fact(&text)).await;
        assert_eq!(service.get(&mine(), id).await.unwrap().text, text);
        service.delete(&mine(), id).await.unwrap();
    }
    assert_eq!(find(&service, "word").await, []);
}

#[tokio::test]
async fn a_text_of_many_different_words_is_kept_whole() {
    let store = store().await;
    let service = MemoryService::new(store.clone(), None);
    // No two neighbours twice: a posting for every character and every pair.
    let letter = |at: u32| char::from_u32(0x4e00 + at * 7_919 % 20_000).unwrap();
    let text: String = (0..40_000).map(letter).collect();
    let id = write(&service, fact(&text)).await;
    assert_eq!(service.get(&mine(), id).await.unwrap().text, text);
    let mut reader = store.scoped(&mine()).read_memories().await.unwrap();
    let home = reader.homes()[0].home.clone();
    let layout = reader.layout(&home, Parents::All).await.unwrap();
    reader.finish().await.unwrap();
    let length: i64 = layout.iter().map(|place| i64::from(place.length)).sum();
    assert!(length > 40_000, "{length} terms");
    let totals = store.scoped(&mine()).memory_totals().await.unwrap();
    assert_eq!((totals.chunk_count, totals.term_count), (layout.len() as u64, length as u64));
    for at in [0, 20_000, 39_990] {
        let words: String = (at..at + 8).map(letter).collect();
        assert!(found(&service, &words).await[0].contains(&words), "{at}");
    }
}
