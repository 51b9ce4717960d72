//! The memory service on a real Postgres: what is written is found, edited and forgotten, by its
//! owner alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(missing_docs)]

use std::{path::Path, sync::Arc, time::Duration};

use futures::future::{BoxFuture, FutureExt, join_all};
use memory::service::{MemoryError, MemoryService, reindex::ReindexError};
use model::{
    embedding::{Embedder, Hashed, Multilingual, Purpose},
    error::ModelError,
};
use protocol::{
    id::{MemoryId, RunId},
    memory::{
        EditMemory, Hit, MemoryFilters, MemoryType, OccurredAt, SearchMemories, Visibility,
        WriteMemory,
    },
    name::{OrgId, ProjectId, UserId},
    page::PageLimit,
    scope::Scope,
};
use serde_json::{Map, Value, json};
use store::{
    Store,
    connect::{StoreSettings, migrate},
    memories::{MemoryFilter, Origin, reindex::Stale},
};

async fn store() -> Store {
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await.unwrap();
    Store::connect(&StoreSettings::new(database.app_url)).await.unwrap()
}

async fn service() -> MemoryService {
    MemoryService::new(store().await, None)
}

fn scope(org: &str, user: &str, project: Option<&str>) -> Scope {
    Scope {
        org_id: OrgId::new(org).unwrap(),
        user_id: UserId::new(user).unwrap(),
        project_id: project.map(|project| ProjectId::new(project).unwrap()),
    }
}

fn mine() -> Scope {
    scope("acme", "ada", None)
}

/// Scopes that differ from [`mine`] in one part each.
fn strangers() -> [Scope; 3] {
    [scope("other", "ada", None), scope("acme", "bob", None), scope("acme", "ada", Some("p"))]
}

fn fact(text: &str) -> WriteMemory {
    WriteMemory::new(MemoryType::Archival, text)
}

fn on(day: &str, text: &str) -> WriteMemory {
    WriteMemory { occurred_at: Some(day.to_owned().try_into().unwrap()), ..fact(text) }
}

fn turn(group: &str, position: i32, text: &str) -> WriteMemory {
    WriteMemory { group_key: Some(group.into()), position: Some(position), ..fact(text) }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn write(service: &MemoryService, memory: WriteMemory) -> MemoryId {
    service.write(&mine(), &memory, None).await.unwrap()
}

async fn find(service: &MemoryService, query: &str) -> Vec<Hit> {
    service.search(&mine(), &SearchMemories::new(query)).await.unwrap()
}

async fn found(service: &MemoryService, query: &str) -> Vec<String> {
    find(service, query).await.into_iter().map(|hit| hit.snippet).collect()
}

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
async fn a_written_memory_is_read_back_whole() {
    let service = service().await;
    let memory = WriteMemory {
        kind: MemoryType::Episodic,
        text: "  Tea at four.\n茶 ".into(),
        metadata: Some(object(json!({"b": 1, "a": {"deep": [true, null]}}))),
        importance: 0.75,
        group_key: Some("会话 1".into()),
        position: Some(-3),
        occurred_at: Some(OccurredAt::try_from("2023-05-04T13:56:00+08:00".to_owned()).unwrap()),
        visibility: Visibility::Scope,
    };
    let origin = Origin { run_id: RunId::generate(), step: 2 };
    let id = service.write(&mine(), &memory, Some(origin)).await.unwrap();
    let got = service.get(&mine(), id).await.unwrap();
    assert_eq!((got.id, got.kind, &got.text), (id, memory.kind, &memory.text));
    assert_eq!(Some(got.metadata), memory.metadata);
    assert_eq!((got.importance, got.group_key, got.position), (0.75, memory.group_key, Some(-3)));
    assert_eq!(got.occurred_at, memory.occurred_at);

    let id = write(&service, on("2023-05-04", "a day")).await;
    let day = service.get(&mine(), id).await.unwrap().occurred_at.unwrap();
    assert_eq!(String::from(day), "2023-05-04");
}

#[tokio::test]
async fn strangers_see_nothing_and_change_nothing() {
    let service = service().await;
    let id = write(&service, fact("the launch code is 4711")).await;
    for stranger in strangers() {
        let edit = EditMemory { importance: Some(1.0), ..Default::default() };
        let search = SearchMemories::new("launch code 4711");
        assert!(matches!(service.get(&stranger, id).await, Err(MemoryError::NotFound)));
        assert!(matches!(
            service.edit(&stranger, id, &edit, None).await,
            Err(MemoryError::NotFound)
        ));
        assert!(matches!(service.delete(&stranger, id).await, Err(MemoryError::NotFound)));
        assert_eq!(service.search(&stranger, &search).await.unwrap(), []);
        let filter = MemoryFilter::default();
        let page = service.list(&stranger, &filter, None, PageLimit::default()).await.unwrap();
        assert_eq!(page.items, []);
        let theirs =
            service.write(&stranger, &fact("the launch code is 4711"), None).await.unwrap();
        assert_ne!(theirs, id, "a duplicate is one only within its scope");
    }
    assert_eq!(service.get(&mine(), id).await.unwrap().importance, 0.5);
    assert_eq!(find(&service, "launch code 4711").await.len(), 1);
}

#[tokio::test]
async fn other_tenants_words_do_not_move_scores() {
    let service = service().await;
    write(&service, fact("tea in the garden")).await;
    write(&service, fact("milk in the kitchen")).await;
    let before = find(&service, "tea").await;
    for at in 0..20 {
        let text = fact(&format!("tea number {at}"));
        service.write(&strangers()[0], &text, None).await.unwrap();
    }
    let after = find(&service, "tea").await;
    assert!((before[0].score - after[0].score).abs() < 1e-6);
}

#[tokio::test]
async fn an_edit_changes_what_finds_the_memory() {
    let service = service().await;
    let id = write(&service, on("2023-05-04", "the meeting is in Lisbon")).await;
    let edit = EditMemory { text: Some("the meeting is in Porto".into()), ..Default::default() };
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

fn edit_of(text: &str) -> EditMemory {
    EditMemory { text: Some(text.into()), ..Default::default() }
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
    let left: Vec<_> = postings.iter().map(|p| (p.term.as_str(), p.chunk_ids.len())).collect();
    assert_eq!(left, [("b:牛奶", 1), ("tea", 1), ("牛奶", 1)]);
    let home = reader.homes()[0].home.clone();
    assert_eq!(reader.layout(&home, None).await.unwrap().len(), 1);
    reader.finish().await.unwrap();
    assert!(matches!(service.delete(&mine(), id).await, Err(MemoryError::NotFound)));
    assert_eq!(find(&service, "tea").await[0].id, kept);
}

#[tokio::test]
async fn exact_duplicates_are_kept_once() {
    let service = service().await;
    let first = write(&service, fact("Tea at four")).await;
    assert_eq!(write(&service, fact(" Ｔea  at\nfour ")).await, first, "form is no difference");
    for different in [
        fact("tea at four"),
        WriteMemory { kind: MemoryType::Core, ..fact("Tea at four") },
        turn("g", 1, "Tea at four"),
        turn("g", 2, "Tea at four"),
        on("2023-05-04", "Tea at four"),
        WriteMemory { metadata: Some(object(json!({"a": 1}))), ..fact("Tea at four") },
    ] {
        assert_ne!(write(&service, different.clone()).await, first, "{different:?}");
    }
    let bulk = [fact("new"), fact("Tea at four"), fact("new")];
    let answer = service.write_bulk(&mine(), &bulk).await.unwrap();
    let ids = answer.ids;
    assert_eq!((ids[1], ids[0]), (first, ids[2]));
    assert_eq!(answer.written, 1);
    assert_ne!(ids[0], first);

    // Written at the same time by many: one memory.
    let racing = fact("all at once");
    let ids = join_all((0..6).map(|_| write(&service, racing.clone()))).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn writing_again_under_the_same_id_changes_nothing() {
    let service = service().await;
    let id = MemoryId::generate();
    for text in ["the first text", "the first text", "another text"] {
        assert_eq!(service.write_as(&mine(), id, &fact(text), None).await.unwrap(), id);
    }
    assert_eq!(service.get(&mine(), id).await.unwrap().text, "the first text");
    assert_eq!(find(&service, "another").await, []);
}

#[tokio::test]
async fn bulk_writes_are_all_or_none_and_bounded() {
    let service = service().await;
    let many: Vec<_> =
        (0..500).map(|at| turn("log", at, &format!("entry {at} about tea"))).collect();
    let ids = service.write_bulk(&mine(), &many).await.unwrap().ids;
    assert_eq!(ids.len(), 500);
    assert_eq!(service.get(&mine(), ids[499]).await.unwrap().position, Some(499));

    let faults = async |memories: &[WriteMemory]| match service.write_bulk(&mine(), memories).await
    {
        Err(MemoryError::Invalid(faults)) => {
            faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let bad = [fact("good milk"), fact(" "), WriteMemory { importance: 2.0, ..fact("\0") }];
    let want = ["/memories/1/text", "/memories/2/importance", "/memories/2/text"];
    assert_eq!(faults(&bad).await, want);
    assert_eq!(faults(&[]).await, ["/memories"]);
    assert_eq!(faults(&vec![fact("x"); 501]).await, ["/memories"]);
    let large = fact(&"x ".repeat(256 * 1024));
    assert_eq!(faults(&vec![large; 9]).await, ["/memories"]);
    assert_eq!(find(&service, "milk").await, [], "nothing of a refused bulk is kept");
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
async fn explain_says_what_each_leg_found() {
    let store = store().await;
    let by_words = MemoryService::new(store.clone(), None);
    write(&by_words, fact("tea with milk")).await;
    let asked = SearchMemories { explain: true, ..SearchMemories::new("milk, tea or salt") };
    let hits = by_words.search(&mine(), &asked).await.unwrap();
    let explain = hits[0].explain.clone().unwrap();
    assert_eq!(explain.lexical.rank, Some(1));
    assert!(explain.lexical.value > 0.0);
    assert_eq!((explain.vector.rank, explain.vector_scan.as_str()), (None, "none"));
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
    assert_eq!(explain.vector_scan, "exact");
    assert_eq!((explain.lexical.weight, explain.vector.weight), (0.9, 0.1));
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
                (Fault::Away, _) => Err(ModelError::Auth),
                (Fault::Silent, Purpose::Query) => std::future::pending().await,
                _ => Ok(vec![vec![0.0; 256]; texts.len()]),
            }
        }
        .boxed()
    }
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
        let want = if matches!(fault, Fault::Silent) { "late" } else { "failed" };
        assert_eq!(scan, want);
    }
}

/// The offline embedder, given all the time that a busy machine needs.
struct Patient(Multilingual);

impl Embedder for Patient {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn dimensions(&self) -> usize {
        self.0.dimensions()
    }

    fn question_timeout(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        self.0.embed(texts, purpose)
    }
}

/// `make deps` fetches its weights.
fn multilingual() -> Arc<dyn Embedder> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/embedder");
    let embedder = Multilingual::load(&folder.join("e5-small-q4.bin"));
    Arc::new(Patient(embedder.expect("`scripts/fetch-embedder.sh` fetches the weights")))
}

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
        assert_eq!((explain.vector.rank, explain.vector_scan.as_str()), (Some(1), "exact"));
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
    new.embed_stale(Stale::Missing, 0, |chunks| done += chunks).await.unwrap();
    assert_eq!(done, 2);
    assert_eq!(by_vector(&new, &mine()).await, [hiking], "the hashed vector stays");
    assert_eq!(by_vector(&new, &stranger).await.len(), 1);

    new.embed_stale(Stale::Other, 0, |chunks| done += chunks).await.unwrap();
    assert_eq!(done, 3);
    let near = by_vector(&new, &mine()).await;
    assert!(near.contains(&hiking) && near.iter().all(|id| [hiking, dinner].contains(id)));
    new.embed_stale(Stale::Other, 0, |chunks| done += chunks).await.unwrap();
    assert_eq!(done, 3, "nothing is left to do");

    let none = by_words.embed_stale(Stale::Missing, 0, |_| {}).await;
    assert!(matches!(none, Err(ReindexError::NoEmbedder)), "{none:?}");
}

#[tokio::test]
async fn an_embedder_that_is_away_ends_a_reindex() {
    let store = store().await;
    let by_words = MemoryService::new(store.clone(), None);
    for user in ["ada", "bob", "eve", "kim"] {
        by_words.write(&scope("acme", user, None), &fact("milk"), None).await.unwrap();
    }
    let broken = MemoryService::new(store, Some(Arc::new(Broken { fault: Fault::Away })));
    let ended = broken.embed_stale(Stale::Missing, 0, |_| {}).await;
    assert!(matches!(ended, Err(ReindexError::Unanswered)), "{ended:?}");
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
async fn lists_page_newest_first() {
    let service = service().await;
    let mut ids = Vec::new();
    for at in 0..7 {
        ids.push(
            write(&service, turn(if at < 5 { "a" } else { "b" }, at, &format!("n {at}"))).await,
        );
    }
    ids.reverse();
    let filter = MemoryFilter::default();
    let limit = PageLimit::try_from(3).unwrap();
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = service.list(&mine(), &filter, cursor.as_deref(), limit).await.unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items.iter().map(|memory| memory.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);

    let filter = MemoryFilter { group_key: Some("b".into()), kind: Some(MemoryType::Archival) };
    let page = service.list(&mine(), &filter, None, limit).await.unwrap();
    assert_eq!(page.items.len(), 2);
    assert_eq!(page.next_cursor, None);
    let filter = MemoryFilter { kind: Some(MemoryType::Core), ..filter };
    assert_eq!(service.list(&mine(), &filter, None, limit).await.unwrap().items, []);
    for bad in ["", "x", "1.mem_x", "99999999999999999999.mem_01h455vb4pex5vsknk084sn02q"] {
        let answer = service.list(&mine(), &filter, Some(bad), limit).await;
        assert!(matches!(answer, Err(MemoryError::Invalid(_))), "{bad}");
    }
    write(&service, fact(&"long ".repeat(1000))).await;
    let page = service.list(&mine(), &MemoryFilter::default(), None, limit).await.unwrap();
    assert!(page.items[0].snippet.len() < 500);
}

#[tokio::test]
async fn the_core_layer_comes_by_importance_within_its_bound() {
    let service = service().await;
    let core =
        |importance, text: &str| WriteMemory { kind: MemoryType::Core, importance, ..fact(text) };
    write(&service, core(0.1, "trifle")).await;
    write(&service, core(0.9, "vital")).await;
    write(&service, core(1.0, &"too long ".repeat(10))).await;
    write(&service, fact("not core")).await;
    let texts = async |max_chars| -> Vec<String> {
        let core = service.core(&mine(), max_chars).await.unwrap();
        core.into_iter().map(|memory| memory.text).collect()
    };
    assert_eq!(texts(50).await, ["vital", "trifle"]);
    assert_eq!(texts(10).await, ["vital"]);
    assert_eq!(texts(0).await, [""; 0]);
    assert_eq!(texts(1000).await.len(), 3);
}

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
    let layout = reader.layout(&home, None).await.unwrap();
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

#[tokio::test]
async fn writers_of_one_scope_take_turns() {
    let store = store().await;
    let service = MemoryService::new(store.clone(), None);
    let writers = (0..8).map(|writer| {
        let service = service.clone();
        tokio::spawn(async move {
            // Each writes the same texts, in an order of its own.
            let mut texts: Vec<_> = (0..20).map(|at| fact(&format!("shared fact {at}"))).collect();
            texts.rotate_left(writer * 2);
            let ids = service.write_bulk(&mine(), &texts).await.unwrap().ids;
            let edit = edit_of(&format!("edited by {writer}"));
            service.edit(&mine(), ids[writer], &edit, None).await.unwrap();
            assert!(!find(&service, "shared facts").await.is_empty());
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    let totals = store.scoped(&mine()).memory_totals().await.unwrap();
    let mut reader = store.scoped(&mine()).read_memories().await.unwrap();
    let home = reader.homes()[0].home.clone();
    let layout = reader.layout(&home, None).await.unwrap();
    assert_eq!(totals.chunk_count, layout.len() as u64);
    let terms: i64 = layout.iter().map(|place| i64::from(place.length)).sum();
    assert_eq!(totals.term_count, terms as u64);
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

fn seen_by(visibility: Visibility, text: &str) -> WriteMemory {
    WriteMemory { visibility, ..fact(text) }
}

#[tokio::test]
async fn what_more_may_see_is_seen_by_them_and_nobody_else() {
    let service = service().await.reaching(Visibility::Org);
    let [other_org, other_user, other_project] = strangers();
    let own = write(&service, seen_by(Visibility::Scope, "tea for one")).await;
    let of_user = write(&service, seen_by(Visibility::User, "tea for the user")).await;
    let of_org = write(&service, seen_by(Visibility::Org, "tea for the firm")).await;
    for (scope, visible) in [
        (mine(), vec![own, of_user, of_org]),
        (other_project, vec![of_user, of_org]),
        (other_user, vec![of_org]),
        (other_org, vec![]),
    ] {
        let hits = service.search(&scope, &SearchMemories::new("tea")).await.unwrap();
        let mut ids: Vec<_> = hits.iter().map(|hit| hit.id).collect();
        ids.sort();
        assert_eq!(ids, visible, "{scope}");
        let filter = MemoryFilter::default();
        let page = service.list(&scope, &filter, None, PageLimit::default()).await.unwrap();
        let mut listed: Vec<_> = page.items.iter().map(|memory| memory.id).collect();
        listed.sort();
        assert_eq!(listed, visible, "{scope}");
        for id in [own, of_user, of_org] {
            let got = service.get(&scope, id).await;
            assert_eq!(got.is_ok(), visible.contains(&id), "{scope}");
            let edit = EditMemory { importance: Some(0.5), ..Default::default() };
            let edited = service.edit(&scope, id, &edit, None).await;
            assert_eq!(edited.is_ok(), visible.contains(&id), "{scope}");
        }
    }
}

#[tokio::test]
async fn core_memories_of_the_organisation_are_everybodys() {
    let service = service().await.reaching(Visibility::Org);
    let core = |visibility, text: &str| WriteMemory {
        kind: MemoryType::Core,
        ..seen_by(visibility, text)
    };
    write(&service, core(Visibility::Scope, "mine")).await;
    write(&service, core(Visibility::User, "the user's")).await;
    write(&service, core(Visibility::Org, "the firm's")).await;
    let texts = async |scope: &Scope| {
        let core = service.core(scope, 1000).await.unwrap();
        core.into_iter().map(|memory| memory.text).collect::<Vec<_>>()
    };
    let [other_org, other_user, other_project] = strangers();
    assert_eq!(texts(&mine()).await, ["mine", "the user's", "the firm's"]);
    assert_eq!(texts(&other_project).await, ["the user's", "the firm's"]);
    assert_eq!(texts(&other_user).await, ["the firm's"]);
    assert_eq!(texts(&other_org).await, [""; 0]);
}

#[tokio::test]
async fn nobody_writes_beyond_his_reach() {
    let admin = service().await.reaching(Visibility::Org);
    let of_org = write(&admin, seen_by(Visibility::Org, "tea for the firm")).await;
    let of_user = write(&admin, seen_by(Visibility::User, "tea for the user")).await;
    let own = write(&admin, fact("tea for one")).await;
    for (reach, beyond) in [
        (Visibility::Scope, vec![Visibility::User, Visibility::Org]),
        (Visibility::User, vec![Visibility::Org]),
    ] {
        let service = admin.reaching(reach);
        for visibility in beyond {
            let refused = service.write(&mine(), &seen_by(visibility, "x"), None).await;
            assert!(matches!(refused, Err(MemoryError::Beyond(v)) if v == visibility));
            let bulk = [fact("y"), seen_by(visibility, "x")];
            let refused = service.write_bulk(&mine(), &bulk).await;
            assert!(matches!(refused, Err(MemoryError::Beyond(v)) if v == visibility));
            let widen = EditMemory { visibility: Some(visibility), ..Default::default() };
            let refused = service.edit(&mine(), own, &widen, None).await;
            assert!(matches!(refused, Err(MemoryError::Beyond(v)) if v == visibility));
            let id = if visibility == Visibility::Org { of_org } else { of_user };
            let refused = service.edit(&mine(), id, &edit_of("taken over"), None).await;
            assert!(matches!(refused, Err(MemoryError::Beyond(v)) if v == visibility));
            let narrow = EditMemory { visibility: Some(Visibility::Scope), ..Default::default() };
            let refused = service.edit(&mine(), id, &narrow, None).await;
            assert!(matches!(refused, Err(MemoryError::Beyond(v)) if v == visibility));
            let refused = service.delete(&mine(), id).await;
            assert!(matches!(refused, Err(MemoryError::Beyond(v)) if v == visibility));
        }
    }
    let page = admin.list(&mine(), &MemoryFilter::default(), None, PageLimit::default()).await;
    assert_eq!(page.unwrap().items.len(), 3, "nothing of a refused bulk is kept");
    assert_eq!(find(&admin, "tea").await.len(), 3, "nothing was changed");
}

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
async fn a_duplicate_is_one_for_as_many_as_see_it() {
    let service = service().await.reaching(Visibility::Org);
    let [_, other_user, other_project] = strangers();
    let texts = Visibility::ALL.map(|visibility| seen_by(visibility, "tea at four"));
    let ids = service.write_bulk(&mine(), &texts).await.unwrap().ids;
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    assert_eq!(service.write_bulk(&mine(), &texts).await.unwrap().ids, ids);
    let theirs = service.write_bulk(&other_project, &texts).await.unwrap().ids;
    assert_eq!(
        (theirs[0] == ids[0], theirs[1] == ids[1], theirs[2] == ids[2]),
        (false, true, true)
    );
    let theirs = service.write_bulk(&other_user, &texts).await.unwrap().ids;
    assert_eq!((theirs[1] == ids[1], theirs[2] == ids[2]), (false, true));
}

#[tokio::test]
async fn words_are_weighed_over_all_that_is_seen() {
    let service = service().await.reaching(Visibility::Org);
    for text in ["tea with lemon", "tea with milk", "tea with honey"] {
        write(&service, seen_by(Visibility::Org, text)).await;
    }
    write(&service, fact("lemon on fish")).await;
    let score = async |scope: &Scope| {
        let hits = service.search(scope, &SearchMemories::new("honey")).await.unwrap();
        hits[0].score
    };
    let [_, other_user, _] = strangers();
    assert!(score(&mine()).await > score(&other_user).await, "rarer among four than among three");
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
    hashed.embed_stale(Stale::Missing, 0, |chunks| done += chunks).await.unwrap();
    assert_eq!(done, 3);
    assert_eq!(find(&hashed, "strawbery marmelade").await.len(), 3);
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
