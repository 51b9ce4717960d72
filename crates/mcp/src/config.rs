//! The configuration under `[mcp_servers.<name>]`. Reads no file and no environment.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use protocol::tool::{Approval, Effect};
use serde::Deserialize;

/// A server that takes longer than this to list its tools is not started, unless configured.
///
/// The SDK gives a silent server 10 s before it tries the older handshake.
pub const STARTUP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// A call without an answer for this long has timed out, unless configured.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// Longest name of a tool, its server's name included.
pub(crate) const NAME_MAX_CHARS: usize = 64;

/// One MCP server on standard input and output. Arguments and variables may be secrets: it shows
/// neither.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(try_from = "ServerTable")]
pub struct ServerConfig {
    /// The program: a path, or a name that is looked up in the server's `PATH`.
    pub command: String,
    pub args: Vec<String>,
    /// Its variables, besides the few that every server gets.
    pub env: BTreeMap<String, String>,
    /// Its folder; ours when absent.
    pub cwd: Option<PathBuf>,
    /// How long it may take to start.
    pub startup_timeout: Duration,
    /// How long a call may take that brings no time limit of its own.
    pub call_timeout: Duration,
    /// Settings of single tools, by the server's own name of each.
    pub tools: BTreeMap<String, ToolConfig>,
}

/// Whether `<name>__<tool>` can be told apart again: no other server and tool make the same name.
pub fn is_server_name(name: &str) -> bool {
    is_tool_name(name) && !name.contains("__") && !name.ends_with('_')
}

pub(crate) fn is_tool_name(name: &str) -> bool {
    (1..=NAME_MAX_CHARS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// What a server's name must be.
pub const SERVER_NAME_RULE: &str =
    "a server's name is of `A-Z a-z 0-9 _ -`, at most 64 of them, without `__` or a final `_`";

/// The settings of one tool.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolConfig {
    /// Whether a call may be repeated after a crash; `at_most_once` when absent.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// Whether a person must approve a call.
    #[serde(default)]
    pub approval: Approval,
}

impl ServerConfig {
    /// A server with defaults for all but its command line.
    pub fn new(
        command: impl Into<String>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            command: command.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            cwd: None,
            startup_timeout: STARTUP_TIMEOUT_DEFAULT,
            call_timeout: CALL_TIMEOUT_DEFAULT,
            tools: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("command", &self.command)
            .field("env", &self.env.keys())
            .field("startup_timeout", &self.startup_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("tools", &self.tools)
            .finish_non_exhaustive()
    }
}

/// The keys as they stand in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerTable {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<PathBuf>,
    startup_timeout_ms: Option<u64>,
    call_timeout_ms: Option<u64>,
    #[serde(default)]
    tools: BTreeMap<String, ToolConfig>,
    url: Option<String>,
    headers: Option<BTreeMap<String, String>>,
}

impl TryFrom<ServerTable> for ServerConfig {
    type Error = &'static str;

    fn try_from(written: ServerTable) -> Result<Self, Self::Error> {
        if written.url.is_some() || written.headers.is_some() {
            return Err(
                "`url` and `headers` are not supported yet; use a local `command`, which may be a \
                 bridge to a remote server",
            );
        }
        let command = written.command.filter(|command| !command.is_empty());
        let millis =
            |ms: Option<u64>, default| ms.map_or(default, |ms| Duration::from_millis(ms.max(1)));
        Ok(Self {
            command: command
                .ok_or("`command` is missing: it names the program that is the server")?,
            args: written.args,
            env: written.env,
            cwd: written.cwd,
            startup_timeout: millis(written.startup_timeout_ms, STARTUP_TIMEOUT_DEFAULT),
            call_timeout: millis(written.call_timeout_ms, CALL_TIMEOUT_DEFAULT),
            tools: written.tools,
        })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use super::*;

    fn check(written: Value, expected: Expect) {
        let answer = match serde_json::from_value::<ServerConfig>(written) {
            Ok(config) => format!("{} {:?}", config.command, config.call_timeout),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&answer);
    }

    #[test]
    fn neither_arguments_nor_variables_are_shown() {
        let mut config = ServerConfig::new("x", ["--key", "sk-secret"]);
        config.env.insert("TOKEN".into(), "sk-secret".into());
        let shown = format!("{config:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("sk-secret"), "{shown}");
    }

    #[test]
    fn reading() {
        check(json!({"command": "python"}), expect!["python 60s"]);
        check(
            json!({"command": "x", "args": ["-m", "y"], "env": {"A": "b"}, "cwd": "/",
                   "startup_timeout_ms": 5, "call_timeout_ms": 1500,
                   "tools": {"t": {"effect": "read_only", "approval": "always"}, "u": {}}}),
            expect!["x 1.5s"],
        );
        check(json!({}), expect!["`command` is missing: it names the program that is the server"]);
        check(
            json!({"command": ""}),
            expect!["`command` is missing: it names the program that is the server"],
        );
        check(
            json!({"url": "https://example.com/mcp"}),
            expect![
                "`url` and `headers` are not supported yet; use a local `command`, which may be a bridge to a remote server"
            ],
        );
        check(
            json!({"command": "x", "arg": []}),
            expect![
                "unknown field `arg`, expected one of `command`, `args`, `env`, `cwd`, `startup_timeout_ms`, `call_timeout_ms`, `tools`, `url`, `headers`"
            ],
        );
        check(
            json!({"command": "x", "tools": {"t": {"effects": "read_only"}}}),
            expect!["unknown field `effects`, expected `effect` or `approval`"],
        );
    }

    #[test]
    fn server_names_leave_no_doubt() {
        for name in ["a", "files-2", "my_files"] {
            assert!(is_server_name(name), "{name}");
        }
        for name in ["", "a__b", "a_", "a.b", "文件", &"x".repeat(65)] {
            assert!(!is_server_name(name), "{name}");
        }
    }
}
