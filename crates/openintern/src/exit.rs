//! How a command ends: the exit code, and what is said on the way out. It prints nothing.

use std::fmt;

/// The exit codes that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It is done; a run that was watched is completed.
    Done = 0,
    /// Something went wrong that has no code of its own.
    Failed = 1,
    /// The command line, the configuration or the request is wrong.
    Usage = 2,
    /// The run that was watched ended as failed or cancelled.
    RunFailed = 3,
    /// Not authenticated, or not allowed.
    Denied = 4,
    /// No such run or memory in this scope.
    NotFound = 5,
    /// The server does not answer.
    Unreachable = 6,
    /// A conflict, a quota or a rate limit.
    Conflict = 8,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command stopped early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Whoever read our output went away: nothing to say, nobody to say it to.
    OutputClosed,
    /// Something went wrong.
    Failure(Failure),
}

/// What went wrong, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) request_id: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, request_id: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// An error of a library with its causes on one line. Ours carry their hint in the text, as
    /// `…; hint: …` or `… (hint: …)`; it becomes the hint.
    pub(crate) fn from_error(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        Self::from_text(exit, &text)
    }

    pub(crate) fn from_text(exit: Exit, text: &str) -> Self {
        let (message, hint) = split_hint(text);
        Self { exit, message, hint, request_id: None }
    }
}

fn split_hint(text: &str) -> (String, Option<String>) {
    if let Some((message, rest)) = text.split_once("; hint: ") {
        return (message.to_owned(), Some(rest.to_owned()));
    }
    match text
        .split_once(" (hint: ")
        .and_then(|(message, rest)| Some((message, split_at_close(rest)?)))
    {
        Some((message, (hint, after))) => (format!("{message}{after}"), Some(hint.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// Splits at the bracket that closes one which was opened before `text`.
fn split_at_close(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    let (at, _) = text.char_indices().find(|(_, letter)| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    let (inside, rest) = text.split_at_checked(at)?;
    Some((inside, rest.strip_prefix(')')?))
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_in_the_text_becomes_the_hint() {
        let check = |text: &str, message: &str, hint: Option<&str>| {
            let failure = Failure::from_text(Exit::Failed, text);
            assert_eq!((failure.message.as_str(), failure.hint.as_deref()), (message, hint));
        };
        check("it broke", "it broke", None);
        check("it broke; hint: mend it", "it broke", Some("mend it"));
        check("it broke (hint: mend (all of) it)", "it broke", Some("mend (all of) it"));
        check("it broke (hint: mend it): cause", "it broke: cause", Some("mend it"));
        check("it broke (hint: mend", "it broke (hint: mend", None);
    }
}
