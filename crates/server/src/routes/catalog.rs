//! `/api/tools` and `/api/agents`: what runs can use.

use axum::{Json, extract::State};
use protocol::{
    run::AgentInfo,
    tool::{CatalogNotes, LeftOutTool, TaughtModel, ToolInfo},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    error::ApiError,
    extract::{
        query::{LimitParam, QueryParams},
        scope::RequestScope,
    },
};

/// Which tools or agents to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ByName {
    /// Most rows of the page.
    #[serde(default)]
    #[param(inline)]
    limit: LimitParam,
    /// The `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<NameCursor>,
}

/// The last name of the page before.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^[a-zA-Z0-9_-]{1,64}$")]
struct NameCursor(String);

impl TryFrom<String> for NameCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_name = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if is_name { Ok(Self(text)) } else { Err("must be a name") }
    }
}

/// A page of tools.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ToolPage {
    /// In the order of their names.
    tools: Vec<ToolInfo>,
    /// Pass it as `cursor` to read on; null at the end.
    next_cursor: Option<String>,
    /// Tools that are offered and cannot be used; the same on each page.
    left_out: Vec<LeftOutTool>,
    /// Models whose requests are adapted to their provider; the same on each page.
    taught: Vec<TaughtModel>,
}

/// List tools
///
/// What the model of a run may call, and what is worth knowing besides. Empty while no worker is
/// alive.
#[utoipa::path(
    get, path = "/api/tools", tag = "catalog", operation_id = "list_tools", params(ByName),
    responses((status = 200, description = "A page of tools", body = ToolPage))
)]
pub(crate) async fn tools(
    State(app): State<App>,
    _scope: RequestScope,
    QueryParams(query): QueryParams<ByName>,
) -> Result<Json<ToolPage>, ApiError> {
    let (tools, CatalogNotes { left_out, taught }) = app.store.tools().await?;
    let (tools, next_cursor) = page_by_name(tools, |tool| &tool.name, &query);
    Ok(Json(ToolPage { tools, next_cursor, left_out, taught }))
}

/// A page of agents.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct AgentPage {
    /// In the order of their names.
    agents: Vec<AgentInfo>,
    /// Pass it as `cursor` to read on; null at the end.
    next_cursor: Option<String>,
}

/// List agents
#[utoipa::path(
    get, path = "/api/agents", tag = "catalog", operation_id = "list_agents", params(ByName),
    responses((status = 200, description = "A page of agents", body = AgentPage))
)]
pub(crate) async fn agents(
    State(app): State<App>,
    _scope: RequestScope,
    QueryParams(query): QueryParams<ByName>,
) -> Result<Json<AgentPage>, ApiError> {
    let agents = app.agents.clone();
    let (agents, next_cursor) = page_by_name(agents, |agent| agent.agent_id.as_str(), &query);
    Ok(Json(AgentPage { agents, next_cursor }))
}

/// Cuts a page from a list that is small enough to be held whole.
fn page_by_name<T>(
    mut items: Vec<T>,
    name: impl Fn(&T) -> &str,
    query: &ByName,
) -> (Vec<T>, Option<String>) {
    let limit = query.limit.0.get() as usize;
    items.sort_by(|a, b| name(a).cmp(name(b)));
    if let Some(NameCursor(cursor)) = &query.cursor {
        items.retain(|item| name(item) > cursor.as_str());
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|item| name(item).to_owned());
    (items, next_cursor)
}
