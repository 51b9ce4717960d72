//! The default folders on this machine.

use std::path::PathBuf;

use etcetera::{BaseStrategy, base_strategy};

const NAME: &str = "openintern";
/// As root the platform's folder lies in root's home, which Postgres' own account cannot enter.
const DATA_DIR_OF_ROOT: &str = "/var/lib/openintern";

/// The user's configuration, for when there is none in the current folder.
pub(crate) fn config_file() -> Option<PathBuf> {
    let folders = base_strategy::Xdg::new().ok()?;
    Some(folders.config_dir().join(NAME).join("config.toml"))
}

/// The embedded database and the workspaces.
pub(crate) fn data_dir() -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some(DATA_DIR_OF_ROOT.into());
    }
    Some(base_strategy::choose_native_strategy().ok()?.data_dir().join(NAME))
}
