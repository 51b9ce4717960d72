//! Secrets as canaries: a model and a tool that repeat them wherever they can, and then a look into
//! every place where something is written down or shown.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{
    parrot::Parrot,
    program::{Dev, Running, answer, folder, openintern, source},
};

/// What stands where a secret stood.
const MASK: &str = "[redacted]";

/// The name of each canary, and the secret. None looks like a well-known credential: only who was
/// told of it can know it.
const CANARIES: [(&str, &str); 3] = [
    ("provider key", "canary-provider/Zq8+Xw7=kL0&vN3"),
    ("database password", "canary-database/pw+9 x%:Qe4"),
    ("variable of an MCP server", "canary-mcp/Tk\"4\\u ü+Rw8="),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_down_or_shown() {
    let [(_, key), (_, password), (_, token)] = CANARIES;
    let database = postgres::scratch::database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let url = as_canary(&mut admin, &database.app_url, password).await;
    let parrot = Parrot::listen();
    let folder = folder();
    let file = folder.path().join("openintern.toml");
    std::fs::write(&file, configuration(&parrot)).unwrap();
    let command = |args: &[&str], url: &str| {
        let mut command = openintern(args);
        command.arg("--config").arg(&file).arg("--data-dir").arg(folder.path());
        command
            .env("DATABASE_URL", url)
            .env("OPENINTERN_MIGRATE_URL", &database.owner_url)
            .env("OPENAI_API_KEY", key);
        command.env("OPENINTERN__MCP_SERVERS__CANARY__ENV__CANARY_TOKEN", token);
        command.env("OPENINTERN_LOG", "trace");
        command
    };

    let mut seen = Seen::default();
    for format in ["text", "json"] {
        let args = ["serve", "--port", "0", "--log-format", format];
        let server = Dev::listening(Running::start(command(&args, &url)));
        for task in ["echo", "tools", "refuse", "break", "flaky"] {
            let session = format!("{format}_{task}");
            let run = server.ask(["run", task, "--session", &session, "--stream", "--json"]);
            seen.add(&format!("{task} as it streams"), run.stdout + &run.stderr);
            let run = server.ask(["run", task, "--session", &session, "--wait"]);
            seen.add(&format!("{task} as it ends"), run.stdout + &run.stderr);
        }
        what_the_api_says(&server, &mut seen).await;
        let (_, stdout, stderr) = server.stop();
        assert!(stderr.contains(MASK), "the log has had nothing to mask");
        seen.add(&format!("the {format} log"), stdout + &stderr);
    }
    let elsewhere = url.replacen("postgres://", "postgres://x", 1);
    for (args, url) in
        [(["doctor"].as_slice(), &url), (&["doctor", "--json"], &url), (&["doctor"], &elsewhere)]
    {
        let doctor = answer(command(args, url));
        seen.add("doctor", doctor.stdout + &doctor.stderr);
    }
    let prompts = parrot.heard.lock().unwrap().join("\n");
    assert!(prompts.contains(MASK), "no prompt has had anything to mask");
    seen.add("the prompts", prompts);
    for (table, rows) in dump(&mut admin).await {
        seen.add(&format!("the table {table}"), rows);
    }
    seen.check();
}

/// A login of its own whose password is the canary; answers its URL.
async fn as_canary(admin: &mut PgConnection, app_url: &str, password: &str) -> String {
    let login = format!("create role canary login password '{password}' in role openintern_app");
    sqlx::query(AssertSqlSafe(login)).execute(admin).await.unwrap();
    let (_, rest) = app_url.split_once('@').unwrap();
    format!("postgres://canary:{}@{rest}", url_encoded(password))
}

fn configuration(parrot: &Parrot) -> String {
    let python = source().join(".venv/bin/python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/parrot.py");
    format!(
        "[model]\n\
         default = 'openai/parrot'\n\
         [model.providers.openai]\n\
         base_url = 'http://{}/v1'\n\
         backoff_ms = 1\n\
         [mcp_servers.canary]\n\
         command = '{}'\n\
         args = ['-I', '-S', '{script}']\n",
        parrot.address,
        python.display()
    )
}

/// Every way in which runs, memories and tools can be read.
async fn what_the_api_says(server: &Dev, seen: &mut Seen) {
    let runs = server.ask(["runs", "list", "--json"]).expect(0);
    let runs: Vec<Value> = serde_json::from_str(&runs).unwrap();
    let mut flagged = Vec::new();
    for run in &runs {
        let run_id = run["run_id"].as_str().unwrap();
        for command in [["events"], ["export"], ["tail"]] {
            let printed = server.ask(command.into_iter().chain([run_id]));
            seen.add(command[0], printed.stdout + &printed.stderr);
        }
        for path in [
            format!("runs/{run_id}"),
            format!("runs/{run_id}/events"),
            format!("runs/{run_id}/stream"),
        ] {
            let text = get(server, &path).await;
            if path.ends_with("/events") {
                let page: Value = serde_json::from_str(&text).unwrap();
                flagged.extend(page["events"].as_array().unwrap().iter().filter_map(|event| {
                    let is_flagged = event["redaction"]["contains_secrets"] == json!(true);
                    is_flagged.then(|| event["type"].as_str().unwrap().to_owned())
                }));
            }
            seen.add(&path, text);
        }
    }
    for kind in
        ["llm.called", "tool.called", "tool.result", "run.warning", "run.failed", "run.completed"]
    {
        assert!(
            flagged.iter().any(|flagged| flagged == kind),
            "{kind} was not flagged: {flagged:?}"
        );
    }
    for path in ["runs", "memories", "tools", "agents", "sessions", "../health", "../metrics"] {
        let text = get(server, path).await;
        seen.add(path, text);
    }
}

async fn get(server: &Dev, path: &str) -> String {
    let request = reqwest::Client::new().get(format!("{}/api/{path}", server.url));
    let request = request.header("x-org-id", "org_default").header("x-user-id", "user_default");
    request.send().await.unwrap().text().await.unwrap()
}

/// Every row of every table, as text.
async fn dump(admin: &mut PgConnection) -> Vec<(String, String)> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut *admin)
    .await
    .unwrap();
    let mut dumped = Vec::new();
    for table in tables {
        let rows = format!("select coalesce(string_agg(t::text, E'\\n'), '') from {table} t");
        let rows: String =
            sqlx::query_scalar(AssertSqlSafe(rows)).fetch_one(&mut *admin).await.unwrap();
        dumped.push((table, rows));
    }
    assert!(dumped.iter().any(|(table, rows)| table.ends_with(".events") && rows.contains(MASK)));
    dumped
}

/// What was shown or kept, and where.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn add(&mut self, place: &str, text: String) {
        self.0.push((place.to_owned(), text));
    }

    fn check(&self) {
        let mut hits = Vec::new();
        for (name, secret) in CANARIES {
            for spelling in spellings(secret) {
                for (place, text) in self.0.iter().filter(|(_, text)| text.contains(&spelling)) {
                    let at = text.find(&spelling).unwrap();
                    let from = text.floor_char_boundary(at.saturating_sub(120));
                    let to = text.ceil_char_boundary((at + 120).min(text.len()));
                    hits.push(format!("{name} as {spelling} in {place}: …{}…", &text[from..to]));
                }
            }
        }
        assert!(hits.is_empty(), "{} hits:\n{}", hits.len(), hits.join("\n"));
    }
}

/// A secret in every spelling that can be turned back.
fn spellings(secret: &str) -> Vec<String> {
    let json = json!(secret).to_string();
    let encoded = url_encoded(secret);
    let mut spellings = vec![secret.to_owned(), json.trim_matches('"').to_owned()];
    spellings.extend([encoded.to_lowercase(), encoded]);
    spellings.extend([BASE64_STANDARD.encode(secret), BASE64_URL_SAFE_NO_PAD.encode(secret)]);
    // In base64 of something larger: without the letters that it shares with its neighbours.
    for before in ["x", "xx"] {
        let whole = BASE64_STANDARD.encode(format!("{before}{secret}"));
        let inside = whole.trim_end_matches('=');
        spellings.push(inside[before.len() + 1..inside.len() - 1].to_owned());
    }
    spellings
}

pub(crate) fn url_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    });
    encoded.collect()
}
