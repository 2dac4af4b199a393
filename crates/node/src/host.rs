//! The node's own namespace: the underlay with the public addresses, and the bridges of Private Networks.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use causeway_linux::{AddressOptions, Link, Namespace, Netlink, sysctl};
use causeway_model::Family;
use ipnet::IpNet;
use uuid::Uuid;

use crate::error::SetupError;
use crate::lease::LeaseGate;
use crate::ownership::{Ledger, Thing};

/// The bridge that the node makes when no underlay interface is named.
pub(crate) const OWN_UNDERLAY: &str = "cw-underlay";
/// Octets of a packet on an interface that is not known.
const ETHERNET_MTU: u32 = 1500;
/// An address is announced at once and again after these delays: frames get lost, and a neighbour may be starting.
const ANNOUNCE_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// The underlay interface as it is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Underlay {
    index: u32,
    mtu: u32,
}

/// The bridge that a Private Network is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bridge {
    /// Its index.
    pub(crate) index: u32,
    /// Whether the node makes it, rather than the operator.
    pub(crate) own: bool,
}

/// What is shared by everything that the node runs.
pub(crate) struct Host {
    /// Netlink in the node's own namespace.
    netlink: Netlink,
    /// The underlay interface, by name.
    underlay: String,
    /// `None` while it does not exist.
    present: Mutex<Option<Underlay>>,
    namespace: Namespace,
    /// What stops gateways' traffic without a lease.
    gate: LeaseGate,
    ledger: Mutex<Ledger>,
}

impl Host {
    /// Opens the host, and removes what a killed predecessor left behind: namespaces and public addresses. Bridges stay, since hosts
    /// may be attached to them; those that are not wanted any more go with the first configuration. The underlay need not be there yet:
    /// see [`Self::watch_underlay`].
    pub(crate) async fn open(state_dir: &Path, underlay: &str, gate: LeaseGate) -> Result<Self, SetupError> {
        let step = |item: &str| SetupError::at::<causeway_linux::Error>(item);
        let netlink = Netlink::current().map_err(step("netlink"))?;
        let namespace = Namespace::current().map_err(step("the node's namespace"))?;
        let ledger = Ledger::open(state_dir).map_err(SetupError::at("the list of things made in the kernel"))?;
        let underlay = if underlay.is_empty() { OWN_UNDERLAY } else { underlay }.to_owned();
        let (present, ledger) = (Mutex::default(), Mutex::new(ledger));
        let host = Self { netlink, underlay, present, namespace, gate, ledger };
        let bridges = host.things(|thing| matches!(thing, Thing::Bridge(_) | Thing::Port { .. }));
        // What cannot be removed now is tried again with every configuration, and stands in nobody's way but its own.
        host.keep(&bridges.into_iter().collect()).await;
        Ok(host)
    }

    /// Netlink in the node's own namespace.
    pub(crate) const fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// The node's own namespace.
    pub(crate) const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What stops gateways' traffic without a lease.
    pub(crate) const fn gate(&self) -> &LeaseGate {
        &self.gate
    }

    /// MTU of the underlay, octets; Ethernet's while it is not there.
    pub(crate) fn underlay_mtu(&self) -> u32 {
        self.present().map_or(ETHERNET_MTU, |present| present.mtu)
    }

    /// Whether the interface is the underlay.
    pub(crate) fn is_underlay(&self, name: &str) -> bool {
        name == self.underlay
    }

    fn present(&self) -> Option<Underlay> {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the underlay interface, which may come, go and change while the node runs. Whether anything changed since the last look.
    pub(crate) async fn watch_underlay(&self) -> Result<bool, SetupError> {
        let found = self.find_underlay().await;
        let seen = found.as_ref().ok().copied();
        let before = std::mem::replace(&mut *self.present.lock().unwrap_or_else(PoisonError::into_inner), seen);
        // Before addresses come there.
        self.gate.underlay(seen.map(|seen| seen.index)).await?;
        found.map(|found| before != Some(found))
    }

    async fn find_underlay(&self) -> Result<Underlay, SetupError> {
        let name = &self.underlay;
        let item = format!("underlay interface {name}");
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        if name == OWN_UNDERLAY && self.netlink.find_link(name).await.map_err(step())?.is_none() {
            self.record(Thing::Bridge(name.clone())).map_err(SetupError::at(&item))?;
            self.netlink.create_bridge(name).await.map_err(step())?;
        }
        let link = self.netlink.link(name).await.map_err(step())?;
        if !link.up {
            self.netlink.set_up(link.index, true).await.map_err(step())?;
        }
        Ok(Underlay { index: link.index, mtu: link.mtu })
    }

    /// Puts `thing` on the list of what a later start may have to remove.
    pub(crate) fn record(&self, thing: Thing) -> std::io::Result<()> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).add(thing)
    }

    /// Takes `thing` off that list. A failure to write is logged: the list then names something that is gone, which does no harm.
    pub(crate) fn forget(&self, thing: &Thing) {
        if let Err(error) = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).remove(thing) {
            tracing::warn!(%error, "cannot write the list of things made in the kernel");
        }
    }

    fn is_ours(&self, thing: &Thing) -> bool {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).things().any(|other| other == thing)
    }

    fn things(&self, which: impl Fn(&Thing) -> bool) -> Vec<Thing> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.things().filter(|thing| which(thing)).cloned().collect()
    }

    /// Makes a namespace that forwards, on the list. One that is there already is somebody else's and stays as it is.
    pub(crate) fn make_namespace(&self, name: &str) -> Result<Namespace, SetupError> {
        self.make_namespace_with(name, |namespace| {
            sysctl::apply(namespace, &sysctl::forwarding())?;
            sysctl::spread_independently(namespace, random_seed())
        })
    }

    /// As [`Self::make_namespace`], one that never forwards.
    pub(crate) fn make_closed_namespace(&self, name: &str) -> Result<Namespace, SetupError> {
        self.make_namespace_with(name, |namespace| sysctl::apply(namespace, &sysctl::closed()))
    }

    fn make_namespace_with(
        &self,
        name: &str,
        set: impl FnOnce(&Namespace) -> Result<(), causeway_linux::Error>,
    ) -> Result<Namespace, SetupError> {
        let item = format!("namespace {name}");
        let thing = Thing::Namespace(name.to_owned());
        if Namespace::exists(name) {
            let left = self.is_ours(&thing);
            let error = if left { "an earlier one cannot be removed" } else { "somebody else has one of that name" };
            return Err(SetupError { item, error: error.to_owned() });
        }
        self.record(thing).map_err(SetupError::at(&item))?;
        let made = Namespace::create(name).and_then(|namespace| {
            set(&namespace)?;
            Ok(namespace)
        });
        made.inspect_err(|_| self.remove_namespace(name)).map_err(SetupError::at(&item))
    }

    /// Removes a namespace of ours and takes it off the list.
    pub(crate) fn remove_namespace(&self, name: &str) {
        let thing = Thing::Namespace(name.to_owned());
        if !self.is_ours(&thing) {
            return;
        }
        match Namespace::delete(name) {
            Ok(()) => self.forget(&thing),
            Err(error) => tracing::warn!(%error, namespace = name, "cannot remove a namespace; tried again later"),
        }
    }

    /// A public address as a thing on the list.
    pub(crate) fn public_address(&self, address: IpAddr) -> Thing {
        Thing::Address { interface: self.underlay.clone(), address: host_net(address) }
    }

    /// Puts a public address on the underlay. One that the operator has put there is used as it is, and is never taken away.
    pub(crate) async fn add_public_address(&self, address: IpAddr) -> Result<(), SetupError> {
        let Some(Underlay { index, .. }) = self.present() else {
            let (item, error) = (format!("underlay interface {}", self.underlay), "it does not exist".to_owned());
            return Err(SetupError { item, error });
        };
        let item = format!("underlay address {address}");
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        let thing = self.public_address(address);
        let there = self.netlink.addresses(index).await.map_err(step())?.iter().any(|net| net.addr() == address);
        // For one of the operator's, the machine answers always: it is the machine's own, too.
        self.gate.include(address, !there || self.is_ours(&thing)).await?;
        if there {
            return Ok(());
        }
        if UdpSocket::bind((address, 0)).is_ok() {
            let holder = self.holder_of(address).await.unwrap_or_else(|| "another interface".to_owned());
            return Err(SetupError { item, error: format!("it is on {holder} already") });
        }
        self.record(thing.clone()).map_err(SetupError::at(&item))?;
        let options = AddressOptions { no_prefix_route: true, no_dad: true, never_chosen: true };
        let added = self.netlink.ensure_address(index, host_net(address), options).await;
        added.inspect_err(|_| self.forget(&thing)).map_err(step())
    }

    /// Those of `addresses` that the underlay does not have.
    pub(crate) async fn missing(&self, mut addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, SetupError> {
        let Some(Underlay { index, .. }) = self.present() else { return Ok(Vec::new()) };
        if !addresses.is_empty() {
            let item = format!("underlay interface {}", self.underlay);
            let there = self.netlink.addresses(index).await.map_err(SetupError::at(&item))?;
            addresses.retain(|address| !there.iter().any(|net| net.addr() == *address));
        }
        Ok(addresses)
    }

    /// The interface that has `address`, for people to read.
    async fn holder_of(&self, address: IpAddr) -> Option<String> {
        for link in self.netlink.links().await.ok()? {
            if self.netlink.addresses(link.index).await.ok()?.iter().any(|net| net.addr() == address) {
                return Some(link.name);
            }
        }
        None
    }

    /// Takes a public address away, if this node has put it there. No socket is bound to it any more.
    pub(crate) async fn remove_public_address(&self, address: IpAddr) {
        let thing = self.public_address(address);
        if !self.is_ours(&thing) || self.remove(&thing).await {
            self.gate.exclude(address).await;
        }
    }

    /// Tells the underlay where `addresses` are, now and twice more.
    pub(crate) async fn announce(&self, addresses: Vec<IpAddr>) {
        let link = match self.netlink.link(&self.underlay).await {
            Ok(link) => link,
            Err(error) => {
                tracing::warn!(%error, "cannot announce public addresses");
                return;
            }
        };
        announce(self.namespace.clone(), link, addresses);
    }

    /// The bridge of a Private Network. Nothing named: one called `own` that the node makes. A bridge named: that one, as it is. Another
    /// interface named: one called `own`, with the interface as a port.
    pub(crate) async fn attach(&self, own: &str, named: Option<&str>) -> Result<Bridge, SetupError> {
        let Some(name) = named else { return self.own_bridge(own).await };
        let item = format!("bridge or interface {name}");
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        let link = self.netlink.link(name).await.map_err(step())?;
        if link.kind.as_deref() == Some("bridge") {
            self.raise(&link).await.map_err(step())?;
            return Ok(Bridge { index: link.index, own: false });
        }
        let refuse = |error: String| Err(SetupError { item: item.clone(), error });
        if self.is_underlay(name) {
            return refuse("it is the underlay; name another interface, or a bridge".to_owned());
        }
        // Whatever has an address here would lose its way out through a bridge.
        let theirs = self.netlink.addresses(link.index).await.map_err(step())?;
        let routed = |net: &&IpNet| !matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
        if let Some(address) = theirs.iter().find(routed) {
            return refuse(format!(
                "it has the address {address}: move that to a bridge of your own and name the bridge, or take it away"
            ));
        }
        let held = self.find_own_bridge(own).await?;
        if link.master.is_some() && link.master != held {
            return refuse("it is a port of another bridge; name that bridge instead".to_owned());
        }
        let bridge = self.own_bridge(own).await?;
        if link.master != Some(bridge.index) {
            let thing = Thing::Port { interface: name.to_owned(), bridge: own.to_owned() };
            self.record(thing).map_err(SetupError::at(&item))?;
            self.netlink.set_master(link.index, Some(bridge.index)).await.map_err(step())?;
        }
        self.raise(&link).await.map_err(step())?;
        Ok(bridge)
    }

    /// Takes an interface off a bridge of ours, if it is still a port of that.
    async fn unplug(&self, interface: &str, bridge: &str) -> Result<(), causeway_linux::Error> {
        let (link, bridge) = (self.netlink.find_link(interface).await?, self.netlink.find_link(bridge).await?);
        match (link, bridge) {
            (Some(link), Some(bridge)) if link.master == Some(bridge.index) => {
                self.netlink.set_master(link.index, None).await
            }
            _ => Ok(()),
        }
    }

    async fn find_own_bridge(&self, name: &str) -> Result<Option<u32>, SetupError> {
        let found = self.netlink.find_link(name).await.map_err(SetupError::at(&format!("bridge {name}")))?;
        Ok(found.map(|link| link.index))
    }

    async fn own_bridge(&self, name: &str) -> Result<Bridge, SetupError> {
        let item = format!("bridge {name}");
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        let thing = Thing::Bridge(name.to_owned());
        if self.find_own_bridge(name).await?.is_none() {
            self.record(thing.clone()).map_err(SetupError::at(&item))?;
            self.netlink.create_bridge(name).await.map_err(step())?;
        }
        let link = self.netlink.link(name).await.map_err(step())?;
        if link.kind.as_deref() != Some("bridge") {
            let kind = link.kind.unwrap_or_else(|| "device".to_owned());
            return Err(SetupError { item, error: format!("a {kind} has that name") });
        }
        if self.is_ours(&thing) {
            sysctl::layer_two_only(name).and_then(|settings| sysctl::apply_here(&settings)).map_err(step())?;
        }
        self.raise(&link).await.map_err(step())?;
        Ok(Bridge { index: link.index, own: true })
    }

    async fn raise(&self, link: &Link) -> Result<(), causeway_linux::Error> {
        if link.up { Ok(()) } else { self.netlink.set_up(link.index, true).await }
    }

    /// Removes everything on the list that is not among `wanted`. Whether all of that is gone.
    pub(crate) async fn keep(&self, wanted: &BTreeSet<Thing>) -> bool {
        let own = Thing::Bridge(self.underlay.clone());
        let mut clean = true;
        for thing in self.things(|thing| !wanted.contains(thing) && *thing != own) {
            clean &= self.remove(&thing).await;
        }
        clean
    }

    /// Removes a thing of ours and takes it off the list. Whether it is gone.
    async fn remove(&self, thing: &Thing) -> bool {
        let removed = match thing {
            Thing::Namespace(name) => Namespace::delete(name),
            Thing::Bridge(name) => self.netlink.delete_link_by_name(name).await.map(drop),
            Thing::Port { interface, bridge } => self.unplug(interface, bridge).await,
            Thing::Address { interface, address } => match self.netlink.find_link(interface).await {
                Ok(Some(link)) => self.netlink.remove_address(link.index, *address).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
        };
        match removed {
            Ok(()) => self.forget(thing),
            Err(error) => {
                tracing::warn!(%error, ?thing, "cannot be removed; tried again later");
                return false;
            }
        }
        true
    }

    /// Removes everything on the list that is still there: the orderly end. The gate goes when nothing is left that it stops.
    pub(crate) async fn close(&self) {
        let mut clean = self.keep(&BTreeSet::new()).await;
        let own = Thing::Bridge(self.underlay.clone());
        if self.is_ours(&own) {
            clean &= self.remove(&own).await;
        }
        if clean {
            self.gate.end().await;
        }
    }
}

/// Tells the neighbours on a link of `namespace` where `addresses` are, now and twice more.
pub(crate) fn announce(namespace: Namespace, link: Link, addresses: Vec<IpAddr>) {
    tokio::spawn(async move {
        for delay in [Duration::ZERO].into_iter().chain(ANNOUNCE_AGAIN) {
            tokio::time::sleep(delay).await;
            if let Err(error) = causeway_linux::announce(&namespace, &link, &addresses) {
                tracing::debug!(%error, link = link.name, "cannot announce addresses");
            }
        }
    });
}

/// For [`sysctl::spread_independently`].
fn random_seed() -> NonZeroU32 {
    // The first 32 bits of a version 4 UUID are random (RFC 9562 §5.4).
    NonZeroU32::new(Uuid::new_v4().as_fields().0).unwrap_or(NonZeroU32::MIN)
}

/// `address` as a /32 or /128.
pub(crate) fn host_net(address: IpAddr) -> IpNet {
    IpNet::new_assert(address, Family::of(address).max_prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[ignore = "needs root"]
    async fn what_others_made_is_neither_taken_nor_removed() {
        let dir = std::env::temp_dir().join(format!("causeway-host-{}", std::process::id()));
        let name = format!("cwnd-host-{}", std::process::id());
        let gate = || LeaseGate::new("cwnd-none").expect("a gate");
        let host = Host::open(&dir, "cwnd-none", gate()).await.expect("a host without its underlay");
        let theirs = Namespace::create(&name).expect("somebody else's namespace");
        let refused = host.make_namespace(&name).expect_err("taken");
        assert_eq!(refused.item, format!("namespace {name}"));
        host.remove_namespace(&name);
        assert!(Namespace::exists(&name), "not ours to remove");
        assert!(host.things(|_| true).is_empty(), "nothing of ours on the list");
        Namespace::delete(&name).expect("deleted");
        drop(theirs);

        // Ours is, by whoever runs next.
        host.make_namespace(&name).expect("free now");
        drop(host);
        let next = Host::open(&dir, "cwnd-none", gate()).await.expect("the next start");
        assert!(!Namespace::exists(&name));
        assert!(next.things(|_| true).is_empty());

        let error = next.watch_underlay().await.expect_err("there is none");
        assert_eq!(error.item, "underlay interface cwnd-none");
        let error = next.add_public_address(IpAddr::from([192, 0, 2, 1])).await.expect_err("nowhere to put it");
        assert_eq!(error.item, "underlay interface cwnd-none");
        let error = next.attach("lo", None).await.expect_err("no bridge");
        assert_eq!(error.item, "bridge lo");
        let error = next.attach("cwnd-own", Some("cwnd-none")).await.expect_err("a named bridge is not made");
        assert_eq!(error.item, "bridge or interface cwnd-none");
        let error = next.attach("cwnd-own", Some("lo")).await.expect_err("in use");
        assert!(error.error.contains("127.0.0.1/8"), "{error}");
        assert!(next.netlink().find_link("cwnd-own").await.expect("a look").is_none(), "nothing half made");
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
