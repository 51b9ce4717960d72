//! From the data that a search has read to its hits: a ranking by words, one by vectors, both fused,
//! one hit for each memory.
//!
//! Pure. `search` reads the data.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use protocol::{
    memory::{Explanation, Hit, VectorScan},
    time::Timestamp,
};
use store::memories::search::{FoundChunk, NearChunk, PostingList};
use uuid::Uuid;

use crate::{
    analysis::{
        Analyzer,
        han::{is_pair, pairs},
    },
    fuse::{CANDIDATES_MAX, FACTORS, Fused, Weights, fuse, importance_factor, recency_factor},
    rank::{Layout, inverse_document_frequency, lexical, matched_terms},
    snippet::snippet,
};

/// The first hits by words that show how much of the question words can answer: a rare word may
/// stand in one of them by chance. Source: measured, see docs/memory.md.
const COVERAGE_HITS: usize = 3;

/// What a search has read of the index.
pub(super) struct Retrieved {
    /// Chunks of all homes.
    pub(super) chunk_count: u64,
    /// Their terms, repetitions counted.
    pub(super) term_count: u64,
    pub(super) now: Timestamp,
    /// One of each home.
    pub(super) layouts: Vec<Arc<Layout>>,
    pub(super) posting_lists: Vec<PostingList>,
    /// The terms of the question that no chunk has.
    pub(super) absent: Vec<String>,
    pub(super) near: Vec<NearChunk>,
    /// The only chunks that may be found, where the search has filters.
    pub(super) wanted: Option<HashSet<i64>>,
}

/// The candidates, before their importance and age are known.
pub(super) struct Candidates {
    retrieved: Retrieved,
    /// What words and vectors counted.
    weights: Weights,
    top_k: usize,
    /// Memories, each by the chunk for which it is found.
    fused: HashMap<i64, Fused<Uuid>>,
    chunk_ids: Vec<i64>,
}

/// The chunk for which a memory is found.
struct BestChunk {
    memory_id: Uuid,
    chunk_id: i64,
    score: f64,
}

impl Candidates {
    pub(super) fn new(retrieved: Retrieved, weights: Weights, top_k: usize) -> Self {
        let by_words = retrieved.by_words();
        let weights = match weights {
            Weights::SEMANTIC => Weights::semantic(retrieved.coverage(&by_words)),
            weights => weights,
        };
        let by_vectors = retrieved.by_vectors(weights);
        let ranking = |best: &[BestChunk]| -> Vec<(Uuid, f64)> {
            best.iter().map(|chunk| (chunk.memory_id, chunk.score)).collect()
        };
        let mut fused = fuse(&ranking(&by_words), &ranking(&by_vectors), weights);
        // A candidate that cannot reach the first places with any importance and age is not looked up.
        fused.sort_unstable_by(|a, b| b.score.total_cmp(&a.score));
        let last = fused.get(top_k.saturating_sub(1)).map_or(0.0, |last| last.score);
        let enough = last * FACTORS.start() / FACTORS.end();
        fused.truncate(fused.partition_point(|each| each.score >= enough));
        // The words say more about which part of a memory answers than the vectors do.
        let mut chunk_of: HashMap<Uuid, i64> = HashMap::new();
        for best in by_vectors.iter().chain(&by_words) {
            chunk_of.insert(best.memory_id, best.chunk_id);
        }
        let fused: HashMap<i64, _> = fused
            .into_iter()
            .filter_map(|fused| Some((*chunk_of.get(&fused.key)?, fused)))
            .collect();
        let chunk_ids = fused.keys().copied().collect();
        Self { retrieved, weights, top_k, fused, chunk_ids }
    }

    /// The chunks that the hits are made of, and some more.
    pub(super) fn chunk_ids(&self) -> &[i64] {
        &self.chunk_ids
    }

    /// Best first and newest first among equals. With `explain`, which says how vectors were
    /// scanned, each says how it came by its score.
    pub(super) fn hits(self, found: Vec<FoundChunk>, explain: Option<VectorScan>) -> Vec<Hit> {
        let Self { retrieved, weights, top_k, mut fused, .. } = self;
        let mut ranked: Vec<Ranked> = found
            .into_iter()
            .filter_map(|chunk| {
                let fused = fused.remove(&chunk.chunk_id)?;
                Some(Ranked::new(chunk, fused, retrieved.now))
            })
            .collect();
        ranked.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then(b.chunk.at().cmp(&a.chunk.at()))
                .then(b.chunk.memory_id.cmp(&a.chunk.memory_id))
        });
        ranked.truncate(top_k);
        let (analyzer, term_weights) = (Analyzer::load(), retrieved.term_weights().collect());
        let weighed = retrieved.query_weights();
        let mut score = 1.0;
        ranked
            .into_iter()
            .map(|ranked| {
                // The ranking knows more than two numbers: it is not contradicted.
                score = retrieved.likeness(&ranked, &weighed, weights).clamp(0.0, score);
                retrieved.hit(ranked, score, explain, &term_weights, analyzer)
            })
            .collect()
    }
}

impl Retrieved {
    /// The best chunk of every memory that the words find, best first.
    fn by_words(&self) -> Vec<BestChunk> {
        let scores = lexical(&self.layouts, &self.posting_lists, self.chunk_count, self.term_count);
        let mut best: Vec<BestChunk> = Vec::new();
        for (layout, scores) in self.layouts.iter().zip(scores) {
            for (slot, score) in (0..).zip(scores).filter(|(_, score)| *score > 0.0) {
                let Some((chunk_id, memory_id)) = layout.chunk(slot) else { continue };
                if self.wanted.as_ref().is_some_and(|ids| !ids.contains(&chunk_id)) {
                    continue;
                }
                // The chunks of a memory stand together.
                match best.last_mut() {
                    Some(last) if last.memory_id == memory_id && last.score >= score => {}
                    Some(last) if last.memory_id == memory_id => {
                        *last = BestChunk { memory_id, chunk_id, score };
                    }
                    _ => best.push(BestChunk { memory_id, chunk_id, score }),
                }
            }
        }
        if best.len() > CANDIDATES_MAX {
            best.select_nth_unstable_by(CANDIDATES_MAX, better_first);
            best.truncate(CANDIDATES_MAX);
        }
        best.sort_unstable_by(better_first);
        best
    }

    /// The best chunk of every memory that is near, each a little nearer for what stands beside
    /// it; best first.
    fn by_vectors(&self, weights: Weights) -> Vec<BestChunk> {
        let cosines: HashMap<i64, f64> =
            self.near.iter().map(|chunk| (chunk.chunk_id, chunk.cosine)).collect();
        let beside = |layout: &Layout, slot| -> f64 {
            layout.adjacent(slot).filter_map(|id| cosines.get(&id)).sum()
        };
        let near = self.near.iter().filter(|chunk| chunk.cosine > weights.min_cosine);
        let mut best: Vec<BestChunk> = near
            .filter_map(|near| {
                let (layout, slot) = self.slot_of(near.chunk_id)?;
                let (chunk_id, memory_id) = layout.chunk(slot)?;
                let more = if weights.adjacent > 0.0 { beside(layout, slot) } else { 0.0 };
                let score = near.cosine + weights.adjacent * more;
                Some(BestChunk { memory_id, chunk_id, score })
            })
            .collect();
        best.sort_unstable_by(better_first);
        let mut memories = HashSet::new();
        best.retain(|chunk| memories.len() < CANDIDATES_MAX && memories.insert(chunk.memory_id));
        best
    }

    fn slot_of(&self, chunk_id: i64) -> Option<(&Layout, usize)> {
        self.layouts.iter().find_map(|layout| Some((&**layout, layout.slot_of(chunk_id)?)))
    }

    /// How much of what the question's words say the best hits have, on average, 0 to 1.
    fn coverage(&self, best: &[BestChunk]) -> f64 {
        let weights = self.query_weights();
        let hits = best.get(..COVERAGE_HITS).unwrap_or(best);
        let covered = hits.iter().map(|hit| self.covered(hit.chunk_id, &weights));
        covered.sum::<f64>() / hits.len().max(1) as f64
    }

    /// How much of what the question's words say a chunk and its neighbours have, 0 to 1.
    fn covered(&self, chunk_id: i64, weights: &[(&str, f64)]) -> f64 {
        let terms: HashSet<String> = self.matched_terms(chunk_id).into_iter().collect();
        let all: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let has: f64 = weights.iter().map(|(term, weight)| weight * share(term, &terms)).sum();
        if all > 0.0 { has / all } else { 0.0 }
    }

    /// How like the question a hit is, 0 to 1: how much of its words it has, and how near its meaning
    /// is, each as much as it counted in the ranking.
    fn likeness(&self, ranked: &Ranked, weighed: &[(&str, f64)], weights: Weights) -> f64 {
        let words = self.covered(ranked.chunk.chunk_id, weighed);
        let nearness = ranked.fused.vector.value.clamp(0.0, 1.0);
        weights.lexical * words + weights.vector * nearness
    }

    /// What the words of the question weigh, those that occur nowhere as the rarest. Where there are
    /// words, pairs of characters have no weight of their own: most pairs across two words are found
    /// nowhere.
    fn query_weights(&self) -> Vec<(&str, f64)> {
        let mut weights: Vec<(&str, f64)> = self.term_weights().collect();
        let rarest = inverse_document_frequency(self.chunk_count as f64, 0.0);
        weights.extend(self.absent.iter().map(|term| (term.as_str(), rarest)));
        if weights.iter().any(|(term, _)| !is_pair(term)) {
            weights.retain(|(term, _)| !is_pair(term));
        }
        weights
    }

    fn matched_terms(&self, chunk_id: i64) -> Vec<String> {
        let terms = |(layout, slot)| matched_terms(layout, &self.posting_lists, slot);
        self.slot_of(chunk_id).map(terms).unwrap_or_default()
    }

    fn term_weights(&self) -> impl Iterator<Item = (&str, f64)> {
        let chunks = self.chunk_count as f64;
        self.posting_lists.iter().map(move |list| {
            let weight = inverse_document_frequency(chunks, list.postings.len() as f64);
            (list.term.as_str(), weight)
        })
    }

    fn hit(
        &self,
        ranked: Ranked,
        score: f64,
        explain: Option<VectorScan>,
        term_weights: &HashMap<&str, f64>,
        analyzer: &Analyzer,
    ) -> Hit {
        let chunk = ranked.chunk;
        Hit {
            id: chunk.memory_id,
            snippet: snippet(&chunk.text, term_weights, analyzer),
            score,
            kind: chunk.kind,
            occurred_at: chunk.occurred_at,
            created_at: chunk.created_at,
            explain: explain.map(|vector_scan| Explanation {
                lexical: ranked.fused.lexical,
                vector: ranked.fused.vector,
                matched_terms: self.matched_terms(chunk.chunk_id),
                fused_score: ranked.score,
                importance_factor: ranked.importance_factor,
                recency_factor: ranked.recency_factor,
                vector_scan,
            }),
        }
    }
}

/// A memory in the ranking.
struct Ranked {
    chunk: FoundChunk,
    fused: Fused<Uuid>,
    importance_factor: f64,
    recency_factor: f64,
    score: f64,
}

impl Ranked {
    fn new(chunk: FoundChunk, fused: Fused<Uuid>, now: Timestamp) -> Self {
        const DAY_MS: f64 = 86_400_000.0;
        let age_days = now.millis_since(chunk.at()) as f64 / DAY_MS;
        let (importance_factor, recency_factor) =
            (importance_factor(chunk.importance), recency_factor(age_days));
        let score = fused.score * importance_factor * recency_factor;
        Self { chunk, fused, importance_factor, recency_factor, score }
    }
}

/// Newest first among equals.
fn better_first(a: &BestChunk, b: &BestChunk) -> Ordering {
    b.score.total_cmp(&a.score).then(b.chunk_id.cmp(&a.chunk_id))
}

/// How much of a term is among `terms`, 0 to 1. A name that no dictionary has is cut as it happens,
/// here otherwise than there; its pairs of characters are the same.
fn share(term: &str, terms: &HashSet<String>) -> f64 {
    if terms.contains(term) {
        return 1.0;
    }
    let (mut all, mut found) = (0_u32, 0_u32);
    for pair in pairs(term) {
        all += 1;
        found += u32::from(terms.contains(&pair));
    }
    f64::from(found) / f64::from(all.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_cut_otherwise_is_known_by_its_pairs() {
        let found = ["b:欧阳", "b:阳芷", "b:芷柔", "b:柔说", "茶", "tea"].map(str::to_owned).into();
        let check = |term: &str, want: f64| {
            assert!((share(term, &found) - want).abs() < 1e-9, "{term}");
        };
        check("tea", 1.0);
        check("milk", 0.0);
        check("茶", 1.0);
        check("水", 0.0);
        check("欧阳芷柔", 1.0);
        check("欧阳芷柔著", 0.75);
        check("书册", 0.0);
    }
}
