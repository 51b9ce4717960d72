//! `serve`, `worker`, `migrate`: production, on a database that several nodes may share.

use std::time::Duration;

use store::connect::{check_migrations, migrate as apply_migrations, reach};
use tokio::time::{Instant, sleep};

use crate::{
    cli::{MigrateArgs, NodeArgs, ServeArgs, ServerArgs},
    config::{self, Config, DatabaseUrls, Environment, Loaded},
    exit::{Abort, Exit, Failure},
    listen::ListenAddress,
    logging::{self, Usual},
    node::{self, Node, Role, database_failure},
    output::Output,
    shutdown::{self, Shutdown},
};

const DATABASE_HINT: &str = "set DATABASE_URL to postgres://user:password@host:5432/database \
(PostgreSQL 15 or newer with pgvector), or use `openintern dev`, which brings its own";
/// How long a start waits for a PostgreSQL that is being restarted.
const DATABASE_WAIT: Duration = Duration::from_secs(60);
/// How often it tries meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn serve(
    output: &mut Output,
    args: ServeArgs,
    environment: &Environment,
) -> Result<Exit, Abort> {
    let config = load(&args.server.node, environment)?;
    let host = args.server.host.as_deref().unwrap_or(&config.server.host);
    let place = ListenAddress::find(host, args.server.port.unwrap_or(config.server.port)).await?;
    let urls = everything_needed(&config, &place)?;
    let role = if args.no_worker { Role::ServesOnly } else { Role::ServesAndWorks };

    let models = node::models(&config)?;
    let listener = place.bind().await?;
    let shutdown = shutdown::listen()?;
    if wait_for_database(&urls, &shutdown).await? == Waited::ToldToStop {
        return Ok(Exit::Done);
    }
    let node = Node::start(config, models, urls, role, &args.server.node).await?;
    let address =
        listener.local_addr().map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    output.line(&format!("listening on http://{address}"))?;
    tracing::info!(%address, version = node::VERSION, "listening");
    Ok(node.run(Some(listener), shutdown).await?)
}

pub(crate) async fn worker(args: ServerArgs, environment: &Environment) -> Result<Exit, Abort> {
    let config = load(&args.node, environment)?;
    let urls = database_urls(&config)?;
    let models = node::models(&config)?;
    let shutdown = shutdown::listen()?;
    if wait_for_database(&urls, &shutdown).await? == Waited::ToldToStop {
        return Ok(Exit::Done);
    }
    let concurrency = config.worker.places();
    let node = Node::start(config, models, urls, Role::WorksOnly, &args.node).await?;
    tracing::info!(concurrency, version = node::VERSION, "working");
    Ok(node.run(None, shutdown).await?)
}

pub(crate) async fn migrate(
    output: &mut Output,
    args: MigrateArgs,
    environment: &Environment,
) -> Result<Exit, Abort> {
    let config = load(&args.node, environment)?;
    let url = database_urls(&config)?.migrate;
    if args.check {
        let missing = check_migrations(&url).await.map_err(database_failure)?;
        if missing > 0 {
            let failure = Failure::new(Exit::Failed, format!("migrations are missing: {missing}"));
            return Err(failure.hint("apply them with `openintern migrate`").into());
        }
        output.line("no migration is missing")?;
    } else {
        let applied = apply_migrations(&url).await.map_err(database_failure)?;
        output.line(&format!("migrations applied: {applied}"))?;
    }
    Ok(Exit::Done)
}

/// How waiting for the database has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    ItAnswers,
    ToldToStop,
}

/// Waits while PostgreSQL is away for a moment. Any other fault is reported at once.
async fn wait_for_database(urls: &DatabaseUrls, shutdown: &Shutdown) -> Result<Waited, Failure> {
    let began = Instant::now();
    let mut is_said = false;
    loop {
        let error = match reach(&urls.migrate).await {
            Ok(()) => return Ok(Waited::ItAnswers),
            Err(error) if error.may_pass() && began.elapsed() < DATABASE_WAIT => error,
            Err(error) => return Err(database_failure(error)),
        };
        if !std::mem::replace(&mut is_said, true) {
            let wait_s = DATABASE_WAIT.as_secs();
            tracing::warn!(%error, "the database does not answer yet; waiting up to {wait_s} s");
        }
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = shutdown.asked.cancelled() => return Ok(Waited::ToldToStop),
        }
    }
}

fn load(args: &NodeArgs, environment: &Environment) -> Result<Config, Failure> {
    let Loaded { config, .. } = config::load(args, environment)?;
    let format = config.server.log_format;
    logging::start(format, Usual::Events, args.verbose, environment, config.redactor(None))?;
    Ok(config)
}

pub(crate) fn database_urls(config: &Config) -> Result<DatabaseUrls, Failure> {
    config.database_urls().ok_or_else(|| {
        Failure::new(Exit::Usage, "no database: DATABASE_URL is not set").hint(DATABASE_HINT)
    })
}

/// The database's URLs, or everything that is missing.
fn everything_needed(config: &Config, place: &ListenAddress) -> Result<DatabaseUrls, Failure> {
    let no_database = || "`DATABASE_URL`: a production server brings no database".to_owned();
    let auth = place.missing_auth(config.server.auth).or_else(|| config.missing_identity());
    match (database_urls(config), auth) {
        (Ok(urls), None) => Ok(urls),
        (urls, auth) => {
            let missing: Vec<_> =
                urls.err().map(|_| no_database()).into_iter().chain(auth).collect();
            let failure =
                Failure::new(Exit::Usage, format!("`serve` needs {}", missing.join("; and ")));
            Err(failure.hint(
                "DATABASE_URL looks like postgres://user:password@host:5432/database; \
                 without an auth mode (`[server] auth`) the server listens on loopback only \
                 (--host 127.0.0.1)",
            ))
        }
    }
}
