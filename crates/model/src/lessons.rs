//! What providers have taught us by refusing: learnt once for a provider's model, from the words
//! of the refusal. How long it is kept, and who else hears of it, is up to `taught`.
//!
//! Pure. A lesson that changes nothing is none, so that a request is asked again only while there
//! is something to do differently. What is wrong with one request alone teaches nothing: a lesson
//! holds for every tenant that asks this model.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, sync::LazyLock, time::Duration};

use protocol::tool::ToolInfo;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    chat::{ANSWER_TOOL, ChatRequest},
    error::ModelError,
};

/// Most lessons of one call: a provider that keeps demanding something else is given up.
pub(crate) const LESSONS_MAX: u32 = 16;
/// Windows that are believed: a smaller one leaves no room for a task and its tools.
const WINDOW_TOKENS: RangeInclusive<u64> = 1_000..=100_000_000;
/// How long a window is believed: it makes all runs of a model fold their steps, and one that is too
/// small is never put right by a refusal. Afterwards one long prompt is refused again.
pub(crate) const WINDOW_LASTS: Duration = Duration::from_secs(3600);
/// How long everything else is believed: providers change.
const LESSON_LASTS: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most tools that may be left out for one model.
const TOOLS_MAX: usize = 64;

/// How to ask one model so that it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lessons {
    pub(crate) token_bound: Option<TokenBound>,
    /// The longest answer that may be asked for.
    pub(crate) answer_tokens_max: Option<u32>,
    /// The longest prompt.
    pub(crate) context_tokens: Option<u64>,
    pub(crate) no_temperature: bool,
    pub(crate) no_stream: bool,
    pub(crate) no_stream_options: bool,
    pub(crate) reasoning: Option<ReasoningEcho>,
    pub(crate) short_ids: bool,
    pub(crate) no_null_content: bool,
    pub(crate) no_cache_key: bool,
    /// It has no field for the schema of an answer.
    pub(crate) no_response_format: bool,
    /// It knows no role `system`.
    pub(crate) no_system_role: bool,
    /// How many ways of asking for this schema were refused in this call; never kept.
    pub(crate) ways_refused: usize,
    /// By name: the schema that was refused, as a hash.
    tools: BTreeMap<String, String>,
}

/// One thing that was learnt, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Lesson {
    TokenBound {
        name: TokenBound,
    },
    /// The longest answer that may be asked for.
    AnswerTokensMax {
        tokens: u32,
    },
    /// The longest prompt that is taken.
    ContextTokens {
        tokens: u64,
    },
    NoTemperature,
    NoStream,
    NoStreamOptions,
    Reasoning {
        echo: ReasoningEcho,
    },
    /// Ids of calls are nine letters and digits.
    ShortIds,
    NoNullContent,
    NoCacheKey,
    NoResponseFormat,
    NoSystemRole,
    /// A tool is left out until its schema changes.
    Tool {
        name: String,
        /// The SHA-256 of the schema that was refused.
        schema: String,
    },
}

/// The name of the bound on an answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenBound {
    MaxTokens,
    MaxCompletionTokens,
    /// The model accepts no such bound.
    None,
}

/// Whether the model's reasoning goes back to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningEcho {
    Wanted,
    Refused,
}

impl Lessons {
    /// Takes the lesson out of a refusal of `body`, if there is a new one.
    pub(crate) fn learn(
        &mut self,
        error: &ModelError,
        request: &ChatRequest,
        body: &Value,
    ) -> Option<Lesson> {
        let words = match error {
            ModelError::BadRequest { message, .. }
            | ModelError::PromptTooLong { message }
            | ModelError::Unavailable { status: Some(500), message, .. } => message,
            _ => return None,
        };
        let before = self.all();
        match error {
            ModelError::PromptTooLong { .. } if named_window(words).is_some() => {
                self.context_tokens = named_window(words);
            }
            _ => self.take(words, request, body),
        }
        self.all().into_iter().find(|lesson| !before.contains(lesson))
    }

    /// Everything, a lesson each.
    pub(crate) fn all(&self) -> Vec<Lesson> {
        let said = |is_so: bool, lesson: Lesson| is_so.then_some(lesson);
        let tools = self.tools.iter();
        [
            self.token_bound.map(|name| Lesson::TokenBound { name }),
            said(self.no_temperature, Lesson::NoTemperature),
            said(self.no_stream, Lesson::NoStream),
            said(self.no_stream_options, Lesson::NoStreamOptions),
            self.reasoning.map(|echo| Lesson::Reasoning { echo }),
            said(self.short_ids, Lesson::ShortIds),
            said(self.no_null_content, Lesson::NoNullContent),
            said(self.no_cache_key, Lesson::NoCacheKey),
            said(self.no_response_format, Lesson::NoResponseFormat),
            said(self.no_system_role, Lesson::NoSystemRole),
            self.answer_tokens_max.map(|tokens| Lesson::AnswerTokensMax { tokens }),
            self.context_tokens.map(|tokens| Lesson::ContextTokens { tokens }),
        ]
        .into_iter()
        .flatten()
        .chain(
            tools.map(|(name, schema)| Lesson::Tool { name: name.clone(), schema: schema.clone() }),
        )
        .collect()
    }

    /// Takes a lesson that was learnt before, or elsewhere; of two that contradict the later one.
    pub(crate) fn add(&mut self, lesson: Lesson) {
        match lesson {
            Lesson::TokenBound { name } => self.token_bound = Some(name),
            Lesson::AnswerTokensMax { tokens } => self.answer_tokens_max = Some(tokens),
            Lesson::ContextTokens { tokens } => self.context_tokens = Some(tokens),
            Lesson::NoTemperature => self.no_temperature = true,
            Lesson::NoStream => self.no_stream = true,
            Lesson::NoStreamOptions => self.no_stream_options = true,
            Lesson::Reasoning { echo } => self.reasoning = Some(echo),
            Lesson::ShortIds => self.short_ids = true,
            Lesson::NoNullContent => self.no_null_content = true,
            Lesson::NoCacheKey => self.no_cache_key = true,
            Lesson::NoResponseFormat => self.no_response_format = true,
            Lesson::NoSystemRole => self.no_system_role = true,
            Lesson::Tool { name, schema } => {
                if self.tools.len() < TOOLS_MAX || self.tools.contains_key(&name) {
                    self.tools.insert(name, schema);
                }
            }
        }
    }

    fn take(&mut self, words: &str, request: &ChatRequest, body: &Value) {
        let lower = words.to_lowercase();
        let names = |name: &str| lower.contains(name);
        let any = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
        let sent = |key: &str| body.get(key).is_some_and(|value| !value.is_null());
        let unwanted = || {
            any(&[
                "unsupported",
                "not support",
                "unrecognized",
                "unknown",
                "not permitted",
                "not allowed",
                "forbidden",
                "unexpected",
                "does not accept",
                "deprecated",
                "only the default",
                "invalid parameter",
                "extra fields",
                "extra inputs",
                "additional properties",
                "is not available",
                "unavailable",
                "no longer",
                "may only",
                "must be 1",
                "must be set to 1",
                "cannot be",
            ])
        };
        // Then the value was wrong, and another one is taken.
        let speaks_of_range = || {
            any(&[
                "less than",
                "greater than",
                "between",
                "range",
                "at most",
                "at least",
                "maximum",
                "minimum",
                "must be <",
                "must be >",
                "<=",
                ">=",
                "exceed",
                "must be in",
                "too high",
                "too large",
                "too low",
            ])
        };
        let speaks_of_format = || {
            any(&[
                "response_format",
                "response format",
                "response mime type",
                "output_config",
                "json_schema",
                "json schema",
                "structured output",
                "schema",
                "grammar",
            ])
        };
        if sent("max_tokens") && names("max_completion_tokens") {
            self.token_bound = Some(TokenBound::MaxCompletionTokens);
        } else if sent("max_completion_tokens") && names("max_completion_tokens") && unwanted() {
            self.token_bound = Some(TokenBound::MaxTokens);
        } else if sent("max_tokens")
            && names("max_tokens")
            && unwanted()
            && self.smaller(words, body).is_none()
        {
            // It knows neither name.
            self.token_bound = Some(match self.token_bound {
                None => TokenBound::MaxCompletionTokens,
                Some(_) => TokenBound::None,
            });
        } else if let Some(most) = self.smaller(words, body).filter(|_| {
            any(&["max_tokens", "max_completion_tokens", "output tokens", "completion tokens"])
                && !names("context length")
        }) {
            self.answer_tokens_max = Some(most);
        } else if sent("temperature") && names("temperature") && (unwanted() || !speaks_of_range())
        {
            self.no_temperature = true;
        } else if (sent("response_format") || sent("output_config")) && speaks_of_format() {
            // A fault of one schema is not one of the field.
            if unwanted()
                && !any(&["invalid schema", "schema for", "context=", "schema is", "grammar"])
            {
                self.no_response_format = true;
            } else {
                self.ways_refused += 1;
            }
        } else if body.pointer("/messages/0/role").is_some_and(|role| role == "system")
            && any(&[
                "system role",
                "role 'system'",
                "role \"system\"",
                "role system",
                "role: system",
                "system messages",
                "system message is",
                "system prompt is",
                "system instruction is",
                "developer instruction",
                "only user and assistant roles",
            ])
            && (unwanted() || any(&["only user", "not enabled", "invalid", "must be one of"]))
        {
            self.no_system_role = true;
        } else if sent("prompt_cache_key") && names("prompt_cache_key") {
            self.no_cache_key = true;
        } else if sent("stream_options") && names("stream_options") {
            self.no_stream_options = true;
        } else if body.get("stream") == Some(&Value::Bool(true))
            && names("stream")
            && !names("stream_options")
            && (unwanted() || names("verified to stream"))
        {
            self.no_stream = true;
        } else if any(&["reasoning_content", "reasoning_details", "reasoning"]) {
            let wanted = any(&[
                "missing",
                "must be passed",
                "must include",
                "required",
                "must contain",
                "must be provided",
                "必须",
            ]);
            match (wanted, unwanted()) {
                (true, _) => self.reasoning = Some(ReasoningEcho::Wanted),
                (false, true) => self.reasoning = Some(ReasoningEcho::Refused),
                (false, false) => {}
            }
        } else if any(&["tool call id", "tool_call_id", "tool_calls.id"])
            && any(&["length of 9", "alphanumeric", "a-z"])
        {
            self.short_ids = true;
        } else if let Some(tool) = refused_tool(words, request, body) {
            if tool.name == ANSWER_TOOL {
                self.ways_refused += 1;
                return;
            }
            let (name, schema) = (tool.name.clone(), hash_of(&tool.input_schema));
            self.add(Lesson::Tool { name, schema });
        } else if names("content")
            && any(&[
                "null",
                "none is not",
                "nil",
                "must be a string",
                "invalid type",
                "expected a string",
                "expected string",
                "should be a valid string",
            ])
        {
            self.no_null_content = true;
        }
    }

    /// The bound that the words name, where it is below what was asked for.
    fn smaller(&self, words: &str, body: &Value) -> Option<u32> {
        static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\d[\d,]*").ok());
        let asked = ["max_tokens", "max_completion_tokens"]
            .into_iter()
            .find_map(|key| body.get(key)?.as_u64())?;
        let numbers = NUMBER.as_ref()?.find_iter(words);
        let numbers =
            numbers.filter_map(|found| found.as_str().replace(',', "").parse::<u64>().ok());
        // Small ones are a status, a version, an index.
        let most = numbers.filter(|number| (600..asked).contains(number)).max()?;
        u32::try_from(most).ok()
    }

    /// The bound on an answer, within what the model can.
    pub(crate) fn bounded(&self, max_tokens: Option<u32>) -> Option<u32> {
        max_tokens.map(|tokens| tokens.min(self.answer_tokens_max.unwrap_or(u32::MAX)))
    }

    /// The provider has refused this tool as it is.
    pub(crate) fn refuses(&self, tool: &ToolInfo) -> bool {
        self.tools.get(&tool.name).is_some_and(|schema| *schema == hash_of(&tool.input_schema))
    }
}

impl Lesson {
    /// How long it is believed after it was learnt last.
    pub fn lasts(&self) -> Duration {
        match self {
            Self::ContextTokens { .. } => WINDOW_LASTS,
            Self::TokenBound { .. }
            | Self::AnswerTokensMax { .. }
            | Self::NoTemperature
            | Self::NoStream
            | Self::NoStreamOptions
            | Self::Reasoning { .. }
            | Self::ShortIds
            | Self::NoNullContent
            | Self::NoCacheKey
            | Self::NoResponseFormat
            | Self::NoSystemRole
            | Self::Tool { .. } => LESSON_LASTS,
        }
    }
}

/// For people.
impl fmt::Display for Lesson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokenBound { name: TokenBound::MaxCompletionTokens } => {
                "wants `max_completion_tokens` in place of `max_tokens`"
            }
            Self::TokenBound { name: TokenBound::MaxTokens } => {
                "wants `max_tokens` in place of `max_completion_tokens`"
            }
            Self::TokenBound { name: TokenBound::None } => {
                "takes no bound on the tokens of an answer"
            }
            Self::NoTemperature => "takes no `temperature`",
            Self::NoStream => "does not stream",
            Self::NoStreamOptions => "takes no `stream_options`",
            Self::Reasoning { echo: ReasoningEcho::Wanted } => {
                "wants its reasoning back with every turn"
            }
            Self::Reasoning { echo: ReasoningEcho::Refused } => "takes no reasoning back",
            Self::ShortIds => "takes only call ids of nine letters and digits",
            Self::NoNullContent => "takes no `content` that is null",
            Self::NoCacheKey => "takes no `prompt_cache_key`",
            Self::NoResponseFormat => "takes no schema of an answer",
            Self::NoSystemRole => "takes no role `system`",
            Self::AnswerTokensMax { tokens } => {
                return write!(f, "answers with at most {tokens} tokens");
            }
            Self::ContextTokens { tokens } => {
                return write!(f, "takes prompts of at most {tokens} tokens");
            }
            Self::Tool { name, .. } => return write!(f, "refuses the tool `{name}`"),
        })
    }
}

/// The window that a refusal names, in tokens, as servers are known to name it.
fn named_window(words: &str) -> Option<u64> {
    static NAMED: LazyLock<Vec<Regex>> = LazyLock::new(|| {
        let forms = [
            // OpenAI, DeepSeek, vLLM, SGLang, OpenRouter; xAI; LM Studio.
            r"(?i)(?:context|prompt|model) (?:length|window|limit|size) (?:is|of)(?: only)? (\d[\d,]*)",
            r"(?i)(\d[\d,]*)(?: tokens)? (?:maximum )?context (?:length|window)",
            // Anthropic: of the prompt alone, and together with the bound on the answer.
            r"> (\d[\d,]*)(?: maximum)?",
            // Gemini.
            r"(?i)tokens allowed \(?(\d[\d,]*)",
            // llama.cpp, in words and in a field.
            r"(?i)context size \((\d[\d,]*)",
            r"n_ctx` = (\d+)",
            // DashScope.
            r"\[1, ?(\d+)\]",
            // Moonshot.
            r"(?i)token limit: (\d[\d,]*)",
            // The tokens of a minute, of which a larger prompt would need more.
            r"(?i)limit:? (\d[\d,]*), requested",
        ];
        forms.iter().filter_map(|form| Regex::new(form).ok()).collect()
    });
    if words.to_lowercase().contains("characters") {
        return None;
    }
    let named = NAMED.iter().find_map(|form| form.captures(words)?.get(1));
    let tokens: u64 = named?.as_str().replace(',', "").parse().ok()?;
    WINDOW_TOKENS.contains(&tokens).then_some(tokens)
}

/// The one tool that a refusal speaks of: by its name, or by its place in the list that was sent.
fn refused_tool<'a>(words: &str, request: &'a ChatRequest, body: &Value) -> Option<&'a ToolInfo> {
    static PLACE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?:function_declarations|functionDeclarations|tools|functions)[\[.](\d+)").ok()
    });
    let sent = body.get("tools")?.as_array()?;
    let names: Vec<&str> = sent
        .iter()
        .filter_map(|tool| tool.pointer("/function/name").or_else(|| tool.get("name"))?.as_str())
        .collect();
    let is_word = |name: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        words.match_indices(name).any(|(at, _)| {
            let before = words.get(..at).and_then(|text| text.chars().next_back());
            let after = words.get(at + name.len()..).and_then(|text| text.chars().next());
            !before.is_some_and(inside) && !after.is_some_and(inside)
        })
    };
    let lower = words.to_lowercase();
    let any = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
    // What is wrong with a call, or with the conversation around it, is no fault of the tool.
    let speaks_of_calls =
        || any(&["messages", "tool_call", "tool call", "tool_use", "tool_result", "arguments"]);
    if !any(&["tool", "function", "schema", "parameters"])
        || speaks_of_calls() && !any(&["schema for function"])
    {
        return None;
    }
    let by_place = || {
        // Gemini puts all functions into one tool: the last number is the function's.
        let place: usize =
            PLACE.as_ref()?.captures_iter(words).last()?.get(1)?.as_str().parse().ok()?;
        names.get(place).copied()
    };
    let name = names.iter().copied().find(|name| is_word(name)).or_else(by_place)?;
    request.tools.iter().find(|tool| tool.name == name)
}

fn hash_of(schema: &Value) -> String {
    let digest = Sha256::digest(schema.to_string());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use protocol::tool::{Approval, Effect, ToolSource};
    use serde_json::json;

    use crate::chat::CacheHints;

    use super::*;

    fn request() -> ChatRequest {
        let tool = |name: &str| ToolInfo {
            name: name.into(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            effect: Effect::ReadOnly,
            approval: Approval::Never,
            source: ToolSource::Builtin,
        };
        ChatRequest {
            provider: "p".into(),
            model: "m".into(),
            system: String::new(),
            messages: Vec::new(),
            tools: vec![tool("read_file"), tool("read_file_2"), tool("srv__odd")].into(),
            temperature: Some(0.2),
            max_tokens: Some(5000),
            response_format: None,
            cache: CacheHints::default(),
        }
    }

    fn body() -> Value {
        let tools = request().tools;
        let tools =
            tools.iter().map(|tool| json!({"type": "function", "function": {"name": tool.name}}));
        json!({"messages": [{"role": "system", "content": "x"}],
               "max_tokens": 5000, "temperature": 0.2, "stream": true, "stream_options": {},
               "tools": tools.collect::<Vec<_>>()})
    }

    fn check(words: &str, expected: Expect) {
        let error = ModelError::BadRequest { status: 400, message: words.to_owned() };
        let mut lessons = Lessons::default();
        let learnt = lessons.learn(&error, &request(), &body());
        let said = learnt.as_ref().map_or("nothing".to_owned(), Lesson::to_string);
        expected.assert_eq(&said);
        let mut elsewhere = Lessons::default();
        for lesson in lessons.all() {
            let kept = serde_json::to_value(&lesson).unwrap();
            elsewhere.add(serde_json::from_value(kept).unwrap());
        }
        assert_eq!(elsewhere, lessons, "it can be kept: {words}");
        if learnt.is_some() && !words.contains("max_tokens") {
            assert_eq!(lessons.learn(&error, &request(), &body()), None, "once: {words}");
        }
    }

    #[test]
    fn refusals_teach() {
        check(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            expect!["wants `max_completion_tokens` in place of `max_tokens`"],
        );
        check(
            "max_tokens: 5000 > 4096, which is the maximum allowed number of output tokens for claude-3-haiku-20240307",
            expect!["answers with at most 4096 tokens"],
        );
        check(
            "max_tokens is too large: 5000. This model supports at most 4096 completion tokens",
            expect!["answers with at most 4096 tokens"],
        );
        check(
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
            expect!["takes no `temperature`"],
        );
        check(
            "`temperature` may only be set to 1 when thinking is enabled.",
            expect!["takes no `temperature`"],
        );
        check(
            "body.stream_options: Extra inputs are not permitted",
            expect!["takes no `stream_options`"],
        );
        check(
            "Your organization must be verified to stream this model.",
            expect!["does not stream"],
        );
        check(
            "Missing `reasoning_content` field in the assistant message at message index 2.",
            expect!["wants its reasoning back with every turn"],
        );
        check(
            "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
            expect!["wants its reasoning back with every turn"],
        );
        check(
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
            expect!["wants its reasoning back with every turn"],
        );
        check(
            "body.messages.2.assistant.reasoning_content: Extra inputs are not permitted",
            expect!["takes no reasoning back"],
        );
        check(
            "'messages.2' : property 'reasoning' is unsupported, did you mean 'role'?",
            expect!["takes no reasoning back"],
        );
        check(
            "Tool call id was call_0fypS1hVX but must be a-z, A-Z, 0-9, with a length of 9.",
            expect!["takes only call ids of nine letters and digits"],
        );
        check(
            "Invalid schema for function 'srv__odd': In context=(), object schema missing properties.",
            expect!["refuses the tool `srv__odd`"],
        );
        check(
            "* GenerateContentRequest.tools[0].function_declarations[2].parameters.properties[a].items: missing field.",
            expect!["refuses the tool `srv__odd`"],
        );
        check(
            "tools.1.custom.input_schema: JSON schema is invalid.",
            expect!["refuses the tool `read_file_2`"],
        );
        check(
            "Invalid type for 'messages[1].content': expected a string, but got null instead.",
            expect!["takes no `content` that is null"],
        );
        check(
            "invalid temperature: only 1 is allowed for this model",
            expect!["takes no `temperature`"],
        );
        for words in [
            "System role not supported",
            "Developer instruction is not enabled for models/gemma-3-27b-it",
            "Only user and assistant roles are supported!",
            "messages[0]: role 'system' is not allowed",
        ] {
            check(words, expect!["takes no role `system`"]);
        }
        check("The model `m` does not exist", expect!["nothing"]);
        check("no", expect!["nothing"]);
    }

    #[test]
    fn a_refused_prompt_teaches_the_window() {
        let check = |words: &str, expected: Option<u64>| {
            let error = ModelError::PromptTooLong { message: words.to_owned() };
            let mut lessons = Lessons::default();
            let learnt = lessons.learn(&error, &request(), &body());
            assert_eq!(learnt, expected.map(|tokens| Lesson::ContextTokens { tokens }), "{words}");
            assert_eq!(lessons.context_tokens, expected, "{words}");
        };
        for words in [
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8000 in the messages, 1000 in the completion).",
            "Requested token count exceeds the model's maximum context length of 8192 tokens.",
            "'max_tokens' is too large: 32768. This model's maximum context length is 8192 tokens and your request has 27 input tokens (32768 > 8192 - 27).",
            "This model's maximum prompt length is 8192 but the request contains 53781 tokens.",
            "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
            "Prompt contains 9000 tokens, too large for model with 8192 maximum context length",
            "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context length of only 8192 tokens",
            "prompt is too long: 9000 tokens > 8,192 maximum",
            "input length and `max_tokens` exceed context limit: 8000 + 2000 > 8192",
            "The input token count (9000) exceeds the maximum number of tokens allowed (8192).",
            "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
            "the request exceeds the available context size, try increasing it (`n_ctx` = 8192)",
            "Range of input length should be [1, 8192]",
            "Invalid request: Your request exceeded model token limit: 8192",
            "Request too large for model `m` on tokens per minute (TPM): Limit 8192, Requested 9000",
        ] {
            check(words, Some(8192));
        }
        check("the prompt leaves no room for an answer", None);
        check("the max input characters is 20000", None);
        check("This model's maximum context length is 8 tokens.", None);
    }

    /// Else a tenant could change for all others how a model is asked.
    #[test]
    fn what_is_wrong_with_one_request_teaches_nothing() {
        check("temperature: Input should be less than or equal to 1", expect!["nothing"]);
        check(
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2",
            expect!["nothing"],
        );
        check("temperature must be in range (0, 2]", expect!["nothing"]);
        check(
            "messages.3: `tool_use` ids were found without `tool_result`: read_file",
            expect!["nothing"],
        );
        check(
            "Invalid 'messages[2].tool_calls[0].function.arguments' of function read_file",
            expect!["nothing"],
        );
        check(
            "After the optional system message, conversation roles must alternate user/assistant",
            expect!["nothing"],
        );
        check("the arguments of tool call read_file are no JSON", expect!["nothing"]);
    }

    #[test]
    fn who_refuses_both_names_of_a_bound_gets_none() {
        let refused = |name: &str| ModelError::BadRequest {
            status: 400,
            message: format!("Unknown parameter: '{name}'"),
        };
        let mut lessons = Lessons::default();
        lessons.learn(&refused("max_tokens"), &request(), &json!({"max_tokens": 9})).unwrap();
        assert_eq!(lessons.token_bound, Some(TokenBound::MaxCompletionTokens));
        lessons
            .learn(
                &refused("max_completion_tokens"),
                &request(),
                &json!({"max_completion_tokens": 9}),
            )
            .unwrap();
        assert_eq!(lessons.token_bound, Some(TokenBound::MaxTokens));
        lessons.learn(&refused("max_tokens"), &request(), &json!({"max_tokens": 9})).unwrap();
        assert_eq!(lessons.token_bound, Some(TokenBound::None));
    }

    #[test]
    fn a_tool_is_left_out_until_its_schema_changes() {
        let error = ModelError::BadRequest {
            status: 400,
            message: "Invalid schema for function 'read_file'".into(),
        };
        let mut lessons = Lessons::default();
        lessons.learn(&error, &request(), &body()).unwrap();
        let mut tools = request().tools.to_vec();
        let left_out =
            |tools: &[ToolInfo]| tools.iter().filter(|tool| lessons.refuses(tool)).count();
        assert_eq!(left_out(&tools), 1);
        tools[0].input_schema = json!({"type": "object", "properties": {}});
        assert_eq!(left_out(&tools), 0);
    }
}
