//! Earlier turns of the session: the newest as they were, older ones folded into a summary. Pure.

use protocol::message::Message;
use store::sessions::Turn;

/// Most turns of a session that are looked at.
pub(crate) const TURNS_MAX: u32 = 200;
/// Of the prompt, the share that earlier turns may take.
const HISTORY_SHARE: f64 = 0.35;
/// Of a folded turn, how much of each side the summary keeps, in characters.
const FOLDED_SIDE_CHARS: usize = 120;
/// Most characters of a summary; the oldest turns go first.
const SUMMARY_CHARS: usize = 4_000;

/// The earlier turns of a session, cut to fit.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct History {
    /// Turns that no longer fit.
    pub(crate) folded: Vec<Turn>,
    /// Turns that fit, as messages.
    pub(crate) messages: Vec<Message>,
}

impl History {
    /// Cuts turns, oldest first, to their share of `context_tokens`.
    pub(crate) fn fit(mut turns: Vec<Turn>, context_tokens: u64) -> Self {
        let budget = (context_tokens as f64 * HISTORY_SHARE) as u64;
        let mut used = 0;
        let kept = turns
            .iter()
            .rev()
            .take_while(|turn| {
                used +=
                    model::tokens::estimate(&turn.input) + model::tokens::estimate(&turn.output);
                used <= budget
            })
            .count();
        let recent = turns.split_off(turns.len() - kept);
        let messages = recent
            .into_iter()
            .flat_map(|turn| {
                let answer = Message::Assistant {
                    content: turn.output.clone(),
                    tool_calls: Vec::new(),
                    replay: None,
                };
                // The question stays even without an answer; an empty answer does not enter a prompt.
                let answer = (!turn.output.trim().is_empty()).then_some(answer);
                [Some(Message::User { content: turn.input }), answer].into_iter().flatten()
            })
            .collect();
        Self { folded: turns, messages }
    }

    /// The folded turns by their beginnings; none when nothing was folded.
    pub(crate) fn extract(&self) -> Option<String> {
        let mut lines = Vec::new();
        let mut chars = 0;
        for turn in self.folded.iter().rev() {
            let line = format!("- {} → {}", beginning(&turn.input), beginning(answer(turn)));
            chars += line.chars().count();
            if chars > SUMMARY_CHARS {
                break;
            }
            lines.push(line);
        }
        lines.reverse();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The folded turns for a model to summarise.
    pub(crate) fn transcript(&self) -> String {
        self.folded
            .iter()
            .map(|turn| format!("User: {}\nAssistant: {}\n", turn.input, answer(turn)))
            .collect()
    }
}

fn answer(turn: &Turn) -> &str {
    if turn.output.trim().is_empty() { "(no answer)" } else { &turn.output }
}

fn beginning(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= FOLDED_SIDE_CHARS {
        return flat;
    }
    flat.chars().take(FOLDED_SIDE_CHARS).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use protocol::id::RunId;

    use super::*;

    fn turn(input: &str, output: &str) -> Turn {
        Turn { run_id: RunId::generate(), input: input.into(), output: output.into() }
    }

    #[test]
    fn all_turns_stay_while_they_fit() {
        let history = History::fit(vec![turn("你好", "你好！"), turn("b", "c")], 1000);
        assert_eq!(history.messages.len(), 4);
        assert_eq!(history.extract(), None);
    }

    #[test]
    fn the_oldest_are_folded_to_their_beginnings() {
        let long = "很长".repeat(200);
        let history =
            History::fit(vec![turn("first\nquestion", &long), turn("second", "short")], 200);
        assert_eq!(history.messages.len(), 2);
        let summary = history.extract().unwrap();
        assert!(summary.starts_with("- first question → 很长"), "{summary}");
        assert!(summary.ends_with('…') && summary.chars().count() < 160, "{summary}");
    }

    #[test]
    fn a_summary_is_bounded_and_keeps_the_newest() {
        let turns: Vec<_> =
            (0..200).map(|i| turn(&format!("q{i} {}", "x".repeat(200)), "a")).collect();
        let summary = History::fit(turns, 10).extract().unwrap();
        assert!(summary.chars().count() <= SUMMARY_CHARS + 200);
        assert!(summary.contains("q199") && !summary.contains("- q0 "));
    }
}
