//! What the user wants, as a list of things to do. No tool is called here.

use std::sync::LazyLock;

use protocol::tool::ToolInfo;
use regex::Regex;

use crate::demo::phrase::{PlanItem, asks_for, pattern, trimmed};

/// The language to answer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Chinese,
    English,
}

/// Longest plan; further things are left out.
const ITEMS_MAX: usize = 16;
/// How much of a text is looked at, in characters.
const PLANNED_MAX_CHARS: usize = 16 * 1024;

pub(super) fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

pub(super) fn language(text: &str) -> Language {
    // Paths, tool names and JSON are English in every language.
    static LATIN_NAMES: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"\{.*\}|[A-Za-z0-9_.\-]*[/_.][A-Za-z0-9_./\-]+"));
    let text = LATIN_NAMES.replace_all(text, " ");
    let han = text.chars().filter(|c| is_han(*c)).count();
    let latin = text.chars().filter(char::is_ascii_alphabetic).count();
    if han > 0 && han * 4 >= latin { Language::Chinese } else { Language::English }
}

/// The things to do, in order; none when the text only talks.
pub(super) fn plan(text: &str, tools: &[ToolInfo]) -> Vec<PlanItem> {
    let text = text
        .char_indices()
        .nth(PLANNED_MAX_CHARS)
        .map_or(text, |(end, _)| text.get(..end).unwrap_or(text));
    let mut items: Vec<PlanItem> = Vec::new();
    let mut loose = String::new();
    let mut follows_fact = false;
    for piece in joined(split(text), tools) {
        let found = asks_for(&piece.text, tools);
        if found.is_empty() {
            match items.last_mut() {
                // “Remember that I met Ann. She loves tea.” is one fact.
                Some(PlanItem::Remember { fact }) if follows_fact => {
                    fact.push_str(&piece.before);
                    fact.push_str(trimmed(&piece.text));
                }
                _ => loose = trimmed(&piece.text).to_owned(),
            }
            continue;
        }
        for mut item in found {
            if let PlanItem::Remember { fact } = &mut item
                && fact.is_empty()
            {
                *fact = std::mem::take(&mut loose); // “My name is Ann. Please remember.”
            }
            follows_fact = matches!(item, PlanItem::Remember { .. });
            if item != (PlanItem::Remember { fact: String::new() }) {
                items.push(item);
            }
        }
    }
    items.truncate(ITEMS_MAX);
    items
}

/// A part of the text, and the separator before it.
#[derive(Debug, Clone, Default, PartialEq)]
struct AttemptEvent {
    before: String,
    text: String,
}

/// Cuts at sentences, commas, semicolons and “then”, but not inside of quotes or JSON.
fn split(text: &str) -> Vec<AttemptEvent> {
    static SEPARATOR: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"(?i)^(?:[,，;；.。]?\s*(?:\band then\b|\bthen\b|然后|接着|随后)[,，]?\s*",
            r"|[;；]\s*|\n+\s*|[。！？!?]+\s*|\.\s+|，\s*|,\s+)"
        ))
    });
    let lasts = QUOTES.map(|(_, closing)| text.rfind(closing));
    let mut pieces = vec![AttemptEvent::default()];
    let (mut rest, mut closing, mut depth, mut in_word) = (text, None, 0usize, false);
    while let Some(c) = rest.chars().next() {
        let found = SEPARATOR.find(rest).filter(|found| {
            let letter_first = found.as_str().starts_with(|c: char| c.is_ascii_alphabetic());
            closing.is_none() && depth == 0 && !(in_word && letter_first)
        });
        if let Some(found) = found {
            let (before, tail) = rest.split_at_checked(found.end()).unwrap_or((rest, ""));
            if let Some(last) = pieces.last_mut() {
                last.text.extend(before.chars().find(|c| matches!(c, '?' | '？'))); // It tells a question.
            }
            pieces.push(AttemptEvent { before: before.to_owned(), text: String::new() });
            rest = tail;
            in_word = false;
            continue;
        }
        match (closing, c) {
            (Some(quote), c) if c == quote => closing = None,
            (Some(_), _) => {}
            (None, '{') => depth += 1,
            (None, '}') => depth = depth.saturating_sub(1),
            (None, c) => {
                let at = text.len() - rest.len();
                let quotes = QUOTES.iter().zip(lasts);
                let mut closed = quotes.filter(|(quote, last)| quote.0 == c && *last > Some(at));
                closing = closed.next().map(|(quote, _)| quote.1);
            }
        }
        if let Some(last) = pieces.last_mut() {
            last.text.push(c);
        }
        in_word = c.is_ascii_alphanumeric();
        rest = rest.strip_prefix(c).unwrap_or_default();
    }
    pieces.retain(|piece| !piece.text.trim().is_empty());
    pieces
}

/// Opening and closing marks.
const QUOTES: [(char, char); 6] =
    [('"', '"'), ('`', '`'), ('“', '”'), ('「', '」'), ('『', '』'), ('《', '》')];

/// A comma only cuts where something to do begins behind it.
fn joined(pieces: Vec<AttemptEvent>, tools: &[ToolInfo]) -> Vec<AttemptEvent> {
    let mut joined: Vec<AttemptEvent> = Vec::new();
    for piece in pieces {
        let is_comma = piece.before.trim_end() == "," || piece.before.trim_end() == "，";
        let begins = asks_for(&piece.text, tools)
            .first()
            .is_some_and(|item| !matches!(item, PlanItem::Recall { .. }));
        match joined.last_mut() {
            Some(last) if is_comma && !begins => {
                last.text.push_str(&piece.before);
                last.text.push_str(&piece.text);
            }
            _ => joined.push(piece),
        }
    }
    joined
}
