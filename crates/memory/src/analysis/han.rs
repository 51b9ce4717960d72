//! Scripts without blanks between words: Chinese, and by its bigrams Japanese and Korean.
//!
//! A run gives its dictionary words and, so that a name which no dictionary knows is found too,
//! every pair of neighbouring characters, tagged so that a pair is not a word. Measured: both
//! together are the most robust, see docs/memory.md.

use std::{borrow::Cow, collections::HashSet};

use ferrous_opencc::{OpenCC, config::BuiltinConfig};
use jieba_rs::Jieba;

use super::script::Script;

/// Begins the term of a pair of characters. No word holds a colon.
const PAIR: &str = "b:";

/// Whether a term is a pair of characters.
pub fn is_pair(term: &str) -> bool {
    term.starts_with(PAIR)
}

/// The terms of all pairs of neighbouring characters.
pub fn pairs(run: &str) -> impl Iterator<Item = String> {
    run.chars().zip(run.chars().skip(1)).map(|(first, second)| format!("{PAIR}{first}{second}"))
}

/// Chinese words that say nothing about what a text is about.
const STOP_WORDS: &str = "的 了 在 是 我 你 您 他 她 它 我们 你们 他们 她们 它们 这 那 这个 那个 这些 那些 \
    和 与 及 或 就 都 也 还 很 吗 呢 吧 啊 呀 么 什么 哪 哪些 哪个 哪里 怎么 怎样 怎么样 如何 为什么 谁 \
    有 把 被 对 从 到 于 为 之 其 而 且 但 一个 过 着 给 让 会 要";

/// The script of runs that only a dictionary can divide.
pub(super) struct Han {
    dictionary: Jieba,
    simplified: OpenCC,
    stop_words: HashSet<&'static str>,
}

impl Han {
    /// Blocks while the dictionary is unpacked.
    pub(super) fn load() -> Self {
        Self {
            dictionary: Jieba::new(),
            simplified: OpenCC::from_config(BuiltinConfig::T2s)
                .expect("the conversion table is compiled in"),
            stop_words: STOP_WORDS.split_whitespace().collect(),
        }
    }
}

impl Han {
    /// The text in simplified characters.
    pub(super) fn simplified<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.chars().any(is_han) {
            Cow::Owned(self.simplified.convert(text))
        } else {
            Cow::Borrowed(text)
        }
    }
}

impl Script for Han {
    fn owns(&self, letter: char) -> bool {
        is_unspaced(letter)
    }

    fn terms(&self, run: &str, found: &mut dyn FnMut(String)) {
        let run = self.simplified(run);
        if run.chars().any(is_han) {
            for token in self.dictionary.cut(&run, true) {
                if token.word.chars().all(is_han) && !self.stop_words.contains(token.word) {
                    found(token.word.to_owned());
                }
            }
        }
        pairs(&run).for_each(found);
    }
}

/// Whether words with this letter are mostly written without blanks between them.
pub(super) fn is_unspaced(c: char) -> bool {
    is_han(c)
        || matches!(c, '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ac00}'..='\u{d7a3}')
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}' | '々' | '〇')
}
