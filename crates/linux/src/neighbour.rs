//! Proxied neighbours: addresses for which the kernel answers ARP and neighbour solicitations on a link although they are not its own.
//!
//! The kernel does so only where it forwards ([`crate::sysctl`]), for IPv6 only with `proxy_ndp`, and for IPv4 only while its route to
//! the address leads out of another link.

use std::net::IpAddr;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::link::ignore_missing;
use crate::{Netlink, Result};

impl Netlink {
    /// Answers for `address` on the link `index`.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn ensure_proxy(&self, index: u32, address: IpAddr) -> Result<()> {
        self.change(RouteNetlinkMessage::NewNeighbour(message(index, address)), NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("proxy {address} on link {index}")
        })
        .await
    }

    /// No longer answers for `address` on the link `index`; no error if it did not.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn remove_proxy(&self, index: u32, address: IpAddr) -> Result<()> {
        ignore_missing(
            self.change(RouteNetlinkMessage::DelNeighbour(message(index, address)), 0, || {
                format!("stop proxying {address} on link {index}")
            })
            .await,
        )
    }

    /// The addresses that are answered for on the link `index`, sorted.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn proxies(&self, index: u32) -> Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = NeighbourMessage::default();
            request.header.family = family;
            request.header.flags = NeighbourFlags::Proxy;
            let query = self.query(
                RouteNetlinkMessage::GetNeighbour(request),
                true,
                || format!("list proxied neighbours of link {index}"),
                |message| pick(&message, index),
            );
            found.extend(query.await?);
        }
        found.sort();
        Ok(found)
    }

    /// Makes `desired` the addresses that are answered for on the link `index`.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn apply_proxies(&self, index: u32, desired: &[IpAddr]) -> Result<()> {
        let present = self.proxies(index).await?;
        for address in present.iter().filter(|address| !desired.contains(address)) {
            self.remove_proxy(index, *address).await?;
        }
        for address in desired.iter().filter(|address| !present.contains(address)) {
            self.ensure_proxy(index, *address).await?;
        }
        Ok(())
    }
}

fn message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Proxy;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
}

fn pick(message: &RouteNetlinkMessage, index: u32) -> Option<IpAddr> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    if message.header.ifindex != index || !message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}
