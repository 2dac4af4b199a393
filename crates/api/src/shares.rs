//! How much of the service's memory and of its readers one key may take: requests and answers are whole in memory from their making until
//! they are read or taken, and a page is as long as its objects are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reads of one key that are worked on at once: one less than the store has readers, so that no key has all of them. Further ones wait.
const READS: usize = 3;
/// Reads of one key that wait at most. More than connections and streams allow come only from clients that hang up and ask again.
const WAITING: usize = 1024;

/// What is no longer than this is not refused because of what other keys hold, so that they keep nobody from short answers.
const SHORT: usize = 16 * 1024;

/// Octets of requests and answers that may be in memory at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// For one API key.
    pub of_key: usize,
    /// For all API keys.
    pub of_all: usize,
}

impl Default for Memory {
    /// A few of the longest pages for a key, and four such keys.
    fn default() -> Self {
        Self { of_key: 32 << 20, of_all: 128 << 20 }
    }
}

/// What keys take.
#[derive(Debug)]
pub(crate) struct Shares {
    memory: Memory,
    held: Mutex<Octets>,
    reads: Mutex<HashMap<String, Arc<Semaphore>>>,
}

#[derive(Debug, Default)]
struct Octets {
    all: usize,
    of_key: HashMap<String, usize>,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Octets that one key holds until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    shares: Arc<Shares>,
    access_key: String,
    octets: usize,
}

/// What an answer holds, by all of its pieces.
pub(crate) type Held = Arc<Hold>;

/// One key's turn to read; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Reading {
    shares: Arc<Shares>,
    access_key: String,
    permit: Option<OwnedSemaphorePermit>,
}

/// Whom the answer of a request is charged to, once that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Payer(Arc<OnceLock<(Arc<Shares>, String)>>);

impl Shares {
    pub(crate) fn new(memory: Memory) -> Self {
        Self { memory, held: Mutex::default(), reads: Mutex::default() }
    }

    /// Room for `octets` of this key.
    pub(crate) fn hold(self: &Arc<Self>, access_key: &str, octets: usize) -> Result<Hold, Full> {
        let mut hold = Hold { shares: Arc::clone(self), access_key: access_key.to_owned(), octets: 0 };
        hold.grow(octets)?;
        Ok(hold)
    }

    /// Waits for this key's turn to read. `Err`: how many wait already.
    pub(crate) async fn read(self: &Arc<Self>, access_key: &str) -> Result<Reading, u32> {
        let turns = {
            // Counters stay usable whatever panicked.
            let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
            let turns = reads.entry(access_key.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(READS)));
            // Each that waits or reads has one, and so has the list.
            if Arc::strong_count(turns) > READS + WAITING {
                return Err(u32::try_from(READS + WAITING).unwrap_or(u32::MAX));
            }
            Arc::clone(turns)
        };
        let mut reading = Reading { shares: Arc::clone(self), access_key: access_key.to_owned(), permit: None };
        // Nobody closes it.
        reading.permit = turns.acquire_owned().await.ok();
        Ok(reading)
    }
}

impl Hold {
    /// Takes `octets` more.
    pub(crate) fn grow(&mut self, octets: usize) -> Result<(), Full> {
        if octets == 0 {
            return Ok(());
        }
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.of_key.get(&self.access_key).copied().unwrap_or(0).saturating_add(octets);
        let all = held.all.saturating_add(octets);
        if own > self.shares.memory.of_key || (octets > SHORT && all > self.shares.memory.of_all) {
            return Err(Full);
        }
        held.all = all;
        held.of_key.insert(self.access_key.clone(), own);
        self.octets += octets;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.octets == 0 {
            return;
        }
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(self.octets);
        if let Some(own) = held.of_key.get_mut(&self.access_key) {
            *own = own.saturating_sub(self.octets);
            if *own == 0 {
                held.of_key.remove(&self.access_key);
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.permit = None;
        let mut reads = self.shares.reads.lock().unwrap_or_else(PoisonError::into_inner);
        if reads.get(&self.access_key).is_some_and(|turns| Arc::strong_count(turns) == 1) {
            reads.remove(&self.access_key);
        }
    }
}

impl Payer {
    /// Notes that this key pays.
    pub(crate) fn is(&self, shares: &Arc<Shares>, access_key: &str) {
        // A request has one key.
        let _ = self.0.set((Arc::clone(shares), access_key.to_owned()));
    }

    /// Whether the request came with a valid key.
    pub(crate) fn is_known(&self) -> bool {
        self.0.get().is_some()
    }

    /// Room for an answer of so many octets. `None`: nobody pays, as for what strangers are told.
    pub(crate) fn hold(&self, octets: usize) -> Result<Option<Hold>, Full> {
        self.0.get().map(|(shares, access_key)| shares.hold(access_key, octets)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_holds_so_much_and_all_hold_so_much() {
        let long = SHORT + 1;
        let shares = Arc::new(Shares::new(Memory { of_key: long * 2, of_all: long * 3 }));
        let mut first = shares.hold("a", long).expect("room");
        assert_eq!(first.grow(long + 1), Err(Full));
        first.grow(long).expect("room");
        assert_eq!(shares.hold("a", 1).err(), Some(Full));
        let second = shares.hold("b", long).expect("room");
        assert_eq!(shares.hold("c", long).err(), Some(Full));
        drop(shares.hold("c", SHORT).expect("what is short always fits"));
        drop(first);
        drop(shares.hold("a", long * 2).expect("room again"));
        drop(second);
        assert!(shares.held.lock().expect("no panic").of_key.is_empty(), "nothing is kept of who has gone");
        assert_eq!(shares.held.lock().expect("no panic").all, 0);
    }

    #[tokio::test]
    async fn a_key_reads_so_much_at_once_and_others_are_not_concerned() {
        let shares = Arc::new(Shares::new(Memory::default()));
        let mut reads = Vec::new();
        for _ in 0..READS {
            reads.push(shares.read("a").await.expect("a turn"));
        }
        let next = tokio::time::timeout(Duration::from_millis(50), shares.read("a")).await;
        assert!(next.is_err(), "it waits");
        shares.read("b").await.expect("a turn");
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..WAITING {
            let shares = Arc::clone(&shares);
            waiting.spawn(async move { shares.read("a").await.map(drop) });
        }
        while Arc::strong_count(&shares.reads.lock().expect("no panic")["a"]) <= READS + WAITING {
            tokio::task::yield_now().await;
        }
        shares.read("a").await.expect_err("too many wait");
        drop(reads);
        while let Some(turn) = waiting.join_next().await {
            turn.expect("no panic").expect("a turn");
        }
        assert!(shares.reads.lock().expect("no panic").is_empty(), "nothing is kept of who has gone");
    }
}
