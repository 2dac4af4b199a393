//! Configuration files for customers' devices.
//!
//! [`render`] turns one connection into one text that a person can follow from top to bottom: what to install, how to split the text
//! into files, where the key and the device's own prefixes go, and the files themselves. It is a pure function: the same input gives
//! the same text. Keys never pass through here; a device file refers to the key by an include.

mod bird;
mod mtu;
mod strongswan;
mod text;
mod words;

use causeway_model::desired::{PolicyDesired, Timers, TunnelDesired};
use causeway_model::id::SecretId;
use causeway_model::net::Family;
use causeway_model::resource::{BgpSession, Connection, InitiationPolicy};
use ipnet::IpNet;

pub use crate::mtu::inside_mtu;
pub use crate::text::SPLIT_COMMAND;

/// A format that [`render`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// What `?format=` takes.
    pub name: &'static str,
    /// One sentence for the list of formats.
    pub description: &'static str,
}

/// Every format, the recommended one first.
pub const FORMATS: &[Format] = &[
    Format {
        name: "strongswan-bird",
        description: "strongSwan 5.9 (swanctl) with the kernel's IPsec and an XFRM interface, BIRD 2",
    },
    Format {
        name: "strongswan-libipsec-bird",
        description: "strongSwan 5.9 (swanctl) with ESP in user space (kernel-libipsec), for kernels without IPsec, BIRD 2",
    },
];

/// The format asked for does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown device format {0:?}; known formats: strongswan-bird, strongswan-libipsec-bird")]
pub struct UnknownFormat(pub String);

/// Names for the head of the file. They are the tenant's own words and end up in comments only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The VPN gateway's name.
    pub vpn_gateway: String,
    /// The customer gateway's name.
    pub customer_gateway: String,
}

/// Everything that a device has to know about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInput {
    /// The connection.
    pub connection: Connection,
    /// Its tunnels' outsides, IPv4 first. `local` is the provider's side.
    pub tunnels: Vec<TunnelDesired>,
    /// The provider's AS number.
    pub provider_asn: u32,
    /// The device's AS number.
    pub customer_asn: u32,
    /// The identity that the device has to prove; `None`: its public address, per tunnel.
    pub peer_identity: Option<String>,
    /// The IPv4 session's policy; `None`: that session is disabled.
    pub policy_v4: Option<PolicyDesired>,
    /// The IPv6 session's policy; `None`: that session is disabled.
    pub policy_v6: Option<PolicyDesired>,
    /// The VPC's subnets, for the reader.
    pub vpc_subnets: Vec<IpNet>,
    /// Timers that both sides shall agree on.
    pub timers: Timers,
    /// The version of a secret whose data sign the BGP sessions (RFC 2385); `None`: unsigned.
    pub md5: Option<(SecretId, u32)>,
    /// Whether the gateway takes BGP from neighbours only (RFC 5082).
    pub gtsm: bool,
    /// Names for the head of the file.
    pub generated_for: Names,
}

/// The way in which a device encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The kernel's XFRM behind an XFRM interface.
    Kernel,
    /// strongSwan's kernel-libipsec behind its TUN device.
    Libipsec,
}

impl DeviceInput {
    /// Eight hexadecimal digits that tell this connection's files and names from those of others.
    pub(crate) fn short(&self) -> String {
        self.connection.id.short()
    }

    /// The name of the interface that carries the inside.
    pub(crate) fn interface(&self, engine: Engine) -> String {
        match engine {
            Engine::Kernel => format!("cw{}", self.short()),
            Engine::Libipsec => "ipsec0".to_owned(),
        }
    }

    /// The XFRM interface's id: any number will do as long as it is not zero and not another connection's.
    pub(crate) fn if_id(&self) -> u32 {
        let (high, _, _, _) = self.connection.id.0.as_fields();
        high.max(1)
    }

    /// Whether the device starts the tunnel.
    pub(crate) const fn device_initiates(&self) -> bool {
        matches!(self.connection.initiation_policy, InitiationPolicy::CustomerGateway)
    }

    /// The sessions that the device configures: those of families with an interconnection subnet.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (Family, &BgpSession, Option<&PolicyDesired>)> {
        Family::ALL.into_iter().filter_map(|family| {
            let policy = match family {
                Family::Ipv4 => self.policy_v4.as_ref(),
                Family::Ipv6 => self.policy_v6.as_ref(),
            };
            self.connection.bgp(family).map(|session| (family, session, policy))
        })
    }

    /// The identity that the device proves in `tunnel`.
    pub(crate) fn device_identity(&self, tunnel: &TunnelDesired) -> String {
        self.peer_identity.clone().unwrap_or_else(|| tunnel.peer.to_string())
    }

    /// Inside MTU in octets, the same for all tunnels of the connection.
    pub(crate) fn mtu(&self, engine: Engine) -> u16 {
        let suites = words::effective_esp(&self.connection.esp_ciphers);
        let computed = inside_mtu(&suites, self.tunnels.iter().map(TunnelDesired::family));
        match engine {
            Engine::Kernel => computed,
            // kernel-libipsec reads packets of at most this size from its device.
            Engine::Libipsec => computed.min(1400),
        }
    }
}

/// The device's configuration in `format`, as one text.
///
/// # Errors
/// [`UnknownFormat`] if `format` is none of [`FORMATS`].
pub fn render(format: &str, input: &DeviceInput) -> Result<String, UnknownFormat> {
    let engine = match format {
        "strongswan-bird" => Engine::Kernel,
        "strongswan-libipsec-bird" => Engine::Libipsec,
        _ => return Err(UnknownFormat(format.to_owned())),
    };
    let mut out = text::head(format, engine, input);
    strongswan::daemon(&mut out, engine, input);
    strongswan::connection(&mut out, engine, input);
    strongswan::interface(&mut out, engine, input);
    bird::configuration(&mut out, engine, input);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_every_format() {
        let text = UnknownFormat("cisco".to_owned()).to_string();
        assert!(text.contains("\"cisco\""), "{text}");
        for format in FORMATS {
            assert!(text.contains(format.name), "{text}");
        }
    }
}
