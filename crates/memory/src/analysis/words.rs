//! Words between blanks: letters and digits of every script that `han` does not read.
//!
//! Accents and vowel signs are folded away where texts are also written without them. English words
//! are stemmed (Porter2) and stop words dropped; words in other letters stay as they are.

use std::{borrow::Cow, collections::HashSet};

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;

use super::{han, script::Script};

/// English words that say nothing about what a text is about, in lower case and unstemmed, and
/// the remains of contractions. Source: the list in common use since van Rijsbergen (1979).
const STOP_WORDS: &str = "i me my myself we our ours ourselves you your yours yourself yourselves \
    he him his himself she her hers herself it its itself they them their theirs themselves what \
    which who whom this that these those am is are was were be been being have has had having do \
    does did doing a an the and but if or because as until while of at by for with about against \
    between into through during before after above below to from up down in out on off over under \
    again further then once here there when where why how all any both each few more most other \
    some such no nor not only own same so than too very s t can will just don should now d ll m o \
    re ve didn doesn isn wasn aren weren won wouldn couldn shouldn hasn haven hadn would could";

/// The script of words between blanks.
pub(super) struct Words {
    stemmer: Stemmer,
    stop_words: HashSet<&'static str>,
}

impl Words {
    pub(super) fn new() -> Self {
        Self {
            stemmer: Stemmer::create(Algorithm::English),
            stop_words: STOP_WORDS.split_whitespace().collect(),
        }
    }
}

impl Script for Words {
    fn owns(&self, letter: char) -> bool {
        (letter.is_alphanumeric() || is_mark(letter)) && !han::is_unspaced(letter)
    }

    fn terms(&self, run: &str, found: &mut dyn FnMut(String)) {
        let run = &*folded(run);
        if self.stop_words.contains(run) {
            return;
        }
        if run.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            found(self.stemmer.stem(run).into_owned());
        } else {
            found(run.to_owned());
        }
    }
}

/// `café` as `cafe`, `كِتَاب` as `كتاب`: without the marks that writers leave out.
fn folded(run: &str) -> Cow<'_, str> {
    if run.is_ascii() {
        return Cow::Borrowed(run);
    }
    let mut base = None;
    let bare = run.nfd().filter(|&c| {
        let is_left_out = is_optional(c) && !(c == '\u{306}' && base == Some('и'));
        if !is_mark(c) {
            base = Some(c);
        }
        !is_left_out
    });
    Cow::Owned(bare.nfc().collect())
}

/// Accents of Latin, Greek and Cyrillic letters, but not that of `й`, which is a letter of its own;
/// the points of Hebrew; the vowel signs, hamzas and strokes of Arabic. In other scripts (Devanagari,
/// Thai) a vowel sign is a part of the word.
fn is_optional(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5bd}' | '\u{5bf}'..='\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e8}' | '\u{6ea}'..='\u{6ed}')
}

/// Accents and vowel signs that NFKC leaves apart from their letters.
fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}
