//! The configuration of models: the `[model]` table, and the well-known environment variables.
//!
//! Pure: the executable reads files and the environment and hands them in.

use std::{collections::BTreeMap, time::Duration};

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{
    error::SettingsError, prices::Price, tool_schema::SchemaDialect, windows::ModelLimits,
};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// `<provider>/<model>`, or `<provider>` for its default model. When absent: the default model
    /// of the first of `openai`, `anthropic`, `gemini` that has a key, else `demo/default`.
    pub default: Option<String>,
    /// Milliseconds to connect.
    pub connect_timeout_ms: u64,
    /// By name. `openai`, `anthropic`, `gemini`, `ollama` and `demo` need not be listed.
    pub providers: BTreeMap<String, ProviderSettings>,
    /// By `<provider>/<model>`, with an optional `*` at the end; over the built-in table.
    pub prices: BTreeMap<String, Price>,
    /// By `<provider>/<model>`, with an optional `*` at the end; over the built-in table.
    pub limits: BTreeMap<String, ModelLimits>,
}

/// A table `[model.providers.<name>]`. What is absent has the default of the well-known name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSettings {
    /// The wire format; needed where the name is not well known.
    pub kind: Option<WireFormat>,
    /// Where it is reached, `http` or `https`, without credentials.
    pub base_url: Option<String>,
    /// The key. Never shown.
    pub api_key: Option<SecretString>,
    /// The model when only the provider is named.
    pub default_model: Option<String>,
    /// Milliseconds to the first byte of an answer: models think before they speak.
    pub first_byte_timeout_ms: u64,
    /// Milliseconds between two bytes, signs of life included.
    pub idle_timeout_ms: u64,
    /// Milliseconds of a call with all its attempts.
    pub total_timeout_ms: u64,
    /// Most attempts of a call, 1 to 4.
    pub max_attempts: u32,
    /// Milliseconds of the first wait between attempts; it doubles.
    pub backoff_ms: u64,
    /// Send the model's reasoning back to it with every turn, or never (OpenAI wire only). When
    /// absent: within a run, where the provider sent some, or as it demands.
    pub replay_reasoning: Option<bool>,
    /// How much all nodes together may ask of it.
    pub limits: ProviderLimits,
}

/// A table `[model.providers.<name>.limits]`: what all nodes together ask of a provider in a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderLimits {
    /// Requests, repeated ones included.
    pub requests_per_minute: Option<u64>,
    /// Tokens, of prompts and answers together.
    pub tokens_per_minute: Option<u64>,
}

impl ProviderLimits {
    /// There is one.
    pub fn is_set(&self) -> bool {
        self.requests_per_minute.is_some() || self.tokens_per_minute.is_some()
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            default: None,
            connect_timeout_ms: 5_000,
            providers: BTreeMap::new(),
            prices: BTreeMap::new(),
            limits: BTreeMap::new(),
        }
    }
}

/// How long a provider may be silent, where nothing else is configured.
pub const SILENCE_MS: u64 = 300_000;

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            kind: None,
            base_url: None,
            api_key: None,
            default_model: None,
            first_byte_timeout_ms: SILENCE_MS,
            idle_timeout_ms: SILENCE_MS,
            total_timeout_ms: 1_800_000,
            max_attempts: ATTEMPTS_MAX,
            backoff_ms: 500,
            replay_reasoning: None,
            limits: ProviderLimits::default(),
        }
    }
}

/// A wire format, or the planner that needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireFormat {
    /// OpenAI's chat completions, which most servers understand.
    #[serde(rename = "openai")]
    OpenAi,
    Anthropic,
    /// The demo planner: no network, no key.
    Demo,
}

/// Most attempts that may be configured.
pub const ATTEMPTS_MAX: u32 = 4;

/// Most tools of a request to OpenAI
/// ([reference](https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools)).
pub(crate) const OPENAI_TOOLS_MAX: usize = 128;
const GEMINI_HOST: &str = "generativelanguage.googleapis.com";

const WELL_KNOWN: &[(&str, WireFormat, &str, Option<&str>)] = &[
    ("openai", WireFormat::OpenAi, "https://api.openai.com/v1", Some("gpt-5-mini")),
    ("anthropic", WireFormat::Anthropic, "https://api.anthropic.com", Some("claude-sonnet-4-5")),
    (
        "gemini",
        WireFormat::OpenAi,
        "https://generativelanguage.googleapis.com/v1beta/openai",
        Some("gemini-2.5-flash"),
    ),
    ("ollama", WireFormat::OpenAi, "http://127.0.0.1:11434/v1", None),
    ("demo", WireFormat::Demo, "", Some("default")),
];

/// A variable that providers' own programs read, and the key of the configuration that it sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WellKnownVariable {
    pub variable: &'static str,
    pub key: &'static str,
    /// As the key takes it.
    pub value: String,
}

/// Those that are set. Blank ones count as absent.
pub fn variables(get: impl Fn(&str) -> Option<String>) -> Vec<WellKnownVariable> {
    let known = VARIABLES.iter().filter_map(|&(variable, key)| {
        let value = get(variable)?.trim().to_owned();
        let value = if variable == OLLAMA_HOST { ollama_base_url(&value) } else { value };
        Some(WellKnownVariable { variable, key, value })
    });
    let mut set: Vec<_> = known.filter(|it| !it.value.is_empty()).collect();
    set.dedup_by_key(|it| it.key);
    set
}

const OLLAMA_HOST: &str = "OLLAMA_HOST";
/// Where two set the same key they stand together, and the first one holds.
const VARIABLES: &[(&str, &str)] = &[
    ("OPENAI_API_KEY", "model.providers.openai.api_key"),
    ("OPENAI_BASE_URL", "model.providers.openai.base_url"),
    ("ANTHROPIC_API_KEY", "model.providers.anthropic.api_key"),
    ("ANTHROPIC_BASE_URL", "model.providers.anthropic.base_url"),
    ("GEMINI_API_KEY", "model.providers.gemini.api_key"),
    ("GOOGLE_API_KEY", "model.providers.gemini.api_key"),
    (OLLAMA_HOST, "model.providers.ollama.base_url"),
    ("OPENINTERN_MODEL", "model.default"),
];

impl ModelSettings {
    /// How long connecting may take, whoever the provider is: they share a client.
    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.max(1))
    }

    /// Every provider, with its defaults filled in.
    pub(crate) fn resolved(&self) -> Result<BTreeMap<String, Provider>, SettingsError> {
        let mut names: Vec<&str> = WELL_KNOWN.iter().map(|known| known.0).collect();
        names.extend(self.providers.keys().map(String::as_str));
        let none = ProviderSettings::default();
        names
            .into_iter()
            .map(|name| {
                let settings = self.providers.get(name).unwrap_or(&none);
                Ok((name.to_owned(), Provider::new(name, settings, self.connect_timeout())?))
            })
            .collect()
    }
}

/// `OLLAMA_HOST` as Ollama itself reads it: scheme and port may be left out, `0.0.0.0` is here.
fn ollama_base_url(host: &str) -> String {
    if host.is_empty() {
        return String::new();
    }
    let (scheme, rest) = host.trim().split_once("://").unwrap_or(("http", host.trim()));
    let rest = rest.trim_end_matches('/').replace("0.0.0.0", "127.0.0.1");
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match (has_port, scheme) {
        (true, _) => format!("{scheme}://{rest}/v1"),
        (false, "https") => format!("https://{rest}/v1"),
        (false, _) => format!("{scheme}://{rest}:11434/v1"),
    }
}

/// A provider with every default filled in.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) kind: WireFormat,
    /// Without a slash at the end. Meaningless for the demo.
    pub(crate) base_url: String,
    pub(crate) api_key: Option<SecretString>,
    /// Whether it needs a key.
    pub(crate) needs_key: bool,
    pub(crate) default_model: Option<String>,
    pub(crate) timeouts: ProviderTimeouts,
    pub(crate) retry: Retry,
    /// As configured; when absent, as the provider does it.
    pub(crate) replay_reasoning: Option<bool>,
    /// OpenAI itself has its own name for the bound on tokens.
    pub(crate) is_openai_itself: bool,
    /// It takes a key under which requests that begin alike are sent to the same cache.
    pub(crate) takes_cache_key: bool,
    /// It can be held to a schema of its answers while it may call tools, or says that it cannot.
    pub(crate) formats_beside_tools: bool,
    /// Most tools of a request that it takes.
    pub(crate) tools_max: Option<usize>,
    /// How it reads the schemas of tools.
    pub(crate) schemas: SchemaDialect,
}

/// How long we wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProviderTimeouts {
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) idle: Duration,
    pub(crate) total: Duration,
}

/// How often we ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    pub(crate) max_attempts: u32,
    pub(crate) backoff: Duration,
}

impl Provider {
    fn new(
        name: &str,
        settings: &ProviderSettings,
        connect: Duration,
    ) -> Result<Self, SettingsError> {
        let at = |field: &str| format!("model.providers.{name}.{field}");
        let known = WELL_KNOWN.iter().find(|known| known.0 == name);
        let kind = settings.kind.or(known.map(|known| known.1)).ok_or_else(|| {
            SettingsError::new(at("kind"), "must be `openai`, `anthropic` or `demo`")
        })?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(SettingsError::new(
                format!("model.providers.{name}"),
                "has a name that is not of the letters `A-Z a-z 0-9 _ - .`",
            ));
        }
        let is_sendable =
            |key: &SecretString| key.expose_secret().bytes().all(|b| b.is_ascii_graphic());
        if !settings.api_key.as_ref().is_none_or(is_sendable) {
            let problem = "holds a blank, or a character that no key has";
            return Err(SettingsError::new(at("api_key"), problem));
        }
        let usual_url = known.filter(|known| known.1 == kind).map_or("", |known| known.2);
        let base_url = settings.base_url.as_deref().unwrap_or(usual_url).trim_end_matches('/');
        let host = match kind {
            WireFormat::Demo => None,
            WireFormat::OpenAi | WireFormat::Anthropic => checked_host(&at("base_url"), base_url)?,
        };
        let max_attempts = settings.max_attempts;
        if !(1..=ATTEMPTS_MAX).contains(&max_attempts) {
            return Err(SettingsError::new(
                at("max_attempts"),
                format!("must be 1 to {ATTEMPTS_MAX}"),
            ));
        }
        let is_openai_itself = host.as_deref() == Some("api.openai.com");
        let is_azure = host.as_deref().is_some_and(|host| host.ends_with(".openai.azure.com"));
        let millis = |value: u64| Duration::from_millis(value.max(1));
        Ok(Self {
            kind,
            needs_key: base_url.starts_with("https://") && base_url == usual_url,
            base_url: base_url.to_owned(),
            api_key: settings.api_key.clone(),
            default_model: settings
                .default_model
                .clone()
                .or(known.and_then(|known| known.3).map(str::to_owned)),
            timeouts: ProviderTimeouts {
                connect,
                first_byte: millis(settings.first_byte_timeout_ms),
                idle: millis(settings.idle_timeout_ms),
                total: millis(settings.total_timeout_ms),
            },
            retry: Retry { max_attempts, backoff: millis(settings.backoff_ms) },
            replay_reasoning: settings.replay_reasoning,
            formats_beside_tools: is_openai_itself
                || is_azure
                || kind == WireFormat::Anthropic
                || host.as_deref() == Some(GEMINI_HOST),
            tools_max: (is_openai_itself || is_azure).then_some(OPENAI_TOOLS_MAX),
            schemas: match host.as_deref() {
                Some(GEMINI_HOST) => SchemaDialect::Gemini,
                _ if name == "gemini" => SchemaDialect::Gemini,
                _ => SchemaDialect::Usual,
            },
            is_openai_itself,
            takes_cache_key: is_openai_itself || is_azure,
        })
    }

    /// The same, that may be silent for twice as long.
    pub(crate) fn with_more_patience(&self) -> Self {
        let mut patient = self.clone();
        patient.timeouts.first_byte = patient.timeouts.first_byte.saturating_mul(2);
        patient.timeouts.idle = patient.timeouts.idle.saturating_mul(2);
        patient
    }

    /// Whether it can be asked: it has a key, or needs none.
    pub(crate) fn is_configured(&self) -> bool {
        !self.needs_key || self.api_key.is_some()
    }
}

fn checked_host(setting: &str, base_url: &str) -> Result<Option<String>, SettingsError> {
    let url = Url::parse(base_url)
        .map_err(|error| SettingsError::new(setting, format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(SettingsError::new(setting, "must begin with `https://` or `http://`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SettingsError::new(setting, "must not contain credentials"));
    }
    // What we put behind it ourselves, copied from the provider's documentation.
    let mistaken = ["/chat/completions", "/completions", "/responses", "/messages", "/embeddings"];
    if let Some(end) = mistaken.iter().find(|end| url.path().ends_with(*end)) {
        let problem = format!("must end before `{end}`, which is put behind it");
        return Err(SettingsError::new(setting, problem));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(SettingsError::new(setting, "must have neither `?` nor `#`"));
    }
    Ok(url.host_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{Value, json};

    use super::*;

    fn provider(name: &str, settings: Value) -> Provider {
        let mut all = ModelSettings::default();
        all.providers.insert(name.into(), serde_json::from_value(settings).unwrap());
        all.resolved().unwrap().remove(name).unwrap()
    }

    #[test]
    fn variables_of_other_programs_set_keys() {
        let set = [
            ("OPENAI_API_KEY", " sk-1\n"),
            ("OPENAI_BASE_URL", "http://localhost:8000/v1/"),
            ("ANTHROPIC_API_KEY", "  "),
            ("GOOGLE_API_KEY", "second"),
            ("GEMINI_API_KEY", "first"),
            ("OLLAMA_HOST", "gpu"),
            ("OPENINTERN_MODEL", "openai/x"),
        ];
        let get = |name: &str| set.iter().find(|it| it.0 == name).map(|it| it.1.to_owned());
        let lines = variables(get).into_iter().map(|it| format!("{} = {}", it.key, it.value));
        expect![[r#"
            model.providers.openai.api_key = sk-1
            model.providers.openai.base_url = http://localhost:8000/v1/
            model.providers.gemini.api_key = first
            model.providers.ollama.base_url = http://gpu:11434/v1
            model.default = openai/x"#]]
        .assert_eq(&lines.collect::<Vec<_>>().join("\n"));
        assert_eq!(variables(|_| None), []);
    }

    #[test]
    fn who_needs_no_key_can_be_asked() {
        let providers = ModelSettings::default().resolved().unwrap();
        let configured = providers.iter().filter(|(_, provider)| provider.is_configured());
        assert_eq!(configured.map(|(name, _)| name).collect::<Vec<_>>(), ["demo", "ollama"]);
        assert!(provider("gemini", json!({"api_key": "g"})).is_configured());
        let own = provider("openai", json!({"base_url": "http://localhost:8000/v1/"}));
        assert_eq!(own.base_url, "http://localhost:8000/v1");
    }

    #[test]
    fn ollama_host_is_read_as_ollama_reads_it() {
        for (host, url) in [
            ("127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
            ("0.0.0.0", "http://127.0.0.1:11434/v1"),
            ("http://gpu:9999/", "http://gpu:9999/v1"),
            ("https://ollama.example.com", "https://ollama.example.com/v1"),
        ] {
            assert_eq!(ollama_base_url(host), url);
        }
    }

    #[test]
    fn a_key_is_needed_only_at_the_usual_address() {
        let own = provider("openai", json!({"base_url": "http://localhost:8000/v1"}));
        assert!(own.is_configured() && !own.is_openai_itself);
        let usual = provider("openai", json!({}));
        assert!(!usual.is_configured() && usual.is_openai_itself);
    }

    #[test]
    fn wrong_settings_are_named() {
        let check = |provider: &str, json: &str, expected: &str| {
            let mut settings = ModelSettings::default();
            settings.providers.insert(provider.into(), serde_json::from_str(json).unwrap());
            assert_eq!(settings.resolved().unwrap_err().to_string(), expected);
        };
        check("x", "{}", "`model.providers.x.kind` must be `openai`, `anthropic` or `demo`");
        check(
            "x",
            r#"{"kind":"openai"}"#,
            "`model.providers.x.base_url` is not a URL: relative URL without a base",
        );
        check(
            "openai",
            r#"{"base_url":"https://a:b@c"}"#,
            "`model.providers.openai.base_url` must not contain credentials",
        );
        check(
            "openai",
            r#"{"base_url":"file:///etc"}"#,
            "`model.providers.openai.base_url` must begin with `https://` or `http://`",
        );
        check(
            "openai",
            r#"{"max_attempts":5}"#,
            "`model.providers.openai.max_attempts` must be 1 to 4",
        );
        check(
            "openai",
            r#"{"base_url":"https://api.openai.com/v1/chat/completions/"}"#,
            "`model.providers.openai.base_url` must end before `/chat/completions`, which is put behind it",
        );
        check(
            "anthropic",
            r#"{"base_url":"https://proxy.example/v1/messages"}"#,
            "`model.providers.anthropic.base_url` must end before `/messages`, which is put behind it",
        );
        check(
            "openai",
            r#"{"api_key":"sk-1\nsk-2"}"#,
            "`model.providers.openai.api_key` holds a blank, or a character that no key has",
        );
        check(
            "a b",
            r#"{"kind":"demo"}"#,
            "`model.providers.a b` has a name that is not of the letters `A-Z a-z 0-9 _ - .`",
        );
        assert!(serde_json::from_str::<ProviderSettings>(r#"{"api_kye":"x"}"#).is_err());
    }

    #[test]
    fn a_key_is_never_shown() {
        let shown = format!("{:?}", provider("openai", json!({"api_key": "sk-secret"})));
        assert!(!shown.contains("sk-secret"), "{shown}");
    }
}
