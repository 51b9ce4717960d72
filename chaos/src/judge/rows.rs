//! The invariants that the database alone shows. Each query finds what must not be there, as a run
//! and a sentence about it.

use anyhow::Result;
use protocol::id::RunId;
use sqlx::PgPool;
use uuid::Uuid;

use crate::client::Acked;

use super::Violation;

/// `$1` is the organisation.
const CHECKS: &[(&str, &str)] = &[
    (
        "I1",
        "select run_id, 'is ' || status || ' after ' || epoch || ' claims' from runs
         where org_id = $1 and status not in ('completed', 'failed', 'cancelled')",
    ),
    (
        "I2",
        "select run_id, format('is %s, has %s terminal events, its last event is %s',
                               status, terminal, last)
         from (select r.run_id, r.status,
                      count(e.seq) filter (where e.type in
                          ('run.completed', 'run.failed', 'run.cancelled')) as terminal,
                      (array_agg(e.type order by e.seq desc))[1] as last
               from runs r left join events e using (org_id, run_id)
               where r.org_id = $1
               group by r.org_id, r.run_id) runs
         where case when status in ('completed', 'failed', 'cancelled')
                    then terminal <> 1 or last is distinct from 'run.' || status
                    else terminal > 0 end",
    ),
    (
        "I3",
        "select run_id, format('has %s events from %s to %s, and last_seq is %s',
                               count(e.seq), min(e.seq), max(e.seq), r.last_seq)
         from runs r left join events e using (org_id, run_id)
         where r.org_id = $1
         group by r.org_id, r.run_id
         having count(e.seq) <> r.last_seq or coalesce(max(e.seq), 0) <> r.last_seq
             or coalesce(min(e.seq), 1) <> 1",
    ),
    (
        "I4",
        "select run_id, format('event %s has epoch %s after epoch %s', seq, epoch, before)
         from (select run_id, seq, epoch,
                      lag(epoch) over (partition by run_id order by seq) as before
               from events where org_id = $1) ordered
         where epoch < before",
    ),
    (
        "I5",
        "select run_id, format('call %s (%s) has %s intents and %s results',
                               call, effect, called, results)
         from (select e.run_id, e.payload->>'tool_call_id' as call, r.status,
                      max(e.payload->>'effect') as effect,
                      count(*) filter (where e.type = 'tool.called') as called,
                      count(*) filter (where e.type = 'tool.result') as results
               from events e join runs r using (org_id, run_id)
               where e.org_id = $1 and e.type in ('tool.called', 'tool.result')
               group by e.run_id, e.payload->>'tool_call_id', r.status) calls
         where called = 0 or results > 1 or results = 0 and status = 'completed'
             or called > 1 and effect = 'at_most_once'",
    ),
    (
        "I6",
        "select r.run_id, format('%s steps, %s checkpoints up to %s, %s steps completed',
                                 r.step_count, c.checkpoints, c.last, e.completed)
         from runs r
         cross join lateral (select count(*) as checkpoints, coalesce(max(step), 0) as last
                             from checkpoints where org_id = r.org_id and run_id = r.run_id) c
         cross join lateral (select count(*) as completed, count(distinct step) as distinct_steps
                             from events where org_id = r.org_id and run_id = r.run_id
                               and type = 'step.completed') e
         where r.org_id = $1
           and (c.checkpoints <> c.last or e.completed <> c.last or e.distinct_steps <> e.completed
                or r.status = 'completed' and r.step_count <> c.last)",
    ),
    (
        "I6",
        "select run_id, format('checkpoint %s stands on %s messages, the one before on %s',
                               step, message_count, before)
         from (select run_id, step, message_count,
                      lag(message_count) over (partition by run_id order by step) as before
               from checkpoints where org_id = $1) ordered
         where message_count <= before",
    ),
    (
        "I6",
        "select m.run_id, format('%s messages, the last at %s, the last checkpoint on %s',
                                 count(*), max(m.position), c.message_count)
         from run_messages m
         join lateral (select message_count from checkpoints
                       where org_id = m.org_id and run_id = m.run_id
                       order by step desc limit 1) c on true
         join runs r on r.org_id = m.org_id and r.run_id = m.run_id
         where m.org_id = $1
         group by m.org_id, m.run_id, c.message_count, r.status
         having count(*) <> max(m.position) + 1 or count(*) < c.message_count
             or r.status = 'completed' and count(*) <> c.message_count",
    ),
    (
        "I7",
        "select run_id, format('counts %s + %s tokens, its model calls %s + %s',
                               r.input_tokens, r.output_tokens, l.input, l.output)
         from runs r cross join lateral (
             select coalesce(sum((payload->'usage'->>'input_tokens')::bigint), 0) as input,
                    coalesce(sum((payload->'usage'->>'output_tokens')::bigint), 0) as output
             from events where org_id = r.org_id and run_id = r.run_id and type = 'llm.called') l
         where r.org_id = $1 and (r.input_tokens <> l.input or r.output_tokens <> l.output)",
    ),
    (
        "I8",
        "select run_id, 'is still in the queue, though it is ' || r.status
         from queue q join runs r using (org_id, run_id)
         where q.org_id = $1 and r.status in ('completed', 'failed', 'cancelled')",
    ),
    (
        "I12",
        "select null::uuid, format('key %s has %s runs', key, count(distinct run_id))
         from idempotency_keys where org_id = $1
         group by user_id, project_id, key having count(distinct run_id) > 1",
    ),
];

/// Runs that may end otherwise than as completed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct MayEnd<'a> {
    pub(crate) cancelled: &'a [RunId],
    pub(crate) failed: &'a [RunId],
}

pub(crate) async fn check(
    pool: &PgPool,
    org: &str,
    acked: &[Acked],
    may: &MayEnd<'_>,
) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for (check, query) in CHECKS {
        let found: Vec<(Option<Uuid>, String)> =
            sqlx::query_as(*query).bind(org).fetch_all(pool).await?;
        violations.extend(found.into_iter().map(|(run_id, detail)| Violation {
            check,
            run_id: run_id.map(RunId::from_uuid),
            detail,
        }));
    }
    violations.extend(lost(pool, org, acked).await?);
    violations.extend(not_completed(pool, org, may).await?);
    Ok(violations)
}

/// Acknowledged runs that are not there, and runs that nobody was told of.
async fn lost(pool: &PgPool, org: &str, acked: &[Acked]) -> Result<Vec<Violation>> {
    let ids: Vec<Uuid> = acked.iter().map(|acked| acked.run_id.uuid()).collect();
    let found: Vec<(Uuid, String)> = sqlx::query_as(
        "select coalesce(a.run_id, r.run_id),
                case when r.run_id is null then 'was acknowledged and is gone'
                     else 'is there and was never acknowledged, under a key' end
         from unnest($2::uuid[]) as a(run_id)
         full join (select run_id from runs where org_id = $1) r on r.run_id = a.run_id
         where a.run_id is null or r.run_id is null",
    )
    .bind(org)
    .bind(ids)
    .fetch_all(pool)
    .await?;
    Ok(found
        .into_iter()
        .map(|(run_id, detail)| Violation::of("I1", RunId::from_uuid(run_id), detail))
        .collect())
}

/// Runs that failed, or were cancelled though nobody asked for it.
async fn not_completed(pool: &PgPool, org: &str, may: &MayEnd<'_>) -> Result<Vec<Violation>> {
    let ids = |runs: &[RunId]| runs.iter().map(|run_id| run_id.uuid()).collect::<Vec<_>>();
    let found: Vec<(Uuid, String)> = sqlx::query_as(
        "select run_id, format('%s: %s', status, error) from runs
         where org_id = $1 and (status = 'cancelled' and run_id <> all ($2)
                                or status = 'failed' and run_id <> all ($3))",
    )
    .bind(org)
    .bind(ids(may.cancelled))
    .bind(ids(may.failed))
    .fetch_all(pool)
    .await?;
    Ok(found
        .into_iter()
        .map(|(run_id, detail)| Violation::of("outcome", RunId::from_uuid(run_id), detail))
        .collect())
}

#[cfg(test)]
mod tests {
    use protocol::id::RunId;

    use super::*;
    use crate::model::Task;

    /// A run as it should be: one step with a call, and the answer.
    const WHOLE: &str = r#"
        insert into runs (org_id, run_id, user_id, project_id, session_key, agent_id, status, epoch,
                          last_seq, input, step_count, input_tokens, output_tokens, ended_at)
        values ('o', $1, 'u', '', 's', 'main', 'completed', 1, 6, 'x', 1, 3, 4, now());
        insert into events (org_id, run_id, seq, epoch, agent_id, step, span_id, type, payload)
        select 'o', $1, seq, 1, 'main', step, 1, type, payload::jsonb
        from (values
            (1, null, 'run.started', '{}'),
            (2, 1, 'llm.called', '{"usage": {"input_tokens": 3, "output_tokens": 4}}'),
            (3, 1, 'tool.called', '{"tool_call_id": "c", "effect": "at_most_once"}'),
            (4, 1, 'tool.result', '{"tool_call_id": "c", "outcome": "ok"}'),
            (5, 1, 'step.completed', '{}'),
            (6, null, 'run.completed', '{}')) e(seq, step, type, payload);
        insert into run_messages (org_id, run_id, position, message)
        values ('o', $1, 0, '{}'), ('o', $1, 1, '{}');
        insert into checkpoints (org_id, run_id, step, agent_id, message_count, state)
        values ('o', $1, 1, 'main', 2, '{}');
    "#;

    /// The checks that fail once the whole run was tampered with.
    async fn failing(tamper: &str) -> Vec<&'static str> {
        let db = postgres::scratch::database().await;
        store::connect::migrate(&db.owner_url).await.unwrap();
        let pool = PgPool::connect(&db.admin_url).await.unwrap();
        let run_id = RunId::generate();
        for statements in [WHOLE, tamper] {
            let sql = statements.replace("$1", &format!("'{}'", run_id.uuid()));
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        }
        let task = Task { token: "t".into(), steps: 1, words: 1, pace_ms: 1, memories: 0 };
        let mut checks: Vec<_> = check(&pool, "o", &[Acked { run_id, task }], &MayEnd::default())
            .await
            .unwrap()
            .into_iter()
            .map(|violation| violation.check)
            .collect();
        checks.dedup();
        checks
    }

    #[tokio::test]
    async fn every_check_sees_what_it_is_for() {
        assert!(failing("").await.is_empty());
        for (expected, tamper) in [
            (vec!["I1", "I2"], "update runs set status = 'running', ended_at = null"),
            (vec!["I1"], "delete from runs"),
            (vec!["I2"], "update events set type = 'run.failed' where seq = 6"),
            (vec!["I2"], "update events set type = 'run.completed' where seq = 1"),
            (vec!["I3"], "delete from events where seq = 1"),
            (vec!["I4"], "update events set epoch = 2 where seq = 1"),
            (vec!["I5"], "update events set type = 'step.started' where seq = 4"),
            (
                vec!["I5"],
                "update events set type = 'tool.called' where seq = 1; update events
                          set payload = '{\"tool_call_id\": \"c\"}' where seq = 1",
            ),
            (vec!["I6"], "delete from checkpoints"),
            (vec!["I6"], "delete from run_messages where position = 0"),
            (vec!["I7"], "update runs set input_tokens = 4"),
            (vec!["I8"], "insert into queue (org_id, run_id) values ('o', $1)"),
            (
                vec!["outcome"],
                "update runs set status = 'cancelled';
                               update events set type = 'run.cancelled' where seq = 6",
            ),
        ] {
            assert_eq!(failing(tamper).await, expected, "{tamper}");
        }
    }
}
