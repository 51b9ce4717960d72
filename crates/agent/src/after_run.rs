//! Makes memories of completed runs. Not here: the note that a run is to be remembered, which is
//! written by the commit of its end.
//!
//! Any worker takes noted runs, a few at a time, and rests after them for several times as long as
//! they took: runs come first. The memory is written in the commit that removes the note, so that a
//! crash repeats the work and not the memory. A run's stream is closed by then, so nothing of this is
//! an event; the memory names the run as its origin.

mod extract;
mod facts;

use std::time::{Duration, Instant};

use memory::service::{MemoryError, after_runs::Vectors, content::run_blocking};
use metrics::counter;
use protocol::{
    event::{Fact, StoredEvent},
    id::MemoryId,
    memory::{Hit, MemoryType, OccurredAt, WriteMemory},
    page::PageLimit,
    time::Zone,
    tool::Outcome,
};
use serde_json::{Value, json};
use store::{error::StoreError, memories::after_runs::ToRemember};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    context::CORE_MAX_CHARS,
    parts::Runtime,
    redactor::Reach,
    settings::AfterRun,
    tools::memories::{MEMORY_GET, MEMORY_SEARCH, MEMORY_WRITE},
};

use self::{
    extract::{KnownTexts, extract},
    facts::facts,
};

/// Runs that are taken at once.
const BATCH_MAX: u32 = 8;
/// How long they are held; after that another worker may take them. Longer than the models of a
/// whole batch may take.
const HOLD: Duration = Duration::from_secs(300);
/// How long a worker rests between batches, as a multiple of the time that it worked.
const REST: u32 = 4;
/// The same for a worker that is executing runs.
const REST_BUSY: u32 = 40;
/// How often noted runs are looked for when none ends here.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often runs that have waited too long are dropped.
const FORGET_EVERY: Duration = Duration::from_secs(30);
/// Below the middle: memories that a user or a tool wrote come first.
const IMPORTANCE: f32 = 0.3;
/// Pages of a run's events in which its memories are looked for, of 100 events each.
const PAGES_MAX: u32 = 10;
/// Most memories of a run whose texts are looked at.
const RECALLED_MAX: usize = 64;
/// How many bytes of each are looked at.
const RECALLED_MAX_CHARS: u32 = 16_384;
/// The events that say what a run knew and wrote.
const KNOWING: [&str; 3] = ["memory.recalled", "tool.called", "tool.result"];

/// The work after runs, of one worker.
pub(crate) struct AfterRuns<'a> {
    runtime: &'a Runtime,
}

/// Why a run is not remembered now.
#[derive(Debug, thiserror::Error)]
enum RememberError {
    #[error("the run's events cannot be read")]
    Store(#[from] StoreError),
    #[error("the memory cannot be written")]
    Memory(#[from] MemoryError),
}

impl<'a> AfterRuns<'a> {
    pub(crate) fn new(runtime: &'a Runtime) -> Self {
        Self { runtime }
    }

    /// Remembers runs until it is to stop; then hands back what it has not done. `ended` is rung
    /// when a run ends here.
    pub(crate) async fn work(
        &self,
        ended: &Notify,
        is_busy: impl Fn() -> bool,
        stopping: &CancellationToken,
    ) {
        if self.runtime.parts.after_run == AfterRun::Off {
            return;
        }
        let mut forgotten_at = Instant::now();
        while !stopping.is_cancelled() {
            if forgotten_at.elapsed() >= FORGET_EVERY {
                forgotten_at = Instant::now();
                self.forget().await;
            }
            let began = Instant::now();
            let taken = self.take().await;
            let found = !taken.is_empty();
            let vectors = if is_busy() { Vectors::Later } else { Vectors::Now };
            let asking = self.remember_all(taken, vectors, stopping).await;
            let rest = if is_busy() { REST_BUSY } else { REST };
            let rest = began.elapsed().saturating_sub(asking) * rest;
            if found {
                tokio::select! {
                    () = sleep(rest) => {}
                    () = stopping.cancelled() => {}
                }
            } else {
                tokio::select! {
                    () = ended.notified() => {}
                    () = sleep(LOOK_EVERY) => {}
                    () = stopping.cancelled() => {}
                }
            }
        }
    }

    async fn take(&self) -> Vec<ToRemember> {
        self.runtime.parts.store.claim_to_remember(BATCH_MAX, HOLD).await.unwrap_or_else(|error| {
            tracing::debug!(error = %error, "completed runs could not be taken; they are remembered later");
            Vec::new()
        })
    }

    /// Returns how long it waited for models.
    async fn remember_all(
        &self,
        mut runs: Vec<ToRemember>,
        vectors: Vectors,
        stopping: &CancellationToken,
    ) -> Duration {
        let mut asking = Duration::ZERO;
        while let Some(run) = runs.first() {
            let done = tokio::select! {
                biased;
                () = stopping.cancelled() => {
                    if let Err(error) = self.runtime.parts.store.release_to_remember(&runs).await {
                        tracing::debug!(error = %error, "completed runs could not be handed back; another worker takes them later");
                    }
                    return asking;
                }
                done = self.remember(run, vectors, &mut asking) => done,
            };
            if let Err(fault) = done {
                counter!("openintern_runs_remembered_total", "outcome" => "failed").increment(1);
                tracing::warn!(
                    run_id = %run.run_id, tries = run.tries,
                    error = &fault as &dyn std::error::Error, "a completed run was not remembered"
                );
            }
            runs.remove(0);
        }
        asking
    }

    async fn remember(
        &self,
        run: &ToRemember,
        vectors: Vectors,
        asking: &mut Duration,
    ) -> Result<(), RememberError> {
        let known = self.known(run).await?;
        // Nobody asked to keep these words, so what only looks like a credential is masked, too.
        let clean = |text: &str| {
            self.runtime.parts.redactor.redacted(text, Reach::Credentials).into_owned()
        };
        let answer = if model::demo::is_introduction(&run.output) { "" } else { &run.output };
        let (task, answer) = (clean(&run.input), clean(answer));
        let named = match self.runtime.parts.after_run {
            AfterRun::Model => {
                let began = Instant::now();
                let named = facts(self.runtime, run, &task, &answer).await;
                *asking += began.elapsed();
                named
            }
            AfterRun::Extractive | AfterRun::Off => None,
        };
        let texts = run_blocking(move || {
            let known = KnownTexts::of(known.texts.iter().map(String::as_str));
            match named {
                Some(facts) => facts.into_iter().filter(|fact| known.lacks(fact)).collect(),
                None => extract(&task, &answer, &known).into_iter().collect::<Vec<_>>(),
            }
        })
        .await;
        let agent = self.runtime.parts.agents.get(&run.agent_id).cloned().unwrap_or_default();
        let zone = agent.zone(run.timezone.as_ref(), &self.runtime.parts.zone);
        let memories: Vec<_> =
            texts.into_iter().map(|text| memory(run, zone, clean(&text))).collect();
        let done = self.runtime.parts.memory.remember_run(run, &memories, vectors).await?;
        let outcome = match (done.written, done.merged) {
            (0, 0) => "nothing",
            (0, _) => "known",
            (_, _) => "written",
        };
        counter!("openintern_runs_remembered_total", "outcome" => outcome).increment(1);
        Ok(())
    }

    /// What the run had before it, and what it wrote by itself.
    async fn known(&self, run: &ToRemember) -> Result<RunKnowledge, RememberError> {
        let core = self.runtime.parts.memory.core(&run.scope, CORE_MAX_CHARS).await?;
        let mut known = RunKnowledge {
            texts: core.into_iter().map(|memory| memory.text).collect(),
            memory_ids: Vec::new(),
        };
        let scoped = self.runtime.parts.store.scoped(&run.scope);
        let types = KNOWING.map(str::to_owned);
        let mut cursor = 0;
        for _ in 0..PAGES_MAX {
            let page = scoped.list_events(run.run_id, cursor, PageLimit::default(), &types).await?;
            for event in &page.items {
                known.note(event);
                cursor = event.seq;
            }
            if page.next_cursor.is_none() {
                break;
            }
        }
        let mut ids = std::mem::take(&mut known.memory_ids);
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(RECALLED_MAX);
        known.texts.extend(scoped.memory_texts(&ids, RECALLED_MAX_CHARS).await?);
        Ok(known)
    }

    async fn forget(&self) {
        match self.runtime.parts.store.forget_to_remember().await {
            Ok(0) => {}
            Ok(runs) => {
                counter!("openintern_runs_not_remembered_total").increment(runs);
                tracing::warn!(runs, "completed runs were dropped without being remembered");
            }
            Err(error) => {
                tracing::debug!(error = %error, "completed runs that waited too long could not be dropped")
            }
        }
    }
}

fn memory(run: &ToRemember, zone: &Zone, text: String) -> WriteMemory {
    WriteMemory {
        importance: IMPORTANCE,
        group_key: Some(run.session_key.as_str().to_owned()),
        occurred_at: Some(OccurredAt::in_zone(run.ended_at, zone)),
        ..WriteMemory::new(MemoryType::Episodic, text)
    }
}

/// What a run knew: the texts of memories that it has seen or written.
struct RunKnowledge {
    texts: Vec<String>,
    /// Memories of which only a part was seen.
    memory_ids: Vec<MemoryId>,
}

impl RunKnowledge {
    /// Takes in what an event says.
    fn note(&mut self, event: &StoredEvent) {
        let payload: Value = serde_json::from_str(event.payload.get()).unwrap_or_default();
        let fact = serde_json::from_value(json!({"type": event.type_name, "payload": payload}));
        let text_of = |value: &Value| value.get("text").and_then(Value::as_str).map(str::to_owned);
        match fact {
            Ok(Fact::MemoryRecalled { hits, .. }) => self.see(hits),
            Ok(Fact::ToolCalled { tool, args, .. }) if tool == MEMORY_WRITE => {
                self.texts.extend(text_of(&args));
            }
            Ok(Fact::ToolResult { tool, result, outcome: Outcome::Ok, .. }) => {
                match tool.as_str() {
                    MEMORY_SEARCH => self.see(serde_json::from_value(result).unwrap_or_default()),
                    MEMORY_GET => self.texts.extend(text_of(&result)),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn see(&mut self, hits: Vec<Hit>) {
        for hit in hits {
            self.memory_ids.push(hit.id);
            self.texts.push(hit.snippet);
        }
    }
}
