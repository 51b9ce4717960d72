//! One home, as a scope reaches it: writing, editing and removing memories. Reading over all homes
//! that a scope sees is not done here.

use std::collections::HashMap;

use jiff_sqlx::Timestamp as DbTimestamp;
use protocol::{
    id::MemoryId,
    memory::{Memory, MemoryType, Visibility},
    scope::Scope,
};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{
    Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
    types::Json,
};
use uuid::Uuid;

use super::{
    MEMORY_COLUMNS, MemoryChange, NewMemory, chunks::MemoryPlace, instant, is_day, memory_from,
    offset_s,
};
use crate::{
    error::StoreError,
    homes::{Home, Seen},
    scoped::Scoped,
    transaction::Transaction,
};

/// One home of memories, as a scope reaches it.
#[derive(Clone, Debug)]
pub struct MemoryHome {
    scoped: Scoped,
    pub(super) home: Home,
}

impl Scoped {
    /// The home of the memories that this many see.
    pub fn home(&self, visibility: Visibility) -> MemoryHome {
        MemoryHome { scoped: self.clone(), home: Home::of(self.scope(), visibility) }
    }
}

impl MemoryHome {
    /// Who sees what lives here.
    pub fn visibility(&self) -> Visibility {
        self.home.visibility()
    }

    /// Changes a memory, keeps its old content as a version, and returns it as it is now. An edit that
    /// changes nothing leaves no trace.
    pub async fn edit_memory(
        &self,
        id: MemoryId,
        change: &MemoryChange,
        by: Option<&str>,
    ) -> Result<Memory, StoreError> {
        let mut tx = self.begin().await?;
        let to = self.other(change.visibility.unwrap_or(self.visibility()));
        let moves = to.visibility() != self.visibility();
        for home in Visibility::ALL {
            if home == self.visibility() || home == to.visibility() {
                self.other(home).lock(&mut tx).await?;
            }
        }
        let differs = self.keep_version(&mut tx, id, change, by).await?;
        if !differs.at_all && !moves {
            drop(tx);
            return self.scoped().get_memory(id).await;
        }
        let content = change.content.as_ref().filter(|_| differs.in_text);
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "update memories
             set text = coalesce($5, text), text_hash = coalesce($6, text_hash),
                 metadata = coalesce($7, metadata), importance = coalesce($8, importance),
                 user_id = $9, project_id = $10,
                 writer_user_id = coalesce(writer_user_id, user_id),
                 writer_project_id = coalesce(writer_project_id, project_id),
                 updated_at = clock_timestamp()
             where org_id = $1 and user_id = $2 and project_id = $3 and memory_id = $4
             returning {MEMORY_COLUMNS}"
        )))
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(id.uuid())
        .bind(content.map(|content| &content.text))
        .bind(content.map(|content| content.text_hash.as_slice()))
        .bind(change.metadata.as_ref().map(Json))
        .bind(change.importance)
        .bind(to.user())
        .bind(to.project())
        .fetch_one(&mut tx)
        .await?;
        if let Some(content) = content {
            let place = self.home.remove_chunks(&mut tx, id).await?;
            to.home.insert_chunks(&mut tx, &[(place, content)]).await?;
        } else if moves {
            self.home.move_chunks(&mut tx, id, &to.home).await?;
        }
        if moves {
            self.move_versions(&mut tx, id, &to).await?;
        }
        tx.commit().await?;
        memory_from(&row)
    }

    /// Deletes a memory and every trace of its words; its versions go with its row.
    pub async fn delete_memory(&self, id: MemoryId) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        self.lock(&mut tx).await?;
        let there: bool = sqlx::query_scalar(
            "select exists (select from memories
             where org_id = $1 and user_id = $2 and project_id = $3 and memory_id = $4)",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(id.uuid())
        .fetch_one(&mut tx)
        .await?;
        if !there {
            return Err(StoreError::NotFound);
        }
        self.home.remove_chunks(&mut tx, id).await?;
        sqlx::query(
            "delete from memories
             where org_id = $1 and user_id = $2 and project_id = $3 and memory_id = $4",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(id.uuid())
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    pub(super) fn org(&self) -> &str {
        self.home.org()
    }

    pub(super) fn user(&self) -> &str {
        self.home.user()
    }

    pub(super) fn project(&self) -> &str {
        self.home.project()
    }

    pub(super) async fn begin(&self) -> Result<Transaction, StoreError> {
        self.scoped.begin().await
    }

    pub(super) async fn read(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.scoped.read(query).await
    }

    /// Writes memories, and returns their ids in order, as `Scoped::write_memories` does.
    pub(super) async fn write(
        &self,
        tx: &mut Transaction,
        new: &[&NewMemory],
    ) -> Result<Vec<MemoryId>, StoreError> {
        self.lock(tx).await?;
        let known = self.known(tx, new).await?;
        let mut firsts: HashMap<Identity<'_>, MemoryId> = HashMap::new();
        let mut ids = Vec::with_capacity(new.len());
        let mut missing = Vec::new();
        for (at, &memory) in (0..).zip(new) {
            let id = known.get(&at).copied().unwrap_or_else(|| {
                *firsts.entry(identity(memory)).or_insert_with(|| {
                    missing.push(memory);
                    memory.id
                })
            });
            ids.push(id);
        }
        if !missing.is_empty() {
            self.insert(tx, &missing).await?;
        }
        Ok(ids)
    }

    pub(super) async fn lock(&self, tx: &mut Transaction) -> Result<(), StoreError> {
        sqlx::query("select lock_memories($1, $2, $3)")
            .bind(self.org())
            .bind(self.user())
            .bind(self.project())
            .execute(tx)
            .await?;
        Ok(())
    }

    /// Of each new memory that is there already, by its place: the id of what is there.
    async fn known(
        &self,
        tx: &mut Transaction,
        new: &[&NewMemory],
    ) -> Result<HashMap<i64, MemoryId>, StoreError> {
        let Seen { users, projects } = self.scoped.seen();
        let rows = sqlx::query(
            "select n.place - 1 as place, found.memory_id
             from rows from (jsonb_to_recordset($4::jsonb) as (
                                 memory_id uuid, type text, text_hash bytea, metadata jsonb,
                                 group_key text, position int, occurred_on_day boolean,
                                 occurred_offset_s int),
                             unnest($5::timestamptz[]))
                  with ordinality as n (memory_id, type, text_hash, metadata, group_key, position,
                                        occurred_on_day, occurred_offset_s, occurred_at, place)
             cross join lateral (
                 select m.memory_id, 0 as age_order, m.created_at from memories m
                 where m.org_id = $1 and m.memory_id = n.memory_id
                   and (m.user_id, m.project_id) in (select * from unnest($6, $7))
                 union all
                 select m.memory_id, 1, m.created_at from memories m
                 where m.org_id = $1 and m.user_id = $2 and m.project_id = $3
                   and m.text_hash = n.text_hash and m.type = n.type and m.metadata = n.metadata
                   and m.group_key is not distinct from n.group_key
                   and m.position is not distinct from n.position
                   and m.occurred_at is not distinct from n.occurred_at
                   and m.occurred_on_day = n.occurred_on_day
                   and m.occurred_offset_s = n.occurred_offset_s
                 order by age_order, created_at
                 limit 1
             ) found",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(memory_rows(new)?)
        .bind(times(new))
        .bind(users)
        .bind(projects)
        .fetch_all(tx)
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("place")?, MemoryId::from_uuid(row.try_get("memory_id")?))))
            .collect()
    }

    /// Inserts memories with their chunks.
    pub(super) async fn insert(
        &self,
        tx: &mut Transaction,
        new: &[&NewMemory],
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into memories (org_id, user_id, project_id, memory_id, type, text, text_hash,
                                   metadata, importance, group_key, position, occurred_at,
                                   occurred_on_day, occurred_offset_s, run_id, step,
                                   writer_user_id, writer_project_id)
             select $1, $2, $3, n.memory_id, n.type, n.text, n.text_hash, n.metadata, n.importance,
                    n.group_key, n.position, n.occurred_at, n.occurred_on_day, n.occurred_offset_s,
                    n.run_id, n.step, $6, $7
             from rows from (jsonb_to_recordset($4::jsonb) as (
                                 memory_id uuid, type text, text text, text_hash bytea,
                                 metadata jsonb, importance real, group_key text, position int,
                                 occurred_on_day boolean, occurred_offset_s int, run_id uuid,
                                 step int),
                             unnest($5::timestamptz[]))
                  as n (memory_id, type, text, text_hash, metadata, importance, group_key, position,
                        occurred_on_day, occurred_offset_s, run_id, step, occurred_at)",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(memory_rows(new)?)
        .bind(times(new))
        .bind(self.scope().user_id.as_str())
        .bind(self.scope().project_key())
        .execute(&mut *tx)
        .await?;
        let contents: Vec<_> = new.iter().map(|m| (MemoryPlace::of(m), &m.content)).collect();
        self.home.insert_chunks(tx, &contents).await
    }

    fn scoped(&self) -> &Scoped {
        &self.scoped
    }

    fn scope(&self) -> &Scope {
        self.scoped.scope()
    }

    /// Another home of the same scope.
    fn other(&self, visibility: Visibility) -> Self {
        self.scoped.home(visibility)
    }
}

/// A row of `memories`, for a parameter. Its time is a parameter of its own: as text a year before the
/// first could not be read.
#[derive(Serialize)]
struct MemoryRow<'a> {
    memory_id: Uuid,
    r#type: MemoryType,
    text: &'a str,
    /// As PostgreSQL reads bytes.
    text_hash: String,
    metadata: &'a Map<String, Value>,
    importance: f32,
    group_key: Option<&'a str>,
    position: Option<i32>,
    occurred_on_day: bool,
    occurred_offset_s: i32,
    run_id: Option<Uuid>,
    step: Option<u32>,
}

impl<'a> MemoryRow<'a> {
    fn of(memory: &'a NewMemory) -> Self {
        Self {
            memory_id: memory.id.uuid(),
            r#type: memory.kind,
            text: &memory.content.text,
            text_hash: hex(&memory.content.text_hash),
            metadata: &memory.metadata,
            importance: memory.importance,
            group_key: memory.group_key.as_deref(),
            position: memory.position,
            occurred_on_day: is_day(memory.occurred_at),
            occurred_offset_s: offset_s(memory.occurred_at),
            run_id: memory.origin.map(|origin| origin.run_id.uuid()),
            step: memory.origin.map(|origin| origin.step),
        }
    }
}

/// Bytes as PostgreSQL reads them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("\\x".into(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn memory_rows(new: &[&NewMemory]) -> Result<String, StoreError> {
    let rows: Vec<_> = new.iter().copied().map(MemoryRow::of).collect();
    serde_json::to_string(&rows).map_err(StoreError::unreadable)
}

fn times(new: &[&NewMemory]) -> Vec<Option<DbTimestamp>> {
    new.iter().map(|memory| instant(memory.occurred_at)).collect()
}

/// What makes two new memories the same.
type Identity<'a> = (&'a [u8; 32], &'static str, Option<&'a str>, Option<i32>, String);

fn identity(memory: &NewMemory) -> Identity<'_> {
    (
        &memory.content.text_hash,
        memory.kind.as_str(),
        memory.group_key.as_deref(),
        memory.position,
        format!("{:?} {}", memory.occurred_at, Value::Object(memory.metadata.clone())),
    )
}
