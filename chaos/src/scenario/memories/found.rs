//! What the API shows of all memories, beside what writers were told and searchers found.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use protocol::{id::MemoryId, memory::Memory};

use crate::{client::PersistentClient, judge::Violation};

use super::Written;

/// Exports the memories of these users; says what is missing, what nobody was told of, and what is
/// there of a bulk write in part.
pub(super) async fn faults(
    client: &PersistentClient,
    users: &[&'static str],
    written: &[Written],
    hits: &[MemoryId],
    bulk: u64,
) -> Result<Vec<Violation>> {
    let mut found = HashMap::new();
    for user in users {
        let memories = client.export(user).await?;
        found.extend(memories.into_iter().map(|memory| ((*user, memory.id), memory)));
    }
    let faults = [missing(&found, written), untold(&found, written, bulk), unreal(&found, hits)];
    Ok(faults.concat().into_iter().map(|fault| Violation::new("G17", fault)).collect())
}

type Found = HashMap<(&'static str, MemoryId), Memory>;

fn missing(found: &Found, written: &[Written]) -> Vec<String> {
    let fault = |one: &Written| {
        let Written { user, id, text } = one;
        match found.get(&(*user, *id)) {
            None => Some(format!("{id} of `{user}` was acknowledged and is gone")),
            Some(memory) if memory.text != *text => {
                Some(format!("{id} of `{user}` is not what was acknowledged"))
            }
            Some(_) => None,
        }
    };
    let mut faults: Vec<_> = written.iter().filter_map(fault).collect();
    let ids: HashSet<_> = written.iter().map(|one| one.id).collect();
    if ids.len() < written.len() {
        faults.push(format!("{} memories have {} ids", written.len(), ids.len()));
    }
    faults
}

/// Of memories that no run wrote, those that are there though nobody was told, other than as a whole
/// bulk write whose answer was lost.
fn untold(found: &Found, written: &[Written], bulk: u64) -> Vec<String> {
    let told: HashSet<_> = written.iter().map(|one| (one.user, one.id)).collect();
    let mut groups: HashMap<&str, u64> = HashMap::new();
    let mut faults = Vec::new();
    for (place, memory) in found.iter().filter(|(_, memory)| memory.origin.is_none()) {
        match &memory.group_key {
            Some(group) => *groups.entry(group).or_default() += 1,
            None if told.contains(place) => {}
            None => faults.push(format!("{} of `{}` was never acknowledged", memory.id, place.0)),
        }
    }
    let in_part = groups.into_iter().filter(|(_, there)| *there != bulk);
    faults
        .extend(in_part.map(|(group, there)| format!("{there} of {bulk} are there of `{group}`")));
    faults
}

fn unreal(found: &Found, hits: &[MemoryId]) -> Vec<String> {
    let there: HashSet<_> = found.keys().map(|(_, id)| *id).collect();
    let hits: HashSet<_> = hits.iter().filter(|hit| !there.contains(hit)).collect();
    hits.into_iter().map(|hit| format!("a search found {hit}, which is gone")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const USER: &str = "user";

    fn id(n: u128) -> MemoryId {
        MemoryId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn found(memories: &[(u128, &str, Option<&str>)]) -> Found {
        let memory = |(n, text, group): &(u128, &str, Option<&str>)| {
            let memory: Value = json!({
                "id": id(*n), "type": "archival", "text": text, "metadata": {}, "importance": 0.5,
                "group_key": group, "position": null, "occurred_at": null, "origin": null,
                "visibility": "scope", "created_at": "2026-05-04T00:00:00Z",
                "updated_at": "2026-05-04T00:00:00Z",
            });
            ((USER, id(*n)), serde_json::from_value(memory).unwrap())
        };
        memories.iter().map(memory).collect()
    }

    fn written(memories: &[(u128, &str)]) -> Vec<Written> {
        let one =
            |(n, text): &(u128, &str)| Written { user: USER, id: id(*n), text: (*text).into() };
        memories.iter().map(one).collect()
    }

    #[test]
    fn what_is_gone_changed_or_given_out_twice_is_missing() {
        let found = found(&[(1, "a", None), (2, "b", None)]);
        assert!(missing(&found, &written(&[(1, "a"), (2, "b")])).is_empty());
        assert_eq!(missing(&found, &written(&[(3, "c")])).len(), 1);
        assert_eq!(missing(&found, &written(&[(1, "b")])).len(), 1);
        assert_eq!(missing(&found, &written(&[(1, "a"), (1, "a")])).len(), 1);
    }

    #[test]
    fn what_nobody_was_told_of_is_there_as_a_whole_group_alone() {
        let one = found(&[(1, "a", None)]);
        assert!(untold(&one, &written(&[(1, "a")]), 2).is_empty());
        assert_eq!(untold(&one, &[], 2).len(), 1);
        let group = found(&[(1, "a", Some("g")), (2, "b", Some("g"))]);
        assert!(untold(&group, &[], 2).is_empty());
        assert_eq!(untold(&group, &written(&[(1, "a")]), 3).len(), 1);
    }

    #[test]
    fn what_searchers_found_is_there() {
        let found = found(&[(1, "a", None)]);
        assert!(unreal(&found, &[id(1), id(1)]).is_empty());
        assert_eq!(unreal(&found, &[id(2), id(2)]).len(), 1);
    }
}
