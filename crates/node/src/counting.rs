//! Reads the counters of packet filters, those of one router or gateway after the other beside everything else, so that however many there are,
//! and however long their lists, it takes a small part of one processor.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use causeway_linux::Namespace;
use causeway_linux::filter::{AclReader, Counters, LinkDrops, read_link_drops};
use causeway_model::{VpcId, VpnGatewayId};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::vpc::in_time;

/// Everybody's counters are read this often,
const ROUND: Duration = Duration::from_secs(5);
/// but after each reading there is a pause of so many times what it took.
const REST: u32 = 10;

/// Whose counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    /// The access lists of a VPC's router.
    Router(VpcId),
    /// What a gateway's filter drops.
    Gateway(VpnGatewayId),
}

/// How to read them.
pub(crate) enum Reader {
    /// Of access lists.
    Lists(AclReader),
    /// Of the filter in this namespace.
    Filter(String),
}

/// What was read.
pub(crate) enum Read {
    /// Of access lists.
    Lists(Counters),
    /// What a filter dropped so far.
    Drops(LinkDrops),
}

/// Something to read: which run of the router or the gateway's actor it is of, and how.
pub(crate) type Source = (u64, Reader);

/// What came of a reading.
pub(crate) struct Counted {
    /// Of whom.
    pub(crate) whose: Whose,
    /// Of which of its runs.
    pub(crate) incarnation: u64,
    /// `None` if it could not be read.
    pub(crate) read: Option<Read>,
    took: Duration,
}

/// Whose turn it is.
pub(crate) struct Counting {
    results: mpsc::Receiver<Counted>,
    reader: mpsc::Sender<Counted>,
    /// Whether a reading is under way.
    busy: bool,
    last: Option<Whose>,
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

    /// Notes how long a reading took of one of so many.
    pub(crate) fn rest(&mut self, counted: &Counted, sources: usize) {
        let share = ROUND / u32::try_from(sources.max(1)).unwrap_or(u32::MAX);
        self.next_at = Instant::now() + share.max(counted.took * REST);
    }

    /// Begins to read the next one of `sources`.
    pub(crate) fn begin(&mut self, mut sources: BTreeMap<Whose, Source>) {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = sources.range((after, Bound::Unbounded)).next().or_else(|| sources.first_key_value());
        let Some(whose) = next.map(|(whose, _)| *whose) else {
            self.next_at = Instant::now() + ROUND;
            return;
        };
        let Some((incarnation, source)) = sources.remove(&whose) else { return };
        self.last = Some(whose);
        self.busy = true;
        let results = self.reader.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            let read = match source {
                Reader::Lists(lists) => in_time("counters of access lists", lists.read()).await.map(Read::Lists),
                Reader::Filter(namespace) => {
                    let drops = async { read_link_drops(&Namespace::open(&namespace)?).await };
                    in_time("counters of a packet filter", drops).await.map(Read::Drops)
                }
            };
            let read = read.inspect_err(|error| tracing::debug!(%error, ?whose, "cannot count")).ok();
            // Fails only if the node is gone.
            let _ = results.send(Counted { whose, incarnation, read, took: begun.elapsed() }).await;
        });
    }
}
