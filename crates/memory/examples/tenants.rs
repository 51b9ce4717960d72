//! Measures search where many tenants share one database: whether each finds all that there is, and
//! how near what the vectors find comes to what an exact scan finds.
//!
//! `cargo run --release -p memory --example tenants -- [CHUNKS] [TENANTS] [EXACT_SCAN_MAX]`
//!
//! It starts a PostgreSQL of its own and fills it with 200,000 chunks of 500 tenants, unless told
//! otherwise. Sizes fall as in Zipf's law: the largest tenant has a seventh of all. Vectors are made
//! from a seed: each stands around one of a thousand middles, forty of which a tenant shares with its
//! neighbours. Questions go through the product's own search; what is right is counted here, chunk by
//! chunk. Nothing is judged by a language model.

#![allow(clippy::print_stdout)]

use std::{
    collections::HashSet,
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::{BoxFuture, FutureExt};
use memory::service::MemoryService;
use model::{
    embedding::{Embedder, Purpose},
    error::ModelError,
};
use protocol::{
    id::MemoryId,
    memory::{Hit, MemoryType, SearchMemories, VectorScan, WriteMemory},
    name::{OrgId, UserId},
    scope::Scope,
};
use retrieval::figures::quantile;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::{Store, connect::migrate, settings::StoreSettings};
use uuid::Uuid;

const DIMENSIONS: usize = 256;
const MODEL: &str = "test/seeded";
/// Middles that vectors stand around; of those a tenant has some.
const MIDDLES: u64 = 1_000;
const MIDDLES_OF_TENANT: u64 = 40;
/// Questions of either kind to each tenant, and to all together at least.
const QUESTIONS: u64 = 4;
const ALL_QUESTIONS_MIN: u64 = 200;
const TOP_K: u32 = 10;
/// Rows that are sent together.
const BATCH: usize = 2_000;
/// Texts that are written to see what the indexes cost a writer.
const WRITTEN: u64 = 1_000;

/// A stream of numbers from a seed (SplitMix64, Steele and others 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About normal: the sum of four even ones.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        (sum as f32 / 65_536.0 - 2.0) * 1.732
    }

    fn direction(seed: u64) -> Vec<f32> {
        let mut numbers = Self(seed);
        unit((0..DIMENSIONS).map(|_| numbers.normal()).collect())
    }
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

/// `share` of the way from `from` to somewhere random.
fn near(from: &[f32], share: f32, seed: u64) -> Vec<f32> {
    let noise = Numbers::direction(seed);
    unit(from.iter().zip(noise).map(|(x, y)| x * (1.0 - share) + y * share).collect())
}

/// The chunk with a number: its vector is that of the text `w<number>of<tenant>`.
fn chunk_vector(number: u64, tenant: u64) -> Vec<f32> {
    let pick = Numbers(number).next() % MIDDLES_OF_TENANT;
    let middle = Numbers::direction(1_000_000_007 + (tenant * 7 + pick) % MIDDLES);
    near(&middle, 0.5, 2_000_000_011 + number)
}

/// Knows the vectors of texts by the numbers in them: `w1of2` is a chunk, `q1of2` asks for it.
struct Seeded;

impl Seeded {
    fn vector(text: &str) -> Vec<f32> {
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse::<u64>().ok());
        let (number, tenant) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let vector = chunk_vector(number, tenant);
        if text.starts_with('q') { near(&vector, 0.3, 3_000_000_019 + number) } else { vector }
    }
}

impl Embedder for Seeded {
    fn id(&self) -> &str {
        MODEL
    }

    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn question_timeout(&self) -> Duration {
        Duration::MAX
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        _purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        async move { Ok(texts.iter().map(|text| Self::vector(text)).collect()) }.boxed()
    }
}

struct Tenant {
    number: u64,
    scope: Scope,
    /// The first of its chunks, which have numbers one after another.
    first: u64,
    size: u64,
}

impl Tenant {
    fn all(chunks: u64, count: u64) -> Result<Vec<Self>> {
        let harmonic: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
        let mut first = 1;
        (0..count)
            .map(|number| {
                let size = (chunks as f64 / harmonic / (number + 1) as f64).max(1.0) as u64;
                let scope = Scope {
                    org_id: OrgId::new(format!("org{number}"))?,
                    user_id: UserId::new("user")?,
                    project_id: None,
                };
                first += size;
                Ok(Self { number, scope, first: first - size, size })
            })
            .collect()
    }

    fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.size
    }

    fn has_common_word(number: u64) -> bool {
        number.is_multiple_of(10)
    }
}

fn memory_id(number: u64) -> MemoryId {
    MemoryId::from_uuid(Uuid::from_u128(u128::from(number)))
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let argument = |at: usize| arguments.get(at).copied();
    let tenants = Tenant::all(argument(0).unwrap_or(200_000), argument(1).unwrap_or(500))?;
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await?;
    let mut admin = PgConnection::connect(&database.admin_url).await?;
    let begun = Instant::now();
    fill(&mut admin, &tenants).await.context("filling")?;
    let chunks: u64 = tenants.iter().map(|tenant| tenant.size).sum();
    println!("{chunks} chunks of {} tenants in {:.0?}", tenants.len(), begun.elapsed());

    let mut settings = StoreSettings::new(database.app_url);
    settings.max_connections = 4;
    let store = Store::connect(&settings).await?;
    let mut service = MemoryService::new(store.clone(), Some(Arc::new(Seeded)));
    if let Some(chunks) = argument(2) {
        service = service.scanning_exactly_up_to(chunks);
    }
    let mut rows: Vec<Row> = [100, 1_000, 10_000, u64::MAX].map(Row::below).into();
    for tenant in &tenants {
        let row = rows.iter_mut().find(|row| tenant.size < row.below).context("a row for all")?;
        row.tenants += 1;
        row.largest = row.largest.max(tenant.size);
        let questions = QUESTIONS.max(ALL_QUESTIONS_MIN / tenants.len() as u64);
        ask(&service, tenant, questions, row).await?;
    }
    println!("chunks of a tenant | tenants | hits of those there are | recall | scan | p50, p95");
    for row in rows.iter().filter(|row| row.tenants > 0) {
        println!("{}", row.text());
    }
    write(&store, &mut admin).await
}

/// Straight into the tables: what is measured is not how they come there.
async fn fill(admin: &mut PgConnection, tenants: &[Tenant]) -> Result<()> {
    let index: String =
        sqlx::query_scalar("select pg_get_indexdef('memory_chunks_by_nearness'::regclass)")
            .fetch_one(&mut *admin)
            .await?;
    sqlx::raw_sql("drop index memory_chunks_by_nearness").execute(&mut *admin).await?;
    for tenant in tenants {
        let numbers: Vec<u64> = tenant.numbers().collect();
        let org = &tenant.scope.org_id;
        for numbers in numbers.chunks(BATCH) {
            let (mut memories, mut chunks, mut postings) =
                (String::new(), String::new(), String::new());
            for number in numbers {
                let id = memory_id(*number).uuid();
                let text = format!("w{number}of{}", tenant.number);
                let vector = chunk_vector(*number, tenant.number);
                let vector: Vec<_> = vector.iter().map(|x| format!("{x:.5}")).collect();
                let vector = vector.join(",");
                writeln!(memories, "{org}\t{id}\tuser\t\tarchival\t{text}\t\\\\x00\t0.5")?;
                writeln!(
                    chunks,
                    "{org}\t{number}\tuser\t\t{id}\t{id}\t0\t0\t{text}\t2\t[{vector}]\t{MODEL}\t",
                )?;
                writeln!(postings, "{org}\tuser\t\t{text}\t{number}\t1")?;
                if Tenant::has_common_word(*number) {
                    writeln!(postings, "{org}\tuser\t\tzebra\t{number}\t1")?;
                }
            }
            for (columns, rows) in [
                (
                    "memories (org_id, memory_id, user_id, project_id, type, text, text_hash, \
                     importance)",
                    memories,
                ),
                (
                    "memory_chunks (org_id, chunk_id, user_id, project_id, memory_id, parent_id, \
                     position, ordinal, chunk_text, length, embedding, embedding_model, \
                     search_tsv)",
                    chunks,
                ),
                (
                    "memory_postings (org_id, user_id, project_id, term, chunk_id, frequency)",
                    postings,
                ),
            ] {
                let mut copy = admin.copy_in_raw(&format!("copy {columns} from stdin")).await?;
                copy.send(rows.into_bytes()).await?;
                copy.finish().await?;
            }
        }
        sqlx::query(
            "insert into memory_scope_stats
                 (org_id, user_id, project_id, chunk_count, term_count)
             values ($1, 'user', '', $2, 2 * $2)",
        )
        .bind(org.as_str())
        .bind(tenant.size.cast_signed())
        .execute(&mut *admin)
        .await?;
    }
    for statement in [
        "select setval(pg_get_serial_sequence('memory_chunks', 'chunk_id'),
                       (select max(chunk_id) from memory_chunks))",
        "set maintenance_work_mem = '1GB'",
        &index,
        "vacuum analyze memories, memory_chunks, memory_postings, memory_scope_stats",
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *admin).await?;
    }
    Ok(())
}

/// What tenants of one size found.
struct Row {
    below: u64,
    largest: u64,
    tenants: u64,
    found: u64,
    there: u64,
    right: u64,
    asked_for: u64,
    scans: HashSet<VectorScan>,
    durations: Vec<Duration>,
}

impl Row {
    fn below(below: u64) -> Self {
        Self {
            below,
            largest: 0,
            tenants: 0,
            found: 0,
            there: 0,
            right: 0,
            asked_for: 0,
            scans: HashSet::new(),
            durations: Vec::new(),
        }
    }

    fn text(&self) -> String {
        let scans: Vec<_> = self.scans.iter().map(|scan| format!("{scan:?}")).collect();
        format!(
            "up to {} | {} | {} of {} | {:.4} | {} | {:.1?}, {:.1?}",
            self.largest,
            self.tenants,
            self.found,
            self.there,
            self.right as f64 / self.asked_for.max(1) as f64,
            scans.join(" "),
            quantile(&self.durations, 50),
            quantile(&self.durations, 95),
        )
    }
}

async fn ask(
    service: &MemoryService,
    tenant: &Tenant,
    questions: u64,
    row: &mut Row,
) -> Result<()> {
    let vectors: Vec<Vec<f32>> =
        tenant.numbers().map(|number| chunk_vector(number, tenant.number)).collect();
    let mut numbers = Numbers(tenant.number);
    let common = tenant.numbers().filter(|number| Tenant::has_common_word(*number)).count() as u64;
    for _ in 0..questions {
        let number = tenant.first + numbers.next() % tenant.size;
        let asked = format!("q{number}of{}", tenant.number);
        let question = Seeded::vector(&asked);
        let mut cosines: Vec<(f32, MemoryId)> = vectors
            .iter()
            .zip(tenant.numbers())
            .map(|(vector, number)| {
                let cosine = vector.iter().zip(&question).map(|(x, y)| x * y).sum();
                (cosine, memory_id(number))
            })
            .filter(|(cosine, _)| *cosine > 0.0)
            .collect();
        cosines.sort_by(|a, b| b.0.total_cmp(&a.0));
        cosines.truncate(TOP_K as usize);
        let hits = search(service, tenant, asked, row).await?;
        let right: HashSet<_> = cosines.iter().map(|(_, id)| *id).collect();
        row.right += hits.iter().filter(|hit| right.contains(&hit.id)).count() as u64;
        row.asked_for += right.len() as u64;
        row.there += right.len() as u64;

        let hits = search(service, tenant, "zebra".to_owned(), row).await?;
        let by_words = hits.iter().filter(|hit| {
            hit.explain.as_ref().is_some_and(|explain| explain.lexical.rank.is_some())
        });
        ensure!(
            by_words.count() as u64 == common.min(TOP_K.into()),
            "a word that {common} chunks of {} have found {}",
            tenant.scope,
            hits.len()
        );
    }
    Ok(())
}

async fn search(
    service: &MemoryService,
    tenant: &Tenant,
    query: String,
    row: &mut Row,
) -> Result<Vec<Hit>> {
    let is_question = query.starts_with('q');
    let search = SearchMemories { top_k: TOP_K, explain: true, ..SearchMemories::new(query) };
    let begun = Instant::now();
    let hits = service.search(&tenant.scope, &search).await?;
    if is_question {
        row.durations.push(begun.elapsed());
        row.found += hits.len() as u64;
        row.scans.extend(
            hits.iter().filter_map(|hit| hit.explain.as_ref()).map(|explain| explain.vector_scan),
        );
    }
    Ok(hits)
}

/// What the indexes cost a writer: bulk writes of a new tenant into the full tables.
async fn write(store: &Store, admin: &mut PgConnection) -> Result<()> {
    let by_words = MemoryService::new(store.clone(), None);
    let by_both = MemoryService::new(store.clone(), Some(Arc::new(Seeded)));
    let mut first = 10_000_000;
    let mut measure = async |service: &MemoryService, name: &str| -> Result<()> {
        let scope = Scope {
            org_id: OrgId::new(format!("writer{first}"))?,
            user_id: UserId::new("user")?,
            project_id: None,
        };
        let texts: Vec<_> = (first..first + WRITTEN)
            .map(|number| {
                let filler = "and some more words that make it as long as what people write";
                WriteMemory::new(MemoryType::Archival, format!("w{number}of3 {filler}"))
            })
            .collect();
        first += WRITTEN;
        let begun = Instant::now();
        for batch in texts.chunks(100) {
            service.write_bulk(&scope, batch).await?;
        }
        let per_second = WRITTEN as f64 / begun.elapsed().as_secs_f64();
        println!("written, {name}: {per_second:.0} chunks a second");
        Ok(())
    };
    measure(&by_words, "words only").await?;
    measure(&by_both, "with vectors that cost nothing to make").await?;
    sqlx::raw_sql("drop index memory_chunks_by_nearness").execute(admin).await?;
    measure(&by_both, "the same without the index").await
}
