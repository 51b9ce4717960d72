//! Tools: what a run can call, and how a call ended.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What may be done again after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes nothing: may be sent again.
    ReadOnly,
    /// Sent again under the same id it changes nothing more.
    Idempotent,
    /// Never sent twice: a lost answer stays unknown.
    AtMostOnce,
}

impl Effect {
    /// The name, as the API and the database write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Idempotent => "idempotent",
            Self::AtMostOnce => "at_most_once",
        }
    }
}

/// How a tool call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The tool returned a result.
    Ok,
    /// The tool said that it failed, or refused the arguments.
    Error,
    /// The tool did not answer in time.
    Timeout,
    /// The call needs a person's approval, and was not allowed.
    Denied,
    /// It is unknown whether the call took effect.
    Unknown,
}

impl Outcome {
    /// The name, as the API and the database write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether a person decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// The call is made without asking.
    #[default]
    Never,
    /// A person is asked, and may allow it for the rest of the run.
    Ask,
    /// A person decides each call.
    Always,
}

/// Where a tool comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolSource {
    /// Every run has it.
    Builtin,
    /// An MCP server offers it.
    Mcp {
        /// The name of the server in the configuration.
        server: String,
    },
}

/// A named function that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ToolInfo {
    /// Matches `[a-zA-Z0-9_-]{1,64}`; tools of an MCP server are `<server>__<tool>`.
    #[schema(pattern = "^[a-zA-Z0-9_-]{1,64}$", example = "memory_search")]
    pub name: String,
    /// What it does, as the model is told.
    pub description: String,
    /// JSON Schema of its arguments, an object.
    #[schema(value_type = Object, additional_properties = true)]
    pub input_schema: Value,
    /// What may be done again after a crash.
    pub effect: Effect,
    /// Whether a person decides.
    #[serde(default)]
    pub approval: Approval,
    /// Where it comes from.
    pub source: ToolSource,
}

/// A tool that is offered and that no run has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LeftOutTool {
    /// The name that it would have.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How requests to a model are adapted, which was learnt from its provider's refusals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaughtModel {
    /// `<provider>/<model>`.
    pub model: String,
    /// Sentences without a subject, such as "takes no `temperature`".
    pub lessons: Vec<String>,
}

/// Notes about tools and models, besides the tools themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogNotes {
    /// Tools that cannot be used.
    pub left_out: Vec<LeftOutTool>,
    /// Models whose requests are adapted to their provider.
    pub taught: Vec<TaughtModel>,
}
