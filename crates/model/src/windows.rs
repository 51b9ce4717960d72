//! How many tokens a prompt may have, by model.
//!
//! The built-in table is of [`WINDOWS_AS_OF`]; each row names its source. The operator's own figures come
//! first. What a provider has taught by refusing a prompt is in `lessons`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{chat::ModelRef, patterns::most_exact};

/// The month of the built-in table.
pub const WINDOWS_AS_OF: &str = "2026-11";
/// Tokens of a prompt to a model that is in no table.
pub const UNKNOWN_MODEL_TOKENS: u64 = 128_000;

/// A table `[model.limits."<provider>/<model>"]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelLimits {
    /// Tokens that a prompt may have.
    pub context_tokens: u64,
}

/// What is known of a model's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextWindow {
    /// By the tables: what a prompt may have where nothing else is configured.
    pub usual_tokens: u64,
    /// What the provider named when it refused a prompt: with more, it refuses again.
    pub taught_tokens: Option<u64>,
}

/// The operator's figures over the built-in ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Windows(BTreeMap<String, ModelLimits>);

impl Windows {
    /// Keys are `<provider>/<model>`; one `*` at the end stands for any rest.
    pub(crate) fn new(own: BTreeMap<String, ModelLimits>) -> Self {
        Self(own)
    }

    /// What a prompt may have: by the operator first, then by the longest pattern.
    pub(crate) fn find(&self, model: &ModelRef) -> u64 {
        let name = model.to_string();
        let own = self.0.iter().map(|(pattern, limits)| (pattern.as_str(), limits.context_tokens));
        let built_in = BUILT_IN.iter().copied();
        most_exact(own, &name)
            .or_else(|| most_exact(built_in, &name))
            .unwrap_or(UNKNOWN_MODEL_TOKENS)
    }
}

/// Pattern, and the tokens that a prompt may have: the window, less the longest answer where the
/// provider counts both and publishes the rest as a bound of its own.
///
/// A figure that is too large is put right by the provider's refusal; one that is too small folds steps
/// too early, so that models that are newer than the table do no worse than their predecessors. Where a
/// source is another than the provider, the provider's own page could not be read.
const BUILT_IN: &[(&str, u64)] = &[
    // 400,000, of which an answer may take 128,000: docs.uipath.com/autopilot, "Supported models and
    // limits"; vercel.com/ai-gateway/models/openai/gpt-5.2-fast.
    ("openai/gpt-5*", 272_000),
    // The catalogue of github.com/labring/fastgpt-plugin, pull request 297.
    ("openai/gpt-5-chat*", 128_000),
    ("openai/gpt-5.1-chat*", 128_000),
    // vercel.com/ai-gateway/models/gpt-4.1-mini-fast.
    ("openai/gpt-4.1*", 1_047_576),
    // docs.uipath.com/autopilot, "Supported models and limits".
    ("openai/gpt-4o*", 128_000),
    // github.com/RooCodeInc/Roo-Code, pull request 2691, after platform.openai.com/docs/models/o3.
    ("openai/o3*", 200_000),
    ("openai/o4-mini*", 200_000),
    // support.claude.com/articles/8606395: 200,000 and more with every model; without the header by
    // which Sonnet 4 and 4.5 take a million.
    ("anthropic/claude-*", 200_000),
    // A million each: platform.claude.com/docs/en/models, the pages of the two and their comparison.
    ("anthropic/claude-opus-4-6*", 1_000_000),
    ("anthropic/claude-sonnet-4-6*", 1_000_000),
    ("anthropic/claude-opus-5-5*", 1_000_000),
    ("anthropic/claude-fable-5-1*", 1_000_000),
    // docs.cloud.google.com/gemini-enterprise-agent-platform/models/gemini/2-5-pro, for 2.0
    // ai.google.dev/gemini-api/docs/models/gemini-2.0-flash.
    ("gemini/gemini-2.5-*", 1_048_576),
    ("gemini/gemini-2.0-flash*", 1_048_576),
    // With less than 24 GiB of graphics memory and no `OLLAMA_CONTEXT_LENGTH`:
    // github.com/ollama/ollama, docs/context-length.mdx.
    ("ollama/*", 4_096),
    // Our own: the planner reads as much as it is sent, and that is kept small.
    ("demo/*", 32_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(windows: &Windows, name: &str) -> u64 {
        let (provider, model) = name.split_once('/').unwrap();
        windows.find(&ModelRef { provider: provider.into(), model: model.into() })
    }

    #[test]
    fn a_model_has_its_own_window_and_the_operator_comes_first() {
        let built_in = Windows::default();
        assert_eq!(tokens(&built_in, "openai/gpt-5-mini-2025-08-07"), 272_000);
        assert_eq!(tokens(&built_in, "anthropic/claude-sonnet-4-5"), 200_000);
        assert_eq!(tokens(&built_in, "anthropic/claude-opus-4-6"), 1_000_000);
        assert_eq!(tokens(&built_in, "ollama/qwen3:8b"), 4_096);
        assert_eq!(tokens(&built_in, "deepseek/deepseek-chat"), UNKNOWN_MODEL_TOKENS);
        let own = [("ollama/*", 32_768), ("ollama/qwen3:8b", 40_960)];
        let own =
            own.map(|(name, context_tokens)| (name.to_owned(), ModelLimits { context_tokens }));
        let own = Windows::new(own.into());
        assert_eq!(tokens(&own, "ollama/qwen3:8b"), 40_960);
        assert_eq!(tokens(&own, "ollama/llama3.2"), 32_768);
        assert_eq!(tokens(&own, "openai/gpt-5"), 272_000);
    }
}
