//! The forwarding lease among a controller and four nodes that are cut off from each other, one direction at a time, stopped, killed,
//! switched off and started again on the same machine or another one, of which one has a copy, with other voters every now and then, with
//! clocks of different speed and messages that are lost, late, repeated and out of order, questions and promises that the controller passes on
//! among them: no gateway ever forwards twice, and everything forwards once it all heals. A seed reproduces a run.

mod party;
mod world;

use std::time::Duration;

use causeway_fleet::lease::{Ballot, Holder, Kept, Standing, Successor, Way};
use causeway_model::desired::LeaseDesired;

use crate::party::{LEASE, machine, node, terms, voter};
use crate::world::World;

/// What a broken implementation might do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Broken {
    #[default]
    Nothing,
    /// Voters do not wait until their promises have run out: they are told of a shorter lease than the kernel's.
    Hasty,
    /// A voter forgets its fences when it starts again.
    Forgetful,
    /// A voter that starts again does not take into account that it may have promised.
    Careless,
    /// The kernel counts from the answer on.
    Late,
    /// Placed elsewhere as soon as one voter has answered.
    Minority,
    /// Placed elsewhere when a majority by the newest terms has answered.
    Newest,
    /// A node asks for an epoch whose configuration it does not run.
    Ahead,
    /// A node begins with what its disk has on any machine.
    Unbound,
    /// A node that comes on another machine gets its configuration at once.
    Trusting,
    /// A node's own vote counts on any machine.
    Selfish,
    /// Voters that have come to another machine count like all others.
    Gullible,
    /// When the operator says that a machine is stopped, nobody is told.
    Silent,
    /// A node says that it counts by terms that its disk does not have.
    Behind,
    /// A promise counts from whatever machine its voter is on.
    Stray,
    /// Who passes promises on takes one for the promise to later questions, too.
    Loose,
    /// A promise that was passed on counts for the process that began after the one that asked.
    Undead,
    /// A voter answers what was passed on to it without its ballot.
    Offhand,
    /// Who passes questions on promises in the place of those that it passes them on to.
    Usurping,
}

/// Runs with these seeds until something is wrong: gateways that moved, and nodes that came to another machine.
fn runs(seeds: impl Iterator<Item = u64>, broken: Broken) -> Result<(u64, u64), String> {
    let (mut moved, mut came) = (0, 0);
    for seed in seeds {
        let mut world = World::new(seed, broken);
        world.run(6000).and_then(|()| world.heal()).map_err(|error| format!("seed {seed}: {error}"))?;
        moved += world.moved;
        came += world.came;
    }
    Ok((moved, came))
}

#[test]
fn no_gateway_forwards_on_two_nodes_and_all_forward_when_everything_is_healed() {
    let (moved, came) = runs(0..500, Broken::Nothing).expect("safe and alive");
    assert!(moved > 400, "gateways were moved {moved} times only");
    assert!(came > 400, "nodes came to another machine {came} times only");
}

#[test]
fn terms_that_a_node_has_only_heard_of_replace_nobody() {
    let at = Duration::from_secs;
    let (old, new) = (terms(1, 1..=4), terms(2, [1, 4]));
    let seat = |party: usize| (voter(party), (party > 0).then(|| machine(party)));
    let mut ballots: Vec<Ballot> = (0..=4).map(|party| Ballot::new(seat(party), Kept::default(), at(0))).collect();
    let mut holder = Holder::new(node(1), machine(1), 7);
    holder.run(Some(LeaseDesired { epoch: 0, terms: old.clone() }));
    let ask = holder.ask().expect("a lease");
    // Neither the controller nor the fourth node has promised anything.
    let mut promised = |party: usize| ballots[party].ask(&ask, at(1)).expect("a promise");
    let granted = [1, 2, 3].map(|party| holder.promise(&promised(party), Way::Direct));
    assert_eq!(granted, [None, None, Some(1)]);
    // It hears of new terms, by which those two are a majority, and counts by the old ones still.
    holder.run(Some(LeaseDesired { epoch: 0, terms: new.clone() }));
    let mut both = Standing::default().replace(node(1), &[old, new.clone()], Successor::Others);
    let mut newest = Standing::default().replace(node(1), &[new], Successor::Others);
    for party in [0, 4] {
        ballots[party].raise(&both.fence());
        let fenced = ballots[party].fenced(&both.fence(), at(1)).expect("at once");
        let on = (party > 0).then(|| machine(party));
        both.fenced(&fenced, on);
        newest.fenced(&fenced, on);
    }
    assert!(newest.is_done(), "which is why terms count only when the kernel counts by them");
    assert!(!both.is_done());
    ballots[2].raise(&both.fence());
    let wait = ballots[2].fenced(&both.fence(), at(1)).expect_err("it has promised");
    let fenced = ballots[2].fenced(&both.fence(), at(1) + wait).expect("its promise is over");
    both.fenced(&fenced, Some(machine(2)));
    assert!(both.is_done() && wait > Duration::from_millis(LEASE));
}

#[test]
fn the_test_finds_each_way_to_break_the_rule() {
    let lease = [
        Broken::Hasty,
        Broken::Forgetful,
        Broken::Careless,
        Broken::Late,
        Broken::Minority,
        Broken::Newest,
        Broken::Ahead,
        Broken::Loose,
        Broken::Offhand,
        Broken::Usurping,
    ];
    let machines = [
        Broken::Unbound,
        Broken::Trusting,
        Broken::Selfish,
        Broken::Gullible,
        Broken::Silent,
        Broken::Stray,
        Broken::Undead,
    ];
    for (broken, first) in machines.map(|broken| (broken, 1)).into_iter().chain(lease.map(|broken| (broken, 0))) {
        // Some make gateways stand still as well.
        let twice = |seed: u64| runs(std::iter::once(seed), broken).is_err_and(|error| error.contains("twice"));
        let found = (first..8000).step_by(2).find(|seed| twice(*seed));
        assert!(found.is_some(), "{broken:?} cannot be safe");
    }
}
