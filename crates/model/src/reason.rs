//! The catalogue of reasons: why something is not better than it is, whose turn it is, and what to do.
//!
//! A protocol machine emits a [`Fault`]: a code and the values both sides had. [`Fault::explain`] turns it into the
//! [`Reason`] that `state` shows. Adding a cause is adding a row to `catalogue!`; later issues fill it up
//! to every cause that the field knows.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The layer that a cause belongs to; the lowest one that is broken is the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The platform itself: nodes, configuration, placement.
    Platform,
    /// Reaching the peer and the IKE SA.
    Ike,
    /// The Child SA and the tunnel's life.
    Child,
    /// BGP.
    Bgp,
    /// Routes, filters and packets.
    Route,
}

/// Who has to act for it to get better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Nobody: it is in progress or resolves itself.
    Nobody,
    /// The tenant, through the API.
    Tenant,
    /// Whoever runs the customer's device.
    Device,
    /// The partner that hosts the link.
    Partner,
    /// The operator of this service.
    Operator,
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $layer:ident, $turn:ident, $message:literal, $remedy:literal;)+) => {
        /// A named cause. The string form is stable and public.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ReasonCode { $($(#[$doc])* #[serde(rename = $code)] $variant),+ }

        impl ReasonCode {
            /// Every code, in catalogue order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The public spelling.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The layer that is at fault.
            #[must_use]
            pub const fn layer(self) -> Layer {
                match self { $(Self::$variant => Layer::$layer),+ }
            }

            /// Whose turn it is.
            #[must_use]
            pub const fn turn(self) -> Turn {
                match self { $(Self::$variant => Turn::$turn),+ }
            }

            /// One sentence that says what is the matter.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message),+ }
            }

            /// What the one whose turn it is should do.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),+ }
            }
        }
    };
}

catalogue! {
    /// Support locked the object.
    Locked = "locked", Platform, Operator, "locked by support", "open a ticket with the operator's support contact";
    /// The node refused the configuration; the item is in the evidence.
    NodeRefused = "node_refused", Platform, Operator, "the node refused the configuration", "contact support; the refused item is in the evidence";
    /// No node has room.
    NoCapacity = "no_capacity", Platform, Operator, "no node of the zone has room for this gateway", "choose another zone or gateway type, or contact support";
    /// There is no node at all.
    NoNode = "no_node", Platform, Operator, "no gateway node serves this zone", "contact support: the operator has to start a node (`causeway serve` as root, with /dev/net/tun and nft)";
    /// A successor of a lost node is being set up.
    Failover = "failover", Platform, Nobody, "the gateway is moving to another node", "none, it is in progress";
    /// The node was lost and no other is healthy.
    NoHealthyNode = "no_healthy_node", Platform, Operator, "the gateway's node is down and no other node of the zone can take over", "contact support";
    /// The node was lost, and may forward still.
    NoMajority = "no_majority", Platform, Operator, "the gateway's node is lost, and too few of the zone's voters say that it forwards nothing any more", "none for the tenant; the operator sees in `causeway node get` who has not answered: bring those nodes back, or switch the lost machine off and revoke its node";
    /// The controller cannot reach the node, which is known to forward.
    NodeKeepaliveFail = "node_keepalive_fail", Platform, Operator, "the controller hears too few keepalives from the node; forwarding goes on", "none for the tenant; the operator looks at the node and its log";
    /// Enrolled or restarted, not yet judged.
    NodeWaiting = "node_waiting", Platform, Nobody, "the node was enrolled or has restarted and was not judged yet", "none: it is up at its second keepalive; if none comes, start the node and look at its log";
    /// The operator's own means say that its machine does not run.
    MachineStopped = "machine_stopped", Platform, Operator, "the node's machine does not run", "start the machine";
    /// The node's own check found a service dead.
    CriticalServiceDead = "critical_service_dead", Platform, Operator, "a service that the node cannot do without is dead", "look at the node's log; restart the node if the service does not come back";
    /// Too few keepalives, and nobody vouches.
    NodeSilent = "node_silent", Platform, Operator, "the controller hears too few keepalives from the node, and no other node vouches for it", "see whether the machine runs, whether the node's process does, and what filters TCP between the node and the controller's node listener";
    /// The controller cannot reach the node's own listener.
    UnreachableOn443 = "unreachable_on_443", Platform, Operator, "the node cannot be probed on TCP 443 of its management address", "admit the controllers in whatever filters TCP 443 on the way to the node";
    /// The node's kernel lets nothing pass.
    LeaseLost = "lease_lost", Platform, Operator, "the gateway's node hears no majority of its zone, so it forwards nothing", "none for the tenant; the operator looks at what separates the zone's nodes and the controller";
    /// The node's tunnels to other nodes give it no majority.
    LeaseRelayed = "lease_relayed", Platform, Operator, "too few other nodes of the zone answer the node through its tunnels: it forwards by promises that the controller passes on, and no longer than it reaches the controller", "let UDP port 4431 pass in both directions between the nodes of the zone; `causeway node get` says which tunnels are down";
    /// The node's directory takes nothing.
    DiskUnwritable = "disk_unwritable", Platform, Operator, "nothing can be written to the node's disk: it forwards on, and cannot keep what it is told", "make room on the disk with the node's directory, or mend it; until then a restart of the node would begin with an older configuration";
    /// A copy of the node's identity is in use beside it.
    DuplicateIdentity = "duplicate_identity", Platform, Operator, "two processes speak for this node: somebody has a copy of its identity", "end the process that should not be there; if the copy may be stolen, revoke the node and join its machine again";
    /// Nothing is known of the node at present.
    NodeUnreachable = "node_unreachable", Platform, Operator, "the gateway's node cannot be reached", "none for the tenant; the operator looks at the node and its log";
    /// The gateway's own node is up, and that of its VPC's router is not.
    RouterUnreachable = "router_unreachable", Platform, Operator, "the gateway's tunnels may be up, but the node that routes its VPC is lost, so the VPC cannot be reached through it", "none for the tenant: in a zone with failover another node takes the router over as soon as the lost one is known to forward nothing; the operator looks at that node and its log";
    /// The newer configuration is late.
    ConfigOverdue = "config_overdue", Platform, Operator, "the node has not acknowledged the newest configuration in time", "contact support if it persists";
    /// The newer configuration was refused.
    ConfigRefused = "config_refused", Platform, Operator, "the node refused an item of the newest configuration", "contact support; the refused item is in the evidence";
    /// A change is on its way to the node.
    ConfigPending = "config_pending", Platform, Nobody, "a change is being applied", "none, it is in progress";
    /// The gateway is not set up or is going away.
    GatewayNotReady = "gateway_not_ready", Platform, Nobody, "the VPN gateway is not ready", "wait for the gateway to become active";

    /// The partner has not answered the request.
    AwaitingPartnerAnswer = "awaiting_partner_answer", Platform, Tenant, "the partner has not answered the request", "ask the partner to provision the link: its contact address or portal and the link's pairing key are in the API; without an answer the request expires at its deadline, after 10 days unless the operator has configured another time";
    /// The partner is preparing its side.
    AwaitingPartnerProvisioning = "awaiting_partner_provisioning", Platform, Partner, "the partner accepted the request and is preparing its side", "wait for the partner, or ask it how far it is";
    /// The partner refused.
    PartnerRefused = "partner_refused", Platform, Tenant, "the partner refused the request", "read the partner's reason in the evidence, delete the link and order again";
    /// Ten days without an answer.
    RequestExpired = "request_expired", Platform, Tenant, "the partner did not answer within its time, which is 10 days unless the operator has configured another", "delete the link and order again, and contact the partner right after";
    /// The order could not be placed.
    OrderFailed = "order_failed", Platform, Operator, "the platform could not place the order", "none for the tenant: the operator mends what stopped it and takes the order up again; contact support if it persists";
    /// The tenant deleted, the partner did not.
    AwaitingPartnerDeprovisioning = "awaiting_partner_deprovisioning", Platform, Partner, "deleted on this side; the partner has not deprovisioned its side", "ask the partner to deprovision the link";
    /// The partner is leaving or gone, the tenant did not delete.
    AwaitingTenantDeletion = "awaiting_tenant_deletion", Platform, Tenant, "the partner takes its side down; the link is not deleted on this side", "switch route propagation off and delete the link";
    /// The node still has it.
    AwaitingRemoval = "awaiting_removal", Platform, Nobody, "the link is being removed from its node", "none, it is in progress";
    /// A hosted link's sessions have some seconds to come up for the first time.
    AwaitingFirstSession = "awaiting_first_session", Bgp, Device, "no BGP session was up yet", "configure BGP on the router with the link's addresses and AS numbers";
    /// No VPC is attached.
    NoVpc = "no_vpc", Route, Tenant, "no VPC is attached, so no traffic can flow", "attach one with attach-vpc";
    /// The VPC's router is on another node than the link.
    VpcElsewhere = "vpc_elsewhere", Platform, Operator, "the link ends on another gateway node than the one that routes its VPC, so no traffic can flow", "delete the VPC's gateways and make them anew: they come to the link's node where that has room; or contact support: draining the node that routes the VPC moves them there, too";

    /// Created; the device has not been heard of.
    AwaitingDevice = "awaiting_device", Ike, Device, "waiting for the customer's device", "configure the device: its file is at `device-configuration`, the key in the secret manager, the addresses in the connection";
    /// The peer does not answer.
    PeerSilent = "peer_silent", Ike, Device, "the peer does not answer on UDP 500", "check that the device is on, that its address is the customer gateway's, and that UDP 500 and 4500 are open in both directions";
    /// The network says that the peer cannot be reached.
    PeerUnreachable = "peer_unreachable", Ike, Device, "the network reports that the peer is unreachable", "check the customer gateway's address and the route to it";
    /// IKE_SA_INIT is answered, IKE_AUTH is not.
    PeerSilentAfterInit = "peer_silent_after_init", Ike, Device, "the peer answered IKE_SA_INIT on UDP 500 but nothing on UDP 4500", "open UDP 4500 between the device and the gateway";
    /// Somebody who is no customer gateway asks for a tunnel.
    UnknownSource = "unknown_source", Ike, Tenant, "nothing comes from the customer gateway's address, but another address asks this gateway for a tunnel", "if that address is the device's, make it the customer gateway's public address; if not, it is a stranger, and the device itself is silent";
    /// The peer speaks another version of IKE.
    IkeVersion = "ike_version", Ike, Device, "the device does not speak IKEv2", "set the device's connection to IKEv2; IKEv1 is not offered";
    /// The peer does not look for NATs, so it would not put ESP into UDP.
    NatTraversalOff = "nat_traversal_off", Ike, Device, "the device has NAT traversal switched off, so it would not encapsulate ESP in UDP", "switch NAT traversal (UDP encapsulation, port 4500) on for this connection on the device";
    /// Some fragments of a message came, and the rest never did.
    FragmentsIncomplete = "fragments_incomplete", Ike, Device, "only some fragments of an IKE message arrived", "find what drops IKE fragments or large UDP packets between the device and the gateway, or lower the device's IKE fragment size";
    /// No IKE proposal in common.
    NoProposalChosen = "no_proposal_chosen", Ike, Device, "no common IKE proposal", "set the device's IKE proposal to one of the connection's `ikev2_ciphers`, or change those";
    /// The AUTH payload does not verify, or the peer says so: keys differ.
    AuthenticationFailed = "authentication_failed", Ike, Device, "authentication failed: the pre-shared keys differ", "read the key from the secret manager (base64 in `data`) and configure it on the device; where it is the device that refuses, it must also accept the gateway's public address as identity";
    /// The peer's identity is not the expected one.
    IdentityMismatch = "identity_mismatch", Ike, Device, "the peer's identity is not the expected one", "set the device's local identity to the expected one, or set `peer_identity` in the connection's options";
    /// A message that breaks the protocol.
    MalformedMessage = "malformed_message", Ike, Device, "the peer sent a message that breaks the protocol", "update the device's software, and send its log to support";
    /// No common Child SA proposal.
    ChildNoProposalChosen = "child_no_proposal_chosen", Child, Device, "no common ESP proposal", "set the device's ESP proposal, its PFS group included, to one of the connection's `esp_ciphers`, or change those";
    /// The proposals differ in nothing but the group.
    PfsMismatch = "pfs_mismatch", Child, Device, "the ESP proposals differ only in the group for perfect forward secrecy", "set the device's PFS group to that of the connection's `esp_ciphers`, or change those";
    /// The peer offers AH.
    AhOffered = "ah_offered", Child, Device, "the device offers AH instead of ESP", "set the device's connection to ESP";
    /// The peer wants transport mode.
    TransportMode = "transport_mode", Child, Device, "the device asks for transport mode between the two public addresses", "set the device's connection to tunnel mode with the traffic selectors 0.0.0.0/0 and ::/0 (route-based VPN)";
    /// The peer narrowed the selectors to one family.
    TsNarrowed = "ts_narrowed", Child, Device, "the device narrowed the traffic selectors: the tunnel carries only part of the traffic", "use the traffic selectors 0.0.0.0/0 and ::/0 on the device (route-based VPN)";
    /// Traffic selectors refused.
    TsUnacceptable = "ts_unacceptable", Child, Device, "the traffic selectors were refused", "use the traffic selectors 0.0.0.0/0 and ::/0 on the device (route-based VPN)";
    /// The peer did not answer a liveness check.
    DpdTimeout = "dpd_timeout", Child, Device, "the peer stopped answering", "check the device and its Internet access; the tunnel returns by itself when it answers";
    /// The peer deleted the IKE SA.
    PeerDeletedSa = "peer_deleted_sa", Child, Device, "the peer deleted the tunnel", "start the tunnel on the device; if it was stopped on purpose nothing is wrong";
    /// The peer deleted the Child SA but kept the IKE SA.
    PeerDeletedChild = "peer_deleted_child", Child, Device, "the peer deleted the tunnel's Child SA", "start the tunnel on the device; if it was stopped on purpose nothing is wrong";
    /// The SA's life ended before another took its place.
    LifetimeExpired = "lifetime_expired", Child, Device, "the tunnel's lifetime ended before it was renewed", "see in the events why renewing it failed, and compare the lifetimes and proposals of both sides";
    /// What was negotiated could not be put in force here.
    ChildInstallFailed = "child_install_failed", Child, Operator, "the node could not install the negotiated Child SA", "contact support; the error is in the evidence";
    /// Our side closed it: object deleted, locked or changed.
    ClosedByUs = "closed_by_us", Child, Nobody, "the tunnel was closed by a change on this side", "none, it is started again by itself if it should be up";
    /// One of two tunnels is down.
    TunnelRedundancyLost = "tunnel_redundancy_lost", Child, Device, "only one of the two tunnels is up", "see the other tunnel's reason";
    /// The new key has not been used yet.
    PskChangeUnproven = "psk_change_unproven", Child, Tenant, "the changed pre-shared key has not been used yet", "configure it on the device, then reauthenticate";

    /// No routing policy is attached.
    NoRoutingPolicy = "no_routing_policy", Bgp, Tenant, "no routing policy is attached, so no BGP session runs", "attach a routing policy with set-routing-policy";
    /// Session is connecting.
    BgpConnecting = "bgp_connecting", Bgp, Device, "the BGP session is being set up", "none at first; if it persists, configure BGP on the device with the inside addresses and both AS numbers";
    /// The peer's BGP port does not answer.
    BgpTimeout = "bgp_timeout", Bgp, Device, "the peer does not answer on TCP 179 inside the tunnel", "configure the inside address on the device and let its BGP speak with ours";
    /// TCP was refused.
    TcpRefused = "tcp_refused", Bgp, Device, "the device refused the TCP connection to port 179", "start BGP on the device and make it accept this neighbour";
    /// The peer's AS differs.
    BgpAsnMismatch = "bgp_asn_mismatch", Bgp, Device, "the peer's AS number is not the customer gateway's", "set the device's AS number to the customer gateway's `asn`, or correct that";
    /// The inside addresses are swapped.
    BgpAddressesSwapped = "bgp_addresses_swapped", Bgp, Device, "the device uses the inside address of this side", "configure `peer_private_ip` on the device and `private_ip` as its neighbour";
    /// The hold timer ran out.
    BgpHoldTimerExpired = "bgp_hold_timer_expired", Bgp, Device, "the peer sent nothing for the hold time", "check BGP on the device";
    /// Two connections collided.
    BgpCollision = "bgp_collision", Bgp, Nobody, "two BGP connections collided; one was closed", "none, it resolves itself";
    /// The peer's BGP identifier, or ours in the peer's eyes, is not acceptable.
    BgpRouterId = "bgp_router_id", Bgp, Device, "the BGP identifier is not acceptable", "give the device a router id that is not 0.0.0.0 and that no other router has";
    /// Either side refuses the other's hold time.
    BgpHoldTimeRefused = "bgp_hold_time_refused", Bgp, Device, "the BGP hold times do not fit", "set the device's hold time to 0 or at least 3 seconds, and let it accept ours (`hold_time` in the connection's options)";
    /// Administrative shutdown or reset on the device.
    BgpPeerShutdown = "bgp_peer_shutdown", Bgp, Device, "the session was shut down on the device", "enable the neighbour on the device; if it was shut down on purpose nothing is wrong";
    /// The device does not want this connection: not configured, rejected, out of resources.
    BgpPeerRejected = "bgp_peer_rejected", Bgp, Device, "the device rejects the BGP connection", "configure this neighbour on the device, and see its log for what it lacks";
    /// We announce more than the device takes.
    BgpPeerPrefixLimit = "bgp_peer_prefix_limit", Bgp, Device, "the device refuses the session because it is announced more prefixes than it allows", "raise the device's prefix limit for this neighbour, or narrow the policy's `prefix_filter_out`";
    /// The peer sent a NOTIFICATION.
    BgpPeerNotification = "bgp_peer_notification", Bgp, Device, "the peer closed the BGP session", "see the code and text in the evidence";
    /// The peer broke the protocol.
    BgpMessageError = "bgp_message_error", Bgp, Device, "the peer sent a BGP message that breaks the protocol", "see the code in the evidence, and update the device's software";
    /// No session of the family can be agreed.
    BgpNoCommonFamily = "bgp_no_common_family", Bgp, Device, "the peer does not offer the session's address family", "enable the address family on the device's session";
    /// TCP connection lost.
    BgpConnectionLost = "bgp_connection_lost", Bgp, Device, "the BGP connection was closed", "check BGP on the device";
    /// More prefixes than allowed.
    MaxPrefixesExceeded = "max_prefixes_exceeded", Bgp, Device, "the device announces more prefixes than allowed; the excess is refused", "announce fewer prefixes, aggregate, or raise `max_prefixes`";
    /// No tunnel, so no session.
    TunnelDown = "tunnel_down", Bgp, Nobody, "no tunnel is up", "see the tunnel's reason";
    /// The link's interface is there, but nothing answers at its other end.
    NoCarrier = "no_carrier", Bgp, Device, "the link has no carrier", "see whether the other side's port is up and the line between works";
    /// The family has no policy.
    BgpDisabled = "bgp_disabled", Bgp, Tenant, "no routing policy of this family is attached", "attach one if this family should be routed";
    /// Propagation is off.
    PropagationDisabled = "propagation_disabled", Route, Tenant, "route propagation is off: sessions run, nothing is exchanged", "call enable-route-propagation when traffic should flow";
    /// No route to the destination.
    NoRoute = "no_route", Route, Device, "nothing in the VPC leads to the destination", "announce the prefix on the device and list it in the policy's `prefix_filter_in`, or make a custom route";
    /// A network ACL drops the packet.
    AclDenied = "acl_denied", Route, Tenant, "a network ACL of the VPC drops the packet", "change the rule that the evidence names, or put an accepting rule before it";
    /// The source is not among what the connection may carry.
    SourceNotAllowed = "source_not_allowed", Route, Tenant, "the connection's policy does not admit the source", "add the source's range to the policy: the customer's in `prefix_filter_in`, the VPC's in `prefix_filter_out`";
    /// The destination is not among what the connection may carry.
    DestinationNotAllowed = "destination_not_allowed", Route, Tenant, "the connection's policy does not admit the destination", "add the destination's range to the policy: the customer's in `prefix_filter_in`, the VPC's in `prefix_filter_out`";
    /// The destination is at another customer's site.
    NoTransit = "no_transit", Route, Tenant, "the packet would go from one customer's site to another", "connect the two sites to each other: a VPC is no transit between its customers";
    /// The destination is an address of the router or of a gateway itself.
    PlatformAddress = "platform_address", Route, Tenant, "the destination is an address of the VPC's router or of a VPN gateway, which takes no such packet", "address a host of the VPC; for a test ping the router, `.1` or `::1` of a Private Network, which answers from both sides";
    /// A source that cannot be there.
    ForgedSource = "forged_source", Route, Device, "the source cannot be where the packet comes from", "use an address of the customer's own networks as source; addresses of the VPC and reserved ranges are dropped";
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a machine observed: the cause and the values of both sides. Never carries key material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The cause.
    pub code: ReasonCode,
    /// Our value, where the cause is a difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ours: Option<String>,
    /// The peer's value, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theirs: Option<String>,
    /// Further facts: counters, addresses, the peer's words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, String>,
}

impl Fault {
    const IN_FORCE: &str = "in_force";

    /// A fault with no values.
    #[must_use]
    pub const fn new(code: ReasonCode) -> Self {
        Self { code, ours: None, theirs: None, evidence: BTreeMap::new() }
    }

    /// With both sides' values.
    #[must_use]
    pub fn values(mut self, ours: impl Into<String>, theirs: impl Into<String>) -> Self {
        self.ours = Some(ours.into());
        self.theirs = Some(theirs.into());
        self
    }

    /// With one more piece of evidence.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.evidence.insert(key.to_owned(), value.into());
        self
    }

    /// With what is in force in the place of a configuration that is not: the last good one, if there ever was one.
    #[must_use]
    pub fn in_force(self, ever: bool) -> Self {
        self.with(Self::IN_FORCE, if ever { "the last good configuration" } else { "nothing" })
    }

    /// The reason as users read it.
    #[must_use]
    pub fn explain(&self, since: Option<Timestamp>) -> Reason {
        let mut evidence = self.evidence.clone();
        if let Some(ours) = &self.ours {
            evidence.insert("ours".to_owned(), ours.clone());
        }
        if let Some(theirs) = &self.theirs {
            evidence.insert("theirs".to_owned(), theirs.clone());
        }
        let message = match (&self.ours, &self.theirs) {
            (Some(ours), Some(theirs)) => format!("{} (ours: {ours}; theirs: {theirs})", self.code.message()),
            (Some(ours), None) => format!("{} (ours: {ours})", self.code.message()),
            (None, Some(theirs)) => format!("{} (theirs: {theirs})", self.code.message()),
            (None, None) => self.code.message().to_owned(),
        };
        let message = match evidence.get(Self::IN_FORCE) {
            Some(in_force) => format!("{message}; in force: {in_force}"),
            None => message,
        };
        Reason {
            code: self.code,
            layer: self.code.layer(),
            turn: self.code.turn(),
            message,
            remedy: self.code.remedy().to_owned(),
            evidence,
            since,
        }
    }
}

impl From<ReasonCode> for Fault {
    fn from(code: ReasonCode) -> Self {
        Self::new(code)
    }
}

/// A reason as `state` shows it (wire-ext.md §1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The cause.
    pub code: ReasonCode,
    /// Its layer.
    pub layer: Layer,
    /// Whose turn it is.
    pub turn: Turn,
    /// One sentence, with both sides' values.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Facts behind the sentence.
    pub evidence: BTreeMap<String, String>,
    /// Since when, where it is known.
    pub since: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_every_row_says_what_to_do() {
        let codes: BTreeSet<_> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), ReasonCode::ALL.len());
        for code in ReasonCode::ALL {
            assert!(!code.message().is_empty() && !code.remedy().is_empty(), "{code}");
        }
    }

    #[test]
    fn both_values_reach_the_message_and_the_evidence() {
        let reason = Fault::new(ReasonCode::BgpAsnMismatch).values("65000", "65001").explain(None);
        assert!(reason.message.ends_with("(ours: 65000; theirs: 65001)"));
        assert_eq!(reason.evidence["theirs"], "65001");
    }
}
