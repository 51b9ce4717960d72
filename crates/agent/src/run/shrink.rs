//! What is done when a provider refuses a prompt as too long: older steps are folded, and what remains
//! is cut by harder means, each time by more. The task, the system prompt and the newest step stay.

use model::{chat::ChatRequest, error::ModelError};
use protocol::message::Message;

use crate::{context::chars_within, tools::ToolSet};

use super::{active::ActiveRun, stop::StopReason};

/// How often a step's prompt is made shorter, before the run fails.
pub(super) const SHRINKS_MAX: u32 = 8;
/// Results are not shown shorter than this, in tokens: what says that they are cut has some itself.
const RESULT_MIN_TOKENS: u64 = 64;

impl ActiveRun<'_> {
    /// Makes the prompt shorter after its provider has refused it. Says whether there was anything left
    /// to leave out.
    pub(super) async fn shrink(
        &mut self,
        tools: &ToolSet,
        refused: &ChatRequest,
        error: &ModelError,
    ) -> Result<bool, StopReason> {
        self.learn_refusal(refused);
        let is_shorter = self.fitting_answer(refused) != refused.max_tokens
            || self.fold_steps(tools, 0.0).await?
            || self.cut();
        if is_shorter {
            self.state.sent.forget();
            let message = format!("{}: {error}; it is made shorter and sent again", self.model);
            self.warn("context_length_exceeded", message);
        }
        Ok(is_shorter)
    }

    /// Shows of the largest results half, and of earlier turns the newer half.
    fn cut(&mut self) -> bool {
        let largest = self.conversation.largest_result_tokens();
        let most = largest / 2;
        let mut shortened = Vec::new();
        if most > RESULT_MIN_TOKENS {
            for (place, content) in self.conversation.results() {
                if model::tokens::estimate(content) > most {
                    let keep = chars_within(content, most);
                    shortened.push((place, u32::try_from(keep).unwrap_or(u32::MAX)));
                }
            }
        }
        for (place, chars) in &shortened {
            self.conversation.shorten_result(*place, *chars);
        }
        let is_cut = !shortened.is_empty();
        self.state.cut_results.extend(shortened);
        self.cut_turns() || is_cut
    }

    fn cut_turns(&mut self) -> bool {
        // A turn begins with what the user said.
        let half = self.history.len().div_ceil(2);
        let begins = |message: &Message| matches!(message, Message::User { .. });
        let kept = self.history.iter().skip(half).position(begins);
        let dropped = kept.map_or(self.history.len(), |at| half + at);
        self.history.drain(..dropped);
        self.state.cut_turns += dropped;
        dropped > 0
    }
}
