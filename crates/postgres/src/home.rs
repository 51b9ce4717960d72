//! The data folder: its layout, and the lock that lets one process of ours at a time work in it.
//!
//! ```text
//! <data_dir>/lock            held while a process of ours lives
//!            passwords       of the two roles
//!            install/<…>/    the unpacked server
//!            cluster/        what initdb made; Postgres' own
//!            run/            the socket
//!            postgres.log    and postgres.log.old
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::account::Account;
use crate::error::{StartError, io_error};

const FOLDER_MODE: u32 = 0o700;
/// As root, when the account of Postgres has to pass through on the way to the cluster.
const PASSABLE_FOLDER_MODE: u32 = 0o711;
/// What means something to a shell inside double quotes.
const UNFIT: &[u8] = b"\"$`\\\n\r";
const LOG_TAIL_BYTES: u64 = 2_000;
/// A process that starts another shares its locks with it until that one has become its own program.
const LOCK_TRIES: u32 = 10;
const LOCK_REST: Duration = Duration::from_millis(20);

/// The data folder, locked for this process as long as the value lives.
#[derive(Debug)]
pub(crate) struct DataFolder {
    folder: PathBuf,
    account: Account,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if needed and takes the lock.
    pub(crate) fn open(data_dir: &Path, account: Account) -> Result<Self, StartError> {
        let mode = match account {
            Account::Ourselves => FOLDER_MODE,
            Account::Lesser(_) => PASSABLE_FOLDER_MODE,
        };
        check_fit(&std::path::absolute(data_dir).map_err(io_error("resolve", data_dir))?)?;
        if let Some(parent) = data_dir.parent() {
            fs::create_dir_all(parent).map_err(io_error("create", parent))?;
        }
        make_folder(data_dir, mode)?;
        let folder = data_dir.canonicalize().map_err(io_error("resolve", data_dir))?;
        check_fit(&folder)?;
        account.check_enterable(&folder)?;
        let lock = lock(&folder)?;
        Ok(Self { folder, account, _lock: lock })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn installs(&self) -> PathBuf {
        self.folder.join("install")
    }

    pub(crate) fn cluster(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    pub(crate) fn passwords(&self) -> PathBuf {
        self.folder.join("passwords")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    /// A short name for this folder among others. Should the hash change with a compiler, the
    /// name does, too, and nothing is lost.
    pub(crate) fn mark(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.folder.hash(&mut hasher);
        format!("openintern-{:016x}", hasher.finish())
    }

    /// A folder for Postgres alone, made if absent.
    pub(crate) fn private_folder(&self, path: &Path) -> Result<(), StartError> {
        make_folder(path, FOLDER_MODE)?;
        self.account.own(path)
    }

    /// Opens a log for a fresh server. Its growth has a bound because of this, and because the
    /// server logs little: see `cluster::command_line`.
    pub(crate) fn new_log(&self) -> Result<File, StartError> {
        let path = self.log();
        match fs::rename(&path, path.with_extension("log.old")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("rename", &path)(error));
            }
            _ => {}
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("create", &path))
    }

    /// What the server said last.
    pub(crate) fn log_tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(self.log())?;
            let start = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        read().unwrap_or_default()
    }
}

/// Makes a folder with exactly this mode, or leaves one that is there as it is.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<(), StartError> {
    match DirBuilder::new().mode(mode).create(path) {
        // Again, because of the umask.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(io_error("set the mode of", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(io_error("create", path)(error)),
    }
}

fn check_fit(path: &Path) -> Result<(), StartError> {
    if path.as_os_str().as_bytes().iter().any(|byte| UNFIT.contains(byte)) {
        return Err(StartError::UnfitPath { data_dir: path.to_owned() });
    }
    Ok(())
}

fn lock(folder: &Path) -> Result<File, StartError> {
    let path = folder.join("lock");
    let failed = |action| io_error(action, &path);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open"))?;
    let mut locked = file.try_lock();
    for _ in 1..LOCK_TRIES {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        thread::sleep(LOCK_REST);
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StartError::InUse { data_dir: folder.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
    }
    file.set_len(0).map_err(failed("write"))?;
    writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
    Ok(file)
}
