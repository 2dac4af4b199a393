//! The one extractor: who calls, in which region, with what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::RequestExt;
use axum::extract::{FromRequest, RawPathParams, Request};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse as _, Response};
use causeway_controller::Controller;
use causeway_model::Error;
use causeway_model::error::{ArgumentError, ArgumentReason};
use causeway_model::resource::{Caller, Role};
use causeway_wire::document::List;
use causeway_wire::query::Query;
use causeway_wire::record::Recorder;
use causeway_wire::request::Body;
use http_body_util::BodyExt;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::App;
use crate::answer::{Answer, Failure, json, too_many, too_many_reads};
use crate::feed::{Closing, Followers};
use crate::guests::Asked;
use crate::headers::RequestId;
use crate::shares::{Hold, Payer, Reading};

/// Octets of a body at most.
pub(crate) const MAX_BODY: usize = 1 << 20;
/// Octets that are read at most of a body that is longer: what is beyond [`MAX_BODY`] is thrown away, so that a client which sends
/// everything before it listens hears why it was refused.
const MAX_DISCARDED: usize = 32 << 20;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a change may have to wait for its turn to be stored.
const MAX_BACKLOG: Duration = Duration::from_secs(5);

/// Regions that the official clients know.
const PRODUCTION_REGIONS: [&str; 4] = ["fr-par", "it-mil", "nl-ams", "pl-waw"];
/// Regional lists: product, path, key of the items.
const LISTS: [(&str, &str, &str); 18] = [
    ("/s2s-vpn/v1alpha1", "vpn-gateway-types", "gateway_types"),
    ("/s2s-vpn/v1alpha1", "vpn-gateways", "gateways"),
    ("/s2s-vpn/v1alpha1", "connections", "connections"),
    ("/s2s-vpn/v1alpha1", "customer-gateways", "gateways"),
    ("/s2s-vpn/v1alpha1", "routing-policies", "routing_policies"),
    ("/interlink/v1beta1", "dedicated-connections", "connections"),
    ("/interlink/v1beta1", "links", "links"),
    ("/interlink/v1beta1", "partners", "partners"),
    ("/interlink/v1beta1", "pops", "pops"),
    ("/interlink/v1beta1", "routing-policies", "routing_policies"),
    ("/vpc/v2", "vpcs", "vpcs"),
    ("/vpc/v2", "private-networks", "private_networks"),
    ("/vpc/v2", "subnets", "subnets"),
    ("/vpc/v2", "routes-with-nexthop", "routes"),
    ("/ipam/v1", "ips", "ips"),
    ("/secret-manager/v1beta1", "secrets", "secrets"),
    ("/secret-manager/v1beta1", "tags", "tags"),
    ("/secret-manager/v1beta1", "secret-types", "types"),
];

/// An authenticated request.
pub(crate) struct Call {
    /// The use cases.
    pub(crate) controller: Controller,
    /// Who calls.
    pub(crate) caller: Caller,
    /// The path's region; empty where the path has none.
    pub(crate) region: String,
    /// The last event that a client of a stream has seen, if it comes again.
    pub(crate) last_event_id: Option<u64>,
    /// Who follows streams.
    pub(crate) followers: Arc<Followers>,
    /// How often a silent stream says that it is alive.
    pub(crate) heartbeat: Duration,
    /// Tells when the service ends, if the request came by a socket.
    pub(crate) closing: Option<Closing>,
    accept: String,
    params: Vec<(String, String)>,
    query: String,
    body: Zeroizing<Vec<u8>>,
    recorder: Option<Recorder>,
    /// Until the answer is made.
    _reading: Option<Reading>,
    _held: Option<Hold>,
}

impl FromRequest<App> for Call {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        // Extensions are never the client's.
        if let Some(recorder) = request.extensions().get::<Recorder>() {
            recorder.token();
            return Self::read(request, app, nobody(), None).await.map_err(Failure::into_response);
        }
        let request_id = request.extensions().get::<RequestId>().map_or_else(Uuid::new_v4, |id| id.0);
        let caller = authenticate(app, request.headers(), request_id).await.map_err(Failure::into_response)?;
        if let Some(asked) = request.extensions().get::<Asked>() {
            asked.has_key();
        }
        if let Some(payer) = request.extensions().get::<Payer>() {
            payer.is(&app.shares, &caller.access_key);
        }
        if let Err(exceeded) = app.limits.key(&caller.access_key, Instant::now()) {
            return Err(too_many(exceeded, "this API key has sent more requests than it may; wait and try again"));
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads {
            room_to_write(app).map_err(Failure::into_response)?;
        }
        if let Some(empty) = list_elsewhere(app, request.method(), request.uri().path()) {
            return empty.map_err(Failure::into_response).and_then(Err);
        }
        let reading = match reads {
            true => Some(app.shares.read(&caller.access_key).await.map_err(too_many_reads)?),
            false => None,
        };
        Self::read(request, app, caller, reading).await.map_err(Failure::into_response)
    }
}

impl Call {
    async fn read(mut request: Request, app: &App, caller: Caller, reading: Option<Reading>) -> Result<Self, Failure> {
        let recorder = request.extensions().get::<Recorder>().cloned();
        let params = params(&mut request).await?;
        let region = params.iter().find(|(name, _)| name == "region").map(|(_, region)| region.clone());
        if let Some(region) = &region {
            check_region(app, region)?;
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let accept = header(&request, "accept").unwrap_or_default().to_ascii_lowercase();
        let last_event_id = header(&request, "last-event-id").and_then(|id| id.parse().ok());
        let closing = request.extensions().get::<Closing>().cloned();
        // One client sends `{}` with everything, so that the bodies of GET and DELETE mean nothing.
        let has_body = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
        let (body, held) = if has_body {
            let (body, held) = read_body(request, app.shares.hold(&caller.access_key, 0)?).await?;
            (body, Some(held))
        } else {
            (Zeroizing::default(), None)
        };
        let region = region.unwrap_or_default();
        Ok(Self {
            controller: app.controller.clone(),
            caller,
            region,
            last_event_id,
            followers: Arc::clone(&app.followers),
            heartbeat: app.config.heartbeat,
            closing,
            accept,
            params,
            query,
            body,
            recorder,
            _reading: reading,
            _held: held,
        })
    }

    /// Whether the client names this content type before all others.
    pub(crate) fn prefers(&self, content_type: &str) -> bool {
        let first = self.accept.split([',', ';']).next().unwrap_or_default();
        first.trim() == content_type
    }

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
        self.recorder.clone().map_or_else(|| Query::parse(&self.query), Query::recording)
    }

    /// The body.
    pub(crate) fn body(&self) -> Result<Body, Failure> {
        match &self.recorder {
            Some(recorder) => Ok(Body::recording(recorder.clone())),
            None => Ok(Body::parse(&self.body)?),
        }
    }
}

/// Refuses a change that would wait too long: clients give up after some 30 s and send it again, so that nothing would be left of the time.
fn room_to_write(app: &App) -> Result<(), Failure> {
    let backlog = app.controller.backlog();
    if backlog <= MAX_BACKLOG {
        return Ok(());
    }
    let help = "the service has more changes to store than it can; send this one again later".to_owned();
    let retry_after = u32::try_from(backlog.as_secs()).unwrap_or(u32::MAX);
    Err(Failure(Error::Unavailable { help, retry_after }))
}

/// Who calls while calls are recorded.
fn nobody() -> Caller {
    let (organization_id, project_id) = (Uuid::nil().into(), Uuid::nil().into());
    Caller {
        access_key: String::new(),
        role: Role::Operator,
        organization_id,
        project_id,
        partner_id: None,
        request_id: Uuid::nil(),
    }
}

/// The secret key is in `X-Auth-Token`, or in `X-Session-Token` where a client was built with a session; monitoring can only say
/// `Authorization: Bearer`.
async fn authenticate(app: &App, headers: &HeaderMap, request_id: Uuid) -> Result<Caller, Failure> {
    let token = headers.get("x-auth-token").or_else(|| headers.get("x-session-token"));
    let token = token.and_then(|token| token.to_str().ok()).or_else(|| {
        let bearer = headers.get("authorization").and_then(|value| value.to_str().ok());
        bearer.and_then(|value| value.strip_prefix("Bearer "))
    });
    let token = token.filter(|token| !token.is_empty());
    let Some(token) = token else {
        return Err(Failure(Error::DeniedAuthentication { reason: "invalid_argument" }));
    };
    Ok(app.controller.authenticate(token, request_id).await?)
}

/// The lists of a region that this service does not have, but production does: empty, since clients that are told `region=all` ask every
/// region that they know and fail as a whole if one of them answers an error (§1.10).
fn list_elsewhere(app: &App, method: &Method, path: &str) -> Option<Answer> {
    let (product, region_and_list) = path.split_once("/regions/")?;
    let (region, list) = region_and_list.split_once('/')?;
    let ours = app.config.regions.iter().any(|known| known == region);
    if ours || method != Method::GET || !PRODUCTION_REGIONS.contains(&region) {
        return None;
    }
    let (_, _, key) = LISTS.iter().find(|(of, name, _)| *of == product && *name == list)?;
    Some(json(&List::<()>::alphabetical(key, Vec::new(), 0)))
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
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

/// The whole body, within [`MAX_BODY`] and [`BODY_TIMEOUT`], and what it holds of its key's memory.
async fn read_body(request: Request, mut held: Hold) -> Result<(Zeroizing<Vec<u8>>, Hold), Failure> {
    let too_large = || Failure(Body::error(&format!("must not be longer than {MAX_BODY} octets")));
    let mut incoming = request.into_body();
    let announced = axum::body::HttpBody::size_hint(&incoming);
    let room = usize::try_from(announced.upper().unwrap_or(announced.lower())).unwrap_or(usize::MAX);
    if room > MAX_DISCARDED {
        return Err(too_large());
    }
    let read = async {
        held.grow(room.min(MAX_BODY))?;
        let mut body = Zeroizing::new(Vec::with_capacity(room.min(MAX_BODY)));
        let mut length = 0usize;
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else { return Err(Failure(Body::error("ended before it was complete"))) };
            let Some(data) = frame.data_ref() else { continue };
            length = length.saturating_add(data.len());
            if length <= MAX_BODY {
                append(&mut body, data, &mut held)?;
            } else if length > MAX_DISCARDED {
                break;
            }
        }
        if length > MAX_BODY { Err(too_large()) } else { Ok((body, held)) }
    };
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(body) => body,
        Err(_) => Err(Failure(Body::error("did not arrive in time"))),
    }
}

/// Appends `data`; where the buffer has to grow, the old one is wiped.
fn append(body: &mut Zeroizing<Vec<u8>>, data: &[u8], held: &mut Hold) -> Result<(), Failure> {
    if body.capacity() - body.len() < data.len() {
        let capacity = (body.len() + data.len()).next_power_of_two();
        held.grow(capacity.saturating_sub(body.capacity()))?;
        let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(data);
    Ok(())
}
