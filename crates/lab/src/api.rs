//! A small client of the API, as a customer's script would be one. Its connections are opened inside the node's namespace, where the API
//! listens on the loopback.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::machine::{Machine, in_namespace};
use crate::wait::eventually;

/// No call of the lab takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer of any status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The document; `Null` if there was none or it is not JSON.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

/// An outer family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// A tunnel of each.
    Both,
}

/// What a connection is created from. The prefixes are the site's and the VPC's.
#[derive(Clone, Debug)]
pub struct NewConnection {
    /// Its name.
    pub name: String,
    /// Outer family of its one tunnel, or both for two.
    pub outer: Family,
    /// `vpn_gateway` or `customer_gateway`.
    pub initiation: &'static str,
    /// `ikev2_ciphers` as the API takes them.
    pub ike: Value,
    /// `esp_ciphers` as the API takes them.
    pub esp: Value,
    /// `enable_route_propagation`.
    pub propagate: bool,
    /// A secret of one's own; `None`: the service makes one.
    pub secret: Option<String>,
    /// Inside addresses with masks, per family ours and the customer's; `None`: allotted.
    pub inside: Option<[[String; 2]; 2]>,
}

impl Default for NewConnection {
    fn default() -> Self {
        Self {
            name: "lab".to_owned(),
            outer: Family::Ipv4,
            initiation: "customer_gateway",
            ike: json!([]),
            esp: json!([]),
            propagate: true,
            secret: None,
            inside: None,
        }
    }
}

/// The objects around a connection that a site needs once.
#[derive(Clone, Debug)]
pub struct Site {
    /// VPC.
    pub vpc: String,
    /// Private Network.
    pub network: String,
    /// Its subnets, IPv4 then IPv6.
    pub subnets: Vec<String>,
    /// VPN gateway.
    pub gateway: String,
    /// Customer gateway.
    pub customer: String,
    /// Routing policies, IPv4 then IPv6.
    pub policies: [String; 2],
}

/// The client.
#[derive(Clone, Debug)]
pub struct Api {
    namespace: String,
    listen: SocketAddr,
    secret_key: String,
    region: String,
}

impl Api {
    /// With the credentials that the service wrote at its first start.
    ///
    /// # Errors
    /// `operator.env` is not there (yet) or lacks a variable.
    pub(crate) fn from_operator_env(machine: &Machine, data: &Path, listen: &str) -> Result<Self> {
        let path = data.join("operator.env");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let variable = |name: &str| {
            text.lines()
                .find_map(|line| line.trim().trim_start_matches("export ").strip_prefix(name)?.strip_prefix('='))
                .map(|value| value.trim_matches(['"', '\'']).to_owned())
                .with_context(|| format!("{name} is missing in {}", path.display()))
        };
        Ok(Self {
            namespace: machine.namespace.clone(),
            listen: listen.parse()?,
            secret_key: variable("SCW_SECRET_KEY")?,
            region: variable("SCW_DEFAULT_REGION")?,
        })
    }

    /// The same service, called with another key.
    #[must_use]
    pub fn with_key(&self, secret_key: String) -> Self {
        Self { secret_key, ..self.clone() }
    }

    /// The prefix of a regional API: `s2s-vpn/v1alpha1` gives `/s2s-vpn/v1alpha1/regions/fr-par`.
    #[must_use]
    pub fn prefix(&self, api: &str) -> String {
        format!("/{api}/regions/{}", self.region)
    }

    /// Any call.
    ///
    /// # Errors
    /// No answer; an error status is an answer.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let label = format!("{method} {path}");
        tokio::time::timeout(PATIENCE, self.exchange(method, path, body))
            .await
            .with_context(|| format!("{label}: no answer within {} s", PATIENCE.as_secs()))?
            .with_context(|| label)
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.listen.to_string())
            .header("accept", "application/json")
            .header("x-auth-token", &self.secret_key);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let response = sender.send_request(request.body(Full::new(Bytes::from(bytes)))?).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        driver.abort();
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status, json: serde_json::from_str(&text).unwrap_or(Value::Null), text })
    }

    async fn connect(&self) -> Result<tokio::net::TcpStream> {
        let listen = self.listen;
        let stream = in_namespace(&self.namespace, move || TcpStream::connect_timeout(&listen, PATIENCE)).await?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(tokio::net::TcpStream::from_std(stream)?)
    }

    /// GET.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, None).await
    }

    /// A call that has to succeed.
    ///
    /// # Errors
    /// No answer, or an error status.
    pub async fn must(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let label = format!("{method} {path}");
        let answer = self.call(method, path, body).await?;
        ensure!((200..300).contains(&answer.status), "{label}: {} {}", answer.status, answer.text);
        Ok(answer.json)
    }

    /// Creates an object and returns it.
    ///
    /// # Errors
    /// No answer, or an error status.
    pub async fn create(&self, api: &str, collection: &str, body: &Value) -> Result<Value> {
        self.must(Method::POST, &format!("{}/{collection}", self.prefix(api)), Some(body)).await
    }

    /// Reads an object of the VPN API.
    ///
    /// # Errors
    /// No answer, or an error status.
    pub async fn vpn(&self, path: &str) -> Result<Value> {
        self.must(Method::GET, &format!("{}/{path}", self.prefix("s2s-vpn/v1alpha1")), None).await
    }

    /// Creates the VPC and a Private Network in it, with the IPv4 subnet `ipv4` or one of the service's choice. Returns its id, the network's id and its subnets, IPv4 first.
    ///
    /// # Errors
    /// A call failed.
    pub async fn create_network(&self, ipv4: Option<&str>) -> Result<(String, String, Vec<String>)> {
        let vpc = self.create("vpc/v2", "vpcs", &json!({"name": "lab", "tags": []})).await?;
        let vpc = text(&vpc, "/id")?;
        let subnets = ipv4.map(|subnet| [subnet]);
        let body = json!({"name": "lab", "tags": [], "vpc_id": vpc, "subnets": subnets});
        let network = self.create("vpc/v2", "private-networks", &body).await?;
        let subnets = network
            .get("subnets")
            .and_then(Value::as_array)
            .context("no subnets")?
            .iter()
            .map(|subnet| text(subnet, "/subnet"))
            .collect::<Result<Vec<_>>>()?;
        ensure!(subnets.len() == 2, "one IPv4 and one IPv6 subnet expected, not {subnets:?}");
        Ok((vpc, text(&network, "/id")?, subnets))
    }

    /// Creates a VPN gateway on the network; it is `provisioning` when this returns. Of the largest type, so that measurements meet the
    /// packet path and not the type's bandwidth.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_gateway(&self, network: &str) -> Result<Value> {
        self.create_gateway_of_type(network, "VGW-L").await
    }

    /// [`Self::create_gateway`] of a type.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_gateway_of_type(&self, network: &str, gateway_type: &str) -> Result<Value> {
        let body = json!({"name": "lab", "tags": [], "gateway_type": gateway_type, "private_network_id": network});
        self.create("s2s-vpn/v1alpha1", "vpn-gateways", &body).await
    }

    /// Creates a customer gateway.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_customer(&self, asn: u32, ipv4: &str, ipv6: &str) -> Result<String> {
        let body = json!({"name": "lab", "tags": [], "asn": asn, "ipv4_public": ipv4, "ipv6_public": ipv6});
        text(&self.create("s2s-vpn/v1alpha1", "customer-gateways", &body).await?, "/id")
    }

    /// Creates a routing policy.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_policy(&self, is_ipv6: bool, accepted: &[&str], announced: &[&str]) -> Result<String> {
        let body = json!({
            "name": if is_ipv6 { "lab IPv6" } else { "lab IPv4" }, "tags": [], "is_ipv6": is_ipv6,
            "prefix_filter_in": accepted, "prefix_filter_out": announced,
        });
        text(&self.create("s2s-vpn/v1alpha1", "routing-policies", &body).await?, "/id")
    }

    /// Creates a connection with both families routed and returns it.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_connection(&self, site: &Site, new: &NewConnection) -> Result<Value> {
        let is_ipv6 = match new.outer {
            Family::Ipv4 => Some(false),
            Family::Ipv6 => Some(true),
            Family::Both => None,
        };
        let mut body = json!({
            "name": new.name, "tags": [], "is_ipv6": is_ipv6, "initiation_policy": new.initiation,
            "ikev2_ciphers": new.ike, "esp_ciphers": new.esp, "enable_route_propagation": new.propagate,
            "vpn_gateway_id": site.gateway, "customer_gateway_id": site.customer,
            "bgp_config_ipv4": {"routing_policy_id": site.policies[0]},
            "bgp_config_ipv6": {"routing_policy_id": site.policies[1]},
        });
        if let Some(secret) = &new.secret
            && let Some(object) = body.as_object_mut()
        {
            object.insert("secret".to_owned(), json!({"id": secret}));
        }
        for (family, [ours, theirs]) in new.inside.iter().flatten().enumerate() {
            let key = if family == 0 { "bgp_config_ipv4" } else { "bgp_config_ipv6" };
            if let Some(session) = body.get_mut(key).and_then(Value::as_object_mut) {
                session.insert("private_ip".to_owned(), json!(ours));
                session.insert("peer_private_ip".to_owned(), json!(theirs));
            }
        }
        let answer = self.create("s2s-vpn/v1alpha1", "connections", &body).await?;
        answer.get("connection").cloned().context("no connection in the answer")
    }

    /// Makes a secret with one version. `data` is base64.
    ///
    /// # Errors
    /// A call failed.
    pub async fn create_secret(&self, data: &str) -> Result<String> {
        let api = "secret-manager/v1beta1";
        let body = json!({"name": "lab-psk", "tags": [], "type": "opaque", "protected": false});
        let secret = text(&self.create(api, "secrets", &body).await?, "/id")?;
        self.create(api, &format!("secrets/{secret}/versions"), &json!({"data": data})).await?;
        Ok(secret)
    }

    /// The key of a connection, in base64 as the secret API has it.
    ///
    /// # Errors
    /// A call failed.
    pub async fn key(&self, connection: &Value) -> Result<String> {
        let (secret, revision) = (text(connection, "/secret_id")?, text(connection, "/secret_revision")?);
        let prefix = self.prefix("secret-manager/v1beta1");
        let path = format!("{prefix}/secrets/{secret}/versions/{revision}/access");
        text(&self.must(Method::GET, &path, None).await?, "/data")
    }

    /// The device's configuration.
    ///
    /// # Errors
    /// The call failed.
    pub async fn device_configuration(&self, connection: &str) -> Result<String> {
        let prefix = self.prefix("causeway/v1");
        let path = format!("{prefix}/connections/{connection}/device-configuration?format=strongswan-libipsec-bird");
        let answer = self.get(&path).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.text);
        Ok(answer.text)
    }

    /// `state` of a `connections` or `vpn-gateways` object.
    ///
    /// # Errors
    /// The call failed.
    pub async fn state(&self, collection: &str, id: &str) -> Result<Value> {
        let path = format!("{}/{collection}/{id}/state", self.prefix("causeway/v1"));
        self.must(Method::GET, &path, None).await
    }

    /// Waits until the object's `status` is `status`, and returns the object.
    ///
    /// # Errors
    /// It was not within `limit`; the last status and reason are in the error.
    pub async fn wait_status(&self, collection: &str, id: &str, status: &str, limit: Duration) -> Result<Value> {
        eventually(&format!("status {status}"), limit, || async {
            // The state carries the reason; its status is the object's.
            let state = self.state(collection, id).await?;
            ensure!(text(&state, "/status")? == status, "{}", summary(&state));
            Ok(state)
        })
        .await?;
        self.vpn(&format!("{collection}/{id}")).await
    }

    /// Waits until the connection's reason is `code`, and returns its state.
    ///
    /// # Errors
    /// It was not within `limit`.
    pub async fn wait_reason(&self, connection: &str, code: &str, limit: Duration) -> Result<Value> {
        eventually(&format!("reason {code}"), limit, || async {
            let state = self.state("connections", connection).await?;
            ensure!(codes(&state).iter().any(|seen| seen == code), "{}", summary(&state));
            Ok(state)
        })
        .await
    }

    /// Gives the connection a new random key, as the next revision of its secret or in place of the current one. Returns it in base64.
    ///
    /// # Errors
    /// A call failed.
    pub async fn renew_key(&self, connection: &str, generate_revision: bool) -> Result<String> {
        let path = format!("{}/connections/{connection}/renew-psk", self.prefix("s2s-vpn/v1alpha1"));
        self.must(Method::POST, &path, Some(&json!({"generate_revision": generate_revision}))).await?;
        self.key(&self.vpn(&format!("connections/{connection}")).await?).await
    }

    /// Gives the connection the key of another secret.
    ///
    /// # Errors
    /// The call failed.
    pub async fn change_key(&self, connection: &str, secret: &str) -> Result<()> {
        let path = format!("{}/connections/{connection}/change-psk", self.prefix("s2s-vpn/v1alpha1"));
        self.must(Method::POST, &path, Some(&json!({"secret": {"id": secret}}))).await.map(drop)
    }

    /// `reauthenticate` or `revoke-previous-psk` of a connection.
    ///
    /// # Errors
    /// The call failed.
    pub async fn act(&self, connection: &str, verb: &str) -> Result<()> {
        let path = format!("{}/connections/{connection}/{verb}", self.prefix("causeway/v1"));
        self.must(Method::POST, &path, Some(&json!({}))).await.map(drop)
    }

    /// Changes options of a connection.
    ///
    /// # Errors
    /// The call failed.
    pub async fn set_options(&self, connection: &str, options: &Value) -> Result<()> {
        let path = format!("{}/connections/{connection}/options", self.prefix("causeway/v1"));
        self.must(Method::PATCH, &path, Some(options)).await.map(drop)
    }

    /// Locks an object of `connections` or `vpn-gateways`, or unlocks it.
    ///
    /// # Errors
    /// The call failed.
    pub async fn set_locked(&self, collection: &str, id: &str, locked: bool) -> Result<()> {
        let (verb, body) = if locked { ("lock", json!({"reason": "a test"})) } else { ("unlock", json!({})) };
        self.must(Method::POST, &format!("/causeway/v1/{collection}/{id}/{verb}"), Some(&body)).await.map(drop)
    }

    /// Switches route propagation.
    ///
    /// # Errors
    /// The call failed.
    pub async fn set_propagation(&self, connection: &str, on: bool) -> Result<()> {
        let verb = if on { "enable" } else { "disable" };
        let path = format!("{}/connections/{connection}/{verb}-route-propagation", self.prefix("s2s-vpn/v1alpha1"));
        self.must(Method::POST, &path, Some(&json!({}))).await.map(drop)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// The call failed.
    pub async fn delete(&self, api: &str, path: &str) -> Result<()> {
        self.must(Method::DELETE, &format!("{}/{path}", self.prefix(api)), None).await.map(drop)
    }

    /// Waits until the object is not there any more (404).
    ///
    /// # Errors
    /// It still is after `limit`.
    pub async fn wait_gone(&self, api: &str, path: &str, limit: Duration) -> Result<()> {
        let path = format!("{}/{path}", self.prefix(api));
        eventually(&format!("404 for {path}"), limit, || async {
            let answer = self.get(&path).await?;
            ensure!(answer.status == 404, "{} {}", answer.status, answer.text);
            Ok(())
        })
        .await
    }
}

/// A string (or number) of a document.
pub(crate) fn text(document: &Value, pointer: &str) -> Result<String> {
    match document.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => bail!("no {pointer} in {document}"),
    }
}

/// Every reason code of a state: the object's, its tunnels', its sessions'.
#[must_use]
pub fn codes(state: &Value) -> Vec<String> {
    let mut reasons = vec![state.get("reason")];
    for list in ["tunnels", "bgp_sessions"] {
        reasons.extend(state.get(list).and_then(Value::as_array).into_iter().flatten().map(|item| item.get("reason")));
    }
    reasons.into_iter().flatten().filter_map(|reason| Some(reason.get("code")?.as_str()?.to_owned())).collect()
}

/// `down (dpd_timeout: the peer stopped answering)`.
#[must_use]
pub fn summary(state: &Value) -> String {
    let status = text(state, "/status").unwrap_or_else(|_| "?".to_owned());
    match (text(state, "/reason/code"), text(state, "/reason/message")) {
        (Ok(code), Ok(message)) => format!("{status} ({code}: {message})"),
        _ => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_found_at_every_level() {
        let state = json!({
            "status": "ready", "reason": {"code": "a", "message": "b"},
            "tunnels": [{"reason": {"code": "c"}}, {"reason": null}], "bgp_sessions": [{"reason": {"code": "d"}}],
        });
        assert_eq!(codes(&state), ["a", "c", "d"]);
        assert_eq!(summary(&state), "ready (a: b)");
        assert_eq!(summary(&json!({"status": "active", "reason": null})), "active");
    }
}
