//! What a server has acknowledged is there and whole after a `kill -9`, however many were writing
//! and searching; of what it has not, nothing is there in part.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use tokio::{sync::watch, task::JoinSet};

use crate::program::{Dev, Running, folder, openintern};

const USERS: [&str; 2] = ["ada", "bob"];
/// Memories of a bulk write.
const BULK: usize = 50;
/// How many must have been acknowledged when the server is killed, each time.
const KILLED_AT: [usize; 3] = [700, 1_400, 2_100];

/// What writers know.
#[derive(Clone)]
struct Known {
    /// Of each user, the text of each memory that was acknowledged, by id.
    acknowledged: Arc<Mutex<BTreeMap<(String, String), String>>>,
    /// How many those are.
    count: watch::Sender<usize>,
}

impl Known {
    fn add(&self, user: &str, pairs: impl Iterator<Item = (Value, String)>) {
        let mut acknowledged = self.acknowledged.lock().unwrap();
        for (id, text) in pairs {
            acknowledged.insert((user.to_owned(), id.as_str().unwrap().to_owned()), text);
        }
        self.count.send_replace(acknowledged.len());
    }
}

/// One who asks a server until it is gone.
#[derive(Clone)]
struct Hand {
    url: String,
    user: &'static str,
    http: reqwest::Client,
}

impl Hand {
    /// The answer; none when the server is gone.
    async fn post(&self, path: &str, body: &Value) -> Option<Value> {
        let request = self.http.post(format!("{}/api/memories{path}", self.url)).json(body);
        let request = request.header("x-org-id", "org").header("x-user-id", self.user);
        let response = request.send().await.ok()?;
        let status = response.status();
        let text = response.text().await.ok()?;
        assert!(status.is_success(), "{status} {text}");
        Some(serde_json::from_str(&text).unwrap())
    }

    async fn write(self, known: Known, name: String) {
        for n in 0.. {
            let text = text(&name, n);
            let body = json!({"type": "episodic", "text": text});
            let Some(answer) = self.post("", &body).await else { return };
            known.add(self.user, [(answer["id"].clone(), text)].into_iter());
        }
    }

    async fn write_bulk(self, known: Known, name: String) {
        for n in 0.. {
            let group = format!("{name}.{n}");
            let texts: Vec<_> = (0..BULK).map(|at| text(&group, at)).collect();
            let memory = |(at, text)| json!({"type": "archival", "text": text, "group_key": group, "position": at});
            let memories: Vec<_> = texts.iter().enumerate().map(memory).collect();
            let body = json!({"memories": memories});
            let Some(answer) = self.post("/bulk", &body).await else { return };
            let ids = answer["ids"].as_array().unwrap().clone();
            known.add(self.user, ids.into_iter().zip(texts));
        }
    }

    async fn search(self) {
        for n in 0.. {
            let body = json!({"query": format!("第 {n} 条记录 about the harbour")});
            if self.post("/search", &body).await.is_none() {
                return;
            }
        }
    }
}

/// Every tenth has many chunks.
fn text(name: &str, n: usize) -> String {
    let sentence = format!("Note {n} of {name}: the harbour was closed. 第 {n} 条记录在{name}。\n");
    if n % 10 == 9 { sentence.repeat(30) } else { sentence }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_memory_survives_a_kill_whole() {
    let database = postgres::scratch::database().await;
    let folder = folder();
    let start = || {
        let mut command = openintern(["serve", "--no-worker", "--port", "0", "--data-dir"]);
        command.arg(folder.path()).env("DATABASE_URL", &database.app_url);
        command.env("OPENINTERN_MIGRATE_URL", &database.owner_url);
        Dev::listening(Running::start(command))
    };
    let known = Known { acknowledged: Arc::default(), count: watch::Sender::new(0) };
    for (life, count) in KILLED_AT.into_iter().enumerate() {
        let server = start();
        let mut hands = JoinSet::new();
        for user in USERS {
            let hand = Hand { url: server.url.clone(), user, http: reqwest::Client::new() };
            hands.spawn(hand.clone().write(known.clone(), format!("life{life}a")));
            hands.spawn(hand.clone().write(known.clone(), format!("life{life}b")));
            hands.spawn(hand.clone().write_bulk(known.clone(), format!("bulk{life}")));
            hands.spawn(hand.search());
        }
        known.count.subscribe().wait_for(|there| *there >= count).await.unwrap();
        server.running.signal(Signal::SIGKILL);
        server.running.end();
        while let Some(ended) = hands.join_next().await {
            ended.unwrap();
        }
    }

    let server = start();
    let acknowledged = known.acknowledged.lock().unwrap().clone();
    for user in USERS {
        let kept = exported(&server, user);
        let of_user = acknowledged.iter().filter(|((whose, _), _)| whose == user);
        for ((_, id), text) in of_user {
            assert_eq!(kept.get(id), Some(text), "{user} {id}");
        }
    }
    server.stop();
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    for (fault, statement) in FAULTS {
        let rows = sqlx::query(statement).fetch_all(&mut admin).await.unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, [""; 0], "{fault}");
    }
    let memories: i64 =
        sqlx::query_scalar("select count(*) from memories").fetch_one(&mut admin).await.unwrap();
    assert!(memories as usize >= acknowledged.len(), "{memories}");
}

fn exported(server: &Dev, user: &str) -> BTreeMap<String, String> {
    let mut export = server.client(["memory", "export"]);
    export.env("AGENT_ORG_ID", "org").env("AGENT_USER_ID", user);
    let lines = crate::program::answer(export).expect(0);
    let memories = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    memories.map(|memory| (text(&memory["id"]), text(&memory["text"]))).collect()
}

/// What must not be, and the rows that would be it.
const FAULTS: [(&str, &str); 5] = [
    (
        "a scope's counts are not those of its chunks",
        "select s::text || c::text
         from memory_scope_stats s
         full join (select org_id, user_id, project_id, count(*) as chunk_count,
                           sum(length) as term_count
                    from memory_chunks group by org_id, user_id, project_id) c
         using (org_id, user_id, project_id)
         where (s.chunk_count, s.term_count) is distinct from (c.chunk_count, c.term_count)",
    ),
    (
        "a chunk's terms are not its postings",
        "select c.chunk_id::text
         from memory_chunks c
         left join (select org_id, chunk_id, count(*) as terms, sum(frequency) as length
                    from memory_postings group by org_id, chunk_id) p
         using (org_id, chunk_id)
         where (length(c.search_tsv), c.length) is distinct from (p.terms, p.length)",
    ),
    (
        "a memory's chunks are not its text",
        "select m.memory_id::text
         from memories m
         left join (select org_id, memory_id, string_agg(chunk_text, '' order by ordinal) as text
                    from memory_chunks group by org_id, memory_id) c
         using (org_id, memory_id)
         where regexp_replace(m.text, '\\s', '', 'g')
               is distinct from regexp_replace(c.text, '\\s', '', 'g')",
    ),
    (
        "a chunk or a posting is of another scope than its memory",
        "select c.chunk_id::text
         from memories m
         join memory_chunks c using (org_id, memory_id)
         join memory_postings p using (org_id, chunk_id)
         where (m.user_id, m.project_id) <> (c.user_id, c.project_id)
            or (m.user_id, m.project_id) <> (p.user_id, p.project_id)",
    ),
    (
        "a bulk write is there in part",
        "select user_id || ' ' || group_key || ' ' || count(*)
         from memories where group_key is not null
         group by user_id, group_key having count(*) <> 50",
    ),
];
