//! Measures search: how much of the evidence for a question is among the first hits, how fast.
//!
//! `DATABASE_URL=… cargo run --release -p memory --example retrieval -- SET.jsonl [none|hashed]`
//!
//! Each line of the set is one corpus, kept in a scope of its own:
//! `{"corpus", "chunks": [{"id", "parent", "seq", "date", "text"}],
//! "questions": [{"text", "gold": [id], "category"}]}`.
//! No language model takes part and nothing is judged by one.

#![allow(clippy::print_stdout)]

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use jiff::civil::{Date, DateTime};
use memory::service::MemoryService;
use model::embedding::{Embedder, Hashed};
use protocol::{
    id::MemoryId,
    limits::{MEMORY_BULK_MAX, MEMORY_TOP_K_MAX},
    memory::{MemoryType, OccurredAt, SearchMemories, WriteMemory},
    name::{OrgId, UserId},
    scope::Scope,
};
use serde::Deserialize;
use store::{
    Store,
    connect::{StoreSettings, migrate},
};

#[derive(Deserialize)]
struct Corpus {
    corpus: String,
    chunks: Vec<Chunk>,
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Chunk {
    id: String,
    parent: String,
    seq: i32,
    date: String,
    text: String,
}

#[derive(Deserialize)]
struct Question {
    text: String,
    gold: Vec<String>,
    category: u32,
}

/// What one question measured.
struct Measured {
    category: u32,
    recall_at_5: f64,
    recall_at_10: f64,
    reciprocal_rank: f64,
    duration: Duration,
}

impl Measured {
    fn nothing(category: u32) -> Self {
        Self {
            category,
            recall_at_5: 0.0,
            recall_at_10: 0.0,
            reciprocal_rank: 0.0,
            duration: Duration::ZERO,
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("name a set: SET.jsonl [none|hashed]")?;
    let embedder: Option<Arc<dyn Embedder>> = match arguments.next().as_deref() {
        None | Some("none") => None,
        Some("hashed") => Some(Arc::new(Hashed::new(256))),
        Some(other) => bail!("`{other}` is no embedder: none or hashed"),
    };
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL names the database")?;
    migrate(&url).await?;
    let store = Store::connect(&StoreSettings::new(url)).await?;
    let service = MemoryService::new(store, embedder);

    let mut measured = Vec::new();
    let (mut chunks, mut loading) = (0, Duration::ZERO);
    for line in std::fs::read_to_string(&path).with_context(|| path.clone())?.lines() {
        let corpus: Corpus = serde_json::from_str(line)?;
        // A scope of this measurement's own: what an earlier one left is not in the way.
        let scope = Scope {
            org_id: OrgId::new("retrieval")?,
            user_id: UserId::new(MemoryId::generate().to_string())?,
            project_id: None,
        };
        let begun = Instant::now();
        let ids = load(&service, &scope, &corpus.chunks)
            .await
            .with_context(|| format!("loading `{}`", corpus.corpus))?;
        loading += begun.elapsed();
        chunks += corpus.chunks.len();
        for question in corpus.questions.iter().filter(|question| !question.gold.is_empty()) {
            measured.push(measure(&service, &scope, question, &ids).await?);
        }
    }
    report("all", &measured.iter().collect::<Vec<_>>());
    let mut categories: Vec<_> = measured.iter().map(|each| each.category).collect();
    categories.sort_unstable();
    categories.dedup();
    for category in categories.iter().filter(|_| categories.len() > 1) {
        let part: Vec<_> = measured.iter().filter(|each| each.category == *category).collect();
        report(&format!("category {category}"), &part);
    }
    let per_second = chunks as f64 / loading.as_secs_f64();
    println!("loaded {chunks} texts in {loading:.1?}, {per_second:.0} a second");
    Ok(())
}

/// Writes the texts and answers which memory each became.
async fn load<'a>(
    service: &MemoryService,
    scope: &Scope,
    chunks: &'a [Chunk],
) -> Result<HashMap<&'a str, MemoryId>> {
    let mut ids = HashMap::new();
    for batch in chunks.chunks(MEMORY_BULK_MAX) {
        let memories: Vec<_> = batch.iter().map(memory).collect();
        let written = service.write_bulk(scope, &memories).await?;
        ids.extend(batch.iter().map(|chunk| chunk.id.as_str()).zip(written));
    }
    Ok(ids)
}

fn memory(chunk: &Chunk) -> WriteMemory {
    WriteMemory {
        group_key: Some(chunk.parent.clone()),
        position: Some(chunk.seq),
        occurred_at: day(&chunk.date).map(OccurredAt::Day),
        ..WriteMemory::new(MemoryType::Episodic, &chunk.text)
    }
}

/// `2023-05-08`, or `1:56 pm on 8 May, 2023`.
fn day(text: &str) -> Option<Date> {
    let spoken = || DateTime::strptime("%I:%M %p on %d %B, %Y", text).ok();
    text.parse().ok().or_else(|| spoken().map(DateTime::date))
}

async fn measure(
    service: &MemoryService,
    scope: &Scope,
    question: &Question,
    ids: &HashMap<&str, MemoryId>,
) -> Result<Measured> {
    let gold: HashSet<MemoryId> =
        question.gold.iter().filter_map(|id| ids.get(id.as_str()).copied()).collect();
    if question.text.trim().is_empty() {
        return Ok(Measured::nothing(question.category)); // The service refuses to look for it.
    }
    let search = SearchMemories { top_k: MEMORY_TOP_K_MAX, ..SearchMemories::new(&question.text) };
    let begun = Instant::now();
    let hits = service.search(scope, &search).await?;
    let duration = begun.elapsed();
    let is_gold: Vec<bool> = hits.iter().map(|hit| gold.contains(&hit.id)).collect();
    let recall = |k| {
        let found = is_gold.iter().take(k).filter(|is_gold| **is_gold).count();
        found as f64 / gold.len().max(1) as f64
    };
    let first = is_gold.iter().position(|is_gold| *is_gold);
    Ok(Measured {
        category: question.category,
        recall_at_5: recall(5),
        recall_at_10: recall(10),
        reciprocal_rank: first.map_or(0.0, |at| 1.0 / (at + 1) as f64),
        duration,
    })
}

fn report(name: &str, measured: &[&Measured]) {
    let count = measured.len().max(1);
    let percent = |value: fn(&Measured) -> f64| {
        100.0 * measured.iter().map(|each| value(each)).sum::<f64>() / count as f64
    };
    let mut durations: Vec<_> = measured.iter().map(|each| each.duration).collect();
    durations.sort_unstable();
    let quantile = |part: usize| durations.get(durations.len() * part / 100).copied();
    println!(
        "{name}: {} questions, R@5 {:.1}, R@10 {:.1}, MRR@50 {:.1}, p50 {:.1?}, p95 {:.1?}",
        measured.len(),
        percent(|each| each.recall_at_5),
        percent(|each| each.recall_at_10),
        percent(|each| each.reciprocal_rank),
        quantile(50).unwrap_or_default(),
        quantile(95).unwrap_or_default(),
    );
}
