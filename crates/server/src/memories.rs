//! Memories: write, list, get, edit, delete, search.

use axum::{Json, extract::State};
use http::StatusCode;
use memory::service::MemoryError;
use protocol::{
    error::ErrorCode,
    id::MemoryId,
    memory::{
        EditMemory, Hits, MemoriesWritten, Memory, MemoryPage, MemoryType, MemoryWritten,
        SearchMemories, Visibility, WriteMemories, WriteMemory,
    },
};
use store::memories::MemoryFilter;

use crate::{
    app::App, body::Asked, identity::Caller, path::InPath, query::Parameters, refusal::Refusal,
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
    let ids = memory.write_bulk(&asked.scope, &asked.body.memories).await?;
    Ok((StatusCode::CREATED, Json(MemoriesWritten { ids })))
}

/// Which memories to list.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what `list` reads")]
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
    let filter = MemoryFilter {
        kind: parameters.parsed("type")?,
        group_key: parameters.text("group_key")?.map(str::to_owned),
    };
    let (cursor, limit) = (parameters.text("cursor")?, parameters.limit()?);
    let page = app.parts.memory.list(&scope, &filter, cursor, limit).await?;
    Ok(Json(MemoryPage { memories: page.items, next_cursor: page.next_cursor }))
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
/// What is absent stays as it is.
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
    Ok(Json(memory.edit(&asked.scope, id, &asked.body).await?))
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
