//! The devices that carry InterLinks, made in the node's own namespace on top of what the operator names, and put into the link's.

use causeway_linux::{Error, Link, Namespace, Upper};
use causeway_model::desired::AttachmentDesired;
use ipnet::IpNet;

use crate::error::SetupError;
use crate::host::Host;

/// What VXLAN adds to a packet, octets: outer IP, UDP and VXLAN headers, and the inner Ethernet header.
const VXLAN_OVERHEAD_V4: u32 = 20 + 8 + 8 + 14;
const VXLAN_OVERHEAD_V6: u32 = 40 + 8 + 8 + 14;
/// What IPv6 needs (RFC 8200 §5).
const SMALLEST_MTU: u32 = 1280;

/// An attachment, for people to read.
fn item(attachment: &AttachmentDesired) -> String {
    match attachment {
        AttachmentDesired::Vlan { interface, vlan } => format!("VLAN {vlan} of the interface {interface}"),
        AttachmentDesired::Interface { interface } => format!("interface {interface}"),
        AttachmentDesired::Vxlan { remote, vni } => format!("VXLAN {vni} to {remote}"),
    }
}

impl Host {
    /// Makes the device `name` of a link in `namespace`. Its interface stays the operator's: it is set up, and nothing else.
    pub(crate) async fn make_carrier(
        &self,
        name: &str,
        attachment: &AttachmentDesired,
        namespace: &Namespace,
    ) -> Result<(), SetupError> {
        let item = item(attachment);
        let mut mtu = None;
        let upper = match attachment {
            AttachmentDesired::Vlan { interface, vlan } => {
                Upper::Vlan { lower: self.lower(&item, interface).await?.index, id: *vlan }
            }
            AttachmentDesired::Interface { interface } => {
                let lower = self.lower(&item, interface).await?;
                self.check_free(&item, &lower).await?;
                Upper::Whole { lower: lower.index }
            }
            AttachmentDesired::Vxlan { remote, vni } => {
                let overhead = if remote.is_ipv4() { VXLAN_OVERHEAD_V4 } else { VXLAN_OVERHEAD_V6 };
                mtu = Some(self.underlay_mtu().saturating_sub(overhead).max(SMALLEST_MTU));
                Upper::Vxlan { remote: *remote, vni: *vni, mac: None }
            }
        };
        let made = self.netlink().create_upper(name, upper, namespace).await;
        made.map_err(|error| match (&error, upper) {
            (Error::Os { .. }, Upper::Vlan { .. }) if error.is_unsupported() => SetupError {
                item: item.clone(),
                error: "this node's kernel has no VLANs (8021q); use another attachment".to_owned(),
            },
            _ => SetupError::at(&item)(error),
        })?;
        let Some(mtu) = mtu else { return Ok(()) };
        let set = async {
            let netlink = causeway_linux::Netlink::open(namespace)?;
            netlink.set_mtu(netlink.index(name).await?, mtu).await
        };
        set.await.map_err(SetupError::at(&item))
    }

    /// The interface that the operator named, up.
    async fn lower(&self, item: &str, interface: &str) -> Result<Link, SetupError> {
        let step = || SetupError::at::<Error>(item);
        let Some(link) = self.netlink().find_link(interface).await.map_err(step())? else {
            let error = format!(
                "there is no interface {interface} on this node; make it, or change the attachment of the link's port"
            );
            return Err(SetupError { item: item.to_owned(), error });
        };
        if !link.up {
            self.netlink().set_up(link.index, true).await.map_err(step())?;
        }
        Ok(link)
    }

    /// An interface that is a link's as a whole can be nobody else's.
    async fn check_free(&self, item: &str, link: &Link) -> Result<(), SetupError> {
        let refuse = |error: String| Err(SetupError { item: item.to_owned(), error });
        if self.is_underlay(&link.name) {
            return refuse("it is the underlay; name another interface".to_owned());
        }
        if link.master.is_some() {
            return refuse("it is a port of a bridge; take it off, or name another interface".to_owned());
        }
        let theirs = self.netlink().addresses(link.index).await.map_err(SetupError::at(item))?;
        let routed = |net: &&IpNet| !matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
        match theirs.iter().find(routed) {
            Some(address) => refuse(format!("it has the address {address}: a link needs an interface of its own")),
            None => Ok(()),
        }
    }
}
