//! The HTTP face: routes, authentication, and nothing that decides.
//!
//! A request becomes a [`call::Call`] (caller known, region checked), its body a command of `causeway-model`, the use case's result a
//! document of `causeway-wire`. Every answer is JSON with the headers of wire-api.md §1.6, errors and unknown paths included.

mod answer;
mod call;
mod headers;
mod routes;
mod serve;
mod tls;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use causeway_controller::Controller;

pub use serve::serve;
pub use tls::{TlsConfig, TlsError};

/// What the HTTP face has to be told.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Regions that exist here. Another one in a path is a field error.
    pub regions: Vec<String>,
}

/// Shared by all requests.
#[derive(Clone)]
struct App {
    controller: Controller,
    config: Arc<ApiConfig>,
}

/// Every route, over `controller`.
pub fn router(controller: Controller, config: ApiConfig) -> Router {
    let app = App { controller, config: Arc::new(config) };
    Router::new()
        .merge(routes::account::routes())
        .merge(routes::extension::routes())
        .merge(routes::ipam::routes())
        .merge(routes::s2s::routes())
        .merge(routes::secret::routes())
        .merge(routes::vpc::routes())
        .route("/metadata", get(routes::account::metadata))
        .route("/healthz", get(routes::account::healthy))
        .route("/readyz", get(routes::account::ready))
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(middleware::from_fn(headers::around))
        .with_state(app)
}
