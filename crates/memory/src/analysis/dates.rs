//! Dates as terms: `5月4号`, `May 4` and a memory of `2023-05-04` all have the term `d:md5-4`.
//!
//! A day gives its year, month, day in the month and month in the year, each a term of its own,
//! so that a question that names only a part finds it. Texts are NFKC and lower case. Clock times
//! and days of the week by themselves are not dates; what is named by its distance from today is read
//! by `relative`.

use std::{collections::BTreeSet, sync::LazyLock};

use jiff::civil::Date;
use regex::{Captures, Regex};

use super::{
    numerals::numeral,
    period::{Period, terms as part},
};

const MONTH: &str = "(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|\
    aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)";
const NUMERAL: &str = "([0-9]{1,3}|[一二三四五六七八九十廿两]{1,3})";
const YEAR: &str = "([12][0-9]{3}|[一二三四五六七八九零〇]{4})";

/// `\b` of ASCII, since a Chinese character beside a digit does not continue a word.
const EDGE: &str = r"(?-u:\b)";

/// Whether a term is of a date.
pub fn is_date(term: &str) -> bool {
    term.starts_with("d:")
}

/// The terms of a day.
pub fn of_day(day: Date) -> BTreeSet<String> {
    Period::Day(day).terms()
}

/// The terms of all dates that a text names.
pub fn named(text: &str) -> BTreeSet<String> {
    static NUMERIC: LazyLock<Regex> = LazyLock::new(|| {
        regex(&format!(r"{EDGE}([12][0-9]{{3}})[-/.]([0-9]{{1,2}})[-/.]([0-9]{{1,2}})"))
    });
    static CHINESE: LazyLock<Regex> =
        LazyLock::new(|| regex(&format!("(?:{YEAR}年)?{NUMERAL}月(?:份|{NUMERAL}[日号號])?")));
    static CHINESE_YEAR: LazyLock<Regex> = LazyLock::new(|| regex(&format!("{YEAR}年")));
    static MONTH_DAY: LazyLock<Regex> = LazyLock::new(|| {
        regex(&format!(
            r"{EDGE}{MONTH}\.?\s+([0-9]{{1,2}})(?:st|nd|rd|th)?{EDGE}(?:,?\s+([12][0-9]{{3}}){EDGE})?"
        ))
    });
    static DAY_MONTH: LazyLock<Regex> = LazyLock::new(|| {
        regex(&format!(
            r"{EDGE}([0-9]{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{MONTH}{EDGE}\.?(?:,?\s+([12][0-9]{{3}}){EDGE})?"
        ))
    });
    static MONTH_YEAR: LazyLock<Regex> =
        LazyLock::new(|| regex(&format!(r"{EDGE}{MONTH}\.?,?\s+(?:of\s+)?([12][0-9]{{3}}){EDGE}")));
    // `may` and `march` are dates only where a preposition says so.
    static MONTH_ALONE: LazyLock<Regex> = LazyLock::new(|| {
        regex(&format!(
            r"{EDGE}(?:(?:in|of|since|during|until|by|early|late|mid|last|next|this)[\s-]+{MONTH}|(january|february|april|june|july|august|september|october|november|december)){EDGE}"
        ))
    });
    static YEAR_ALONE: LazyLock<Regex> =
        LazyLock::new(|| regex(&format!("{EDGE}((?:19|20)[0-9]{{2}}){EDGE}")));

    let mut terms = BTreeSet::new();
    let mut each = |regex: &Regex, read: fn(&Captures<'_>) -> BTreeSet<String>| {
        regex.captures_iter(text).for_each(|found| terms.extend(read(&found)));
    };
    each(&NUMERIC, |found| part(number(found, 1), number(found, 2), number(found, 3)));
    each(&CHINESE, |found| part(number(found, 1), number(found, 2), number(found, 3)));
    each(&CHINESE_YEAR, |found| part(number(found, 1), None, None));
    each(&MONTH_DAY, |found| part(number(found, 3), month(found, 1), number(found, 2)));
    each(&DAY_MONTH, |found| part(number(found, 3), month(found, 2), number(found, 1)));
    each(&MONTH_YEAR, |found| part(number(found, 2), month(found, 1), None));
    each(&MONTH_ALONE, |found| part(None, month(found, 1).or_else(|| month(found, 2)), None));
    each(&YEAR_ALONE, |found| part(number(found, 1), None, None));
    terms
}

fn group<'t>(found: &Captures<'t>, index: usize) -> Option<&'t str> {
    found.get(index).map(|part| part.as_str())
}

fn number(found: &Captures<'_>, index: usize) -> Option<i32> {
    numeral(group(found, index)?)
}

fn month(found: &Captures<'_>, index: usize) -> Option<i32> {
    const NAMES: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let text = group(found, index)?;
    (1..).zip(NAMES).find(|(_, name)| text.starts_with(name)).map(|(month, _)| month)
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns of this file are tested")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(terms: &BTreeSet<String>) -> String {
        let bare: Vec<_> = terms.iter().filter_map(|term| term.strip_prefix("d:")).collect();
        bare.join(" ")
    }

    #[test]
    fn dates_that_a_text_names() {
        let check = |text: &str, want: &str| assert_eq!(joined(&named(text)), want, "{text}");
        let whole = "m5 md5-4 y2023 ym2023-5";
        check("2023-05-04", whole);
        check("于2023/5/4日", whole);
        check("2023-05-04t13:56:00z", whole);
        check("2023年5月4日", whole);
        check("二〇二三年五月四号", whole);
        check("may 4, 2023", whole);
        check("may 4th 2023", whole);
        check("1:56 pm on 4 may, 2023", whole);
        check("the 4th of may 2023", whole);
        check("5月4号", "m5 md5-4");
        check("十二月二十五日", "m12 md12-25");
        check("may 4", "m5 md5-4");
        check("sept. 3", "m9 md9-3");
        check("2023年", "y2023");
        check("back in 2019 or so", "y2019");
        check("in may", "m5");
        check("october was cold", "m10");
        check("june 2023", "m6 y2023 ym2023-6");
        check("5月份", "m5");
    }

    #[test]
    fn what_is_no_date() {
        let check = |text: &str| assert_eq!(joined(&named(text)), "", "{text}");
        check("you may march on");
        check("3个月");
        check("13月40日");
        check("version 1.2.3");
        check("call 20235678");
        check("昨天");
    }
}
