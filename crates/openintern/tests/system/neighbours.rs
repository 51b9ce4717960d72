//! What the program depends on, and does not answer for: a database that hangs or is being restarted, and
//! an MCP server that cannot stop asking.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener as Door, TcpStream, UnixStream},
};

use crate::program::{Dev, Running, folder, openintern, source};

/// Runs that wait for a model while the database hangs: more than there are connections.
const RUNS: usize = 100;
/// How long an answer may take then: a wait for a place, and one for a connection.
const ANSWER_MAX: Duration = Duration::from_secs(12);
/// How long a stop may take then: until a lease is given up, and some for a busy machine.
const STOP_MAX: Duration = Duration::from_secs(16);

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_hangs_requests_and_a_stop_end_soon() {
    let folder = folder();
    let model = TcpListener::bind("127.0.0.1:0").unwrap(); // It says nothing.
    let mut command = openintern(["dev", "--port", "0", "--data-dir"]);
    command
        .arg(folder.path())
        .env("OPENAI_API_KEY", "key-of-a-silent-model")
        .env("OPENAI_BASE_URL", format!("http://{}/v1", model.local_addr().unwrap()))
        .env("OPENINTERN_EMBEDDING", "none");
    let dev = Dev::listening(Running::start(command));
    let ask = async |method: Method, path: &str, body: Option<Value>| {
        let request = Client::new().request(method, format!("{}{path}", dev.url));
        let request = request.header("x-org-id", "org_a").header("x-user-id", "user_a");
        let request = if let Some(body) = &body { request.json(body) } else { request };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let run = |n: usize| Some(json!({"input": "wait", "session_key": format!("s_{n}")}));
    for n in 0..RUNS {
        assert_eq!(ask(Method::POST, "/api/runs", run(n)).await.0, 201);
    }
    while !ask(Method::GET, "/health", None).await.1.contains(&format!(r#""leased":{RUNS}}}"#)) {}

    let frozen = Frozen::database(folder.path());
    let began = Instant::now();
    let memory = json!({"type": "core", "text": "they like tea"});
    let answers = tokio::join!(
        ask(Method::POST, "/api/runs", run(RUNS)),
        ask(Method::GET, "/api/runs", None),
        ask(Method::GET, "/api/sessions", None),
        ask(Method::POST, "/api/memories", Some(memory)),
        ask(Method::POST, "/api/memories/search", Some(json!({"query": "tea"}))),
    );
    for (status, text) in <[_; 5]>::from(answers) {
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("the database does not answer"), "{text}");
    }
    assert!(began.elapsed() < ANSWER_MAX, "it took {:?}", began.elapsed());
    drop(frozen);

    while ask(Method::GET, "/api/runs", None).await.0 != 200 {}
    let frozen = Frozen::database(folder.path());
    let began = Instant::now();
    dev.running.signal(Signal::SIGTERM);
    let (status, ..) = dev.running.end();
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < STOP_MAX, "it took {:?}", began.elapsed());
    drop(frozen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_a_database_that_is_being_restarted() {
    let database = postgres::scratch::database().await;
    let folder = folder();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let moved = |url: &str| {
        let name = PgConnectOptions::from_str(url).unwrap().get_database().unwrap().to_owned();
        let (login, _) = url.split_once('@').unwrap();
        format!("{login}@{address}/{name}?sslmode=disable")
    };
    let mut command = openintern(["serve", "--port", "0", "--data-dir"]);
    command
        .arg(folder.path())
        .env("DATABASE_URL", moved(&database.app_url))
        .env("OPENINTERN_MIGRATE_URL", moved(&database.owner_url));
    let running = Running::start(command);
    running.wait_until_said("the database does not answer yet");
    let door = Door::bind(address).await.unwrap();
    tokio::spawn(lead(door, PgConnectOptions::from_str(&database.app_url).unwrap()));
    let (status, ..) = Dev::listening(running).stop();
    assert!(status.success(), "{status}");
}

/// Leads whoever comes to the database.
async fn lead(door: Door, to: PgConnectOptions) {
    while let Ok((mut near, _)) = door.accept().await {
        let to = to.clone();
        tokio::spawn(async move {
            match to.get_socket() {
                Some(folder) => {
                    let socket = folder.join(format!(".s.PGSQL.{}", to.get_port()));
                    let mut far = UnixStream::connect(socket).await.unwrap();
                    copy_bidirectional(&mut near, &mut far).await.ok();
                }
                None => {
                    let mut far = TcpStream::connect((to.get_host(), to.get_port())).await.unwrap();
                    copy_bidirectional(&mut near, &mut far).await.ok();
                }
            }
        });
    }
}

/// All processes of a database, until it is dropped.
struct Frozen(Vec<Pid>);

impl Frozen {
    fn database(data: &Path) -> Self {
        let file = fs::read_to_string(data.join("postgres/cluster/postmaster.pid")).unwrap();
        let postmaster = file.lines().next().unwrap().trim().to_owned();
        let is_child = |pid: &str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line == format!("PPid:\t{postmaster}"))
        };
        let processes = fs::read_dir("/proc").unwrap();
        let mut pids = vec![postmaster.clone()];
        pids.extend(
            processes
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
                .filter(|pid| is_child(pid)),
        );
        let pids: Vec<_> = pids.iter().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect();
        for pid in &pids {
            kill(*pid, Signal::SIGSTOP).ok(); // A session may have ended.
        }
        Self(pids)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            kill(*pid, Signal::SIGCONT).ok(); // It may have been ended.
        }
    }
}

#[test]
fn a_server_that_asks_without_end_does_not_fill_the_log() {
    let folder = folder();
    let config = folder.path().join("openintern.toml");
    let python = source().join(".venv/bin/python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/insistent.py");
    let server = format!(
        "[mcp_servers.insistent]\ncommand = '{}'\nargs = ['-I', '-S', '{script}']\n\
         startup_timeout_ms = 120000\n",
        python.display()
    );
    fs::write(&config, server).unwrap();
    let mut command = openintern(["dev", "--port", "0", "--config"]);
    command.arg(&config).arg("--data-dir").arg(folder.path().join("data"));
    let dev = Dev::listening(Running::start(command));
    let tools = dev.ask(["tools"]).expect(0);
    assert!(tools.contains("insistent__late"), "{tools}");
    let (_, _, log) = dev.stop();
    assert!(log.lines().count() < 100, "{} lines: {log:.2000}", log.lines().count());
}
