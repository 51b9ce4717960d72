//! Nothing of an MCP server outlives the runtime, however the runtime dies.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::program::{folder, openintern};

/// A server that starts one process of each stubborn kind, and answers nothing: a grandchild, a
/// daemon in a session of its own, and itself, all deaf to SIGTERM and SIGHUP.
const STUBBORN: &str = "trap '' TERM HUP; sleep 300 & (setsid sleep 301 &) ; sleep 302 < /dev/null";
/// Longest wait for processes to come, or to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_of_a_server_outlives_a_killed_runtime() {
    let folder = folder();
    let mark = format!("orphans-{}", std::process::id());
    let config = folder.path().join("openintern.toml");
    let server = |name: &str| {
        format!(
            "[mcp_servers.{name}]\ncommand = 'sh'\nargs = ['-c', \"{STUBBORN}\"]\n\
             startup_timeout_ms = 60000\nenv = {{ ORPHAN_MARK = '{mark}' }}\n"
        )
    };
    fs::write(&config, server("one") + &server("two")).unwrap();
    let mut command = openintern(["dev", "--port", "0", "--config"]);
    command.arg(&config).arg("--data-dir").arg(folder.path().join("data"));
    let mut runtime = Killed(command.stdout(Stdio::null()).spawn().unwrap());
    // For each server the reaper, the shell, and what that starts.
    wait_until(&mark, |processes| processes.len() == 10);

    runtime.0.kill().unwrap();
    wait_until(&mark, |processes| processes.is_empty());
    end_database(&folder.path().join("data"));
}

/// Killed also when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Looks until the marked processes are as asked. There is nobody who could tell us.
fn wait_until(mark: &str, as_asked: impl Fn(&[String]) -> bool) {
    let began = Instant::now();
    loop {
        let processes = marked(mark);
        if as_asked(&processes) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{processes:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The command lines of the processes that carry our mark.
fn marked(mark: &str) -> Vec<String> {
    let variable = format!("ORPHAN_MARK={mark}");
    let folders = fs::read_dir("/proc").unwrap().flatten().map(|folder| folder.path());
    folders
        .filter(|folder| {
            let environment = fs::read(folder.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
        })
        .map(|folder| fs::read_to_string(folder.join("cmdline")).unwrap_or_default())
        .collect()
}

/// The runtime could not stop it.
fn end_database(data: &Path) {
    let file = fs::read_to_string(data.join("postgres/cluster/postmaster.pid")).unwrap_or_default();
    if let Some(pid) = file.lines().next() {
        Command::new("kill").args(["-INT", pid]).status().unwrap();
    }
}
