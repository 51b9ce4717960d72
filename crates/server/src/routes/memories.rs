//! `/api/memories`: write, list, get, edit, delete, search, consolidate, versions and links.

use axum::{Json, extract::State};
use http::StatusCode;
use memory::service::{MemoryError, consolidation::Pass};
use protocol::{
    error::ErrorCode,
    id::MemoryId,
    memory::{
        Consolidate, Consolidated, EditMemory, Hits, MemoriesWritten, Memory, MemoryFilters,
        MemoryLinks, MemoryPage, MemoryType, MemoryWritten, SearchMemories, Visibility,
        WholeMemoryPage, WriteMemories, WriteMemory, version::MemoryVersionPage,
    },
    page::PageLimit,
};
use serde::Deserialize;

use crate::{
    app::App,
    auth::principal::Principal,
    error::ApiError,
    extract::{
        body::ScopedJson,
        path::PathParam,
        query::{LimitParam, QueryParams, decimal},
        scope::RequestScope,
    },
};

/// Write a memory
#[utoipa::path(
    post, path = "/api/memories", tag = "memories", operation_id = "write_memory",
    request_body = WriteMemory,
    responses((status = 201, description = "The memory is written", body = MemoryWritten))
)]
pub(crate) async fn write(
    State(app): State<App>,
    principal: Principal,
    ScopedJson { scope, body, .. }: ScopedJson<WriteMemory>,
) -> Result<(StatusCode, Json<MemoryWritten>), ApiError> {
    let memory = app.memory.reaching(principal.reach());
    let id = memory.write(&scope, &body, None).await?;
    Ok((StatusCode::CREATED, Json(MemoryWritten { id })))
}

/// Write up to 500 memories
///
/// All or none.
#[utoipa::path(
    post, path = "/api/memories/bulk", tag = "memories", operation_id = "write_memories",
    request_body = WriteMemories,
    responses((status = 201, description = "The memories are written", body = MemoriesWritten))
)]
pub(crate) async fn write_bulk(
    State(app): State<App>,
    principal: Principal,
    ScopedJson { scope, body, .. }: ScopedJson<WriteMemories>,
) -> Result<(StatusCode, Json<MemoriesWritten>), ApiError> {
    let memory = app.memory.reaching(principal.reach());
    let written = memory.write_bulk(&scope, &body.memories).await?;
    Ok((StatusCode::CREATED, Json(written)))
}

/// Which memories to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListMemories {
    /// Only those of this layer.
    #[param(inline)]
    r#type: Option<MemoryType>,
    /// Only those of this group.
    #[param(min_length = 1, max_length = 256)]
    group_key: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(inline)]
    limit: LimitParam,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[0-9]{1,17}\\.mem_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    cursor: Option<String>,
}

impl ListMemories {
    fn split(self) -> (MemoryFilters, Option<String>, PageLimit) {
        let kinds = self.r#type.map(|kind| vec![kind]);
        let filters =
            MemoryFilters { kinds, group_key: self.group_key, ..MemoryFilters::default() };
        (filters, self.cursor, self.limit.0)
    }
}

/// List memories
///
/// Newest first, with a snippet instead of the whole text.
#[utoipa::path(
    get, path = "/api/memories", tag = "memories", operation_id = "list_memories",
    params(ListMemories),
    responses((status = 200, description = "A page of memories", body = MemoryPage))
)]
pub(crate) async fn list(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
    QueryParams(query): QueryParams<ListMemories>,
) -> Result<Json<MemoryPage>, ApiError> {
    let (filters, cursor, limit) = query.split();
    let page = app.memory.list(&scope, &filters, cursor.as_deref(), limit).await?;
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
    RequestScope(scope): RequestScope,
    QueryParams(query): QueryParams<ListMemories>,
) -> Result<Json<WholeMemoryPage>, ApiError> {
    let (filters, cursor, limit) = query.split();
    let page = app.memory.export(&scope, &filters, cursor.as_deref(), limit).await?;
    Ok(Json(WholeMemoryPage { memories: page.items, next_cursor: page.next_cursor }))
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
    RequestScope(scope): RequestScope,
    PathParam(id): PathParam<MemoryId>,
) -> Result<Json<Memory>, ApiError> {
    Ok(Json(app.memory.get(&scope, id).await?))
}

/// Edit a memory
///
/// Absent fields stay as they are. What is replaced is kept as a version; an edit that changes nothing
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
    principal: Principal,
    PathParam(id): PathParam<MemoryId>,
    ScopedJson { scope, body, .. }: ScopedJson<EditMemory>,
) -> Result<Json<Memory>, ApiError> {
    let memory = app.memory.reaching(principal.reach());
    Ok(Json(memory.edit(&scope, id, &body, principal.actor()).await?))
}

/// Which versions to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListVersions {
    /// Most rows of the page.
    #[serde(default)]
    #[param(inline)]
    limit: LimitParam,
    /// The `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<VersionCursor>,
}

/// The number of the last version of the page before.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^[0-9]{1,18}$")]
struct VersionCursor(u64);

impl TryFrom<String> for VersionCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        decimal(&text).map(Self).ok_or("must be the `next_cursor` of the page before")
    }
}

/// List the versions of a memory
///
/// What edits replaced, newest first, with whole texts. The last 50 are kept.
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
    RequestScope(scope): RequestScope,
    PathParam(id): PathParam<MemoryId>,
    QueryParams(query): QueryParams<ListVersions>,
) -> Result<Json<MemoryVersionPage>, ApiError> {
    let cursor = query.cursor.map(|VersionCursor(number)| number);
    let page = app.memory.versions(&scope, id, cursor, query.limit.0).await?;
    Ok(Json(MemoryVersionPage { versions: page.items, next_cursor: page.next_cursor }))
}

/// Delete a memory
#[utoipa::path(
    delete, path = "/api/memories/{id}", tag = "memories", operation_id = "delete_memory",
    params(("id" = inline(MemoryId), Path, description = "The memory")),
    responses(
        (status = 204, description = "The memory is deleted"),
        (status = 404, description = "`not_found`: no such memory in this scope"),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    principal: Principal,
    RequestScope(scope): RequestScope,
    PathParam(id): PathParam<MemoryId>,
) -> Result<StatusCode, ApiError> {
    app.memory.reaching(principal.reach()).delete(&scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Search memories
///
/// One hit for each memory, best first, with snippets instead of whole texts.
#[utoipa::path(
    post, path = "/api/memories/search", tag = "memories", operation_id = "search_memories",
    request_body = SearchMemories,
    responses((status = 200, description = "What was found", body = Hits))
)]
pub(crate) async fn search(
    State(app): State<App>,
    ScopedJson { scope, body, .. }: ScopedJson<SearchMemories>,
) -> Result<Json<Hits>, ApiError> {
    let hits = app.memory.search(&scope, &body).await?;
    Ok(Json(Hits { hits }))
}

/// Find memories that say the same
///
/// Looks at up to 200 memories that were written or changed since the last time, and compares each
/// with its nearest ones. Reports duplicates, and memories that a later one supersedes. Nothing is
/// merged, hidden or deleted.
#[utoipa::path(
    post, path = "/api/memories/consolidate", tag = "memories",
    operation_id = "consolidate_memories",
    request_body = Consolidate,
    responses((status = 200, description = "What was found and is new", body = Consolidated))
)]
pub(crate) async fn consolidate(
    State(app): State<App>,
    ScopedJson { scope, body, .. }: ScopedJson<Consolidate>,
) -> Result<Json<Consolidated>, ApiError> {
    let pass = if body.dry_run { Pass::OnlyLooks } else { Pass::Marks };
    Ok(Json(app.memory.consolidate(&scope, pass).await?))
}

/// List the links of a memory
///
/// How it relates to other memories. A link is removed when either text is changed or deleted.
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
    RequestScope(scope): RequestScope,
    PathParam(id): PathParam<MemoryId>,
) -> Result<Json<MemoryLinks>, ApiError> {
    Ok(Json(MemoryLinks { links: app.memory.links(&scope, id).await? }))
}

impl From<MemoryError> for ApiError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Invalid(faults) => Self::invalid(faults),
            MemoryError::NotFound => Self::not_found(),
            MemoryError::Beyond(visibility) => Self::new(
                ErrorCode::Forbidden,
                match visibility {
                    Visibility::Org => "writing for the whole organisation needs the right `admin`",
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
