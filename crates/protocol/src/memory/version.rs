//! The versions of a memory: what it contained before it was edited.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::time::Timestamp;

/// What an edit replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemoryVersion {
    /// 1 is what was written first.
    pub version: u32,
    /// All of the text.
    pub text: String,
    /// Your own data, given back unchanged.
    #[schema(value_type = Object, additional_properties = true)]
    pub metadata: Map<String, Value>,
    /// 0 (trifle) to 1 (vital).
    pub importance: f32,
    /// When it was replaced.
    pub replaced_at: Timestamp,
    /// Who replaced it: the id of a key or of a run, or a user; null when it is not known.
    pub replaced_by: Option<String>,
}

/// A page of versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemoryVersionPage {
    /// Newest first; the present content of the memory is not among them.
    pub versions: Vec<MemoryVersion>,
    /// Pass it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}
