//! Score fusion: makes one ranking of two, by words and by vectors, and applies the factors of
//! importance and age.
//!
//! Pure. Scores are fused, not ranks: reciprocal rank fusion lets a weak ranking by vectors spoil a
//! good one by words (measured, see docs/memory.md).

use std::{collections::HashMap, hash::Hash, ops::RangeInclusive};

use protocol::memory::RetrieverScore;

/// Most candidates of each ranking. Source: measured, see docs/memory.md.
pub const CANDIDATES_MAX: usize = 100;
/// LEX at which a hit found by words alone has the score ½. Source: see docs/memory.md.
const HALF_SCORE: f64 = 8.0;
/// Half the span of the factor of importance. Source: measured, see docs/memory.md.
const IMPORTANCE_SPAN: f64 = 0.05;
/// Half the span of the factor of recency. Source: measured, see docs/memory.md.
const RECENCY_SPAN: f64 = 0.05;
/// The least and the greatest product of the factors of importance and recency.
pub const FACTORS: RangeInclusive<f64> =
    (1.0 - IMPORTANCE_SPAN) * (1.0 - RECENCY_SPAN)..=(1.0 + IMPORTANCE_SPAN) * (1.0 + RECENCY_SPAN);
/// Days in which recency halves. Source: measured, see docs/memory.md.
const RECENCY_HALF_LIFE_DAYS: f64 = 90.0;
/// How much of what the question's words weigh the best hits must have: up to the first bound
/// meaning comes first, from the second on the words do. Source: measured, see docs/memory.md.
const COVERAGE: RangeInclusive<f64> = 0.15..=0.25;

/// How much words and vectors count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    pub lexical: f64,
    pub vector: f64,
    /// A vector farther than this from the question is not found.
    pub min_cosine: f64,
    /// How much of the cosine of each adjacent chunk is added to a chunk's own.
    pub adjacent: f64,
}

impl Weights {
    /// Without vectors. Source: measured, see docs/memory.md.
    pub const WORDS_ONLY: Self = Self { lexical: 1.0, vector: 0.0, min_cosine: 1.0, adjacent: 0.0 };
    /// Vectors that only say which letters a text has: they catch misspellings. Weights measured,
    /// bound of the cosine judgement, see docs/memory.md.
    pub const HASHED: Self = Self { lexical: 0.9, vector: 0.1, min_cosine: 0.3, adjacent: 0.0 };
    /// Vectors of a model that knows meanings. Source: measured, see docs/memory.md.
    pub const SEMANTIC: Self = Self { lexical: 0.6, vector: 0.4, min_cosine: 0.0, adjacent: 0.2 };
    /// The same, where hardly a word of the question occurs: it is in another language, or says it
    /// otherwise. Source: judgement, see docs/memory.md.
    pub const MEANING_FIRST: Self = Self { lexical: 0.2, vector: 0.8, ..Self::SEMANTIC };

    /// Between the two: where the best hits by words have `coverage` of what the question's words
    /// weigh, 0 to 1.
    pub fn semantic(coverage: f64) -> Self {
        let span = COVERAGE.end() - COVERAGE.start();
        let share = ((coverage - COVERAGE.start()) / span).clamp(0.0, 1.0);
        let between = |least: f64, most: f64| (1.0 - share) * least + share * most;
        Self {
            lexical: between(Self::MEANING_FIRST.lexical, Self::SEMANTIC.lexical),
            vector: between(Self::MEANING_FIRST.vector, Self::SEMANTIC.vector),
            ..Self::SEMANTIC
        }
    }
}

/// A candidate with its place and score in each ranking.
#[derive(Debug, Clone, PartialEq)]
pub struct Fused<K> {
    pub key: K,
    /// The fused score, 0 to 1.
    pub score: f64,
    pub lexical: RetrieverScore,
    pub vector: RetrieverScore,
}

/// Fuses two rankings, each best first; the answer is in no order.
///
/// With words alone the score is LEX / (LEX + 8), which can be compared between questions. With
/// both it is the weighted sum of the two scores, each normalised to 0…1 over its ranking.
pub fn fuse<K: Copy + Eq + Hash>(
    lexical: &[(K, f64)],
    vector: &[(K, f64)],
    weights: Weights,
) -> Vec<Fused<K>> {
    let mut found: HashMap<K, Fused<K>> = HashMap::new();
    let empty = |key| Fused {
        key,
        score: 0.0,
        lexical: RetrieverScore { weight: weights.lexical, ..RetrieverScore::default() },
        vector: RetrieverScore { weight: weights.vector, ..RetrieverScore::default() },
    };
    for ((rank, &(key, value)), normalised) in (1..).zip(lexical).zip(min_max(lexical)) {
        let fused = found.entry(key).or_insert_with(|| empty(key));
        fused.lexical.rank = Some(rank);
        fused.lexical.value = value;
        fused.score += if weights.vector == 0.0 {
            value / (value + HALF_SCORE)
        } else {
            weights.lexical * normalised
        };
    }
    for ((rank, &(key, value)), normalised) in (1..).zip(vector).zip(min_max(vector)) {
        let fused = found.entry(key).or_insert_with(|| empty(key));
        fused.vector.rank = Some(rank);
        fused.vector.value = value;
        fused.score += weights.vector * normalised;
    }
    found.into_values().collect()
}

/// Min-max normalisation: 0 for the worst of a ranking, 1 for the best; equals are all 1.
fn min_max<K>(ranking: &[(K, f64)]) -> impl Iterator<Item = f64> {
    let best = ranking.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    let worst = ranking.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    ranking.iter().map(
        move |(_, value)| {
            if best > worst { (value - worst) / (best - worst) } else { 1.0 }
        },
    )
}

/// 0.95 for a trifle to 1.05 for what is vital.
pub fn importance_factor(importance: f32) -> f64 {
    1.0 - IMPORTANCE_SPAN + 2.0 * IMPORTANCE_SPAN * f64::from(importance)
}

/// 1.05 for what is new, falling to 0.95 for what is old.
pub fn recency_factor(age_days: f64) -> f64 {
    let fresh = (-age_days.max(0.0) / RECENCY_HALF_LIFE_DAYS).exp2();
    1.0 - RECENCY_SPAN + 2.0 * RECENCY_SPAN * fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(lexical: &[(u8, f64)], vector: &[(u8, f64)], weights: Weights) -> Vec<(u8, f64)> {
        let mut fused = fuse(lexical, vector, weights);
        fused.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.key.cmp(&b.key)));
        fused.iter().map(|each| (each.key, (each.score * 1000.0).round() / 1000.0)).collect()
    }

    #[test]
    fn words_alone_keep_their_own_scale() {
        assert_eq!(ranking(&[(1, 8.0), (2, 2.0)], &[], Weights::WORDS_ONLY), [(1, 0.5), (2, 0.2)]);
        assert_eq!(ranking(&[], &[], Weights::WORDS_ONLY), []);
    }

    #[test]
    fn two_rankings_are_normalised_and_weighed() {
        let words = [(1, 9.0), (2, 3.0)];
        let near = [(2, 0.9), (3, 0.5)];
        assert_eq!(ranking(&words, &near, Weights::SEMANTIC), [(1, 0.6), (2, 0.4), (3, 0.0)]);
        assert_eq!(ranking(&words, &near, Weights::HASHED), [(1, 0.9), (2, 0.1), (3, 0.0)]);
        assert_eq!(ranking(&[], &[(3, 0.5)], Weights::SEMANTIC), [(3, 0.4)]);
    }

    #[test]
    fn meaning_weighs_more_the_less_the_words_cover() {
        let lexical = |coverage| Weights::semantic(coverage).lexical;
        assert_eq!([0.0, 0.15].map(Weights::semantic), [Weights::MEANING_FIRST; 2]);
        assert_eq!([0.25, 1.0].map(Weights::semantic), [Weights::SEMANTIC; 2]);
        assert!((lexical(0.2) - 0.4).abs() < 1e-9, "halfway");
        assert!(lexical(0.18) < lexical(0.22));
    }

    #[test]
    fn each_ranking_says_what_it_found() {
        let fused = fuse(&[(1, 9.0)], &[(1, 0.5)], Weights::SEMANTIC);
        assert_eq!(fused[0].lexical, RetrieverScore { rank: Some(1), value: 9.0, weight: 0.6 });
        assert_eq!(fused[0].vector, RetrieverScore { rank: Some(1), value: 0.5, weight: 0.4 });
    }

    #[test]
    fn factors_stay_within_five_percent() {
        assert!((importance_factor(0.0) - 0.95).abs() < 1e-6);
        assert!((importance_factor(0.5) - 1.0).abs() < 1e-6);
        assert!((importance_factor(1.0) - 1.05).abs() < 1e-6);
        assert!((recency_factor(0.0) - 1.05).abs() < 1e-6);
        assert!((recency_factor(-3.0) - 1.05).abs() < 1e-6, "the future is new");
        assert!((recency_factor(90.0) - 1.0).abs() < 1e-6);
        assert!((recency_factor(1e6) - 0.95).abs() < 1e-6);
    }
}
