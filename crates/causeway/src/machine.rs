//! Asks the operator's own means whether the machines of nodes run: one command or HTTP endpoint for each zone (docs/fleet.md).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use causeway_controller::{Controller, NodeRecord};
use causeway_model::watch::MachineState;
use causeway_notify::{LookError, Looker};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A command that takes longer says nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Commands and requests at once.
const AT_ONCE: usize = 8;

/// What says whether the machines of a zone run.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub(crate) enum Means {
    /// A command for the shell.
    Command(String),
    /// An endpoint; the node is in its query.
    Endpoint(Url),
    /// Neither, and why. It is kept, since the error of a parser would show the line, and with it a token.
    Unusable(String),
}

/// An HTTP address, which may hold a token.
#[derive(Clone)]
pub(crate) struct Url {
    text: String,
    https: bool,
}

impl fmt::Debug for Means {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Command(_) => "a command",
            Self::Endpoint(_) => "an endpoint",
            Self::Unusable(why) => why,
        })
    }
}

impl From<String> for Means {
    fn from(text: String) -> Self {
        Self::read(text).unwrap_or_else(Self::Unusable)
    }
}

impl Means {
    /// What begins with `http://` or `https://` is an endpoint. "stopped" is believed and moves gateways, so that nobody on the way may be
    /// able to say it: plain HTTP stays on this machine.
    fn read(text: String) -> Result<Self, String> {
        let text = text.trim().to_owned();
        if text.is_empty() {
            return Err("it is empty; give a command for the shell, or an https address".to_owned());
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
        let https = scheme == "https";
        if !https && scheme != "http" {
            return Ok(Self::Command(text));
        }
        if text.contains('#') {
            return Err("the address has a fragment (#), which is never sent; leave it out".to_owned());
        }
        let address: hyper::Uri = text.parse().map_err(|error| format!("the address cannot be used: {error}"))?;
        let authority = address.authority().ok_or("the address names no host")?;
        if authority.as_str().contains('@') {
            return Err("the address has a user in it, which is not sent; put a token into its query".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']);
        if !https && !host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback()) {
            return Err(
                "plain HTTP is for 127.0.0.1 and [::1] only, since \"stopped\" moves gateways; use https".to_owned()
            );
        }
        Ok(Self::Endpoint(Url { text, https }))
    }

    /// Whether certificate authorities are needed for it.
    pub(crate) const fn needs_tls(&self) -> bool {
        matches!(self, Self::Endpoint(Url { https: true, .. }))
    }
}

/// Asks about every node of a zone with such means, once in each `period`, until `shutdown`. `looker` asks endpoints.
pub(crate) async fn watch(
    controller: Controller,
    means: BTreeMap<String, Means>,
    looker: Looker,
    period: Duration,
    shutdown: CancellationToken,
) {
    let zones: BTreeSet<String> = means.keys().cloned().collect();
    let looker = Arc::new(looker);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let nodes = match controller.machines(&zones).await {
            Ok(nodes) => nodes,
            Err(error) => {
                tracing::error!(?error, "the machines of nodes could not be looked at");
                continue;
            }
        };
        let mut asked = JoinSet::new();
        for node in nodes {
            let Some(means) = means.get(&node.zone).cloned() else { continue };
            if asked.len() >= AT_ONCE {
                asked.join_next().await;
            }
            let (controller, looker) = (controller.clone(), Arc::clone(&looker));
            asked.spawn(async move {
                let said = match &means {
                    Means::Command(command) => run(command, &node).await,
                    Means::Endpoint(url) => look(&looker, url, &node).await,
                    // The configuration was refused.
                    Means::Unusable(_) => None,
                };
                let state = understood(said.as_deref());
                if let Err(error) = controller.node_machine(node.id, state).await {
                    tracing::error!(node = %node.id, ?error, "the state of a node's machine could not be stored");
                }
            });
        }
        while asked.join_next().await.is_some() {}
    }
}

/// Whatever is not said clearly is unknown.
fn understood(said: Option<&[u8]>) -> MachineState {
    match said.map(<[u8]>::trim_ascii) {
        Some(b"running") => MachineState::Running,
        Some(b"stopped") => MachineState::Stopped,
        _ => MachineState::Unknown,
    }
}

/// What an endpoint answers about a node's machine.
async fn look(looker: &Looker, url: &Url, node: &NodeRecord) -> Option<Vec<u8>> {
    let said = fetch(looker, url, &node.id.to_string(), &node.name, &node.zone).await;
    said.inspect_err(|error| {
        tracing::warn!(node = %node.id, zone = node.zone, %error, "the endpoint of fleet.machine_state said nothing");
    })
    .ok()
}

async fn fetch(looker: &Looker, url: &Url, id: &str, name: &str, zone: &str) -> Result<Vec<u8>, LookError> {
    let joint = if url.text.contains('?') { '&' } else { '?' };
    let query = [("node_id", id), ("node_name", name), ("node_zone", zone)];
    let query = query.map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).join("&");
    let address = format!("{}{joint}{query}", url.text).parse().map_err(|_| LookError::Address)?;
    Ok(looker.get(&address).await?.to_vec())
}

/// What the command prints about a node's machine.
async fn run(command: &str, node: &NodeRecord) -> Option<Vec<u8>> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    shell.env("CAUSEWAY_NODE_ID", node.id.to_string());
    shell.env("CAUSEWAY_NODE_NAME", &node.name).env("CAUSEWAY_NODE_ZONE", &node.zone);
    match tokio::time::timeout(PATIENCE, shell.output()).await {
        Ok(Ok(output)) if output.status.success() => return Some(output.stdout),
        Ok(Ok(output)) => {
            tracing::warn!(node = %node.id, status = %output.status, "the command of fleet.machine_state failed");
        }
        Ok(Err(error)) => {
            tracing::warn!(node = %node.id, %error, "the command of fleet.machine_state cannot be run");
        }
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            tracing::warn!(node = %node.id, seconds, "the command of fleet.machine_state takes too long");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn means(text: &str) -> Result<Means, String> {
        Means::read(text.to_owned())
    }

    #[test]
    fn an_address_is_asked_and_everything_else_is_a_command() {
        assert!(matches!(means("curl -s https://example.net"), Ok(Means::Command(_))));
        assert!(matches!(
            means("https://machines.example.net/state?token=x"),
            Ok(Means::Endpoint(Url { https: true, .. }))
        ));
        assert!(matches!(means(" HTTPS://machines.example.net/"), Ok(Means::Endpoint(Url { https: true, .. }))));
        for loopback in ["http://127.0.0.1:8000/state", "http://[::1]/state"] {
            assert!(matches!(means(loopback), Ok(Means::Endpoint(Url { https: false, .. }))), "{loopback}");
        }
        for (wrong, word) in [
            (" ", "empty"),
            ("http://192.0.2.1/state", "https"),
            ("http://localhost/state", "https"),
            ("https://me:secret@192.0.2.1/", "query"),
            ("https://192.0.2.1/state#x", "fragment"),
            ("https://", "address"),
            ("https://exa mple/", "address"),
        ] {
            let error = means(wrong).expect_err(wrong);
            assert!(error.contains(word) && !error.contains("secret"), "{wrong}: {error}");
        }
        assert!(!format!("{:?}", means("https://192.0.2.1/?token=secret")).contains("secret"));
    }

    /// What is understood of such an answer to a request about a node, and the request's first line.
    async fn asked(answer: &'static str) -> (MachineState, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/state?site=1", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            let mut piece = [0; 512];
            while !request.ends_with(b"\r\n\r\n") {
                let taken = stream.read(&mut piece).expect("a request");
                request.extend_from_slice(&piece[..taken]);
            }
            stream.write_all(answer.as_bytes()).expect("sent");
            String::from_utf8_lossy(&request).lines().next().expect("a line").to_owned()
        });
        let Ok(Means::Endpoint(url)) = means(&url) else { panic!("an endpoint") };
        let said = fetch(&Looker::plain(), &url, "1d", "edge & co", "fr-par-1").await;
        (understood(said.ok().as_deref()), server.join().expect("served"))
    }

    #[tokio::test]
    async fn only_a_clear_word_counts() {
        let (state, request) = asked("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nstopped\n").await;
        assert_eq!(state, MachineState::Stopped);
        assert_eq!(request, "GET /state?site=1&node_id=1d&node_name=edge%20%26%20co&node_zone=fr%2Dpar%2D1 HTTP/1.1");
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nrunning", MachineState::Running),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nstopped ?", MachineState::Unknown),
            ("HTTP/1.1 503 Unavailable\r\ncontent-length: 7\r\n\r\nstopped", MachineState::Unknown),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\nstopped", MachineState::Unknown),
            ("stopped\r\n\r\n", MachineState::Unknown),
        ] {
            assert_eq!(asked(answer).await.0, expected, "{answer:?}");
        }
    }

    /// A server's certificate for 127.0.0.1 (or another name) and the authority that made it.
    struct Certified {
        config: Arc<ServerConfig>,
        /// A PEM file of the authority.
        authority: tempfile::NamedTempFile,
    }

    fn certified(name: &str) -> Certified {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let mut authority = tempfile::NamedTempFile::new().expect("a file");
        authority.write_all(params.self_signed(&key).expect("signed").pem().as_bytes()).expect("written");
        let own = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let leaf = leaf.signed_by(&own, &Issuer::new(params, key)).expect("signed");
        let key = PrivateKeyDer::from_pem_slice(own.serialize_pem().as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key));
        Certified { config: Arc::new(config.expect("usable")), authority }
    }

    /// What the server of one connection does.
    #[derive(Clone, Copy, Debug)]
    enum Serves {
        /// Takes the connection and says nothing, not even TLS.
        NoHandshake,
        /// Takes the request and says nothing.
        NoAnswer,
        /// Answers, and does not end.
        Answer(&'static str),
        /// Answers without an end.
        Endless,
    }

    /// What is learned from such a server by somebody who trusts `trusted`.
    async fn learned(server: &Certified, trusted: &Certified, serves: Serves) -> Result<MachineState, LookError> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}/state?token=secret", listener.local_addr().expect("an address"));
        let acceptor = TlsAcceptor::from(Arc::clone(&server.config));
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            if matches!(serves, Serves::NoHandshake) {
                return std::future::pending().await;
            }
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.is_ok_and(|taken| taken > 0) {
                    continue;
                }
                return;
            }
            match serves {
                Serves::NoHandshake | Serves::NoAnswer => {}
                Serves::Answer(answer) => stream.write_all(answer.as_bytes()).await.expect("sent"),
                Serves::Endless => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
                    // Until the client has had enough.
                    while stream.write_all(&[b's'; 4096]).await.is_ok() {}
                    return;
                }
            }
            std::future::pending().await
        });
        let Ok(Means::Endpoint(url)) = means(&url) else { panic!("an endpoint") };
        let looker = Looker::new(trusted.authority.path()).expect("usable");
        let said = fetch(&looker, &url, "1d", "edge", "fr-par-1").await;
        if matches!(serves, Serves::Endless) {
            serving.await.expect("it was cut off");
        } else {
            serving.abort();
        }
        said.map(|said| understood(Some(&said)))
    }

    #[tokio::test]
    async fn an_endpoint_over_tls_is_believed_if_its_authority_is_trusted_and_its_name_right() {
        let (ours, theirs, elsewhere) = (certified("127.0.0.1"), certified("127.0.0.1"), certified("machines.example"));
        let stopped = Serves::Answer("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nstopped");
        assert_eq!(learned(&ours, &ours, stopped).await.expect("said"), MachineState::Stopped);
        for (server, trusted) in [(&ours, &theirs), (&elsewhere, &elsewhere)] {
            let error = learned(server, trusted, stopped).await.expect_err("not believed").to_string();
            assert!(error.starts_with("TLS: ") && !error.contains("secret"), "{error}");
        }
        let elsewhere = "HTTP/1.1 302 Found\r\nlocation: https://192.0.2.1/\r\ncontent-length: 7\r\n\r\nstopped";
        assert!(matches!(learned(&ours, &ours, Serves::Answer(elsewhere)).await, Err(LookError::Status(302))));
        assert!(matches!(learned(&ours, &ours, Serves::Endless).await, Err(LookError::Exchange(_))));
    }

    #[tokio::test]
    async fn an_endpoint_that_hangs_says_nothing_and_is_given_up() {
        let server = certified("127.0.0.1");
        let half = Serves::Answer("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nstopped");
        let huge = "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nstopped";
        let met = tokio::join!(
            learned(&server, &server, Serves::NoHandshake),
            learned(&server, &server, Serves::NoAnswer),
            learned(&server, &server, half),
            learned(&server, &server, Serves::Answer(huge)),
        );
        for met in [met.0, met.1, met.2, met.3] {
            assert!(matches!(met, Err(LookError::Late)), "{met:?}");
        }
    }
}
