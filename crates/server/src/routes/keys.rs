//! `/api/keys`: the API keys of an organisation.

use axum::{Json, extract::State};
use http::StatusCode;
use protocol::{
    id::KeyId,
    key::{CreateKey, KeyCreated, KeyPage},
    name::OrgId,
};
use serde::Deserialize;

use crate::{
    app::App,
    auth::principal::Principal,
    error::ApiError,
    extract::{
        body::ScopedJson,
        path::PathParam,
        query::{LimitParam, QueryParams},
        scope::RequestScope,
    },
};

/// The actor in the audit when nothing proves who it is.
const ANONYMOUS: &str = "anonymous";

/// Create an API key
///
/// Only this answer contains the key. `user_id` and `project_id` in the body bind the key to them.
#[utoipa::path(
    post, path = "/api/keys", tag = "administration", operation_id = "create_key",
    request_body = CreateKey,
    responses((status = 201, description = "The key; it is not shown again", body = KeyCreated))
)]
pub(crate) async fn create(
    State(app): State<App>,
    principal: Principal,
    ScopedJson { scope: org_id, body, .. }: ScopedJson<CreateKey, OrgId>,
) -> Result<(StatusCode, Json<KeyCreated>), ApiError> {
    body.check().map_err(ApiError::invalid)?;
    let by = principal.actor_or(ANONYMOUS);
    let created = app.store.create_key(&org_id, &by, &body).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Which keys to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListKeys {
    /// Most rows of the page.
    #[serde(default)]
    #[param(inline)]
    limit: LimitParam,
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
    RequestScope(org_id): RequestScope<OrgId>,
    QueryParams(query): QueryParams<ListKeys>,
) -> Result<Json<KeyPage>, ApiError> {
    let page = app.store.list_keys(&org_id, query.cursor, query.limit.0).await?;
    Ok(Json(KeyPage { keys: page.items, next_cursor: page.next_cursor }))
}

/// Revoke an API key
///
/// It is refused within a second on all nodes, and its streams end. Revoking it again changes
/// nothing.
#[utoipa::path(
    delete, path = "/api/keys/{key_id}", tag = "administration", operation_id = "revoke_key",
    params(("key_id" = inline(KeyId), Path, description = "The key")),
    responses(
        (status = 204, description = "The key is revoked"),
        (status = 404, description = "`not_found`: no such key in this organisation"),
    )
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    principal: Principal,
    RequestScope(org_id): RequestScope<OrgId>,
    PathParam(key_id): PathParam<KeyId>,
) -> Result<StatusCode, ApiError> {
    let by = principal.actor_or(ANONYMOUS);
    app.store.revoke_key(&org_id, &by, key_id).await?;
    app.authenticator.forget_recent();
    Ok(StatusCode::NO_CONTENT)
}
