//! The one extractor: who calls, in which region, with what.

use std::time::Duration;

use axum::RequestExt;
use axum::extract::{FromRequest, RawPathParams, Request};
use axum::http::{HeaderMap, Method};
use causeway_controller::Controller;
use causeway_model::Error;
use causeway_model::error::{ArgumentError, ArgumentReason};
use causeway_model::resource::Caller;
use causeway_wire::query::Query;
use causeway_wire::request::Body;
use http_body_util::BodyExt;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::App;
use crate::answer::Failure;
use crate::headers::RequestId;

/// Octets of a body at most.
pub(crate) const MAX_BODY: usize = 1 << 20;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// An authenticated request.
pub(crate) struct Call {
    /// The use cases.
    pub(crate) controller: Controller,
    /// Who calls.
    pub(crate) caller: Caller,
    /// The path's region; empty where the path has none.
    pub(crate) region: String,
    params: Vec<(String, String)>,
    query: String,
    body: Zeroizing<Vec<u8>>,
}

impl FromRequest<App> for Call {
    type Rejection = Failure;

    async fn from_request(mut request: Request, app: &App) -> Result<Self, Failure> {
        let request_id = request.extensions().get::<RequestId>().map_or_else(Uuid::new_v4, |id| id.0);
        let caller = authenticate(app, request.headers(), request_id).await?;
        let params = params(&mut request).await?;
        let region = params.iter().find(|(name, _)| name == "region").map(|(_, region)| region.clone());
        if let Some(region) = &region {
            check_region(app, region)?;
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        // One client sends `{}` with everything, so that the bodies of GET and DELETE mean nothing.
        let has_body = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
        let body = if has_body { read_body(request).await? } else { Zeroizing::default() };
        let region = region.unwrap_or_default();
        Ok(Self { controller: app.controller.clone(), caller, region, params, query, body })
    }
}

impl Call {
    /// A parameter of the path.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The id in the path. One that is none names nothing, so it is not found.
    pub(crate) fn id<T: From<Uuid>>(&self, name: &str, resource: &'static str) -> Result<T, Failure> {
        let text = self.param(name);
        match Uuid::try_parse(text) {
            Ok(id) if text.len() == uuid::fmt::Hyphenated::LENGTH => Ok(id.into()),
            _ => Err(Failure(Error::NotFound { resource, id: text.to_owned() })),
        }
    }

    /// The query string.
    pub(crate) fn query(&self) -> Query {
        Query::parse(&self.query)
    }

    /// The body.
    pub(crate) fn body(&self) -> Result<Body, Failure> {
        Ok(Body::parse(&self.body)?)
    }
}

/// The secret key is in `X-Auth-Token`, or in `X-Session-Token` where a client was built with a session.
async fn authenticate(app: &App, headers: &HeaderMap, request_id: Uuid) -> Result<Caller, Failure> {
    let token = headers.get("x-auth-token").or_else(|| headers.get("x-session-token"));
    let token = token.and_then(|token| token.to_str().ok()).filter(|token| !token.is_empty());
    let Some(token) = token else {
        return Err(Failure(Error::DeniedAuthentication { reason: "invalid_argument" }));
    };
    Ok(app.controller.authenticate(token, request_id).await?)
}

async fn params(request: &mut Request) -> Result<Vec<(String, String)>, Failure> {
    match request.extract_parts::<RawPathParams>().await {
        Ok(params) => Ok(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()),
        // Percent-encoded octets that are not UTF-8 name nothing.
        Err(_) => Err(Failure(Error::NotFound { resource: "unknown", id: String::new() })),
    }
}

fn check_region(app: &App, region: &str) -> Result<(), Failure> {
    if app.config.regions.iter().any(|known| known == region) {
        return Ok(());
    }
    Err(Failure(Error::InvalidArguments(vec![ArgumentError {
        name: "region".to_owned(),
        reason: ArgumentReason::Constraint,
        help: format!("this service has the region(s) {}", app.config.regions.join(", ")),
    }])))
}

/// The whole body, within [`MAX_BODY`] and [`BODY_TIMEOUT`].
async fn read_body(request: Request) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let too_large = || Failure(Body::error(&format!("must not be longer than {MAX_BODY} octets")));
    let mut incoming = request.into_body();
    let announced = axum::body::HttpBody::size_hint(&incoming);
    let room = usize::try_from(announced.upper().unwrap_or(announced.lower())).unwrap_or(usize::MAX);
    if room > MAX_BODY {
        return Err(too_large());
    }
    let read = async {
        let mut body = Zeroizing::new(Vec::with_capacity(room));
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else { return Err(Failure(Body::error("ended before it was complete"))) };
            let Some(data) = frame.data_ref() else { continue };
            if body.len() + data.len() > MAX_BODY {
                return Err(too_large());
            }
            append(&mut body, data);
        }
        Ok(body)
    };
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(body) => body,
        Err(_) => Err(Failure(Body::error("did not arrive in time"))),
    }
}

/// Appends `data`; where the buffer has to grow, the old one is wiped.
fn append(body: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if body.capacity() - body.len() < data.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((body.len() + data.len()).next_power_of_two()));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(data);
}
