//! The next step of a plan: which call to make, or, when all are made, what to say.
//!
//! Every item of the plan makes one call (a search one more, where it found a memory cut short), and
//! each call that the conversation already holds is ticked off, so it always ends.

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
        found::{CallOutcome, Problem, QuotedHit, quotable_hits},
        phrase::{PlanItem, pattern},
        plan::{language, plan},
        say,
    },
};

/// What the demo does now.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Call(RequestedCall),
    Say(String),
}

pub(super) fn next(request: &ChatRequest) -> Next {
    let asked = request.messages.iter().rposition(|m| matches!(m, Message::User { .. }));
    let (before, since) = request
        .messages
        .split_at_checked(asked.map_or(0, |at| at + 1))
        .unwrap_or((&[], &request.messages));
    let text = match before.last() {
        Some(Message::User { content }) => content.as_str(),
        Some(
            Message::System { .. }
            | Message::Note { .. }
            | Message::Summary { .. }
            | Message::Assistant { .. }
            | Message::Tool { .. },
        )
        | None => "",
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

fn first_call(
    item: &PlanItem,
    tools: &[ToolInfo],
    previous: Option<&str>,
) -> Result<RequestedCall, Problem> {
    let call = |tool: &'static str, args: Value| match offered(tools, tool) {
        Some(_) => Ok(RequestedCall { tool: tool.to_owned(), args }),
        None => Err(Problem::NoTool { tool }),
    };
    match item {
        PlanItem::Remember { fact } => {
            call("memory_write", json!({"type": layer_of(fact), "text": fact}))
        }
        PlanItem::Recall { query } => call("memory_search", json!({"query": query})),
        PlanItem::Read { path } => call("read_file", json!({"path": path})),
        PlanItem::Show { id } => call("memory_get", json!({"id": id})),
        PlanItem::Export => call("export_trace", json!({})),
        PlanItem::Call { tool, words } => {
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
        Message::System { .. }
        | Message::Note { .. }
        | Message::Summary { .. }
        | Message::User { .. }
        | Message::Tool { .. } => &[],
    })
}

fn outcome<'a>(call: &ToolCall, messages: &'a [Message]) -> CallOutcome<'a> {
    messages
        .iter()
        .find_map(|message| match message {
            Message::Tool { tool_call_id, content, is_error, .. } if *tool_call_id == call.id => {
                Some(CallOutcome { content, is_error: *is_error })
            }
            _ => None,
        })
        .unwrap_or(CallOutcome { content: "", is_error: true })
}

/// The best hit, when its snippet does not hold the whole memory.
fn cut_hit(item: &PlanItem, outcome: &CallOutcome<'_>) -> Option<QuotedHit> {
    if outcome.is_error || !matches!(item, PlanItem::Recall { .. }) {
        return None;
    }
    let best = quotable_hits(outcome.content).into_iter().next()?;
    let is_cut = best.snippet.ends_with('…') || best.snippet.ends_with("...");
    (is_cut && !best.id.is_empty()).then_some(best)
}
