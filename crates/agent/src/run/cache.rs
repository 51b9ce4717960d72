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
    /// The model that was asked.
    model: String,
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
        if self.model != request.model_ref().to_string() {
            return Some(CacheLoss::ModelSwitched);
        }
        if self.tools != request.tools.digest() {
            return Some(CacheLoss::ToolsChanged);
        }
        (self.words != words_of(request, self.messages)).then_some(CacheLoss::PromptChanged)
    }

    /// A prompt was answered. Says whether it grew only and yet nothing of it came from a cache that
    /// the provider has.
    pub(super) fn answered(&mut self, request: &ChatRequest, usage: Usage, grew: bool) -> bool {
        let is_lost = grew && self.was_cached && usage.cached_tokens == 0;
        *self = Self {
            model: request.model_ref().to_string(),
            tools: request.tools.digest().to_owned(),
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

#[cfg(test)]
mod tests {
    use model::chat::CacheHints;
    use protocol::{
        message::Message,
        tool::{Approval, Effect, ToolInfo, ToolSource},
    };
    use serde_json::json;

    use super::*;

    fn request(texts: &[&str], tool: &str) -> ChatRequest {
        let user = |text: &&str| Message::User { content: (*text).to_owned() };
        ChatRequest {
            provider: "p".into(),
            model: "m".into(),
            system: "S".into(),
            messages: texts.iter().map(user).collect(),
            tools: vec![ToolInfo {
                name: "t".into(),
                description: tool.into(),
                input_schema: json!({"type": "object"}),
                effect: Effect::ReadOnly,
                approval: Approval::Never,
                source: ToolSource::Builtin,
            }]
            .into(),
            temperature: None,
            max_tokens: None,
            response_format: None,
            cache: CacheHints::default(),
        }
    }

    #[test]
    fn what_a_cache_is_lost_by_is_named() {
        let mut sent = SentPrompt::default();
        assert_eq!(sent.loss(&request(&["a"], "one")), None, "nothing was sent before");
        assert!(!sent.answered(&request(&["a"], "one"), Usage::new(100, 1, 0), true));
        for (texts, tool, expected) in [
            (&["a", "b"][..], "one", None),
            (&["a", "b"], "two", Some(CacheLoss::ToolsChanged)),
            (&["c", "b"], "one", Some(CacheLoss::PromptChanged)),
            (&[], "one", Some(CacheLoss::PromptChanged)),
        ] {
            assert_eq!(sent.loss(&request(texts, tool)), expected, "{texts:?} {tool}");
        }
        let switched = ChatRequest { model: "n".into(), ..request(&["a", "b"], "one") };
        assert_eq!(sent.loss(&switched), Some(CacheLoss::ModelSwitched));
        sent.forget();
        assert_eq!(sent.loss(&request(&["c"], "two")), None, "an event has said so");
    }

    #[test]
    fn a_provider_is_named_only_if_it_had_cached_what_only_grew() {
        let mut sent = SentPrompt::default();
        let mut answered =
            |cached, grew| sent.answered(&request(&["a"], "one"), Usage::new(100, 1, cached), grew);
        assert!(!answered(0, true), "it has used no cache before");
        assert!(!answered(80, true));
        assert!(answered(0, true));
        assert!(!answered(80, true));
        assert!(!answered(0, false), "the prompt was another one");
    }
}
