//! Every route, on one screen. Route and documentation come from the same line.

use std::sync::LazyLock;

use axum::{
    Router,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{app::App, border, catalog, document, health, memories, runs, sessions, stream, web};

const DOCUMENT: &str = "/openapi.json";

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(document::head())
        .routes(routes!(runs::create, runs::list))
        .routes(routes!(runs::get))
        .routes(routes!(runs::events))
        .routes(routes!(stream::follow))
        .routes(routes!(runs::cancel))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::runs))
        .routes(routes!(memories::write, memories::list))
        .routes(routes!(memories::write_bulk))
        .routes(routes!(memories::search))
        .routes(routes!(memories::get, memories::edit, memories::delete))
        .routes(routes!(catalog::tools))
        .routes(routes!(catalog::agents))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(describe))
}

/// Everything that can be asked, each request within the border's bounds.
pub(crate) fn router(app: App) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .merge(SwaggerUi::new("/docs").config(Config::from(DOCUMENT)))
        .fallback(web::rest)
        .layer(from_fn_with_state(app.clone(), border::guard))
        .with_state(app)
}

/// The document, without a server.
pub(crate) fn openapi() -> OpenApi {
    document::complete(routes().split_for_parts().1)
}

/// This document
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
