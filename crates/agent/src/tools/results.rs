//! `result_read`: more of a tool's result than a prompt shows, by the id of its call. What it reads is
//! the event of the result, so that it does not matter what became of the step since.

use std::iter;

use futures::FutureExt;
use protocol::{id::CallId, tool::Effect};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use store::events::ToolResult;

use crate::context::chars_within;

use super::{
    answer::text_of,
    builtin::{Builtin, BuiltinParts, ToolCaller, ToolError, info, parse},
};

/// The name of the tool.
pub(crate) const RESULT_READ: &str = "result_read";
/// Characters of an answer that names no `limit`.
const CHARS_DEFAULT: usize = 10_000;
/// Most characters of an answer.
const CHARS_MAX: usize = 50_000;
/// Of a prompt's share of a result, the part that an answer takes at most: the frame has some itself.
const ANSWER_SHARE: f64 = 0.8;
/// Longest expression of `match`, in characters.
const MATCH_MAX_CHARS: usize = 200;
/// Most bytes of a compiled expression.
const MATCH_MAX_BYTES: usize = 1024 * 1024;
/// Of a longer line that matches, the characters that are shown on either side of the match.
const AROUND_MATCH_CHARS: usize = 200;

pub(super) fn read() -> Builtin {
    Builtin {
        info: info(
            RESULT_READ,
            "Reads more of the result of an earlier tool call of this run: one that is shown in part, \
             or that a summary names by its id. Gives `limit` characters from `offset` on or, with \
             `match`, only the lines that match, each with its offset. Goes on at `next_offset`.",
            Effect::ReadOnly,
            json!({
                "tool_call_id": {"type": "string",
                                 "description": "Like `call_01kas5w4z8e5tv3k0v9x2m7qhd`."},
                "offset": {"type": "integer", "minimum": 0, "default": 0,
                           "description": "The first character; 0 is the beginning."},
                "limit": {"type": "integer", "minimum": 1, "maximum": CHARS_MAX,
                          "default": CHARS_DEFAULT},
                "match": {"type": "string", "minLength": 1, "maxLength": MATCH_MAX_CHARS,
                          "description": "A regular expression, in any case of letters."}
            }),
            &["tool_call_id"],
        ),
        call: |parts, caller, args| read_result(parts, caller, args).boxed(),
    }
}

#[derive(Deserialize)]
struct ResultReadArgs {
    tool_call_id: String,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
    #[serde(rename = "match")]
    pattern: Option<String>,
}

async fn read_result(
    parts: &BuiltinParts,
    caller: &ToolCaller<'_>,
    args: &Value,
) -> Result<Value, ToolError> {
    let args: ResultReadArgs = parse(args)?;
    let pattern = args.pattern.as_deref().map(compiled).transpose()?;
    let absent = || {
        let id = &args.tool_call_id;
        ToolError::Told(format!("there is no result of a call `{id}` in this run"))
    };
    let call_id: CallId = args.tool_call_id.parse().map_err(|_| absent())?;
    let scoped = parts.store.scoped(caller.scope);
    let found = scoped.tool_result(caller.run_id, call_id).await?;
    let ToolResult { tool, result } = found.ok_or_else(absent)?;
    let text = text_of(&result);
    let most = Most {
        chars: args.limit.unwrap_or(CHARS_DEFAULT),
        tokens: crate::context::share(caller.result_tokens, ANSWER_SHARE),
    };
    let mut answer = match pattern {
        None => piece(&text, args.offset, most),
        Some(pattern) => matching_lines(&text, args.offset, &pattern, most),
    };
    if let Value::Object(fields) = &mut answer {
        fields.insert("tool".into(), tool.into());
        fields.insert("total_chars".into(), text.chars().count().into());
    }
    Ok(answer)
}

fn compiled(pattern: &str) -> Result<Regex, ToolError> {
    let built =
        RegexBuilder::new(pattern).case_insensitive(true).size_limit(MATCH_MAX_BYTES).build();
    built.map_err(|error| {
        ToolError::Told(format!("`match` is not a regular expression that can be used: {error}"))
    })
}

/// How long an answer may be.
#[derive(Clone, Copy)]
struct Most {
    chars: usize,
    tokens: u64,
}

/// Characters from `offset` on.
fn piece(text: &str, offset: usize, most: Most) -> Value {
    let rest = from(text, offset);
    let shown: String = rest.chars().take(most.chars).collect();
    let keep = chars_within(&shown, most.tokens);
    let shown: String = shown.chars().take(keep).collect();
    let next = (rest.len() > shown.len()).then_some(offset + keep);
    json!({"offset": offset, "text": shown, "next_offset": next})
}

/// The lines from `offset` on that match; of long ones what is around the match.
fn matching_lines(text: &str, offset: usize, pattern: &Regex, most: Most) -> Value {
    let (mut lines, mut used, mut next) = (Vec::new(), Most { chars: 0, tokens: 0 }, None);
    let mut at = offset;
    for whole in lines_of(from(text, offset)) {
        let length = whole.chars().count();
        let line = without_end(whole);
        if let Some(found) = pattern.find(line) {
            let (skipped, shown) = around(line, found.start(), found.end());
            used.chars += shown.chars().count();
            used.tokens +=
                model::tokens::estimate(&shown) + model::tokens::estimate("{offset, text}");
            if !lines.is_empty() && (used.chars > most.chars || used.tokens > most.tokens) {
                next = Some(at);
                break;
            }
            lines.push(json!({"offset": at + skipped, "text": shown}));
        }
        at += length;
    }
    json!({"lines": lines, "next_offset": next})
}

/// The lines, each with its end: also those of a text inside of JSON, where an end is written as `\\n`.
fn lines_of(mut rest: &str) -> impl Iterator<Item = &str> {
    iter::from_fn(move || {
        let mut escaped = false;
        let end = rest.char_indices().find_map(|(at, c)| {
            let ends = c == '\n' || (escaped && c == 'n');
            escaped = c == '\\' && !escaped;
            ends.then_some(at + c.len_utf8())
        });
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!line.is_empty()).then_some(line)
    })
}

fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').or_else(|| line.strip_suffix("\\n")).unwrap_or(line);
    line.strip_suffix('\r').or_else(|| line.strip_suffix("\\r")).unwrap_or(line)
}

/// A line, or what is around the match; and how many characters are left out before.
fn around(line: &str, start: usize, end: usize) -> (usize, String) {
    let before = line.get(..start).unwrap_or_default().chars().count();
    let matched = line.get(start..end).unwrap_or_default().chars().count();
    let skipped = before.saturating_sub(AROUND_MATCH_CHARS);
    let most = (before - skipped) + matched.min(AROUND_MATCH_CHARS) + AROUND_MATCH_CHARS;
    (skipped, line.chars().skip(skipped).take(most).collect())
}

fn from(text: &str, offset: usize) -> &str {
    let start = text.char_indices().nth(offset).map_or(text.len(), |(start, _)| start);
    text.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most = Most { chars: 1_000, tokens: 1_000 };

    fn lines(text: &str, offset: usize, pattern: &str, most: Most) -> Value {
        matching_lines(text, offset, &compiled(pattern).unwrap(), most)
    }

    #[test]
    fn a_result_is_read_piece_by_piece_to_its_end() {
        let text = "一二三四五六七八九十".repeat(10);
        let (mut read, mut offset) = (String::new(), Some(0));
        while let Some(at) = offset {
            let answer = piece(&text, at as usize, Most { chars: 33, tokens: 20 });
            let part = answer["text"].as_str().unwrap();
            assert!(model::tokens::estimate(part) <= 20 && !part.is_empty(), "{answer}");
            read.push_str(part);
            offset = answer["next_offset"].as_u64();
        }
        assert_eq!(read, text);
        assert_eq!(
            piece(&text, 1_000, MOST),
            json!({"offset": 1_000, "text": "", "next_offset": null})
        );
    }

    #[test]
    fn lines_that_match_are_given_with_their_place() {
        let text = "alpha\nBeta 1\r\ngamma\n二 beta\n";
        assert_eq!(
            lines(text, 0, "beta", MOST),
            json!({"lines": [{"offset": 6, "text": "Beta 1"}, {"offset": 20, "text": "二 beta"}],
                   "next_offset": null})
        );
        assert_eq!(lines(text, 7, "^beta", MOST), json!({"lines": [], "next_offset": null}));
        let few = Most { chars: 6, tokens: 1_000 };
        assert_eq!(
            lines(text, 0, "beta", few),
            json!({"lines": [{"offset": 6, "text": "Beta 1"}], "next_offset": 20})
        );
    }

    #[test]
    fn lines_of_a_text_inside_of_json_are_lines() {
        let text = json!({"text": "one\ntwo \\n 2\r\nthree two"}).to_string();
        let answer = lines(&text, 0, "two", MOST);
        let shown: Vec<_> =
            answer["lines"].as_array().unwrap().iter().map(|line| &line["text"]).collect();
        assert_eq!(shown, ["two \\\\n 2", "three two\"}"]);
    }

    #[test]
    fn of_a_long_line_what_is_around_the_match_is_shown() {
        let text = format!("{}needle{}", "字".repeat(5_000), "x".repeat(5_000));
        let answer = lines(&text, 0, "needle", MOST);
        let shown = answer["lines"][0]["text"].as_str().unwrap();
        assert_eq!(answer["lines"][0]["offset"], 5_000 - AROUND_MATCH_CHARS);
        assert!(shown.starts_with('字') && shown.contains("needlex"), "{shown}");
        assert_eq!(shown.chars().count(), 2 * AROUND_MATCH_CHARS + 6);
    }

    #[test]
    fn an_expression_that_cannot_be_used_is_named() {
        for pattern in ["(", "a{1000}{1000}{1000}"] {
            let Err(ToolError::Told(words)) = compiled(pattern) else { panic!("{pattern}") };
            assert!(words.starts_with("`match` is not a regular expression"), "{words}");
        }
    }
}
