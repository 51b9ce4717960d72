//! Finding memories: what is asked, what is read for it, and the answer. Nothing is ranked here.

use std::{collections::HashSet, sync::Arc};

use protocol::{
    memory::{Hit, Memory, MemoryFilters, SearchMemories},
    scope::Scope,
    time::Timestamp,
};
use store::memories::search::{
    ChunkPlace, HomeTotals, Laid, MemoryReader, MemoryTotals, NearChunk,
};

use super::{
    MemoryError, MemoryService, checked, content,
    legs::{Legs, Read},
};
use crate::{
    embed::Question,
    fuse::Weights,
    rank::{Layout, Placed, Postings},
    tokens::Tokenizer,
};

/// Most distinct terms of a question that are looked up.
const ASKED_TERMS_MAX: usize = 256;
/// Most terms that are scored, rarest first. Source: measured, see docs/memory.md.
const SCORED_TERMS_MAX: u32 = 24;
/// Most postings that are read for one search.
const POSTINGS_MAX: u32 = 200_000;
/// A home of up to this many chunks is laid out whole, and its layout kept; of a larger one, only
/// the parents in which something is found are laid out, each time.
const WHOLE_LAYOUT_MAX: u64 = 100_000;
/// Nearest chunks that are looked at.
const NEAR_MAX: u32 = 20_000;
/// A home of up to this many chunks is scanned exactly; of a larger one, the index is asked.
/// Source: measured, see docs/memory.md.
pub(super) const EXACT_SCAN_MAX: u64 = 30_000;
/// Nearest chunks that the index is asked for.
const NEAR_BY_INDEX_MAX: u32 = 300;

impl MemoryService {
    /// The memories that fit a question best, at most `top_k`, best first.
    pub async fn search(
        &self,
        scope: &Scope,
        search: &SearchMemories,
    ) -> Result<Vec<Hit>, MemoryError> {
        let totals = self.store.scoped(scope).memory_totals().await?;
        self.search_in(scope, totals, search).await
    }

    /// What a step begins with: the core layer, most important first, as far as `core_max_chars`
    /// reach, and what [`Self::search`] finds.
    pub async fn recall(
        &self,
        scope: &Scope,
        core_max_chars: u32,
        search: &SearchMemories,
    ) -> Result<(Vec<Memory>, Vec<Hit>), MemoryError> {
        let totals = self.store.scoped(scope).memory_totals().await?;
        let core = async {
            if totals.has_core { self.core(scope, core_max_chars).await } else { Ok(Vec::new()) }
        };
        tokio::try_join!(core, self.search_in(scope, totals, search))
    }

    async fn search_in(
        &self,
        scope: &Scope,
        totals: MemoryTotals,
        search: &SearchMemories,
    ) -> Result<Vec<Hit>, MemoryError> {
        checked(search.check().err().unwrap_or_default())?;
        let filters = search.filters.clone().unwrap_or_default();
        if names_nul(&filters) {
            return Ok(Vec::new()); // Nothing that is kept can contain it.
        }
        if totals.chunk_count == 0 {
            return Ok(Vec::new()); // And no embedder is asked: new scopes are common.
        }
        let store = self.store.scoped(scope);
        // No transaction is open meanwhile.
        let (question, terms) =
            tokio::join!(self.embedding.question(&search.query), terms(&search.query, totals.now));
        let mut reader = store.read_memories().await?;
        let (read, scan) = self.read(&mut reader, &question, terms, &filters, totals.now).await?;
        let (weights, top_k) = (self.weights(&question), search.top_k);
        let legs =
            content::off_the_async_threads(move || Legs::new(read, weights, top_k as usize)).await;
        let found = reader.found_chunks(legs.chunk_ids()).await?;
        reader.finish().await?;
        let explain = search.explain.then_some(scan);
        Ok(content::off_the_async_threads(move || legs.hits(found, explain)).await)
    }

    async fn read(
        &self,
        reader: &mut MemoryReader,
        question: &Question,
        terms: Vec<String>,
        filters: &MemoryFilters,
        now: Timestamp,
    ) -> Result<(Read, &'static str), MemoryError> {
        let wanted = match *filters == MemoryFilters::default() {
            true => None,
            false => Some(reader.chunks_matching(filters).await?),
        };
        let (near, scan) = self.near(reader, question, wanted.as_deref()).await?;
        let postings: Vec<Postings> = reader
            .postings(&terms, SCORED_TERMS_MAX, POSTINGS_MAX)
            .await?
            .into_iter()
            .map(|found| {
                let frequencies = found.frequencies.into_iter().map(i32::cast_unsigned);
                Postings::new(found.term, found.chunk_ids.into_iter().zip(frequencies))
            })
            .collect();
        let mut layouts = Vec::new();
        for home in reader.homes().to_vec() {
            layouts.push(self.layout(reader, &home, &postings, &near).await?);
        }
        let totals = reader.homes();
        let read = Read {
            chunk_count: totals.iter().map(|home| home.chunk_count).sum(),
            term_count: totals.iter().map(|home| home.term_count).sum(),
            now,
            layouts,
            absent: absent(terms, &postings),
            postings,
            near,
            wanted: wanted.map(|ids| ids.into_iter().collect()),
        };
        Ok((read, scan))
    }

    /// The chunks nearest to the question, nearest first, and how they were looked for. What the
    /// index answers is good if it is as much as was asked for: otherwise others' chunks were in its
    /// way, and there may be more.
    async fn near(
        &self,
        reader: &mut MemoryReader,
        question: &Question,
        wanted: Option<&[i64]>,
    ) -> Result<(Vec<NearChunk>, &'static str), MemoryError> {
        let vector = match question {
            Question::Vector(vector) => vector,
            Question::Unasked => return Ok((Vec::new(), "none")),
            Question::Late => return Ok((Vec::new(), "late")),
            Question::Failed => return Ok((Vec::new(), "failed")),
        };
        let model = self.embedding.id().unwrap_or_default();
        let (mut all, mut scan) = (Vec::new(), "exact");
        for HomeTotals { home, chunk_count, .. } in reader.homes().to_vec() {
            if wanted.is_none() && chunk_count > self.exact_scan_max {
                let near = reader.nearest_by_index(&home, vector, model, NEAR_BY_INDEX_MAX).await?;
                if near.len() >= NEAR_BY_INDEX_MAX as usize {
                    scan = "hnsw";
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

    /// Where the chunks of a home stand, as far as something is found there.
    async fn layout(
        &self,
        reader: &mut MemoryReader,
        totals: &HomeTotals,
        postings: &[Postings],
        near: &[NearChunk],
    ) -> Result<Arc<Layout>, MemoryError> {
        let HomeTotals { home, chunk_count, generation, .. } = totals;
        if *chunk_count > WHOLE_LAYOUT_MAX {
            let found = postings.iter().flat_map(|posting| &posting.found).map(|(id, _)| *id);
            let found: HashSet<i64> =
                found.chain(near.iter().map(|chunk| chunk.chunk_id)).collect();
            let found: Vec<i64> = found.into_iter().collect();
            return Ok(laid_out(None, reader.layout(home, Laid::Around(&found)).await?).await);
        }
        let layout = match self.layouts.get(home) {
            Some((kept, layout)) if kept == *generation => return Ok(layout),
            Some((kept, layout)) if kept < *generation => grown(reader, totals, layout).await?,
            _ => None,
        };
        let layout = match layout {
            Some(layout) => layout,
            None => laid_out(None, reader.layout(home, Laid::All).await?).await,
        };
        self.layouts.keep(home, *generation, layout.clone());
        Ok(layout)
    }

    fn weights(&self, question: &Question) -> Weights {
        match question {
            Question::Vector(_) => self.embedding.weights(),
            Question::Unasked | Question::Late | Question::Failed => Weights::WORDS_ONLY,
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
    let added = reader.layout(&totals.home, Laid::Since(last)).await?;
    let layout = laid_out(Some(kept), added).await;
    Ok((layout.chunk_count() as u64 == totals.chunk_count).then_some(layout))
}

async fn laid_out(kept: Option<Arc<Layout>>, places: Vec<ChunkPlace>) -> Arc<Layout> {
    content::off_the_async_threads(move || {
        let placed = places.into_iter().map(|place| Placed {
            chunk_id: place.chunk_id,
            memory_id: place.memory_id,
            parent_id: place.parent_id,
            length: place.length.cast_unsigned(),
        });
        let placed = placed.collect();
        Arc::new(match kept {
            Some(kept) => kept.with(placed),
            None => Layout::new(placed),
        })
    })
    .await
}

/// The terms of a question that is asked at a time.
async fn terms(query: &str, now: Timestamp) -> Vec<String> {
    let query = query.to_owned();
    let today = now.get().to_zoned(jiff::tz::TimeZone::UTC).date();
    content::off_the_async_threads(move || {
        let mut terms = Tokenizer::load().ask(&query, today);
        terms.truncate(ASKED_TERMS_MAX);
        terms
    })
    .await
}

/// The terms that occur nowhere. Of more terms than are scored, nobody knows.
fn absent(mut terms: Vec<String>, postings: &[Postings]) -> Vec<String> {
    if postings.len() >= SCORED_TERMS_MAX as usize {
        return Vec::new();
    }
    let known: HashSet<&str> = postings.iter().map(|posting| posting.term.as_str()).collect();
    terms.retain(|term| !known.contains(term.as_str()));
    terms
}

fn names_nul(filters: &MemoryFilters) -> bool {
    filters.group_key.as_ref().is_some_and(|key| key.contains('\0'))
        || filters
            .metadata
            .as_ref()
            .is_some_and(|map| content::has_nul(&serde_json::Value::Object(map.clone())))
}
