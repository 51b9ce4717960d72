//! `yesterday`, `last Friday`, `the week before last`, `early next month`, `two days ago`: what they
//! name.

use std::sync::LazyLock;

use jiff::{
    ToSpan,
    civil::{Date, Weekday},
};

use super::rule::{Expression, Rule, rule};
use crate::analysis::{
    numerals::{COUNT, count},
    period::{Part, Period, moved, weekday_of},
};

/// `\b` of ASCII, since a Chinese character beside a letter is no word that goes on.
const EDGE: &str = r"(?-u:\b)";
const MONTH: &str = "(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|\
     aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)";
const WEEKDAY: &str = "(?P<weekday>mon|tues|wednes|thurs|fri|satur|sun)day";
const UNIT: &str = "(?P<unit>minute|hour|day|week|fortnight|month|year)s?";
const WHICH: &str = "(?P<which>last|past|previous|this\\s+past|this\\s+coming|this|current|coming|\
     next|following)";
const NTH: &str = "(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?";

pub(super) static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |pattern: String, read| rule(&format!("{EDGE}(?:{pattern}){EDGE}"), read);
    let part = r"(?P<part>early|earlier|late|later|mid|beginning|start|middle|end)";
    vec![
        rule(
            r"(?:the\s+)?(?P<word>day\s+before\s+yesterday|day\s+after\s+tomorrow|night\s+before\s+last|yesterday|today|tonight|tomorrow|last\s+night|this\s+(?:morning|afternoon|evening))".into(),
            day,
        ),
        rule(format!(r"(?P<count>{COUNT})\s+{UNIT}\s+(?P<way>ago|from\s+now|hence)(?:\s+(?P<exact>today|yesterday|tomorrow))?"), distance),
        rule(format!(r"in\s+(?P<count>{COUNT})\s+{UNIT}(?P<way>)"), distance),
        rule(r"half\s+an?\s+(?P<half>hour|day|week|month|year)\s+ago".to_owned(), half_ago),
        rule(format!(r"(?:{part}[\s-]+(?:(?:in|of)\s+)?(?:the\s+)?)?{WHICH}\s+(?P<unit>week|month|quarter|year)"), unit),
        rule(format!(r"{WHICH}\s+weekend"), weekend),
        rule(r"the\s+(?P<unit>week|weekend|month|year)\s+(?P<way>before\s+last|after\s+next)".into(), one_further),
        rule(format!(r"(?:the\s+)?{WEEKDAY}\s+(?P<way>before\s+last|after\s+next)"), weekday_further),
        rule(format!(r"(?:on\s+)?{WHICH}\s+{WEEKDAY}"), weekday),
        rule(format!(r"{WEEKDAY}(?:\s+of)?\s+{WHICH}\s+week|{}\s+week(?:'s)?(?:\s+on)?\s+{}", WHICH.replace("which", "first"), WEEKDAY.replace("weekday", "last")), weekday_of_week),
        rule(format!(r"(?:the\s+)?{NTH}\s+of\s+{WHICH}\s+month"), day_of_month),
        rule(format!(r"{WHICH}\s+{MONTH}(?:\s+{NTH})?"), month),
        rule(format!(r"(?:{MONTH}(?:\s+{NTH})?,?|{NTH_OF}\s+(?:of\s+)?{MONTH_OF})\s+(?:of\s+)?{WHICH}\s+year", NTH_OF = NTH.replace("day", "nth"), MONTH_OF = MONTH.replace("month", "of")), month_of_year),
        rule(format!(r"(?:the\s+)?(?:last|past|previous)\s+(?P<count>{COUNT})\s+(?P<unit>day|week|month|year)s"), until_today),
        rule(format!(r"(?:a|(?P<count>{COUNT}))\s+(?P<unit>week|month|year)s?\s+from\s+(?P<word>today|tomorrow)"), from_day),
    ]
});

fn day(found: &Expression<'_>) -> Option<Period> {
    let word = found.group("word")?;
    let days = match word {
        "yesterday" => -1,
        "tomorrow" => 1,
        word if word.starts_with("day") && word.ends_with("yesterday") => -2,
        word if word.starts_with("day") => 2,
        word if word.starts_with("night") => -2,
        word if word.starts_with("last") => -1,
        _ => 0,
    };
    moved(found.today(), days.days()).map(Period::Day)
}

fn distance(found: &Expression<'_>) -> Option<Period> {
    let sign = if found.group("way")? == "ago" { -1 } else { 1 };
    let count = sign * count(found.group("count")?)?;
    let is_exact = found.group("exact").is_some();
    let days = match found.group("exact") {
        Some("yesterday") => -1,
        Some("tomorrow") => 1,
        Some(_) | None => 0,
    };
    let today = moved(found.today(), days.days())?;
    Some(match found.group("unit")? {
        "minute" => Period::Day(found.now.checked_add(count.minutes()).ok()?.date()),
        "hour" => Period::Day(found.now.checked_add(count.hours()).ok()?.date()),
        "day" => Period::Day(moved(today, count.days())?),
        "week" if is_exact => Period::Day(moved(today, count.weeks())?),
        "week" => Period::week(moved(today, count.weeks())?)?,
        "fortnight" => Period::week(moved(today, (2 * count).weeks())?)?,
        "month" if is_exact => Period::Day(moved(today, count.months())?),
        "month" => Period::Month(moved(today, count.months())?),
        _ if is_exact => Period::Day(moved(today, count.years())?),
        _ => Period::Year(moved(today, count.years())?.year()),
    })
}

fn half_ago(found: &Expression<'_>) -> Option<Period> {
    Some(match found.group("half")? {
        "hour" => Period::Day(found.now.checked_sub(30.minutes()).ok()?.date()),
        "day" => Period::Day(found.now.checked_sub(12.hours()).ok()?.date()),
        "week" => Period::Day(moved(found.today(), (-3).days())?),
        "month" => Period::Day(moved(found.today(), (-15).days())?),
        _ => Period::Month(moved(found.today(), (-6).months())?),
    })
}

/// Steps from this week, month or year.
fn steps(which: &str) -> i32 {
    match which {
        "last" | "past" | "previous" => -1,
        which if which.ends_with("past") => -1,
        "next" | "coming" | "following" => 1,
        which if which.ends_with("coming") => 1,
        _ => 0,
    }
}

fn unit(found: &Expression<'_>) -> Option<Period> {
    let (today, steps) = (found.today(), steps(found.group("which")?));
    let period = match found.group("unit")? {
        "week" => Period::week(moved(today, steps.weeks())?)?,
        "month" => Period::Month(moved(today.first_of_month(), steps.months())?),
        "quarter" => Period::quarter(moved(today.first_of_month(), (3 * steps).months())?)?,
        _ => Period::Year(moved(today.first_of_month(), steps.years())?.year()),
    };
    match found.group("part") {
        // `earlier this week` is any day of it.
        None | Some("earlier" | "later") => Some(period),
        Some("early" | "beginning" | "start") => period.part(Part::Early),
        Some("mid" | "middle") => period.part(Part::Middle),
        Some(_) => period.part(Part::Late),
    }
}

fn weekend(found: &Expression<'_>) -> Option<Period> {
    Period::weekend(moved(found.today(), steps(found.group("which")?).weeks())?)
}

fn one_further(found: &Expression<'_>) -> Option<Period> {
    let steps = if found.group("way")?.starts_with("before") { -2 } else { 2 };
    let today = found.today();
    match found.group("unit")? {
        "week" => Period::week(moved(today, steps.weeks())?),
        "weekend" => Period::weekend(moved(today, steps.weeks())?),
        "month" => Some(Period::Month(moved(today.first_of_month(), steps.months())?)),
        _ => Some(Period::Year(moved(today.first_of_month(), steps.years())?.year())),
    }
}

/// `last Friday` is the latest that is over, `this Friday` that of this week, `next Friday` that of
/// next week, `this coming Friday` the first to come.
fn weekday(found: &Expression<'_>) -> Option<Period> {
    let weekday = weekday_named(found.group("weekday")?)?;
    let today = found.today();
    let which = found.group("which")?;
    Some(Period::Day(match steps(which) {
        -1 => today.nth_weekday(-1, weekday).ok()?,
        1 if which.ends_with("coming") || which == "following" => {
            today.nth_weekday(1, weekday).ok()?
        }
        steps => weekday_of(moved(today, steps.weeks())?, weekday)?,
    }))
}

fn weekday_further(found: &Expression<'_>) -> Option<Period> {
    let weekday = weekday_named(found.group("weekday")?)?;
    let today = found.today();
    Some(Period::Day(if found.group("way")?.starts_with("before") {
        today.nth_weekday(-2, weekday).ok()?
    } else {
        weekday_of(moved(today, 2.weeks())?, weekday)?
    }))
}

fn weekday_of_week(found: &Expression<'_>) -> Option<Period> {
    let weekday = found.group("weekday").or_else(|| found.group("last"))?;
    let which = found.group("which").or_else(|| found.group("first"))?;
    let then = moved(found.today(), steps(which).weeks())?;
    weekday_of(then, weekday_named(weekday)?).map(Period::Day)
}

fn day_of_month(found: &Expression<'_>) -> Option<Period> {
    let month = moved(found.today().first_of_month(), steps(found.group("which")?).months())?;
    on(month, found.group("day")?)
}

/// `last May` is the latest that is over, `next May` the first to begin.
fn month(found: &Expression<'_>) -> Option<Period> {
    let month = month_named(found.group("month")?)?;
    let this = found.today().month();
    let years = match steps(found.group("which")?) {
        -1 if month >= this => -1,
        1 if month <= this => 1,
        _ => 0,
    };
    let month = Date::new(found.today().year().checked_add(years)?, month, 1).ok()?;
    found.group("day").map_or(Some(Period::Month(month)), |day| on(month, day))
}

fn month_of_year(found: &Expression<'_>) -> Option<Period> {
    let month = month_named(found.group("month").or_else(|| found.group("of"))?)?;
    let year = moved(found.today().first_of_month(), steps(found.group("which")?).years())?.year();
    let month = Date::new(year, month, 1).ok()?;
    let day = found.group("day").or_else(|| found.group("nth"));
    day.map_or(Some(Period::Month(month)), |day| on(month, day))
}

fn until_today(found: &Expression<'_>) -> Option<Period> {
    let (today, count) = (found.today(), count(found.group("count")?)?);
    let first = match found.group("unit")? {
        "day" => moved(today, (1 - count).days()),
        "week" => moved(today, (1 - 7 * count).days()),
        "month" => moved(today, (-count).months()),
        _ => moved(today, (-count).years()),
    };
    (count > 0).then_some(Period::Days(first?, today))
}

fn from_day(found: &Expression<'_>) -> Option<Period> {
    let count = found.group("count").map_or(Some(1), count)?;
    let from = moved(found.today(), i32::from(found.group("word")? == "tomorrow").days())?;
    moved(
        from,
        match found.group("unit")? {
            "week" => count.weeks(),
            "month" => count.months(),
            _ => count.years(),
        },
    )
    .map(Period::Day)
}

fn on(month: Date, day: &str) -> Option<Period> {
    month.with().day(day.parse().ok()?).build().ok().map(Period::Day)
}

fn month_named(name: &str) -> Option<i8> {
    const NAMES: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    (1..).zip(NAMES).find(|(_, month)| name.starts_with(month)).map(|(month, _)| month)
}

fn weekday_named(name: &str) -> Option<Weekday> {
    const NAMES: [&str; 7] = ["mon", "tues", "wednes", "thurs", "fri", "satur", "sun"];
    let at = NAMES.iter().position(|each| *each == name)?;
    Weekday::from_monday_zero_offset(i8::try_from(at).ok()?).ok()
}
