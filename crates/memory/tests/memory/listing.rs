//! Lists, a page at a time, and the core layer.

use memory::service::MemoryError;
use protocol::{
    memory::{MemoryFilters, MemoryType, OccurredAt, WriteMemory},
    page::PageLimit,
};

use serde_json::json;

use crate::{fact, mine, object, on, service, turn, write};

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
    let filter = MemoryFilters::default();
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

    let filter = MemoryFilters {
        group_key: Some("b".into()),
        kinds: Some(vec![MemoryType::Archival]),
        ..Default::default()
    };
    let page = service.list(&mine(), &filter, None, limit).await.unwrap();
    assert_eq!(page.items.len(), 2);
    assert_eq!(page.next_cursor, None);
    let filter = MemoryFilters { kinds: Some(vec![MemoryType::Core]), ..filter };
    assert_eq!(service.list(&mine(), &filter, None, limit).await.unwrap().items, []);
    let id = write(
        &service,
        WriteMemory {
            metadata: Some(object(json!({"from": "a form"}))),
            ..on("2026-03-02", "tea")
        },
    )
    .await;
    for (filter, has) in [
        (
            MemoryFilters {
                metadata: Some(object(json!({"from": "a form"}))),
                ..Default::default()
            },
            true,
        ),
        (
            MemoryFilters {
                metadata: Some(object(json!({"from": "a call"}))),
                ..Default::default()
            },
            false,
        ),
        (MemoryFilters { occurred_after: day("2026-03-02"), ..Default::default() }, true),
        (MemoryFilters { occurred_before: day("2026-03-02"), ..Default::default() }, false),
        (MemoryFilters { group_key: Some("\0".into()), ..Default::default() }, false),
        (MemoryFilters { metadata: Some(object(json!({"\0": 1}))), ..Default::default() }, false),
    ] {
        let listed = service.list(&mine(), &filter, None, limit).await.unwrap().items;
        let exported = service.export(&mine(), &filter, None, limit).await.unwrap().items;
        let want: Vec<_> = has.then_some(id).into_iter().collect();
        assert_eq!(listed.iter().map(|memory| memory.id).collect::<Vec<_>>(), want, "{filter:?}");
        assert_eq!(exported.iter().map(|memory| memory.id).collect::<Vec<_>>(), want, "{filter:?}");
    }
    for bad in ["", "x", "1.mem_x", "99999999999999999999.mem_01h455vb4pex5vsknk084sn02q"] {
        let answer = service.list(&mine(), &filter, Some(bad), limit).await;
        assert!(matches!(answer, Err(MemoryError::Invalid(_))), "{bad}");
    }
    write(&service, fact(&"long ".repeat(1000))).await;
    let page = service.list(&mine(), &MemoryFilters::default(), None, limit).await.unwrap();
    assert!(page.items[0].snippet.len() < 500);
}

fn day(day: &str) -> Option<OccurredAt> {
    Some(day.to_owned().try_into().unwrap())
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
