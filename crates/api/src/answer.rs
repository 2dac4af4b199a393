//! Answers: JSON, always, and of exactly that content type (a client compares it as a whole).

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use causeway_controller::Controller;
use causeway_model::Error;
use causeway_wire::document::extension::Reasons;
use causeway_wire::error::ErrorResponse;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::call::Call;
use crate::limits::Exceeded;
use crate::shares::Full;

/// The content type of everything but device configurations.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a handler ends with.
pub(crate) type Answer = Result<Response, Failure>;

/// A call that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Full> for Failure {
    fn from(_: Full) -> Self {
        let help = "requests and answers of this key, or of all keys, take as much memory as they may: read the answers that are \
                    there, ask for smaller pages (`page_size`), or send this one again later";
        Self(Error::Unavailable { help: help.to_owned(), retry_after: 1 })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if let Error::Internal(text) = &self.0 {
            tracing::error!(error = %text, "a call failed");
        }
        let mut response = error(ErrorResponse::new(&self.0));
        if let Error::Unavailable { help, retry_after } = &self.0 {
            tracing::debug!(help, "a call was put off");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*retry_after));
        }
        response
    }
}

/// 200 and `document`.
pub(crate) fn json(document: &impl Serialize) -> Answer {
    match serde_json::to_vec(document) {
        Ok(body) => Ok(with_body(StatusCode::OK, body)),
        Err(error) => Err(Failure(Error::Internal(format!("cannot write a document: {error}")))),
    }
}

/// 200 and a document with secret data, whose text is wiped when it has gone.
pub(crate) fn secret_json(document: &impl Serialize, expected: usize) -> Answer {
    let mut body = Wiped(Zeroizing::new(Vec::with_capacity(expected)));
    match serde_json::to_writer(&mut body, document) {
        Ok(()) => Ok(with_body(StatusCode::OK, Bytes::from_owner(body))),
        Err(error) => Err(Failure(Error::Internal(format!("cannot write a document: {error}")))),
    }
}

/// Text that is wiped when it is dropped, and where it outgrows its buffer.
struct Wiped(Zeroizing<Vec<u8>>);

impl Write for Wiped {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let needed = self.0.len() + octets.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// 200 and a document with reasons, which say where the operator's support is.
pub(crate) async fn explained(controller: &Controller, mut document: impl Serialize + Reasons + Send) -> Answer {
    name_support(controller, &mut document).await?;
    json(&document)
}

/// Writes the operator's support contact into the remedies that send people there.
pub(crate) async fn name_support(controller: &Controller, document: &mut impl Reasons) -> Result<(), Error> {
    let mut reasons = document.reasons();
    reasons.retain(|reason| reason.needs_support());
    if reasons.is_empty() {
        return Ok(());
    }
    if let Some(contact) = controller.support_contact().await? {
        for reason in reasons {
            reason.name_support(&contact);
        }
    }
    Ok(())
}

/// 204: no body, and the content type all the same (§1.6).
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// 200 and a text.
pub(crate) fn text(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// 200 and a body of this content type that comes piece by piece.
pub(crate) fn streamed(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // What is told as it happens must not wait in a proxy, nor be told again later.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 429: as many streams as there may be.
pub(crate) fn too_many_streams(most: u32) -> Response {
    error(ErrorResponse::too_many_at_once("close another stream, or ask for pages instead", most))
}

/// 429: as many reads of one key wait as may.
pub(crate) fn too_many_reads(most: u32) -> Response {
    error(ErrorResponse::too_many_at_once("wait for the answers to earlier requests", most))
}

/// An error's status and body.
pub(crate) fn error(error: ErrorResponse) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with_body(status, error.body.into_bytes())
}

/// 429, and when to try again, in whole seconds.
pub(crate) fn too_many(exceeded: Exceeded, help: &str) -> Response {
    let seconds = exceeded.wait.as_secs() + u64::from(exceeded.wait.subsec_nanos() > 0);
    let mut response = error(ErrorResponse::too_many_requests(help, exceeded.rate.per_second, seconds));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn with_body(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// 404 for a path that is none of ours, as production answers for routes of unknown kind.
pub(crate) async fn no_such_path() -> Failure {
    Failure(Error::NotFound { resource: "unknown", id: String::new() })
}

/// 405; axum adds `Allow`.
pub(crate) async fn no_such_method() -> Response {
    error(ErrorResponse::method_not_allowed())
}

/// 501 for a call of the public API that this server does not offer. Who calls is asked all the same: a stranger gets 401 everywhere.
pub(crate) async fn not_offered(_: Call) -> Failure {
    not_implemented("this call is not offered")
}

/// 501 that says what is missing.
pub(crate) fn not_implemented(help: &str) -> Failure {
    Failure(Error::NotImplemented { help: help.to_owned() })
}
