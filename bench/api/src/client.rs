//! A client of HTTP/1.1 with one kept-alive connection. It does as little as it can, since it shares the machine with what it measures.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No call takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer.
const LONGEST: usize = 64 << 20;

/// Where the service listens, and who asks.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its address; plain HTTP.
    pub address: SocketAddr,
    /// The secret key.
    pub token: String,
    /// The project of the key.
    pub project: String,
    /// The region.
    pub region: String,
}

impl Endpoint {
    /// The path of a call of a regional API: `vpn("connections")`.
    #[must_use]
    pub fn vpn(&self, rest: &str) -> String {
        format!("/s2s-vpn/v1alpha1/regions/{}/{rest}", self.region)
    }

    /// As [`Self::vpn`], of VPCs.
    #[must_use]
    pub fn vpc(&self, rest: &str) -> String {
        format!("/vpc/v2/regions/{}/{rest}", self.region)
    }

    /// As [`Self::vpn`], of addresses.
    #[must_use]
    pub fn ipam(&self, rest: &str) -> String {
        format!("/ipam/v1/regions/{}/{rest}", self.region)
    }

    /// As [`Self::vpn`], of secrets.
    #[must_use]
    pub fn secret(&self, rest: &str) -> String {
        format!("/secret-manager/v1beta1/regions/{}/{rest}", self.region)
    }
}

/// An answer of any status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The document, of a call that has succeeded.
    ///
    /// # Errors
    /// It has not, or the body is not JSON.
    pub fn document(&self) -> Result<Value> {
        ensure!((200..300).contains(&self.status), "{}: {}", self.status, String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&self.body)?) }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// The service does not listen.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self> {
        let stream = TcpStream::connect(endpoint.address).await.with_context(|| endpoint.address.to_string())?;
        stream.set_nodelay(true)?;
        Ok(Self { endpoint: endpoint.clone(), stream, received: Vec::new() })
    }

    /// Where this client is connected to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Any call.
    ///
    /// # Errors
    /// No answer; an error status is an answer.
    pub async fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-auth-token: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.endpoint.address,
            self.endpoint.token,
            body.len(),
        );
        let exchange = async {
            self.stream.write_all(request.as_bytes()).await?;
            self.answer().await
        };
        timeout(PATIENCE, exchange)
            .await
            .with_context(|| format!("{method} {path}: no answer within {} s", PATIENCE.as_secs()))?
            .with_context(|| format!("{method} {path}"))
    }

    async fn answer(&mut self) -> Result<Answer> {
        let end = loop {
            if let Some(end) = self.received.windows(4).position(|octets| octets == b"\r\n\r\n") {
                break end;
            }
            self.receive().await?;
        };
        let head = String::from_utf8(self.received.drain(..end + 4).collect())?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?.parse()?;
        let mut length = None;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                bail!("the body comes in chunks, which this client does not read");
            }
        }
        let length: usize = length.unwrap_or(0);
        ensure!(length <= LONGEST, "an answer of {length} octets");
        while self.received.len() < length {
            self.receive().await?;
        }
        Ok(Answer { status, body: self.received.drain(..length).collect() })
    }

    async fn receive(&mut self) -> Result<()> {
        self.received.reserve(16 << 10);
        ensure!(self.stream.read_buf(&mut self.received).await? > 0, "the service closed the connection");
        Ok(())
    }

    /// A call that has to succeed.
    ///
    /// # Errors
    /// No answer, or an error status.
    pub async fn must(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.call(method, path, body).await?;
        answer.document().with_context(|| format!("{method} {path}"))
    }

    /// Every object of a list that `path`, with or without a query, gives, over all of its pages.
    ///
    /// # Errors
    /// A call failed, or the pages do not add up to the total.
    pub async fn all(&mut self, path: &str, key: &str) -> Result<Vec<Value>> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        for page in 1_u32.. {
            let document = self.must("GET", &format!("{path}{sign}page_size=100&page={page}"), None).await?;
            let total = document.get("total_count").and_then(Value::as_u64).context("no total_count")?;
            let Some(more) = document.get(key).and_then(Value::as_array) else { bail!("{path} has no `{key}`") };
            items.extend(more.iter().cloned());
            if more.is_empty() || u64::try_from(items.len())? >= total {
                ensure!(u64::try_from(items.len())? == total, "{path}: {} objects of {total}", items.len());
                break;
            }
        }
        Ok(items)
    }
}

/// A text within a document.
///
/// # Errors
/// There is none.
pub fn text(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("no {pointer} in {value}"))
}
