//! Who sees a memory, and who may change it: its owner, and as many as it is meant for.

use memory::service::MemoryError;
use protocol::{
    memory::{EditMemory, MemoryFilters, MemoryType, SearchMemories, Visibility, WriteMemory},
    page::PageLimit,
    scope::Scope,
};

use crate::{edit_of, fact, find, mine, seen_by, service, strangers, write};

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
        let filter = MemoryFilters::default();
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
        let filter = MemoryFilters::default();
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
    let page = admin.list(&mine(), &MemoryFilters::default(), None, PageLimit::default()).await;
    assert_eq!(page.unwrap().items.len(), 3, "nothing of a refused bulk is kept");
    assert_eq!(find(&admin, "tea").await.len(), 3, "nothing was changed");
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
        let asked = SearchMemories { explain: true, ..SearchMemories::new("honey") };
        let hits = service.search(scope, &asked).await.unwrap();
        hits[0].explain.as_ref().unwrap().fused_score
    };
    let [_, other_user, _] = strangers();
    assert!(score(&mine()).await > score(&other_user).await, "rarer among four than among three");
}
