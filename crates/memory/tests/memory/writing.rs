//! What is written is read back whole, kept once, and written all or not at all.

use futures::future::join_all;
use memory::service::{MemoryError, MemoryService};
use protocol::{
    id::{MemoryId, RunId},
    memory::{MemoryType, OccurredAt, Visibility, WriteMemory},
};
use serde_json::json;
use store::memories::{Origin, search::Parents};

use crate::{edit_of, fact, find, mine, object, on, service, store, turn, write};

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
async fn exact_duplicates_are_kept_once() {
    let service = service().await;
    let first = write(&service, fact("Tea at four")).await;
    assert_eq!(write(&service, fact(" Tea  at\nfour ")).await, first, "spacing is no difference");
    let composed = write(&service, fact("Café at four")).await;
    assert_eq!(write(&service, fact("Cafe\u{301} at four")).await, composed, "nor is its form");
    let power = write(&service, fact("The limit is 10⁶ requests")).await;
    assert_ne!(write(&service, fact("The limit is 106 requests")).await, power);
    for different in [
        fact("tea at four"),
        fact("Ｔea at four"),
        WriteMemory { kind: MemoryType::Core, ..fact("Tea at four") },
        turn("g", 1, "Tea at four"),
        turn("g", 2, "Tea at four"),
        on("2023-05-04", "Tea at four"),
        on("2023-05-04T23:00:00-05:00", "Tea at four"),
        on("2023-05-05T04:00:00Z", "Tea at four"),
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
    let layout = reader.layout(&home, Parents::All).await.unwrap();
    assert_eq!(totals.chunk_count, layout.len() as u64);
    let terms: i64 = layout.iter().map(|place| i64::from(place.length)).sum();
    assert_eq!(totals.term_count, terms as u64);
}
