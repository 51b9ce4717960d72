//! A provider's error responses: their text, and which kind of error it means.
//!
//! Pure. Providers agree on neither the form nor the status, so both are read widely and judged
//! here, in one place.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{
    error::{ModelError, PROVIDER_MESSAGE_MAX_CHARS, cut},
    retry::RETRY_AFTER_MAX,
};

/// The fields that may hold an error's text, in the order in which they are tried.
const WORDS: [&str; 14] = [
    "error",
    "message",
    "detail",
    "details",
    "msg",
    "errors",
    "error_message",
    "error_msg",
    "error_description",
    "status_msg",
    "base_resp",
    "reason",
    "description",
    "title",
];
/// The fields that may hold the kind of an error.
const KINDS: [&str; 6] = ["type", "code", "status", "param", "error_type", "raw_status_code"];
/// Deepest nesting of an error body that is looked at.
const DEPTH_MAX: usize = 8;
/// Most items of a list of faults that are repeated.
const FAULTS_MAX: usize = 4;

/// The content of an error's body.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Said {
    /// For a person; empty when there are none.
    pub(crate) words: String,
    /// Types, codes and the parameter at fault, in lower case, each between spaces.
    kinds: String,
    /// An HTTP status that stands in the body.
    status: Option<u16>,
    /// How long to wait, where the body says it.
    retry_after: Option<Duration>,
}

impl Said {
    /// Reads a body, JSON or not. Markup is left out.
    pub(crate) fn from_body(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        match serde_json::from_str::<Value>(text.trim()) {
            Ok(value) => Self::from_json(&value),
            Err(_) => Self { words: without_markup(text.trim()), ..Self::default() },
        }
    }

    /// Reads an error object, or what stands around one.
    pub(crate) fn from_json(value: &Value) -> Self {
        let mut said = Self { words: words(value, DEPTH_MAX), ..Self::default() };
        said.note_kinds(value, DEPTH_MAX);
        if said.words.is_empty() {
            said.words = said.kinds.trim().to_owned();
        }
        said
    }

    /// The words, cut, with the parameter at fault where they do not name it.
    fn cut_words(&self) -> String {
        cut(&self.words, PROVIDER_MESSAGE_MAX_CHARS)
    }

    /// The error that these words mean.
    ///
    /// `status` is that of HTTP; `None` inside of an answer that began well, where the words alone
    /// must say it.
    pub(crate) fn error(&self, status: Option<u16>, retry_after: Option<Duration>) -> ModelError {
        let retry_after =
            retry_after.or(self.retry_after).or_else(|| wait_in_words(&self.words.to_lowercase()));
        let in_body = self.status.filter(|status| (400..600).contains(status));
        let by_kind = || in_body.or_else(|| self.status_by_kind()).unwrap_or(500);
        let status_in_force = status.filter(|status| *status >= 300).unwrap_or_else(by_kind);
        let words = self.cut_words();
        let message = match (status, words.is_empty()) {
            (Some(200) | None, true) => "it gives no reason".to_owned(),
            (Some(200) | None, false) => words,
            (Some(status), true) => format!("HTTP {status}"),
            (Some(status), false) => format!("HTTP {status}: {words}"),
        };
        let message = match retry_after.filter(|wait| *wait > RETRY_AFTER_MAX) {
            Some(wait) => format!("{message}; it says to come back in {} s", wait.as_secs()),
            None => message,
        };
        let status = status_in_force;
        if self.is_moderation(status) {
            ModelError::Refused { message }
        } else if self.is_about_credentials(status) {
            ModelError::Auth { message }
        } else if self.is_about_quota(status, retry_after) {
            ModelError::Quota { message }
        } else if self.is_about_length(status) {
            ModelError::PromptTooLong { message }
        } else {
            match status {
                403 => ModelError::Forbidden { message },
                400 if self
                    .says(&["location is not supported", "not available in your country"]) =>
                {
                    ModelError::Forbidden { message }
                }
                429 => ModelError::RateLimited { retry_after, message },
                // 498 is Groq's for "no room at the moment".
                408 | 409 | 425 | 498 | 500.. => {
                    ModelError::Unavailable { status: Some(status), retry_after, message }
                }
                _ => ModelError::BadRequest { status, message },
            }
        }
    }

    fn status_by_kind(&self) -> Option<u16> {
        let kinds: [(&[&str], u16); 5] = [
            (&["authentication_error", "unauthenticated", "invalid_api_key"], 401),
            (&["permission_error", "permission_denied"], 403),
            (&["rate_limit_error", "rate_limit_exceeded", "resource_exhausted"], 429),
            (&["invalid_request_error", "request_too_large", "invalid_argument"], 400),
            (&["not_found_error"], 404),
        ];
        kinds.into_iter().find(|(kinds, _)| self.is_kind(kinds)).map(|(_, status)| status)
    }

    fn is_moderation(&self, status: u16) -> bool {
        (matches!(status, 400 | 403 | 422 | 451) || status >= 500)
            && (self.is_kind(&[
                "content_filter",
                "content_policy_violation",
                "responsibleaipolicyviolation",
                "data_inspection_failed",
                "datainspectionfailed",
                "prohibited_content",
                "content_moderation",
                "moderation_blocked",
                "1301",
            ]) || self.says(&[
                "content management policy",
                "content exists risk",
                "inappropriate content",
                "flagged by",
                "was flagged",
                "requires moderation",
                "safety system",
                "violates our usage policy",
                "violate our usage polic",
                "high risk and was rejected",
            ]))
    }

    fn is_about_credentials(&self, status: u16) -> bool {
        let is_key_at_fault = self.says(&["api key", "api_key", "apikey", "auth token"])
            && self.says(&["invalid", "not valid", "incorrect", "missing", "expired", "provide"]);
        status == 401
            || self.is_kind(&[
                "authentication_error",
                "invalid_authentication_error",
                "invalid_api_key",
                "api_key_invalid",
                "unauthenticated",
            ])
            || (matches!(status, 400 | 403) && is_key_at_fault)
    }

    fn is_about_quota(&self, status: u16, retry_after: Option<Duration>) -> bool {
        let by_kind = self.is_kind(&[
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_not_active",
            "exceeded_current_quota_error",
            "insufficient_balance",
            "insufficient_user_quota",
            "insufficient_credits",
            "arrearage",
            "1113",
        ]);
        let by_words = self.says(&[
            "credit balance is too low",
            "insufficient balance",
            "insufficient credit",
            "insufficient quota",
            "insufficient_quota",
            "exceeded your current quota",
            "plan and billing",
        ]);
        // A provider that says when to retry means a rate limit, and an overload is not about the account.
        let may_be = retry_after.is_none() && !matches!(status, 502..=504 | 529);
        status == 402 || may_be && (by_kind || by_words)
    }

    fn is_about_length(&self, status: u16) -> bool {
        // A request above the limit of a minute never fits, however long one waits.
        if status == 429 && self.says(&["request too large", "request is too large"]) {
            return true;
        }
        (matches!(status, 400 | 413 | 422) || status >= 500)
            && (self.is_kind(&[
                "context_length_exceeded",
                "exceed_context_size_error",
                "request_too_large",
                "tokens_too_long",
                "1261",
            ]) || self.says(&[
                "maximum context length",
                "context length",
                "context window",
                "context size",
                "prompt is too long",
                "input is too long",
                "input token count",
                "maximum prompt length",
                "too many input tokens",
                "maximum model length",
                "exceed context limit",
                "exceeded model token limit",
                "tokens too long",
                "max input characters",
                "request too large",
                "reduce the length",
                "range of input length",
                "maximum number of tokens allowed",
            ]))
    }

    fn is_kind(&self, kinds: &[&str]) -> bool {
        kinds.iter().any(|kind| self.kinds.split(' ').any(|own| own == *kind))
    }

    fn says(&self, phrases: &[&str]) -> bool {
        let words = self.words.to_lowercase();
        phrases.iter().any(|phrase| words.contains(phrase))
    }

    fn note_kinds(&mut self, value: &Value, depth: usize) {
        let (Some(depth), Value::Object(fields)) = (depth.checked_sub(1), first(value)) else {
            return;
        };
        for key in KINDS {
            match fields.get(key) {
                Some(Value::String(kind)) if !kind.trim().is_empty() => {
                    let kind = kind.trim().to_lowercase().replace(char::is_whitespace, "_");
                    self.status = self.status.or_else(|| kind.parse().ok());
                    let kind = cut(&kind, 64);
                    if !self.is_kind(&[&kind]) {
                        self.kinds.push(' ');
                        self.kinds.push_str(&kind);
                    }
                }
                Some(Value::Number(number)) => {
                    let number = number.as_u64().and_then(|number| u16::try_from(number).ok());
                    self.status = self.status.or(number.filter(|n| (400..600).contains(n)));
                    if let Some(number) = number {
                        self.kinds.push_str(&format!(" {number}"));
                    }
                }
                _ => {}
            }
        }
        self.retry_after = self.retry_after.or_else(|| retry_delay(fields));
        for key in ["error", "message", "detail", "innererror", "inner_error", "metadata"] {
            if let Some(inner) = fields.get(key) {
                self.note_kinds(inner, depth);
            }
        }
    }
}

/// Whether a field named `error` says that something went wrong: gateways send empty ones along.
pub(crate) fn is_error(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => items.iter().any(is_error),
        Value::Object(fields) => fields.iter().any(|(key, value)| match key.as_str() {
            "code" | "status" => value.as_i64() != Some(200) && is_error(value),
            "message" | "type" | "error" | "detail" | "msg" => is_error(value),
            _ => false,
        }),
    }
}

/// Gemini wraps an error in a list.
fn first(value: &Value) -> &Value {
    value.get(0).unwrap_or(value)
}

fn words(value: &Value, depth: usize) -> String {
    let Some(depth) = depth.checked_sub(1) else { return String::new() };
    match value {
        Value::String(text) => inner_words(text, depth).unwrap_or_else(|| text.trim().to_owned()),
        Value::Array(items) => {
            let faults = items.iter().take(FAULTS_MAX).map(|item| words(item, depth));
            faults.filter(|fault| !fault.is_empty()).collect::<Vec<_>>().join("; ")
        }
        Value::Object(fields) => {
            let own = WORDS.iter().find_map(|key| {
                let found = words(fields.get(*key)?, depth);
                (!found.is_empty()).then_some(found)
            });
            let mut own = own.unwrap_or_default();
            if let Some(at) =
                fields.get("loc").and_then(Value::as_array).filter(|_| !own.is_empty())
            {
                // Where pydantic's validation found a fault.
                let at = at.iter().map(|step| match step {
                    Value::String(name) => name.clone(),
                    other => other.to_string(),
                });
                own = format!("{}: {own}", at.collect::<Vec<_>>().join("."));
            }
            if let Some(parameter) = fields.get("param").and_then(Value::as_str)
                && !matches!(parameter, "" | "None")
                && !own.contains(parameter)
            {
                own.push_str(&format!(" (`{parameter}`)"));
            }
            // llama.cpp names the size of its context beside the words.
            if let Some(tokens) = fields.get("n_ctx").and_then(Value::as_u64) {
                own.push_str(&format!(" (`n_ctx` = {tokens})"));
            }
            // A gateway's own words, and those of the provider behind it.
            let behind = fields.get("metadata").and_then(|metadata| metadata.get("raw"));
            let behind = behind.map(|raw| words(raw, depth)).unwrap_or_default();
            if !behind.is_empty() && !own.contains(&behind) {
                own = format!("{own}: {behind}");
            }
            own
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

/// The words of an error that was put into a string as JSON.
fn inner_words(text: &str, depth: usize) -> Option<String> {
    let inner = text.trim().strip_prefix('{').and_then(|_| serde_json::from_str(text).ok())?;
    Some(words(&inner, depth)).filter(|words| !words.is_empty())
}

/// Google's `RetryInfo`, beside the error.
fn retry_delay(fields: &Map<String, Value>) -> Option<Duration> {
    let details = fields.get("details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    Duration::try_from_secs_f64(delay.strip_suffix('s')?.parse().ok()?).ok()
}

/// The wait in `try again in 1m2.5s`, as OpenAI and Groq say it beside a limit.
fn wait_in_words(words: &str) -> Option<Duration> {
    let (_, mut rest) = words.split_once("try again in ")?;
    let mut wait = None;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at_checked(end)?;
        let Ok(number) = number.parse::<f64>() else { return wait };
        let behind = behind.trim_start();
        let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, seconds) = *units.iter().find(|(unit, _)| behind.starts_with(unit))?;
        let more = Duration::try_from_secs_f64(number * seconds).ok()?;
        wait = Some(wait.unwrap_or(Duration::ZERO).saturating_add(more));
        rest = behind.get(unit.len()..)?;
    }
}

/// The text of a page, so that a proxy's words can be read.
fn without_markup(text: &str) -> String {
    if !text.starts_with('<') {
        return text.to_owned();
    }
    let mut words = String::new();
    let mut rest = text;
    let mut silent: Option<&str> = None;
    while let Some((before, tag)) = rest.split_once('<') {
        if silent.is_none() {
            words.push_str(before);
            words.push(' ');
        }
        let (tag, after) = tag.split_once('>').unwrap_or((tag, ""));
        let name = tag.trim_start_matches('/').to_ascii_lowercase();
        for element in ["script", "style"] {
            if name.starts_with(element) {
                silent = (!tag.starts_with('/')).then_some(element);
            }
        }
        rest = after;
    }
    if silent.is_none() {
        words.push_str(rest);
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    #[test]
    fn error_bodies_of_many_servers_are_read() {
        let check = |body: Value, expected: Expect| {
            expected.assert_eq(&Said::from_body(body.to_string().as_bytes()).words);
        };
        check(json!({"error": {"message": "no", "type": "x"}}), expect!["no"]);
        check(json!({"error": "no"}), expect!["no"]);
        check(json!({"message": "no"}), expect!["no"]);
        check(json!({"detail": "no"}), expect!["no"]);
        check(json!([{"error": {"code": 400, "message": "no"}}]), expect!["no"]);
        check(
            json!({"detail": [{"msg": "field required", "loc": ["body", "messages", 0]}]}),
            expect!["body.messages.0: field required"],
        );
        check(
            json!({"object": "error", "message": {"detail": [{"msg": "Extra inputs are not permitted", "loc": ["body", "x"]}]}}),
            expect!["body.x: Extra inputs are not permitted"],
        );
        check(
            json!({"error": {"message": "Provider returned error", "metadata": {"raw": "{\"error\":{\"message\":\"too hot\"}}"}}}),
            expect!["Provider returned error: too hot"],
        );
        check(
            json!({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}),
            expect!["login fail"],
        );
        check(
            json!({"error": {"message": "Unsupported value", "param": "temperature"}}),
            expect!["Unsupported value (`temperature`)"],
        );
        check(json!({"error": {"code": "overloaded"}}), expect!["overloaded"]);
        check(json!({"detail": [1]}), expect![""]);
        let page = "<html><head><style>a{}</style><title>403 Forbidden</title></head><body>not from <b>your</b> country</body></html>";
        assert_eq!(Said::from_body(page.as_bytes()).words, "403 Forbidden not from your country");
    }

    #[test]
    fn the_class_of_an_error_is_what_can_be_done_about_it() {
        let check = |status: u16, body: Value, expected: &str| {
            let error = Said::from_json(&body).error((status > 0).then_some(status), None);
            let class = format!("{error:?}");
            let class = class.split([' ', '{']).next().unwrap();
            assert_eq!(class, expected, "{status} {body}");
        };
        let message = |message: &str| json!({"error": {"message": message}});
        let kind = |kind: &str| json!({"error": {"message": "no", "type": kind}});
        let code = |code: &str| json!({"error": {"message": "no", "code": code}});
        // Credentials.
        check(401, json!({}), "Auth");
        check(400, message("API key not valid. Please pass a valid API key."), "Auth");
        check(400, message("Incorrect API key provided: xx"), "Auth");
        check(403, code("invalid_api_key"), "Auth");
        check(0, kind("authentication_error"), "Auth");
        // Not the credentials.
        check(403, json!({}), "Forbidden");
        check(403, message("Country, region, or territory not supported"), "Forbidden");
        check(403, kind("permission_error"), "Forbidden");
        check(0, kind("permission_error"), "Forbidden");
        // Money.
        check(402, message("Insufficient Balance"), "Quota");
        check(429, code("insufficient_quota"), "Quota");
        check(429, kind("exceeded_current_quota_error"), "Quota");
        check(400, message("Your credit balance is too low to access the Anthropic API."), "Quota");
        check(
            429,
            message("You exceeded your current quota, please check your plan and billing details."),
            "Quota",
        );
        check(
            429,
            json!({"error": {"message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED",
                   "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}]}}),
            "RateLimited",
        );
        check(0, kind("exceeded_current_quota_error"), "Quota");
        check(429, kind("rate_limit_error"), "RateLimited");
        check(0, kind("rate_limit_error"), "RateLimited");
        // Moderation.
        check(400, code("content_filter"), "Refused");
        check(
            400,
            message(
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            ),
            "Refused",
        );
        check(400, message("Content Exists Risk"), "Refused");
        check(400, json!({"code": "data_inspection_failed", "message": "no"}), "Refused");
        check(
            403,
            message("Your chosen model requires moderation and your input was flagged"),
            "Refused",
        );
        // Length.
        check(400, code("context_length_exceeded"), "PromptTooLong");
        check(400, message("This model's maximum context length is 8192 tokens."), "PromptTooLong");
        check(400, message("prompt is too long: 210000 tokens > 200000 maximum"), "PromptTooLong");
        check(400, kind("exceed_context_size_error"), "PromptTooLong");
        for words in [
            "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            "Range of input length should be [1, 30720]",
            "Invalid request: Your request exceeded model token limit: 8192",
            "prompt tokens too long",
            "the max input characters is 20000",
        ] {
            check(400, message(words), "PromptTooLong");
        }
        check(400, code("1261"), "PromptTooLong");
        check(
            413,
            json!({"error": {"message": "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9000",
                   "type": "tokens", "code": "rate_limit_exceeded"}}),
            "PromptTooLong",
        );
        check(413, kind("request_too_large"), "PromptTooLong");
        check(
            400,
            message("Please reduce the length of the messages or completion."),
            "PromptTooLong",
        );
        check(
            429,
            json!({"error": {"message": "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 42000.", "type": "tokens", "code": "rate_limit_exceeded"}}),
            "PromptTooLong",
        );
        check(
            400,
            message(
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
            "PromptTooLong",
        );
        check(400, message("Range of input length should be [1, 30720]"), "PromptTooLong");
        check(
            500,
            message("the request exceeds the available context size, try increasing it"),
            "PromptTooLong",
        );
        // Money, in the words of others.
        check(
            400,
            json!({"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}),
            "Quota",
        );
        check(400, code("billing_hard_limit_reached"), "Quota");
        check(403, message("Your account has been suspended for lack of funds"), "Forbidden");
        check(
            429,
            message(
                "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.",
            ),
            "RateLimited",
        );
        // Not from here.
        check(
            400,
            json!({"error": {"code": 400, "message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION"}}),
            "Forbidden",
        );
        // Overload.
        check(524, json!({}), "Unavailable");
        check(498, json!({}), "Unavailable");
        check(503, message("The model is overloaded."), "Unavailable");
        check(529, kind("overloaded_error"), "Unavailable");
        check(0, kind("overloaded_error"), "Unavailable");
        check(
            200,
            json!({"error": {"message": "The model is loading", "code": 503}}),
            "Unavailable",
        );
        check(408, json!({}), "Unavailable");
        // The request.
        check(400, message("no"), "BadRequest");
        check(404, message("no such model"), "BadRequest");
        check(422, json!({"detail": [{"msg": "field required", "loc": ["body"]}]}), "BadRequest");
        check(0, kind("invalid_request_error"), "BadRequest");
    }

    #[test]
    fn an_empty_error_beside_an_answer_is_none() {
        for none in [
            json!(null),
            json!(""),
            json!({}),
            json!({"message": ""}),
            json!({"message": "", "code": null}),
            json!({"code": 0}),
            json!(false),
            json!([]),
        ] {
            assert!(!is_error(&none), "{none}");
        }
        for error in
            [json!("no"), json!({"message": "no"}), json!({"code": 503}), json!({"type": "x"})]
        {
            assert!(is_error(&error), "{error}");
        }
    }

    #[test]
    fn what_is_repeated_is_cut() {
        let body = json!({"error": "字".repeat(600)}).to_string();
        let error = Said::from_body(body.as_bytes()).error(Some(400), None).to_string();
        assert!(error.contains("HTTP 400: 字") && error.ends_with('…'), "{error}");
        assert!(error.chars().count() < 600);
    }

    #[test]
    fn a_wait_is_read_from_the_words_and_said_when_it_is_too_long() {
        let wait = |words: &str| {
            let body = json!({"error": {"message": words}});
            Said::from_json(&body).error(Some(429), None)
        };
        for (words, seconds) in [
            ("Rate limit reached. Please try again in 1.2s. Visit us.", 1.2),
            ("Try again in 20ms", 0.02),
            ("try again in 5 seconds", 5.0),
            ("please try again in 1m2.5s", 62.5),
        ] {
            let expected = Some(Duration::from_secs_f64(seconds));
            assert_eq!(wait(words).retry_after(), expected, "{words}");
        }
        for words in ["try again in a while", "try again in ", "try again in 5 parsecs"] {
            assert_eq!(wait(words).retry_after(), None, "{words}");
        }
        let later = Said::default().error(Some(429), Some(Duration::from_secs(3600)));
        assert_eq!(
            later.to_string(),
            "the provider's rate limit is reached: HTTP 429; it says to come back in 3600 s"
        );
    }
}
