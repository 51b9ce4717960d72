//! Finding memories: words and vectors, one ranking, one hit a memory.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use protocol::{
    memory::{Explanation, Hit, MemoryFilters, SearchMemories},
    scope::Scope,
    time::Timestamp,
};
use store::{
    memories::search::{FoundChunk, MemoryTotals, NearChunk},
    scoped::Scoped,
};
use uuid::Uuid;

use super::{MemoryError, MemoryService, checked, content};
use crate::{
    embed::Question,
    fuse::{Fused, LEG_SIZE, Weights, fuse, importance_factor, recency_factor},
    rank::{Layout, Placed, Postings, inverse_document_frequency, lexical, matched_terms},
    snippet::snippet,
    tokens::{Tokenizer, han::is_pair},
};

/// Most distinct terms of a question that are looked up.
const ASKED_TERMS_MAX: usize = 256;
/// Most terms that are scored, rarest first. Source: measured, see docs/memory.md.
const SCORED_TERMS_MAX: u32 = 24;
/// Most postings that are read for one search.
const POSTINGS_MAX: u32 = 200_000;
/// A scope of up to this many chunks is laid out whole; of a larger one, only the parents in which
/// a term occurs.
const WHOLE_LAYOUT_MAX: u64 = 20_000;
/// Nearest chunks that are looked at in a scope that is not laid out whole.
const NEAR_MAX: u64 = 1_000;
/// A question of whose weight the best hit's words cover less than this is asked by meaning first.
/// Source: judgement, see docs/memory.md.
const COVERAGE_MIN: f64 = 0.2;

impl MemoryService {
    /// The memories that fit a question best, at most `top_k`, best first.
    pub async fn search(
        &self,
        scope: &Scope,
        search: &SearchMemories,
    ) -> Result<Vec<Hit>, MemoryError> {
        checked(search.check().err().unwrap_or_default())?;
        let filters = search.filters.clone().unwrap_or_default();
        if names_nul(&filters) {
            return Ok(Vec::new()); // Nothing that is kept can contain it.
        }
        let store = self.store.scoped(scope);
        let totals = store.memory_totals().await?;
        if totals.chunk_count == 0 {
            return Ok(Vec::new());
        }
        let question = self.embedding.question(&search.query).await;
        let wanted = match filters == MemoryFilters::default() {
            true => None,
            false => Some(store.memory_chunks_matching(&filters).await?),
        };
        let near = match (&question, self.embedding.id()) {
            (Question::Vector(vector), Some(id)) => {
                let limit = if is_laid_out_whole(totals) { WHOLE_LAYOUT_MAX } else { NEAR_MAX };
                store.nearest_chunks(vector, id, wanted.as_deref(), limit as u32).await?
            }
            _ => Vec::new(),
        };
        let words = self.by_words(&store, &search.query, totals, wanted.as_deref(), &near).await?;
        let weights = match &question {
            Question::Vector(_) => self.weights(&words, totals),
            Question::Unasked | Question::Late | Question::Failed => Weights::WORDS_ONLY,
        };
        let scan = match &question {
            Question::Vector(_) => "exact",
            Question::Unasked => "none",
            Question::Late => "late",
            Question::Failed => "failed",
        };
        self.hits(&store, search, words, &near, (weights, scan), totals).await
    }

    fn weights(&self, words: &Words, totals: MemoryTotals) -> Weights {
        match self.embedding.weights() {
            Weights::SEMANTIC if words.coverage(totals) < COVERAGE_MIN => Weights::MEANING_FIRST,
            weights => weights,
        }
    }

    /// The lexical leg: the best chunk of every memory that the words find; and the layout of what
    /// either leg may find.
    async fn by_words(
        &self,
        store: &Scoped,
        query: &str,
        totals: MemoryTotals,
        wanted: Option<&[i64]>,
        near: &[NearChunk],
    ) -> Result<Words, MemoryError> {
        let (query, today) = (query.to_owned(), day_of(totals.now));
        let mut terms =
            content::off_the_async_threads(move || Tokenizer::load().ask(&query, today)).await;
        terms.truncate(ASKED_TERMS_MAX);
        let postings: Vec<Postings> = store
            .memory_postings(&terms, SCORED_TERMS_MAX, POSTINGS_MAX)
            .await?
            .into_iter()
            .map(|found| Postings {
                term: found.term,
                found: found
                    .chunk_ids
                    .into_iter()
                    .zip(found.frequencies.into_iter().map(i32::cast_unsigned))
                    .collect(),
            })
            .collect();
        if postings.is_empty() && near.is_empty() {
            return Ok(Words::default());
        }
        let found: Option<Vec<i64>> = (!is_laid_out_whole(totals)).then(|| {
            let ids = postings.iter().flat_map(|posting| &posting.found).map(|(id, _)| *id);
            let near = near.iter().map(|chunk| chunk.chunk_id);
            ids.chain(near).collect::<HashSet<_>>().into_iter().collect()
        });
        let places = store.memory_layout(found.as_deref()).await?;
        let wanted: Option<HashSet<i64>> = wanted.map(|ids| ids.iter().copied().collect());
        // Of more terms than are scored, nobody knows which occur.
        if postings.len() < SCORED_TERMS_MAX as usize {
            let known: HashSet<&str> =
                postings.iter().map(|posting| posting.term.as_str()).collect();
            terms.retain(|term| !known.contains(term.as_str()));
        } else {
            terms.clear();
        }
        Ok(content::off_the_async_threads(move || {
            let memory_ids: Vec<Uuid> = places.iter().map(|place| place.memory_id).collect();
            let placed = places.into_iter().map(|place| Placed {
                chunk_id: place.chunk_id,
                parent: place.parent_id.as_u128(),
                length: place.length.cast_unsigned(),
            });
            let layout = Layout::new(placed.collect());
            let scores = lexical(&layout, &postings, totals.chunk_count, totals.term_count);
            let scored = memory_ids
                .into_iter()
                .zip(scores)
                .enumerate()
                .filter_map(|(place, (memory_id, score))| {
                    let chunk_id = layout.chunk_id(place)?;
                    Some(BestChunk { memory_id, chunk_id, score })
                })
                .filter(|chunk| chunk.score > 0.0)
                .filter(|chunk| wanted.as_ref().is_none_or(|ids| ids.contains(&chunk.chunk_id)));
            let best = best_of_memories(scored);
            Words { layout, postings, absent: terms, best }
        })
        .await)
    }

    async fn hits(
        &self,
        store: &Scoped,
        search: &SearchMemories,
        words: Words,
        near: &[NearChunk],
        (weights, scan): (Weights, &'static str),
        totals: MemoryTotals,
    ) -> Result<Vec<Hit>, MemoryError> {
        let lexical: Vec<_> = words.best.iter().map(|best| (best.memory_id, best.score)).collect();
        let near = by_vectors(&words.layout, near, weights);
        let vector: Vec<_> = near.iter().map(|best| (best.memory_id, best.score)).collect();
        // The words say more about which part of a memory answers than the vectors do.
        let mut chunk_of: HashMap<Uuid, i64> =
            near.iter().map(|chunk| (chunk.memory_id, chunk.chunk_id)).collect();
        chunk_of.extend(words.best.iter().map(|best| (best.memory_id, best.chunk_id)));
        let fused = fuse(&lexical, &vector, weights);
        let chunk_ids: Vec<i64> =
            fused.iter().filter_map(|each| chunk_of.get(&each.key).copied()).collect();
        let mut found: HashMap<Uuid, FoundChunk> = store
            .found_chunks(&chunk_ids)
            .await?
            .into_iter()
            .map(|chunk| (chunk.memory_id.uuid(), chunk))
            .collect();
        // A memory that was deleted meanwhile is missing here, and so from the answer.
        let mut ranked: Vec<Ranked> = fused
            .into_iter()
            .filter_map(|fused| Some(Ranked::new(found.remove(&fused.key)?, fused, totals.now)))
            .collect();
        ranked.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then(b.chunk.at.cmp(&a.chunk.at))
                .then(b.chunk.memory_id.cmp(&a.chunk.memory_id))
        });
        ranked.truncate(search.top_k as usize);
        let explain = search.explain.then_some(scan);
        Ok(content::off_the_async_threads(move || {
            let tokenizer = Tokenizer::load();
            let weights = words.term_weights(totals);
            ranked.into_iter().map(|hit| words.hit(hit, explain, &weights, tokenizer)).collect()
        })
        .await)
    }
}

/// What the words found.
#[derive(Default)]
struct Words {
    layout: Layout,
    postings: Vec<Postings>,
    /// The terms of the question that no chunk has.
    absent: Vec<String>,
    best: Vec<BestChunk>,
}

/// The chunk for which a memory is found.
struct BestChunk {
    memory_id: Uuid,
    chunk_id: i64,
    score: f64,
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
        let age_days = now.millis_since(chunk.at) as f64 / DAY_MS;
        let (importance_factor, recency_factor) =
            (importance_factor(chunk.importance), recency_factor(age_days));
        let score = fused.score * importance_factor * recency_factor;
        Self { chunk, fused, importance_factor, recency_factor, score }
    }
}

impl Words {
    /// How much of what the question's words say the best hit has, 0 to 1. Pairs of characters are
    /// left out where there are words: most pairs across two words are found nowhere.
    fn coverage(&self, totals: MemoryTotals) -> f64 {
        let mut weights = self.term_weights(totals);
        let unheard = inverse_document_frequency(totals.chunk_count as f64, 0.0);
        weights.extend(self.absent.iter().map(|term| (term.as_str(), unheard)));
        if weights.keys().any(|term| !is_pair(term)) {
            weights.retain(|term, _| !is_pair(term));
        }
        let all: f64 = weights.values().sum();
        let place = self.best.first().and_then(|best| self.layout.place(best.chunk_id));
        let terms = place.map(|place| matched_terms(&self.layout, &self.postings, place));
        let matched: f64 =
            terms.iter().flatten().filter_map(|term| weights.get(term.as_str())).sum();
        if all > 0.0 { matched / all } else { 0.0 }
    }

    fn term_weights(&self, totals: MemoryTotals) -> HashMap<&str, f64> {
        let chunks = totals.chunk_count as f64;
        self.postings
            .iter()
            .map(|posting| {
                let weight = inverse_document_frequency(chunks, posting.found.len() as f64);
                (posting.term.as_str(), weight)
            })
            .collect()
    }

    fn hit(
        &self,
        ranked: Ranked,
        explain: Option<&str>,
        term_weights: &HashMap<&str, f64>,
        tokenizer: &Tokenizer,
    ) -> Hit {
        let chunk = ranked.chunk;
        Hit {
            id: chunk.memory_id,
            snippet: snippet(&chunk.text, term_weights, tokenizer),
            score: ranked.score.clamp(0.0, 1.0),
            kind: chunk.kind,
            explain: explain.map(|scan| Explanation {
                lexical: ranked.fused.lexical,
                vector: ranked.fused.vector,
                matched_terms: self
                    .layout
                    .place(chunk.chunk_id)
                    .map(|place| matched_terms(&self.layout, &self.postings, place))
                    .unwrap_or_default(),
                importance_factor: ranked.importance_factor,
                recency_factor: ranked.recency_factor,
                vector_scan: scan.to_owned(),
            }),
        }
    }
}

/// The vector leg: the best chunk of every memory that is near, each a little nearer for what stands
/// beside it.
fn by_vectors(layout: &Layout, near: &[NearChunk], weights: Weights) -> Vec<BestChunk> {
    let cosines: HashMap<i64, f64> =
        near.iter().map(|chunk| (chunk.chunk_id, chunk.cosine)).collect();
    let beside = |chunk_id: i64| -> f64 {
        let place = layout.place(chunk_id).filter(|_| weights.adjacent > 0.0);
        let adjacent = place.into_iter().flat_map(|place| layout.adjacent(place));
        adjacent.filter_map(|id| cosines.get(&id)).sum()
    };
    best_of_memories(near.iter().filter(|chunk| chunk.cosine > weights.min_cosine).map(|chunk| {
        BestChunk {
            memory_id: chunk.memory_id,
            chunk_id: chunk.chunk_id,
            score: chunk.cosine + weights.adjacent * beside(chunk.chunk_id),
        }
    }))
}

/// The best memories by their best chunk, best first and newest first among equals.
fn best_of_memories(chunks: impl Iterator<Item = BestChunk>) -> Vec<BestChunk> {
    let mut best: HashMap<Uuid, BestChunk> = HashMap::new();
    for chunk in chunks {
        match best.entry(chunk.memory_id) {
            Entry::Occupied(mut known) if chunk.score > known.get().score => {
                known.insert(chunk);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => {
                place.insert(chunk);
            }
        }
    }
    let mut best: Vec<_> = best.into_values().collect();
    best.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.chunk_id.cmp(&a.chunk_id)));
    best.truncate(LEG_SIZE);
    best
}

/// Whether the layout of the whole scope is read.
fn is_laid_out_whole(totals: MemoryTotals) -> bool {
    totals.chunk_count <= WHOLE_LAYOUT_MAX
}

fn names_nul(filters: &MemoryFilters) -> bool {
    filters.group_key.as_ref().is_some_and(|key| key.contains('\0'))
        || filters
            .metadata
            .as_ref()
            .is_some_and(|map| content::has_nul(&serde_json::Value::Object(map.clone())))
}

fn day_of(now: Timestamp) -> jiff::civil::Date {
    now.get().to_zoned(jiff::tz::TimeZone::UTC).date()
}
