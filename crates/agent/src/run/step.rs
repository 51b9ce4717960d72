//! One step: recall, ask the model, call tools, checkpoint.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use model::{
    chat::{ANSWER_TOOL, AnswerCut, CacheHints, ChatEvent, ChatRequest, ChatResponse},
    error::ModelError,
    fallback::Fallback,
};
use protocol::{
    context::SentContext,
    event::{CacheLoss, Fact, StepResult},
    id::CallId,
    limits::MEMORY_QUERY_MAX_BYTES,
    memory::{Hit, Memory, SearchMemories},
    message::{FinishReason, Message, ToolCall, Usage, canonical_json},
    run::RunErrorCode,
    scope::Scope,
    tool::{Approval, Effect},
};
use store::failpoint;
use tokio::time::sleep_until;

use crate::{
    context::{CORE_MAX_CHARS, Shown, beginning, memory_note, result_tokens, shown_result},
    recorder::{EventSpan, order_keys},
    redactor::Reach,
    tools::{Tool, ToolSet, answer::ToolAnswer, builtin::ToolCaller},
};

use super::{
    active::{ActiveRun, millis},
    calls::{CallLedger, NextMove, OpenCall},
    shrink::SHRINKS_MAX,
    stop::StopReason,
    switch::Asking,
};

/// How long events wait for company when a model call begins.
const GATHER_EVENTS: Duration = Duration::from_millis(5);
/// How long text of a model gathers into one delta.
const GATHER_TEXT: Duration = Duration::from_millis(40);
/// Steps in a row in which no call could be made, before the run fails.
const IMPOSSIBLE_STEPS_MAX: u32 = 3;
/// Steps in a row with the same calls and the same results, before the run fails.
const SAME_STEPS_MAX: u32 = 10;
/// How often the model is told that its answer does not match the schema, before the run fails.
const OUTPUT_REPAIRS_MAX: u32 = 3;
/// Characters of the key under which a provider keeps the prompts of a session.
const CACHE_KEY_CHARS: usize = 32;

/// What came of asking a model.
enum Asked {
    Answered(Box<ChatResponse>),
    Failed {
        error: ModelError,
        /// Followers have seen text of it.
        has_said: bool,
    },
}

impl Asked {
    fn response(&self) -> Option<&ChatResponse> {
        match self {
            Self::Answered(response) => Some(response),
            Self::Failed { .. } => None,
        }
    }
}

/// How a step ended.
pub(super) enum StepEnd {
    /// Tools were called: another step follows.
    Continue,
    /// The model gave its answer; the end of the run is to be committed with the step.
    Answer { output: String, is_cut: bool },
}

impl ActiveRun<'_> {
    /// Takes step `self.step`. A step with tool calls is committed here; one with the answer is
    /// committed together with the end of the run.
    pub(super) async fn take_step(&mut self) -> Result<StepEnd, StopReason> {
        let step = self.step;
        let began = Instant::now();
        self.recorder.record(EventSpan::Step(step), Fact::StepStarted { step });
        let tools = self.runtime.toolbox.of(&self.agent);
        self.compact(&tools).await?;
        self.tell_memories().await;
        for left_out in self.runtime.toolbox.left_out() {
            if self.agent.may_call(&left_out.name) {
                self.tell_left_out(&left_out.name, &left_out.reason);
            }
        }
        let (mut response, sent) = self.answer(&tools).await?;
        failpoint::pass("after_model_answer");
        let cut = response.cut.take();
        if let Some(cut) = &cut {
            self.warn("answer_cut", format!("{}: {cut}", self.model));
            if !cut.calls.is_empty() {
                return self.go_on_after_cut(response, sent, cut, began).await;
            }
        }
        self.note_answer(response, sent);
        let (content, calls) = self.conversation.last_answer();
        if let (Some(cut), Some(_), true) = (&cut, &self.output_check, calls.is_empty()) {
            return self.refuse_output(&cut.to_string(), began).await;
        }
        let end = self.act(content, &calls, &tools, began).await?;
        Ok(match end {
            StepEnd::Continue => StepEnd::Continue,
            StepEnd::Answer { output, .. } => StepEnd::Answer { output, is_cut: cut.is_some() },
        })
    }

    /// The model's answer, and what it was sent for it. A prompt that is refused as too long is made
    /// shorter and sent again.
    async fn answer(&mut self, tools: &ToolSet) -> Result<(ChatResponse, SentContext), StopReason> {
        let mut shrinks = 0;
        let mut asking = Asking::default();
        loop {
            let turn = self.reach_model(tools, &mut asking).await?;
            let mut request = self.request(tools);
            let loss = self.state.sent.loss(&request);
            if let Some(cause) = loss {
                self.warn_of_cache(cause);
            }
            self.reserve(&mut request).await?;
            request.max_tokens = self.fitting_answer(&request);
            let request = Arc::new(request);
            let answer = self.ask(Arc::clone(&request), &asking).await?;
            self.settle_usage(answer.response()).await?;
            let (error, has_said) = match answer {
                Asked::Answered(response) => {
                    self.runtime.gate.used(&self.model, turn, &response);
                    // As it was known before the provider has counted this prompt.
                    let estimated = request.estimated_tokens();
                    let estimated_tokens = self.counted(estimated);
                    self.note_prompt(&request, estimated, response.usage, loss.is_none());
                    let most = request.max_tokens;
                    let told = &tools.told;
                    let sent = self.sent_context(told, estimated_tokens, most, response.usage);
                    self.runtime.toolbox.keep(&self.claim.scope, told).await?;
                    return Ok((*response, sent));
                }
                Asked::Failed { error, has_said } => (error, has_said),
            };
            let goes_on = match self.fallback(&error, &mut asking) {
                Fallback::Switch(reason) => {
                    self.switch(reason, &error, tools, &mut asking).await?;
                    true
                }
                Fallback::Wait => true,
                Fallback::Shorten if shrinks < SHRINKS_MAX => {
                    shrinks += 1;
                    self.shrink(tools, &request, &error).await?
                }
                Fallback::Shorten | Fallback::Fail => false,
            };
            if !goes_on {
                return Err(failure(&self.model.to_string(), &error));
            }
            if has_said {
                self.recorder.void_text(self.step); // Another text follows.
            }
        }
    }

    /// The answer was cut while it asked for calls: none is made, and the model is told so.
    async fn go_on_after_cut(
        &mut self,
        response: ChatResponse,
        sent: SentContext,
        cut: &AnswerCut,
        began: Instant,
    ) -> Result<StepEnd, StopReason> {
        self.note_answer(response, sent);
        self.push(Message::notice(cut_notice(cut)));
        self.note_progress(true, "");
        self.complete_step(StepResult::ToolCalls, began)?;
        self.commit_step().await
    }

    /// The answer does not match the schema that was asked for: the model is told why, a few times.
    async fn refuse_output(&mut self, faults: &str, began: Instant) -> Result<StepEnd, StopReason> {
        self.state.invalid_outputs += 1;
        let what = format!("the answer does not match `response_format`: {faults}");
        self.warn("output_invalid", what);
        self.push(Message::notice(output_notice(faults)));
        self.complete_step(StepResult::ToolCalls, began)?;
        let end = self.commit_step().await?;
        if self.state.invalid_outputs > OUTPUT_REPAIRS_MAX {
            return Err(StopReason::fail(
                RunErrorCode::OutputInvalid,
                format!(
                    "{}: the answer does not match `response_format`, and the model was told so \
                     {OUTPUT_REPAIRS_MAX} times: {faults}",
                    self.model
                ),
            ));
        }
        Ok(end)
    }

    /// Goes on with a step whose answer an earlier worker recorded: the model is not asked again,
    /// and calls that were settled are not made again.
    pub(super) async fn finish_step(&mut self) -> Result<StepEnd, StopReason> {
        let (content, calls) = self.conversation.last_answer();
        let tools = self.runtime.toolbox.of(&self.agent);
        self.act(content, &calls, &tools, Instant::now()).await
    }

    /// What follows the model's answer: its calls, and the checkpoint.
    async fn act(
        &mut self,
        content: String,
        calls: &[ToolCall],
        tools: &[Arc<Tool>],
        began: Instant,
    ) -> Result<StepEnd, StopReason> {
        let result_type =
            if calls.is_empty() { StepResult::FinalAnswer } else { StepResult::ToolCalls };
        if !calls.is_empty() {
            self.call_tools(calls, tools).await?;
        }
        let content = match &self.output_check {
            Some(check) if calls.is_empty() => match check.read(&content) {
                Ok(json) => json.to_owned(),
                Err(faults) => return self.refuse_output(&faults, began).await,
            },
            Some(_) | None => content,
        };
        self.complete_step(result_type, began)?;
        match result_type {
            StepResult::FinalAnswer => Ok(StepEnd::Answer { output: content, is_cut: false }),
            StepResult::ToolCalls => self.commit_step().await,
        }
    }

    /// Records the end of the step and the state of the run after it.
    fn complete_step(&mut self, result_type: StepResult, began: Instant) -> Result<(), StopReason> {
        let step = self.step;
        self.totals.steps = step;
        self.recorder.set_totals(self.totals);
        self.recorder.record(
            EventSpan::Step(step),
            Fact::StepCompleted { step, result_type, duration_ms: millis(began.elapsed()) },
        );
        let state = serde_json::to_value(&self.state)
            .map_err(|error| StopReason::fail(RunErrorCode::Internal, error.to_string()))?;
        self.recorder.checkpoint(step, state);
        Ok(())
    }

    async fn commit_step(&mut self) -> Result<StepEnd, StopReason> {
        failpoint::pass("before_step_commit");
        self.commit().await?;
        failpoint::pass("after_step_commit");
        self.calls = CallLedger::default();
        self.signals.proven.cancel();
        self.check_progress()?;
        Ok(StepEnd::Continue)
    }

    /// Warns, once in a run, that a tool is left out.
    fn tell_left_out(&mut self, tool: &str, reason: &str) {
        if self.state.left_out.insert(tool.to_owned()) {
            self.warn("tool_left_out", format!("the tool `{tool}` is left out: {reason}"));
        }
    }

    /// Begins the conversation if nothing was said, and tells the model what is new in memory.
    async fn tell_memories(&mut self) {
        if self.conversation.ends_with_memories() {
            return; // An earlier worker has told it.
        }
        let (core, recalled) = self.recall().await;
        if !self.conversation.has_begun() {
            let (prompt, folded) = (&self.agent.system_prompt, self.folded.take());
            let (format, turns) = (self.response_format(), self.history_runs.clone());
            self.push(beginning(prompt, &self.asked_at, &core, folded, format, turns));
            self.push(Message::User { content: self.claim.input.clone() });
        }
        let shown =
            Shown::by(self.conversation.beginning().into_iter().chain(self.conversation.recent()));
        let zone = self.asked_at.time_zone();
        let note = memory_note(&shown, &core, &recalled, zone, self.context_tokens());
        if let Some(note) = note {
            self.push(note);
        }
    }

    pub(super) fn request(&self, tools: &ToolSet) -> ChatRequest {
        let asked = self.claim.llm_config.as_ref();
        ChatRequest {
            provider: self.model.provider.clone(),
            model: self.model.model.clone(),
            system: self.conversation.system().to_owned(),
            messages: self.history.iter().chain(self.conversation.messages()).cloned().collect(),
            tools: tools.told.clone(),
            temperature: asked.and_then(|llm| llm.temperature).or(self.agent.temperature),
            max_tokens: self.max_tokens(),
            response_format: self.response_format().cloned(),
            cache: CacheHints { shared_messages: self.history.len(), key: Some(self.cache_key()) },
        }
    }

    /// The same for all runs of a session, and nothing that says whose it is.
    fn cache_key(&self) -> String {
        let Scope { org_id, user_id, .. } = &self.claim.scope;
        let project = self.claim.scope.project_key();
        let session = &self.claim.session_key;
        let mut key = digest(&format!("{org_id}\n{user_id}\n{project}\n{session}"));
        key.truncate(CACHE_KEY_CHARS);
        key
    }

    /// Notes what was sent, for the next prompt to be compared with.
    fn note_prompt(&mut self, request: &ChatRequest, estimated: u64, usage: Usage, grew: bool) {
        self.learn_count(estimated, usage.input_tokens);
        if self.state.sent.answered(request, usage, grew) {
            self.warn_of_cache(CacheLoss::Provider);
        }
    }

    fn warn_of_cache(&mut self, cause: CacheLoss) {
        let tokens = self.state.sent.tokens();
        let what = match cause {
            CacheLoss::ToolsChanged => "the tools are not those of the last call",
            CacheLoss::PromptChanged => "the prompt does not begin with that of the last call",
            CacheLoss::ModelSwitched => "another model is asked than in the last call",
            CacheLoss::Provider => "the provider took nothing of the prompt from its cache",
        };
        let message = format!("{what}: {tokens} tokens may be paid for again");
        let code = "cache_lost".to_owned();
        let fact = Fact::RunWarning {
            code,
            message,
            cause: Some(cause),
            tokens: Some(tokens),
            switch: None,
        };
        self.recorder.record(EventSpan::Step(self.step), fact);
    }

    /// Searches memories for the task and the latest turn. The step goes on if the search fails.
    async fn recall(&mut self) -> (Vec<Memory>, Vec<Hit>) {
        let began = Instant::now();
        let memory = self.runtime.parts.memory.asked_at(self.asked_at.clone());
        let scope = &self.claim.scope;
        let query = recall_query(&self.claim.input, self.conversation.recent());
        let mut search = SearchMemories::new(query.clone());
        search.top_k = self.agent.recall_top_k;
        match memory.recall(scope, CORE_MAX_CHARS, &search).await {
            Ok((core, found)) => {
                let duration_ms = millis(began.elapsed());
                let (hits, vector_scan) = (found.hits.clone(), found.scan);
                self.recorder.record(
                    EventSpan::Step(self.step),
                    Fact::MemoryRecalled { query, hits, duration_ms, vector_scan },
                );
                (core, found.hits)
            }
            Err(error) => {
                self.warn("memory_unavailable", error.to_string());
                (Vec::new(), Vec::new())
            }
        }
    }

    /// Asks the model, and passes its text on as it comes.
    async fn ask(
        &mut self,
        request: Arc<ChatRequest>,
        asking: &Asking,
    ) -> Result<Asked, StopReason> {
        let step = self.step;
        let runtime = self.runtime;
        let mut has_said = false;
        failpoint::pass("before_model_call");
        let mut answer = runtime.parts.models.chat(request);
        let mut flush_at = tokio::time::Instant::now() + GATHER_EVENTS;
        loop {
            let event = tokio::select! {
                event = answer.next() => event,
                () = sleep_until(flush_at), if self.recorder.has_pending() => {
                    self.recorder.cut_delta(step);
                    failpoint::pass("before_delta_commit");
                    self.commit().await?;
                    flush_at = tokio::time::Instant::now() + GATHER_TEXT;
                    continue;
                }
            };
            match event {
                Some(Ok(ChatEvent::Text(text))) => {
                    has_said = true;
                    self.recorder.say(&text);
                }
                Some(Ok(ChatEvent::AttemptFailed { error, attempt, retry_in, void })) => {
                    self.recorder.cut_delta(step);
                    self.warn(
                        "model_attempt_failed",
                        format!(
                            "attempt {attempt} failed: {error}; trying again in {} ms",
                            retry_in.as_millis()
                        ),
                    );
                    if void {
                        has_said = false;
                        self.recorder.void_text(step);
                    }
                    runtime.gate.failed(&self.model, &self.claim.scope.org_id, &error).await;
                    if self.is_given_up(&error, asking) {
                        return Ok(Asked::Failed { error, has_said });
                    }
                }
                Some(Ok(ChatEvent::Spent { usage, cost_usd })) => {
                    self.add_usage(usage, cost_usd);
                    self.failed_attempts.0 += usage;
                    self.failed_attempts.1 += cost_usd;
                }
                Some(Ok(ChatEvent::ToolLeftOut { tool, reason })) => {
                    self.tell_left_out(&tool, &reason);
                }
                Some(Ok(ChatEvent::Done(response))) => {
                    self.recorder.end_text(step);
                    runtime.gate.answered(&self.model, &self.claim.scope.org_id).await;
                    return Ok(Asked::Answered(response));
                }
                Some(Err(error)) => {
                    self.recorder.cut_delta(step);
                    runtime.gate.failed(&self.model, &self.claim.scope.org_id, &error).await;
                    return Ok(Asked::Failed { error, has_said });
                }
                None => {
                    return Err(StopReason::fail(
                        RunErrorCode::ModelError,
                        "the model gave no answer",
                    ));
                }
            }
        }
    }

    /// Records the model's answer and gives the calls their ids.
    fn note_answer(&mut self, mut response: ChatResponse, sent: SentContext) {
        let calls: Vec<_> = std::mem::take(&mut response.tool_calls)
            .into_iter()
            .zip(0..)
            .map(|(call, index)| ToolCall {
                id: CallId::derive(
                    self.claim.run_id,
                    self.step,
                    index,
                    &call.tool,
                    &canonical_json(&call.args),
                ),
                tool: call.tool,
                args: call.args,
            })
            .collect();
        let is_empty = response.content.is_empty() && calls.is_empty();
        if !is_empty || response.finish_reason == FinishReason::Stop {
            self.push(Message::Assistant {
                content: response.content.clone(),
                tool_calls: calls.clone(),
                replay: response.replay.take(),
                sent: Some(Box::new(sent)),
            });
        }
        self.add_usage(response.usage, response.cost_usd);
        let (usage, cost_usd) = std::mem::take(&mut self.failed_attempts);
        response.usage += usage;
        response.cost_usd += cost_usd;
        self.recorder.record(EventSpan::ModelCall(self.step), llm_called(response, calls));
    }

    /// Calls the tools one after another: each call is committed before it is sent.
    async fn call_tools(
        &mut self,
        calls: &[ToolCall],
        tools: &[Arc<Tool>],
    ) -> Result<(), StopReason> {
        let mut impossible = true;
        self.results_bytes =
            self.conversation.last_results().iter().map(|result| result.content().len()).sum();
        for call in calls {
            let tool = tools.iter().find(|tool| tool.info.name == call.tool);
            let next = self.calls.next_move(call.id);
            let began = Instant::now();
            let answer = match next {
                NextMove::Skip => {
                    impossible = false;
                    continue;
                }
                // Only the worker that intended such a call may send it, and that worker is gone.
                NextMove::GiveUp => ToolAnswer::unknown(),
                NextMove::Intend | NextMove::SendAgain => {
                    self.check_size()?;
                    if next == NextMove::Intend {
                        self.intend(call, tool.map_or(Effect::ReadOnly, |tool| tool.info.effect));
                    }
                    match may_call(call, tool.map(AsRef::as_ref), tools) {
                        Err(refused) => refused,
                        Ok(tool) => {
                            impossible = false;
                            self.call_tool(call, tool).await?
                        }
                    }
                }
            };
            self.settle(call, answer, began);
        }
        let fingerprint = self.fingerprint(calls);
        self.note_progress(impossible, &fingerprint);
        Ok(())
    }

    fn intend(&mut self, call: &ToolCall, effect: Effect) {
        self.totals.tool_calls += 1;
        self.recorder.set_totals(self.totals);
        self.calls.intend(OpenCall { id: call.id, tool: call.tool.clone(), effect });
        self.recorder.record(
            EventSpan::ToolCall(self.step, call.id),
            Fact::ToolCalled {
                tool_call_id: call.id,
                tool: call.tool.clone(),
                args: call.args.clone(),
                effect,
            },
        );
    }

    fn settle(&mut self, call: &ToolCall, answer: ToolAnswer, began: Instant) {
        let most = self.runtime.parts.size_limits.step_results_bytes;
        let mut answer = answer.bounded(most.saturating_sub(self.results_bytes));
        // As it will be read back: places in it stay the same.
        order_keys(&mut answer.result);
        let content = answer.text();
        self.results_bytes += content.len();
        let content = self.shown(content, call.id);
        self.calls.answer(call.id);
        self.push(Message::Tool {
            tool_call_id: call.id,
            tool: call.tool.clone(),
            content,
            is_error: answer.is_error(),
        });
        self.recorder.record(
            EventSpan::ToolCall(self.step, call.id),
            Fact::ToolResult {
                tool_call_id: call.id,
                tool: call.tool.clone(),
                is_error: answer.is_error(),
                outcome: answer.outcome,
                truncated: answer.truncated,
                duration_ms: millis(began.elapsed()),
                result: answer.result,
            },
        );
    }

    /// A result as the model reads it; masked before it is cut, so that no half of a secret is left.
    fn shown(&self, mut content: String, id: CallId) -> String {
        let most = result_tokens(self.context_tokens());
        if model::tokens::estimate(&content) > most {
            self.runtime.parts.redactor.clean(&mut content, Reach::Credentials);
        }
        shown_result(content, id, most)
    }

    async fn call_tool(&mut self, call: &ToolCall, tool: &Tool) -> Result<ToolAnswer, StopReason> {
        failpoint::pass("before_intent_commit");
        self.commit().await?; // The intent, before anything is sent.
        failpoint::pass("after_intent_commit");
        self.calls.send(call.id);
        let caller = ToolCaller {
            scope: &self.claim.scope,
            run_id: self.claim.run_id,
            step: self.step,
            call_id: call.id,
            asked_at: &self.asked_at,
            result_tokens: result_tokens(self.context_tokens()),
        };
        let answer =
            self.runtime.toolbox.call(tool, &call.args, &caller, &self.signals.cancel).await?;
        failpoint::pass("after_effect");
        Ok(answer)
    }

    /// The calls of a step and their results, as one text.
    fn fingerprint(&self, calls: &[ToolCall]) -> String {
        let result_of = |call: &ToolCall| {
            self.conversation.last_results().iter().find_map(|message| match message {
                Message::Tool { tool_call_id, content, .. } if *tool_call_id == call.id => {
                    Some(content.as_str())
                }
                Message::System { .. }
                | Message::Note { .. }
                | Message::Summary { .. }
                | Message::Tool { .. }
                | Message::User { .. }
                | Message::Assistant { .. } => None,
            })
        };
        calls
            .iter()
            .map(|call| {
                let result = result_of(call).unwrap_or_default();
                format!("{} {} {result}\n", call.tool, canonical_json(&call.args))
            })
            .collect()
    }

    fn note_progress(&mut self, impossible: bool, fingerprint: &str) {
        let state = &mut self.state;
        state.impossible_steps = if impossible { state.impossible_steps + 1 } else { 0 };
        let fingerprint = digest(fingerprint);
        state.same_steps = if state.last_step == fingerprint { state.same_steps + 1 } else { 1 };
        state.last_step = fingerprint;
    }

    fn check_progress(&self) -> Result<(), StopReason> {
        if self.state.impossible_steps >= IMPOSSIBLE_STEPS_MAX {
            return Err(StopReason::fail(
                RunErrorCode::ModelError,
                format!(
                    "none of the model's tool calls could be made in {IMPOSSIBLE_STEPS_MAX} steps in a row"
                ),
            ));
        }
        if self.state.same_steps >= SAME_STEPS_MAX {
            return Err(StopReason::fail(
                RunErrorCode::NoProgress,
                format!(
                    "the same tool calls gave the same results in {SAME_STEPS_MAX} steps in a row"
                ),
            ));
        }
        Ok(())
    }
}

/// The event of a model's whole answer.
pub(super) fn llm_called(response: ChatResponse, tool_calls: Vec<ToolCall>) -> Fact {
    Fact::LlmCalled {
        provider: response.provider,
        model: response.model,
        content: response.content,
        tool_calls,
        finish_reason: response.finish_reason,
        usage: response.usage,
        cost_usd: response.cost_usd,
        time_to_first_token_ms: response.time_to_first_token_ms,
        duration_ms: response.duration_ms,
        attempts: response.attempts,
    }
}

fn failure(model: &str, error: &ModelError) -> StopReason {
    let code = match error {
        ModelError::Auth { .. } => RunErrorCode::ModelAuth,
        ModelError::Refused { .. } => RunErrorCode::Refused,
        ModelError::Empty { .. } => RunErrorCode::EmptyAnswer,
        ModelError::Forbidden { .. }
        | ModelError::Quota { .. }
        | ModelError::PromptTooLong { .. }
        | ModelError::BadRequest { .. }
        | ModelError::RateLimited { .. }
        | ModelError::Unavailable { .. }
        | ModelError::Truncated
        | ModelError::Protocol { .. }
        | ModelError::Resting
        | ModelError::Limit { .. }
        | ModelError::Timeout { .. } => RunErrorCode::ModelError,
    };
    StopReason::fail(code, format!("{model}: {error}"))
}

/// What the model reads after an answer of its own that was cut.
fn cut_notice(cut: &AnswerCut) -> String {
    format!(
        "(From the runtime, not from the user: {cut}. None of its calls was made. Make the call again, \
         with shorter arguments or in parts.)"
    )
}

/// What the model reads after an answer that does not match the schema.
fn output_notice(faults: &str) -> String {
    format!(
        "(From the runtime, not from the user: that answer does not match the JSON Schema: {faults}. \
         Answer again, with one JSON value that matches it and nothing else.)"
    )
}

/// The task and the latest turn, cut to what a search takes.
fn recall_query(input: &str, messages: &[Message]) -> String {
    let latest = messages.iter().rev().find_map(|message| match message {
        Message::Assistant { content, .. } if !content.trim().is_empty() => Some(content.as_str()),
        Message::System { .. }
        | Message::Note { .. }
        | Message::Summary { .. }
        | Message::Assistant { .. }
        | Message::User { .. }
        | Message::Tool { .. } => None,
    });
    let half = MEMORY_QUERY_MAX_BYTES / 2 - 1;
    match latest {
        None => cut(input, MEMORY_QUERY_MAX_BYTES).to_owned(),
        Some(latest) => format!("{}\n{}", cut(input, half), cut(latest, half)),
    }
}

fn cut(text: &str, most_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(most_bytes)).unwrap_or(text)
}

/// The tool, if the call can be made; else what the model reads instead of a result.
fn may_call<'a>(
    call: &ToolCall,
    tool: Option<&'a Tool>,
    tools: &[Arc<Tool>],
) -> Result<&'a Tool, ToolAnswer> {
    let Some(tool) = tool else {
        return Err(ToolAnswer::error(unknown_tool(&call.tool, tools)));
    };
    if tool.info.approval != Approval::Never {
        return Err(ToolAnswer::denied());
    }
    tool.check(&call.args).map_err(ToolAnswer::error)?;
    Ok(tool)
}

fn unknown_tool(name: &str, tools: &[Arc<Tool>]) -> String {
    if name == ANSWER_TOOL {
        return format!(
            "call `{ANSWER_TOOL}` alone, once the results of all other calls are there"
        );
    }
    let known: Vec<_> = tools.iter().map(|tool| tool.info.name.as_str()).collect();
    format!("there is no tool `{}`; use one of: {}", cut(name, 128), known.join(", "))
}

fn digest(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
