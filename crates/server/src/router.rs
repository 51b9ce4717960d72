//! Every route, on one screen, with the right that it needs. Route, right and documentation come
//! from the same line.

use std::sync::LazyLock;

use axum::{
    Router,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use protocol::{
    key::Right::{self, Admin, MemoryRead, MemoryWrite, RunsRead, RunsWrite},
    limits::BODY_MAX_BYTES,
};
use utoipa::openapi::OpenApi;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    app::App,
    auth::{access::AccessControl, authenticator::Authenticator},
    document,
    limits::OPEN_BODY_MAX_BYTES,
    middleware::{
        known_query::{KnownQuery, known_query},
        request_body::read_body,
        request_guard::guard,
        require_right::{require_credential, require_right},
    },
    routes::{
        audit, catalog, contexts, forks, health, keys, login, memories, runs, sessions, stream,
        streams, trace, usage, web, whoami,
    },
    settings::TenantLimits,
};

const DOCUMENT: &str = "/openapi.json";

fn routes(access: &AccessControl) -> OpenApiRouter<App> {
    let needs = |right, route| needs(access, right, route);
    OpenApiRouter::with_openapi(document::head())
        .routes(needs(RunsWrite, routes!(runs::create)))
        .routes(needs(RunsRead, routes!(runs::list)))
        .routes(needs(RunsRead, routes!(runs::summary)))
        .routes(needs(RunsRead, routes!(runs::get)))
        .routes(needs(RunsRead, routes!(runs::events)))
        .routes(needs(RunsRead, routes!(contexts::get)))
        .routes(needs(RunsRead, routes!(stream::follow)))
        .routes(needs(RunsRead, routes!(streams::follow_many)))
        .routes(needs(RunsRead, routes!(trace::trace)))
        .routes(needs(RunsRead, routes!(trace::span)))
        .routes(needs(RunsWrite, routes!(runs::cancel)))
        .routes(needs(RunsRead, routes!(forks::checkpoints)))
        .routes(needs(RunsWrite, routes!(forks::fork)))
        .routes(needs(RunsRead, routes!(sessions::list)))
        .routes(needs(RunsRead, routes!(sessions::runs)))
        .routes(needs(MemoryWrite, routes!(memories::write)))
        .routes(needs(MemoryRead, routes!(memories::list)))
        .routes(needs(MemoryWrite, routes!(memories::write_bulk)))
        .routes(needs(MemoryRead, routes!(memories::search)))
        .routes(needs(MemoryWrite, routes!(memories::consolidate)))
        .routes(needs(MemoryRead, routes!(memories::get)))
        .routes(needs(MemoryRead, routes!(memories::links)))
        .routes(needs(MemoryWrite, routes!(memories::edit, memories::delete)))
        .routes(needs(MemoryRead, routes!(memories::versions)))
        .routes(needs(MemoryRead, routes!(memories::export)))
        .routes(needs(RunsRead, routes!(catalog::tools)))
        .routes(needs(RunsRead, routes!(catalog::agents)))
        .routes(needs(RunsRead, routes!(usage::usage)))
        .routes(needs(RunsRead, routes!(usage::queue)))
        .routes(needs(Admin, routes!(usage::of_organisation)))
        .routes(needs(Admin, routes!(usage::nodes)))
        .routes(needs(Admin, routes!(keys::create, keys::list)))
        .routes(needs(Admin, routes!(keys::revoke)))
        .routes(needs(Admin, routes!(audit::list)))
        .routes(needs_credential(access, routes!(whoami::whoami)))
        .routes(open(routes!(login::login)))
        .routes(open(routes!(login::logout)))
        .routes(open(routes!(health::health)))
        .routes(open(routes!(health::live)))
        .routes(open(routes!(health::ready)))
        .routes(open(routes!(health::metrics)))
        .routes(open(routes!(describe)))
}

/// A route that needs the right, and says so in the document. A handler that asks for a scope on a
/// route without this fails.
fn needs(
    access: &AccessControl,
    right: Right,
    (schemas, paths, methods): UtoipaMethodRouter<App>,
) -> UtoipaMethodRouter<App> {
    let checked = from_fn_with_state((access.clone(), right), require_right);
    let known = from_fn_with_state(KnownQuery::with_scope(&paths), known_query);
    let body = from_fn_with_state(BODY_MAX_BYTES, read_body);
    // The last one is asked first.
    let methods = methods.route_layer(body).route_layer(known).route_layer(checked);
    (schemas, document::needing(paths, Some(right)), methods)
}

/// A route that needs a good credential, whatever its rights. Its handler cannot ask for a scope.
fn needs_credential(
    access: &AccessControl,
    (schemas, paths, methods): UtoipaMethodRouter<App>,
) -> UtoipaMethodRouter<App> {
    let checked = from_fn_with_state(access.clone(), require_credential);
    let known = from_fn_with_state(KnownQuery::new(&paths), known_query);
    let body = from_fn_with_state(BODY_MAX_BYTES, read_body);
    let methods = methods.route_layer(body).route_layer(known).route_layer(checked);
    (schemas, document::needing(paths, None), methods)
}

/// A route that needs no credential.
fn open((schemas, paths, methods): UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    let known = from_fn_with_state(KnownQuery::new(&paths), known_query);
    let body = from_fn_with_state(OPEN_BODY_MAX_BYTES, read_body);
    (schemas, paths, methods.route_layer(body).route_layer(known))
}

/// All routes, each request within the bounds of the guard.
pub(crate) fn router(app: App) -> Router {
    let (router, _) = routes(&app.access).split_for_parts();
    router
        .merge(SwaggerUi::new("/docs").config(Config::from(DOCUMENT)))
        .fallback(web::rest)
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// The OpenAPI 3.1 document of all routes, without a server.
pub fn openapi() -> OpenApi {
    let access = AccessControl::new(Authenticator::none(), &TenantLimits::default());
    document::complete(routes(&access).split_for_parts().1)
}

/// Get this document
#[utoipa::path(
    get, path = "/openapi.json", tag = "operations", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object,
        content_type = "application/json"))
)]
async fn describe() -> Response {
    const TYPE: HeaderValue = HeaderValue::from_static("application/json");
    static TEXT: LazyLock<Bytes> =
        LazyLock::new(|| Bytes::from(openapi().to_json().expect("the document has text for keys")));
    ([(header::CONTENT_TYPE, TYPE)], TEXT.clone()).into_response()
}
