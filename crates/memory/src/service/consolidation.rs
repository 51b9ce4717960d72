//! Finds memories that say the same, and those that a later one supersedes. It reports and links;
//! nothing is merged, hidden or deleted.
//!
//! A pass looks at what was written or changed since the last one, a bounded number, and compares
//! each memory with the few that are near to it by vectors or by words.

use std::time::{Duration, Instant};

use model::embedding::HASHED;
use protocol::{
    id::MemoryId,
    memory::{Consolidated, LinkKind, MemoryLink, Visibility},
    scope::Scope,
};
use store::{
    homes::Home,
    memories::{
        links::{Compared, Mark, Near, NewLink},
        reindex::Stale,
    },
};

use super::{MemoryError, MemoryService, content::run_blocking};
use crate::gist::Gist;

/// Memories that one pass over a scope looks at.
const LOOKED_AT_MAX: u32 = 200;
/// How long a pass may take; what it has not looked at is left to the next one.
const PASS_TIME: Duration = Duration::from_secs(10);
/// A longer text is a document and not a note: it is not compared.
const TEXT_MAX_CHARS: u32 = 1_000;
/// Neighbours by vectors, and by words, that each is compared with.
const NEIGHBOURS_MAX: u32 = 20;
/// Terms by which neighbours are looked for.
const TERMS_MAX: u32 = 12;
/// A term of more chunks finds no neighbours.
const CHUNKS_PER_TERM: u32 = 500;
/// Links that are proposed of one memory: the best.
const LINKS_MAX: usize = 3;
/// A text with fewer words and figures says too little to be like another.
const WORDS_MIN: usize = 3;
/// Words in common, of all words of both, from which two texts are alike without vectors. Measured
/// with the next two on 22 pairs of sentences: see docs/memory.md.
const OVERLAP_MIN: f64 = 0.65;
/// The same where their vectors are alike, too.
const OVERLAP_NEAR_MIN: f64 = 0.3;
/// Vectors are alike from this cosine on.
const COSINE_MIN: f64 = 0.87;
/// Homes that are listed together.
const HOMES_MAX: u32 = 100;

/// Whether a pass stores what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It does, and the next pass goes on where it ended.
    Marks,
    /// It only reports it.
    OnlyLooks,
}

impl MemoryService {
    /// One pass over a scope. Where nothing has changed since the last one, it finds nothing.
    pub async fn consolidate(
        &self,
        scope: &Scope,
        pass: Pass,
    ) -> Result<Consolidated, MemoryError> {
        let home = self.store.scoped(scope).home(Visibility::Scope);
        let memories = home.memories_to_compare(LOOKED_AT_MAX).await?;
        let is_full = memories.len() == LOOKED_AT_MAX as usize;
        let begun = Instant::now();
        let (mut looked_at, mut mark, mut more) = (0, None, is_full);
        // Vectors that see letters and not meanings say less than the words themselves.
        let embedding_model = self.embedder.id().filter(|id| !id.starts_with(HASHED));
        let near = Near {
            embedding_model,
            terms: TERMS_MAX,
            chunks_per_term: CHUNKS_PER_TERM,
            max_chars: TEXT_MAX_CHARS,
            limit: NEIGHBOURS_MAX,
        };
        let mut found = Vec::new();
        for memory in memories {
            if looked_at > 0 && begun.elapsed() > PASS_TIME {
                more = true;
                break;
            }
            looked_at += 1;
            mark = Some(Mark { id: memory.id, updated_at: memory.updated_at });
            if memory.text.chars().count() > TEXT_MAX_CHARS as usize {
                continue;
            }
            let neighbours = home.near_memories(&memory, near).await?;
            found.extend(run_blocking(move || links(&memory, &neighbours)).await);
        }
        let links = match (pass, mark) {
            (_, None) => Vec::new(),
            (Pass::Marks, Some(mark)) => home.link_memories(&found, mark).await?,
            (Pass::OnlyLooks, Some(_)) => {
                let found_at = self.store.scoped(scope).memory_totals().await?.now;
                found.into_iter().map(|link| proposed(link, found_at)).collect()
            }
        };
        Ok(Consolidated { looked_at, links, more })
    }

    /// The links of a memory, newest first.
    pub async fn links(&self, scope: &Scope, id: MemoryId) -> Result<Vec<MemoryLink>, MemoryError> {
        let found = self.store.scoped(scope).find_memory(id).await?;
        Ok(found.home.memory_links(id).await?)
    }

    /// Passes over what each scope of all tenants has for itself, until nothing is left to look at.
    /// Rests after each for `rest` times as long as it took. Returns how many links it found.
    pub async fn consolidate_all(&self, rest: u32) -> Result<usize, MemoryError> {
        let mut last_home = None;
        let mut links = 0;
        loop {
            let homes =
                self.store.homes_to_embed(Stale::Other, last_home.as_ref(), HOMES_MAX).await?;
            let Some(last) = homes.last().cloned() else { return Ok(links) };
            for scope in homes.iter().filter_map(Home::scope) {
                loop {
                    let begun = Instant::now();
                    let done = self.consolidate(&scope, Pass::Marks).await?;
                    links += done.links.len();
                    tokio::time::sleep(begun.elapsed() * rest + Duration::from_millis(1)).await;
                    if !done.more {
                        break;
                    }
                }
            }
            last_home = Some(last);
        }
    }
}

/// The links of a memory to its neighbours: only the most similar ones.
fn links(memory: &Compared, neighbours: &[Compared]) -> Vec<NewLink> {
    let gist = Gist::of(&memory.text);
    if gist.len() < WORDS_MIN {
        return Vec::new();
    }
    let mut found: Vec<_> =
        neighbours.iter().filter_map(|other| link(memory, &gist, other)).collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(LINKS_MAX);
    found
}

fn link(memory: &Compared, gist: &Gist, other: &Compared) -> Option<NewLink> {
    let theirs = Gist::of(&other.text);
    let overlap = gist.overlap(&theirs);
    let cosine = other.cosine.filter(|cosine| *cosine >= COSINE_MIN);
    let least = if cosine.is_some() { OVERLAP_NEAR_MIN } else { OVERLAP_MIN };
    if overlap < least || theirs.len() < WORDS_MIN {
        return None;
    }
    let score = cosine.unwrap_or_default().max(overlap).clamp(0.0, 1.0) as f32;
    let is_later = (memory.at, memory.id) > (other.at, other.id);
    let (later, earlier) = if is_later { (memory.id, other.id) } else { (other.id, memory.id) };
    Some(if gist.differs(&theirs) {
        NewLink { from: earlier, to: later, kind: LinkKind::Superseded, score }
    } else {
        NewLink { from: later, to: earlier, kind: LinkKind::Duplicate, score }
    })
}

fn proposed(link: NewLink, found_at: protocol::time::Timestamp) -> MemoryLink {
    MemoryLink { from: link.from, to: link.to, kind: link.kind, score: link.score, found_at }
}
