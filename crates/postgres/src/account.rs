//! The account that Postgres runs as. Postgres refuses to run as root; if we are root, it gets another
//! account, which owns the cluster and the socket's folder and nothing else.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use nix::unistd::{User, geteuid};
use tokio::process::Command;

use crate::error::{StartError, io_error};

/// In this order. `nobody` is everywhere, but other services may be it, too.
const ACCOUNTS: &[&str] = &["openintern", "nobody"];

/// The user that Postgres runs as.
#[derive(Debug, Clone)]
pub(crate) enum Account {
    Ourselves,
    /// We are root, and it is this one.
    Lesser(User),
}

impl Account {
    pub(crate) fn choose() -> Result<Self, StartError> {
        if !geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        ACCOUNTS
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(Self::Lesser)
            .ok_or(StartError::NoAccount { names: ACCOUNTS })
    }

    pub(crate) fn uid(&self) -> u32 {
        match self {
            Self::Ourselves => geteuid().as_raw(),
            Self::Lesser(user) => user.uid.as_raw(),
        }
    }

    /// Makes the command run as this account, with no further groups (the standard library drops
    /// them together with root).
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Self::Lesser(user) = self {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
    }

    /// Gives a file, or a folder with all that is in it, to the account.
    pub(crate) fn own(&self, path: &Path) -> Result<(), StartError> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Lesser(user) => give(path, user).map_err(io_error("give away", path)),
        }
    }

    /// Fails on the first folder on the way to `path`, or `path` itself, that bars the account.
    pub(crate) fn check_enterable(&self, path: &Path) -> Result<(), StartError> {
        let Self::Lesser(user) = self else { return Ok(()) };
        for folder in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            let metadata = fs::metadata(folder).map_err(io_error("look at", folder))?;
            if !may_enter(&metadata, user) {
                let (folder, account) = (folder.to_owned(), user.name.clone());
                return Err(StartError::NotEnterable { folder, account });
            }
        }
        Ok(())
    }
}

fn give(path: &Path, user: &User) -> io::Result<()> {
    lchown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

fn may_enter(folder: &Metadata, user: &User) -> bool {
    let bit = if folder.uid() == user.uid.as_raw() {
        0o100
    } else if folder.gid() == user.gid.as_raw() {
        0o010
    } else {
        0o001
    };
    folder.mode() & bit != 0
}
