//! What is wrong with a configuration, for the person who wrote it. It never shows a secret.

use config::ConfigError;
use protocol::decode_error::DecodeError;

use super::keys;
use crate::exit::{Exit, Failure};

/// The file is not TOML.
pub(crate) fn of_file(error: &ConfigError, file: Option<&str>) -> Failure {
    let cause = match error {
        ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    // The lines between show the file, which may hold a secret.
    let mut lines = cause.lines().map(str::trim).filter(|line| !line.is_empty());
    let place = lines.next().unwrap_or("not readable");
    let problem = lines.next_back().unwrap_or_default();
    let place = place.replace("TOML parse error at ", "");
    let file = file.unwrap_or("the configuration");
    Failure::new(Exit::Usage, format!("{file} is not valid TOML: {place}: {problem}"))
}

/// A key, or its value, is wrong. `origin` says where a key was set.
pub(crate) fn of_key(
    path: &str,
    problem: &str,
    origin: impl Fn(&str) -> Option<String>,
) -> Failure {
    let problem = problem.split(" for key `").next().unwrap_or(problem);
    let at = |key: &str| origin(key).map(|origin| format!(" in {origin}")).unwrap_or_default();
    let wrong = |what: String| Failure::new(Exit::Usage, format!("`{path}`{}: {what}", at(path)));
    match DecodeError::read(problem) {
        DecodeError::UnknownField { field, known } => {
            let table = path.strip_suffix(field).unwrap_or(path).trim_end_matches('.');
            let whole = if table.is_empty() || table == "?" {
                field.to_owned()
            } else {
                format!("{table}.{field}")
            };
            let failure = Failure::new(Exit::Usage, format!("unknown key `{whole}`{}", at(&whole)));
            match nearest(field, &known) {
                Some(nearest) => failure
                    .hint(format!("did you mean `{nearest}`? Known here: {}", known.join(", "))),
                None => failure,
            }
        }
        // What stands there may be a secret.
        DecodeError::UnexpectedText { expected, .. } if keys::may_be_secret(path) => {
            wrong(format!("expected {expected}, found a text"))
        }
        DecodeError::UnexpectedText { .. }
        | DecodeError::UnknownVariant { .. }
        | DecodeError::MissingField(_)
        | DecodeError::Other(_) => wrong(problem.to_owned()),
    }
}

/// The known word that is most like this one.
pub(crate) fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().copied().min_by_key(|candidate| strsim::damerau_levenshtein(key, candidate))
}
