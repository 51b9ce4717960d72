//! Keeps credentials out of what is stored and logged: the secrets of this installation in every
//! spelling, and texts that look like a well-known credential. It does not find secrets that are
//! split over two fields, or secrets that a user types into a prompt.

mod forms;
mod records;

use std::{
    borrow::Cow,
    fmt,
    ops::Range,
    sync::{Arc, LazyLock},
};

use aho_corasick::AhoCorasick;
use regex::Regex;
use secrecy::SecretString;
use serde_json::{Map, Value};

/// Takes the place of a credential.
pub const MASK: &str = "[redacted]";

/// What well-known credentials look like: our own keys, those of model providers, GitHub, AWS, Slack
/// and Google, private keys, bearer tokens, and passwords in URLs. Where a group has matched, only
/// the group is the credential. The regex crate reads any text in linear time.
static CREDENTIALS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?-u:\b)(?:oi_[A-Za-z0-9_-]{24,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}",
        r"|github_pat_[A-Za-z0-9_]{22,}|(?:AKIA|ASIA)[A-Z0-9]{16}(?-u:\b)",
        r"|xox[abeprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35})",
        r"|(?<pem>-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[A-Za-z0-9+/=:,\s\\-]*?)",
        r"(?:-----END|[^A-Za-z0-9+/=:,\s\\-]|\z)",
        r"|(?i:bearer)[ \t]+(?<token>[A-Za-z0-9._~+/=-]{16,})",
        r#"|://[!-~&&[^/?\#"'<>@:]]*:(?<password>[!-~&&[^/?\#"'<>@]]+)@"#,
    ))
    .expect("the pattern is a constant, and a test compiles it")
});

/// How much of a text is replaced. Both find the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The secrets of this installation. For texts of users and models: what else looks like a
    /// credential there belongs to them, and may be what the task is about.
    Known,
    /// Anything that looks like a credential, too. For results of tools, errors and the log.
    Credentials,
}

/// Finds and masks credentials. Cheap to clone; by default it knows no secret, only the forms of
/// well-known credentials.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Option<Arc<KnownSecrets>>,
}

/// The secrets of this installation in every spelling that is looked for.
struct KnownSecrets {
    matcher: AhoCorasick,
    /// Sorted, as the search for a prefix needs them.
    forms: Vec<String>,
    longest_bytes: usize,
}

impl Redactor {
    /// Knows these secrets. Those shorter than [`forms::SECRET_MIN_BYTES`] are not looked for: they
    /// would match ordinary words.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let forms = forms::of_all(secrets);
        if forms.is_empty() {
            return Self::default();
        }
        let matcher =
            AhoCorasick::new(&forms).expect("a configuration is far smaller than an automaton");
        let longest_bytes = forms.iter().map(String::len).max().unwrap_or_default();
        Self { known: Some(Arc::new(KnownSecrets { matcher, forms, longest_bytes })) }
    }

    /// The text without the credentials that `reach` covers.
    pub fn redacted<'a>(&self, text: &'a str, reach: Reach) -> Cow<'a, str> {
        masked(text, &self.found(text, reach).masked)
    }

    /// Masks in place. Returns whether there was any credential, masked or not; what was masked
    /// before counts, so that cleaning twice returns the same.
    pub(crate) fn clean(&self, text: &mut String, reach: Reach) -> bool {
        let found = self.found(text, reach);
        if let Cow::Owned(clean) = masked(text, &found.masked) {
            *text = clean;
        }
        found.any
    }

    /// Masks every string, key and number of a value; returns whether there was any credential.
    pub(crate) fn clean_value(&self, value: &mut Value, reach: Reach) -> bool {
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::String(text) => self.clean(text, reach),
            Value::Number(number) => {
                let mut text = number.to_string();
                let found = self.clean(&mut text, Reach::Known);
                if found {
                    *value = Value::String(text);
                }
                found
            }
            Value::Array(items) => {
                items.iter_mut().fold(false, |found, item| self.clean_value(item, reach) | found)
            }
            Value::Object(map) => {
                let mut found = false;
                if map.keys().any(|key| self.found(key, reach).any) {
                    found = true;
                    let clean_key = |key: String| self.redacted(&key, reach).into_owned();
                    let entries = std::mem::take(map).into_iter();
                    *map = entries.map(|(key, item)| (clean_key(key), item)).collect::<Map<_, _>>();
                }
                map.values_mut().fold(found, |found, item| self.clean_value(item, reach) | found)
            }
        }
    }

    /// How many bytes of a text that is still growing can be masked and shown already: the rest may be
    /// the beginning of a secret.
    pub(crate) fn settled_bytes(&self, text: &str) -> usize {
        let Some(known) = &self.known else { return text.len() };
        let open = known.open_end(text);
        let cut = known.ranges(text).into_iter().find(|range| range.contains(&open));
        cut.map_or(open, |range| range.start)
    }

    fn found(&self, text: &str, reach: Reach) -> FoundSecrets {
        let mut ranges = self.known.as_ref().map(|known| known.ranges(text)).unwrap_or_default();
        let alike = credentials(text);
        let any = !ranges.is_empty() || !alike.is_empty() || text.contains(MASK);
        if reach == Reach::Credentials && !alike.is_empty() {
            ranges.extend(alike);
            ranges.sort_by_key(|range| range.end);
            ranges = ranges.into_iter().fold(Vec::new(), joined);
        }
        FoundSecrets { any, masked: ranges }
    }
}

/// Where credentials are, and whether there is any.
struct FoundSecrets {
    any: bool,
    /// Those to mask: in order, without overlaps.
    masked: Vec<Range<usize>>,
}

impl KnownSecrets {
    /// Where secrets are: in order, without overlaps.
    fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let found = self.matcher.find_overlapping_iter(text);
        found.map(|one| one.range()).fold(Vec::new(), joined)
    }

    /// Where the longest end of the text begins that a secret could begin with.
    fn open_end(&self, text: &str) -> usize {
        let earliest = (text.len() + 1).saturating_sub(self.longest_bytes);
        let is_open = |at: &usize| {
            let Some(end) = text.get(*at..) else { return false };
            // The first form behind it: no other begins with it unless this one does.
            let behind = self.forms.partition_point(|form| form.as_str() <= end);
            self.forms.get(behind).is_some_and(|form| form.starts_with(end))
        };
        (earliest..text.len()).find(is_open).unwrap_or(text.len())
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

fn credentials(text: &str) -> Vec<Range<usize>> {
    CREDENTIALS
        .captures_iter(text)
        .filter_map(|found| {
            let group = ["pem", "token", "password"].into_iter().find_map(|name| found.name(name));
            group.or_else(|| found.get(0))
        })
        .filter(|credential| credential.as_str() != MASK)
        .map(|credential| credential.range())
        .collect()
}

/// Adds a range that ends no earlier than all before it.
fn joined(mut ranges: Vec<Range<usize>>, next: Range<usize>) -> Vec<Range<usize>> {
    let (mut start, mut end) = (next.start, next.end);
    while let Some(last) = ranges.pop_if(|last| last.end > start) {
        start = start.min(last.start);
        end = end.max(last.end);
    }
    ranges.push(start..end);
    ranges
}

fn masked<'a>(text: &'a str, ranges: &[Range<usize>]) -> Cow<'a, str> {
    if ranges.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for range in ranges {
        clean.push_str(text.get(from..range.start).unwrap_or_default());
        clean.push_str(MASK);
        from = range.end;
    }
    clean.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "canary/Zw9+ä\"7Q==";

    fn knowing(secrets: &[&str]) -> Redactor {
        Redactor::new(secrets.iter().map(|secret| SecretString::from(*secret)))
    }

    fn check(text: &str, reach: Reach, expected: &str) {
        let redactor = knowing(&[SECRET, "hunter2-hunter2", "short"]);
        assert_eq!(redactor.redacted(text, reach), expected);
        let mut clean = text.to_owned();
        redactor.clean(&mut clean, reach);
        assert_eq!(clean, expected);
    }

    #[test]
    fn a_known_secret_is_masked_in_every_spelling() {
        use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
        for reach in [Reach::Known, Reach::Credentials] {
            check(&format!("a {SECRET} b"), reach, "a [redacted] b");
            check("short hunter2-hunter2hunter2-hunter2", reach, "short [redacted][redacted]");
            check("canary%2FZw9%2B%C3%A4%227Q%3D%3D", reach, MASK);
            check("canary%2fZw9%2b%c3%a4%227Q%3d%3d", reach, MASK);
            check(&json!({"a": SECRET}).to_string(), reach, r#"{"a":"[redacted]"}"#);
            let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
            check(&percent, reach, MASK);
            check(&percent.to_lowercase(), reach, MASK);
            let escaped: String =
                SECRET.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            check(&format!("it is {escaped}."), reach, "it is [redacted].");
            check(&escaped.to_uppercase().replace('U', "u"), reach, MASK);
            check(&json!({"a": escaped}).to_string(), reach, r#"{"a":"[redacted]"}"#);
            check(&BASE64_STANDARD.encode(SECRET), reach, MASK);
            check(&BASE64_URL_SAFE_NO_PAD.encode(SECRET), reach, MASK);
        }
        // Inside of something that was encoded whole, at each of the three alignments.
        for before in ["", "u", "us", "user:"] {
            let whole = BASE64_STANDARD.encode(format!("{before}{SECRET}:rest"));
            let clean = knowing(&[SECRET]).redacted(&whole, Reach::Known).into_owned();
            assert!(clean.contains(MASK) && clean.len() < MASK.len() + 20, "{clean}");
        }
    }

    #[test]
    fn secrets_that_overlap_leave_no_part() {
        let redactor = knowing(&["abcdefgh", "efghijkl", "ghijklmnop", "xxxxxxxx"]);
        let clean = |text: &str| redactor.redacted(text, Reach::Known).into_owned();
        assert_eq!(clean("-abcdefghijkl-"), "-[redacted]-");
        assert_eq!(clean("-abcdefghijklmnop-"), "-[redacted]-");
        assert_eq!(clean(&"x".repeat(100_000)), MASK);
    }

    #[test]
    fn what_looks_like_a_credential_is_masked_where_it_is_nobodys_words() {
        let key = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6";
        for credential in [
            format!("oi_{key}"),
            format!("sk-{key}"),
            format!("sk-ant-api03-{key}"),
            format!("ghp_{key}"),
            format!("github_pat_{key}"),
            "AKIAIOSFODNN7EXAMPLE".into(),
            "xoxb-123456789012-abcdef".into(),
        ] {
            check(&format!("[{credential}]"), Reach::Credentials, "[[redacted]]");
            check(&credential, Reach::Known, &credential);
            assert!(knowing(&[]).clean(&mut credential.clone(), Reach::Known), "{credential}");
        }
        let pem = "x -----BEGIN RSA PRIVATE KEY-----\nMIIE\nab+/=\n-----END RSA PRIVATE KEY----- y";
        check(pem, Reach::Credentials, "x [redacted]-----END RSA PRIVATE KEY----- y");
        check("-----BEGIN PRIVATE KEY-----\\nMI", Reach::Credentials, MASK);
        check(
            r#"{"k":"-----BEGIN PRIVATE KEY-----\nMI"}"#,
            Reach::Credentials,
            r#"{"k":"[redacted]"}"#,
        );
        check(
            &format!("Authorization: Bearer {key}, ok"),
            Reach::Credentials,
            "Authorization: Bearer [redacted], ok",
        );
        check("postgres://u:p%40ss@h:5/d", Reach::Credentials, "postgres://u:[redacted]@h:5/d");
        check("https://:pass@h", Reach::Credentials, "https://:[redacted]@h");
    }

    #[test]
    fn innocent_words_stay() {
        for text in [
            "task-force, risk-averse sk-learn",
            "http://localhost:8080/a@b",
            "see https://example.com/x:y",
            "the bearer of bad news",
            "a@b.c: mail",
            "[redacted] postgres://u:[redacted]@h",
            "oi_ sk- ghp_ AKIA xoxb-",
            "-----BEGIN PUBLIC KEY-----",
        ] {
            check(text, Reach::Credentials, text);
            let found = Redactor::default().clean(&mut text.to_owned(), Reach::Credentials);
            assert_eq!(found, text.contains(MASK), "{text}");
        }
    }

    #[test]
    fn values_are_masked_in_strings_keys_and_numbers() {
        let redactor = knowing(&["hunter2-hunter2", "123456789012"]);
        let mut value = json!({"a": ["hunter2-hunter2", 1], "hunter2-hunter2": 123456789012_u64});
        assert!(redactor.clean_value(&mut value, Reach::Known));
        assert_eq!(value, json!({"a": [MASK, 1], MASK: MASK}));
        assert!(redactor.clean_value(&mut value, Reach::Known), "it says the same again");
        assert!(!redactor.clean_value(&mut json!([1, "a", null]), Reach::Known));
    }

    #[test]
    fn a_text_that_goes_on_is_held_where_a_secret_could_begin() {
        let redactor = knowing(&["abcdefgh", "efghijkl", "中文密码中文"]);
        let settled = |text: &str| text.get(..redactor.settled_bytes(text)).unwrap().to_owned();
        assert_eq!(settled("nothing"), "nothing");
        assert_eq!(settled("see ab"), "see ");
        assert_eq!(settled("see abcdefgh"), "see ", "the next could begin inside of it");
        assert_eq!(settled("see abcdefgh."), "see abcdefgh.");
        assert_eq!(settled("看中文密"), "看");
        assert_eq!(settled("abx"), "abx");
        assert_eq!(Redactor::default().settled_bytes("ab"), 2);
    }

    #[test]
    fn pieces_said_one_by_one_are_the_whole_masked() {
        let redactor = knowing(&["abcabcabd", "abdabcxy"]);
        let text = "ab abcabcabcabd abdabcxy abcabcabdabcxy ab";
        for size in 1..text.len() {
            let (mut said, mut held) = (String::new(), String::new());
            for piece in text.as_bytes().chunks(size) {
                held.push_str(std::str::from_utf8(piece).unwrap());
                let rest = held.split_off(redactor.settled_bytes(&held));
                said.push_str(&redactor.redacted(&held, Reach::Known));
                held = rest;
            }
            said.push_str(&redactor.redacted(&held, Reach::Known));
            assert_eq!(said, redactor.redacted(text, Reach::Known), "pieces of {size}");
        }
    }

    #[test]
    fn long_texts_take_linear_time() {
        let hostile = ["://a:", "-----BEGIN PRIVATE KEY-----", "bearer ", "sk-", "abcabcab", "eyJ"];
        let redactor = knowing(&["abcabcabd"]);
        for unit in hostile {
            let text = unit.repeat((1 << 20) / unit.len());
            let began = std::time::Instant::now();
            redactor.redacted(&text, Reach::Credentials);
            assert!(began.elapsed() < std::time::Duration::from_secs(20), "{unit}");
        }
    }
}
