//! The demo's sentences, in the user's language. Nothing is decided here.

use protocol::tool::ToolInfo;
use serde_json::Value;

use crate::{
    chat::RequestedCall,
    demo::{
        found::{CallOutcome, Problem, QuotedHit, quotable_hits},
        phrase::PlanItem,
        plan::Language,
    },
    error::cut,
};

/// Most characters of a tool's answer that are repeated.
const REPEATED_MAX_CHARS: usize = 600;
/// Most lines of a file that are repeated.
const REPEATED_MAX_LINES: usize = 8;

pub(super) const fn disclaimer(language: Language) -> &'static str {
    match language {
        Language::Chinese => "（我是演示模型，不是语言模型。）",
        Language::English => "(I am the demo model, not a language model.)",
    }
}

/// How the demo begins when it speaks of itself.
pub(super) const fn introduction(language: Language) -> &'static str {
    match language {
        Language::Chinese => "你好！我是演示模型，不是语言模型",
        Language::English => "Hello! I am the demo model, not a language model",
    }
}

/// What the demo is and can do with the tools that it is offered.
pub(super) fn about_myself(language: Language, tools: &[ToolInfo]) -> String {
    let has = |name: &str| tools.iter().any(|tool| tool.name == name);
    let abilities = [
        (
            "memory_write",
            "记住一件事，例如“记住我喜欢绿茶”",
            "remember something: “remember that I like green tea”",
        ),
        (
            "memory_search",
            "在记忆里找答案，例如“我喜欢什么茶？”",
            "look it up in memory: “what tea do I like?”",
        ),
        ("read_file", "读一个文件，例如“读一下 notes.md”", "read a file: “read the file notes.md”"),
        ("export_trace", "导出本次运行的轨迹", "export the trace of this run"),
    ];
    let others: Vec<String> = tools
        .iter()
        .filter(|tool| tool.name.contains("__"))
        .map(|tool| format!("`{}`", tool.name))
        .collect();
    let mut lines: Vec<String> = abilities
        .iter()
        .filter(|(tool, ..)| has(tool))
        .map(|(_, chinese, english)| match language {
            Language::Chinese => format!("- {chinese}"),
            Language::English => format!("- {english}"),
        })
        .collect();
    if !others.is_empty() {
        lines.push(match language {
            Language::Chinese => format!("- 调用你点名的工具：{}", others.join("、")),
            Language::English => format!("- call a tool that you name: {}", others.join(", ")),
        });
    }
    let (lines, begins) = (lines.join("\n"), introduction(language));
    match (language, lines.is_empty()) {
        (Language::Chinese, true) => format!("{begins}；这次也没有可用的工具。"),
        (Language::English, true) => format!("{begins}; and I have no tools here."),
        (Language::Chinese, false) => {
            format!("{begins}，不会闲聊，但会真的使用工具。我可以：\n{lines}")
        }
        (Language::English, false) => {
            format!("{begins}. I cannot chat, but I really use the tools. I can:\n{lines}")
        }
    }
}

pub(super) fn problem(language: Language, problem: &Problem) -> String {
    match (language, problem) {
        (Language::Chinese, Problem::NoTool { tool }) => {
            format!("这件事需要工具 `{tool}`，但这次没有提供。")
        }
        (Language::English, Problem::NoTool { tool }) => {
            format!("That needs the tool `{tool}`, which I am not offered here.")
        }
        (Language::Chinese, Problem::Missing { tool, arguments }) => {
            format!("工具 `{tool}` 还缺少参数 {}。请用引号或 JSON 给出。", listed(arguments, "、"))
        }
        (Language::English, Problem::Missing { tool, arguments }) => format!(
            "The tool `{tool}` still needs {}. Please give it in quotes or as JSON.",
            listed(arguments, ", ")
        ),
    }
}

/// What came of a thing that was done.
pub(super) fn outcome(
    language: Language,
    item: &PlanItem,
    call: &RequestedCall,
    outcome: &CallOutcome<'_>,
) -> String {
    if outcome.is_error {
        let words = match outcome.content.trim() {
            "" => "?".to_owned(),
            text => cut(text, REPEATED_MAX_CHARS),
        };
        return match language {
            Language::Chinese => format!("没有成功：工具 `{}` 报告了错误：{words}", call.tool),
            Language::English => {
                format!("That did not work: the tool `{}` reports: {words}", call.tool)
            }
        };
    }
    match item {
        PlanItem::Remember { fact } => match language {
            Language::Chinese => format!("好的，我记住了：“{fact}”。"),
            Language::English => format!("Noted. I will remember: “{fact}”."),
        },
        PlanItem::Recall { .. } => recalled(language, outcome.content),
        PlanItem::Read { path } => read(language, path, &text_of(outcome.content)),
        PlanItem::Show { id } => {
            let text = cut(&text_of(outcome.content), REPEATED_MAX_CHARS);
            match language {
                Language::Chinese => format!("记忆 `{id}` 的内容：“{text}”"),
                Language::English => format!("The memory `{id}` says: “{text}”"),
            }
        }
        PlanItem::Export => {
            let (lines, chars) = size(outcome.content);
            match language {
                Language::Chinese => format!("轨迹已导出：{lines} 行，{chars} 个字符。"),
                Language::English => {
                    format!("The trace is exported: {}, {chars} characters.", line_count(lines))
                }
            }
        }
        PlanItem::Call { tool, .. } => {
            let result = readable(outcome.content);
            match language {
                Language::Chinese => format!("工具 `{tool}` 的结果：{result}"),
                Language::English => format!("The tool `{tool}` answers: {result}"),
            }
        }
    }
}

/// A memory whose whole text was fetched.
pub(super) fn whole_memory(language: Language, hit: &QuotedHit, whole: &CallOutcome<'_>) -> String {
    let text = if whole.is_error { hit.snippet.clone() } else { text_of(whole.content) };
    let text = cut(text.trim(), REPEATED_MAX_CHARS);
    match language {
        Language::Chinese => format!("我在记忆里找到：“{text}”"),
        Language::English => format!("I found this in memory: “{text}”"),
    }
}

/// The text in a tool's answer: of JSON, its `content` or `text`.
pub(super) fn text_of(content: &str) -> String {
    let value = serde_json::from_str::<Value>(content).ok();
    let text = value.as_ref().and_then(|value| match value {
        Value::Object(fields) => {
            ["content", "text"].into_iter().find_map(|key| fields.get(key)?.as_str())
        }
        Value::String(text) => Some(text),
        _ => None,
    });
    text.unwrap_or(content).to_owned()
}

fn recalled(language: Language, content: &str) -> String {
    let hits = quotable_hits(content);
    let quotes: Vec<String> = hits.iter().map(|hit| format!("“{}”", hit.snippet)).collect();
    match (language, quotes.as_slice()) {
        (Language::Chinese, []) => "我在记忆里没有找到相关的内容。".into(),
        (Language::English, []) => "I found nothing about that in memory.".into(),
        (Language::Chinese, [one]) => format!("我在记忆里找到：{one}"),
        (Language::English, [one]) => format!("I found this in memory: {one}"),
        (Language::Chinese, more) => format!("我在记忆里找到：\n- {}", more.join("\n- ")),
        (Language::English, more) => format!("I found this in memory:\n- {}", more.join("\n- ")),
    }
}

fn read(language: Language, path: &str, text: &str) -> String {
    let (lines, chars) = size(text);
    let beginning: Vec<&str> = text.lines().take(REPEATED_MAX_LINES).collect();
    let beginning = cut(beginning.join("\n").trim_end(), REPEATED_MAX_CHARS);
    let more = if lines > REPEATED_MAX_LINES { "\n…" } else { "" };
    match (language, chars) {
        (Language::Chinese, 0) => format!("文件 `{path}` 是空的。"),
        (Language::English, 0) => format!("The file `{path}` is empty."),
        (Language::Chinese, _) => format!(
            "我读了 `{path}`：{lines} 行，{chars} 个字符。开头是：\n\n```\n{beginning}{more}\n```"
        ),
        (Language::English, _) => format!(
            "I read `{path}`: {}, {chars} characters. It begins:\n\n```\n{beginning}{more}\n```",
            line_count(lines)
        ),
    }
}

fn size(text: &str) -> (usize, usize) {
    (text.lines().count(), text.chars().count())
}

fn line_count(lines: usize) -> String {
    if lines == 1 { "1 line".into() } else { format!("{lines} lines") }
}

/// An object of plain values as `name: value`; anything else as it is.
fn readable(content: &str) -> String {
    let flat = |fields: &serde_json::Map<String, Value>| {
        let pairs = fields.iter().map(|(name, value)| match value {
            Value::String(text) => Some(format!("{name}: {text}")),
            Value::Null | Value::Bool(_) | Value::Number(_) => Some(format!("{name}: {value}")),
            Value::Array(_) | Value::Object(_) => None,
        });
        pairs.collect::<Option<Vec<_>>>().map(|pairs| pairs.join(", "))
    };
    let text = match serde_json::from_str::<Value>(content) {
        Ok(Value::Object(fields)) if !fields.is_empty() => {
            flat(&fields).unwrap_or_else(|| content.to_owned())
        }
        _ => content.trim().to_owned(),
    };
    cut(&text, REPEATED_MAX_CHARS)
}

fn listed(names: &[String], separator: &str) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(separator)
}
