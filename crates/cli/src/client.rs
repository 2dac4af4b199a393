//! The HTTP client: one request, one answer, bounded in time and size.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::connect::Connector;
use crate::failure::{ApiError, Failure};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets of an answer at most: a page of a thousand objects is far below.
const MAX_ANSWER: usize = 64 << 20;
/// What RFC 3986 §2.3 leaves unreserved stays as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path and its query, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target(String);

impl Target {
    /// A path of these segments.
    pub(crate) fn new<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = String::new();
        for segment in segments {
            text.push('/');
            text.extend(utf8_percent_encode(segment, ENCODED));
        }
        Self(text)
    }

    /// With one more segment.
    pub(crate) fn join(mut self, segment: &str) -> Self {
        self.0.push('/');
        self.0.extend(utf8_percent_encode(segment, ENCODED));
        self
    }

    /// With one more parameter in the query. A name that comes twice is a list.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.extend(utf8_percent_encode(name, ENCODED));
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, ENCODED));
        self
    }

    /// As it goes over the wire.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A successful answer.
pub(crate) struct Reply {
    target: String,
    /// The body; it may be a secret.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Reply {
    /// The body as a document.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        self.typed()
    }

    /// The body as what a command needs of it.
    pub(crate) fn typed<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::Answer { what: self.target.clone(), why: error.to_string() })
    }
}

/// The API at one place with one key.
pub(crate) struct Client {
    http: HttpClient<Connector, Full<Bytes>>,
    base: String,
    token: HeaderValue,
}

impl Client {
    /// For the API at `url` (`http://host:port` or `https://…`, perhaps with a path in front) with this secret key. `authorities`: the file
    /// with the certificates of whom to trust, where it is not the machine's.
    pub(crate) fn new(url: &str, secret_key: &str, authorities: Option<&Path>) -> Result<Self, Failure> {
        let wrong = |why: &'static str| Failure::Variable { name: "SCW_API_URL", why };
        let parsed: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        let encrypted = match parsed.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("has to begin with http:// or https://")),
        };
        if parsed.authority().is_none() || parsed.query().is_some() {
            return Err(wrong("has to be of the form http://HOST:PORT or https://HOST:PORT"));
        }
        let mut token = HeaderValue::from_str(secret_key)
            .map_err(|_| Failure::Variable { name: "SCW_SECRET_KEY", why: "has characters that no key has" })?;
        token.set_sensitive(true);
        let connector = if encrypted { Connector::tls(authorities)? } else { Connector::plain() };
        let http = HttpClient::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, base: url.trim_end_matches('/').to_owned(), token })
    }

    /// Sends a request and waits for the head of its answer.
    async fn exchange(
        &self,
        request: hyper::http::request::Builder,
        target: &Target,
        body: Bytes,
    ) -> Result<(hyper::http::response::Parts, Incoming), Failure> {
        let request = request
            .uri(format!("{}{}", self.base, target.as_str()))
            .header("x-auth-token", &self.token)
            .body(Full::new(body))
            .map_err(|error| self.unreachable(error.to_string()))?;
        let response = self.http.request(request).await.map_err(|error| self.unreachable(chain(&error)))?;
        Ok(response.into_parts())
    }

    fn unreachable(&self, cause: String) -> Failure {
        Failure::Unreachable { url: self.base.clone(), cause }
    }

    fn too_late(&self) -> Failure {
        self.unreachable(format!("no answer within {} s", PATIENCE.as_secs()))
    }

    /// A whole body.
    async fn read(&self, target: &Target, mut incoming: Incoming) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut body = Zeroizing::new(Vec::new());
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| self.unreachable(chain(&error)))?;
            let Some(data) = frame.data_ref() else { continue };
            if body.len() + data.len() > MAX_ANSWER {
                let why = format!("it is longer than {MAX_ANSWER} octets");
                return Err(Failure::Answer { what: target.as_str().to_owned(), why });
            }
            body.extend_from_slice(data);
        }
        Ok(body)
    }

    /// GET of something that comes piece by piece. `last`: the last event that was seen, where it is a stream of events.
    pub(crate) async fn open(&self, target: &Target, accept: &str, last: Option<u64>) -> Result<Stream, Failure> {
        let mut request = Request::builder().method(Method::GET).header(ACCEPT, accept);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let opened = async {
            let (head, incoming) = self.exchange(request, target, Bytes::new()).await?;
            if head.status.is_success() {
                let (url, what) = (self.base.clone(), target.as_str().to_owned());
                return Ok(Stream { url, what, incoming });
            }
            let body = self.read(target, incoming).await?;
            Err(refusal(&head, &body))
        };
        tokio::time::timeout(PATIENCE, opened).await.map_err(|_| self.too_late())?
    }

    /// One call. An error status is a [`Failure::Api`].
    pub(crate) async fn call(
        &self,
        method: Method,
        target: &Target,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Reply, Failure> {
        let mut request = Request::builder().method(method).header(ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        // The buffer is wiped when the request has been written.
        let body = body.map_or_else(Bytes::new, Bytes::from_owner);
        let exchange = async {
            let (head, incoming) = self.exchange(request, target, body).await?;
            let body = self.read(target, incoming).await?;
            Ok::<_, Failure>((head, body))
        };
        let (head, body) = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| self.too_late())??;
        if head.status.is_success() {
            return Ok(Reply { target: target.as_str().to_owned(), body });
        }
        Err(refusal(&head, &body))
    }
}

fn refusal(head: &hyper::http::response::Parts, body: &[u8]) -> Failure {
    let request_id = head.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    Failure::Api(Box::new(ApiError::new(head.status.as_u16(), body, request_id)))
}

/// A successful answer that comes piece by piece.
pub(crate) struct Stream {
    url: String,
    what: String,
    incoming: Incoming,
}

impl Stream {
    /// The next piece; `None` at the end. Silence for [`PATIENCE`] is a failure: streams say twice as often that they live.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let unreachable = |cause: String| Failure::Unreachable { url: self.url.clone(), cause };
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.incoming.frame()).await;
            let frame = frame.map_err(|_| unreachable(format!("nothing came for {} s", PATIENCE.as_secs())))?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(data) = frame.map_err(|error| unreachable(chain(&error)))?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// What came is not what the API promises.
    pub(crate) fn wrong(&self, why: String) -> Failure {
        Failure::Answer { what: self.what.clone(), why }
    }
}

/// An error with its causes: the outermost alone says little ("client error (Connect)").
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_parameters_are_encoded() {
        let target = Target::new(["vpc", "v2", "vpcs", "a/b?c é"]).with("name", "x&y=z +").with("tags", "a");
        assert_eq!(target.as_str(), "/vpc/v2/vpcs/a%2Fb%3Fc%20%C3%A9?name=x%26y%3Dz%20%2B&tags=a");
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_before_any_call() {
        for (url, part) in [
            ("ftp://vpn.example.com", "http://"),
            ("vpn.example.com", "http://"),
            ("http://h:1/?a=b", "HOST:PORT"),
            ("http://a b", "no URL"),
        ] {
            let Err(error) = Client::new(url, "k", None) else { panic!("{url} was taken") };
            assert!(error.to_string().contains(part), "{url}: {error}");
        }
        assert!(Client::new("http://127.0.0.1:8080/", "k\n", None).is_err());
        let missing = Path::new("/nonexistent/authorities.pem");
        let Err(error) = Client::new("https://vpn.example.com", "k", Some(missing)) else {
            panic!("a file that is not there")
        };
        assert!(error.to_string().starts_with("cannot read /nonexistent/authorities.pem: "), "{error}");
        assert!(Client::new("http://[::1]:8080/prefix/", "k", None).is_ok());
    }
}
