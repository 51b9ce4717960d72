//! Which processes really work in the cluster's folder, whatever its lock files say.
//!
//! A lock file names a process id, and that is no proof: after a `kill -9` the id still answers
//! until its parent reaps it, which in a container may be never, or it is someone else's by now.
//! All processes of a server have its folder as their working directory, and that is proof.

use std::path::PathBuf;

use crate::home::DataFolder;

/// The folder of a cluster, and the name its server gives to its processes.
pub(crate) struct Residence {
    cluster: PathBuf,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there is no /proc to read"))]
    mark: String,
}

impl Residence {
    pub(crate) fn of(home: &DataFolder) -> Self {
        Self { cluster: home.cluster(), mark: home.mark() }
    }
}

#[cfg(target_os = "linux")]
impl Residence {
    /// All of them. A dead process that waits to be reaped is not among them.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| self.holds(*pid))
            .collect()
    }

    pub(crate) fn holds(&self, pid: u32) -> bool {
        use std::os::unix::fs::MetadataExt;

        // By device and inode: a path may lead here in more than one way.
        match (std::fs::metadata(format!("/proc/{pid}/cwd")), std::fs::metadata(&self.cluster)) {
            (Ok(directory), Ok(cluster)) => {
                (directory.dev(), directory.ino()) == (cluster.dev(), cluster.ino())
            }
            // Root without CAP_SYS_PTRACE, as in most containers, may not look into other
            // users' processes. Anyone may read their titles.
            (Err(error), _) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|title| {
                    title.windows(self.mark.len()).any(|part| part == self.mark.as_bytes())
                })
            }
            _ => false,
        }
    }
}

/// Elsewhere the process id in Postgres' lock file has to do, as it does for Postgres.
#[cfg(not(target_os = "linux"))]
impl Residence {
    pub(crate) fn processes(&self) -> Vec<u32> {
        let file = crate::pid_file::PidFile::read(&self.cluster);
        file.map(|file| file.pid).into_iter().filter(|pid| self.holds(*pid)).collect()
    }

    pub(crate) fn holds(&self, pid: u32) -> bool {
        use nix::errno::Errno;

        let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
        matches!(nix::sys::signal::kill(pid, None), Ok(()) | Err(Errno::EPERM))
    }
}
