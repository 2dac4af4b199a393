//! `causeway serve`: the control plane and the node in one process, from start to orderly end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use causeway_api::{ApiConfig, TlsConfig};
use causeway_controller::{Controller, FindFilters, Settings, ZoneSettings};
use causeway_crypto::Kek;
use causeway_node::NodeConfig;
use causeway_notify::Looker;
use causeway_store::Store;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, NodeEnabled, Transport};
use crate::datadir::DataDir;
use crate::machine::{self, Means};

/// The node gets this long to close its tunnels in order.
pub(crate) const NODE_PATIENCE: Duration = Duration::from_secs(15);

/// The database's name in the data directory.
const DATABASE: &str = "causeway.db";

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from serving, with the remedy where there is one.
pub(crate) async fn serve(
    dir: &Path,
    listen: Option<SocketAddr>,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    start_log();
    let data = DataDir::open(dir)?;
    if config::write_default(data.path())? {
        say(&format!("wrote {}", data.path().join(config::FILE).display()))?;
    }
    let mut config = config::load(data.path(), environment)?;
    config.listen = listen.unwrap_or(config.listen);
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", config.listen))?;
    let address = listener.local_addr()?;

    let database = data.path().join(DATABASE);
    let (store, kek) = open(&data, &database).await?;
    let controller = Controller::open(store, settings(&config), kek).await.map_err(|error| {
        let full = matches!(error, causeway_model::Error::Unavailable { .. }).then(|| unwritable(&database));
        anyhow::Error::new(error).context(full.unwrap_or_else(|| "cannot start the controller".to_owned()))
    })?;
    controller.set_answer_time(config.interlink.answer_seconds);
    controller.set_failover(config.fleet.failover.clone()).await.context("cannot set which zones have failover")?;
    let bootstrap = controller.bootstrap().await.context("cannot make the operator's key")?;
    controller.keep_audit(config.audit_days);
    let tls = tls(&config, &data)?;
    let url = url(address, tls.is_some());
    let environment_file = data.write_environment(&url, &config, bootstrap.as_ref())?;
    drop(bootstrap);

    let shutdown = CancellationToken::new();
    let node = start_node(&config, &data, &controller, &shutdown)?;
    let api_config = ApiConfig { limits: config.limits(), ..ApiConfig::new(vec![controller.region().to_owned()]) };
    let api = tokio::spawn(causeway_api::serve(
        listener,
        tls,
        causeway_api::router(controller.clone(), api_config),
        shutdown.clone().cancelled_owned(),
    ));
    let monitored = serve_metrics(&config, &controller, &shutdown).await?;
    let notify = start_notify(&controller, &config);
    let nodes = listen_for_nodes(&config, &controller, &shutdown).await?;
    let machines = config.fleet.machine_state.clone();
    if !machines.is_empty() {
        let looker = if machines.values().any(Means::needs_tls) {
            Looker::new(config.webhook_authorities()).context("fleet.machine_state cannot be asked over https")?
        } else {
            Looker::plain()
        };
        let period = config.fleet.keepalive.period();
        tokio::spawn(machine::watch(controller.clone(), machines, looker, period, shutdown.clone()));
    }
    say(&match environment_file {
        Some(path) => format!("serving {url}; clients: . {}", path.display()),
        None => format!("serving {url}; there is no operator.env: stop, and `causeway operator-key DIR` makes a key"),
    })?;
    let ended = until_ended(node, &shutdown).await;
    shutdown.cancel();
    if let Some(notify) = notify {
        notify.abort();
    }
    let api = api.await.context("the API's task failed")?;
    if let Some(monitored) = monitored {
        monitored.await.context("the task of the metrics listener failed")?.context("the metrics listener failed")?;
    }
    if let Some(nodes) = nodes {
        nodes.await.context("the task of the node listener failed")?;
    }
    controller.close().await;
    ended?;
    api.context("the API failed")?;
    say("stopped")
}

/// Makes another operator key while the service is stopped.
///
/// # Errors
/// The data directory is in use, was never started, or cannot be written.
pub(crate) async fn operator_key(dir: &Path, environment: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let data = DataDir::open(dir)?;
    let database = data.path().join(DATABASE);
    anyhow::ensure!(database.exists(), "{} holds no database; start the service there first", data.path().display());
    let config = config::load(data.path(), environment)?;
    let (store, kek) = open(&data, &database).await?;
    let controller = Controller::open(store, settings(&config), kek).await.context("cannot open the database")?;
    let key = controller.recover_operator_key().await.context("cannot make a key")?;
    let url = url(config.listen, config.transport() != Transport::Plain);
    data.write_environment(&url, &config, Some(&key))?;
    controller.close().await;
    say(&format!("wrote a new operator key to {}; earlier keys stay valid", data.environment_file().display()))
}

/// Encrypts every secret under a new key while the service is stopped.
///
/// # Errors
/// The data directory is in use, was never started, or cannot be written. The old key stays in use then.
pub(crate) async fn rotate_key(dir: &Path) -> anyhow::Result<()> {
    let data = DataDir::open(dir)?;
    let database = data.path().join(DATABASE);
    anyhow::ensure!(database.exists(), "{} holds no database; start the service there first", data.path().display());
    let (store, kek) = open(&data, &database).await?;
    // Both files are there while it is not known which of them the database needs.
    let next = data.next_key()?;
    let count = causeway_controller::rotate_master_key(&store, &kek, &next).await.context("the key was not changed")?;
    store.close().await;
    data.adopt_next_key()?;
    say(&format!(
        "{count} secrets are encrypted under a new master key; back up the data directory again: earlier backups need the earlier key"
    ))
}

/// The database and the key of its secrets.
async fn open(data: &DataDir, database: &Path) -> anyhow::Result<(Store, Kek)> {
    let kek = data.master_key(database)?;
    let store = Store::open(database).await.map_err(|error| {
        // SQLite's own words for this are an I/O error.
        let full = error.is_of_the_disk().then(|| unwritable(database));
        anyhow::Error::new(error).context(full.unwrap_or_else(|| format!("database {}", database.display())))
    })?;
    let wanted = causeway_controller::master_key_id(&store).await.context("cannot read the database")?;
    Ok((store, data.settled_key(kek, wanted)?))
}

/// What an operator does about a database that takes nothing.
fn unwritable(database: &Path) -> String {
    format!(
        "database {} cannot be written: make room on its disk, and see that the user who runs this owns its files",
        database.display()
    )
}

/// Waits for a signal, or for the node to fail; then lets the node close.
async fn until_ended(node: Option<JoinHandle<anyhow::Result<()>>>, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let Some(mut node) = node else {
        stop.await;
        return Ok(());
    };
    tokio::select! {
        () = stop => {
            shutdown.cancel();
            match tokio::time::timeout(NODE_PATIENCE, node).await {
                Ok(result) => result.context("the node's task failed")?,
                Err(_) => bail!("the node did not close in time; the next start cleans up after it"),
            }
        }
        result = &mut node => result.context("the node's task failed")?,
    }
}

/// Opens the listener for monitoring, if there is to be one.
async fn serve_metrics(
    config: &Config,
    controller: &Controller,
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<JoinHandle<std::io::Result<()>>>> {
    let Some(listen) = config.metrics.listen() else { return Ok(None) };
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen for monitoring on {listen}; choose another address in metrics.listen")
    })?;
    say(&format!("metrics at http://{}/metrics", listener.local_addr()?))?;
    let router = causeway_api::metrics_router(controller.clone());
    Ok(Some(tokio::spawn(causeway_api::serve(listener, None, router, shutdown.clone().cancelled_owned()))))
}

/// Sends what webhooks are told. Without certificate authorities nothing can be sent, and the rest works.
fn start_notify(controller: &Controller, config: &Config) -> Option<JoinHandle<()>> {
    match causeway_notify::spawn(controller.clone(), config.webhook_authorities()) {
        Ok(task) => Some(task),
        Err(error) => {
            tracing::warn!(%error, "webhooks are not sent; install ca-certificates or set webhook_authorities, and start again");
            None
        }
    }
}

/// Opens the listener for nodes on other machines, if there is to be one. Its certificate is made anew while it runs.
async fn listen_for_nodes(
    config: &Config,
    controller: &Controller,
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(listen) = config.fleet.listen() else { return Ok(None) };
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen for nodes on {listen}; choose another address in fleet.listen"))?;
    let address = listener.local_addr()?;
    let authority = controller.node_authority().await.context("cannot open the authority of the nodes")?;
    let make = move || -> anyhow::Result<_> {
        let credentials = authority.controller(SystemTime::now())?;
        Ok(causeway_fleet::tls::server(&authority, &credentials)?)
    };
    let (newest, tls) = watch::channel(make().context("cannot make the node listener's certificate")?);
    tokio::spawn(async move {
        let renewal = tokio::time::sleep(Controller::controller_certificate_life() / 3);
        tokio::pin!(renewal);
        loop {
            tokio::select! {
                () = newest.closed() => return,
                () = &mut renewal => {}
            }
            match make() {
                Ok(config) => drop(newest.send_replace(config)),
                Err(error) => tracing::error!(%error, "the node listener's certificate was not renewed"),
            }
            renewal.as_mut().reset(Instant::now() + Controller::controller_certificate_life() / 3);
        }
    });
    say(&format!("nodes on other machines join at https://{address}"))?;
    let filters: FindFilters = Arc::new(|port| Box::pin(causeway_node::filters_of_this_machine(port)));
    controller.listens_for_nodes(address, filters).context("the nodes' listeners cannot be probed")?;
    let shutdown = shutdown.clone().cancelled_owned();
    Ok(Some(tokio::spawn(causeway_fleet::server::serve(listener, tls, controller.clone(), shutdown))))
}

fn start_node(
    config: &Config,
    data: &DataDir,
    controller: &Controller,
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<JoinHandle<anyhow::Result<()>>>> {
    if config.node.enabled == NodeEnabled::No {
        say(
            "no gateway node in this process (node.enabled = \"no\"): gateways stay provisioning and then failed unless another node serves the zone",
        )?;
        return Ok(None);
    }
    let obstacles = causeway_node::obstacles();
    if !obstacles.is_empty() {
        let why = obstacles.join("; ");
        if config.node.enabled == NodeEnabled::Yes {
            bail!("node.enabled is \"yes\", but this process cannot be a gateway node: {why}");
        }
        say(&format!(
            "no gateway node in this process: {why}. The API works; VPN gateways stay provisioning for 30 s and are then failed (no_node)"
        ))?;
        return Ok(None);
    }
    let (controller_end, node_end) = causeway_fleet::in_process();
    controller.attach_node(controller_end);
    let node = NodeConfig {
        id: data.node_id()?,
        zone: config.node_zone(),
        underlay: config.node.underlay.clone(),
        state_dir: data.path().join("node"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lease: None,
        peering: None,
    };
    say(&format!("gateway node for zone {} in this process", node.zone))?;
    let shutdown = shutdown.clone();
    Ok(Some(tokio::spawn(async move {
        causeway_node::run(node, node_end, shutdown).await.context("the gateway node cannot run")
    })))
}

/// What a certificate of our own making is for: the listener's address, `localhost`, and what the operator names. A listener on all addresses
/// is found under the machine's name and under the addresses that it goes out with, too.
fn certificate_names(config: &Config, host: &str, outgoing: &[IpAddr]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    if config.listen.ip().is_unspecified() {
        names.extend([Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()]);
        names.extend(Some(host).filter(|host| config::is_host(host)).map(str::to_owned));
        names.extend(outgoing.iter().map(ToString::to_string));
    } else {
        names.push(config.listen.ip().to_string());
    }
    names.extend(config.tls_names.iter().cloned());
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The addresses that packets to the world would be from, as far as there is a way. Nothing is sent.
fn outgoing_addresses() -> Vec<IpAddr> {
    // Of the documentation's ranges (RFC 5737, RFC 3849): nobody's.
    let ways = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let way = |(from, to): (&str, &str)| -> std::io::Result<IpAddr> {
        let socket = std::net::UdpSocket::bind(from)?;
        socket.connect(to)?;
        Ok(socket.local_addr()?.ip())
    };
    ways.into_iter().filter_map(|pair| way(pair).ok()).collect()
}

/// The listener's TLS, if it has any.
fn tls(config: &Config, data: &DataDir) -> anyhow::Result<Option<TlsConfig>> {
    match config.transport() {
        Transport::Plain => Ok(None),
        Transport::Files => TlsConfig::from_files(&config.tls_certificate, &config.tls_key).map(Some).context("TLS"),
        Transport::SelfSigned => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let names = certificate_names(config, host.trim(), &outgoing_addresses());
            let (tls, path, is_new) = TlsConfig::self_signed(data.path(), &names).context("TLS")?;
            if is_new {
                say(&format!(
                    "made a self-signed certificate for {}, {}: tell clients to trust it, or set tls_certificate and tls_key",
                    names.join(", "),
                    path.display()
                ))?;
            }
            Ok(Some(tls))
        }
    }
}

/// Where clients on this machine find the API.
fn url(listen: SocketAddr, encrypted: bool) -> String {
    let host = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], listen.port())),
        IpAddr::V6(address) if address.is_unspecified() => {
            SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), listen.port())
        }
        _ => listen,
    };
    let scheme = if encrypted { "https" } else { "http" };
    format!("{scheme}://{host}")
}

fn settings(config: &Config) -> Settings {
    Settings {
        region: config.region.clone(),
        zones: config.zones.iter().map(|zone| zone_settings(config, zone)).collect(),
        provider_asn: config.provider_asn,
        support_contact: (!config.support_contact.is_empty()).then(|| config.support_contact.clone()),
        gateway_types: Settings::default_gateway_types(),
        keepalive: config.fleet.keepalive,
    }
}

fn zone_settings(config: &Config, zone: &str) -> ZoneSettings {
    let public_pools = config.public_pools.get(zone).map_or_else(Vec::new, |pools| {
        let v4 = pools.ipv4.iter().copied().map(IpNet::V4);
        let v6 = pools.ipv6.iter().copied().map(IpNet::V6);
        v4.chain(v6).collect()
    });
    ZoneSettings { name: zone.to_owned(), public_pools }
}

pub(crate) fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CAUSEWAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    // What cannot be logged, because a disk is full, would be told to the same place, and a failure of that is a panic: in whatever task it is.
    // Fails only when a log is there already.
    let _ = log.log_internal_errors(false).try_init();
}

pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "causeway: {text}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_every_name_that_clients_use() {
        let directory = tempfile::tempdir().expect("a directory");
        config::write_default(directory.path()).expect("written");
        let names = |listen: &str, names: &str| {
            let environment = [("CAUSEWAY_LISTEN", listen), ("CAUSEWAY_TLS_NAMES", names)];
            let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let config = config::load(directory.path(), &environment).expect("valid");
            certificate_names(&config, "gw-1.example.net", &["198.51.100.7".parse().expect("an address")]).join(" ")
        };
        assert_eq!(names("198.51.100.9:443", "[]"), "localhost 198.51.100.9");
        assert_eq!(
            names("198.51.100.9:443", r#"["vpn.example.net", "localhost"]"#),
            "localhost 198.51.100.9 vpn.example.net"
        );
        assert_eq!(names("[::]:443", "[]"), "localhost 127.0.0.1 ::1 gw-1.example.net 198.51.100.7");
        assert_eq!(
            names("0.0.0.0:443", r#"["2001:db8::5"]"#),
            "localhost 127.0.0.1 ::1 gw-1.example.net 198.51.100.7 2001:db8::5"
        );
    }
}
