//! Dates that a text names by their distance from a moment: `yesterday`, `last Friday`, `大前天`,
//! `下个月初`.
//!
//! Of expressions that overlap the longest counts: `the day after tomorrow` is not `tomorrow`. Weeks
//! go from Monday to Sunday. Texts are NFKC, lower case and in simplified characters. Days of the
//! week by themselves, and how long something takes, are no dates.

mod chinese;
mod english;
mod rule;
#[cfg(test)]
mod table;

use std::{cmp::Reverse, ops::Range, sync::LazyLock};

use jiff::{ToSpan, Zoned};
use regex::Regex;

use self::rule::{Expression, Rule};
use super::{
    numerals::{COUNT, count},
    period::{Period, moved},
};

/// All that a text names, seen from `now`.
pub(super) fn periods(text: &str, now: &Zoned) -> Vec<Period> {
    let mut found: Vec<(Range<usize>, Period)> = Vec::new();
    for Rule { pattern, read } in chinese::RULES.iter().chain(english::RULES.iter()) {
        for captures in pattern.captures_iter(text) {
            let Some(range) = captures.get(0).map(|whole| whole.range()) else { continue };
            let before = text.get(..range.start).and_then(|text| text.chars().next_back());
            let after = text.get(range.end..).and_then(|text| text.chars().next());
            let period = read(&Expression { captures, before, after, now });
            found.extend(period.map(|period| (range, period)));
        }
    }
    found.sort_by_key(|(range, _)| (Reverse(range.len()), range.start));
    let mut taken: Vec<Range<usize>> = Vec::new();
    found.retain(|(range, _)| {
        let is_free =
            taken.iter().all(|other| range.end <= other.start || other.end <= range.start);
        if is_free {
            taken.push(range.clone());
        }
        is_free
    });
    found.sort_by_key(|(range, _)| range.start);
    found.into_iter().filter_map(|(range, period)| within(text, &range, period)).collect()
}

/// What words around an expression make of it: `the day before last Friday`, `two weeks after
/// tomorrow`, `昨天的前一天`. None where they make something of it that is not understood: the half of
/// `1.5 weeks ago`.
fn within(text: &str, range: &Range<usize>, period: Period) -> Option<Period> {
    static BEFORE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(&format!(
            r"(?-u:\b)(?:(?P<count>{COUNT})\s+)?(?P<unit>day|week)s?\s+(?P<way>before|after)\s+$"
        ))
        .expect("the pattern is tested")
    });
    static BEHIND: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new("^的?(?:(?P<before>前一[天日])|[后次]一?[天日]|第二天)")
            .expect("the pattern is tested")
    });
    let (before, behind) = (text.get(..range.start)?, text.get(range.end..)?);
    let days = if let Some(found) = BEFORE.captures(before) {
        let count = found.name("count").map_or(Some(1), |text| count(text.as_str()))?;
        let unit = if found.name("unit")?.as_str() == "week" { 7 } else { 1 };
        if found.name("way")?.as_str() == "before" { -count * unit } else { count * unit }
    } else if let Some(found) = BEHIND.captures(behind) {
        if found.name("before").is_some() { -1 } else { 1 }
    } else {
        0
    };
    let in_a_number = before.ends_with(['.', ',', '-', '/'])
        && before.trim_end_matches(['.', ',', '-', '/']).ends_with(|c: char| c.is_numeric());
    match period {
        _ if in_a_number => None,
        Period::Day(day) => moved(day, days.days()).map(Period::Day),
        _ if days == 0 => Some(period),
        Period::Days(..) | Period::Month(_) | Period::Year(_) => None, // Of which of its days?
    }
}
