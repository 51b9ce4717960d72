//! `昨天`, `上上周三`, `下个月初`, `去年五月`, `三周后`: what they name.

use std::sync::LazyLock;

use jiff::{
    ToSpan,
    civil::{Date, Weekday},
};

use super::rule::{Expression, Rule, rule};
use crate::analysis::{
    numerals::{NUMERAL, numeral, numeral_range},
    period::{Part, Period, moved, weekday_of},
};

pub(super) static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let which = "(?P<which>上{1,4}|这|本|下{1,4})(?P<one>一)?个?";
    let part = "(?P<part>初|头|上旬|中旬|中|下旬|底|末)?(?:份)?";
    let date = format!("(?:的?(?P<month>{NUMERAL})月(?:份|(?P<day>{NUMERAL})[日号])?)");
    vec![
        rule("(?P<day>大{0,3}前|大{0,3}后|昨|今|明)(?P<unit>天|日|晚|夜|早|晨|儿)", day),
        rule(&format!("{which}(?:周|星期|礼拜)(?P<weekday>[一二三四五六日天末])?"), week),
        rule(&format!("{which}月(?:的?(?P<day>{NUMERAL})[日号]|{part})"), month),
        rule(&format!("{which}季度?"), quarter),
        rule(
            &format!(
                "(?P<year>大?前|去|今|明|大?后)年(?:的?(?P<today>今天|今日)|{date}|的?年?(?P<part>初|中|底|末)|的?(?P<half>上|下)半年)?"
            ),
            year,
        ),
        rule(
            &format!(
                "(?P<count>{NUMERAL}|半)(?P<measure>个)?(?P<unit>小时|钟头|分钟|天|日|周|星期|礼拜|月|年)(?:以|之)?(?P<way>前|后)"
            ),
            distance,
        ),
        rule(
            &format!(
                "(?:最近|过去|近)的?(?P<count>{NUMERAL}|半)(?P<measure>个)?(?P<unit>天|日|周|星期|礼拜|月|年)"
            ),
            until_today,
        ),
    ]
});

fn day(found: &Expression<'_>) -> Option<Period> {
    let word = found.group("day")?;
    // Words that only look like one: 以前 and 以后, 目前, 今后, 最后, 然后, 后天性; 前夜 is any eve.
    let is_another = match word {
        "前" | "后" => {
            found.before.is_some_and(|c| "以之目今最然年月天日周午饭".contains(c))
                || !matches!(found.group("unit")?, "天" | "日" | "晚")
                || found.after == Some('性')
        }
        _ => false,
    };
    let is_another = is_another || found.before == Some('大');
    let further = i32::try_from(word.matches('大').count()).ok()?;
    let days = match word.trim_start_matches('大') {
        "前" => -2 - further,
        "昨" => -1,
        "今" => 0,
        "明" => 1,
        _ => 2 + further,
    };
    if is_another { None } else { moved(found.today(), days.days()).map(Period::Day) }
}

/// Steps from this week, month or quarter; none where the word before goes on into the expression:
/// 马上, 晚上, 早上, 以下, 日本.
fn steps(found: &Expression<'_>) -> Option<i32> {
    let which = found.group("which")?;
    let times = i32::try_from(which.chars().count()).ok()?;
    let (steps, others) = match which {
        "上" => (-1, "马晚早以上"),
        "下" => (1, "以如剩下"),
        "本" => (0, "日基根版"),
        which if which.starts_with('上') => (-times, "上"),
        which if which.starts_with('下') => (times, "下"),
        _ => (0, ""),
    };
    (!found.before.is_some_and(|c| others.contains(c))).then_some(steps)
}

fn week(found: &Expression<'_>) -> Option<Period> {
    let then = moved(found.today(), steps(found)?.weeks())?;
    match found.group("weekday") {
        None => Period::week(then),
        // 下一个周五: the next one to come for some, that of next week for others.
        Some(_) if found.group("one").is_some() => None,
        Some("末") => Period::weekend(then),
        // 上周一共, 这周一直, 上周五十人, 下周三次: the numeral belongs to what follows.
        Some(weekday) => {
            let goes_on = match weekday {
                "一" => "共直起样定般些下点个次路切律十百千万月周",
                _ => "个次月周十百千万",
            };
            if found.after.is_some_and(|c| goes_on.contains(c)) {
                return Period::week(then);
            }
            let at = "一二三四五六日".find(weekday).map_or(6, |at| at / '一'.len_utf8());
            let weekday = Weekday::from_monday_zero_offset(i8::try_from(at).ok()?).ok()?;
            weekday_of(then, weekday).map(Period::Day)
        }
    }
}

fn month(found: &Expression<'_>) -> Option<Period> {
    let then = moved(found.today().first_of_month(), steps(found)?.months())?;
    if let Some(day) = found.group("day") {
        let day = i8::try_from(numeral(day)?).ok()?;
        return then.with().day(day).build().ok().map(Period::Day);
    }
    let month = Period::Month(then);
    match found.group("part") {
        // 上月球, 月饼, 月中国.
        None if found.after.is_some_and(|c| "球亮饼".contains(c)) => None,
        None => Some(month),
        Some("中") if found.after.is_some_and(|c| "国秋午文学心间".contains(c)) => {
            Some(month)
        }
        Some(part) => month.part(part_of(part)),
    }
}

fn part_of(part: &str) -> Part {
    match part {
        "初" | "头" | "上旬" => Part::Early,
        "中" | "中旬" => Part::Middle,
        _ => Part::Late,
    }
}

fn quarter(found: &Expression<'_>) -> Option<Period> {
    Period::quarter(moved(found.today().first_of_month(), (3 * steps(found)?).months())?)
}

fn year(found: &Expression<'_>) -> Option<Period> {
    let word = found.group("year")?;
    // 以前年轻, 目前年薪, 今后年年, 三年前年会.
    if found.before == Some('大')
        || matches!(word, "前" | "后") && found.before.is_some_and(|c| "以之目今最然年".contains(c))
    {
        return None;
    }
    let years = match word {
        "大前" => -3,
        "前" => -2,
        "去" => -1,
        "今" => 0,
        "明" => 1,
        "后" => 2,
        _ => 3,
    };
    let year = moved(found.today().first_of_month(), years.years())?.year();
    if found.group("today").is_some() {
        return found.today().with().year(year).build().ok().map(Period::Day);
    }
    let month = |month: i8| Date::new(year, month, 1).ok();
    if let Some(text) = found.group("month") {
        let month = month(i8::try_from(numeral(text)?).ok()?)?;
        let Some(day) = found.group("day") else { return Some(Period::Month(month)) };
        let day = i8::try_from(numeral(day)?).ok()?;
        return month.with().day(day).build().ok().map(Period::Day);
    }
    match (found.group("part"), found.group("half")) {
        (Some("中"), _) if found.after.is_some_and(|c| "国秋午文学心间".contains(c)) => {
            Some(Period::Year(year))
        }
        (Some(part), _) => Period::Year(year).part(part_of(part)),
        (None, Some("上")) => Some(Period::Days(month(1)?, month(6)?.last_of_month())),
        (None, Some(_)) => Some(Period::Days(month(7)?, month(12)?.last_of_month())),
        (None, None) => Some(Period::Year(year)),
    }
}

fn distance(found: &Expression<'_>) -> Option<Period> {
    let unit = found.group("unit")?;
    // 5月3日前 is before the third, 五月前 before May; 三天前往 goes on.
    if found.before.is_some_and(|c| c.is_ascii_digit() || c == '月' || c == '第')
        || (unit == "月" && found.group("measure").is_none())
        || found.after == Some('往')
    {
        return None;
    }
    let sign = if found.group("way")? == "前" { -1 } else { 1 };
    let today = found.today();
    if found.group("count")? == "半" {
        return Some(match unit {
            "年" => Period::Month(moved(today, (sign * 6).months())?),
            "月" => Period::Day(moved(today, (sign * 15).days())?),
            "周" | "星期" | "礼拜" => Period::Day(moved(today, (sign * 3).days())?),
            "天" => Period::Day(found.now.checked_add((sign * 12).hours()).ok()?.date()),
            _ => Period::Day(found.now.checked_add((sign * 30).minutes()).ok()?.date()),
        });
    }
    if let Some((few, more)) = numeral_range(found.group("count")?) {
        return between(unit, sign * few, sign * more, today);
    }
    let count = sign * numeral(found.group("count")?)?;
    if unit == "年" && count.abs() > 999 {
        return None; // 2019年前 is before that year.
    }
    Some(match unit {
        "小时" | "钟头" => Period::Day(found.now.checked_add(count.hours()).ok()?.date()),
        "分钟" => Period::Day(found.now.checked_add(count.minutes()).ok()?.date()),
        "天" | "日" => Period::Day(moved(today, count.days())?),
        "周" | "星期" | "礼拜" => Period::week(moved(today, count.weeks())?)?,
        "月" => Period::Month(moved(today, count.months())?),
        _ => Period::Year(moved(today, count.years())?.year()),
    })
}

/// `三四天前`: all from one distance to the other.
fn between(unit: &str, one: i32, other: i32, today: Date) -> Option<Period> {
    let (first, last) = (one.min(other), one.max(other));
    Some(match unit {
        "天" | "日" => Period::Days(moved(today, first.days())?, moved(today, last.days())?),
        "周" | "星期" | "礼拜" => Period::Days(
            weekday_of(moved(today, first.weeks())?, Weekday::Monday)?,
            weekday_of(moved(today, last.weeks())?, Weekday::Sunday)?,
        ),
        "月" => Period::Days(
            moved(today, first.months())?.first_of_month(),
            moved(today, last.months())?.last_of_month(),
        ),
        "年" => Period::Days(
            moved(today, first.years())?.first_of_year(),
            moved(today, last.years())?.last_of_year(),
        ),
        _ => Period::Day(today), // Hours and minutes.
    })
}

fn until_today(found: &Expression<'_>) -> Option<Period> {
    let unit = found.group("unit")?;
    let count = match found.group("count")? {
        "半" => {
            return match unit {
                "年" => Some(Period::Days(moved(found.today(), (-6).months())?, found.today())),
                "月" => Some(Period::Days(moved(found.today(), (-14).days())?, found.today())),
                _ => None,
            };
        }
        // `最近三四天`: the longer of both.
        count => numeral_range(count).map(|(_, more)| more).or_else(|| numeral(count))?,
    };
    let today = found.today();
    let first = match unit {
        "天" | "日" => moved(today, (1 - count).days()),
        "周" | "星期" | "礼拜" => moved(today, (1 - 7 * count).days()),
        "月" if found.group("measure").is_none() => None,
        "月" => moved(today, (-count).months()),
        _ => moved(today, (-count).years()),
    };
    (count > 0).then_some(Period::Days(first?, today))
}
