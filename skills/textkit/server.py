"""What the model sees: the tools, their descriptions, their bounds. The work is done elsewhere."""

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from textkit import dates, extract, stats

TEXT_MAX_CHARS = 200_000
COUNT_MAX = 4_000_000  # days of ten thousand years: more cannot stay within the calendar

# Standard output belongs to the protocol. The SDK sends stray prints to standard error.
server = MCPServer(
    "textkit",
    instructions="Counts text and reckons with calendar dates, in Chinese and English. "
    "It does not know what day it is: pass the date that `today` should mean.",
    log_level="WARNING",
)

PURE = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)

Text = Annotated[str, Field(max_length=TEXT_MAX_CHARS, description="The text, Chinese or English")]
Day = Annotated[
    str,
    Field(
        max_length=40,
        description="A date with its year: `2026-03-05`, `2026年3月5日` or `March 5, 2026`",
    ),
]
Count = Annotated[int, Field(ge=-COUNT_MAX, le=COUNT_MAX)]


@server.tool(title="Text statistics", annotations=PURE)
def text_stats(text: Text) -> stats.TextStats:
    """Count a text: characters, CJK characters, words, lines, paragraphs, sentences, and about how
    long it takes to read. Use it instead of counting by yourself. 统计文本的字数、词数、行数和阅读时间。"""
    return stats.text_stats(text)


@server.tool(title="Find dates in text", annotations=PURE)
def extract_dates(
    text: Text,
    reference_date: Annotated[
        Day | None,
        Field(description="What `today` means, for relative dates and dates without a year"),
    ] = None,
) -> extract.FoundDates:
    """Find the calendar dates in a text and give each as ISO 8601 with its weekday: `2026年3月5日`,
    `March 5, 2026`, `3月5日`, `tomorrow`, `下周一`, `next Friday`, `三天后`, `2 weeks ago`.
    Forms like `03/05/2026` are left out: day and month cannot be told apart.
    找出文本中的日期，包括相对日期。"""
    return extract.find_dates(text, _parse(reference_date) if reference_date else None)


@server.tool(title="Add to a date", annotations=PURE)
def date_add(
    date: Day, years: Count = 0, months: Count = 0, weeks: Count = 0, days: Count = 0
) -> dates.DateInfo:
    """Add years, months, weeks and days (or subtract with negative numbers) and tell the weekday of
    the result. With nothing to add it tells the weekday of the date itself. Months stay within the
    month: January 31 plus one month is the last day of February. 日期加减，并给出星期几。"""
    try:
        return dates.describe(dates.add(_parse(date), years, months, weeks, days))
    except dates.DateError as error:
        raise ToolError(str(error)) from error


@server.tool(title="Difference of two dates", annotations=PURE)
def date_difference(start: Day, end: Day) -> dates.DateDifference:
    """How far two dates are apart: in days, in years + months + days, and in Monday-to-Friday days.
    计算两个日期相差多少天。"""
    return dates.difference(_parse(start), _parse(end))


def _parse(text: str) -> "dates.date":
    try:
        return extract.parse_date(text)
    except dates.DateError as error:
        raise ToolError(str(error)) from error
