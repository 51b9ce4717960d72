//! What one phrase asks for, by its words. Everything that the demo understands is here.

use std::sync::LazyLock;

use protocol::tool::{ToolInfo, ToolSource};
use regex::Regex;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PlanItem {
    Remember {
        fact: String,
    },
    Recall {
        query: String,
    },
    Read {
        path: String,
    },
    Show {
        id: String,
    },
    Export,
    /// Call the tool of this name, with arguments that are found in the words.
    Call {
        tool: String,
        words: String,
    },
}

/// What one piece asks for: nothing, one thing, or a file and what to do with its text.
pub(super) fn asks_for(piece: &str, tools: &[ToolInfo]) -> Vec<PlanItem> {
    let core = without_courtesy(piece);
    if let Some(fact) = fact(core) {
        return vec![PlanItem::Remember { fact }];
    }
    let path = path(core);
    let call = named_tool(core, tools).or_else(|| meant_tool(core, tools));
    if let Some(tool) = call {
        let tool = tool.name.clone();
        let reads_first =
            path.filter(|_| tool != "read_file" && !core.contains('{') && quoted(core).is_empty());
        return match reads_first {
            Some(path) => {
                let words = core.replace(&path, "it");
                vec![PlanItem::Read { path }, PlanItem::Call { tool, words }]
            }
            None => vec![PlanItem::Call { tool, words: core.to_owned() }],
        };
    }
    static EXPORT: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"(?i)export\b.*\btrace|导出.*(?:轨迹|追踪|记录|trace)|(?:轨迹|trace).*导出")
    });
    static MEMORY_ID: LazyLock<Regex> = LazyLock::new(|| pattern(r"mem_[0-7][0-9a-z]{25}"));
    if EXPORT.is_match(core) {
        vec![PlanItem::Export]
    } else if let Some(id) = MEMORY_ID.find(core) {
        vec![PlanItem::Show { id: id.as_str().to_owned() }]
    } else if let Some(path) = path {
        vec![PlanItem::Read { path }]
    } else {
        question(core).map(|query| PlanItem::Recall { query }).into_iter().collect()
    }
}

/// What is to be remembered; empty when it was said before (“please remember that”).
fn fact(core: &str) -> Option<String> {
    static ORDER: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?is)^(?:(?:always\s+)?remember\b|(?:please\s+)?(?:take|make) a note\b(?:\s+of\b)?|note\b(?:\s+down\b)?|keep in mind\b",
            r"|(?:don['’]?t|do not) forget\b|memori[sz]e\b|save this\b",
            r"|(?:你)?(?:一定)?要?(?:记住了?|记一下|记下来?|牢记|别忘了?|不要忘记|记得))",
            r"\s*[:：,，]?\s*(?:(?:that|this)\b\s*[:：,，]?\s*|一下[：:，]?|这一点|这件事|这个|[：:，])?(?P<fact>.*)$"
        ))
    });
    static ASKS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?i)[?？]\s*$|吗[。.!！]?$",
            r"|^remember\s+(?:what|who|where|when|why|how|which)\b|^记得.*(?:什么|谁|哪|多少)"
        ))
    });
    // “Could you remember that …?” is a polite order.
    static ORDERS: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)^(?:always )?remember (?:that|to)\b"));
    if ASKS.is_match(core) && !ORDERS.is_match(core) {
        return None;
    }
    let fact = ORDER.captures(core)?.name("fact")?.as_str();
    let fact = trimmed(fact.trim_end_matches(['?', '？']));
    Some(if matches!(fact, "it" | "了" | "它" | "吧" | "哦") {
        String::new()
    } else {
        fact.to_owned()
    })
}

/// A tool that the words name: with its whole name, or as `text_stats`, or “the echo tool”.
fn named_tool<'a>(core: &str, tools: &'a [ToolInfo]) -> Option<&'a ToolInfo> {
    static CUE: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)\b(?:use|call|run|invoke|tool)\b|调用|使用|用|工具|运行"));
    let core = core.to_ascii_lowercase();
    let has_cue = CUE.is_match(&core);
    let names = |name: &str| {
        let name = name.to_ascii_lowercase();
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        core.match_indices(&name).any(|(at, found)| {
            let before = core.get(..at).and_then(|text| text.chars().next_back());
            let after = core.get(at + found.len()..).and_then(|text| text.chars().next());
            !before.is_some_and(in_name) && !after.is_some_and(in_name)
        })
    };
    let bare = |tool: &ToolInfo| bare_name(&tool.name).to_owned();
    tools
        .iter()
        .filter(|tool| {
            let bare = bare(tool);
            names(&tool.name) && (tool.name.contains('_') || has_cue)
                || names(&bare) && (bare.contains('_') || has_cue)
        })
        .max_by_key(|tool| bare(tool).len())
}

fn bare_name(name: &str) -> &str {
    name.split_once("__").map_or(name, |(_, bare)| bare)
}

/// An MCP tool that is plainly meant without being named.
fn meant_tool<'a>(core: &str, tools: &'a [ToolInfo]) -> Option<&'a ToolInfo> {
    static MEANINGS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (
                concat!(
                    r"(?i)\bcount (?:the |its |their )?(?:words|characters|letters|lines|sentences)\b",
                    r"|\bword count\b|\bhow many (?:words|characters|lines|sentences)\b",
                    r"|统计.*(?:字|词|行)|字数|词数|多少(?:个)?字"
                ),
                "text_stats",
            ),
            (
                concat!(
                    r"(?i)\b(?:extract|find|list|which|what)\b.*\bdates\b",
                    r"|(?:提取|找出|列出|抽取).*日期|有哪些日期"
                ),
                "extract_dates",
            ),
            (
                concat!(
                    r"(?i)\b(?:days|weeks|long|difference|time) between\b",
                    r"|相差|隔(?:了)?多|之间有?多少天"
                ),
                "date_difference",
            ),
            (
                concat!(
                    r"(?i)\b(?:days?|weeks?|months?|years?) (?:after|before|from)\b|\bweekday\b|\bday of the week\b",
                    r"|(?:天|周|星期|个月|年)(?:之?后|以后|之?前|以前)|星期几|周几"
                ),
                "date_add",
            ),
        ]
        .map(|(words, tool)| (pattern(words), tool))
        .into()
    });
    let wanted = MEANINGS.iter().filter(|(words, _)| words.is_match(core));
    wanted
        .filter(|(_, name)| !name.starts_with("date_") || has_date(core))
        .flat_map(|(_, name)| tools.iter().filter(move |tool| bare_name(&tool.name) == *name))
        .find(|tool| tool.source != ToolSource::Builtin)
}

/// A file that the words point at.
fn path(core: &str) -> Option<String> {
    static PATH: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?i)(?:^|[^A-Za-z0-9_./:\-])(?P<path>(?:\.{0,2}/)?(?:[A-Za-z0-9_.\-]+/)*[A-Za-z0-9_.\-]+\.",
            r"(?:md|txt|json|jsonl|csv|tsv|toml|ya?ml|rs|py|tsx?|jsx?|html?|css|log|xml|sql|sh|ini|cfg|conf|lock))",
            r"(?:$|[^A-Za-z0-9_/])"
        ))
    });
    static READ: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?i)^(?:read|open|show|cat|view|look at|summari[sz]e)\b(?: me)?(?: the)?(?: file| contents? of(?: the file)?)?\s+(?P<path>\S*/\S+)\s*$",
            r"|\b(?:read|open|show|cat|view)\b(?: me)?(?: the)? file\s+(?P<named>[A-Za-z0-9_./\-]+)",
            r"|(?:读取?|打开|查看|看)(?:一?下)?(?:文件)?\s*(?P<han>[A-Za-z0-9_./\-]+)\s*(?:这个|的)?(?:文件|内容)"
        ))
    });
    static QUOTED_NAME: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^[^\s/][^\n]*\.[A-Za-z0-9]{1,8}$|^[^\s]*/[^\s]*$"));
    static READING: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)\b(?:read|open|show|cat|view|look|summari[sz]e|file)\b|读|打开|查看|看|文件|总结",
        )
    });
    let core = trimmed(core);
    if READING.is_match(core)
        && let Some(name) = quoted(core).into_iter().find(|name| QUOTED_NAME.is_match(name))
    {
        return Some(name);
    }
    let path = PATH.captures(core).and_then(|found| found.name("path")).or_else(|| {
        let found = READ.captures(core)?;
        ["path", "named", "han"].into_iter().find_map(|name| found.name(name))
    })?;
    let is_address = core.contains("://");
    (!is_address).then(|| path.as_str().trim_end_matches('.').to_owned())
}

/// What to look up, when the words ask for something.
fn question(core: &str) -> Option<String> {
    static CHAT: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?i)^(?:who are you|what are you|what can you do|what do you do|how are you|help|what tools\b.*|which tools\b.*)",
            r"(?: today| now)?\W*$",
            r"|你是谁|你是什么|你(?:能|会|可以)做(?:些)?什么|你好吗|(?:哪些|什么)工具|怎么用你"
        ))
    });
    static ASKS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?i)[?？]\s*$",
            r"|^(?:what|who|whose|where|when|why|how|which|did|do|does|is|are|was|were|am|can|tell me|look up|search|find|recall|summari[sz]e|recap|list|show|give me|remember|have|has)\b",
            r"|什么|谁|哪|几(?:点|号|月|个|岁)|多少|怎么|为什么|何时|如何|是不是|有没有|吗|呢$",
            r"|^(?:告诉我|查|搜|找|回忆|回顾|总结|汇总|列出|说说)"
        ))
    });
    if CHAT.is_match(core) || !ASKS.is_match(core) {
        return None;
    }
    let query = trimmed(core);
    (!query.is_empty()).then(|| query.to_owned())
}

/// Without “please”, “can you”, “帮我” and the like at its beginning.
fn without_courtesy(piece: &str) -> &str {
    static COURTESY: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?i)^(?:\s|[,，]|(?:please|kindly|hi|hey|hello|also|and|now|first|finally|next|ok|okay)\b[,!]?",
            r"|(?:can|could|would|will) you(?: please)?\b|i(?:'d| would) like you to\b|i want you to\b",
            r"|你好|您好|请你?|麻烦你?|帮我|帮忙|给我|首先|另外|还有|最后|以后|顺便|并且?|再|先|能不能|可不可以|能否)+"
        ))
    });
    let start = COURTESY.find(piece).map_or(0, |found| found.end());
    piece.get(start..).unwrap_or(piece).trim()
}

/// Without spaces and closing punctuation around.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim()
        .trim_end_matches(['.', '。', '!', '！', ',', '，', ';', '；', '、', ' '])
        .trim_start_matches([',', '，', '、', ' '])
}

/// The texts in quotes, without them.
pub(super) fn quoted(text: &str) -> Vec<String> {
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r#""([^"]+)"|`([^`]+)`|“([^”]+)”|「([^」]+)」|『([^』]+)』|《([^》]+)》|(?:^|\s)'([^']+)'"#,
        )
    });
    QUOTED
        .captures_iter(text)
        .filter_map(|found| found.iter().skip(1).flatten().next())
        .map(|found| found.as_str().trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect()
}

pub(super) static DATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\d{4}-\d{1,2}-\d{1,2}|\d{4}\s*年\s*\d{1,2}\s*月\s*\d{1,2}\s*[日号]|(?i)\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d{1,2},? \d{4}",
    )
});

fn has_date(text: &str) -> bool {
    DATE.is_match(text)
}

/// A pattern of ours.
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns are constants, and a test compiles each")
}
