//! Who asks: API keys, what they may do, how far they reach, and the cookie of the page.

use std::time::Duration;

use protocol::{
    id::RunId,
    key::{ApiKey, CreateKey, KeyCreated, Rights},
    time::Timestamp,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use server::auth::authenticator::Authenticator;

use crate::{
    document::{document, operations},
    served::{Answer, Served, answer, served, served_to},
    stream::Stream,
};

pub(crate) async fn with_keys() -> Served {
    served_to(async |store| Authenticator::keys(store)).await
}

/// A key of `org_a`, straight from the store.
pub(crate) async fn key(
    served: &Served,
    user: Option<&str>,
    project: Option<&str>,
    rights: &str,
) -> KeyCreated {
    key_of(served, "org_a", user, project, rights, None).await
}

pub(crate) async fn key_of(
    served: &Served,
    org: &str,
    user: Option<&str>,
    project: Option<&str>,
    rights: &str,
    expires_at: Option<Timestamp>,
) -> KeyCreated {
    let new = CreateKey {
        name: "test".into(),
        user_id: user.map(|name| name.parse().unwrap()),
        project_id: project.map(|name| name.parse().unwrap()),
        rights: Rights::known(rights.split(' ')),
        expires_at,
    };
    served.store.create_key(&org.parse().unwrap(), "test", &new).await.unwrap()
}

/// A request with a key and no scope.
pub(crate) fn by(served: &Served, key: &str, method: &str, path: &str) -> RequestBuilder {
    served.bare(method, path).bearer_auth(key)
}

async fn get(served: &Served, key: &str, path: &str) -> Answer {
    answer(by(served, key, "GET", path)).await
}

/// All that can be seen of an answer, but for the id of its request.
pub(crate) fn seen(answer: &Answer) -> String {
    let id = answer.header("x-request-id").to_owned();
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    format!("{} {headers:?} {}", answer.status, answer.text).replace(&id, "")
}

#[tokio::test]
async fn without_authentication_whoever_is_named_is_believed() {
    let served = served().await;
    let new = json!({"name": "a", "rights": ["runs:read"], "user_id": "user_b"});
    let made =
        answer(served.bare("POST", "/api/keys").header("x-org-id", "org_a").json(&new)).await;
    let made: KeyCreated = serde_json::from_value(made.expect(201)).unwrap();
    assert_eq!(made.info.user_id.unwrap().as_str(), "user_b");
    // A credential that nobody asked for is nobody's business.
    get_in_org(&served, "/api/keys", Some("Bearer nonsense")).await.expect(200);
    let login = served.bare("POST", "/api/login").json(&json!({"key": "anything"}));
    let login = answer(login).await;
    assert_eq!((login.status, login.header("set-cookie")), (204, ""));
    answer(served.bare("GET", "/api/keys")).await.refused(400, "scope_required");
}

async fn get_in_org(served: &Served, path: &str, authorization: Option<&str>) -> Answer {
    let mut request = served.bare("GET", path).header("x-org-id", "org_a");
    if let Some(text) = authorization {
        request = request.header("authorization", text);
    }
    answer(request).await
}

#[tokio::test]
async fn whatever_is_wrong_with_a_credential_the_refusal_is_the_same() {
    let served = with_keys().await;
    let good = key(&served, Some("user_a"), None, "runs:read").await;
    let revoked = key(&served, Some("user_a"), None, "runs:read").await;
    let expired: Timestamp = serde_json::from_value(json!("2001-01-01T00:00:00Z")).unwrap();
    let expired = key_of(&served, "org_a", Some("u"), None, "runs:read", Some(expired)).await;
    served.store.revoke_key(&"org_a".parse().unwrap(), "test", revoked.info.key_id).await.unwrap();
    assert_eq!(good.key.len(), 67);

    let missing = get_in_org(&served, "/api/runs", None).await;
    assert_eq!(missing.header("www-authenticate"), "Bearer");
    let want = seen(&missing);
    missing.refused(401, "unauthorized");
    let unknown = format!("oi_{}", "0".repeat(64));
    for text in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer oi_",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        &format!("Bearer {unknown}"),
        &format!("Bearer {}", revoked.key),
        &format!("Bearer {}", expired.key),
        &format!("Bearer {}", good.key.to_uppercase()),
        &format!("Bearer {}0", good.key),
        &format!("Basic {}", good.key),
        &good.key,
    ] {
        let refused = get_in_org(&served, "/api/runs", Some(text)).await;
        assert_eq!(seen(&refused), want, "{text}");
    }
    let twice = by(&served, &good.key, "GET", "/api/runs").bearer_auth(&good.key);
    assert_eq!(seen(&answer(twice).await), want);
    let bad_header_good_cookie = served
        .bare("GET", "/api/runs")
        .bearer_auth(unknown)
        .header("cookie", format!("openintern_login={}", good.key));
    assert_eq!(seen(&answer(bad_header_good_cookie).await), want);
    let in_query = format!("/api/runs?access_token={}", good.key);
    assert_eq!(seen(&get_in_org(&served, &in_query, None).await), want);
}

#[tokio::test]
async fn a_request_can_only_narrow_what_the_key_allows() {
    let served = with_keys().await;
    let of_project = key(&served, Some("user_a"), Some("p"), "runs:read runs:write").await.key;
    let of_user = key(&served, Some("user_a"), None, "runs:read runs:write").await.key;
    let of_org = key(&served, None, None, "runs:read runs:write").await.key;

    // What the key says need not be said.
    let created = by(&served, &of_project, "POST", "/api/runs").json(&json!({"input": "a"}));
    let run = answer(created).await.expect(201)["run_id"].as_str().unwrap().to_owned();
    let path = format!("/api/runs/{run}");
    get(&served, &of_project, &path).await.expect(200);
    get(&served, &of_user, &path).await.refused(404, "not_found");
    get(&served, &of_user, &format!("{path}?project_id=p")).await.expect(200);
    get(&served, &of_org, &path).await.refused(400, "scope_required");
    get(&served, &of_org, &format!("{path}?user_id=user_a&project_id=p")).await.expect(200);
    get(&served, &of_org, &format!("{path}?user_id=user_b&project_id=p")).await.expect_absent();

    // Saying it again is fine; saying something else is not, wherever it is said.
    let same = format!("{path}?org_id=org_a&user_id=user_a&project_id=p");
    get(&served, &of_project, &same).await.expect(200);
    for other in ["org_id=org_b", "user_id=user_b", "project_id=q"] {
        let wider = get(&served, &of_project, &format!("{path}?{other}")).await;
        wider.refused(403, "scope_mismatch");
        let (field, value) = other.split_once('=').unwrap();
        let header = format!("x-{}", field.replace('_', "-"));
        let wider = by(&served, &of_project, "GET", &path).header(header, value);
        answer(wider).await.refused(403, "scope_mismatch");
        let body = json!({"input": "a", field: value});
        let wider = by(&served, &of_project, "POST", "/api/runs").json(&body);
        answer(wider).await.refused(403, "scope_mismatch");
    }
    let in_dispute = by(&served, &of_project, "GET", &format!("{path}?org_id=org_b"));
    answer(in_dispute.header("x-org-id", "org_a")).await.refused(400, "scope_conflict");
    get(&served, &of_org, "/api/runs?user_id=a%20b").await.names("user_id");
}

impl Answer {
    #[track_caller]
    fn expect_absent(self) {
        self.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_foreign_row_and_an_absent_one_are_the_same_bytes() {
    let served = with_keys().await;
    let ours = key(&served, Some("user_a"), None, "runs:write").await.key;
    let created = by(&served, &ours, "POST", "/api/runs").json(&json!({"input": "a"}));
    let run = answer(created).await.expect(201)["run_id"].as_str().unwrap().to_owned();
    let all = "runs:read runs:write memory:*";
    let same_user = key_of(&served, "org_b", Some("user_a"), None, all, None).await.key;
    let same_org = key(&served, Some("user_b"), None, all).await.key;
    for stranger in [same_user, same_org] {
        for (method, end) in
            [("GET", ""), ("GET", "/events"), ("GET", "/stream"), ("POST", "/cancel")]
        {
            let ask = async |id: &str| {
                let path = format!("/api/runs/{id}{end}");
                answer(by(&served, &stranger, method, &path)).await
            };
            let (foreign, absent) = (ask(&run).await, ask(&RunId::generate().to_string()).await);
            assert_eq!(seen(&foreign), seen(&absent));
            foreign.expect_absent();
        }
    }
    let admin = key_of(&served, "org_b", None, None, "admin", None).await;
    let foreign = format!("/api/keys/{}", key(&served, None, None, "runs:read").await.info.key_id);
    answer(by(&served, &admin.key, "DELETE", &foreign)).await.expect_absent();
    let listed = get(&served, &admin.key, "/api/keys").await.expect(200);
    let listed: Vec<ApiKey> = serde_json::from_value(listed["keys"].clone()).unwrap();
    assert!(listed.iter().all(|key| key.org_id.as_str() == "org_b"));
}

/// Every route of the document: who has its right comes in, and nobody else does.
#[tokio::test]
async fn every_route_asks_for_its_right() {
    let served = with_keys().await;
    let rights = ["runs:read", "runs:write", "memory:read", "memory:write", "admin"];
    let mut keys = Vec::new();
    for right in rights {
        let user = (right != "admin").then_some("user_a");
        keys.push((right, key(&served, user, None, right).await.key));
    }
    let mut protected = 0;
    for (method, path, operation) in operations(&document()) {
        let path = path
            .replace("{run_id}", "run_01h455vb4pex5vsknk084sn02q")
            .replace("{key_id}", "key_01h455vb4pex5vsknk084sn02q")
            .replace("{id}", "mem_01h455vb4pex5vsknk084sn02q")
            .replace("{session_key}", "s_none");
        let nobody = answer(served.ask(&method, &path)).await;
        if !operation["security"].is_array() {
            assert!(nobody.status < 500 && nobody.status != 401, "{method} {path}");
            continue;
        }
        nobody.refused(401, "unauthorized");
        let Some(needed) = operation["security"][0]["bearer"][0].as_str() else {
            for (_, key) in &keys {
                answer(by(&served, key, &method, &path)).await.expect(200);
            }
            continue;
        };
        protected += 1;
        for (right, key) in &keys {
            let asked =
                answer(by(&served, key, &method, &path).header("x-user-id", "user_a")).await;
            if *right == needed || *right == "admin" {
                assert!(![401, 403].contains(&asked.status), "{method} {path} {right}");
                assert!(asked.status < 500, "{method} {path} {}", asked.text);
            } else {
                asked.refused(403, "forbidden");
            }
        }
    }
    assert!(protected > 15, "{protected}");
    answer(served.ask("GET", "/api/nothing")).await.expect_absent();
    for open in ["/", "/docs", "/openapi.json", "/health", "/health/live", "/metrics"] {
        assert_eq!(answer(served.bare("GET", open)).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn whoever_asks_learns_what_their_credential_is_good_for() {
    let served = with_keys().await;
    let bound = key(&served, Some("user_a"), Some("p"), "memory:*").await;
    assert_eq!(
        get(&served, &bound.key, "/api/whoami").await.expect(200),
        json!({
            "authenticated": true, "org_id": bound.info.org_id, "user_id": "user_a",
            "project_id": "p", "rights": ["memory:read", "memory:write"],
        })
    );
    let admin = key(&served, None, None, "admin").await;
    let told = get(&served, &admin.key, "/api/whoami").await.expect(200);
    assert_eq!((&told["user_id"], &told["project_id"]), (&Value::Null, &Value::Null));
    assert_eq!(
        told["rights"],
        json!(["runs:read", "runs:write", "memory:read", "memory:write", "admin"])
    );
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_by_an_administrator() {
    let served = with_keys().await;
    let admin = key(&served, None, None, "admin").await;
    let new =
        json!({"name": "报告", "rights": ["memory:*"], "user_id": "user_c", "project_id": "p"});
    let made = answer(by(&served, &admin.key, "POST", "/api/keys").json(&new)).await.expect(201);
    let made: KeyCreated = serde_json::from_value(made).unwrap();
    assert!(made.key.starts_with(&made.info.prefix));
    get(&served, &made.key, "/api/memories").await.expect(200);

    let listed = get(&served, &admin.key, "/api/keys?limit=1").await;
    assert!(!listed.text.contains(&made.key), "a key is told once");
    let listed = listed.expect(200);
    assert_eq!(listed["keys"][0]["key_id"], made.info.key_id.to_string());
    assert!(listed["keys"][0]["last_used_at"].is_string());
    let next = format!("/api/keys?cursor={}", listed["next_cursor"].as_str().unwrap());
    let next = get(&served, &admin.key, &next).await.expect(200);
    assert_eq!(next["keys"][0]["key_id"], admin.info.key_id.to_string());

    let path = format!("/api/keys/{}", made.info.key_id);
    for _ in 0..2 {
        assert_eq!(answer(by(&served, &admin.key, "DELETE", &path)).await.status, 204);
        get(&served, &made.key, "/api/memories").await.refused(401, "unauthorized");
    }
    for (body, field) in [
        (json!({"name": "a", "rights": ["root"]}), "/rights/0"),
        (json!({"name": "a", "rights": []}), "/rights"),
        (json!({"name": "", "rights": ["runs:read"]}), "/name"),
        (json!({"name": "a", "rights": ["admin"], "user_id": "u"}), "/rights"),
        (json!({"name": "a", "rights": ["runs:read"], "user_id": "a b"}), "/user_id"),
        (json!({"name": "a", "rights": ["runs:read"], "expires_at": "soon"}), "/expires_at"),
        (json!({"name": "a", "rights": ["runs:read"], "scope": 1}), "/scope"),
    ] {
        answer(by(&served, &admin.key, "POST", "/api/keys").json(&body)).await.names(field);
    }
    let elsewhere = json!({"name": "a", "rights": ["runs:read"], "org_id": "org_b"});
    let elsewhere = by(&served, &admin.key, "POST", "/api/keys").json(&elsewhere);
    answer(elsewhere).await.refused(403, "scope_mismatch");
}

#[tokio::test]
async fn the_audit_says_who_did_what() {
    let served = with_keys().await;
    let admin = key(&served, None, None, "admin").await;
    let user = key(&served, Some("user_a"), None, "runs:write").await;
    let body = json!({"input": "秘密", "project_id": "p"});
    let create =
        || by(&served, &user.key, "POST", "/api/runs").header("idempotency-key", "k").json(&body);
    let run = answer(create()).await.expect(201)["run_id"].clone();
    answer(create()).await.expect(201);
    let cancel = format!("/api/runs/{}/cancel?project_id=p", run.as_str().unwrap());
    answer(by(&served, &user.key, "POST", &cancel)).await.expect(200);
    answer(by(&served, &user.key, "POST", &cancel)).await.refused(409, "run_already_finished");
    let path = format!("/api/keys/{}", user.info.key_id);
    answer(by(&served, &admin.key, "DELETE", &path)).await;

    let audit = get(&served, &admin.key, "/api/audit").await;
    assert!(!audit.text.contains("秘密"));
    let audit = audit.expect(200);
    let line = |record: &Value| {
        ["actor", "action", "subject"].map(|key| record[key].as_str().unwrap().to_owned()).join(" ")
    };
    let lines: Vec<_> = audit["records"].as_array().unwrap().iter().map(line).collect();
    let (admin, user, run) = (admin.info.key_id, user.info.key_id, run.as_str().unwrap());
    let want = [
        format!("{admin} key.revoked {user}"),
        format!("{user} run.cancelled {run}"),
        format!("{user} run.created {run}"),
        format!("test key.created {user}"),
        format!("test key.created {admin}"),
    ];
    assert_eq!(lines, want);
    assert_eq!(audit["records"][1]["detail"], json!({"user_id": "user_a", "project_id": "p"}));
}

#[tokio::test]
async fn the_audit_names_whoever_is_named_where_nobody_is_known() {
    let served = served().await;
    let run = served.create("a").await;
    served.post(&format!("/api/runs/{run}/cancel"), json!({})).await.expect(200);
    let audit = served.get("/api/audit").await.expect(200);
    assert_eq!(audit["records"].as_array().unwrap().len(), 1);
    assert_eq!(audit["records"][0]["actor"], "user_a");
}

/// A stream of a run that nobody works on.
async fn idle_stream(served: &Served, key: &str) -> Stream {
    let created = by(served, key, "POST", "/api/runs").json(&json!({"input": "a"}));
    let run = answer(created).await.expect(201)["run_id"].as_str().unwrap().to_owned();
    let path = format!("/api/runs/{run}/stream");
    let response = by(served, key, "GET", &path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = Stream { response, read: Vec::new() };
    assert_eq!(stream.next().await.unwrap().other, "retry: 1000");
    stream
}

#[tokio::test]
async fn revoking_a_key_on_another_node_ends_its_streams_within_a_second() {
    let served = with_keys().await;
    let revoked = key(&served, Some("user_a"), None, "runs:read runs:write").await;
    let kept = key(&served, Some("user_b"), None, "runs:read runs:write").await;
    let mut stream = idle_stream(&served, &revoked.key).await;
    let mut other = idle_stream(&served, &kept.key).await;
    let org = "org_a".parse().unwrap();
    served.store.revoke_key(&org, "another node", revoked.info.key_id).await.unwrap();
    let end = tokio::time::timeout(crate::served::PATIENCE, stream.next())
        .await
        .expect("the stream ends by itself");
    assert_eq!(end, None);
    get(&served, &revoked.key, "/api/runs").await.refused(401, "unauthorized");
    get(&served, &kept.key, "/api/runs").await.expect(200);
    served.shutdown.cancel();
    assert_eq!(other.next().await, None);
}

#[tokio::test]
async fn a_stream_ends_when_its_key_expires() {
    let served = with_keys().await;
    let soon = std::time::SystemTime::now() + Duration::from_secs(2);
    let soon = Timestamp::new(soon.try_into().unwrap());
    let rights = "runs:read runs:write";
    let key = key_of(&served, "org_a", Some("user_a"), None, rights, Some(soon)).await.key;
    let mut stream = idle_stream(&served, &key).await;
    assert_eq!(stream.next().await, None);
    get(&served, &key, "/api/runs").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn the_page_logs_in_with_a_cookie_that_scripts_cannot_read() {
    let served = with_keys().await;
    let key = key(&served, Some("user_a"), None, "runs:read runs:write").await.key;
    let login = |key: &str| served.bare("POST", "/api/login").json(&json!({"key": key}));
    answer(login("oi_wrong")).await.refused(401, "unauthorized");
    answer(login(&format!("oi_{}", "0".repeat(64)))).await.refused(401, "unauthorized");
    answer(login(&key).header("origin", "http://elsewhere")).await.refused(403, "forbidden");
    answer(served.bare("POST", "/api/login").json(&json!({}))).await.names("/key");
    answer(served.bare("POST", "/api/login").json(&json!({"key": key, "a": 1}))).await.names("/a");

    let logged_in = answer(login(&key)).await;
    assert_eq!((logged_in.status, &*logged_in.text), (204, ""));
    let cookie = logged_in.header("set-cookie").to_owned();
    assert!(cookie.starts_with("openintern_login=oil_") && !cookie.contains(&key[3..]), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=604800"), "{cookie}");
    let encrypted = answer(login(&key).header("x-forwarded-proto", "https")).await;
    assert!(encrypted.header("set-cookie").ends_with("; Max-Age=604800; Secure"));
    assert_ne!(encrypted.header("set-cookie").split(';').next(), cookie.split(';').next());

    let cookie = cookie.split(';').next().unwrap();
    let ask = |method: &str, path: &str| served.bare(method, path).header("cookie", cookie);
    answer(ask("GET", "/api/runs")).await.expect(200);
    let foreign = ask("GET", "/api/runs").header("sec-fetch-site", "cross-site");
    answer(foreign).await.refused(403, "forbidden");
    let create = || ask("POST", "/api/runs").json(&json!({"input": "a"}));
    answer(create().header("sec-fetch-site", "same-origin")).await.expect(201);
    let own = served.url("");
    answer(create().header("origin", &own)).await.expect(201);
    for site in ["cross-site", "same-site"] {
        let request = create().header("sec-fetch-site", site).header("origin", &own);
        answer(request).await.refused(403, "forbidden");
    }
    answer(create().header("origin", "http://elsewhere")).await.refused(403, "forbidden");
    // A header is put there on purpose: where it comes from does not matter.
    let header = by(&served, &key, "POST", "/api/runs").json(&json!({"input": "a"}));
    answer(header.header("origin", "http://elsewhere")).await.expect(201);

    let other = answer(login(&key)).await;
    let other = other.header("set-cookie").split(';').next().unwrap().to_owned();
    let foreign = ask("POST", "/api/logout").header("origin", "http://elsewhere");
    answer(foreign).await.refused(403, "forbidden");
    answer(ask("GET", "/api/runs")).await.expect(200);
    let logged_out = answer(ask("POST", "/api/logout")).await;
    assert_eq!(logged_out.status, 204);
    assert!(logged_out.header("set-cookie").starts_with("openintern_login=; "));
    assert!(logged_out.header("set-cookie").ends_with("; Max-Age=0"));
    answer(ask("GET", "/api/runs")).await.refused(401, "unauthorized");
    let by_other = || served.bare("GET", "/api/runs").header("cookie", &other);
    answer(by_other()).await.expect(200);
    answer(login("oi_wrong").header("cookie", &other)).await.refused(401, "unauthorized");
    answer(by_other()).await.expect(200);
    let again = answer(login(&key).header("cookie", &other)).await;
    answer(by_other()).await.refused(401, "unauthorized");
    let again = again.header("set-cookie").split(';').next().unwrap();
    answer(served.bare("GET", "/api/runs").header("cookie", again)).await.expect(200);
    let key_as_cookie = format!("openintern_login={key}");
    for cookie in ["openintern_login=", "openintern_login=oil_0", &*key_as_cookie] {
        let bad = served.bare("GET", "/api/runs").header("cookie", cookie);
        answer(bad).await.refused(401, "unauthorized");
    }
    let login_as_key =
        served.bare("GET", "/api/runs").bearer_auth(&cookie["openintern_login=".len()..]);
    answer(login_as_key).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_login_ends_with_its_key_and_so_do_its_streams() {
    let served = with_keys().await;
    let admin = key(&served, None, None, "admin").await;
    let made = key(&served, Some("user_a"), None, "runs:read runs:write").await;
    let logged_in = served.bare("POST", "/api/login").json(&json!({"key": made.key}));
    let logged_in = answer(logged_in).await;
    let cookie = logged_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let ask = |method: &str, path: &str| served.bare(method, path).header("cookie", &cookie);
    let created = answer(ask("POST", "/api/runs").json(&json!({"input": "a"}))).await.expect(201);
    let path = format!("/api/runs/{}/stream", created["run_id"].as_str().unwrap());
    let mut stream = ask("GET", &path).send().await.unwrap();
    assert_eq!(stream.chunk().await.unwrap().unwrap(), "retry: 1000\n\n");

    let revoke = by(&served, &admin.key, "DELETE", &format!("/api/keys/{}", made.info.key_id));
    assert_eq!(answer(revoke).await.status, 204);
    answer(ask("GET", "/api/runs")).await.refused(401, "unauthorized");
    let ended = tokio::time::timeout(crate::served::PATIENCE, stream.chunk()).await;
    assert!(ended.expect("the stream ends").unwrap().is_none());
}
