"""Counting text that mixes Chinese and English. Knows nothing of MCP."""

import re

from pydantic import BaseModel, Field

# Silent reading of English, Brysbaert 2019, doi:10.1016/j.jml.2019.104047.
WORDS_PER_MINUTE = 238
# Chinese, Trauzettel-Klosinski and Dietz 2012, doi:10.1167/iovs.11-8284.
CJK_CHARACTERS_PER_MINUTE = 255

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CJK = re.compile(f"[{CJK}]")
_WORD = re.compile(f"[^\\W_{CJK}]+(?:['’-][^\\W_{CJK}]+)*")
# One mark at a time: `[.!?]+` before a condition would take quadratic time on a long run of dots.
_SENTENCE_END = re.compile(r"[。！？]|[.!?](?=\s|$)|\n\s*\n")


class TextStats(BaseModel):
    characters: int = Field(description="All characters (Unicode code points), white space included")
    characters_without_spaces: int
    cjk_characters: int = Field(description="Chinese characters and Japanese kana, no punctuation")
    words: int = Field(description="Words in scripts that separate words; CJK characters are apart")
    lines: int
    paragraphs: int = Field(description="Blocks of text between blank lines")
    sentences: int
    reading_seconds: int = Field(description="About how long an adult reads it silently")


def text_stats(text: str) -> TextStats:
    cjk = len(_CJK.findall(text))
    words = len(_WORD.findall(text))
    minutes = words / WORDS_PER_MINUTE + cjk / CJK_CHARACTERS_PER_MINUTE
    return TextStats(
        characters=len(text),
        characters_without_spaces=sum(not character.isspace() for character in text),
        cjk_characters=cjk,
        words=words,
        lines=len(text.splitlines()),
        paragraphs=_paragraphs(text),
        sentences=_sentences(text),
        reading_seconds=round(minutes * 60),
    )


def _paragraphs(text: str) -> int:
    blank = [not line.strip() for line in text.splitlines()]
    return sum(before and not here for before, here in zip([True, *blank], blank))


def _sentences(text: str) -> int:
    # What follows the last mark counts too, unless it holds nothing that could be read.
    return sum(bool(re.search(r"\w", part)) for part in _SENTENCE_END.split(text))
