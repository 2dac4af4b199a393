//! What the public API has no word for: a connection's tunnels, expected identity, timers and limits (wire-ext.md §1).

use std::net::IpAddr;
use std::ops::RangeInclusive;

use causeway_model::command::OptionsChange;
use causeway_model::desired::Timers;
use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::{Constraint, Format};
use causeway_model::resource::{Caller, Tunnels};
use causeway_model::suite::Cipher;
use causeway_model::view::ConnectionStatuses;
use causeway_model::{ConnectionId, Error, ProjectId, Psk, SecretId};
use causeway_store::{BgpOptions, ConnectionRecord, Kind, Reader, Tunnel};
use serde::Serialize;
use serde_json::json;

use crate::access::Intent::Read;
use crate::access::referenced;
use crate::audit::changed;
use crate::connection::{duplicate, find, gateway_of, peer_address, public_address};
use crate::unit::Unit;
use crate::{Controller, Result, psk};

/// A connection's options. Times are seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionOptions {
    /// Its tunnels.
    pub tunnels: Tunnels,
    /// The identity that the peer has to prove; `None`: its address.
    pub peer_identity: Option<String>,
    /// IKE SA lifetime, 900 to 86,400.
    pub ike_lifetime: u32,
    /// Child SA lifetime, 300 to 28,800 and not above that of the IKE SA.
    pub child_lifetime: u32,
    /// Child SA lifetime in packets sent, 2^20 to 2^31.
    pub child_packets: u64,
    /// Silence before a liveness check, 1 to 300.
    pub dpd_delay: u32,
    /// From the check to the verdict, 3 to 300.
    pub dpd_timeout: u32,
    /// BGP hold time: 0 (none), or 3 to 3,600.
    pub hold_time: u16,
    /// Prefixes accepted at most per session, 1 to 10,000.
    pub max_prefixes: u32,
    /// For how long a replaced key is accepted, 0 to 604,800.
    pub psk_overlap: u32,
    /// The secret whose data sign the BGP sessions (RFC 2385), and the revision of it that does; `None`: unsigned.
    pub md5: Option<(SecretId, u32)>,
    /// Whether the peer must be a neighbour by hop limit (RFC 5082).
    pub gtsm: bool,
}

const MD5_FIELD: &str = "bgp.md5_secret_id";
/// Octets of an MD5 key at most: what Linux takes (`TCP_MD5SIG_MAXKEYLEN`), on this side and on devices.
const MD5_KEY: usize = 80;
/// What a password may have beside letters and digits without needing quotation in any device's configuration.
const MD5_SIGNS: &[u8] = b"-._~+/=@:,";

fn options(record: &ConnectionRecord) -> ConnectionOptions {
    let timers = record.timers;
    ConnectionOptions {
        tunnels: record.connection.tunnels,
        peer_identity: record.connection.peer_identity.clone(),
        ike_lifetime: timers.ike_lifetime,
        child_lifetime: timers.child_lifetime,
        child_packets: timers.child_packets,
        dpd_delay: timers.dpd_delay,
        dpd_timeout: timers.dpd_timeout,
        hold_time: timers.hold_time,
        max_prefixes: timers.max_prefixes,
        psk_overlap: record.psk_overlap.unwrap_or(psk::OVERLAP),
        md5: record.bgp_options.md5,
        gtsm: record.bgp_options.gtsm,
    }
}

fn within(errors: &mut ArgumentErrors, field: &str, value: u64, range: RangeInclusive<u64>) {
    if !range.contains(&value) {
        errors.push(field, Constraint, format!("must be {} to {}", range.start(), range.end()));
    }
}

/// What sessions ask of their peer. `bfd`: whether that is asked for.
pub(crate) fn check_bgp(errors: &mut ArgumentErrors, hold_time: u16, max_prefixes: u32, bfd: bool) {
    if hold_time != 0 && !(3..=3600).contains(&hold_time) {
        errors.push("bgp.hold_time", Constraint, "must be 0 (none) or 3 to 3600");
    }
    within(errors, "bgp.max_prefixes", max_prefixes.into(), 1..=10_000);
    if bfd {
        errors.push("bgp.bfd", Constraint, "not offered by this version; leave it out");
    }
}

fn check(options: &ConnectionOptions, change: &OptionsChange) -> Result<()> {
    let mut errors = ArgumentErrors::new();
    within(&mut errors, "lifetimes.ike", options.ike_lifetime.into(), 900..=86_400);
    within(&mut errors, "lifetimes.child", options.child_lifetime.into(), 300..=28_800);
    if options.child_lifetime > options.ike_lifetime {
        errors.push("lifetimes.child", Constraint, "must not be above `lifetimes.ike`");
    }
    within(&mut errors, "lifetimes.child_packets", options.child_packets, 1 << 20..=1 << 31);
    within(&mut errors, "dpd.delay", options.dpd_delay.into(), 1..=300);
    within(&mut errors, "dpd.timeout", options.dpd_timeout.into(), 3..=300);
    within(&mut errors, "psk_overlap", options.psk_overlap.into(), 0..=7 * 86_400);
    check_bgp(&mut errors, options.hold_time, options.max_prefixes, change.bfd);
    if let Some(text) = &options.peer_identity
        && canonical(text).is_none()
    {
        let help =
            "an IP address, a name, an e-mail address, or `keyid:` and a key id, of at most 255 printable octets";
        errors.push("peer_identity", Format, help);
    }
    errors.finish()
}

/// The one spelling of an identity, so that two of them are the same exactly when their texts are (RFC 7296 §3.5).
fn canonical(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    if text.is_empty() || text.len() > 255 || !text.bytes().all(|octet| octet.is_ascii_graphic()) {
        return None;
    }
    const KEY_ID: &str = "keyid:";
    if text.get(..KEY_ID.len()).is_some_and(|start| start.eq_ignore_ascii_case(KEY_ID)) {
        let key = &text[KEY_ID.len()..];
        let Some(digits) = key.strip_prefix("0x") else {
            return (!key.is_empty()).then(|| format!("{KEY_ID}{key}"));
        };
        let digits = digits.as_bytes();
        // Rust's parser takes a sign.
        if digits.is_empty() || digits.len() % 2 == 1 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let octets: Option<Vec<u8>> = digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        return match String::from_utf8(octets?) {
            Ok(key) if key.bytes().all(|octet| octet.is_ascii_graphic()) && !key.starts_with("0x") => {
                Some(format!("keyid:{key}"))
            }
            _ => Some(text.to_ascii_lowercase()),
        };
    }
    let lower = text.to_ascii_lowercase();
    match lower.strip_prefix('@') {
        None => Some(lower),
        Some("") => None,
        // Without the sign these would be taken for something else.
        Some(name) if name.parse::<IpAddr>().is_ok() || name.contains('@') || name.starts_with("keyid:") => Some(lower),
        Some(name) => Some(name.to_owned()),
    }
}

/// What the store tells tunnels apart by: the peer's own address is what is expected anyway.
pub(crate) fn tunnel_identity(expected: Option<&str>, peer: IpAddr) -> Option<String> {
    expected.filter(|text| text.parse() != Ok(peer)).map(str::to_owned)
}

/// Refuses IKE proposals `ours` of a tunnel between the addresses of one of connection `other`, which has `theirs`.
pub(crate) fn agree(
    tunnel: &Tunnel,
    other: ConnectionId,
    theirs: &[Cipher],
    ours: &[Cipher],
    field: &str,
) -> Result<()> {
    let effective = |ciphers: &[Cipher]| if ciphers.is_empty() { vec![Cipher::DEFAULT_IKE] } else { ciphers.to_vec() };
    if effective(theirs) == effective(ours) {
        return Ok(());
    }
    let help = format!(
        "connection {other} is between the same addresses ({} and {}), so both need equal `ikev2_ciphers`",
        tunnel.local, tunnel.peer
    );
    Err(Error::constraint(field, help))
}

impl Unit<'_> {
    /// The identity is known only in `IKE_AUTH`, so connections that share both addresses must have equal IKE proposals.
    pub(crate) async fn agree(
        &mut self,
        own: Option<ConnectionId>,
        tunnels: &[Tunnel],
        ciphers: &[Cipher],
        field: &str,
    ) -> Result<()> {
        for tunnel in tunnels {
            for other in self.connections_between(tunnel.local, tunnel.peer).await? {
                let Some(record) = self.connection_by_id(other).await? else { continue };
                if Some(other) != own {
                    agree(tunnel, other, &record.connection.ikev2_ciphers, ciphers, field)?;
                }
            }
        }
        Ok(())
    }

    /// The revision of `id` that shall sign BGP sessions: the newest enabled one, if every device can be given its data as a password.
    pub(crate) async fn md5_version(&mut self, project: ProjectId, id: SecretId) -> Result<(SecretId, u32)> {
        let record = self.secret(id).await?;
        referenced(project, record, |record| record.secret.meta.project_id, "secret", id)?;
        let refused = |help: &str| Error::constraint(MD5_FIELD, help);
        let stored = self.latest_secret_version(id, true).await?;
        let stored = stored.ok_or_else(|| refused("this secret has no enabled version; add or enable one"))?;
        let key = self.controller.open_version(&stored)?;
        if !(1..=MD5_KEY).contains(&key.len())
            || !key.iter().all(|octet| octet.is_ascii_alphanumeric() || MD5_SIGNS.contains(octet))
        {
            let help = "the newest enabled version must have 1 to 80 octets, all of them letters, digits or one of `-._~+/=@:,`, so that \
                        every device can be given it as a password; add such a version";
            return Err(refused(help));
        }
        Ok((id, stored.version.revision))
    }

    /// The outsides of a connection's tunnels, if nothing is in their way.
    async fn outside(&mut self, record: &ConnectionRecord, options: &ConnectionOptions) -> Result<Vec<Tunnel>> {
        let connection = &record.connection;
        let gateway = gateway_of(self, record).await?.gateway;
        let customer = self.customer_gateway(connection.customer_gateway_id).await?;
        let customer = customer.ok_or_else(|| Error::Internal("a connection has no customer gateway".to_owned()))?;
        let mut outside = Vec::with_capacity(2);
        for family in options.tunnels.families().iter().copied() {
            let local = public_address(self, &gateway, family).await?;
            let (Some(local), Some(peer)) = (local, peer_address(&customer, family)) else {
                let help = format!("one of the two gateways has no public {family} address");
                return Err(Error::constraint("tunnels", help));
            };
            let identity = tunnel_identity(options.peer_identity.as_deref(), peer);
            let tunnel = Tunnel { local, peer, identity };
            if let Some(other) = self.connection_with_tunnel(&tunnel).await?
                && other != connection.id
            {
                return Err(duplicate(&tunnel, other));
            }
            outside.push(tunnel);
        }
        Ok(outside)
    }
}

impl Controller {
    /// The key that signs a connection's BGP sessions, if one shall. One that cannot be opened becomes an empty key, which the node refuses
    /// as a configuration item of this connection: its sessions must not run unsigned.
    pub(crate) async fn md5_key(&self, reader: &mut Reader, record: &ConnectionRecord) -> Option<Psk> {
        let (id, revision) = record.bgp_options.md5?;
        Some(self.signing_key(reader, id, revision, &format!("connection {}", record.connection.id)).await)
    }

    /// The data of a secret's version, as a key; an empty one if they cannot be read.
    pub(crate) async fn signing_key(&self, reader: &mut Reader, id: SecretId, revision: u32, of: &str) -> Psk {
        let data = match reader.secret_version(id, revision).await {
            Ok(Some(stored)) => self.open_version(&stored).map(|data| data.to_vec()).map_err(|error| error.to_string()),
            Ok(None) => Err("it is missing".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Psk::new(data.unwrap_or_else(|error| {
            tracing::error!(of, secret = %id, revision, %error, "the MD5 key cannot be read");
            Vec::new()
        }))
    }

    /// A connection's options.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn connection_options(
        &self,
        caller: &Caller,
        region: &str,
        id: ConnectionId,
    ) -> Result<ConnectionOptions> {
        self.in_region(region)?;
        Ok(options(&find(&mut self.read().await?, caller, Read, id).await?))
    }

    /// Changes a connection's options. A working tunnel that is still wanted stays up.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`], [`Error::AlreadyExists`] if another connection has such a tunnel,
    /// [`Error::Locked`], [`Error::TransientState`].
    pub async fn update_connection_options(
        &self,
        caller: &Caller,
        region: &str,
        id: ConnectionId,
        change: OptionsChange,
    ) -> Result<ConnectionOptions> {
        let mut unit = self.unit(caller, region).await?;
        let record = unit.changeable_connection(id).await?;
        let old = options(&record);
        let mut new = old.clone();
        new.tunnels = change.tunnels.unwrap_or(new.tunnels);
        if let Some(identity) = &change.peer_identity {
            new.peer_identity.clone_from(identity);
        }
        new.ike_lifetime = change.ike_lifetime.unwrap_or(new.ike_lifetime);
        new.child_lifetime = change.child_lifetime.unwrap_or(new.child_lifetime);
        new.child_packets = change.child_packets.unwrap_or(new.child_packets);
        new.dpd_delay = change.dpd_delay.unwrap_or(new.dpd_delay);
        new.dpd_timeout = change.dpd_timeout.unwrap_or(new.dpd_timeout);
        new.hold_time = change.hold_time.unwrap_or(new.hold_time);
        new.max_prefixes = change.max_prefixes.unwrap_or(new.max_prefixes);
        new.psk_overlap = change.psk_overlap.unwrap_or(new.psk_overlap);
        check(&new, &change)?;
        new.gtsm = change.gtsm.unwrap_or(new.gtsm);
        if let Some(secret) = change.md5_secret_id {
            let project = record.connection.meta.project_id;
            new.md5 = match secret {
                Some(secret) => Some(unit.md5_version(project, secret).await?),
                None => None,
            };
        }
        new.peer_identity = new.peer_identity.as_deref().and_then(canonical);
        if new == old {
            return Ok(old);
        }
        if (new.tunnels, &new.peer_identity) != (old.tunnels, &old.peer_identity) {
            let outside = unit.outside(&record, &new).await?;
            unit.agree(Some(id), &outside, &record.connection.ikev2_ciphers, "tunnels").await?;
            unit.set_tunnels(&record.connection, new.tunnels, new.peer_identity.as_deref(), &outside).await?;
        }
        let timers = Timers {
            ike_lifetime: new.ike_lifetime,
            child_lifetime: new.child_lifetime,
            child_packets: new.child_packets,
            dpd_delay: new.dpd_delay,
            dpd_timeout: new.dpd_timeout,
            hold_time: new.hold_time,
            max_prefixes: new.max_prefixes,
        };
        let overlap = Some(new.psk_overlap).filter(|seconds| *seconds != psk::OVERLAP);
        unit.set_connection_options(id, &timers, overlap).await?;
        unit.set_bgp_options(id, &BgpOptions { md5: new.md5, gtsm: new.gtsm }).await?;
        let now = unit.now;
        unit.touch(Kind::Connection, id.0, now).await?;
        unit.bump_connections(&[id]).await?;
        unit.finish_connection("update_options", id, &changed(&old, &new)).await?;
        Ok(new)
    }

    /// Makes both sides prove the current key now: a new IKE SA is made before the old one ends.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::TransientState`].
    pub async fn reauthenticate(&self, caller: &Caller, region: &str, id: ConnectionId) -> Result<ConnectionStatuses> {
        let mut unit = self.unit(caller, region).await?;
        unit.changeable_connection(id).await?;
        unit.count_reauthentication(id).await?;
        unit.bump_connections(&[id]).await?;
        unit.finish_connection("reauthenticate", id, &changed(&json!({}), &json!({}))).await
    }

    /// Ends the overlap windows now: earlier keys are refused, and what they authenticated ends. Nothing happens without an earlier key.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::TransientState`].
    pub async fn revoke_previous_psk(
        &self,
        caller: &Caller,
        region: &str,
        id: ConnectionId,
    ) -> Result<ConnectionStatuses> {
        let mut unit = self.unit(caller, region).await?;
        let record = unit.changeable_connection(id).await?;
        if record.has_previous_key {
            unit.delete_previous_keys(id, None).await?;
            unit.count_revocation(id).await?;
            unit.bump_connections(&[id]).await?;
        }
        let had = |previous: bool| json!({"previous_key": previous});
        unit.finish_connection("revoke_previous_psk", id, &changed(&had(record.has_previous_key), &had(false))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_one_spelling() {
        let same = [
            ("2001:DB8::0:1", "2001:db8::1"),
            ("Site.Example.NET", "site.example.net"),
            ("@site.example.net", "site.example.net"),
            ("@192.0.2.1", "@192.0.2.1"),
            ("Admin@Example.net", "admin@example.net"),
            ("keyid:0x4142", "keyid:AB"),
            ("keyid:AB", "keyid:AB"),
            ("KeyID:AB", "keyid:AB"),
            ("keyid:0xFF00", "keyid:0xff00"),
        ];
        for (text, expected) in same {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
            assert_eq!(canonical(expected).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "@",
            "a b",
            "keyid:",
            "keyid:0x",
            "keyid:0xf",
            "keyid:0xzz",
            "KEYID:",
            "KEYID:0xzz",
            "keyid:0x+f",
            &"x".repeat(256),
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }

    #[test]
    fn the_peers_own_address_is_no_other_identity() {
        let peer: IpAddr = [192, 0, 2, 1].into();
        assert_eq!(tunnel_identity(Some("192.0.2.1"), peer), None);
        assert_eq!(tunnel_identity(Some("192.0.2.2"), peer), Some("192.0.2.2".to_owned()));
        assert_eq!(tunnel_identity(None, peer), None);
    }
}
