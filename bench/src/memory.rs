//! Memory search through the API: how much of the evidence for questions it finds, how fast it
//! answers, and how fast texts are written. No language model takes part, and none judges.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use protocol::{
    id::MemoryId,
    limits::{MEMORY_QUERY_MAX_BYTES, MEMORY_TOP_K_MAX},
    memory::{
        Hit, Hits, MemoriesWritten, MemoryFilters, MemoryType, MemoryWritten, SearchMemories,
        VectorScan, WriteMemories, WriteMemory,
    },
};
use reqwest::{
    Client, RequestBuilder,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use retrieval::{
    figures::{Figures, QuestionResult, Table, quantile},
    set::{self, Corpus, Passage, Question},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::server::{Machine, ServerProcess, executable, workspace};

/// The embedders that are measured where none is named.
const EMBEDDINGS: [&str; 3] = ["none", "local/hashed", "local/multilingual-e5-small"];
/// Texts of one write. An embedder that makes ten vectors a second has them when it is answered.
const BATCH: usize = 100;
/// Longest wait for the vectors that a write did not wait for.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How often we look whether they are there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a question is asked again until its vector comes in time, so that the figures do not
/// depend on how busy the machine is.
const TRIES: usize = 10;

/// The options of `bench memory`.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Files of a set, one corpus a line (see bench/memory/src/set.rs); ours when none is named
    sets: Vec<PathBuf>,
    /// Embedders to measure, one after another: `none`, or a value of OPENINTERN_EMBEDDING
    /// [default: none, local/hashed, local/multilingual-e5-small]
    #[arg(long, value_name = "EMBEDDER", value_delimiter = ',')]
    embedding: Vec<String>,
    /// Keep all corpora in one scope
    #[arg(long)]
    together: bool,
    /// Print a row without the questions of this category, too
    #[arg(long, value_name = "CATEGORY")]
    without: Option<String>,
    /// Then write this many more texts into each scope, and measure searches among them and straight
    /// after a write
    #[arg(long, value_name = "TEXTS")]
    grow: Option<usize>,
    /// Name the questions whose evidence is not all among the first 10 hits
    #[arg(long)]
    missed: bool,
    /// Measure this server, as AGENT_ORG_ID, AGENT_USER_ID and OPENINTERN_API_KEY say, in projects
    /// of our own; what we wrote is deleted afterwards
    #[arg(long, conflicts_with = "embedding")]
    url: Option<String>,
}

/// Prints a table for each embedder.
pub(crate) async fn measure(options: Options) -> Result<()> {
    let files = if options.sets.is_empty() { set::own()? } else { options.sets.clone() };
    let mut corpora = Vec::new();
    for file in &files {
        corpora.extend(set::read(file)?);
    }
    if options.together {
        corpora = vec![set::together(corpora)];
    }
    if let Some(url) = &options.url {
        let outcome =
            Memories::from_environment(url)?.measure(&corpora, options.grow, true).await?;
        outcome.print(url, &options);
        return Ok(());
    }
    let usual = || EMBEDDINGS.map(str::to_owned).to_vec();
    let embeddings = if options.embedding.is_empty() { usual() } else { options.embedding.clone() };
    for embedding in embeddings {
        // A database for each: one embedder does not fill in what another left.
        let measure =
            async |machine: &Machine| measure_on(machine, &embedding, &corpora, options.grow).await;
        let outcome = Machine::lend(executable(), measure).await?;
        outcome.print(&format!("embedder {embedding}"), &options);
    }
    Ok(())
}

async fn measure_on(
    machine: &Machine,
    embedding: &str,
    corpora: &[Corpus],
    grow: Option<usize>,
) -> Result<MemoryOutcome> {
    let server = ServerProcess::start(machine, &variables(embedding)).await?;
    let headers = headers([("x-org-id", Some("org_bench")), ("x-user-id", Some("user"))])?;
    let outcome = Memories::new(&server.url, headers)?.measure(corpora, grow, false).await?;
    server.stop().await?;
    Ok(outcome)
}

/// What a server is started with.
pub(crate) fn variables(embedding: &str) -> Vec<(&'static str, String)> {
    let mut variables = vec![("OPENINTERN_EMBEDDING", embedding.to_owned())];
    let weights = workspace().join(".cache/embedder/e5-small-q4.bin");
    if let Some(weights) = std::path::absolute(weights).ok().filter(|path| path.is_file()) {
        variables.push(("OPENINTERN__EMBEDDING__WEIGHTS", weights.display().to_string()));
    }
    variables
}

/// What was measured with one embedder.
#[derive(Default)]
struct MemoryOutcome {
    measured: Vec<QuestionResult>,
    /// The questions whose evidence is not all among the first 10 hits.
    missed: Vec<String>,
    passages: usize,
    loading: Duration,
    /// Questions of which a server said that their vector came too late.
    late: usize,
    /// What searches took in scopes that have grown.
    grown: Grown,
}

#[derive(Default)]
struct Grown {
    usual: Vec<Duration>,
    after_a_write: Vec<Duration>,
}

impl MemoryOutcome {
    fn print(&self, title: &str, options: &Options) {
        let per_second = self.passages as f64 / self.loading.as_secs_f64();
        println!("\n{title}: {} texts, {per_second:.0} written a second\n", self.passages);
        let mut table = Table::of(&self.measured);
        if let Some(without) = &options.without {
            let rest = self.measured.iter().filter(|each| each.category != *without);
            table.rows.insert(1, (format!("without {without}"), Figures::of(rest)));
        }
        print!("{table}");
        if self.late > 0 {
            println!("\nThe vectors of {} questions came too late at first.", self.late);
        }
        if let Some(texts) = options.grow {
            let among = |what: &str, times: &[Duration]| {
                let [p50, p95] = [50, 95].map(|part| quantile(times, part));
                println!("| {what} | {p50:.1?}, {p95:.1?} |");
            };
            println!("\n| with {texts} more texts | p50, p95 |\n|---|---|");
            among("a search", &self.grown.usual);
            among("straight after a write", &self.grown.after_a_write);
        }
        if options.missed {
            println!("\nNot found among the first 10:\n\n{}", self.missed.join("\n"));
        }
    }
}

/// The memories of a server.
struct Memories {
    client: Client,
    url: String,
}

/// Those of one project, which is one corpus.
struct Project<'a> {
    memories: &'a Memories,
    name: String,
}

impl Memories {
    fn from_environment(url: &str) -> Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let key = variable("OPENINTERN_API_KEY");
        let or_default = |name, default: &str| {
            variable(name).or_else(|| key.is_none().then(|| default.to_owned()))
        };
        let org_id = or_default("AGENT_ORG_ID", "org_default");
        let user_id = or_default("AGENT_USER_ID", "user_default");
        let mut headers =
            headers([("x-org-id", org_id.as_deref()), ("x-user-id", user_id.as_deref())])?;
        if let Some(key) = key {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
                .context("OPENINTERN_API_KEY is not a key")?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Self::new(url, headers)
    }

    fn new(url: &str, headers: HeaderMap) -> Result<Self> {
        let client = Client::builder().no_proxy().default_headers(headers).build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned() })
    }

    async fn measure(
        &self,
        corpora: &[Corpus],
        grow: Option<usize>,
        is_forgotten: bool,
    ) -> Result<MemoryOutcome> {
        let mut outcome = MemoryOutcome::default();
        for corpus in corpora {
            // A project of this measurement's own: what an earlier one left is not in the way.
            let project = Project { memories: self, name: MemoryId::generate().to_string() };
            let begun = Instant::now();
            let ids = project.load(corpus).await?;
            outcome.loading += begun.elapsed();
            let mut more = Vec::new();
            outcome.passages += corpus.passages.len();
            for question in corpus.asked() {
                let (measured, is_late) = project.ask(corpus, question, &ids).await?;
                if measured.recall_at_10 < 1.0 {
                    outcome.missed.push(missed(corpus, question));
                }
                outcome.measured.push(measured);
                outcome.late += usize::from(is_late);
            }
            if let Some(texts) = grow {
                more = project.grow(corpus, texts, &mut outcome.grown).await?;
            }
            if is_forgotten {
                project.forget(ids.values().chain(&more)).await?;
            }
        }
        Ok(outcome)
    }
}

impl Project<'_> {
    /// Writes the texts and answers which memory each became, once all that get one have a vector.
    async fn load<'c>(&self, corpus: &'c Corpus) -> Result<HashMap<&'c str, MemoryId>> {
        let mut ids = HashMap::new();
        let mut lasts = Vec::new();
        for batch in corpus.passages.chunks(BATCH) {
            let memories = batch.iter().map(Passage::memory).collect();
            let written: MemoriesWritten =
                self.post("/api/memories/bulk", &WriteMemories { memories }).await?;
            lasts.extend(batch.last().zip(written.ids.last().copied()));
            ids.extend(batch.iter().map(|passage| passage.id.as_str()).zip(written.ids));
        }
        // Vectors are made in order: when the last of a write has its own, the others do.
        for (passage, id) in lasts {
            self.until_embedded(passage, id).await?;
        }
        Ok(ids)
    }

    async fn until_embedded(&self, passage: &Passage, id: MemoryId) -> Result<()> {
        let end = passage.text.floor_char_boundary(MEMORY_QUERY_MAX_BYTES);
        let search = SearchMemories {
            top_k: MEMORY_TOP_K_MAX,
            filters: Some(MemoryFilters {
                group_key: Some(passage.parent.clone()),
                ..MemoryFilters::default()
            }),
            explain: true,
            ..SearchMemories::new(passage.text.get(..end).unwrap_or_default())
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let hits = self.search(&search).await?;
            let has_vector = hits
                .iter()
                .filter(|hit| hit.id == id)
                .filter_map(|hit| hit.explain.as_ref())
                .any(|explain| explain.vector.rank.is_some());
            if has_vector
                || [VectorScan::NoEmbedder, VectorScan::Failed].map(Some).contains(&scan(&hits))
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "`{}` still has no vector", passage.id);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Asks as a user does, and takes the time; then for as many hits as there may be, to judge.
    async fn ask(
        &self,
        corpus: &Corpus,
        question: &Question,
        ids: &HashMap<&str, MemoryId>,
    ) -> Result<(QuestionResult, bool)> {
        let gold: HashSet<MemoryId> =
            question.gold.iter().filter_map(|id| ids.get(id.as_str()).copied()).collect();
        if question.text.trim().is_empty() {
            // The service refuses to look for it.
            return Ok((QuestionResult::new(corpus, question, &[], &gold, Duration::ZERO), false));
        }
        let usual = SearchMemories::new(&question.text);
        let duration = self.time(&usual).await?;
        let judged = SearchMemories { top_k: MEMORY_TOP_K_MAX, explain: true, ..usual };
        let mut hits = self.search(&judged).await?;
        let was_late = may_be_late(&hits);
        for _ in 1..TRIES {
            if !may_be_late(&hits) {
                break;
            }
            hits = self.search(&judged).await?;
        }
        let is_late = was_late && !hits.is_empty();
        let found: Vec<MemoryId> = hits.iter().map(|hit| hit.id).collect();
        Ok((QuestionResult::new(corpus, question, &found, &gold, duration), is_late))
    }

    /// Writes more texts of the same words, takes the time of searches, and of those that come
    /// straight after a write. Answers what was written.
    async fn grow(
        &self,
        corpus: &Corpus,
        texts: usize,
        grown: &mut Grown,
    ) -> Result<Vec<MemoryId>> {
        let mut ids = Vec::new();
        let others = corpus.passages.iter().cycle().skip(corpus.passages.len() / 2);
        let mut more = (0..texts).zip(corpus.passages.iter().cycle()).zip(others).map(
            |((n, passage), other)| {
                let mut memory = passage.memory();
                memory.text = format!("{} ({n}) {}", passage.text, other.text);
                memory.group_key =
                    Some(format!("{} {}", passage.parent, n / corpus.passages.len()));
                memory
            },
        );
        loop {
            let memories: Vec<_> = more.by_ref().take(BATCH).collect();
            if memories.is_empty() {
                break;
            }
            let written: MemoriesWritten =
                self.post("/api/memories/bulk", &WriteMemories { memories }).await?;
            ids.extend(written.ids);
        }
        for question in corpus.asked().filter(|question| !question.text.trim().is_empty()) {
            let search = SearchMemories::new(&question.text);
            self.search(&search).await?; // Nobody pays for what comes before it.
            grown.usual.push(self.time(&search).await?);
            let text = format!("({}) {}", grown.usual.len(), question.text);
            let written: MemoryWritten =
                self.post("/api/memories", &WriteMemory::new(MemoryType::Episodic, text)).await?;
            ids.push(written.id);
            grown.after_a_write.push(self.time(&search).await?);
        }
        Ok(ids)
    }

    async fn time(&self, search: &SearchMemories) -> Result<Duration> {
        let begun = Instant::now();
        self.search(search).await?;
        Ok(begun.elapsed())
    }

    async fn search(&self, search: &SearchMemories) -> Result<Vec<Hit>> {
        Ok(self.post::<Hits>("/api/memories/search", search).await?.hits)
    }

    async fn forget(&self, ids: impl Iterator<Item = &MemoryId>) -> Result<()> {
        let ids: HashSet<_> = ids.collect(); // Two texts that are the same are one memory.
        for id in ids {
            let url = format!("{}/api/memories/{id}", self.memories.url);
            self.answered(self.memories.client.delete(url)).await?;
        }
        Ok(())
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let url = format!("{}{path}", self.memories.url);
        Ok(self.answered(self.memories.client.post(url).json(body)).await?.json().await?)
    }

    async fn answered(&self, request: RequestBuilder) -> Result<reqwest::Response> {
        let answer = request.header("x-project-id", &self.name).send().await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        anyhow::bail!("{}: {}", answer.status(), answer.text().await?)
    }
}

fn missed(corpus: &Corpus, question: &Question) -> String {
    let evidence = question.gold.join(", ");
    format!("* {}, {}: {} ({evidence})", corpus.name, question.category, question.text)
}

/// Whether the vector of the question came too late: then words that nobody wrote find nothing.
fn may_be_late(hits: &[Hit]) -> bool {
    hits.is_empty() || scan(hits) == Some(VectorScan::Late)
}

/// How the vectors were scanned; none where nothing was found.
fn scan(hits: &[Hit]) -> Option<VectorScan> {
    Some(hits.first()?.explain.as_ref()?.vector_scan)
}

fn headers<const N: usize>(pairs: [(&'static str, Option<&str>); N]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        }
    }
    Ok(headers)
}
