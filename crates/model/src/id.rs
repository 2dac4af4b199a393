//! Typed ids: a connection's id can never be passed where a gateway's is expected.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The moment that the newest id was given, in milliseconds.
static NEWEST: AtomicU64 = AtomicU64::new(0);

/// Where this process began to count: another one on the same machine gives other first digits at the same moment.
static START: LazyLock<u32> = LazyLock::new(|| Uuid::new_v4().as_fields().0);

/// An id that nobody has: of the form of version 4, with 90 random bits. In front of them are 32 bits that count milliseconds from `start`
/// on, at least one for each id, so that what is made together lies together in every index that begins with an id, and so that a process's
/// ids differ in their first eight digits for 49 days.
fn fresh(newest: &AtomicU64, start: u32, now: u64) -> Uuid {
    let after = |newest: u64| newest.saturating_add(1).max(now);
    let before = newest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |newest| Some(after(newest)));
    let [.., a, b, c, d] = after(before.unwrap_or_default()).to_be_bytes();
    let first = u32::from_be_bytes([a, b, c, d]).wrapping_add(start);
    let mut octets = Uuid::new_v4().into_bytes();
    octets[..4].copy_from_slice(&first.to_be_bytes());
    Uuid::from_bytes(octets)
}

/// As [`fresh`], by the system's clock.
fn new() -> Uuid {
    // What the clock says decides nothing but where in an index the id stands.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    fresh(&NEWEST, *START, u64::try_from(now.as_millis()).unwrap_or_default())
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, of the form of version 4. It cannot be guessed; two that one process gave tell how long it was between them.
            #[must_use]
            pub fn random() -> Self {
                Self(new())
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
    /// A machine that runs a node, until it starts anew: what its kernel says of itself, hashed. A copy of the node's directory is on another one.
    MachineId,
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

impl LinkId {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn begins(id: Uuid) -> u32 {
        id.as_fields().0
    }

    #[test]
    fn ids_of_one_time_lie_together_and_differ_in_their_first_digits() {
        let (newest, now) = (AtomicU64::new(0), 0x012_3456_789a_u64);
        let ids = (0..1000).map(|_| begins(fresh(&newest, 0x100, now)));
        assert_eq!(ids.collect::<Vec<u32>>(), (0x3456_799a..0x3456_799a + 1000).collect::<Vec<u32>>());
        // A clock that was set back gives no first digits twice; one that goes on is followed.
        assert_eq!(begins(fresh(&newest, 0x100, now - 5000)), 0x3456_799a + 1000);
        assert_eq!(begins(fresh(&newest, 0x100, now + 5000)), 0x3456_799a + 5000);
    }

    #[test]
    fn the_first_digits_begin_anew_and_the_rest_is_random() {
        let newest = AtomicU64::new(0);
        let (last, first) = (fresh(&newest, 0, 0xffff_ffff), fresh(&newest, 0, 0));
        assert_eq!((begins(last), begins(first)), (u32::MAX, 0));
        assert_eq!((first.get_version_num(), first.get_variant()), (4, uuid::Variant::RFC4122));
        let rest = |id: Uuid| id.as_u128() & (u128::MAX >> 32);
        assert_ne!(rest(last), rest(first));
        let at_an_end = AtomicU64::new(u64::MAX);
        assert_eq!(begins(fresh(&at_an_end, 1, 0)), 0);
    }

    #[test]
    fn a_process_gives_no_id_twice() {
        let ids: BTreeSet<ConnectionId> = (0..1000).map(|_| ConnectionId::random()).collect();
        let short: BTreeSet<String> = ids.iter().map(ConnectionId::short).collect();
        assert_eq!((ids.len(), short.len()), (1000, 1000));
    }
}
