//! What one tenant may have of a server, and what is answered beyond it.

use futures::future::join_all;
use protocol::id::RunId;
use reqwest::{RequestBuilder, Response};
use server::{
    auth::authenticator::Authenticator,
    rate_limit::Rate,
    settings::{ServerSettings, TenantLimits},
};
use tokio::time::timeout;

use crate::{
    identity::{by, key, key_of},
    served::{Answer, PATIENCE, Served, answer, served_for, served_with},
};

async fn with_keys(tenants: TenantLimits) -> Served {
    let settings = ServerSettings { tenants, ..ServerSettings::default() };
    served_for(settings, String::new, async |store| Authenticator::keys(store)).await
}

/// A stream that stays open as long as this is kept.
async fn opened(request: RequestBuilder) -> Response {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

/// Asks until the place of a stream that was dropped is noticed to be free.
async fn opened_in_the_end(request: impl Fn() -> RequestBuilder) -> Response {
    let again = async {
        loop {
            let response = request().send().await.unwrap();
            if response.status() == 200 {
                return response;
            }
            Answer::of(response).await.refused(429, "quota_exceeded");
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("the place is free again")
}

async fn run_of(served: &Served, org: &str) -> RunId {
    let scope = protocol::scope::Scope {
        org_id: org.parse().unwrap(),
        user_id: "user_a".parse().unwrap(),
        project_id: None,
    };
    let new = protocol::run::CreateRun::new("x");
    served.store.scoped(&scope).create_run(&new, None).await.unwrap().run_id
}

#[tokio::test]
async fn streams_are_bounded_by_key_and_by_organisation() {
    let limits = TenantLimits { streams_per_key: 2, streams_per_org: 3, ..TenantLimits::default() };
    let served = with_keys(limits).await;
    let first = key(&served, Some("user_a"), None, "runs:read").await.key;
    let second = key(&served, Some("user_a"), None, "runs:read").await.key;
    let other = key_of(&served, "org_b", Some("user_a"), None, "runs:read", None).await.key;
    let path = |run: RunId| format!("/api/runs/{run}/stream");
    let (ours, theirs) =
        (path(run_of(&served, "org_a").await), path(run_of(&served, "org_b").await));
    let follow = |key: &str| by(&served, key, "GET", &ours);

    let _one = opened(follow(&first)).await;
    let two = opened(follow(&first)).await;
    let refused = answer(follow(&first)).await;
    let words = refused.refused(429, "quota_exceeded")["error"]["message"].to_string();
    assert!(words.contains("the credential has"), "{words}");

    let _three = opened(follow(&second)).await;
    let refused = answer(follow(&second)).await;
    let words = refused.refused(429, "quota_exceeded")["error"]["message"].to_string();
    assert!(words.contains("the organisation has"), "{words}");
    let _others = opened(by(&served, &other, "GET", &theirs)).await;

    drop(two);
    let _again = opened_in_the_end(|| follow(&second)).await;
}

#[tokio::test]
async fn without_authentication_only_the_organisation_is_bounded() {
    let tenants =
        TenantLimits { streams_per_key: 0, streams_per_org: 1, ..TenantLimits::default() };
    let served = served_with(ServerSettings { tenants, ..ServerSettings::default() }).await;
    let path = format!("/api/runs/{}/stream", served.create("a").await);
    let _one = opened(served.ask("GET", &path)).await;
    served.get(&path).await.refused(429, "quota_exceeded");
}

fn rate(per_s: u32, burst: u32) -> Rate {
    Rate { per_s: per_s.try_into().unwrap(), burst: burst.try_into().unwrap() }
}

/// The answers to one request, asked often at once.
async fn at_once(times: usize, request: impl Fn() -> RequestBuilder) -> Vec<Answer> {
    join_all((0..times).map(|_| answer(request()))).await
}

#[tokio::test]
async fn requests_of_a_key_are_bounded() {
    let limits = TenantLimits { requests_per_key: rate(1, 5), ..TenantLimits::default() };
    let served = with_keys(limits).await;
    let hasty = key(&served, Some("user_a"), None, "runs:read").await.key;
    let calm = key(&served, Some("user_a"), None, "runs:read").await.key;
    let answers = at_once(40, || by(&served, &hasty, "GET", "/api/runs")).await;
    let (passed, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert!(passed.len() >= 5 && !refused.is_empty(), "{} passed", passed.len());
    for refused in refused {
        assert_eq!(refused.header("retry-after"), "1");
        refused.refused(429, "rate_limited");
    }
    answer(by(&served, &calm, "GET", "/api/runs")).await.expect(200);
}

#[tokio::test]
async fn guessing_is_bounded_by_address_and_whoever_is_known_goes_on() {
    let limits =
        TenantLimits { bad_credentials_per_address: rate(1, 5), ..TenantLimits::default() };
    let served = with_keys(limits).await;
    let known = key(&served, Some("user_a"), None, "runs:read").await.key;
    let fresh = key(&served, Some("user_a"), None, "runs:read").await.key;
    answer(by(&served, &known, "GET", "/api/runs")).await.expect(200);
    let unknown = format!("oi_{}", "0".repeat(64));
    let guesses = at_once(20, || by(&served, &unknown, "GET", "/api/runs")).await;
    let body = serde_json::json!({"key": unknown});
    let logins = at_once(20, || served.bare("POST", "/api/login").json(&body)).await;
    for answers in [guesses, logins] {
        let mut refused = 0;
        for answer in answers {
            match answer.status {
                401 => drop(answer.refused(401, "unauthorized")),
                _ => {
                    refused += 1;
                    answer.refused(429, "rate_limited");
                }
            }
        }
        assert!(refused > 0);
    }
    answer(by(&served, &known, "GET", "/api/runs")).await.expect(200);
    let elsewhere = reqwest::Client::builder().local_address("127.0.0.2".parse().ok());
    let elsewhere = elsewhere.build().unwrap().get(served.url("/api/runs")).bearer_auth(&fresh);
    answer(elsewhere).await.expect(200);
}

#[tokio::test]
async fn good_credentials_cost_no_guesses() {
    let limits =
        TenantLimits { bad_credentials_per_address: rate(1, 1), ..TenantLimits::default() };
    let served = with_keys(limits).await;
    for _ in 0..5 {
        let fresh = key(&served, Some("user_a"), None, "runs:read").await.key;
        answer(by(&served, &fresh, "GET", "/api/runs")).await.expect(200);
    }
}

#[tokio::test]
async fn without_authentication_there_is_no_rate() {
    let tenants = TenantLimits {
        requests_per_key: rate(1, 1),
        bad_credentials_per_address: rate(1, 1),
        ..TenantLimits::default()
    };
    let served = served_with(ServerSettings { tenants, ..ServerSettings::default() }).await;
    for answer in at_once(10, || served.ask("GET", "/api/runs").bearer_auth("x")).await {
        answer.expect(200);
    }
}
