//! Links: veth pairs, bridges, and what can be said of any link.

use std::os::fd::AsRawFd;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use crate::error::check_link_name;
use crate::{Error, Namespace, Netlink, Result};

/// A link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index within its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Link-layer address; empty on links that have none, such as a TUN.
    pub mac: Vec<u8>,
    /// Octets of the largest packet.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it has a carrier: what it stands on works, and it is up itself.
    pub carrier: bool,
    /// Index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// `veth`, `bridge`, `tun`, …; `None` for physical links and loopback.
    pub kind: Option<String>,
}

/// One end of a veth pair to be made.
#[derive(Clone, Debug)]
pub struct VethEnd<'a> {
    /// Name within its namespace.
    pub name: &'a str,
    /// Where it shall be; `None`: the namespace of the netlink socket.
    pub namespace: Option<&'a Namespace>,
    /// Its address; `None`: the kernel draws one.
    pub mac: Option<[u8; 6]>,
    /// Octets of the largest packet; `None`: 1500.
    pub mtu: Option<u32>,
}

impl<'a> VethEnd<'a> {
    /// An end in the namespace of the netlink socket, with the kernel's defaults.
    #[must_use]
    pub const fn new(name: &'a str) -> Self {
        Self { name, namespace: None, mac: None, mtu: None }
    }

    /// The same, elsewhere.
    #[must_use]
    pub const fn within(mut self, namespace: &'a Namespace) -> Self {
        self.namespace = Some(namespace);
        self
    }

    fn attributes(&self) -> Result<Vec<LinkAttribute>> {
        check_link_name(self.name)?;
        let mut attributes = vec![LinkAttribute::IfName(self.name.to_owned())];
        attributes.extend(self.namespace.map(|namespace| LinkAttribute::NetNsFd(namespace.as_raw_fd())));
        attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        Ok(attributes)
    }
}

pub(crate) const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

impl Netlink {
    /// Makes a veth pair, each end in its namespace from the start and down.
    ///
    /// # Errors
    /// [`Error::is_exists`] when either name is taken.
    pub async fn create_veth(&self, end: &VethEnd<'_>, peer: &VethEnd<'_>) -> Result<()> {
        let mut other = LinkMessage::default();
        other.attributes = peer.attributes()?;
        let mut message = LinkMessage::default();
        message.attributes = end.attributes()?;
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ]));
        self.change(RouteNetlinkMessage::NewLink(message), CREATE, || {
            format!("create veth {} - {}", end.name, peer.name)
        })
        .await
    }

    /// Makes a bridge, down, that forwards at once (no spanning tree, no delay) and floods multicast, which neighbour discovery
    /// needs where nobody queries.
    ///
    /// # Errors
    /// [`Error::is_exists`] when the name is taken.
    pub async fn create_bridge(&self, name: &str) -> Result<()> {
        check_link_name(name)?;
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::ForwardDelay(0),
                    InfoBridge::StpState(BridgeStpState::Disabled),
                    InfoBridge::MulticastSnooping(false),
                ])),
            ]),
        ];
        self.change(RouteNetlinkMessage::NewLink(message), CREATE, || format!("create bridge {name}")).await
    }

    /// Deletes a link, and with a veth its peer, before it returns; no error if it is gone already.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn delete_link(&self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        ignore_missing(self.change(RouteNetlinkMessage::DelLink(message), 0, || format!("delete link {index}")).await)
    }

    /// Deletes the link `name`; `false` if there was none.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn delete_link_by_name(&self, name: &str) -> Result<bool> {
        match self.find_link(name).await? {
            Some(link) => self.delete_link(link.index).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Sets a link up or down.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn set_up(&self, index: u32, up: bool) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        message.header.change_mask = LinkFlags::Up;
        let state = if up { "up" } else { "down" };
        self.change(RouteNetlinkMessage::NewLink(message), 0, || format!("set link {index} {state}")).await
    }

    /// Makes a link a port of the bridge `master`, or of none.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn set_master(&self, index: u32, master: Option<u32>) -> Result<()> {
        self.set(index, LinkAttribute::Controller(master.unwrap_or(0)), "the bridge").await
    }

    /// Sets the size of the largest packet in octets.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<()> {
        self.set(index, LinkAttribute::Mtu(mtu), "the MTU").await
    }

    /// Sets the link-layer address.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn set_mac(&self, index: u32, mac: [u8; 6]) -> Result<()> {
        self.set(index, LinkAttribute::Address(mac.to_vec()), "the address").await
    }

    /// Moves a link into another namespace, where it keeps its name and is down.
    ///
    /// # Errors
    /// The kernel's error, also when the name is taken there.
    pub async fn move_link(&self, index: u32, namespace: &Namespace) -> Result<()> {
        self.set(index, LinkAttribute::NetNsFd(namespace.as_raw_fd()), "the namespace").await
    }

    async fn set(&self, index: u32, attribute: LinkAttribute, what: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(attribute);
        self.change(RouteNetlinkMessage::NewLink(message), 0, || format!("set {what} of link {index}")).await
    }

    /// The link `name`, if there is one.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn find_link(&self, name: &str) -> Result<Option<Link>> {
        check_link_name(name)?;
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let found = self.query(RouteNetlinkMessage::GetLink(message), false, || format!("look up link {name}"), pick);
        match found.await {
            Ok(links) => Ok(links.into_iter().next()),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The link `name`.
    ///
    /// # Errors
    /// [`Error::NoLink`] if there is none.
    pub async fn link(&self, name: &str) -> Result<Link> {
        self.find_link(name).await?.ok_or_else(|| Error::NoLink(name.to_owned()))
    }

    /// The index of the link `name`.
    ///
    /// # Errors
    /// [`Error::NoLink`] if there is none.
    pub async fn index(&self, name: &str) -> Result<u32> {
        Ok(self.link(name).await?.index)
    }

    /// All links of the namespace.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn links(&self) -> Result<Vec<Link>> {
        self.query(RouteNetlinkMessage::GetLink(LinkMessage::default()), true, || "list links".to_owned(), pick).await
    }
}

/// Deleting what is not there is what was wanted.
pub(crate) fn ignore_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

fn pick(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: Vec::new(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: false,
        master: None,
        kind: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Carrier(carrier) => link.carrier = carrier != 0,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}
