//! The log: to standard error, as text or JSON, without credentials.

use std::{
    backtrace::Backtrace,
    io::{self, Write},
};

use agent::redactor::{Reach, Redactor};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{
    cli::LogFormat,
    config::Environment,
    exit::{Exit, Failure},
};

/// How much is logged when nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usual {
    /// Warnings and errors: for a person at a terminal.
    Warnings,
    /// Events as well: for an operator who reads the log later.
    Events,
}

/// Starts logging. Once per process.
pub(crate) fn start(
    format: LogFormat,
    usual: Usual,
    verbose: u8,
    environment: &Environment,
    redactor: Redactor,
) -> Result<(), Failure> {
    let said = environment.get("OPENINTERN_LOG").or_else(|| environment.get("RUST_LOG"));
    let filter = said.unwrap_or_else(|| level(usual, verbose).to_owned());
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::new(Exit::Usage, format!("the log filter `{filter}` is not valid: {error}"))
            .hint("OPENINTERN_LOG or RUST_LOG should look like `info` or `warn,agent=debug`")
    })?;
    let masked = Masked { redactor };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(masked);
    let result = match format {
        LogFormat::Text => log.with_ansi(is_styled()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    result.map_err(|error| Failure::new(Exit::Failed, format!("cannot log: {error}")))?;
    // A panic would print its message itself, unmasked.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(backtrace = %Backtrace::capture(), "{panic}");
    }));
    Ok(())
}

/// PostgreSQL's notices, such as "already exists, skipping", help nobody. The SDK for MCP warns of each
/// message that it does not like, and a server can send any number; what matters of one, we say.
fn level(usual: Usual, verbose: u8) -> &'static str {
    match (usual, verbose) {
        (Usual::Warnings, 0) => "warn,rmcp=error",
        (Usual::Warnings, 1) | (Usual::Events, 0) => "info,sqlx=warn,rmcp=error",
        (Usual::Warnings | Usual::Events, _) => {
            "debug,hyper=info,h2=info,sqlx=warn,reqwest=info,rmcp=error"
        }
    }
}

fn is_styled() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Writes to standard error with every credential masked.
#[derive(Clone)]
struct Masked {
    redactor: Redactor,
}

impl<'a> MakeWriter<'a> for Masked {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Masked {
    /// Takes a whole entry at a time: that is how the formatter writes.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(entry);
        let clean = self.redactor.redacted(&text, Reach::Credentials);
        io::stderr().lock().write_all(clean.as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}
