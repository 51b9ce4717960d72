//! What a run does when a model gives no answer: ask the next one of its list, wait, send a shorter
//! prompt, or fail; and what the failure says about the model to everybody else. Pure: both tables are
//! in docs/models.md.

use std::time::Duration;

use protocol::event::SwitchReason;

use crate::error::ModelError;

/// A model that rests no longer than this is waited for: another one would have to read the whole
/// prompt anew.
pub const SHORT_REST: Duration = Duration::from_secs(5);

/// Why the model at hand gives no answer.
#[derive(Debug, Clone, Copy)]
pub enum Trouble<'a> {
    /// It was asked, and failed in the end.
    Failed(&'a ModelError),
    /// It is not to be asked for so long.
    Rests(Duration),
}

/// What the other models of the list can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Others {
    /// One that was not asked yet may be asked now.
    pub ready: bool,
    /// And takes longer prompts.
    pub wider: bool,
    /// None may be asked now; but one that was not asked yet rests, and may be later.
    pub resting: bool,
}

/// What the run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Ask another model.
    Switch(SwitchReason),
    /// Wait until the model may be asked.
    Wait,
    /// Send it a shorter prompt.
    Shorten,
    Fail,
}

/// What the run does about it.
pub fn fallback(trouble: Trouble<'_>, others: Others) -> Fallback {
    match trouble {
        Trouble::Rests(left) if others.ready && left > SHORT_REST => {
            Fallback::Switch(SwitchReason::Resting)
        }
        Trouble::Rests(_) => Fallback::Wait,
        Trouble::Failed(ModelError::Resting) if !others.ready => Fallback::Wait,
        Trouble::Failed(error) => match switch_reason(error) {
            Some(SwitchReason::ContextExceeded) if !others.wider => Fallback::Shorten,
            Some(reason) if others.ready => Fallback::Switch(reason),
            Some(_) if others.resting => Fallback::Wait,
            Some(_) | None => Fallback::Fail,
        },
    }
}

/// Why another model may succeed; none where it would fail in the same way.
fn switch_reason(error: &ModelError) -> Option<SwitchReason> {
    Some(match error {
        ModelError::RateLimited { .. } => SwitchReason::RateLimited,
        ModelError::Unavailable { .. } => SwitchReason::Unavailable,
        ModelError::Timeout { .. } => SwitchReason::Timeout,
        ModelError::Quota { .. } => SwitchReason::Quota,
        // Another provider has another key.
        ModelError::Auth { .. } => SwitchReason::Auth,
        ModelError::Forbidden { .. } => SwitchReason::Forbidden,
        ModelError::Refused { .. } => SwitchReason::Refused,
        ModelError::PromptTooLong { .. } => SwitchReason::ContextExceeded,
        ModelError::BadRequest { status: 404 | 410, .. } => SwitchReason::NoSuchModel,
        ModelError::Truncated
        | ModelError::Empty { cut_at: None }
        | ModelError::Protocol { .. }
        | ModelError::Limit { .. } => SwitchReason::InvalidAnswer,
        ModelError::Resting => SwitchReason::Resting,
        // Ours is the fault: of the request, or of the bound that it sets.
        ModelError::BadRequest { .. } | ModelError::Empty { cut_at: Some(_) } => return None,
    })
}

/// What the outcome of an attempt says about the model, whoever asks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelMark {
    /// It is in trouble: a few in a row open its breaker.
    Failure,
    /// It asks everybody to wait.
    Rest(Duration),
    /// It answers; what is wrong lies with this one request.
    Alive,
}

/// What an error says about the model. Nothing that one tenant's prompt may cause counts against it.
pub fn mark(error: &ModelError) -> Option<ModelMark> {
    Some(match error {
        ModelError::RateLimited { retry_after: Some(wait), .. } => ModelMark::Rest(*wait),
        ModelError::RateLimited { retry_after: None, .. }
        | ModelError::Unavailable { .. }
        | ModelError::Truncated
        | ModelError::Timeout { .. }
        | ModelError::Quota { .. }
        | ModelError::Auth { .. } => ModelMark::Failure,
        ModelError::Forbidden { .. }
        | ModelError::Refused { .. }
        | ModelError::PromptTooLong { .. }
        | ModelError::BadRequest { .. }
        | ModelError::Empty { .. }
        | ModelError::Protocol { .. }
        | ModelError::Limit { .. } => ModelMark::Alive,
        ModelError::Resting => return None, // It was not asked.
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::error::Phase;

    #[test]
    fn each_class_of_error_has_its_move() {
        let said = || String::from("…");
        let bad = |status| ModelError::BadRequest { status, message: said() };
        let limited = |retry_after| ModelError::RateLimited { retry_after, message: said() };
        let silent = ModelError::Timeout { phase: Phase::Idle, after: Duration::from_secs(1) };
        let errors = [
            ("rate limited", limited(None)),
            ("rate limited, wait", limited(Some(Duration::from_secs(7)))),
            (
                "overloaded",
                ModelError::Unavailable { status: Some(529), retry_after: None, message: said() },
            ),
            ("silent", silent),
            ("no credit", ModelError::Quota { message: said() }),
            ("key rejected", ModelError::Auth { message: said() }),
            ("not allowed", ModelError::Forbidden { message: said() }),
            ("declined", ModelError::Refused { message: said() }),
            ("prompt too long", ModelError::PromptTooLong { message: said() }),
            ("bad request", bad(400)),
            ("no such model", bad(404)),
            ("broken off", ModelError::Truncated),
            ("empty", ModelError::Empty { cut_at: None }),
            ("empty, cut", ModelError::Empty { cut_at: Some(Some(16)) }),
            ("not the format", ModelError::Protocol { message: said() }),
            ("too large", ModelError::Limit { limit: "TEXT_MAX_BYTES", max: 1 }),
            ("resting", ModelError::Resting),
        ];
        let others = [
            (false, false, false),
            (false, false, true),
            (true, false, false),
            (true, true, false),
        ];
        let moves = |trouble: Trouble<'_>| {
            let others = others.map(|(ready, wider, resting)| Others { ready, wider, resting });
            others.map(|others| format!("{:?}", fallback(trouble, others))).join(" | ")
        };
        let line = |(name, error): &(&str, ModelError)| {
            let mark = mark(error).map_or("-".to_owned(), |mark| format!("{mark:?}"));
            format!("{name}: {} | {mark}", moves(Trouble::Failed(error)))
        };
        let mut lines: Vec<_> = errors.iter().map(line).collect();
        for seconds in [5, 6] {
            let rests = Trouble::Rests(Duration::from_secs(seconds));
            lines.push(format!("rests {seconds} s: {}", moves(rests)));
        }
        // Error: no other model | one that rests | one that may be asked | and takes longer prompts |
        // what it says of the model
        expect![[r#"
            rate limited: Fail | Wait | Switch(RateLimited) | Switch(RateLimited) | Failure
            rate limited, wait: Fail | Wait | Switch(RateLimited) | Switch(RateLimited) | Rest(7s)
            overloaded: Fail | Wait | Switch(Unavailable) | Switch(Unavailable) | Failure
            silent: Fail | Wait | Switch(Timeout) | Switch(Timeout) | Failure
            no credit: Fail | Wait | Switch(Quota) | Switch(Quota) | Failure
            key rejected: Fail | Wait | Switch(Auth) | Switch(Auth) | Failure
            not allowed: Fail | Wait | Switch(Forbidden) | Switch(Forbidden) | Alive
            declined: Fail | Wait | Switch(Refused) | Switch(Refused) | Alive
            prompt too long: Shorten | Shorten | Shorten | Switch(ContextExceeded) | Alive
            bad request: Fail | Fail | Fail | Fail | Alive
            no such model: Fail | Wait | Switch(NoSuchModel) | Switch(NoSuchModel) | Alive
            broken off: Fail | Wait | Switch(InvalidAnswer) | Switch(InvalidAnswer) | Failure
            empty: Fail | Wait | Switch(InvalidAnswer) | Switch(InvalidAnswer) | Alive
            empty, cut: Fail | Fail | Fail | Fail | Alive
            not the format: Fail | Wait | Switch(InvalidAnswer) | Switch(InvalidAnswer) | Alive
            too large: Fail | Wait | Switch(InvalidAnswer) | Switch(InvalidAnswer) | Alive
            resting: Wait | Wait | Switch(Resting) | Switch(Resting) | -
            rests 5 s: Wait | Wait | Wait | Wait
            rests 6 s: Wait | Wait | Switch(Resting) | Switch(Resting)"#]]
        .assert_eq(&lines.join("\n"));
    }
}
