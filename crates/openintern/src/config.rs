//! The configuration: a TOML file, overridden by the environment, overridden by flags.
//!
//! Every table is a type of the crate that uses it. Secrets are read into types that never show
//! them. An unknown key is an error that names the nearest known one.

pub(crate) mod fault;
mod keys;
mod limits;
mod relations;

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use agent::{
    redactor::{Reach, Redactor},
    settings::{AfterRun, AgentSettings, WorkerSettings},
};
use config::{Config as Layers, File, FileFormat};
use mcp::config::ServerConfig;
use model::{embedding::EmbeddingSettings, settings::ModelSettings};
use percent_encoding::percent_decode_str;
use protocol::{name::AgentId, time::Zone};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use server::auth::jwt_settings::JwtSettings;
use store::settings::Retention;

use self::limits::LimitsTable;
use crate::{
    cli::{LogFormat, NodeArgs},
    exit::{Exit, Failure},
    folders, machine,
};

/// The file in the current folder.
const FILE_NAME: &str = "openintern.toml";
/// What the weights of the offline embedder are called.
pub(crate) const WEIGHTS: &str = "e5-small-q4.bin";
/// The prefix of every variable that sets a key of the file.
const VARIABLE_PREFIX: &str = "OPENINTERN__";
/// The separator between the parts of such a variable's name.
const VARIABLE_SEPARATOR: &str = "__";
/// Variables with a name of their own, besides those of the crate `model`, and the keys they set.
const WELL_KNOWN: &[(&str, &str)] = &[
    ("DATABASE_URL", "server.database_url"),
    ("DATABASE_DIRECT_URL", "server.database_direct_url"),
    ("OPENINTERN_MIGRATE_URL", "server.migrate_url"),
    ("OPENINTERN_EMBEDDING", "embedding.model"),
    ("OPENINTERN_MEMORY_AFTER_RUN", "memory.after_run"),
];
/// Largest configuration file.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// All that can be configured.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: ServerTable,
    pub(crate) auth: AuthTable,
    pub(crate) worker: WorkerSettings,
    pub(crate) model: ModelSettings,
    pub(crate) embedding: EmbeddingSettings,
    pub(crate) memory: MemoryTable,
    pub(crate) time: TimeTable,
    pub(crate) agents: BTreeMap<AgentId, AgentSettings>,
    pub(crate) mcp_servers: BTreeMap<String, ServerConfig>,
    pub(crate) limits: LimitsTable,
    pub(crate) retention: Retention,
    /// What our environment holds under the name of a secret, whether or not we use it.
    #[serde(skip)]
    environment_secrets: Vec<SecretString>,
}

/// How to reach the database.
#[derive(Clone)]
pub(crate) struct DatabaseUrls {
    /// For requests and workers; may be a pooler's.
    pub(crate) url: String,
    /// For what needs a session of its own: it goes past a pooler.
    pub(crate) direct: Option<String>,
    /// The URL with the right to migrate.
    pub(crate) migrate: String,
}

/// `[server]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerTable {
    pub(crate) host: String,
    /// 0 is any free one.
    pub(crate) port: u16,
    pub(crate) auth: AuthMode,
    /// Names of this server besides those of loopback, while `auth` is `none`.
    pub(crate) allowed_hosts: Vec<String>,
    /// The embedded database and the workspaces; the platform's data folder when absent.
    pub(crate) data_dir: Option<PathBuf>,
    /// A `postgres://` URL; `DATABASE_URL` overrides it.
    pub(crate) database_url: Option<SecretString>,
    /// Past the pooler, where `database_url` is one; `DATABASE_DIRECT_URL` overrides it.
    pub(crate) database_direct_url: Option<SecretString>,
    /// For migrations, where the runtime's login lacks the rights; `OPENINTERN_MIGRATE_URL` overrides it.
    pub(crate) migrate_url: Option<SecretString>,
    /// Most connections of this process to the database.
    pub(crate) database_connections: u32,
    /// How the log is written.
    pub(crate) log_format: LogFormat,
}

/// `[memory]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MemoryTable {
    /// How memories are made of a completed run; `OPENINTERN_MEMORY_AFTER_RUN` overrides it.
    pub(crate) after_run: AfterRun,
    /// Hours between two passes that look for memories which say the same; 0 for none.
    pub(crate) consolidate_every_h: u32,
}

impl Default for MemoryTable {
    fn default() -> Self {
        Self { after_run: AfterRun::default(), consolidate_every_h: 24 }
    }
}

/// `[time]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TimeTable {
    /// Says what day it is where neither a request nor an agent names a time zone.
    pub(crate) zone: Zone,
}

/// How requests are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuthMode {
    /// Not at all: only for loopback.
    None,
    Keys,
    /// By tokens that another issuer signs; needs `[auth.jwt]`.
    Jwt,
}

/// `[auth]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuthTable {
    pub(crate) jwt: Option<JwtSettings>,
}

impl Default for ServerTable {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 3000,
            auth: AuthMode::None,
            allowed_hosts: Vec::new(),
            data_dir: None,
            database_url: None,
            database_direct_url: None,
            migrate_url: None,
            database_connections: 32,
            log_format: LogFormat::Text,
        }
    }
}

/// The environment, as it was when we started. It holds secrets, so it never shows itself.
#[derive(Default, Clone)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// That of this process. A variable that is not Unicode is not one of ours.
    pub(crate) fn of_process() -> Self {
        let pairs = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self(pairs.collect())
    }

    /// The names of all variables.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    /// A variable that is set to something.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }
}

/// A configuration, and where it comes from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// The file; none when there is none.
    pub(crate) file: Option<PathBuf>,
}

/// Reads file, environment and the flags that all nodes share.
pub(crate) fn load(args: &NodeArgs, environment: &Environment) -> Result<Loaded, Failure> {
    let file = match &args.config {
        Some(path) => Some(path.clone()),
        None => [Some(PathBuf::from(FILE_NAME)), folders::config_file()]
            .into_iter()
            .flatten()
            .find(|path| path.is_file()),
    };
    let text = file.as_deref().map(read).transpose()?.unwrap_or_default();
    let named = file.as_ref().map(|path| path.display().to_string());
    let mut config = parse(&text, named.as_deref(), environment)?;
    if let Some(data_dir) = &args.data_dir {
        config.server.data_dir = Some(data_dir.clone());
    }
    if let Some(log_format) = args.log_format {
        config.server.log_format = log_format;
    }
    config.worker.concurrency.get_or_insert_with(machine::places);
    Ok(Loaded { config, file })
}

impl Config {
    /// What the auth mode requires and the configuration lacks.
    pub(crate) fn missing_identity(&self) -> Option<String> {
        match self.server.auth {
            AuthMode::None | AuthMode::Keys => None,
            AuthMode::Jwt => {
                let missing = self.auth.jwt.clone().unwrap_or_default().missing();
                let keys = missing.join("`, `");
                let words =
                    || format!("the table `[auth.jwt]` of `auth = \"jwt\"` with its keys `{keys}`");
                (!missing.is_empty()).then(words)
            }
        }
    }

    /// The folder of the embedded database and the workspaces.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        self.server.data_dir.clone().or_else(folders::data_dir).ok_or_else(|| {
            Failure::new(Exit::Usage, "there is no home folder to keep the data in")
                .hint("name a folder with --data-dir")
        })
    }

    /// Where the weights of the offline embedder are, or would be installed.
    pub(crate) fn weights_path(&self) -> Result<PathBuf, Failure> {
        match &self.embedding.weights {
            Some(path) => Ok(path.clone()),
            None => Ok(self.data_dir()?.join("embedder").join(WEIGHTS)),
        }
    }

    /// The `[embedding]` table, with the weights that are installed where it names none.
    pub(crate) fn embedding(&self) -> EmbeddingSettings {
        let installed = self.weights_path().ok().filter(|path| path.is_file());
        EmbeddingSettings {
            weights: self.embedding.weights.clone().or(installed),
            ..self.embedding.clone()
        }
    }

    /// The database that is named, if one is.
    pub(crate) fn database_urls(&self) -> Option<DatabaseUrls> {
        let exposed =
            |url: &Option<SecretString>| url.as_ref().map(|url| url.expose_secret().to_owned());
        let url = exposed(&self.server.database_url)?;
        let direct = exposed(&self.server.database_direct_url);
        let migrate = exposed(&self.server.migrate_url).or_else(|| direct.clone());
        Some(DatabaseUrls { migrate: migrate.unwrap_or_else(|| url.clone()), direct, url })
    }

    /// Masks every configured secret, and the password in the URL of the database that is used.
    pub(crate) fn redactor(&self, database_url: Option<&str>) -> Redactor {
        Redactor::new(
            self.secrets().into_iter().chain(database_url.into_iter().flat_map(passwords)),
        )
    }

    /// Every configured secret: keys, passwords, and what MCP servers are given.
    fn secrets(&self) -> Vec<SecretString> {
        let keys = self.model.providers.values().filter_map(|provider| provider.api_key.clone());
        let server = &self.server;
        let urls = [&server.database_url, &server.database_direct_url, &server.migrate_url];
        let url = urls.into_iter().flatten().flat_map(|url| passwords(url.expose_secret()));
        let servers = self.mcp_servers.values();
        let env = servers.clone().flat_map(|server| &server.env);
        let env = env.flat_map(|(name, value)| secrets_of(name, value));
        let args = servers.flat_map(|server| secret_args(&server.args));
        let environment = self.environment_secrets.iter().cloned();
        keys.chain(url).chain(env).chain(args).chain(environment).collect()
    }
}

/// What is secret in a setting: its value, judged by name or form, and passwords in URLs.
fn secrets_of(name: &str, value: &str) -> Vec<SecretString> {
    let mut secrets = passwords(value);
    let looks_like_one =
        || secrets.is_empty() && Redactor::default().redacted(value, Reach::Credentials) != value;
    if is_secret_name(name) || looks_like_one() {
        secrets.push(value.into());
    }
    secrets
}

/// `--token x`, `--token=x`, and what looks like a credential without a name.
fn secret_args(args: &[String]) -> Vec<SecretString> {
    let before = std::iter::once("").chain(args.iter().map(String::as_str));
    let named = before.zip(args).map(|(before, arg)| match arg.split_once('=') {
        Some((name, value)) if name.starts_with('-') => (name, value),
        Some(_) | None if before.starts_with('-') && !arg.starts_with('-') => {
            (before, arg.as_str())
        }
        Some(_) | None => ("", arg.as_str()),
    });
    named.flat_map(|(name, value)| secrets_of(name, value)).collect()
}

/// The password in a URL, as it is and as it is spelled there; none where there is none.
fn passwords(url: &str) -> Vec<SecretString> {
    let Ok(url) = reqwest::Url::parse(url) else { return Vec::new() };
    let spelled = url.password().into_iter().map(str::to_owned);
    let decoded = spelled.clone().map(|text| percent_decode_str(&text).decode_utf8_lossy().into());
    let in_query = url.query_pairs().filter(|(name, _)| is_secret_name(name));
    let in_query = in_query.map(|(_, value)| value.into_owned());
    spelled.chain(decoded).chain(in_query).map(SecretString::from).collect()
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_uppercase();
    let words = ["KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL", "COOKIE", "AUTHORIZATION"];
    words.iter().any(|word| name.contains(word))
}

fn read(path: &Path) -> Result<String, Failure> {
    let unreadable = |why: &dyn std::fmt::Display| {
        let problem = format!("cannot read the configuration `{}`: {why}", path.display());
        Failure::new(Exit::Usage, problem)
    };
    let hint = "check the path in --config or OPENINTERN_CONFIG";
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error).hint(hint))?;
    let mut text = String::new();
    let read = file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text);
    if read.map_err(|error| unreadable(&error).hint(hint))? as u64 > FILE_MAX_BYTES {
        let long = format!("it has more than {FILE_MAX_BYTES} bytes");
        return Err(unreadable(&long).hint("make it shorter"));
    }
    Ok(text)
}

pub(crate) fn parse(
    text: &str,
    file: Option<&str>,
    environment: &Environment,
) -> Result<Config, Failure> {
    let variables = variables(environment)?;
    let mut layers = Layers::builder().add_source(File::from_str(text, FileFormat::Toml));
    for (key, (variable, value)) in &variables {
        let layered = match keys::is_list(key) {
            true => layers.set_override(key, words(value)),
            false => layers.set_override(key, value.as_str()),
        };
        layers = layered.map_err(|_| {
            Failure::new(Exit::Usage, format!("the variable `{variable}` does not name a key"))
                .hint("it should look like OPENINTERN__SERVER__PORT")
        })?;
    }
    let origin = |key: &str| {
        let variable = variables.get(key).map(|(variable, _)| format!("variable `{variable}`"));
        variable.or_else(|| file.map(|file| format!("`{file}`")))
    };
    let layers = layers.build().map_err(|error| fault::of_file(&error, file))?;
    keys::check(&layers.cache, &origin)?;
    let mut config: Config = serde_path_to_error::deserialize(layers).map_err(|error| {
        fault::of_key(&error.path().to_string(), &error.inner().to_string(), origin)
    })?;
    let secret = environment.0.iter().filter(|(name, _)| is_secret_name(name));
    config.environment_secrets = secret.map(|(_, value)| value.as_str().into()).collect();
    config.agents.entry(AgentId::default()).or_default(); // For runs that name no agent.
    for agent in config.agents.values_mut() {
        agent.limits = agent.limits(); // Those that the table leaves out.
    }
    relations::check(&config)?;
    Ok(config)
}

/// The variables that set a key, by the key: the well-known ones over `OPENINTERN__…`.
fn variables(environment: &Environment) -> Result<BTreeMap<String, (String, String)>, Failure> {
    let mut variables = BTreeMap::<String, (String, String)>::new();
    for (variable, value) in &environment.0 {
        let Some(name) = variable.strip_prefix(VARIABLE_PREFIX) else { continue };
        let set = (variable.clone(), value.clone());
        if let Some((other, _)) = variables.insert(key_of(name), set) {
            let twice = format!("the variables `{other}` and `{variable}` set the same key");
            return Err(Failure::new(Exit::Usage, twice).hint("leave one of them out"));
        }
    }
    let get = |name: &str| environment.get(name);
    let of_models = model::settings::variables(get);
    let of_models = of_models.into_iter().map(|it| (it.key, it.variable, it.value));
    let ours =
        WELL_KNOWN.iter().filter_map(|&(variable, key)| Some((key, variable, get(variable)?)));
    for (key, variable, value) in of_models.chain(ours) {
        variables.insert(key.into(), (variable.into(), value));
    }
    Ok(variables)
}

/// A variable holds no list, but words between commas.
fn words(value: &str) -> Vec<String> {
    let words = value.split(',').map(|word| word.trim().to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

/// `MODEL__PROVIDERS__LOCAL__API_KEY` → `model.providers.local.api_key`. The variables of an MCP
/// server keep their case.
fn key_of(variable: &str) -> String {
    let parts: Vec<&str> = variable.split(VARIABLE_SEPARATOR).collect();
    let lower = |part: &&str| part.to_lowercase();
    match parts.as_slice() {
        [table @ ("MCP_SERVERS" | "mcp_servers"), server, env @ ("ENV" | "env"), name @ ..] => {
            [lower(table), lower(server), lower(env), name.join(VARIABLE_SEPARATOR)].join(".")
        }
        parts => parts.iter().map(lower).collect::<Vec<_>>().join("."),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(pairs)
    }

    fn check_fault(text: &str, pairs: &[(&str, &str)], expected: Expect) {
        let failure = parse(text, Some("openintern.toml"), &environment(pairs)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        expected.assert_eq(&format!("{}\n{}", failure.message, failure.hint.unwrap_or_default()));
    }

    #[test]
    fn the_environment_is_over_the_file() {
        let text = r#"
            [server]
            port = 4000
            host = "::1"
            [worker]
            concurrency = 3
            [model]
            default = "local/a"
            [model.providers.local]
            kind = "openai"
            base_url = "http://localhost:8000/v1"
            [agents.main]
            tools = ["read_file"]
            [agents.main.limits]
            max_steps = 5
            [mcp_servers.files]
            command = "files"
            args = ["-x", "--api-key", "of an argument", "--token=behind a sign"]
            env = { API_KEY = "of the file", Path = "kept" }
            [mcp_servers.files.tools.read]
            effect = "read_only"
        "#;
        let config = parse(
            text,
            None,
            &environment(&[
                ("OPENINTERN__SERVER__PORT", "5000"),
                ("OPENINTERN__SERVER__ALLOWED_HOSTS", "intern.lan, intern"),
                ("OPENINTERN__WORKER__LEASE_MS", "7000"),
                ("OPENINTERN__MODEL__PROVIDERS__LOCAL__API_KEY", "0123"),
                ("OPENINTERN__MCP_SERVERS__FILES__ENV__API_KEY", "of the environment"),
                ("OPENINTERN_MODEL", "local/b"),
                ("OPENINTERN_EMBEDDING", "local/hashed"),
                ("OPENINTERN_MEMORY_AFTER_RUN", "off"),
                ("OPENINTERN_PORT", "is a flag"),
                ("DATABASE_URL", "postgres://u:p%40ss@h/d?password=q"),
                ("SOMEONES_TOKEN", "lies around"),
            ]),
        )
        .unwrap();
        assert_eq!((config.server.port, config.server.host.as_str()), (5000, "::1"));
        assert_eq!((config.worker.concurrency, config.worker.lease_ms), (Some(3), 7000));
        assert_eq!(config.model.default.as_deref(), Some("local/b"));
        let key = config.model.providers["local"].api_key.clone().unwrap();
        assert_eq!(key.expose_secret(), "0123");
        assert_eq!(config.embedding.model.as_deref(), Some("local/hashed"));
        assert_eq!(config.server.allowed_hosts, ["intern.lan", "intern"]);
        assert_eq!(config.memory.after_run, AfterRun::Off);
        let main = &config.agents[&AgentId::default()];
        assert_eq!(main.limits.max_steps, Some(5));
        assert_eq!(main.tools.as_deref(), Some(["read_file".to_owned()].as_slice()));
        let files = &config.mcp_servers["files"];
        assert_eq!(files.env["API_KEY"], "of the environment");
        assert_eq!(files.env["Path"], "kept");
        let secrets = config.secrets();
        let secrets: Vec<_> = secrets.iter().map(|secret| secret.expose_secret()).collect();
        let expected = [
            "0123",
            "p%40ss",
            "p@ss",
            "q",
            "of the environment",
            "of an argument",
            "behind a sign",
            "lies around",
        ];
        for secret in expected {
            assert!(secrets.contains(&secret), "{secret}");
        }
        assert!(!secrets.contains(&"kept"));
        let shown = format!("{config:?}");
        assert!(!shown.contains("0123") && !shown.contains("of the environment"), "{shown}");
    }

    #[test]
    fn nothing_configured_is_a_configuration() {
        let config = parse("", None, &Environment::default()).unwrap();
        assert_eq!((config.server.host.as_str(), config.server.port), ("127.0.0.1", 3000));
        assert!(config.agents.contains_key(&AgentId::default()));
        assert!(config.model.default.is_none());
    }

    #[test]
    fn limits_are_handed_to_whom_they_concern() {
        let text = "[limits]\nrunning_per_org = 3\nstreams_per_key = 4\nrequests_burst_per_key = 5\n\
                    tokens_per_org_per_day = 6\ncost_usd_per_org_per_day = 7\n\
                    workspace_bytes_per_org = 8";
        let limits = parse(text, None, &Environment::default()).unwrap().limits;
        assert_eq!(limits.queue(5).running_per_org, Some(3));
        assert_eq!(limits.tenants().streams_per_key, 4);
        assert_eq!(limits.tenants().requests_per_key.burst.get(), 5);
        assert_eq!(limits.tenants().workspace_bytes_per_org, 8);
        assert_eq!((limits.budget().tokens, limits.budget().cost_usd), (Some(6), Some(7.0)));
        let usual = parse("", None, &Environment::default()).unwrap().limits;
        assert_eq!(usual.tenants(), server::settings::TenantLimits::default());
        assert!(!usual.budget().is_set());
        check_fault(
            "[limits]\ncost_usd_per_org_per_day = -1.0",
            &[],
            expect![[r#"
                `limits.cost_usd_per_org_per_day` in `openintern.toml` is `-1`, but must be a number from 0 to 1000000000
                the default: none"#]],
        );
        check_fault(
            "[limits]\nworkspace_bytes_per_org = -1",
            &[],
            expect![[r#"
                `limits.workspace_bytes_per_org` in `openintern.toml` is `-1`, but must be a whole number from 0 to 1000000000000000
                the default: `1073741824`"#]],
        );
        check_fault(
            "[limits]\nrequests_per_s_per_key = 0",
            &[],
            expect![[r#"
                `limits.requests_per_s_per_key` in `openintern.toml` is `0`, but must be a whole number from 1 to 1000000
                the default: `500`"#]],
        );
    }

    #[test]
    fn jwt_names_all_that_it_lacks_at_once() {
        let check = |text: &str, expected: Option<&str>| {
            let config = parse(text, None, &Environment::default()).unwrap();
            assert_eq!(config.missing_identity().as_deref(), expected, "{text}");
        };
        check("[server]\nauth = 'none'", None);
        check("[server]\nauth = 'keys'", None);
        check(
            "[server]\nauth = 'jwt'",
            Some(
                "the table `[auth.jwt]` of `auth = \"jwt\"` with its keys \
                 `issuer`, `audience`, `jwks_url (or jwks_file)`",
            ),
        );
        check(
            "[server]\nauth = 'jwt'\n[auth.jwt]\nissuer = 'i'\njwks_file = 'f'",
            Some("the table `[auth.jwt]` of `auth = \"jwt\"` with its keys `audience`"),
        );
        let whole = "[server]\nauth = 'jwt'\n[auth.jwt]\nissuer = 'i'\naudience = 'a'\n";
        check(&format!("{whole}jwks_url = 'https://x.example/jwks'"), None);
    }

    #[test]
    fn faults_are_named() {
        check_fault(
            "[sever]\nport = 1",
            &[],
            expect![[r#"
            unknown key `sever` in `openintern.toml`
            did you mean `server`? Known here: server, auth, worker, model, embedding, memory, time, agents, mcp_servers, limits, retention"#]],
        );
        check_fault(
            "[server]\nprot = 1",
            &[],
            expect![[r#"
            unknown key `server.prot` in `openintern.toml`
            did you mean `port`? Known here: host, port, auth, allowed_hosts, data_dir, database_url, database_direct_url, migrate_url, database_connections, log_format"#]],
        );
        check_fault(
            "[model.providers.openai]\napi_kye = 'x'",
            &[],
            expect![[r#"
            unknown key `model.providers.openai.api_kye` in `openintern.toml`
            did you mean `api_key`? Known here: kind, base_url, api_key, default_model, first_byte_timeout_ms, idle_timeout_ms, total_timeout_ms, max_attempts, backoff_ms, replay_reasoning, limits"#]],
        );
        check_fault(
            "[mcp_servers.a]\ncommand = 'x'\nargz = []",
            &[],
            expect![[r#"
            unknown key `mcp_servers.a.argz` in `openintern.toml`
            did you mean `args`? Known here: command, args, env, cwd, startup_timeout_ms, call_timeout_ms, tools, url, headers"#]],
        );
        check_fault(
            "[mcp_servers.a.tools.t]\nefect = 'x'",
            &[],
            expect![[r#"
            unknown key `mcp_servers.a.tools.t.efect` in `openintern.toml`
            did you mean `effect`? Known here: effect, approval"#]],
        );
        check_fault(
            "[agents.main.limits]\nmax_stepps = 1",
            &[],
            expect![[r#"
            unknown key `agents.main.limits.max_stepps` in `openintern.toml`
            did you mean `max_steps`? Known here: max_steps, max_tokens, max_cost_usd, max_wall_s"#]],
        );
        check_fault(
            "[agents.'a b']",
            &[],
            expect![[r#"
            `agents.a b` in `openintern.toml`: `agent_id` must be 1 to 64 characters of `A-Z a-z 0-9 _-`
        "#]],
        );
        check_fault(
            "[server]\nport = 'many'",
            &[],
            expect![[r#"
                `server.port` in `openintern.toml` is `many`, but must be a whole number from 0 to 65535
                the default: `3000`"#]],
        );
        check_fault(
            "[server]\nport = 70000",
            &[],
            expect![[r#"
                `server.port` in `openintern.toml` is `70000`, but must be a whole number from 0 to 65535
                the default: `3000`"#]],
        );
        check_fault(
            "[server]\nauth = 'key'",
            &[],
            expect![[r#"
                `server.auth` in `openintern.toml` is `key`, but must be one of `none`, `keys`, `jwt`
                the default: `'none'`"#]],
        );
        check_fault(
            "[memory]\nafter_run = 'on'",
            &[],
            expect![[r#"
                `memory.after_run` in `openintern.toml` is `on`, but must be one of `extractive`, `model`, `off`
                the default: `'extractive'`"#]],
        );
        check_fault(
            "",
            &[("OPENINTERN_MEMORY_AFTER_RUN", "on")],
            expect![[r#"
                `memory.after_run` in variable `OPENINTERN_MEMORY_AFTER_RUN` is `on`, but must be one of `extractive`, `model`, `off`
                the default: `'extractive'`"#]],
        );
        check_fault(
            "[auth.jwt]\nisuer = 'x'",
            &[],
            expect![[r#"
            unknown key `auth.jwt.isuer` in `openintern.toml`
            did you mean `issuer`? Known here: issuer, audience, jwks_url, jwks_file, leeway_s, org_claim, user_claim, project_claim, rights_claim"#]],
        );
        check_fault(
            "[model.providers.openai]\napi_key = 'sk-secret",
            &[],
            expect![[r#"
            openintern.toml is not valid TOML: line 2, column 21: invalid literal string, expected `'`
        "#]],
        );
        check_fault(
            "[mcp_servers.a]\ncommand = 'x'\nenv = 'TOKEN=sk-secret'",
            &[],
            expect![[r#"
                `mcp_servers.a.env` in `openintern.toml` is a text, but must be a table of at most 256, with names of at most 256 bytes
                the default: none"#]],
        );
        check_fault(
            "[model.providers]\nopenai = 'sk-secret'",
            &[],
            expect![[r#"
                `model.providers.openai` in `openintern.toml`: expected struct ProviderSettings, found a text
            "#]],
        );
        check_fault(
            "",
            &[("OPENINTERN__SERVER__PROT", "1")],
            expect![[r#"
            unknown key `server.prot` in variable `OPENINTERN__SERVER__PROT`
            did you mean `port`? Known here: host, port, auth, allowed_hosts, data_dir, database_url, database_direct_url, migrate_url, database_connections, log_format"#]],
        );
        check_fault(
            "",
            &[("OPENINTERN__SERVER__PORT", "x")],
            expect![[r#"
                `server.port` in variable `OPENINTERN__SERVER__PORT` is `x`, but must be a whole number from 0 to 65535
                the default: `3000`"#]],
        );
        check_fault(
            "",
            &[("OPENINTERN__A/B", "x")],
            expect![[r#"
            the variable `OPENINTERN__A/B` does not name a key
            it should look like OPENINTERN__SERVER__PORT"#]],
        );
    }
}
