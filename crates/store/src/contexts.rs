//! What the prompts of a run were made of: read as it was recorded with each answer, and the words put
//! together again from where they were written.

use protocol::{
    context::{ContextText, SentContext, StepContext},
    id::RunId,
    message::{FIRST_MESSAGES, Message},
    tool::ToolInfo,
};
use serde_json::Value;
use sqlx::Row;

use crate::{
    error::StoreError,
    rows::{get_json, get_u32, storable_json, to_i32},
    scoped::Scoped,
    transaction::Transaction,
};

/// Most lists of tools that are kept of an organisation: a new one is made when a tool changes.
pub const TOOL_SETS_MAX: i64 = 1_000;

impl Scoped {
    /// What the model was sent in a step of a run, with its words if they are asked for. There is none
    /// where the step has no answer, or is kept no longer.
    ///
    /// Earlier turns are kept as they were asked, and were masked when they were sent: `mask` does it
    /// again.
    pub async fn step_context(
        &self,
        run_id: RunId,
        step: u32,
        with_text: bool,
        mask: &(dyn Fn(&mut String) + Send + Sync),
    ) -> Result<StepContext, StoreError> {
        let mut tx = self.snapshot().await?;
        let (place, sent) = self.sent_in(&mut tx, run_id, step).await?;
        let text = match with_text {
            true => Some(self.context_text(&mut tx, run_id, place, &sent, mask).await?),
            false => None,
        };
        tx.commit().await?;
        let SentContext { segments, estimated_tokens, input_tokens, cached_tokens, .. } = sent;
        Ok(StepContext { segments, estimated_tokens, input_tokens, cached_tokens, text })
    }

    /// Keeps a list of tools, once.
    pub async fn keep_tool_set(&self, digest: &str, tools: &[ToolInfo]) -> Result<(), StoreError> {
        let query = sqlx::query(
            "insert into tool_sets (org_id, digest, tools)
             select $1, $2, $3::jsonb
             where (select count(*) from tool_sets where org_id = $1) < $4
             on conflict (org_id, digest) do nothing",
        )
        .bind(self.org())
        .bind(digest)
        .bind(storable_json(tools)?)
        .bind(TOOL_SETS_MAX);
        self.write(query).await
    }

    /// The place of a step's answer in its run, and what was sent for it.
    async fn sent_in(
        &self,
        tx: &mut Transaction,
        run_id: RunId,
        step: u32,
    ) -> Result<(u32, SentContext), StoreError> {
        // The answer of a step is the first behind the messages of the step before.
        let row = sqlx::query(
            "select m.position, m.message -> 'sent' as sent
             from runs r join run_messages m using (org_id, run_id)
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
               and m.position >= case when $5 = 1 then 0 else (
                   select c.message_count from checkpoints c
                   where c.org_id = $1 and c.run_id = $4 and c.step = $5 - 1) end
               and m.message ->> 'role' = 'assistant'
             order by m.position
             limit 1",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(to_i32(step))
        .fetch_optional(tx)
        .await?;
        let row = row.ok_or(StoreError::NotFound)?;
        let sent: Option<SentContext> = get_json(&row, "sent")?;
        let sent = sent.filter(|sent| sent.step == step).ok_or(StoreError::NotFound)?;
        Ok((get_u32(&row, "position")?, sent))
    }

    async fn context_text(
        &self,
        tx: &mut Transaction,
        run_id: RunId,
        place: u32,
        sent: &SentContext,
        mask: &(dyn Fn(&mut String) + Send + Sync),
    ) -> Result<ContextText, StoreError> {
        let rows = sqlx::query(
            "select m.position, m.message
             from runs r join run_messages m using (org_id, run_id)
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
               and m.position < $5 and (m.position < $6 or m.position >= $7)
             order by m.position",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(to_i32(place))
        .bind(to_i32(FIRST_MESSAGES))
        .bind(to_i32(sent.kept_from))
        .fetch_all(&mut *tx)
        .await?;
        let (mut first, mut steps) = (Vec::new(), Vec::new());
        for row in &rows {
            let position = get_u32(row, "position")?;
            let message: Message = get_json(row, "message")?;
            match position < FIRST_MESSAGES {
                true => first.push(message),
                false => steps.push(shown(message, position, sent)),
            }
        }
        let mut first = first.into_iter();
        let Some(Message::System { content: system, turns, .. }) = first.next() else {
            return Err(StoreError::NotFound);
        };
        let turns = self.turns(tx, &turns, mask).await?;
        let turns = turns.into_iter().skip(sent.cut_turns as usize);
        let (summaries, steps): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|message| matches!(message, Message::Summary { .. }));
        let messages = turns.chain(first).chain(summaries.into_iter().next_back()).chain(steps);
        let messages = messages.map(|message| as_sent(&message)).collect::<Result<_, _>>()?;
        Ok(ContextText { tools: self.tool_set(tx, &sent.tools).await?, system, messages })
    }

    /// Earlier turns of a session, as far as their runs are there.
    async fn turns(
        &self,
        tx: &mut Transaction,
        runs: &[RunId],
        mask: &(dyn Fn(&mut String) + Send + Sync),
    ) -> Result<Vec<Message>, StoreError> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = runs.iter().map(|run| run.uuid()).collect();
        let rows = sqlx::query(
            "select input, output from runs
             where org_id = $1 and user_id = $2 and project_id = $3 and run_id = any($4)
             order by run_id",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(ids)
        .fetch_all(tx)
        .await?;
        let mut turns = Vec::new();
        for row in &rows {
            let mut input: String = row.try_get("input")?;
            let mut output = row.try_get::<Option<String>, _>("output")?.unwrap_or_default();
            mask(&mut input);
            mask(&mut output);
            turns.extend(Message::turn(input, output));
        }
        Ok(turns)
    }

    async fn tool_set(
        &self,
        tx: &mut Transaction,
        digest: &str,
    ) -> Result<Option<Vec<ToolInfo>>, StoreError> {
        let row = sqlx::query("select tools from tool_sets where org_id = $1 and digest = $2")
            .bind(self.org())
            .bind(digest)
            .fetch_optional(tx)
            .await?;
        row.map(|row| get_json(&row, "tools")).transpose()
    }
}

/// A message as it was shown: some results were cut.
fn shown(message: Message, position: u32, sent: &SentContext) -> Message {
    match sent.cut_results.iter().find(|(place, _)| *place == position) {
        Some((_, chars)) => message.shortened(*chars as usize),
        None => message,
    }
}

/// A message without what is kept beside its words.
fn as_sent(message: &Message) -> Result<Value, StoreError> {
    let mut value = serde_json::to_value(message).map_err(StoreError::unreadable)?;
    if let Value::Object(fields) = &mut value {
        for beside in ["core", "folded", "turns", "recalled", "kept_from", "results", "sent"] {
            fields.remove(beside);
        }
    }
    Ok(value)
}
