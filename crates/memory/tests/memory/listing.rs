//! Lists, a page at a time, and the core layer.

use memory::service::MemoryError;
use protocol::{
    memory::{MemoryType, WriteMemory},
    page::PageLimit,
};
use store::memories::MemoryFilter;

use crate::{fact, mine, service, turn, write};

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
