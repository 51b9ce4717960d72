//! Finds memories: reads the index for a query. `ranking` ranks what was read.

use std::{collections::HashSet, sync::Arc};

use jiff::Zoned;
use protocol::{
    memory::{Hit, Memory, MemoryFilters, SearchMemories, VectorScan},
    scope::Scope,
    time::Timestamp,
};
use store::memories::search::{
    ChunkPlace, HomeTotals, MemoryReader, MemoryTotals, NearChunk, Parents, PostingList,
};

use super::{
    MemoryError, MemoryService, checked,
    content::{names_nul, run_blocking},
    ranking::{Candidates, Retrieved},
};
use crate::{analysis::Analyzer, embed::QueryVector, fuse::Weights, rank::Layout};

/// Most distinct terms of a question that are looked up.
const QUERY_TERMS_MAX: usize = 256;
/// Most terms that are scored, rarest first. Source: measured, see docs/memory.md.
const SCORED_TERMS_MAX: u32 = 24;
/// Most postings that are read for one search.
const POSTINGS_MAX: u32 = 200_000;
/// The layout of a home of up to this many chunks is read whole, and kept; of a larger one, only
/// the parents in which something is found are read, each time.
const WHOLE_LAYOUT_MAX: u64 = 100_000;
/// Nearest chunks that are looked at.
const NEAR_MAX: u32 = 20_000;
/// Nearest chunks that the index is asked for.
const NEAR_BY_INDEX_MAX: u32 = 300;

/// What a search found, and how.
#[derive(Debug, Default)]
pub struct FoundMemories {
    /// Best first.
    pub hits: Vec<Hit>,
    /// How vectors took part; none where there was nothing to search.
    pub scan: Option<VectorScan>,
}

impl MemoryService {
    /// The memories that fit a question best, at most `top_k`, best first.
    pub async fn search(
        &self,
        scope: &Scope,
        search: &SearchMemories,
    ) -> Result<Vec<Hit>, MemoryError> {
        let totals = self.store.scoped(scope).memory_totals().await?;
        Ok(self.search_in(scope, totals, search).await?.hits)
    }

    /// What a step begins with: the core layer, most important first, as far as `core_max_chars`
    /// reach, and what [`Self::search`] finds.
    pub async fn recall(
        &self,
        scope: &Scope,
        core_max_chars: u32,
        search: &SearchMemories,
    ) -> Result<(Vec<Memory>, FoundMemories), MemoryError> {
        let totals = self.store.scoped(scope).memory_totals().await?;
        let core = async {
            if totals.has_core { self.core(scope, core_max_chars).await } else { Ok(Vec::new()) }
        };
        let found = async {
            match search.top_k {
                0 => Ok(FoundMemories::default()), // An agent that wants nothing but its core memory.
                _ => self.search_in(scope, totals, search).await,
            }
        };
        tokio::try_join!(core, found)
    }

    async fn search_in(
        &self,
        scope: &Scope,
        totals: MemoryTotals,
        search: &SearchMemories,
    ) -> Result<FoundMemories, MemoryError> {
        checked(search.check().err().unwrap_or_default())?;
        let filters = search.filters.clone().unwrap_or_default();
        if names_nul(&filters) {
            return Ok(FoundMemories::default()); // Nothing that is kept can contain it.
        }
        if totals.chunk_count == 0 {
            return Ok(FoundMemories::default()); // And no embedder is asked: new scopes are common.
        }
        let store = self.store.scoped(scope);
        // No transaction is open meanwhile.
        let asked_at = match (&self.asked_at, &search.timezone) {
            (Some(time), None) => time.clone(),
            (Some(time), Some(zone)) => zone.at(Timestamp::new(time.timestamp())),
            (None, zone) => zone.as_ref().unwrap_or(&self.zone).at(totals.now),
        };
        let (query, terms) =
            tokio::join!(self.embedder.query(&search.query), terms(&search.query, asked_at));
        let mut reader = store.read_memories().await?;
        let (retrieved, scan) =
            self.retrieve(&mut reader, &query, terms, &filters, totals.now).await?;
        let (weights, top_k) = (self.weights(&query), search.top_k as usize);
        let candidates = run_blocking(move || Candidates::new(retrieved, weights, top_k)).await;
        let found = reader.found_chunks(candidates.chunk_ids()).await?;
        reader.finish().await?;
        let explain = search.explain.then_some(scan);
        let hits = run_blocking(move || candidates.hits(found, explain)).await;
        Ok(FoundMemories { hits, scan: Some(scan) })
    }

    async fn retrieve(
        &self,
        reader: &mut MemoryReader,
        query: &QueryVector,
        terms: Vec<String>,
        filters: &MemoryFilters,
        now: Timestamp,
    ) -> Result<(Retrieved, VectorScan), MemoryError> {
        let wanted = match *filters == MemoryFilters::default() {
            true => None,
            false => Some(reader.chunks_matching(filters).await?),
        };
        let (near, scan) = self.near(reader, query, wanted.as_deref()).await?;
        let posting_lists = reader.postings(&terms, SCORED_TERMS_MAX, POSTINGS_MAX).await?;
        let mut layouts = Vec::new();
        for home in reader.homes().to_vec() {
            layouts.push(self.layout(reader, &home, &posting_lists, &near).await?);
        }
        let totals = reader.homes();
        let retrieved = Retrieved {
            chunk_count: totals.iter().map(|home| home.chunk_count).sum(),
            term_count: totals.iter().map(|home| home.term_count).sum(),
            now,
            layouts,
            absent: absent(terms, &posting_lists),
            posting_lists,
            near,
            wanted: wanted.map(|ids| ids.into_iter().collect()),
        };
        Ok((retrieved, scan))
    }

    /// The chunks nearest to the question, nearest first, and how they were found. The index's answer
    /// is used if it is as long as was asked for: otherwise other tenants' chunks were in its way,
    /// and there may be more.
    async fn near(
        &self,
        reader: &mut MemoryReader,
        query: &QueryVector,
        wanted: Option<&[i64]>,
    ) -> Result<(Vec<NearChunk>, VectorScan), MemoryError> {
        let vector = match query {
            QueryVector::Vector(vector) => vector,
            QueryVector::NoEmbedder => return Ok((Vec::new(), VectorScan::NoEmbedder)),
            QueryVector::Late => return Ok((Vec::new(), VectorScan::Late)),
            QueryVector::Failed => return Ok((Vec::new(), VectorScan::Failed)),
        };
        let model = self.embedder.id().unwrap_or_default();
        let (mut all, mut scan) = (Vec::new(), VectorScan::Exact);
        for HomeTotals { home, chunk_count, .. } in reader.homes().to_vec() {
            if wanted.is_none() && chunk_count > self.exact_scan_max {
                let near = reader.nearest_by_index(&home, vector, model, NEAR_BY_INDEX_MAX).await?;
                if near.len() >= NEAR_BY_INDEX_MAX as usize {
                    scan = VectorScan::Hnsw;
                    all.extend(near);
                    continue;
                }
            }
            all.extend(reader.nearest(&home, vector, model, wanted, NEAR_MAX).await?);
        }
        all.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
        all.truncate(NEAR_MAX as usize);
        Ok((all, scan))
    }

    /// The layout of a home, at least of the parents in which something is found.
    async fn layout(
        &self,
        reader: &mut MemoryReader,
        totals: &HomeTotals,
        posting_lists: &[PostingList],
        near: &[NearChunk],
    ) -> Result<Arc<Layout>, MemoryError> {
        let HomeTotals { home, chunk_count, generation, .. } = totals;
        if *chunk_count > WHOLE_LAYOUT_MAX {
            let by_words = posting_lists.iter().flat_map(|list| &list.postings);
            let by_words = by_words.map(|posting| posting.chunk_id);
            let found: HashSet<i64> =
                by_words.chain(near.iter().map(|chunk| chunk.chunk_id)).collect();
            let found: Vec<i64> = found.into_iter().collect();
            let chunks = reader.layout(home, Parents::OfChunks(&found)).await?;
            return Ok(built(None, chunks).await);
        }
        let layout = match self.layouts.get(home) {
            Some((kept, layout)) if kept == *generation => return Ok(layout),
            Some((kept, layout)) if kept < *generation => grown(reader, totals, layout).await?,
            _ => None,
        };
        let layout = match layout {
            Some(layout) => layout,
            None => built(None, reader.layout(home, Parents::All).await?).await,
        };
        self.layouts.insert(home, *generation, layout.clone());
        Ok(layout)
    }

    fn weights(&self, query: &QueryVector) -> Weights {
        match query {
            QueryVector::Vector(_) => self.embedder.weights(),
            QueryVector::NoEmbedder | QueryVector::Late | QueryVector::Failed => {
                Weights::WORDS_ONLY
            }
        }
    }
}

/// A layout that was kept, with what was added to the home since; none if something was removed. It
/// has all that was added, so what is too much in it can only be what was removed.
async fn grown(
    reader: &mut MemoryReader,
    totals: &HomeTotals,
    kept: Arc<Layout>,
) -> Result<Option<Arc<Layout>>, MemoryError> {
    let Some(last) = kept.last_chunk_id() else { return Ok(None) };
    if kept.chunk_count() as u64 > totals.chunk_count {
        return Ok(None);
    }
    let added = reader.layout(&totals.home, Parents::AddedToAfter(last)).await?;
    let layout = built(Some(kept), added).await;
    Ok((layout.chunk_count() as u64 == totals.chunk_count).then_some(layout))
}

async fn built(kept: Option<Arc<Layout>>, chunks: Vec<ChunkPlace>) -> Arc<Layout> {
    run_blocking(move || {
        Arc::new(match kept {
            Some(kept) => kept.with(chunks),
            None => Layout::new(chunks),
        })
    })
    .await
}

/// The terms of a question that is asked at a time.
async fn terms(query: &str, asked_at: Zoned) -> Vec<String> {
    let query = query.to_owned();
    run_blocking(move || {
        let mut terms = Analyzer::load().query_terms(&query, &asked_at);
        terms.truncate(QUERY_TERMS_MAX);
        terms
    })
    .await
}

/// The terms that occur nowhere. Of more terms than are scored, nobody knows.
fn absent(mut terms: Vec<String>, posting_lists: &[PostingList]) -> Vec<String> {
    if posting_lists.len() >= SCORED_TERMS_MAX as usize {
        return Vec::new();
    }
    let known: HashSet<&str> = posting_lists.iter().map(|list| list.term.as_str()).collect();
    terms.retain(|term| !known.contains(term.as_str()));
    terms
}
