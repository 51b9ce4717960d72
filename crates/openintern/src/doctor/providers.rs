//! Whether the providers of models answer, know the models that are configured, and were given a key
//! that looks like one of theirs. No tokens are spent.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    error::ModelError,
    models::{Models, ProbeAnswer},
};
use secrecy::ExposeSecret;
use store::breakers::Breaker;

use super::Check;
use crate::{
    config::{Config, fault::nearest},
    exit::{Exit, Failure},
    render::counted,
};

/// A check for each provider that is configured or asked by an agent; the default one comes first.
pub(super) async fn checks(config: &Config, models: &Models) -> Vec<Check> {
    let default = models.default_model();
    let mut used = BTreeMap::<String, BTreeSet<String>>::new();
    for provider in config.model.providers.keys() {
        used.entry(provider.clone()).or_default();
    }
    let of_agents = config.agents.values().map(|agent| agent.model.as_ref());
    for list in of_agents.chain([None]).filter_map(|names| models.resolve(None, names).ok()) {
        for model in list.iter() {
            used.entry(model.provider.clone()).or_default().insert(model.model.clone());
        }
    }

    let mut checks = Vec::new();
    if default.provider == "demo" {
        checks.push(Check::odd(
            "model",
            format!("{default}: a planner, not a language model"),
            "set OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY, or OPENINTERN_MODEL",
        ));
    }
    for probe in models.probe().await {
        let Some(names) = used.get(&probe.provider).filter(|_| probe.provider != "demo") else {
            continue;
        };
        let check = judged(&probe.provider, names, probe.outcome);
        let place = if probe.provider == default.provider { 0 } else { checks.len() };
        checks.insert(place, check);
    }
    checks.extend(config.model.providers.iter().filter_map(|(name, provider)| {
        let key = provider.api_key.as_ref()?;
        let oddity = key_oddity(name, provider.base_url.is_none(), key.expose_secret())?;
        let found = format!("the key of `{name}` {oddity}");
        Some(Check::odd("model", found, format!("check `model.providers.{name}.api_key`")))
    }));
    checks
}

/// A model that failed lately, on whichever node.
pub(super) fn breaker(kept: &Breaker) -> Check {
    let Breaker { model, failures, is_open, rests, on_trial, only } = kept;
    let fix = "see what its provider says in the warnings of runs; it is asked again by itself";
    let state = match (is_open, rests.is_zero(), on_trial.is_zero()) {
        (_, false, _) => format!("it rests for {} s", rests.as_secs_f64().ceil()),
        (true, true, false) => "one run asks it on trial".to_owned(),
        (true, true, true) => "the next run asks it on trial".to_owned(),
        (false, true, _) => "it is asked as before".to_owned(),
    };
    let failures = counted(u64::from(*failures), "failure");
    let whose = only.as_ref().map(|only| format!(", of `{only}`")).unwrap_or_default();
    let whom = if only.is_some() { " for it" } else { "" };
    Check::odd("model", format!("{model}: {failures} in a row{whose}; {state}{whom}"), fix)
}

/// What all nodes together may ask of a provider.
pub(super) fn limits(config: &Config) -> Vec<Check> {
    let limited = config.model.providers.iter().filter(|(_, provider)| provider.limits.is_set());
    let told = limited.map(|(name, provider)| {
        let limits = &provider.limits;
        let requests = limits.requests_per_minute.map(|most| format!("{most} requests"));
        let tokens = limits.tokens_per_minute.map(|most| format!("{most} tokens"));
        let most: Vec<_> = requests.into_iter().chain(tokens).collect();
        let most = most.join(" and ");
        Check::good("model", format!("{name}: at most {most} a minute, on all nodes together"))
    });
    told.collect()
}

fn judged(
    provider: &str,
    used: &BTreeSet<String>,
    outcome: Result<ProbeAnswer, ModelError>,
) -> Check {
    let names: Vec<_> = used.iter().map(|model| format!("{provider}/{model}")).collect();
    let name = if names.is_empty() { provider.to_owned() } else { names.join(", ") };
    let answer = match outcome {
        Ok(answer) => answer,
        Err(ModelError::BadRequest { status: 404 | 405, .. }) => {
            return Check::odd(
                "model",
                format!("{name}: answers, but lists no models"),
                "check the address if runs fail; not every server has such a list",
            );
        }
        Err(error) if used.is_empty() => {
            let found = format!("{name}: {error}");
            return Check::odd("model", found, "check its key and address, or leave it out");
        }
        Err(error) => {
            let failure = Failure::new(Exit::Failed, format!("{name}: {error}"));
            return Check::bad("model", failure.hint("check the provider's key and address"));
        }
    };
    let unknown: Vec<_> = used.iter().filter(|model| !answer.may_have(model)).collect();
    let listed: Vec<&str> = answer.models.iter().map(String::as_str).collect();
    let near: BTreeSet<_> = unknown.iter().filter_map(|model| nearest(model, &listed)).collect();
    let quoted = |model: &str| format!("`{model}`");
    let unknown: Vec<_> = unknown.into_iter().map(|model| quoted(model)).collect();
    let near: Vec<_> = near.into_iter().map(quoted).collect();
    match unknown.is_empty() {
        true => Check::good("model", format!("{name}: answers in {} ms", answer.took.as_millis())),
        false => Check::odd(
            "model",
            format!("{name}: answers, but does not list {}", unknown.join(", ")),
            format!(
                "check the name; of the {} it lists, {} is near",
                listed.len(),
                near.join(", ")
            ),
        ),
    }
}

/// What is odd about a key; says nothing of the key itself.
fn key_oddity(provider: &str, is_usual_address: bool, key: &str) -> Option<&'static str> {
    let is_placeholder = ["...", "…", "your", "xxxx", "changeme"]
        .iter()
        .any(|part| key.to_ascii_lowercase().contains(part));
    if key.starts_with(['"', '\'', '<', '$', '{']) || is_placeholder {
        return Some("looks like a placeholder, or stands in quotes");
    }
    if !is_usual_address {
        return None; // Whoever is there has keys of their own.
    }
    match provider {
        "openai" if key.starts_with("sk-ant-") => Some("is one of Anthropic's"),
        "openai" if key.starts_with("AIza") => Some("is one of Google's"),
        "anthropic" if !key.starts_with("sk-ant-") => Some("does not begin with `sk-ant-`"),
        "gemini" if key.starts_with("sk-") => Some("is not one of Google's"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::{Expect, expect};

    use super::*;

    fn check(used: &[&str], outcome: Result<&[&str], ModelError>, expected: Expect) {
        let used = used.iter().map(|&model| model.to_owned()).collect();
        let answer = |models: &[&str]| ProbeAnswer {
            took: Duration::from_millis(7),
            models: models.iter().map(|&model| model.to_owned()).collect(),
        };
        let Check { state, found, fix, .. } = judged("p", &used, outcome.map(answer));
        expected.assert_eq(&format!("{state:?} {found}; {}", fix.unwrap_or_default()));
    }

    #[test]
    fn a_provider_is_judged_by_its_list_of_models() {
        let refused = |status| ModelError::BadRequest { status, message: "no".into() };
        check(&["a"], Ok(&["a", "b"]), expect!["Good p/a: answers in 7 ms; "]);
        check(&["a"], Ok(&[]), expect!["Good p/a: answers in 7 ms; "]);
        check(
            &["gpt-5-mini", "gtp-5"],
            Ok(&["gpt-5", "gpt-5-mini"]),
            expect![
                "Odd p/gpt-5-mini, p/gtp-5: answers, but does not list `gtp-5`; check the name; of the 2 it lists, `gpt-5` is near"
            ],
        );
        check(
            &["a"],
            Err(refused(404)),
            expect![
                "Odd p/a: answers, but lists no models; check the address if runs fail; not every server has such a list"
            ],
        );
        check(
            &["a"],
            Err(refused(400)),
            expect![
                "Bad p/a: the provider rejects the request: no; check the provider's key and address"
            ],
        );
        check(
            &[],
            Err(refused(400)),
            expect![
                "Odd p: the provider rejects the request: no; check its key and address, or leave it out"
            ],
        );
    }

    #[test]
    fn a_breaker_is_told_with_what_happens_next() {
        let check = |is_open, rests, on_trial, expected: Expect| {
            let seconds = Duration::from_secs;
            let kept = Breaker {
                model: "p/m".into(),
                failures: 10,
                is_open,
                rests: seconds(rests),
                on_trial: seconds(on_trial),
                only: None,
            };
            expected.assert_eq(&breaker(&kept).found);
        };
        check(true, 12, 0, expect!["p/m: 10 failures in a row; it rests for 12 s"]);
        check(true, 0, 9, expect!["p/m: 10 failures in a row; one run asks it on trial"]);
        check(true, 0, 0, expect!["p/m: 10 failures in a row; the next run asks it on trial"]);
        check(false, 0, 0, expect!["p/m: 10 failures in a row; it is asked as before"]);
    }

    #[test]
    fn a_key_of_somebody_else_is_seen() {
        for (provider, key) in [
            ("openai", "sk-ant-api03-0123"),
            ("openai", "AIza0123"),
            ("openai", "\"sk-proj-0123\""),
            ("openai", "<key>"),
            ("openai", "sk-..."),
            ("anthropic", "sk-proj-0123"),
            ("gemini", "sk-proj-0123"),
            ("own", "your-key-here"),
        ] {
            assert!(key_oddity(provider, true, key).is_some(), "{provider} {key}");
        }
        for (provider, key) in [
            ("openai", "sk-proj-0123"),
            ("anthropic", "sk-ant-api03-0123"),
            ("gemini", "AIza0123"),
            ("gemini", "AQ.0123"),
            ("own", "0123"),
        ] {
            assert_eq!(key_oddity(provider, true, key), None, "{provider} {key}");
        }
        assert_eq!(key_oddity("anthropic", false, "of a proxy"), None);
    }
}
