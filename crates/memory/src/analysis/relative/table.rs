//! What expressions mean, seen from one moment each: a table, and a few moments of their own.

use jiff::{Zoned, civil::date};

use super::{Period, periods};

const WEDNESDAY: &str = "2026-03-11T10:00:00+08:00[Asia/Shanghai]";

/// `2026-03-10`, `2026-03-02..2026-03-08`, `2026-02` or `2025`, several with blanks between.
fn shown(found: &[Period]) -> String {
    let one = |period: &Period| match period {
        Period::Day(day) => day.to_string(),
        Period::Days(first, last) => format!("{first}..{last}"),
        Period::Month(day) => day.strftime("%Y-%m").to_string(),
        Period::Year(year) => year.to_string(),
    };
    found.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn check(now: &str, rows: &[(&str, &str)]) {
    let now: Zoned = now.parse().unwrap();
    let wrong: Vec<_> = rows
        .iter()
        .map(|(text, want)| (*text, *want, shown(&periods(text, &now))))
        .filter(|(_, want, got)| want != got)
        .collect();
    assert!(wrong.is_empty(), "seen from {now} (text, want, got): {wrong:#?}");
}

#[test]
fn english_expressions() {
    check(
        WEDNESDAY,
        &[
            ("today", "2026-03-11"),
            ("tonight", "2026-03-11"),
            ("this morning", "2026-03-11"),
            ("this afternoon", "2026-03-11"),
            ("this evening", "2026-03-11"),
            ("what did i do yesterday?", "2026-03-10"),
            ("yesterday evening", "2026-03-10"),
            ("last night", "2026-03-10"),
            ("the night before last", "2026-03-09"),
            ("the day before yesterday", "2026-03-09"),
            ("day before yesterday", "2026-03-09"),
            ("tomorrow", "2026-03-12"),
            ("tomorrow night", "2026-03-12"),
            ("the day after tomorrow", "2026-03-13"),
            ("on the day  after tomorrow", "2026-03-13"),
            ("yesterday or today", "2026-03-10 2026-03-11"),
            ("one day ago", "2026-03-10"),
            ("3 days ago", "2026-03-08"),
            ("a couple of days ago", "2026-03-09"),
            ("ten days ago", "2026-03-01"),
            ("11 days ago", "2026-02-28"),
            ("a week ago", "2026-03-02..2026-03-08"),
            ("a week ago today", "2026-03-04"),
            ("two weeks ago", "2026-02-23..2026-03-01"),
            ("a fortnight ago", "2026-02-23..2026-03-01"),
            ("a month ago", "2026-02"),
            ("three months ago", "2025-12"),
            ("two years ago", "2024"),
            ("a year ago today", "2025-03-11"),
            ("half a year ago", "2025-09"),
            ("half an hour ago", "2026-03-11"),
            ("two hours ago", "2026-03-11"),
            ("11 hours ago", "2026-03-10"),
            ("in 3 days", "2026-03-14"),
            ("in a week", "2026-03-16..2026-03-22"),
            ("in two months", "2026-05"),
            ("3 days from now", "2026-03-14"),
            ("a week from today", "2026-03-18"),
            ("a week from tomorrow", "2026-03-19"),
            ("two weeks from today", "2026-03-25"),
            ("this week", "2026-03-09..2026-03-15"),
            ("last week", "2026-03-02..2026-03-08"),
            ("past week", "2026-03-02..2026-03-08"),
            ("next week", "2026-03-16..2026-03-22"),
            ("the week before last", "2026-02-23..2026-03-01"),
            ("the week after next", "2026-03-23..2026-03-29"),
            ("earlier this week", "2026-03-09..2026-03-15"),
            ("early next week", "2026-03-16..2026-03-18"),
            ("late last week", "2026-03-06..2026-03-08"),
            ("this weekend", "2026-03-14..2026-03-15"),
            ("last weekend", "2026-03-07..2026-03-08"),
            ("next weekend", "2026-03-21..2026-03-22"),
            ("the weekend before last", "2026-02-28..2026-03-01"),
            ("this month", "2026-03"),
            ("last month", "2026-02"),
            ("next month", "2026-04"),
            ("the month before last", "2026-01"),
            ("the month after next", "2026-05"),
            ("early next month", "2026-04-01..2026-04-10"),
            ("mid last month", "2026-02-11..2026-02-20"),
            ("at the end of last month", "2026-02-21..2026-02-28"),
            ("at the beginning of this month", "2026-03-01..2026-03-10"),
            ("the 5th of last month", "2026-02-05"),
            ("the 31st of last month", "2026-02"),
            ("this quarter", "2026-01-01..2026-03-31"),
            ("last quarter", "2025-10-01..2025-12-31"),
            ("this year", "2026"),
            ("last year", "2025"),
            ("next year", "2027"),
            ("the year before last", "2024"),
            ("early this year", "2026-01-01..2026-03-31"),
            ("at the end of last year", "2025-10-01..2025-12-31"),
            ("last may", "2025-05"),
            ("last february", "2026-02"),
            ("last march", "2025-03"),
            ("this december", "2026-12"),
            ("next may", "2026-05"),
            ("next march", "2027-03"),
            ("last may 5th", "2025-05-05"),
            ("may last year", "2025-05"),
            ("in march of last year", "2025-03"),
            ("december 25 last year", "2025-12-25"),
            ("the 25th of december last year", "2025-12-25"),
            ("last monday", "2026-03-09"),
            ("last wednesday", "2026-03-04"),
            ("last friday", "2026-03-06"),
            ("this past friday", "2026-03-06"),
            ("this friday", "2026-03-13"),
            ("this monday", "2026-03-09"),
            ("this wednesday", "2026-03-11"),
            ("this coming friday", "2026-03-13"),
            ("this coming monday", "2026-03-16"),
            ("coming wednesday", "2026-03-18"),
            ("next monday", "2026-03-16"),
            ("next friday", "2026-03-20"),
            ("next sunday", "2026-03-22"),
            ("the friday before last", "2026-02-27"),
            ("friday after next", "2026-03-27"),
            ("friday last week", "2026-03-06"),
            ("tuesday of next week", "2026-03-17"),
            ("next week on tuesday", "2026-03-17"),
            ("last week's thursday", "2026-03-05"),
            ("over the last 3 days", "2026-03-09..2026-03-11"),
            ("in the past two weeks", "2026-02-26..2026-03-11"),
            ("the last six months", "2025-09-11..2026-03-11"),
            ("friday", ""),
            ("nowadays", ""),
            ("for three days", ""),
            ("yesterdays", ""),
            ("the last week-end trip", "2026-03-02..2026-03-08"),
        ],
    );
}

#[test]
fn chinese_expressions_in_simplified_characters() {
    check(
        WEDNESDAY,
        &[
            ("今天", "2026-03-11"),
            ("今日", "2026-03-11"),
            ("今晚吃什么", "2026-03-11"),
            ("今早", "2026-03-11"),
            ("今晨", "2026-03-11"),
            ("昨天吃了什么", "2026-03-10"),
            ("昨日", "2026-03-10"),
            ("昨晚", "2026-03-10"),
            ("昨夜", "2026-03-10"),
            ("前天", "2026-03-09"),
            ("前晚", "2026-03-09"),
            ("大前天", "2026-03-08"),
            ("明天", "2026-03-12"),
            ("明早八点", "2026-03-12"),
            ("明晚", "2026-03-12"),
            ("后天", "2026-03-13"),
            ("大后天", "2026-03-14"),
            ("昨天和前天", "2026-03-10 2026-03-09"),
            ("三天前", "2026-03-08"),
            ("3天之前", "2026-03-08"),
            ("十五天前", "2026-02-24"),
            ("两天后", "2026-03-13"),
            ("两天以后", "2026-03-13"),
            ("半小时前", "2026-03-11"),
            ("两个小时前", "2026-03-11"),
            ("11个小时前", "2026-03-10"),
            ("一周前", "2026-03-02..2026-03-08"),
            ("两周后", "2026-03-23..2026-03-29"),
            ("三个星期前", "2026-02-16..2026-02-22"),
            ("两个礼拜前", "2026-02-23..2026-03-01"),
            ("半个月前", "2026-02-24"),
            ("3个月前", "2025-12"),
            ("一个月后", "2026-04"),
            ("半年前", "2025-09"),
            ("两年前", "2024"),
            ("999年前", "1027"),
            ("这周", "2026-03-09..2026-03-15"),
            ("本周", "2026-03-09..2026-03-15"),
            ("这个星期", "2026-03-09..2026-03-15"),
            ("上周", "2026-03-02..2026-03-08"),
            ("上个礼拜", "2026-03-02..2026-03-08"),
            ("上一周", "2026-03-02..2026-03-08"),
            ("上上周", "2026-02-23..2026-03-01"),
            ("上上个星期", "2026-02-23..2026-03-01"),
            ("下周", "2026-03-16..2026-03-22"),
            ("下下周", "2026-03-23..2026-03-29"),
            ("下个星期", "2026-03-16..2026-03-22"),
            ("这周五", "2026-03-13"),
            ("本周一", "2026-03-09"),
            ("上周三", "2026-03-04"),
            ("上上周三", "2026-02-25"),
            ("上个星期天我们去哪了", "2026-03-08"),
            ("上周日", "2026-03-08"),
            ("下周二下午", "2026-03-17"),
            ("下下周五", "2026-03-27"),
            ("下个礼拜六", "2026-03-21"),
            ("这个周末", "2026-03-14..2026-03-15"),
            ("上周末", "2026-03-07..2026-03-08"),
            ("下周末", "2026-03-21..2026-03-22"),
            ("上周一共去了几次", "2026-03-02..2026-03-08"),
            ("这周一直在下雨", "2026-03-09..2026-03-15"),
            ("上周五个人来了", "2026-03-02..2026-03-08"),
            ("这个月", "2026-03"),
            ("本月", "2026-03"),
            ("上个月", "2026-02"),
            ("上月", "2026-02"),
            ("上上个月", "2026-01"),
            ("下个月", "2026-04"),
            ("下下个月", "2026-05"),
            ("下个月初", "2026-04-01..2026-04-10"),
            ("上个月中旬", "2026-02-11..2026-02-20"),
            ("上月底", "2026-02-21..2026-02-28"),
            ("本月末", "2026-03-21..2026-03-31"),
            ("这个月下旬", "2026-03-21..2026-03-31"),
            ("上个月5号", "2026-02-05"),
            ("下个月十五号", "2026-04-15"),
            ("上个月31号", ""),
            ("这个月中国队赢了吗", "2026-03"),
            ("上个季度", "2025-10-01..2025-12-31"),
            ("本季度", "2026-01-01..2026-03-31"),
            ("今年", "2026"),
            ("去年", "2025"),
            ("前年", "2024"),
            ("大前年", "2023"),
            ("明年", "2027"),
            ("后年", "2028"),
            ("去年五月", "2025-05"),
            ("去年的5月份", "2025-05"),
            ("去年12月25日", "2025-12-25"),
            ("明年一月十五号", "2027-01-15"),
            ("去年年底", "2025-10-01..2025-12-31"),
            ("去年底", "2025-10-01..2025-12-31"),
            ("今年年初", "2026-01-01..2026-03-31"),
            ("明年初", "2027-01-01..2027-03-31"),
            ("去年上半年", "2025-01-01..2025-06-30"),
            ("去年下半年", "2025-07-01..2025-12-31"),
            ("最近三天", "2026-03-09..2026-03-11"),
            ("过去两周", "2026-02-26..2026-03-11"),
            ("最近半年", "2025-09-11..2026-03-11"),
            ("马上月底了", ""),
            ("马上周末了", ""),
            ("晚上周五见", ""),
            ("以前年轻的时候", ""),
            ("目前天气不错", ""),
            ("以后天天运动", ""),
            ("今后天气会变暖", ""),
            ("后天性的", ""),
            ("五月前", ""),
            ("5月3日前", ""),
            ("2019年前", ""),
            ("三天前往北京", ""),
            ("日本周刊", ""),
            ("上月球", ""),
            ("周五", ""),
        ],
    );
}

#[test]
fn the_edges_of_months_years_and_weeks() {
    check(
        "2026-01-01T00:05:00+00:00[UTC]",
        &[
            ("yesterday", "2025-12-31"),
            ("the day before yesterday", "2025-12-30"),
            ("last week", "2025-12-22..2025-12-28"),
            ("this week", "2025-12-29..2026-01-04"),
            ("last month", "2025-12"),
            ("last year", "2025"),
            ("10 minutes ago", "2025-12-31"),
            ("上个月底", "2025-12-21..2025-12-31"),
            ("大前天", "2025-12-29"),
            ("上周四", "2025-12-25"),
        ],
    );
    check(
        "2028-02-29T23:55:00+00:00[UTC]",
        &[
            ("tomorrow", "2028-03-01"),
            ("in 10 minutes", "2028-03-01"),
            ("a year ago today", "2027-02-28"),
            ("last month", "2028-01"),
            ("next month", "2028-03"),
            ("明天", "2028-03-01"),
        ],
    );
    // The last of a month: the month before has no such day.
    check("2026-03-31T12:00:00+00:00[UTC]", &[("last month", "2026-02"), ("下个月", "2026-04")]);
    // A Sunday is the last day of its week, a Monday the first.
    check(
        "2026-03-15T12:00:00+00:00[UTC]",
        &[
            ("this friday", "2026-03-13"),
            ("last friday", "2026-03-13"),
            ("next monday", "2026-03-16"),
            ("这周一", "2026-03-09"),
            ("下周一", "2026-03-16"),
        ],
    );
    check(
        "2026-03-16T12:00:00+00:00[UTC]",
        &[("last sunday", "2026-03-15"), ("上周日", "2026-03-15"), ("this sunday", "2026-03-22")],
    );
}

#[test]
fn words_around_an_expression_belong_to_it() {
    check(
        "2026-11-26T10:00:00+08:00[Asia/Shanghai]",
        &[
            ("two days before yesterday", "2026-11-23"),
            ("the day before last friday", "2026-11-19"),
            ("the day after next friday", "2026-12-05"),
            ("a week after tomorrow", "2026-12-04"),
            ("the day before last week", ""),
            ("twenty-one days ago", "2026-11-05"),
            ("thirty two days ago", "2026-10-25"),
            ("nineteen days ago", "2026-11-07"),
            ("1.5 weeks ago", ""),
            ("half a month ago", "2026-11-11"),
            ("half a week ago", "2026-11-23"),
            ("昨天的前一天", "2026-11-24"),
            ("明天的第二天", "2026-11-28"),
            ("三四天前", "2026-11-22..2026-11-23"),
            ("两三天后", "2026-11-28..2026-11-29"),
            ("三五年前", "2021-01-01..2023-12-31"),
            ("半个月前", "2026-11-11"),
            ("半个星期前", "2026-11-23"),
            ("下下下周三", "2026-12-16"),
            ("上上上周一", "2026-11-02"),
            ("上上个月", "2026-09"),
            ("大大后天", "2026-11-30"),
            ("大大前天", "2026-11-22"),
            ("去年今天", "2025-11-26"),
        ],
    );
}

#[test]
fn an_expression_inside_of_another_is_read_with_it_or_not_at_all() {
    check(
        WEDNESDAY,
        &[
            ("明天的明天", "2026-03-13"),
            ("昨天的前天", "2026-03-08"),
            ("后天的后天", "2026-03-15"),
            ("昨天的明天", "2026-03-11"),
            ("昨天晚上的前一天", "2026-03-09"),
            ("三天前的昨天", "2026-03-07"),
            ("上周五的前天", "2026-03-04"),
            ("上周五的上周五", ""),
            ("一周后的今天", "2026-03-16..2026-03-22"),
            ("上个月的今天", "2026-02"),
            ("去年的昨天", "2025"),
            ("本周的下周", ""),
            ("去年的上个月", ""),
            ("下下周三", "2026-03-25"),
            ("下周的周三", "2026-03-16..2026-03-22"),
            ("下下下下下周三", ""),
            ("上上上上上周", ""),
            ("大大大大后天", ""),
            ("大大前年", ""),
            ("下一个周五", ""),
            ("下周三的前两天", ""),
            ("下周三之后两天", ""),
            ("下周三以后", "2026-03-18"),
            ("三天前后", ""),
            ("三天后前", ""),
            ("昨天、前天", "2026-03-10 2026-03-09"),
            ("tomorrow's tomorrow", "2026-03-13"),
            ("yesterday's yesterday", "2026-03-09"),
            ("the day after the day after tomorrow", "2026-03-14"),
            ("the day after the day after the day after tomorrow", "2026-03-15"),
            ("two days before the day before yesterday", "2026-03-07"),
            ("a week from tomorrow", "2026-03-19"),
            ("a week from next friday", "2026-03-27"),
            ("two weeks from yesterday", "2026-03-24"),
            ("3 days from next monday", "2026-03-19"),
            ("two months from next friday", "2026-05-20"),
            ("a year before last friday", "2025-03-06"),
            ("the day following next friday", "2026-03-21"),
            ("a week ago yesterday", "2026-03-03"),
            ("two weeks ago tomorrow", "2026-02-26"),
            ("a week ago last friday", ""),
            ("a week tomorrow", ""),
            ("tomorrow week", ""),
            ("next friday week", ""),
            ("the week of next monday", "2026-03-16..2026-03-22"),
            ("the friday after next week", ""),
            ("the night before yesterday", ""),
            ("next next week", ""),
            ("last last friday", ""),
            ("the second last friday", ""),
            ("the last week of next month", "2026-04"),
            ("the last friday of last month", "2026-02"),
            ("the last month of last year", "2025"),
            ("the last week of may", ""),
            ("last friday of november", ""),
            ("two or three weeks ago", ""),
            ("two to three weeks ago", ""),
            ("2-3 days ago", ""),
            ("more than 3 days ago", ""),
            ("over a year ago", ""),
            ("at least two weeks ago", ""),
            ("in a week or two", ""),
            ("in a day or two", ""),
            ("yesterday's report of last week", "2026-03-10 2026-03-02..2026-03-08"),
            ("monday of the week after next", "2026-03-23..2026-03-29"),
        ],
    );
}

#[test]
fn the_zone_says_what_today_is() {
    let instant: jiff::Timestamp = "2026-03-10T17:30:00Z".parse().unwrap();
    let check = |zone: &str, want: &str| {
        let now = instant.in_tz(zone).unwrap();
        assert_eq!(shown(&periods("yesterday", &now)), want, "{zone}");
        assert_eq!(shown(&periods("昨天", &now)), want, "{zone}");
    };
    check("UTC", "2026-03-09");
    check("Asia/Shanghai", "2026-03-10");
    check("America/Los_Angeles", "2026-03-09");
    check("Pacific/Kiritimati", "2026-03-10");
}

/// Clocks go from 2:00 to 3:00 on 2026-03-08 in New York, and back on 2026-11-01.
#[test]
fn days_and_hours_where_clocks_change() {
    check(
        "2026-03-09T00:30:00-04:00[America/New_York]",
        &[
            ("yesterday", "2026-03-08"),
            ("24 hours ago", "2026-03-07"),
            ("23 hours ago", "2026-03-08"),
            ("a week ago today", "2026-03-02"),
        ],
    );
    check(
        "2026-11-02T00:30:00-05:00[America/New_York]",
        &[("24 hours ago", "2026-11-01"), ("25 hours ago", "2026-11-01"), ("两天前", "2026-10-31")],
    );
}

#[test]
fn a_date_out_of_reach_is_none() {
    let now = date(9998, 12, 31).at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    assert_eq!(shown(&periods("in 9999 years", &now)), "");
    assert_eq!(shown(&periods("九千年后", &now)), "");
}
