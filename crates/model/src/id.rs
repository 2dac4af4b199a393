//! Typed ids: a connection's id can never be passed where a gateway's is expected.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new random (version 4) id.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

ids! {
    /// An API key's owner-independent id; the access key (`SCW…`) is its public name.
    ApiKeyId,
    /// A Site-to-Site VPN connection.
    ConnectionId,
    /// A customer gateway.
    CustomerGatewayId,
    /// A dedicated connection of InterLink's catalogue.
    DedicatedConnectionId,
    /// An IPAM address.
    IpId,
    /// An InterLink.
    LinkId,
    /// A gateway node.
    NodeId,
    /// An organization.
    OrganizationId,
    /// A partner that hosts InterLinks.
    PartnerId,
    /// A point of presence.
    PopId,
    /// A port: a PoP, a partner or dedicated connection, and the attachment behind them.
    PortId,
    /// A Private Network.
    PrivateNetworkId,
    /// A project.
    ProjectId,
    /// A VPC route.
    RouteId,
    /// A routing policy.
    RoutingPolicyId,
    /// A secret of the secret manager.
    SecretId,
    /// A subnet of a Private Network.
    SubnetId,
    /// A VPC.
    VpcId,
    /// A VPN gateway.
    VpnGatewayId,
    /// A webhook.
    WebhookId,
}

impl VpnGatewayId {
    /// The first eight hexadecimal digits: what interface and namespace names carry (15 characters at most).
    #[must_use]
    pub fn short(&self) -> String {
        self.0.simple().to_string()[..8].to_owned()
    }
}

impl ConnectionId {
    /// The first eight hexadecimal digits, as in [`VpnGatewayId::short`].
    #[must_use]
    pub fn short(&self) -> String {
        self.0.simple().to_string()[..8].to_owned()
    }
}

impl VpcId {
    /// The first eight hexadecimal digits, as in [`VpnGatewayId::short`].
    #[must_use]
    pub fn short(&self) -> String {
        self.0.simple().to_string()[..8].to_owned()
    }
}

impl PrivateNetworkId {
    /// The first eight hexadecimal digits, as in [`VpnGatewayId::short`].
    #[must_use]
    pub fn short(&self) -> String {
        self.0.simple().to_string()[..8].to_owned()
    }
}
