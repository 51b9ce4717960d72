//! Starting the program, speaking to it, ending it.

use std::{
    ffi::OsStr,
    fs::Permissions,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The root of the source, where the skills are found.
pub(crate) fn source() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned();
    assert!(root.join(".venv/bin/python").exists(), "no `.venv`: run `make deps`");
    root
}

/// A folder that another account may pass through: as root, Postgres runs as one.
pub(crate) fn folder() -> TempDir {
    let passable = Permissions::from_mode(0o711);
    tempfile::Builder::new().permissions(passable).tempdir_in("/tmp").unwrap()
}

/// The program in a clean environment.
pub(crate) fn openintern<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openintern"));
    command.env_clear().args(args).stdin(Stdio::null()).current_dir("/");
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
    command
}

/// A program that runs, with what it says.
pub(crate) struct Running {
    child: Child,
    stdout: mpsc::Receiver<String>,
    stderr: Arc<(Mutex<String>, Condvar)>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, stdout) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        let out = std::thread::spawn(move || {
            out.lines().map_while(Result::ok).for_each(|line| {
                send.send(line).ok();
            });
        });
        let stderr = Arc::<(Mutex<String>, Condvar)>::default();
        let err = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::clone(&stderr);
        let err = std::thread::spawn(move || {
            err.lines().map_while(Result::ok).for_each(|line| {
                eprintln!("| {line}");
                *said.0.lock().unwrap() += &(line + "\n");
                said.1.notify_all();
            });
        });
        Self { child, stdout, stderr, readers: vec![out, err] }
    }

    /// The next line of stdout.
    pub(crate) fn line(&self) -> String {
        self.stdout
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("no further line on stdout; stderr: {}", self.stderr()))
    }

    /// Reads stdout up to a line that contains `text`.
    pub(crate) fn line_with(&self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// What it has said on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.0.lock().unwrap().clone()
    }

    /// Waits until it has said `text` on stderr.
    pub(crate) fn wait_until_said(&self, text: &str) {
        let said = self.stderr.0.lock().unwrap();
        let silent = |said: &mut String| !said.contains(text);
        let (said, waited) = self.stderr.1.wait_timeout_while(said, PATIENCE, silent).unwrap();
        assert!(!waited.timed_out(), "never said `{text}`: {said}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end. Answers how it ended, and the rest of stdout.
    pub(crate) fn end(mut self) -> (ExitStatus, String, String) {
        let status = self.child.wait().unwrap();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        (status, self.stdout.try_iter().map(|line| line + "\n").collect(), self.stderr())
    }
}

impl Drop for Running {
    /// A test that fails must not leave a database behind: the program stops its own.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::SIGTERM);
            self.child.wait().ok();
        }
    }
}

/// `openintern dev` on a free port.
pub(crate) struct Dev {
    pub(crate) running: Running,
    pub(crate) url: String,
}

impl Dev {
    /// Starts it and waits until it listens.
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::start_on(data_dir, 0)
    }

    pub(crate) fn start_on(data_dir: &Path, port: u16) -> Self {
        let mut command = openintern(["dev", "--port", &port.to_string(), "--data-dir"]);
        command.arg(data_dir).current_dir(source());
        Self::listening(Running::start(command))
    }

    /// Waits until it listens.
    pub(crate) fn listening(running: Running) -> Self {
        let line = running.line();
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { running, url }
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// A client command, ready to start.
    pub(crate) fn client<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = openintern(args);
        command.env("AGENT_API_URL", &self.url);
        command
    }

    /// Runs a client command to its end.
    pub(crate) fn ask<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Answer {
        answer(self.client(args))
    }

    /// Asks it to stop, and waits.
    pub(crate) fn stop(self) -> (ExitStatus, String, String) {
        self.running.signal(Signal::SIGTERM);
        self.running.end()
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn answer(mut command: Command) -> Answer {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stderr = child.stderr.take().unwrap();
    let stderr = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    Answer { code, stdout, stderr: stderr.join().unwrap() }
}

impl Answer {
    /// Its stdout, if it ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.stdout
    }
}
