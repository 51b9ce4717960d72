//! The next step of a plan: which call to make, or, when all are made, what to say.
//!
//! Every planned thing makes one call (a search one more, where it found a memory cut short), and
//! each call that the conversation already holds is ticked off: so it always comes to an end.

use std::sync::LazyLock;

use protocol::{
    message::{Message, ToolCall},
    tool::ToolInfo,
};
use regex::Regex;
use serde_json::{Value, json};

use crate::{
    chat::{ChatRequest, RequestedCall},
    demo::{
        arguments,
        phrase::{Item, pattern},
        plan::{language, plan},
        say,
    },
};

/// What the demo does now.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Calls a tool.
    Call(RequestedCall),
    /// Gives its answer.
    Say(String),
}

/// What came of a call.
pub(super) struct Outcome<'a> {
    pub(super) content: &'a str,
    pub(super) is_error: bool,
}

/// A memory that a search found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hit {
    pub(super) id: String,
    pub(super) snippet: String,
    score: f64,
    layer: String,
}

/// Most memories that an answer quotes.
const QUOTED_HITS_MAX: usize = 3;
/// Hits with less than this part of the best score are not quoted.
const QUOTED_SCORE_MIN: f64 = 0.5;

pub(super) fn next(request: &ChatRequest) -> Next {
    let asked = request.messages.iter().rposition(|m| matches!(m, Message::User { .. }));
    let (before, since) = request
        .messages
        .split_at_checked(asked.map_or(0, |at| at + 1))
        .unwrap_or((&[], &request.messages));
    let text = match before.last() {
        Some(Message::User { content }) => content.as_str(),
        Some(Message::Assistant { .. } | Message::Tool { .. }) | None => "",
    };
    let language = language(text);
    let items = plan(text, &request.tools);
    if items.is_empty() {
        return Next::Say(say::about_myself(language, &request.tools));
    }
    let mut made = calls(since).map(|call| outcome(call, since));
    let mut paragraphs = Vec::new();
    let mut previous: Option<&str> = None;
    for item in &items {
        let call = match first_call(item, &request.tools, previous) {
            Ok(call) => call,
            Err(problem) => {
                paragraphs.push(say::problem(language, &problem));
                continue;
            }
        };
        let Some(outcome) = made.next() else { return Next::Call(call) };
        let mut paragraph = say::outcome(language, item, &call, &outcome);
        if let Some(hit) = cut_hit(item, &outcome)
            && let Some(tool) = offered(&request.tools, "memory_get")
        {
            let Some(whole) = made.next() else {
                let args = json!({"id": hit.id});
                return Next::Call(RequestedCall { tool: tool.name.clone(), args });
            };
            paragraph = say::whole_memory(language, &hit, &whole);
        }
        paragraphs.push(paragraph);
        previous = Some(outcome.content).filter(|_| !outcome.is_error);
    }
    paragraphs.push(say::disclaimer(language).to_owned());
    Next::Say(paragraphs.join("\n\n"))
}

/// Why a thing cannot even be tried.
#[derive(Debug, PartialEq)]
pub(super) enum Problem {
    /// The tool is not offered.
    NoTool { tool: &'static str },
    /// The tool needs arguments that the user did not give.
    Missing { tool: String, arguments: Vec<String> },
}

fn first_call(
    item: &Item,
    tools: &[ToolInfo],
    previous: Option<&str>,
) -> Result<RequestedCall, Problem> {
    let call = |tool: &'static str, args: Value| match offered(tools, tool) {
        Some(_) => Ok(RequestedCall { tool: tool.to_owned(), args }),
        None => Err(Problem::NoTool { tool }),
    };
    match item {
        Item::Remember { fact } => {
            call("memory_write", json!({"type": layer_of(fact), "text": fact}))
        }
        Item::Recall { query } => call("memory_search", json!({"query": query})),
        Item::Read { path } => call("read_file", json!({"path": path})),
        Item::Show { id } => call("memory_get", json!({"id": id})),
        Item::Export => call("export_trace", json!({})),
        Item::Call { tool, words } => {
            let schema = offered(tools, tool).map_or(&Value::Null, |tool| &tool.input_schema);
            let text = previous.map(say::text_of);
            let args = arguments::fit(schema, words, text.as_deref())
                .map_err(|arguments| Problem::Missing { tool: tool.clone(), arguments })?;
            Ok(RequestedCall { tool: tool.clone(), args })
        }
    }
}

/// `core` for who the user is and for standing orders, `archival` for all else.
fn layer_of(fact: &str) -> &'static str {
    static CORE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?i)\bmy (?:full |first |last )?name\b|\bcall me\b|^i am\b|^i['’]m\b|\bi live in\b|\bi work (?:as|at|for)\b",
            r"|\balways\b|\bnever\b|\bfrom now on\b|\bevery time\b",
            r"|我叫|我是|我的名字|我姓|叫我|称呼我|我住在|总是|永远|始终|一律|务必|每次都|以后都"
        ))
    });
    if CORE.is_match(fact) { "core" } else { "archival" }
}

fn offered<'a>(tools: &'a [ToolInfo], name: &str) -> Option<&'a ToolInfo> {
    tools.iter().find(|tool| tool.name == name)
}

fn calls(messages: &[Message]) -> impl Iterator<Item = &ToolCall> {
    messages.iter().flat_map(|message| match message {
        Message::Assistant { tool_calls, .. } => tool_calls.as_slice(),
        Message::User { .. } | Message::Tool { .. } => &[],
    })
}

fn outcome<'a>(call: &ToolCall, messages: &'a [Message]) -> Outcome<'a> {
    messages
        .iter()
        .find_map(|message| match message {
            Message::Tool { tool_call_id, content, is_error, .. } if *tool_call_id == call.id => {
                Some(Outcome { content, is_error: *is_error })
            }
            _ => None,
        })
        .unwrap_or(Outcome { content: "", is_error: true })
}

/// The hits of a search that are worth quoting, best first: facts before what merely happened.
pub(super) fn quotable_hits(content: &str) -> Vec<Hit> {
    let value: Value = serde_json::from_str(content).unwrap_or_default();
    let list = value.as_array().or_else(|| value.as_object()?.values().find_map(Value::as_array));
    let text =
        |hit: &Value, key: &str| hit.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut hits: Vec<Hit> = list
        .into_iter()
        .flatten()
        .map(|hit| Hit {
            id: text(hit, "id"),
            snippet: text(hit, "snippet").trim().to_owned(),
            score: hit.get("score").and_then(Value::as_f64).unwrap_or(0.0),
            layer: text(hit, "type"),
        })
        .filter(|hit| !hit.snippet.is_empty())
        .collect();
    if hits.iter().any(|hit| hit.layer != "episodic") {
        hits.retain(|hit| hit.layer != "episodic");
    }
    let best = hits.iter().map(|hit| hit.score).fold(0.0, f64::max);
    hits.retain(|hit| hit.score >= best * QUOTED_SCORE_MIN);
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits.truncate(QUOTED_HITS_MAX);
    hits
}

/// The best hit, when its snippet does not hold the whole memory.
fn cut_hit(item: &Item, outcome: &Outcome<'_>) -> Option<Hit> {
    if outcome.is_error || !matches!(item, Item::Recall { .. }) {
        return None;
    }
    let best = quotable_hits(outcome.content).into_iter().next()?;
    let is_cut = best.snippet.ends_with('…') || best.snippet.ends_with("...");
    (is_cut && !best.id.is_empty()).then_some(best)
}
