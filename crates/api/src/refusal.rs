//! Answers to what is no HTTP/1 request. hyper gives them by itself, without a body and without our headers; here they get both, so that
//! clients which read every error as JSON can read these too.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use causeway_model::Error;
use causeway_model::error::{ArgumentError, ArgumentReason};
use causeway_wire::error::ErrorResponse;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use uuid::Uuid;

use crate::answer::JSON;
use crate::headers::dress;
use crate::serve::MAX_HEADERS;

/// Octets that are read and thrown away after a refusal: a socket that is closed with octets unread resets the connection, and the client
/// may lose the answer.
const MAX_DISCARDED: usize = 4 << 20;

/// A connection that speaks HTTP/1.
#[derive(Debug)]
pub(crate) struct Refusing<I> {
    io: I,
    refusal: Option<Refusal>,
}

#[derive(Debug)]
struct Refusal {
    text: Vec<u8>,
    written: usize,
    shut_down: bool,
    discarded: usize,
}

impl<I> Refusing<I> {
    pub(crate) fn new(io: I) -> Self {
        Self { io, refusal: None }
    }
}

impl<I: Write + Unpin> Refusing<I> {
    /// Whether `octets` are hyper's own answer, which goes out with our words.
    fn takes(&mut self, octets: &[u8]) -> bool {
        if self.refusal.is_none()
            && let Some(text) = refusal(octets)
        {
            self.refusal = Some(Refusal { text, written: 0, shut_down: false, discarded: 0 });
            return true;
        }
        false
    }

    /// Writes what is left of the refusal.
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(refusal) = &mut self.refusal else { return Poll::Ready(Ok(())) };
        while let Some(rest) = refusal.text.get(refusal.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => refusal.written += written,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Read + Unpin> Read for Refusing<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<I: Read + Write + Unpin> Write for Refusing<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if self.takes(octets) {
            return Poll::Ready(Ok(octets.len()));
        }
        Pin::new(&mut self.io).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && self.takes(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        let Self { io, refusal } = &mut *self;
        let Some(refusal) = refusal else { return Pin::new(io).poll_shutdown(context) };
        if !refusal.shut_down {
            ready!(Pin::new(&mut *io).poll_shutdown(context))?;
            refusal.shut_down = true;
        }
        let mut octets = [0; 4096];
        while refusal.discarded < MAX_DISCARDED {
            let mut buffer = ReadBuf::new(&mut octets);
            // A peer that has gone has read what it wanted.
            if ready!(Pin::new(&mut *io).poll_read(context, buffer.unfilled())).is_err() || buffer.filled().is_empty() {
                break;
            }
            refusal.discarded += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

/// What is said instead of `octets`, if they are an answer that hyper made: an error's head and nothing else. Ours have a request id.
fn refusal(octets: &[u8]) -> Option<Vec<u8>> {
    if !octets.starts_with(b"HTTP/1.1 4") && !octets.starts_with(b"HTTP/1.0 4") {
        return None;
    }
    let head = std::str::from_utf8(octets).ok()?.strip_suffix("\r\n\r\n")?;
    let (name, reason, help) = match head.get(9..12)? {
        "400" => ("request", ArgumentReason::Format, "is not HTTP/1.1: a line, its headers, an empty line".to_owned()),
        "414" => ("url", ArgumentReason::Constraint, too_long()),
        "431" => ("headers", ArgumentReason::Constraint, too_long()),
        _ => return None,
    };
    let mut text = String::new();
    for line in head.split("\r\n") {
        let field = line.split(':').next().unwrap_or_default();
        if field.eq_ignore_ascii_case("x-request-id") {
            return None;
        }
        if !field.eq_ignore_ascii_case("content-length") {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    let argument = ArgumentError { name: name.to_owned(), reason, help };
    let body = ErrorResponse::new(&Error::InvalidArguments(vec![argument])).body;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, JSON);
    dress(&mut headers, Uuid::new_v4());
    for (name, value) in &headers {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().ok()?));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    Some(text.into_bytes())
}

fn too_long() -> String {
    format!("URL and headers must not be longer than {MAX_HEADERS} octets; send shorter lists, in several requests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_says_by_itself_is_replaced() {
        let bare = "HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let text = String::from_utf8(refusal(bare.as_bytes()).expect("a refusal")).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ndate: now\r\n"), "{head}");
        assert!(
            head.ends_with(&format!("content-length: {}", body.len())) && !head.contains("content-length: 0\r"),
            "{head}"
        );
        for ours in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
        ] {
            assert_eq!(refusal(ours.as_bytes()), None, "{ours}");
        }
    }
}
