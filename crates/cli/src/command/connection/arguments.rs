//! What the commands for connections take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::command::{Filters, New, Object};
use crate::session::set;
use crate::wait::Wait;

/// `connection list`
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    pub(super) filters: Filters,
    /// Only those with this status, or one of these
    #[arg(long = "status", value_name = "STATUS")]
    pub(super) statuses: Vec<String>,
    /// Only those of this VPN gateway
    #[arg(long, value_name = "NAME|ID")]
    pub(super) gateway: Option<String>,
    /// Only those of this customer gateway
    #[arg(long, value_name = "NAME|ID")]
    pub(super) customer_gateway: Option<String>,
}

/// `connection pairs`
#[derive(Args)]
pub struct Pairs {
    #[command(flatten)]
    pub(super) filters: Filters,
}

/// Commands after which the node has something to do.
#[derive(Args)]
pub struct Change {
    #[command(flatten)]
    pub(super) connection: Object,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Which side starts the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Initiator {
    /// This side
    VpnGateway,
    /// The device
    CustomerGateway,
}

impl Initiator {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::VpnGateway => "vpn_gateway",
            Self::CustomerGateway => "customer_gateway",
        }
    }
}

/// A proposal. Which words exist and which go together is the service's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cipher {
    encryption: String,
    integrity: Option<String>,
    dh_group: Option<String>,
}

impl Cipher {
    pub(super) fn list(ciphers: &[Self]) -> Value {
        ciphers.iter().map(Self::document).collect()
    }

    fn document(&self) -> Value {
        let mut document = json!({"encryption": self.encryption});
        if let Some(integrity) = &self.integrity {
            set(&mut document, "integrity", json!(integrity));
        }
        if let Some(group) = &self.dh_group {
            set(&mut document, "dh_group", json!(group));
        }
        document
    }
}

impl std::str::FromStr for Cipher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "expected ENCRYPTION[-INTEGRITY][-GROUP], for example aes256-sha256-modp2048 or aes256gcm-curve25519"
                .to_owned()
        };
        let mut words = text.split('-');
        let encryption = words.next().filter(|word| !word.is_empty()).ok_or_else(wrong)?.to_owned();
        let mut cipher = Self { encryption, integrity: None, dh_group: None };
        for word in words {
            let slot = if word.starts_with("sha") { &mut cipher.integrity } else { &mut cipher.dh_group };
            if word.is_empty() || slot.replace(word.to_owned()).is_some() {
                return Err(wrong());
            }
        }
        Ok(cipher)
    }
}

/// The addresses of a BGP session inside the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) ours: String,
    pub(super) theirs: String,
}

impl std::str::FromStr for Inside {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(',') {
            Some((ours, theirs)) if !ours.is_empty() && !theirs.is_empty() && !theirs.contains(',') => {
                Ok(Self { ours: ours.to_owned(), theirs: theirs.to_owned() })
            }
            _ => Err("expected OURS,THEIRS, for example 169.254.0.1/30,169.254.0.2/30"),
        }
    }
}

/// `connection create`
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    pub(super) new: New,
    /// The VPN gateway: this end
    #[arg(long, value_name = "NAME|ID")]
    pub(super) gateway: String,
    /// The customer gateway: the other end
    #[arg(long, value_name = "NAME|ID")]
    pub(super) customer_gateway: String,
    /// A routing policy; at most one for each family. BGP runs for the families that have one
    #[arg(long = "policy", value_name = "NAME|ID")]
    pub(super) policies: Vec<String>,
    /// Exchange routes from the start; else with `connection enable-route-propagation`
    #[arg(long)]
    pub(super) enable_route_propagation: bool,
    /// Which side starts the tunnel
    #[arg(long, value_enum, default_value = "customer-gateway")]
    pub(super) initiator: Initiator,
    /// Build the tunnel between the IPv6 addresses of both ends instead of the IPv4 addresses
    #[arg(long)]
    pub(super) ipv6: bool,
    /// An IKE proposal, best first, like aes256-sha256-modp2048 or aes256gcm-curve25519 [default: the service's]
    #[arg(long, value_name = "CIPHER", value_delimiter = ',')]
    pub(super) ike: Vec<Cipher>,
    /// An ESP proposal, best first, written the same way; without a group there is no PFS [default: the service's]
    #[arg(long, value_name = "CIPHER", value_delimiter = ',')]
    pub(super) esp: Vec<Cipher>,
    /// A secret with the pre-shared key [default: the service makes one]
    #[arg(long, value_name = "NAME|ID")]
    pub(super) secret: Option<String>,
    /// Which version of that secret [default: the latest]
    #[arg(long, value_name = "REVISION", requires = "secret")]
    pub(super) secret_revision: Option<u32>,
    /// IPv4 addresses inside the tunnel, ours first, like 169.254.0.1/30,169.254.0.2/30 [default: the service chooses]
    #[arg(long, value_name = "OURS,THEIRS")]
    pub(super) inside_ipv4: Option<Inside>,
    /// IPv6 addresses inside the tunnel, ours first [default: the service chooses]
    #[arg(long, value_name = "OURS,THEIRS")]
    pub(super) inside_ipv6: Option<Inside>,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// `connection edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    pub(super) connection: Object,
    #[command(flatten)]
    pub(super) changes: Changes,
    #[command(flatten)]
    pub(super) wait: Wait,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(super) struct Changes {
    /// Its new name
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Its tags from now on; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub(super) tags: Vec<String>,
    /// Take all tags away
    #[arg(long, conflicts_with = "tags")]
    pub(super) no_tags: bool,
    /// Which side starts the tunnel from now on
    #[arg(long, value_enum)]
    pub(super) initiator: Option<Initiator>,
    /// The IKE proposals from the next negotiation on, best first
    #[arg(long, value_name = "CIPHER", value_delimiter = ',')]
    pub(super) ike: Vec<Cipher>,
    /// The ESP proposals from the next negotiation on, best first
    #[arg(long, value_name = "CIPHER", value_delimiter = ',')]
    pub(super) esp: Vec<Cipher>,
}

/// `connection device-configuration`
#[derive(Args)]
pub struct DeviceConfiguration {
    #[command(flatten)]
    pub(super) connection: Object,
    /// The device's software
    #[arg(long, value_name = "FORMAT", default_value = "strongswan-bird")]
    pub(super) format: String,
    /// List the formats that there are
    #[arg(long, conflicts_with_all = ["format", "output_file"])]
    pub(super) list_formats: bool,
    /// Write to this file instead of standard output
    #[arg(short = 'O', long, value_name = "FILE")]
    pub(super) output_file: Option<PathBuf>,
}

/// `connection set-policy` and `detach-policy`
#[derive(Args)]
pub struct Attach {
    /// The connection's id, or exact name
    #[arg(value_name = "CONNECTION")]
    pub(super) connection: String,
    /// The routing policy's id, or exact name
    #[arg(value_name = "POLICY")]
    pub(super) policy: String,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum KeyFormat {
    /// Its octets as they are
    Raw,
    /// Base64, as the API has it; strongSwan takes it with `0s` in front
    Base64,
}

/// `connection psk`
#[derive(Args)]
pub struct Psk {
    #[command(flatten)]
    pub(super) connection: Object,
    /// How it is written
    #[arg(long, value_enum, default_value = "base64")]
    pub(super) format: KeyFormat,
    /// Write to this file, which only you can read, instead of standard output
    #[arg(short = 'O', long, value_name = "FILE")]
    pub(super) output_file: Option<PathBuf>,
}

/// `connection renew-psk`
#[derive(Args)]
pub struct RenewPsk {
    #[command(flatten)]
    pub(super) connection: Object,
    /// Replace the data of the version in use instead of adding a version
    #[arg(long)]
    pub(super) in_place: bool,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// `connection change-psk`
#[derive(Args)]
pub struct ChangePsk {
    #[command(flatten)]
    pub(super) connection: Object,
    /// The secret with the key
    #[arg(long, value_name = "NAME|ID")]
    pub(super) secret: String,
    /// Which of its versions [default: the latest]
    #[arg(long, value_name = "REVISION")]
    pub(super) revision: Option<u32>,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// `connection lock`
#[derive(Args)]
pub struct Lock {
    #[command(flatten)]
    pub(super) connection: Object,
    /// Why; kept in the audit records
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_are_written_with_hyphens() {
        let parse = |text: &str| text.parse::<Cipher>().map(|cipher| cipher.document());
        assert_eq!(
            parse("aes256-sha256-modp2048"),
            Ok(json!({"encryption": "aes256", "integrity": "sha256", "dh_group": "modp2048"}))
        );
        assert_eq!(parse("aes256gcm"), Ok(json!({"encryption": "aes256gcm"})));
        assert_eq!(parse("aes256gcm-curve25519"), Ok(json!({"encryption": "aes256gcm", "dh_group": "curve25519"})));
        for wrong in ["", "-sha256", "aes256-", "aes256-sha256-sha384", "aes256-modp2048-ecp256"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn inside_addresses_come_in_pairs() {
        let inside = Inside { ours: "169.254.0.1/30".to_owned(), theirs: "169.254.0.2/30".to_owned() };
        assert_eq!("169.254.0.1/30,169.254.0.2/30".parse(), Ok(inside));
        for wrong in ["169.254.0.1/30", "a,", ",b", "a,b,c"] {
            assert!(wrong.parse::<Inside>().is_err(), "{wrong}");
        }
    }
}
