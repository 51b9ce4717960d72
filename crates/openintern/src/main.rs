//! The executable: configuration, commands, and the wiring of all parts.
//!
//! | module | what |
//! |---|---|
//! | `cli`, `input` | the command line, and its arguments as values |
//! | `config`, `folders`, `logging` | configuration, default folders, the log |
//! | `dev`, `serve`, `doctor`, `embedder`, `reindex` | commands of the server side |
//! | `node`, `listen`, `machine`, `skills`, `shutdown` | what those commands are made of |
//! | `run`, `runs`, `memory`, `catalog`, `operators`, `keys` | commands that ask a server |
//! | `client`, `render` | how they ask, and how events look |
//! | `output`, `exit` | what is printed, and how a command ends |

mod catalog;
mod cli;
mod client;
mod config;
mod dev;
mod doctor;
mod embedder;
mod exit;
mod folders;
mod input;
mod keys;
mod listen;
mod logging;
mod machine;
mod memory;
mod node;
mod operators;
mod output;
mod reindex;
mod render;
mod run;
mod runs;
mod serve;
mod shutdown;
mod skills;

use std::{ffi::OsString, process::ExitCode};

use clap::CommandFactory;

use crate::{
    cli::{Cli, Command, MemoryCommand, ProcessRole},
    client::ApiClient,
    config::Environment,
    exit::{Abort, Exit, Failure},
    output::{Output, say_failure},
};

/// What a peak took goes back to the system once it is not used; glibc keeps most of it (ADR 0021).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    if let Err(message) = arm_failpoints() {
        say_failure(&Failure::new(Exit::Usage, message));
        return Exit::Usage.into();
    }
    let command = match Cli::read().role {
        ProcessRole::McpReaper { server } => return reap(server),
        ProcessRole::Command(command) => command,
    };
    let mut output = Output::new();
    let exit = match execute(command, &mut output) {
        Ok(exit) => exit,
        Err(Abort::OutputClosed) => Exit::Done,
        Err(Abort::Failure(failure)) => {
            say_failure(&failure);
            failure.exit
        }
    };
    exit.into()
}

/// Where the chaos tests want this process to die.
#[cfg(feature = "failpoints")]
fn arm_failpoints() -> Result<(), String> {
    let points = Environment::of_process().get("FAILPOINTS");
    points.map_or(Ok(()), |points| store::failpoint::arm(&points))
}

/// Runs between the runtime and an MCP server; its exit code says how the server ended.
fn reap(server: Vec<OsString>) -> ExitCode {
    let mut words = server.into_iter();
    let program = words.next().unwrap_or_default(); // clap asks for one.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(mcp::reaper::run(program, words.collect())).into(),
        Err(error) => {
            let failure = Failure::from_error(Exit::Failed, &error);
            say_failure(&failure);
            failure.exit.into()
        }
    }
}

fn execute(command: Command, output: &mut Output) -> Result<Exit, Abort> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    let exit = runtime.block_on(dispatch(command, output, &Environment::of_process()));
    runtime.shutdown_background();
    exit
}

async fn dispatch(
    command: Command,
    output: &mut Output,
    environment: &Environment,
) -> Result<Exit, Abort> {
    let client = || ApiClient::from_environment(|name| environment.get(name));
    match command {
        Command::Dev(args) => dev::dev(output, args, environment).await,
        Command::Serve(args) => serve::serve(output, args, environment).await,
        Command::Worker(args) => serve::worker(args, environment).await,
        Command::Migrate(args) => serve::migrate(output, args, environment).await,
        Command::Run(args) => run::run(&client()?, output, args).await,
        Command::Tail(args) => run::tail(&client()?, output, args).await,
        Command::Runs(command) => runs::runs(&client()?, output, command).await,
        Command::Events(args) => runs::events(&client()?, output, args).await,
        Command::Cancel(args) => runs::cancel(&client()?, output, args).await,
        Command::Context(args) => runs::context(&client()?, output, args).await,
        Command::Export(args) => runs::export(&client()?, output, args).await,
        Command::Memory(MemoryCommand::Reindex(args)) => {
            reindex::reindex(output, args, environment).await
        }
        Command::Memory(MemoryCommand::OfScope(command)) => {
            memory::memory(&client()?, output, command).await
        }
        Command::Embedder(command) => embedder::embedder(output, command, environment).await,
        Command::Keys(command) => keys::keys(client, output, command, environment).await,
        Command::Tools(format) => catalog::tools(&client()?, output, format).await,
        Command::Agents(format) => catalog::agents(&client()?, output, format).await,
        Command::Usage(args) => operators::usage(&client()?, output, args).await,
        Command::Nodes(format) => operators::nodes(&client()?, output, format).await,
        Command::Doctor(args) => doctor::doctor(output, args, environment).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "openintern", &mut script);
            output.text(&String::from_utf8_lossy(&script)).map(|()| Exit::Done)
        }
        Command::Openapi => output.json(&server::router::openapi()).map(|()| Exit::Done),
    }
}
