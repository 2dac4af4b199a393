//! What surrounds every request: its id, the headers of every answer (wire-api.md §1.6), and a task of its own.

use std::time::Instant;

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, SERVER, STRICT_TRANSPORT_SECURITY, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use causeway_model::Error;
use tracing::Instrument;
use uuid::Uuid;

use crate::App;
use crate::answer::{Failure, too_many};
use crate::serve::Peer;
use crate::shares::{Held, Payer};

/// The request's id: in the answer's headers, the log and the audit records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestId(pub(crate) Uuid);

/// Characters of a client's name that are logged at most.
const MAX_CLIENT: usize = 100;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The same in every answer.
const FIXED: [(HeaderName, HeaderValue); 5] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (SERVER, HeaderValue::from_static("Causeway")),
    (STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Runs the request and dresses its answer.
///
/// The request gets a task of its own: a client that hangs up must not stop a use case halfway between its transaction and what follows from
/// it, and a panic must end as an answer that clients can read.
pub(crate) async fn around(mut request: Request, next: Next) -> Response {
    let id = Uuid::new_v4();
    request.extensions_mut().insert(RequestId(id));
    let payer = Payer::default();
    request.extensions_mut().insert(payer.clone());
    // Of the level of errors, so that the log has the id of a request that failed.
    let span = tracing::error_span!("request", %id, method = %request.method(), path = request.uri().path());
    // Which client called what is for those who ask for it, `scripts/test-sdk` among them.
    let client = tracing::enabled!(tracing::Level::DEBUG).then(|| client(request.headers()));
    let start = Instant::now();
    let task = tokio::spawn(async move { charge(next.run(request).await, &payer) }.instrument(span.clone()));
    let mut response = match task.await {
        Ok(response) => response,
        Err(error) => Failure(Error::Internal(format!("the request's task ended: {error}"))).into_response(),
    };
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, elapsed = ?start.elapsed(), client, "answered"));
    dress(response.headers_mut(), id);
    response
}

/// The program that asks, as far as it says so.
fn client(headers: &HeaderMap) -> String {
    let name = headers.get(USER_AGENT).and_then(|name| name.to_str().ok()).unwrap_or_default();
    name.chars().take(MAX_CLIENT).collect()
}

/// Takes an answer's octets from what its key may hold. What is told to somebody with a key is nobody else's, and for no cache: one that
/// does not know our headers would see no reason to keep answers apart (RFC 9111 §3.5).
fn charge(response: Response, payer: &Payer) -> Response {
    if !payer.is_known() {
        return response;
    }
    // Streams have a bound of their own.
    let octets = response.body().size_hint().exact().map_or(0, |octets| usize::try_from(octets).unwrap_or(usize::MAX));
    let mut response = match payer.hold(octets) {
        Ok(Some(hold)) => {
            let mut response = response;
            response.extensions_mut().insert(Held::new(hold));
            response
        }
        Ok(None) => response,
        Err(full) => Failure::from(full).into_response(),
    };
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Adds what every answer has.
pub(crate) fn dress(headers: &mut HeaderMap, id: Uuid) {
    for (name, value) in FIXED {
        // The page for people says itself what it may show.
        headers.entry(name).or_insert(value);
    }
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(X_REQUEST_ID, id);
    }
}

/// Counts the request against its address. Requests that come by no socket are the tests'.
pub(crate) async fn limit_address(State(app): State<App>, request: Request, next: Next) -> Response {
    if let Some(Peer(address)) = request.extensions().get().copied()
        && let Err(exceeded) = app.limits.address(address, Instant::now())
    {
        return too_many(exceeded, "this address has sent more requests than it may; wait and try again");
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_ends_as_an_answer() {
        async fn broken() -> Response {
            panic!("as if by a bug")
        }
        let router = Router::new().route("/", get(broken)).layer(from_fn(around));
        let request = Request::get("/").body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["x-frame-options"], "DENY");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, r#"{"message":"internal error","type":"internal"}"#);
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_does_not_stop_its_request() {
        let (done, finished) = tokio::sync::oneshot::channel();
        let done = std::sync::Arc::new(std::sync::Mutex::new(Some(done)));
        let slow = async move || {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let done = done.lock().expect("no panic before").take().expect("one request");
            done.send(()).expect("the test waits");
        };
        let router = Router::new().route("/", get(slow)).layer(from_fn(around));
        let request = Request::get("/").body(Body::empty()).expect("a request");
        let hung_up = tokio::time::timeout(std::time::Duration::from_millis(5), router.oneshot(request)).await;
        assert!(hung_up.is_err(), "the client went first");
        tokio::time::timeout(std::time::Duration::from_secs(5), finished).await.expect("in time").expect("it finished");
    }
}
