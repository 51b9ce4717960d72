//! What a model call costs.
//!
//! The built-in table holds the list prices of a few well-known models, as their providers
//! published them by the end of [`PRICES_AS_OF`]; the operator's own prices come first. A model in
//! neither costs 0. Surcharges (writing to a prompt cache, long prompts) and discounts are ignored.

use std::collections::BTreeMap;

use protocol::message::Usage;
use serde::Deserialize;

use crate::{chat::ModelRef, patterns::most_exact};

/// The month of the built-in prices.
pub const PRICES_AS_OF: &str = "2025-12";

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub input: f64,
    /// Of the part of the prompt that the provider had cached; as `input` when absent.
    pub cached_input: Option<f64>,
    pub output: f64,
}

impl Price {
    /// The cost of a call in US dollars.
    pub fn cost_usd(&self, usage: &Usage) -> f64 {
        let fresh = usage.input_tokens.saturating_sub(usage.cached_tokens) as f64;
        let cached = usage.cached_tokens.min(usage.input_tokens) as f64;
        let output = usage.output_tokens as f64;
        (fresh * self.input
            + cached * self.cached_input.unwrap_or(self.input)
            + output * self.output)
            / 1e6
    }
}

/// The operator's prices over the built-in ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prices(BTreeMap<String, Price>);

impl Prices {
    /// Keys are `<provider>/<model>`; one `*` at the end stands for any rest.
    pub(crate) fn new(own: BTreeMap<String, Price>) -> Self {
        Self(own)
    }

    /// The price of a model: the operator's first, then the longest pattern.
    pub(crate) fn find(&self, model: &ModelRef) -> Option<Price> {
        let name = model.to_string();
        let own = self.0.iter().map(|(pattern, price)| (pattern.as_str(), *price));
        let built_in = BUILT_IN.iter().map(|&(pattern, input, cached_input, output)| {
            (pattern, Price { input, cached_input: Some(cached_input), output })
        });
        most_exact(own, &name).or_else(|| most_exact(built_in, &name))
    }
}

/// Pattern, input, cached input, output. Dated names of OpenAI end in `-20…`.
const BUILT_IN: &[(&str, f64, f64, f64)] = &[
    ("openai/gpt-5", 1.25, 0.125, 10.0),
    ("openai/gpt-5-20*", 1.25, 0.125, 10.0),
    ("openai/gpt-5-mini*", 0.25, 0.025, 2.0),
    ("openai/gpt-5-nano*", 0.05, 0.005, 0.4),
    ("openai/gpt-4.1", 2.0, 0.5, 8.0),
    ("openai/gpt-4.1-20*", 2.0, 0.5, 8.0),
    ("openai/gpt-4.1-mini*", 0.4, 0.1, 1.6),
    ("openai/gpt-4.1-nano*", 0.1, 0.025, 0.4),
    ("openai/gpt-4o", 2.5, 1.25, 10.0),
    ("openai/gpt-4o-mini", 0.15, 0.075, 0.6),
    ("openai/gpt-4o-mini-20*", 0.15, 0.075, 0.6),
    ("anthropic/claude-opus-4-5*", 5.0, 0.5, 25.0),
    ("anthropic/claude-opus-4-1*", 15.0, 1.5, 75.0),
    ("anthropic/claude-sonnet-4*", 3.0, 0.3, 15.0),
    ("anthropic/claude-haiku-4-5*", 1.0, 0.1, 5.0),
    ("gemini/gemini-2.5-pro", 1.25, 0.125, 10.0),
    ("gemini/gemini-2.5-flash", 0.3, 0.03, 2.5),
    ("gemini/gemini-2.5-flash-lite", 0.1, 0.01, 0.4),
    ("ollama/*", 0.0, 0.0, 0.0),
    ("demo/*", 0.0, 0.0, 0.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn input_price(prices: &Prices, provider: &str, model: &str) -> Option<f64> {
        let model = ModelRef { provider: provider.into(), model: model.into() };
        prices.find(&model).map(|price| price.input)
    }

    #[test]
    fn the_most_exact_pattern_decides_and_the_operator_comes_first() {
        let built_in = Prices::default();
        assert_eq!(input_price(&built_in, "openai", "gpt-5"), Some(1.25));
        assert_eq!(input_price(&built_in, "openai", "gpt-5-mini-2025-08-07"), Some(0.25));
        assert_eq!(input_price(&built_in, "openai", "gpt-5-pro"), None);
        assert_eq!(input_price(&built_in, "ollama", "qwen3:8b"), Some(0.0));
        assert_eq!(input_price(&built_in, "other", "gpt-5"), None);

        let price = |input| Price { input, cached_input: None, output: 1.0 };
        let own = Prices::new(
            [("openai/*", 7.0), ("openai/gpt-4*", 8.0), ("openai/gpt-4o", 9.0)]
                .map(|(pattern, input)| (pattern.to_owned(), price(input)))
                .into(),
        );
        assert_eq!(input_price(&own, "openai", "gpt-5"), Some(7.0));
        assert_eq!(input_price(&own, "openai", "gpt-4.1"), Some(8.0));
        assert_eq!(input_price(&own, "openai", "gpt-4o"), Some(9.0));
    }

    #[test]
    fn cached_tokens_cost_their_own_price() {
        let price = Price { input: 2.0, cached_input: Some(0.5), output: 8.0 };
        let usage = Usage::new(1_000_000, 500_000, 400_000);
        assert!((price.cost_usd(&usage) - (1.2 + 0.2 + 4.0)).abs() < 1e-9);
        let uncached = Price { cached_input: None, ..price };
        assert!((uncached.cost_usd(&usage) - (2.0 + 4.0)).abs() < 1e-9);
        assert_eq!(price.cost_usd(&Usage::default()), 0.0);
    }
}
