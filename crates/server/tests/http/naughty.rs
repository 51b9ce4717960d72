//! Strings, bytes, numbers and shapes that nobody expects, into every field of every route that
//! takes a body: they come back as they went, or are refused with 4xx. Never 5xx.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures::{StreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{
    corpus::strings,
    served::{Answer, Served, answer, served},
};

/// Requests at once.
const AT_ONCE: usize = 8;

/// Where a text goes, with its place in the body, and where it can be read again.
struct Field {
    method: &'static str,
    path: String,
    body: Value,
    pointer: &'static str,
    back: Back,
}

#[derive(Clone, Copy, PartialEq)]
enum Back {
    /// At the same place of the run that was created.
    OfRun,
    /// At the same place of the memory that was written or edited.
    OfMemory,
    /// It is a question, or is kept under another name.
    Nowhere,
}

/// Every string field that can be sent.
fn fields(run_id: &str, memory_id: &str) -> Vec<Field> {
    use Back::{Nowhere, OfMemory, OfRun};
    let field = |method, path: &str, body, pointer, back| Field {
        method,
        path: path.to_owned(),
        body,
        pointer,
        back,
    };
    let run = |body: Value, pointer, back| field("POST", "/api/runs", body, pointer, back);
    let scoped = |name: &str| json!({"input": "a", (name): ""});
    let memory = |body: Value, pointer, back| {
        let whole = [json!({"type": "archival", "text": "a"}), body];
        field("POST", "/api/memories", merged(whole), pointer, back)
    };
    let edit = format!("/api/memories/{memory_id}");
    let search = |body: Value, pointer| {
        let whole = [json!({"query": "a"}), body];
        field("POST", "/api/memories/search", merged(whole), pointer, Nowhere)
    };
    let cancel = format!("/api/runs/{run_id}/cancel");
    let one = json!({"type": "core", "text": "a", "metadata": {"a": ""}, "group_key": "g"});
    let bulk = |pointer| {
        field("POST", "/api/memories/bulk", json!({"memories": [one.clone()]}), pointer, Nowhere)
    };
    vec![
        run(json!({"input": ""}), "/input", OfRun),
        run(json!({"input": "a", "metadata": {"a": ""}}), "/metadata/a", OfRun),
        run(json!({"input": "a", "metadata": {"a": [{"b": ""}]}}), "/metadata/a/0/b", OfRun),
        run(json!({"input": "a", "session_key": ""}), "/session_key", OfRun),
        run(json!({"input": "a", "agent_id": ""}), "/agent_id", OfRun),
        run(json!({"input": "a", "llm_config": {"provider": ""}}), "/llm_config/provider", Nowhere),
        run(json!({"input": "a", "llm_config": {"model": ""}}), "/llm_config/model", Nowhere),
        run(scoped("org_id"), "/org_id", Nowhere),
        run(scoped("user_id"), "/user_id", Nowhere),
        run(scoped("project_id"), "/project_id", Nowhere),
        field("POST", &cancel, json!({"org_id": ""}), "/org_id", Nowhere),
        memory(json!({"text": ""}), "/text", OfMemory),
        memory(json!({"type": ""}), "/type", OfMemory),
        memory(json!({"group_key": ""}), "/group_key", OfMemory),
        memory(json!({"metadata": {"a": ""}}), "/metadata/a", OfMemory),
        memory(json!({"occurred_at": ""}), "/occurred_at", Nowhere),
        memory(json!({"project_id": ""}), "/project_id", Nowhere),
        bulk("/memories/0/text"),
        bulk("/memories/0/metadata/a"),
        bulk("/memories/0/group_key"),
        field("PATCH", &edit, json!({"text": ""}), "/text", OfMemory),
        field("PATCH", &edit, json!({"metadata": {"a": ""}}), "/metadata/a", OfMemory),
        search(json!({"query": ""}), "/query"),
        search(json!({"filters": {"group_key": ""}}), "/filters/group_key"),
        search(json!({"filters": {"type": [""]}}), "/filters/type/0"),
        search(json!({"filters": {"metadata": {"a": ""}}}), "/filters/metadata/a"),
        search(json!({"filters": {"occurred_after": ""}}), "/filters/occurred_after"),
        search(json!({"filters": {"occurred_before": ""}}), "/filters/occurred_before"),
    ]
}

fn merged(parts: [Value; 2]) -> Value {
    let maps = parts.into_iter().filter_map(|part| part.as_object().cloned());
    Value::Object(maps.flatten().collect())
}

impl Field {
    fn with(&self, value: Value) -> Value {
        let mut body = self.body.clone();
        *body.pointer_mut(self.pointer).unwrap() = value;
        body
    }

    async fn send(&self, served: &Served, value: Value) -> Answer {
        let request = self.within(served.ask(self.method, &self.path), &value);
        answer(request.json(&self.with(value))).await
    }

    /// A memory that differs from another by its form alone is that other one: so each value has a
    /// project of its own.
    fn within(&self, request: RequestBuilder, value: &Value) -> RequestBuilder {
        if self.back != Back::OfMemory || self.method != "POST" {
            return request;
        }
        let mut hasher = DefaultHasher::new();
        (self.pointer, value.to_string()).hash(&mut hasher);
        request.header("x-project-id", format!("p_{:x}", hasher.finish()))
    }

    /// Sends bytes in the place of the text, which stand in the body as they are.
    async fn send_raw(&self, served: &Served, raw: &[u8]) -> Answer {
        const PLACE: &str = "THE PLACE";
        let body = self.with(PLACE.into()).to_string();
        let (before, after) = body.split_once(&format!("\"{PLACE}\"")).unwrap();
        let body = [before.as_bytes(), raw, after.as_bytes()].concat();
        let request = served.ask(self.method, &self.path);
        answer(request.header("content-type", "application/json").body(body)).await
    }

    /// What is kept, after an answer of 2xx.
    async fn read_back(&self, served: &Served, sent: &Value, answered: &Value) -> Option<Value> {
        let kept = match self.back {
            Back::OfRun => {
                let run_id = answered["run_id"].as_str().unwrap();
                served.get(&format!("/api/runs/{run_id}")).await.expect(200)
            }
            Back::OfMemory if self.method == "PATCH" => answered.clone(),
            Back::OfMemory => {
                let id = answered["id"].as_str().unwrap();
                let request = served.ask("GET", &format!("/api/memories/{id}"));
                answer(self.within(request, sent)).await.expect(200)
            }
            Back::Nowhere => return None,
        };
        Some(kept.pointer(self.pointer).cloned().unwrap_or_default())
    }

    #[track_caller]
    fn is_no_fault_of_ours(&self, answered: &Answer, sent: &str) {
        let status = answered.status;
        assert!(
            matches!(status, 200..300 | 400..500),
            "{} {} {} with {sent:?}: {status} {}",
            self.method,
            self.path,
            self.pointer,
            answered.text
        );
    }
}

/// A server with a run and a memory of ours.
async fn place() -> (Served, Vec<Field>) {
    let served = served().await;
    let run_id = served.create("a").await.to_string();
    let memory = served.post("/api/memories", json!({"type": "archival", "text": "a"})).await;
    let fields = fields(&run_id, memory.expect(201)["id"].as_str().unwrap());
    (served, fields)
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_come_back_as_they_went_or_are_refused() {
    let (served, fields) = place().await;
    let strings = strings();
    assert!(strings.len() >= 120, "{}", strings.len());
    for field in &fields {
        let check = |text: &String| {
            let (served, text) = (&served, text.clone());
            async move {
                let sent = json!(text);
                let answered = field.send(served, sent.clone()).await;
                field.is_no_fault_of_ours(&answered, &text);
                if answered.status >= 300 {
                    return false;
                }
                match field.read_back(served, &sent, &answered.json()).await {
                    Some(kept) => assert_eq!(kept, sent, "{} {}", field.path, field.pointer),
                    None => return false,
                }
                true
            }
        };
        // An edited memory is one row: its edits must not overtake each other.
        let at_once = if field.method == "PATCH" { 1 } else { AT_ONCE };
        let kept = stream::iter(&strings).map(check).buffer_unordered(at_once);
        let kept = kept.filter(|kept| std::future::ready(*kept)).count().await;
        let is_free = ["/input", "/text", "/group_key", "/metadata/a"].contains(&field.pointer);
        if is_free && field.back != Back::Nowhere {
            assert!(kept >= 100, "{} keeps {kept} of {}", field.pointer, strings.len());
        }
    }
    for text in &strings {
        let body = json!({"input": "a", "metadata": {text: {text: 1}}});
        let created = served.post("/api/runs", body.clone()).await;
        assert!(matches!(created.status, 201 | 400), "{text:?}: {}", created.text);
        if created.status == 201 {
            let run_id = created.json()["run_id"].as_str().unwrap().to_owned();
            let run = served.get(&format!("/api/runs/{run_id}")).await.expect(200);
            assert_eq!(run["metadata"], body["metadata"]);
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused_everywhere() {
    let (served, fields) = place().await;
    let raw: &[&[u8]] = &[
        b"\"\xff\"",
        b"\"\xfe\xff\"",
        b"\"\xc0\xaf\"",
        b"\"\xc0\x80\"",
        b"\"\xe0\x80\xaf\"",
        b"\"\xf0\x80\x80\xaf\"",
        b"\"\xf8\x80\x80\x80\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xed\xb0\x80\"",
        b"\"\xed\xa0\xbd\xed\xb8\x80\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\"\xe4\xb8\"",
        b"\"\x80\"",
        b"\"a\0b\"",
        b"\"a\nb\"",
        b"\"\x1b[31m\"",
        br#""\u0000""#,
        br#""a\u0000b""#,
        br#""\ud800""#,
        br#""\udfff""#,
        br#""\ude00\ud83d""#,
        br#""\ud83dx""#,
        br#""\x41""#,
        br#""\u12""#,
        b"'a'",
        b"\"unclosed",
        b"NaN",
        b"Infinity",
        b"-",
        b"1e131071",
        b"1e-131071",
        b"0x41",
        b"01",
        b"/**/\"a\"",
        b",",
    ];
    for field in &fields {
        for raw in raw {
            let answered = field.send_raw(&served, raw).await;
            assert_eq!(answered.status, 400, "{} {raw:?}: {}", field.path, answered.text);
        }
        let twice = field.with("a".into()).to_string();
        let twice = format!("{},{}", twice.strip_suffix('}').unwrap(), &twice[1..]);
        let request = served.ask(field.method, &field.path);
        let request = request.header("content-type", "application/json");
        let refused = answer(request.body(twice)).await.refused(400, "validation_error");
        assert_eq!(refused["error"]["details"][0]["message"], "is given twice");
    }
}

#[tokio::test]
async fn other_shapes_are_refused_or_understood_everywhere() {
    let (served, fields) = place().await;
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    for field in &fields {
        for value in [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(1.5),
            json!(1e308),
            json!(u64::MAX),
            json!(i64::MIN),
            json!([]),
            json!([""]),
            json!({}),
            json!({"": ""}),
            json!({"$ne": null}),
            json!({"__proto__": {"a": 1}}),
        ] {
            let answered = field.send(&served, value.clone()).await;
            field.is_no_fault_of_ours(&answered, &value.to_string());
        }
        for depth in [63, 64, 65, 127, 128, 129, 100_000] {
            let answered = field.send_raw(&served, nested(depth).as_bytes()).await;
            field.is_no_fault_of_ours(&answered, &format!("depth {depth}"));
            assert!(depth < 64 || answered.status == 400, "depth {depth} below {}", field.pointer);
        }
        let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert_eq!(field.send_raw(&served, objects.as_bytes()).await.status, 400);
        let wide = format!("[{}1]", "1,".repeat(300_000));
        let answered = field.send_raw(&served, wide.as_bytes()).await;
        field.is_no_fault_of_ours(&answered, "300,000 items");
        let digits = "9".repeat(500_000);
        let answered = field.send_raw(&served, digits.as_bytes()).await;
        assert_eq!(answered.status, 400, "half a million digits");
    }
}

#[tokio::test]
async fn numbers_beyond_their_bounds_are_refused() {
    let served = served().await;
    let numbers = [
        "-1",
        "1e131071",
        "1e309",
        "-1e309",
        "1e-400",
        "99999999999999999999999",
        "-9223372036854775809",
        "1.0000000000000001e308",
        "4294967296",
        "0.1e1000000000000",
    ];
    let check = async |path: &str, body: String| {
        let request = served.ask("POST", path).header("content-type", "application/json");
        let answered = answer(request.body(body.clone())).await;
        assert!(matches!(answered.status, 200..300 | 400..500), "{body}: {}", answered.text);
    };
    for number in numbers {
        for field in ["max_steps", "max_tokens", "max_cost_usd", "max_wall_s"] {
            check("/api/runs", format!(r#"{{"input":"a","limits":{{"{field}":{number}}}}}"#)).await;
        }
        for field in ["temperature", "max_tokens"] {
            check("/api/runs", format!(r#"{{"input":"a","llm_config":{{"{field}":{number}}}}}"#))
                .await;
        }
        check("/api/runs", format!(r#"{{"input":"a","metadata":{{"n":{number}}}}}"#)).await;
        for field in ["importance", "position"] {
            let body = format!(r#"{{"type":"core","text":"a","{field}":{number}}}"#);
            check("/api/memories", body).await;
        }
        check("/api/memories/search", format!(r#"{{"query":"a","top_k":{number}}}"#)).await;
        let filter = format!(r#"{{"query":"a","filters":{{"metadata":{{"n":{number}}}}}}}"#);
        check("/api/memories/search", filter).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_in_paths_queries_and_headers_do_no_harm() {
    let served = served().await;
    let run_id = served.create("a").await;
    let paths = [
        "/api/runs/{}".to_owned(),
        "/api/runs/{}/events".into(),
        "/api/runs/{}/stream".into(),
        "/api/memories/{}".into(),
        "/api/memories/{}/versions".into(),
        "/api/sessions/{}/runs".into(),
        "/api/{}".into(),
        "/{}".into(),
        "/api/runs?limit={}".into(),
        "/api/runs?cursor={}".into(),
        "/api/runs?status={}".into(),
        "/api/runs?session_key={}".into(),
        "/api/runs?agent_id={}".into(),
        "/api/runs?org_id={}".into(),
        "/api/runs?project_id={}".into(),
        "/api/runs?{}=1".into(),
        format!("/api/runs/{run_id}/events?cursor={{}}"),
        format!("/api/runs/{run_id}/events?type={{}}"),
        format!("/api/runs/{run_id}/stream?cursor={{}}&deltas={{}}"),
        "/api/memories?type={}".into(),
        "/api/memories?group_key={}".into(),
        "/api/memories?cursor={}".into(),
        "/api/memories/export?group_key={}".into(),
        "/api/memories/export?cursor={}".into(),
        "/api/sessions?cursor={}".into(),
    ];
    for text in strings().iter().filter(|text| text.len() < 2_000) {
        let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let ask = |path: &String| {
            let path = path.replace("{}", &encoded);
            let served = &served;
            async move {
                let response = served.ask("GET", &path).send().await.unwrap();
                let status = response.status().as_u16();
                assert!(matches!(status, 200..500), "{path}: {status}"); // A stream is not waited for.
            }
        };
        stream::iter(&paths).map(ask).buffer_unordered(AT_ONCE).collect::<()>().await;
        for header in
            ["x-org-id", "x-project-id", "idempotency-key", "last-event-id", "x-request-id"]
        {
            let Ok(value) = reqwest::header::HeaderValue::from_bytes(text.as_bytes()) else {
                continue;
            };
            let request = served.ask("POST", "/api/runs").header(header, value);
            let status = answer(request.json(&json!({"input": "a"}))).await.status;
            assert!(matches!(status, 200..300 | 400..500), "{header} {text:?}: {status}");
        }
    }
    for raw in ["%00", "%", "%zz", "%ff", "%c0%af", "%ed%a0%80", "..%2f..%2fetc", "a%0d%0ab"] {
        for path in &paths {
            let path = path.replace("{}", raw);
            let text = format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\nx-org-id: org_a\r\nx-user-id: user_a\r\n\
                 connection: close\r\n\r\n"
            );
            if path.contains("/stream?") && raw.len() > 8 {
                continue;
            }
            let head = served.raw_answer(text).await;
            let status = head.split(' ').nth(1).unwrap_or_default();
            assert!(matches!(status.as_bytes(), [b'2' | b'4', ..]), "{path}: {head}");
        }
    }
}
