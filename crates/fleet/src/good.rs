//! The last good configuration of a node: what it starts with when no controller is there.
//!
//! Good is what the node did not refuse. An item that was refused stays as it was good before, and is left out if it never was. Where a node
//! forwards by a lease, what a start must not begin with any more is off the disk before anybody hears of it ([`LastGood::is_owed`]).

use std::io;
use std::path::{Path, PathBuf};

use causeway_crypto::{EnvelopeError, Kek};
use causeway_model::desired::{GatewayDesired, NodeDesired};
use causeway_model::observed::NodeReport;
use zeroize::Zeroizing;

use crate::identity::write_private;

/// The file in the node's directory.
const FILE: &str = "desired.sealed";
/// What the envelope is authenticated with.
const CONTEXT: &str = "node|desired";

/// Why the last good configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GoodError {
    /// The file cannot be read.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Encrypted under another key, or damaged.
    #[error(
        "{path} cannot be opened with the node's key; remove it if the key is lost, the controller sends its content again"
    )]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: EnvelopeError,
    },
    /// Of another version of the program.
    #[error(
        "{path} holds no configuration that this version understands; remove it, the controller sends its content again"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
}

/// The last good configuration, in memory and on disk.
pub struct LastGood {
    path: PathBuf,
    kek: Kek,
    state: NodeDesired,
    /// Whether the disk has [`Self::state`].
    written: bool,
    /// What the disk has that a start must not begin with.
    owes: Owes,
}

/// Of what is on disk and good no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owes {
    /// Nothing, or what the controller says again.
    Nothing,
    /// Something that may be elsewhere by now, or terms that count no more: a start with nothing would do.
    Stale,
    /// Another mode: with what is there, and with nothing, a start would take it for the earlier one.
    Mode,
}

impl LastGood {
    /// Reads what `directory` has; empty if it has none.
    ///
    /// # Errors
    /// If it has something that cannot be read.
    pub fn open(directory: &Path, kek: Kek) -> Result<Self, GoodError> {
        let path = directory.join(FILE);
        let sealed = match std::fs::read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, kek, state: NodeDesired::default(), written: true, owes: Owes::Nothing });
            }
            Err(source) => return Err(GoodError::Io { path, source }),
        };
        let text = kek.open(CONTEXT, &sealed).map_err(|source| GoodError::Sealed { path: path.clone(), source })?;
        let state = serde_json::from_slice(text.slice())
            .map_err(|source| GoodError::Unreadable { path: path.clone(), source })?;
        Ok(Self { path, kek, state, written: true, owes: Owes::Nothing })
    }

    /// What is good.
    #[must_use]
    pub const fn state(&self) -> &NodeDesired {
        &self.state
    }

    /// The node has reported on `desired`: notes what became good.
    pub fn reported(&mut self, desired: &NodeDesired, report: &NodeReport) {
        let merged = merge(&self.state, desired, report);
        if merged != self.state {
            self.owes = owes(&self.state, &merged).max(self.owes);
            self.state = merged;
            self.written = false;
        }
    }

    /// Writes what became good since the last time.
    ///
    /// # Errors
    /// If the disk refuses; then the earlier file stays whole, and the next call tries again.
    pub fn write(&mut self) -> io::Result<()> {
        if self.written {
            return Ok(());
        }
        let text = Zeroizing::new(serde_json::to_vec(&self.state).map_err(io::Error::other)?);
        write_private(&self.path, &self.kek.seal(CONTEXT, &text))?;
        (self.written, self.owes) = (true, Owes::Nothing);
        Ok(())
    }

    /// Whether the disk has to be brought up to date before anybody hears of what was reported last: from then on something may run elsewhere, or
    /// other terms count, and a start with what is on disk would not know.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.owes != Owes::Nothing
    }

    /// Makes the disk say nothing rather than what is good no more, if that is enough and the disk takes that; whether it does. A start begins
    /// with nothing then, and closed.
    pub fn withdraw(&mut self) -> bool {
        if self.owes == Owes::Stale && remove(&self.path).is_ok() {
            self.owes = Owes::Nothing;
        }
        !self.is_owed()
    }

    /// Forgets everything: the node is no longer one.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn forget(&mut self) -> io::Result<()> {
        self.state = NodeDesired::default();
        (self.written, self.owes) = (true, Owes::Nothing);
        remove(&self.path)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a start with `old` would get wrong when `new` is good. Without a lease a node goes on with what it had anyway.
fn owes(old: &NodeDesired, new: &NodeDesired) -> Owes {
    if old.failover != new.failover || old.lease.is_some() != new.lease.is_some() {
        return Owes::Mode;
    }
    if !new.failover {
        return Owes::Nothing;
    }
    let stays = |gateway: &GatewayDesired| {
        let addresses = |gateway: &GatewayDesired| {
            (gateway.network, gateway.public_addresses.clone(), gateway.private_addresses.clone())
        };
        let known = new.gateways.iter().find(|known| known.id == gateway.id);
        known.is_some_and(|known| addresses(known) == addresses(gateway))
    };
    let stay = old.gateways.iter().all(stays)
        && old.vpcs.iter().all(|vpc| new.vpcs.iter().any(|known| known.id == vpc.id))
        && old.links.iter().all(|link| new.links.iter().any(|known| known.id == link.id));
    if stay && old.lease == new.lease { Owes::Nothing } else { Owes::Stale }
}

fn merge(good: &NodeDesired, desired: &NodeDesired, report: &NodeReport) -> NodeDesired {
    let refused_vpcs: Vec<_> =
        report.vpcs.iter().filter(|facts| facts.refused.is_some()).map(|facts| facts.id).collect();
    let vpcs = desired.vpcs.iter().map(|vpc| {
        let before = good.vpcs.iter().find(|known| known.id == vpc.id).filter(|_| refused_vpcs.contains(&vpc.id));
        before.unwrap_or(vpc).clone()
    });
    let refused: Vec<_> =
        report.gateways.iter().filter(|facts| facts.refused.is_some()).map(|facts| facts.id).collect();
    let refused_connections: Vec<_> =
        report.connections.iter().filter(|facts| facts.refused.is_some()).map(|facts| facts.id).collect();
    let gateways = desired.gateways.iter().filter_map(|gateway| {
        let before = good.gateways.iter().find(|known| known.id == gateway.id);
        if refused.contains(&gateway.id) {
            return before.cloned();
        }
        let mut gateway = gateway.clone();
        gateway.connections = gateway
            .connections
            .into_iter()
            .filter_map(|connection| {
                if !refused_connections.contains(&connection.id) {
                    return Some(connection);
                }
                before?.connections.iter().find(|known| known.id == connection.id).cloned()
            })
            .collect();
        Some(gateway)
    });
    let refused_links: Vec<_> =
        report.links.iter().filter(|facts| facts.refused.is_some()).map(|facts| facts.id).collect();
    let links = desired.links.iter().filter_map(|link| {
        if !refused_links.contains(&link.id) {
            return Some(link.clone());
        }
        good.links.iter().find(|known| known.id == link.id).cloned()
    });
    NodeDesired {
        revision: desired.revision,
        vpcs: vpcs.collect(),
        gateways: gateways.collect(),
        failover: desired.failover,
        links: links.collect(),
        peers: desired.peers.clone(),
        lease: desired.lease.clone(),
    }
}

#[cfg(test)]
mod tests {
    use causeway_crypto::SeededEntropy;
    use std::collections::BTreeMap;

    use causeway_model::desired::{GatewayDesired, LeaseDesired, LeaseTerms, VpcDesired};
    use causeway_model::observed::{GatewayFacts, Refusal};
    use causeway_model::{PrivateNetworkId, VpcId, VpnGatewayId};
    use uuid::Uuid;

    use super::*;

    fn desired(revision: u64, gateways: &[u128]) -> NodeDesired {
        let vpc = VpcId(Uuid::from_u128(1));
        let gateway = |id: &u128| GatewayDesired {
            id: VpnGatewayId(Uuid::from_u128(*id)),
            vpc,
            network: PrivateNetworkId(Uuid::from_u128(2)),
            revision,
            asn: 64500,
            private_addresses: Vec::new(),
            public_addresses: vec![[192, 0, 2, 77].into()],
            bandwidth: 0,
            locked: false,
            connections: Vec::new(),
        };
        NodeDesired {
            revision,
            vpcs: vec![VpcDesired::new(vpc, Vec::new())],
            gateways: gateways.iter().map(gateway).collect(),
            failover: false,
            links: Vec::new(),
            peers: Vec::new(),
            lease: None,
        }
    }

    fn report(desired: &NodeDesired, refused: &[u128]) -> NodeReport {
        let gateways = desired.gateways.iter().map(|gateway| {
            let is_refused = refused.iter().any(|id| gateway.id.0 == Uuid::from_u128(*id));
            let refusal = Refusal { revision: gateway.revision, item: "x".to_owned(), error: "y".to_owned() };
            GatewayFacts { id: gateway.id, applied: gateway.revision, refused: is_refused.then_some(refusal) }
        });
        NodeReport { revision: desired.revision, gateways: gateways.collect(), ..NodeReport::default() }
    }

    fn kek(seed: u64) -> Kek {
        Kek::generate(&mut SeededEntropy::new(seed))
    }

    #[test]
    fn what_was_refused_stays_as_it_was_good() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut good = LastGood::open(directory.path(), kek(1)).expect("empty");
        assert_eq!(*good.state(), NodeDesired::default());
        let first = desired(1, &[10, 11]);
        good.reported(&first, &report(&first, &[11]));
        assert_eq!(good.state().gateways.len(), 1, "what was never good is left out");
        let second = desired(2, &[10, 11]);
        good.reported(&second, &report(&second, &[10]));
        let revisions: Vec<u64> = good.state().gateways.iter().map(|gateway| gateway.revision).collect();
        assert_eq!(revisions, [1, 2]);
        good.write().expect("written");
        let again = LastGood::open(directory.path(), kek(1)).expect("opens");
        assert_eq!(again.state(), good.state());
        good.forget().expect("removed");
        assert_eq!(*LastGood::open(directory.path(), kek(1)).expect("empty").state(), NodeDesired::default());
    }

    #[test]
    fn what_may_run_elsewhere_and_terms_that_count_no_more_leave_the_disk_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut good = LastGood::open(directory.path(), kek(1)).expect("empty");
        let terms = |number| LeaseTerms { number, voters: Vec::new(), lease_ms: 1, machines: BTreeMap::new() };
        let lease = |number| Some(LeaseDesired { epoch: 0, terms: terms(number) });
        let leased = |revision, gateways: &[u128], number| NodeDesired {
            failover: true,
            lease: lease(number),
            ..desired(revision, gateways)
        };
        let mut report = |state: &NodeDesired| {
            good.reported(state, &report(state, &[]));
            let owed = good.is_owed();
            let withdrawn = good.withdraw();
            let on_disk = good.path.exists();
            good.write().expect("written");
            assert!(!good.is_owed());
            (owed, withdrawn, on_disk)
        };
        assert_eq!(report(&desired(1, &[10, 11])), (false, true, false));
        assert_eq!(report(&desired(2, &[10])), (false, true, true), "without a lease a node goes on with what it had");
        assert_eq!(
            report(&leased(3, &[10, 11], 1)),
            (true, false, true),
            "a start with nothing would not know the mode"
        );
        assert_eq!(report(&leased(4, &[10, 11, 12], 1)), (false, true, true), "one more");
        assert_eq!(report(&leased(5, &[10, 12], 1)), (true, true, false), "one gateway less");
        assert_eq!(report(&leased(6, &[10, 12], 2)), (true, true, false), "other terms");
        let mut moved = leased(7, &[10, 12], 2);
        moved.gateways[0].public_addresses = vec![[192, 0, 2, 78].into()];
        assert_eq!(report(&moved), (true, true, false), "an address that somebody else may have now");
        moved.vpcs.clear();
        assert_eq!(report(&moved), (true, true, false), "a router");
        assert_eq!(report(&desired(8, &[10, 12])), (true, false, true), "no lease any more");
    }

    #[test]
    fn the_file_says_nothing_without_the_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut good = LastGood::open(directory.path(), kek(1)).expect("empty");
        let state = desired(1, &[10]);
        good.reported(&state, &report(&state, &[]));
        good.write().expect("written");
        let octets = std::fs::read(directory.path().join(FILE)).expect("a file");
        let clear = b"192.0.2.77";
        assert!(!octets.windows(clear.len()).any(|window| window == clear));
        assert!(matches!(LastGood::open(directory.path(), kek(2)), Err(GoodError::Sealed { .. })));
        std::fs::write(directory.path().join(FILE), octets.get(..40).unwrap_or_default()).expect("cut");
        assert!(matches!(LastGood::open(directory.path(), kek(1)), Err(GoodError::Sealed { .. })));
    }
}
