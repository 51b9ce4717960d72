//! The Unix socket: the folder it can be in, and the URL for it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::database::DATABASE;
use crate::error::StartError;
use crate::home::DataFolder;

/// What fits into `sun_path` with its closing zero: unix(7) on Linux, unix(4) on macOS.
const PATH_LIMIT_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// Only names the socket: nothing listens on the network.
const PORT: u16 = 5432;
/// Where a short path can be had.
const SHORT_FOLDER: &str = "/tmp";

/// The folder that the server puts its socket in.
#[derive(Debug)]
pub(crate) struct Socket {
    /// A path that can be written into a URL and a setting.
    folder: String,
    /// Whether it is outside the data folder, and so to be cleared away.
    borrowed: bool,
}

impl Socket {
    /// Takes `run` in the data folder, or one in `/tmp` if that path is too long for a socket or
    /// is no UTF-8.
    pub(crate) fn choose(home: &DataFolder) -> Result<Self, StartError> {
        let run = home.run();
        if let Some(folder) = run.to_str()
            && socket_in(&run).as_os_str().as_bytes().len() <= PATH_LIMIT_BYTES
        {
            home.private_folder(&run)?;
            return Ok(Self { folder: folder.to_owned(), borrowed: false });
        }
        let folder = format!("{SHORT_FOLDER}/{}", home.mark());
        let path = Path::new(&folder);
        // Anyone can make a folder here. In one of theirs they would be the server.
        if let Ok(found) = fs::symlink_metadata(path)
            && !(found.is_dir() && found.uid() == home.account().uid() && found.mode() & 0o077 == 0)
        {
            return Err(StartError::SocketFolder { folder: path.to_owned() });
        }
        home.private_folder(path)?;
        Ok(Self { folder, borrowed: true })
    }

    /// The server's setting: a list, in which quotes keep commas and spaces of the path.
    pub(crate) fn setting(&self) -> String {
        format!("\"{}\"", self.folder.replace('"', "\"\""))
    }

    /// Beside the socket; names the process that listens.
    pub(crate) fn lock_file(&self) -> PathBuf {
        socket_in(Path::new(&self.folder)).with_added_extension("lock")
    }

    /// The port and TLS mode are spelt out so that `PGPORT` and `PGSSLMODE` cannot change them.
    pub(crate) fn url(&self, role: &str, password: &str) -> String {
        let folder = utf8_percent_encode(&self.folder, NON_ALPHANUMERIC);
        format!(
            "postgres://{role}:{password}@localhost:{PORT}/{DATABASE}?host={folder}&sslmode=disable"
        )
    }

    pub(crate) fn remove(&self) {
        if self.borrowed
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(folder = self.folder, %error, "the socket's folder stays");
        }
    }
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}"))
}
