//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, CacheInfo};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::link::ignore_missing;
use crate::{Netlink, Result};

/// How an address is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressOptions {
    /// Do not add the route to the address's subnet.
    pub no_prefix_route: bool,
    /// IPv6: usable at once, without duplicate address detection.
    pub no_dad: bool,
    /// IPv6: no source of anything that does not ask for it (deprecated, RFC 4862 §5.5.4). IPv4 knows no such thing.
    pub never_chosen: bool,
}

impl Netlink {
    /// Gives the link `index` the address, unless it has it with the same mask already.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn ensure_address(&self, index: u32, address: IpNet, options: AddressOptions) -> Result<()> {
        if self.addresses(index).await?.contains(&address) {
            return Ok(());
        }
        self.add_address(index, address, options).await
    }

    /// Makes `desired` the addresses of the link `index`: adds what is missing and removes the rest, but for IPv6 link-local addresses.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn apply_addresses(&self, index: u32, desired: &[IpNet], options: AddressOptions) -> Result<()> {
        for address in self.addresses(index).await? {
            let link_local = matches!(address.addr(), IpAddr::V6(address) if address.is_unicast_link_local());
            if !link_local && !desired.contains(&address) {
                self.remove_address(index, address).await?;
            }
        }
        // Listed again: with an IPv4 address the kernel may have removed others of the same subnet.
        let present = self.addresses(index).await?;
        for address in desired.iter().filter(|address| !present.contains(address)) {
            self.add_address(index, *address, options).await?;
        }
        Ok(())
    }

    async fn add_address(&self, index: u32, address: IpNet, options: AddressOptions) -> Result<()> {
        let mut flags = AddressFlags::empty();
        flags.set(AddressFlags::Noprefixroute, options.no_prefix_route);
        flags.set(AddressFlags::Nodad, options.no_dad && address.addr().is_ipv6());
        let mut message = message(index, address);
        message.header.flags = AddressHeaderFlags::from_bits_truncate(flags.bits().to_le_bytes()[0]);
        message.attributes.push(AddressAttribute::Flags(flags));
        if options.never_chosen && address.addr().is_ipv6() {
            let mut times = CacheInfo::default();
            (times.ifa_preferred, times.ifa_valid) = (0, u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(times));
        }
        if let IpNet::V4(net) = address
            && net.prefix_len() < 31
        {
            message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
        }
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("add address {address} to link {index}")
        })
        .await
    }

    /// Takes the address from the link `index`; no error if it does not have it.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn remove_address(&self, index: u32, address: IpNet) -> Result<()> {
        ignore_missing(
            self.change(RouteNetlinkMessage::DelAddress(message(index, address)), 0, || {
                format!("remove address {address} from link {index}")
            })
            .await,
        )
    }

    /// The addresses of the link `index`, IPv4 first.
    ///
    /// # Errors
    /// The kernel's error.
    pub async fn addresses(&self, index: u32) -> Result<Vec<IpNet>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = AddressMessage::default();
            request.header.family = family;
            let query = self.query(
                RouteNetlinkMessage::GetAddress(request),
                true,
                || format!("list addresses of link {index}"),
                |message| pick(&message, index),
            );
            found.extend(query.await?);
        }
        Ok(found)
    }
}

fn message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match address {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.index = index;
    message.header.prefix_len = address.prefix_len();
    message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    message
}

fn pick(message: &RouteNetlinkMessage, index: u32) -> Option<IpNet> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    if message.header.index != index {
        return None;
    }
    // On point-to-point links IFA_ADDRESS is the peer and IFA_LOCAL ours; IPv6 has IFA_ADDRESS only, otherwise.
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => {
                address = Some(*local);
                break;
            }
            AddressAttribute::Address(other) => address = Some(*other),
            _ => {}
        }
    }
    let address = address.filter(|address| *address != IpAddr::V4(Ipv4Addr::UNSPECIFIED))?;
    IpNet::new(address, message.header.prefix_len).ok()
}
