//! PgBouncer in transaction mode, between nodes and the database.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// Connections to the database: fewer than nodes ask for, so that they share them.
const POOL: usize = 12;
const START_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running pooler; it ends when it is dropped.
pub(crate) struct Pooler {
    /// A URL for nodes.
    pub(crate) database_url: String,
    _process: Child,
}

impl Pooler {
    /// Starts one in front of the database of this URL, which names a socket's folder.
    pub(crate) async fn start(database_url: &str, folder: &Path) -> Result<Self> {
        let options = PgConnectOptions::from_str(database_url)?;
        let socket = options.get_socket().context("the database has a socket")?;
        // PgBouncer refuses to be root, and the socket is for its owner alone.
        let owner = fs::metadata(socket)?;
        let home = folder.join("pgbouncer");
        fs::create_dir_all(&home)?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let file = home.join("pgbouncer.ini");
        fs::write(&file, configuration(database_url, &options, address, &home)?)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        for path in [&home, &file] {
            chown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
        let mut command = Command::new(program());
        command.arg("-q").arg(&file).current_dir(&home).kill_on_drop(true);
        command.uid(owner.uid()).gid(owner.gid());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let hint = "PgBouncer starts (hint: `scripts/pgbouncer.sh` installs it)";
        let mut process = command.spawn().context(hint)?;

        let (role, database) = (options.get_username(), options.get_database().unwrap_or_default());
        let database_url = format!("postgres://{role}@{address}/{database}?sslmode=disable");
        let began = Instant::now();
        while let Err(error) = PgConnection::connect(&database_url).await {
            ensure!(process.try_wait()?.is_none(), "PgBouncer ended at its start: {error}");
            ensure!(began.elapsed() < START_MAX, "PgBouncer does not listen: {error}");
            sleep(LOOK_EVERY).await;
        }
        Ok(Self { database_url, _process: process })
    }
}

fn program() -> PathBuf {
    // Where Debian puts it is on no user's path.
    let usual = || PathBuf::from("/usr/sbin/pgbouncer");
    std::env::var_os("PGBOUNCER").map_or_else(usual, PathBuf::from)
}

/// Every client is the role of the URL: the port is on loopback, the database a throw-away one.
fn configuration(
    url: &str,
    options: &PgConnectOptions,
    address: SocketAddr,
    home: &Path,
) -> Result<String> {
    let (_, rest) = url.split_once("://").context("a URL")?;
    let (who, _) = rest.split_once('@').context("the URL names a role")?;
    let (role, password) = who.split_once(':').context("the URL has a password")?;
    let socket = options.get_socket().context("the database has a socket")?;
    let database = options.get_database().context("the URL names a database")?;
    Ok(format!(
        "[databases]\n\
         {database} = host={} port={} dbname={database} user={role} password={password}\n\
         [pgbouncer]\n\
         listen_addr = {}\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
         pool_mode = transaction\ndefault_pool_size = {POOL}\nmax_client_conn = 500\n\
         ignore_startup_parameters = extra_float_digits\n\
         logfile = {}\n",
        socket.display(),
        options.get_port(),
        address.ip(),
        address.port(),
        home.join("pgbouncer.log").display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_named_once() {
        let url = "postgres://openintern:s3cret@localhost:5432/openintern?host=%2Ftmp%2Fpg";
        let options = PgConnectOptions::from_str(url).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 6432));
        let text = configuration(url, &options, address, Path::new("/home")).unwrap();
        assert_eq!(
            text.lines().nth(1),
            Some(
                "openintern = host=/tmp/pg port=5432 dbname=openintern user=openintern \
                 password=s3cret"
            )
        );
    }
}
