//! An answer while it arrives, with every part bounded, and the one rule for what counts as an answer.
//!
//! It is the same for every wire format: text, calls and a reason to stop come in; a complete answer,
//! a cut one, or an error goes out.

use protocol::{
    json::joined,
    message::{FinishReason, Usage},
};
use serde_json::{Map, Value};

use crate::{
    chat::{AnswerCut, CutBy, RequestedCall},
    error::{ModelError, PROVIDER_MESSAGE_MAX_CHARS, cut as shortened},
    json,
    limits::{
        CALL_ARGS_MAX_BYTES, CALL_NAME_MAX_BYTES, CALLS_MAX, REASONING_MAX_BYTES, TEXT_MAX_BYTES,
        check,
    },
};

/// What one event of a stream adds.
#[derive(Debug, PartialEq)]
pub(crate) enum Increment {
    Text(String),
    /// A part of a tool call or of the reasoning.
    Part,
    /// No part of the answer itself, such as a sign of life.
    Nothing,
    /// The end marker: the answer is complete.
    End,
}

/// Why a provider stopped, by its own word for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It was finished. Servers say so of calls as well.
    Done,
    /// It wants tools called.
    Calls,
    /// It reached a limit on tokens.
    Length,
    /// The prompt and the answer fill its context.
    ContextFull,
    /// It withheld the rest; the words say why, where it does.
    Filtered(String),
    /// Something went wrong on its side.
    Failed(String),
}

/// What some servers leave the model's reasoning in, in front of its words.
const THOUGHT: (&str, &str) = ("<think>", "</think>");

/// Where in its words a model is.
#[derive(Debug)]
pub(crate) enum Speech {
    /// What came may be the beginning of a thought.
    Begin(String),
    /// Inside of a thought; what came last may be the beginning of its end.
    Thinking(String),
    /// Behind a thought, and before any word.
    Between,
    Speaking,
}

impl Default for Speech {
    fn default() -> Self {
        Self::Begin(String::new())
    }
}

impl Speech {
    /// Goes on by a text; gives the words and the thoughts that are certain now.
    fn go_on(&mut self, more: &str) -> (String, String) {
        let (open, close) = THOUGHT;
        match self {
            Self::Begin(held) => {
                held.push_str(more);
                let begun = held.trim_start();
                if let Some(thought) = begun.strip_prefix(open) {
                    let thought = thought.to_owned();
                    *self = Self::Thinking(String::new());
                    return self.go_on(&thought);
                }
                if open.starts_with(begun) {
                    return Default::default();
                }
                let words = std::mem::take(held);
                *self = Self::Speaking;
                (words, String::new())
            }
            Self::Thinking(held) => {
                held.push_str(more);
                if let Some((thought, words)) = held.split_once(close) {
                    let (thought, words) = (thought.to_owned(), words.to_owned());
                    *self = Self::Between;
                    return (self.go_on(&words).0, thought);
                }
                // What may be the beginning of the end is kept back.
                let begun = (1..close.len())
                    .rev()
                    .find(|length| close.get(..*length).is_some_and(|begun| held.ends_with(begun)));
                let certain = held.len() - begun.unwrap_or(0);
                let thought = held.drain(..certain).collect();
                (String::new(), thought)
            }
            Self::Between => {
                let words = more.trim_start();
                if !words.is_empty() {
                    *self = Self::Speaking;
                }
                (words.to_owned(), String::new())
            }
            Self::Speaking => (more.to_owned(), String::new()),
        }
    }
}

/// The answer so far.
#[derive(Debug, Default)]
pub(crate) struct PartialAnswer {
    pub(crate) text: String,
    pub(crate) speech: Speech,
    /// The first half of a character whose second half has not come.
    pub(crate) half: Option<char>,
    pub(crate) calls: Vec<PartialCall>,
    /// Reasoning, for an estimate of its tokens only.
    pub(crate) reasoning: String,
    /// Words by which the model itself declines, apart from its text.
    pub(crate) refusal: String,
    /// The provider's reason to stop; without it the answer has broken off.
    pub(crate) stopped: Option<Stopped>,
    pub(crate) usage: Counted,
    /// The form of content that came and is not read.
    pub(crate) unread: Option<String>,
    /// A picture, a sound or the like beside words or calls, which is not kept.
    pub(crate) left_out: Option<String>,
    /// Opaque blocks for [`protocol::message::Replay`].
    pub(crate) replay: Option<Value>,
}

/// A tool call that may still grow.
#[derive(Debug, Default, Clone)]
pub(crate) struct PartialCall {
    pub(crate) tool: String,
    /// The JSON received so far.
    pub(crate) args: String,
}

/// Most tokens that a figure of usage may name; more is no count but a fault, such as a negative
/// figure that was wrapped. Ten times the longest context of a model that is offered: 10 million
/// tokens ([Llama 4 Scout](https://ai.meta.com/blog/llama-4-multimodal-intelligence/)).
const TOKENS_COUNTABLE_MAX: u64 = 100_000_000;

/// A figure of usage; `None` for what cannot be a count of tokens.
pub(crate) fn tokens(figure: &Value) -> Option<u64> {
    let whole = figure.as_u64().or_else(|| {
        // Some count in floats; a negative one is no count.
        let float = figure.as_f64().filter(|float| *float >= 0.0)?;
        Some(float as u64)
    });
    whole.filter(|tokens| *tokens <= TOKENS_COUNTABLE_MAX)
}

/// What a provider counted. Figures are cumulative, so that the largest of each is the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Tokens of the prompt, cached ones included.
    pub(crate) input: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub(crate) output: Option<u64>,
    pub(crate) cached: Option<u64>,
    pub(crate) reasoning: Option<u64>,
}

/// A whole answer, or one that was cut.
#[derive(Debug, PartialEq)]
pub(crate) struct JudgedAnswer {
    pub(crate) content: String,
    /// Those to make: none of an answer that was cut, unless by [`CutBy::LeftOut`].
    pub(crate) calls: Vec<RequestedCall>,
    pub(crate) finish_reason: FinishReason,
    pub(crate) cut: Option<AnswerCut>,
}

/// What the rule depends on besides the answer itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Circumstances {
    /// The bound on tokens that was asked for.
    pub(crate) max_tokens: Option<u32>,
    /// This provider may end its turn without text when the results of tools need no comment.
    pub(crate) may_say_nothing: bool,
}

impl PartialAnswer {
    /// Appends text and gives it back as it was kept: U+0000, which no database text can hold,
    /// is replaced.
    pub(crate) fn push_text(&mut self, text: String) -> Result<Increment, ModelError> {
        if text.is_empty() {
            return Ok(Increment::Nothing);
        }
        check("TEXT_MAX_BYTES", self.text.len() + text.len(), TEXT_MAX_BYTES)?;
        let text = joined(&mut self.half, text);
        let text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
        let (words, thought) = self.speech.go_on(&text);
        if !thought.is_empty() {
            self.push_reasoning(&thought)?;
        }
        if words.is_empty() {
            return Ok(if thought.is_empty() { Increment::Nothing } else { Increment::Part });
        }
        self.text.push_str(&words);
        Ok(Increment::Text(words))
    }

    /// The text has ended: what was kept back of it, if it is words.
    pub(crate) fn end_text(&mut self) -> Result<Option<String>, ModelError> {
        match std::mem::replace(&mut self.speech, Speech::Speaking) {
            Speech::Begin(words) if !words.is_empty() => {
                self.text.push_str(&words);
                Ok(Some(words))
            }
            Speech::Thinking(thought) => self.push_reasoning(&thought).map(|()| None),
            Speech::Begin(_) | Speech::Between | Speech::Speaking => Ok(None),
        }
    }

    /// Begins a tool call and gives its place.
    pub(crate) fn open_call(&mut self) -> Result<usize, ModelError> {
        check("CALLS_MAX", self.calls.len() + 1, CALLS_MAX)?;
        self.calls.push(PartialCall::default());
        Ok(self.calls.len() - 1)
    }

    /// Appends to the call at a place that `open_call` gave.
    pub(crate) fn extend_call(
        &mut self,
        place: usize,
        name: &str,
        args: &str,
    ) -> Result<(), ModelError> {
        let Some(call) = self.calls.get_mut(place) else { return Ok(()) };
        check("CALL_NAME_MAX_BYTES", call.tool.len() + name.len(), CALL_NAME_MAX_BYTES)?;
        check("CALL_ARGS_MAX_BYTES", call.args.len() + args.len(), CALL_ARGS_MAX_BYTES)?;
        call.tool.push_str(name);
        call.args.push_str(args);
        Ok(())
    }

    /// Appends to reasoning that is kept.
    pub(crate) fn push_reasoning(&mut self, more: &str) -> Result<(), ModelError> {
        extend_reasoning(&mut self.reasoning, more)
    }

    /// The rule: what this answer counts as once it has ended.
    pub(crate) fn judged(self, around: Circumstances) -> Result<JudgedAnswer, ModelError> {
        let stopped = self.stopped.ok_or(ModelError::Truncated)?;
        let says = spoken(&self.text).chars().any(is_visible);
        let calls = !self.calls.is_empty();
        let is_done = matches!(stopped, Stopped::Done | Stopped::Calls);
        if is_done && !self.refusal.trim().is_empty() {
            return Err(ModelError::Refused { message: refusal_words(&self.refusal, &self.text) });
        }
        if is_done && !calls && is_call_in_text(spoken(&self.text)) {
            let message = "it writes a tool call as text, `<tool_call>`: its server does not parse \
                           the model's tool calls";
            return Err(ModelError::protocol(message));
        }
        let cut = match stopped {
            Stopped::Calls if !calls => {
                return Err(ModelError::protocol("it ends to call tools, and calls none"));
            }
            Stopped::Failed(message) => {
                return Err(ModelError::Unavailable { status: None, retry_after: None, message });
            }
            Stopped::Filtered(message) if !says && !calls => {
                return Err(ModelError::Refused { message });
            }
            Stopped::Filtered(words) => Some(CutBy::ContentFilter { words }),
            Stopped::Length if !says && !calls => {
                return Err(ModelError::Empty { cut_at: Some(around.max_tokens) });
            }
            Stopped::ContextFull if !says && !calls => {
                let message = "the prompt leaves no room for an answer".to_owned();
                return Err(ModelError::PromptTooLong { message });
            }
            Stopped::ContextFull => Some(CutBy::Length { max_tokens: None }),
            Stopped::Length => Some(CutBy::Length { max_tokens: around.max_tokens }),
            Stopped::Done | Stopped::Calls if self.calls.iter().any(PartialCall::breaks_off) => {
                Some(CutBy::BrokenOff)
            }
            Stopped::Done | Stopped::Calls if (says || calls) && self.left_out.is_some() => {
                self.left_out.map(|what| CutBy::LeftOut { what })
            }
            Stopped::Done | Stopped::Calls if says || calls => None,
            Stopped::Done | Stopped::Calls if self.unread.is_some() => {
                let form = self.unread.unwrap_or_default();
                return Err(ModelError::protocol(format!("its content is {form}, not text")));
            }
            Stopped::Done | Stopped::Calls if around.may_say_nothing => None,
            Stopped::Done | Stopped::Calls => return Err(ModelError::Empty { cut_at: None }),
        };
        let finish_reason = match &cut {
            None | Some(CutBy::LeftOut { .. }) if calls => FinishReason::ToolCalls,
            None | Some(CutBy::LeftOut { .. }) => FinishReason::Stop,
            Some(CutBy::ContentFilter { .. }) => FinishReason::ContentFilter,
            Some(CutBy::Length { .. } | CutBy::BrokenOff) => FinishReason::Length,
        };
        let content = if says { self.text } else { String::new() };
        let (requested, unmade) = match &cut {
            // The calls themselves are whole.
            None | Some(CutBy::LeftOut { .. }) => (self.calls, Vec::new()),
            Some(CutBy::ContentFilter { .. } | CutBy::Length { .. } | CutBy::BrokenOff) => {
                (Vec::new(), self.calls)
            }
        };
        let calls = requested.into_iter().map(PartialCall::into_requested).collect();
        let unmade = unmade.into_iter().map(|call| call.tool).collect();
        let cut = cut.map(|by| AnswerCut { by, calls: unmade });
        Ok(JudgedAnswer { content, calls, finish_reason, cut })
    }
}

impl PartialCall {
    /// The arguments as the agent gets them.
    fn into_requested(self) -> RequestedCall {
        let said = joined(&mut None, self.args);
        let args = match unfenced(&said) {
            "" | "null" => Value::Object(Map::new()), // A tool without arguments.
            text => match json::parse::<Value>(text) {
                Ok(args @ Value::Object(_)) => args,
                // An empty object, as PHP writes it.
                Ok(Value::Array(items)) if items.is_empty() => Value::Object(Map::new()),
                // Some models put their JSON into a string once more.
                Ok(Value::String(inner)) => match json::parse::<Value>(&inner) {
                    Ok(args @ Value::Object(_)) => args,
                    Ok(_) | Err(_) => Value::String(said),
                },
                Ok(_) | Err(_) => Value::String(said),
            },
        };
        RequestedCall { tool: self.tool, args }
    }

    /// The arguments are whole: nothing can follow.
    pub(crate) fn is_whole(&self) -> bool {
        let args = self.args.trim();
        args == "null" || args.starts_with('{') && json::parse::<Value>(args).is_ok()
    }

    /// The arguments are absent or empty: some servers send such a placeholder before the real ones.
    pub(crate) fn is_bare(&self) -> bool {
        is_bare(&self.args)
    }

    /// The arguments end in the midst of an object.
    pub(crate) fn breaks_off(&self) -> bool {
        let args = self.args.trim();
        args.starts_with('{') && json::parse::<Value>(args).is_err_and(|error| error.is_eof())
    }
}

impl Counted {
    /// Takes newer figures in.
    pub(crate) fn update(&mut self, newer: Counted) {
        self.input = self.input.max(newer.input);
        self.output = self.output.max(newer.output);
        self.cached = self.cached.max(newer.cached);
        self.reasoning = self.reasoning.max(newer.reasoning);
    }

    /// The usage; what was not counted is as estimated.
    pub(crate) fn or_estimated(self, estimate: Usage) -> Usage {
        let counts = |figure: Option<u64>| figure.filter(|tokens| *tokens > 0);
        let input = counts(self.input).unwrap_or(estimate.input_tokens);
        let (output, reasoning) = match counts(self.output) {
            Some(output) => (output, self.reasoning.unwrap_or(0).min(output)),
            None => (estimate.output_tokens, estimate.reasoning_tokens),
        };
        Usage {
            reasoning_tokens: reasoning,
            ..Usage::new(input, output, self.cached.unwrap_or(0).min(input))
        }
    }
}

/// Arguments that say nothing.
pub(crate) fn is_bare(args: &str) -> bool {
    matches!(args.trim(), "" | "null" | "{}")
}

/// Arguments without the Markdown around them that some models write.
fn unfenced(args: &str) -> &str {
    let args = args.trim();
    let inner = args.strip_prefix("```").and_then(|args| args.strip_suffix("```"));
    inner.map_or(args, |inner| inner.strip_prefix("json").unwrap_or(inner).trim())
}

/// The text for the user: some servers leave the model's reasoning in front of it.
fn spoken(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix("<think>") {
        Some(thought) => thought.split_once("</think>").map_or("", |(_, spoken)| spoken.trim()),
        None => text,
    }
}

/// Neither white space nor a sign without width, such as a byte order mark.
fn is_visible(c: char) -> bool {
    !c.is_whitespace()
        && !c.is_control()
        && !matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The text is nothing but calls in the model's own markup, whether closed or not.
fn is_call_in_text(text: &str) -> bool {
    const CLOSED: &str = "</tool_call>";
    let is_call =
        text.strip_prefix("<tool_call>").is_some_and(|call| call.trim_start().starts_with('{'));
    is_call && (text.ends_with(CLOSED) || !text.contains(CLOSED))
}

/// What the model declines with, and what it had said before.
fn refusal_words(refusal: &str, text: &str) -> String {
    let words = match spoken(text) {
        "" => refusal.trim().to_owned(),
        said => format!("{}; before that it said: {said}", refusal.trim()),
    };
    shortened(&words, PROVIDER_MESSAGE_MAX_CHARS)
}

/// Appends to reasoning that is kept for replay.
pub(crate) fn extend_reasoning(kept: &mut String, more: &str) -> Result<(), ModelError> {
    check("REASONING_MAX_BYTES", kept.len() + more.len(), REASONING_MAX_BYTES)?;
    kept.push_str(more);
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn answer(text: &str, calls: &[(&str, &str)], stopped: Option<Stopped>) -> PartialAnswer {
        let calls = calls
            .iter()
            .map(|(tool, args)| PartialCall { tool: (*tool).to_owned(), args: (*args).to_owned() });
        PartialAnswer {
            text: text.to_owned(),
            calls: calls.collect(),
            stopped,
            ..PartialAnswer::default()
        }
    }

    fn check_in(around: Circumstances, answer: PartialAnswer, expected: Expect) {
        let told = match answer.judged(around) {
            Err(error) => format!("error: {error}"),
            Ok(JudgedAnswer { content, calls, finish_reason, cut }) => {
                let calls: Vec<_> =
                    calls.iter().map(|call| format!("{} {}", call.tool, call.args)).collect();
                let cut = cut.map(|cut| format!("; {cut}")).unwrap_or_default();
                format!("{content:?} {calls:?} {finish_reason:?}{cut}")
            }
        };
        expected.assert_eq(&told);
    }

    fn check(text: &str, calls: &[(&str, &str)], stopped: Option<Stopped>, expected: Expect) {
        let around = Circumstances { max_tokens: Some(50), may_say_nothing: false };
        check_in(around, answer(text, calls, stopped), expected);
    }

    #[test]
    fn the_rule() {
        let done = || Some(Stopped::Done);
        let length = || Some(Stopped::Length);
        let filtered = || Some(Stopped::Filtered("violence".into()));
        let call = [("t", "{\"a\":1}")];
        let begun = [("t", "{\"a\":\"b")];
        let named = [("t", "")];
        // Whole.
        check("Hi.", &[], done(), expect![[r#""Hi." [] Stop"#]]);
        check("", &call, done(), expect![[r#""" ["t {\"a\":1}"] ToolCalls"#]]);
        check("Hi.", &call, done(), expect![[r#""Hi." ["t {\"a\":1}"] ToolCalls"#]]);
        check(" ", &call, done(), expect![[r#""" ["t {\"a\":1}"] ToolCalls"#]]);
        check("", &named, done(), expect![[r#""" ["t {}"] ToolCalls"#]]);
        check("", &[("t", "null")], done(), expect![[r#""" ["t {}"] ToolCalls"#]]);
        check("", &[("t", "[1]")], done(), expect![[r#""" ["t \"[1]\""] ToolCalls"#]]);
        // Cut: no call of it is made.
        check(
            "Hi, wai",
            &[],
            length(),
            expect![[r#""Hi, wai" [] Length; the answer was cut at `max_tokens` = 50"#]],
        );
        check(
            "Hi.",
            &call,
            length(),
            expect![[
                r#""Hi." [] Length; the answer was cut at `max_tokens` = 50; its call of `t` was not made"#
            ]],
        );
        check(
            "",
            &named,
            length(),
            expect![[
                r#""" [] Length; the answer was cut at `max_tokens` = 50; its call of `t` was not made"#
            ]],
        );
        check(
            "",
            &begun,
            length(),
            expect![[
                r#""" [] Length; the answer was cut at `max_tokens` = 50; its call of `t` was not made"#
            ]],
        );
        check(
            "",
            &begun,
            done(),
            expect![[
                r#""" [] Length; the answer ends in the middle of a tool call; its call of `t` was not made"#
            ]],
        );
        check(
            "Hi",
            &[],
            filtered(),
            expect![[
                r#""Hi" [] ContentFilter; the provider's content filter withheld the rest of the answer: violence"#
            ]],
        );
        check(
            "",
            &call,
            filtered(),
            expect![[
                r#""" [] ContentFilter; the provider's content filter withheld the rest of the answer: violence; its call of `t` was not made"#
            ]],
        );
        check("", &[("t", "[]")], done(), expect![[r#""" ["t {}"] ToolCalls"#]]);
        check("", &[("t", r#""{\"a\":1}""#)], done(), expect![[r#""" ["t {\"a\":1}"] ToolCalls"#]]);
        // Empty.
        check(
            "<think>Hm.</think>\n",
            &[],
            done(),
            expect!["error: the model ended its answer without saying anything"],
        );
        check(
            "",
            &[],
            done(),
            expect!["error: the model ended its answer without saying anything"],
        );
        check(
            " \n",
            &[],
            done(),
            expect!["error: the model ended its answer without saying anything"],
        );
        check(
            "",
            &[],
            length(),
            expect![
                "error: the model's answer was cut at `max_tokens` = 50 before it said anything: raise `max_tokens`"
            ],
        );
        check(
            "\u{feff}\u{200b}\u{1}",
            &[],
            done(),
            expect!["error: the model ended its answer without saying anything"],
        );
        // Said to call, and does not.
        for text in ["", "I look."] {
            check(
                text,
                &[],
                Some(Stopped::Calls),
                expect![
                    "error: the provider's answer does not follow the wire format: it ends to call tools, and calls none"
                ],
            );
        }
        check("", &call, Some(Stopped::Calls), expect![[r#""" ["t {\"a\":1}"] ToolCalls"#]]);
        for text in [
            "<tool_call>{\"name\":\"t\"}</tool_call>",
            "<think>x</think><tool_call>\n{\"name\":\"t\"}",
        ] {
            check(
                text,
                &[],
                done(),
                expect![
                    "error: the provider's answer does not follow the wire format: it writes a tool call as text, `<tool_call>`: its server does not parse the model's tool calls"
                ],
            );
        }
        check(
            "A `<tool_call>{}</tool_call>`.",
            &[],
            done(),
            expect![[r#""A `<tool_call>{}</tool_call>`." [] Stop"#]],
        );
        // Full.
        let full = || Some(Stopped::ContextFull);
        check(
            "Hi",
            &[],
            full(),
            expect![[r#""Hi" [] Length; the answer was cut at the model's own limit on tokens"#]],
        );
        check(
            "",
            &[],
            full(),
            expect![
                "error: the prompt is too long for the model (`context_tokens` of the agent): the prompt leaves no room for an answer"
            ],
        );
        let drawn = PartialAnswer { unread: Some("an object".into()), ..answer("", &[], done()) };
        check_in(
            Circumstances::default(),
            drawn,
            expect![
                "error: the provider's answer does not follow the wire format: its content is an object, not text"
            ],
        );
        // Refused.
        check("", &[], filtered(), expect!["error: the provider refused to answer: violence"]);
        // Failed.
        check("Hi.", &call, None, expect!["error: the answer broke off before its end"]);
        check(
            "Hi.",
            &[],
            Some(Stopped::Failed("no machine".into())),
            expect!["error: the provider is unavailable: no machine"],
        );
        // Nothing to add to what the tools said, from a provider that means it.
        let around = Circumstances { may_say_nothing: true, ..Circumstances::default() };
        check_in(around, answer("", &[], done()), expect![[r#""" [] Stop"#]]);
        check_in(
            around,
            answer("", &[], length()),
            expect!["error: the model's answer was cut before it said anything"],
        );
        let declined = PartialAnswer { refusal: "I will not.".into(), ..answer("", &[], done()) };
        check_in(
            Circumstances::default(),
            declined,
            expect!["error: the provider refused to answer: I will not."],
        );
        let declined =
            PartialAnswer { refusal: "I will not.".into(), ..answer("Well.", &[], done()) };
        check_in(
            Circumstances::default(),
            declined,
            expect![
                "error: the provider refused to answer: I will not.; before that it said: Well."
            ],
        );
    }

    #[test]
    fn counted_figures_only_grow_and_gaps_are_estimated() {
        let estimate = Usage { reasoning_tokens: 3, ..Usage::new(10, 7, 0) };
        let mut counted = Counted::default();
        assert_eq!(counted.or_estimated(estimate), estimate);
        counted.update(Counted { input: Some(15), ..Counted::default() });
        counted.update(Counted { input: Some(0), output: Some(0), ..Counted::default() });
        let usage = counted.or_estimated(estimate);
        assert_eq!(usage, Usage { reasoning_tokens: 3, ..Usage::new(15, 7, 0) });
        let all = Counted {
            output: Some(20),
            cached: Some(99),
            reasoning: Some(12),
            ..Counted::default()
        };
        counted.update(all);
        let usage = counted.or_estimated(estimate);
        assert_eq!(usage, Usage { reasoning_tokens: 12, ..Usage::new(15, 20, 15) });
    }
}
