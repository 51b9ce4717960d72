//! Makes memories of completed runs. Not here: the note that a run is to be remembered, which is
//! written by the commit of its end.
//!
//! Any worker takes noted runs, as many as have gathered for a moment: together they cost a fraction of
//! what each would, so a worker keeps up with the runs that it executes. The memory is written in the
//! commit that removes the note, so that a crash repeats the work and not the memory. A run's stream is
//! closed by then, so nothing of this is an event; the memory names the run as its origin.

mod extract;
mod facts;

use std::time::{Duration, Instant};

use futures::future::join_all;
use memory::service::{
    after_runs::{MadeOfRun, Vectors},
    content::run_blocking,
};
use metrics::counter;
use protocol::{
    event::Fact,
    id::MemoryId,
    memory::{Hit, MemoryType, OccurredAt, WriteMemory},
    time::Zone,
    tool::Outcome,
};
use serde_json::{Value, json};
use store::{
    error::StoreError,
    memories::after_runs::{KnowingEvent, KnownToRuns, ToRemember},
};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    context::CORE_MAX_CHARS,
    parts::Runtime,
    redactor::{Reach, Redactor},
    settings::AfterRun,
    tools::memories::{MEMORY_GET, MEMORY_SEARCH, MEMORY_WRITE},
};

use self::{
    extract::{KnownTexts, extract},
    facts::facts,
};

/// Runs that are taken at once.
const BATCH_MAX: u32 = 64;
/// The same where their models are asked, all at once.
const BATCH_OF_MODELS_MAX: u32 = 8;
/// How long they are held; after that another worker may take them. Longer than the models of a
/// whole batch may take.
const HOLD: Duration = Duration::from_secs(300);
/// How long runs gather after one has ended. Where they gather faster than they are taken, a worker
/// goes on at once: what it put off would cost as much later.
const GATHER: Duration = Duration::from_millis(200);
/// How often noted runs are looked for when none ends here.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often runs that have waited too long are dropped.
const FORGET_EVERY: Duration = Duration::from_secs(30);
/// Below the middle: memories that a user or a tool wrote come first.
const IMPORTANCE: f32 = 0.3;
/// Most memories of a run whose texts are looked at.
const RECALLED_MAX: usize = 64;
/// How many bytes of each are looked at.
const RECALLED_MAX_CHARS: u32 = 16_384;
/// The tools whose calls say what a run knew and wrote.
const KNOWING: [&str; 3] = [MEMORY_SEARCH, MEMORY_GET, MEMORY_WRITE];

/// The work after runs, of one worker.
pub(crate) struct AfterRuns<'a> {
    runtime: &'a Runtime,
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
        let most = match self.runtime.parts.after_run {
            AfterRun::Model => BATCH_OF_MODELS_MAX,
            AfterRun::Extractive | AfterRun::Off => BATCH_MAX,
        };
        let mut forgotten_at = Instant::now();
        while !stopping.is_cancelled() {
            if forgotten_at.elapsed() >= FORGET_EVERY {
                forgotten_at = Instant::now();
                self.forget().await;
            }
            let taken = self.take(most).await;
            let is_full = taken.len() == most as usize;
            let vectors = if is_busy() || is_full { Vectors::Later } else { Vectors::Now };
            tokio::select! {
                biased;
                () = stopping.cancelled() => self.hand_back(&taken).await,
                () = self.remember(&taken, vectors) => {}
            }
            if is_full {
                continue;
            }
            let gathered = async {
                tokio::select! {
                    () = ended.notified() => {}
                    () = sleep(LOOK_EVERY) => {}
                }
                sleep(GATHER).await;
            };
            tokio::select! {
                () = gathered => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    async fn take(&self, most: u32) -> Vec<ToRemember> {
        self.runtime.parts.store.claim_to_remember(most, HOLD).await.unwrap_or_else(|error| {
            tracing::debug!(error = %error, "completed runs could not be taken; they are remembered later");
            Vec::new()
        })
    }

    /// Those of them that are remembered by now have no note any more.
    async fn hand_back(&self, runs: &[ToRemember]) {
        if let Err(error) = self.runtime.parts.store.release_to_remember(runs).await {
            tracing::debug!(error = %error, "completed runs could not be handed back; another worker takes them later");
        }
    }

    async fn remember(&self, runs: &[ToRemember], vectors: Vectors) {
        if runs.is_empty() {
            return;
        }
        let known = match self.known(runs).await {
            Ok(known) => known,
            Err(error) => {
                match runs {
                    [run] => was_not_remembered(run, &error),
                    // What cannot be read of one run is not the others' fault.
                    _ => {
                        for run in runs {
                            Box::pin(self.remember(std::slice::from_ref(run), vectors)).await;
                        }
                    }
                }
                return;
            }
        };
        let told: Vec<_> = runs.iter().map(Told::of).zip(known).collect();
        let redactor = self.runtime.parts.redactor.clone();
        let told = run_blocking(move || {
            let clean = |(told, known): (Told, _)| (told.clean(&redactor), known);
            told.into_iter().map(clean).collect::<Vec<_>>()
        })
        .await;
        let named =
            join_all(runs.iter().zip(&told).map(|(run, (told, _))| self.facts(run, told))).await;
        let redactor = self.runtime.parts.redactor.clone();
        let texts = run_blocking(move || {
            told.into_iter()
                .zip(named)
                .map(|((told, known), facts)| told.worth_keeping(facts, &known, &redactor))
                .collect::<Vec<_>>()
        })
        .await;
        let made: Vec<_> = runs
            .iter()
            .zip(texts)
            .map(|(run, texts)| MadeOfRun { run, memories: self.memories(run, texts) })
            .collect();
        let outcomes = self.runtime.parts.memory.remember_runs(&made, vectors).await;
        for (run, outcome) in runs.iter().zip(outcomes) {
            match outcome {
                Ok(done) => {
                    let outcome = match (done.written, done.merged) {
                        (0, 0) => "nothing",
                        (0, _) => "known",
                        (_, _) => "written",
                    };
                    counter!("openintern_runs_remembered_total", "outcome" => outcome).increment(1);
                }
                Err(fault) => was_not_remembered(run, &fault),
            }
        }
    }

    /// What a model names of a run, where one is asked and answers.
    async fn facts(&self, run: &ToRemember, told: &Told) -> Option<Vec<String>> {
        match self.runtime.parts.after_run {
            AfterRun::Model => facts(self.runtime, run, &told.task, &told.answer).await,
            AfterRun::Extractive | AfterRun::Off => None,
        }
    }

    fn memories(&self, run: &ToRemember, texts: Vec<String>) -> Vec<WriteMemory> {
        let agent = self.runtime.parts.agents.get(&run.agent_id).cloned().unwrap_or_default();
        let zone = agent.zone(run.timezone.as_ref(), &self.runtime.parts.zone);
        texts.into_iter().map(|text| memory(run, zone, text)).collect()
    }

    /// What each run had before it, and what it wrote by itself.
    async fn known(&self, runs: &[ToRemember]) -> Result<Vec<Vec<String>>, StoreError> {
        let store = &self.runtime.parts.store;
        let KnownToRuns { core, mut events } =
            store.known_to_runs(runs, &KNOWING, CORE_MAX_CHARS).await?;
        let mut known: Vec<RunKnowledge> = runs
            .iter()
            .map(|run| RunKnowledge::of(&events.remove(&run.run_id).unwrap_or_default()))
            .collect();
        let asked: Vec<_> = runs
            .iter()
            .zip(&known)
            .map(|(run, known)| (&run.scope, known.memory_ids.as_slice()))
            .collect();
        let texts = store.texts_of_memories(&asked, RECALLED_MAX_CHARS).await?;
        Ok(runs
            .iter()
            .zip(&mut known)
            .map(|(run, known)| {
                let core = core.get(&run.scope).into_iter().flatten().cloned();
                let recalled = known.memory_ids.iter().filter_map(|id| texts.get(id)).cloned();
                core.chain(std::mem::take(&mut known.texts)).chain(recalled).collect()
            })
            .collect())
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

/// The texts of a run that its memories are made of.
struct Told {
    task: String,
    answer: String,
}

impl Told {
    fn of(run: &ToRemember) -> Self {
        let answer = if model::demo::is_introduction(&run.output) { "" } else { &run.output };
        Self { task: run.input.clone(), answer: answer.to_owned() }
    }

    fn clean(self, redactor: &Redactor) -> Self {
        Self { task: clean(&self.task, redactor), answer: clean(&self.answer, redactor) }
    }

    /// The facts that a model named, or else sentences; of either, what was not known.
    fn worth_keeping(
        self,
        facts: Option<Vec<String>>,
        known: &[String],
        redactor: &Redactor,
    ) -> Vec<String> {
        let known = KnownTexts::of(known.iter().map(String::as_str));
        let texts = match facts {
            Some(facts) => facts.into_iter().filter(|fact| known.lacks(fact)).collect(),
            None => Vec::from_iter(extract(&self.task, &self.answer, &known)),
        };
        texts.iter().map(|text| clean(text, redactor)).collect()
    }
}

/// Nobody asked to keep these words, so what only looks like a credential is masked, too.
fn clean(text: &str, redactor: &Redactor) -> String {
    redactor.redacted(text, Reach::Credentials).into_owned()
}

fn was_not_remembered(run: &ToRemember, fault: &(dyn std::error::Error + 'static)) {
    counter!("openintern_runs_remembered_total", "outcome" => "failed").increment(1);
    tracing::warn!(
        run_id = %run.run_id, tries = run.tries, error = fault, "a completed run was not remembered"
    );
}

/// What a run knew: the texts of memories that it has seen or written.
#[derive(Default)]
struct RunKnowledge {
    texts: Vec<String>,
    /// Memories of which only a part was seen.
    memory_ids: Vec<MemoryId>,
}

impl RunKnowledge {
    fn of(events: &[KnowingEvent]) -> Self {
        let mut known = Self::default();
        events.iter().for_each(|event| known.note(event));
        known.memory_ids.sort_unstable();
        known.memory_ids.dedup();
        known.memory_ids.truncate(RECALLED_MAX);
        known
    }

    /// Takes in what an event says.
    fn note(&mut self, event: &KnowingEvent) {
        let fact =
            serde_json::from_value(json!({"type": event.type_name, "payload": event.payload}));
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
