//! Links that stand on others: what carries an InterLink.

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoVlan, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
};

use crate::error::check_link_name;
use crate::link::CREATE;
use crate::{Namespace, Netlink, Result};

/// The port of VXLAN (RFC 7348 §5).
pub(crate) const VXLAN_PORT: u16 = 4789;

/// What a link stands on, in the namespace of the netlink socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    /// The frames of one VLAN (IEEE 802.1Q) of a link.
    Vlan {
        /// Index of the link.
        lower: u32,
        /// The VLAN id, 1 to 4094.
        id: u16,
    },
    /// All frames of a link, with its Ethernet address. A link can have one of these, and nothing else sees what arrives on it.
    Whole {
        /// Index of the link.
        lower: u32,
    },
    /// A VXLAN (RFC 7348) towards one far end, which goes the way that routes lead.
    Vxlan {
        /// The far end.
        remote: IpAddr,
        /// The network identifier, 24 bits.
        vni: u32,
        /// Its Ethernet address here; `None`: one by chance.
        mac: Option<[u8; 6]>,
    },
}

impl Netlink {
    /// Makes a link on top of another, in `namespace` from the start and down. It goes with that namespace, and with what it stands on.
    ///
    /// # Errors
    /// The kernel's error; [`crate::Error::is_exists`] when the name is taken, or the VLAN, or the whole link.
    pub async fn create_upper(&self, name: &str, upper: Upper, namespace: &Namespace) -> Result<()> {
        check_link_name(name)?;
        let (kind, data, lower, what) = match upper {
            Upper::Vlan { lower, id } => (InfoKind::Vlan, InfoData::Vlan(vec![InfoVlan::Id(id)]), Some(lower), "VLAN"),
            Upper::Whole { lower } => {
                let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Passthrough)]);
                (InfoKind::MacVlan, data, Some(lower), "macvlan")
            }
            Upper::Vxlan { remote, vni, .. } => {
                let far = match remote {
                    IpAddr::V4(address) => InfoVxlan::Group(address),
                    IpAddr::V6(address) => InfoVxlan::Group6(address),
                };
                // What comes from elsewhere is not learned from: there is one far end.
                let data = vec![InfoVxlan::Id(vni), far, InfoVxlan::Port(VXLAN_PORT), InfoVxlan::Learning(false)];
                (InfoKind::Vxlan, InfoData::Vxlan(data), None, "VXLAN")
            }
        };
        let mut message = LinkMessage::default();
        message.attributes =
            vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::NetNsFd(namespace.as_raw_fd())];
        message.attributes.extend(lower.map(LinkAttribute::Link));
        if let Upper::Vxlan { mac: Some(mac), .. } = upper {
            message.attributes.push(LinkAttribute::Address(mac.to_vec()));
        }
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]));
        self.change(RouteNetlinkMessage::NewLink(message), CREATE, || format!("create {what} {name}")).await
    }
}
