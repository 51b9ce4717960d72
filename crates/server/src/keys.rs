//! `/api/keys`: the API keys of an organisation.

use axum::{Json, extract::State};
use http::StatusCode;
use protocol::{
    id::KeyId,
    key::{CreateKey, KeyCreated, KeyPage},
    name::OrgId,
};

use crate::{
    app::App, body::Asked, identity::Caller, path::InPath, query::Parameters, refusal::Refusal,
    scope::InScope,
};

/// Who it was, where nothing proves it.
const NOBODY_KNOWN: &str = "anonymous";

/// Create an API key
///
/// The answer is the only one that holds the key. `user_id` and `project_id` of the body are those
/// that the key is to be bound to.
#[utoipa::path(
    post, path = "/api/keys", tag = "administration", operation_id = "create_key",
    request_body = CreateKey,
    responses((status = 201, description = "The key, this once", body = KeyCreated))
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    asked: Asked<CreateKey, OrgId>,
) -> Result<(StatusCode, Json<KeyCreated>), Refusal> {
    asked.body.check().map_err(Refusal::invalid)?;
    let by = caller.actor_or(NOBODY_KNOWN);
    let created = app.parts.store.create_key(&asked.scope, &by, &asked.body).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Where to read on.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what `list` reads")]
struct ListKeys {
    /// Most rows of the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<KeyId>,
}

/// List API keys
///
/// Newest first, revoked ones included.
#[utoipa::path(
    get, path = "/api/keys", tag = "administration", operation_id = "list_keys", params(ListKeys),
    responses((status = 200, description = "A page of keys", body = KeyPage))
)]
pub(crate) async fn list(
    State(app): State<App>,
    InScope(org_id): InScope<OrgId>,
    parameters: Parameters,
) -> Result<Json<KeyPage>, Refusal> {
    let (cursor, limit) = (parameters.parsed("cursor")?, parameters.limit()?);
    let page = app.parts.store.list_keys(&org_id, cursor, limit).await?;
    Ok(Json(KeyPage { keys: page.items, next_cursor: page.next_cursor }))
}

/// Revoke an API key
///
/// It is refused within a second on all nodes, and its streams end. A key that is revoked already
/// stays so.
#[utoipa::path(
    delete, path = "/api/keys/{key_id}", tag = "administration", operation_id = "revoke_key",
    params(("key_id" = inline(KeyId), Path, description = "The key")),
    responses(
        (status = 204, description = "It is of no use any more"),
        (status = 404, description = "`not_found`: no such key in this organisation"),
    )
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    InScope(org_id): InScope<OrgId>,
    InPath(key_id): InPath<KeyId>,
) -> Result<StatusCode, Refusal> {
    let by = caller.actor_or(NOBODY_KNOWN);
    app.parts.store.revoke_key(&org_id, &by, key_id).await?;
    app.parts.identity.forget_cached();
    Ok(StatusCode::NO_CONTENT)
}
