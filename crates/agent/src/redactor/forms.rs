//! How a secret can be spelled: as it is, inside of JSON, in a URL, and in base64; in JSON and in a
//! URL also with every character escaped. Spellings that escape some characters and leave others at
//! will are not among them.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

/// Shorter secrets are not looked for.
pub(super) const SECRET_MIN_BYTES: usize = 8;

/// What `encodeURIComponent` and most libraries leave as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'!')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Every spelling of every secret, each once, in order.
pub(super) fn of_all(secrets: impl IntoIterator<Item = SecretString>) -> Vec<String> {
    let mut forms = BTreeSet::new();
    for secret in secrets {
        let secret = secret.expose_secret();
        if secret.len() >= SECRET_MIN_BYTES {
            forms.extend(of(secret));
        }
    }
    forms.into_iter().collect()
}

fn of(secret: &str) -> Vec<String> {
    let json = inner(&serde_json::Value::from(secret).to_string());
    let mut forms = vec![secret.to_owned(), in_ascii(&json), json, inner(&format!("{secret:?}"))];
    for set in [NON_ALPHANUMERIC, UNRESERVED] {
        let encoded = utf8_percent_encode(secret, set).to_string();
        forms.push(encoded.replace("%20", "+"));
        forms.push(in_lower_hex(&encoded));
        forms.push(encoded);
    }
    let all_percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    forms.push(all_percent.to_ascii_lowercase());
    forms.push(all_percent);
    for escaped in [
        secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>(),
        secret.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<String>(),
    ] {
        forms.push(escaped.replace('\\', r"\\")); // Escaped JSON inside of JSON.
        forms.push(escaped);
    }
    for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
        let encoded = engine.encode(secret);
        let padding = "=".repeat((4 - encoded.len() % 4) % 4);
        forms.push(format!("{encoded}{padding}"));
        forms.push(encoded);
        forms.extend((0..3).map(|shift| aligned(&engine, secret, shift)));
    }
    forms
}

/// A literal without its quotes.
fn inner(literal: &str) -> String {
    let inner = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(literal).to_owned()
}

/// JSON as Python writes it: `ü` as `\u00fc`.
fn in_ascii(json: &str) -> String {
    let mut ascii = String::new();
    for letter in json.chars() {
        if letter.is_ascii() {
            ascii.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            ascii.push_str(&format!("\\u{unit:04x}"));
        }
    }
    ascii
}

/// Percent-escapes in lower case: `%2F` as `%2f`.
fn in_lower_hex(encoded: &str) -> String {
    let mut hex = 0;
    encoded
        .chars()
        .map(|letter| {
            hex = if letter == '%' { 2 } else { i32::max(hex - 1, -1) };
            if hex >= 0 { letter.to_ascii_lowercase() } else { letter }
        })
        .collect()
}

/// The letters that a secret has in base64 behind `shift` other bytes, whatever stands around it.
fn aligned(engine: &impl Engine, secret: &str, shift: usize) -> String {
    let mut bytes = vec![0; shift];
    bytes.extend_from_slice(secret.as_bytes());
    let whole = bytes.len() * 8 / 6;
    let first = (shift * 8).div_ceil(6);
    engine.encode(&bytes).get(first..whole).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_json_escapes_what_is_beyond() {
        assert_eq!(in_ascii("aü😀"), "a\\u00fc\\ud83d\\ude00");
    }

    #[test]
    fn lower_hex_changes_only_escapes() {
        assert_eq!(in_lower_hex("A%2FB%C3%A4CD"), "A%2fB%c3%a4CD");
    }

    #[test]
    fn no_spelling_is_short_enough_to_hit_words() {
        for form in of_all([SecretString::from("ÿÿÿÿ".to_owned()), "12345678".into()]) {
            assert!(form.len() >= SECRET_MIN_BYTES, "{form}");
        }
        assert!(of_all([SecretString::from("1234567".to_owned())]).is_empty());
    }
}
