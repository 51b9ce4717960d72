//! What a worker writes about its run: one statement, all or none, refused if the claim is stale.
//!
//! The statement (`commit_entry` in `functions/journal.sql`) takes the run's row lock, checks the epoch,
//! hands out the event numbers and inserts everything that belongs together. There is no check before
//! the write that a pause could separate from it.

use std::collections::HashMap;

use protocol::{
    event::Fact,
    id::{CallId, RunId, SpanId},
    message::{Message, Usage},
    run::{RunError, RunStatus},
    scope::Scope,
    tool::{Effect, Outcome},
};
use serde_json::Value;
use sqlx::{Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use crate::{
    error::StoreError,
    handle::Store,
    notifier::Subject,
    queue::Claim,
    rows::{get_json, get_u32, payload_of, storable_json, to_i32, to_i64, without_nul},
    stream::StreamCursor,
};

/// The one writer of a run, as long as its claim is the newest.
#[derive(Debug)]
pub struct Journal {
    store: Store,
    scope: Scope,
    run_id: RunId,
    epoch: i64,
    last_seq: u64,
}

/// Why a write was refused.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Somebody else holds the run, or it has ended: stop, and write nothing more.
    #[error("the lease on the run is lost")]
    LeaseLost,
    /// Somebody asked the run to stop: nothing but `run.cancelled` may be written.
    #[error("the run was asked to stop")]
    CancelRequested,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Things that are written together.
#[derive(Debug, Default)]
pub struct Entry {
    /// Numbered in this order.
    pub events: Vec<NewEvent>,
    /// Text between the events; each names its own place.
    pub deltas: Vec<NewDelta>,
    /// Messages to append to the conversation, from position `messages_at` on.
    pub messages: Vec<Message>,
    /// How many messages are stored already.
    pub messages_at: u32,
    /// The working state after a completed step.
    pub checkpoint: Option<NewCheckpoint>,
    /// The run's counters, where they changed.
    pub totals: Option<Totals>,
    /// The model that the run asks, once known.
    pub model: Option<String>,
    /// The run ends.
    pub end: Option<End>,
    /// The end is one to remember: noted with it, for `memories::after_runs`.
    pub remember: bool,
}

/// An event without its number.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// What happened.
    pub fact: Fact,
    /// In which step, if in one.
    pub step: Option<u32>,
    /// The span it speaks of.
    pub span_id: SpanId,
    /// The span around it.
    pub parent_span_id: Option<SpanId>,
    /// A credential was seen in it.
    pub contains_secrets: bool,
}

/// Text of the model as it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelta {
    /// Its place.
    pub at: StreamCursor,
    /// The step.
    pub step: u32,
    /// What to append; none voids the step's text so far.
    pub text: Option<String>,
}

/// The working state after a completed step.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCheckpoint {
    /// The step.
    pub step: u32,
    /// On how many messages it stands.
    pub message_count: u32,
    /// The rest of what the agent holds in mind.
    pub state: Value,
}

/// The counters of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Steps completed.
    pub steps: u32,
    /// Tool calls made.
    pub tool_calls: u32,
    /// The sum of its model calls.
    pub usage: Usage,
    /// What they cost.
    pub cost_usd: f64,
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With an answer.
    Completed {
        /// The answer.
        output: String,
    },
    /// Without one.
    Failed {
        /// Why.
        error: RunError,
    },
    /// On request.
    Cancelled,
}

/// The working state that a run goes on from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Restored {
    /// The last completed step; 0 for none.
    pub step: u32,
    /// On how many messages it stands.
    pub message_count: u32,
    /// The conversation, and behind [`Self::message_count`] what a step that was not completed has
    /// added to it: the model's answer, and the results of those of its calls that were settled.
    pub messages: Vec<Message>,
    /// The calls that the step which was not completed has intended.
    pub calls: HashMap<CallId, KnownCall>,
    /// The rest of what the agent held in mind.
    pub state: Value,
}

/// A call that an earlier claim intended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCall {
    /// The tool.
    pub tool: String,
    /// What may be done again, as it was then.
    pub effect: Effect,
    /// Its result was recorded.
    pub settled: bool,
}

impl Store {
    /// The journal of a claimed run.
    pub fn journal(&self, claim: &Claim) -> Journal {
        Journal {
            store: self.clone(),
            scope: claim.scope.clone(),
            run_id: claim.run_id,
            epoch: i64::try_from(claim.epoch).unwrap_or(i64::MAX),
            last_seq: claim.last_seq,
        }
    }
}

impl Journal {
    /// The number of the last event written.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Writes everything in `entry`, or nothing.
    pub async fn commit(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let events = EventColumns::of(&entry.events)?;
        let deltas = DeltaColumns::of(&entry.deltas);
        let calls = CallColumns::of(&entry.events);
        let messages: Vec<String> =
            entry.messages.iter().map(storable_json).collect::<Result<_, _>>()?;
        let checkpoint = entry.checkpoint.as_ref();
        let (status, output, error) = match &entry.end {
            None => (None, None, None),
            Some(End::Completed { output }) => {
                (Some(RunStatus::Completed), Some(without_nul(output)), None)
            }
            Some(End::Failed { error }) => (Some(RunStatus::Failed), None, Some(Json(error))),
            Some(End::Cancelled) => (Some(RunStatus::Cancelled), None, None),
        };
        let query = sqlx::query(
            "select outcome, frees_another,
                    case when $38 and outcome = 'written'
                         then note_to_remember($1, $2, $3, $4) end
             from commit_entry(
                 $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                 $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34,
                 $35, $36, $37)",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.scope.user_id.as_str())
        .bind(self.scope.project_key())
        .bind(self.run_id.uuid())
        .bind(self.epoch)
        .bind(events.types)
        .bind(events.steps)
        .bind(events.spans)
        .bind(events.parents)
        .bind(events.payloads)
        .bind(events.contain_secrets)
        .bind(deltas.seqs)
        .bind(deltas.ns)
        .bind(deltas.steps)
        .bind(deltas.texts)
        .bind(messages)
        .bind(to_i32(entry.messages_at))
        .bind(checkpoint.map(|checkpoint| to_i32(checkpoint.step)))
        .bind(checkpoint.map(|checkpoint| to_i32(checkpoint.message_count)))
        .bind(checkpoint.map(|checkpoint| Json(&checkpoint.state)))
        .bind(entry.model.as_deref())
        .bind(entry.totals.map(|totals| to_i32(totals.steps)))
        .bind(entry.totals.map(|totals| to_i32(totals.tool_calls)))
        .bind(entry.totals.map(|totals| to_i64(totals.usage.input_tokens)))
        .bind(entry.totals.map(|totals| to_i64(totals.usage.output_tokens)))
        .bind(entry.totals.map(|totals| to_i64(totals.usage.cached_tokens)))
        .bind(entry.totals.map(|totals| totals.cost_usd))
        .bind(status.map(RunStatus::as_str))
        .bind(output)
        .bind(error)
        .bind(calls.ids)
        .bind(calls.steps)
        .bind(calls.tools)
        .bind(calls.effects)
        .bind(calls.statuses)
        .bind(calls.settled_ids)
        .bind(calls.settled_statuses)
        .bind(entry.remember);
        let row = self.store.database.call_one(query).await?;
        let read = |error: sqlx::Error| JournalError::Store(error.into());
        match row.try_get::<String, _>("outcome").map_err(read)?.as_str() {
            "written" => {}
            "cancel_requested" => return Err(JournalError::CancelRequested),
            _ => return Err(JournalError::LeaseLost),
        }
        let frees_another: bool = row.try_get("frees_another").map_err(read)?;
        self.last_seq += entry.events.len() as u64;
        self.store.notifier.wake(Subject::Run(self.run_id));
        if frees_another {
            self.store.notifier.wake(Subject::Queue);
        }
        Ok(())
    }

    /// Where a run stands that was worked on before.
    pub async fn restore(&self) -> Result<Restored, StoreError> {
        let mut tx = self.store.scoped(&self.scope).begin().await?;
        let checkpoint = sqlx::query(
            "select step, message_count, state from checkpoints
             where org_id = $1 and run_id = $2
             order by step desc
             limit 1",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.run_id.uuid())
        .fetch_optional(&mut tx)
        .await?;
        let messages = sqlx::query(
            "select message from run_messages
             where org_id = $1 and run_id = $2
             order by position",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.run_id.uuid())
        .fetch_all(&mut tx)
        .await?;
        let step = checkpoint.as_ref().map_or(Ok(0), |row| get_u32(row, "step"))?;
        let calls = sqlx::query(
            "select call_id, tool, effect, status from tool_calls
             where org_id = $1 and run_id = $2 and step > $3",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.run_id.uuid())
        .bind(to_i32(step))
        .fetch_all(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(Restored {
            step,
            message_count: checkpoint
                .as_ref()
                .map_or(Ok(0), |row| get_u32(row, "message_count"))?,
            messages: messages
                .iter()
                .map(|row| get_json(row, "message"))
                .collect::<Result<_, _>>()?,
            calls: calls.iter().map(known_call).collect::<Result<_, _>>()?,
            state: checkpoint.as_ref().map_or(Ok(Value::Null), |row| get_json(row, "state"))?,
        })
    }

    /// Who asked the run to stop, and why.
    pub async fn cancel_request(&self) -> Result<Option<(String, Option<String>)>, StoreError> {
        let mut tx = self.store.scoped(&self.scope).begin().await?;
        let row = sqlx::query(
            "select cancel_requested_by, cancel_reason from runs
             where org_id = $1 and run_id = $2",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.run_id.uuid())
        .fetch_optional(&mut tx)
        .await?;
        tx.commit().await?;
        let Some(row) = row else { return Ok(None) };
        let by: Option<String> = row.try_get("cancel_requested_by")?;
        Ok(by.zip(Some(row.try_get("cancel_reason")?)))
    }
}

fn known_call(row: &PgRow) -> Result<(CallId, KnownCall), StoreError> {
    let effect = match row.try_get::<String, _>("effect")?.as_str() {
        "read_only" => Effect::ReadOnly,
        "idempotent" => Effect::Idempotent,
        _ => Effect::AtMostOnce,
    };
    let settled = row.try_get::<String, _>("status")? != "intent";
    let known = KnownCall { tool: row.try_get("tool")?, effect, settled };
    Ok((CallId::from_uuid(row.try_get("call_id")?), known))
}

#[derive(Default)]
struct EventColumns {
    types: Vec<&'static str>,
    steps: Vec<Option<i32>>,
    spans: Vec<i64>,
    parents: Vec<Option<i64>>,
    payloads: Vec<String>,
    contain_secrets: Vec<bool>,
}

impl EventColumns {
    fn of(events: &[NewEvent]) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        for event in events {
            columns.types.push(event.fact.type_name());
            columns.steps.push(event.step.map(to_i32));
            columns.spans.push(event.span_id.bits());
            columns.parents.push(event.parent_span_id.map(SpanId::bits));
            columns.payloads.push(payload_of(&event.fact)?);
            columns.contain_secrets.push(event.contains_secrets);
        }
        Ok(columns)
    }
}

/// The ledger's part of an entry: calls that are intended, and calls that are settled.
#[derive(Default)]
struct CallColumns {
    ids: Vec<Uuid>,
    steps: Vec<i32>,
    tools: Vec<String>,
    effects: Vec<&'static str>,
    statuses: Vec<&'static str>,
    settled_ids: Vec<Uuid>,
    settled_statuses: Vec<&'static str>,
}

impl CallColumns {
    fn of(events: &[NewEvent]) -> Self {
        let mut columns = Self::default();
        for event in events {
            match &event.fact {
                Fact::ToolCalled { tool_call_id, tool, effect, .. } => {
                    columns.ids.push(tool_call_id.uuid());
                    columns.steps.push(to_i32(event.step.unwrap_or(1)));
                    columns.tools.push(without_nul(tool));
                    columns.effects.push(effect.as_str());
                    columns.statuses.push("intent");
                }
                Fact::ToolResult { tool_call_id, outcome, .. } => {
                    let id = tool_call_id.uuid();
                    // A statement does not see its own insertions: what is intended and settled in
                    // one entry is inserted settled.
                    match columns.ids.iter().position(|known| *known == id) {
                        Some(place) => {
                            if let Some(status) = columns.statuses.get_mut(place) {
                                *status = outcome.as_str();
                            }
                        }
                        None => columns.settle(id, *outcome),
                    }
                }
                Fact::RunCancelled { stopped, unknown, .. } => {
                    stopped.iter().for_each(|id| columns.settle(id.uuid(), Outcome::Error));
                    unknown.iter().for_each(|id| columns.settle(id.uuid(), Outcome::Unknown));
                }
                _ => {}
            }
        }
        columns
    }

    fn settle(&mut self, id: Uuid, outcome: Outcome) {
        self.settled_ids.push(id);
        self.settled_statuses.push(outcome.as_str());
    }
}

#[derive(Default)]
struct DeltaColumns {
    seqs: Vec<i64>,
    ns: Vec<i64>,
    steps: Vec<i32>,
    texts: Vec<Option<String>>,
}

impl DeltaColumns {
    fn of(deltas: &[NewDelta]) -> Self {
        let mut columns = Self::default();
        for delta in deltas {
            columns.seqs.push(to_i64(delta.at.seq));
            columns.ns.push(to_i64(delta.at.n));
            columns.steps.push(to_i32(delta.step));
            columns.texts.push(delta.text.as_deref().map(without_nul));
        }
        columns
    }
}
