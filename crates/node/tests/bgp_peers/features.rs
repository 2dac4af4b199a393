//! What two speakers agree on and tell each other about the session itself.

use std::net::Ipv4Addr;
use std::time::Duration;

use causeway_model::{Family, ReasonCode};
use causeway_node::session::{Command as Order, Guard};
use ipnet::IpNet;

use crate::daemons::{Announced, DEVICE_ROUTES, Device, Setup};
use crate::site::{
    FIRST, PATIENCE, SECOND, Site, Speaker, TWO_ADDRESSES, both_ways, eventually, everything_in, net, nets, verdicts,
};

crate::with_both! {
    as_numbers_of_four_octets "as4";
    subnets_of_two_and_four_addresses "net";
    the_smaller_hold_time_rules "hold";
    a_frozen_device_runs_out_the_hold_timer "frz";
    collisions_leave_one_connection "col";
    route_refresh "rr";
    words_at_the_end "bye";
    the_devices_limit "lim";
    our_limit "max";
    policy_edits_leave_sessions_alone "pol";
}

pub(crate) const OUR_ROUTES: [&str; 2] = ["10.1.0.0/24", "fd10::/64"];

/// Waits until the device has these routes of ours, or has none of them.
pub(crate) async fn device_knows(device: &impl Device, what: &str, routes: &[&str], known: bool) {
    eventually(what, || match routes.iter().find(|route| device.knows(route) != known) {
        Some(route) => Err(format!("{route}: not yet {known}")),
        None => Ok(()),
    })
    .await;
}

async fn as_numbers_of_four_octets<D: Device>(name: &str) {
    // Private ones of either size (RFC 6996); the reserved 23456 stands for the longer where there is no room (RFC 6793).
    for (ours, theirs) in [(4_200_000_001, 4_294_967_294), (64512, 4_200_000_002), (4_200_000_003, 65534)] {
        let site = Site::new(name);
        let device = D::start(&site, &Setup { asn: theirs, expects: ours, ..Setup::default() });
        for family in Family::ALL {
            let mut speaker = site.speaker_as(0, family, Guard::default(), |config| {
                config.local_asn = ours;
                config.peer_asn = theirs;
            });
            speaker.enable(both_ways(&OUR_ROUTES)).await;
            let update = speaker.accepts("AS numbers", &DEVICE_ROUTES).await;
            let route = update.accepted().next().expect("a route");
            assert_eq!(route.as_path.as_ref(), [theirs]);
            device_knows(&device, "AS numbers", &[OUR_ROUTES[usize::from(family.is_ipv6())]], true).await;
            speaker.end("the case is over").await;
        }
    }
}

async fn subnets_of_two_and_four_addresses<D: Device>(name: &str) {
    for link in [FIRST, TWO_ADDRESSES] {
        let site = Site::with(name, &[link]);
        let device = D::start(&site, &Setup::default());
        for speaker in &mut site.pair(&both_ways(&OUR_ROUTES)).await {
            let update = speaker.accepts("up", &DEVICE_ROUTES).await;
            let (_, peer, _) = link[usize::from(speaker.family().is_ipv6())];
            assert!(update.accepted().all(|route| route.next_hop.to_string() == peer), "{update:?}");
        }
        device_knows(&device, "our routes", &OUR_ROUTES, true).await;
    }
}

async fn the_smaller_hold_time_rules<D: Device>(name: &str) {
    for (ours, theirs) in [(60, 6), (6, 90)] {
        let site = Site::new(name);
        let device = D::start(&site, &Setup { hold_time: theirs, ..Setup::default() });
        let mut speakers =
            Family::ALL.map(|family| site.speaker_as(0, family, Guard::default(), |config| config.hold_time = ours));
        for speaker in &mut speakers {
            speaker.enable(everything_in()).await;
            speaker.accepts("up", &DEVICE_ROUTES).await;
            let wanted = u64::from(ours.min(theirs));
            eventually("the device's hold time", || match device.hold_time(&site, speaker.family()) {
                Some(seconds) if seconds == wanted => Ok(()),
                seen => Err(format!("{seen:?} instead of {wanted}")),
            })
            .await;
        }
        // Nothing but KEEPALIVEs keeps either side's timer from running out. A machine that stands still for longer than that lets it.
        let stretch = Duration::from_secs(u64::from(ours.min(theirs)) * 5 / 2);
        for speaker in &mut speakers {
            for round in 0.. {
                assert!(round < 10, "no stretch of {stretch:?} passes without a loss");
                speaker.accepts_soon("up", &DEVICE_ROUTES).await;
                let before = speaker.snapshot().await.facts;
                tokio::time::sleep(stretch).await;
                let after = speaker.snapshot().await.facts;
                if before.up && after.up && before.flaps == after.flaps {
                    break;
                }
            }
        }
    }
}

async fn a_frozen_device_runs_out_the_hold_timer<D: Device>(name: &str) {
    let site = Site::new(name);
    let device = D::start(&site, &Setup { hold_time: 3, ..Setup::default() });
    let mut speakers = site.pair(&everything_in()).await;
    for speaker in &mut speakers {
        speaker.accepts("up", &DEVICE_ROUTES).await;
    }
    device.freeze();
    for speaker in &mut speakers {
        let update = speaker.until("down", |update| !update.facts.up).await;
        let fault = update.facts.fault.clone().expect("a fault");
        assert_eq!(fault.code, ReasonCode::BgpHoldTimerExpired, "{fault:?}");
        assert_eq!((fault.evidence["state"].as_str(), fault.evidence["hold_time"].as_str()), ("established", "3"));
        assert_eq!(update.accepted().count(), 0);
    }
}

/// Both sides connect, and neither has seen the other's OPEN. Which connection stays depends on the identifiers (RFC 4271 §6.8) and, where
/// one is Established before the other's OPEN is read, on that; that one stays, and the same one at both ends, is what counts.
async fn collisions_leave_one_connection<D: Device>(name: &str) {
    for (ours, theirs) in [(1, "169.254.100.9"), (9, "169.254.100.1")] {
        for family in Family::ALL {
            let site = Site::new(name);
            let device = D::start(&site, &Setup { router_id: theirs, ..Setup::default() });
            let mut speaker = site.speaker_as(0, family, Guard::default(), |config| {
                config.router_id = Ipv4Addr::new(169, 254, 100, ours);
            });
            let policy = both_ways(&OUR_ROUTES);
            speaker.set_policy(policy).await;
            // The device's connection is there, its OPEN arrived, and it stands still while ours comes into being.
            let stream = tokio::time::timeout(PATIENCE, speaker.incoming.recv())
                .await
                .expect("the device connects")
                .expect("the listener");
            let mut octet = [0];
            let seen = tokio::time::timeout(PATIENCE, stream.peek(&mut octet)).await;
            assert_eq!(seen.expect("the device speaks").expect("its OPEN"), 1);
            device.freeze();
            speaker.order(Order::Enable(true)).await;
            eventually("our OPEN waits for the device", || match site.unread() {
                0 => Err("nothing is there".to_owned()),
                _ => Ok(()),
            })
            .await;
            speaker.order(Order::Incoming(stream)).await;
            device.thaw();
            speaker.accepts("after the collision", &DEVICE_ROUTES).await;
            device_knows(&device, "our routes", &[OUR_ROUTES[usize::from(family.is_ipv6())]], true).await;
            eventually("one connection", || match site.ports().as_slice() {
                [_] if device.established(&site, family) => Ok(()),
                seen => Err(format!("ports {seen:?}, router ids {ours} and {theirs}")),
            })
            .await;
            let facts = speaker.snapshot().await.facts;
            assert!(facts.up && (facts.flaps == 0 || D::LATE_COLLISION_IS_A_RESTART), "{facts:?}");
            speaker.end("the case is over").await;
        }
    }
}

async fn route_refresh<D: Device>(name: &str) {
    let site = Site::new(name);
    let device = D::start(&site, &Setup::default());
    for speaker in &mut site.pair(&both_ways(&OUR_ROUTES)).await {
        let family = speaker.family();
        let ours = OUR_ROUTES[usize::from(family.is_ipv6())];
        speaker.accepts("up", &DEVICE_ROUTES).await;
        device_knows(&device, "our route", &[ours], true).await;
        let before = speaker.snapshot().await.facts;
        device.refresh(&site, family);
        // The route and the end.
        let after = speaker.until("answered", |update| update.facts.updates_out >= before.updates_out + 2).await.facts;
        assert!(after.up && after.announced == 1, "{after:?}");
        assert!(after.flaps <= u32::from(D::LATE_COLLISION_IS_A_RESTART), "{after:?}");
        assert!(device.knows(ours));
    }
}

async fn words_at_the_end<D: Device>(name: &str) {
    let site = Site::new(name);
    let device = D::start(&site, &Setup::default());
    let [mut v4, mut v6] = site.pair(&both_ways(&OUR_ROUTES)).await;
    v4.accepts("up", &DEVICE_ROUTES).await;
    v6.accepts("up", &DEVICE_ROUTES).await;

    device.shut(&site, Family::Ipv4, "maintenance at noon");
    let update = v4.until("shut", |update| !update.facts.up).await;
    let fault = update.facts.fault.clone().expect("a fault");
    assert_eq!(fault.code, ReasonCode::BgpPeerShutdown, "{fault:?}");
    assert_eq!(fault.evidence["text"], "maintenance at noon");
    assert_eq!(fault.evidence["rejected_by"], "peer");
    assert_eq!(update.accepted().count(), 0);
    // The other family goes on.
    v6.set_policy(everything_in()).await;
    let update = v6.until("the other", |update| update.facts.announced == 0).await;
    assert!(update.facts.up && update.facts.flaps <= u32::from(D::LATE_COLLISION_IS_A_RESTART), "{:?}", update.facts);

    v6.end("routing policy detached").await;
    eventually("our words", || {
        let words = device.last_words(&site);
        if words.contains("routing policy detached") { Ok(()) } else { Err(words) }
    })
    .await;
}

async fn the_devices_limit<D: Device>(name: &str) {
    let site = Site::new(name);
    let _device = D::start(&site, &Setup { limit: Some(2), ..Setup::default() });
    let few = ["10.1.0.0/24", "10.1.1.0/24", "fd10::/64", "fd10:0:0:1::/64"];
    let many = [few.as_slice(), &["10.1.2.0/24", "10.1.3.0/24", "fd10:0:0:2::/64", "fd10:0:0:3::/64"]].concat();
    for speaker in &mut site.pair(&both_ways(&few)).await {
        speaker.accepts("up", &DEVICE_ROUTES).await;
        // A session of which nothing changes any more says so again when it is given the policy that it has.
        speaker.set_policy(both_ways(&few)).await;
        speaker.until("announced", |update| update.facts.up && update.facts.announced == 2).await;
        speaker.set_policy(both_ways(&many)).await;
        let update = speaker.fails("too many", |fault| fault.code == ReasonCode::BgpPeerPrefixLimit).await;
        let fault = update.facts.fault.expect("the fault just seen");
        assert!(!update.facts.up);
        assert!(fault.theirs.as_ref().is_some_and(|words| words.starts_with("Cease")), "{fault:?}");
    }
}

fn numbered(count: u32) -> Vec<Announced> {
    let v4 = (0..count).map(|n| Announced::plain(&format!("192.{}.{}.0/24", 168 + n / 256, n % 256)));
    let v6 = (0..count).map(|n| Announced::plain(&format!("fd20:{n:x}::/48")));
    v4.chain(v6).collect()
}

async fn our_limit<D: Device>(name: &str) {
    const LIMIT: u32 = 3;
    // More than are remembered beyond the limit, so that the device has to be asked for the rest once there is room.
    const FAR_TOO_MANY: u32 = LIMIT + 1200;
    let site = Site::new(name);
    // Only we connect: where both do, FRR may begin a session twice (docs/known-issues.md), and here none may end.
    let mut device = D::start(&site, &Setup { routes: numbered(LIMIT + 2), passive: true, ..Setup::default() });
    let mut speakers =
        Family::ALL.map(|family| site.speaker_as(0, family, Guard::default(), |config| config.max_prefixes = LIMIT));
    for speaker in &mut speakers {
        speaker.enable(everything_in()).await;
        let update = speaker.fails("too many", |fault| fault.ours.as_deref() == Some("3")).await;
        let update = if update.facts.received == LIMIT + 2 {
            update
        } else {
            speaker.until("all of them", |update| update.facts.received == LIMIT + 2).await
        };
        let fault = update.facts.fault.clone().expect("the fault just seen");
        assert_eq!((fault.code, fault.theirs.as_deref()), (ReasonCode::MaxPrefixesExceeded, Some("5")), "{fault:?}");
        assert!(update.facts.up);
        assert_eq!(update.accepted().count(), 3);
        let refused = causeway_bgp::Verdict::Filtered("max_prefixes");
        assert_eq!(update.received.iter().filter(|(_, verdict)| *verdict == refused).count(), 2);
    }
    device.announce(&site, &Setup { routes: numbered(FAR_TOO_MANY), passive: true, ..Setup::default() });
    let mut left = Vec::new();
    for speaker in &mut speakers {
        let update = speaker
            .fails("far too many", |fault| fault.theirs.as_ref().is_some_and(|seen| seen.starts_with("more than")))
            .await;
        // Two of those that were not even remembered, in the order in which they are listed when accepted.
        let known = verdicts(&update);
        let unknown = numbered(FAR_TOO_MANY)
            .into_iter()
            .map(|route| net(&route.prefix))
            .filter(|prefix| Family::of_net(prefix) == speaker.family() && !known.contains_key(prefix));
        let mut unknown: Vec<IpNet> = unknown.take(2).collect();
        unknown.sort_unstable();
        assert_eq!(unknown.len(), 2, "{:?}", update.facts);
        left.extend(unknown.iter().map(IpNet::to_string));
    }
    device.announce(
        &site,
        &Setup {
            routes: left.iter().map(|prefix| Announced::plain(prefix)).collect(),
            passive: true,
            ..Setup::default()
        },
    );
    let left: Vec<&str> = left.iter().map(String::as_str).collect();
    for speaker in &mut speakers {
        speaker.accepts("room again", &left).await;
        let facts = speaker.snapshot().await.facts;
        assert_eq!((facts.up, facts.fault, facts.flaps), (true, None, 0));
    }
    // The limit itself changes: what the reason's remedy says, and no session notices.
    device.announce(&site, &Setup { routes: numbered(FAR_TOO_MANY), passive: true, ..Setup::default() });
    for speaker in &mut speakers {
        speaker.fails("far too many again", |fault| fault.code == ReasonCode::MaxPrefixesExceeded).await;
        speaker.order(Order::MaxPrefixes(FAR_TOO_MANY)).await;
        let update = speaker
            .until("all of them", |update| update.facts.accepted == FAR_TOO_MANY && update.facts.fault.is_none());
        assert_eq!(update.await.facts.flaps, 0);
        speaker.order(Order::MaxPrefixes(LIMIT)).await;
        let update = speaker.until("as before", |update| update.facts.accepted == LIMIT).await;
        assert_eq!((update.facts.up, update.facts.flaps, update.facts.received), (true, 0, FAR_TOO_MANY));
    }
}

fn sorted_ports(site: &Site) -> Vec<u16> {
    let mut ports = site.ports();
    ports.sort_unstable();
    ports
}

/// Our ends of the four sessions' connections and how often each session went, once none begins anew by itself: a daemon that takes a late
/// collision for a restart does so within the first second.
async fn steady<D: Device>(site: &Site, speakers: &mut [Speaker]) -> (Vec<u16>, Vec<u32>) {
    let mut ports = sorted_ports(site);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut flaps = Vec::new();
        for speaker in &mut *speakers {
            flaps.push(speaker.accepts_soon("steady", &DEVICE_ROUTES).await.facts.flaps);
        }
        let now = sorted_ports(site);
        if now == ports && now.len() == 4 {
            assert!(D::LATE_COLLISION_IS_A_RESTART || flaps.iter().all(|flaps| *flaps == 0), "{flaps:?}");
            return (ports, flaps);
        }
        ports = now;
    }
    panic!("the sessions go on beginning anew: {ports:?}")
}

/// One policy of two connections of either family: an edit changes what each exchanges, and no session notices.
async fn policy_edits_leave_sessions_alone<D: Device>(name: &str) {
    let site = Site::with(name, &[FIRST, SECOND]);
    let device = D::start(&site, &Setup::default());
    let mut speakers = Vec::new();
    for link in 0..2 {
        for family in Family::ALL {
            let mut speaker = site.speaker_as(link, family, Guard::default(), |_| {});
            speaker.enable(both_ways(&OUR_ROUTES)).await;
            speakers.push(speaker);
        }
    }
    for speaker in &mut speakers {
        speaker.accepts("up", &DEVICE_ROUTES).await;
    }
    device_knows(&device, "our routes", &OUR_ROUTES, true).await;
    let (ports, flaps) = steady::<D>(&site, &mut speakers).await;
    let elsewhere = ["10.2.0.0/16", "fd20:7::/49"];
    let edits = [
        (causeway_bgp::Policy { accept: nets(&elsewhere), ..both_ways(&OUR_ROUTES) }, vec![], true),
        (causeway_bgp::Policy { announce: nets(&elsewhere), ..both_ways(&OUR_ROUTES) }, DEVICE_ROUTES.to_vec(), false),
        (causeway_bgp::Policy { propagate: false, ..both_ways(&OUR_ROUTES) }, vec![], false),
        (both_ways(&OUR_ROUTES), DEVICE_ROUTES.to_vec(), true),
    ];
    for (number, (policy, accepted, announced)) in edits.into_iter().enumerate() {
        for speaker in &mut speakers {
            speaker.set_policy(policy.clone()).await;
        }
        for (speaker, flaps) in speakers.iter_mut().zip(&flaps) {
            let what = format!("edit {number}");
            let update = speaker.accepts(&what, &accepted).await;
            let update = if (update.facts.announced == 1) == announced {
                update
            } else {
                speaker.until(&what, |update| (update.facts.announced == 1) == announced).await
            };
            assert_eq!((update.facts.flaps, update.facts.received), (*flaps, 1), "{what}");
        }
        device_knows(&device, &format!("edit {number}"), &OUR_ROUTES, announced).await;
    }
    // Not one of the four connections is another one than before.
    assert_eq!(ports, sorted_ports(&site));
}
