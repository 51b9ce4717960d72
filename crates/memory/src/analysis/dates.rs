//! Dates as terms: `5月4号`, `May 4` and a memory of `2023-05-04` all have the term `d:md5-4`.
//!
//! A day gives its year, month, day in the month and month in the year, each a term of its own,
//! so that a question that names only a part finds it. Texts are NFKC and lower case. Clock times
//! and days of the week by themselves are no dates.

use std::{collections::BTreeSet, sync::LazyLock};

use jiff::{
    Span, ToSpan,
    civil::{Date, Weekday},
};
use regex::{Captures, Regex};

const MONTH: &str = "(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|\
    aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)";
const NUMERAL: &str = "([0-9]{1,3}|[一二三四五六七八九十廿两]{1,3})";
const YEAR: &str = "([12][0-9]{3}|[一二三四五六七八九零〇]{4})";

/// `\b` of ASCII, since a Chinese character beside a digit is no word that goes on.
const EDGE: &str = r"(?-u:\b)";

/// Whether a term is of a date.
pub fn is_date(term: &str) -> bool {
    term.starts_with("d:")
}

/// The terms of a day.
pub fn of_day(day: Date) -> BTreeSet<String> {
    part(Some(day.year().into()), Some(day.month().into()), Some(day.day().into()))
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

/// The terms of all dates that a question names by their distance from `today`.
pub fn relative(text: &str, today: Date) -> BTreeSet<String> {
    static DAYS: &[(&str, i32)] = &[
        ("大前天", -3),
        ("前天", -2),
        ("昨天", -1),
        ("昨日", -1),
        ("昨晚", -1),
        ("今天", 0),
        ("今日", 0),
        ("今晚", 0),
        ("今早", 0),
        ("明天", 1),
        ("后天", 2),
        ("the day before yesterday", -2),
        ("yesterday", -1),
        ("last night", -1),
        ("today", 0),
        ("tonight", 0),
        ("tomorrow", 1),
    ];
    static AGO: LazyLock<Regex> = LazyLock::new(|| {
        regex(&format!(
            r"{NUMERAL}\s*(?:个)?(天|日|周|星期|礼拜|月|年)(?:以)?前|{EDGE}([0-9]{{1,3}}|an?|one|two|three|four|five|six|seven|eight|nine|ten)\s+(day|week|month|year)s?\s+ago{EDGE}"
        ))
    });
    static NEAR: LazyLock<Regex> = LazyLock::new(|| {
        regex(&format!(
            r"(?:^|[^马])(上上|上|这|本|下)(?:一)?(?:个)?(周|星期|礼拜|月)([一二三四五六日天](?:[^一-鿿]|$|[^月周个天]))?|{EDGE}(last|past|this|next)\s+(week|month|year|{MONTH}|(mon|tues|wednes|thurs|fri|satur|sun)day){EDGE}"
        ))
    });
    static YEARS: LazyLock<Regex> = LazyLock::new(|| {
        regex(&format!(
            "(?:^|[^以之目年])(前|去|今|明)年(?:的?{NUMERAL}月(?:份|{NUMERAL}[日号號])?)?"
        ))
    });

    let mut terms = BTreeSet::new();
    if let Some((_, days)) = DAYS.iter().find(|(word, _)| text.contains(word)) {
        terms.extend(moved(today, days.days()).map(of_day).unwrap_or_default());
    }
    for found in AGO.captures_iter(text) {
        let count = number(&found, 1).or_else(|| count(group(&found, 3)?));
        let unit = group(&found, 2).or_else(|| group(&found, 4));
        terms.extend(
            count.zip(unit).and_then(|(count, unit)| ago(today, count, unit)).unwrap_or_default(),
        );
    }
    for found in NEAR.captures_iter(text) {
        terms.extend(near(&found, today).unwrap_or_default());
    }
    for found in YEARS.captures_iter(text) {
        let year = match group(&found, 1) {
            Some("前") => -2,
            Some("去") => -1,
            Some("今") => 0,
            _ => 1,
        } + i32::from(today.year());
        terms.extend(part(Some(year), number(&found, 2), number(&found, 3)));
    }
    terms
}

fn ago(today: Date, count: i32, unit: &str) -> Option<BTreeSet<String>> {
    Some(match unit {
        "天" | "日" | "day" => of_day(moved(today, (-count).days())?),
        "周" | "星期" | "礼拜" | "week" => week(moved(today, (-count).weeks())?),
        "月" | "month" => month_of(moved(today, (-count).months())?),
        _ => year_of(moved(today, (-count).years())?),
    })
}

fn near(found: &Captures<'_>, today: Date) -> Option<BTreeSet<String>> {
    let steps = match group(found, 1).or_else(|| group(found, 4))? {
        "上上" => -2,
        "上" | "last" | "past" => -1,
        "下" | "next" => 1,
        _ => 0,
    };
    match group(found, 2).or_else(|| group(found, 5))? {
        "周" | "星期" | "礼拜" => {
            let then = moved(today, steps.weeks())?;
            Some(match group(found, 3).and_then(chinese_weekday) {
                Some(weekday) => of_day(weekday_of(then, weekday)?),
                None => week(then),
            })
        }
        "week" => Some(week(moved(today, steps.weeks())?)),
        "月" | "month" => Some(month_of(moved(today, steps.months())?)),
        "year" => Some(year_of(moved(today, steps.years())?)),
        _ if group(found, 7).is_some() => {
            let weekday = english_weekday(group(found, 7)?)?;
            let nth = if steps > 0 { 1 } else { -1 };
            Some(of_day(today.nth_weekday(nth, weekday).ok()?))
        }
        _ => {
            // `last May` is the latest May that is over, `next May` the first to begin.
            let month = month(found, 6)?;
            let this = i32::from(today.month());
            let year = i32::from(today.year())
                + match steps {
                    -1 if month >= this => -1,
                    1 if month <= this => 1,
                    _ => 0,
                };
            Some(part(Some(year), Some(month), None))
        }
    }
}

/// The seven days from Monday to Sunday around `day`.
fn week(day: Date) -> BTreeSet<String> {
    let Some(monday) = weekday_of(day, Weekday::Monday) else { return BTreeSet::new() };
    (0..7)
        .filter_map(|days| moved(monday, days.days()))
        .flat_map(|day| {
            let month = i32::from(day.month());
            [format!("d:md{month}-{}", day.day()), format!("d:ym{}-{month}", day.year())]
        })
        .collect()
}

fn month_of(day: Date) -> BTreeSet<String> {
    part(Some(day.year().into()), Some(i32::from(day.month())), None)
}

fn year_of(day: Date) -> BTreeSet<String> {
    part(Some(day.year().into()), None, None)
}

fn weekday_of(day: Date, weekday: Weekday) -> Option<Date> {
    let back = day.weekday().to_monday_zero_offset() - weekday.to_monday_zero_offset();
    moved(day, (-i32::from(back)).days())
}

fn moved(day: Date, by: Span) -> Option<Date> {
    day.checked_add(by).ok()
}

/// The terms of whatever is known of a date; nothing when it cannot be one.
fn part(year: Option<i32>, month: Option<i32>, day: Option<i32>) -> BTreeSet<String> {
    if month.is_some_and(|month| !(1..=12).contains(&month))
        || day.is_some_and(|day| !(1..=31).contains(&day))
    {
        return BTreeSet::new();
    }
    [
        year.map(|year| format!("d:y{year}")),
        month.map(|month| format!("d:m{month}")),
        month.zip(day).map(|(month, day)| format!("d:md{month}-{day}")),
        year.zip(month).map(|(year, month)| format!("d:ym{year}-{month}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn group<'t>(found: &Captures<'t>, index: usize) -> Option<&'t str> {
    found.get(index).map(|part| part.as_str())
}

fn number(found: &Captures<'_>, index: usize) -> Option<i32> {
    let text = group(found, index)?;
    text.parse().ok().or_else(|| chinese_number(text))
}

fn month(found: &Captures<'_>, index: usize) -> Option<i32> {
    const NAMES: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let text = group(found, index)?;
    (1..).zip(NAMES).find(|(_, name)| text.starts_with(name)).map(|(month, _)| month)
}

/// `十五`, `廿三`, and digit by digit `二〇二三`.
fn chinese_number(text: &str) -> Option<i32> {
    let digit = |c| match c {
        '零' | '〇' => Some(0),
        '两' => Some(2),
        c => "一二三四五六七八九".chars().position(|each| each == c).map(|at| at as i32 + 1),
    };
    if text.chars().count() == 4 {
        return text.chars().try_fold(0, |sum, c| Some(sum * 10 + digit(c)?));
    }
    let mut sum = 0;
    for c in text.chars() {
        match c {
            '十' => sum = sum.max(1) * 10,
            '廿' => sum = 20,
            c => sum += digit(c)?,
        }
    }
    Some(sum)
}

fn count(text: &str) -> Option<i32> {
    const WORDS: [&str; 10] =
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    match text {
        "a" | "an" => Some(1),
        text => text
            .parse()
            .ok()
            .or_else(|| (1..).zip(WORDS).find(|(_, word)| *word == text).map(|(count, _)| count)),
    }
}

fn chinese_weekday(text: &str) -> Option<Weekday> {
    let at = "一二三四五六日"
        .chars()
        .position(|c| text.starts_with(c))
        .or(text.starts_with('天').then_some(6))?;
    Weekday::from_monday_zero_offset(i8::try_from(at).ok()?).ok()
}

fn english_weekday(text: &str) -> Option<Weekday> {
    const WORDS: [&str; 7] = ["mon", "tues", "wednes", "thurs", "fri", "satur", "sun"];
    let at = WORDS.iter().position(|word| *word == text)?;
    Weekday::from_monday_zero_offset(i8::try_from(at).ok()?).ok()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns of this file are tested")
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

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

    #[test]
    fn dates_relative_to_today() {
        let today = date(2026, 3, 11); // a Wednesday
        let check =
            |text: &str, want: &str| assert_eq!(joined(&relative(text, today)), want, "{text}");
        check("昨天吃了什么", "m3 md3-10 y2026 ym2026-3");
        check("大前天", "m3 md3-8 y2026 ym2026-3");
        check("what did i do yesterday?", "m3 md3-10 y2026 ym2026-3");
        check("the day before yesterday", "m3 md3-9 y2026 ym2026-3");
        check("上周", "md3-2 md3-3 md3-4 md3-5 md3-6 md3-7 md3-8 ym2026-3");
        check("last week", "md3-2 md3-3 md3-4 md3-5 md3-6 md3-7 md3-8 ym2026-3");
        check("上周三", "m3 md3-4 y2026 ym2026-3");
        check("上个星期天我们去哪了", "m3 md3-8 y2026 ym2026-3");
        check("last friday", "m3 md3-6 y2026 ym2026-3");
        check("上个月", "m2 y2026 ym2026-2");
        check("last month", "m2 y2026 ym2026-2");
        check("去年", "y2025");
        check("去年五月", "m5 y2025 ym2025-5");
        check("去年12月25日", "m12 md12-25 y2025 ym2025-12");
        check("前年", "y2024");
        check("last year", "y2025");
        check("last may", "m5 y2025 ym2025-5");
        check("last february", "m2 y2026 ym2026-2");
        check("next may", "m5 y2026 ym2026-5");
        check("三天前", "m3 md3-8 y2026 ym2026-3");
        check("3个月前", "m12 y2025 ym2025-12");
        check("two years ago", "y2024");
        check("a week ago", "md3-2 md3-3 md3-4 md3-5 md3-6 md3-7 md3-8 ym2026-3");
        check("999年前", "y1027");
        check("马上月底了", "");
        check("以前年轻的时候", "");
        check("tea", "");
    }
}
