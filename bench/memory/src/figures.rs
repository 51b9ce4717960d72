//! How much of the evidence a search found, as figures and as a table.
//!
//! R@k is the share of the evidence among the first k hits; MRR the mean of one over the place of
//! the first evidence; nDCG@10 counts evidence less the later it comes, 1 where all stands first.

use std::{collections::HashSet, fmt, time::Duration};

use protocol::id::MemoryId;

use crate::set::{Corpus, Question};

/// What one question measured, each 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionResult {
    /// The language of its corpus.
    pub language: String,
    /// What is hard about it.
    pub category: String,
    /// The share of the evidence among the first 5 hits.
    pub recall_at_5: f64,
    pub recall_at_10: f64,
    /// One over the place of the first evidence; 0 where none was found.
    pub reciprocal_rank: f64,
    /// The normalised discounted gain of the first 10.
    pub gain_at_10: f64,
    /// How long the search took.
    pub duration: Duration,
}

/// Means over questions, in per cent, and times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    pub questions: usize,
    pub recall_at_5: f64,
    pub recall_at_10: f64,
    /// MRR among as many hits as were asked for.
    pub mrr: f64,
    pub gain_at_10: f64,
    /// Half the searches took no longer.
    pub p50: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
}

/// Figures of several parts of a set, each under its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub rows: Vec<(String, Figures)>,
}

impl QuestionResult {
    /// What `hits`, best first, have of the evidence.
    pub fn new(
        corpus: &Corpus,
        question: &Question,
        hits: &[MemoryId],
        gold: &HashSet<MemoryId>,
        duration: Duration,
    ) -> Self {
        let is_gold: Vec<bool> = hits.iter().map(|hit| gold.contains(hit)).collect();
        let places =
            || is_gold.iter().enumerate().filter(|(_, is_gold)| **is_gold).map(|(at, _)| at);
        let recall = |k| places().filter(|at| *at < k).count() as f64 / gold.len().max(1) as f64;
        let discount = |at: usize| 1.0 / (at as f64 + 2.0).log2();
        // The sum of no numbers is -0.
        let gain = 0.0 + places().filter(|at| *at < 10).map(discount).sum::<f64>();
        let best: f64 = (0..gold.len().min(10)).map(discount).sum();
        Self {
            language: corpus.language.clone(),
            category: question.category.clone(),
            recall_at_5: recall(5),
            recall_at_10: recall(10),
            reciprocal_rank: places().next().map_or(0.0, |at| 1.0 / (at + 1) as f64),
            gain_at_10: if best > 0.0 { gain / best } else { 0.0 },
            duration,
        }
    }
}

/// What so many of a hundred take at most; zero of nothing.
pub fn quantile(times: &[Duration], of_a_hundred: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() * of_a_hundred / 100).copied().unwrap_or_default()
}

impl Figures {
    /// The means of what was measured; zero of nothing.
    pub fn of<'a>(measured: impl IntoIterator<Item = &'a QuestionResult>) -> Self {
        let measured: Vec<&QuestionResult> = measured.into_iter().collect();
        let percent = |value: fn(&QuestionResult) -> f64| {
            let sum: f64 = measured.iter().map(|each| value(each)).sum();
            100.0 * sum / measured.len().max(1) as f64
        };
        let durations: Vec<_> = measured.iter().map(|each| each.duration).collect();
        Self {
            questions: measured.len(),
            recall_at_5: percent(|each| each.recall_at_5),
            recall_at_10: percent(|each| each.recall_at_10),
            mrr: percent(|each| each.reciprocal_rank),
            gain_at_10: percent(|each| each.gain_at_10),
            p50: quantile(&durations, 50),
            p95: quantile(&durations, 95),
        }
    }
}

impl Table {
    /// All, then by language and by category where there are several.
    pub fn of(measured: &[QuestionResult]) -> Self {
        let mut rows = vec![("all".to_owned(), Figures::of(measured))];
        let mut parts = |of: fn(&QuestionResult) -> &str, word: &str| {
            let mut names: Vec<&str> = measured.iter().map(of).collect();
            names.sort_unstable();
            names.dedup();
            if names.len() > 1 {
                rows.extend(names.into_iter().map(|name| {
                    let part = measured.iter().filter(|each| of(each) == name);
                    (format!("{word} {name}"), Figures::of(part))
                }));
            }
        };
        parts(|each| &each.language, "language");
        parts(|each| &each.category, "category");
        Self { rows }
    }

    /// The figures of a row.
    pub fn row(&self, name: &str) -> Option<Figures> {
        self.rows.iter().find(|(row, _)| row == name).map(|(_, figures)| *figures)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | questions | R@5 | R@10 | MRR | nDCG@10 | p50 ms | p95 ms |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for (name, figures) in &self.rows {
            writeln!(
                f,
                "| {name} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
                figures.questions,
                figures.recall_at_5,
                figures.recall_at_10,
                figures.mrr,
                figures.gain_at_10,
                figures.p50.as_secs_f64() * 1000.0,
                figures.p95.as_secs_f64() * 1000.0,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(found: &[usize], of: usize) -> QuestionResult {
        let ids: Vec<_> = (0..20).map(|_| MemoryId::generate()).collect();
        let mut gold: HashSet<_> = found.iter().map(|at| ids[*at]).collect();
        while gold.len() < of {
            gold.insert(MemoryId::generate());
        }
        let corpus = Corpus {
            name: "c".into(),
            language: "en".into(),
            passages: Vec::new(),
            questions: Vec::new(),
        };
        let question = Question { text: "?".into(), gold: Vec::new(), category: "facts".into() };
        QuestionResult::new(&corpus, &question, &ids, &gold, Duration::ZERO)
    }

    #[test]
    fn figures_are_those_of_the_books() {
        let check = |found: &[usize], of: usize, want: [f64; 4]| {
            let got = measured(found, of);
            let got = [got.recall_at_5, got.recall_at_10, got.reciprocal_rank, got.gain_at_10];
            let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-3);
            assert!(near, "{found:?} of {of}: {got:?}, not {want:?}");
        };
        check(&[0], 1, [1.0, 1.0, 1.0, 1.0]);
        check(&[1], 1, [1.0, 1.0, 0.5, 0.631]);
        check(&[4], 1, [1.0, 1.0, 0.2, 0.387]);
        check(&[5], 1, [0.0, 1.0, 0.167, 0.356]);
        check(&[10], 1, [0.0, 0.0, 0.091, 0.0]);
        check(&[0, 1], 2, [1.0, 1.0, 1.0, 1.0]);
        check(&[0, 9], 2, [0.5, 1.0, 1.0, 0.790]);
        check(&[0], 2, [0.5, 0.5, 1.0, 0.613]);
        check(&[], 2, [0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_table_has_a_row_for_each_part() {
        let mut one = measured(&[0], 1);
        let mut other = measured(&[], 1);
        (one.category, other.category) = ("dates".into(), "names".into());
        let table = Table::of(&[one, other]);
        let rows: Vec<_> = table.rows.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(rows, ["all", "category dates", "category names"]);
        let all = table.row("all").unwrap();
        assert_eq!((all.questions, all.recall_at_5, all.mrr), (2, 50.0, 50.0));
        assert!(table.to_string().contains("| category dates | 1 | 100.0 | 100.0 |"));
        assert_eq!(table.row("category facts"), None);
    }
}
