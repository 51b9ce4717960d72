//! The part of a chunk to show: the sentences that answer, within a width.

use std::{collections::HashMap, ops::Range};

use crate::{
    analysis::Analyzer,
    chunk::{sentences, width},
};

/// Widest snippet, in columns: 240 Chinese characters or 480 others.
pub const SNIPPET_MAX_WIDTH: usize = 480;

/// The run of sentences whose words weigh most; the whole text where it fits.
pub fn snippet(text: &str, weights: &HashMap<&str, f64>, analyzer: &Analyzer) -> String {
    if width(text) <= SNIPPET_MAX_WIDTH {
        return text.to_owned();
    }
    let sentences: Vec<(Range<usize>, usize, f64)> = sentences(text, SNIPPET_MAX_WIDTH)
        .into_iter()
        .map(|at| {
            let sentence = text.get(at.clone()).unwrap_or_default();
            let terms = analyzer.text_terms(sentence, None);
            let weight = terms.keys().filter_map(|term| weights.get(term.as_str())).sum();
            (at, width(sentence), weight)
        })
        .collect();
    let best = (0..sentences.len())
        .map(|first| run_from(sentences.get(first..).unwrap_or_default()))
        .reduce(|best, run| if run.1 > best.1 { run } else { best })
        .map_or(0..0, |(range, _)| range);
    framed(text, best)
}

/// The beginning of a text.
pub fn beginning(text: &str) -> String {
    if width(text) <= SNIPPET_MAX_WIDTH {
        return text.to_owned();
    }
    framed(
        text,
        run_from(
            &sentences(text, SNIPPET_MAX_WIDTH)
                .into_iter()
                .map(|at| (at.clone(), width(text.get(at).unwrap_or_default()), 0.0))
                .collect::<Vec<_>>(),
        )
        .0,
    )
}

/// As many sentences as fit, from the first, with the sum of their weights.
fn run_from(sentences: &[(Range<usize>, usize, f64)]) -> (Range<usize>, f64) {
    let mut wide = 0;
    let fitting = sentences.iter().take_while(|(_, columns, _)| {
        wide += columns;
        wide <= SNIPPET_MAX_WIDTH
    });
    fitting
        .fold(None, |run: Option<(Range<usize>, f64)>, (at, _, weight)| match run {
            None => Some((at.clone(), *weight)),
            Some((range, sum)) => Some((range.start..at.end, sum + weight)),
        })
        .unwrap_or((0..0, 0.0))
}

fn framed(text: &str, range: Range<usize>) -> String {
    let piece = text.get(range.clone()).unwrap_or_default().trim();
    let before = if range.start > 0 { "…" } else { "" };
    let after = if range.end < text.len() { "…" } else { "" };
    format!("{before}{piece}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_its_own_snippet() {
        assert_eq!(snippet("I like tea.", &HashMap::new(), Analyzer::load()), "I like tea.");
        assert_eq!(beginning("I like tea."), "I like tea.");
    }

    #[test]
    fn a_long_text_shows_the_sentences_that_answer() {
        let check = |filler: &str, answer: &str, word: &str| {
            let text = format!("{}{answer}{}", filler.repeat(30), filler.repeat(30));
            let shown = snippet(&text, &HashMap::from([(word, 1.0)]), Analyzer::load());
            assert!(shown.contains(answer.trim()), "{shown}");
            assert!(shown.starts_with('…') && shown.ends_with('…'), "{shown}");
            assert!(width(&shown) <= SNIPPET_MAX_WIDTH + 4);
        };
        check("Nothing happened on this day. ", "We bought a kayak. ", "kayak");
        check("今天什么都没有发生。", "我们买了一艘皮划艇。", "b:划艇");
    }

    #[test]
    fn the_beginning_is_bounded() {
        assert!(width(&beginning(&"word ".repeat(1000))) <= SNIPPET_MAX_WIDTH + 2);
        assert!(width(&beginning(&"字".repeat(1000))) <= SNIPPET_MAX_WIDTH + 2);
    }
}
