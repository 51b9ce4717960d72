//! `dev`: everything for one machine, with a database of its own where none is named.

use std::{convert::Infallible, net::SocketAddr, path::Path};

use agent::redactor::{Reach, Redactor};
use mcp::status::ServerState;
use model::models::Models;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{NodeArgs, ServerArgs},
    config::{self, AuthMode, Config, DatabaseUrls, Environment, Loaded},
    exit::{Abort, Exit, Failure},
    listen::ListenAddress,
    logging::{self, Usual},
    node::{self, Node, Role},
    output::{FAINT, GOOD, ODD, Output, say, styled},
    shutdown, skills,
    skills::Skills,
};

pub(crate) async fn dev(
    output: &mut Output,
    args: ServerArgs,
    environment: &Environment,
) -> Result<Exit, Abort> {
    let Loaded { config, file } = config::load(&args.node, environment)?;
    logging::start(
        config.server.log_format,
        Usual::Warnings,
        args.node.verbose,
        environment,
        config.redactor(None),
    )?;
    let host = args.host.as_deref().unwrap_or(&config.server.host);
    let place = ListenAddress::find(host, args.port.unwrap_or(config.server.port)).await?;
    if let Some(missing) = place.missing_auth(config.server.auth) {
        let failure = Failure::new(Exit::Usage, format!("`dev` needs {missing}"));
        return Err(failure.hint("listen on 127.0.0.1, or set `[server] auth`").into());
    }
    if let Some(missing) = config.missing_identity() {
        return Err(Failure::new(Exit::Usage, format!("`dev` needs {missing}")).into());
    }
    let auth = config.server.auth;
    let models = node::models(&config)?;
    let listener = place.bind().await?;
    let shutdown = shutdown::listen()?;
    good("config", file.map_or_else(|| "none: defaults".into(), |file| file.display().to_string()));

    let mut database = DatabaseHandle::open(&config).await?;
    let started = start(config, models, &database, &args.node).await;
    let node = match started {
        Ok(node) => node,
        Err(failure) => {
            database.close().await;
            return Err(failure.into());
        }
    };
    let address =
        listener.local_addr().map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    output.line(&format!("listening on http://{address}"))?;
    say_addresses(address, auth);
    let probe = tokio::spawn(probe(node.models().clone(), node.redactor().clone()));
    let told = tokio::spawn(say_stopping(shutdown.asked.clone()));
    let ran = tokio::select! {
        ran = node.run(Some(listener), shutdown) => ran,
        never = database.keep_running() => match never {},
    };
    probe.abort();
    told.abort();
    database.close().await;
    Ok(ran?)
}

async fn start(
    mut config: Config,
    models: Models,
    database: &DatabaseHandle,
    args: &NodeArgs,
) -> Result<Node, Failure> {
    let skills_note = offer_skills(&mut config).await;
    let concurrency = config.worker.places();
    let node = Node::start(config, models, database.urls(), Role::ServesAndWorks, args).await?;
    say_parts(&node, database, skills_note, concurrency);
    Ok(node)
}

async fn say_stopping(shutdown: CancellationToken) {
    shutdown.cancelled().await;
    say("stopping once the current runs have ended; Ctrl-C again stops at once");
}

/// The database: one that is named, or our own.
pub(crate) enum DatabaseHandle {
    Named(DatabaseUrls),
    Embedded(Box<postgres::EmbeddedServer>),
}

impl DatabaseHandle {
    pub(crate) async fn open(config: &Config) -> Result<Self, Failure> {
        if let Some(urls) = config.database_urls() {
            return Ok(Self::Named(urls));
        }
        let folder = config.data_dir()?.join("postgres");
        let server = postgres::start(&postgres::EmbeddedSettings::new(folder))
            .await
            .map_err(|error| Failure::from_error(Exit::Failed, &error).hint_if(error.hint()))?;
        Ok(Self::Embedded(Box::new(server)))
    }

    pub(crate) fn urls(&self) -> DatabaseUrls {
        match self {
            Self::Named(urls) => urls.clone(),
            Self::Embedded(server) => DatabaseUrls {
                url: server.app_url().to_owned(),
                direct: None,
                migrate: server.owner_url().to_owned(),
            },
        }
    }

    /// Starts our own again whenever it dies; for one that is named others care.
    async fn keep_running(&mut self) -> Infallible {
        match self {
            Self::Named(_) => std::future::pending().await,
            Self::Embedded(server) => server.keep_running().await,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Named(_) => "the one at DATABASE_URL".into(),
            Self::Embedded(server) => {
                let adopted = if server.adopted() { ", was still running" } else { "" };
                format!("{} in {}{adopted}", server.version(), server.data_dir().display())
            }
        }
    }

    pub(crate) async fn close(self) {
        if let Self::Embedded(server) = self
            && let Err(error) = server.stop().await
        {
            say(&styled(ODD, format_args!("! postgres    {error}: {}", error.hint())));
        }
    }
}

/// Adds the Python skills where the configuration names no MCP server. Returns what to tell the user
/// if they cannot be started.
async fn offer_skills(config: &mut Config) -> Option<String> {
    if !config.mcp_servers.is_empty() {
        return None;
    }
    let here = std::env::current_dir().unwrap_or_else(|_| Path::new(".").to_owned());
    match skills::find(&here).await {
        Skills::Ready(server) => {
            config.mcp_servers.insert(skills::TEXTKIT.into(), *server);
            None
        }
        Skills::NoPython { folder } => Some(format!(
            "{}: no Python with the package `mcp`; scripts/python-env.sh installs one",
            folder.display()
        )),
        Skills::Absent => None,
    }
}

fn say_parts(
    node: &Node,
    database: &DatabaseHandle,
    skills_note: Option<String>,
    concurrency: u32,
) {
    good("postgres", database.line());
    let model = node.models().default_model();
    match model.provider.as_str() {
        "demo" => good("model", format!("{model}: a planner, not a language model; needs no key")),
        _ => good("model", model.to_string()),
    }
    let servers = node.mcp_status();
    for server in &servers {
        if server.state == ServerState::Running {
            good("mcp", format!("{}: {} tools", server.name, server.tools.len()));
        } else {
            let why = server.last_error.as_deref().unwrap_or("not running");
            let why = node.redactor().redacted(why, Reach::Known);
            odd("mcp", &format!("{}: {why}", server.name));
        }
    }
    match skills_note {
        Some(note) => odd("mcp", &note),
        None if servers.is_empty() => good("mcp", "none configured".into()),
        None => {}
    }
    good("worker", format!("up to {concurrency} runs at once"));
}

fn say_addresses(address: SocketAddr, auth: AuthMode) {
    let scope = match auth {
        AuthMode::None => "org_default / user_default",
        AuthMode::Keys => "that of an API key",
        AuthMode::Jwt => "that of a token",
    };
    let how = match auth {
        AuthMode::None => "(headers x-org-id, x-user-id)",
        AuthMode::Keys | AuthMode::Jwt => "(header Authorization: Bearer)",
    };
    let faint = |text: &str| styled(FAINT, text);
    say("");
    say(&format!("  {}  http://{address}", faint("web UI ")));
    say(&format!("  {}  http://{address}/docs", faint("API    ")));
    say(&format!("  {}  {scope} {}", faint("scope  "), faint(how)));
    say("");
    say("Press Ctrl-C to stop.");
}

/// Asks the default model's provider whether it would answer, and tells the user if not.
async fn probe(models: Models, redactor: Redactor) {
    let default = models.default_model();
    if default.provider == "demo" {
        return;
    }
    for probe in models.probe().await {
        if let (true, Err(error)) = (probe.provider == default.provider, probe.outcome) {
            let error = error.to_string();
            let error = redactor.redacted(&error, Reach::Credentials);
            odd("model", &format!("{}: {error} (runs that ask it will fail)", probe.provider));
        }
    }
}

fn good(part: &str, what: String) {
    say(&format!("{} {part:<10}  {what}", styled(GOOD, "✓")));
}

fn odd(part: &str, what: &str) {
    say(&format!("{} {part:<10}  {what}", styled(ODD, "!")));
}
