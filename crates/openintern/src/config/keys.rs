//! Every key of the configuration: what may stand there, and what holds when nothing does. The
//! table of docs/operations.md is this one, and a test compares them.
//!
//! Looks at values as they were written, before they become types: those round, saturate and
//! convert without a word. Which keys there are is up to the types; how two values must fit
//! together, to `relations`.

use std::{fmt, ops::RangeInclusive};

use config::{Value, ValueKind};
use protocol::model_names::MODELS_MAX;

use crate::exit::{Exit, Failure};

/// A key and what may stand there.
pub(crate) struct Key {
    /// With `<…>` for what an operator names.
    path: &'static str,
    range: Range,
    usual: Usual,
}

/// What may stand at a key.
enum Range {
    /// A number without a fraction.
    Whole(RangeInclusive<u64>),
    Number(RangeInclusive<f64>),
    Flag,
    OneOf(&'static [&'static str]),
    /// A text of so many bytes.
    Text(RangeInclusive<usize>),
    /// At most so many texts of so many bytes.
    Texts(usize, RangeInclusive<usize>),
    /// A text of so many bytes, or a list of 1 to so many such texts.
    TextOrTexts(usize, RangeInclusive<usize>),
    /// A table with at most so many keys that an operator names.
    Named(usize),
}

/// What holds where the configuration is silent.
enum Usual {
    /// As it would be written.
    Value(&'static str),
    /// In words, where it is no value.
    Words(&'static str),
}

use Range::{Flag, Named, Number, OneOf, Text, TextOrTexts, Texts, Whole};
use Usual::{Value as Is, Words};

/// Longest name that an operator gives to something, in bytes.
const NAME_MAX_BYTES: usize = 256;
const NONE: Usual = Words("none");
const NOT_YET: Usual = Words("not supported yet");
const PATH: Range = Text(1..=4096);
const URL: Range = Text(1..=4096);
const MODEL: Range = Text(1..=512);
const CLAIM: Range = Text(1..=256);
const CALL_MS: Range = Whole(1..=3_600_000);
const DAYS: Range = Whole(1..=36_500);
const CONTEXT: Range = Whole(1000..=10_000_000);
const PER_MINUTE: Range = Whole(1..=1_000_000_000);
const PRICE: Range = Number(0.0..=1e6);

const fn key(path: &'static str, range: Range, usual: Usual) -> Key {
    Key { path, range, usual }
}

/// All keys. Where 0 may stand, it means none of it (a port aside: there it is any free one).
const KEYS: &[Key] = &[
    key("server.host", Text(1..=255), Is("'127.0.0.1'")),
    key("server.port", Whole(0..=65_535), Is("3000")),
    key("server.auth", OneOf(&["none", "keys", "jwt"]), Is("'none'")),
    key("server.allowed_hosts", Texts(64, 1..=255), Is("[]")),
    key("server.data_dir", PATH, Words("the platform's data folder")),
    key("server.database_url", URL, NONE),
    key("server.database_direct_url", URL, NONE),
    key("server.migrate_url", URL, Words("the direct one, else `database_url`")),
    key("server.database_connections", Whole(4..=1000), Is("32")),
    key("server.log_format", OneOf(&["text", "json"]), Is("'text'")),
    key("auth.jwt.issuer", Text(1..=2048), NONE),
    key("auth.jwt.audience", Text(1..=2048), NONE),
    key("auth.jwt.jwks_url", URL, NONE),
    key("auth.jwt.jwks_file", PATH, NONE),
    key("auth.jwt.leeway_s", Whole(0..=server::limits::JWT_LEEWAY_MAX_S), Is("60")),
    key("auth.jwt.org_claim", CLAIM, Is("'org_id'")),
    key("auth.jwt.user_claim", CLAIM, Is("'sub'")),
    key("auth.jwt.project_claim", CLAIM, Is("'project_id'")),
    key("auth.jwt.rights_claim", CLAIM, Is("'scope'")),
    key(
        "worker.concurrency",
        Whole(1..=100_000),
        Words("one for each 2 MiB of the machine's memory, from 64 to 10000"),
    ),
    key("worker.lease_ms", Whole(1000..=600_000), Is("10000")),
    key("worker.renew_ms", Whole(50..=300_000), Is("3000")),
    key("worker.poll_ms", Whole(10..=60_000), Is("1000")),
    key("worker.max_attempts", Whole(1..=100), Is("5")),
    key("worker.tool_timeout_ms", CALL_MS, Is("60000")),
    key(
        "model.default",
        MODEL,
        Words("the first of `openai`, `anthropic`, `gemini` that has a key, else `demo/default`"),
    ),
    key("model.connect_timeout_ms", Whole(1..=60_000), Is("5000")),
    key("model.providers", Named(64), Words("`openai`, `anthropic`, `gemini`, `ollama`, `demo`")),
    key(
        "model.providers.<name>.kind",
        OneOf(&["openai", "anthropic", "demo"]),
        Words("of the five: their own"),
    ),
    key("model.providers.<name>.base_url", URL, Words("of the five: their own")),
    key("model.providers.<name>.api_key", Text(1..=4096), NONE),
    key(
        "model.providers.<name>.default_model",
        Text(1..=256),
        Words("of the five but `ollama`: their own"),
    ),
    key("model.providers.<name>.first_byte_timeout_ms", CALL_MS, Is("300000")),
    key("model.providers.<name>.idle_timeout_ms", CALL_MS, Is("300000")),
    key("model.providers.<name>.total_timeout_ms", Whole(1..=86_400_000), Is("1800000")),
    key("model.providers.<name>.max_attempts", Whole(1..=4), Is("4")),
    key("model.providers.<name>.backoff_ms", Whole(1..=60_000), Is("500")),
    key("model.providers.<name>.replay_reasoning", Flag, Words("as the provider does it")),
    key("model.providers.<name>.limits.requests_per_minute", PER_MINUTE, NONE),
    key("model.providers.<name>.limits.tokens_per_minute", PER_MINUTE, NONE),
    key("model.prices", Named(1000), Words("the built-in ones")),
    key("model.prices.<model>.input", PRICE, NONE),
    key("model.prices.<model>.cached_input", PRICE, Words("as `input`")),
    key("model.prices.<model>.output", PRICE, NONE),
    key("model.limits", Named(1000), Words("the built-in ones")),
    key("model.limits.<model>.context_tokens", CONTEXT, NONE),
    key(
        "embedding.model",
        MODEL,
        Words("`local/multilingual-e5-small` where its weights are installed, else `local/hashed`"),
    ),
    key("embedding.weights", PATH, Words("those in the data folder")),
    key("embedding.dimensions", Whole(256..=256), Is("256")),
    key("embedding.projection", OneOf(&["server", "none", "random"]), Is("'server'")),
    key("embedding.query_prefix", Text(0..=1024), Words("of E5 models `query: `")),
    key("embedding.passage_prefix", Text(0..=1024), Words("of E5 models `passage: `")),
    key("memory.after_run", OneOf(&["extractive", "model", "off"]), Is("'extractive'")),
    key("memory.consolidate_every_h", Whole(0..=8760), Is("24")),
    key("time.zone", Text(1..=64), Is("'UTC'")),
    key("retention.deltas_s", Whole(1..=86_400), Is("60")),
    key("retention.events_days", DAYS, Words("for ever")),
    key("retention.checkpoints_days", DAYS, Words("for ever")),
    key("retention.runs_days", DAYS, Words("for ever")),
    key("agents", Named(256), Words("`main`, with all tools")),
    key("agents.<id>.description", Text(0..=4096), Words("a sentence")),
    key("agents.<id>.system_prompt", Text(0..=65_536), Words("a few sentences")),
    key("agents.<id>.model", TextOrTexts(MODELS_MAX, 1..=512), Words("`model.default`")),
    key("agents.<id>.temperature", Number(0.0..=2.0), Words("the provider's")),
    key("agents.<id>.max_tokens", Whole(1..=10_000_000), Words("the provider's")),
    key("agents.<id>.tools", Texts(256, 1..=256), Words("all")),
    key("agents.<id>.limits.max_steps", Whole(1..=100_000), Is("50")),
    key("agents.<id>.limits.max_tokens", Whole(1..=1_000_000_000_000), NONE),
    key("agents.<id>.limits.max_cost_usd", Number(0.0..=1e9), NONE),
    key("agents.<id>.limits.max_wall_s", Whole(1..=2_592_000), Is("1800")),
    key("agents.<id>.context_tokens", CONTEXT, Words("as many as its model takes")),
    key("agents.<id>.recall_top_k", Whole(0..=50), Is("6")),
    key("agents.<id>.history_summary", OneOf(&["extractive", "model"]), Is("'extractive'")),
    key("agents.<id>.timezone", Text(1..=64), Words("`time.zone`")),
    key("agents.<id>.response_format", Text(2..=65_536), NONE),
    key("mcp_servers", Named(64), NONE),
    key("mcp_servers.<name>.command", PATH, NONE),
    key("mcp_servers.<name>.args", Texts(256, 0..=32_768), Is("[]")),
    key("mcp_servers.<name>.env", Named(256), NONE),
    key("mcp_servers.<name>.env.<variable>", Text(0..=32_768), NONE),
    key("mcp_servers.<name>.cwd", PATH, Words("ours")),
    key("mcp_servers.<name>.startup_timeout_ms", Whole(1..=600_000), Is("30000")),
    key("mcp_servers.<name>.call_timeout_ms", CALL_MS, Is("60000")),
    key("mcp_servers.<name>.tools", Named(256), NONE),
    key(
        "mcp_servers.<name>.tools.<tool>.effect",
        OneOf(&["read_only", "idempotent", "at_most_once"]),
        Words("`at_most_once`"),
    ),
    key(
        "mcp_servers.<name>.tools.<tool>.approval",
        OneOf(&["never", "ask", "always"]),
        Is("'never'"),
    ),
    key("mcp_servers.<name>.url", URL, NOT_YET),
    key("mcp_servers.<name>.headers", Named(64), NOT_YET),
    key("limits.queued_per_org", Whole(1..=1_000_000), Is("20000")),
    key(
        "limits.running_per_org",
        Whole(1..=100_000),
        Words("all that others leave, but an eighth"),
    ),
    key("limits.run_bytes", Whole(1_048_576..=1_099_511_627_776), Is("67108864")),
    key("limits.step_results_bytes", Whole(65_536..=1_073_741_824), Is("8388608")),
    key("limits.streams_per_key", Whole(1..=1_000_000), Is("200")),
    key("limits.streams_per_org", Whole(1..=1_000_000), Is("1000")),
    key("limits.requests_per_s_per_key", Whole(1..=1_000_000), Is("500")),
    key("limits.requests_burst_per_key", Whole(1..=1_000_000), Is("1000")),
    key("limits.bad_credentials_per_s_per_address", Whole(1..=1_000_000), Is("20")),
    key("limits.bad_credentials_burst_per_address", Whole(1..=1_000_000), Is("100")),
    key("limits.workspace_bytes_per_org", Whole(0..=1_000_000_000_000_000), Is("1073741824")),
    key("limits.tokens_per_org_per_day", Whole(0..=1_000_000_000_000_000), NONE),
    key("limits.cost_usd_per_org_per_day", Number(0.0..=1e9), NONE),
];

/// Refuses the first value, by the order of the keys' names, that may not stand where it does.
/// `origin` says where a key was set. Keys that are not known are left to the types.
pub(crate) fn check(root: &Value, origin: &dyn Fn(&str) -> Option<String>) -> Result<(), Failure> {
    check_below(&mut Vec::new(), root, origin)
}

/// Whether a list stands at this key: a variable, which holds none, has its words between commas.
pub(crate) fn is_list(path: &str) -> bool {
    let path: Vec<&str> = path.split('.').collect();
    known(&path).is_some_and(|key| matches!(key.range, Texts(..) | TextOrTexts(..)))
}

/// Whether what stands at a key, or was meant to stand below it, may be a secret.
pub(crate) fn may_be_secret(path: &str) -> bool {
    ["model", "mcp_servers"].iter().any(|table| path.starts_with(table)) || path.ends_with("_url")
}

fn check_below<'a>(
    path: &mut Vec<&'a str>,
    value: &'a Value,
    origin: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Failure> {
    if let Some(key) = known(path)
        && let Some(found) = key.range.fault(value, may_be_secret(&path.join(".")))
    {
        let origin = origin(&path.join(".")).map(|origin| format!(" in {origin}"));
        let (path, origin) = (written(path), origin.unwrap_or_default());
        let must = format!("`{path}`{origin} is {found}, but must be {}", key.range);
        return Err(Failure::new(Exit::Usage, must).hint(format!("the default: {}", key.usual)));
    }
    let ValueKind::Table(table) = &value.kind else { return Ok(()) };
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in entries {
        path.push(name);
        check_below(path, value, origin)?;
        path.pop();
    }
    Ok(())
}

fn known(path: &[&str]) -> Option<&'static Key> {
    KEYS.iter().find(|key| {
        let parts = key.path.split('.');
        parts.clone().count() == path.len()
            && parts.zip(path).all(|(part, name)| part.starts_with('<') || part == *name)
    })
}

/// A path as TOML would write it.
fn written(path: &[&str]) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let parts = path.iter().map(|part| match part.chars().all(is_bare) && !part.is_empty() {
        true => (*part).to_owned(),
        false => format!("{part:?}"),
    });
    parts.collect::<Vec<_>>().join(".")
}

impl Range {
    /// What stands there instead of what may; none where all is well.
    fn fault(&self, value: &Value, is_secret: bool) -> Option<String> {
        let is_good = match self {
            Whole(range) => whole(value).is_some_and(|number| range.contains(&number)),
            Number(range) => number(value).is_some_and(|number| range.contains(&number)),
            Flag => match &value.kind {
                ValueKind::Boolean(_) => true,
                kind => text(kind).is_some_and(|text| matches!(text, "true" | "false")),
            },
            OneOf(choices) => text(&value.kind).is_some_and(|text| choices.contains(&text)),
            Text(bytes) => is_text(value, bytes),
            TextOrTexts(most, bytes) => match &value.kind {
                ValueKind::Array(list) if list.is_empty() => false,
                ValueKind::Array(_) => {
                    return Texts(*most, bytes.clone()).fault(value, is_secret);
                }
                _ => is_text(value, bytes),
            },
            Texts(most, bytes) => {
                let ValueKind::Array(list) = &value.kind else {
                    return Some(shown(value, is_secret));
                };
                if let Some(place) = list.iter().position(|entry| !is_text(entry, bytes)) {
                    let entry = list.get(place).map(|entry| shown(entry, is_secret));
                    return Some(format!("a list whose entry {place} is {}", entry?));
                }
                list.len() <= *most
            }
            Named(most) => {
                let ValueKind::Table(table) = &value.kind else {
                    return Some(shown(value, is_secret));
                };
                if let Some(long) = table.keys().find(|name| name.len() > NAME_MAX_BYTES) {
                    return Some(format!("a table with a name of {} bytes", long.len()));
                }
                table.len() <= *most
            }
        };
        (!is_good).then(|| shown(value, is_secret))
    }
}

/// What the error and the documentation say may stand there.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whole(range) if range.start() == range.end() => write!(f, "{}", range.start()),
            Whole(range) => write!(f, "a whole number from {} to {}", range.start(), range.end()),
            Number(range) => write!(f, "a number from {} to {}", range.start(), range.end()),
            Flag => f.write_str("`true` or `false`"),
            OneOf(choices) => write!(f, "one of `{}`", choices.join("`, `")),
            Text(bytes) => write!(f, "a text of {} to {} bytes", bytes.start(), bytes.end()),
            TextOrTexts(most, bytes) => write!(
                f,
                "a text of {} to {} bytes, or a list of 1 to {most} such texts",
                bytes.start(),
                bytes.end()
            ),
            Texts(most, bytes) => write!(
                f,
                "a list of at most {most} texts of {} to {} bytes",
                bytes.start(),
                bytes.end()
            ),
            Named(most) => {
                write!(f, "a table of at most {most}, with names of at most {NAME_MAX_BYTES} bytes")
            }
        }
    }
}

impl fmt::Display for Usual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Is(value) => write!(f, "`{value}`"),
            Words(words) => f.write_str(words),
        }
    }
}

/// A variable of the environment is a text, whatever it says.
fn whole(value: &Value) -> Option<u64> {
    match (text(&value.kind), &value.kind) {
        (Some(text), _) => text.parse().ok(),
        (None, ValueKind::Float(_) | ValueKind::Boolean(_)) => None, // Those would be converted.
        (None, _) => value.clone().into_uint().ok(),
    }
}

fn number(value: &Value) -> Option<f64> {
    match (text(&value.kind), &value.kind) {
        (Some(text), _) => text.parse().ok(),
        (None, ValueKind::Boolean(_)) => None,
        (None, _) => value.clone().into_float().ok(),
    }
}

fn text(kind: &ValueKind) -> Option<&str> {
    if let ValueKind::String(text) = kind { Some(text) } else { None }
}

fn is_text(value: &Value, bytes: &RangeInclusive<usize>) -> bool {
    text(&value.kind).is_some_and(|text| bytes.contains(&text.len()) && !text.contains('\0'))
}

/// A value as an error repeats it.
fn shown(value: &Value, is_secret: bool) -> String {
    const SHOWN_MAX_BYTES: usize = 60;
    match &value.kind {
        ValueKind::String(text) if text.is_empty() => "empty".to_owned(),
        ValueKind::String(text) if text.contains('\0') => "a text with a NUL character".to_owned(),
        ValueKind::String(text) if text.len() > SHOWN_MAX_BYTES => {
            format!("a text of {} bytes", text.len())
        }
        ValueKind::String(_) if is_secret => "a text".to_owned(),
        ValueKind::Table(table) => format!("a table of {}", table.len()),
        ValueKind::Array(list) => format!("a list of {}", list.len()),
        ValueKind::Nil => "nothing".to_owned(),
        scalar @ (ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::String(_)) => format!("`{scalar}`"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use protocol::decode_error::DecodeError;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::config::{Config, Environment, parse};

    /// Stands for whatever an operator names.
    const SAMPLES: &[(&str, &str)] = &[
        ("<name>", "sample"),
        ("<id>", "main"),
        ("<model>", "a/b"),
        ("<tool>", "tool"),
        ("<variable>", "VARIABLE"),
    ];
    /// Keys without which a table is none.
    const NEEDED: &[(&str, &str, &str)] = &[
        ("model.providers.<name>", "kind", "'openai'"),
        ("model.providers.<name>", "base_url", "'http://127.0.0.1:9/v1'"),
        ("model.prices.<model>", "input", "1"),
        ("model.prices.<model>", "output", "1"),
        ("mcp_servers.<name>", "command", "'x'"),
    ];

    fn sample(part: &str) -> &str {
        SAMPLES.iter().find(|sample| sample.0 == part).map_or(part, |sample| sample.1)
    }

    /// A file in which this stands at a key; nothing does when `value` is none.
    fn file(path: &str, value: Option<&str>) -> String {
        let (table, key) = path.rsplit_once('.').unwrap();
        let named = |table: &str| {
            let parts: Vec<String> =
                table.split('.').map(|it| format!("'{}'", sample(it))).collect();
            format!("[{}]\n", parts.join("."))
        };
        let mut text = String::new();
        // The tables around it, which may need keys, too.
        let around = NEEDED.iter().map(|needed| needed.0).filter(|it| table.starts_with(*it));
        for around in around.chain([table]).collect::<BTreeSet<_>>() {
            text += &named(around);
            let needed = NEEDED.iter().filter(|it| it.0 == around);
            for (_, needed, usual) in needed.filter(|it| (it.0, it.1) != (table, key)) {
                text += &format!("{needed} = {usual}\n");
            }
        }
        value.map_or(text.clone(), |value| format!("{text}'{}' = {value}\n", sample(key)))
    }

    fn leaves() -> impl Iterator<Item = &'static Key> {
        KEYS.iter().filter(|key| !matches!(key.range, Named(_)))
    }

    /// All that the types can read, asked of them by what they refuse.
    fn keys_of_types(path: &str, found: &mut BTreeSet<String>) {
        let refusal = |leaf: Json| {
            let wrap = |inner: Json, part: &str| json!({ sample(part): inner });
            let parts = path.split('.').filter(|part| !part.is_empty());
            serde_json::from_value::<Config>(parts.rev().fold(leaf, wrap)).unwrap_err().to_string()
        };
        let mut below =
            KEYS.iter().filter_map(|key| key.path.strip_prefix(path)?.strip_prefix(".<"));
        if let Some((name, _)) = below.find_map(|rest| rest.split_once('>')) {
            return keys_of_types(&format!("{path}.<{name}>"), found);
        }
        match DecodeError::read(&refusal(json!({"no_such_key": 1}))) {
            DecodeError::UnknownField { known, .. } => {
                for key in known {
                    keys_of_types(format!("{path}.{key}").trim_start_matches('.'), found);
                }
            }
            _ => {
                found.insert(path.to_owned());
            }
        }
    }

    #[test]
    fn every_key_of_the_types_has_a_range() {
        let mut of_types = BTreeSet::new();
        keys_of_types("", &mut of_types);
        let with_range: BTreeSet<String> = KEYS
            .iter()
            .filter(|key| {
                !KEYS.iter().any(|below| below.path.starts_with(&format!("{}.<", key.path)))
            })
            .map(|key| key.path.to_owned())
            .collect();
        assert_eq!(of_types, with_range);
    }

    #[test]
    fn saying_a_default_changes_nothing() {
        let read = |text: &str| {
            let config = parse(text, None, &Environment::default());
            format!("{:?}", config.unwrap_or_else(|failure| panic!("{text}: {failure}")))
        };
        for key in leaves() {
            if let Is(value) = key.usual {
                let (said, unsaid) = (file(key.path, Some(value)), file(key.path, None));
                assert_eq!(read(&said), read(&unsaid), "{}", key.path);
            }
        }
    }

    #[test]
    fn a_range_can_be_used_to_its_ends() {
        for key in leaves() {
            let ends: Vec<String> = match &key.range {
                Whole(range) => vec![range.start().to_string(), range.end().to_string()],
                Number(range) => vec![range.start().to_string(), range.end().to_string()],
                OneOf(choices) => choices.iter().map(|choice| format!("'{choice}'")).collect(),
                Flag => vec!["true".into(), "false".into()],
                Text(_) | Texts(..) | TextOrTexts(..) | Named(_) => continue,
            };
            for end in ends {
                let text = file(key.path, Some(&end));
                match parse(&text, None, &Environment::default()) {
                    Ok(_) => {}
                    // It contradicts another default.
                    Err(failure) => {
                        assert!(failure.message.contains(", more than "), "{text}: {failure}")
                    }
                }
            }
        }
    }

    #[test]
    fn nonsense_is_refused_wherever_it_stands() {
        let long = format!("'{}'", "x".repeat(70_000));
        let nonsense = [
            "-1",
            "1e30",
            "nan",
            "-inf",
            "1.5",
            "true",
            "''",
            "'\\u0000'",
            "[]",
            "[1]",
            "{}",
            &long,
        ];
        let mut refused = 0;
        for key in leaves() {
            for value in nonsense.iter().map(|value| value.replace("'\\u0000'", "\"\\u0000\"")) {
                let text = file(key.path, Some(&value));
                let Err(failure) = parse(&text, Some("x.toml"), &Environment::default()) else {
                    let is_one = match &key.range {
                        Number(_) => value == "1.5",
                        Flag => value == "true",
                        Text(bytes) => value == "''" && bytes.contains(&0),
                        Texts(..) => value == "[]",
                        Whole(_) | OneOf(_) | Named(_) | TextOrTexts(..) => false,
                    };
                    assert!(is_one, "taken: {} = {value}", key.path);
                    continue;
                };
                refused += 1;
                let path: Vec<&str> = key.path.split('.').map(sample).collect();
                let start = format!("`{}` in `x.toml` is ", written(&path));
                let end = format!(", but must be {}", key.range);
                let message = failure.message;
                assert!(message.starts_with(&start) && message.ends_with(&end), "{message}");
                assert!(message.len() < 500, "{message}");
            }
        }
        assert!(refused > leaves().count() * 8);
    }

    #[test]
    fn the_documentation_has_every_key() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let page = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
        let mut table = "| key | what may stand there | default |\n|---|---|---|\n".to_owned();
        for key in KEYS {
            table += &format!("| `{}` | {} | {} |\n", key.path, key.range, key.usual);
        }
        assert!(page.contains(&table), "put this into docs/operations.md:\n{table}");
    }
}
