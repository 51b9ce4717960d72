"""Reckoning with calendar dates. Knows neither MCP nor what day it is today."""

import calendar
from datetime import date, timedelta

from pydantic import BaseModel, Field

EN_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ZH_WEEKDAYS = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")


class DateError(ValueError):
    """The date does not exist or lies outside the years 1 to 9999. The message is for the model."""


class DateInfo(BaseModel):
    date: str = Field(description="ISO 8601, YYYY-MM-DD")
    weekday: str = Field(description="Monday … Sunday")
    weekday_zh: str = Field(description="星期一 … 星期日")
    iso_week: str = Field(description="ISO 8601 week, such as 2026-W09")
    day_of_year: int


class DateDifference(BaseModel):
    days: int = Field(description="From start to end; negative when the end is earlier")
    years: int = Field(description="Whole years of the calendar difference")
    months: int = Field(description="Whole months beyond the years")
    remaining_days: int = Field(description="Days beyond the months")
    weekdays: int = Field(
        description="Monday-to-Friday days after the earlier date up to the later one; "
        "public holidays are not known"
    )
    start: DateInfo
    end: DateInfo


def describe(day: date) -> DateInfo:
    year, week, weekday = day.isocalendar()
    return DateInfo(
        date=day.isoformat(),
        weekday=EN_WEEKDAYS[weekday - 1],
        weekday_zh=ZH_WEEKDAYS[weekday - 1],
        iso_week=f"{year:04d}-W{week:02d}",
        day_of_year=day.timetuple().tm_yday,
    )


def make_date(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise DateError(f"`{year:04d}-{month:02d}-{day:02d}` is not a calendar date") from None


def add(day: date, years: int = 0, months: int = 0, weeks: int = 0, days: int = 0) -> date:
    """Years and months first, held within the month (Jan 31 + 1 month is Feb 28 or 29), then days."""
    month_index = day.year * 12 + (day.month - 1) + years * 12 + months
    year, month = divmod(month_index, 12)
    month += 1
    try:
        last = calendar.monthrange(year, month)[1] if 1 <= year <= 9999 else 0
        return date(year, month, min(day.day, last)) + timedelta(days=weeks * 7 + days)
    except (ValueError, OverflowError):
        raise DateError("the result lies outside the years 1 to 9999") from None


def difference(start: date, end: date) -> DateDifference:
    earlier, later = sorted((start, end))
    months = (later.year - earlier.year) * 12 + later.month - earlier.month
    if add(earlier, months=months) > later:
        months -= 1
    return DateDifference(
        days=(end - start).days,
        years=months // 12,
        months=months % 12,
        remaining_days=(later - add(earlier, months=months)).days,
        weekdays=_weekdays_until(later) - _weekdays_until(earlier),
        start=describe(start),
        end=describe(end),
    )


def _weekdays_until(day: date) -> int:
    """Monday-to-Friday days from 0001-01-01, which was a Monday, up to `day`."""
    weeks, rest = divmod(day.toordinal(), 7)
    return weeks * 5 + min(rest, 5)
