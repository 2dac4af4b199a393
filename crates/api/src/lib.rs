//! The HTTP face: routes, authentication, and nothing that decides.
//!
//! A request becomes a [`call::Call`] (caller known, region checked), its body a command of `causeway-model`, the use case's result a
//! document of `causeway-wire`. Every answer is JSON with the headers of wire-api.md §1.6, errors and unknown paths included.

mod answer;
mod call;
mod exposition;
mod feed;
mod guests;
mod headers;
mod last;
mod limits;
mod openapi;
mod refusal;
mod routes;
mod serve;
mod shares;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use causeway_controller::Controller;

use feed::Followers;
use limits::Limits;
use routes::table::Operation;
use shares::Shares;

pub use limits::{Rate, RateLimits};
pub use openapi::openapi;
pub use routes::metrics::metrics_router;
pub use serve::serve;
pub use shares::Memory;
pub use tls::{TlsConfig, TlsError};

/// Proxies close what is silent for longer, by default after 30 to 60 s.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What the HTTP face has to be told.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Regions that exist here. Another one in a path is a field error.
    pub regions: Vec<String>,
    /// How many requests are taken.
    pub limits: RateLimits,
    /// How much of requests and answers may be in memory at once.
    pub memory: Memory,
    /// How often a silent stream of events says that it is alive, and looks whether its key still is.
    pub heartbeat: Duration,
}

impl ApiConfig {
    /// `regions`, and the default of everything else.
    #[must_use]
    pub fn new(regions: Vec<String>) -> Self {
        Self { regions, limits: RateLimits::default(), memory: Memory::default(), heartbeat: HEARTBEAT }
    }
}

/// Shared by all requests.
#[derive(Clone)]
struct App {
    controller: Controller,
    config: Arc<ApiConfig>,
    limits: Arc<Limits>,
    followers: Arc<Followers>,
    shares: Arc<Shares>,
}

/// Every route, over `controller`.
pub fn router(controller: Controller, config: ApiConfig) -> Router {
    assemble(controller, config).0
}

fn assemble(controller: Controller, config: ApiConfig) -> (Router, Vec<Operation>) {
    let app = App {
        controller,
        limits: Arc::new(Limits::new(config.limits)),
        followers: Arc::default(),
        shares: Arc::new(Shares::new(config.memory)),
        config: Arc::new(config),
    };
    let (routes, operations) = routes::account::routes()
        .merge(routes::explanation::routes())
        .merge(routes::extension::routes())
        .merge(routes::events::routes())
        .merge(routes::interlink::routes())
        .merge(routes::ipam::routes())
        .merge(routes::link::routes())
        .merge(routes::operator::routes())
        .merge(routes::options::routes())
        .merge(routes::partner::routes())
        .merge(routes::webhook::routes())
        .merge(routes::routing::routes())
        .merge(routes::s2s::routes())
        .merge(routes::secret::routes())
        .merge(routes::usage::routes())
        .merge(routes::vpc::routes())
        .into_parts();
    let router = routes
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page))
        .route("/metrics", get(routes::metrics::metrics))
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(middleware::from_fn_with_state(app.clone(), headers::limit_address))
        .layer(middleware::from_fn(headers::around))
        .with_state(app);
    (router, operations)
}
