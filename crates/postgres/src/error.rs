//! What can go wrong, sorted by what the person at the keyboard can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The executable was built without the archive, or without the feature.
    #[error("this build has no PostgreSQL inside")]
    NotBuiltIn,
    /// Another live process of ours holds the lock of the folder.
    #[error(
        "`{}` is in use by another instance{}", data_dir.display(), holder(*pid)
    )]
    InUse {
        /// The folder that is held.
        data_dir: PathBuf,
        /// Who holds it, as far as it wrote that down.
        pid: Option<u32>,
    },
    /// `initdb` runs its server through a shell, and quotes too little.
    #[error("PostgreSQL's initdb cannot work in `{}`", data_dir.display())]
    UnfitPath {
        /// The folder with such a character in its path.
        data_dir: PathBuf,
    },
    /// We are root, Postgres must not be, and the account it runs as cannot get to the folder.
    #[error(
        "PostgreSQL does not run as root, and as `{account}` it cannot enter `{}`",
        folder.display()
    )]
    NotEnterable {
        /// The folder that stands in the way.
        folder: PathBuf,
        /// The account that Postgres would run as.
        account: String,
    },
    /// We are root and there is no account to run Postgres as.
    #[error(
        "PostgreSQL does not run as root, and there is no account `{}`", names.join("` or `")
    )]
    NoAccount {
        /// The accounts that were looked for.
        names: &'static [&'static str],
    },
    /// The folder holds a cluster of another major version.
    #[error(
        "`{}` holds a cluster of PostgreSQL {found}, and this build brings {ours}",
        cluster.display()
    )]
    OtherMajor {
        /// The folder of the cluster.
        cluster: PathBuf,
        /// The version it is of.
        found: String,
        /// The version that is built in.
        ours: &'static str,
    },
    /// There is a cluster, but not the file with its passwords.
    #[error("the passwords of the cluster are gone: no usable `{}`", file.display())]
    PasswordsLost {
        /// Where they should be.
        file: PathBuf,
    },
    /// Neither the data folder nor the temporary folder can hold the socket.
    #[error("`{}` belongs to someone else", folder.display())]
    SocketFolder {
        /// The folder that is not ours.
        folder: PathBuf,
    },
    /// `initdb` did not make a cluster.
    #[error("initdb failed: {output}")]
    Init { output: String },
    /// The server ended before it was ready.
    #[error("PostgreSQL ended while starting: {log}")]
    Ended {
        /// The end of its log.
        log: String,
    },
    /// The server was still not ready when we gave up. It goes on, and a later start adopts it.
    #[error("PostgreSQL was not ready after {waited_s} s")]
    NotReady {
        /// How long we waited.
        waited_s: u64,
        /// Where it says what it is doing.
        log: PathBuf,
    },
    /// Processes of an earlier server would not end.
    #[error(transparent)]
    Leftover(StopError),
    /// The server runs, but its database, role or extension could not be made.
    #[error("setting up the database failed")]
    SetUp(#[source] sqlx::Error),
    /// A file or folder refused what we asked of it.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What we were about to do.
        action: &'static str,
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why the server did not stop.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// It is there after every way we have to ask.
    #[error("PostgreSQL (process {pid}) does not end")]
    StillRunning { pid: u32 },
}

impl StartError {
    /// What to do about it, where the person at the keyboard can do something.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotBuiltIn => {
                "build with `make`, or set `DATABASE_URL` to a PostgreSQL with pgvector"
            }
            Self::InUse { .. } => {
                "stop it, give this one another data folder, or share one database by `DATABASE_URL`"
            }
            Self::UnfitPath { .. } => {
                "use a path without double quotes, dollar signs, backquotes, backslashes or newlines"
            }
            Self::NotEnterable { .. } => {
                "use a data folder such as `/var/lib/openintern`, or `chmod o+x` that folder"
            }
            Self::NoAccount { .. } => "create one, or start as another user",
            Self::OtherMajor { .. } => "use the build that made it, or dump and restore",
            Self::PasswordsLost { .. } => "put the file back, or use another data folder",
            Self::SocketFolder { .. } => "remove it, or use a data folder with a shorter path",
            Self::NotReady { log, .. } => {
                return Some(format!(
                    "it may be recovering from a crash; start again to go on waiting, and see `{}`",
                    log.display()
                ));
            }
            Self::Io { .. } => "choose a data folder that you may write to with --data-dir",
            Self::Leftover(error) => return Some(error.hint()),
            Self::Init { .. } | Self::Ended { .. } | Self::SetUp(_) => return None,
        };
        Some(hint.to_owned())
    }
}

impl StopError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::StillRunning { .. } => "see what it waits for, then `kill` it".to_owned(),
        }
    }
}

/// For `map_err`: a [`StartError::Io`] that says what was being done to what.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { action, path: path.to_owned(), source }
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
