//! A table on its way to what it shall be: read, compared, changed in as many steps as its owner likes.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::{Applied, RouteSpec};
use crate::{Error, Netlink, Result};

/// Changes under way at once: enough to hide the wake-ups, few enough that no answer is lost for want of buffer.
const IN_FLIGHT: usize = 64;
/// Rounds of reading, comparing and changing before giving up.
const ROUNDS: usize = 4;

/// What names a route within a table.
type Key = (IpNet, u32);

fn key(spec: &RouteSpec) -> Key {
    (spec.destination, spec.metric.unwrap_or(0))
}

/// One step from what a table holds to what it shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A route that is missing.
    Add(RouteSpec),
    /// A route that is there in another form.
    Replace(RouteSpec),
    /// A route that shall not be there.
    Delete(RouteSpec),
}

impl Change {
    /// The route after the change, or the one that goes.
    #[must_use]
    pub const fn spec(&self) -> &RouteSpec {
        match self {
            Self::Add(spec) | Self::Replace(spec) | Self::Delete(spec) => spec,
        }
    }
}

/// What turns `present` into `desired`; both in normal form. Deletions come last: a route's replacement with another metric is
/// there before the old one goes.
fn difference(present: &BTreeMap<Key, Vec<RouteSpec>>, desired: &BTreeMap<Key, RouteSpec>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut deletions = Vec::new();
    for (key, wanted) in desired {
        match present.get(key).map_or(&[][..], Vec::as_slice) {
            [] => changes.push(Change::Add(wanted.clone())),
            [spec] if spec == wanted => {}
            [_] => changes.push(Change::Replace(wanted.clone())),
            // Several of ours with one key can only be left by somebody playing with our protocol number.
            specs => deletions.extend(specs.iter().filter(|spec| *spec != wanted).cloned().map(Change::Delete)),
        }
    }
    let surplus = present.iter().filter(|(key, _)| !desired.contains_key(*key));
    deletions.extend(surplus.flat_map(|(_, specs)| specs).cloned().map(Change::Delete));
    changes.extend(deletions);
    changes
}

fn arrange(specs: impl IntoIterator<Item = RouteSpec>) -> BTreeMap<Key, Vec<RouteSpec>> {
    let mut held: BTreeMap<Key, Vec<RouteSpec>> = BTreeMap::new();
    for spec in specs {
        held.entry(key(&spec)).or_default().push(spec);
    }
    held
}

/// The routes of one table that carry one protocol number; all others are never touched. It remembers what it read and changed, so that a
/// small change to a large table costs little, and its owner may stop between any two steps and go on towards something newer.
#[derive(Debug)]
pub struct RouteTable {
    netlink: Netlink,
    protocol: u8,
    table: u32,
    /// What the kernel holds; `None`: to be read.
    present: Option<BTreeMap<Key, Vec<RouteSpec>>>,
    /// The kernel did not end up with what was asked for, which happens when the next hops of an IPv6 route change their kind: then the old
    /// route goes first.
    thorough: bool,
}

impl RouteTable {
    /// Nothing is read before the first [`Self::plan`].
    #[must_use]
    pub const fn new(netlink: Netlink, protocol: u8, table: u32) -> Self {
        Self { netlink, protocol, table, present: None, thorough: false }
    }

    /// The next [`Self::plan`] looks at the kernel instead of relying on memory. For when links or addresses changed, which takes routes
    /// along, or somebody else may have meddled.
    pub fn forget(&mut self) {
        self.present = None;
    }

    /// What has to change so that the table holds exactly `desired`: additions and replacements in the order of destinations, then deletions.
    ///
    /// # Errors
    /// [`Error::Route`] for a route that can't be, or the kernel's error.
    pub async fn plan<'a>(&mut self, desired: impl IntoIterator<Item = &'a RouteSpec>) -> Result<Vec<Change>> {
        let mut wanted = BTreeMap::new();
        for spec in desired {
            let wrong = |problem| Err(Error::Route { destination: spec.destination, problem });
            if spec.table != self.table {
                return wrong("belongs to another table");
            }
            let spec = spec.normal()?;
            if wanted.insert(key(&spec), spec).is_some() {
                return wrong("appears twice with the same metric");
            }
        }
        let present = match &mut self.present {
            Some(present) => present,
            unknown => {
                let read = self.netlink.dump(Some(self.protocol), self.table).await?;
                unknown.insert(arrange(read.into_iter().map(|route| route.spec)))
            }
        };
        Ok(difference(present, &wanted))
    }

    /// Makes changes of one plan, in any order. When one fails, the table is read again before the next plan.
    ///
    /// # Errors
    /// A connection that failed; what the kernel refuses is in the result.
    pub async fn carry_out(&mut self, changes: Vec<Change>) -> Result<Applied> {
        let (netlink, protocol, thorough) = (&self.netlink, self.protocol, self.thorough);
        let mut results = stream::iter(changes)
            .map(|change| async move {
                let result = change_one(netlink, protocol, &change, thorough).await;
                (change, result)
            })
            .buffer_unordered(IN_FLIGHT);
        let mut applied = Applied::default();
        while let Some((change, result)) = results.next().await {
            let spec = change.spec();
            match result {
                Ok(()) => {
                    match change {
                        Change::Add(_) => applied.added += 1,
                        Change::Replace(_) => applied.replaced += 1,
                        Change::Delete(_) => applied.deleted += 1,
                    }
                    remember(&mut self.present, change);
                    continue;
                }
                Err(error @ Error::Closed { .. }) => {
                    self.present = None;
                    return Err(error);
                }
                Err(error) if error.is_exists() && matches!(change, Change::Add(_)) => {
                    applied.foreign.push(spec.destination);
                }
                Err(error) => {
                    applied.lost |= matches!(error, Error::NoAnswer { .. });
                    applied.failed.push((spec.destination, error.to_string()));
                }
            }
            self.present = None;
        }
        applied.foreign.sort_unstable();
        applied.failed.sort_unstable();
        Ok(applied)
    }

    /// Whether replacing deletes first, for kernels that keep something of the old route.
    pub const fn set_thorough(&mut self, thorough: bool) {
        self.thorough = thorough;
    }
}

/// Enters a change that was made.
fn remember(present: &mut Option<BTreeMap<Key, Vec<RouteSpec>>>, change: Change) {
    let Some(present) = present else { return };
    let key = key(change.spec());
    match change {
        Change::Add(spec) | Change::Replace(spec) => drop(present.insert(key, vec![spec])),
        Change::Delete(spec) => {
            if let Some(specs) = present.get_mut(&key) {
                specs.retain(|other| *other != spec);
                if specs.is_empty() {
                    present.remove(&key);
                }
            }
        }
    }
}

async fn change_one(netlink: &Netlink, protocol: u8, change: &Change, thorough: bool) -> Result<()> {
    match change {
        Change::Add(spec) => netlink.put(protocol, spec, NLM_F_CREATE | NLM_F_EXCL).await,
        Change::Replace(spec) if thorough => {
            netlink.take(protocol, spec).await?;
            netlink.put(protocol, spec, NLM_F_CREATE | NLM_F_EXCL).await
        }
        Change::Replace(spec) => netlink.put(protocol, spec, NLM_F_CREATE | NLM_F_REPLACE).await,
        Change::Delete(spec) => netlink.take(protocol, spec).await,
    }
}

impl Netlink {
    /// Makes `desired` the routes in `table` that carry `protocol`: reads them, replaces what differs, deletes the rest. Routes
    /// of any other protocol are never touched. Applying the same again changes nothing. When answers are lost the table is read again and
    /// the rest is done; what the kernel refuses is reported, and the remainder is in place.
    ///
    /// # Errors
    /// [`Error::Route`] for a route that can't be (nothing is changed), or a connection that failed.
    pub async fn apply_routes(&self, protocol: u8, table: u32, desired: &[RouteSpec]) -> Result<Applied> {
        let mut held = RouteTable::new(self.clone(), protocol, table);
        let mut applied = Applied::default();
        for round in 0..ROUNDS {
            held.forget();
            held.set_thorough(round > 0);
            let changes = held.plan(desired).await?;
            if changes.is_empty() {
                break;
            }
            // Additions and replacements first, deletions when they are done; within each, in any order.
            let (deletions, others): (Vec<_>, Vec<_>) =
                changes.into_iter().partition(|change| matches!(change, Change::Delete(_)));
            (applied.foreign, applied.failed, applied.lost) = (Vec::new(), Vec::new(), false);
            for batch in [others, deletions] {
                applied += held.carry_out(batch).await?;
            }
            if !applied.is_complete() && !applied.lost {
                break;
            }
            if round + 1 < ROUNDS {
                (applied.foreign, applied.failed, applied.lost) = (Vec::new(), Vec::new(), false);
            }
        }
        Ok(applied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::NextHop;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn ip(text: &str) -> std::net::IpAddr {
        text.parse().expect("an address")
    }

    fn wanted(specs: &[RouteSpec]) -> BTreeMap<Key, RouteSpec> {
        specs.iter().map(|spec| spec.normal().expect("a good route")).map(|spec| (key(&spec), spec)).collect()
    }

    #[test]
    fn nothing_changes_when_the_kernel_shows_the_same_in_its_own_form() {
        let asked = RouteSpec::unicast(
            net("10.1.2.3/16"),
            vec![NextHop::via(ip("10.0.0.9"), 3), NextHop::dev(2), NextHop::via(ip("10.0.0.9"), 3)],
        );
        let shown = RouteSpec {
            metric: Some(0),
            ..RouteSpec::unicast(
                net("10.1.0.0/16"),
                vec![NextHop::dev(2), NextHop { weight: 2, ..NextHop::via(ip("10.0.0.9"), 3) }],
            )
        };
        let asked_v6 = RouteSpec::unicast(net("fd00:1::/48"), vec![NextHop::onlink(ip("fd00::2"), 3)]);
        let shown_v6 = RouteSpec { metric: Some(1024), ..asked_v6.clone() };
        assert_eq!(difference(&arrange([shown_v6, shown]), &wanted(&[asked, asked_v6])), vec![]);
    }

    #[test]
    fn what_is_new_is_added_what_differs_replaced_and_the_rest_deleted_last() {
        let old = RouteSpec::unicast(net("10.1.0.0/16"), vec![NextHop::dev(2)]).normal().expect("good");
        let gone = RouteSpec::unreachable(net("10.0.0.0/16")).normal().expect("good");
        let new = RouteSpec::unreachable(net("10.2.0.0/16")).normal().expect("good");
        let changed = RouteSpec { pref_src: Some(ip("10.9.9.9")), ..old.clone() };
        let present = arrange([gone.clone(), old]);
        let desired = wanted(&[changed.clone(), new.clone()]);
        let changes = difference(&present, &desired);
        assert_eq!(changes, vec![Change::Replace(changed), Change::Add(new), Change::Delete(gone)]);
        // What is remembered of the changes is what they were for.
        let mut present = Some(present);
        for change in changes {
            remember(&mut present, change);
        }
        assert_eq!(difference(&present.expect("known"), &desired), vec![]);
    }

    #[test]
    fn another_metric_is_another_route() {
        let old = RouteSpec::unreachable(net("10.1.0.0/16")).normal().expect("good");
        let new = RouteSpec { metric: Some(10), ..old.clone() };
        assert_eq!(
            difference(&arrange([old.clone()]), &wanted(std::slice::from_ref(&new))),
            vec![Change::Add(new), Change::Delete(old)]
        );
    }

    #[test]
    fn of_several_of_ours_in_one_place_all_but_the_wanted_one_go() {
        let one = RouteSpec::unreachable(net("10.1.0.0/16")).normal().expect("good");
        let other = RouteSpec { pref_src: Some(ip("10.9.9.9")), ..one.clone() };
        let present = arrange([one.clone(), other.clone()]);
        assert_eq!(difference(&present, &wanted(std::slice::from_ref(&one))), vec![Change::Delete(other)]);
    }
}
