//! The part of a run's conversation that a worker keeps in memory: the task, and as much of the end as a
//! prompt can show. The whole is in the database, and its size does not matter here. Pure.

use protocol::message::{Message, ToolCall};

use crate::context::{cut_result, result_tokens};

/// Bytes that are kept for each token of a prompt. The estimate counts a token for every four bytes at
/// most; the rest is for what a message carries and a prompt does not count.
const BYTES_PER_TOKEN: u64 = 16;

/// How many bytes of a conversation are kept for prompts of so many tokens.
pub(super) const fn window_bytes(context_tokens: u64) -> u64 {
    context_tokens.saturating_mul(BYTES_PER_TOKEN)
}

#[derive(Debug)]
pub(super) struct RunConversation {
    task: Option<Message>,
    /// The end of what follows the task. It begins with a block: a message of the model and the results
    /// of its calls.
    recent: Vec<Message>,
    bytes: u64,
    bytes_max: u64,
    /// The number of blocks before `recent`, which are only in the database.
    left_out: usize,
    /// Tokens of a result that a prompt can show.
    result_tokens: u64,
}

impl RunConversation {
    pub(super) fn new(context_tokens: u64) -> Self {
        Self {
            task: None,
            recent: Vec::new(),
            bytes: 0,
            bytes_max: window_bytes(context_tokens),
            left_out: 0,
            result_tokens: result_tokens(context_tokens),
        }
    }

    /// As restored from the database: the task, and the newest messages, oldest first.
    pub(super) fn restored(
        context_tokens: u64,
        task: Option<Message>,
        recent: Vec<Message>,
        steps: usize,
    ) -> Self {
        let is_result = |message: &Message| matches!(message, Message::Tool { .. });
        let is_answer = |message: &&Message| matches!(message, Message::Assistant { .. });
        let read = recent.iter().filter(is_answer).count();
        let mut conversation = Self::new(context_tokens);
        conversation.task = task;
        conversation.left_out = steps.saturating_sub(read);
        // Results whose call was not read belong to a block that is left out.
        recent.into_iter().skip_while(is_result).for_each(|message| conversation.push(message));
        conversation
    }

    /// Adds a message; the first one is the task. Drops what no prompt will show any more.
    pub(super) fn push(&mut self, message: Message) {
        if self.task.is_none() {
            self.task = Some(message);
            return;
        }
        if !matches!(message, Message::Tool { .. }) {
            self.cut_last_results();
        }
        self.bytes += size(&message, window_bytes(self.result_tokens));
        self.recent.push(message);
        while self.bytes > self.bytes_max
            && let Some(second) = self.second_block()
        {
            let most = window_bytes(self.result_tokens);
            let first: u64 = self.recent.drain(..second).map(|message| size(&message, most)).sum();
            self.bytes -= first;
            self.left_out += 1;
        }
    }

    pub(super) fn task(&self) -> Option<&Message> {
        self.task.as_ref()
    }

    pub(super) fn recent(&self) -> &[Message] {
        &self.recent
    }

    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// The words and the calls of the model's last answer as they are kept: no secret of ours goes
    /// out with a call.
    pub(super) fn last_answer(&self) -> (String, Vec<ToolCall>) {
        let answer = self.recent.iter().rev().find_map(|message| match message {
            Message::Assistant { content, tool_calls, .. } => {
                Some((content.clone(), tool_calls.clone()))
            }
            Message::User { .. } | Message::Tool { .. } => None,
        });
        answer.unwrap_or_default()
    }

    /// The results behind the model's last answer.
    pub(super) fn last_results(&self) -> &[Message] {
        let is_call = |message: &Message| !matches!(message, Message::Tool { .. });
        let first = self.recent.iter().rposition(is_call).map_or(0, |at| at + 1);
        self.recent.get(first..).unwrap_or_default()
    }

    /// A block follows: of the results of the last one prompts show the beginnings only.
    fn cut_last_results(&mut self) {
        let most = window_bytes(self.result_tokens);
        for message in self.recent.iter_mut().rev() {
            if !matches!(message, Message::Tool { .. }) {
                break;
            }
            self.bytes -= size(message, most);
            *message = cut_result(message, self.result_tokens);
            self.bytes += size(message, most);
        }
    }

    fn second_block(&self) -> Option<usize> {
        let is_result = |message: &Message| matches!(message, Message::Tool { .. });
        self.recent.iter().skip(1).position(|message| !is_result(message)).map(|at| at + 1)
    }
}

/// Bytes of a message, as far as they can be many. Of a result count those that a prompt can show: the
/// newest ones are kept whole until they are cut, and must not drive out what stands before them.
fn size(message: &Message, result_bytes_max: u64) -> u64 {
    let bytes = match message {
        Message::User { content } => content.len(),
        Message::Tool { content, .. } => return (content.len() as u64).min(result_bytes_max),
        Message::Assistant { content, tool_calls, replay } => {
            let args = tool_calls.iter().map(|call| call.args.to_string().len()).sum::<usize>();
            let replay = replay.as_ref().map_or(0, |replay| replay.blocks.to_string().len());
            content.len() + args + replay
        }
    };
    bytes as u64
}

#[cfg(test)]
mod tests {
    use protocol::id::{CallId, RunId};
    use serde_json::json;

    use crate::context::{Ingredients, Prompt, assemble};

    use super::*;

    const CONTEXT_TOKENS: u64 = 200;

    fn block(index: u32, result: &str) -> [Message; 2] {
        let id = CallId::derive(RunId::from_uuid(uuid::Uuid::nil()), index, 0, "t", "{}");
        let call = ToolCall { id, tool: "t".into(), args: json!({"n": index}) };
        let content = result.to_owned();
        [
            Message::Assistant { content: String::new(), tool_calls: vec![call], replay: None },
            Message::Tool { tool_call_id: id, tool: "t".into(), content, is_error: false },
        ]
    }

    fn prompt(task: Option<&Message>, messages: &[Message], left_out: usize) -> Prompt {
        assemble(&Ingredients {
            system_prompt: "S",
            asked_at: &"2026-03-11T01:30:00+08:00[Asia/Shanghai]".parse().unwrap(),
            core: &[],
            recalled: &[],
            summary: None,
            history: &[],
            task,
            messages,
            left_out,
            budget_tokens: CONTEXT_TOKENS,
        })
    }

    #[test]
    fn a_prompt_is_the_same_as_of_the_whole_conversation() {
        let task = Message::User { content: "task".into() };
        for result in ["x", "1234567890", "字字字", "%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%"] {
            for repeats in [1, 10, 300] {
                let mut conversation = RunConversation::new(CONTEXT_TOKENS);
                let mut whole = Vec::new();
                conversation.push(task.clone());
                for index in 0..100 {
                    for message in block(index, &result.repeat(repeats)) {
                        whole.push(message.clone());
                        conversation.push(message);
                        let kept = prompt(
                            conversation.task(),
                            conversation.recent(),
                            conversation.left_out(),
                        );
                        assert_eq!(kept, prompt(Some(&task), &whole, 0), "{result} × {repeats}");
                    }
                }
                let bytes: u64 = whole.iter().map(|message| size(message, u64::MAX)).sum();
                let is_cut = conversation.left_out() > 0;
                assert!(is_cut || bytes <= window_bytes(CONTEXT_TOKENS), "{result} × {repeats}");
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_a_prompt_can_show_and_the_last_block_whole() {
        let mut conversation = RunConversation::new(CONTEXT_TOKENS);
        conversation.push(Message::User { content: "task".into() });
        let huge = "x".repeat(1 << 20);
        for index in 0..20 {
            block(index, &huge).into_iter().for_each(|message| conversation.push(message));
            let [Message::Tool { content, .. }] = conversation.last_results() else {
                panic!("one result")
            };
            assert_eq!(content.len(), huge.len());
            let older: u64 = conversation
                .recent()
                .iter()
                .rev()
                .skip(2)
                .map(|message| size(message, u64::MAX))
                .sum();
            assert!(older <= window_bytes(CONTEXT_TOKENS), "{older}");
        }
    }

    #[test]
    fn what_is_read_back_begins_with_a_block() {
        let task = Message::User { content: "task".into() };
        let messages: Vec<_> = (0..3).flat_map(|index| block(index, "r")).skip(1).collect();
        let conversation = RunConversation::restored(CONTEXT_TOKENS, Some(task), messages, 10);
        assert_eq!(conversation.recent().len(), 4);
        assert_eq!(conversation.left_out(), 8);
        assert_eq!(conversation.last_answer().1[0].args, json!({"n": 2}));
    }
}
