//! How work on a run begins: its start or resumption is recorded, the model is found, and earlier
//! turns of the session are loaded, and folded where they no longer fit.

use model::chat::ModelRef;
use protocol::{
    error::FieldError,
    event::{Fact, ResumeReason},
    message::{FoldedTurns, Message},
    output::ResponseFormat,
    run::{LlmConfig, RunErrorCode},
};
use store::failpoint;

use crate::{
    context::takeover_note,
    history::{History, TURNS_MAX},
    recorder::EventSpan,
    settings::HistorySummary,
};

use super::{
    active::ActiveRun,
    stop::StopReason,
    summary::{Summarise, Summary},
};

/// Tokens of a model's summary of a session.
const SUMMARY_MAX_TOKENS: u64 = 600;

impl ActiveRun<'_> {
    /// Records that the run starts or resumes, and loads earlier turns of the session.
    pub(super) async fn begin(&mut self) -> Result<(), StopReason> {
        let models = &self.runtime.parts.models;
        let asked = self.claim.llm_config.as_ref();
        let resolved = models.resolve(asked, self.agent.model.as_ref());
        match &resolved {
            Ok(list) => self.take_models(list.clone()),
            Err(_) => self.model = as_asked(asked), // Its events still name the requested model.
        }
        self.recorder.set_model(self.model.to_string());
        self.note_beginning();
        resolved.map_err(|error| StopReason::fail(RunErrorCode::ModelError, error.to_string()))?;
        let check = self.response_format().map(ResponseFormat::compile).transpose();
        self.output_check = check.map_err(|fault| {
            let FieldError { field, message } = fault;
            StopReason::fail(
                RunErrorCode::OutputInvalid,
                format!("`response_format{field}` {message}"),
            )
        })?;
        self.recall_session().await?;
        self.take_over();
        Ok(())
    }

    /// Goes on where the steps end that a fork has taken over. What is new to the model stands behind
    /// them, as it would in any run: the prompt begins with the bytes of its parent's.
    fn take_over(&mut self) {
        if self.step == 0 || self.claim.forked_from_step != Some(self.step) {
            return; // It took over nothing, or has taken steps of its own.
        }
        // That prompt was another run's, and may have been another model's.
        self.state.sent.forget();
        if self.has_begun_step {
            return; // An earlier worker has said it.
        }
        let told_agent = self.told_agent.as_ref().filter(|told| **told != self.claim.agent_id);
        let agent = told_agent.map(|_| self.agent.system_prompt.as_str());
        let zone = self.asked_at.time_zone().clone();
        let told_day = self.claim.turns_before.made_at().get().to_zoned(zone);
        let day = (told_day.date() != self.asked_at.date()).then_some(&self.asked_at);
        let is_new =
            |format: &&ResponseFormat| !self.conversation.says(&format.schema().to_string());
        let format = self.response_format().filter(is_new);
        if let Some(note) = takeover_note(agent, format, day) {
            self.push(note);
        }
        if self.claim.input_follows {
            self.push(Message::User { content: self.claim.input.clone() });
        }
    }

    fn note_beginning(&mut self) {
        if self.claim.last_seq == 0 {
            self.recorder.record(
                EventSpan::Run,
                Fact::RunStarted {
                    input: self.claim.input.clone(),
                    model: self.model.to_string(),
                    limits: self.limits,
                    epoch: self.claim.epoch,
                    parent_run_id: self.claim.parent_run_id,
                    forked_from_step: self.claim.forked_from_step,
                },
            );
            return;
        }
        failpoint::pass("between_reclaim_and_first_event");
        let reason =
            if self.claim.rescued { ResumeReason::WorkerLost } else { ResumeReason::Released };
        self.recorder.record(
            EventSpan::Run,
            Fact::RunResumed { epoch: self.claim.epoch, from_step: self.step, reason },
        );
        if !self.has_open_step {
            // Followers may have seen text from the lost worker; the model answers anew.
            self.recorder.void_text(self.step + 1);
        }
    }

    /// Earlier turns of the session, as the run before has left them: prompts of a session begin
    /// alike as far as they can.
    async fn recall_session(&mut self) -> Result<(), StopReason> {
        if !self.claim.has_turns {
            return Ok(());
        }
        let store = self.runtime.parts.store.scoped(&self.claim.scope);
        let session = &self.claim.session_key;
        let mut turns = store.session_turns(session, self.claim.turns_before, TURNS_MAX).await?;
        for turn in &mut turns {
            self.runtime.parts.redactor.clean_known(&mut turn.input);
            self.runtime.parts.redactor.clean_known(&mut turn.output);
        }
        let history = match self.conversation.beginning() {
            Some(beginning) => History::as_folded(turns, folded_in(Some(beginning))),
            None if History::fits(&turns, self.context_tokens()) => History::as_folded(turns, None),
            None => {
                let before = store.session_beginning(session, self.claim.turns_before).await?;
                let folded = folded_in(before.as_ref());
                History::fit(turns, folded, self.context_tokens())
            }
        };
        self.folded = match (history.is_folding(), self.agent.history_summary) {
            (true, HistorySummary::Model) => {
                let summary = self
                    .summarise(Summarise::Session, history.transcript(), SUMMARY_MAX_TOKENS)
                    .await?;
                history.folded_as(|| match summary {
                    Summary::Words(words) => words,
                    Summary::TooLong | Summary::None => history.extract(),
                })
            }
            (true, HistorySummary::Extractive) | (false, _) => {
                history.folded_as(|| history.extract())
            }
        };
        self.history = history.messages();
        self.history_runs = history.runs();
        self.history.drain(..self.state.cut_turns.min(self.history.len()));
        Ok(())
    }
}

fn folded_in(beginning: Option<&Message>) -> Option<FoldedTurns> {
    match beginning {
        Some(Message::System { folded, .. }) => folded.clone(),
        _ => None,
    }
}

/// The model that a request names, whether or not it exists.
fn as_asked(llm_config: Option<&LlmConfig>) -> ModelRef {
    let part = |name: Option<&String>| name.cloned().unwrap_or_else(|| "default".into());
    ModelRef {
        provider: part(llm_config.and_then(|config| config.provider.as_ref())),
        model: part(llm_config.and_then(|config| config.model.as_ref()?.as_slice().first())),
    }
}
