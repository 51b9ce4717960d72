//! Whether a prompt begins with the bytes of the one before, so that the provider's cache has them,
//! and what became of that. Pure.

use model::chat::ChatRequest;
use protocol::{event::CacheLoss, message::Usage};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The last prompt of a run, as much as must be known of it; kept in the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SentPrompt {
    /// A digest of the tools.
    tools: String,
    /// How many messages.
    messages: usize,
    /// A digest of system prompt and messages.
    words: String,
    /// Tokens, as the provider counted.
    tokens: u64,
    /// The provider took some of them from its cache.
    was_cached: bool,
}

impl SentPrompt {
    /// What of the prompt before is lost to this one, if one was sent.
    pub(super) fn loss(&self, request: &ChatRequest) -> Option<CacheLoss> {
        if self.messages == 0 {
            return None;
        }
        if self.tools != digest(&tools_of(request)) {
            return Some(CacheLoss::ToolsChanged);
        }
        (self.words != words_of(request, self.messages)).then_some(CacheLoss::PromptChanged)
    }

    /// A prompt was answered. Says whether it grew only and yet nothing of it came from a cache that
    /// the provider has.
    pub(super) fn answered(&mut self, request: &ChatRequest, usage: Usage, grew: bool) -> bool {
        let is_lost = grew && self.was_cached && usage.cached_tokens == 0;
        *self = Self {
            tools: digest(&tools_of(request)),
            messages: request.messages.len(),
            words: words_of(request, request.messages.len()),
            tokens: usage.input_tokens,
            was_cached: usage.cached_tokens > 0,
        };
        is_lost
    }

    /// Tokens of the last prompt, as the provider counted.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// What is sent next begins otherwise, and an event says so.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

fn tools_of(request: &ChatRequest) -> String {
    let tool = |tool: &protocol::tool::ToolInfo| {
        format!("{}\n{}\n{}\n", tool.name, tool.description, tool.input_schema)
    };
    request.tools.iter().map(tool).collect()
}

fn words_of(request: &ChatRequest, messages: usize) -> String {
    let mut text = request.system.clone();
    for message in request.messages.iter().take(messages) {
        text.push('\n');
        // A message has no keys but text: this cannot fail.
        text.push_str(&serde_json::to_string(message).unwrap_or_default());
    }
    digest(&text)
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
