//! API keys: their rights, and what is shown of them. The key itself is shown once, when it is
//! created; `store` creates and keeps keys.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    error::FieldError,
    id::KeyId,
    limits::KEY_NAME_MAX_CHARS,
    name::{OrgId, ProjectId, UserId},
    time::Timestamp,
};

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Read runs, their events and streams, sessions, and what runs can use.
    RunsRead,
    /// Create and cancel runs.
    RunsWrite,
    /// Read and search memories.
    MemoryRead,
    /// Write, edit and delete memories.
    MemoryWrite,
    /// Everything, and the keys and the audit of the organisation.
    Admin,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 5] =
        [Self::RunsRead, Self::RunsWrite, Self::MemoryRead, Self::MemoryWrite, Self::Admin];

    /// The right as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunsRead => "runs:read",
            Self::RunsWrite => "runs:write",
            Self::MemoryRead => "memory:read",
            Self::MemoryWrite => "memory:write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Some rights, each once. `memory:*` is read as both rights of memories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Vec<RightWord>", into = "Vec<String>")]
#[schema(value_type = Vec<RightWord>, min_items = 1, example = json!(["runs:read", "runs:write", "memory:*"]))]
pub struct Rights(BTreeSet<Right>);

impl Rights {
    /// The rights that these words name; words that name none are left out.
    pub fn known<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        Self(words.into_iter().filter_map(rights_of).flatten().copied().collect())
    }

    /// Whether these rights include this one; `admin` includes every other.
    pub fn allow(&self, right: Right) -> bool {
        self.0.contains(&right) || self.0.contains(&Right::Admin)
    }

    /// Whether there is no right among them.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each as it is written.
    pub fn words(&self) -> Vec<String> {
        self.0.iter().map(Right::to_string).collect()
    }
}

impl From<Right> for Rights {
    fn from(right: Right) -> Self {
        Self(BTreeSet::from([right]))
    }
}

impl From<Rights> for Vec<String> {
    fn from(rights: Rights) -> Self {
        rights.words()
    }
}

impl TryFrom<Vec<RightWord>> for Rights {
    type Error = UnknownRight;

    fn try_from(words: Vec<RightWord>) -> Result<Self, UnknownRight> {
        Ok(Self(words.into_iter().flat_map(|word| word.0).copied().collect()))
    }
}

impl FromStr for Rights {
    type Err = UnknownRight;

    /// One word: a right, or `memory:*`.
    fn from_str(word: &str) -> Result<Self, UnknownRight> {
        rights_of(word).map(|rights| Self(rights.iter().copied().collect())).ok_or(UnknownRight)
    }
}

impl FromIterator<Rights> for Rights {
    fn from_iter<T: IntoIterator<Item = Rights>>(all: T) -> Self {
        Self(all.into_iter().flat_map(|rights| rights.0).collect())
    }
}

/// One word of a list of rights.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^(runs:(read|write)|memory:(read|write|\\*)|admin)$")]
pub struct RightWord(&'static [Right]);

impl TryFrom<String> for RightWord {
    type Error = UnknownRight;

    fn try_from(word: String) -> Result<Self, UnknownRight> {
        rights_of(&word).map(Self).ok_or(UnknownRight)
    }
}

/// The word is not a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of `runs:read runs:write memory:read memory:write memory:* admin`")]
pub struct UnknownRight;

fn rights_of(word: &str) -> Option<&'static [Right]> {
    if word == "memory:*" {
        return Some(&[Right::MemoryRead, Right::MemoryWrite]);
    }
    Right::ALL
        .iter()
        .position(|right| right.as_str() == word)
        .and_then(|at| Right::ALL.get(at..=at))
}

/// An API key as it is stored, which is without the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ApiKey {
    /// The id of the key.
    pub key_id: KeyId,
    /// What it is for, in the words of its creator.
    pub name: String,
    /// The first characters of the key, to recognise it by.
    #[schema(example = "oi_1f0c22ab")]
    pub prefix: String,
    /// The organisation it belongs to.
    pub org_id: OrgId,
    /// The only user it may act for; null if each request names one.
    pub user_id: Option<UserId>,
    /// The only project it may act in; null if each request may name one.
    pub project_id: Option<ProjectId>,
    /// What it may do.
    pub rights: Rights,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The body of `POST /api/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// What it is for: 1 to 128 characters.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\x00-\\x1f\\x7f-\\x9f\\s][^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "nightly report"
    )]
    pub name: String,
    /// The only user it may act for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The only project it may act in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
    /// What it may do; at least one right. `admin` is of the whole organisation: it goes with no
    /// user and no project.
    pub rights: Rights,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl CreateKey {
    /// What the types alone cannot say: every field at fault.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, words: &str| faults.push(FieldError::new(field, words));
        if self.name.trim().is_empty() || self.name.chars().count() > KEY_NAME_MAX_CHARS {
            fault("/name", "must be 1 to 128 characters");
        } else if self.name.chars().any(char::is_control) {
            fault("/name", "must not hold control characters");
        }
        if self.rights.is_empty() {
            fault("/rights", "must name at least one right");
        }
        let is_bound = self.user_id.is_some() || self.project_id.is_some();
        if is_bound && self.rights.allow(Right::Admin) {
            fault(
                "/rights",
                "cannot hold `admin` for one user or project: it is organisation-wide",
            );
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// A key that was just created.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyCreated {
    /// The key. It is shown only this once, and stored as a hash.
    #[schema(pattern = "^oi_[0-9a-f]{64}$")]
    pub key: String,
    /// The key as it is stored.
    #[serde(flatten)]
    pub info: ApiKey,
}

/// A page of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyPage {
    /// Newest first, revoked ones included.
    pub keys: Vec<ApiKey>,
    /// Pass it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rights_are_words_and_admin_is_all_of_them() {
        let rights: Rights = serde_json::from_value(json!(["memory:*", "runs:read"])).unwrap();
        let back = serde_json::to_value(&rights).unwrap();
        assert_eq!(back, json!(["runs:read", "memory:read", "memory:write"]));
        assert!(rights.allow(Right::MemoryWrite) && !rights.allow(Right::RunsWrite));
        assert!(Right::ALL.iter().all(|right| Rights::from(Right::Admin).allow(*right)));
        assert!(Right::ALL.iter().all(|right| !Rights::default().allow(*right)));
        for word in ["", "runs", "runs:*", "RUNS:READ", "admin ", "*"] {
            assert!(word.parse::<Rights>().is_err(), "{word}");
            assert!(Rights::known([word]).is_empty());
            assert!(serde_json::from_value::<Rights>(json!([word])).is_err(), "{word}");
        }
    }

    #[test]
    fn a_key_that_makes_no_sense_is_refused() {
        let check = |body: serde_json::Value, want: &[&str]| {
            let new: CreateKey = serde_json::from_value(body).unwrap();
            let faults = new.check().err().unwrap_or_default();
            let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
            assert_eq!(fields, want);
        };
        check(json!({"name": "a", "rights": ["admin"]}), &[]);
        check(json!({"name": "名".repeat(128), "user_id": "u", "rights": ["runs:read"]}), &[]);
        check(json!({"name": " ", "rights": []}), &["/name", "/rights"]);
        check(json!({"name": "名".repeat(129), "rights": ["runs:read"]}), &["/name"]);
        check(json!({"name": "a\u{0}", "rights": ["runs:read"]}), &["/name"]);
        check(json!({"name": "a", "user_id": "u", "rights": ["admin"]}), &["/rights"]);
        check(json!({"name": "a", "project_id": "p", "rights": ["admin"]}), &["/rights"]);
    }
}
