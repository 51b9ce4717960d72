//! Opens the database: the pool, the requirements on the server, and migrations.

use std::{
    collections::BTreeSet,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sqlx::{
    Connection, PgConnection, Row,
    migrate::{MigrateError, Migration, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use protocol::error::UnavailableReason;

use crate::{
    breakers::{self, Breaker},
    deltas::DeltaGroups,
    distress,
    error::StoreError,
    failpoint,
    handle::Store,
    notifier::Notifier,
    places::Places,
    presence::LOCK_CLASS,
    settings::StoreSettings,
    tenancy::{self, TenancyError},
    transaction::{Database, Opening, Timeouts},
};

static MIGRATIONS: Migrator = sqlx::migrate!();
/// What a migrated database has, one `table.column` a line; a test compares it with one.
const COLUMNS: &str = include_str!("../columns.txt");

/// The oldest PostgreSQL that we use (`server_version_num`).
const POSTGRES_MIN: i32 = 150_000;
/// The oldest pgvector that we use: the first with iterative index scans.
const PGVECTOR_MIN: (u32, u32) = (0, 8);
/// What PostgreSQL ends by itself in our connections.
const TIMEOUTS: Timeouts = Timeouts {
    statement: Duration::from_secs(5),
    lock: Duration::from_secs(2),
    idle: Duration::from_secs(5),
};
/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connections may take to be given back at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// A released migration never changes, so another text was applied by a version that was not released.
const OTHER_BUILD: &str = "it was made by an earlier development build of this program, and there is no upgrade from those";
const OTHER_BUILD_HINT: &str = "move the data folder of `openintern dev` away, or name an empty \
     database in DATABASE_URL; to keep memories, export them with the build that made them";
/// How long opening the first connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The database cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one.
    #[error("DATABASE_URL is not a PostgreSQL URL: {0}")]
    Url(String),
    /// Nobody answers, or the credentials are refused.
    #[error("cannot connect to PostgreSQL at {at}: {cause}")]
    Unreachable {
        /// Host, port and database, without credentials.
        at: String,
        /// What the driver says.
        cause: String,
        /// It may be starting, or full at the moment: another try may do.
        may_pass: bool,
    },
    /// The server is too old.
    #[error("PostgreSQL {found} is too old")]
    TooOld { found: String },
    /// pgvector is missing or too old.
    #[error("the extension `vector` {found}")]
    Vector { found: String },
    /// What is acknowledged would not be on disk.
    #[error("PostgreSQL runs with `{setting} = off`: a crash would lose acknowledged runs")]
    NotDurable { setting: String },
    /// The schema belongs to another version of this program.
    #[error("the database schema does not fit this version: {problem}")]
    Schema {
        /// What does not fit.
        problem: String,
        hint: Option<&'static str>,
    },
    /// The database would not keep tenants apart.
    #[error("tenants are not kept apart: {found}")]
    Tenancy { found: String, hint: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ConnectError {
    /// Whether another try in a moment may succeed.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { may_pass: true, .. })
    }

    /// What to do about it, if anything can be done.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Url(_) => Some("it should look like postgres://user:password@host:5432/database"),
            Self::Unreachable { .. } => Some("check that it runs and that DATABASE_URL is right"),
            Self::TooOld { .. } => Some("15 or newer is needed"),
            Self::Vector { .. } => {
                Some("install pgvector 0.8 or newer, then `create extension vector` as a superuser")
            }
            Self::NotDurable { .. } => Some("turn it on"),
            Self::Schema { hint, .. } => *hint,
            Self::Tenancy { hint, .. } => Some(hint),
            Self::Store(_) => None,
        }
    }
}

impl From<sqlx::Error> for ConnectError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<TenancyError> for ConnectError {
    fn from(error: TenancyError) -> Self {
        match error {
            TenancyError::Open { found, hint } => Self::Tenancy { found, hint },
            TenancyError::Store(error) => Self::Store(error),
        }
    }
}

impl From<MigrateError> for ConnectError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
                let is_denied = cause
                    .as_database_error()
                    .is_some_and(|error| error.code().as_deref() == Some("42501"));
                let hint = is_denied.then_some(
                    "OPENINTERN_MIGRATE_URL must log in as the owner of the database, who is in \
                     the roles `openintern_app` and `openintern_scheduler` or may make them",
                );
                Self::Schema { problem: cause.to_string(), hint }
            }
            other => Self::Schema { problem: other.to_string(), hint: None },
        }
    }
}

impl Store {
    /// Opens the database and checks what it can do. It does not migrate.
    pub async fn connect(settings: &StoreSettings) -> Result<Store, ConnectError> {
        let pooled = settings.direct_url.is_some();
        let through = parse(&settings.url)?;
        let direct = parse(settings.direct_url.as_deref().unwrap_or(&settings.url))?;
        let mut first = open(&direct).await?;
        check_server(&mut first).await?;
        if missing_migrations(&mut first).await? > 0 {
            return Err(ConnectError::Schema {
                problem: "migrations are missing".into(),
                hint: Some("apply them with `openintern migrate`"),
            });
        }
        check_columns(&mut first).await?;
        let opening = Opening {
            assumes_role: tenancy::is_more_than_app(&mut first, through.get_username()).await?,
            timeouts: pooled.then_some(TIMEOUTS),
        };
        first.close().await.ok();
        let through = if pooled { through } else { through.options(TIMEOUTS.settings()) };
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false) // A ping a checkout costs more than a retry.
            .connect_lazy_with(through);
        let places = Places::new(settings.max_connections);
        let database = Database { pool, opening, places };
        tenancy::check(&database).await?;
        let notifier = Arc::new(Notifier::start(database.clone(), direct.clone()));
        let StoreSettings { limits, budget, retention, .. } = settings.clone();
        let deltas = DeltaGroups::start(database.clone());
        Ok(Store {
            database,
            direct,
            limits,
            admission: Arc::default(),
            budget,
            retention,
            notifier,
            deltas,
            claimed_last: Arc::default(),
            remembered_last: Arc::default(),
        })
    }

    /// Closes every connection; pending wake-ups are dropped. Those that a database does not answer
    /// on are left to the end of the process.
    pub async fn close(&self) {
        self.notifier.stop();
        tokio::time::timeout(CLOSE_TIMEOUT, self.database.pool.close()).await.ok();
    }

    /// The version of the server, as it says it.
    pub async fn server_version(&self) -> Result<String, StoreError> {
        let query = sqlx::query("select current_setting('server_version')");
        Ok(self.database.call_one(query).await?.try_get(0)?)
    }
}

/// Applies the migrations that are missing, under a lock: many nodes may do it at once. The login
/// must own the schema and may have to make roles; where nothing is missing, any login will do.
/// Returns how many it applied.
pub async fn migrate(url: &str) -> Result<usize, ConnectError> {
    let mut connection = open(&parse(url)?).await?;
    check_server(&mut connection).await?;
    let missing = missing_migrations(&mut connection).await?;
    failpoint::pass("before_migrations");
    if missing > 0 {
        MIGRATIONS.run(&mut connection).await?;
    }
    failpoint::pass("after_migrations");
    connection.close().await.ok();
    Ok(missing)
}

/// How many migrations are missing; none means that this version can serve.
pub async fn check_migrations(url: &str) -> Result<usize, ConnectError> {
    let mut connection = open(&parse(url)?).await?;
    check_server(&mut connection).await?;
    let missing = missing_migrations(&mut connection).await?;
    connection.close().await.ok();
    Ok(missing)
}

/// What `doctor` wants to know of a database that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// The version of the server.
    pub server_version: String,
    /// The version of pgvector in this database; none before the first migration.
    pub vector_version: Option<String>,
    /// Who we are there.
    pub role: String,
    /// That role is more than the runtime needs: it steps down in every transaction.
    pub steps_down: bool,
    /// Tables that would not keep tenants apart, one sentence a fault.
    pub open_tables: Vec<String>,
    /// The embedder that a node must be set to, if memories stand by one.
    pub embedder: Option<String>,
    /// Models that failed lately, or asked for a pause.
    pub breakers: Vec<Breaker>,
    /// How many migrations are missing.
    pub missing_migrations: usize,
    /// The server compiles plans (`jit`) unless it is told not to. Sessions of ours tell it.
    pub has_compiler: bool,
    /// Where it keeps its data, if we may know: for roles in `pg_read_all_settings`.
    pub data_directory: Option<String>,
    /// Why it takes no writes, if it does not.
    pub reason: Option<UnavailableReason>,
    /// How far its clock is ahead of ours, in seconds; as exact as an answer of it is fast.
    pub clock_ahead_s: f64,
    /// Most connections that it takes from logins like ours.
    pub connections_max: u32,
}

/// Looks at the database without changing it. Fails where it cannot be used at all.
pub async fn inspect(url: &str) -> Result<Inspection, ConnectError> {
    let mut connection = open(&parse(url)?).await?;
    check_server(&mut connection).await?;
    let row = sqlx::query(
        "select current_setting('server_version'), current_user::text,
                (select extversion from pg_extension where extname = 'vector'),
                current_setting('jit') = 'on' and pg_jit_available(),
                extract(epoch from clock_timestamp())::float8,
                current_setting('max_connections')::int
                    - current_setting('superuser_reserved_connections')::int
         from pg_roles
         where rolname = current_user",
    )
    .fetch_one(&mut connection)
    .await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let clock_ahead_s = row.try_get::<f64, _>(4)? - now.as_secs_f64();
    let missing_migrations = missing_migrations(&mut connection).await?;
    let role: String = row.try_get(1)?;
    let (mut steps_down, mut open_tables, mut embedder) = (false, Vec::new(), None);
    let mut breakers = Vec::new();
    let data_directory = data_directory(&mut connection).await;
    let reason = try_to_write(&mut connection).await?;
    if missing_migrations == 0 {
        check_columns(&mut connection).await?;
        steps_down = tenancy::is_more_than_app(&mut connection, &role).await?;
        let mut tx = connection.begin().await?;
        if steps_down {
            sqlx::query("set local role openintern_app").execute(&mut *tx).await?;
        }
        open_tables = tenancy::open_tables(&mut *tx).await?;
        embedder = sqlx::query_scalar("select embedder_in_force($1)")
            .bind(LOCK_CLASS)
            .fetch_one(&mut *tx)
            .await?;
        breakers = breakers::kept(&mut tx).await?;
    }
    connection.close().await.ok();
    Ok(Inspection {
        server_version: row.try_get(0)?,
        role,
        steps_down,
        open_tables,
        embedder,
        breakers,
        vector_version: row.try_get(2)?,
        has_compiler: row.try_get(3)?,
        data_directory,
        reason,
        missing_migrations,
        clock_ahead_s,
        connections_max: u32::try_from(row.try_get::<i32, _>(5)?).unwrap_or_default(),
    })
}

fn parse(url: &str) -> Result<PgConnectOptions, ConnectError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(ConnectError::Url("it does not begin with `postgres://`".into()));
    }
    let options =
        PgConnectOptions::from_str(url).map_err(|error| ConnectError::Url(error.to_string()))?;
    Ok(options.application_name("openintern"))
}

/// Checks whether a server answers there, and does nothing else.
pub async fn reach(url: &str) -> Result<(), ConnectError> {
    open(&parse(url)?).await?.close().await.ok();
    Ok(())
}

async fn open(options: &PgConnectOptions) -> Result<PgConnection, ConnectError> {
    let unreachable = |cause: String, may_pass: bool| ConnectError::Unreachable {
        at: format!(
            "{}:{}/{}",
            options.get_socket().map_or_else(
                || options.get_host().to_owned(),
                |socket| socket.display().to_string()
            ),
            options.get_port(),
            options.get_database().unwrap_or_else(|| options.get_username())
        ),
        cause,
        may_pass,
    };
    let no_answer = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
    tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options))
        .await
        .map_err(|_| unreachable(no_answer, true))?
        .map_err(|error| unreachable(error.to_string(), passes(&error)))
}

/// Whether a server that is being started, stopped or asked by too many would answer so.
fn passes(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|answer| answer.code());
    match code.as_deref() {
        // Appendix A of PostgreSQL's manual: cannot connect now, and shutdown in three ways.
        Some("57P03" | "57P01" | "57P02" | "53300") => true,
        Some(code) => code.starts_with("08"),
        None => matches!(error, sqlx::Error::Io(_)),
    }
}

async fn check_server(connection: &mut PgConnection) -> Result<(), ConnectError> {
    let row = sqlx::query(
        "select current_setting('server_version_num')::int,
                current_setting('server_version'),
                current_setting('fsync'),
                current_setting('full_page_writes'),
                coalesce((select extversion from pg_extension where extname = 'vector'),
                         (select default_version from pg_available_extensions where name = 'vector'))",
    )
    .fetch_one(connection)
    .await?;
    if row.try_get::<i32, _>(0)? < POSTGRES_MIN {
        return Err(ConnectError::TooOld { found: row.try_get(1)? });
    }
    for (column, setting) in [(2, "fsync"), (3, "full_page_writes")] {
        if row.try_get::<String, _>(column)? == "off" {
            return Err(ConnectError::NotDurable { setting: setting.into() });
        }
    }
    match row.try_get::<Option<String>, _>(4)? {
        None => Err(ConnectError::Vector { found: "is not installed on the server".into() }),
        Some(version) if version_of(&version) < PGVECTOR_MIN => {
            Err(ConnectError::Vector { found: format!("{version} is too old") })
        }
        Some(_) => Ok(()),
    }
}

fn version_of(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

async fn data_directory(connection: &mut PgConnection) -> Option<String> {
    sqlx::query_scalar("show data_directory").fetch_one(connection).await.ok()
}

/// Writes a page of rows that nobody sees, and takes them back.
async fn try_to_write(
    connection: &mut PgConnection,
) -> Result<Option<UnavailableReason>, ConnectError> {
    let mut tx = connection.begin().await?;
    let written = sqlx::query(
        "create temporary table openintern_trial on commit drop as
         select repeat('x', 8000) as page from generate_series(1, 16)",
    )
    .execute(&mut *tx)
    .await;
    tx.rollback().await.ok();
    // A role that may not make temporary tables shows nothing.
    Ok(written.err().as_ref().and_then(distress::reason_of))
}

/// Names a column that was dropped by hand.
async fn check_columns(connection: &mut PgConnection) -> Result<(), ConnectError> {
    let there = columns(connection).await?;
    match COLUMNS.lines().find(|column| !there.contains(*column)) {
        None => Ok(()),
        Some(column) => Err(ConnectError::Schema {
            problem: format!("the column `{column}` is missing"),
            hint: Some("it was dropped by hand: restore the database from a backup"),
        }),
    }
}

/// The columns of all tables, as `table.column`.
async fn columns(connection: &mut PgConnection) -> Result<BTreeSet<String>, sqlx::Error> {
    let columns: Vec<String> = sqlx::query_scalar(
        "select c.relname::text || '.' || a.attname::text
         from pg_attribute a join pg_class c on c.oid = a.attrelid
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
           and c.relname <> '_sqlx_migrations' and a.attnum > 0 and not a.attisdropped",
    )
    .fetch_all(connection)
    .await?;
    Ok(columns.into_iter().collect())
}

/// Refuses a schema with a migration that broke off.
async fn check_whole(connection: &mut PgConnection) -> Result<(), ConnectError> {
    let broken: Option<i64> =
        sqlx::query_scalar("select min(version) from _sqlx_migrations where not success")
            .fetch_one(connection)
            .await?;
    match broken {
        None => Ok(()),
        Some(version) => Err(ConnectError::Schema {
            problem: format!("migration {version} broke off"),
            hint: Some(
                "see in the schema how far it came, finish or undo it, and set `success` in \
                 `_sqlx_migrations`, or delete its row there",
            ),
        }),
    }
}

async fn missing_migrations(connection: &mut PgConnection) -> Result<usize, ConnectError> {
    let kept: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if kept {
        check_whole(connection).await?;
    }
    let applied: Vec<(i64, Vec<u8>)> = if kept {
        sqlx::query_as("select version, checksum from _sqlx_migrations where success")
            .fetch_all(&mut *connection)
            .await?
    } else {
        Vec::new()
    };
    let is_other = |migration: &Migration| {
        applied.iter().any(|(version, checksum)| {
            *version == migration.version && checksum[..] != migration.checksum[..]
        })
    };
    if MIGRATIONS.iter().any(is_other) {
        let problem = OTHER_BUILD.into();
        return Err(ConnectError::Schema { problem, hint: Some(OTHER_BUILD_HINT) });
    }
    if let Some((newer, _)) =
        applied.iter().find(|(version, _)| !MIGRATIONS.version_exists(*version))
    {
        return Err(ConnectError::Schema {
            problem: format!("migration {newer} was applied by a newer version"),
            hint: Some("upgrade this program"),
        });
    }
    let is_missing =
        |migration: &&Migration| applied.iter().all(|(version, _)| *version != migration.version);
    Ok(MIGRATIONS.iter().filter(is_missing).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_list_of_columns_is_that_of_a_migrated_database() {
        let database = postgres::scratch::database().await;
        migrate(&database.owner_url).await.unwrap();
        let mut connection = PgConnection::connect(&database.admin_url).await.unwrap();
        let there = columns(&mut connection).await.unwrap();
        let listed: BTreeSet<String> = COLUMNS.lines().map(str::to_owned).collect();
        let odd: Vec<_> = there.symmetric_difference(&listed).collect();
        assert!(odd.is_empty(), "crates/store/columns.txt and the migrations differ: {odd:?}");
    }
}
