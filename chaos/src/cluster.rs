//! The nodes of one scenario: `openintern serve --no-worker` and `openintern worker` as processes,
//! which can be killed, paused, asked to stop, and started again.

use std::{
    fs::{self, File, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;
use sqlx::PgPool;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use crate::{
    clock::now_us,
    link::Link,
    pooler::Pooler,
    tools::{AGAIN, MEMORY_WRITE, ONCE},
    world::World,
};

/// The variable that marks every process of ours.
pub(crate) const MARKER: &str = "OPENINTERN_CHAOS";
/// Nodes that serve the API.
const APIS: usize = 2;
/// Nodes that execute runs.
pub(crate) const WORKERS: usize = 3;
/// Runs that one of them holds at a time.
pub(crate) const PLACES: usize = 16;
/// An agent whose runs can be told apart by a failpoint.
pub(crate) const POISON: &str = "poison";
/// Longest start of a node.
const START_MAX: Duration = Duration::from_secs(60);
/// Longest stop of a node that was asked to.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(35);
/// Longest life of a node that is to die at a failpoint, once it is led there.
const DEATH_MAX: Duration = Duration::from_secs(20);
/// The configuration of all nodes but victims.
const USUAL: &str = "openintern.toml";
/// The same, for a worker that holds one run at a time.
const SINGLE: &str = "single.toml";
/// How often a state is looked at that nobody announces.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long leases last in a scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leases {
    pub(crate) lease: Duration,
    pub(crate) renew: Duration,
}

/// The product's defaults.
const DEFAULT_LEASES: Leases =
    Leases { lease: Duration::from_secs(10), renew: Duration::from_secs(3) };

/// How the nodes of a scenario are started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) leases: Leases,
    pub(crate) route: DatabaseRoute,
    /// Where workers die, if they do by themselves: they are of the build with failpoints then.
    pub(crate) failpoints: Option<&'static str>,
}

impl Setup {
    pub(crate) const USUAL: Self =
        Self { leases: DEFAULT_LEASES, route: DatabaseRoute::Straight, failpoints: None };
}

/// How nodes reach the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseRoute {
    /// Directly, by its socket.
    Straight,
    /// By a link that can break.
    Linked,
    /// API nodes, too: through PgBouncer, and by the socket only for what needs a session.
    Pooled,
}

/// All nodes of one scenario.
pub(crate) struct Nodes {
    pub(crate) apis: Vec<NodeProcess>,
    pub(crate) workers: Vec<NodeProcess>,
    /// The workers' ways to the database, in their order; none where they go straight.
    pub(crate) links: Vec<Link>,
    /// How a worker is started that goes straight.
    usual: NodeCommand,
    _pooler: Option<Pooler>,
}

/// One entry of a node's log, as far as a judge reads it.
#[derive(Debug, Deserialize)]
pub(crate) struct LogEntry {
    /// Why a worker left a run, or failed it.
    reason: Option<String>,
    /// Where a panic was.
    backtrace: Option<String>,
}

impl LogEntry {
    /// A worker was told that its lease is no longer the newest.
    pub(crate) fn is_fenced_write(&self) -> bool {
        self.reason.as_deref() == Some("lease_lost")
    }

    pub(crate) fn is_panic(&self) -> bool {
        self.backtrace.is_some()
    }

    /// A constraint stopped what should not have come so far.
    pub(crate) fn is_refused_state(&self) -> bool {
        self.reason.as_deref() == Some("state_refused")
    }
}

/// A worker that stopped working at a moment, and what it held then.
#[derive(Debug, Clone)]
pub(crate) struct Loss {
    /// In microseconds since 1970.
    pub(crate) at_us: i64,
    /// Runs with their epochs.
    pub(crate) held: Vec<(Uuid, i64)>,
}

pub(crate) struct NodeProcess {
    name: String,
    command: NodeCommand,
    child: Child,
    /// Of the lock that says that a worker is alive.
    key: Option<String>,
}

#[derive(Clone)]
struct NodeCommand {
    program: PathBuf,
    folder: PathBuf,
    database_url: String,
    marker: String,
    /// None for a worker.
    address: Option<SocketAddr>,
    /// Its configuration, in the folder.
    config: &'static str,
    failpoints: Option<String>,
    /// The way for what needs a session, where it is not the usual one.
    direct_url: Option<String>,
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Api,
    Worker,
}

impl Nodes {
    /// Starts all nodes, with logs in a folder of this name.
    pub(crate) async fn start(
        world: &World,
        name: &str,
        Setup { leases, route, failpoints }: Setup,
    ) -> Result<Self> {
        let folder = world.folder().join(name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(USUAL), configuration(world, leases, PLACES))?;
        fs::write(folder.join(SINGLE), configuration(world, leases, 1))?;
        let pooler = match route {
            DatabaseRoute::Pooled => Some(Pooler::start(world.database_url(), &folder).await?),
            DatabaseRoute::Straight | DatabaseRoute::Linked => None,
        };
        let straight = world.database_url();
        let program = |failpoints: Option<&str>| match failpoints {
            Some(_) => world.openintern_with_failpoints(),
            None => Ok(world.openintern.clone()),
        };
        let usual = NodeCommand {
            program: program(world.rule_off)?,
            folder,
            database_url: pooler.as_ref().map_or(straight, |pooler| &pooler.database_url).into(),
            direct_url: pooler.as_ref().map(|_| straight.to_owned()),
            marker: world.marker.clone(),
            address: None,
            config: USUAL,
            failpoints: world.rule_off.map(|rule| format!("{rule}=return")),
        };
        let mut apis = Vec::new();
        for n in 1..=APIS {
            let command = NodeCommand { address: Some(free_address()?), ..usual.clone() };
            let node = NodeProcess::spawn(&format!("api-{n}"), command)?;
            node.listens().await?; // The first one migrates.
            apis.push(node);
        }
        let (mut workers, mut links) = (Vec::new(), Vec::new());
        for n in 1..=WORKERS {
            let mut command = usual.clone();
            if let Some(points) = failpoints {
                command.program = program(failpoints)?;
                command.failpoints = Some(points.to_owned());
            }
            if route == DatabaseRoute::Linked {
                let link = Link::open(world.database_url()).await?;
                command.database_url.clone_from(&link.database_url);
                links.push(link);
            }
            let before = keys(&world.pool).await?;
            let mut node = NodeProcess::spawn(&format!("worker-{n}"), command)?;
            node.works(&world.pool, &before).await?;
            workers.push(node);
        }
        Ok(Self { apis, workers, links, usual, _pooler: pooler })
    }

    /// Starts one more node, which dies at these failpoints. A worker has a single place, so that
    /// what it holds when it dies is one run, at one point.
    pub(crate) async fn start_victim(
        &self,
        world: &World,
        kind: NodeKind,
        failpoints: &str,
    ) -> Result<NodeProcess> {
        let command = NodeCommand {
            program: world.openintern_with_failpoints()?,
            address: if kind == NodeKind::Api { Some(free_address()?) } else { None },
            config: SINGLE,
            failpoints: Some(failpoints.to_owned()),
            ..self.usual.clone()
        };
        let before = keys(&world.pool).await?;
        let mut node = NodeProcess::spawn("victim", command)?;
        match kind {
            NodeKind::Api => node.listens().await?,
            NodeKind::Worker => node.works(&world.pool, &before).await?,
        }
        Ok(node)
    }

    /// Starts workers again that died at a failpoint; says how many did.
    pub(crate) fn revive_workers(&mut self) -> Result<usize> {
        let mut deaths = 0;
        for worker in &mut self.workers {
            let Some(status) = worker.child.try_wait()? else { continue };
            let at_failpoint = status.signal() == Some(Signal::SIGABRT as i32);
            ensure!(at_failpoint, "{} ended with {status}", worker.name);
            worker.child = worker.command.spawn(&worker.name)?;
            worker.key = None; // It has another one.
            deaths += 1;
        }
        Ok(deaths)
    }

    /// Waits until every worker works.
    pub(crate) async fn all_work(&self, pool: &PgPool) -> Result<()> {
        let began = Instant::now();
        while keys(pool).await?.len() < self.workers.len() {
            ensure!(began.elapsed() < START_MAX, "not all workers work");
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Sends a signal to every worker.
    pub(crate) fn signal_workers(&self, signal: Signal) -> Result<()> {
        self.workers.iter().try_for_each(|worker| worker.signal(signal))
    }

    /// The API nodes' URLs, which stay when a node is started again.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.addresses().iter().map(|address| format!("http://{address}")).collect()
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.apis.iter().filter_map(|node| node.command.address).collect()
    }

    /// The worker that holds most runs, by its place among them.
    pub(crate) async fn busiest(&self, pool: &PgPool) -> Result<usize> {
        let mut held = Vec::new();
        for worker in &self.workers {
            held.push(worker.held(pool).await?.held.len());
        }
        let most = held.iter().max().context("a worker")?;
        held.iter().position(|runs| runs == most).context("a worker")
    }

    /// Looks who came back under another name: at most one worker may have.
    pub(crate) async fn recognise(&mut self, pool: &PgPool) -> Result<()> {
        let mut keys = keys(pool).await?;
        let mut strangers = Vec::new();
        for worker in &mut self.workers {
            match worker.key.as_ref().and_then(|own| keys.iter().position(|key| key == own)) {
                Some(at) => drop(keys.swap_remove(at)),
                None => strangers.push(worker),
            }
        }
        if let [worker] = strangers.as_mut_slice() {
            worker.key = keys.pop();
        }
        Ok(())
    }

    /// What all nodes logged so far.
    pub(crate) fn log_entries(&self) -> Result<Vec<LogEntry>> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.usual.folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
                // Among the lines are also what nodes print, and ends that a kill cut off.
                entries.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
            }
        }
        Ok(entries)
    }

    /// Asks all nodes to stop; says which did not, and which processes they left behind.
    pub(crate) async fn stop(self, marker: &str) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        let mut nodes: Vec<NodeProcess> = self.workers.into_iter().chain(self.apis).collect();
        for node in &nodes {
            node.signal(Signal::SIGTERM)?;
        }
        for node in &mut nodes {
            match timeout(STOP_MAX, node.child.wait()).await {
                Ok(status) if status.as_ref().is_ok_and(ExitStatus::success) => {}
                Ok(status) => faults.push(format!("{} ended with {status:?}", node.name)),
                Err(_) => faults.push(format!("{} did not stop", node.name)),
            }
        }
        let began = Instant::now();
        loop {
            let left = marked_processes(marker)?;
            if left.is_empty() {
                return Ok(faults);
            }
            if began.elapsed() > Duration::from_secs(5) {
                faults.push(format!("processes are left: {}", left.join("; ")));
                return Ok(faults);
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

impl NodeProcess {
    fn spawn(name: &str, command: NodeCommand) -> Result<Self> {
        let child = command.spawn(name)?;
        Ok(Self { name: name.to_owned(), command, child, key: None })
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().with_context(|| format!("{} runs", self.name))?;
        Ok(kill(Pid::from_raw(pid.cast_signed()), signal)?)
    }

    /// Kills the worker; says what it held.
    pub(crate) async fn kill(&mut self, pool: &PgPool) -> Result<Loss> {
        let loss = self.lose(Signal::SIGKILL, pool).await?;
        self.child.wait().await?;
        Ok(loss)
    }

    /// Sends a signal after which the worker does nothing; says what it held.
    pub(crate) async fn lose(&self, signal: Signal, pool: &PgPool) -> Result<Loss> {
        let at_us = now_us();
        self.signal(signal)?;
        Ok(Loss { at_us, ..self.held(pool).await? })
    }

    /// What the worker holds now, to be lost at once.
    pub(crate) async fn held(&self, pool: &PgPool) -> Result<Loss> {
        let at_us = now_us();
        let held = sqlx::query_as(
            "select run_id, epoch from queue
             where right(replace(lease_owner::text, '-', ''), 8) = $1",
        )
        .bind(&self.key)
        .fetch_all(pool)
        .await?;
        Ok(Loss { at_us, held })
    }

    /// Asks it to stop, and says how long that took.
    pub(crate) async fn drain(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.signal(Signal::SIGTERM)?;
        let status = timeout(STOP_MAX * 2, self.child.wait()).await;
        let status = status.with_context(|| format!("{} does not stop", self.name))??;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(began.elapsed())
    }

    /// Waits for its death at a failpoint; says whether it died there.
    pub(crate) async fn dies_at_its_point(&mut self) -> Result<bool> {
        match timeout(DEATH_MAX, self.child.wait()).await {
            Ok(status) => Ok(status?.signal() == Some(Signal::SIGABRT as i32)),
            Err(_) => {
                self.child.kill().await?;
                Ok(false)
            }
        }
    }

    /// Breaks the connection that proves the worker alive.
    pub(crate) async fn lose_presence(&self, pool: &PgPool) -> Result<()> {
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_locks
             where locktype = 'advisory' and objsubid = 2 and granted
               and lpad(to_hex(objid::bigint), 8, '0') = $1",
        )
        .bind(&self.key)
        .execute(pool)
        .await?;
        Ok(())
    }

    /// The URL of a node that serves the API.
    pub(crate) fn url(&self) -> Option<String> {
        self.command.address.map(|address| format!("http://{address}"))
    }

    /// Starts it again; it is the same node on another process id.
    pub(crate) async fn start_again(&mut self, pool: &PgPool) -> Result<()> {
        let before = keys(pool).await?;
        self.child = self.command.spawn(&self.name)?;
        match self.command.address {
            Some(_) => self.listens().await,
            None => self.works(pool, &before).await,
        }
    }

    async fn listens(&self) -> Result<()> {
        let url = format!("http://{}/health/ready", self.command.address.context("an address")?);
        let client = reqwest::Client::builder().no_proxy().build()?;
        let began = Instant::now();
        loop {
            let answer = client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(began.elapsed() < START_MAX, "{} does not listen", self.name);
            sleep(LOOK_EVERY).await;
        }
    }

    /// Nodes are started one after another, so the lock that was not there before is this one's.
    async fn works(&mut self, pool: &PgPool, before: &[String]) -> Result<()> {
        let began = Instant::now();
        loop {
            self.key = keys(pool).await?.into_iter().find(|key| !before.contains(key));
            if self.key.is_some() {
                return Ok(());
            }
            ensure!(self.child.try_wait()?.is_none(), "{} ended at its start", self.name);
            ensure!(began.elapsed() < START_MAX, "{} does not work", self.name);
            sleep(LOOK_EVERY).await;
        }
    }
}

/// The keys of all workers' locks. A key is how the name ends that its worker claims under.
async fn keys(pool: &PgPool) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "select lpad(to_hex(objid::bigint), 8, '0') from pg_locks
         where locktype = 'advisory' and objsubid = 2 and granted",
    )
    .fetch_all(pool)
    .await?)
}

impl NodeCommand {
    fn spawn(&self, name: &str) -> Result<Child> {
        let log = self.log(name)?;
        let mut command = Command::new(&self.program);
        match self.address {
            Some(address) => {
                command.args(["serve", "--no-worker", "--port"]).arg(address.port().to_string())
            }
            None => command.arg("worker"),
        };
        command
            .arg("--config")
            .arg(self.folder.join(self.config))
            .arg("--data-dir")
            .arg(self.folder.join("data"))
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("DATABASE_URL", &self.database_url)
            .env(MARKER, &self.marker)
            .envs(self.direct_url.iter().map(|url| ("DATABASE_DIRECT_URL", url)))
            .envs(self.failpoints.iter().map(|points| ("FAILPOINTS", points)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        command.spawn().with_context(|| format!("`{}` starts", self.program.display()))
    }

    fn log(&self, name: &str) -> Result<File> {
        let path = self.folder.join(format!("{name}.log"));
        Ok(OpenOptions::new().create(true).append(true).open(path)?)
    }
}

fn configuration(world: &World, Leases { lease, renew }: Leases, places: usize) -> String {
    format!(
        "[server]\ndatabase_connections = 12\nlog_format = 'json'\n\
         [worker]\nconcurrency = {places}\nlease_ms = {}\nrenew_ms = {}\n\
         [model]\ndefault = 'fake/scripted'\n\
         [model.providers.fake]\nkind = 'openai'\nbase_url = '{}'\n\
         [agents.main]\ntools = ['effects__*', '{MEMORY_WRITE}']\n\
         [agents.{POISON}]\ntools = []\n\
         [mcp_servers.effects]\ncommand = '{}'\nargs = ['tool-server', '--journal', '{}']\n\
         env = {{ {MARKER} = '{}' }}\n\
         [mcp_servers.effects.tools.{ONCE}]\neffect = 'at_most_once'\n\
         [mcp_servers.effects.tools.{AGAIN}]\neffect = 'idempotent'\n",
        lease.as_millis(),
        renew.as_millis(),
        world.model.base_url,
        world.chaos.display(),
        world.journal().display(),
        world.marker,
    )
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The processes that carry our mark, by their command lines.
fn marked_processes(marker: &str) -> Result<Vec<String>> {
    let mark = format!("{MARKER}={marker}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        if has_mark(&folder, &mark) {
            let line = fs::read(folder.join("cmdline")).unwrap_or_default();
            found.push(format!("{}: {}", folder.display(), String::from_utf8_lossy(&line)));
        }
    }
    Ok(found)
}

fn has_mark(process: &Path, mark: &str) -> bool {
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}
