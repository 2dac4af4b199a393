//! How the services are that a node cannot do without: each is looked at, none is taken on trust.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use causeway_datapath::Heartbeat;
use causeway_linux::Netlink;
use causeway_model::watch::Service;

/// A packet thread counts at least once a second.
const BEAT_PATIENCE: Duration = Duration::from_secs(6);
/// A gateway's actor beats once a second; what it waits for in between (the kernel, `nft`) may take its time.
const ACTOR_PATIENCE: Duration = Duration::from_secs(30);
/// The kernel gets this long to list the links.
const NETLINK_PATIENCE: Duration = Duration::from_secs(1);

/// What was seen of the packet threads.
#[derive(Debug, Default)]
pub(crate) struct Health {
    beats: BTreeMap<&'static str, (u64, Instant)>,
    /// Of each run of a gateway's actor.
    actors: BTreeMap<u64, (u64, Instant)>,
}

impl Health {
    /// Why a packet thread counts as dead.
    fn threads(&mut self, heartbeats: &[Heartbeat], now: Instant) -> Option<String> {
        let mut dead = Vec::new();
        for beat in heartbeats {
            let (count, since) = self.beats.entry(beat.thread).or_insert((beat.beats, now));
            if *count != beat.beats {
                (*count, *since) = (beat.beats, now);
            }
            if !beat.running {
                dead.push(format!("{} has ended", beat.thread));
            } else if now.saturating_duration_since(*since) > BEAT_PATIENCE {
                dead.push(format!("{} has not moved for {} s", beat.thread, BEAT_PATIENCE.as_secs()));
            }
        }
        (!dead.is_empty()).then(|| dead.join(", "))
    }

    /// Why BGP counts as dead: its sessions belong to the gateways' actors, of which `(run, beats)` are given, and none of those moves. One that
    /// stands still is its own gateway's trouble.
    fn actors(&mut self, beats: &[(u64, u64)], now: Instant) -> Option<String> {
        self.actors.retain(|run, _| beats.iter().any(|(known, _)| known == run));
        let mut alive = beats.is_empty();
        for (run, count) in beats {
            let (known, since) = self.actors.entry(*run).or_insert((*count, now));
            if known != count {
                (*known, *since) = (*count, now);
            }
            alive |= now.saturating_duration_since(*since) <= ACTOR_PATIENCE;
        }
        let seconds = ACTOR_PATIENCE.as_secs();
        (!alive).then(|| format!("the actors of all {} gateways have not moved for {seconds} s", beats.len()))
    }

    /// Looks at all of them. `actors` are the beats of each run of a gateway's actor.
    pub(crate) async fn look(
        &mut self,
        heartbeats: &[Heartbeat],
        ike_ended: bool,
        actors: &[(u64, u64)],
        netlink: &Netlink,
    ) -> Vec<Service> {
        let bgp = self.actors(actors, Instant::now());
        let threads = self.threads(heartbeats, Instant::now());
        let ike = ike_ended.then(|| "the task that hands out its packets has ended".to_owned());
        let netlink = match tokio::time::timeout(NETLINK_PATIENCE, netlink.links()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("the kernel has not answered for {} s", NETLINK_PATIENCE.as_secs())),
        };
        [("packet_threads", threads), ("ike", ike), ("bgp", bgp), ("netlink", netlink)]
            .map(|(name, dead)| Service { name: name.to_owned(), dead })
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stands_still_or_has_ended_is_dead() {
        let (mut health, start) = (Health::default(), Instant::now());
        let beat = |beats, running| [Heartbeat { thread: "tun", beats, running }];
        assert_eq!(health.threads(&beat(1, true), start), None);
        assert_eq!(health.threads(&beat(1, true), start + BEAT_PATIENCE), None);
        let later = start + BEAT_PATIENCE + Duration::from_secs(1);
        assert_eq!(health.threads(&beat(1, true), later).as_deref(), Some("tun has not moved for 6 s"));
        assert_eq!(health.threads(&beat(2, true), later), None);
        assert_eq!(health.threads(&beat(3, false), later).as_deref(), Some("tun has ended"));
    }

    #[test]
    fn bgp_is_dead_when_no_actor_moves() {
        let (mut health, start) = (Health::default(), Instant::now());
        let later = start + ACTOR_PATIENCE + Duration::from_secs(1);
        assert_eq!(health.actors(&[], later), None, "nothing runs, so that nothing is dead");
        assert_eq!(health.actors(&[(1, 5), (2, 5)], start), None);
        assert_eq!(health.actors(&[(1, 5), (2, 6)], later), None, "one stands still, and is not all");
        let last = later + ACTOR_PATIENCE + Duration::from_secs(1);
        let told = health.actors(&[(1, 5), (2, 6)], last);
        assert_eq!(told.as_deref(), Some("the actors of all 2 gateways have not moved for 30 s"));
        assert_eq!(health.actors(&[(3, 6)], last), None, "another run begins anew");
    }
}
