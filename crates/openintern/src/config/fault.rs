//! What is wrong with a configuration, in words for whoever wrote it. Shows no values of secrets.

use config::ConfigError;

use crate::exit::{Exit, Failure};

/// The file is no TOML.
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
    Failure::new(
        Exit::Usage,
        format!("{} is no TOML: {place}: {problem}", file.unwrap_or("the configuration")),
    )
}

/// A key, or its value, is wrong. `origin` says where a key was set.
pub(crate) fn of_key(
    path: &str,
    problem: &str,
    origin: impl Fn(&str) -> Option<String>,
) -> Failure {
    let problem = problem.split(" for key `").next().unwrap_or(problem);
    let at = |key: &str| origin(key).map(|origin| format!(" in {origin}")).unwrap_or_default();
    match unknown_key(problem) {
        Some((key, known)) => {
            let table = path.strip_suffix(key).unwrap_or(path).trim_end_matches('.');
            let whole = if table.is_empty() || table == "?" {
                key.to_owned()
            } else {
                format!("{table}.{key}")
            };
            let failure = Failure::new(Exit::Usage, format!("unknown key `{whole}`{}", at(&whole)));
            match nearest(key, &known) {
                Some(nearest) => failure
                    .hint(format!("did you mean `{nearest}`? Known here: {}", known.join(", "))),
                None => failure,
            }
        }
        None => {
            let problem = match problem.split_once(" does not have variant constructor ") {
                Some((_, value)) => format!("there is no such choice as `{value}`"),
                None if may_be_secret(path) => without_text(problem),
                None => problem.to_owned(),
            };
            Failure::from_text(Exit::Usage, &format!("`{path}`{}: {problem}", at(path)))
        }
    }
}

/// Whether what stands at a key, or was meant to stand below it, may be a secret.
fn may_be_secret(path: &str) -> bool {
    ["model", "server.database_url", "mcp_servers"].iter().any(|table| path.starts_with(table))
}

/// `invalid type: string "…", expected a map` without what the string was.
fn without_text(problem: &str) -> String {
    let parts = problem.split_once("string \"").zip(problem.rsplit_once("\", expected"));
    match parts {
        Some(((before, _), (_, after))) => format!("{before}a string, expected{after}"),
        None => problem.to_owned(),
    }
}

/// Takes serde's sentence about an unknown field apart: the field, and what it could have been.
fn unknown_key(problem: &str) -> Option<(&str, Vec<&str>)> {
    let (_, rest) = problem.split_once("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).collect();
    Some((key, known))
}

fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().copied().min_by_key(|candidate| strsim::damerau_levenshtein(key, candidate))
}
