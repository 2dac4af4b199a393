//! FRR: zebra and bgpd.

use std::time::{Duration, Instant};

use causeway_bgp::Policy;
use causeway_model::{Family, ReasonCode};

use crate::tcp::{Daemon, Namespaces, Speaker, both_up, during, enable, policy, run, set_policy, shown, until};

const CONFIGURATION: &str = "router bgp 65001
 bgp router-id 192.168.7.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 neighbor 169.254.100.1 remote-as 64512
 neighbor 169.254.100.1 timers connect 2
 neighbor 169.254.100.1 advertisement-interval 0
 neighbor fd00:100::1 remote-as 64512
 neighbor fd00:100::1 timers connect 2
 neighbor fd00:100::1 advertisement-interval 0
 address-family ipv4 unicast
  network 192.168.7.0/24
  neighbor 169.254.100.1 activate
 exit-address-family
 address-family ipv6 unicast
  network fd20:7::/48
  neighbor fd00:100::1 activate
 exit-address-family
";

struct Frr {
    namespace: String,
    directory: String,
}

impl Frr {
    fn daemon(&self, name: &str) -> Daemon {
        let path = |name: &str| format!("{}/{name}", self.directory);
        let program = format!("/usr/lib/frr/{name}");
        let arguments = [
            "-u",
            "frr",
            "-g",
            "frr",
            "-A",
            "127.0.0.1",
            "-P",
            "0",
            "--vty_socket",
            &self.directory,
            "-z",
            &path("zserv.api"),
            "-i",
            &path(&format!("{name}.pid")),
            "-f",
            &path("frr.conf"),
        ];
        let log = std::env::temp_dir().join(format!("{}-{name}.log", self.namespace));
        let daemon = Daemon::start(&self.namespace, &program, &arguments, &log);
        let start = Instant::now();
        // The file is there before anybody listens.
        while std::os::unix::net::UnixStream::connect(path(&format!("{name}.vty"))).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(25),
                "{name} does not start: {:?}",
                std::fs::read_to_string(&log)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = std::fs::remove_file(log);
        daemon
    }

    fn vtysh(&self, command: &str) -> String {
        run("vtysh", &["--vty_socket", &self.directory, "-c", command])
    }
}

#[test]
#[ignore = "needs root, frr and network namespaces"]
fn frr() {
    let Some(namespace) = std::env::var("CWBGP_DEVICE").ok() else {
        return Namespaces::new("frr").reenter("frr::frr");
    };
    let directory = format!("{}/frr", std::env::var("CWBGP_DIRECTORY").expect("set with the other"));
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(format!("{directory}/frr.conf"), CONFIGURATION).expect("the configuration");
    run("chown", &["-R", "frr:frr", &directory]);
    let frr = Frr { namespace, directory };
    let _zebra = frr.daemon("zebra");
    let bgpd = frr.daemon("bgpd");

    let mut speakers = [Speaker::new(Family::Ipv4), Speaker::new(Family::Ipv6)];
    set_policy(&mut speakers, &policy());
    enable(&mut speakers, true);
    until(&mut speakers, "up", both_up);
    until(&mut speakers, "FRR's routes", |[v4, v6]| {
        v4.prefixes() == ["192.168.7.0/24"] && v6.prefixes() == ["fd20:7::/48"]
    });
    let shows = |speakers: &mut [Speaker; 2], command: &str, wanted: &str| {
        shown(speakers, command, || frr.vtysh(command), |seen| seen.contains(wanted));
    };
    // Down to the device's kernel.
    let routes = |family: &str| run("ip", &["-n", &frr.namespace, family, "route", "show", "proto", "bgp"]);
    shows(&mut speakers, "show bgp ipv4 unicast", "10.1.0.0/24");
    shows(&mut speakers, "show bgp ipv6 unicast", "fd10::/64");
    shown(&mut speakers, "IPv4 in the kernel", || routes("-4"), |seen| seen.contains("10.1.1.0/24"));
    shown(&mut speakers, "IPv6 in the kernel", || routes("-6"), |seen| seen.contains("fd10::/64"));

    // Policy edits and withdrawals, the sessions staying. FRR may begin one a second time when connections cross.
    let flaps = |speakers: &[Speaker; 2]| [0, 1].map(|side| speakers[side].session.flaps());
    let before = flaps(&speakers);
    assert!(before.iter().all(|flaps| *flaps <= 1), "{before:?}");
    set_policy(&mut speakers, &Policy { propagate: false, ..policy() });
    let table = || frr.vtysh("show bgp ipv4 unicast");
    shown(&mut speakers, "IPv4 withdrawn", table, |seen| !seen.contains("10.1.0.0/24"));
    shown(&mut speakers, "IPv6 withdrawn from the kernel", || routes("-6"), |seen| !seen.contains("fd10::/64"));
    set_policy(&mut speakers, &policy());
    shows(&mut speakers, "show bgp ipv4 unicast", "10.1.0.0/24");
    frr.vtysh("clear bgp ipv4 unicast * soft in");
    during(&mut speakers, 300);
    assert_eq!(flaps(&speakers), before);

    // The administrator's words.
    let namespace = &frr.directory;
    let shutdown =
        ["-c", "conf t", "-c", "router bgp 65001", "-c", "neighbor 169.254.100.1 shutdown message maintenance at noon"];
    run("vtysh", &[["--vty_socket", namespace].as_slice(), &shutdown].concat());
    until(&mut speakers, "shut down", |[v4, _]| !v4.session.is_up());
    let fault = speakers[0].fault();
    assert_eq!(fault.code, ReasonCode::BgpPeerShutdown);
    assert_eq!(fault.evidence["text"], "maintenance at noon");
    assert!(speakers[0].prefixes().is_empty() && speakers[1].session.is_up());

    bgpd.terminate();
    until(&mut speakers, "terminated", |[_, v6]| !v6.session.is_up());
    let _bgpd = frr.daemon("bgpd");
    until(&mut speakers, "up after a restart", both_up);
}
