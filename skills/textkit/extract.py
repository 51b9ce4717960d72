"""Finding dates in Chinese and English text. Knows neither MCP nor what day it is today."""

import re
from collections.abc import Callable
from datetime import date, timedelta

from pydantic import BaseModel, Field

from textkit.dates import EN_WEEKDAYS, DateError, add, describe, make_date

MAX_DATES = 200

_MONTHS = "January February March April May June July August September October November December"
_MONTH = {name[:3].lower(): number for number, name in enumerate(_MONTHS.split(), start=1)}
_EN_MONTH = r"\b(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
_EN_MONTH += r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
_EN_DAY = r"(?<!\d)(?P<day>\d{1,2})(?:st|nd|rd|th)?(?!\d)"
_EN_WEEKDAY = "(?P<weekday>" + "|".join(EN_WEEKDAYS) + r")\b"
_EN_NUMBERS = "one two three four five six seven eight nine ten"
_EN_NUMBER = {"a": 1, "an": 1} | {word: n for n, word in enumerate(_EN_NUMBERS.split(), start=1)}
_EN_COUNT = r"(?P<count>\d{1,4}|an?|one|two|three|four|five|six|seven|eight|nine|ten)"
_EN_UNIT = r"(?P<unit>day|week|month|year)s?\b"
_ZH_DIGIT = {"〇": 0, "两": 2} | {digit: n for n, digit in enumerate("零一二三四五六七八九")}
_ZH_COUNT = r"(?P<count>\d{1,4}|[一二两三四五六七八九十]{1,3})"
_ZH_UNIT = r"(?P<unit>天|日|个?星期|个?礼拜|周|个月|年)"
_EN_DAYS = {"day before yesterday": -2, "yesterday": -1, "today": 0, "tomorrow": 1, "day after tomorrow": 2}
_ZH_DAYS = {"大前天": -3, "前天": -2, "昨天": -1, "今天": 0, "明天": 1, "后天": 2, "大后天": 3}
_UNIT = {
    **{"day": "days", "week": "weeks", "month": "months", "year": "years"},
    **{"天": "days", "日": "days", "星期": "weeks", "礼拜": "weeks", "周": "weeks"},
    **{"个星期": "weeks", "个礼拜": "weeks", "个月": "months", "年": "years"},
}


class FoundDate(BaseModel):
    text: str = Field(description="As written")
    position: int = Field(description="Index of its first character in the text")
    date: str | None = Field(
        description="ISO 8601; null for a relative date or a date without a year when no "
        "reference date was given, and for a day that does not exist"
    )
    weekday: str | None
    weekday_zh: str | None
    kind: str = Field(description="`absolute`, `no_year` or `relative`")


class FoundDates(BaseModel):
    dates: list[FoundDate] = Field(description="In the order of the text")
    truncated: bool = Field(description=f"True when the text holds more than {MAX_DATES} dates")


def find_dates(text: str, reference: date | None) -> FoundDates:
    matches = [
        (match, kind, resolve)
        for pattern, kind, resolve in _PATTERNS
        for match in pattern.finditer(text)
    ]
    # Of two that overlap the earlier wins, of two that begin together the longer.
    matches.sort(key=lambda found: (found[0].start(), -found[0].end()))
    dates: list[FoundDate] = []
    end = 0
    for match, kind, resolve in matches:
        if match.start() < end:
            continue
        if len(dates) == MAX_DATES:
            return FoundDates(dates=dates, truncated=True)
        end = match.end()
        dates.append(_found(match, kind, resolve, reference))
    return FoundDates(dates=dates, truncated=False)


def parse_date(text: str) -> date:
    """One whole date, with its year, in any of the forms that `find_dates` knows."""
    for pattern, kind, resolve in _PATTERNS:
        if kind == "absolute" and (match := pattern.fullmatch(text.strip())):
            return resolve(match, date.min)
    raise DateError(
        f"`{text[:40]}` is not a date with a year; write `2026-03-05`, `2026年3月5日` or `March 5, 2026`"
    )


def _found(match: re.Match[str], kind: str, resolve: "Resolve", reference: date | None) -> FoundDate:
    day = None
    if kind == "absolute" or reference is not None:
        try:
            day = resolve(match, reference or date.min)
        except DateError:
            day = None
    info = describe(day) if day else None
    return FoundDate(
        text=match.group(),
        position=match.start(),
        date=info.date if info else None,
        weekday=info.weekday if info else None,
        weekday_zh=info.weekday_zh if info else None,
        kind=kind,
    )


def _number(text: str) -> int:
    """`12`, `三`, `二十一`, `二〇二六`, `two`."""
    if text.isdecimal():
        return int(text)
    if word := _EN_NUMBER.get(text.lower()):
        return word
    if "十" in text:
        tens, _, ones = text.partition("十")
        return (_number(tens) if tens else 1) * 10 + (_number(ones) if ones else 0)
    return int("".join(str(_ZH_DIGIT[digit]) for digit in text))


def _month(text: str) -> int:
    return _MONTH.get(text[:3].lower()) or _number(text)


def _calendar(match: re.Match[str], reference: date) -> date:
    parts = match.groupdict()
    year = _number(parts["year"]) if parts.get("year") else reference.year
    return make_date(year, _month(parts["month"]), _number(parts["day"]))


def _named_day(match: re.Match[str], reference: date) -> date:
    name = " ".join(match.group("name").lower().split())
    return add(reference, days=(_EN_DAYS | _ZH_DAYS)[name])


def _counted(sign: int) -> "Resolve":
    def resolve(match: re.Match[str], reference: date) -> date:
        unit = _UNIT[match.group("unit").lower()]
        return add(reference, **{unit: sign * _number(match.group("count"))})

    return resolve


def _weekday_en(match: re.Match[str], reference: date) -> date:
    """`next` is the first one after the reference, `last` the last one before, `this` of its week."""
    ahead = EN_WEEKDAYS.index(match.group("weekday").capitalize()) - reference.weekday()
    which = match.group("which").lower()
    if which == "next" and ahead <= 0:
        ahead += 7
    if which == "last" and ahead >= 0:
        ahead -= 7
    return add(reference, days=ahead)


def _weekday_zh(match: re.Match[str], reference: date) -> date:
    """Weeks begin on Monday: 下周一 is the Monday of the next week."""
    weeks = {"上上": -2, "上": -1, "这": 0, "本": 0, "下": 1, "下下": 2}[match.group("which")]
    day = "一二三四五六日天".index(match.group("weekday"))
    return add(reference, weeks=weeks, days=min(day, 6) - reference.weekday())


Resolve = Callable[[re.Match[str], date], date]


def _pattern(text: str, kind: str, resolve: Resolve) -> tuple[re.Pattern[str], str, Resolve]:
    return re.compile(text, re.IGNORECASE), kind, resolve


_ZH_MONTH_DAY = r"(?P<month>\d{1,2}|[一二三四五六七八九十]{1,2})\s?月\s?"
_ZH_MONTH_DAY += r"(?P<day>\d{1,2}|[一二三四五六七八九十]{1,3})\s?[日号]"
_ZH_WEEK = r"(?P<which>上上|下下|上|这|本|下)个?(?:周|星期|礼拜)(?P<weekday>[一二三四五六日天])"
_PATTERNS = [
    _pattern(r"(?<!\d)(?P<year>\d{4})([-/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})(?!\d)", "absolute", _calendar),
    _pattern(rf"(?<!\d)(?P<year>\d{{4}}|[〇零一二三四五六七八九]{{4}})\s?年\s?{_ZH_MONTH_DAY}", "absolute", _calendar),
    _pattern(rf"{_EN_MONTH}\s{{1,3}}{_EN_DAY},?\s{{1,3}}(?P<year>\d{{4}})(?!\d)", "absolute", _calendar),
    _pattern(rf"{_EN_DAY}\s(?:of\s)?{_EN_MONTH},?\s{{1,3}}(?P<year>\d{{4}})(?!\d)", "absolute", _calendar),
    _pattern(rf"(?<!\d){_ZH_MONTH_DAY}", "no_year", _calendar),
    _pattern(rf"{_EN_MONTH}\s{{1,3}}{_EN_DAY}", "no_year", _calendar),
    _pattern(rf"{_EN_DAY}\s(?:of\s)?{_EN_MONTH}", "no_year", _calendar),
    _pattern(r"(?P<name>" + "|".join(sorted(_ZH_DAYS, key=len, reverse=True)) + ")", "relative", _named_day),
    _pattern(r"\b(?:the\s)?(?P<name>day\s(?:before\syesterday|after\stomorrow))\b", "relative", _named_day),
    _pattern(r"\b(?P<name>yesterday|today|tomorrow)\b", "relative", _named_day),
    _pattern(rf"\b(?P<which>next|last|this)\s{_EN_WEEKDAY}", "relative", _weekday_en),
    _pattern(_ZH_WEEK, "relative", _weekday_zh),
    _pattern(rf"\bin\s{_EN_COUNT}\s{_EN_UNIT}", "relative", _counted(1)),
    _pattern(rf"\b{_EN_COUNT}\s{_EN_UNIT}\sfrom\s(?:now|today)\b", "relative", _counted(1)),
    _pattern(rf"\b{_EN_COUNT}\s{_EN_UNIT}\sago\b", "relative", _counted(-1)),
    _pattern(rf"{_ZH_COUNT}\s?{_ZH_UNIT}(?:以后|之后|后)", "relative", _counted(1)),
    _pattern(rf"{_ZH_COUNT}\s?{_ZH_UNIT}(?:以前|之前|前)", "relative", _counted(-1)),
]
