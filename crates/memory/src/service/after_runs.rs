//! Writes the memories that are made of runs, many runs at a time. The caller decides what they are.

use std::collections::{BTreeMap, HashMap};

use protocol::{
    id::{MemoryId, RunId},
    memory::WriteMemory,
    name::OrgId,
};
use store::memories::{
    Origin,
    after_runs::{LeftByRun, Remembered, ToRemember},
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

/// The memories that are made of a run, perhaps none.
#[derive(Debug)]
pub struct MadeOfRun<'a> {
    pub run: &'a ToRemember,
    pub memories: Vec<WriteMemory>,
}

impl MemoryService {
    /// Writes the memories of runs and removes the runs' notes; answers for each in order. Doing it
    /// again changes nothing. Memories that are already there are not written twice.
    ///
    /// The runs of an organisation are written together; if that fails, each by itself.
    pub async fn remember_runs(
        &self,
        made: &[MadeOfRun<'_>],
        vectors: Vectors,
    ) -> Vec<Result<Remembered, MemoryError>> {
        let texts = made.iter().flat_map(|one| &one.memories).map(content::dated).collect();
        let contents = match vectors {
            Vectors::Now => contents(&self.embedder, texts).await,
            Vectors::Later => contents_by_words(texts).await,
        };
        let mut contents = contents.into_iter();
        let mut outcomes: Vec<_> = made.iter().map(|_| Ok(Remembered::default())).collect();
        let mut of_orgs: BTreeMap<&OrgId, (Vec<usize>, Vec<LeftByRun>)> = BTreeMap::new();
        for (at, MadeOfRun { run, memories }) in made.iter().enumerate() {
            let contents = contents.by_ref().take(memories.len());
            let origin = Origin { run_id: run.run_id, step: run.step_count };
            let new = memories.iter().zip(contents).zip(0..).map(|((memory, content), index)| {
                let id = MemoryId::after_run(run.run_id, index);
                new_memory(id, memory, content, Some(origin))
            });
            let left =
                LeftByRun { scope: run.scope.clone(), run_id: run.run_id, memories: new.collect() };
            let faults = memories.iter().flat_map(|memory| content::faults(memory, "")).collect();
            match (checked(faults), outcomes.get_mut(at)) {
                (Err(fault), Some(outcome)) => *outcome = Err(fault),
                (_, _) => {
                    let of_org = of_orgs.entry(&run.scope.org_id).or_default();
                    of_org.0.push(at);
                    of_org.1.push(left);
                }
            }
        }
        for (places, left) in of_orgs.into_values() {
            for (at, done) in places.into_iter().zip(self.remember_together(&left).await) {
                if let Some(outcome) = outcomes.get_mut(at) {
                    *outcome = done;
                }
            }
        }
        outcomes
    }

    /// Writes what runs of one organisation leave; what one of them is refused for is not the
    /// others' fault.
    async fn remember_together(&self, left: &[LeftByRun]) -> Vec<Result<Remembered, MemoryError>> {
        let of = |done: &HashMap<RunId, Remembered>, run: &LeftByRun| {
            done.get(&run.run_id).copied().unwrap_or_default()
        };
        match self.store.remember_runs(left).await {
            Ok(done) => left.iter().map(|run| Ok(of(&done, run))).collect(),
            Err(error) if left.len() <= 1 => vec![Err(error.into())],
            Err(error) => {
                tracing::debug!(%error, "runs were not remembered together; each is by itself");
                let mut outcomes = Vec::with_capacity(left.len());
                for run in left {
                    let done = self.store.remember_runs(std::slice::from_ref(run)).await;
                    outcomes.push(done.map(|done| of(&done, run)).map_err(MemoryError::from));
                }
                outcomes
            }
        }
    }
}
