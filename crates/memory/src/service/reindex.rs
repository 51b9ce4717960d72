//! Gives chunks new vectors that have none, or one of another embedder: online, batch by batch.
//!
//! No transaction is open while an embedder works. What is edited meanwhile is not overwritten.

use std::time::Duration;

use store::{
    error::StoreError,
    memories::reindex::{Stale, StaleChunk},
};

use super::MemoryService;

/// Chunks that are read, embedded and written together.
const BATCH_MAX: u32 = 32;
/// Homes that are listed together.
const HOMES_MAX: u32 = 100;
/// After so many batches in a row without one vector the embedder is taken to be away.
const FAILURES_MAX: u32 = 3;

/// Why chunks could not be given new vectors; the batches before are done.
#[derive(Debug, thiserror::Error)]
pub enum ReindexError {
    #[error("there is no embedder")]
    NoEmbedder,
    #[error("the embedder does not answer")]
    Unanswered,
    #[error("the memory store failed")]
    Store(#[from] StoreError),
}

impl MemoryService {
    /// Gives the chunks of all tenants the vectors that they lack. Calls `done` with the number of
    /// chunks of each batch, and rests after each for `rest` times as long as it took, as that is by
    /// then.
    pub async fn embed_stale(
        &self,
        stale: Stale,
        rest: impl Fn() -> u32,
        mut done: impl FnMut(usize),
    ) -> Result<(), ReindexError> {
        let embedding_model = self.embedder.id().ok_or(ReindexError::NoEmbedder)?;
        let mut last_home = None;
        let mut failures = 0;
        loop {
            let homes = self.store.homes_to_embed(stale, last_home.as_ref(), HOMES_MAX).await?;
            let Some(last) = homes.last().cloned() else { return Ok(()) };
            for home in &homes {
                let mut last_chunk = 0;
                loop {
                    let begun = tokio::time::Instant::now();
                    let chunks = self
                        .store
                        .chunks_to_embed(home, stale, embedding_model, last_chunk, BATCH_MAX)
                        .await?;
                    let Some(last) = chunks.last() else { break };
                    last_chunk = last.chunk_id;
                    let embeddings = self.embedded(chunks).await;
                    failures = if embeddings.is_empty() { failures + 1 } else { 0 };
                    if failures == FAILURES_MAX {
                        return Err(ReindexError::Unanswered);
                    }
                    self.store.set_embeddings(home, embedding_model, &embeddings).await?;
                    done(embeddings.len());
                    pause(begun.elapsed() * rest()).await;
                }
            }
            last_home = Some(last);
        }
    }

    async fn embedded(&self, chunks: Vec<StaleChunk>) -> Vec<(i64, Vec<f32>)> {
        let (ids, texts): (Vec<_>, Vec<_>) =
            chunks.into_iter().map(|chunk| (chunk.chunk_id, chunk.text)).unzip();
        let vectors = self.embedder.passages(&texts).await;
        ids.into_iter().zip(vectors).filter_map(|(id, vector)| Some((id, vector?))).collect()
    }
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}
