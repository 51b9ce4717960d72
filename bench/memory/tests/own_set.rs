//! The set that is ours is whole: what it is meant to measure is there, in numbers that mean
//! something, and nothing twice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, HashMap, HashSet};

use retrieval::set::{Corpus, own, read};

/// What is hard about the questions, as bench/README.md tells.
const CATEGORIES: [&str; 11] = [
    "code",
    "cross-language",
    "dates",
    "facts",
    "mixed",
    "multi-hop",
    "names",
    "numbers",
    "paraphrase",
    "scripts",
    "typos",
];

fn corpora() -> Vec<Corpus> {
    own().unwrap().iter().flat_map(|file| read(file).unwrap()).collect()
}

#[test]
fn it_is_large_enough_to_tell_something() {
    let corpora = corpora();
    let languages: Vec<_> = corpora.iter().map(|corpus| corpus.language.as_str()).collect();
    assert_eq!(languages, ["en", "mixed", "zh"]);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for corpus in &corpora {
        let name = &corpus.name;
        assert!((150..=300).contains(&corpus.passages.len()), "{name}: {}", corpus.passages.len());
        assert!(corpus.questions.len() >= 100, "{name}: {}", corpus.questions.len());
        for question in &corpus.questions {
            *counts.entry(&question.category).or_default() += 1;
        }
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), CATEGORIES);
    assert!(counts.values().all(|count| *count >= 20), "{counts:?}");
}

#[test]
fn every_question_has_evidence_that_is_there() {
    for corpus in corpora() {
        let parents: HashMap<&str, &str> = corpus
            .passages
            .iter()
            .map(|passage| (passage.id.as_str(), passage.parent.as_str()))
            .collect();
        for question in &corpus.questions {
            let text = &question.text;
            let gold: HashSet<_> = question.gold.iter().collect();
            assert_eq!(gold.len(), question.gold.len(), "evidence named twice: {text}");
            let of: HashSet<_> = question
                .gold
                .iter()
                .map(|id| parents.get(id.as_str()).unwrap_or_else(|| panic!("no `{id}`: {text}")))
                .collect();
            match question.category.as_str() {
                "multi-hop" => assert!(of.len() > 1, "one parent answers it: {text}"),
                _ => assert_eq!(gold.len(), 1, "{text}"),
            }
        }
    }
}

#[test]
fn nothing_is_there_twice() {
    let mut questions = HashSet::new();
    let mut texts = HashSet::new();
    for corpus in corpora() {
        let mut ids = HashSet::new();
        let mut places = HashSet::new();
        for passage in corpus.passages {
            assert!(
                places.insert((passage.parent, passage.seq)),
                "two at the place of `{}`",
                passage.id
            );
            assert!(ids.insert(passage.id.clone()), "id `{}`", passage.id);
            assert!(texts.insert(passage.text), "text of `{}`", passage.id);
        }
        for question in corpus.questions {
            assert!(questions.insert(question.text.clone()), "{}", question.text);
        }
    }
}

/// A question that is a part of its text would be found by anything.
#[test]
fn no_question_is_copied_from_its_text() {
    for corpus in corpora() {
        let texts: HashMap<&str, &str> = corpus
            .passages
            .iter()
            .map(|passage| (passage.id.as_str(), passage.text.as_str()))
            .collect();
        for question in &corpus.questions {
            let asked = letters(&question.text);
            let longest =
                question.gold.iter().map(|id| shared(&asked, &letters(texts[id.as_str()])));
            let longest = longest.max().unwrap_or(0);
            let text = &question.text;
            assert!(
                longest * 10 < asked.len() * 8,
                "{longest} letters in a row are the same: {text}"
            );
        }
    }
}

#[test]
fn every_memory_can_be_written() {
    for passage in corpora().iter().flat_map(|corpus| &corpus.passages) {
        assert_eq!(passage.memory().check(""), Ok(()), "{}", passage.id);
        let has_day = passage.memory().occurred_at.is_some();
        assert_eq!(has_day, !passage.date.is_empty(), "`{}` is no date", passage.date);
    }
}

fn letters(text: &str) -> Vec<char> {
    text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// How long the longest run of letters is that both have.
fn shared(one: &[char], other: &[char]) -> usize {
    let mut longest = 0;
    let mut before = vec![0; other.len() + 1];
    for letter in one {
        let mut now = vec![0; other.len() + 1];
        for (at, same) in other.iter().enumerate() {
            if letter == same {
                now[at + 1] = before[at] + 1;
                longest = longest.max(now[at + 1]);
            }
        }
        before = now;
    }
    longest
}
