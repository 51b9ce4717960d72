//! I13: memories are whole and there once, the counts are those of the rows, and each `memory_write`
//! of a run left exactly one memory, which its result names.

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Result;
use protocol::id::{MemoryId, RunId};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{client::Acked, tools::MEMORY_WRITE};

use super::{RecordedEvent, Violation};

/// What must not be, and the rows that would be it. `$1` is the organisation.
const FAULTS: [(&str, &str); 5] = [
    (
        "a scope's counts are not those of its chunks",
        "select format('`%s` `%s`: %s and %s, counted %s and %s', user_id, project_id,
                       s.chunk_count, s.term_count, c.chunk_count, c.term_count)
         from (select * from memory_scope_stats where org_id = $1) s
         full join (select org_id, user_id, project_id, count(*) as chunk_count,
                           sum(length) as term_count
                    from memory_chunks where org_id = $1
                    group by org_id, user_id, project_id) c
         using (org_id, user_id, project_id)
         where (coalesce(s.chunk_count, 0), coalesce(s.term_count, 0))
               <> (coalesce(c.chunk_count, 0), coalesce(c.term_count, 0))",
    ),
    (
        "a chunk's terms are not its postings",
        "select format('chunk %s has %s terms of %s, postings %s of %s', c.chunk_id,
                       length(c.search_tsv), c.length, p.terms, p.length)
         from memory_chunks c
         left join (select org_id, chunk_id, count(*) as terms, sum(frequency) as length
                    from memory_postings where org_id = $1 group by org_id, chunk_id) p
         using (org_id, chunk_id)
         where c.org_id = $1
           and (length(c.search_tsv), c.length) is distinct from (p.terms, p.length)",
    ),
    (
        "a memory's chunks are not its text",
        "select m.memory_id::text
         from memories m
         left join (select org_id, memory_id, string_agg(chunk_text, '' order by ordinal) as text
                    from memory_chunks where org_id = $1 group by org_id, memory_id) c
         using (org_id, memory_id)
         where m.org_id = $1
           and regexp_replace(m.text, '\\s', '', 'g')
               is distinct from regexp_replace(c.text, '\\s', '', 'g')",
    ),
    (
        "a chunk or a posting is of another scope than its memory",
        "select distinct m.memory_id::text
         from memories m
         join memory_chunks c using (org_id, memory_id)
         join memory_postings p using (org_id, chunk_id)
         where m.org_id = $1
           and ((m.user_id, m.project_id) <> (c.user_id, c.project_id)
                or (m.user_id, m.project_id) <> (p.user_id, p.project_id))",
    ),
    (
        "a memory is there more than once",
        "select format('%s times of `%s`: %s', count(*), user_id, left(min(text), 80))
         from memories where org_id = $1
         group by user_id, project_id, type, text_hash having count(*) > 1",
    ),
];

/// Finds what is there in part, twice, or other than a run said, once nobody writes any more.
pub(crate) async fn check(
    pool: &PgPool,
    org: &str,
    acked: &[Acked],
    events: &[RecordedEvent],
) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for (fault, query) in FAULTS {
        let found: Vec<String> = sqlx::query_scalar(query).bind(org).fetch_all(pool).await?;
        let detail = |row| format!("{fault}: {row}");
        violations.extend(found.into_iter().map(|row| Violation::new("I13", detail(row))));
    }
    // What a run leaves behind after its end has a group; what its calls wrote has none.
    let rows: Vec<(Uuid, Uuid, String)> = sqlx::query_as(
        "select memory_id, run_id, text from memories
         where org_id = $1 and run_id is not null and group_key is null",
    )
    .bind(org)
    .fetch_all(pool)
    .await?;
    let there: Vec<_> = rows
        .into_iter()
        .map(|(id, run, text)| (MemoryId::from_uuid(id), RunId::from_uuid(run), text))
        .collect();
    violations.extend(misnamed(&there, acked, events));
    Ok(violations)
}

/// Finds results of completed runs that do not name a memory of their own, and runs that left others
/// than their task says.
fn misnamed(
    there: &[(MemoryId, RunId, String)],
    acked: &[Acked],
    events: &[RecordedEvent],
) -> Vec<Violation> {
    let completed: HashSet<RunId> = events
        .iter()
        .filter(|event| event.kind == "run.completed")
        .map(|event| event.run_id)
        .collect();
    let of_calls = || {
        events
            .iter()
            .filter(|event| event.text("tool") == MEMORY_WRITE && completed.contains(&event.run_id))
    };
    let asked: HashMap<&str, &str> = of_calls()
        .filter(|event| event.kind == "tool.called")
        .filter_map(|event| {
            let text = event.payload.pointer("/args/text").and_then(Value::as_str)?;
            Some((event.text("tool_call_id"), text))
        })
        .collect();
    let mut violations = Vec::new();
    let mut unnamed: HashMap<MemoryId, (RunId, &str)> =
        there.iter().map(|(id, run_id, text)| (*id, (*run_id, text.as_str()))).collect();
    for result in of_calls().filter(|event| event.kind == "tool.result") {
        let call = result.text("tool_call_id");
        let named = result.payload.pointer("/result/id").and_then(Value::as_str);
        let kept = named.and_then(|id| unnamed.remove(&id.parse().ok()?));
        if kept != asked.get(call).map(|text| (result.run_id, *text)) || kept.is_none() {
            let detail = format!(
                "call {call} of `{MEMORY_WRITE}` ended as {} and left {kept:?} as {named:?}",
                result.text("outcome")
            );
            violations.push(Violation::of("I13", result.run_id, detail));
        }
    }
    let unnamed = unnamed.into_iter().filter(|(_, (run_id, _))| completed.contains(run_id));
    violations.extend(unnamed.map(|(id, (run_id, _))| {
        Violation::of("I13", run_id, format!("{id} is there, and no result names it"))
    }));

    let mut left: HashMap<RunId, BTreeSet<&str>> = HashMap::new();
    for (_, run_id, text) in there {
        left.entry(*run_id).or_default().insert(text);
    }
    for Acked { run_id, task } in acked.iter().filter(|one| completed.contains(&one.run_id)) {
        let left = left.remove(run_id).unwrap_or_default();
        let texts: BTreeSet<String> = task.texts().collect();
        if !left.iter().copied().eq(texts.iter().map(String::as_str)) {
            let detail = format!("left {} memories, its task has {}", left.len(), texts.len());
            violations.push(Violation::of("I13", *run_id, detail));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Task;

    /// A memory of two chunks as it should be.
    const WHOLE: &str = r"
        insert into memories (org_id, memory_id, user_id, project_id, type, text, text_hash,
                              importance)
        values ('o', '00000000-0000-7000-8000-000000000001', 'u', '', 'episodic', 'a b c', '\x01',
                0.5);
        insert into memory_chunks (org_id, user_id, project_id, memory_id, parent_id, position,
                                   ordinal, chunk_text, length, search_tsv)
        select 'o', 'u', '', memory_id, memory_id, 0, ordinal, piece, length, tsv::tsvector
        from memories, (values (0, 'a b', 3, 'a b'), (1, 'c', 1, 'c')) c(ordinal, piece, length, tsv);
        insert into memory_postings (org_id, user_id, project_id, term, chunk_id, frequency)
        select 'o', 'u', '', term, chunk_id, frequency
        from memory_chunks join (values (0, 'a', 2), (0, 'b', 1), (1, 'c', 1))
            p(ordinal, term, frequency) using (ordinal);
        insert into memory_scope_stats (org_id, user_id, project_id, chunk_count, term_count)
        values ('o', 'u', '', 2, 4);
    ";

    /// What is found once the whole memory was tampered with: the beginning of each sentence.
    async fn found(pool: &PgPool, tamper: &'static str) -> Vec<String> {
        for statements in ["truncate memories, memory_scope_stats cascade", WHOLE, tamper] {
            sqlx::raw_sql(statements).execute(pool).await.unwrap();
        }
        let violations = check(pool, "o", &[], &[]).await.unwrap();
        let fault = |violation: Violation| violation.detail.split(':').next().unwrap().to_owned();
        violations.into_iter().map(fault).collect()
    }

    #[tokio::test]
    async fn what_is_there_in_part_is_found() {
        const COUNTS: &str = "a scope's counts are not those of its chunks";
        const TERMS: &str = "a chunk's terms are not its postings";
        const TEXT: &str = "a memory's chunks are not its text";
        const SCOPE: &str = "a chunk or a posting is of another scope than its memory";
        const TWICE: &str = "a memory is there more than once";
        let db = postgres::scratch::database().await;
        store::connect::migrate(&db.owner_url).await.unwrap();
        let pool = PgPool::connect(&db.admin_url).await.unwrap();
        for (expected, tamper) in [
            (vec![], ""),
            (vec![TERMS], "delete from memory_postings where term = 'b'"),
            (vec![TERMS], "delete from memory_postings where term = 'c'"),
            (vec![TERMS], "update memory_postings set frequency = 1"),
            (vec![COUNTS], "update memory_scope_stats set term_count = 5"),
            (vec![COUNTS], "delete from memory_scope_stats"),
            (vec![COUNTS, TEXT], "delete from memory_chunks where ordinal = 1"),
            (vec![COUNTS, TEXT], "delete from memory_chunks"),
            (vec![COUNTS], "delete from memories"),
            (vec![TEXT], "update memories set text = 'a b d'"),
            (vec![SCOPE], "update memory_postings set user_id = 'v' where term = 'c'"),
            (
                vec![TEXT, TWICE],
                "insert into memories select org_id, '00000000-0000-7000-8000-000000000002',
                     user_id, project_id, type, text, text_hash, metadata, importance
                 from memories",
            ),
        ] {
            assert_eq!(found(&pool, tamper).await, expected, "{tamper}");
        }
    }

    /// What a run leaves whose task is to write two memories.
    struct Leftovers {
        acked: Acked,
        events: Vec<RecordedEvent>,
        there: Vec<(MemoryId, RunId, String)>,
    }

    fn left() -> Leftovers {
        let task = Task { token: "t".into(), steps: 2, words: 1, pace_ms: 1, memories: 2 };
        let run_id: RunId = "run_01kas5w4z8e5tv3k0v9x2m7qhd".parse().unwrap();
        let event = |kind: &str, payload| RecordedEvent {
            run_id,
            seq: 1,
            epoch: 1,
            step: Some(1),
            kind: kind.into(),
            payload,
            at_us: 0,
        };
        let (mut events, mut there) = (vec![event("run.completed", json!({}))], Vec::new());
        for (text, n) in task.texts().zip(1..) {
            let id = MemoryId::from_uuid(Uuid::from_u128(n));
            let (call, tool) = (format!("call_{n}"), MEMORY_WRITE);
            let args = json!({"type": "episodic", "text": text});
            let called = json!({"tool_call_id": call, "tool": tool, "args": args});
            let result = json!({"tool_call_id": call, "tool": tool, "result": {"id": id}});
            events.extend([event("tool.called", called), event("tool.result", result)]);
            there.push((id, run_id, text));
        }
        Leftovers { acked: Acked { run_id, task }, events, there }
    }

    /// How many faults there are once what the run left was tampered with.
    fn faults(tamper: impl FnOnce(&mut Leftovers)) -> usize {
        let mut left = left();
        tamper(&mut left);
        misnamed(&left.there, &[left.acked], &left.events).len()
    }

    #[test]
    fn each_result_names_one_memory_and_each_memory_is_named() {
        assert_eq!(faults(|_| {}), 0);
        // Its result names nothing, and the run left one too few.
        assert_eq!(faults(|left| drop(left.there.pop())), 2);
        // Nobody was told of it, and it is no other text than before.
        let id = MemoryId::from_uuid(Uuid::from_u128(7));
        assert_eq!(
            faults(|left| left.there.push((id, left.there[0].1, left.there[0].2.clone()))),
            1
        );
        // It says something else than the call, and than the task.
        assert_eq!(faults(|left| left.there[1].2.push('!')), 2);
        // Both results name the first: the second names no memory of its own, and one is unnamed.
        let same = |left: &mut Leftovers| {
            left.events[4].payload["result"] = left.events[2].payload["result"].clone()
        };
        assert_eq!(faults(same), 2);
        // A call was never answered: its memory is unnamed.
        assert_eq!(faults(|left| drop(left.events.pop())), 1);
        // A run that did not come to its own end may leave less.
        assert_eq!(
            faults(|left| {
                left.events.remove(0);
                left.there.pop();
            }),
            0
        );
    }
}
