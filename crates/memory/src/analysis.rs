//! Text analysis: from a text to the terms under which it is found.
//!
//! Memories and questions go through the same steps: NFKC, lower case, runs of letters that a
//! [`Script`] turns into terms, and the dates that are named. How terms are scored is not known
//! here. The dictionary takes half a second to load: load it on a blocking thread.

pub mod dates;
pub mod han;
mod script;
mod words;

use std::{
    collections::{BTreeMap, HashSet},
    sync::OnceLock,
};

use jiff::civil::Date;
use unicode_normalization::UnicodeNormalization;

use self::{han::Han, script::Script, words::Words};

/// Longest term, in characters; the rest of a longer word is dropped.
pub const TERM_MAX_CHARS: usize = 64;

/// Turns texts into terms, with the dictionaries that it takes.
pub struct Analyzer {
    scripts: [Box<dyn Script>; 2],
}

impl Analyzer {
    /// The analyzer of this process. The first call loads the dictionaries and blocks meanwhile.
    pub fn load() -> &'static Self {
        static LOADED: OnceLock<Analyzer> = OnceLock::new();
        LOADED.get_or_init(|| Self { scripts: [Box::new(Han::load()), Box::new(Words::new())] })
    }

    /// The terms of a text that is remembered, with their frequencies; `day` is when it happened,
    /// if that is known.
    pub fn text_terms(&self, text: &str, day: Option<Date>) -> BTreeMap<String, u32> {
        let text = normalise(text);
        let mut counts = BTreeMap::new();
        self.words(&text, &mut |term| *counts.entry(term).or_default() += 1);
        let mut dates = dates::named(&text);
        dates.extend(day.into_iter().flat_map(dates::of_day));
        counts.extend(dates.into_iter().map(|term| (term, 1)));
        counts
    }

    /// The distinct terms of a question, in its order; `today` gives `yesterday` its meaning.
    pub fn query_terms(&self, question: &str, today: Date) -> Vec<String> {
        let text = normalise(question);
        let mut terms = Vec::new();
        self.words(&text, &mut |term| terms.push(term));
        terms.extend(dates::named(&text));
        terms.extend(dates::relative(&text, today));
        let mut seen = HashSet::new();
        terms.retain(|term| seen.insert(term.clone()));
        terms
    }

    fn words(&self, text: &str, found: &mut dyn FnMut(String)) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let Some(script) = self.scripts.iter().find(|script| script.owns(first)) else {
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
                continue;
            };
            let end = rest.find(|c| !script.owns(c)).unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            script.terms(run, &mut |term| {
                if !term.is_empty() {
                    found(bounded(term));
                }
            });
            rest = after;
        }
    }
}

/// NFKC and lower case: full-width letters, ligatures and capitals make no difference.
fn normalise(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).collect()
}

fn bounded(mut term: String) -> String {
    if let Some((end, _)) = term.char_indices().nth(TERM_MAX_CHARS) {
        term.truncate(end);
    }
    term
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn read(text: &str) -> String {
        let terms = Analyzer::load().text_terms(text, None);
        terms
            .into_iter()
            .map(|(term, n)| if n == 1 { term } else { format!("{term}×{n}") })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn english_words_are_stemmed_and_stop_words_dropped() {
        let check = |text: &str, want: &str| assert_eq!(read(text), want, "{text}");
        check("", "");
        check("\0 ?! — ", "");
        check("The dogs were running", "dog run");
        check("Melanie's paintings", "melani paint");
        check("I don't know what you'll say", "know say");
        check("Running RUNS ran", "ran run×2");
        check("covid19 v2.0 C++", "0 c covid19 v2");
        check("ＦＵＬＬ　ｗｉｄｔｈ ﬁne", "fine full width");
        check("Привет мир", "мир привет");
        check("rock 'n' roll", "n rock roll");
    }

    #[test]
    fn chinese_runs_give_words_and_bigrams() {
        let check = |text: &str, want: &str| assert_eq!(read(text), want, "{text}");
        check(
            "我喜欢攀岩",
            "b:喜欢 b:岩 喜欢 攀岩".replace("b:岩", "b:我喜 b:攀岩 b:欢攀").as_str(),
        );
        check("茶", "茶");
        check("的", "");
        check("用GPT写诗", "b:写诗 gpt 写诗 用");
        check("東京です", "b:です b:东京 b:京で 东京");
        check("안녕하세요", "b:녕하 b:세요 b:안녕 b:하세");
    }

    #[test]
    fn traditional_characters_meet_simplified_ones() {
        assert_eq!(read("我喜歡攀岩與遊戲"), read("我喜欢攀岩与游戏"));
    }

    #[test]
    fn dates_of_text_memory_and_question_are_the_same_terms() {
        let analyzer = Analyzer::load();
        let day = date(2023, 5, 4);
        let memory = analyzer.text_terms("tea", Some(day));
        let written = analyzer.text_terms("tea on 4 May 2023", None);
        let asked = analyzer.query_terms("昨天喝了什么", date(2023, 5, 5));
        for term in ["d:y2023", "d:m5", "d:md5-4", "d:ym2023-5"] {
            assert!(memory.contains_key(term), "{term}");
            assert!(written.contains_key(term), "{term}");
            assert!(asked.iter().any(|asked| asked == term), "{term}");
        }
    }

    #[test]
    fn hostile_text_stays_bounded() {
        let analyzer = Analyzer::load();
        let terms = analyzer.text_terms(&"a".repeat(100_000), None);
        assert_eq!(terms.keys().map(|term| term.chars().count()).max(), Some(TERM_MAX_CHARS));
        assert_eq!(analyzer.query_terms(&"spam ".repeat(800), date(2026, 1, 1)), ["spam"]);
    }
}
