//! A stream of numbered datagrams from one machine to another, and how long nothing of it arrived: what a change-over costs its users,
//! one direction at a time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use tokio::task::AbortHandle;

use crate::machine::{Machine, in_namespace};
use crate::wait::eventually;

/// Between two datagrams.
pub const STEP: Duration = Duration::from_millis(10);
/// Datagrams that have to arrive one after the other before the way counts as open.
const STEADY: u64 = 50;
/// Datagrams that may be on their way.
const UNDER_WAY: u64 = 5;
/// Holes of a stream that a message lists.
const HOLES: usize = 8;
/// Arrivals that are remembered: more than an hour.
const MEMORY: usize = 400_000;

#[derive(Clone, Copy, Debug)]
struct Arrival {
    number: u64,
    at: Instant,
}

/// What a stream met in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interruption {
    /// The longest time without an arrival.
    pub gap: Duration,
    /// Datagrams that were sent and have not arrived.
    pub lost: u64,
}

impl Interruption {
    pub(crate) fn worse(self, other: Self) -> Self {
        if other.gap > self.gap { other } else { self }
    }
}

/// A stream that runs until it is dropped.
#[derive(Debug)]
pub struct Stream {
    /// From where to where, for people.
    pub name: String,
    sent: Arc<AtomicU64>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Stream {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Stream {
    /// Starts sending a datagram every [`STEP`] from `from` to `target`, an address of `to`.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub async fn start(from: &Machine, to: &Machine, target: &str) -> Result<Self> {
        let target: IpAddr = target.parse()?;
        let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let bind = |address: IpAddr| move || UdpSocket::bind(SocketAddr::new(address, 0));
        let receiver = in_namespace(&to.namespace, bind(target)).await?;
        let sender = in_namespace(&from.namespace, bind(any)).await?;
        let target = receiver.local_addr()?;
        for socket in [&receiver, &sender] {
            socket.set_nonblocking(true)?;
        }
        let (receiver, sender) = (tokio::net::UdpSocket::from_std(receiver)?, tokio::net::UdpSocket::from_std(sender)?);
        let sent = Arc::new(AtomicU64::new(0));
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let (counter, log) = (Arc::clone(&sent), Arc::clone(&arrivals));
        let sending = tokio::spawn(async move {
            let mut steps = tokio::time::interval(STEP);
            // A burst of what was missed would say more of buffers than of the way.
            steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                steps.tick().await;
                let number = counter.load(Ordering::Relaxed);
                // An unreachable target is what a stream is there to see.
                let _ = sender.send_to(&number.to_be_bytes(), target).await;
                counter.store(number + 1, Ordering::Relaxed);
            }
        });
        let receiving = tokio::spawn(async move {
            let mut datagram = [0; 8];
            loop {
                match receiver.recv(&mut datagram).await {
                    Ok(8) => {
                        let arrival = Arrival { number: u64::from_be_bytes(datagram), at: Instant::now() };
                        let mut log: std::sync::MutexGuard<'_, Vec<Arrival>> =
                            log.lock().unwrap_or_else(PoisonError::into_inner);
                        if log.len() >= MEMORY {
                            log.drain(..MEMORY / 2);
                        }
                        log.push(arrival);
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(STEP).await,
                }
            }
        });
        let name = format!("{} -> {}", from.role, to.role);
        Ok(Self { name, sent, arrivals, tasks: [sending.abort_handle(), receiving.abort_handle()] })
    }

    /// Number of the next datagram, to be given to [`Self::since`].
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until the way is open: the newest datagrams arrive without a loss.
    ///
    /// # Errors
    /// It is not within `limit`.
    pub async fn steady(&self, limit: Duration) -> Result<()> {
        let begun = self.mark();
        eventually(&format!("{} is steady", self.name), limit, || async {
            let newest = self.mark().saturating_sub(UNDER_WAY);
            let oldest = newest.saturating_sub(STEADY).max(begun);
            ensure!(newest >= begun + STEADY, "not sent yet");
            let arrived = self.arrived(oldest..newest);
            ensure!(arrived >= newest - oldest, "{arrived} of the last {}", newest - oldest);
            Ok(())
        })
        .await
    }

    /// Which of these numbers have not arrived, and when, by the wall clock, their neighbours did: for whoever reads logs beside it.
    fn holes(&self, numbers: Range<u64>) -> String {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        holes(&arrivals, numbers, |at| {
            let wall = SystemTime::now().checked_sub(at.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
            let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let (seconds, milliseconds) = (since.as_secs() % 86_400, since.subsec_millis());
            format!("{:02}:{:02}:{:02}.{milliseconds:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        })
    }

    fn arrived(&self, numbers: Range<u64>) -> u64 {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().rev().filter(|arrival| numbers.contains(&arrival.number)).count() as u64
    }

    /// Waits until every datagram from number `mark` on has arrived, but for those under way.
    ///
    /// # Errors
    /// One is lost: it has not come within `limit`.
    pub async fn nothing_lost(&self, mark: u64, limit: Duration) -> Result<()> {
        self.steady(limit).await?;
        eventually(&format!("nothing of {} is lost", self.name), limit, || async {
            let lost = self.since(mark).lost;
            let newest = self.mark().saturating_sub(UNDER_WAY);
            ensure!(lost == 0, "{lost} lost: {}", self.holes(mark..newest));
            Ok(())
        })
        .await
    }

    /// What the datagrams from number `mark` on met until now.
    #[must_use]
    pub fn since(&self, mark: u64) -> Interruption {
        let newest = self.mark().saturating_sub(UNDER_WAY);
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        interruption(&arrivals, mark, newest, Instant::now())
    }
}

/// Of the datagrams `mark` to `newest`, the latter not included; the arrivals are in the order of time.
fn interruption(arrivals: &[Arrival], mark: u64, newest: u64, now: Instant) -> Interruption {
    // The last one before the mark began the first stretch.
    let first = arrivals.iter().position(|arrival| arrival.number >= mark).unwrap_or(arrivals.len()).saturating_sub(1);
    let times = arrivals.iter().skip(first).map(|arrival| arrival.at).chain([now]);
    let gap = times.clone().zip(times.skip(1)).map(|(a, b)| b.saturating_duration_since(a)).max().unwrap_or_default();
    let arrived = arrivals.iter().filter(|arrival| (mark..newest).contains(&arrival.number)).count() as u64;
    Interruption { gap, lost: newest.saturating_sub(mark).saturating_sub(arrived) }
}

/// The first holes in `numbers`, with what `show` makes of the arrivals around each.
fn holes(arrivals: &[Arrival], numbers: Range<u64>, show: impl Fn(Instant) -> String) -> String {
    let came: BTreeMap<u64, Instant> = arrivals.iter().map(|arrival| (arrival.number, arrival.at)).collect();
    let mut found = Vec::new();
    let mut next = numbers.start;
    let edges = came.range(numbers.clone()).map(|(number, at)| (*number, Some(*at))).chain([(numbers.end, None)]);
    for (number, at) in edges {
        if number > next {
            let before = next.checked_sub(1).and_then(|before| came.get(&before)).copied();
            let shown = |at: Option<Instant>| at.map_or_else(|| "never".to_owned(), &show);
            found.push(format!("{next} to {} (between {} and {})", number - 1, shown(before), shown(at)));
        }
        next = number + 1;
    }
    let more = found.len().saturating_sub(HOLES);
    found.truncate(HOLES);
    let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{rest}", found.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_and_the_losses_are_found() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let arrivals: Vec<Arrival> = [(0, 0), (1, 10), (9, 95), (10, 101), (11, 110)]
            .map(|(number, milliseconds)| Arrival { number, at: after(milliseconds) })
            .into();
        let whole = interruption(&arrivals, 2, 12, after(120));
        assert_eq!(whole, Interruption { gap: Duration::from_millis(85), lost: 7 });
        let end = interruption(&arrivals, 11, 12, after(120));
        assert_eq!(end, Interruption { gap: Duration::from_millis(10), lost: 0 });
        let silent = interruption(&arrivals, 12, 20, after(500));
        assert_eq!(silent, Interruption { gap: Duration::from_millis(390), lost: 8 });
        assert_eq!(interruption(&[], 0, 0, start), Interruption { gap: Duration::ZERO, lost: 0 });

        let show = |at: Instant| at.duration_since(start).as_millis().to_string();
        assert_eq!(holes(&arrivals, 0..12, show), "2 to 8 (between 10 and 95)");
        assert_eq!(holes(&arrivals, 1..14, show), "2 to 8 (between 10 and 95), 12 to 13 (between 110 and never)");
        assert_eq!(holes(&[], 0..3, show), "0 to 2 (between never and never)");
        assert_eq!(holes(&arrivals, 9..12, show), "");
    }
}
