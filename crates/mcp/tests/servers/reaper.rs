//! The reaper as a program, as our executable has it in a hidden subcommand.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut command = std::env::args_os().skip(1);
    let program = command.next().unwrap_or_default();
    ExitCode::from(mcp::reaper::run(program, command.collect()).await)
}
