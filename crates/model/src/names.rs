//! Names of tools that a model said: which tool is meant, and how they go back to a provider.

use std::borrow::Cow;

use protocol::tool::ToolInfo;

/// Longest name that OpenAI and Anthropic accept, in characters
/// ([reference](https://platform.openai.com/docs/api-reference/chat/create)); they refuse a history
/// with a longer one.
const WIRE_NAME_MAX_CHARS: usize = 64;

/// A name as every provider accepts it: `^[a-zA-Z0-9_-]{1,64}$`.
pub(crate) fn as_sent(name: &str) -> Cow<'_, str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() {
        return Cow::Borrowed("unnamed");
    }
    if name.len() <= WIRE_NAME_MAX_CHARS && name.chars().all(is_allowed) {
        return Cow::Borrowed(name);
    }
    let mended = name.chars().map(|c| if is_allowed(c) { c } else { '_' });
    Cow::Owned(mended.take(WIRE_NAME_MAX_CHARS).collect())
}

/// The offered tool that a name means, where the model wrote its own format around it; else the name.
pub(crate) fn meant(said: String, offered: &[ToolInfo]) -> String {
    let is_offered = |name: &str| offered.iter().any(|tool| tool.name == name);
    if is_offered(&said) {
        return said;
    }
    // Behind it a channel, as in `search<|channel|>commentary`; before it a namespace; behind that a
    // place, as in `functions.search:0`.
    let bare = said.split("<|").next().unwrap_or_default().trim();
    let bare = bare.strip_prefix("functions.").unwrap_or(bare);
    let without_place = bare
        .rsplit_once(':')
        .filter(|(_, place)| !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_digit()));
    let candidates = [Some(bare), without_place.map(|(name, _)| name)];
    let tool = candidates.into_iter().flatten().find(|name| is_offered(name)).map(str::to_owned);
    tool.unwrap_or(said)
}

#[cfg(test)]
mod tests {
    use protocol::tool::{Approval, Effect, ToolSource};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_mended_for_the_provider() {
        let (long, cut) = ("n".repeat(70), "n".repeat(64));
        for (said, sent) in [
            ("good__echo", "good__echo"),
            ("multi_tool_use.parallel", "multi_tool_use_parallel"),
            ("functions.good__echo", "functions_good__echo"),
            ("a b", "a_b"),
            ("\u{5929}\u{6c14}", "__"),
            ("", "unnamed"),
            (long.as_str(), cut.as_str()),
        ] {
            assert_eq!(as_sent(said), sent, "{said:?}");
        }
    }

    #[test]
    fn what_a_model_writes_around_a_name_is_left_out() {
        let tool = ToolInfo {
            name: "good__echo".into(),
            description: String::new(),
            input_schema: json!({}),
            effect: Effect::ReadOnly,
            approval: Approval::Never,
            source: ToolSource::Builtin,
        };
        for (said, expected) in [
            ("good__echo", "good__echo"),
            ("functions.good__echo", "good__echo"),
            ("functions.good__echo:0", "good__echo"),
            ("good__echo<|channel|>commentary", "good__echo"),
            ("functions.absent", "functions.absent"),
            ("echo", "echo"),
            ("", ""),
        ] {
            assert_eq!(meant(said.into(), std::slice::from_ref(&tool)), expected);
        }
    }
}
