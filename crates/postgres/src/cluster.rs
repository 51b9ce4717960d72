//! The cluster on disk: made once by `initdb`, and the command line that serves it.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::database;
use crate::error::{StartError, io_error};
use crate::home::DataFolder;
use crate::install::{Install, remove};
use crate::socket::Socket;

const PASSWORD_BYTES: usize = 32;
const INIT_TIMEOUT: Duration = Duration::from_secs(120);
const UNFINISHED: &str = "cluster.init-";

/// Of the two roles; random, and only in a file that we alone can read.
pub(crate) struct Passwords {
    pub(crate) admin: String,
    pub(crate) app: String,
}

/// What is executed, program first.
pub(crate) struct CommandLine {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

/// Makes the cluster if there is none. A folder with its name is whole: it was made beside and
/// renamed.
pub(crate) async fn initialise(
    home: &DataFolder,
    install: &Install,
) -> Result<Passwords, StartError> {
    let cluster = home.cluster();
    let passwords = Passwords::read(&home.passwords());
    if cluster.is_dir() {
        check_version(&cluster, install)?;
        return passwords.ok_or(StartError::PasswordsLost { file: home.passwords() });
    }
    let passwords = match passwords {
        Some(passwords) => passwords,
        None => Passwords::create(home)?,
    };
    clear_unfinished(home)?;
    // A name of its own for each try: an initdb that outlived us must not write into the next.
    let half = home.folder().join(format!("{UNFINISHED}{}", random_hex::<8>()?));
    home.private_folder(&half)?;
    run_initdb(home, install, &half, &passwords).await?;
    fs::rename(&half, &cluster).map_err(io_error("rename", &half))?;
    let synced = fs::File::open(home.folder()).and_then(|folder| folder.sync_all());
    synced.map_err(io_error("sync", home.folder()))?;
    Ok(passwords)
}

/// How the server is started. Whatever is not here has Postgres' default: `fsync` and
/// `synchronous_commit` among others, which keep what was acknowledged.
pub(crate) fn command_line(
    home: &DataFolder,
    install: &Install,
    socket: &Socket,
    max_connections: u16,
) -> CommandLine {
    let settings = [
        // A socket in a private folder, nothing on the network.
        ("listen_addresses", String::new()),
        ("unix_socket_directories", socket.setting()),
        // In the title of each process; `residents` looks for it.
        ("cluster_name", home.mark()),
        ("max_connections", max_connections.to_string()),
        // A laptop's database: small while idle, and the system's cache does the rest.
        ("shared_buffers", "64MB".to_owned()),
        // Three processes fewer; read-ahead by workers pays for tables larger than these.
        ("io_method", "sync".to_owned()),
        // One process fewer; nothing subscribes to anything.
        ("max_logical_replication_workers", "0".to_owned()),
        // Bounds the disk that the log takes, and the time that recovery takes.
        ("max_wal_size", "512MB".to_owned()),
        // Whole pages are most of the log after a checkpoint, and compress well.
        ("wal_compression", "on".to_owned()),
        // Built without; the planner need not consider it.
        ("jit", "off".to_owned()),
        // The passwords are random and 256 bits long. Stretching them adds nothing, and would
        // cost every new connection some milliseconds.
        ("scram_iterations", "1".to_owned()),
        // Not what the machine happens to be set to.
        ("timezone", "UTC".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        // Starts, stops and crashes. Errors reach the caller, and the log would quote from
        // tenants' rows. It is also what keeps the log small.
        ("log_min_messages", "log".to_owned()),
        ("log_checkpoints", "off".to_owned()),
    ];
    let mut arguments = vec![OsString::from("-D"), home.cluster().into_os_string()];
    for (name, value) in settings {
        arguments.extend([OsString::from("-c"), OsString::from(format!("{name}={value}"))]);
    }
    CommandLine { program: install.program("postgres"), arguments }
}

impl CommandLine {
    /// The line that Postgres leaves in `postmaster.opts`.
    pub(crate) fn as_recorded(&self) -> Vec<u8> {
        let mut line = self.program.as_os_str().as_bytes().to_vec();
        for argument in &self.arguments {
            line.extend_from_slice(b" \"");
            line.extend_from_slice(argument.as_bytes());
            line.push(b'"');
        }
        line.push(b'\n');
        line
    }
}

/// A command for one of the server's programs: as its account, away from our Ctrl-C, and with
/// nothing of our environment.
pub(crate) fn command(home: &DataFolder, program: &Path) -> Command {
    let mut command = Command::new(program);
    home.account().apply(&mut command);
    command
        .env_clear()
        .env("LC_ALL", "C")
        .current_dir(home.folder())
        .process_group(0)
        .stdin(Stdio::null());
    command
}

impl Passwords {
    fn read(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        let (admin, app) = (lines.next()?, lines.next()?);
        let whole = |password: &str| password.len() == 2 * PASSWORD_BYTES;
        (whole(&admin) && whole(&app)).then_some(Self { admin, app })
    }

    fn create(home: &DataFolder) -> Result<Self, StartError> {
        let (admin, app) = (random_hex::<PASSWORD_BYTES>()?, random_hex::<PASSWORD_BYTES>()?);
        let (file, half) = (home.passwords(), home.passwords().with_extension("new"));
        write_secret(&half, &format!("{admin}\n{app}\n"))?;
        fs::rename(&half, &file).map_err(io_error("rename", &half))?;
        Ok(Self { admin, app })
    }
}

fn check_version(cluster: &Path, install: &Install) -> Result<(), StartError> {
    let file = cluster.join("PG_VERSION");
    let found = fs::read_to_string(&file).map_err(io_error("read", &file))?;
    let (found, ours) = (found.trim(), install.major());
    if found == ours {
        return Ok(());
    }
    Err(StartError::OtherMajor { cluster: cluster.to_owned(), found: found.to_owned(), ours })
}

fn clear_unfinished(home: &DataFolder) -> Result<(), StartError> {
    let entries = fs::read_dir(home.folder()).map_err(io_error("list", home.folder()))?;
    for entry in entries.flatten() {
        if entry.file_name().as_bytes().starts_with(UNFINISHED.as_bytes()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

async fn run_initdb(
    home: &DataFolder,
    install: &Install,
    to: &Path,
    passwords: &Passwords,
) -> Result<(), StartError> {
    let secret = home.folder().join("initdb.password");
    write_secret(&secret, &passwords.admin)?;
    home.account().own(&secret)?;
    let output = try_initdb(home, install, to, &secret).await;
    fs::remove_file(&secret).map_err(io_error("remove", &secret))?;
    let output = output?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(StartError::Init { output: format!("{}: {}", output.status, said.trim()) })
}

async fn try_initdb(
    home: &DataFolder,
    install: &Install,
    to: &Path,
    secret: &Path,
) -> Result<Output, StartError> {
    // Only under a UTF-8 `lc_ctype` does pg_trgm see Chinese as letters. Not every system has one.
    let output = try_initdb_for(home, install, to, secret, "C.UTF-8").await?;
    if output.status.success() {
        return Ok(output);
    }
    remove(to)?;
    home.private_folder(to)?;
    try_initdb_for(home, install, to, secret, "C").await
}

async fn try_initdb_for(
    home: &DataFolder,
    install: &Install,
    to: &Path,
    secret: &Path,
    lc_ctype: &str,
) -> Result<Output, StartError> {
    let program = install.program("initdb");
    let mut initdb = command(home, &program);
    initdb
        .arg("-D")
        .arg(to)
        .arg("--pwfile")
        .arg(secret)
        .args(["--username", database::ADMIN, "--auth", "scram-sha-256"])
        .args(["--encoding", "UTF8", "--locale", "C", "--lc-ctype", lc_ctype])
        // The wheel has no ICU. This collation needs no library and never changes.
        .args(["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"])
        .args(["--set", "scram_iterations=1", "--data-checksums", "--no-instructions"])
        .kill_on_drop(true);
    match timeout(INIT_TIMEOUT, initdb.output()).await {
        Ok(output) => output.map_err(io_error("run", &program)),
        Err(_) => {
            let output = format!("not done after {} s", INIT_TIMEOUT.as_secs());
            Err(StartError::Init { output })
        }
    }
}

fn write_secret(path: &Path, text: &str) -> Result<(), StartError> {
    let write = || -> io::Result<()> {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(io_error("write", path))
}

fn random_hex<const BYTES: usize>() -> Result<String, StartError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| io_error("draw from", Path::new("/dev/urandom"))(error.into()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
