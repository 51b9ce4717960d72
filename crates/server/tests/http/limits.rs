//! What one tenant may have of a server, and what is answered beyond it.

use protocol::id::RunId;
use reqwest::{RequestBuilder, Response};
use server::{Settings, TenantLimits, identity::Identity};
use tokio::time::timeout;

use crate::{
    identity::{by, key, key_of},
    served::{Answer, PATIENCE, Served, answer, served_for, served_with},
};

async fn with_keys(tenants: TenantLimits) -> Served {
    let settings = Settings { tenants, ..Settings::default() };
    served_for(settings, String::new, async |store| Identity::keys(store)).await
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
    served.store.scoped(&scope).create_run(&new).await.unwrap().run_id
}

#[tokio::test]
async fn streams_are_bounded_by_key_and_by_organisation() {
    let limits = TenantLimits { streams_per_key: 2, streams_per_org: 3 };
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
    let tenants = TenantLimits { streams_per_key: 0, streams_per_org: 1 };
    let served = served_with(Settings { tenants, ..Settings::default() }).await;
    let path = format!("/api/runs/{}/stream", served.create("a").await);
    let _one = opened(served.ask("GET", &path)).await;
    served.get(&path).await.refused(429, "quota_exceeded");
}
