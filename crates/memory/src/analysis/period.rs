//! A stretch of days that a text names, and the terms under which it is found.

use std::collections::BTreeSet;

use jiff::{
    ToSpan,
    civil::{Date, Weekday},
};

/// Longest stretch that is found day by day; a longer one is found by its months.
const DAYS_MAX: i32 = 31;

/// A stretch of days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Period {
    Day(Date),
    /// The first and the last.
    Days(Date, Date),
    /// A month of a year, by any of its days.
    Month(Date),
    Year(i16),
}

impl Period {
    /// From Monday to Sunday.
    pub(crate) fn week(day: Date) -> Option<Self> {
        let monday = weekday_of(day, Weekday::Monday)?;
        Some(Self::Days(monday, moved(monday, 6.days())?))
    }

    /// Saturday and Sunday of the week of a day.
    pub(crate) fn weekend(day: Date) -> Option<Self> {
        Some(Self::Days(weekday_of(day, Weekday::Saturday)?, weekday_of(day, Weekday::Sunday)?))
    }

    pub(crate) fn quarter(day: Date) -> Option<Self> {
        let first = Date::new(day.year(), (day.month() - 1) / 3 * 3 + 1, 1).ok()?;
        Some(Self::Days(first, moved(first, 2.months())?.last_of_month()))
    }

    /// The same part of a week, a month or a year: its beginning, middle or end.
    pub(crate) fn part(self, part: Part) -> Option<Self> {
        Some(match self {
            Self::Month(day) => {
                let (first, last) = match part {
                    Part::Early => (1, 10),
                    Part::Middle => (11, 20),
                    Part::Late => (21, day.days_in_month()),
                };
                Self::Days(day.with().day(first).build().ok()?, day.with().day(last).build().ok()?)
            }
            Self::Year(year) => {
                let (first, last) = match part {
                    Part::Early => (1, 3),
                    Part::Middle => (5, 8),
                    Part::Late => (10, 12),
                };
                Self::Days(
                    Date::new(year, first, 1).ok()?,
                    Date::new(year, last, 1).ok()?.last_of_month(),
                )
            }
            Self::Days(first, last) => match part {
                Part::Early => Self::Days(first, moved(first, 2.days())?),
                Part::Middle => Self::Days(moved(first, 2.days())?, moved(last, (-2).days())?),
                Part::Late => Self::Days(moved(last, (-2).days())?, last),
            },
            Self::Day(_) => self,
        })
    }

    /// The terms under which it is found.
    pub(crate) fn terms(self) -> BTreeSet<String> {
        match self {
            Self::Day(day) => {
                terms(Some(day.year().into()), Some(day.month().into()), Some(day.day().into()))
            }
            Self::Month(day) => terms(Some(day.year().into()), Some(day.month().into()), None),
            Self::Year(year) => terms(Some(year.into()), None, None),
            Self::Days(first, last) => {
                let days = first.until(last).map_or(0, |span| span.get_days()) + 1;
                if days <= DAYS_MAX {
                    return (0..days)
                        .filter_map(|more| moved(first, more.days()))
                        .flat_map(|day| {
                            let month = day.month();
                            [
                                format!("d:md{month}-{}", day.day()),
                                format!("d:ym{}-{month}", day.year()),
                            ]
                        })
                        .collect();
                }
                let months =
                    (0..=60).filter_map(|more| moved(first.first_of_month(), more.months()));
                months
                    .take_while(|month| *month <= last)
                    .flat_map(|month| Self::Month(month).terms())
                    .collect()
            }
        }
    }
}

/// A part of a week, a month or a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Early,
    Middle,
    Late,
}

/// The terms of whatever is known of a date; nothing when it cannot be one.
pub(crate) fn terms(year: Option<i32>, month: Option<i32>, day: Option<i32>) -> BTreeSet<String> {
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

/// That day in the week, from Monday to Sunday, of `day`.
pub(crate) fn weekday_of(day: Date, weekday: Weekday) -> Option<Date> {
    let back = day.weekday().to_monday_zero_offset() - weekday.to_monday_zero_offset();
    moved(day, (-i32::from(back)).days())
}

pub(crate) fn moved(day: Date, by: jiff::Span) -> Option<Date> {
    day.checked_add(by).ok()
}
