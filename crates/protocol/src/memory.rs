//! Memories, as the API and the tools describe them.

pub mod version;

use jiff::{Zoned, tz::Offset};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type, schema::AnyOfBuilder,
    },
};

use crate::{
    error::FieldError,
    id::{MemoryId, RunId},
    limits::{
        MEMORY_QUERY_MAX_BYTES, MEMORY_TEXT_MAX_BYTES, MEMORY_TOP_K_DEFAULT, MEMORY_TOP_K_MAX,
        METADATA_MAX_BYTES,
    },
    time::{Timestamp, Zone, instant},
};

/// The memory layer. (`working`, the fourth, is the checkpoint and is never written here.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryType {
    /// Always in the prompt.
    Core,
    /// What happened: conversations and events.
    Episodic,
    /// What is known: facts and documents.
    Archival,
}

impl MemoryType {
    /// The name, as the API and the database write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Episodic => "episodic",
            Self::Archival => "archival",
        }
    }
}

impl std::str::FromStr for MemoryType {
    type Err = UnknownMemoryType;

    fn from_str(text: &str) -> Result<Self, UnknownMemoryType> {
        [Self::Core, Self::Episodic, Self::Archival]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(UnknownMemoryType)
    }
}

/// The text is not a memory layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`type` must be one of `core episodic archival`")]
pub struct UnknownMemoryType;

/// Who sees a memory.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// The scope that it was written in: exactly its user and project.
    #[default]
    Scope,
    /// Its user, in all projects and in none.
    User,
    /// Everybody in the organisation.
    Org,
}

impl Visibility {
    /// From the fewest to the most.
    pub const ALL: [Self; 3] = [Self::Scope, Self::User, Self::Org];

    /// The name, as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::User => "user",
            Self::Org => "org",
        }
    }
}

impl std::fmt::Display for Visibility {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Visibility {
    type Err = UnknownVisibility;

    fn from_str(text: &str) -> Result<Self, UnknownVisibility> {
        Self::ALL.into_iter().find(|each| each.as_str() == text).ok_or(UnknownVisibility)
    }
}

/// The text is not a visibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`visibility` must be one of `scope user org`")]
pub struct UnknownVisibility;

/// The body of `POST /api/memories`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteMemory {
    /// The layer to write to.
    #[serde(rename = "type")]
    pub kind: MemoryType,
    /// What to remember: 1 byte to 512 KiB.
    #[schema(min_length = 1, max_length = 524288, pattern = "\\S")]
    pub text: String,
    /// Your own data: kept, given back, and searchable by containment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, additional_properties = true)]
    pub metadata: Option<Map<String, Value>>,
    /// 0 (trifle) to 1 (vital).
    #[serde(default = "middling", deserialize_with = "null_is_middling")]
    #[schema(value_type = Option<f32>, minimum = 0, maximum = 1, default = 0.5)]
    pub importance: f32,
    /// Memories of one group (a session, a document) are neighbours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256)]
    pub group_key: Option<String>,
    /// The place in its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i32>,
    /// When it happened: RFC 3339, or a plain date `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<OccurredAt>,
    /// Who sees it: `user` needs a credential that is not bound to a project, `org` the right
    /// `admin`.
    #[serde(default, deserialize_with = "null_is_scope", skip_serializing_if = "is_scope")]
    #[schema(value_type = Option<Visibility>, default = "scope")]
    pub visibility: Visibility,
}

fn null_is_scope<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Visibility, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn is_scope(visibility: &Visibility) -> bool {
    *visibility == Visibility::Scope
}

const fn middling() -> f32 {
    0.5
}

fn null_is_middling<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(middling()))
}

impl WriteMemory {
    /// A memory without metadata, of middling importance.
    pub fn new(kind: MemoryType, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            metadata: None,
            importance: middling(),
            group_key: None,
            position: None,
            occurred_at: None,
            visibility: Visibility::Scope,
        }
    }

    /// What the types alone cannot say: every field at fault, each under `at`.
    pub fn check(&self, at: &str) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        check_text(&self.text, at, &mut faults);
        check_metadata(self.metadata.as_ref(), at, &mut faults);
        check_importance(self.importance, at, &mut faults);
        faults.extend(group_key_fault(self.group_key.as_deref(), &format!("{at}/group_key")));
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// What is wrong with a group's name, said of the field `at`.
pub fn group_key_fault(group_key: Option<&str>, at: &str) -> Option<FieldError> {
    let is_wrong = group_key.is_some_and(|key| !(1..=256).contains(&key.chars().count()));
    is_wrong.then(|| FieldError::new(at, "must be 1 to 256 characters"))
}

fn check_text(text: &str, at: &str, faults: &mut Vec<FieldError>) {
    if text.trim().is_empty() {
        faults.push(FieldError::new(format!("{at}/text"), "must not be empty"));
    } else if text.len() > MEMORY_TEXT_MAX_BYTES {
        faults.push(FieldError::new(
            format!("{at}/text"),
            format!("must be at most {MEMORY_TEXT_MAX_BYTES} bytes"),
        ));
    }
}

fn check_metadata(metadata: Option<&Map<String, Value>>, at: &str, faults: &mut Vec<FieldError>) {
    if metadata.is_some_and(|map| {
        serde_json::to_string(map).is_ok_and(|text| text.len() > METADATA_MAX_BYTES)
    }) {
        faults.push(FieldError::new(
            format!("{at}/metadata"),
            format!("must be at most {METADATA_MAX_BYTES} bytes of JSON"),
        ));
    }
}

fn check_importance(importance: f32, at: &str, faults: &mut Vec<FieldError>) {
    if !(0.0..=1.0).contains(&importance) {
        faults.push(FieldError::new(format!("{at}/importance"), "must be 0 to 1"));
    }
}

/// When a remembered thing happened: an instant, with the offset from UTC where it happened, or a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OccurredAt {
    /// An instant, and what clocks differed from UTC there.
    Instant(Timestamp, Offset),
    /// A day, without a time zone.
    Day(jiff::civil::Date),
}

/// The text is neither an instant nor a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an RFC 3339 timestamp or a date `YYYY-MM-DD`, from 1970-01-01 to 9999-12-30")]
pub struct OccurredAtError;

impl OccurredAt {
    /// An instant, with what clocks show in a zone.
    pub fn in_zone(at: Timestamp, zone: &Zone) -> Self {
        Self::Instant(at, zone.at(at).offset())
    }

    /// The instant, midnight UTC for a day.
    pub fn instant(self) -> Timestamp {
        match self {
            Self::Instant(at, _) => at,
            Self::Day(day) => Timestamp::new(
                day.to_zoned(jiff::tz::TimeZone::UTC)
                    .map_or(jiff::Timestamp::MIN, |at| at.timestamp()),
            ),
        }
    }

    /// The day where it happened.
    pub fn day(self) -> jiff::civil::Date {
        match self {
            Self::Instant(at, offset) => offset.to_datetime(at.get()).date(),
            Self::Day(day) => day,
        }
    }

    /// What clocks differed from UTC where it happened; nothing for a day.
    pub fn offset(self) -> Offset {
        match self {
            Self::Instant(_, offset) => offset,
            Self::Day(_) => Offset::UTC,
        }
    }

    /// With the time on the clocks where it happened; noon for a day.
    pub fn zoned(self) -> Option<Zoned> {
        match self {
            Self::Instant(at, offset) => Some(at.get().to_zoned(offset.to_time_zone())),
            Self::Day(day) => day.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).ok(),
        }
    }
}

impl TryFrom<String> for OccurredAt {
    type Error = OccurredAtError;

    fn try_from(text: String) -> Result<Self, OccurredAtError> {
        let parsed = match text.len() {
            10 => text.parse().map(Self::Day).map_err(|_| OccurredAtError)?,
            _ => instant(&text)
                .map(|(at, offset)| Self::Instant(at, offset))
                .ok_or(OccurredAtError)?,
        };
        // The last instant that we know lies within 9999-12-30.
        let has_instant = match parsed {
            Self::Instant(..) => true,
            Self::Day(day) => day.to_zoned(jiff::tz::TimeZone::UTC).is_ok(),
        };
        if has_instant && (1970..=9999).contains(&parsed.day().year()) {
            Ok(parsed)
        } else {
            Err(OccurredAtError)
        }
    }
}

impl ToSchema for OccurredAt {}

impl PartialSchema for OccurredAt {
    fn schema() -> RefOr<Schema> {
        let form = |format, example: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(format)))
                .pattern(Some("^(19[7-9]|[2-9])"))
                .examples([example])
        };
        AnyOfBuilder::new()
            .description(Some(
                "A day, or an instant, whose offset is kept; from 1970-01-01 to 9999-12-30",
            ))
            .item(form(KnownFormat::Date, "2026-05-04"))
            .item(form(KnownFormat::DateTime, "2026-05-04T08:30:00-05:00"))
            .into()
    }
}

impl From<OccurredAt> for String {
    fn from(at: OccurredAt) -> String {
        match at {
            OccurredAt::Instant(at, Offset::UTC) => at.to_string(),
            OccurredAt::Instant(at, offset) => {
                let there = at.get().to_zoned(offset.to_time_zone());
                there.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
            }
            OccurredAt::Day(day) => day.to_string(),
        }
    }
}

/// The body of `POST /api/memories/bulk`: at most 500, all or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteMemories {
    /// The memories, in the order of the answer's `ids`.
    #[schema(min_items = 1, max_items = 500)]
    pub memories: Vec<WriteMemory>,
}

/// The body of `PATCH /api/memories/{id}`: what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditMemory {
    /// The new text; 1 byte to 512 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 524288, pattern = "\\S")]
    pub text: Option<String>,
    /// The new metadata, in place of the old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, additional_properties = true)]
    pub metadata: Option<Map<String, Value>>,
    /// The new importance, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub importance: Option<f32>,
    /// The new visibility, with the same rights as for writing; `scope` moves it to the editor's scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
}

impl EditMemory {
    /// What the types alone cannot say: every field at fault.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        if let Some(text) = &self.text {
            check_text(text, "", &mut faults);
        }
        check_metadata(self.metadata.as_ref(), "", &mut faults);
        if let Some(importance) = self.importance {
            check_importance(importance, "", &mut faults);
        }
        if *self == Self::default() {
            faults.push(FieldError::new("", "must name at least one field to change"));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// The answer to `POST /api/memories`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemoryWritten {
    /// The id of the memory.
    pub id: MemoryId,
}

/// The answer to `POST /api/memories/bulk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemoriesWritten {
    /// The memories, in the order of the request.
    pub ids: Vec<MemoryId>,
    /// How many of them are new; the others were there already.
    pub written: u32,
}

/// A memory, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Memory {
    /// The id of the memory.
    pub id: MemoryId,
    /// The layer of the memory.
    #[serde(rename = "type")]
    pub kind: MemoryType,
    /// All of the text.
    pub text: String,
    /// Your own data, given back unchanged.
    #[schema(value_type = Object, additional_properties = true)]
    pub metadata: Map<String, Value>,
    /// 0 (trifle) to 1 (vital).
    pub importance: f32,
    /// The group it belongs to.
    pub group_key: Option<String>,
    /// The place in its group.
    pub position: Option<i32>,
    /// When it happened: a day or an instant.
    pub occurred_at: Option<OccurredAt>,
    /// The run and step that wrote it; null when a person or a program did.
    pub origin: Option<MemoryOrigin>,
    /// Who can see it.
    pub visibility: Visibility,
    /// When it was first written.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The run and step that wrote a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemoryOrigin {
    /// The id of the run.
    pub run_id: RunId,
    /// The step; of a memory that was made after the run, its last one.
    pub step: u32,
}

/// A link from one memory to another. Nothing is hidden or deleted because of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemoryLink {
    /// The later one of two duplicates, or the memory that is superseded.
    pub from: MemoryId,
    /// The memory that says the same, or has taken its place.
    pub to: MemoryId,
    /// How the first is related to the second.
    pub kind: LinkKind,
    /// How alike their texts are: 0 to 1.
    pub score: f32,
    /// When it was found.
    pub found_at: Timestamp,
}

/// How a memory is related to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// It says what the other says: the two could be one.
    Duplicate,
    /// It says nearly what the later one says, but for a number, a date or a "not".
    Superseded,
}

impl LinkKind {
    /// The name, as the API and the database write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Superseded => "superseded",
        }
    }
}

/// The links of a memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemoryLinks {
    /// Newest first, at most 100.
    pub links: Vec<MemoryLink>,
}

/// The body of `POST /api/memories/consolidate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Consolidate {
    /// Only report what would be found.
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer to `POST /api/memories/consolidate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Consolidated {
    /// How many memories were looked at: those written or changed since the last pass.
    pub looked_at: u32,
    /// What was found and is new.
    pub links: Vec<MemoryLink>,
    /// There are more to look at: send the request again.
    pub more: bool,
}

/// A memory in a list: a snippet in place of the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemorySummary {
    /// The id of the memory.
    pub id: MemoryId,
    /// The layer of the memory.
    #[serde(rename = "type")]
    pub kind: MemoryType,
    /// The beginning of the text.
    pub snippet: String,
    /// Your own data, given back unchanged.
    #[schema(value_type = Object, additional_properties = true)]
    pub metadata: Map<String, Value>,
    /// 0 (trifle) to 1 (vital).
    pub importance: f32,
    /// The group it belongs to.
    pub group_key: Option<String>,
    /// The place in its group.
    pub position: Option<i32>,
    /// When it happened: a day or an instant.
    pub occurred_at: Option<OccurredAt>,
    /// Who can see it.
    pub visibility: Visibility,
    /// When it was first written.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A page of memories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemoryPage {
    /// Newest first.
    pub memories: Vec<MemorySummary>,
    /// Pass it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}

/// A page of whole memories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WholeMemoryPage {
    /// Oldest first.
    pub memories: Vec<Memory>,
    /// Pass it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}

/// The body of `POST /api/memories/search`, and the arguments of `memory_search`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchMemories {
    /// What to look for: 1 to 4,096 bytes.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub query: String,
    /// Most hits: 1 to 50.
    #[serde(default = "default_top_k", deserialize_with = "null_is_default_top_k")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 50, default = 8)]
    pub top_k: u32,
    /// Conditions that a hit must satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<MemoryFilters>,
    /// The time zone that says what "yesterday" in `query` means; the server's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Zone>,
    /// Explain each hit: what the words and the vectors found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explain: bool,
}

const fn default_top_k() -> u32 {
    MEMORY_TOP_K_DEFAULT
}

fn null_is_default_top_k<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<u32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(MEMORY_TOP_K_DEFAULT))
}

impl SearchMemories {
    /// A search without filters for the default number of hits.
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            top_k: MEMORY_TOP_K_DEFAULT,
            filters: None,
            timezone: None,
            explain: false,
        }
    }

    /// What the types alone cannot say: every field at fault.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        if self.query.trim().is_empty() {
            faults.push(FieldError::new("/query", "must not be empty"));
        } else if self.query.len() > MEMORY_QUERY_MAX_BYTES {
            faults.push(FieldError::new(
                "/query",
                format!("must be at most {MEMORY_QUERY_MAX_BYTES} bytes"),
            ));
        }
        if !(1..=MEMORY_TOP_K_MAX).contains(&self.top_k) {
            faults.push(FieldError::new("/top_k", format!("must be 1 to {MEMORY_TOP_K_MAX}")));
        }
        let group_key = self.filters.as_ref().and_then(|filters| filters.group_key.as_deref());
        faults.extend(group_key_fault(group_key, "/filters/group_key"));
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// What a hit must satisfy: all of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryFilters {
    /// In one of these layers.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<MemoryType>>,
    /// A member of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256)]
    pub group_key: Option<String>,
    /// Metadata that contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, additional_properties = true)]
    pub metadata: Option<Map<String, Value>>,
    /// It happened at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_after: Option<OccurredAt>,
    /// It happened before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_before: Option<OccurredAt>,
}

/// A memory that was found: never its whole text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Hit {
    /// The id of the memory.
    pub id: MemoryId,
    /// Its best chunk, or a part of it.
    pub snippet: String,
    /// How like the question it is, 0 to 1: how much of its words it has, and how near its meaning is.
    /// Never more than that of the hit before.
    pub score: f64,
    /// The layer of the memory.
    #[serde(rename = "type")]
    pub kind: MemoryType,
    /// When it happened.
    pub occurred_at: Option<OccurredAt>,
    /// When it was first written.
    pub created_at: Timestamp,
    /// What the words and the vectors found, where the request asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explanation>,
}

/// How a hit came by its place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Explanation {
    /// What the search by words found.
    pub lexical: RetrieverScore,
    /// What the search by vectors found.
    pub vector: RetrieverScore,
    /// Query terms that the chunk or its neighbours have.
    pub matched_terms: Vec<String>,
    /// What hits are sorted by: both scores together, times the two factors.
    pub fused_score: f64,
    /// The factor by which importance raised or lowered the score.
    pub importance_factor: f64,
    /// The factor by which recency raised or lowered the score.
    pub recency_factor: f64,
    /// How the vectors near the query were found, or why none were.
    pub vector_scan: VectorScan,
}

/// How the vectors near a query were found, or why none were.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum VectorScan {
    /// Every vector was compared.
    Exact,
    /// By the index, where there are very many.
    Hnsw,
    /// There is no embedder.
    #[default]
    #[serde(rename = "none")]
    NoEmbedder,
    /// The embedder took too long.
    Late,
    /// The embedder did not answer.
    Failed,
}

/// What one way of searching, by words or by vectors, found out about a hit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RetrieverScore {
    /// Place in its own ranking, from 1; null if it did not find the chunk.
    pub rank: Option<u32>,
    /// Its own score (BM25, cosine).
    pub value: f64,
    /// Its share of the sum.
    pub weight: f64,
}

/// The answer to `POST /api/memories/search`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Hits {
    /// Best first, one hit per memory.
    pub hits: Vec<Hit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occurred_at_reads_instants_and_days() {
        let check = |text: &str, want: Option<&str>| {
            let got = OccurredAt::try_from(text.to_owned()).ok().map(String::from);
            assert_eq!(got.as_deref(), want, "{text}");
        };
        check("2023-05-04", Some("2023-05-04"));
        check("2023-05-04T13:56:00+08:00", Some("2023-05-04T13:56:00.000+08:00"));
        check("2026-03-02T23:30:00-05:00", Some("2026-03-02T23:30:00.000-05:00"));
        check("2026-03-02T23:30:00.25+05:45", Some("2026-03-02T23:30:00.250+05:45"));
        check("2026-03-02T23:30:00Z", Some("2026-03-02T23:30:00.000Z"));
        check("2026-03-02T23:30:00+00:00", Some("2026-03-02T23:30:00.000Z"));
        check("2023-02-30", None);
        check("1969-12-31", None);
        check("9999-12-30", Some("9999-12-30"));
        check("9999-12-31", None);
        check("9999-12-30T23:00:00+14:00", Some("9999-12-30T23:00:00.000+14:00"));
        check("9999-12-31T00:00:00Z", None);
        check("2026-03-02T23:30:00+23:59", Some("2026-03-02T23:30:00.000+23:59"));
        check("2026-03-02T23:30:00+24:00", None);
        check("2026-03-02T23:30:00-25:00", None);
        check("yesterday", None);
    }

    #[test]
    fn a_thing_happened_on_the_day_that_it_was_there() {
        let check = |text: &str, want: &str| {
            let at = OccurredAt::try_from(text.to_owned()).unwrap();
            assert_eq!(at.day().to_string(), want, "{text}");
            assert_eq!(at.zoned().unwrap().date().to_string(), want, "{text}");
        };
        check("2026-03-02T23:30:00-05:00", "2026-03-02");
        check("2026-03-03T04:30:00Z", "2026-03-03");
        check("2026-03-03T00:30:00+08:00", "2026-03-03");
        check("2026-03-03", "2026-03-03");
    }

    #[test]
    fn an_empty_edit_is_a_fault() {
        assert!(EditMemory::default().check().is_err());
        assert!(EditMemory { importance: Some(1.0), ..Default::default() }.check().is_ok());
    }
}
