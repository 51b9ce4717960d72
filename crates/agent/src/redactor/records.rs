//! Which fields of events, messages and ends are masked. A new field does not compile until it is
//! decided on here.

use protocol::{
    event::Fact,
    message::{Message, ToolCall},
};
use store::journal::End;

use super::{Reach, Redactor};

impl Redactor {
    /// Masks a fact. Texts of users and models keep what only looks like a credential; results of tools
    /// and errors do not. Returns whether there was any credential, masked or not.
    pub(crate) fn clean_fact(&self, fact: &mut Fact) -> bool {
        match fact {
            Fact::RunStarted {
                input,
                model,
                limits: _,
                epoch: _,
                parent_run_id: _,
                forked_from_step: _,
            } => self.clean_known(input) | self.clean_known(model),
            Fact::RunResumed { epoch: _, from_step: _, reason: _ }
            | Fact::ContextCompacted {
                through_step: _,
                tokens_before: _,
                tokens_after: _,
                method: _,
            }
            | Fact::StepStarted { step: _ }
            | Fact::StepCompleted { step: _, result_type: _, duration_ms: _ } => false,
            Fact::MemoryRecalled { query, hits, duration_ms: _, vector_scan: _ } => {
                hits.iter_mut().fold(self.clean_known(query), |found, hit| {
                    self.clean_known(&mut hit.snippet) | found
                })
            }
            Fact::LlmCalled {
                provider: _,
                model,
                content,
                tool_calls,
                finish_reason: _,
                usage: _,
                cost_usd: _,
                time_to_first_token_ms: _,
                duration_ms: _,
                attempts: _,
            } => self.clean_known(model) | self.clean_known(content) | self.clean_calls(tool_calls),
            Fact::ToolCalled { tool_call_id: _, tool, args, effect: _ } => {
                self.clean_known(tool) | self.clean_value(args, Reach::Known)
            }
            Fact::ToolResult {
                tool_call_id: _,
                tool,
                result,
                is_error: _,
                outcome: _,
                truncated: _,
                duration_ms: _,
            } => self.clean_known(tool) | self.clean_value(result, Reach::Credentials),
            Fact::RunWarning { code: _, message, cause: _, tokens: _, switch: _ } => {
                self.clean(message, Reach::Credentials)
            }
            Fact::RunCompleted { output, output_cut: _, usage: _, cost_usd: _, duration_ms: _ } => {
                self.clean_known(output)
            }
            Fact::RunFailed { error, duration_ms: _ } => {
                self.clean(&mut error.message, Reach::Credentials)
            }
            Fact::RunCancelled { by, reason, stopped: _, unknown: _ } => {
                self.clean_known(by)
                    | reason.as_mut().is_some_and(|reason| self.clean_known(reason))
            }
        }
    }

    /// Masks a message exactly as the event with the same text.
    pub(crate) fn clean_message(&self, message: &mut Message) {
        match message {
            Message::User { content }
            | Message::Note { content, recalled: _, core: _ }
            | Message::Summary { content, kept_from: _, results: _ } => {
                self.clean_known(content);
            }
            Message::System { content, core: _, folded, turns: _ } => {
                self.clean_known(content);
                if let Some(folded) = folded {
                    self.clean_known(&mut folded.summary);
                }
            }
            Message::Assistant { content, tool_calls, replay, sent: _ } => {
                self.clean_known(content);
                self.clean_calls(tool_calls);
                if let Some(replay) = replay {
                    self.clean_value(&mut replay.blocks, Reach::Known);
                }
            }
            Message::Tool { tool_call_id: _, tool, content, is_error: _ } => {
                self.clean_known(tool);
                self.clean(content, Reach::Credentials);
            }
        }
    }

    /// Masks what the run's own row keeps of its end.
    pub(crate) fn clean_end(&self, end: &mut End) {
        match end {
            End::Completed { output } => {
                self.clean_known(output);
            }
            End::Failed { error } => {
                self.clean(&mut error.message, Reach::Credentials);
            }
            End::Cancelled => {}
        }
    }

    /// Masks the secrets of this installation; returns whether there was any credential.
    pub(crate) fn clean_known(&self, text: &mut String) -> bool {
        self.clean(text, Reach::Known)
    }

    fn clean_calls(&self, calls: &mut [ToolCall]) -> bool {
        calls.iter_mut().fold(false, |found, call| {
            self.clean_known(&mut call.tool)
                | self.clean_value(&mut call.args, Reach::Known)
                | found
        })
    }
}
