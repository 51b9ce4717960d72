"""The skill as an agent meets it: a process, and the SDK's own client on its standard streams."""

import os
import sys
from contextlib import asynccontextmanager, contextmanager

import pytest
from anyio.from_thread import start_blocking_portal
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

PRINTS_WHILE_IT_SERVES = (
    "import textkit.stats as stats; from textkit.server import server\n"
    "count = stats.text_stats\n"
    "def noisy(text):\n"
    "    print('stray print'); return count(text)\n"
    "stats.text_stats = noisy\n"
    "server.run('stdio')\n"
)


@asynccontextmanager
async def connect(*args):
    with open(os.devnull, "w") as silence:
        parameters = StdioServerParameters(command=sys.executable, args=list(args))
        async with Client(stdio_client(parameters, errlog=silence), read_timeout_seconds=20) as client:
            yield client


@contextmanager
def serving(*args):
    """A running server: a function that awaits a method of its client."""
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(connect(*args)) as client:
            yield lambda method, *args: portal.call(getattr(client, method), *args)


@pytest.fixture(scope="module")
def textkit():
    with serving("-m", "textkit") as textkit:
        yield textkit


@pytest.fixture
def answer(textkit):
    def answer(tool, **arguments):
        result = textkit("call_tool", tool, arguments)
        assert not result.is_error, result.content
        return result.structured_content

    return answer


def test_tools_say_what_they_are(textkit):
    tools = textkit("list_tools").tools
    assert [tool.name for tool in tools] == ["text_stats", "extract_dates", "date_add", "date_difference"]
    for tool in tools:
        assert len(tool.description) > 60
        assert tool.annotations.read_only_hint and not tool.annotations.open_world_hint
        assert tool.input_schema["type"] == "object" and tool.output_schema["type"] == "object"


def test_text_stats(answer):
    assert set(answer("text_stats", text="").values()) == {0}
    mixed = "OpenIntern 是一个运行时。\nIt doesn't sleep! Really\n\n第二段：state-of-the-art。"
    assert answer("text_stats", text=mixed) == {
        "characters": 66,
        "characters_without_spaces": 59,
        "cjk_characters": 9,
        "words": 6,  # OpenIntern, It, doesn't, sleep, Really, state-of-the-art
        "lines": 4,
        "paragraphs": 2,
        "sentences": 4,
        "reading_seconds": 4,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("due 2026-03-05.", ["2026-03-05"]),
        ("2026/3/5 和 2026.12.31", ["2026-03-05", "2026-12-31"]),
        ("会议在2026年3月5日举行", ["2026-03-05"]),
        ("二〇二六年十二月二十五日", ["2026-12-25"]),
        ("3月15号交报告", ["2026-03-15"]),
        ("March 5, 2026 or 5 March 2026", ["2026-03-05", "2026-03-05"]),
        ("Sept. 1st 2025, the 4th of July", ["2025-09-01", "2026-07-04"]),
        ("今天、明天、大后天、昨天", ["2026-03-05", "2026-03-06", "2026-03-08", "2026-03-04"]),
        ("the day after tomorrow", ["2026-03-07"]),
        ("下周一开会，上周五，这周日，下下周三", ["2026-03-09", "2026-02-27", "2026-03-08", "2026-03-18"]),
        ("next Friday, last Thursday, this Monday", ["2026-03-06", "2026-02-26", "2026-03-02"]),
        ("in two weeks; 10 days ago; a month from now", ["2026-03-19", "2026-02-23", "2026-04-05"]),
        ("三天后，两个月前，10天以后，十二天之前", ["2026-03-08", "2026-01-05", "2026-03-15", "2026-02-21"]),
        ("2026-02-30, in 9999 years", [None, None]),
        ("version 1.2.3, 03/05/2026, may I, call 12026-03-051", []),
    ],
)
def test_extract_dates(answer, text, expected):
    """All seen from 2026-03-05, a Thursday."""
    dates = answer("extract_dates", text=text, reference_date="2026-03-05")["dates"]
    assert [each["date"] for each in dates] == expected
    for each in dates:
        assert text[each["position"] :].startswith(each["text"])


def test_relative_dates_need_a_reference(answer):
    result = answer("extract_dates", text="tomorrow, 3月5日, 2026-03-05")
    assert [(each["kind"], each["date"]) for each in result["dates"]] == [
        ("relative", None),
        ("no_year", None),
        ("absolute", "2026-03-05"),
    ]


@pytest.mark.parametrize("unit", [".", "a", "1", "一", "-", "\n ", " in ", "十月", "day ", "1 "])
def test_hostile_text_takes_linear_time(answer, unit):
    text = (unit * 200_000)[:199_999] + "x"
    answer("text_stats", text=text)  # quadratic time would run into the client's 20 s
    answer("extract_dates", text=text, reference_date="2026-03-05")


def test_many_dates_are_cut(answer):
    result = answer("extract_dates", text="2026-03-05 " * 201)
    assert len(result["dates"]) == 200 and result["truncated"]


def test_date_add(answer):
    leap = answer("date_add", date="2024-01-31", months=1)
    assert (leap["date"], leap["weekday"], leap["weekday_zh"]) == ("2024-02-29", "Thursday", "星期四")
    same = answer("date_add", date="2026年3月5日")
    assert (same["weekday_zh"], same["iso_week"], same["day_of_year"]) == ("星期四", "2026-W10", 64)
    assert answer("date_add", date="March 1, 2026", days=-1, weeks=-1)["date"] == "2026-02-21"


def test_date_difference(answer):
    forward = answer("date_difference", start="2024-02-29", end="2026-03-05")
    assert forward["days"] == 735
    assert (forward["years"], forward["months"], forward["remaining_days"]) == (2, 0, 5)
    backward = answer("date_difference", start="2026-03-09", end="2026-03-05")
    assert (backward["days"], backward["remaining_days"], backward["weekdays"]) == (-4, 4, 2)


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("date_add", {"date": "someday"}, "is not a date with a year"),
        ("date_add", {"date": "2026-02-30"}, "is not a calendar date"),
        ("date_add", {"date": "9999-12-31", "days": 1}, "outside the years 1 to 9999"),
        ("date_add", {"date": "2026-01-01", "years": -3000}, "outside the years 1 to 9999"),
        ("date_difference", {"start": "2026-01-01"}, "end"),
        ("extract_dates", {"text": "x", "reference_date": "tomorrow"}, "is not a date with a year"),
        ("text_stats", {"text": "x" * 200_001}, "200000"),
        ("no_such_tool", {}, "no_such_tool"),
    ],
)
def test_errors_are_read_by_the_model(textkit, tool, arguments, message):
    result = textkit("call_tool", tool, arguments)
    assert result.is_error
    assert message in result.content[0].text


def test_a_stray_print_does_not_break_the_protocol():
    with serving("-c", PRINTS_WHILE_IT_SERVES) as noisy:
        for _ in range(2):
            result = noisy("call_tool", "text_stats", {"text": "一"})
            assert result.structured_content["cjk_characters"] == 1
