//! The gist of a short text: its words, its figures and dates, and whether it says "not". It shows
//! whether two texts say the same, or differ in a detail that matters. Pure.
//!
//! It compares words and not meanings: a paraphrase counts as new.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
    sync::LazyLock,
};

use regex::{Captures, Regex};
use unicode_normalization::UnicodeNormalization;

use crate::analysis::{Analyzer, dates, han, numerals::numeral};

/// A sentence with less than this share of new words says what a known one says.
const NEWS_SHARE: f64 = 1.0 / 3.0;
/// Words that a sentence must have besides those of the sentences which it quotes.
const NEWS_WORDS: usize = 3;
/// A known sentence with fewer words is not taken for quoted.
const QUOTED_WORDS: usize = 3;

/// English words that negate a sentence, besides those that end in `n't`.
const NEGATIONS: [&str; 7] = ["not", "no", "never", "cannot", "without", "neither", "nor"];
/// Chinese ones, as the dictionary divides them.
const NEGATIONS_HAN: [&str; 16] = [
    "不", "没", "没有", "未", "无", "别", "不是", "不要", "不能", "不会", "不再", "不用", "从不",
    "从未", "并非", "不可",
];
/// Chinese units that may follow a number.
const COUNTED_HAN: &str = "点天个号月日年次岁人周级层楼元块";

/// The words, figures and negation of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gist {
    words: HashSet<String>,
    figures: BTreeSet<String>,
    negated: bool,
}

impl Gist {
    /// The gist of a text. The first call of a process loads dictionaries and blocks meanwhile.
    pub fn of(text: &str) -> Self {
        let figures = with_raised_digits(text).collect();
        let mut gist = Self { negated: is_negated(text), figures, ..Self::default() };
        for term in Analyzer::load().text_terms(&in_digits(text), None).into_keys() {
            if han::is_pair(&term) {
                continue;
            }
            if let Some((number, counted)) = figure(&term) {
                gist.figures.insert(number);
                gist.words.extend(counted.map(String::from));
            } else if dates::is_date(&term) {
                gist.figures.insert(term);
            } else if NEGATIONS_HAN.contains(&term.as_str()) {
                gist.negated = true;
            } else {
                gist.words.insert(term);
            }
        }
        gist
    }

    /// How many words and figures it has.
    pub fn len(&self) -> usize {
        self.words.len() + self.figures.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it says anything that none of `known` says. What only quotes known sentences whole,
    /// with a few words around them, does not.
    pub fn is_news(&self, known: &[Gist]) -> bool {
        if self.is_empty() {
            return false;
        }
        if self.figures.iter().any(|figure| known.iter().all(|k| !k.figures.contains(figure))) {
            return true;
        }
        let is_said = known.iter().any(|k| {
            let new = self.words.difference(&k.words).count();
            let few = (new as f64) < self.words.len() as f64 * NEWS_SHARE;
            k.negated == self.negated && (few || self.words.is_empty())
        });
        if is_said {
            return false;
        }
        let quoted: Vec<_> = known
            .iter()
            .filter(|k| k.words.len() >= QUOTED_WORDS && k.words.is_subset(&self.words))
            .collect();
        let around = self
            .words
            .iter()
            .filter(|word| quoted.iter().all(|k| !k.words.contains(*word)))
            .count();
        quoted.is_empty() || around >= NEWS_WORDS
    }

    /// Whether it has no word and no figure that the other does not have.
    pub fn is_within(&self, other: &Gist) -> bool {
        self.words.is_subset(&other.words) && self.figures.is_subset(&other.figures)
    }

    /// How many of its words and figures stand in none of `known`.
    pub fn news_count(&self, known: &[Gist]) -> usize {
        let words = self.words.iter().filter(|word| known.iter().all(|k| !k.words.contains(*word)));
        let figures =
            self.figures.iter().filter(|one| known.iter().all(|k| !k.figures.contains(*one)));
        words.count() + figures.count()
    }

    /// The share of words that both have, of those that either has: 0 to 1.
    pub fn overlap(&self, other: &Gist) -> f64 {
        let either = self.words.union(&other.words).count();
        let both = self.words.intersection(&other.words).count();
        if either == 0 { 0.0 } else { both as f64 / either as f64 }
    }

    /// Whether the two differ in a number, a date, or a "not".
    pub fn differs(&self, other: &Gist) -> bool {
        self.negated != other.negated || self.figures != other.figures
    }
}

/// A number, in digits however it is written, and in Chinese what is counted: `三点` is `3` and `点`,
/// as `3点` is. Not so the many words that begin with `一`.
fn figure(term: &str) -> Option<(String, Option<char>)> {
    if term.chars().all(|c| c.is_ascii_digit()) {
        return Some((term.to_owned(), None));
    }
    let counted = term.chars().next_back().filter(|c| COUNTED_HAN.contains(*c));
    let digits = counted.and_then(|counted| term.strip_suffix(counted));
    let digits = digits.filter(|digits| !digits.starts_with('一'));
    let number = numeral(digits.unwrap_or(term))?;
    Some((number.to_string(), counted.filter(|_| digits.is_some())))
}

/// Numbers of several Chinese numerals in digits: the dictionary cuts 三百零五 in two.
fn in_digits(text: &str) -> Cow<'_, str> {
    static NUMERALS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new("[一二两三四五六七八九十廿卅][零〇一二两三四五六七八九十百千万]+")
            .expect("the pattern is tested")
    });
    NUMERALS.replace_all(text, |found: &Captures<'_>| {
        let run = found.get(0).map_or("", |run| run.as_str());
        let has_unit = run.contains(['十', '百', '千', '万']);
        let number = numeral(run).filter(|_| has_unit);
        number.map_or_else(|| run.to_owned(), |number| number.to_string())
    })
}

/// Numbers with digits above or below the line, which terms do not tell from others: `10⁶` is not
/// `106`.
fn with_raised_digits(text: &str) -> impl Iterator<Item = String> {
    let is_raised =
        |c: char| matches!(c, '²' | '³' | '¹' | '\u{2070}'..='\u{2079}' | '\u{2080}'..='\u{2089}');
    text.split(move |c: char| !c.is_ascii_digit() && !is_raised(c))
        .filter(move |run| run.contains(is_raised))
        .map(str::to_owned)
}

fn is_negated(text: &str) -> bool {
    let text: String = text.nfkc().flat_map(char::to_lowercase).collect();
    text.replace('’', "'")
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .any(|word| NEGATIONS.contains(&word) || word.ends_with("n't"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gists(texts: &[&str]) -> Vec<Gist> {
        texts.iter().map(|text| Gist::of(text)).collect()
    }

    #[test]
    fn what_is_known_is_no_news() {
        let check = |sentence: &str, known: &[&str], want: bool| {
            assert_eq!(Gist::of(sentence).is_news(&gists(known)), want, "{sentence}");
        };
        let launch = "The launch is on December 5.";
        check("Launch is on December 5", &[launch], false);
        check("The launch is on December 6.", &[launch], true);
        check("The launch is not on December 5.", &[launch], true);
        check("I found this in memory: “The launch party is on December 5.”", &[launch], true);
        let tea = "Li likes strong green tea in winter";
        check("I found this in memory: “Li likes strong green tea in winter”", &[tea], false);
        check("Li moved to Berlin.", &["Li lives in Paris."], true);
        check("Berlin.", &[], true);
        check("(!)", &[], false);
        check("…", &[launch], false);
        check("好的，我记住了：“我最喜欢的颜色是青色”。", &["我最喜欢的颜色是青色"], false);
        check("我在记忆里找到：“周五下午三点开会”", &["周五下午三点开会"], false);
        check("会议改到周六。", &["周五下午三点开会"], true);
        check("周五下午四点开会", &["周五下午三点开会"], true);
    }

    #[test]
    fn texts_are_alike_by_their_words_and_differ_by_what_counts() {
        let check = |a: &str, b: &str, alike: bool, differs: bool| {
            let (a, b) = (Gist::of(a), Gist::of(b));
            assert_eq!((a.overlap(&b) >= 0.5, a.differs(&b)), (alike, differs), "{a:?} {b:?}");
        };
        check("The gate code is 4711", "the code of the gate is 4711.", true, false);
        check("The gate code is 4711", "The gate code is 1234", true, true);
        check("Li drinks green tea", "Li doesn’t drink green tea", true, true);
        check("Li drinks green tea", "Ann plays chess", false, false);
        check("李想喜欢喝绿茶", "李想不喜欢喝绿茶", true, true);
        check("上线时间是5月4号", "上线时间是5月6号", true, true);
        check("李想住在北京", "今天下雨", false, false);
        check("周五三点开会", "周五3点开会", true, false);
        check("会议在十五楼", "会议在15楼", true, false);
        check("周五三点开会", "周五4点开会", true, true);
        check("一共三百零五人", "一共305人", true, false);
        check("上线时间是五月四号", "上线时间是5月4号", true, false);
        check("The limit is 10⁶ requests", "The limit is 106 requests", true, true);
        check("The area is 20 m²", "The area is 20 m2", true, true);
    }
}
