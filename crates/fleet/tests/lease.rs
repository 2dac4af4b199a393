//! The forwarding lease among a controller and four nodes that are cut off from each other, one direction at a time, stopped, killed,
//! switched off and started again, with clocks of different speed and messages that are lost, late, repeated and out of order: no gateway
//! ever forwards on two nodes, and everything forwards once it all heals. A seed reproduces a run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway_fleet::lease::{Ask, Ballot, Fence, Fenced, Holder, Promise, Replacement, Standing, Times, Voter};
use causeway_model::NodeId;
use uuid::Uuid;

const NODES: usize = 4;
const GATEWAYS: u8 = 5;
/// Milliseconds.
const LEASE: u64 = 6000;
const MARGIN: u64 = 400;
/// Two clocks differ by at most one part in this many: less than the margin.
const DRIFT: u64 = 40;

/// What a broken implementation might do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Broken {
    #[default]
    Nothing,
    /// A voter does not wait until its promises have run out.
    Hasty,
    /// A voter forgets its fences when it starts again.
    Forgetful,
    /// A voter that starts again does not take into account that it may have promised.
    Careless,
    /// The kernel counts from the answer on.
    Late,
    /// Placed elsewhere as soon as one voter has answered.
    Minority,
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
    Configuration { revision: u64, epoch: u64, gateways: BTreeSet<u8> },
}

/// What goes on without the process.
#[derive(Clone, Debug, Default)]
struct Kernel {
    /// Until when each element lives, by the machine's clock.
    elements: BTreeMap<u64, u64>,
    granted: Option<u64>,
    gateways: BTreeSet<u8>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    fences: BTreeMap<NodeId, u64>,
    revision: u64,
    epoch: u64,
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

fn voters() -> BTreeSet<Voter> {
    (0..=NODES).map(voter).collect()
}

fn times(broken: Broken) -> Times {
    let lease = if broken == Broken::Hasty { LEASE / 4 } else { LEASE };
    Times { lease: Duration::from_millis(lease), margin: Duration::from_millis(MARGIN) }
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
        if broken == Broken::Forgetful {
            self.disk.fences.clear();
        }
        let began = if broken == Broken::Careless { Duration::ZERO } else { self.time(now) };
        self.ballot = Ballot::new(self.voter, times(broken), self.disk.fences.clone(), began);
        self.kernel = Kernel { gateways: self.disk.gateways.clone(), ..Kernel::default() };
        self.holder = Holder::new(node(party(self.voter)), boot, self.disk.epoch, voters());
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
                disk: Disk::default(),
                ballot: Ballot::new(voter(number), times(broken), BTreeMap::new(), Duration::ZERO),
                holder: Holder::new(node(number), 0, 0, voters()),
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
                    self.send(to, party(Voter::Node(ask.holder)), Message::Promise(promise));
                }
            }
            Message::Promise(promise) => {
                this.to_grant = this.holder.promise(&promise).or(this.to_grant);
            }
            Message::Fence(fence) => {
                if this.ballot.raise(&fence) {
                    if self.faults && self.dice.one_in(10) {
                        // Killed before anything was written, and nobody has heard of it.
                        self.parties[to].runs = false;
                        return;
                    }
                    this.disk.fences = this.ballot.fences().clone();
                }
                if let Ok(fenced) = this.ballot.fenced(&fence, time) {
                    self.send(to, 0, Message::Fenced(fenced));
                }
            }
            Message::Fenced(fenced) => self.fenced(&fenced),
            Message::Configuration { revision, epoch, gateways } => {
                if revision > this.disk.revision {
                    if epoch != this.disk.epoch {
                        this.kernel.granted = None;
                        this.to_grant = None;
                        this.to_ask = None;
                    }
                    this.kernel.gateways.clone_from(&gateways);
                    (this.disk.revision, this.disk.epoch, this.disk.gateways) = (revision, epoch, gateways);
                    this.holder.run(epoch);
                }
            }
        }
    }

    fn fenced(&mut self, fenced: &Fenced) {
        let lost = party(Voter::Node(fenced.fence.holder));
        let Some(replacement) = self.replacements.get_mut(&lost) else { return };
        let done =
            replacement.fenced(fenced) || (self.broken == Broken::Minority && replacement.fence() == fenced.fence);
        if !done {
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
            let message = Message::Configuration { revision: self.revision, epoch: standing.epoch, gateways };
            self.send(0, to, message);
        }
    }

    /// The controller begins to replace a node, or asks again those who have not answered.
    fn replace(&mut self, lost: usize) {
        let standing = self.standings.get_mut(&lost).expect("a node");
        if !standing.replaced {
            self.revision += 1;
        }
        let replacement = self.replacements.entry(lost).or_insert_with(|| standing.replace(node(lost), voters()));
        let fence = replacement.fence();
        for to in 0..=NODES {
            self.send(0, to, Message::Fence(fence));
        }
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
            let ask = this.holder.ask();
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
        match self.dice.below(12) {
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
fn the_test_finds_each_way_to_break_the_rule() {
    for broken in [Broken::Hasty, Broken::Forgetful, Broken::Careless, Broken::Late, Broken::Minority] {
        let found = runs(0, 4000, broken).expect_err("this cannot be safe");
        assert!(found.contains("twice"), "{broken:?}: {found}");
    }
}
