//! Measures search: how much of the evidence for a question is among the first hits, how fast.
//!
//! `DATABASE_URL=… cargo run --release -p memory --example retrieval -- SET.jsonl [EMBEDDER] [together]`
//!
//! The embedder is `none`, `hashed`, or the weights file of multilingual-e5-small. With the last, a
//! file in the temporary folder keeps the vectors of texts for the next time; those of questions
//! are made anew, and are waited for, so that only times depend on how busy the machine is.
//! Each line of the set is one corpus, kept in a scope of its own or, with `together`, all in one:
//! `{"corpus", "chunks": [{"id", "parent", "seq", "date", "text"}],
//! "questions": [{"text", "gold": [id], "category"}]}`.
//! No language model takes part and nothing is judged by one.

#![allow(clippy::print_stdout)]

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::future::{BoxFuture, FutureExt};
use jiff::civil::{Date, DateTime};
use memory::service::MemoryService;
use model::{
    embedding::{Embedder, Hashed, Multilingual, Purpose},
    error::ModelError,
};
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
    memories::reindex::Stale,
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

/// The offline embedder with vectors that it made before.
struct Known {
    embedder: Multilingual,
    vectors: Mutex<HashMap<String, Vec<f32>>>,
    file: Mutex<File>,
}

impl Known {
    fn open(embedder: Multilingual) -> Result<Self> {
        let name = format!("retrieval-{}.jsonl", embedder.id().replace('/', "-"));
        let path = std::env::temp_dir().join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // A last line may be cut off.
        let vectors = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { embedder, vectors: Mutex::new(vectors), file: Mutex::new(file) })
    }

    fn known(&self, text: &str) -> Option<Vec<f32>> {
        self.vectors.lock().ok()?.get(text).cloned()
    }

    fn keep(&self, text: &str, vector: &[f32]) {
        if let (Ok(mut vectors), Ok(mut file)) = (self.vectors.lock(), self.file.lock()) {
            writeln!(file, "{}", serde_json::json!([text, vector])).ok();
            vectors.insert(text.to_owned(), vector.to_owned());
        }
    }
}

impl Embedder for Known {
    fn id(&self) -> &str {
        self.embedder.id()
    }

    fn dimensions(&self) -> usize {
        self.embedder.dimensions()
    }

    fn question_timeout(&self) -> Duration {
        Duration::MAX
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        if purpose == Purpose::Query {
            return self.embedder.embed(texts, purpose);
        }
        async move {
            let mut vectors = Vec::with_capacity(texts.len());
            for text in texts {
                if let Some(vector) = self.known(text) {
                    vectors.push(vector);
                    continue;
                }
                for vector in self.embedder.embed(std::slice::from_ref(text), purpose).await? {
                    self.keep(text, &vector);
                    vectors.push(vector);
                }
            }
            Ok(vectors)
        }
        .boxed()
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("arguments: SET.jsonl [EMBEDDER] [together]")?;
    let embedder: Option<Arc<dyn Embedder>> = match arguments.next().as_deref() {
        None | Some("none") => None,
        Some("hashed") => Some(Arc::new(Hashed::new(256))),
        Some(weights) => Some(Arc::new(Known::open(Multilingual::load(Path::new(weights))?)?)),
    };
    let is_semantic = embedder.as_ref().is_some_and(|embedder| embedder.id().contains("e5"));
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL names the database")?;
    migrate(&url).await?;
    let store = Store::connect(&StoreSettings::new(url)).await?;
    let service = MemoryService::new(store, embedder);

    let mut measured = Vec::new();
    let (mut chunks, mut loading) = (0, Duration::ZERO);
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let mut corpora: Vec<Corpus> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    if arguments.next().as_deref() == Some("together") {
        corpora = vec![together(corpora)];
    }
    for corpus in corpora {
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
        if is_semantic {
            service.embed_stale(Stale::Missing, 0, |_| {}).await?; // What a write did not wait for.
        }
        loading += begun.elapsed();
        chunks += corpus.chunks.len();
        for question in corpus.questions.iter().filter(|question| !question.gold.is_empty()) {
            measured.push(measure(&service, &scope, question, &ids).await?);
        }
    }
    report("all", &measured.iter().collect::<Vec<_>>());
    let answerable: Vec<_> = measured.iter().filter(|each| each.category <= 4).collect();
    if answerable.len() < measured.len() {
        report("categories 1 to 4", &answerable);
    }
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

/// All as one, with the names of one apart from those of another.
fn together(corpora: Vec<Corpus>) -> Corpus {
    let mut all = Corpus { corpus: "all".into(), chunks: Vec::new(), questions: Vec::new() };
    for Corpus { corpus, chunks, questions } in corpora {
        let named = |name: String| format!("{corpus}/{name}");
        all.chunks.extend(chunks.into_iter().map(|chunk| Chunk {
            id: named(chunk.id),
            parent: named(chunk.parent),
            ..chunk
        }));
        all.questions.extend(questions.into_iter().map(|question| Question {
            gold: question.gold.into_iter().map(named).collect(),
            ..question
        }));
    }
    all
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
        ids.extend(batch.iter().map(|chunk| chunk.id.as_str()).zip(written.ids));
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
