//! Memories: write, list, get, edit, delete, search, consolidate, and what was edited away.

use axum::{Json, extract::State};
use http::StatusCode;
use memory::service::{MemoryError, consolidation::Pass};
use protocol::{
    error::ErrorCode,
    id::MemoryId,
    memory::{
        Consolidate, Consolidated, EditMemory, Hits, MemoriesWritten, Memory, MemoryLinks,
        MemoryPage, MemoryType, MemoryWritten, SearchMemories, Visibility, WholeMemoryPage,
        WriteMemories, WriteMemory, version::MemoryVersionPage,
    },
};
use store::memories::MemoryFilter;

use crate::{
    app::App,
    body::Asked,
    identity::Caller,
    path::InPath,
    query::{Parameters, decimal},
    refusal::Refusal,
    scope::InScope,
};

/// Remember a text
#[utoipa::path(
    post, path = "/api/memories", tag = "memories", operation_id = "write_memory",
    request_body = WriteMemory,
    responses((status = 201, description = "It is remembered", body = MemoryWritten))
)]
pub(crate) async fn write(
    State(app): State<App>,
    caller: Caller,
    asked: Asked<WriteMemory>,
) -> Result<(StatusCode, Json<MemoryWritten>), Refusal> {
    let memory = app.parts.memory.reaching(caller.reach());
    let id = memory.write(&asked.scope, &asked.body, None).await?;
    Ok((StatusCode::CREATED, Json(MemoryWritten { id })))
}

/// Remember up to 500 texts
///
/// All or none.
#[utoipa::path(
    post, path = "/api/memories/bulk", tag = "memories", operation_id = "write_memories",
    request_body = WriteMemories,
    responses((status = 201, description = "They are remembered", body = MemoriesWritten))
)]
pub(crate) async fn write_bulk(
    State(app): State<App>,
    caller: Caller,
    asked: Asked<WriteMemories>,
) -> Result<(StatusCode, Json<MemoriesWritten>), Refusal> {
    let memory = app.parts.memory.reaching(caller.reach());
    let written = memory.write_bulk(&asked.scope, &asked.body.memories).await?;
    Ok((StatusCode::CREATED, Json(written)))
}

/// Which memories to list.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what `list` and `export` read")]
struct ListMemories {
    /// Only those of this layer.
    #[param(inline)]
    r#type: Option<MemoryType>,
    /// Only those of this group.
    #[param(min_length = 1, max_length = 256)]
    group_key: Option<String>,
    /// Most rows of the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[0-9]{1,17}\\.mem_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    cursor: Option<String>,
}

/// List memories
///
/// Newest first; a snippet in place of the text.
#[utoipa::path(
    get, path = "/api/memories", tag = "memories", operation_id = "list_memories",
    params(ListMemories),
    responses((status = 200, description = "A page of memories", body = MemoryPage))
)]
pub(crate) async fn list(
    State(app): State<App>,
    InScope(scope): InScope,
    parameters: Parameters,
) -> Result<Json<MemoryPage>, Refusal> {
    let filter = filter(&parameters)?;
    let (cursor, limit) = (parameters.text("cursor")?, parameters.limit()?);
    let page = app.parts.memory.list(&scope, &filter, cursor, limit).await?;
    Ok(Json(MemoryPage { memories: page.items, next_cursor: page.next_cursor }))
}

/// Export memories
///
/// Oldest first, with whole texts, so that they can be written elsewhere in the order in which they
/// were written here. A page is shorter than `limit` where its texts are large.
#[utoipa::path(
    get, path = "/api/memories/export", tag = "memories", operation_id = "export_memories",
    params(ListMemories),
    responses((status = 200, description = "A page of whole memories", body = WholeMemoryPage))
)]
pub(crate) async fn export(
    State(app): State<App>,
    InScope(scope): InScope,
    parameters: Parameters,
) -> Result<Json<WholeMemoryPage>, Refusal> {
    let filter = filter(&parameters)?;
    let (cursor, limit) = (parameters.text("cursor")?, parameters.limit()?);
    let page = app.parts.memory.export(&scope, &filter, cursor, limit).await?;
    Ok(Json(WholeMemoryPage { memories: page.items, next_cursor: page.next_cursor }))
}

fn filter(parameters: &Parameters) -> Result<MemoryFilter, Refusal> {
    Ok(MemoryFilter {
        kind: parameters.parsed("type")?,
        group_key: parameters.text("group_key")?.map(str::to_owned),
    })
}

/// Get a memory
#[utoipa::path(
    get, path = "/api/memories/{id}", tag = "memories", operation_id = "get_memory",
    params(("id" = inline(MemoryId), Path, description = "The memory")),
    responses(
        (status = 200, description = "The memory, whole", body = Memory),
        (status = 404, description = "`not_found`: no such memory in this scope"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    InScope(scope): InScope,
    InPath(id): InPath<MemoryId>,
) -> Result<Json<Memory>, Refusal> {
    Ok(Json(app.parts.memory.get(&scope, id).await?))
}

/// Edit a memory
///
/// What is absent stays as it is. What is replaced is kept as a version; an edit that changes nothing
/// makes none.
#[utoipa::path(
    patch, path = "/api/memories/{id}", tag = "memories", operation_id = "edit_memory",
    params(("id" = inline(MemoryId), Path, description = "The memory")),
    request_body = EditMemory,
    responses(
        (status = 200, description = "The memory as it is now", body = Memory),
        (status = 404, description = "`not_found`: no such memory in this scope"),
    )
)]
pub(crate) async fn edit(
    State(app): State<App>,
    caller: Caller,
    InPath(id): InPath<MemoryId>,
    asked: Asked<EditMemory>,
) -> Result<Json<Memory>, Refusal> {
    let memory = app.parts.memory.reaching(caller.reach());
    Ok(Json(memory.edit(&asked.scope, id, &asked.body, caller.actor()).await?))
}

/// Where to read on.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what `versions` reads")]
struct ListVersions {
    /// Most rows of the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    cursor: Option<String>,
}

/// List what stood in a memory before it was edited
///
/// Newest first, with whole texts; the last 50 are kept.
#[utoipa::path(
    get, path = "/api/memories/{id}/versions", tag = "memories",
    operation_id = "list_memory_versions",
    params(("id" = inline(MemoryId), Path, description = "The memory"), ListVersions),
    responses(
        (status = 200, description = "A page of versions", body = MemoryVersionPage),
        (status = 404, description = "`not_found`: no such memory in this scope"),
    )
)]
pub(crate) async fn versions(
    State(app): State<App>,
    InScope(scope): InScope,
    InPath(id): InPath<MemoryId>,
    parameters: Parameters,
) -> Result<Json<MemoryVersionPage>, Refusal> {
    let no_cursor = || Refusal::field("cursor", "is not one that this list has given out");
    let cursor = parameters.text("cursor")?;
    let cursor = cursor.map(|text| decimal(text).ok_or_else(no_cursor)).transpose()?;
    let page = app.parts.memory.versions(&scope, id, cursor, parameters.limit()?).await?;
    Ok(Json(MemoryVersionPage { versions: page.items, next_cursor: page.next_cursor }))
}

/// Forget a memory
#[utoipa::path(
    delete, path = "/api/memories/{id}", tag = "memories", operation_id = "delete_memory",
    params(("id" = inline(MemoryId), Path, description = "The memory")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "`not_found`: no such memory in this scope"),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    InScope(scope): InScope,
    InPath(id): InPath<MemoryId>,
) -> Result<StatusCode, Refusal> {
    app.parts.memory.reaching(caller.reach()).delete(&scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Search memories
///
/// Best first, one hit for each memory; never whole texts.
#[utoipa::path(
    post, path = "/api/memories/search", tag = "memories", operation_id = "search_memories",
    request_body = SearchMemories,
    responses((status = 200, description = "What was found", body = Hits))
)]
pub(crate) async fn search(
    State(app): State<App>,
    asked: Asked<SearchMemories>,
) -> Result<Json<Hits>, Refusal> {
    let hits = app.parts.memory.search(&asked.scope, &asked.body).await?;
    Ok(Json(Hits { hits }))
}

/// Find memories that say the same
///
/// Looks at up to 200 memories that were written or changed since the last time, and compares each
/// with those near to it. Proposes which could be one, and marks those that a later one has
/// overtaken. Nothing is merged, hidden or deleted.
#[utoipa::path(
    post, path = "/api/memories/consolidate", tag = "memories",
    operation_id = "consolidate_memories",
    request_body = Consolidate,
    responses((status = 200, description = "What was found and is new", body = Consolidated))
)]
pub(crate) async fn consolidate(
    State(app): State<App>,
    asked: Asked<Consolidate>,
) -> Result<Json<Consolidated>, Refusal> {
    let pass = if asked.body.dry_run { Pass::OnlyLooks } else { Pass::Marks };
    Ok(Json(app.parts.memory.consolidate(&asked.scope, pass).await?))
}

/// List the links of a memory
///
/// What it is to others, and they to it. They go when either text is changed or deleted.
#[utoipa::path(
    get, path = "/api/memories/{id}/links", tag = "memories", operation_id = "list_memory_links",
    params(("id" = inline(MemoryId), Path, description = "The memory")),
    responses(
        (status = 200, description = "Its links", body = MemoryLinks),
        (status = 404, description = "`not_found`: no such memory in this scope"),
    )
)]
pub(crate) async fn links(
    State(app): State<App>,
    InScope(scope): InScope,
    InPath(id): InPath<MemoryId>,
) -> Result<Json<MemoryLinks>, Refusal> {
    Ok(Json(MemoryLinks { links: app.parts.memory.links(&scope, id).await? }))
}

impl From<MemoryError> for Refusal {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Invalid(faults) => Self::invalid(faults),
            MemoryError::NotFound => Self::not_found(),
            MemoryError::Beyond(visibility) => Self::new(
                ErrorCode::Forbidden,
                match visibility {
                    Visibility::Org => "what the whole organisation sees needs the right `admin`",
                    Visibility::User | Visibility::Scope => {
                        "what a user sees in all projects needs a credential that is not bound to \
                         one project"
                    }
                },
            ),
            MemoryError::Store(error) => error.into(),
        }
    }
}
