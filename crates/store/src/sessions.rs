//! Sessions: the conversations of a scope, made of its runs.

use protocol::{
    id::RunId,
    message::Message,
    name::SessionKey,
    page::{Page, PageLimit},
    run::Session,
};
use sqlx::Row;

use crate::{
    error::StoreError,
    rows::{cut_page, get_json, get_parsed, get_timestamp, get_u64},
    scoped::Scoped,
};

/// The task and the answer of one run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub run_id: RunId,
    pub input: String,
    /// The answer; empty where the run failed or was cancelled.
    pub output: String,
}

impl Scoped {
    /// Sessions, most recently used first; `cursor` is the last run of the last one seen.
    pub async fn list_sessions(
        &self,
        cursor: Option<RunId>,
        limit: PageLimit,
    ) -> Result<Page<Session>, StoreError> {
        // The newest run of a session is found by the index that orders a session's runs.
        let query = sqlx::query(
            "select s.session_key, s.run_count, r.run_id, r.status, left(r.input, 200) as input,
                    r.created_at
             from (
                 select session_key, count(*) as run_count from runs
                 where org_id = $1 and user_id = $2 and project_id = $3
                 group by session_key
             ) s
             cross join lateral (
                 select run_id, status, input, created_at from runs
                 where org_id = $1 and user_id = $2 and project_id = $3
                   and session_key = s.session_key and session_key <> ''
                 order by run_id desc
                 limit 1
             ) r
             where $4::uuid is null or r.run_id < $4
             order by r.run_id desc
             limit $5",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(cursor.map(RunId::uuid))
        .bind(i64::from(limit.get()) + 1);
        let rows = self.read(query).await?;
        let sessions = rows
            .iter()
            .map(|row| {
                Ok(Session {
                    session_key: get_parsed(row, "session_key")?,
                    run_count: get_u64(row, "run_count")?,
                    last_run_id: RunId::from_uuid(row.try_get("run_id")?),
                    last_status: get_parsed(row, "status")?,
                    last_input: row.try_get("input")?,
                    last_run_at: get_timestamp(row, "created_at")?,
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(cut_page(sessions, limit, |session| session.last_run_id.to_string()))
    }

    /// How the newest run of a session before `run_id` begins that has begun.
    pub async fn session_beginning(
        &self,
        session_key: &SessionKey,
        before: RunId,
    ) -> Result<Option<Message>, StoreError> {
        let query = sqlx::query(
            "select m.message
             from runs r join run_messages m using (org_id, run_id)
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3
               and r.session_key = $4 and r.session_key <> '' and r.run_id < $5 and m.position = 0
             order by r.run_id desc
             limit 1",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(session_key.as_str())
        .bind(before.uuid());
        let rows = self.read(query).await?;
        rows.first().map(|row| get_json(row, "message")).transpose()
    }

    /// The last `limit` runs of a session that have ended before `run_id`, oldest first.
    pub async fn session_turns(
        &self,
        session_key: &SessionKey,
        before: RunId,
        limit: u32,
    ) -> Result<Vec<Turn>, StoreError> {
        let query = sqlx::query("select * from session_turns($1, $2, $3, $4, $5, $6)")
            .bind(self.org())
            .bind(self.user())
            .bind(self.project())
            .bind(session_key.as_str())
            .bind(before.uuid())
            .bind(i64::from(limit));
        let rows = self.call(query).await?;
        rows.iter()
            .rev()
            .map(|row| {
                Ok(Turn {
                    run_id: RunId::from_uuid(row.try_get("run_id")?),
                    input: row.try_get("input")?,
                    output: row.try_get::<Option<String>, _>("output")?.unwrap_or_default(),
                })
            })
            .collect()
    }
}
