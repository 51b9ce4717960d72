//! Dates that a text names by their distance from a moment: `yesterday`, `last Friday`, `大前天`,
//! `下个月初`.
//!
//! Of expressions that overlap the longest counts: `the day after tomorrow` is not `tomorrow`. Weeks
//! go from Monday to Sunday. Texts are NFKC, lower case and in simplified characters. Days of the
//! week by themselves, and how long something takes, are no dates; nor is what is not understood for
//! sure, such as `more than 3 days ago`.

mod around;
mod chinese;
mod english;
mod rule;
#[cfg(test)]
mod table;

use std::{cmp::Reverse, ops::Range};

use jiff::Zoned;

use self::rule::{Expression, Rule};
use super::period::Period;

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
    around::meant(text, found, now.date())
}
