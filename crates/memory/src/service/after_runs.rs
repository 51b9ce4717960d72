//! Writes the memories that are made of a run. The caller decides what they are.

use protocol::{id::MemoryId, memory::WriteMemory};
use store::memories::{
    Origin,
    after_runs::{Remembered, ToRemember},
};

use super::{
    MemoryError, MemoryService, checked,
    content::{self, contents, contents_by_words},
    new_memory,
};

/// When memories get their vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// Before they are written.
    Now,
    /// When a node has time for it; until then they are found by their words.
    Later,
}

impl MemoryService {
    /// Writes the memories of a run, perhaps none, and removes the run's note: doing it again changes
    /// nothing. Memories that are already there are not written twice.
    pub async fn remember_run(
        &self,
        run: &ToRemember,
        memories: &[WriteMemory],
        vectors: Vectors,
    ) -> Result<Remembered, MemoryError> {
        let faults = memories.iter().flat_map(|memory| content::faults(memory, "")).collect();
        checked(faults)?;
        let texts = memories.iter().map(content::dated).collect();
        let contents = match vectors {
            Vectors::Now => contents(&self.embedder, texts).await,
            Vectors::Later => contents_by_words(texts).await,
        };
        let origin = Origin { run_id: run.run_id, step: run.step_count };
        let new: Vec<_> = memories
            .iter()
            .zip(contents)
            .zip(0..)
            .map(|((memory, content), index)| {
                new_memory(MemoryId::after_run(run.run_id, index), memory, content, Some(origin))
            })
            .collect();
        Ok(self.store.scoped(&run.scope).remember_run(run.run_id, &new).await?)
    }
}
