//! The results of the demo's calls, and the reasons why it could not make one.

use serde_json::Value;

/// Most memories that an answer quotes.
const QUOTED_HITS_MAX: usize = 3;
/// Hits with less than this part of the best score are not quoted.
const QUOTED_SCORE_MIN: f64 = 0.5;

/// The result of a call.
pub(super) struct CallOutcome<'a> {
    pub(super) content: &'a str,
    pub(super) is_error: bool,
}

/// A memory that a search found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct QuotedHit {
    pub(super) id: String,
    pub(super) snippet: String,
    score: f64,
    layer: String,
}

/// Why a thing cannot even be tried.
#[derive(Debug, PartialEq)]
pub(super) enum Problem {
    /// The tool is not offered.
    NoTool { tool: &'static str },
    /// The tool needs arguments that the user did not give.
    Missing { tool: String, arguments: Vec<String> },
}

/// The hits of a search that are worth quoting, best first: facts before what merely happened.
pub(super) fn quotable_hits(content: &str) -> Vec<QuotedHit> {
    let value: Value = serde_json::from_str(content).unwrap_or_default();
    let list = value.as_array().or_else(|| value.as_object()?.values().find_map(Value::as_array));
    let text =
        |hit: &Value, key: &str| hit.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut hits: Vec<QuotedHit> = list
        .into_iter()
        .flatten()
        .map(|hit| QuotedHit {
            id: text(hit, "id"),
            snippet: text(hit, "snippet").trim().to_owned(),
            score: hit.get("score").and_then(Value::as_f64).unwrap_or(0.0),
            layer: text(hit, "type"),
        })
        .filter(|hit| !hit.snippet.is_empty())
        .collect();
    if hits.iter().any(|hit| hit.layer != "episodic") {
        hits.retain(|hit| hit.layer != "episodic");
    }
    let best = hits.iter().map(|hit| hit.score).fold(0.0, f64::max);
    hits.retain(|hit| hit.score >= best * QUOTED_SCORE_MIN);
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits.truncate(QUOTED_HITS_MAX);
    hits
}
