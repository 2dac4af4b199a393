//! The controller, its nodes, one copy, and everything between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway_fleet::lease::{
    Ask, Ballot, Fence, Fenced, Holder, Kept, Promise, Replacement, Standing, Successor, Voter, Way, voters,
};
use causeway_model::MachineId;
use causeway_model::desired::{LeaseDesired, LeaseTerms};
use uuid::Uuid;

use crate::Broken;
use crate::party::{Config, DRIFT, Dice, Disk, Kernel, LEASE, Message, Party, machine, node, number, terms, voter};

const NODES: usize = 4;
/// The party that is a copy of one of them, once there is one.
const COPY: usize = NODES + 1;
const GATEWAYS: u8 = 5;
/// Terms that a node may count by at once.
const MAX_TERMS: usize = 4;

/// A node in the controller's store.
#[derive(Clone, Debug)]
struct Record {
    standing: Standing,
    /// All that it was sent since those that it has acknowledged.
    terms: Vec<LeaseTerms>,
    /// From where it spoke last, and the party that did.
    machine: MachineId,
    listens: usize,
    moving: bool,
    free: bool,
}

pub(crate) struct World {
    broken: Broken,
    dice: Dice,
    now: u64,
    parties: Vec<Party>,
    network: Vec<(usize, Message)>,
    cut: BTreeSet<(usize, usize)>,
    // The controller's store.
    placed: BTreeMap<u8, usize>,
    records: BTreeMap<usize, Record>,
    revision: u64,
    // The controller's memory: the party of each node's session.
    sessions: BTreeMap<usize, usize>,
    replacements: BTreeMap<usize, Replacement>,
    /// What a broken controller has passed on: each voter's newest promise to each node.
    remembered: BTreeMap<(usize, usize), Promise>,
    /// Machines that the operator said were stopped, and which go on as the same ones later.
    liars: BTreeSet<usize>,
    pub(crate) moved: u64,
    pub(crate) came: u64,
    faults: bool,
    /// Machines are other ones after a while, have copies, and are said to be stopped.
    machines: bool,
}

impl World {
    pub(crate) fn new(seed: u64, broken: Broken) -> Self {
        let mut dice = Dice(seed);
        let first = terms(1, 1..=NODES);
        let config = Config { lease: LeaseDesired { epoch: 0, terms: first.clone() }, gateways: BTreeSet::new() };
        let parties = (0..=COPY).map(|number| {
            let mut party = Party {
                node: number,
                machine: machine(number),
                gain: dice.below((1000 / DRIFT) as usize + 1) as u64,
                exists: number != COPY,
                runs: true,
                stopped: false,
                disk: Disk { kept: Kept::default(), revision: 0, config: config.clone() },
                ballot: Ballot::new((voter(number), None), Kept::default(), Duration::ZERO),
                holder: Holder::new(node(number), machine(number), 0),
                kernel: Kernel::default(),
                revision: 0,
                config: config.clone(),
                asked: None,
                to_ask: None,
                to_grant: None,
            };
            party.start(broken, dice.next(), 0);
            party.runs = party.exists;
            party
        });
        let parties = parties.collect();
        let placed = (0..GATEWAYS).map(|gateway| (gateway, 1 + usize::from(gateway) % NODES)).collect();
        let record = |number| Record {
            standing: Standing::default(),
            terms: vec![first.clone()],
            machine: machine(number),
            listens: number,
            moving: false,
            free: false,
        };
        Self {
            broken,
            dice,
            now: 0,
            parties,
            network: Vec::new(),
            cut: BTreeSet::new(),
            placed,
            records: (1..=NODES).map(|number| (number, record(number))).collect(),
            revision: 1,
            sessions: (1..=NODES).map(|number| (number, number)).collect(),
            replacements: BTreeMap::new(),
            remembered: BTreeMap::new(),
            liars: BTreeSet::new(),
            moved: 0,
            came: 0,
            faults: true,
            machines: seed % 2 == 1,
        }
    }

    fn record(&mut self, node: usize) -> &mut Record {
        self.records.get_mut(&node).expect("a node")
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
            Message::Hello(party, machine) => self.hello(party, machine),
            Message::Ask(ask) => {
                if let Some(promise) = this.promise(&ask, time) {
                    self.answer(to, promise, Way::Direct);
                }
            }
            Message::AskOthers(ask, others) => self.ask_others(ask, &others),
            Message::Asked(ask) => {
                let offhand = self.broken == Broken::Offhand;
                let careless = offhand.then(|| Promise { ask, voter: voter(this.node), machine: this.seat().1 });
                if let Some(promise) = careless.or_else(|| this.promise(&ask, time)) {
                    self.send(to, 0, Message::Promised(promise));
                }
            }
            Message::Promised(promise) => {
                if let Voter::Node(voter) = promise.voter {
                    self.remembered.insert((number(promise.ask.holder), number(voter)), promise);
                }
                self.answer(0, promise, Way::Relayed);
            }
            Message::Promise(promise, way) => {
                let promise = Promise { ask: Ask { lease_ms: LEASE, ..promise.ask }, ..promise };
                let promise = this.misread(promise, way, self.broken);
                this.to_grant = this.holder.promise(&promise, way).or(this.to_grant);
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
                    let machine = this.machine;
                    self.send(to, 0, Message::Fenced(fenced, machine));
                }
            }
            Message::Fenced(fenced, machine) => self.fenced(&fenced, machine),
            Message::Configuration { machine, revision, config } => {
                if revision > this.revision && machine == this.machine {
                    // What counts goes on counting: every voter waits for it, whatever epoch it was promised to.
                    if config.lease != this.config.lease {
                        this.to_grant = None;
                        this.to_ask = None;
                    }
                    if self.broken != Broken::Ahead || config.lease.epoch == this.config.lease.epoch {
                        this.kernel.gateways.clone_from(&config.gateways);
                    }
                    this.holder.run(Some(config.lease.clone()));
                    (this.revision, this.config) = (revision, config);
                    if self.broken != Broken::Behind && self.dice.one_in(2) {
                        this.write();
                    }
                }
            }
            Message::Acknowledged { node, terms } => {
                let sent = &mut self.record(node).terms;
                if sent.iter().any(|known| known.number == terms) {
                    sent.retain(|known| known.number >= terms);
                }
            }
        }
    }

    /// Who speaks for a node, a copy included: nobody who asks or answers knows which of them is met.
    fn parties_of(&self, of: usize) -> Vec<usize> {
        (1..=COPY).filter(|party| self.parties[*party].node == of && self.parties[*party].exists).collect()
    }

    /// A promise goes to whoever may have asked.
    fn answer(&mut self, from: usize, promise: Promise, way: Way) {
        for asker in self.parties_of(number(promise.ask.holder)) {
            self.send(from, asker, Message::Promise(promise, way));
        }
    }

    /// The controller passes a question on.
    fn ask_others(&mut self, ask: Ask, others: &[usize]) {
        for other in others {
            for party in self.parties_of(*other) {
                self.send(0, party, Message::Asked(ask));
            }
            let known = self.remembered.get(&(number(ask.holder), *other)).copied();
            let is_same = |known: &Promise| (known.ask.boot, known.ask.epoch) == (ask.boot, ask.epoch);
            if let Some(known) = known.filter(|known| self.broken == Broken::Loose && is_same(known)) {
                self.answer(0, Promise { ask, ..known }, Way::Relayed);
            }
            if self.broken == Broken::Usurping {
                let machine = self.records[&number(ask.holder)].terms[0].machines.get(&node(*other)).copied();
                self.answer(0, Promise { ask, voter: voter(*other), machine }, Way::Relayed);
            }
        }
    }

    /// A node's process has come to the controller.
    fn hello(&mut self, party: usize, machine: MachineId) {
        let of = self.parties[party].node;
        if self.parties[party].machine != machine {
            // What a machine said before it started anew came over a connection that is gone.
            return;
        }
        // Whether the other one of two is heard makes a difference for people only.
        if self.sessions.get(&of).is_some_and(|known| *known != party) && self.dice.one_in(2) {
            return;
        }
        self.sessions.insert(of, party);
        let trusting = self.broken == Broken::Trusting;
        let record = self.record(of);
        let is_other = record.machine != machine;
        (record.machine, record.listens) = (machine, party);
        let is_named = record.terms.iter().all(|terms| terms.are_for(node(of), machine));
        if is_named {
            record.free = false;
            if record.moving {
                record.moving = false;
                self.call_off(of);
            }
        } else if record.free || trusting {
            self.take_machine(of);
        } else if is_other || !record.moving {
            self.move_to(of);
        }
    }

    /// A node is on another machine than its terms are for.
    fn move_to(&mut self, of: usize) {
        self.revision += 1;
        self.record(of).moving = true;
        self.fence(of, Successor::Machine);
    }

    /// The controller's memory of a replacement, which begins or goes on.
    fn fence(&mut self, of: usize, successor: Successor) -> Fence {
        let newest = self.broken == Broken::Newest;
        let record = self.record(of);
        let terms = if newest { &record.terms[record.terms.len() - 1..] } else { &record.terms };
        let replacement = record.standing.replace(node(of), terms, successor);
        let fence = replacement.fence();
        let known = self.replacements.entry(of).or_insert_with(|| replacement.clone());
        if known.fence() != fence {
            *known = replacement;
        }
        known.turn(successor);
        fence
    }

    /// Nobody forwards by a node's terms any more: the next ones are for the machine that it is on.
    fn take_machine(&mut self, of: usize) {
        self.replacements.remove(&of);
        let record = self.record(of);
        (record.moving, record.free) = (false, false);
        record.standing.settle();
        let voters = record.terms.pop().expect("some");
        record.terms.clear();
        let next =
            LeaseTerms { number: voters.number + 1, ..self.terms(of, voters.voters.iter().copied().map(number)) };
        self.record(of).terms.push(next);
        self.revision += 1;
        self.came += 1;
    }

    /// Terms with these voters, where they are now.
    fn terms(&self, of: usize, voters: impl IntoIterator<Item = usize>) -> LeaseTerms {
        let mut terms = terms(0, voters);
        for (voter, machine) in &mut terms.machines {
            let record = &self.records[&number(*voter)];
            *machine = if *voter == node(of) { record.machine } else { self.parties[record.listens].machine };
        }
        terms
    }

    fn fenced(&mut self, fenced: &Fenced, machine: MachineId) {
        let lost = number(fenced.fence.holder);
        let Some(replacement) = self.replacements.get_mut(&lost) else { return };
        let named = match fenced.voter {
            Voter::Controller => None,
            Voter::Node(node) => {
                let named = self.records[&lost].terms[0].machines.get(&node).copied();
                let is_own = node == fenced.fence.holder;
                let deceived = is_own && self.broken == Broken::Selfish || !is_own && self.broken == Broken::Gullible;
                if deceived { named } else { Some(machine) }
            }
        };
        replacement.fenced(fenced, named);
        let broken = self.broken == Broken::Minority && replacement.fence() == fenced.fence;
        let record = &self.records[&lost];
        if !record.standing.replaced || !replacement.is_done() && !broken {
            return;
        }
        if record.moving { self.take_machine(lost) } else { self.move_elsewhere(lost) }
    }

    /// What a node carried goes to others: it forwards nothing any more.
    fn move_elsewhere(&mut self, lost: usize) {
        self.replacements.remove(&lost);
        let free = !self.sessions.contains_key(&lost);
        let record = self.record(lost);
        record.standing.settle();
        (record.moving, record.free) = (false, free);
        let others: Vec<usize> =
            (1..=NODES).filter(|other| *other != lost && !self.records[other].standing.replaced).collect();
        for place in self.placed.values_mut().filter(|place| **place == lost) {
            if let Some(next) = others.get(self.dice.below(others.len().max(1))) {
                *place = *next;
                self.moved += 1;
            }
        }
        self.revision += 1;
    }

    /// The controller tells a node what it runs, unless it is being replaced.
    fn configure(&mut self, of: usize) {
        let (record, Some(session)) = (&self.records[&of], self.sessions.get(&of).copied()) else { return };
        if record.standing.replaced {
            return;
        }
        let gateways = self.placed.iter().filter(|(_, place)| **place == of).map(|(gateway, _)| *gateway).collect();
        let terms = record.terms.last().expect("some").clone();
        let lease = LeaseDesired { epoch: record.standing.epoch, terms };
        let (machine, config) = (record.machine, Config { lease, gateways });
        self.send(0, session, Message::Configuration { machine, revision: self.revision, config });
    }

    /// The controller begins to replace a node.
    fn replace(&mut self, lost: usize) {
        let record = self.record(lost);
        (record.moving, record.free) = (false, false);
        self.revision += 1;
        self.fence(lost, Successor::Others);
        self.tell(lost);
    }

    /// The controller asks those who have not answered, and tells those for whom nobody waits.
    fn tell(&mut self, lost: usize) {
        let record = &self.records[&lost];
        if !record.standing.replaced && !record.free {
            return;
        }
        let successor = if record.moving { Successor::Machine } else { Successor::Others };
        let standing = std::mem::replace(&mut self.record(lost).standing.replaced, true);
        let fence = self.fence(lost, successor);
        self.record(lost).standing.replaced = standing;
        self.send(0, 0, Message::Fence(fence));
        let sessions: Vec<usize> = self.sessions.values().copied().collect();
        for to in sessions {
            self.send(0, to, Message::Fence(fence));
        }
    }

    /// The operator says that a node's machine does not run: nobody is waited for.
    fn stop(&mut self, of: usize) {
        let parties: Vec<usize> = (1..=COPY).filter(|party| self.parties[*party].node == of).collect();
        let is_off = |party: &Party| !party.runs && party.kernel.gateways.is_empty();
        if !parties.iter().all(|party| is_off(&self.parties[*party])) {
            return;
        }
        let may_begin = |party: &Party| party.disk.config.lease.terms.are_for(node(of), party.machine);
        let liars: Vec<usize> = parties.iter().copied().filter(|party| may_begin(&self.parties[*party])).collect();
        if parties.len() > 1 && !liars.is_empty() {
            return;
        }
        self.sessions.remove(&of);
        if self.broken != Broken::Silent {
            let record = self.record(of);
            if !record.standing.replaced && !record.free {
                record.standing.epoch += 1;
            }
        }
        self.move_elsewhere(of);
        if self.broken == Broken::Silent {
            self.record(of).free = false;
        } else {
            self.liars.extend(liars);
            self.tell(of);
        }
    }

    /// Whether so many voters of a machine that was said to be stopped know it, that it gets no majority by what its disk has.
    fn is_known(&self, party: usize) -> bool {
        let this = &self.parties[party];
        let lease = &this.disk.config.lease;
        let of = voters(&lease.terms);
        let knows = |voter: &&Voter| {
            let party = match voter {
                Voter::Controller => Some(0),
                Voter::Node(other) if number(*other) == this.node => None,
                // Whoever is on another machine says nothing that counts.
                Voter::Node(other) => (1..=COPY).find(|party| {
                    let party = &self.parties[*party];
                    party.node == number(*other) && lease.terms.machines.get(other) == Some(&party.machine)
                }),
            };
            let fence = |party: usize| self.parties[party].disk.kept.fences.get(&node(this.node)).copied();
            let says_no = |party: usize| !self.parties[party].exists || fence(party) > Some(lease.epoch);
            **voter != Voter::Node(node(this.node)) && party.is_none_or(says_no)
        };
        2 * (of.len() - of.iter().filter(knows).count()) <= of.len()
    }

    /// Others vote for a node from now on: the controller, itself, and one to three more.
    fn elect(&mut self, of: usize) {
        let record = &self.records[&of];
        let is_named = record.terms.iter().all(|terms| terms.are_for(node(of), record.machine));
        if record.standing.replaced || !is_named {
            return;
        }
        if record.terms.len() >= MAX_TERMS {
            // It has acknowledged none of them, and may be unable to: it starts from nothing, as on another machine.
            return self.move_to(of);
        }
        let number = record.terms.last().expect("some").number + 1;
        let mut others: Vec<usize> = (1..=NODES).filter(|other| *other != of).collect();
        for _ in 0..self.dice.below(others.len()) {
            others.remove(self.dice.below(others.len()));
        }
        others.push(of);
        let next = LeaseTerms { number, ..self.terms(of, others) };
        self.record(of).terms.push(next);
        self.revision += 1;
    }

    /// The controller has heard the node before it was replaced.
    fn call_off(&mut self, back: usize) {
        let record = &self.records[&back];
        if !record.standing.replaced || record.moving {
            return;
        }
        if record.terms.iter().all(|terms| terms.are_for(node(back), record.machine)) {
            self.replacements.remove(&back);
            self.record(back).standing.settle();
            self.revision += 1;
        } else {
            self.move_to(back);
        }
    }

    /// A copy of a node's disk, on another machine.
    fn copy(&mut self, of: usize) {
        let machine = MachineId(Uuid::from_u128(u128::from(self.dice.next())));
        let disk = self.parties[of].disk.clone();
        let copy = &mut self.parties[COPY];
        if !copy.exists {
            (copy.exists, copy.node, copy.machine, copy.disk) = (true, of, machine, disk);
            self.start(COPY);
        }
    }

    fn arm(&mut self, who: usize) {
        let until = self.parties[who].clock(self.now) + LEASE;
        let this = &mut self.parties[who];
        if this.to_ask.is_none()
            && let Some(mut ask) = this.holder.ask()
        {
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
            let terms = &self.parties[who].config.lease.terms;
            let others: Vec<usize> = terms.voters.iter().copied().map(number).collect();
            let others = others.into_iter().filter(|other| *other != self.parties[who].node);
            let others = others.flat_map(|other| self.parties_of(other));
            for to in others.chain([0, who]).collect::<Vec<_>>() {
                self.send(who, to, Message::Ask(ask));
            }
            self.parties[who].asked = Some(ask);
            if self.dice.one_in(8) {
                self.ask_again(who);
            }
        }
    }

    /// Has the controller pass the last question on to whoever has not answered it, at once or whenever a process gets to it.
    fn ask_again(&mut self, who: usize) {
        let others: Vec<usize> = self.parties[who].holder.unanswered().into_iter().map(number).collect();
        if let Some(ask) = self.parties[who].asked.filter(|_| !others.is_empty()) {
            self.send(who, 0, Message::AskOthers(ask, others));
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
            if self.broken != Broken::Behind {
                this.write();
            }
            let (node, terms) = (this.node, this.config.lease.terms.number);
            self.send(who, 0, Message::Acknowledged { node, terms });
        }
    }

    fn work(&mut self, who: usize) {
        if !self.awake(who) {
            return;
        }
        match self.dice.below(11) {
            _ if who == 0 => {
                let of = 1 + self.dice.below(NODES);
                self.tell(of);
                self.configure(of);
            }
            0..=2 => self.arm(who),
            3..=5 => self.ask(who),
            6..=8 => self.grant(who),
            9 if self.dice.one_in(4) => self.ask_again(who),
            _ => {
                let machine = self.parties[who].machine;
                self.send(who, 0, Message::Hello(who, machine));
            }
        }
    }

    fn fault(&mut self) {
        let who = self.dice.below(COPY + 1);
        let other = self.dice.below(COPY + 1);
        let of = 1 + self.dice.below(NODES);
        let controls = self.awake(0);
        match self.dice.below(if self.machines { 18 } else { 13 }) {
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
                if self.machines && self.dice.one_in(2) {
                    self.parties[who].machine = MachineId(Uuid::from_u128(u128::from(self.dice.next())));
                }
            }
            9 if controls => self.replace(of),
            10 if controls => self.call_off(of),
            11 if controls => self.elect(of),
            13 if controls => drop(self.sessions.remove(&of)),
            14 if controls => (1..=NODES).for_each(|of| self.stop(of)),
            15 => self.copy(of),
            _ => (0..=COPY).for_each(|party| self.start_again(party)),
        }
    }

    /// Starts a process that does not run, if it may.
    fn start_again(&mut self, party: usize) {
        let this = &self.parties[party];
        if this.runs || !this.exists {
            return;
        }
        // A machine that was stopped has forgotten which one it was; one that has not begins when its voters know.
        let may_begin = this.disk.config.lease.terms.are_for(node(this.node), this.machine);
        if may_begin && self.liars.contains(&party) && !self.is_known(party) {
            return;
        }
        self.liars.remove(&party);
        self.start(party);
    }

    fn start(&mut self, party: usize) {
        let boot = self.dice.next();
        self.parties[party].start(self.broken, boot, self.now);
        if party == 0 {
            self.replacements.clear();
            self.sessions.clear();
        }
    }

    /// A gateway that forwards on two machines.
    fn twice(&self) -> Option<u8> {
        let on = |gateway| self.parties.iter().filter(|party| party.forwards(gateway, self.now)).count();
        (0..GATEWAYS).find(|gateway| on(*gateway) > 1)
    }

    /// Some steps with faults; `Err`: two forward the same gateway.
    pub(crate) fn run(&mut self, steps: u32) -> Result<(), String> {
        for step in 0..steps {
            match self.dice.below(40) {
                0 => self.fault(),
                1..=4 => self.now += self.dice.below(400) as u64,
                5..=16 => {
                    let who = self.dice.below(COPY + 1);
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

    /// Everything works again, for long enough; of a node and its copy one is left.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        self.faults = false;
        self.cut.clear();
        if self.parties[COPY].exists {
            let ended = if self.dice.one_in(2) { COPY } else { self.parties[COPY].node };
            let ended = &mut self.parties[ended];
            (ended.exists, ended.runs, ended.kernel) = (false, false, Kernel::default());
        }
        // Two of them might wait for each other.
        for liar in std::mem::take(&mut self.liars) {
            self.parties[liar].machine = MachineId(Uuid::from_u128(u128::from(self.dice.next())));
        }
        for _ in 0..300 {
            self.now += 100;
            for party in 0..=COPY {
                self.parties[party].stopped = false;
                self.start_again(party);
            }
            for of in 1..=NODES {
                let ended = self.sessions.get(&of).is_some_and(|party| !self.parties[*party].exists);
                if ended {
                    self.sessions.remove(&of);
                }
                self.call_off(of);
                self.tell(of);
                self.configure(of);
            }
            for who in (1..=COPY).filter(|who| self.parties[*who].runs).collect::<Vec<_>>() {
                let machine = self.parties[who].machine;
                self.send(who, 0, Message::Hello(who, machine));
                self.arm(who);
                self.ask(who);
            }
            while !self.network.is_empty() {
                self.deliver();
            }
            (1..=COPY).for_each(|who| self.grant(who));
            while !self.network.is_empty() {
                self.deliver();
            }
            (1..=NODES).for_each(|of| self.meet(of));
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

    /// Terms that name where voters are, if a node's do not.
    fn meet(&mut self, of: usize) {
        let record = &self.records[&of];
        let last = record.terms.last().expect("some");
        let here = self.terms(of, last.voters.iter().copied().map(number)).machines;
        if last.machines != here {
            self.elect(of);
        }
    }
}
