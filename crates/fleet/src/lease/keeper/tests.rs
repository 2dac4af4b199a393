//! The keeper with a gate and voters that the test plays.

use std::future::Future;

use causeway_model::desired::LeaseTerms;
use tokio::time::timeout;

use super::*;
use crate::lease::{Fence, Voter};

const PATIENCE: Duration = Duration::from_secs(30);
/// Where other nodes are.
const OTHERS: MachineId = MachineId(Uuid::from_u128(9));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Close,
    Open,
    Arm(u64),
    Count(u64),
}

/// Says what it was told, and does it unless it is broken.
#[derive(Clone)]
struct Played {
    calls: mpsc::UnboundedSender<Call>,
    broken: Arc<Mutex<bool>>,
}

impl Played {
    fn take(&self, call: Call) -> impl Future<Output = Result<(), GateError>> + Send + use<> {
        let broken = *self.broken.lock().expect("not poisoned");
        self.calls.send(call).expect("the test listens");
        std::future::ready(if broken { Err(GateError("no room".to_owned())) } else { Ok(()) })
    }
}

impl Gate for Played {
    fn close(&mut self) -> impl Future<Output = Result<(), GateError>> + Send {
        self.take(Call::Close)
    }

    fn open(&mut self) -> impl Future<Output = Result<(), GateError>> + Send {
        self.take(Call::Open)
    }

    fn arm(&mut self, number: u64, _: Duration) -> impl Future<Output = Result<(), GateError>> + Send {
        self.take(Call::Arm(number))
    }

    fn count(&mut self, number: u64) -> impl Future<Output = Result<(), GateError>> + Send {
        self.take(Call::Count(number))
    }
}

struct Bench {
    keeper: Keeper,
    asks: watch::Receiver<Option<Ask>>,
    calls: mpsc::UnboundedReceiver<Call>,
    broken: Arc<Mutex<bool>>,
    desk: Arc<Mutex<Desk>>,
    me: NodeId,
    machine: MachineId,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new(closed: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (me, machine) = (NodeId::random(), MachineId::random());
        let desk = Arc::new(Mutex::new(Desk::open(directory.path(), (me, machine)).expect("opens")));
        let (calls_tx, calls) = mpsc::unbounded_channel();
        let broken = Arc::<Mutex<bool>>::default();
        let gate = Played { calls: calls_tx, broken: Arc::clone(&broken) };
        let keeper = Keeper::start(gate, (me, machine), Arc::clone(&desk), closed).await;
        let asks = keeper.asks();
        let mut bench = Self { keeper, asks, calls, broken, desk, me, machine, _directory: directory };
        assert_eq!(bench.call().await, if closed { Call::Close } else { Call::Open });
        bench
    }

    async fn call(&mut self) -> Call {
        timeout(PATIENCE, self.calls.recv()).await.expect("in time").expect("open")
    }

    async fn call_after(&mut self, other: impl Fn(Call) -> bool) -> Call {
        loop {
            let call = self.call().await;
            if !other(call) {
                return call;
            }
        }
    }

    fn terms(&self, number: u64) -> LeaseTerms {
        let machines = [(self.me, self.machine)].into();
        LeaseTerms { number, voters: vec![self.me, NodeId::random()], lease_ms: 60_000, machines }
    }

    async fn asked(&mut self) -> Ask {
        let ask = self.asks.wait_for(Option::is_some);
        let ask = *timeout(PATIENCE, ask).await.expect("in time").expect("open");
        ask.expect("it is some")
    }

    async fn answer(&self, ask: Ask) {
        self.promise(ask, None, Way::Direct).await;
    }

    /// A promise of the controller, or of a node that the terms name where it is.
    async fn promise(&self, ask: Ask, by: Option<NodeId>, way: Way) {
        let voter = by.map_or(Voter::Controller, Voter::Node);
        let promise = Promise { ask, voter, machine: by.map(|_| OTHERS) };
        self.keeper.promises().send((promise, way)).await.expect("open");
    }

    /// Terms by which two of three other nodes have to promise beside itself, or one and the controller.
    fn terms_of_five(&self, lease_ms: u64, others: [NodeId; 3]) -> LeaseTerms {
        let mut machines: BTreeMap<NodeId, MachineId> = others.into_iter().map(|other| (other, OTHERS)).collect();
        machines.insert(self.me, self.machine);
        let voters = others.into_iter().chain([self.me]).collect();
        LeaseTerms { number: 1, voters, lease_ms, machines }
    }

    /// What the controller is asked to pass on next.
    async fn unanswered(&self, of: &mut watch::Receiver<Option<Unanswered>>) -> Unanswered {
        timeout(PATIENCE, of.changed()).await.expect("in time").expect("open");
        of.borrow_and_update().clone().expect("it is some")
    }

    async fn held(&self, holds: impl Fn(&Held) -> bool) -> Held {
        let mut state = self.keeper.state.clone();
        let wait = async {
            loop {
                let held = self.keeper.held().expect("a lease");
                if holds(&held) {
                    return held;
                }
                state.changed().await.expect("it lives");
            }
        };
        timeout(PATIENCE, wait).await.expect("in time")
    }
}

#[tokio::test]
async fn an_element_is_in_the_kernel_before_the_question_leaves_and_counts_after_a_majority() {
    let mut bench = Bench::new(true).await;
    assert_eq!(bench.keeper.held(), None);
    bench.keeper.run(Some(LeaseDesired { epoch: 5, terms: bench.terms(2) }));
    let ask = bench.asked().await;
    assert_eq!(bench.calls.try_recv(), Ok(Call::Arm(1)), "by the time that anybody sees the question");
    assert_eq!((ask.holder, ask.epoch, ask.number, ask.lease_ms), (bench.me, 5, 1, 60_000));
    assert_eq!(bench.keeper.held(), Some(Held::default()), "its own vote is no majority of three");
    bench.answer(Ask { boot: ask.boot.wrapping_add(1), ..ask }).await;
    bench.answer(ask).await;
    assert_eq!(bench.call().await, Call::Count(1));
    let held = bench.held(|held| held.terms == 2).await;
    assert!(held.epoch == 5 && held.left_ms > 0 && held.left_ms <= 60_000, "{held:?}");
    assert_eq!(held.trouble, None);
}

#[tokio::test]
async fn a_node_that_goes_over_to_a_lease_has_its_gate_open_until_a_majority_answers() {
    let mut bench = Bench::new(false).await;
    bench.keeper.run(Some(LeaseDesired { epoch: 1, terms: bench.terms(1) }));
    let first = bench.asked().await;
    assert_eq!(bench.call().await, Call::Arm(1));
    // Other terms are asked by at once, and what was asked before counts no more.
    bench.keeper.run(Some(LeaseDesired { epoch: 1, terms: bench.terms(2) }));
    assert_eq!(bench.call().await, Call::Arm(2));
    bench.answer(first).await;
    let second = *timeout(PATIENCE, bench.asks.wait_for(|ask| ask.is_some_and(|ask| ask.number == 2)))
        .await
        .expect("in time")
        .expect("open");
    bench.answer(second.expect("it is some")).await;
    assert_eq!(bench.call().await, Call::Count(2));
    bench.keeper.run(None);
    assert_eq!(bench.call().await, Call::Open);
    assert_eq!((bench.keeper.held(), *bench.keeper.asks().borrow()), (None, None));
}

#[tokio::test]
async fn without_its_kernel_a_node_asks_nobody_and_says_why() {
    let mut bench = Bench::new(true).await;
    *bench.broken.lock().expect("not poisoned") = true;
    let terms = LeaseTerms { lease_ms: 600, ..bench.terms(1) };
    bench.keeper.run(Some(LeaseDesired { epoch: 1, terms }));
    assert_eq!(bench.call().await, Call::Arm(1));
    let held = bench.held(|held| held.trouble.is_some()).await;
    assert!(held.trouble.is_some_and(|text| text.contains("no room")) && held.terms == 0);
    assert_eq!(*bench.keeper.asks().borrow(), None);
    assert_eq!(bench.call().await, Call::Arm(2), "it tries again");
    *bench.broken.lock().expect("not poisoned") = false;
    let ask = bench.asked().await;
    assert!(ask.number > 2);
    assert_eq!(bench.held(|held| held.trouble.is_none()).await.terms, 0);
    // A gate that does not count what was promised is no acknowledgement either.
    *bench.broken.lock().expect("not poisoned") = true;
    bench.answer(ask).await;
    assert_eq!(bench.call_after(|call| matches!(call, Call::Arm(_))).await, Call::Count(ask.number));
    assert_eq!(bench.held(|held| held.trouble.is_some()).await.terms, 0);
    // Nor is a lease that nobody would promise.
    *bench.broken.lock().expect("not poisoned") = false;
    bench.keeper.run(Some(LeaseDesired { epoch: 1, terms: LeaseTerms { lease_ms: u64::MAX, ..bench.terms(2) } }));
    let held = bench.held(|held| held.trouble.as_ref().is_some_and(|text| text.contains("longer"))).await;
    assert_eq!(held.terms, 0);
    // What shall be open is tried until it is.
    *bench.broken.lock().expect("not poisoned") = true;
    bench.keeper.run(None);
    assert_eq!(bench.call_after(|call| call != Call::Open).await, Call::Open);
    assert_eq!(bench.call().await, Call::Open);
    *bench.broken.lock().expect("not poisoned") = false;
    assert_eq!(bench.call().await, Call::Open);
}

#[tokio::test]
async fn a_node_that_was_fenced_has_no_vote_for_itself() {
    let mut bench = Bench::new(true).await;
    let fence = Fence { holder: bench.me, epoch: 2 };
    assert!(bench.desk.lock().expect("not poisoned").fence(&fence).is_some());
    let terms = LeaseTerms { lease_ms: 300, ..bench.terms(1) };
    bench.keeper.run(Some(LeaseDesired { epoch: 1, terms: terms.clone() }));
    let ask = bench.asked().await;
    bench.answer(ask).await;
    let next = bench.asks.wait_for(|next| next.is_some_and(|next| next.number > ask.number));
    drop(timeout(PATIENCE, next).await.expect("in time").expect("open"));
    while let Ok(call) = bench.calls.try_recv() {
        assert!(matches!(call, Call::Arm(_)), "the controller's promise alone is no majority");
    }
    bench.keeper.run(Some(LeaseDesired { epoch: 2, terms }));
    let of_next = bench.asks.wait_for(|ask| ask.is_some_and(|ask| ask.epoch == 2));
    let ask = (*timeout(PATIENCE, of_next).await.expect("in time").expect("open")).expect("it is some");
    bench.answer(ask).await;
    assert_eq!(bench.call_after(|call| matches!(call, Call::Arm(_))).await, Call::Count(ask.number));
}

#[tokio::test]
async fn nothing_is_armed_asked_or_counted_by_terms_that_are_for_another_machine() {
    let mut bench = Bench::new(true).await;
    let own = bench.terms(2);
    let copied = LeaseTerms { machines: [(bench.me, MachineId::random())].into(), lease_ms: 300, ..bench.terms(1) };
    bench.keeper.run(Some(LeaseDesired { epoch: 1, terms: copied }));
    let held = bench.held(|held| held.trouble.is_some()).await;
    assert!(held.trouble.is_some_and(|text| text.contains("another machine")) && held.terms == 0);
    assert_eq!(*bench.keeper.asks().borrow(), None);
    bench.keeper.run(Some(LeaseDesired { epoch: 2, terms: own }));
    let ask = bench.asked().await;
    assert_eq!((bench.call().await, ask.number, ask.epoch), (Call::Arm(1), 1, 2), "nothing came before this");
    bench.answer(ask).await;
    assert_eq!(bench.held(|held| held.terms == 2).await.trouble, None);
}

#[tokio::test]
async fn what_no_majority_answers_is_passed_on_until_one_has() {
    let mut bench = Bench::new(true).await;
    let others = [NodeId::random(), NodeId::random(), NodeId::random()];
    let mut passed = bench.keeper.unanswered();
    let terms = bench.terms_of_five(3600, others);
    bench.keeper.run(Some(LeaseDesired { epoch: 5, terms }));
    let first = bench.unanswered(&mut passed).await;
    assert_eq!(bench.calls.try_recv(), Ok(Call::Arm(1)), "by the time that anybody is to pass it on");
    assert_eq!((first.ask.number, first.voters.len()), (1, 3), "at once: nobody has answered yet");
    bench.answer(first.ask).await;
    bench.promise(first.ask, Some(others[1]), Way::Relayed).await;
    assert_eq!(bench.call_after(|call| matches!(call, Call::Arm(_))).await, Call::Count(1));
    // Whoever promises once more, or by another way, is one voter still.
    let second = bench.unanswered(&mut passed).await;
    assert_eq!(second.ask.number, 2, "the first one is answered");
    for way in [Way::Relayed, Way::Direct, Way::Relayed] {
        bench.promise(second.ask, Some(others[1]), way).await;
    }
    let left = timeout(PATIENCE, passed.wait_for(|left| left.as_ref().is_some_and(|left| left.voters.len() == 2)));
    let left = left.await.expect("in time").expect("open").clone().expect("it is some");
    assert_eq!(left.ask, second.ask);
    assert!(!left.voters.contains(&others[1]));
    while let Ok(call) = bench.calls.try_recv() {
        assert!(matches!(call, Call::Arm(_)), "two of five: {call:?}");
    }
    bench.promise(left.ask, Some(others[2]), Way::Relayed).await;
    let counted = bench.call_after(|call| matches!(call, Call::Arm(_))).await;
    assert_eq!(counted, Call::Count(2));
    bench.keeper.run(None);
    let ended = timeout(PATIENCE, passed.wait_for(Option::is_none)).await;
    assert!(ended.expect("in time").is_ok(), "nothing is left to be passed on");
}

#[tokio::test]
async fn a_node_says_that_it_has_no_majority_of_its_own_and_that_it_has_one_again() {
    let mut bench = Bench::new(true).await;
    let others = [NodeId::random(), NodeId::random(), NodeId::random()];
    let mut passed = bench.keeper.unanswered();
    let terms = bench.terms_of_five(3000, others);
    bench.keeper.run(Some(LeaseDesired { epoch: 1, terms }));
    let mut said = 0;
    while !bench.keeper.held().expect("a lease").relayed {
        let question = bench.unanswered(&mut passed).await;
        bench.answer(question.ask).await;
        bench.promise(question.ask, Some(others[0]), Way::Relayed).await;
        said = question.ask.number;
    }
    assert!(said >= 3, "not of the first ones: {said}");
    // The tunnels are there: whoever answers through them is asked by the controller no more.
    let mut seen = said;
    while bench.keeper.held().expect("a lease").relayed {
        let next = timeout(PATIENCE, bench.asks.wait_for(|ask| ask.is_some_and(|ask| ask.number > seen))).await;
        let ask = (*next.expect("in time").expect("open")).expect("it is some");
        for other in others {
            bench.promise(ask, Some(other), Way::Direct).await;
        }
        seen = ask.number;
    }
}
