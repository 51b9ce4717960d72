//! The OpenAPI document: every route, and nothing that points nowhere.

use std::collections::BTreeSet;

use serde_json::Value;

pub(crate) fn document() -> Value {
    serde_json::to_value(server::router::openapi()).unwrap()
}

pub(crate) fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, operation)| {
                (method.to_uppercase(), path.clone(), operation.clone())
            })
        })
        .collect()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn it_has_every_route() {
    let mut routes: Vec<_> = operations(&document())
        .into_iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    routes.sort();
    assert_eq!(
        routes,
        [
            "DELETE /api/keys/{key_id}",
            "DELETE /api/memories/{id}",
            "GET /api/agents",
            "GET /api/audit",
            "GET /api/keys",
            "GET /api/memories",
            "GET /api/memories/export",
            "GET /api/memories/{id}",
            "GET /api/memories/{id}/links",
            "GET /api/memories/{id}/versions",
            "GET /api/nodes",
            "GET /api/queue",
            "GET /api/runs",
            "GET /api/runs/summary",
            "GET /api/runs/{run_id}",
            "GET /api/runs/{run_id}/checkpoints",
            "GET /api/runs/{run_id}/context/{step}",
            "GET /api/runs/{run_id}/events",
            "GET /api/runs/{run_id}/spans/{span_id}",
            "GET /api/runs/{run_id}/stream",
            "GET /api/runs/{run_id}/trace",
            "GET /api/sessions",
            "GET /api/sessions/{session_key}/runs",
            "GET /api/stream",
            "GET /api/tools",
            "GET /api/usage",
            "GET /api/usage/organisation",
            "GET /api/whoami",
            "GET /health",
            "GET /health/live",
            "GET /health/ready",
            "GET /metrics",
            "GET /openapi.json",
            "PATCH /api/memories/{id}",
            "POST /api/keys",
            "POST /api/login",
            "POST /api/logout",
            "POST /api/memories",
            "POST /api/memories/bulk",
            "POST /api/memories/consolidate",
            "POST /api/memories/search",
            "POST /api/runs",
            "POST /api/runs/{run_id}/cancel",
            "POST /api/runs/{run_id}/fork",
        ]
    );
}

#[test]
fn nothing_points_nowhere() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/ErrorBody"));
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn each_type_of_event_has_a_schema_of_its_name() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let event = &schemas["Event"];
    assert_eq!(event["discriminator"]["propertyName"], "type");
    let mapping = event["discriminator"]["mapping"].as_object().unwrap();
    let types: BTreeSet<_> = mapping.keys().map(String::as_str).collect();
    assert_eq!(types, protocol::event::TYPE_NAMES.into());
    assert_eq!(event["oneOf"].as_array().unwrap().len(), types.len());
    let started = &schemas["RunStartedEvent"];
    assert_eq!(mapping["run.started"], "#/components/schemas/RunStartedEvent");
    assert_eq!(started["properties"]["type"]["enum"], serde_json::json!(["run.started"]));
    let payload = "#/components/schemas/RunStartedPayload";
    assert_eq!(started["properties"]["payload"]["$ref"], payload);
    assert_eq!(started["properties"]["seq"], schemas["LlmCalledEvent"]["properties"]["seq"]);
    for required in ["seq", "ts", "type", "payload"] {
        assert!(started["required"].as_array().unwrap().contains(&required.into()), "{required}");
    }
    assert!(schemas.get("Fact").is_none());
}

#[test]
fn every_operation_says_how_it_refuses() {
    for (method, path, operation) in operations(&document()) {
        let responses = operation["responses"].as_object().unwrap();
        let in_scope = operation["security"][0]["bearer"][0].is_string();
        let is_identity = ["/api/login", "/api/logout", "/api/whoami"].contains(&path.as_str());
        assert_eq!(in_scope, path.starts_with("/api/") && !is_identity, "{method} {path}");
        let mut needed = vec!["400", "403", "408", "413", "414", "415", "421", "431", "500", "503"];
        if in_scope {
            needed.extend(["401"]);
        }
        if path.contains("{") {
            needed.push("404");
        }
        for status in needed {
            assert!(responses.contains_key(status), "{method} {path} {status}");
        }
        for (status, response) in responses {
            assert!(response["headers"]["x-request-id"].is_object(), "{method} {path} {status}");
            if status.as_str() >= "400" && !(path == "/health" && status == "503") {
                let body = &response["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(body, "#/components/schemas/ErrorBody", "{method} {path} {status}");
            }
        }
        let names: Vec<_> = operation["parameters"]
            .as_array()
            .map(|all| all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect())
            .unwrap_or_default();
        assert_eq!(names.contains(&"x-org-id".to_owned()), in_scope, "{method} {path}");
        assert!(operation["operationId"].is_string() && operation["summary"].is_string());
    }
}
