//! `/metrics` (wire-ext.md §2): every object that is configured has its series from its creation on, whatever was reported of it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use axum::routing::get;
use causeway_controller::{Controller, Figures};
use causeway_model::Timestamp;
use causeway_model::observed::{SessionFacts, TunnelFacts};
use causeway_model::status::{BgpStatus, ConnectionStatus, LinkStatus, NodeState, VpnGatewayStatus};
use causeway_model::{ConnectionId, Family};
use tokio::sync::Mutex;

use crate::answer::Answer;
use crate::call::Call;
use crate::exposition::{self, Exposition, Type};

/// Reasons of drops that a tunnel has at most, and characters of each: they are the node's words.
const MAX_DROPS: usize = 32;
const MAX_WORD: usize = 40;

/// With the key of an operator or of support.
pub(crate) async fn metrics(call: Call) -> Answer {
    let figures = call.controller.figures(&call.caller).await?;
    Ok(answer(write(&figures).into()))
}

/// What is served without a key, and the text that was made last.
#[derive(Clone)]
struct Open {
    controller: Controller,
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

/// `/metrics` alone, without a key: for a listener of its own that only monitoring reaches.
pub fn metrics_router(controller: Controller) -> Router {
    Router::new().route("/metrics", get(without_key)).with_state(Open { controller, last: Arc::default() })
}

/// One text at a time, and at most one in a second, whoever asks: strangers must not fill the memory.
async fn without_key(State(open): State<Open>) -> Answer {
    let mut last = open.last.lock().await;
    if let Some((made, text)) = &*last
        && made.elapsed() < Duration::from_secs(1)
    {
        return Ok(answer(text.clone()));
    }
    let text = Bytes::from(write(&open.controller.all_figures().await?));
    *last = Some((Instant::now(), text.clone()));
    Ok(answer(text))
}

fn answer(text: Bytes) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
    response
}

fn write(figures: &Figures) -> String {
    let mut out = Exposition::default();
    out.family("causeway_info", Type::Gauge, "The program.");
    out.series(&[("version", &env!("CARGO_PKG_VERSION"))], 1);
    nodes(&mut out, figures);
    gateways(&mut out, figures);
    connections(&mut out, figures);
    tunnels(&mut out, figures);
    sessions(&mut out, figures);
    links(&mut out, figures);
    out.text()
}

/// Seconds since the epoch; 0: never.
fn seconds(time: Option<Timestamp>) -> f64 {
    time.map_or(0.0, |time| time.seconds_since(Timestamp(0)))
}

fn word(family: Family) -> &'static str {
    if family.is_ipv6() { "ipv6" } else { "ipv4" }
}

fn nodes(out: &mut Exposition, figures: &Figures) {
    let nodes = &figures.nodes;
    out.family("causeway_node_info", Type::Gauge, "A gateway node.");
    for node in nodes {
        let labels: [(&str, &dyn Display); 4] =
            [("node", &node.id), ("name", &node.name), ("zone", &node.zone), ("version", &node.version)];
        out.series(&labels, 1);
    }
    out.family("causeway_node_state", Type::Gauge, "1 for the state that the node is in.");
    for node in nodes {
        out.states(&[("node", &node.id)], "state", NodeState::ALL, &node.state);
    }
    out.family("causeway_node_state_since_seconds", Type::Gauge, "When its state began, seconds since the epoch.");
    for node in nodes {
        out.series(&[("node", &node.id)], seconds(Some(node.state_since)));
    }
    out.family("causeway_node_reported_seconds", Type::Gauge, "Its last report, seconds since the epoch; 0: none yet.");
    for node in nodes {
        out.series(&[("node", &node.id)], seconds(node.reported_at));
    }
    out.family("causeway_node_silent", Type::Gauge, "1 if what the node carries is shown as last observed.");
    for node in nodes {
        out.series(&[("node", &node.id)], u8::from(node.silent));
    }
    out.family("causeway_node_cordoned", Type::Gauge, "1 if nothing new is placed on it.");
    for node in nodes {
        out.series(&[("node", &node.id)], u8::from(node.cordoned));
    }
    out.family("causeway_node_revision", Type::Gauge, "The newest revision of its configuration.");
    for node in nodes {
        out.series(&[("node", &node.id)], node.revision);
    }
    out.family("causeway_node_applied_revision", Type::Gauge, "The revision that it reported last.");
    for node in nodes {
        out.series(&[("node", &node.id)], node.applied_revision);
    }
    node_tunnels(out, figures);
    leases(out, figures);
    out.family("causeway_node_gateways", Type::Gauge, "VPN gateways that are placed on it.");
    for node in nodes {
        let placed = figures.gateways.iter().filter(|gateway| gateway.node == Some(node.id));
        out.series(&[("node", &node.id)], placed.count());
    }
}

fn node_tunnels(out: &mut Exposition, figures: &Figures) {
    out.family("causeway_node_tunnel_up", Type::Gauge, "1 if the node's tunnel to another node of its zone is up.");
    for (node, tunnel) in &figures.tunnels {
        out.series(&[("node", node), ("peer", &tunnel.node)], u8::from(tunnel.up));
    }
    out.family(
        "causeway_node_tunnel_since_seconds",
        Type::Gauge,
        "Since when that tunnel is up or down, seconds since the epoch.",
    );
    for (node, tunnel) in &figures.tunnels {
        out.series(&[("node", node), ("peer", &tunnel.node)], seconds(Some(tunnel.since)));
    }
}

fn leases(out: &mut Exposition, figures: &Figures) {
    out.family(
        "causeway_node_lease_acknowledged",
        Type::Gauge,
        "1 if a node that may be replaced forwards by its lease.",
    );
    for (node, info) in &figures.leases {
        out.series(&[("node", node)], u8::from(info.lease.acknowledged.is_some()));
    }
    out.family("causeway_node_lease_epoch", Type::Gauge, "The epoch of its configuration.");
    for (node, info) in &figures.leases {
        out.series(&[("node", node)], info.lease.epoch);
    }
    out.family(
        "causeway_node_lease_held_until_seconds",
        Type::Gauge,
        "Until when it forwards if nobody answers it, seconds since the epoch; 0: it does not.",
    );
    for (node, info) in &figures.leases {
        out.series(&[("node", node)], seconds(info.held_until));
    }
    out.family("causeway_node_lease_replaced", Type::Gauge, "1 while it is being replaced.");
    for (node, info) in &figures.leases {
        out.series(&[("node", node)], u8::from(info.lease.replaced_since.is_some()));
    }
}

fn gateways(out: &mut Exposition, figures: &Figures) {
    out.family("causeway_gateway_info", Type::Gauge, "A VPN gateway; node is empty while it is on none.");
    for gateway in &figures.gateways {
        let node = gateway.node.map(|node| node.to_string()).unwrap_or_default();
        let labels: [(&str, &dyn Display); 5] = [
            ("gateway", &gateway.id),
            ("project", &gateway.project),
            ("zone", &gateway.zone),
            ("type", &gateway.gateway_type),
            ("node", &node),
        ];
        out.series(&labels, 1);
    }
    out.family("causeway_gateway_status", Type::Gauge, "1 for the status that the gateway has.");
    for gateway in &figures.gateways {
        out.states(&[("gateway", &gateway.id)], "status", VpnGatewayStatus::ALL, &gateway.status);
    }
    out.family("causeway_gateway_pending_revisions", Type::Gauge, "Configurations that its node has not acknowledged.");
    for gateway in &figures.gateways {
        let pending = gateway.config_revision.saturating_sub(gateway.applied_revision);
        out.series(&[("gateway", &gateway.id)], pending);
    }
}

fn connections(out: &mut Exposition, figures: &Figures) {
    out.family("causeway_connection_info", Type::Gauge, "A connection.");
    for connection in &figures.connections {
        let labels: [(&str, &dyn Display); 3] =
            [("connection", &connection.id), ("gateway", &connection.gateway), ("project", &connection.project)];
        out.series(&labels, 1);
    }
    out.family("causeway_connection_status", Type::Gauge, "1 for the status that the connection has.");
    for connection in &figures.connections {
        out.states(&[("connection", &connection.id)], "status", ConnectionStatus::ALL, &connection.status);
    }
}

/// A number of each tunnel, as last observed; 0 where nothing was.
fn of_tunnels<N: Display>(out: &mut Exposition, figures: &Figures, number: impl Fn(Option<&TunnelFacts>) -> N) {
    for connection in &figures.connections {
        for family in connection.tunnels.families() {
            let facts = connection.tunnel_facts.iter().find(|facts| facts.family == *family);
            out.series(&tunnel(&connection.id, &word(*family)), number(facts));
        }
    }
}

fn tunnel<'a>(connection: &'a ConnectionId, family: &'a &'static str) -> [(&'static str, &'a dyn Display); 2] {
    [("connection", connection), ("family", family)]
}

type Of<F, N> = fn(&F) -> N;

fn tunnels(out: &mut Exposition, figures: &Figures) {
    out.family("causeway_tunnel_up", Type::Gauge, "1 if a Child SA was installed when the node reported last.");
    of_tunnels(out, figures, |facts| u8::from(facts.is_some_and(|facts| facts.up)));
    let counters: [(_, _, Of<TunnelFacts, u64>); 4] = [
        ("causeway_tunnel_received_bytes_total", "Inner octets received.", |facts| facts.counters.bytes_in),
        ("causeway_tunnel_sent_bytes_total", "Inner octets sent.", |facts| facts.counters.bytes_out),
        ("causeway_tunnel_received_packets_total", "Inner packets received.", |facts| facts.counters.packets_in),
        ("causeway_tunnel_sent_packets_total", "Inner packets sent.", |facts| facts.counters.packets_out),
    ];
    for (name, help, of) in counters {
        out.family(name, Type::Counter, help);
        of_tunnels(out, figures, |facts| facts.map_or(0, of));
    }
    out.family("causeway_tunnel_dropped_total", Type::Counter, "Packets and messages dropped, by reason.");
    for connection in &figures.connections {
        for facts in &connection.tunnel_facts {
            let family = word(facts.family);
            let is_word = |reason: &str| {
                let known = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_';
                reason.len() <= MAX_WORD && reason.bytes().all(known)
            };
            for (reason, count) in facts.counters.drops.iter().filter(|(reason, _)| is_word(reason)).take(MAX_DROPS) {
                let labels: [(&str, &dyn Display); 3] =
                    [("connection", &connection.id), ("family", &family), ("reason", reason)];
                out.series(&labels, count);
            }
        }
    }
}

fn of_sessions(out: &mut Exposition, figures: &Figures, number: impl Fn(Option<&SessionFacts>) -> u32) {
    for connection in &figures.connections {
        let families = Family::ALL.into_iter().zip(connection.families);
        for (family, _) in families.filter(|(_, exists)| *exists) {
            let facts = connection.session_facts.iter().find(|facts| facts.family == family);
            out.series(&tunnel(&connection.id, &word(family)), number(facts));
        }
    }
}

fn sessions(out: &mut Exposition, figures: &Figures) {
    out.family("causeway_bgp_session_up", Type::Gauge, "1 if it was Established when the node reported last.");
    of_sessions(out, figures, |facts| u32::from(facts.is_some_and(|facts| facts.up)));
    let gauges: [(_, _, Of<SessionFacts, u32>); 3] = [
        ("causeway_bgp_session_received_prefixes", "Prefixes received.", |facts| facts.received),
        ("causeway_bgp_session_accepted_prefixes", "Prefixes accepted.", |facts| facts.accepted),
        ("causeway_bgp_session_announced_prefixes", "Prefixes announced.", |facts| facts.announced),
    ];
    for (name, help, of) in gauges {
        out.family(name, Type::Gauge, help);
        of_sessions(out, figures, |facts| facts.map_or(0, of));
    }
    out.family("causeway_bgp_session_flaps_total", Type::Counter, "Times it left Established.");
    of_sessions(out, figures, |facts| facts.map_or(0, |facts| facts.flaps));
}

fn links(out: &mut Exposition, figures: &Figures) {
    out.family("causeway_link_info", Type::Gauge, "An InterLink.");
    for link in &figures.links {
        out.series(&[("link", &link.id), ("project", &link.project)], 1);
    }
    out.family("causeway_link_status", Type::Gauge, "1 for the status that the link has.");
    for link in &figures.links {
        out.states(&[("link", &link.id)], "status", LinkStatus::ALL, &link.status);
    }
    out.family("causeway_link_bgp_status", Type::Gauge, "1 for the status that the link's session of this family has.");
    for link in &figures.links {
        for (family, status) in Family::ALL.into_iter().zip(&link.sessions) {
            out.states(&[("link", &link.id), ("family", &word(family))], "status", BgpStatus::ALL, status);
        }
    }
}
