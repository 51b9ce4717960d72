//! What runs can use: tools and agents.

use axum::{Json, extract::State};
use protocol::{run::AgentInfo, tool::ToolInfo};
use serde::Serialize;

use crate::{app::App, query::Parameters, refusal::Refusal, scope::InScope};

/// Where to read on.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what the handlers read")]
struct ByName {
    /// Most rows of the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[a-zA-Z0-9_-]{1,64}$")]
    cursor: Option<String>,
}

/// A page of tools.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ToolPage {
    /// In the order of their names.
    tools: Vec<ToolInfo>,
    /// Pass it as `cursor` to read on; null at the end.
    next_cursor: Option<String>,
}

/// List tools
///
/// What the model of a run may call; none while no worker is alive.
#[utoipa::path(
    get, path = "/api/tools", tag = "catalog", operation_id = "list_tools", params(ByName),
    responses((status = 200, description = "A page of tools", body = ToolPage))
)]
pub(crate) async fn tools(
    State(app): State<App>,
    _scope: InScope,
    parameters: Parameters,
) -> Result<Json<ToolPage>, Refusal> {
    let tools = app.parts.store.tools().await?;
    let (tools, next_cursor) = page_by_name(tools, |tool| &tool.name, &parameters)?;
    Ok(Json(ToolPage { tools, next_cursor }))
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
    _scope: InScope,
    parameters: Parameters,
) -> Result<Json<AgentPage>, Refusal> {
    let agents = app.parts.agents.clone();
    let (agents, next_cursor) = page_by_name(agents, |agent| agent.agent_id.as_str(), &parameters)?;
    Ok(Json(AgentPage { agents, next_cursor }))
}

/// Cuts a page from a list that is small enough to be held whole.
fn page_by_name<T>(
    mut items: Vec<T>,
    name: impl Fn(&T) -> &str,
    parameters: &Parameters,
) -> Result<(Vec<T>, Option<String>), Refusal> {
    let limit = parameters.limit()?.get() as usize;
    items.sort_by(|a, b| name(a).cmp(name(b)));
    if let Some(cursor) = parameters.text("cursor")? {
        check_cursor(cursor)?;
        items.retain(|item| name(item) > cursor);
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|item| name(item).to_owned());
    Ok((items, next_cursor))
}

fn check_cursor(cursor: &str) -> Result<(), Refusal> {
    let is_name = (1..=64).contains(&cursor.len())
        && cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_name { Ok(()) } else { Err(Refusal::field("cursor", "must be a name")) }
}
