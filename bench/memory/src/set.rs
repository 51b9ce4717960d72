//! A set of questions in a file: one corpus a line, as JSON.
//!
//! `{"corpus", "language", "chunks": [{"id", "parent", "seq", "date", "text"}],
//! "questions": [{"text", "gold": [id], "category"}]}`. A corpus is what one scope remembers; a
//! parent is a conversation or a document, and `seq` a place in it. `language` may be left out, and
//! a category may be a number.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::civil::{Date, DateTime};
use protocol::memory::{MemoryType, OccurredAt, WriteMemory};
use serde::{Deserialize, Deserializer};

/// The memories of one scope, and the questions about them.
#[derive(Debug, Clone, Deserialize)]
pub struct Corpus {
    #[serde(rename = "corpus")]
    pub name: String,
    /// What it is written in; empty where the set does not say.
    #[serde(default)]
    pub language: String,
    /// The texts, in the order in which they are written.
    #[serde(rename = "chunks")]
    pub passages: Vec<Passage>,
    pub questions: Vec<Question>,
}

/// A text to remember.
#[derive(Debug, Clone, Deserialize)]
pub struct Passage {
    /// Its name within the corpus.
    pub id: String,
    /// The conversation or document that it is of.
    pub parent: String,
    pub seq: i32,
    /// `2023-05-08`, or `1:56 pm on 8 May, 2023`; what is neither is no date.
    pub date: String,
    pub text: String,
}

/// A question with its evidence.
#[derive(Debug, Clone, Deserialize)]
pub struct Question {
    pub text: String,
    /// The ids of the passages that answer it together; a question without any is not asked.
    pub gold: Vec<String>,
    /// What is hard about it.
    #[serde(deserialize_with = "number_or_name")]
    pub category: String,
}

/// A set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// The file is not there, or cannot be read.
    #[error("cannot read `{path}`")]
    File { path: PathBuf, source: io::Error },
    #[error("line {line} of `{path}` is not a corpus")]
    Line {
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
        source: serde_json::Error,
    },
}

/// The corpora of a file.
pub fn read(path: &Path) -> Result<Vec<Corpus>, SetError> {
    let text =
        fs::read_to_string(path).map_err(|source| SetError::File { path: path.into(), source })?;
    (1..)
        .zip(text.lines())
        .map(|(line, text)| {
            serde_json::from_str(text).map_err(|source| SetError::Line {
                path: path.into(),
                line,
                source,
            })
        })
        .collect()
}

/// The files of the set that is ours, in the order of their names.
pub fn own() -> Result<Vec<PathBuf>, SetError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("set");
    let files = fs::read_dir(&folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    let mut files = files.map_err(|source| SetError::File { path: folder, source })?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    Ok(files)
}

/// All as one, with the names of one apart from those of another.
pub fn together(corpora: Vec<Corpus>) -> Corpus {
    let mut all = Corpus {
        name: "together".into(),
        language: String::new(),
        passages: Vec::new(),
        questions: Vec::new(),
    };
    for Corpus { name: corpus, passages, questions, .. } in corpora {
        let named = |name: String| format!("{corpus}/{name}");
        all.passages.extend(passages.into_iter().map(|passage| Passage {
            id: named(passage.id),
            parent: named(passage.parent),
            ..passage
        }));
        all.questions.extend(questions.into_iter().map(|question| Question {
            gold: question.gold.into_iter().map(named).collect(),
            ..question
        }));
    }
    all
}

impl Corpus {
    /// The questions that have evidence.
    pub fn asked(&self) -> impl Iterator<Item = &Question> {
        self.questions.iter().filter(|question| !question.gold.is_empty())
    }
}

impl Passage {
    /// As it is written.
    pub fn memory(&self) -> WriteMemory {
        WriteMemory {
            group_key: Some(self.parent.clone()),
            position: Some(self.seq),
            occurred_at: self.day().map(OccurredAt::Day),
            ..WriteMemory::new(MemoryType::Episodic, &self.text)
        }
    }

    fn day(&self) -> Option<Date> {
        let spoken = || DateTime::strptime("%I:%M %p on %d %B, %Y", &self.date).ok();
        self.date.parse().ok().or_else(|| spoken().map(DateTime::date))
    }
}

fn number_or_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Category {
        Number(u32),
        Name(String),
    }
    Ok(match Category::deserialize(deserializer)? {
        Category::Number(number) => number.to_string(),
        Category::Name(name) => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_sets_write_them() {
        let check = |date: &str, want: Option<&str>| {
            let passage = Passage {
                id: "a".into(),
                parent: "p".into(),
                seq: 3,
                date: date.into(),
                text: "tea".into(),
            };
            let memory = passage.memory();
            assert_eq!(memory.occurred_at.map(String::from).as_deref(), want, "{date}");
            assert_eq!((memory.group_key.as_deref(), memory.position), (Some("p"), Some(3)));
        };
        check("2023-05-08", Some("2023-05-08"));
        check("1:56 pm on 8 May, 2023", Some("2023-05-08"));
        check("", None);
        check("in spring", None);
    }

    #[test]
    fn a_category_is_a_number_or_a_name() {
        let check = |category: &str, want: &str| {
            let text = format!(r#"{{"text": "?", "gold": [], "category": {category}}}"#);
            assert_eq!(serde_json::from_str::<Question>(&text).unwrap().category, want);
        };
        check("4", "4");
        check(r#""dates""#, "dates");
    }
}
