//! Text analysis: from a text to the terms under which it is found.
//!
//! Memories and questions go through the same steps: NFKC, lower case, runs of letters that a
//! [`Script`] turns into terms, and the dates that are named. How terms are scored is not known
//! here. The dictionary takes half a second to load: load it on a blocking thread.

pub mod dates;
pub mod han;
pub mod numerals;
mod period;
mod relative;
mod script;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::OnceLock,
};

use jiff::Zoned;
use unicode_normalization::UnicodeNormalization;

use self::{han::Han, period::Period, script::Script, words::Words};

/// Longest term, in characters; the rest of a longer word is dropped.
pub const TERM_MAX_CHARS: usize = 64;

/// Turns texts into terms, with the dictionaries that it takes.
pub struct Analyzer {
    han: Han,
    words: Words,
}

impl Analyzer {
    /// The analyzer of this process. The first call loads the dictionaries and blocks meanwhile.
    pub fn load() -> &'static Self {
        static LOADED: OnceLock<Analyzer> = OnceLock::new();
        LOADED.get_or_init(|| Self { han: Han::load(), words: Words::new() })
    }

    /// The terms of a text that is remembered, with their frequencies; `happened` is when, if that is
    /// known: it gives `yesterday` its meaning.
    pub fn text_terms(&self, text: &str, happened: Option<&Zoned>) -> BTreeMap<String, u32> {
        let text = normalise(text);
        let mut counts = BTreeMap::new();
        self.words(&text, &mut |term| *counts.entry(term).or_default() += 1);
        let mut dates = self.dates(&text, happened);
        dates.extend(happened.into_iter().flat_map(|at| dates::of_day(at.date())));
        counts.extend(dates.into_iter().map(|term| (term, 1)));
        counts
    }

    /// The distinct terms of a question, in its order; `now` gives `yesterday` its meaning.
    pub fn query_terms(&self, question: &str, now: &Zoned) -> Vec<String> {
        let text = normalise(question);
        let mut terms = Vec::new();
        self.words(&text, &mut |term| terms.push(term));
        terms.extend(self.dates(&text, Some(now)));
        let mut seen = HashSet::new();
        terms.retain(|term| seen.insert(term.clone()));
        terms
    }

    /// The terms of the dates that a text names, those that are seen from `now` included.
    fn dates(&self, text: &str, now: Option<&Zoned>) -> BTreeSet<String> {
        let text = self.han.simplified(text);
        let mut terms = dates::named(&text);
        let seen = now.map(|now| relative::periods(&text, now)).unwrap_or_default();
        terms.extend(seen.into_iter().flat_map(Period::terms));
        terms
    }

    fn words(&self, text: &str, found: &mut dyn FnMut(String)) {
        let scripts: [&dyn Script; 2] = [&self.han, &self.words];
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let Some(script) = scripts.iter().find(|script| script.owns(first)) else {
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
    use jiff::{
        civil::{Date, date},
        tz::TimeZone,
    };

    use super::*;

    fn noon(day: Date) -> Zoned {
        day.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap()
    }

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
        check("Мой ёж", "еж мой");
        check("café CAFE\u{301} cafe", "cafe×3");
        check("Zürich zurich", "zurich×2");
        check("Ελλάδα ελλαδα", "ελλαδα×2");
        check("كِتَابٌ كتاب كتـــاب", "كتاب×3");
        check("שָׁלוֹם שלום", "שלום×2");
        check("हिन्दी", "हिन्दी");
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
        let memory = analyzer.text_terms("tea", Some(&noon(date(2023, 5, 4))));
        let written = analyzer.text_terms("tea on 4 May 2023", None);
        let asked = analyzer.query_terms("昨天喝了什么", &noon(date(2023, 5, 5)));
        let said = analyzer.text_terms("we had tea yesterday", Some(&noon(date(2023, 5, 5))));
        for term in ["d:y2023", "d:m5", "d:md5-4", "d:ym2023-5"] {
            assert!(memory.contains_key(term), "{term}");
            assert!(written.contains_key(term), "{term}");
            assert!(said.contains_key(term), "{term}");
            assert!(asked.iter().any(|asked| asked == term), "{term}");
        }
    }

    #[test]
    fn relative_dates_are_the_same_in_traditional_characters() {
        let analyzer = Analyzer::load();
        let now = noon(date(2026, 3, 11));
        let dates = |text: &str| analyzer.dates(&normalise(text), Some(&now));
        for (traditional, simplified) in [
            ("後天", "后天"),
            ("大後天", "大后天"),
            ("大前天", "大前天"),
            ("今晚", "今晚"),
            ("這週", "这周"),
            ("這個星期", "这个星期"),
            ("上個禮拜", "上个礼拜"),
            ("上上週三", "上上周三"),
            ("上個星期天", "上个星期天"),
            ("下週五", "下周五"),
            ("下下週二", "下下周二"),
            ("下個禮拜六", "下个礼拜六"),
            ("這個週末", "这个周末"),
            ("上個月", "上个月"),
            ("上個月底", "上个月底"),
            ("下個月初", "下个月初"),
            ("上個月5號", "上个月5号"),
            ("下個月十五號", "下个月十五号"),
            ("這個月中旬", "这个月中旬"),
            ("上個季度", "上个季度"),
            ("後年", "后年"),
            ("去年五月", "去年五月"),
            ("去年12月25號", "去年12月25号"),
            ("去年上半年", "去年上半年"),
            ("三天後", "三天后"),
            ("兩天以後", "两天以后"),
            ("兩週前", "两周前"),
            ("三個月前", "三个月前"),
            ("兩個鐘頭前", "两个钟头前"),
            ("最近兩週", "最近两周"),
            ("過去三天", "过去三天"),
        ] {
            let found = dates(traditional);
            assert!(!found.is_empty(), "{traditional}");
            assert_eq!(found, dates(simplified), "{traditional}");
        }
    }

    #[test]
    fn hostile_text_stays_bounded() {
        let analyzer = Analyzer::load();
        let terms = analyzer.text_terms(&"a".repeat(100_000), None);
        assert_eq!(terms.keys().map(|term| term.chars().count()).max(), Some(TERM_MAX_CHARS));
        assert_eq!(analyzer.query_terms(&"spam ".repeat(800), &noon(date(2026, 1, 1))), ["spam"]);
    }
}
