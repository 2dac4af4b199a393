//! The forwarding lease among a controller and four nodes that are cut off from each other, one direction at a time, stopped, killed,
//! switched off and started again, with other voters every now and then, with clocks of different speed and messages that are lost, late,
//! repeated and out of order: no gateway ever forwards on two nodes, and everything forwards once it all heals. A seed reproduces a run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway_fleet::lease::{Ask, Ballot, Fence, Fenced, Holder, Kept, Promise, Replacement, Standing, Voter};
use causeway_model::NodeId;
use causeway_model::desired::{LeaseDesired, LeaseTerms};
use uuid::Uuid;

const NODES: usize = 4;
const GATEWAYS: u8 = 5;
/// Milliseconds.
const LEASE: u64 = 6000;
/// Two clocks differ by at most one part in this many: less than the margin.
const DRIFT: u64 = 15;
/// Terms that a node may count by at once.
const MAX_TERMS: usize = 4;

/// What a broken implementation might do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Broken {
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
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

#[derive(Clone, Debug)]
enum Message {
    Ask(Ask),
    Promise(Promise),
    Fence(Fence),
    Fenced(Fenced),
    Configuration { revision: u64, lease: LeaseDesired, gateways: BTreeSet<u8> },
    Acknowledged { node: usize, terms: u64 },
}

/// What goes on without the process.
#[derive(Clone, Debug, Default)]
struct Kernel {
    /// Until when each element lives, by the machine's clock.
    elements: BTreeMap<u64, u64>,
    granted: Option<u64>,
    gateways: BTreeSet<u8>,
}

#[derive(Clone, Debug)]
struct Disk {
    kept: Kept,
    revision: u64,
    lease: LeaseDesired,
    gateways: BTreeSet<u8>,
}

struct Party {
    voter: Voter,
    /// Its clock gains `gain - DRIFT` in every 1000 parts.
    gain: u64,
    runs: bool,
    stopped: bool,
    disk: Disk,
    ballot: Ballot,
    /// What only nodes have.
    holder: Holder,
    kernel: Kernel,
    /// In the kernel, and about to be asked.
    to_ask: Option<Ask>,
    /// Promised, and about to be told to the kernel.
    to_grant: Option<u64>,
}

struct World {
    broken: Broken,
    dice: Dice,
    now: u64,
    parties: Vec<Party>,
    network: Vec<(usize, Message)>,
    cut: BTreeSet<(usize, usize)>,
    // The controller's store.
    placed: BTreeMap<u8, usize>,
    standings: BTreeMap<usize, Standing>,
    /// All that a node was sent since those that it has acknowledged.
    terms: BTreeMap<usize, Vec<LeaseTerms>>,
    revision: u64,
    // The controller's memory.
    replacements: BTreeMap<usize, Replacement>,
    moved: u64,
    faults: bool,
}

fn node(party: usize) -> NodeId {
    NodeId(Uuid::from_u128(party as u128))
}

fn voter(party: usize) -> Voter {
    if party == 0 { Voter::Controller } else { Voter::Node(node(party)) }
}

fn party(voter: Voter) -> usize {
    match voter {
        Voter::Controller => 0,
        Voter::Node(node) => usize::try_from(node.0.as_u128()).expect("a small number"),
    }
}

fn terms(number: u64, voters: impl IntoIterator<Item = usize>) -> LeaseTerms {
    LeaseTerms { number, voters: voters.into_iter().map(node).collect(), lease_ms: LEASE }
}

impl Party {
    fn clock(&self, now: u64) -> u64 {
        now + now * self.gain / 1000 - now * (1000 / DRIFT) / 2000
    }

    fn time(&self, now: u64) -> Duration {
        Duration::from_millis(self.clock(now))
    }

    fn forwards(&self, gateway: u8, now: u64) -> bool {
        let alive = self.kernel.granted.and_then(|number| self.kernel.elements.get(&number));
        self.kernel.gateways.contains(&gateway) && alive.is_some_and(|until| *until > self.clock(now))
    }

    /// The process begins: what is in the kernel is replaced by what is on disk.
    fn start(&mut self, broken: Broken, boot: u64, now: u64) {
        self.runs = true;
        self.stopped = false;
        match broken {
            Broken::Forgetful => self.disk.kept.fences.clear(),
            Broken::Careless => self.disk.kept.longest_ms = 0,
            _ => {}
        }
        self.ballot = Ballot::new(self.voter, self.disk.kept.clone(), self.time(now));
        self.kernel = Kernel { gateways: self.disk.gateways.clone(), ..Kernel::default() };
        self.holder = Holder::new(node(party(self.voter)), boot);
        self.holder.run(Some(self.disk.lease.clone()));
        (self.to_ask, self.to_grant) = (None, None);
    }
}

impl World {
    fn new(seed: u64, broken: Broken) -> Self {
        let mut dice = Dice(seed);
        let parties = (0..=NODES).map(|number| {
            let mut party = Party {
                voter: voter(number),
                gain: dice.below((1000 / DRIFT) as usize + 1) as u64,
                runs: true,
                stopped: false,
                disk: Disk {
                    kept: Kept::default(),
                    revision: 0,
                    lease: LeaseDesired { epoch: 0, terms: terms(1, 1..=NODES) },
                    gateways: BTreeSet::new(),
                },
                ballot: Ballot::new(voter(number), Kept::default(), Duration::ZERO),
                holder: Holder::new(node(number), 0),
                kernel: Kernel::default(),
                to_ask: None,
                to_grant: None,
            };
            party.start(broken, dice.next(), 0);
            party
        });
        let parties = parties.collect();
        let placed = (0..GATEWAYS).map(|gateway| (gateway, 1 + usize::from(gateway) % NODES)).collect();
        Self {
            broken,
            dice,
            now: 0,
            parties,
            network: Vec::new(),
            cut: BTreeSet::new(),
            placed,
            standings: (1..=NODES).map(|number| (number, Standing::default())).collect(),
            terms: (1..=NODES).map(|number| (number, vec![terms(1, 1..=NODES)])).collect(),
            revision: 1,
            replacements: BTreeMap::new(),
            moved: 0,
            faults: true,
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if from == to {
            self.receive(to, message);
        } else if !self.cut.contains(&(from, to)) {
            self.network.push((to, message));
        }
    }

    fn awake(&self, party: usize) -> bool {
        self.parties[party].runs && !self.parties[party].stopped
    }

    /// One message, or the loss of one, or a second copy of one.
    fn deliver(&mut self) {
        let faults = self.faults;
        if self.network.is_empty() {
            return;
        }
        let at = self.dice.below(self.network.len());
        let (to, message) =
            if faults && self.dice.one_in(20) { self.network[at].clone() } else { self.network.swap_remove(at) };
        let lost = faults && self.dice.one_in(20);
        if self.awake(to) && !lost {
            self.receive(to, message);
        } else if self.parties[to].runs && !lost {
            // It reads it when it goes on.
            self.network.push((to, message));
        }
        // Old messages stay possible, but not all of them for ever.
        if self.network.len() > 400 {
            self.network.swap_remove(0);
        }
    }

    fn receive(&mut self, to: usize, message: Message) {
        let now = self.now;
        let this = &mut self.parties[to];
        let time = this.time(now);
        match message {
            Message::Ask(ask) => {
                if let Some(promise) = this.ballot.ask(&ask, time) {
                    this.disk.kept = this.ballot.kept().clone();
                    self.send(to, party(Voter::Node(ask.holder)), Message::Promise(promise));
                }
            }
            Message::Promise(promise) => {
                let promise = Promise { ask: Ask { lease_ms: LEASE, ..promise.ask }, ..promise };
                this.to_grant = this.holder.promise(&promise).or(this.to_grant);
            }
            Message::Fence(fence) => {
                this.ballot.raise(&fence);
                if this.disk.kept != *this.ballot.kept() {
                    if self.faults && self.dice.one_in(10) {
                        // Killed before anything was written, and nobody has heard of it.
                        self.parties[to].runs = false;
                        return;
                    }
                    this.disk.kept = this.ballot.kept().clone();
                }
                if let Ok(fenced) = this.ballot.fenced(&fence, time) {
                    self.send(to, 0, Message::Fenced(fenced));
                }
            }
            Message::Fenced(fenced) => self.fenced(&fenced),
            Message::Configuration { revision, lease, gateways } => {
                if revision > this.disk.revision {
                    // What counts goes on counting: every voter waits for it, whatever epoch it was promised to.
                    if lease != this.disk.lease {
                        this.to_grant = None;
                        this.to_ask = None;
                    }
                    if self.broken != Broken::Ahead || lease.epoch == this.disk.lease.epoch {
                        this.kernel.gateways.clone_from(&gateways);
                    }
                    this.holder.run(Some(lease.clone()));
                    (this.disk.revision, this.disk.lease, this.disk.gateways) = (revision, lease, gateways);
                }
            }
            Message::Acknowledged { node, terms } => {
                let sent = self.terms.get_mut(&node).expect("a node");
                if sent.iter().any(|known| known.number == terms) {
                    sent.retain(|known| known.number >= terms);
                }
            }
        }
    }

    fn fenced(&mut self, fenced: &Fenced) {
        let lost = party(Voter::Node(fenced.fence.holder));
        let Some(replacement) = self.replacements.get_mut(&lost) else { return };
        replacement.fenced(fenced);
        let broken = self.broken == Broken::Minority && replacement.fence() == fenced.fence;
        if !replacement.is_done() && !broken {
            return;
        }
        self.replacements.remove(&lost);
        self.standings.get_mut(&lost).expect("a node").settle();
        let others: Vec<usize> =
            (1..=NODES).filter(|other| *other != lost && !self.standings[other].replaced).collect();
        for place in self.placed.values_mut().filter(|place| **place == lost) {
            if let Some(next) = others.get(self.dice.below(others.len().max(1))) {
                *place = *next;
                self.moved += 1;
            }
        }
        self.revision += 1;
    }

    /// The controller tells a node what it runs, unless it is being replaced.
    fn configure(&mut self, to: usize) {
        let standing = self.standings[&to];
        if !standing.replaced {
            let gateways = self.placed.iter().filter(|(_, place)| **place == to).map(|(gateway, _)| *gateway).collect();
            let terms = self.terms[&to].last().expect("some").clone();
            let lease = LeaseDesired { epoch: standing.epoch, terms };
            let message = Message::Configuration { revision: self.revision, lease, gateways };
            self.send(0, to, message);
        }
    }

    /// The controller begins to replace a node, or asks again those who have not answered.
    fn replace(&mut self, lost: usize) {
        let standing = self.standings.get_mut(&lost).expect("a node");
        if !standing.replaced {
            self.revision += 1;
        }
        let sent = &self.terms[&lost];
        let sent = if self.broken == Broken::Newest { &sent[sent.len() - 1..] } else { &sent[..] };
        let replacement = self.replacements.entry(lost).or_insert_with(|| standing.replace(node(lost), sent));
        let fence = replacement.fence();
        for to in 0..=NODES {
            self.send(0, to, Message::Fence(fence));
        }
    }

    /// Others vote for a node from now on: the controller, itself, and one to three more.
    fn elect(&mut self, of: usize) {
        let sent = self.terms.get_mut(&of).expect("a node");
        if self.standings[&of].replaced || sent.len() >= MAX_TERMS {
            return;
        }
        let mut others: Vec<usize> = (1..=NODES).filter(|other| *other != of).collect();
        for _ in 0..self.dice.below(others.len()) {
            others.remove(self.dice.below(others.len()));
        }
        others.push(of);
        let number = sent.last().expect("some").number + 1;
        sent.push(terms(number, others));
        self.revision += 1;
    }

    /// The controller has heard the node before it was replaced.
    fn call_off(&mut self, back: usize) {
        if self.standings[&back].replaced {
            self.replacements.remove(&back);
            self.standings.get_mut(&back).expect("a node").settle();
            self.revision += 1;
        }
    }

    fn arm(&mut self, who: usize) {
        let until = self.parties[who].clock(self.now) + LEASE;
        let this = &mut self.parties[who];
        if this.to_ask.is_none() {
            let mut ask = this.holder.ask().expect("it has a lease");
            if self.broken == Broken::Hasty {
                ask.lease_ms = LEASE / 4;
            }
            if self.broken != Broken::Late {
                this.kernel.elements.insert(ask.number, until);
            }
            this.to_ask = Some(ask);
        }
    }

    fn ask(&mut self, who: usize) {
        if let Some(ask) = self.parties[who].to_ask.take() {
            for to in 0..=NODES {
                self.send(who, to, Message::Ask(ask));
            }
        }
    }

    fn grant(&mut self, who: usize) {
        let until = self.parties[who].clock(self.now) + LEASE;
        let this = &mut self.parties[who];
        if let Some(number) = this.to_grant.take() {
            if self.broken == Broken::Late {
                this.kernel.elements.insert(number, until);
            }
            this.kernel.granted = Some(number);
            let terms = this.disk.lease.terms.number;
            self.send(who, 0, Message::Acknowledged { node: who, terms });
        }
    }

    fn work(&mut self, who: usize) {
        if !self.awake(who) {
            return;
        }
        match self.dice.below(3) {
            _ if who == 0 => {
                let of = 1 + self.dice.below(NODES);
                if self.standings[&of].replaced { self.replace(of) } else { self.configure(of) }
            }
            0 => self.arm(who),
            1 => self.ask(who),
            _ => self.grant(who),
        }
    }

    fn fault(&mut self) {
        let who = self.dice.below(NODES + 1);
        let other = self.dice.below(NODES + 1);
        match self.dice.below(13) {
            0 => drop(self.cut.insert((who, other))),
            1 => self.cut.extend([(who, other), (other, who)]),
            2 | 3 => self.cut.clear(),
            4 => self.parties[who].stopped = true,
            5 | 6 => self.parties.iter_mut().for_each(|party| party.stopped = false),
            7 => self.parties[who].runs = false,
            // The machine is switched off: nothing is left in its kernel.
            8 if who > 0 => {
                self.parties[who].runs = false;
                self.parties[who].kernel = Kernel::default();
            }
            9 if self.awake(0) && who > 0 => self.replace(who),
            10 if self.awake(0) && who > 0 => self.call_off(who),
            11 if self.awake(0) && who > 0 => self.elect(who),
            _ => {
                for party in 0..=NODES {
                    if !self.parties[party].runs {
                        self.start(party);
                    }
                }
            }
        }
    }

    fn start(&mut self, party: usize) {
        let boot = self.dice.next();
        self.parties[party].start(self.broken, boot, self.now);
        if party == 0 {
            self.replacements.clear();
        }
    }

    /// A gateway that forwards on two nodes.
    fn twice(&self) -> Option<u8> {
        let on = |gateway| self.parties.iter().filter(|party| party.forwards(gateway, self.now)).count();
        (0..GATEWAYS).find(|gateway| on(*gateway) > 1)
    }

    /// Some steps with faults; `Err`: two forward the same gateway.
    fn run(&mut self, steps: u32) -> Result<(), String> {
        for step in 0..steps {
            match self.dice.below(40) {
                0 => self.fault(),
                1..=4 => self.now += self.dice.below(400) as u64,
                5..=16 => {
                    let who = self.dice.below(NODES + 1);
                    self.work(who);
                }
                _ => self.deliver(),
            }
            if let Some(gateway) = self.twice() {
                return Err(format!("gateway {gateway} forwards twice after step {step}"));
            }
        }
        Ok(())
    }

    /// Everything works again, for long enough.
    fn heal(&mut self) -> Result<(), String> {
        self.faults = false;
        self.cut.clear();
        for party in 0..=NODES {
            self.parties[party].stopped = false;
            if !self.parties[party].runs {
                self.start(party);
            }
        }
        for other in 1..=NODES {
            self.call_off(other);
        }
        for _ in 0..200 {
            self.now += 100;
            for who in 1..=NODES {
                self.configure(who);
                self.arm(who);
                self.ask(who);
            }
            while !self.network.is_empty() {
                self.deliver();
            }
            (1..=NODES).for_each(|who| self.grant(who));
            if let Some(gateway) = self.twice() {
                return Err(format!("gateway {gateway} forwards twice"));
            }
        }
        let on = |gateway| self.parties.iter().filter(|party| party.forwards(gateway, self.now)).count();
        match (0..GATEWAYS).find(|gateway| on(*gateway) != 1) {
            Some(gateway) => Err(format!("gateway {gateway} does not forward after everything healed")),
            None => Ok(()),
        }
    }
}

/// Runs with seeds from `first` on until something is wrong.
fn runs(first: u64, count: u64, broken: Broken) -> Result<u64, String> {
    let mut moved = 0;
    for seed in first..first + count {
        let mut world = World::new(seed, broken);
        world.run(6000).and_then(|()| world.heal()).map_err(|error| format!("seed {seed}: {error}"))?;
        moved += world.moved;
    }
    Ok(moved)
}

#[test]
fn no_gateway_forwards_on_two_nodes_and_all_forward_when_everything_is_healed() {
    let moved = runs(0, 400, Broken::Nothing).expect("safe and alive");
    assert!(moved > 400, "gateways were moved {moved} times only");
}

#[test]
fn terms_that_a_node_has_only_heard_of_replace_nobody() {
    let at = Duration::from_secs;
    let (old, new) = (terms(1, 1..=4), terms(2, [1, 4]));
    let mut ballots: Vec<Ballot> = (0..=4).map(|party| Ballot::new(voter(party), Kept::default(), at(0))).collect();
    let mut holder = Holder::new(node(1), 7);
    holder.run(Some(LeaseDesired { epoch: 0, terms: old.clone() }));
    let ask = holder.ask().expect("a lease");
    // Neither the controller nor the fourth node has promised anything.
    let granted = [1, 2, 3].map(|party| holder.promise(&ballots[party].ask(&ask, at(1)).expect("a promise")));
    assert_eq!(granted, [None, None, Some(1)]);
    // It hears of new terms, by which those two are a majority, and counts by the old ones still.
    holder.run(Some(LeaseDesired { epoch: 0, terms: new.clone() }));
    let mut both = Standing::default().replace(node(1), &[old, new.clone()]);
    let mut newest = Standing::default().replace(node(1), &[new]);
    for party in [0, 4] {
        ballots[party].raise(&both.fence());
        let fenced = ballots[party].fenced(&both.fence(), at(1)).expect("at once");
        both.fenced(&fenced);
        newest.fenced(&fenced);
    }
    assert!(newest.is_done(), "which is why terms count only when the kernel counts by them");
    assert!(!both.is_done());
    ballots[2].raise(&both.fence());
    let wait = ballots[2].fenced(&both.fence(), at(1)).expect_err("it has promised");
    both.fenced(&ballots[2].fenced(&both.fence(), at(1) + wait).expect("its promise is over"));
    assert!(both.is_done() && wait > Duration::from_millis(LEASE));
}

#[test]
fn the_test_finds_each_way_to_break_the_rule() {
    let all = [
        Broken::Hasty,
        Broken::Forgetful,
        Broken::Careless,
        Broken::Late,
        Broken::Minority,
        Broken::Newest,
        Broken::Ahead,
    ];
    for broken in all {
        let found = runs(0, 4000, broken).err();
        let found = found.unwrap_or_else(|| panic!("{broken:?} cannot be safe"));
        assert!(found.contains("twice"), "{broken:?}: {found}");
    }
}
