//! The routes of one namespace, installed by a task of their own: however many there are, whoever wants them does not wait.
//!
//! By level: a wish says everything that the table shall hold, and the newest counts. The task goes towards it in chunks and looks for a newer
//! one between them. The namespace's own routes come first, and what went of them; then what was learned, then what is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use causeway_linux::{Applied, Change, Error, NextHop, RouteSpec, RouteTable};
use causeway_model::Family;
use ipnet::IpNet;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

/// Changes between two looks for a newer wish: a few tens of milliseconds.
const CHUNK: usize = 1024;
/// Rounds of comparing and changing before giving up.
const ROUNDS: usize = 4;
/// Routes that a log line names.
const NAMED: usize = 8;

/// Ways to one who learned a route, for IPv4 and for IPv6; `None`: none at present.
pub(crate) type Hops = [Option<NextHop>; 2];

/// Who leads to what was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaders<Id> {
    /// Those who share the load, each as often as it has shares.
    pub(crate) best: Vec<Id>,
    /// Those who take over where none of the best has a way: they need not be waited for.
    pub(crate) spare: Vec<Id>,
}

impl<Id> Default for Leaders<Id> {
    fn default() -> Self {
        Self { best: Vec::new(), spare: Vec::new() }
    }
}

/// What was learned, by prefix.
pub(crate) type Learnt<Id> = BTreeMap<IpNet, Leaders<Id>>;

/// Everything that a namespace's table shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish<Id> {
    /// The namespace's own routes, by destination: they beat what was learned for the same prefix, unless the kernel does not take them.
    pub(crate) own: BTreeMap<IpNet, RouteSpec>,
    /// What was learned: who leads there.
    pub(crate) learned: Arc<Learnt<Id>>,
    /// Ways to those. Who is not here carries nothing.
    pub(crate) hops: BTreeMap<Id, Hops>,
}

impl<Id> Default for Wish<Id> {
    fn default() -> Self {
        Self { own: BTreeMap::new(), learned: Arc::default(), hops: BTreeMap::new() }
    }
}

impl<Id: Copy + Ord> Wish<Id> {
    /// The table, by destination.
    pub(crate) fn routes(&self) -> BTreeMap<IpNet, RouteSpec> {
        let mut routes = self.own.clone();
        for prefix in self.learned.keys().filter(|prefix| !self.own.contains_key(*prefix)) {
            routes.extend(self.learned(prefix).map(|spec| (*prefix, spec)));
        }
        routes
    }

    /// What was learned for this prefix, if somebody who learned it carries anything.
    fn learned(&self, prefix: &IpNet) -> Option<RouteSpec> {
        let hop = |id: &Id| {
            let [ipv4, ipv6] = *self.hops.get(id)?;
            if Family::of_net(prefix).is_ipv6() { ipv6 } else { ipv4 }
        };
        let leaders = self.learned.get(prefix)?;
        let mut hops: Vec<NextHop> = leaders.best.iter().filter_map(hop).collect();
        if hops.is_empty() {
            hops.extend(leaders.spare.iter().filter_map(hop));
        }
        (!hops.is_empty()).then(|| RouteSpec::unicast(*prefix, hops))
    }
}

/// Routes that are not in the kernel although they were wished for, and why: somebody else's stands there, or the kernel did not take them.
pub(crate) type Untaken = BTreeMap<IpNet, String>;

/// A table that can be changed: the kernel's.
pub(crate) trait Table: Send + 'static {
    /// See [`RouteTable::forget`].
    fn forget(&mut self);
    /// See [`RouteTable::set_thorough`].
    fn set_thorough(&mut self, thorough: bool);
    /// See [`RouteTable::plan`].
    fn plan(&mut self, routes: &BTreeMap<IpNet, RouteSpec>) -> impl Future<Output = Result<Vec<Change>, Error>> + Send;
    /// See [`RouteTable::carry_out`].
    fn carry_out(&mut self, changes: Vec<Change>) -> impl Future<Output = Result<Applied, Error>> + Send;
}

impl Table for RouteTable {
    fn forget(&mut self) {
        Self::forget(self);
    }

    fn set_thorough(&mut self, thorough: bool) {
        Self::set_thorough(self, thorough);
    }

    async fn plan(&mut self, routes: &BTreeMap<IpNet, RouteSpec>) -> Result<Vec<Change>, Error> {
        Self::plan(self, routes.values()).await
    }

    async fn carry_out(&mut self, changes: Vec<Change>) -> Result<Applied, Error> {
        Self::carry_out(self, changes).await
    }
}

/// How far the task is.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Number of the newest wish whose own routes were dealt with.
    own: u64,
    /// Number of the newest wish that was dealt with as a whole.
    all: u64,
    /// What of that one is not in place, with the reason.
    trouble: Arc<Vec<(IpNet, String)>>,
    /// Places in which neither that one's own route nor a learned one is. Unlike the trouble it is kept while a newer wish is on its way, so
    /// that what is tried again in vain is not taken to be in place in between.
    untaken: Arc<Untaken>,
    /// Why nothing could be done.
    error: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Numbered<Id> {
    number: u64,
    /// Number of the newest wish for which the kernel is to be looked at, rather than what is remembered of it.
    fresh: u64,
    wish: Arc<Wish<Id>>,
}

/// The owner's hold on the task; dropping it ends the task.
pub(crate) struct Installer<Id> {
    wishes: watch::Sender<Numbered<Id>>,
    progress: watch::Receiver<Progress>,
    task: AbortHandle,
}

impl<Id: Copy + Ord + Send + Sync + Debug + 'static> Installer<Id> {
    /// Starts the task. `news` is notified whenever there is progress.
    pub(crate) fn start(item: String, table: impl Table, news: Arc<Notify>) -> Self {
        let (wishes, wishes_rx) = watch::channel(Numbered { number: 0, fresh: 0, wish: Arc::default() });
        let (progress_tx, progress) = watch::channel(Progress::default());
        let task =
            Task { item, table, wishes: wishes_rx, progress: progress_tx, news, own: BTreeSet::new(), looked: 0 };
        let task = tokio::spawn(task.run()).abort_handle();
        Self { wishes, progress, task }
    }

    /// Says what the table shall hold. Nothing happens if it was said before, unless the kernel is to be looked at again: links or addresses
    /// changed, which takes routes along, or something failed.
    pub(crate) fn wish(&self, wish: Wish<Id>, fresh: bool) {
        self.wishes.send_if_modified(|newest| {
            if !fresh && *newest.wish == wish {
                return false;
            }
            newest.number += 1;
            if fresh {
                newest.fresh = newest.number;
            }
            newest.wish = Arc::new(wish);
            true
        });
    }

    fn newest(&self) -> u64 {
        self.wishes.borrow().number
    }

    /// Whether the own routes of the newest wish were dealt with: they are in place, or among the trouble.
    pub(crate) fn own_is_done(&self) -> bool {
        self.progress.borrow().own == self.newest()
    }

    /// Whether the newest wish was dealt with as a whole.
    pub(crate) fn is_done(&self) -> bool {
        self.progress.borrow().all == self.newest()
    }

    /// Whether something of the newest wish, which was dealt with, is not in place.
    pub(crate) fn has_failed(&self) -> bool {
        let progress = self.progress.borrow();
        self.is_done() && (progress.error.is_some() || !progress.trouble.is_empty())
    }

    /// What is not in place, as far as it is known.
    pub(crate) fn trouble(&self) -> Arc<Vec<(IpNet, String)>> {
        Arc::clone(&self.progress.borrow().trouble)
    }

    /// Where neither an own nor a learned route is in place, as of the newest wish that was dealt with as a whole.
    pub(crate) fn untaken(&self) -> Arc<Untaken> {
        Arc::clone(&self.progress.borrow().untaken)
    }

    /// Why nothing can be done at present.
    pub(crate) fn error(&self) -> Option<Arc<str>> {
        self.progress.borrow().error.clone()
    }
}

impl<Id> Drop for Installer<Id> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task<Id, T> {
    /// For the log.
    item: String,
    table: T,
    wishes: watch::Receiver<Numbered<Id>>,
    progress: watch::Sender<Progress>,
    news: Arc<Notify>,
    /// Own routes that may be in the table.
    own: BTreeSet<IpNet>,
    /// Number of the wish for which the kernel was looked at last.
    looked: u64,
}

impl<Id: Copy + Ord + Send + Sync, T: Table> Task<Id, T> {
    async fn run(mut self) {
        loop {
            let newest = self.wishes.borrow_and_update().clone();
            match self.fulfil(&newest).await {
                Ok(Some((trouble, untaken))) => {
                    if !trouble.is_empty() {
                        tracing::warn!(item = self.item, routes = %join(&trouble), "routes are not all in place");
                    }
                    self.publish(newest.number, trouble, Arc::new(untaken), None);
                }
                // A newer one is there.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(item = self.item, %error, "routes cannot be changed");
                    self.table.forget();
                    let untaken = Arc::clone(&self.progress.borrow().untaken);
                    self.publish(newest.number, Vec::new(), untaken, Some(error.to_string().into()));
                }
            }
            if self.wishes.changed().await.is_err() {
                return;
            }
        }
    }

    fn publish(&self, number: u64, trouble: Vec<(IpNet, String)>, untaken: Arc<Untaken>, error: Option<Arc<str>>) {
        self.progress.send_replace(Progress { own: number, all: number, trouble: Arc::new(trouble), untaken, error });
        self.news.notify_one();
    }

    /// Goes towards a wish; what is not in place in the end, and where nothing of ours is, or `None` if a newer wish came.
    async fn fulfil(&mut self, newest: &Numbered<Id>) -> Result<Option<(Vec<(IpNet, String)>, Untaken)>, Error> {
        let mut read = newest.fresh > self.looked;
        self.looked = newest.fresh.max(self.looked);
        let mut routes = newest.wish.routes();
        // Own routes in whose places what was learned goes, with what the kernel said.
        let mut refused = BTreeMap::new();
        for round in 0..ROUNDS {
            let last = round + 1 == ROUNDS;
            if read {
                self.table.forget();
            }
            self.table.set_thorough(round > 0);
            let changes = self.table.plan(&routes).await?;
            let [own, others] = self.in_order(&newest.wish, changes);
            let mut applied = Applied::default();
            // The kernel does not always do what it acknowledged when an IPv6 route gets other next hops.
            // Nor can it be told which of several routes with one name it deletes.
            let quirk = |change: &Change| match change {
                Change::Add(_) => false,
                Change::Replace(spec) => Family::of_net(&spec.destination).is_ipv6(),
                Change::Delete(spec) => routes.contains_key(&spec.destination),
            };
            let (mut again, others_again) = (own.iter().any(quirk), others.iter().any(quirk));
            for chunk in own.chunks(CHUNK) {
                applied += self.table.carry_out(chunk.to_vec()).await?;
            }
            for (prefix, why) in applied.failed.iter().filter(|_| !applied.lost) {
                if newest.wish.own.contains_key(prefix)
                    && let Some(learned) = newest.wish.learned(prefix)
                    && refused.insert(*prefix, why.clone()).is_none()
                {
                    routes.insert(*prefix, learned);
                    again = true;
                }
            }
            // What was refused by a table that had just been read is refused.
            let is_final = |applied: &Applied| applied.is_complete() || (read && !applied.lost);
            if is_final(&applied) && !again {
                self.own = newest.wish.own.keys().copied().collect();
                self.own_done(newest.number, trouble(&applied, &refused));
            } else {
                self.own.extend(newest.wish.own.keys());
            }
            again |= others_again;
            let mut chunks = others.chunks(CHUNK).peekable();
            while let Some(chunk) = chunks.next() {
                applied += self.table.carry_out(chunk.to_vec()).await?;
                // Behind a chunk and not before it: whoever changes their mind all the time gets something, too.
                if chunks.peek().is_some() && self.wishes.has_changed().unwrap_or(false) {
                    return Ok(None);
                }
            }
            if last || (is_final(&applied) && !again) {
                return Ok(Some((trouble(&applied, &refused), missing(&applied).collect())));
            }
            read = true;
        }
        Ok(Some((Vec::new(), Untaken::new())))
    }

    /// What changes of the own routes, and the rest, each with deletions last.
    fn in_order(&self, wish: &Wish<Id>, changes: Vec<Change>) -> [Vec<Change>; 2] {
        let is_own = |change: &Change| match change {
            Change::Delete(spec) => self.own.contains(&spec.destination),
            Change::Add(spec) | Change::Replace(spec) => wish.own.contains_key(&spec.destination),
        };
        let (own, others) = changes.into_iter().partition(is_own);
        [own, others]
    }

    fn own_done(&self, number: u64, trouble: Vec<(IpNet, String)>) {
        let news = self.progress.send_if_modified(|progress| {
            if progress.own == number {
                return false;
            }
            // What went wrong before was about another wish.
            let untaken = Arc::clone(&progress.untaken);
            *progress = Progress { own: number, all: progress.all, trouble: Arc::new(trouble), untaken, error: None };
            true
        });
        if news {
            self.news.notify_one();
        }
    }
}

/// What is not in place, and why. `refused`: own routes in whose places others were tried.
fn trouble(applied: &Applied, refused: &BTreeMap<IpNet, String>) -> Vec<(IpNet, String)> {
    let others = missing(applied).filter(|(prefix, _)| !refused.contains_key(prefix));
    refused.iter().map(|(prefix, why)| (*prefix, why.clone())).chain(others).collect()
}

/// What the kernel was asked for in vain, and why.
fn missing(applied: &Applied) -> impl Iterator<Item = (IpNet, String)> {
    let foreign = applied.foreign.iter();
    let foreign = foreign.map(|prefix| (*prefix, "somebody else's route is in its place".to_owned()));
    applied.failed.iter().cloned().chain(foreign)
}

/// Routes that are not in place, for people: the first few of them.
pub(crate) fn join(trouble: &[(IpNet, String)]) -> String {
    let named = trouble.iter().take(NAMED).map(|(prefix, why)| format!("{prefix}: {why}"));
    let mut text = named.collect::<Vec<_>>().join("; ");
    if let Some(more) = trouble.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}
