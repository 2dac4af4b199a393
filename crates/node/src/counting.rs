//! Reads the counters of access lists, one VPC after the other beside everything else, so that however many there are, and however long
//! their lists, it takes a small part of one processor.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use causeway_linux::filter::Counters;
use causeway_model::VpcId;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::vpc::{VpcRouter, in_time};

/// Each VPC's counters are read this often,
const ROUND: Duration = Duration::from_secs(5);
/// but after each reading there is a pause of so many times what it took.
const REST: u32 = 10;

/// What was read.
pub(crate) struct Counted {
    /// Of which VPC.
    pub(crate) vpc: VpcId,
    /// Of which of its routers: see [`VpcRouter::incarnation`].
    pub(crate) incarnation: u64,
    /// `None` if it could not be read.
    pub(crate) counters: Option<Counters>,
    took: Duration,
}

/// Whose turn it is.
pub(crate) struct Counting {
    results: mpsc::Receiver<Counted>,
    reader: mpsc::Sender<Counted>,
    /// Whether a reading is under way.
    busy: bool,
    last: Option<VpcId>,
    next_at: Instant,
}

impl Counting {
    pub(crate) fn new() -> Self {
        let (reader, results) = mpsc::channel(1);
        Self { results, reader, busy: false, last: None, next_at: Instant::now() }
    }

    /// Waits until it is somebody's turn (`None`), or something was read.
    pub(crate) async fn next(&mut self) -> Option<Counted> {
        if self.busy {
            let counted = self.results.recv().await;
            self.busy = false;
            return counted;
        }
        sleep_until(self.next_at.into()).await;
        None
    }

    /// Notes how long a reading took of one of `routers`.
    pub(crate) fn rest(&mut self, counted: &Counted, routers: usize) {
        let share = ROUND / u32::try_from(routers.max(1)).unwrap_or(u32::MAX);
        self.next_at = Instant::now() + share.max(counted.took * REST);
    }

    /// Begins to read the next one of `routers`.
    pub(crate) fn begin(&mut self, routers: &BTreeMap<VpcId, VpcRouter>) {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = routers.range((after, Bound::Unbounded)).next().or_else(|| routers.first_key_value());
        let Some((vpc, router)) = next else {
            self.next_at = Instant::now() + ROUND;
            return;
        };
        self.last = Some(*vpc);
        self.busy = true;
        let (vpc, incarnation) = (*vpc, router.incarnation());
        let (reader, results) = (router.acl_reader(), self.reader.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            let read = in_time("counters of access lists", reader.read()).await;
            let counters = read.inspect_err(|error| tracing::debug!(%error, %vpc, "cannot count")).ok();
            // Fails only if the node is gone.
            let _ = results.send(Counted { vpc, incarnation, counters, took: begun.elapsed() }).await;
        });
    }
}
