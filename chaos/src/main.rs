//! Faults on the built executable, and a judge outside of it: several nodes as processes on one
//! database, a scripted model, a tool server that writes down what really reached it, and a seeded
//! schedule of what goes wrong. Speaks to the product as its users do, and reads its database to
//! judge. Asserts nothing about speed but the recovery times that are promised.
#![allow(clippy::print_stdout)]

mod client;
mod clock;
mod cluster;
mod judge;
mod link;
mod load;
mod migration;
mod model;
mod mutant;
mod pooler;
mod proxy;
mod report;
mod scenario;
mod tools;
mod world;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    report::Report,
    scenario::Scenario,
    world::{Scale, World},
};

/// Break things on a schedule, and judge what is left.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// The number that the whole schedule follows from; random when absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Run only these scenarios.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Everything in full; the short form takes less than two minutes.
    #[arg(long)]
    long: bool,
    /// The form that `make test` takes; it is the default.
    #[arg(long, conflicts_with = "long")]
    short: bool,
    /// Switch this rule of the product off: an error unless the judge notices.
    #[arg(long, conflicts_with_all = ["only", "long"])]
    mutant: Option<String>,
    /// The same with every rule that can be switched off, one after another.
    #[arg(long, conflicts_with_all = ["only", "long", "mutant"])]
    mutants: bool,
    /// Write the table into this file, too.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Keep the logs even if nothing failed.
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the tool server that the nodes start.
    #[command(hide = true)]
    ToolServer {
        /// Where it writes down what reaches it.
        #[arg(long)]
        journal: PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(Command::ToolServer { journal }) = cli.command {
        tools::serve(&journal).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    if cli.mutants || cli.mutant.is_some() {
        let are_seen = mutant::judge(&mutant::chosen(cli.mutant.as_deref())?, seed).await?;
        return Ok(if are_seen { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let scale = if cli.long { Scale::Long } else { Scale::Short };
    println!("seed {seed}; the same again: `{}`", replay(&cli, seed));

    let mut world = World::build(scale, seed).await?;
    let mut report = Report::new(replay(&cli, seed));
    for scenario in Scenario::chosen(&cli.only) {
        report.add(scenario.run(&mut world).await?);
    }
    let is_clean = report.is_clean();
    world.tear_down(cli.keep || !is_clean).await?;
    report.finish(cli.results.as_deref())?;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn replay(cli: &Cli, seed: u64) -> String {
    let mut line = format!("chaos --seed {seed}");
    if cli.long {
        line.push_str(" --long");
    }
    if !cli.only.is_empty() {
        let names: Vec<_> = cli.only.iter().map(|scenario| scenario.name()).collect();
        line.push_str(&format!(" --only {}", names.join(",")));
    }
    line
}
