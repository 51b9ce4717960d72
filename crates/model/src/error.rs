//! The errors of asking a model, by what the caller can do about them.
//!
//! They name neither the provider, which the caller knows, nor any secret.

use std::time::Duration;

/// Longest text of a provider that an error repeats, in characters.
pub const PROVIDER_MESSAGE_MAX_CHARS: usize = 500;

/// Why a model gave no valid answer: the error of an attempt, or of the last one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The operator must act; asking again is useless.
    #[error("the provider rejects the API key: {message}")]
    Auth { message: String },
    /// The credentials are valid, but do not allow this: a country, a model, a proxy on the way.
    #[error("the provider does not allow the request: {message}")]
    Forbidden { message: String },
    /// The account has no credit left; asking again is useless.
    #[error("the account with the provider has no credit left: {message}")]
    Quota { message: String },
    /// The provider, or the model itself, declines to answer this.
    #[error("the provider refused to answer: {message}")]
    Refused { message: String },
    /// The prompt does not fit the model.
    #[error("the prompt is too long for the model (`context_tokens` of the agent): {message}")]
    PromptTooLong { message: String },
    /// Another 4xx: this request will never be accepted.
    #[error("the provider rejects the request: {message}")]
    BadRequest {
        /// The HTTP status; 400 where the provider said it in a stream.
        status: u16,
        /// The provider's words, cut.
        message: String,
    },
    /// 429: ask again later.
    #[error("the provider's rate limit is reached: {message}")]
    RateLimited {
        /// How long the provider asks us to wait.
        retry_after: Option<Duration>,
        /// The provider's words, cut.
        message: String,
    },
    /// It cannot be reached, or says 408, 409 or 5xx.
    #[error("the provider is unavailable: {message}")]
    Unavailable {
        /// The HTTP status, where one came.
        status: Option<u16>,
        /// How long the provider asks us to wait.
        retry_after: Option<Duration>,
        /// The provider's or the transport's words, cut.
        message: String,
    },
    /// The answer ended before its end marker.
    #[error("the answer broke off before its end")]
    Truncated,
    /// The model ended its answer without a word and without a call.
    #[error("{}", empty_words(*cut_at))]
    Empty {
        /// It was cut before it said anything, at the bound that was asked for, if one was.
        cut_at: Option<Option<u32>>,
    },
    /// The answer is not what the wire format says.
    #[error("the provider's answer does not follow the wire format: {message}")]
    Protocol {
        /// What is wrong, without the text itself.
        message: String,
    },
    /// It was not asked: its breaker is open, or everybody was told to wait.
    #[error("the model rests: it failed too often lately, or its provider has asked for a pause")]
    Resting,
    /// The answer is larger than a limit of ours.
    #[error("the answer is larger than the limit `{limit}` = {max}")]
    Limit {
        /// The name of the bound.
        limit: &'static str,
        max: usize,
    },
    /// It took too long.
    #[error("the provider took longer than {after:?} {phase}")]
    Timeout {
        /// What we were waiting for.
        phase: Phase,
        /// How long we waited.
        after: Duration,
    },
}

/// What we were waiting for when time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connect,
    /// The first byte of the answer.
    FirstByte,
    Idle,
    /// The end, all attempts together.
    Total,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "to connect: `connect_timeout_ms`",
            Self::FirstByte => "to its first byte: `first_byte_timeout_ms`",
            Self::Idle => "between two bytes: `idle_timeout_ms`",
            Self::Total => "in all: `total_timeout_ms`",
        })
    }
}

fn empty_words(cut_at: Option<Option<u32>>) -> String {
    match cut_at {
        None => "the model ended its answer without saying anything".to_owned(),
        Some(None) => "the model's answer was cut before it said anything".to_owned(),
        Some(Some(most)) => format!(
            "the model's answer was cut at `max_tokens` = {most} before it said anything: raise \
             `max_tokens`"
        ),
    }
}

impl ModelError {
    /// Asking again may help.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Truncated
            | Self::Empty { cut_at: None }
            | Self::Protocol { .. }
            | Self::Timeout { phase: Phase::Connect | Phase::FirstByte | Phase::Idle, .. } => true,
            Self::Auth { .. }
            | Self::Forbidden { .. }
            | Self::Quota { .. }
            | Self::Refused { .. }
            | Self::PromptTooLong { .. }
            | Self::BadRequest { .. }
            | Self::Empty { cut_at: Some(_) }
            | Self::Resting
            | Self::Limit { .. }
            | Self::Timeout { phase: Phase::Total, .. } => false,
        }
    }

    /// How long the provider asks us to wait before the next attempt.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                *retry_after
            }
            Self::Auth { .. }
            | Self::Forbidden { .. }
            | Self::Quota { .. }
            | Self::Refused { .. }
            | Self::PromptTooLong { .. }
            | Self::BadRequest { .. }
            | Self::Truncated
            | Self::Empty { .. }
            | Self::Protocol { .. }
            | Self::Resting
            | Self::Limit { .. }
            | Self::Timeout { .. } => None,
        }
    }

    /// The same error with its words changed.
    pub(crate) fn with_words(mut self, change: impl FnOnce(&str) -> String) -> Self {
        match &mut self {
            Self::Auth { message }
            | Self::Forbidden { message }
            | Self::Quota { message }
            | Self::Refused { message }
            | Self::PromptTooLong { message }
            | Self::BadRequest { message, .. }
            | Self::RateLimited { message, .. }
            | Self::Unavailable { message, .. }
            | Self::Protocol { message } => *message = change(message),
            Self::Truncated
            | Self::Empty { .. }
            | Self::Resting
            | Self::Limit { .. }
            | Self::Timeout { .. } => {}
        }
        self
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::Protocol { message: message.into() }
    }
}

/// A setting is wrong. Only the operator can act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` {problem}")]
pub struct SettingsError {
    /// Where in the `[model]` or `[embedding]` table.
    pub setting: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do, where that is not obvious.
    pub hint: Option<String>,
}

impl SettingsError {
    pub(crate) fn new(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { setting: setting.into(), problem: problem.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

/// The model that a run asks for is not available here. The caller can ask for another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("provider `{provider}` is unknown; configured are {configured}")]
    UnknownProvider {
        /// What was asked for.
        provider: String,
        configured: String,
    },
    /// The provider needs a key and has none.
    #[error("provider `{provider}` has no API key; configured are {configured}")]
    NoKey {
        /// What was asked for.
        provider: String,
        configured: String,
    },
    /// The provider has no default model and none was named.
    #[error("provider `{provider}` has no default model: name one")]
    NoModel {
        /// What was asked for.
        provider: String,
    },
    /// The provider has a fixed set of models and this is none of them.
    #[error("provider `{provider}` has no model `{model}`; it has {known}")]
    UnknownModel {
        /// What was asked for.
        provider: String,
        /// What was asked for.
        model: String,
        known: String,
    },
    /// The text is not `<provider>/<model>`.
    #[error("`{text}` is not of the form `<provider>/<model>`")]
    Form { text: String },
}

impl ResolveError {
    /// What to do about it, where the message does not say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoKey { provider, .. } => {
                let key = match provider.as_str() {
                    "openai" => "OPENAI_API_KEY",
                    "anthropic" => "ANTHROPIC_API_KEY",
                    "gemini" => "GEMINI_API_KEY",
                    _ => "its `api_key` in the configuration",
                };
                Some(format!("set {key}, or OPENINTERN_MODEL=demo/default to try without a key"))
            }
            Self::UnknownProvider { .. }
            | Self::NoModel { .. }
            | Self::UnknownModel { .. }
            | Self::Form { .. } => None,
        }
    }
}

/// At most `max` characters, with `…` where something was left out.
pub(crate) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
    }
}
