//! Ctrl-C and SIGTERM: the first asks to stop, the second insists.

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    exit::{Exit, Failure},
    output::say,
};

/// How long stopping may take in all.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Listens from now on. The token is cancelled by the first signal; a second, or a stop that takes
/// too long, ends the process at once.
pub(crate) fn listen() -> Result<CancellationToken, Failure> {
    let failed = |error: std::io::Error| Failure::from_error(Exit::Failed, &error);
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let asked = CancellationToken::new();
    let token = asked.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
        }
        asked.cancel();
        tokio::select! {
            _ = interrupts.recv() => say("stopped at once; what was in hand is picked up later"),
            _ = terminations.recv() => say("stopped at once; what was in hand is picked up later"),
            () = sleep(STOP_MAX) => say("stopping took too long; what was in hand is picked up later"),
        }
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(token)
}
