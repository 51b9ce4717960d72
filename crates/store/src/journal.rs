//! The journal: what a worker writes about its run, in one statement that is refused if its claim is
//! stale.
//!
//! The statement (`commit_entry` in `functions/journal.sql`) takes the run's row lock, checks the epoch,
//! hands out the event numbers and inserts everything that belongs together. There is no check before
//! the write that a pause could separate from it.

use std::{collections::HashMap, sync::Arc};

use protocol::{
    event::Fact,
    id::{CallId, RunId, SpanId},
    message::{Message, Usage},
    name::AgentId,
    run::{RunError, RunStatus},
    scope::Scope,
    tool::{Effect, Outcome},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    deltas::ClaimedDelta,
    error::StoreError,
    handle::Store,
    notifier::Subject,
    queue::Claim,
    rows::{get_json, get_parsed, get_u32, get_word, rows_json, storable_json, to_i32},
    stream::StreamCursor,
};

/// The one writer of a run, as long as its claim is the newest.
#[derive(Debug)]
pub struct Journal {
    store: Store,
    scope: Arc<Scope>,
    run_id: RunId,
    epoch: i64,
    last_seq: u64,
    written_bytes: u64,
}

/// Why a write was refused.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another worker holds the run, or it has ended: stop, and write nothing more.
    #[error("the lease on the run is lost")]
    LeaseLost,
    /// The run was asked to stop: nothing but `run.cancelled` may be written.
    #[error("the run was asked to stop")]
    CancelRequested,
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
    /// How the run ends, if it does.
    pub end: Option<End>,
    /// Whether the output was cut.
    pub output_cut: bool,
    /// Whether the output is JSON that matches the schema that was asked for.
    pub output_is_json: bool,
    /// Whether the run is to be remembered: noted in the same commit, for `memories::after_runs`.
    pub remember: bool,
}

impl Entry {
    /// The delta that is all there is.
    fn only_delta(&self) -> Option<&NewDelta> {
        let Self {
            events,
            deltas,
            messages,
            messages_at: _,
            checkpoint,
            totals,
            model,
            end,
            output_cut: _,
            output_is_json: _,
            remember: _,
        } = self;
        let is_alone = events.is_empty() && messages.is_empty() && checkpoint.is_none();
        let changes_run = totals.is_some() || model.is_some() || end.is_some();
        match deltas.as_slice() {
            [delta] if is_alone && !changes_run => Some(delta),
            _ => None,
        }
    }
}

/// An event without its number.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub fact: Fact,
    /// The step it belongs to, if to one.
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
    pub at: StreamCursor,
    pub step: u32,
    /// What to append; none voids the step's text so far.
    pub text: Option<String>,
}

/// The working state after a completed step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewCheckpoint {
    pub step: u32,
    /// How many messages come before it.
    pub message_count: u32,
    /// The agent's state besides the conversation.
    pub state: Value,
}

/// The counters of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    pub steps: u32,
    pub tool_calls: u32,
    /// The sum of its model calls.
    pub usage: Usage,
    pub cost_usd: f64,
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Completed { output: String },
    Failed { error: RunError },
    Cancelled,
}

/// The working state that a run goes on from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Restored {
    /// The last completed step; 0 for none.
    pub step: u32,
    /// The first messages of the conversation: as many as were asked for.
    pub first: Vec<Message>,
    /// The end of the rest of it, oldest first. A step that was not completed has added the model's
    /// answer, and the results of those of its calls that were settled.
    pub recent: Vec<Message>,
    /// The place of the first of these in the conversation.
    pub recent_from: u32,
    /// Whether there is such a step.
    pub has_open_step: bool,
    /// Whether there is any message behind the last completed step.
    pub has_begun_step: bool,
    /// The agent that took the last completed step.
    pub agent_id: Option<AgentId>,
    /// Messages of the whole conversation.
    pub messages_written: u32,
    /// The calls that the step which was not completed has intended.
    pub calls: HashMap<CallId, KnownCall>,
    /// The agent's state besides the conversation.
    pub state: Value,
}

/// A call that an earlier claim intended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCall {
    pub tool: String,
    /// Its effect class when it was intended.
    pub effect: Effect,
    /// Its result was recorded.
    pub settled: bool,
}

impl Store {
    /// The journal of a claimed run.
    pub fn journal(&self, claim: &Claim) -> Journal {
        Journal {
            store: self.clone(),
            scope: Arc::new(claim.scope.clone()),
            run_id: claim.run_id,
            epoch: i64::try_from(claim.epoch).unwrap_or(i64::MAX),
            last_seq: claim.last_seq,
            written_bytes: claim.written_bytes,
        }
    }
}

impl Journal {
    /// The number of the last event written.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Bytes of the run's messages and events, as JSON.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Writes everything in `entry`, or nothing. A delta alone is written together with those of
    /// other runs, if that works at once.
    pub async fn commit(&mut self, entry: &Entry) -> Result<(), JournalError> {
        if let Some(delta) = entry.only_delta()
            && self.store.deltas.write(Arc::clone(&self.scope), self.claimed(delta)).await
        {
            self.store.notifier.wake(Subject::Run(self.run_id));
            return Ok(());
        }
        self.commit_alone(entry).await
    }

    fn claimed(&self, delta: &NewDelta) -> ClaimedDelta {
        ClaimedDelta {
            run_id: self.run_id.uuid(),
            epoch: self.epoch,
            seq: delta.at.seq,
            n: delta.at.n,
            step: delta.step,
            text: delta.text.clone(),
        }
    }

    async fn commit_alone(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let events: Vec<_> = entry.events.iter().map(EventRow::of).collect();
        let deltas: Vec<_> = entry.deltas.iter().map(DeltaRow::of).collect();
        let messages: Vec<_> = (entry.messages_at..)
            .zip(&entry.messages)
            .map(|(position, message)| MessageRow { position, message })
            .collect();
        let (events, messages) = (rows_json(&events)?, rows_json(&messages)?);
        let added_bytes =
            [&events, &messages].into_iter().flatten().map(String::len).sum::<usize>();
        let added_bytes = added_bytes as u64;
        let query = sqlx::query(
            "select outcome, frees_another from commit_entry(
                 p_org => $1, p_user => $2, p_project => $3, p_run => $4, p_epoch => $5,
                 p_events => $6::jsonb, p_deltas => $7::jsonb, p_messages => $8::jsonb,
                 p_calls => $9::jsonb, p_checkpoint => $10::jsonb, p_progress => $11::jsonb,
                 p_end => $12::jsonb)",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.scope.user_id.as_str())
        .bind(self.scope.project_key())
        .bind(self.run_id.uuid())
        .bind(self.epoch)
        .bind(events)
        .bind(rows_json(&deltas)?)
        .bind(messages)
        .bind(rows_json(&CallRow::of(&entry.events))?)
        .bind(entry.checkpoint.as_ref().map(storable_json).transpose()?)
        .bind(Progress::of(entry, added_bytes).as_ref().map(storable_json).transpose()?)
        .bind(entry.end.as_ref().map(|end| storable_json(&EndRow::of(end, entry))).transpose()?);
        let row = self.store.database.call_one_for(self.scope.org_id.as_str(), query).await?;
        match get_word(&row, "outcome")? {
            Committed::Written => {}
            Committed::CancelRequested => return Err(JournalError::CancelRequested),
            Committed::LeaseLost => return Err(JournalError::LeaseLost),
        }
        let frees_another: bool = row.try_get("frees_another").map_err(StoreError::from)?;
        self.last_seq += entry.events.len() as u64;
        self.written_bytes += added_bytes;
        self.store.notifier.wake(Subject::Run(self.run_id));
        if frees_another {
            self.store.notifier.wake(Subject::Queue);
        }
        Ok(())
    }

    /// Where a run stands that was worked on before. Of its conversation the first `first` messages
    /// are read, and those from the place on that the working state names to `recent_from`.
    pub async fn restore(
        &self,
        first: u32,
        recent_from: impl Fn(&Value) -> u32,
    ) -> Result<Restored, StoreError> {
        let mut tx = self.store.scoped(&self.scope).begin().await?;
        let checkpoint = sqlx::query(
            "select c.step, c.agent_id, c.message_count, c.state
             from runs r join checkpoints c using (org_id, run_id)
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
             order by c.step desc
             limit 1",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.scope.user_id.as_str())
        .bind(self.scope.project_key())
        .bind(self.run_id.uuid())
        .fetch_optional(&mut tx)
        .await?;
        let state = checkpoint.as_ref().map_or(Ok(Value::Null), |row| get_json(row, "state"))?;
        let open_at = checkpoint.as_ref().map_or(Ok(0), |row| get_u32(row, "message_count"))?;
        let recent_from = recent_from(&state).max(first);
        let messages = sqlx::query(
            "select m.position, m.message
             from runs r join run_messages m using (org_id, run_id)
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
               and (m.position < $5 or m.position >= $6)
             order by m.position",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.scope.user_id.as_str())
        .bind(self.scope.project_key())
        .bind(self.run_id.uuid())
        .bind(to_i32(first))
        .bind(to_i32(recent_from))
        .fetch_all(&mut tx)
        .await?;
        let step = checkpoint.as_ref().map_or(Ok(0), |row| get_u32(row, "step"))?;
        let calls = sqlx::query(
            "select c.call_id, c.tool, c.effect, c.status
             from runs r join tool_calls c using (org_id, run_id)
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
               and c.step > $5",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.scope.user_id.as_str())
        .bind(self.scope.project_key())
        .bind(self.run_id.uuid())
        .bind(to_i32(step))
        .fetch_all(&mut tx)
        .await?;
        tx.commit().await?;
        let mut restored = Restored {
            step,
            recent_from,
            calls: calls.iter().map(known_call).collect::<Result<_, _>>()?,
            agent_id: checkpoint.as_ref().map(|row| get_parsed(row, "agent_id")).transpose()?,
            state,
            ..Restored::default()
        };
        for row in &messages {
            let position = get_u32(row, "position")?;
            let message: Message = get_json(row, "message")?;
            let is_answer = matches!(message, Message::Assistant { .. });
            restored.has_open_step |= position >= open_at && is_answer;
            restored.has_begun_step |= position >= open_at;
            restored.messages_written = position + 1;
            match position < first {
                true => restored.first.push(message),
                false => restored.recent.push(message),
            }
        }
        Ok(restored)
    }

    /// The calls that were intended and have no result: all that the end of a run must name.
    pub async fn open_calls(&self) -> Result<HashMap<CallId, KnownCall>, StoreError> {
        let mut tx = self.store.scoped(&self.scope).begin().await?;
        let calls = sqlx::query(
            "select c.call_id, c.tool, c.effect, c.status
             from runs r join tool_calls c using (org_id, run_id)
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
               and c.status = 'intent'",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.scope.user_id.as_str())
        .bind(self.scope.project_key())
        .bind(self.run_id.uuid())
        .fetch_all(&mut tx)
        .await?;
        tx.commit().await?;
        calls.iter().map(known_call).collect()
    }

    /// Who asked the run to stop, and why.
    pub async fn cancel_request(&self) -> Result<Option<(String, Option<String>)>, StoreError> {
        let mut tx = self.store.scoped(&self.scope).begin().await?;
        let row = sqlx::query(
            "select cancel_requested_by, cancel_reason from runs
             where org_id = $1 and user_id = $2 and project_id = $3 and run_id = $4",
        )
        .bind(self.scope.org_id.as_str())
        .bind(self.scope.user_id.as_str())
        .bind(self.scope.project_key())
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
    let known = KnownCall {
        tool: row.try_get("tool")?,
        effect: get_word(row, "effect")?,
        settled: get_word::<CallStatus>(row, "status")? != CallStatus::Intent,
    };
    Ok((CallId::from_uuid(row.try_get("call_id")?), known))
}

/// The row that `commit_entry` returns.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Committed {
    Written,
    CancelRequested,
    LeaseLost,
}

/// What follows are the rows of `commit_entry`'s parameters: the fields are named after the columns.
#[derive(Serialize)]
struct EventRow<'a> {
    /// Written as the columns `type` and `payload`.
    #[serde(flatten)]
    fact: &'a Fact,
    step: Option<u32>,
    span_id: i64,
    parent_span_id: Option<i64>,
    contains_secrets: bool,
}

impl<'a> EventRow<'a> {
    fn of(event: &'a NewEvent) -> Self {
        Self {
            fact: &event.fact,
            step: event.step,
            span_id: event.span_id.bits(),
            parent_span_id: event.parent_span_id.map(SpanId::bits),
            contains_secrets: event.contains_secrets,
        }
    }
}

#[derive(Serialize)]
struct DeltaRow<'a> {
    seq: u64,
    n: u64,
    step: u32,
    text: Option<&'a str>,
}

impl<'a> DeltaRow<'a> {
    fn of(delta: &'a NewDelta) -> Self {
        let StreamCursor { seq, n } = delta.at;
        Self { seq, n, step: delta.step, text: delta.text.as_deref() }
    }
}

#[derive(Serialize)]
struct MessageRow<'a> {
    position: u32,
    message: &'a Message,
}

/// A call as the ledger has it: intended, which names the tool, or settled.
#[derive(Serialize)]
struct CallRow<'a> {
    call_id: Uuid,
    step: Option<u32>,
    tool: Option<&'a str>,
    effect: Option<Effect>,
    status: CallStatus,
}

/// Where a call stands: intended, or settled with its outcome.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CallStatus {
    Intent,
    #[serde(untagged)]
    Settled(Outcome),
}

impl<'a> CallRow<'a> {
    fn of(events: &'a [NewEvent]) -> Vec<Self> {
        let mut rows: Vec<Self> = Vec::new();
        for event in events {
            match &event.fact {
                Fact::ToolCalled { tool_call_id, tool, effect, .. } => rows.push(Self {
                    call_id: tool_call_id.uuid(),
                    step: Some(event.step.unwrap_or(1)),
                    tool: Some(tool),
                    effect: Some(*effect),
                    status: CallStatus::Intent,
                }),
                Fact::ToolResult { tool_call_id, outcome, .. } => {
                    let status = CallStatus::Settled(*outcome);
                    // What is intended and settled in one entry is inserted settled.
                    let intended = |row: &&mut Self| row.call_id == tool_call_id.uuid();
                    match rows.iter_mut().find(intended) {
                        Some(row) => row.status = status,
                        None => rows.push(Self::settled(tool_call_id.uuid(), *outcome)),
                    }
                }
                Fact::RunCancelled { stopped, unknown, .. } => {
                    rows.extend(stopped.iter().map(|id| Self::settled(id.uuid(), Outcome::Error)));
                    rows.extend(
                        unknown.iter().map(|id| Self::settled(id.uuid(), Outcome::Unknown)),
                    );
                }
                _ => {}
            }
        }
        rows
    }

    fn settled(call_id: Uuid, outcome: Outcome) -> Self {
        let status = CallStatus::Settled(outcome);
        Self { call_id, step: None, tool: None, effect: None, status }
    }
}

/// The model and the counters, where they changed.
#[derive(Default, Serialize)]
struct Progress<'a> {
    added_bytes: u64,
    model: Option<&'a str>,
    step_count: Option<u32>,
    tool_call_count: Option<u32>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    cost_usd: Option<f64>,
}

impl<'a> Progress<'a> {
    fn of(entry: &'a Entry, added_bytes: u64) -> Option<Self> {
        let model = entry.model.as_deref();
        let Some(totals) = entry.totals else {
            let changed = added_bytes > 0 || model.is_some();
            return changed.then(|| Self { added_bytes, model, ..Self::default() });
        };
        Some(Self {
            added_bytes,
            model,
            step_count: Some(totals.steps),
            tool_call_count: Some(totals.tool_calls),
            input_tokens: Some(totals.usage.input_tokens),
            output_tokens: Some(totals.usage.output_tokens),
            reasoning_tokens: Some(totals.usage.reasoning_tokens),
            cached_tokens: Some(totals.usage.cached_tokens),
            cost_usd: Some(totals.cost_usd),
        })
    }
}

#[derive(Serialize)]
struct EndRow<'a> {
    status: RunStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    output_cut: bool,
    output_is_json: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RunError>,
    remember: bool,
}

impl<'a> EndRow<'a> {
    fn of(end: &'a End, entry: &Entry) -> Self {
        let (status, output, error) = match end {
            End::Completed { output } => (RunStatus::Completed, Some(output.as_str()), None),
            End::Failed { error } => (RunStatus::Failed, None, Some(error)),
            End::Cancelled => (RunStatus::Cancelled, None, None),
        };
        Self {
            status,
            output,
            output_cut: entry.output_cut,
            output_is_json: entry.output_is_json,
            error,
            remember: entry.remember,
        }
    }
}
