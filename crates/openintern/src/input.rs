//! From arguments to values of the API.

use std::{io::Read, path::Path};

use protocol::{
    error::FieldError,
    limits::{BODY_MAX_BYTES, JSON_VALUES_MAX},
    model_names::ModelNames,
    name::SessionKey,
    output::ResponseFormat,
    run::LlmConfig,
    strict_json,
};
use serde_json::{Map, Value};

use crate::exit::{Exit, Failure};

/// What goes before a bare session name.
const SESSION_PREFIX: &str = "s_";

/// The text of an argument; `-` stands for standard input.
pub(crate) fn text(argument: String) -> Result<String, Failure> {
    if argument != "-" {
        return Ok(argument);
    }
    let mut text = String::new();
    let most = BODY_MAX_BYTES as u64 + 1;
    std::io::stdin().lock().take(most).read_to_string(&mut text).map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot read standard input: {error}"))
    })?;
    if text.len() > BODY_MAX_BYTES {
        let message = format!("standard input is longer than {BODY_MAX_BYTES} bytes");
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(text)
}

/// A session by its name, or by its key.
pub(crate) fn session_key(name: &str) -> Result<SessionKey, Failure> {
    let key = if name.starts_with(SESSION_PREFIX) {
        name.to_owned()
    } else {
        format!("{SESSION_PREFIX}{name}")
    };
    SessionKey::new(key).map_err(|error| Failure::new(Exit::Usage, format!("--session: {error}")))
}

/// `<provider>/<model>`, or `<provider>` for its default model; or several, with commas between.
pub(crate) fn llm_config(model: &str) -> LlmConfig {
    if model.contains(',') {
        let names = model.split(',').map(|name| name.trim().to_owned()).collect();
        return LlmConfig { model: Some(ModelNames::Several(names)), ..LlmConfig::default() };
    }
    let (provider, model) = match model.split_once('/') {
        Some((provider, model)) => (provider, Some(ModelNames::from(model))),
        None => (model, None),
    };
    LlmConfig { provider: Some(provider.to_owned()), model, ..LlmConfig::default() }
}

/// The JSON Schema in a file; whether it is a good one, the server says.
pub(crate) fn response_format(path: &Path) -> Result<ResponseFormat, Failure> {
    let bad = |problem: String| {
        let file = path.display();
        Failure::new(Exit::Usage, format!("--response-format: `{file}` {problem}"))
    };
    let text = std::fs::read(path).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let schema = strict_json::parse(&text, JSON_VALUES_MAX).map_err(|fault| bad(fault.message))?;
    serde_json::from_value(schema).map_err(|_| bad("holds no JSON object".to_owned()))
}

pub(crate) fn metadata(json: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(json).map_err(|error| {
        Failure::new(Exit::Usage, format!("--metadata is not a JSON object: {error}"))
    })
}

/// What is wrong with what was typed.
pub(crate) fn faults(faults: Vec<FieldError>) -> Failure {
    let each = faults.into_iter().map(|fault| {
        let field = fault.field.trim_start_matches('/');
        format!("{field} {}", fault.message).trim_start().to_owned()
    });
    Failure::new(Exit::Usage, each.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_session_name_gets_its_prefix() {
        let check = |name: &str, key: &str| assert_eq!(session_key(name).unwrap().as_str(), key);
        check("demo", "s_demo");
        check("s_demo", "s_demo");
        check("中文", "s_中文");
        assert!(session_key("a\nb").is_err());
        assert!(session_key("").is_ok(), "`s_` is a name");
    }

    #[test]
    fn a_model_is_a_provider_and_a_name() {
        let check = |text: &str, provider: &str, model: Option<&str>| {
            let config = llm_config(text);
            assert_eq!(config.provider.as_deref(), Some(provider));
            assert_eq!(config.model, model.map(ModelNames::from));
        };
        check("openai/gpt-5-mini", "openai", Some("gpt-5-mini"));
        check("local/org/model", "local", Some("org/model"));
        check("ollama", "ollama", None);
        let several = ModelNames::Several(vec!["a/x".into(), "b/y".into()]);
        assert_eq!(llm_config("a/x, b/y").model, Some(several));
    }
}
