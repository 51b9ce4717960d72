//! The OpenAPI document: its head, and what all operations have in common. What is particular to a
//! route stands above its handler.

mod events;

use protocol::{
    error::ErrorBody,
    event::{LlmDelta, LlmReset},
    key::Right,
    limits::IDEMPOTENCY_KEY_MAX_BYTES,
    run::RunNews,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        AllOfBuilder, Components, Content, HeaderBuilder, InfoBuilder, License, ObjectBuilder,
        OpenApi, OpenApiBuilder, Ref, RefOr, Required, ResponseBuilder, Type,
        header::Header,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem, Paths},
        response::Response,
        schema::{AnyOfBuilder, ArrayBuilder},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
        tag::{Tag, TagBuilder},
    },
};

const BEARER: &str = "bearer";
const ADMINISTRATION: &str = "administration";
const SCOPE_PATTERN: &str = "^[A-Za-z0-9_.:@|+=~-]{1,128}$";

/// What the document says before any path.
pub(crate) fn head() -> OpenApi {
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("OpenIntern")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "A multi-tenant agent runtime: create runs, follow them live, and search what \
                     they remember.",
                ))
                .license(Some(License::new("Apache-2.0"))),
        )
        .tags(Some([
            tag("runs", "A run is one request to an agent, from `pending` to its end"),
            tag("sessions", "Conversations: runs with the same `session_key`"),
            tag("memories", "Texts that runs and people remember"),
            tag("catalog", "What runs can use"),
            tag(
                ADMINISTRATION,
                "Keys, audit and usage of the whole organisation, and nodes; right `admin`",
            ),
            tag("identity", "Logging in and out with a browser; no scope is needed"),
            tag("operations", "Health and metrics; no scope is needed"),
        ]))
        .build()
}

/// Adds what all operations of a kind have in common.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    let components = document.components.get_or_insert_default();
    // Referred to by name only: by the errors below, and by the frames of streams.
    let mut schemas = vec![
        (ErrorBody::name().into_owned(), ErrorBody::schema()),
        (LlmDelta::name().into_owned(), LlmDelta::schema()),
        (LlmReset::name().into_owned(), LlmReset::schema()),
        (RunNews::name().into_owned(), RunNews::schema()),
    ];
    ErrorBody::schemas(&mut schemas);
    components.schemas.extend(schemas);
    add_rules_between_fields(components);
    events::name_events(components);
    let bearer = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key, or with `auth = \"jwt\"` a token; none with `auth = \"none\"`",
        ))
        .build();
    components.security_schemes.insert(BEARER.to_owned(), SecurityScheme::Http(bearer).into());
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let is_in_scope = needs_right(operation);
            if is_in_scope {
                add_scope(operation);
            }
            if operation.responses.responses.contains_key("422") {
                add_idempotency(operation);
            }
            add_errors(operation, is_in_scope);
        }
    }
    document
}

/// Declares the right that the operations need.
pub(crate) fn needing(mut paths: Paths, right: Option<Right>) -> Paths {
    let rights: Vec<_> = right.iter().map(|right| right.as_str()).collect();
    for operation in paths.paths.values_mut().flat_map(operations) {
        operation.security = Some(vec![SecurityRequirement::new(BEARER, rights.iter().copied())]);
    }
    paths
}

/// A route that needs a right works on a tenant's data; a route that needs none has no scope.
fn needs_right(operation: &Operation) -> bool {
    let needs_none = SecurityRequirement::new(BEARER, [""; 0]);
    operation.security.iter().flatten().any(|needed| *needed != needs_none)
}

fn tag(name: &str, description: &str) -> Tag {
    TagBuilder::new().name(name).description(Some(description)).build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// What no single field can say: the rules of `EditMemory::check` and `CreateKey::check`.
fn add_rules_between_fields(components: &mut Components) {
    let has = |name: &str, kind: Type| {
        ObjectBuilder::new().property(name, ObjectBuilder::new().schema_type(kind)).required(name)
    };
    let something = AnyOfBuilder::new()
        .item(has("text", Type::String))
        .item(has("metadata", Type::Object))
        .item(has("importance", Type::Number))
        .item(has("visibility", Type::String));
    let lesser = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^(runs:(read|write)|memory:(read|write|\\*))$"));
    let null = || ObjectBuilder::new().schema_type(Type::Null);
    let unbound_or_no_admin = AnyOfBuilder::new()
        .item(ObjectBuilder::new().property("rights", ArrayBuilder::new().items(lesser)))
        .item(ObjectBuilder::new().property("user_id", null()).property("project_id", null()));
    for (name, rule) in [("EditMemory", something), ("CreateKey", unbound_or_no_admin)] {
        if let Some(RefOr::T(schema)) = components.schemas.get_mut(name) {
            let fields = std::mem::take(schema);
            *schema = AllOfBuilder::new().item(fields).item(rule).into();
        }
    }
}

/// Administration concerns the whole organisation, so it takes no user.
fn add_scope(operation: &mut Operation) {
    let is_administration = operation.tags.iter().flatten().any(|tag| tag == ADMINISTRATION);
    let parameters = operation.parameters.get_or_insert_default();
    let scope = [
        (
            "x-org-id",
            "Whose data: the organisation (or `org_id` in the query or body). Required where the \
             credential does not say it",
        ),
        (
            "x-user-id",
            "Whose data: the user (or `user_id` in the query or body). Required where the \
             credential does not say it",
        ),
        ("x-project-id", "Whose data: the project, if any (or `project_id`)"),
    ];
    let places = if is_administration { 1 } else { scope.len() };
    let headers = scope.into_iter().take(places);
    parameters.extend(headers.map(|(name, words)| RefOr::T(scope_header(name, words))));
}

fn scope_header(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).pattern(Some(SCOPE_PATTERN))))
        .build()
}

/// What refuses a key that came with another body takes such keys.
fn add_idempotency(operation: &mut Operation) {
    let most = IDEMPOTENCY_KEY_MAX_BYTES;
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(most))
        .pattern(Some(format!("^[!-~]{{1,{most}}}$")));
    let parameter = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Requests that are sent again with the same key create one run"))
        .schema(Some(key))
        .build();
    operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
    if let Some(RefOr::T(created)) = operation.responses.responses.get_mut("201") {
        let words = "`true` if an earlier request with the key created the run";
        created.headers.insert("Idempotency-Replayed".to_owned(), header(words));
    }
}

fn add_errors(operation: &mut Operation, is_in_scope: bool) {
    let takes_a_body = operation.request_body.is_some();
    let mut errors = vec![
        (
            "421",
            "`misdirected_request`: with `auth = \"none\"`, the `Host` is not a name of this server",
        ),
        ("408", "`request_timeout`: the request did not arrive in time"),
        ("413", "`payload_too_large`: the body is over its limit"),
        ("414", "`uri_too_long`: path and query are over their limit"),
        ("415", "`unsupported_media_type`: the body is not plain JSON"),
        ("431", "`headers_too_large`: the headers are over their limit"),
        ("500", "`internal`: an error of the server"),
        ("503", "`unavailable`: the database does not answer, or the server is overloaded"),
    ];
    if !is_in_scope {
        errors.push(("400", "`validation_error`: `Host` or a parameter is not valid"));
        errors.push(("403", "`forbidden`: the request came from a page of another site"));
    }
    if is_in_scope {
        errors.push(("401", "`unauthorized`: there is no valid credential"));
        errors.push(("429", "`rate_limited`: too many requests or invalid credentials in a short time, or more requests at once than the organisation's share"));
        errors.push((
            "403",
            "`forbidden` or `scope_mismatch`: the credential lacks the right or is for another scope, or \
             the request came from a page of another site",
        ));
        let words = if takes_a_body {
            "`validation_error`, `scope_required` or `scope_conflict`: `details` name the fields"
        } else {
            "`validation_error`, `scope_required` or `scope_conflict`"
        };
        errors.push(("400", words));
    }
    for (status, description) in errors {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| ResponseBuilder::new().description(description).build().into());
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            add_form(status, response);
        }
    }
}

/// All errors have the same body, and all responses name their request.
fn add_form(status: &str, response: &mut Response) {
    response
        .headers
        .insert("x-request-id".to_owned(), header("Names the request in the server's log"));
    if matches!(status, "429" | "503") {
        response.headers.insert("Retry-After".to_owned(), header("Seconds to wait"));
    }
    if status == "401" {
        response.headers.insert("WWW-Authenticate".to_owned(), header("`Bearer`"));
    }
    if status >= "400" && response.content.is_empty() {
        let body = RefOr::Ref(Ref::from_schema_name(ErrorBody::name()));
        response.content.insert("application/json".to_owned(), Content::new(Some(body)).into());
    }
}

fn header(description: &str) -> RefOr<Header> {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .description(Some(description))
        .build()
        .into()
}
