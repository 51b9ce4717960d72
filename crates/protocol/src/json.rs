//! Reads JSON as other programs really write it: common breaches of the rules are mended.

use std::borrow::Cow;

/// The text with invalid JSON put right: escapes of lone surrogates become U+FFFD, since
/// some servers cut their text by UTF-16 units; `NaN` and infinities, which Python writes, become
/// null; line breaks and other control characters in a string, which models write, become escapes.
/// All else stays as it is, right or wrong.
pub fn mended(text: &str) -> Cow<'_, str> {
    without_raw_controls(without_odd_numbers(without_lone_surrogates(text, |_| "\\ufffd".into())))
}

/// Like [`mended`], but a lone surrogate is kept as a character of the second private plane, U+10D800
/// to U+10DFFF: [`joined`] puts it together with its other half, where that comes in a later text.
pub fn mended_in_parts(text: &str) -> Cow<'_, str> {
    let kept = |digits: &str| match u32::from_str_radix(digits, 16).ok().and_then(half) {
        Some(c) => c.to_string(),
        None => "\\ufffd".to_owned(),
    };
    without_raw_controls(without_odd_numbers(without_lone_surrogates(text, kept)))
}

/// Where halves of characters are kept.
const HALVES: u32 = 0x10_0000;

fn half(surrogate: u32) -> Option<char> {
    char::from_u32(HALVES + surrogate)
}

fn surrogate(c: char) -> Option<u32> {
    u32::from(c).checked_sub(HALVES).filter(|unit| (0xd800..=0xdfff).contains(unit))
}

/// Puts halves of characters together that [`mended_in_parts`] has kept; one without another is U+FFFD.
/// `waiting` is the first half that stood at the end of the text before, and then at the end of this
/// one.
pub fn joined(waiting: &mut Option<char>, text: String) -> String {
    if waiting.is_none() && !text.contains(|c| surrogate(c).is_some()) {
        return text;
    }
    let mut whole = String::with_capacity(text.len());
    for c in text.chars() {
        let high = waiting.take().and_then(surrogate);
        match (high, surrogate(c)) {
            (Some(high), Some(low @ 0xdc00..)) => {
                let c = char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                whole.extend(c);
            }
            (high, unit) => {
                whole.extend(high.map(|_| char::REPLACEMENT_CHARACTER));
                match unit {
                    None => whole.push(c),
                    Some(..0xdc00) => *waiting = Some(c),
                    Some(_) => whole.push(char::REPLACEMENT_CHARACTER),
                }
            }
        }
    }
    whole
}

/// The text with integers beyond 64 bits as strings of their digits: as numbers they would be rounded.
pub fn with_exact_integers(text: &str) -> Cow<'_, str> {
    // No integer of so few digits is out of range.
    if !text.as_bytes().windows(19).any(|digits| digits.iter().all(u8::is_ascii_digit)) {
        return Cow::Borrowed(text);
    }
    let mut exact = String::with_capacity(text.len() + 2);
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_number = !in_string && (c == '-' || c.is_ascii_digit());
        let length = match is_number {
            true => rest.find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c)),
            false => Some(c.len_utf8()),
        };
        let (token, after) =
            rest.split_at_checked(length.unwrap_or(rest.len())).unwrap_or((rest, ""));
        let is_integer = is_number && token.len() >= 19 && !token.contains(['.', 'e', 'E']);
        if is_integer && token.parse::<u64>().is_err() && token.parse::<i64>().is_err() {
            exact.push_str(&format!("\"{token}\""));
        } else {
            exact.push_str(token);
        }
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && c == '\\' && !escaped;
        rest = after;
    }
    if exact == text { Cow::Borrowed(text) } else { Cow::Owned(exact) }
}

fn without_raw_controls(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains(|c: char| c < ' ') {
        return text;
    }
    let mut mended = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if !in_string || c >= ' ' => mended.push(c),
            '\n' => mended.push_str("\\n"),
            '\r' => mended.push_str("\\r"),
            '\t' => mended.push_str("\\t"),
            _ => mended.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && c == '\\' && !escaped;
    }
    if mended == *text { text } else { Cow::Owned(mended) }
}

fn without_lone_surrogates(text: &str, instead: impl Fn(&str) -> String) -> Cow<'_, str> {
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
            repaired.push_str(&instead(escape.get(2..6).unwrap_or_default()));
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

/// Outside of strings nothing of JSON is spelt with an `N` or an `I`.
fn without_odd_numbers(text: Cow<'_, str>) -> Cow<'_, str> {
    const ODD: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !ODD.iter().any(|odd| text.contains(odd)) {
        return text;
    }
    let mut mended = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest: &str = &text;
    while let Some(c) = rest.chars().next() {
        let odd = ODD.iter().find(|odd| !in_string && rest.starts_with(**odd));
        let (written, length) = match odd {
            Some(odd) => ("null", odd.len()),
            None => (rest.get(..c.len_utf8()).unwrap_or_default(), c.len_utf8()),
        };
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && c == '\\' && !escaped;
        mended.push_str(written);
        rest = rest.get(length..).unwrap_or_default();
    }
    if mended == *text { text } else { Cow::Owned(mended) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_in_a_string_become_escapes() {
        let check = |text: &str, expected: &str| {
            let parsed: String = serde_json::from_str(&mended(text)).unwrap();
            assert_eq!(parsed, expected, "{text}");
        };
        check("\"a\nb\tc\u{1}\"", "a\nb\tc\u{1}");
        check("\n\"say \\\"a\nb\\\"\"\n", "say \"a\nb\"");
        let spaced = "{\n\t\"a\": \"b\"\r\n}";
        assert!(matches!(mended(spaced), Cow::Borrowed(_)), "between values they are no fault");
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        let check = |text: &str, expected: &str| {
            let parsed: String = serde_json::from_str(&mended(text)).unwrap();
            assert_eq!(parsed, expected, "{text}");
        };
        check(r#""a\ud83d\ude42b""#, "a🙂b");
        check(r#""a\ud83db""#, "a\u{fffd}b");
        check(r#""\ude42\ud83d""#, "\u{fffd}\u{fffd}");
        check(r#""\ud83d\ud83d\ude42""#, "\u{fffd}🙂");
        check(r#""\\ud83d\ud83d""#, "\\ud83d\u{fffd}");
        assert_eq!(mended(r#""\ud83d"#), r#""\ufffd"#);
        assert_eq!(mended("\"\\"), "\"\\");
    }

    #[test]
    fn halves_of_a_character_in_two_texts_are_put_together() {
        let read = |text: &str| serde_json::from_str::<String>(&mended_in_parts(text)).unwrap();
        let mut waiting = None;
        let mut whole = |text: &str| joined(&mut waiting, read(text));
        let parts = [
            r#""a\ud83d""#,
            r#""""#,
            r#""\ude42b\ud83d""#,
            r#""c\ude42\ud83d""#,
            r#""\ud83d\ude42""#,
        ];
        let whole: Vec<String> = parts.into_iter().map(&mut whole).collect();
        assert_eq!(whole, ["a", "", "🙂b", "\u{fffd}c\u{fffd}", "\u{fffd}🙂"]);
        assert_eq!(waiting, None);
    }

    #[test]
    fn integers_that_would_be_rounded_become_strings() {
        let check = |text: &str, expected: &str| assert_eq!(with_exact_integers(text), expected);
        check(
            r#"{"a":[18446744073709551615,18446744073709551616],"b":"\"18446744073709551616"}"#,
            r#"{"a":[18446744073709551615,"18446744073709551616"],"b":"\"18446744073709551616"}"#,
        );
        check("-9223372036854775809", "\"-9223372036854775809\"");
        check(
            "[1234567890123456789012.5,12345678901234567890123e1]",
            "[1234567890123456789012.5,12345678901234567890123e1]",
        );
    }

    #[test]
    fn numbers_that_are_none_become_null() {
        let check = |text: &str, expected: &str| assert_eq!(mended(text), expected);
        check(r#"{"a":NaN,"b":[-Infinity, Infinity]}"#, r#"{"a":null,"b":[null, null]}"#);
        check(r#"{"NaN":"\"NaN, -Infinity\\"}"#, r#"{"NaN":"\"NaN, -Infinity\\"}"#);
        check(r#"{"a":1}"#, r#"{"a":1}"#);
    }
}
