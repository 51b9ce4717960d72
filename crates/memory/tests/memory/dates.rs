//! Dates: on which day a thing happened, what "yesterday" in a text or a question means, and that the
//! date stands beside what is found.

use protocol::memory::{MemoryFilters, OccurredAt, SearchMemories};

use crate::{fact, find, mine, on, service, write};

#[tokio::test]
async fn a_thing_is_found_on_the_day_that_it_was_where_it_happened() {
    let service = service().await;
    let evening = "2026-03-02T23:30:00.000-05:00"; // In UTC it was the third.
    let late = write(&service, on(evening, "The bakery burned down")).await;
    let next = write(&service, on("2026-03-03", "The library was closed")).await;
    for (question, want) in [
        ("What happened on March 2?", late),
        ("3月2号发生了什么", late),
        ("What happened on March 3?", next),
    ] {
        assert_eq!(find(&service, question).await[0].id, want, "{question}");
    }
    let kept = service.get(&mine(), late).await.unwrap().occurred_at.unwrap();
    assert_eq!(String::from(kept), evening, "the offset is kept");

    let day = |day: &str| Some(OccurredAt::try_from(day.to_owned()).unwrap());
    let of_day = |from, to| MemoryFilters {
        occurred_after: day(from),
        occurred_before: day(to),
        ..Default::default()
    };
    for (filters, want) in [
        (of_day("2026-03-02", "2026-03-03"), late),
        (of_day("2026-03-03", "2026-03-04"), next),
        (of_day("2026-03-03T04:30:00Z", "2026-03-03T04:31:00Z"), late),
    ] {
        let search = SearchMemories {
            filters: Some(filters.clone()),
            ..SearchMemories::new("bakery library")
        };
        let hits = service.search(&mine(), &search).await.unwrap();
        assert_eq!(hits.iter().map(|hit| hit.id).collect::<Vec<_>>(), [want], "{filters:?}");
    }
}

#[tokio::test]
async fn words_like_tomorrow_mean_a_day_seen_from_when_it_happened() {
    let service = service().await;
    let plumber = write(&service, on("2026-03-02", "The plumber comes tomorrow at 9.")).await;
    write(&service, on("2026-03-02", "The painter comes at the end of the week.")).await;
    write(&service, on("2026-04-07", "The glazier came today.")).await;
    let hits = find(&service, "Who comes on March 3?").await;
    assert_eq!(hits[0].id, plumber);
    assert_eq!(hits[0].occurred_at.map(String::from).as_deref(), Some("2026-03-02"));
    let edit = crate::edit_of("The plumber comes the day after tomorrow.");
    service.edit(&mine(), plumber, &edit, None).await.unwrap();
    assert_eq!(find(&service, "Who comes on March 4?").await[0].id, plumber);
}

#[tokio::test]
async fn words_are_found_with_and_without_accents_and_vowel_signs() {
    let service = service().await;
    for (text, question) in [
        ("We meet at the café", "cafe"),
        ("The cafe latte is cheap", "latté"),
        ("Her flat is in Zürich", "zurich"),
        ("هذا كِتَابٌ قديم", "كتاب"),
        ("Οδός Αθηνών", "οδος"),
        ("Ёлка стоит в зале", "елка"),
        ("São Paulo é grande", "sao paulo"),
        ("Nguyễn sống ở Huế", "nguyen hue"),
    ] {
        let id = write(&service, fact(text)).await;
        let hits = find(&service, question).await;
        assert!(hits.iter().any(|hit| hit.id == id), "{question}: {hits:?}");
    }
}
