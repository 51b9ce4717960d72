//! What a browser sends for a page of another site: by its own name, by a name that was made to point
//! here, with and without an `Origin`. Nothing is read and nothing is changed.

use server::settings::ServerSettings;

use crate::{
    document::{document, operations},
    served::{Served, answer, served, served_with},
};

const FOREIGN: &[&[(&str, &str)]] = &[
    &[("host", "evil.example:3000"), ("origin", "http://evil.example:3000")],
    &[("host", "evil.example:3000"), ("sec-fetch-site", "same-origin")],
    &[("host", "evil.example:3000")],
    &[("host", "192.0.2.1:3000")],
    &[("origin", "http://evil.example")],
    &[("origin", "null")],
    &[("origin", "http://localhost:1")],
    &[("sec-fetch-site", "cross-site")],
    &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")],
    &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
];

/// Every operation of the document, on rows that exist.
async fn requests(served: &Served) -> Vec<(String, String)> {
    let run_id = served.create("a").await.to_string();
    let memory = serde_json::json!({"type": "core", "text": "a"});
    let memory = served.post("/api/memories", memory).await.expect(201);
    let key = serde_json::json!({"name": "a", "rights": ["admin"]});
    let key = served.post("/api/keys", key).await.expect(201);
    operations(&document())
        .into_iter()
        .map(|(method, path, _)| {
            let path = path
                .replace("{run_id}", &run_id)
                .replace("{step}", "1")
                .replace("{id}", memory["id"].as_str().unwrap())
                .replace("{key_id}", key["key_id"].as_str().unwrap())
                .replace("{span_id}", "0000000000000001")
                .replace("{session_key}", "s_default");
            (method, path)
        })
        .collect()
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_on_every_route() {
    let served = served().await;
    let requests = requests(&served).await;
    let before = everything(&served).await;
    for (method, path) in &requests {
        assert!(!path.contains('{'), "{path} has a row here");
        for headers in FOREIGN {
            let mut request = served.ask(method, path);
            if method == "POST" {
                request = request.header("content-type", "application/json");
            }
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let refused = answer(request).await;
            let (status, code) = match headers.iter().any(|(name, _)| *name == "host") {
                true => (421, "misdirected_request"),
                false => (403, "forbidden"),
            };
            assert_eq!(refused.status, status, "{method} {path} {headers:?}: {}", refused.text);
            refused.refused(status, code);
        }
    }
    assert_eq!(everything(&served).await, before, "nothing was changed");
}

/// What a foreign page could have changed.
async fn everything(served: &Served) -> Vec<String> {
    let mut found = Vec::new();
    for path in ["/api/runs", "/api/memories", "/api/keys", "/api/audit"] {
        found.push(served.get(path).await.text);
    }
    found
}

#[tokio::test]
async fn our_own_page_and_programs_are_served() {
    let settings =
        ServerSettings { allowed_hosts: vec!["intern.lan".into()], ..ServerSettings::default() };
    let served = served_with(settings).await;
    for headers in [
        &[("host", "localhost:3000"), ("origin", "http://localhost:3000")][..],
        &[("host", "127.0.0.1"), ("sec-fetch-site", "same-origin")],
        &[("host", "[::1]:3000"), ("sec-fetch-site", "none")],
        &[("host", "Intern.LAN"), ("origin", "https://intern.lan")],
        &[],
    ] {
        let mut request = served.ask("GET", "/api/runs");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await.expect(200);
    }
    // A link from elsewhere leads to the page, which holds no data, and to nothing else.
    let follow = |path: &str| {
        let request = served.ask("GET", path).header("sec-fetch-site", "cross-site");
        request.header("sec-fetch-mode", "navigate")
    };
    assert_eq!(answer(follow("/?session=s_a")).await.status, 200);
    answer(follow("/api/runs")).await.refused(403, "forbidden");
    answer(follow("/docs")).await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_request_names_one_host() {
    let served = served().await;
    let ask = async |target: &str, hosts: &str| {
        let scope = "x-org-id: org_a\r\nx-user-id: user_a\r\nconnection: close\r\n";
        served.raw_answer(format!("GET {target} HTTP/1.1\r\n{hosts}{scope}\r\n")).await
    };
    for hosts in [
        "",
        "host: localhost\r\nhost: localhost\r\n",
        "host: localhost\r\nHost: evil.example\r\n",
        "host: \r\n",
        "host: local host\r\n",
        "host: localhost/\r\n",
        "host: user@localhost\r\n",
        "host: localhost:port\r\n",
        "host: localhost:99999\r\n",
        "host: localhost, evil.example\r\n",
        "host: http://localhost\r\n",
    ] {
        let refused = ask("/api/runs", hosts).await;
        assert!(refused.starts_with("HTTP/1.1 400"), "{hosts:?}: {refused}");
    }
    let other = ask("http://evil.example/api/runs", "host: localhost\r\n").await;
    assert!(other.starts_with("HTTP/1.1 400"), "{other}");
    let same = ask("http://localhost/api/runs", "host: localhost\r\n").await;
    assert!(same.starts_with("HTTP/1.1 200"), "{same}");
    let old = "GET /api/runs HTTP/1.0\r\nx-org-id: org_a\r\nx-user-id: user_a\r\n\r\n";
    let old = served.raw_answer(old).await;
    assert!(old.starts_with("HTTP/1.0 400"), "{old}");
}

#[tokio::test]
async fn what_is_answered_to_one_is_kept_for_nobody() {
    let served = served().await;
    let run_id = served.ended().await;
    for path in [
        "/api/runs".to_owned(),
        format!("/api/runs/{run_id}"),
        "/api/runs/run_1".to_owned(),
        "/api/nothing".to_owned(),
        "/metrics".to_owned(),
        "/health".to_owned(),
    ] {
        let answer = served.get(&path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        for name in ["authorization", "cookie", "x-org-id", "x-user-id", "x-project-id"] {
            assert!(answer.header("vary").contains(name), "{path} {name}");
        }
    }
    let stream = served.get(&format!("/api/runs/{run_id}/stream")).await;
    assert_eq!(stream.header("cache-control"), "no-store, no-transform");
    assert!(stream.header("vary").contains("cookie"));
}

#[tokio::test]
async fn a_parameter_that_a_route_does_not_have_is_refused() {
    let served = served().await;
    let run_id = served.ended().await;
    for (method, path) in [
        ("GET", "/api/runs?statuss=completed".to_owned()),
        ("GET", "/api/runs?limit=1&agent=main".to_owned()),
        ("GET", format!("/api/runs/{run_id}?limit=1")),
        ("GET", format!("/api/runs/{run_id}/stream?delta=false")),
        ("HEAD", "/api/runs?statuss=completed".to_owned()),
        ("GET", "/api/usage?days=3".to_owned()),
        ("POST", "/api/memories/search?top_k=3".to_owned()),
        ("GET", "/health?verbose=1".to_owned()),
    ] {
        assert_eq!(answer(served.ask(method, &path)).await.status, 400, "{method} {path}");
    }
    let refused = served.get("/api/runs?statuss=completed").await;
    assert!(refused.text.contains("use one of `status`"), "{}", refused.text);
    refused.names("statuss");
    answer(served.bare("GET", "/api/runs?org_id=org_a&user_id=user_a&project_id=p&limit=1"))
        .await
        .expect(200);
}
