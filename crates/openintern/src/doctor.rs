//! `doctor`: checks everything that a node needs, changes nothing, and says what to do.

mod providers;
mod settings;

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent::redactor::{Reach, Redactor};
use mcp::{servers::Servers, status::ServerState};
use model::{
    embedding::{HASHED, Purpose},
    models::Models,
};
use nix::{
    sys::statvfs::statvfs,
    unistd::{AccessFlags, access},
};
use postgres::error::StartError;
use protocol::tool::CatalogNotes;
use serde::Serialize;
use serde_json::Value;
use store::{connect::Inspection, distress::hint_of};
use tokio::time::timeout;

use crate::{
    cli::{DoctorArgs, NodeArgs},
    client::ApiClient,
    config::{self, Config, Environment, Loaded},
    exit::{Abort, Exit, Failure},
    logging::{self, Usual},
    node::{self, database_failure, models},
    output::{BAD, GOOD, ODD, Output, styled},
    render::counted,
    skills::{self, Skills},
};

/// Less free space than this is reported.
const DISK_LOW_BYTES: u64 = 1 << 30;
/// With less free space than this the database may stop.
const DISK_FULL_BYTES: u64 = 200 << 20;
/// Clocks further apart than this need a look.
const CLOCK_APART_S: f64 = 2.0;
/// Connections of a process besides those of its pool: see docs/operations.md.
const STRAIGHT_CONNECTIONS: u32 = 2;
/// How long the embedder may take for one short text.
const EMBED_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of checking one part.
#[derive(Debug, Serialize)]
struct Check {
    part: &'static str,
    state: CheckState,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CheckState {
    Good,
    Odd,
    Bad,
}

impl Check {
    fn good(part: &'static str, found: impl Into<String>) -> Self {
        Self { part, state: CheckState::Good, found: found.into(), fix: None }
    }

    fn odd(part: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { part, state: CheckState::Odd, found: found.into(), fix: Some(fix.into()) }
    }

    fn bad(part: &'static str, failure: Failure) -> Self {
        Self { part, state: CheckState::Bad, found: failure.message, fix: failure.hint }
    }
}

pub(crate) async fn doctor(
    output: &mut Output,
    args: DoctorArgs,
    environment: &Environment,
) -> Result<Exit, Abort> {
    let mut checks = Vec::new();
    let mut redactor = Redactor::default();
    match config::load(&args.node, environment) {
        Err(failure) => checks.push(Check::bad("config", failure)),
        Ok(Loaded { config, file }) => {
            let format = config.server.log_format;
            redactor = config.redactor(None);
            let (verbose, clean) = (args.node.verbose, redactor.clone());
            logging::start(format, Usual::Warnings, verbose, environment, clean)?;
            let file = file.map_or("no file: defaults".into(), |file| file.display().to_string());
            checks.push(Check::good("config", file));
            let (check, found) = database(&config).await;
            checks.push(check);
            checks.extend(found.iter().flat_map(|found| surroundings(found, &config)));
            let in_force = found.as_ref().and_then(|found| found.embedder.clone());
            let models = model_and_embedding(&config, in_force.as_deref(), &args.node).await;
            checks.extend(models);
            let breakers = found.iter().flat_map(|found| &found.breakers);
            checks.extend(breakers.map(providers::breaker));
            checks.extend(providers::limits(&config));
            let (mcp, tools) = mcp_servers(config.mcp_servers.clone()).await;
            checks.extend(mcp);
            checks.extend(settings::oddities(&config, tools.as_deref(), environment).await);
            checks.extend(disks(&config, found.and_then(|found| found.data_directory)));
        }
    }
    checks.push(server(environment).await);
    for check in &mut checks {
        // Providers and MCP servers may repeat what they were given.
        check.found = redactor.redacted(&check.found, Reach::Known).into_owned();
    }

    if args.format.json {
        output.json(&checks)?;
    } else {
        draw(output, &checks)?;
    }
    let is_bad = checks.iter().any(|check| check.state == CheckState::Bad);
    Ok(if is_bad { Exit::Failed } else { Exit::Done })
}

/// The database, and what was found there.
async fn database(config: &Config) -> (Check, Option<Inspection>) {
    if let Some(urls) = config.database_urls() {
        return inspected(urls.direct.as_deref().unwrap_or(&urls.url), "").await;
    }
    let folder = match config.data_dir() {
        Ok(folder) => folder.join("postgres"),
        Err(failure) => return (Check::bad("database", failure), None),
    };
    if !folder.exists() {
        let found = format!("embedded; made at first start in {}", folder.display());
        return (Check::good("database", found), None);
    }
    let check = match postgres::start(&postgres::EmbeddedSettings::new(folder)).await {
        Ok(server) => {
            let inspected = inspected(server.app_url(), "embedded, ").await;
            match server.stop().await {
                Ok(()) => return inspected,
                Err(error) => {
                    let failure = Failure::from_error(Exit::Failed, &error);
                    Check::bad("database", failure.hint(error.hint()))
                }
            }
        }
        Err(StartError::InUse { data_dir, .. }) => {
            let found = format!(
                "embedded, in use in {}; not looked at, nor what nodes keep in it of models",
                data_dir.display()
            );
            Check::good("database", found)
        }
        Err(error) => {
            let failure = Failure::from_error(Exit::Failed, &error);
            Check::bad("database", failure.hint_if(error.hint()))
        }
    };
    (check, None)
}

/// How to close a table, as its migration does.
const TENANCY_HINT: &str = "as the owner of the table: alter table T enable row level security; \
     alter table T force row level security; and create the policies `tenant` and `scope` again, \
     as docs/operations.md shows them";
const ROLE_HINT: &str = "each transaction gives the extra rights up; let it log in as a role of its own: \
     create role … login password '…' in role openintern_app";

async fn inspected(url: &str, kind: &str) -> (Check, Option<Inspection>) {
    match store::connect::inspect(url).await {
        Ok(found) => (judged(&found, kind), Some(found)),
        Err(error) => (Check::bad("database", database_failure(error)), None),
    }
}

fn judged(found: &Inspection, kind: &str) -> Check {
    let vector = found.vector_version.as_deref().unwrap_or("not yet created");
    let compiler = if found.has_compiler { ", jit on (off in our sessions)" } else { "" };
    let line = format!(
        "{kind}PostgreSQL {}, pgvector {vector}, role {}{compiler}",
        found.server_version, found.role
    );
    if !found.open_tables.is_empty() {
        let failure =
            Failure::new(Exit::Failed, format!("{line}: {}", found.open_tables.join("; ")));
        return Check::bad("database", failure.hint(TENANCY_HINT));
    }
    if let Some(reason) = found.reason {
        let failure = Failure::new(Exit::Failed, format!("{line}: it takes no writes, {reason}"));
        return Check::bad("database", failure.hint(hint_of(reason)));
    }
    if found.steps_down {
        return Check::odd(
            "database",
            format!("{line}: it has more rights than it needs"),
            ROLE_HINT,
        );
    }
    match found.missing_migrations {
        0 => Check::good("database", format!("{line}, schema up to date")),
        missing => Check::odd(
            "database",
            format!("{line}, {} missing", counted(missing as u64, "migration")),
            "they are applied at the next start, or by `openintern migrate`",
        ),
    }
}

/// What stands between the database and us: two clocks, and who else connects.
fn surroundings(found: &Inspection, config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    if found.clock_ahead_s.abs() > CLOCK_APART_S {
        let (by, way) =
            (found.clock_ahead_s.abs(), if found.clock_ahead_s > 0.0 { "ahead" } else { "behind" });
        checks.push(Check::odd(
            "clock",
            format!("the database's clock is {by:.0} s {way} of this machine's"),
            "set both by NTP: leases and lists go by the database's clock, tokens by this one",
        ));
    }
    let wanted = config.server.database_connections + STRAIGHT_CONNECTIONS;
    if wanted > found.connections_max {
        let most = found.connections_max;
        checks.push(Check::odd(
            "database",
            format!("a process may open {wanted} connections, and the server takes {most} in all"),
            "lower `server.database_connections`, or raise `max_connections` of PostgreSQL",
        ));
    }
    checks
}

async fn model_and_embedding(
    config: &Config,
    in_force: Option<&str>,
    args: &NodeArgs,
) -> Vec<Check> {
    let models = match models(config) {
        Ok(models) => models,
        Err(failure) => return vec![Check::bad("model", failure)],
    };
    let mut checks = providers::checks(config, &models).await;
    checks.push(embedding(config, &models, in_force, args).await);
    checks
}

async fn embedding(
    config: &Config,
    models: &Models,
    in_force: Option<&str>,
    args: &NodeArgs,
) -> Check {
    let embedder = match node::embedder(config, models) {
        Ok(Some(embedder)) => embedder,
        Ok(None) => return Check::good("embedding", "none: memories are found by their words"),
        Err(failure) => return Check::bad("embedding", failure),
    };
    if let Some(other) = in_force.filter(|id| *id != embedder.id()) {
        return Check::bad("embedding", node::other_embedder(other, embedder.id(), args));
    }
    let text = ["doctor".to_owned()];
    let line = format!("{}, {} dimensions", embedder.id(), embedder.dimensions());
    let problem = match timeout(EMBED_TIMEOUT, embedder.embed(&text, Purpose::Query)).await {
        Ok(Ok(_)) if embedder.id().starts_with(HASHED) => {
            return Check::odd(
                "embedding",
                format!("{line}: sees letters, not meanings; memories are found by their words"),
                "`openintern embedder install`, then `openintern memory reindex`",
            );
        }
        Ok(Ok(_)) => return Check::good("embedding", line),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", EMBED_TIMEOUT.as_secs()),
    };
    let failure = Failure::new(Exit::Failed, format!("{line}: {problem}"));
    Check::bad(
        "embedding",
        failure.hint("check the table [embedding] and its provider, or leave it out"),
    )
}

/// The MCP servers, and the tools of those that run; none where one does not.
async fn mcp_servers(
    configured: std::collections::BTreeMap<String, mcp::config::ServerConfig>,
) -> (Vec<Check>, Option<Vec<String>>) {
    let mut configs = configured;
    if configs.is_empty() {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        match skills::find(&here).await {
            Skills::Ready(server) => {
                configs.insert(skills::TEXTKIT.into(), *server);
            }
            Skills::NoPython { folder } => {
                let check = Check::odd(
                    "mcp",
                    format!("{}: no Python with the package `mcp`", folder.display()),
                    "scripts/python-env.sh installs one",
                );
                return (vec![check], None);
            }
            Skills::Absent => {
                return (vec![Check::good("mcp", "none configured")], Some(Vec::new()));
            }
        }
    }
    let servers = Arc::new(Servers::start(configs, node::launcher(), std::env::vars_os()).await);
    let status = servers.status();
    let all_run = status.iter().all(|server| server.state == ServerState::Running);
    let tools = status.iter().flat_map(|server| server.tools.clone()).collect();
    let checks = status.into_iter().map(|server| {
        let tools = counted(server.tools.len() as u64, "tool");
        let left_out = server.left_out.iter();
        let left_out = left_out.map(|tool| format!("`{}` is left out: {}", tool.name, tool.reason));
        let odd: Vec<String> = left_out.chain(server.warnings).collect();
        match (server.state, server.last_error) {
            (ServerState::Running, _) if odd.is_empty() => {
                Check::good("mcp", format!("{}: {tools}", server.name))
            }
            (ServerState::Running, _) => Check::odd(
                "mcp",
                format!("{}: {tools}; {}", server.name, odd.join("; ")),
                format!("check [mcp_servers.{}]", server.name),
            ),
            (_, error) => {
                let why = error.unwrap_or_else(|| "not running".into());
                let failure = Failure::new(Exit::Failed, format!("{}: {why}", server.name));
                Check::bad("mcp", failure.hint(format!("check [mcp_servers.{}]", server.name)))
            }
        }
    });
    let checks = checks.collect();
    servers.stop().await;
    (checks, all_run.then_some(tools))
}

/// The disk of our files, and that of the database where it is another one of this machine.
fn disks(config: &Config, of_database: Option<String>) -> Vec<Check> {
    let data_dir = config.data_dir().ok();
    let embedded = data_dir.as_ref().map(|folder| folder.join("postgres"));
    let of_database = match config.database_urls() {
        // A path of its machine, which need not be ours; then it is not there.
        Some(_) => of_database.map(PathBuf::from),
        None => embedded,
    };
    let of_database = of_database.filter(|folder| folder.is_dir());
    let device = |folder: &Path| std::fs::metadata(folder).ok().map(|it| it.dev());
    let is_other = of_database
        .as_deref()
        .is_some_and(|folder| device(folder) != data_dir.as_deref().and_then(device));
    let ours = data_dir.and_then(|folder| disk("disk", &folder));
    let its = of_database.filter(|_| is_other).and_then(|folder| disk("db disk", &folder));
    ours.into_iter().chain(its).collect()
}

fn disk(part: &'static str, folder: &Path) -> Option<Check> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let stat = statvfs(there).ok()?;
    #[allow(clippy::useless_conversion, reason = "narrower on macOS")]
    let free = u64::from(stat.blocks_available()).saturating_mul(stat.fragment_size());
    let line = format!("{:.1} GiB free in {}", free as f64 / f64::from(1 << 30), there.display());
    if part == "disk" && access(there, AccessFlags::W_OK).is_err() {
        let failure =
            Failure::new(Exit::Failed, format!("{} cannot be written to", there.display()));
        return Some(Check::bad(part, failure.hint("choose another folder with --data-dir")));
    }
    let fix = "make room, or choose another folder with --data-dir";
    Some(match free {
        0..DISK_FULL_BYTES => Check::bad(part, Failure::new(Exit::Failed, line).hint(fix)),
        DISK_FULL_BYTES..DISK_LOW_BYTES => Check::odd(part, line, fix),
        _ => Check::good(part, line),
    })
}

async fn server(environment: &Environment) -> Check {
    let client = match ApiClient::from_environment(|name| environment.get(name)) {
        Ok(client) => client,
        Err(failure) => return Check::bad("server", failure),
    };
    match client.get::<Value>(&["health"], &[]).await {
        Ok(health) => {
            let text =
                |key: &str| health.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
            let mut line = format!("version {}, {}", text("version"), text("status"));
            // How its workers adapt to models; without the right to ask, this is left out.
            if let Ok(notes) = client.get::<CatalogNotes>(&["api", "tools"], &[]).await {
                for taught in &notes.taught {
                    line.push_str(&format!("; {}: {}", taught.model, taught.lessons.join(", ")));
                }
            }
            match text("status").as_str() {
                "ok" => Check::good("server", line),
                _ => Check::odd("server", line, "start a worker: `openintern worker`"),
            }
        }
        Err(failure) if failure.exit == Exit::Unreachable => {
            Check::odd("server", failure.message, failure.hint.unwrap_or_default())
        }
        Err(failure) => Check::bad("server", failure),
    }
}

fn draw(output: &mut Output, checks: &[Check]) -> Result<(), Abort> {
    for check in checks {
        let sign = match check.state {
            CheckState::Good => styled(GOOD, "✓"),
            CheckState::Odd => styled(ODD, "!"),
            CheckState::Bad => styled(BAD, "✗"),
        };
        output.line(&format!("{sign} {:<10}  {}", check.part, check.found))?;
        if let Some(fix) = &check.fix {
            output.line(&format!("  {:<10}  fix: {fix}", ""))?;
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count() as u64;
    let (bad, odd) = (count(CheckState::Bad), count(CheckState::Odd));
    output.line(&format!("{}, {}", counted(bad, "problem"), counted(odd, "warning")))
}
