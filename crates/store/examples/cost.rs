//! What the statements that every run executes cost PostgreSQL: processor time of its backends, so that
//! what else the machine does hardly matters. Linux only. It proves nothing; it compares two builds.
//!
//! `cargo run -p store --example cost -- 2000`
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::{fs, time::Duration};

use protocol::{
    event::Fact,
    id::{CallId, MemoryId, RunId, SpanId},
    memory::{MemoryType, Visibility},
    message::{Message, Usage},
    run::CreateRun,
    scope::Scope,
    tool::{Effect, Outcome},
};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use store::{
    Store,
    connect::migrate,
    journal::{End, Entry, NewCheckpoint, NewDelta, NewEvent, Totals},
    memories::{Content, NewChunk, NewMemory},
    settings::StoreSettings,
    stream::StreamCursor,
};
use uuid::Uuid;

/// Adds up what is spent between two looks.
struct Meter {
    admin: PgConnection,
    spent_ns: Vec<(&'static str, u64)>,
    last_ns: u64,
}

impl Meter {
    /// Nanoseconds that the backends of this database have run so far.
    async fn look(&mut self) -> u64 {
        let pids: Vec<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .fetch_all(&mut self.admin)
        .await
        .unwrap();
        let of = |pid: &i32| -> u64 {
            let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
        };
        pids.iter().map(of).sum()
    }

    async fn note(&mut self, what: &'static str) {
        let now = self.look().await;
        let spent = now.saturating_sub(self.last_ns);
        self.last_ns = now;
        match self.spent_ns.iter_mut().find(|(name, _)| *name == what) {
            Some((_, sum)) => *sum += spent,
            None => self.spent_ns.push((what, spent)),
        }
    }
}

#[tokio::main]
async fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(1000, |text| text.parse().unwrap());
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await.unwrap();
    let mut settings = StoreSettings::new(&database.app_url);
    settings.max_connections = 1;
    let store = Store::connect(&settings).await.unwrap();
    let admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let mut meter = Meter { admin, spent_ns: Vec::new(), last_ns: 0 };
    run(&store, 50, &mut meter).await; // Plans are made, files are there.
    meter.spent_ns.clear();
    for _ in 0..rounds.div_ceil(50) {
        run(&store, 50, &mut meter).await;
    }
    let rounds = 50 * rounds.div_ceil(50);
    for (what, ns) in &meter.spent_ns {
        println!("{what:>12} {:>8.1} µs", *ns as f64 / rounds as f64 / 1000.0);
    }
}

/// Takes `runs` runs through their life, all through each step before any takes the next.
async fn run(store: &Store, runs: usize, meter: &mut Meter) {
    let scope = Scope {
        org_id: "org_a".parse().unwrap(),
        user_id: "user_a".parse().unwrap(),
        project_id: None,
    };
    let scoped = store.scoped(&scope);
    meter.last_ns = meter.look().await;
    for _ in 0..runs {
        let session_key = format!("s_{}", Uuid::now_v7().simple()).parse().unwrap();
        let new = CreateRun { session_key, ..CreateRun::new("What is on my list today?") };
        scoped.create_run(&new, None).await.unwrap();
    }
    meter.note("create").await;
    let mut claims = Vec::new();
    for _ in 0..runs {
        claims.extend(store.claim(Uuid::now_v7(), 1, Duration::from_secs(60)).await.unwrap());
    }
    assert_eq!(claims.len(), runs);
    meter.note("claim").await;
    let mut journals: Vec<_> = claims.iter().map(|claim| store.journal(claim)).collect();
    for journal in &mut journals {
        for n in 1..=5 {
            journal.commit(&delta(n)).await.unwrap();
        }
    }
    meter.note("5 deltas").await;
    for entry in (6..=10).map(delta) {
        let written = journals.iter_mut().map(|journal| journal.commit(&entry));
        futures::future::try_join_all(written).await.unwrap();
    }
    meter.note("5 at once").await;
    for (journal, claim) in journals.iter_mut().zip(&claims) {
        journal.commit(&step(claim.run_id)).await.unwrap();
    }
    meter.note("step").await;
    for journal in &mut journals {
        let entry = Entry {
            end: Some(End::Completed { output: "Three things.".into() }),
            remember: true,
            ..Entry::default()
        };
        journal.commit(&entry).await.unwrap();
    }
    meter.note("end").await;
    for _ in 0..runs / 10 {
        scoped.write_memories(&[memory()]).await.unwrap();
    }
    meter.note("0.1 memory").await;
}

fn delta(n: u64) -> Entry {
    let text = "some words of an answer as they come";
    let delta = NewDelta { at: StreamCursor { seq: 0, n }, step: 1, text: Some(text.into()) };
    Entry { deltas: vec![delta], ..Entry::default() }
}

fn step(run_id: RunId) -> Entry {
    let text = "lorem ipsum dolor sit amet ".repeat(20);
    let call = CallId::derive(run_id, 1, 0, "remember", "{}");
    let event = |fact| NewEvent {
        fact,
        step: Some(1),
        span_id: SpanId::from_bits(1),
        parent_span_id: Some(SpanId::from_bits(2)),
        contains_secrets: false,
    };
    let warning = |text: &str| {
        event(Fact::RunWarning {
            code: "test".into(),
            message: text.into(),
            cause: None,
            tokens: None,
            switch: None,
        })
    };
    Entry {
        events: vec![
            warning("begins"),
            warning(&text),
            event(Fact::ToolCalled {
                tool_call_id: call,
                tool: "remember".into(),
                args: json!({"text": text}),
                effect: Effect::Idempotent,
            }),
            event(Fact::ToolResult {
                tool_call_id: call,
                tool: "remember".into(),
                result: json!({"ids": [text]}),
                is_error: false,
                outcome: Outcome::Ok,
                truncated: false,
                duration_ms: 1,
            }),
            warning("ends"),
        ],
        messages: vec![
            Message::User { content: text.clone() },
            Message::User { content: text.clone() },
        ],
        checkpoint: Some(NewCheckpoint {
            step: 1,
            message_count: 2,
            state: json!({"a": 1, "list": [1, 2, 3]}),
        }),
        totals: Some(Totals {
            steps: 1,
            tool_calls: 1,
            usage: Usage::new(10, 5, 3),
            cost_usd: 0.1,
        }),
        model: Some("demo/instant".into()),
        ..Entry::default()
    }
}

fn memory() -> NewMemory {
    let chunk = |n: usize| NewChunk {
        text: "lorem ipsum dolor sit amet ".repeat(10),
        terms: (0..60).map(|term| (format!("term{}", term * (n + 1)), 2)).collect(),
        embedding: Some((0..256).map(|at| (at + n) as f32 / 256.0).collect()),
    };
    let id = MemoryId::generate();
    let mut text_hash = [0; 32];
    text_hash[..16].copy_from_slice(id.uuid().as_bytes());
    NewMemory {
        id,
        kind: MemoryType::Archival,
        content: Content {
            text: "lorem ipsum dolor sit amet ".repeat(50),
            text_hash,
            chunks: (0..5).map(chunk).collect(),
            embedding_model: Some("cost".into()),
        },
        metadata: Default::default(),
        importance: 0.5,
        group_key: None,
        position: None,
        occurred_at: None,
        parent_id: id.uuid(),
        origin: None,
        visibility: Visibility::Scope,
    }
}
