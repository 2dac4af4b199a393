//! BIRD 2.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::tcp::{Daemon, Namespaces, Speaker, both_up, during, enable, kill, policy, run, set_policy, shown, until};
use causeway_bgp::{LinkKind, Policy, Verdict, preference};
use causeway_model::{Family, ReasonCode};

/// A device as a customer would set it up, but for its patience after errors.
fn configuration(local_as: u32, neighbor_as: u32) -> String {
    format!(
        r#"log stderr all;
router id 192.168.7.1;
protocol device {{ scan time 10; }}
protocol static s4 {{ ipv4;
  route 192.168.7.0/24 unreachable {{ bgp_community.add((12876,42200)); }};
  route 172.16.0.0/12 unreachable; }}
protocol static s6 {{ ipv6; route fd20:7::/48 unreachable; }}
template bgp customer {{ local as {local_as}; error wait time 1,2; connect retry time 2; connect delay time 1; }}
protocol bgp p4 from customer {{ neighbor 169.254.100.1 as {neighbor_as}; source address 169.254.100.2;
  ipv4 {{ import all; export filter {{ if source = RTS_STATIC then {{ bgp_med = 30; accept; }} reject; }}; next hop self; }}; }}
protocol bgp p6 from customer {{ neighbor fd00:100::1 as {neighbor_as}; source address fd00:100::2;
  ipv6 {{ import all; export where source = RTS_STATIC; next hop self; }}; }}
"#
    )
}

struct Bird {
    namespace: String,
    directory: String,
}

impl Bird {
    fn write(&self, local_as: u32, neighbor_as: u32) {
        let file = Path::new(&self.directory).join("bird.conf");
        std::fs::write(file, configuration(local_as, neighbor_as)).expect("the configuration");
    }

    fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    fn start_with(&self, options: &[&str]) -> Daemon {
        let path = |name: &str| format!("{}/{name}", self.directory);
        let _ = std::fs::remove_file(path("bird.ctl"));
        let (conf, ctl, pid) = (path("bird.conf"), path("bird.ctl"), path("bird.pid"));
        let arguments = [&["-f", "-c", &conf, "-s", &ctl, "-P", &pid], options].concat();
        let daemon = Daemon::start(&self.namespace, "bird", &arguments, Path::new(&path("bird.log")));
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(path("bird.ctl")).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(25),
                "bird does not start: {:?}",
                std::fs::read_to_string(path("bird.log"))
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    fn birdc(&self, command: &str) -> String {
        run("birdc", &["-s", &format!("{}/bird.ctl", self.directory), command])
    }
}

#[test]
#[ignore = "needs root, bird and network namespaces"]
fn bird() {
    let Some(namespace) = std::env::var("CWBGP_DEVICE").ok() else {
        return Namespaces::new("bird").reenter("bird::bird");
    };
    let bird = Bird { namespace, directory: std::env::var("CWBGP_DIRECTORY").expect("set with the other") };
    bird.write(65001, 64512);
    let mut speakers = [Speaker::new(Family::Ipv4), Speaker::new(Family::Ipv6)];

    // Up before any policy: the session can be debugged before traffic is opened, and nothing is exchanged.
    let daemon = bird.start();
    during(&mut speakers, 200);
    enable(&mut speakers, true);
    until(&mut speakers, "up", both_up);
    until(&mut speakers, "BIRD's routes", |[v4, v6]| {
        v4.session.received_count() == 2 && v6.session.received_count() == 1
    });
    assert!(speakers.iter().all(|speaker| speaker.session.accepted_count() == 0));
    assert!(speakers[0].session.received().iter().all(|(_, verdict)| *verdict == Verdict::Filtered("no_policy")));
    assert!(!bird.birdc("show route").contains("10.1."));

    // The policy opens both directions.
    set_policy(&mut speakers, &policy());
    assert_eq!(speakers[0].prefixes(), ["192.168.7.0/24"]);
    assert_eq!(speakers[1].prefixes(), ["fd20:7::/48"]);
    let route = speakers[0].session.accepted_routes().next().expect("a route");
    assert_eq!((route.as_path.as_ref(), route.med), ([65001].as_slice(), Some(30)));
    assert_eq!(preference(LinkKind::Vpn, 12876, &route.communities), 200);
    let at_bird = |speakers: &mut [Speaker; 2], command: &str, wanted: &dyn Fn(&str) -> bool| {
        shown(speakers, command, || bird.birdc(command), wanted)
    };
    let seen = at_bird(&mut speakers, "show route protocol p4 all", &|seen| {
        seen.contains("10.1.0.0/24") && seen.contains("10.1.1.0/24")
    });
    assert!(!seen.contains("10.9."), "{seen}");
    assert!(seen.contains("BGP.as_path: 64512") && seen.contains("BGP.next_hop: 169.254.100.1"), "{seen}");
    let seen = at_bird(&mut speakers, "show route protocol p6 all", &|seen| seen.contains("fd10::/64"));
    assert!(seen.contains("BGP.next_hop: fd00:100::1"), "{seen}");

    // A narrower policy withdraws, propagation off withdraws everything, and the sessions stay.
    let narrow = Policy { announce: vec!["10.1.1.0/24".parse().expect("a prefix")], ..policy() };
    set_policy(&mut speakers, &narrow);
    let seen = at_bird(&mut speakers, "show route", &|seen| !seen.contains("10.1.0.0/24") && !seen.contains("fd10"));
    assert!(seen.contains("10.1.1.0/24"), "{seen}");
    set_policy(&mut speakers, &Policy { propagate: false, ..policy() });
    at_bird(&mut speakers, "show route", &|seen| !seen.contains("10.1."));
    assert!(speakers[0].prefixes().is_empty());
    set_policy(&mut speakers, &policy());
    at_bird(&mut speakers, "show route", &|seen| seen.contains("10.1.0.0/24"));

    // BIRD asks for everything again, and withdraws.
    let sent = speakers[0].session.counters().messages_out;
    bird.birdc("reload in p4");
    until(&mut speakers, "all of it again", |[v4, _]| v4.session.counters().messages_out >= sent + 2);
    bird.birdc("disable s4");
    until(&mut speakers, "withdrawn", |[v4, _]| v4.prefixes().is_empty());
    bird.birdc("enable s4");
    until(&mut speakers, "announced again", |[v4, _]| v4.prefixes() == ["192.168.7.0/24"]);
    assert!(speakers.iter().all(|speaker| speaker.session.flaps() == 0));

    // Terminated BIRD says so; killed BIRD just goes. Either way it is back soon after it starts.
    daemon.terminate();
    until(&mut speakers, "terminated", |speakers| speakers.iter().all(|speaker| !speaker.session.is_up()));
    let fault = speakers[0].fault();
    assert_eq!(fault.code, ReasonCode::BgpPeerShutdown, "{fault:?}");
    assert_eq!(fault.evidence["code"], "6");
    assert!(speakers[0].prefixes().is_empty());
    let daemon = bird.start();
    until(&mut speakers, "up after a restart", both_up);
    drop(daemon);
    until(&mut speakers, "killed", |speakers| speakers.iter().all(|speaker| !speaker.session.is_up()));
    until(&mut speakers, "refused", |speakers| {
        speakers.iter().all(|speaker| speaker.fault().code == ReasonCode::TcpRefused)
    });

    // The device has another AS number than the customer gateway.
    bird.write(65099, 64512);
    let daemon = bird.start();
    until(&mut speakers, "their AS number", |speakers| {
        speakers.iter().all(|speaker| speaker.fault().code == ReasonCode::BgpAsnMismatch)
    });
    let fault = speakers[0].fault();
    assert_eq!((fault.ours.as_deref(), fault.theirs.as_deref()), (Some("65001"), Some("65099")));
    // It stays the reason while BIRD waits and refuses.
    during(&mut speakers, 5000);
    assert_eq!(speakers[0].fault().code, ReasonCode::BgpAsnMismatch);
    drop(daemon);

    // The device expects another number of us.
    enable(&mut speakers, false);
    bird.write(65001, 64999);
    let daemon = bird.start();
    enable(&mut speakers, true);
    until(&mut speakers, "our AS number", |speakers| {
        speakers.iter().all(|speaker| speaker.fault().code == ReasonCode::BgpAsnMismatch)
    });
    let fault = speakers[1].fault();
    assert_eq!((fault.ours.as_deref(), fault.evidence["rejected_by"].as_str()), (Some("64512"), "peer"));

    // Corrected while it runs.
    bird.write(65001, 64512);
    bird.birdc("configure");
    until(&mut speakers, "corrected", |speakers| both_up(speakers) && speakers[0].prefixes().len() == 1);

    // The tunnel goes and comes.
    enable(&mut speakers, false);
    during(&mut speakers, 100);
    assert_eq!(speakers[0].fault().code, ReasonCode::TunnelDown);
    enable(&mut speakers, true);
    until(&mut speakers, "tunnel back", both_up);
    at_bird(&mut speakers, "show protocols", &|seen| seen.matches("Established").count() == 2);

    // We end it, with a text that BIRD writes down. What it shows is soon about its next attempt.
    for speaker in &mut speakers {
        speaker.session.shutdown(Instant::now(), "routing policy detached");
    }
    let log = || std::fs::read_to_string(Path::new(&bird.directory).join("bird.log")).expect("the log");
    shown(&mut speakers, "our words", log, |log| {
        ["p4", "p6"].iter().all(|name| {
            let mut own = log.lines().filter(|line| line.contains(&format!("{name}: ")));
            own.any(|line| line.contains("Administrative shutdown") && line.contains("routing policy detached"))
        })
    });
    drop(daemon);
}

/// As [`configuration`], with graceful restart as the service's own device configurations have it.
fn graceful() -> String {
    configuration(65001, 64512)
        .replace("template bgp customer {", "template bgp customer { graceful restart on; graceful restart time 30;")
}

#[test]
#[ignore = "needs root, bird and network namespaces"]
fn bird_graceful_restart() {
    let Some(namespace) = std::env::var("CWBGP_DEVICE").ok() else {
        return Namespaces::new("gr").reenter("bird::bird_graceful_restart");
    };
    let bird = Bird { namespace, directory: std::env::var("CWBGP_DIRECTORY").expect("set with the other") };
    std::fs::write(Path::new(&bird.directory).join("bird.conf"), graceful()).expect("the configuration");
    let complete = |speakers: &[Speaker; 2]| {
        both_up(speakers) && speakers[0].prefixes() == ["192.168.7.0/24"] && speakers[1].prefixes() == ["fd20:7::/48"]
    };
    let ours_at_bird = || {
        let shown = bird.birdc("show route");
        shown.contains("10.1.0.0/24") && shown.contains("fd10::/64")
    };

    let daemon = bird.start();
    let mut speakers = [Speaker::new(Family::Ipv4), Speaker::new(Family::Ipv6)];
    set_policy(&mut speakers, &policy());
    enable(&mut speakers, true);
    until(&mut speakers, "up", complete);
    until(&mut speakers, "our routes", |_| ours_at_bird());
    // Longer than a collision can last, on either side.
    during(&mut speakers, 2500);
    assert!(speakers.iter().all(|speaker| speaker.session.flaps() == 0));

    // Our process is killed with its tunnel, so that BIRD hears nothing of it; then it starts again.
    for round in 0..3 {
        kill(&mut speakers);
        std::thread::sleep(Duration::from_millis(1500));
        let shown = bird.birdc("show protocols");
        assert_eq!(shown.matches("Established").count(), 2, "{shown}");
        set_policy(&mut speakers, &policy());
        enable(&mut speakers, true);
        until(&mut speakers, "up after our restart", both_up);
        // An event that BIRD schedules late in its loop waits for the next input, or for 3 s.
        until(&mut speakers, "BIRD's routes after our restart", complete);
        until(&mut speakers, "our routes after our restart", |_| ours_at_bird());
        during(&mut speakers, 2500);
        assert!(speakers.iter().all(|speaker| speaker.session.flaps() == 0), "round {round}");
    }

    // BIRD is killed, and recovers its own routes: none of ours is withdrawn in the meantime.
    for speaker in &mut speakers {
        speaker.log.clear();
    }
    drop(daemon);
    until(&mut speakers, "killed", |speakers| speakers.iter().all(|speaker| !speaker.session.is_up()));
    assert_eq!((speakers[0].prefixes(), speakers[1].prefixes().len()), (vec!["192.168.7.0/24".to_owned()], 1));
    assert_eq!(speakers[0].fault().evidence["stale_routes"], "2");
    let daemon = bird.start_with(&["-R"]);
    let start = Instant::now();
    while !(both_up(&speakers) && speakers.iter().all(|speaker| speaker.session.stale_until().is_none())) {
        during(&mut speakers, 1);
        assert_eq!((speakers[0].prefixes().len(), speakers[1].prefixes().len()), (1, 1), "{:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(25), "{:?}", speakers[0].session.fault());
    }
    assert!(speakers.iter().all(|speaker| speaker.session.flaps() == 1));

    // It does not come back: 30 s. The tunnel goes first, and takes everything along at once.
    drop(daemon);
    until(&mut speakers, "killed again", |speakers| speakers.iter().all(|speaker| !speaker.session.is_up()));
    during(&mut speakers, 1000);
    assert_eq!((speakers[0].prefixes().len(), speakers[1].prefixes().len()), (1, 1));
    enable(&mut speakers, false);
    assert!(speakers.iter().all(|speaker| speaker.prefixes().is_empty() && speaker.session.stale_until().is_none()));
}
