//! The audit: who did what to whose things, for the administrators of an organisation.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{id::AuditId, time::Timestamp};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum AuditAction {
    /// A run was created.
    #[serde(rename = "run.created")]
    RunCreated,
    /// A run was asked to stop.
    #[serde(rename = "run.cancelled")]
    RunCancelled,
    /// An API key was made.
    #[serde(rename = "key.created")]
    KeyCreated,
    /// An API key was revoked.
    #[serde(rename = "key.revoked")]
    KeyRevoked,
}

impl AuditAction {
    const ALL: [Self; 4] =
        [Self::RunCreated, Self::RunCancelled, Self::KeyCreated, Self::KeyRevoked];

    /// The action as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunCreated => "run.created",
            Self::RunCancelled => "run.cancelled",
            Self::KeyCreated => "key.created",
            Self::KeyRevoked => "key.revoked",
        }
    }
}

impl fmt::Display for AuditAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AuditAction {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(UnknownAction)
    }
}

/// The text is not an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of `run.created run.cancelled key.created key.revoked`")]
pub struct UnknownAction;

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditRecord {
    /// The id of the record.
    pub audit_id: AuditId,
    /// When it was done.
    pub at: Timestamp,
    /// Who did it: the id of an API key, or a user.
    #[schema(example = "key_01kas5w4z8e5tv3k0v9x2m7qhd")]
    pub actor: String,
    /// What was done.
    pub action: AuditAction,
    /// The object: the id of a run or a key.
    #[schema(example = "run_01kas5w4z8e5tv3k0v9x2m7qhd")]
    pub subject: String,
    /// Further details, such as the user and the project of a run.
    #[schema(value_type = Object, additional_properties = true)]
    pub detail: Map<String, Value>,
}

/// A page of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditPage {
    /// Newest first.
    pub records: Vec<AuditRecord>,
    /// Pass it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}
