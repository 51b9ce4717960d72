//! JSON as providers really send it: half of a surrogate pair must not spoil an answer.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// Parses `text`; escapes of lone surrogates are read as U+FFFD instead of failing.
///
/// Some servers cut their text by UTF-16 units, so that an emoji arrives as two halves.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match without_lone_surrogates(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(repaired) => serde_json::from_str(&repaired),
    })
}

fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    let mut repaired = String::new();
    let mut changed = false;
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at_checked(at).unwrap_or((rest, ""));
        repaired.push_str(before);
        let whole_pair = is_surrogate(escape, 'd', "89ab")
            && escape.get(6..).is_some_and(|low| is_surrogate(low, 'd', "cdef"));
        let length = if whole_pair {
            12
        } else if is_surrogate(escape, 'd', "89abcdef") {
            changed = true;
            repaired.push_str("\\ufffd");
            rest = escape.get(6..).unwrap_or_default();
            continue;
        } else {
            1 + escape.chars().nth(1).map_or(0, char::len_utf8)
        };
        let (kept, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        repaired.push_str(kept);
        rest = after;
    }
    repaired.push_str(rest);
    if changed { Cow::Owned(repaired) } else { Cow::Borrowed(text) }
}

/// `text` begins with `\u`, the digit `first`, one digit of `second`, and two more digits.
fn is_surrogate(text: &str, first: char, second: &str) -> bool {
    let Some(digits) = text.strip_prefix("\\u").and_then(|text| text.get(..4)) else {
        return false;
    };
    let mut digits = digits.chars().map(|digit| digit.to_ascii_lowercase());
    digits.next() == Some(first)
        && digits.next().is_some_and(|digit| second.contains(digit))
        && digits.all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse::<String>(text).unwrap(), expected, "{text}");
        };
        check(r#""a\ud83d\ude42b""#, "a🙂b");
        check(r#""a\ud83db""#, "a\u{fffd}b");
        check(r#""\ude42\ud83d""#, "\u{fffd}\u{fffd}");
        check(r#""\ud83d\ud83d\ude42""#, "\u{fffd}🙂");
        check(r#""\\ud83d\ud83d""#, "\\ud83d\u{fffd}");
        assert!(parse::<String>(r#""\ud83d"#).is_err());
        assert!(parse::<String>("\"\\").is_err());
    }
}
