//! Homes too large for an exact scan: the index is asked, and never answers fewer than there are.
//! `examples/tenants.rs` does the same at full size and measures it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::{collections::HashSet, sync::Arc};

use futures::future::{BoxFuture, FutureExt};
use memory::service::MemoryService;
use model::{
    embedding::{Embedder, Purpose},
    error::ModelError,
};
use protocol::{
    id::MemoryId,
    memory::{Hit, MemoryFilters, MemoryType, SearchMemories, VectorScan, WriteMemory},
    scope::Scope,
};
use store::{Store, connect::migrate, settings::StoreSettings};

/// Homes of more chunks than this are asked by the index.
const BOUND: u64 = 60;

/// A vector for each number in a text: one of twenty directions, and something of its own.
struct Seeded;

fn vector(text: &str) -> Vec<f32> {
    let number: u64 = text.split(' ').find_map(|word| word.parse().ok()).unwrap_or(0);
    let mut state = number;
    let mut vector: Vec<f32> = (0..256)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        })
        .collect();
    vector[(number % 20) as usize] += 6.0;
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

impl Embedder for Seeded {
    fn id(&self) -> &str {
        "test/seeded"
    }

    fn dimensions(&self) -> usize {
        256
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        _purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        async move { Ok(texts.iter().map(|text| vector(text)).collect()) }.boxed()
    }
}

fn scope(org: &str) -> Scope {
    Scope { org_id: org.parse().unwrap(), user_id: "ada".parse().unwrap(), project_id: None }
}

/// Writes texts with numbers from `first` on.
async fn fill(service: &MemoryService, org: &str, first: u64, count: u64) -> Vec<(u64, MemoryId)> {
    let mut written = Vec::new();
    let numbers: Vec<u64> = (first..first + count).collect();
    for numbers in numbers.chunks(500) {
        let text = |number: &u64| {
            let kind =
                if number.is_multiple_of(50) { MemoryType::Core } else { MemoryType::Archival };
            WriteMemory::new(kind, format!("tea {number}"))
        };
        let texts: Vec<_> = numbers.iter().map(text).collect();
        let ids = service.write_bulk(&scope(org), &texts).await.unwrap().ids;
        written.extend(numbers.iter().copied().zip(ids));
    }
    written
}

async fn ask(service: &MemoryService, org: &str, search: SearchMemories) -> Vec<Hit> {
    let search = SearchMemories { top_k: 10, explain: true, ..search };
    service.search(&scope(org), &search).await.unwrap()
}

fn scan(hits: &[Hit]) -> VectorScan {
    hits[0].explain.as_ref().unwrap().vector_scan
}

#[tokio::test]
async fn every_home_finds_all_that_there_is_whatever_its_size() {
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await.unwrap();
    let store = Store::connect(&StoreSettings::new(database.app_url)).await.unwrap();
    let exact = MemoryService::new(store, Some(Arc::new(Seeded)));
    let service = exact.scanning_exactly_up_to(BOUND);
    let mut first = 1;
    for (org, count, want) in [
        ("large", 2_000, VectorScan::Hnsw),
        ("medium", 700, VectorScan::Hnsw),
        ("few", 100, VectorScan::Exact), // Over the bound, but fewer than the index is asked for.
        ("tiny", 4, VectorScan::Exact),
    ] {
        let written = fill(&service, org, first, count).await;
        first += count;
        let (mut right, mut asked_for) = (0, 0);
        for (number, _) in written.iter().step_by(written.len().div_ceil(10)) {
            let question = SearchMemories::new(format!("gizmo {number}"));
            let near = vector(&question.query);
            let mut cosines: Vec<(f32, MemoryId)> = written
                .iter()
                .map(|(other, id)| {
                    let other = vector(&format!("{other} "));
                    (other.iter().zip(&near).map(|(x, y)| x * y).sum(), *id)
                })
                .filter(|(cosine, _)| *cosine > 0.0)
                .collect();
            cosines.sort_by(|a, b| b.0.total_cmp(&a.0));
            let best: HashSet<_> = cosines.iter().take(10).map(|(_, id)| *id).collect();
            let hits = ask(&service, org, question).await;
            assert_eq!((hits.len(), scan(&hits)), (best.len(), want), "{org}");
            right += hits.iter().filter(|hit| best.contains(&hit.id)).count();
            asked_for += best.len();
        }
        assert!(right as f64 >= 0.99 * asked_for as f64, "{org}: {right} of {asked_for}");

        // By words, and with filters, everything that fits is found, too.
        let hits = ask(&service, org, SearchMemories::new("tea")).await;
        assert_eq!(hits.len() as u64, count.min(10), "{org}");
        let core = MemoryFilters { kinds: Some(vec![MemoryType::Core]), ..Default::default() };
        let query = format!("gizmo {first}");
        let asked = SearchMemories { filters: Some(core), ..SearchMemories::new(query) };
        let ids = |hits: Vec<Hit>| hits.iter().map(|hit| hit.id).collect::<Vec<_>>();
        let by_index = ids(ask(&service, org, asked.clone()).await);
        let by_scan = ids(ask(&exact, org, asked).await);
        assert_eq!(by_index, by_scan, "{org}: what has filters is scanned exactly");
    }
}
