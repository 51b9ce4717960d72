//! Ctrl-C, SIGTERM and SIGHUP, which a closed terminal sends: the first asks to stop, the second insists, the third ends the process.

use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    exit::{Exit, Failure},
    output::say,
};

/// How long runs in hand and open connections may take to end.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long the rest may then take, such as our own database.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How this process was asked to stop.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    /// Stop: current work may end first.
    pub(crate) asked: CancellationToken,
    /// Stop now: another worker resumes current runs. Only child processes are still ended.
    pub(crate) insisted: CancellationToken,
}

/// Listens from now on. A stop that takes too long is insisted on.
pub(crate) fn listen() -> Result<Shutdown, Failure> {
    let failed = |error: std::io::Error| Failure::from_error(Exit::Failed, &error);
    let mut signals = StopSignals {
        interrupts: signal(SignalKind::interrupt()).map_err(failed)?,
        terminations: signal(SignalKind::terminate()).map_err(failed)?,
        hangups: signal(SignalKind::hangup()).map_err(failed)?,
    };
    let shutdown = Shutdown { asked: CancellationToken::new(), insisted: CancellationToken::new() };
    let told = shutdown.clone();
    tokio::spawn(async move {
        signals.next().await;
        told.asked.cancel();
        tokio::select! {
            () = signals.next() => say("stopped at once; unfinished runs will be resumed later"),
            () = sleep(STOP_MAX) => say("stopping took too long; unfinished runs will be resumed later"),
        }
        told.insisted.cancel();
        tokio::select! {
            () = signals.next() => {}
            () = sleep(CLOSE_MAX) => {}
        }
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(shutdown)
}

struct StopSignals {
    interrupts: Signal,
    terminations: Signal,
    hangups: Signal,
}

impl StopSignals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupts.recv() => {}
            _ = self.terminations.recv() => {}
            _ = self.hangups.recv() => {}
        }
    }
}
