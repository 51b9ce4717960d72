//! Benchmarks of the built executable, which they start on an embedded PostgreSQL of their own, or
//! find at a URL. They speak to it as its users do, print tables, and assert nothing about time.
#![allow(clippy::print_stdout)]

mod inflight;
mod memory;
mod model;
mod pgbench;
mod remember;
mod runs;
mod server;
mod strain;
mod texts;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Print the figures of bench/README.md.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs per second and latency, beside what `pgbench` reaches with the same writes
    Runs,
    /// Runs per second beside another executable, such as that of an earlier commit
    Compare {
        /// The other executable
        other: std::path::PathBuf,
    },
    /// How much of the evidence for questions a memory search finds, and how fast
    Memory(memory::Options),
    /// What memory costs runs whose texts differ
    Remember(remember::Options),
    /// What a server holds that works on thousands of runs at once, each told a little at a time
    Inflight(inflight::Options),
    /// Memory of a server, and waits of others, while one organisation asks for all that it may
    Strain,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Some(Command::Runs) => runs::measure().await,
        Some(Command::Compare { other }) => runs::compare(other).await,
        Some(Command::Memory(options)) => memory::measure(options).await,
        Some(Command::Remember(options)) => remember::measure(options).await,
        Some(Command::Inflight(options)) => inflight::measure(options).await,
        Some(Command::Strain) => strain::measure().await,
        None => {
            runs::measure().await?;
            remember::measure(remember::Options::default()).await?;
            inflight::measure(inflight::Options::default()).await?;
            strain::measure().await?;
            memory::measure(memory::Options::default()).await
        }
    }
}
