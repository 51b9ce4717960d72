//! The memory service: write, get, list, edit, delete, and the core layer. `search` finds.
//!
//! Everyone can read what their scope sees. A memory that is visible beyond the scope is written and
//! changed only by a service whose reach allows it.
//!
//! Texts are analysed and embedded before a transaction is opened. A memory whose chunks have no
//! vectors is found by its words.

pub mod after_runs;
pub mod consolidation;
pub mod content;
mod layout_cache;
mod ranking;
pub mod reindex;
pub mod search;

use std::sync::Arc;

use jiff::Zoned;
use model::embedding::Embedder;
use protocol::{
    error::FieldError,
    id::MemoryId,
    limits::MEMORY_BULK_MAX,
    memory::{
        EditMemory, MemoriesWritten, Memory, MemoryFilters, MemorySummary, OccurredAt, Visibility,
        WriteMemory, group_key_fault, version::MemoryVersion,
    },
    page::{Page, PageLimit},
    scope::Scope,
    time::Zone,
};
use store::{
    Store,
    error::StoreError,
    memories::{Content, MemoryChange, MemoryCursor, NewMemory, Origin},
};
use uuid::Uuid;

use self::{content::contents, layout_cache::LayoutCache};
use crate::{embed::TimedEmbedder, snippet};

/// Most text of one bulk write, in bytes.
pub const BULK_TEXT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A home of up to this many chunks is scanned exactly; of a larger one, the index is asked.
/// Source: measured, see docs/memory.md.
const EXACT_SCAN_MAX: u64 = 30_000;

/// What is remembered, for all scopes. Cheap to clone.
#[derive(Clone)]
pub struct MemoryService {
    store: Store,
    embedder: TimedEmbedder,
    layouts: Arc<LayoutCache>,
    zone: Zone,
    asked_at: Option<Zoned>,
    reach: Visibility,
    exact_scan_max: u64,
}

/// A memory could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Each field at fault.
    #[error("the request is malformed: {}", listed(.0))]
    Invalid(Vec<FieldError>),
    /// No such memory in this scope. A foreign tenant's memory is the same.
    #[error("there is no such memory in this scope")]
    NotFound,
    /// The memory is, or would be, visible to more people than the caller may write for.
    #[error("the caller may not write memories of visibility `{0}`")]
    Beyond(Visibility),
    #[error("the memory store failed")]
    Store(#[source] StoreError),
}

impl From<StoreError> for MemoryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound,
            other => Self::Store(other),
        }
    }
}

impl MemoryService {
    /// A service that also searches by vectors where there is an embedder.
    pub fn new(store: Store, embedder: Option<Arc<dyn Embedder>>) -> Self {
        Self {
            store,
            embedder: TimedEmbedder::new(embedder),
            layouts: Arc::default(),
            zone: Zone::UTC,
            asked_at: None,
            reach: Visibility::Scope,
            exact_scan_max: EXACT_SCAN_MAX,
        }
    }

    /// The same service for the execution of runs (see [`Store::for_runs`]).
    pub fn for_runs(&self) -> Self {
        Self { store: self.store.for_runs(), ..self.clone() }
    }

    /// The same service for a caller who may also write and change memories of this visibility.
    pub fn reaching(&self, reach: Visibility) -> Self {
        Self { reach, ..self.clone() }
    }

    /// The same service, where questions that name no zone are asked in this one.
    pub fn in_zone(&self, zone: Zone) -> Self {
        Self { zone, ..self.clone() }
    }

    /// The same service for questions that were all asked at one time: "yesterday" is seen from
    /// there.
    pub fn asked_at(&self, time: Zoned) -> Self {
        Self { asked_at: Some(time), ..self.clone() }
    }

    /// The same service, which asks the index for the vectors of every home of more chunks than this:
    /// for measuring the index where homes are small.
    pub fn scanning_exactly_up_to(&self, chunks: u64) -> Self {
        Self { exact_scan_max: chunks, ..self.clone() }
    }

    /// Writes a memory. For an exact duplicate it returns the id of the existing memory.
    pub async fn write(
        &self,
        scope: &Scope,
        memory: &WriteMemory,
        origin: Option<Origin>,
    ) -> Result<MemoryId, MemoryError> {
        self.write_as(scope, MemoryId::generate(), memory, origin).await
    }

    /// Like [`Self::write`], under an id of the caller's: doing it again changes nothing.
    pub async fn write_as(
        &self,
        scope: &Scope,
        id: MemoryId,
        memory: &WriteMemory,
        origin: Option<Origin>,
    ) -> Result<MemoryId, MemoryError> {
        checked(content::faults(memory, ""))?;
        let ids = self.write_all(scope, &[(id, memory)], origin).await?;
        Ok(ids.into_iter().next().unwrap_or(id))
    }

    /// Writes up to 500 memories, all or none, and returns their ids in order.
    pub async fn write_bulk(
        &self,
        scope: &Scope,
        memories: &[WriteMemory],
    ) -> Result<MemoriesWritten, MemoryError> {
        let mut faults = Vec::new();
        if !(1..=MEMORY_BULK_MAX).contains(&memories.len()) {
            let message = format!("must have 1 to {MEMORY_BULK_MAX} items");
            faults.push(FieldError::new("/memories", message));
        } else if memories.iter().map(|memory| memory.text.len()).sum::<usize>()
            > BULK_TEXT_MAX_BYTES
        {
            let message = format!("must have at most {BULK_TEXT_MAX_BYTES} bytes of text together");
            faults.push(FieldError::new("/memories", message));
        } else {
            for (at, memory) in memories.iter().enumerate() {
                faults.extend(content::faults(memory, &format!("/memories/{at}")));
            }
        }
        checked(faults)?;
        let named: Vec<_> = memories.iter().map(|memory| (MemoryId::generate(), memory)).collect();
        let ids = self.write_all(scope, &named, None).await?;
        // A memory that existed already keeps its own id.
        let new = named.iter().zip(&ids).filter(|((name, _), id)| name == *id).count();
        Ok(MemoriesWritten { ids, written: u32::try_from(new).unwrap_or(u32::MAX) })
    }

    pub async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Memory, MemoryError> {
        Ok(self.store.scoped(scope).get_memory(id).await?)
    }

    /// Memories, newest first. `cursor` is the `next_cursor` of the page before.
    pub async fn list(
        &self,
        scope: &Scope,
        filters: &MemoryFilters,
        cursor: Option<&str>,
        limit: PageLimit,
    ) -> Result<Page<MemorySummary>, MemoryError> {
        let Some(cursor) = start(filters, cursor)? else { return Ok(nothing()) };
        let page = self.store.scoped(scope).list_memories(filters, cursor, limit).await?;
        Ok(page
            .map(|memory| MemorySummary { snippet: snippet::beginning(&memory.snippet), ..memory }))
    }

    /// Memories with their whole texts, oldest first. `cursor` is the `next_cursor` of the page
    /// before.
    pub async fn export(
        &self,
        scope: &Scope,
        filters: &MemoryFilters,
        cursor: Option<&str>,
        limit: PageLimit,
    ) -> Result<Page<Memory>, MemoryError> {
        let Some(cursor) = start(filters, cursor)? else { return Ok(nothing()) };
        Ok(self.store.scoped(scope).export_memories(filters, cursor, limit).await?)
    }

    /// Changes a memory, keeps the old content as a version, and returns the memory as it is now.
    /// `by` is who does it: the id of a key or of a run, or a user.
    pub async fn edit(
        &self,
        scope: &Scope,
        id: MemoryId,
        edit: &EditMemory,
        by: Option<&str>,
    ) -> Result<Memory, MemoryError> {
        checked(content::edit_faults(edit))?;
        let found = self.store.scoped(scope).find_memory(id).await?;
        self.reaches(found.home.visibility().max(edit.visibility.unwrap_or_default()))?;
        let content = match &edit.text {
            // Only a run that leaves the old text behind again moves its day meanwhile (see
            // `remember_runs`): then the new text is found by the day before.
            Some(text) => {
                let happened = found.occurred_at.and_then(OccurredAt::zoned);
                contents(&self.embedder, vec![(text.clone(), happened)]).await.into_iter().next()
            }
            None => None,
        };
        let change = MemoryChange {
            content,
            metadata: edit.metadata.clone(),
            importance: edit.importance,
            visibility: edit.visibility,
        };
        Ok(found.home.edit_memory(id, &change, by).await?)
    }

    /// The versions of a memory from before its edits, newest first. `cursor` is the `next_cursor` of
    /// the page before.
    pub async fn versions(
        &self,
        scope: &Scope,
        id: MemoryId,
        cursor: Option<u64>,
        limit: PageLimit,
    ) -> Result<Page<MemoryVersion>, MemoryError> {
        let found = self.store.scoped(scope).find_memory(id).await?;
        Ok(found.home.list_memory_versions(id, cursor, limit).await?)
    }

    /// Forgets a memory and every trace of its words.
    pub async fn delete(&self, scope: &Scope, id: MemoryId) -> Result<(), MemoryError> {
        let found = self.store.scoped(scope).find_memory(id).await?;
        self.reaches(found.home.visibility())?;
        Ok(found.home.delete_memory(id).await?)
    }

    /// The core layer, most important first, as far as `max_chars` reach.
    pub async fn core(&self, scope: &Scope, max_chars: u32) -> Result<Vec<Memory>, MemoryError> {
        Ok(self.store.scoped(scope).core_memories(max_chars).await?)
    }

    fn reaches(&self, visibility: Visibility) -> Result<(), MemoryError> {
        if visibility <= self.reach { Ok(()) } else { Err(MemoryError::Beyond(visibility)) }
    }

    async fn write_all(
        &self,
        scope: &Scope,
        memories: &[(MemoryId, &WriteMemory)],
        origin: Option<Origin>,
    ) -> Result<Vec<MemoryId>, MemoryError> {
        for (_, memory) in memories {
            self.reaches(memory.visibility)?;
        }
        let texts = memories.iter().map(|(_, memory)| content::dated(memory)).collect();
        let contents = contents(&self.embedder, texts).await;
        let new: Vec<_> = memories
            .iter()
            .zip(contents)
            .map(|((id, memory), content)| new_memory(*id, memory, content, origin))
            .collect();
        Ok(self.store.scoped(scope).write_memories(&new).await?)
    }
}

/// Where a page begins; none where no memory can be in the list.
fn start(
    filters: &MemoryFilters,
    cursor: Option<&str>,
) -> Result<Option<Option<MemoryCursor>>, MemoryError> {
    let cursor = cursor.map(str::parse).transpose().map_err(|fault| {
        MemoryError::Invalid(vec![FieldError::new("cursor", format!("{fault}"))])
    })?;
    checked(group_key_fault(filters.group_key.as_deref(), "group_key").into_iter().collect())?;
    Ok((!content::names_nul(filters)).then_some(cursor))
}

fn nothing<T>() -> Page<T> {
    Page { items: Vec::new(), next_cursor: None }
}

fn new_memory(
    id: MemoryId,
    memory: &WriteMemory,
    content: Content,
    origin: Option<Origin>,
) -> NewMemory {
    NewMemory {
        id,
        kind: memory.kind,
        content,
        metadata: memory.metadata.clone().unwrap_or_default(),
        importance: memory.importance,
        group_key: memory.group_key.clone(),
        position: memory.position,
        occurred_at: memory.occurred_at,
        parent_id: parent_id(id, memory.group_key.as_deref()),
        origin,
        visibility: memory.visibility,
    }
}

/// A group's name as an id; a memory without a group is its own parent.
fn parent_id(id: MemoryId, group_key: Option<&str>) -> Uuid {
    group_key.map_or(id.uuid(), |key| {
        let mut bits = [0; 16];
        let digest = content::sha256(key);
        bits.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Uuid::new_v8(bits)
    })
}

fn listed(faults: &[FieldError]) -> String {
    let faults: Vec<_> =
        faults.iter().map(|fault| format!("`{}` {}", fault.field, fault.message)).collect();
    faults.join("; ")
}

fn checked(faults: Vec<FieldError>) -> Result<(), MemoryError> {
    if faults.is_empty() { Ok(()) } else { Err(MemoryError::Invalid(faults)) }
}
