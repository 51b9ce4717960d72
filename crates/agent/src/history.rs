//! Earlier turns of the session: the newest as they were, older ones folded into a summary. Pure.

use protocol::{
    id::RunId,
    message::{FoldedTurns, Message},
};
use store::sessions::Turn;

use crate::context::share;

/// Most turns of a session that are looked at.
pub(crate) const TURNS_MAX: u32 = 200;
/// Of the prompt, the share that earlier turns may take.
const HISTORY_SHARE: f64 = 0.35;
/// Of a folded turn, how much of each side the summary keeps, in characters.
const FOLDED_SIDE_CHARS: usize = 120;
/// Most characters of a summary; the oldest turns go first.
const SUMMARY_CHARS: usize = 4_000;

/// The earlier turns of a session: which are shown as they were, and which are to be folded now.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct History {
    /// What was folded before.
    folded: Option<FoldedTurns>,
    /// Turns that no longer fit.
    folding: Vec<Turn>,
    /// Turns that fit.
    shown: Vec<Turn>,
}

impl History {
    /// Leaves turns, oldest first, as an earlier run has left them, as long as the rest fits into its
    /// share of `context_tokens`. If not, they are folded down to half of that: prompts of the session
    /// begin alike until the rest has grown again.
    pub(crate) fn fit(turns: Vec<Turn>, folded: Option<FoldedTurns>, context_tokens: u64) -> Self {
        let mut history = Self::as_folded(turns, folded);
        if !Self::fits(&history.shown, context_tokens) {
            let most = share(context_tokens, HISTORY_SHARE) / 2;
            let (mut used, mut left) = (total(&history.shown), history.shown.len());
            let first = history.shown.iter().position(|turn| {
                let is_enough = used <= most && left <= TURNS_MAX as usize / 2;
                used -= tokens(turn);
                left -= 1;
                is_enough
            });
            let kept = history.shown.split_off(first.unwrap_or(history.shown.len()));
            history.folding = std::mem::replace(&mut history.shown, kept);
        }
        history
    }

    /// Turns, oldest first, exactly as they were folded when the run began.
    pub(crate) fn as_folded(mut turns: Vec<Turn>, folded: Option<FoldedTurns>) -> Self {
        turns.retain(|turn| folded.as_ref().is_none_or(|folded| turn.run_id > folded.through));
        Self { folded, folding: Vec::new(), shown: turns }
    }

    /// All of these turns fit.
    pub(crate) fn fits(turns: &[Turn], context_tokens: u64) -> bool {
        // With as many as are looked at, the first would be another one for each run.
        turns.len() < TURNS_MAX as usize && total(turns) <= share(context_tokens, HISTORY_SHARE)
    }

    /// There are turns to fold.
    pub(crate) fn is_folding(&self) -> bool {
        !self.folding.is_empty()
    }

    /// What is folded, with this summary of it if more has to be folded now.
    pub(crate) fn folded_as(&self, summary: impl FnOnce() -> String) -> Option<FoldedTurns> {
        match self.folding.last() {
            Some(last) => Some(FoldedTurns { through: last.run_id, summary: summary() }),
            None => self.folded.clone(),
        }
    }

    /// The runs of the turns that are shown, oldest first.
    pub(crate) fn runs(&self) -> Vec<RunId> {
        self.shown.iter().map(|turn| turn.run_id).collect()
    }

    /// The turns that are shown, as messages.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let turns = self.shown.iter();
        turns.flat_map(|turn| Message::turn(turn.input.clone(), turn.output.clone())).collect()
    }

    /// A summary by the beginnings of the turns.
    pub(crate) fn extract(&self) -> String {
        let before = self.folded.iter().flat_map(|folded| folded.summary.lines());
        let now = self
            .folding
            .iter()
            .map(|turn| format!("- {} → {}", beginning(&turn.input), beginning(answer(turn))));
        newest_lines(before.map(str::to_owned).chain(now).collect(), SUMMARY_CHARS)
    }

    /// What is to be summarised, as one text.
    pub(crate) fn transcript(&self) -> String {
        let before = self.folded.iter().map(|folded| format!("Before: {}\n", folded.summary));
        let now = self
            .folding
            .iter()
            .map(|turn| format!("User: {}\nAssistant: {}\n", turn.input, answer(turn)));
        before.chain(now).collect()
    }
}

/// As many of the last lines as fit into so many characters; the last in any case.
pub(crate) fn newest_lines(mut lines: Vec<String>, most_chars: usize) -> String {
    let mut chars = 0;
    let older = lines.iter().rposition(|line| {
        chars += line.chars().count();
        chars > most_chars
    });
    let first = older.map_or(0, |at| (at + 1).min(lines.len() - 1));
    lines.drain(..first);
    lines.join("\n")
}

fn total(turns: &[Turn]) -> u64 {
    turns.iter().map(tokens).sum()
}

fn tokens(turn: &Turn) -> u64 {
    model::tokens::estimate(&turn.input) + model::tokens::estimate(&turn.output)
}

fn answer(turn: &Turn) -> &str {
    if turn.output.trim().is_empty() { "(no answer)" } else { &turn.output }
}

pub(crate) fn beginning(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= FOLDED_SIDE_CHARS {
        return flat;
    }
    flat.chars().take(FOLDED_SIDE_CHARS).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(input: &str, output: &str) -> Turn {
        Turn { run_id: RunId::generate(), input: input.into(), output: output.into() }
    }

    #[test]
    fn all_turns_stay_while_they_fit() {
        let turns = vec![turn("你好", "你好！"), turn("b", "c")];
        assert!(History::fits(&turns, 1000));
        let history = History::fit(turns, None, 1000);
        assert_eq!(history.messages().len(), 4);
        assert_eq!(history.folded_as(|| unreachable!()), None);
    }

    #[test]
    fn the_oldest_are_folded_to_their_beginnings() {
        let long = "很长".repeat(200);
        let turns = vec![turn("first\nquestion", &long), turn("second", "short")];
        let through = turns[0].run_id;
        let history = History::fit(turns, None, 200);
        assert_eq!(history.messages().len(), 2);
        let folded = history.folded_as(|| history.extract()).unwrap();
        assert_eq!(folded.through, through);
        let summary = folded.summary;
        assert!(summary.starts_with("- first question → 很长"), "{summary}");
        assert!(summary.ends_with('…') && summary.chars().count() < 160, "{summary}");
    }

    #[test]
    fn a_session_is_folded_in_large_steps_and_never_twice() {
        let (mut turns, mut folded, mut boundaries) = (Vec::new(), None, Vec::new());
        for n in 0..100 {
            turns.push(turn(&format!("question {n}"), &"answer ".repeat(20)));
            let history = History::fit(turns.clone(), folded, 1_000);
            let shown = history.messages().len() / 2;
            folded = history.folded_as(|| history.extract());
            if boundaries.last() != Some(&(turns.len() - shown)) {
                boundaries.push(turns.len() - shown);
            }
            // A run that is taken up again finds the turns as it has left them.
            let again = History::as_folded(turns.clone(), folded.clone());
            assert_eq!(again.messages(), history.messages());
        }
        assert!(boundaries.windows(2).all(|pair| pair[1] - pair[0] >= 4), "{boundaries:?}");
        assert!(boundaries.len() > 10, "{boundaries:?}");
    }

    #[test]
    fn a_summary_is_bounded_and_keeps_the_newest() {
        let turns: Vec<_> =
            (0..200).map(|i| turn(&format!("q{i} {}", "x".repeat(200)), "a")).collect();
        let summary = History::fit(turns, None, 10).extract();
        assert!(summary.chars().count() <= SUMMARY_CHARS + 200);
        assert!(summary.contains("q199") && !summary.contains("- q0 "));
    }
}
