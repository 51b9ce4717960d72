//! Questions find what answers them: by words, by dates, with neighbours, within filters.

use std::sync::Arc;

use memory::service::MemoryService;
use model::embedding::Hashed;
use protocol::{
    id::MemoryId,
    memory::{
        EditMemory, MemoryFilters, MemoryType, OccurredAt, SearchMemories, VectorScan, Visibility,
        WriteMemory,
    },
};
use serde_json::json;
use store::memories::search::{ChunkPlace, Parents};

use crate::{edit_of, fact, find, found, mine, object, on, service, store, turn, write};

#[tokio::test]
async fn questions_find_the_facts_that_answer_them() {
    let service = service().await;
    for text in [
        "Melanie painted a sunrise over the lake",
        "Caroline's support group meets on Tuesdays",
        "The deployment runs on three servers in Frankfurt",
        "我喜欢攀岩，每个周末都去岩馆",
        "我的女儿叫小雨，今年上小学三年级",
        "公司的年会定在上海的和平饭店举行",
        "服务器的密码保存在运维团队的保险箱里",
    ] {
        write(&service, fact(text)).await;
    }
    let check = async |query: &str, want: &str| {
        let hits = found(&service, query).await;
        assert!(hits.first().is_some_and(|first| first.contains(want)), "{query}: {hits:?}");
    };
    check("What did Melanie paint?", "sunrise").await;
    check("when does the supporting group meet", "Tuesdays").await;
    check("where is the DEPLOYMENT running?", "Frankfurt").await;
    check("我周末有什么爱好？", "攀岩").await;
    check("我女儿几年级了？", "小雨").await;
    check("年会在哪里举行？", "和平饭店").await;
    check("密碼保存在哪裡", "保险箱").await; // asked in traditional characters
    check("小雨", "小雨").await; // a name that no dictionary has
}

#[tokio::test]
async fn dates_find_what_happened_then() {
    let service = service().await;
    write(&service, on("2023-05-04", "去公园跑步，跑了一个小时")).await;
    write(&service, on("2023-05-09", "去公园跑步，跑了两个小时")).await;
    write(&service, on("2023-06-04", "walked in the park")).await;
    write(&service, on("2023-06-21", "walked in the park again")).await;
    let check = async |query: &str, want: &str| {
        assert!(found(&service, query).await[0].contains(want), "{query}");
    };
    check("5月4号在公园跑了多久", "一个小时").await;
    check("五月九日在公园跑了多久", "两个小时").await;
    check("What did I do in the park on June 21?", "again").await;
    check("walk in the park, 4 June 2023", "walked in the park").await;

    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let yesterday = now.yesterday().unwrap().to_string();
    write(&service, on(&yesterday, "lunch with Noor")).await;
    write(&service, on("2020-02-02", "lunch with Bao")).await;
    check("lunch yesterday", "Noor").await;
    check("昨天的 lunch", "Noor").await;
}

#[tokio::test]
async fn neighbours_of_a_group_help_each_other() {
    let service = service().await;
    write(&service, turn("chat", 0, "Where did you go for your holiday?")).await;
    let answer = write(&service, turn("chat", 1, "To the mountains, with my brother.")).await;
    for at in 10..30 {
        write(&service, turn("chat", at, &format!("Small talk number {at}."))).await;
    }
    let lone = write(&service, fact("To the mountains, said the poster.")).await;
    let ids: Vec<_> =
        find(&service, "holiday in the mountains").await.iter().map(|hit| hit.id).collect();
    let place = |id| ids.iter().position(|each| *each == id).unwrap();
    assert!(place(answer) < place(lone), "its neighbour speaks of a holiday");
    let talk = find(&service, "holiday").await;
    assert!(talk.iter().all(|hit| !hit.snippet.starts_with("Small talk number 2")), "{talk:?}");
}

#[tokio::test]
async fn a_search_after_any_change_is_as_if_it_were_the_first() {
    let store = store().await;
    let lasting = MemoryService::new(store.clone(), None).reaching(Visibility::Org);
    let asked = SearchMemories { explain: true, top_k: 50, ..SearchMemories::new("tea or milk") };
    let ranked = async |service: &MemoryService| -> Vec<_> {
        let hits = service.search(&mine(), &asked).await.unwrap();
        hits.into_iter().map(|hit| (hit.id, hit.explain.unwrap().lexical.value)).collect()
    };
    let check = async |what: &str| {
        let anew = MemoryService::new(store.clone(), None);
        assert_eq!(ranked(&lasting).await, ranked(&anew).await, "{what}");
    };
    let seen_by = |visibility| EditMemory { visibility: Some(visibility), ..Default::default() };
    let edit = async |id, edit| lasting.edit(&mine(), id, &edit, None).await.unwrap();
    check("nothing there").await;
    let mut ids = Vec::new();
    for at in 0..12 {
        let text = format!("{} {at}", ["tea", "milk", "bread", "tea with milk"][at as usize % 4]);
        // The later ones come between the earlier ones.
        let place = if at < 6 { at * 10 } else { at * 10 - 55 };
        let memory = if at % 5 == 4 { fact(&text) } else { turn("talk", place, &text) };
        ids.push(write(&lasting, memory).await);
        check("one more").await;
    }
    edit(ids[1], edit_of("tea, and no milk")).await;
    check("edited").await;
    lasting.delete(&mine(), ids[11]).await.unwrap();
    check("the last one deleted").await;
    lasting.delete(&mine(), ids[4]).await.unwrap();
    ids.push(write(&lasting, turn("talk", 3, "milk again")).await);
    check("one deleted and one written").await;
    edit(ids[2], seen_by(Visibility::User)).await;
    check("moved away").await;
    lasting.delete(&mine(), ids[3]).await.unwrap();
    edit(ids[2], seen_by(Visibility::Scope)).await;
    check("one deleted and one moved here").await;
    for id in &ids {
        lasting.delete(&mine(), *id).await.ok(); // Some are gone already.
    }
    check("all deleted").await;
    write(&lasting, fact("tea")).await;
    check("begun again").await;
}

#[tokio::test]
async fn parents_are_read_whole_and_no_others() {
    let store = store().await;
    let service = MemoryService::new(store.clone(), None);
    for at in 0..12 {
        write(&service, turn(["a", "b", "c"][at as usize % 3], 100 - at, "tea")).await;
    }
    let mut reader = store.scoped(&mine()).read_memories().await.unwrap();
    let home = reader.homes()[0].home.clone();
    let all = reader.layout(&home, Parents::All).await.unwrap();
    assert_eq!(all.len(), 12);
    let mut check = async |which: Parents<'_>, has: &[i64]| {
        let wanted = |chunk: &ChunkPlace| has.contains(&chunk.chunk_id);
        let parents: Vec<_> = all.iter().filter(|chunk| wanted(chunk)).collect();
        let mut want = all.clone();
        want.retain(|chunk| parents.iter().any(|other| other.parent_id == chunk.parent_id));
        let mut got = reader.layout(&home, which).await.unwrap();
        got.sort_by_key(|chunk| chunk.parent_id); // Keeps the order within a parent.
        assert_eq!(got, want, "{which:?}");
    };
    let mut ids: Vec<_> = all.iter().map(|chunk| chunk.chunk_id).collect();
    ids.sort_unstable();
    check(Parents::OfChunks(&[ids[0]]), &[ids[0]]).await;
    check(Parents::OfChunks(&[ids[1], ids[4], ids[5]]), &[ids[1], ids[5]]).await;
    check(Parents::OfChunks(&[]), &[]).await;
    check(Parents::AddedToAfter(ids[11]), &[]).await;
    check(Parents::AddedToAfter(ids[10]), &[ids[11]]).await;
    check(Parents::AddedToAfter(ids[9]), &[ids[10], ids[11]]).await;
    check(Parents::AddedToAfter(0), &ids).await;
}

#[tokio::test]
async fn filters_narrow_and_never_starve() {
    let service = service().await;
    for at in 0..30 {
        write(&service, WriteMemory { kind: MemoryType::Episodic, ..fact(&format!("tea {at}")) })
            .await;
    }
    let core = write(
        &service,
        WriteMemory {
            kind: MemoryType::Core,
            metadata: Some(object(json!({"tags": ["x", "y"], "n": 1}))),
            ..fact("tea with a long, long story around it that lowers its score a little")
        },
    )
    .await;
    let dated = write(&service, on("2023-05-04", "tea of that day")).await;
    let grouped = write(&service, turn("g", 0, "tea in a group")).await;
    let check = async |filters: MemoryFilters, want: &[MemoryId]| {
        let search = SearchMemories {
            filters: Some(filters.clone()),
            top_k: 50,
            ..SearchMemories::new("tea")
        };
        let hits = service.search(&mine(), &search).await.unwrap();
        let mut ids: Vec<_> = hits.iter().map(|hit| hit.id).collect();
        ids.sort();
        assert_eq!(ids, want, "{filters:?}");
    };
    let at = |day: &str| Some(OccurredAt::try_from(day.to_owned()).unwrap());
    let filters = MemoryFilters::default;
    check(MemoryFilters { kinds: Some(vec![MemoryType::Core]), ..filters() }, &[core]).await;
    check(MemoryFilters { kinds: Some(vec![]), ..filters() }, &[]).await;
    check(MemoryFilters { group_key: Some("g".into()), ..filters() }, &[grouped]).await;
    check(MemoryFilters { group_key: Some("\0".into()), ..filters() }, &[]).await;
    let tagged = Some(object(json!({"tags": ["y"]})));
    check(MemoryFilters { metadata: tagged, ..filters() }, &[core]).await;
    let other = Some(object(json!({"n": 2})));
    check(MemoryFilters { metadata: other, ..filters() }, &[]).await;
    check(MemoryFilters { occurred_after: at("2023-05-04"), ..filters() }, &[dated]).await;
    check(MemoryFilters { occurred_before: at("2023-05-04"), ..filters() }, &[]).await;
    let window = MemoryFilters {
        occurred_after: at("2023-05-01"),
        occurred_before: at("2023-05-04T00:00:01Z"),
        ..filters()
    };
    check(window, &[dated]).await;

    let all = SearchMemories { top_k: 50, ..SearchMemories::new("tea") };
    assert_eq!(service.search(&mine(), &all).await.unwrap().len(), 33);
}

#[tokio::test]
async fn one_hit_a_memory_with_a_bounded_snippet() {
    let service = service().await;
    let mut long = "Nothing of note happened that day in the town. ".repeat(100);
    long.push_str("The kayak is kept in the blue shed. ");
    long.push_str(&"Tea was served and drunk and served again. ".repeat(100));
    let id = write(&service, fact(&long)).await;
    let short = write(&service, fact("Tea is served at four.")).await;
    let hits = find(&service, "Where is the kayak kept?").await;
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].id, id);
    assert!(hits[0].snippet.contains("blue shed") && hits[0].snippet.len() < 500, "{hits:?}");
    let hits = find(&service, "tea served").await;
    assert_eq!(hits.len(), 2, "a hundred chunks of one memory are one hit");
    assert!(hits.iter().any(|hit| hit.id == short));
    assert!(hits.iter().all(|hit| (0.0..=1.0).contains(&hit.score)));
}

#[tokio::test]
async fn explain_says_what_words_and_vectors_found() {
    let store = store().await;
    let by_words = MemoryService::new(store.clone(), None);
    write(&by_words, fact("tea with milk")).await;
    let asked = SearchMemories { explain: true, ..SearchMemories::new("milk, tea or salt") };
    let hits = by_words.search(&mine(), &asked).await.unwrap();
    let explain = hits[0].explain.clone().unwrap();
    assert_eq!(explain.lexical.rank, Some(1));
    assert!(explain.lexical.value > 0.0);
    assert_eq!((explain.vector.rank, explain.vector_scan), (None, VectorScan::NoEmbedder));
    let mut terms = explain.matched_terms;
    terms.sort();
    assert_eq!(terms, ["milk", "tea"]);
    assert!((explain.importance_factor - 1.0).abs() < 1e-6);
    assert!((explain.recency_factor - 1.05).abs() < 1e-3);

    let hashed = MemoryService::new(store, Some(Arc::new(Hashed::new(256))));
    let id = write(&hashed, fact("strawberry marmalade")).await;
    let asked = SearchMemories { explain: true, ..SearchMemories::new("strawbery marmelade") };
    let hits = hashed.search(&mine(), &asked).await.unwrap();
    assert_eq!(hits[0].id, id, "misspelt, no word is the same");
    let explain = hits[0].explain.clone().unwrap();
    assert_eq!((explain.lexical.rank, explain.vector.rank), (None, Some(1)));
    assert_eq!(explain.vector_scan, VectorScan::Exact);
    assert_eq!((explain.lexical.weight, explain.vector.weight), (0.9, 0.1));
}

#[tokio::test]
async fn scores_say_how_much_of_the_question_a_hit_has() {
    let service = service().await;
    write(&service, fact("The office is in Hangzhou.")).await;
    write(&service, fact("The office plants are watered by Li on Mondays.")).await;
    write(&service, fact("The canteen opens at noon.")).await;
    let scores = async |query: &str| -> Vec<f64> {
        find(&service, query).await.iter().map(|hit| (hit.score * 100.0).round() / 100.0).collect()
    };
    assert_eq!(scores("office").await, [1.0, 1.0], "all that was asked for");
    let both = scores("Where are the office plants?").await;
    assert_eq!(both[0], 1.0);
    assert!((0.2..0.6).contains(&both[1]), "one word of two: {both:?}");
    let unknown = scores("office in Lisbon").await;
    assert!(unknown[0] < 0.6, "a word that nobody wrote: {unknown:?}");
}
