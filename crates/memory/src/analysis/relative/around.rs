//! What the words around an expression make of it: `the day before last Friday`, `a week from
//! tomorrow`, `明天的明天`. What is not understood for sure is dropped: an expression inside of a larger
//! one seldom means what it means alone.

use std::{ops::Range, sync::LazyLock};

use jiff::{Span, ToSpan, civil::Date};
use regex::{Captures, Regex};

use crate::analysis::{
    numerals::{COUNT, count},
    period::{Period, moved},
};

/// What the expressions of a text, which do not overlap, come to.
pub(super) fn meant(text: &str, found: Vec<(Range<usize>, Period)>, today: Date) -> Vec<Period> {
    let mut kept: Vec<(Range<usize>, Period)> = Vec::new();
    for (range, period) in found {
        let link = kept.last().and_then(|(before, _)| Link::between(text, before, &range));
        let Some((link, (before, outer))) = link.and_then(|link| Some((link, kept.pop()?))) else {
            kept.push((range, period));
            continue;
        };
        let whole = before.start..range.end;
        match (link, outer, period) {
            // `the last week of next month` is some week of that month.
            (Link::Of, _, period) => kept.push((range, period)),
            // `明天的明天`, seen from tomorrow.
            (Link::Possessive, Period::Day(day), Period::Day(then))
                if is_plain_day(text, &range) =>
            {
                let later = today.until(then).ok().and_then(|days| moved(day, days));
                kept.extend(later.map(|day| (whole, Period::Day(day))));
            }
            // `一周后的今天` is some day of that week.
            (
                Link::Possessive,
                outer @ (Period::Days(..) | Period::Month(_) | Period::Year(_)),
                Period::Day(_),
            ) => kept.push((whole, outer)),
            (Link::Possessive | Link::Beside, ..) => {}
        }
    }
    kept.into_iter().filter_map(|(range, period)| within(text, &range, period)).collect()
}

/// How one expression goes on into the next.
enum Link {
    /// The second is the whole that the first is a part of.
    Of,
    /// The second is seen from the first.
    Possessive,
    /// `a week ago last Friday`: neither is meant.
    Beside,
}

impl Link {
    fn between(text: &str, first: &Range<usize>, second: &Range<usize>) -> Option<Self> {
        let between = text.get(first.end..second.start)?;
        match between.trim() {
            "of" | "of the" => Some(Self::Of),
            "的" | "'s" | "’s" => Some(Self::Possessive),
            "" | "on" if text.get(first.clone())?.ends_with("ago") => Some(Self::Beside),
            _ => None,
        }
    }
}

/// `yesterday`, `明天`, and not `next Friday`.
fn is_plain_day(text: &str, range: &Range<usize>) -> bool {
    let words = text.get(range.clone()).unwrap_or_default();
    words.ends_with(['天', '日']) && !words.contains(['周', '期', '拜'])
        || ["yesterday", "today", "tomorrow"].iter().any(|word| words.ends_with(word))
}

/// Built once, of words between white space.
macro_rules! pattern {
    ($pattern:expr) => {{
        static PATTERN: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(&$pattern).expect("the pattern is tested"));
        &*PATTERN
    }};
}

/// What the words around one expression make of it; none where they make something of it that is not
/// understood.
fn within(text: &str, range: &Range<usize>, period: Period) -> Option<Period> {
    let (mut before, behind) = (text.get(..range.start)?, text.get(range.end..)?);
    let is_day = matches!(period, Period::Day(_));
    if is_part_of_another(before, text.get(range.clone())?, behind)
        || is_day && is_weeks_further(before, behind)
    {
        return None;
    }
    let mut moves: Vec<Span> = Vec::new();
    while let Some(found) = step_before(before) {
        moves.push(span(&found)?);
        before = before.get(..found.get(0)?.start())?;
    }
    if let Some(found) = step_behind(behind) {
        moves.push(if found.name("before").is_some() { (-1).days() } else { 1.days() });
    }
    match period {
        Period::Day(day) if is_week_of(before) => Period::week(day),
        // The nearest to the expression first.
        Period::Day(day) => moves.into_iter().try_fold(day, moved).map(Period::Day),
        _ if moves.is_empty() => Some(period),
        Period::Days(..) | Period::Month(_) | Period::Year(_) => None, // Of which of its days?
    }
}

/// `two days before`, `a week from`, in front of an expression.
fn step_before(before: &str) -> Option<Captures<'_>> {
    pattern!(format!(
        r"(?-u:\b)(?:(?:(?P<count>{COUNT})\s+)?(?P<unit>day|week)s?\s+(?P<way>before|after|preceding|following)|(?P<many>{COUNT})\s+(?P<units>day|week|fortnight|month|year)s?\s+(?P<ways>before|after|from))\s+(?:the\s+)?$"
    ))
    .captures(before)
}

fn span(found: &Captures<'_>) -> Option<Span> {
    let group = |name: &str| found.name(name).map(|group| group.as_str());
    let many = group("count").or(group("many")).map_or(Some(1), count)?;
    let way = group("way").or(group("ways"))?;
    let many = if matches!(way, "before" | "preceding") { -many } else { many };
    Some(match group("unit").or(group("units"))? {
        "day" => many.days(),
        "week" => many.weeks(),
        "fortnight" => (2 * many).weeks(),
        "month" => many.months(),
        _ => many.years(),
    })
}

/// `的前一天`, `晚上的第二天`, behind an expression.
fn step_behind(behind: &str) -> Option<Captures<'_>> {
    pattern!(
        "^(?:早上|上午|中午|下午|晚上|夜里)?的?(?:(?P<before>前一[天日])|[后次]一?[天日]|第二天)"
    )
    .captures(behind)
}

/// `the week of next Monday`.
fn is_week_of(before: &str) -> bool {
    pattern!(r"(?-u:\b)week of (?:the )?$").is_match(before)
}

/// `a week tomorrow`, `tomorrow week`.
fn is_weeks_further(before: &str, behind: &str) -> bool {
    pattern!(format!(r"(?-u:\b)(?:{COUNT})\s+(?:week|fortnight|month|year)s?\s+(?:on\s+)?$"))
        .is_match(before)
        || pattern!(r"^\s+(?:week|fortnight)(?-u:\b)").is_match(behind)
}

/// The expression is only a part of one that is not understood.
fn is_part_of_another(before: &str, words: &str, behind: &str) -> bool {
    let in_a_number = before.ends_with(['.', ',', '-', '/'])
        && before.trim_end_matches(['.', ',', '-', '/']).ends_with(|c: char| c.is_numeric());
    let is_distance = words.ends_with("ago")
        || words.ends_with("from now")
        || words.ends_with("hence")
        || words.starts_with("in ");
    in_a_number
        // `the second last Friday`, `next next week`.
        || pattern!(r"(?-u:\b)(?:next|last|this|second|third|next to|second to)\s+$").is_match(before)
            && pattern!("^(?:last|past|previous|this|coming|next|following)").is_match(words)
        // `the Friday after next week`, `the night before yesterday`.
        || pattern!(
            r"(?-u:\b)(?:weekend|month|year|night|morning|afternoon|evening|mon|tues|wednes|thurs|fri|satur|sun)(?:day)?s?\s+(?:before|after|preceding|following)\s+(?:the\s+)?$"
        )
        .is_match(before)
            && step_before(before).is_none()
        // `the last week of May`.
        || pattern!(r"^\s+of(?-u:\b)").is_match(behind)
        || is_distance
            // `two or three weeks ago`, `more than 3 days ago`, `in a week or two`.
            && (pattern!(format!(r"(?-u:\b)(?:{COUNT})\s+(?:or|to|and)\s+$")).is_match(before)
                || pattern!(r"(?-u:\b)(?:more|less|fewer|longer|later|earlier|sooner)\s+than\s+$|(?-u:\b)(?:over|under|at least|at most)\s+$")
                    .is_match(before)
                || pattern!(r"^\s+or\s").is_match(behind))
        // 下周三之后两天, 三天前后, 周五的前两天.
        || pattern!("^(?:之|以)?(?:的?[前后](?:第?[0-9一二两三四五六七八九十几]+个?[天日周月年])|后的第|前后)")
            .is_match(behind)
            && step_behind(behind).is_none()
        || pattern!("[前后]$").is_match(words) && behind.starts_with(['前', '后'])
}
