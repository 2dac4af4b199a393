//! A connection's and a link's options (wire-ext.md §1). Times are seconds.

use causeway_model::SecretId;
use serde::Serialize;

use crate::schema::documents;

documents! {
/// What the public API has no word for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionOptionsDocument {
    /// The session inside.
    pub bgp: BgpOptionsDocument,
    /// How a silent peer is found out.
    pub dpd: DpdOptionsDocument,
    /// How long keys are used.
    pub lifetimes: LifetimesDocument,
    /// The identity that the peer has to prove; null: its address.
    pub peer_identity: Option<String>,
    /// For how long a replaced pre-shared key is accepted, 0 to 604800.
    pub psk_overlap: u32,
    /// `ipv4`, `ipv6` or `both`.
    pub tunnels: &'static str,
}
}

documents! {
/// What the public API has no word for about a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkOptionsDocument {
    /// Its sessions.
    pub bgp: BgpOptionsDocument,
}
}

documents! {
/// BGP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BgpOptionsDocument {
    /// Whether the peer must be a neighbour by hop limit (RFC 5082).
    pub gtsm: bool,
    /// 0 (none), or 3 to 3600.
    pub hold_time: u16,
    /// Prefixes accepted at most, 1 to 10000.
    pub max_prefixes: u32,
    /// The secret whose data sign the sessions (RFC 2385); null: unsigned.
    pub md5_secret_id: Option<SecretId>,
    /// The revision of it that does.
    pub md5_secret_revision: Option<u32>,
}
}

documents! {
/// Dead peer detection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DpdOptionsDocument {
    /// Silence before a check, 1 to 300.
    pub delay: u32,
    /// From the check to the verdict, 3 to 300.
    pub timeout: u32,
}
}

documents! {
/// Lifetimes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LifetimesDocument {
    /// Child SA, 300 to 28800.
    pub child: u32,
    /// Child SA in packets sent, 2^20 to 2^31.
    pub child_packets: u64,
    /// IKE SA, 900 to 86400.
    pub ike: u32,
}
}
