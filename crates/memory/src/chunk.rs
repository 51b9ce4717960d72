//! Cutting a text into chunks at the ends of sentences.
//!
//! A chunk is what is searched and embedded. It is a piece of one text: two texts are never
//! joined, and nothing but surrounding blanks is lost.

use std::ops::Range;

/// A text up to this width is one chunk. Source: judgement, see docs/memory.md.
pub const CHUNK_MAX_WIDTH: usize = 800;
/// A chunk of this width is closed at the end of a sentence. Source: judgement, see docs/memory.md.
pub const CHUNK_MIN_WIDTH: usize = 400;
/// A last chunk narrower than this joins the one before it, if both fit.
const TAIL_MIN_WIDTH: usize = 120;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The piece, without blanks around it.
    pub text: &'a str,
    /// Where it begins in the whole, in bytes.
    pub start: usize,
}

/// Cuts `text` into chunks of 400 to 800 columns; a Chinese character is two columns wide.
pub fn chunks(text: &str) -> Vec<Chunk<'_>> {
    if width(text) <= CHUNK_MAX_WIDTH {
        return trimmed(text, 0..text.len()).into_iter().collect();
    }
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut open: Option<(Range<usize>, usize)> = None;
    for sentence in sentences(text, CHUNK_MAX_WIDTH) {
        let wide = text.get(sentence.clone()).map_or(0, width);
        open = match open.take() {
            None => Some((sentence, wide)),
            Some((range, sum)) if sum < CHUNK_MIN_WIDTH && sum + wide <= CHUNK_MAX_WIDTH => {
                Some((range.start..sentence.end, sum + wide))
            }
            Some((range, _)) => {
                ranges.push(range);
                Some((sentence, wide))
            }
        };
    }
    if let Some((tail, wide)) = open {
        match ranges.last_mut() {
            Some(last)
                if wide < TAIL_MIN_WIDTH
                    && text
                        .get(last.start..tail.end)
                        .is_some_and(|all| width(all) <= CHUNK_MAX_WIDTH) =>
            {
                last.end = tail.end;
            }
            _ => ranges.push(tail),
        }
    }
    ranges.into_iter().filter_map(|range| trimmed(text, range)).collect()
}

fn trimmed(text: &str, range: Range<usize>) -> Option<Chunk<'_>> {
    let piece = text.get(range.clone())?;
    let start = range.start + (piece.len() - piece.trim_start().len());
    Some(Chunk { text: piece.trim(), start }).filter(|chunk| !chunk.text.is_empty())
}

/// Columns of a text: two for a character of Chinese, Japanese or Korean, one for any other.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

const fn char_width(c: char) -> usize {
    if c as u32 >= 0x2e80 { 2 } else { 1 }
}

/// The sentences of a text as byte ranges that cover it all, each at most `max_width` columns.
pub fn sentences(text: &str, max_width: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut wide = 0;
    let mut ended = false;
    let mut last_break = None; // the latest place inside the sentence where a cut hurts little
    let mut before = None;
    for (at, c) in text.char_indices() {
        let wide_c = char_width(c);
        if ended && !closes(c) && !c.is_whitespace() {
            found.push(start..at);
            (start, wide, last_break) = (at, 0, None);
            ended = false;
        } else if wide + wide_c > max_width && at > start {
            let cut = last_break.unwrap_or(at);
            found.push(start..cut);
            wide = text.get(cut..at).map_or(0, width);
            (start, last_break) = (cut, None);
            ended = false;
        }
        wide += wide_c;
        let end = at + c.len_utf8();
        ended = ended || ends(c) || (c.is_whitespace() && before.is_some_and(ends_before_blank));
        if c.is_whitespace() || ",，、;:：".contains(c) {
            last_break = Some(end);
        }
        before = Some(c);
    }
    if start < text.len() {
        found.push(start..text.len());
    }
    found
}

/// Ends a sentence wherever it stands.
fn ends(c: char) -> bool {
    "。！？!?；…\n".contains(c)
}

/// Ends a sentence when a blank follows: `3.14` and `e.g` go on.
fn ends_before_blank(c: char) -> bool {
    ".;".contains(c)
}

/// Belongs to the sentence that it closes.
fn closes(c: char) -> bool {
    "”’」』》）)]】\"'。！？!?…".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_a_reader_would_end_them() {
        let check = |text: &str, want: &[&str]| {
            let got: Vec<_> =
                sentences(text, 100).into_iter().filter_map(|at| text.get(at)).collect();
            assert_eq!(got, want);
        };
        check("", &[]);
        check("one", &["one"]);
        check("One. Two? Three!", &["One. ", "Two? ", "Three!"]);
        check("Pi is 3.14 or so. Yes.", &["Pi is 3.14 or so. ", "Yes."]);
        check("你好。“再见！”他说。", &["你好。", "“再见！”", "他说。"]);
        check("甲\n乙", &["甲\n", "乙"]);
        check("什么？！真的…", &["什么？！", "真的…"]);
    }

    #[test]
    fn a_sentence_too_long_is_cut_at_a_clause_or_anywhere() {
        let got: Vec<_> = sentences("aaaa, bbbb cccc", 8).into_iter().collect();
        assert_eq!(got, [0..6, 6..11, 11..15]);
        assert_eq!(sentences("中文中文中", 4), [0..6, 6..12, 12..15]);
    }

    #[test]
    fn short_texts_stay_whole() {
        let check = |text: &str, want: &[(usize, &str)]| {
            let got: Vec<_> = chunks(text).into_iter().map(|c| (c.start, c.text)).collect();
            assert_eq!(got, want);
        };
        check("", &[]);
        check(" \n ", &[]);
        check("  I like tea. I like milk. ", &[(2, "I like tea. I like milk.")]);
        check("用户：你好。\nAI：你好！", &[(0, "用户：你好。\nAI：你好！")]);
    }

    #[test]
    fn long_texts_give_chunks_of_the_right_size_and_lose_nothing() {
        for sentence in
            ["The quick brown fox jumps over the lazy dog. ", "天地玄黄，宇宙洪荒。", "长"]
        {
            let text = sentence.repeat(900);
            let found = chunks(&text);
            assert!(found.len() > 1);
            let (last, rest) = found.split_last().unwrap();
            for chunk in rest {
                let wide = width(chunk.text);
                assert!((CHUNK_MIN_WIDTH - 1..=CHUNK_MAX_WIDTH).contains(&wide), "{wide}");
            }
            assert!(width(last.text) <= CHUNK_MAX_WIDTH);
            for chunk in &found {
                assert!(text.get(chunk.start..).unwrap().starts_with(chunk.text));
            }
            let blankless = |text: &str| text.replace(' ', "");
            assert_eq!(
                found.iter().map(|c| blankless(c.text)).collect::<String>(),
                blankless(&text)
            );
        }
    }
}
