//! `DIR/causeway.toml`: written with comments and defaults at the first start, checked key by key, and overridden by the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use causeway_api::{Rate, RateLimits};
use causeway_model::watch::KeepaliveProfile;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

use crate::machine::Means;

/// The file's name in the data directory.
pub(crate) const FILE: &str = "causeway.toml";

/// What the first start writes.
const DEFAULT: &str = r#"# Causeway. Every key can be overridden by the environment: CAUSEWAY_ + the key in capitals, its table first
# (CAUSEWAY_LISTEN, CAUSEWAY_NODE_UNDERLAY); lists and tables are written there as in this file.
# `causeway check DIR` says whether this file is right.

# Where the API listens. Loopback addresses are served in plain HTTP (a self-signed certificate would break the SDKs), all others over TLS.
listen = "127.0.0.1:8080"

# The server's certificate chain and its key, PEM files; renewed ones are used within a minute, without a restart.
# Both empty: beyond loopback a self-signed certificate is made in this directory.
tls_certificate = ""
tls_key = ""
# What that self-signed certificate is for beside the listener's address: names and addresses under which clients find the API. It is made
# once; after a change delete tls-certificate.pem and tls-key.pem in this directory, and tell clients to trust the new one.
tls_names = []

# The certificate authorities (PEM) that webhooks' receivers may have their certificates from; "" : those that this machine trusts.
webhook_authorities = ""

# Days that audit records are kept; 0: for ever. They grow by some hundred octets with every change.
audit_days = 400

# The keys from here to the public pools are read once, at the first start that finds an empty database.
region = "fr-par"
zones = ["fr-par-1"]

# Whom tenants turn to when a reason says "contact support": an address or a link.
support_contact = ""

# Our AS number, 1 to 65534, so that BGP communities can carry it.
provider_asn = 12876

# Public addresses for VPN gateways, per zone. The default ranges are the documentation's (RFC 5737, RFC 3849): good for trying out,
# never for service. An empty pool makes the creation of gateways answer 503 out_of_stock.
[public_pools."fr-par-1"]
ipv4 = ["192.0.2.0/24"]
ipv6 = ["2001:db8:0:1::/64"]

# Requests that the API takes from one API key and from one address (IPv6: one /64): per second in the long run, and at once.
# More are answered 429. per_second = 0: no limit.
[rate_limits]
per_key = { per_second = 5000, burst = 20000 }
per_address = { per_second = 5000, burst = 20000 }

# GET /metrics in the text format of Prometheus, for the key of an operator or of support (as X-Auth-Token, or as Bearer token).
[metrics]
# Beside that a listener of its own, in plain HTTP and without a key, where only your monitoring gets: "127.0.0.1:9090". "": none.
listen = ""

# Gateway nodes on other machines.
[fleet]
# Where they reach this controller, over TLS that both ends prove themselves in: "0.0.0.0:443", for example. "": nowhere, there are none.
listen = ""
# How often nodes say that they are there, and how often that is judged: "fast" (2 s, 7 s), "medium" (12 s, 1 min), "slow" (1 min, 5 min).
keepalive = "medium"
# What says whether a node's machine runs, zone by zone: a command for the shell that prints "running", "stopped" or "unknown" for the
# machine that CAUSEWAY_NODE_ID and CAUSEWAY_NODE_NAME name, or an https address that answers so, with node_id, node_name and node_zone in
# its query. "stopped" has to mean that it cannot run: { "fr-par-1" = "/etc/causeway/machine" }.
machine_state = {}
# Zones in which the gateways of a lost node are started on another one, once a majority of the zone's nodes and the controller know that it
# forwards nothing any more. Its nodes forward only while a majority hears them, and start with nothing until the controller speaks.
failover = []

# Private links through partners.
[interlink]
# Seconds that a partner has to answer a request before it expires: 10 days. Less, 5 at least, is for tests and demonstrations. Requests that
# were made before keep their time.
answer_seconds = 864000

# The gateway node inside this process.
[node]
# "auto": if this process is root and /dev/net/tun and nft are there. "yes": fail to start otherwise. "no": never.
enabled = "auto"
# The zone that it serves.
zone = "fr-par-1"
# The interface that carries the public addresses (they are added to it and announced by gratuitous ARP and ND).
# "" : a bridge named cw-underlay that the node makes for itself.
underlay = ""
"#;

/// The times that partners can have to answer, seconds.
const ANSWER_SECONDS: std::ops::RangeInclusive<u32> = 5..=365 * 86_400;

/// Where the authorities are that this machine trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Keys with their environment names, in the order of the file.
const KEYS: &[&[&str]] = &[
    &["listen"],
    &["tls_certificate"],
    &["tls_key"],
    &["tls_names"],
    &["webhook_authorities"],
    &["audit_days"],
    &["region"],
    &["zones"],
    &["support_contact"],
    &["provider_asn"],
    &["public_pools"],
    &["rate_limits", "per_key"],
    &["rate_limits", "per_address"],
    &["metrics", "listen"],
    &["fleet", "listen"],
    &["fleet", "keepalive"],
    &["fleet", "machine_state"],
    &["fleet", "failover"],
    &["interlink", "answer_seconds"],
    &["node", "enabled"],
    &["node", "zone"],
    &["node", "underlay"],
];

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// API listener.
    pub(crate) listen: SocketAddr,
    /// Certificate chain, PEM; empty: none.
    #[serde(default)]
    pub(crate) tls_certificate: PathBuf,
    /// Its key, PEM; empty: none.
    #[serde(default)]
    pub(crate) tls_key: PathBuf,
    /// More names and addresses for a certificate of our own making.
    #[serde(default)]
    pub(crate) tls_names: Vec<String>,
    /// Authorities of webhooks' receivers, PEM; empty: the machine's.
    #[serde(default)]
    pub(crate) webhook_authorities: PathBuf,
    /// Days that audit records are kept; 0: for ever.
    #[serde(default = "audit_days")]
    pub(crate) audit_days: u32,
    /// Region.
    pub(crate) region: String,
    /// Zones of the region.
    pub(crate) zones: Vec<String>,
    /// Whom tenants turn to; empty: nobody is named.
    #[serde(default)]
    pub(crate) support_contact: String,
    /// Our AS number.
    pub(crate) provider_asn: u32,
    /// Pools by zone.
    #[serde(default)]
    pub(crate) public_pools: BTreeMap<String, Pools>,
    /// Requests that are taken.
    #[serde(default)]
    pub(crate) rate_limits: RateSection,
    /// Monitoring.
    #[serde(default)]
    pub(crate) metrics: MetricsSection,
    /// Nodes on other machines.
    #[serde(default)]
    pub(crate) fleet: FleetSection,
    /// Private links.
    #[serde(default)]
    pub(crate) interlink: InterLinkSection,
    /// The node inside the process.
    #[serde(default)]
    pub(crate) node: NodeSection,
}

/// Private links.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InterLinkSection {
    /// Seconds that a partner has to answer.
    #[serde(default = "answer_seconds")]
    pub(crate) answer_seconds: u32,
}

impl Default for InterLinkSection {
    fn default() -> Self {
        Self { answer_seconds: answer_seconds() }
    }
}

const fn answer_seconds() -> u32 {
    causeway_model::link::REQUEST_DEADLINE
}

/// Monitoring.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetricsSection {
    /// Where it is served without a key; empty: nowhere.
    #[serde(default)]
    listen: String,
}

impl MetricsSection {
    /// Where it is served without a key.
    pub(crate) fn listen(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }
}

/// Nodes on other machines.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FleetSection {
    /// Where they reach the controller; empty: nowhere.
    #[serde(default)]
    listen: String,
    /// How often they say that they are there.
    #[serde(default)]
    pub(crate) keepalive: KeepaliveProfile,
    /// What says whether a machine runs, by zone.
    #[serde(default)]
    pub(crate) machine_state: BTreeMap<String, Means>,
    /// Zones with failover.
    #[serde(default)]
    pub(crate) failover: BTreeSet<String>,
}

impl FleetSection {
    /// Every zone that is named, with the key that does.
    fn zones(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let machines = self.machine_state.keys().map(|zone| ("machine_state", zone));
        machines.chain(self.failover.iter().map(|zone| ("failover", zone)))
    }

    /// Where nodes reach the controller.
    pub(crate) fn listen(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }
}

/// A year, and the time to look back at it.
fn audit_days() -> u32 {
    400
}

/// How many requests may come; what is left out is as in [`RateLimits::default`].
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateSection {
    /// Of one API key.
    pub(crate) per_key: Option<RateOf>,
    /// Of one address.
    pub(crate) per_address: Option<RateOf>,
}

/// One limit.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateOf {
    /// Requests per second in the long run; 0: no limit.
    per_second: u32,
    /// Requests at once.
    burst: u32,
}

/// Public ranges of one zone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pools {
    /// IPv4 ranges.
    #[serde(default)]
    pub ipv4: Vec<Ipv4Net>,
    /// IPv6 ranges.
    #[serde(default)]
    pub ipv6: Vec<Ipv6Net>,
}

/// Whether the process runs a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeEnabled {
    /// If it can.
    #[default]
    Auto,
    /// Or not start at all.
    Yes,
    /// Never.
    No,
}

/// The node inside the process.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeSection {
    /// Whether to run one.
    #[serde(default)]
    pub(crate) enabled: NodeEnabled,
    /// Its zone; empty: the first of `zones`.
    #[serde(default)]
    pub(crate) zone: String,
    /// Its underlay interface; empty: a bridge of its own.
    #[serde(default)]
    pub(crate) underlay: String,
}

/// Why the configuration cannot be used. Every message names the key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong form.
    #[error("{origin}: {message}")]
    Invalid {
        /// The file or the environment variable.
        origin: String,
        /// What is wrong.
        message: String,
    },
}

/// Writes the default file unless there is one. Returns whether it wrote.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn write_default(dir: &Path) -> Result<bool, ConfigError> {
    let path = dir.join(FILE);
    if path.exists() {
        return Ok(false);
    }
    std::fs::write(&path, DEFAULT).map_err(|error| ConfigError::Io { path, error })?;
    Ok(true)
}

/// Reads the file of `dir`, applies `environment` (name → value) and checks every key.
///
/// # Errors
/// The first thing that is wrong, with the key and what it should be.
pub(crate) fn load(dir: &Path, environment: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let path = dir.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| ConfigError::Io { path: path.clone(), error })?;
    parse(&text, &path.display().to_string(), environment)
}

fn parse(text: &str, origin: &str, environment: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let invalid = |message: String| ConfigError::Invalid { origin: origin.to_owned(), message };
    // The file alone first, so that its errors carry line numbers.
    let from_file: Config = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
    let mut table: toml::Table = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
    let mut overridden = false;
    for key in KEYS {
        let name = format!("CAUSEWAY_{}", key.join("_").to_uppercase());
        let Some(value) = environment.get(&name) else { continue };
        let mut candidate = table.clone();
        set(&mut candidate, key, value_of(value));
        let parsed: Result<Config, _> = candidate.clone().try_into();
        parsed.map_err(|error| ConfigError::Invalid { origin: name, message: error.to_string() })?;
        table = candidate;
        overridden = true;
    }
    let config = if overridden { table.try_into().map_err(|error| invalid(format!("{error}")))? } else { from_file };
    check(&config).map_err(invalid)?;
    Ok(config)
}

/// A TOML value if it is one, else the text itself.
fn value_of(text: &str) -> toml::Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn set(table: &mut toml::Table, key: &[&str], value: toml::Value) {
    match key {
        [] => {}
        [last] => {
            table.insert((*last).to_owned(), value);
        }
        [first, rest @ ..] => {
            let entry = table.entry(*first).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(inner) = entry {
                set(inner, rest, value);
            }
        }
    }
}

/// Whether it is an address or a host name (RFC 1123 §2.1).
pub(crate) fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.parse::<IpAddr>().is_ok() || text.len() <= 253 && text.split('.').all(is_label)
}

/// What the types do not say.
fn check(config: &Config) -> Result<(), String> {
    if !(1..=65534).contains(&config.provider_asn) {
        return Err(format!(
            "provider_asn: {} is not from 1 to 65534 (communities carry it in 16 bits)",
            config.provider_asn
        ));
    }
    match (config.tls_certificate.as_os_str().is_empty(), config.tls_key.as_os_str().is_empty()) {
        (false, true) => return Err("tls_key: a certificate is given, but not its key".to_owned()),
        (true, false) => return Err("tls_certificate: a key is given, but not its certificate".to_owned()),
        _ => {}
    }
    if let Some(name) = config.tls_names.iter().find(|name| !is_host(name)) {
        return Err(format!("tls_names: {name:?} is neither a host name nor an address"));
    }
    if config.region.is_empty() {
        return Err("region: must not be empty; for example \"fr-par\"".to_owned());
    }
    if config.zones.is_empty() {
        return Err("zones: at least one is needed; for example [\"fr-par-1\"]".to_owned());
    }
    for zone in &config.zones {
        let number = zone.strip_prefix(config.region.as_str()).and_then(|rest| rest.strip_prefix('-'));
        if number.is_none_or(|number| number.parse::<u8>().is_err()) {
            return Err(format!(
                "zones: {zone:?} is not a zone of {}; they are named like {}-1",
                config.region, config.region
            ));
        }
    }
    for zone in config.public_pools.keys() {
        if !config.zones.contains(zone) {
            return Err(format!("public_pools: {zone:?} is not one of zones {:?}", config.zones));
        }
    }
    if !config.node.zone.is_empty() && !config.zones.contains(&config.node.zone) {
        return Err(format!("node.zone: {:?} is not one of zones {:?}", config.node.zone, config.zones));
    }
    for (name, rate) in [("per_key", config.rate_limits.per_key), ("per_address", config.rate_limits.per_address)] {
        if rate.is_some_and(|rate| rate.per_second > 0 && rate.burst == 0) {
            return Err(format!("rate_limits.{name}: burst must be at least 1, or no request is ever taken"));
        }
    }
    let answer = config.interlink.answer_seconds;
    if !ANSWER_SECONDS.contains(&answer) {
        let (least, most) = ANSWER_SECONDS.into_inner();
        return Err(format!("interlink.answer_seconds: {answer} is not from {least} to {most} (a year)"));
    }
    if !config.metrics.listen.is_empty() && config.metrics.listen().is_none() {
        let listen = &config.metrics.listen;
        return Err(format!("metrics.listen: {listen:?} is no address with a port; for example \"127.0.0.1:9090\""));
    }
    if !config.fleet.listen.is_empty() && config.fleet.listen().is_none() {
        let listen = &config.fleet.listen;
        return Err(format!("fleet.listen: {listen:?} is no address with a port; for example \"0.0.0.0:443\""));
    }
    for (key, zone) in config.fleet.zones() {
        if !config.zones.contains(zone) {
            return Err(format!("fleet.{key}: {zone:?} is not one of zones {:?}", config.zones));
        }
    }
    for (zone, means) in &config.fleet.machine_state {
        if let Means::Unusable(why) = means {
            return Err(format!("fleet.machine_state: for {zone:?}, {why}"));
        }
    }
    if config.node.underlay.len() > 15 {
        return Err(format!("node.underlay: {:?} is longer than an interface name can be (15)", config.node.underlay));
    }
    Ok(())
}

/// How the API's listener is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Plain HTTP, on loopback.
    Plain,
    /// TLS with the operator's certificate.
    Files,
    /// TLS with a certificate of our own making.
    SelfSigned,
}

impl Config {
    /// How [`Self::listen`] is served.
    pub(crate) fn transport(&self) -> Transport {
        if !self.tls_certificate.as_os_str().is_empty() {
            Transport::Files
        } else if self.listen.ip().is_loopback() {
            Transport::Plain
        } else {
            Transport::SelfSigned
        }
    }

    /// Whom receivers of webhooks may have their certificates from. `SSL_CERT_FILE` has no say: a shell that is a client of this service
    /// trusts its certificate, and perhaps no other.
    pub(crate) fn webhook_authorities(&self) -> &Path {
        let named = Some(self.webhook_authorities.as_path()).filter(|path| !path.as_os_str().is_empty());
        named.unwrap_or_else(|| Path::new(AUTHORITIES))
    }

    /// The limits of the API.
    pub(crate) fn limits(&self) -> RateLimits {
        let rate = |wanted: Option<RateOf>, otherwise| {
            wanted.map_or(otherwise, |wanted| Rate { per_second: wanted.per_second, burst: wanted.burst })
        };
        let usual = RateLimits::default();
        RateLimits {
            per_address: rate(self.rate_limits.per_address, usual.per_address),
            per_key: rate(self.rate_limits.per_key, usual.per_key),
        }
    }

    /// The node's zone.
    pub(crate) fn node_zone(&self) -> String {
        if self.node.zone.is_empty() { self.zones.first().cloned().unwrap_or_default() } else { self.node.zone.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        parse(DEFAULT, "causeway.toml", &environment)
    }

    fn message(result: Result<Config, ConfigError>) -> String {
        result.expect_err("an error").to_string()
    }

    #[test]
    fn the_default_file_is_valid() {
        let config = with(&[]).expect("valid");
        assert_eq!((config.provider_asn, config.node_zone().as_str()), (12876, "fr-par-1"));
        assert_eq!(config.interlink.answer_seconds, 864_000, "ten days");
    }

    #[test]
    fn partners_have_some_seconds_to_answer() {
        let short = with(&[("CAUSEWAY_INTERLINK_ANSWER_SECONDS", "5")]).expect("valid");
        assert_eq!(short.interlink.answer_seconds, 5);
        for wrong in ["4", "31536001", "-1", "\"soon\""] {
            let text = message(with(&[("CAUSEWAY_INTERLINK_ANSWER_SECONDS", wrong)]));
            let named = text.contains("interlink.answer_seconds") || text.contains("CAUSEWAY_INTERLINK_ANSWER_SECONDS");
            assert!(named, "{text}");
        }
    }

    #[test]
    fn limits_are_the_usual_ones_unless_they_are_given() {
        assert_eq!(with(&[]).expect("valid").limits(), RateLimits::default());
        let some = with(&[("CAUSEWAY_RATE_LIMITS_PER_KEY", "{ per_second = 2, burst = 7 }")]).expect("valid");
        let per_key = Rate { per_second: 2, burst: 7 };
        assert_eq!(some.limits(), RateLimits { per_key, ..RateLimits::default() });
        let none = message(with(&[("CAUSEWAY_RATE_LIMITS_PER_ADDRESS", "{ per_second = 2, burst = 0 }")]));
        assert!(none.contains("rate_limits.per_address") && none.contains("burst"), "{none}");
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        let parse = |text: &str| parse(text, "causeway.toml", &BTreeMap::new());
        let text = message(parse(&DEFAULT.replace("underlay =", "underley =")));
        assert!(text.contains("underley") && text.contains("underlay"), "{text}");
        let text = message(parse(&DEFAULT.replace("12876", "70000")));
        assert!(text.contains("provider_asn") && text.contains("65534"), "{text}");
        let text = message(parse(&DEFAULT.replace("127.0.0.1:8080", "nowhere")));
        assert!(text.contains("listen") && text.contains("line"), "{text}");
        let text = message(parse(&DEFAULT.replace("keepalive = \"medium\"", "keepalive = \"often\"")));
        assert!(text.contains("keepalive") && text.contains("fast"), "{text}");
        for (table, example) in [("[metrics]", "127.0.0.1:9090"), ("[fleet]", "0.0.0.0:443")] {
            let (before, after) = DEFAULT.split_once(table).expect("there");
            let wrong = format!("{before}{table}{}", after.replacen("listen = \"\"", "listen = \"443\"", 1));
            let text = message(parse(&wrong));
            assert!(text.contains(&format!("{}.listen", table.trim_matches(['[', ']']))), "{text}");
            assert!(text.contains(example), "{text}");
        }
        let text = message(parse(&DEFAULT.replace("failover = []", "failover = [\"nl-ams-1\"]")));
        assert!(text.contains("fleet.failover") && text.contains("nl-ams-1"), "{text}");
        let text =
            message(parse(&DEFAULT.replace("machine_state = {}", "machine_state = { \"nl-ams-1\" = \"true\" }")));
        assert!(text.contains("fleet.machine_state") && text.contains("nl-ams-1"), "{text}");
        let plain = "machine_state = { \"fr-par-1\" = \"http://192.0.2.1/\" }";
        let text = message(parse(&DEFAULT.replace("machine_state = {}", plain)));
        assert!(text.contains("fleet.machine_state") && text.contains("use https"), "{text}");
        let named = "machine_state = { \"fr-par-1\" = \"https://me:secret@192.0.2.1/\" }";
        let text = message(parse(&DEFAULT.replace("machine_state = {}", named)));
        assert!(text.contains("fleet.machine_state") && !text.contains("secret"), "{text}");
        let text = message(parse(&DEFAULT.replace("192.0.2.0/24", "192.0.2.0/33")));
        assert!(text.contains("ipv4"), "{text}");
    }

    #[test]
    fn the_environment_overrides_every_key() {
        let config = with(&[
            ("CAUSEWAY_LISTEN", "[::1]:9000"),
            ("CAUSEWAY_ZONES", r#"["fr-par-1", "fr-par-2"]"#),
            ("CAUSEWAY_PROVIDER_ASN", "64500"),
            ("CAUSEWAY_NODE_UNDERLAY", "up0"),
            ("CAUSEWAY_NODE_ENABLED", "no"),
            ("CAUSEWAY_PUBLIC_POOLS", r#"{ "fr-par-2" = { ipv4 = ["198.51.100.0/24"] } }"#),
        ])
        .expect("valid");
        assert_eq!(config.listen.to_string(), "[::1]:9000");
        assert_eq!(config.provider_asn, 64500);
        assert_eq!((config.node.underlay.as_str(), config.node.enabled), ("up0", NodeEnabled::No));
        assert!(config.public_pools.contains_key("fr-par-2"));
        let text = message(with(&[("CAUSEWAY_PROVIDER_ASN", "many")]));
        assert!(text.starts_with("CAUSEWAY_PROVIDER_ASN"), "{text}");
    }

    #[test]
    fn receivers_are_trusted_as_the_configuration_says() {
        let authorities = |environment: &[(&str, &str)]| {
            with(environment).map(|config| config.webhook_authorities().display().to_string()).ok()
        };
        assert_eq!(authorities(&[("SSL_CERT_FILE", "/own.pem")]).as_deref(), Some(AUTHORITIES));
        assert_eq!(authorities(&[("CAUSEWAY_WEBHOOK_AUTHORITIES", "/x.pem")]).as_deref(), Some("/x.pem"));
    }

    #[test]
    fn plain_http_stays_on_loopback() {
        let transport = |environment: &[(&str, &str)]| with(environment).map(|config| config.transport());
        assert_eq!(transport(&[]).ok(), Some(Transport::Plain));
        assert_eq!(transport(&[("CAUSEWAY_LISTEN", "0.0.0.0:443")]).ok(), Some(Transport::SelfSigned));
        let files = [("CAUSEWAY_TLS_CERTIFICATE", "/etc/a.pem"), ("CAUSEWAY_TLS_KEY", "/etc/b.pem")];
        assert_eq!(transport(&files).ok(), Some(Transport::Files));
        let text = message(with(&files[..1]));
        assert!(text.contains("tls_key"), "{text}");
        for name in ["", "a b", "-a", "*.example.net", "https://example.net"] {
            let text = message(with(&[("CAUSEWAY_TLS_NAMES", &format!("[{name:?}]"))]));
            assert!(text.contains("tls_names"), "{name}: {text}");
        }
    }

    #[test]
    fn every_key_of_the_file_is_listed() {
        let table: toml::Table = toml::from_str(DEFAULT).expect("TOML");
        let mut keys = Vec::new();
        for (name, value) in &table {
            match value {
                toml::Value::Table(inner) if name != "public_pools" => {
                    keys.extend(inner.keys().map(|key| format!("{name}.{key}")));
                }
                _ => keys.push(name.clone()),
            }
        }
        let mut listed: Vec<String> = KEYS.iter().map(|key| key.join(".")).collect();
        keys.sort();
        listed.sort();
        assert_eq!(keys, listed);
    }
}
