//! `/api/usage`, `/api/queue` and `/api/nodes`: what operators look at.

use axum::{Json, extract::State};
use protocol::{
    name::OrgId,
    time::Timestamp,
    usage::{NodeList, QueueStanding, UsagePer, UsageReport},
};
use serde::Deserialize;
use store::usage::{UsageBy, UsageQuery};

use crate::{
    app::App,
    error::ApiError,
    extract::{query::QueryParams, scope::RequestScope},
    limits::{USAGE_BY_DAY_MAX_DAYS, USAGE_BY_HOUR_MAX_DAYS, USAGE_DAYS},
};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Which usage to sum up.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichTime {
    /// Of runs that were created at this time or later; 30 days before `until` when absent, by days
    /// from the first of them on.
    #[param(inline)]
    since: Option<Timestamp>,
    /// Of runs that were created before this time; now when absent.
    #[param(inline)]
    until: Option<Timestamp>,
    /// How long the time of a row is: of at most 366 days by day, and 31 by hour.
    #[serde(default)]
    #[param(inline)]
    per: UsagePer,
}

/// By what the usage of a scope is told apart.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ByInScope {
    /// What each row is of.
    #[serde(default)]
    #[param(inline)]
    by: ScopeUsageBy,
}

/// What a row of a scope's usage is of.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum ScopeUsageBy {
    #[default]
    Model,
    Agent,
}

/// By what the usage of an organisation is told apart.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ByInOrganisation {
    /// What each row is of.
    #[serde(default)]
    #[param(inline)]
    by: OrganisationUsageBy,
}

/// What a row of an organisation's usage is of.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum OrganisationUsageBy {
    #[default]
    User,
    Project,
    Model,
    Agent,
}

impl WhichTime {
    fn query(&self, by: UsageBy) -> Result<UsageQuery, ApiError> {
        // Behind all runs that there can be: clocks of nodes and of the database may differ.
        let until = self.until.unwrap_or_else(|| Timestamp::from_millis(now_ms() + DAY_MS));
        let since = self.since.unwrap_or_else(|| match self.until {
            Some(until) => Timestamp::from_millis(until.millis() - USAGE_DAYS * DAY_MS),
            None => {
                let today = now_ms() - now_ms().rem_euclid(DAY_MS);
                Timestamp::from_millis(today - (USAGE_DAYS - 1) * DAY_MS)
            }
        });
        let most_days = match self.per {
            UsagePer::Hour => USAGE_BY_HOUR_MAX_DAYS,
            UsagePer::Day => USAGE_BY_DAY_MAX_DAYS,
        };
        if until.millis() - since.millis() > (most_days + 1) * DAY_MS {
            let words = format!("must be at most {most_days} days before `until`");
            return Err(ApiError::field("since", words));
        }
        Ok(UsageQuery { since, until, per: self.per, by })
    }
}

fn now_ms() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since_1970.unwrap_or_default().as_millis()).unwrap_or(i64::MAX / 2)
}

/// Get usage
///
/// Tokens, money and times of the scope's runs, by day or hour (UTC) and model or agent.
#[utoipa::path(
    get, path = "/api/usage", tag = "runs", operation_id = "usage",
    params(WhichTime, ByInScope),
    responses((status = 200, description = "Usage, newest first", body = UsageReport))
)]
pub(crate) async fn usage(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
    QueryParams(time): QueryParams<WhichTime>,
    QueryParams(asked): QueryParams<ByInScope>,
) -> Result<Json<UsageReport>, ApiError> {
    let by = match asked.by {
        ScopeUsageBy::Model => UsageBy::Model,
        ScopeUsageBy::Agent => UsageBy::Agent,
    };
    Ok(Json(app.store.scoped(&scope).usage(&time.query(by)?).await?))
}

/// Get usage of the organisation
///
/// The same for all users and projects of the organisation, by user, project, model or agent.
#[utoipa::path(
    get, path = "/api/usage/organisation", tag = "administration",
    operation_id = "organisation_usage", params(WhichTime, ByInOrganisation),
    responses((status = 200, description = "Usage, newest first", body = UsageReport))
)]
pub(crate) async fn of_organisation(
    State(app): State<App>,
    RequestScope(org_id): RequestScope<OrgId>,
    QueryParams(time): QueryParams<WhichTime>,
    QueryParams(asked): QueryParams<ByInOrganisation>,
) -> Result<Json<UsageReport>, ApiError> {
    let by = match asked.by {
        OrganisationUsageBy::User => UsageBy::User,
        OrganisationUsageBy::Project => UsageBy::Project,
        OrganisationUsageBy::Model => UsageBy::Model,
        OrganisationUsageBy::Agent => UsageBy::Agent,
    };
    Ok(Json(app.store.organisation_usage(&org_id, &time.query(by)?).await?))
}

/// List nodes
///
/// The processes that work on the database, of all organisations alike. They hold no tenant's data.
#[utoipa::path(
    get, path = "/api/nodes", tag = "administration", operation_id = "list_nodes",
    responses((status = 200, description = "The nodes of the last hour", body = NodeList))
)]
pub(crate) async fn nodes(
    State(app): State<App>,
    _scope: RequestScope<OrgId>,
) -> Result<Json<NodeList>, ApiError> {
    Ok(Json(NodeList { nodes: app.store.nodes().await? }))
}

/// Get the state of the queue
///
/// How many runs of the whole organisation wait, and how many are executed.
#[utoipa::path(
    get, path = "/api/queue", tag = "runs", operation_id = "queue",
    responses((status = 200, description = "The state of the queue", body = QueueStanding))
)]
pub(crate) async fn queue(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
) -> Result<Json<QueueStanding>, ApiError> {
    Ok(Json(app.store.queue_standing(&scope.org_id).await?))
}
