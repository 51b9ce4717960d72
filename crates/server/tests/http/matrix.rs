//! Every route of the document, asked by everybody for everybody's rows: nobody gets at what is
//! another's, and nobody learns that it is there. A route without an example here fails the test.

use std::{collections::BTreeSet, num::NonZeroU32};

use protocol::{
    id::{KeyId, MemoryId, RunId},
    key::KeyCreated,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use server::{auth::authenticator::Authenticator, rate_limit::Rate, settings::ServerSettings};

use crate::{
    document::{document, operations},
    identity::{key_of, seen},
    served::{Answer, Served, answer, served_for},
};

const RIGHTS: [&str; 4] = ["runs:read", "runs:write", "memory:read", "memory:write"];
/// Far fewer would mean that something is not asked any more.
const CASES_MIN: usize = 1_400;

/// What requests can be about.
struct Ids {
    run: String,
    /// A span of that run, with the word in it.
    span: String,
    pending: String,
    session: String,
    memory: String,
    key: String,
    /// A word that stands in every text of the tenant, and nowhere else.
    word: String,
}

struct Tenant {
    org: &'static str,
    user: &'static str,
    project: Option<&'static str>,
    ids: Ids,
    /// Has every right but `admin`.
    key: KeyCreated,
    /// Has `admin`, for the whole organisation.
    admin: KeyCreated,
}

/// A request, but for who makes it.
struct Ask {
    method: String,
    path: String,
    query: Vec<(&'static str, String)>,
    idempotency_key: Option<String>,
    body: Option<Value>,
}

/// An operation of the document.
struct Route {
    method: String,
    path: String,
    name: String,
    /// None is for everybody.
    right: Option<String>,
}

impl Route {
    fn all() -> Vec<Self> {
        let all = operations(&document()).into_iter().map(|(method, path, operation)| Self {
            method,
            path,
            name: operation["operationId"].as_str().unwrap().to_owned(),
            right: operation["security"][0]["bearer"][0].as_str().map(str::to_owned),
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|route| route.method == "DELETE"); // What is deleted cannot be read.
        all
    }

    fn is_administration(&self) -> bool {
        self.right.as_deref() == Some("admin")
    }

    /// The request that is about these rows.
    fn about(&self, ids: &Ids) -> Ask {
        let run = if self.name == "cancel_run" { &ids.pending } else { &ids.run };
        let path = self
            .path
            .replace("{run_id}", run)
            .replace("{span_id}", &ids.span)
            .replace("{session_key}", &ids.session)
            .replace("{key_id}", &ids.key)
            .replace("{step}", "1")
            .replace("{id}", &ids.memory);
        assert!(!path.contains('{'), "`{}` needs an id in this test", self.path);
        let (mut query, mut body, mut idempotency_key) = (vec![], None, None);
        match &*self.name {
            "create_run" => {
                body = Some(json!({"input": "new", "session_key": "s_new"}));
                idempotency_key = Some(ids.word.clone());
            }
            "get_context" => query = vec![("text", "true".into())],
            "fork_run" => body = Some(json!({"from_step": 0})),
            "follow_runs" => query = vec![("run", ids.run.clone())],
            "list_runs" => query = vec![("session_key", ids.session.clone())],
            "summarise_runs" => query = vec![("q", ids.word.clone())],
            "list_sessions" => query = vec![("cursor", ids.run.clone())],
            "list_session_runs" => query = vec![("limit", "500".into())],
            "write_memory" => body = Some(json!({"type": "core", "text": "new"})),
            "write_memories" => {
                body = Some(json!({"memories": [{"type": "episodic", "text": "new"}]}));
            }
            "list_memories" | "export_memories" => query = vec![("group_key", ids.word.clone())],
            "search_memories" => body = Some(json!({"query": ids.word, "explain": true})),
            "consolidate_memories" => body = Some(json!({"dry_run": true})),
            "edit_memory" => body = Some(json!({"text": "changed", "importance": 1})),
            "create_key" => body = Some(json!({"name": "new", "rights": ["runs:read"]})),
            "list_keys" => query = vec![("cursor", ids.key.clone())],
            "login" => body = Some(json!({"key": format!("oi_{}", "0".repeat(64))})),
            "get_run"
            | "list_events"
            | "follow_run"
            | "get_trace"
            | "list_checkpoints"
            | "get_span"
            | "cancel_run"
            | "get_memory"
            | "list_memory_versions"
            | "list_memory_links"
            | "delete_memory"
            | "list_tools"
            | "list_agents"
            | "revoke_key"
            | "list_audit"
            | "logout"
            | "queue"
            | "usage"
            | "organisation_usage"
            | "list_nodes"
            | "whoami"
            | "health"
            | "health_live"
            | "health_ready"
            | "metrics"
            | "openapi" => {}
            name => panic!("the route `{name}` is not in the matrix: give it an example here"),
        }
        Ask { method: self.method.clone(), path, query, idempotency_key, body }
    }

    /// It answers what it has just made: two answers are never the same.
    fn makes(&self) -> bool {
        ["create_run", "fork_run", "write_memory", "write_memories", "create_key"]
            .contains(&&*self.name)
    }

    /// Lists nothing for a name that nobody has; everything else is 404.
    fn names_rows(&self) -> bool {
        self.name == "follow_runs"
            || ["{run_id}", "{id}", "{key_id}"].iter().any(|part| self.path.contains(part))
    }
}

impl Ask {
    fn request(&self, served: &Served, key: Option<&str>) -> RequestBuilder {
        let mut request = served.bare(&self.method, &self.path).query(&self.query);
        if let Some(text) = &self.idempotency_key {
            request = request.header("idempotency-key", text);
        }
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

impl Ids {
    fn absent() -> Self {
        Self {
            run: RunId::generate().to_string(),
            span: "00000000000000ff".into(),
            pending: RunId::generate().to_string(),
            session: "s_absent".into(),
            memory: MemoryId::generate().to_string(),
            key: KeyId::generate().to_string(),
            word: format!("absent{}", &MemoryId::generate().to_string()[4..]),
        }
    }
}

impl Tenant {
    /// Somebody with rows that hold `word` wherever a text may stand.
    async fn new(
        served: &Served,
        (org, user, project): (&'static str, &'static str, Option<&'static str>),
        word: &str,
    ) -> Self {
        let key = key_of(served, org, Some(user), project, &RIGHTS.join(" "), None).await;
        let admin = key_of(served, org, None, None, "admin", None).await;
        let spare = json!({"name": word, "rights": ["runs:read"]});
        let spare = served.bare("POST", "/api/keys").bearer_auth(&admin.key).json(&spare);
        let spare = answer(spare).await.expect(201);
        let post = async |path: &str, body: Value| {
            answer(served.bare("POST", path).bearer_auth(&key.key).json(&body)).await.expect(201)
        };
        let session = format!("s_{word}");
        let task = json!({"input": word, "session_key": session, "metadata": {word: word}});
        let run = post("/api/runs", task).await;
        let mut work = served.work().await;
        work.start().await;
        work.warn(word).await;
        work.answer(word).await;
        work.complete(word).await;
        let note = json!({"type": "archival", "text": format!("{word} 的秘密"), "group_key": word,
                          "metadata": {word: word}, "position": 1});
        let memory = post("/api/memories", note).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let edit = served.bare("PATCH", &format!("/api/memories/{}", text(&memory["id"])));
        let edit = edit.bearer_auth(&key.key).json(&json!({"importance": 0.25}));
        answer(edit).await.expect(200); // Leaves a version.
        let ids = Ids {
            run: text(&run["run_id"]),
            // That of its warning.
            span: protocol::id::SpanId::of_event(2).to_string(),
            pending: String::new(),
            session,
            memory: text(&memory["id"]),
            key: text(&spare["key_id"]),
            word: word.to_owned(),
        };
        Self { org, user, project, ids, key, admin }
    }

    /// Puts a run into the queue, where it stays.
    async fn wait(&mut self, served: &Served) {
        let word = &self.ids.word;
        let body = json!({"input": word, "session_key": format!("s_{word}_2")});
        let request = served.bare("POST", "/api/runs").header("idempotency-key", word);
        let run = answer(request.bearer_auth(&self.key.key).json(&body)).await.expect(201);
        self.ids.pending = run["run_id"].as_str().unwrap().to_owned();
    }

    fn key_for(&self, route: &Route) -> &str {
        if route.is_administration() { &self.admin.key } else { &self.key.key }
    }

    /// Nothing of this tenant's stands in an answer.
    #[track_caller]
    fn is_not_in(&self, answer: &Answer, what: &str) {
        let Ids { run, pending, memory, key, word, session: _, span: _ } = &self.ids;
        for canary in [run, pending, memory, key, word, &self.key.key, &self.admin.key] {
            let said = format!("{:?} {}", answer.headers, answer.text);
            assert!(!said.contains(canary), "{what}: `{canary}` in {said}");
        }
    }

    /// Whether a key of this tenant's must see nothing of the other's on this route.
    fn is_strange_to(&self, other: &Self, route: &Route) -> bool {
        self.org != other.org || !route.is_administration() && self.ids.word != other.ids.word
    }

    /// Whether a key of this tenant's may not even name the other's scope.
    fn is_out_of_bounds_of(&self, other: &Self, route: &Route) -> bool {
        let is_elsewhere = self.user != other.user
            || self.project.is_some()
                && other.project.is_some_and(|name| self.project != Some(name));
        self.org != other.org || !route.is_administration() && is_elsewhere
    }

    fn in_scope(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.header("x-org-id", self.org).header("x-user-id", self.user);
        match self.project {
            Some(name) => request.header("x-project-id", name),
            None => request,
        }
    }

    /// All that can change of its rows.
    async fn rows(&self, served: &Served) -> Vec<String> {
        let Ids { run, span, pending, session, memory, .. } = &self.ids;
        let mut rows = Vec::new();
        for path in [
            format!("/api/runs/{run}"),
            format!("/api/runs/{run}/events"),
            format!("/api/runs/{run}/stream"),
            format!("/api/runs/{run}/context/1?text=true"),
            format!("/api/runs/{run}/spans/{span}"),
            format!("/api/runs/{pending}"),
            format!("/api/sessions/{session}/runs"),
            format!("/api/memories/{memory}"),
            format!("/api/memories/{memory}/versions"),
        ] {
            let got = answer(served.bare("GET", &path).bearer_auth(&self.key.key)).await;
            assert_eq!(got.status, 200, "{path}: {}", got.text);
            assert!(got.text.contains(&self.ids.word), "{path}: {}", got.text);
            rows.push(got.text);
        }
        let keys = served.bare("GET", "/api/keys?limit=500").bearer_auth(&self.admin.key);
        let keys = answer(keys).await.expect(200);
        let spare =
            keys["keys"].as_array().unwrap().iter().find(|key| key["key_id"] == self.ids.key);
        rows.push(spare.expect("the key is there").to_string());
        rows
    }
}

/// Two organisations; in one of them two users, and a project of one of those.
async fn tenants(served: &Served) -> Vec<Tenant> {
    let mut tenants = Vec::new();
    for (scope, word) in [
        (("org_a", "user_a", None), "canaryalpha"),
        (("org_b", "user_a", None), "canarybravo"),
        (("org_a", "user_b", None), "canarycharlie"),
        (("org_a", "user_a", Some("p")), "canarydelta"),
    ] {
        tenants.push(Tenant::new(served, scope, word).await);
    }
    for tenant in &mut tenants {
        tenant.wait(served).await;
    }
    tenants
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_keeps_every_tenant_apart() {
    // It tries bad credentials faster than anybody may.
    let most = NonZeroU32::new(1_000_000).unwrap();
    let mut settings = ServerSettings::default();
    settings.tenants.bad_credentials_per_address = Rate { per_s: most, burst: most };
    let served = served_for(settings, String::new, async |store| Authenticator::keys(store)).await;
    let tenants = tenants(&served).await;
    let routes = Route::all();
    let names: BTreeSet<_> = routes.iter().map(|route| &route.name).collect();
    assert_eq!(names.len(), routes.len(), "two routes have one name");
    let mut before = Vec::new();
    for tenant in &tenants {
        before.push(tenant.rows(&served).await);
    }
    let mut cases = 0;
    for route in &routes {
        cases += without_a_good_key(&served, route, &tenants).await;
        cases += by_strangers(&served, route, &tenants).await;
    }
    for (tenant, before) in tenants.iter().zip(before) {
        assert_eq!(tenant.rows(&served).await, before, "a stranger changed something");
    }
    // And who may, can: so what was refused was not refused for another reason.
    for route in routes.iter().filter(|route| route.right.is_some()) {
        for tenant in &tenants {
            let request = route.about(&tenant.ids).request(&served, Some(tenant.key_for(route)));
            let got = answer(request).await;
            // Its own idempotency key is known, and was used with another body.
            let is_granted =
                (200..300).contains(&got.status) || route.name == "create_run" && got.status == 422;
            assert!(is_granted, "{}: {} {}", route.name, got.status, got.text);
            for other in tenants.iter().filter(|other| tenant.is_strange_to(other, route)) {
                other.is_not_in(&got, &route.name);
            }
            cases += 1;
        }
    }
    assert!(cases >= CASES_MIN, "{cases} cases");
}

/// Whoever has no good key, or one without the right, is told the same whatever is asked for.
async fn without_a_good_key(served: &Served, route: &Route, tenants: &[Tenant]) -> usize {
    let needed = route.right.as_deref();
    let others: Vec<_> = RIGHTS.into_iter().filter(|right| Some(*right) != needed).collect();
    let revoked = key_of(served, "org_a", Some("user_a"), None, &RIGHTS.join(" "), None).await;
    served.store.revoke_key(&"org_a".parse().unwrap(), "test", revoked.info.key_id).await.unwrap();
    let lesser = key_of(served, "org_a", Some("user_a"), None, &others.join(" "), None).await;
    let unknown = format!("oi_{}", "0".repeat(64));
    let mut cases = 0;
    for (key, status, code) in [
        (None, 401, "unauthorized"),
        (Some("oi_malformed"), 401, "unauthorized"),
        (Some(&*unknown), 401, "unauthorized"),
        (Some(&*revoked.key), 401, "unauthorized"),
        (Some(&*lesser.key), 403, "forbidden"),
    ] {
        let absent = Ids::absent();
        let want = answer(route.about(&absent).request(served, key)).await;
        let told = seen(&want);
        for tenant in tenants {
            let got = answer(route.about(&tenant.ids).request(served, key)).await;
            cases += 1;
            tenants.iter().for_each(|tenant| tenant.is_not_in(&got, &route.name));
            if needed.is_some() {
                assert_eq!(seen(&got), told, "{} {status}", route.name);
                got.refused(status, code);
            } else {
                assert_eq!(got.status, want.status, "{} is for everybody", route.name);
            }
        }
    }
    cases
}

/// Whoever has a good key of another scope: what is another's is absent.
async fn by_strangers(served: &Served, route: &Route, tenants: &[Tenant]) -> usize {
    let mut cases = 0;
    for stranger in tenants.iter().filter(|_| route.right.is_some()) {
        let key = Some(stranger.key_for(route));
        let ask = async |ids: &Ids| answer(route.about(ids).request(served, key)).await;
        for owner in tenants.iter().filter(|owner| stranger.is_strange_to(owner, route)) {
            let what = format!("{}: {} for {}", route.name, stranger.ids.word, owner.ids.word);
            let foreign = ask(&owner.ids).await;
            let absent = ask(&Ids::absent()).await;
            cases += 2;
            for other in tenants.iter().filter(|other| stranger.is_strange_to(other, route)) {
                other.is_not_in(&foreign, &what);
            }
            assert_eq!(foreign.status, absent.status, "{what}: {}", foreign.text);
            assert!(!foreign.headers.contains_key("idempotency-replayed"), "{what}");
            let says_time = route.name == "queue"; // How long something has waited.
            if !route.makes() && !begins_at_a_cursor(route) && !says_time {
                assert_eq!(seen(&foreign), seen(&absent), "{what}");
            }
            if route.names_rows() {
                foreign.refused(404, "not_found");
            } else {
                assert!((200..300).contains(&foreign.status), "{what}: {}", foreign.text);
            }
            if stranger.is_out_of_bounds_of(owner, route) {
                for ids in [&owner.ids, &Ids::absent()] {
                    let request = route.about(ids).request(served, key);
                    answer(owner.in_scope(request)).await.refused(403, "scope_mismatch");
                    cases += 1;
                }
            }
        }
    }
    cases
}

/// A list of one's own from a place on: the time in the cursor decides, not whose it is.
fn begins_at_a_cursor(route: &Route) -> bool {
    ["list_keys", "list_sessions"].contains(&&*route.name)
}

/// Somebody with a key, and what he sees and may write of what `org_a` and its `user_a` share.
struct Reader {
    org: &'static str,
    user: &'static str,
    project: Option<&'static str>,
    rights: &'static str,
    /// Sees what `user_a` of `org_a` has in all projects, and what all of `org_a` see.
    sees: [bool; 2],
    /// May write and change such memories of his own.
    writes: [bool; 2],
}

const MEMORY: &str = "memory:read memory:write";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_is_read_by_those_it_is_for_and_changed_by_those_who_may() {
    let served = crate::served::served_to(async |store| Authenticator::keys(store)).await;
    let boss = key_of(&served, "org_a", None, None, "admin", None).await.key;
    let ask = |key: &str, method: &str, path: &str, body: &Value| {
        let request = served.bare(method, path).bearer_auth(key);
        if body.is_null() { request } else { request.json(body) }
    };
    let note = |visibility: &str, text: &str| json!({"type": "archival", "text": text, "visibility": visibility});
    let readers = [
        Reader {
            org: "org_a",
            user: "user_a",
            project: None,
            rights: MEMORY,
            sees: [true, true],
            writes: [true, false],
        },
        Reader {
            org: "org_a",
            user: "user_a",
            project: Some("p"),
            rights: MEMORY,
            sees: [true, true],
            writes: [false, false],
        },
        Reader {
            org: "org_a",
            user: "user_b",
            project: None,
            rights: MEMORY,
            sees: [false, true],
            writes: [true, false],
        },
        Reader {
            org: "org_a",
            user: "user_a",
            project: None,
            rights: "admin",
            sees: [true, true],
            writes: [true, true],
        },
        Reader {
            org: "org_b",
            user: "user_a",
            project: None,
            rights: MEMORY,
            sees: [false, false],
            writes: [true, false],
        },
        Reader {
            org: "org_b",
            user: "user_a",
            project: None,
            rights: "admin",
            sees: [false, false],
            writes: [true, true],
        },
    ];
    for reader in readers {
        let is_admin = reader.rights == "admin";
        let user = (!is_admin).then_some(reader.user);
        let key = key_of(&served, reader.org, user, reader.project, reader.rights, None).await.key;
        let as_reader = |method: &str, path: &str, body: &Value| {
            ask(&key, method, path, body).header("x-user-id", reader.user)
        };
        for (at, (visibility, words)) in
            [("user", "bound to one project"), ("org", "`admin`")].into_iter().enumerate()
        {
            let what = format!("{}/{} {:?}: {visibility}", reader.org, reader.user, reader.project);
            let secret = format!("tulip of the {visibility}");
            let shared = ask(&boss, "POST", "/api/memories", &note(visibility, &secret));
            let shared = answer(shared.header("x-user-id", "user_a")).await.expect(201);
            let path = format!("/api/memories/{}", shared["id"].as_str().unwrap());
            let sees = reader.sees[at];
            // Reading: by id, in the list, by search.
            let got = answer(as_reader("GET", &path, &Value::Null)).await;
            assert_eq!(got.status, if sees { 200 } else { 404 }, "{what}");
            let list = answer(as_reader("GET", "/api/memories", &Value::Null)).await;
            assert_eq!(list.text.contains(&secret), sees, "{what}");
            let query = json!({"query": "tulip", "explain": true});
            let hits = answer(as_reader("POST", "/api/memories/search", &query)).await;
            assert_eq!(hits.text.contains(&secret), sees, "{what}");
            // Changing what is there.
            let may = sees && reader.writes[at];
            for (method, body) in [
                ("PATCH", json!({"importance": 1})),
                ("PATCH", json!({"visibility": "scope"})),
                ("DELETE", Value::Null),
            ] {
                let changed = answer(as_reader(method, &path, &body)).await;
                match (sees, may) {
                    (false, _) => drop(changed.refused(404, "not_found")),
                    (true, false) => {
                        assert!(changed.text.contains(words), "{what}: {}", changed.text);
                        changed.refused(403, "forbidden");
                    }
                    (true, true) => {
                        assert!((200..300).contains(&changed.status), "{what}: {}", changed.text);
                    }
                }
            }
            let still = ask(&boss, "GET", &path, &Value::Null).header("x-user-id", "user_a");
            assert_eq!(answer(still).await.status, if may { 404 } else { 200 }, "{what}");
            // Writing one's own.
            let writes = reader.writes[at];
            let wanted = [201, 403][usize::from(!writes)];
            let wrote = answer(as_reader("POST", "/api/memories", &note(visibility, "own"))).await;
            assert_eq!(wrote.status, wanted, "{what}: {}", wrote.text);
            let bulk = json!({"memories": [note("scope", "a"), note(visibility, "b")]});
            let wrote = answer(as_reader("POST", "/api/memories/bulk", &bulk)).await;
            assert_eq!(wrote.status, wanted, "{what}: {}", wrote.text);
            let own = answer(as_reader("POST", "/api/memories", &note("scope", "mine"))).await;
            let own = own.expect(201)["id"].as_str().unwrap().to_owned();
            let widen = json!({"visibility": visibility});
            let own = as_reader("PATCH", &format!("/api/memories/{own}"), &widen);
            assert_eq!(answer(own).await.status, [200, 403][usize::from(!writes)], "{what}");
            // What the next round must not find.
            let gone = ask(&boss, "DELETE", &path, &Value::Null).header("x-user-id", "user_a");
            answer(gone).await;
        }
    }
}
