use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn tunnel(up: bool) -> PeerTunnel {
    let fault = (!up).then(|| ReasonCode::PeerSilent.into());
    PeerTunnel { up, fault, ..PeerTunnel::new(NodeId::random(), address("192.0.2.3:4431"), true, NOW) }
}

/// A node on another machine with which nothing is wrong.
fn healthy() -> Evidence {
    let listener = Some(Listening { address: address("0.0.0.0:443"), error: None });
    let service = |name: &str| Service { name: name.to_owned(), dead: None };
    let facts = NodeFacts {
        taken_at: NOW,
        version: "1".to_owned(),
        listener,
        rule: Rule { admitted: vec!["192.0.2.1".to_owned()], ..Rule::default() },
        channel: None,
        certificate_ends: NOW.plus_seconds(1_000_000),
        services: vec![service("packet_threads"), service("ike"), service("bgp"), service("netlink")],
        disk: Disk { path: "/var/lib".to_owned(), free: 1 << 30, total: 1 << 34, error: None },
        unkept: None,
        missing: Vec::new(),
        underlay: Underlay { interface: "up0".to_owned(), mtu: 1500, error: None },
        tunnels_end: Some(address("192.0.2.2:4431")),
        tunnels: vec![tunnel(true), tunnel(true)],
    };
    Evidence {
        now: NOW,
        node: Known {
            state: NodeState::Up,
            since: NOW,
            fault: None,
            local: false,
            revoked_at: None,
            revision: 7,
            applied_revision: 7,
            pending_for: None,
        },
        door: Door { listen: Some(address("0.0.0.0:443")), ..Door::default() },
        heard_at: Some(NOW),
        heard: true,
        peer: Some(address("198.51.100.7:40000")),
        attempts: Vec::new(),
        probe: Probe::Answered,
        probed: Some(address("198.51.100.7:443")),
        machine: MachineState::Unknown,
        told: Some(Told { at: NOW, facts }),
    }
}

/// The same, of which nothing is heard.
fn lost() -> Evidence {
    let long_ago = NOW.plus_seconds(-3600);
    let mut evidence = Evidence { heard: false, heard_at: Some(long_ago), ..healthy() };
    evidence.node.state = NodeState::Down;
    evidence.node.fault = Some(ReasonCode::NodeSilent.into());
    evidence.probe = Probe::Silent("the connection was not answered".to_owned());
    evidence.told = evidence.told.map(|told| Told { at: long_ago, ..told });
    evidence
}

fn facts(evidence: &mut Evidence) -> &mut NodeFacts {
    &mut evidence.told.as_mut().expect("it has spoken").facts
}

/// The node answers the probe, and has no channel for this reason.
fn unheard(kind: TroubleKind, text: &str) -> Evidence {
    let mut evidence = Evidence { probe: Probe::Answered, ..lost() };
    evidence.told.as_mut().expect("it has spoken").at = NOW;
    facts(&mut evidence).channel = Some(ChannelTrouble { kind, text: text.to_owned() });
    evidence
}

fn with(mut evidence: Evidence, change: impl FnOnce(&mut Evidence)) -> Evidence {
    change(&mut evidence);
    evidence
}

#[test]
fn the_order_is_the_documents() {
    let names: Vec<&str> = examine(&healthy()).iter().map(|check| check.name).collect();
    assert_eq!(names, CHECKS);
    let at = |name: &str| CHECKS.iter().position(|check| *check == name).expect("a check");
    let order = ["controller_443", "node_443", "to_controller", "to_node", "machine", "services"].map(at);
    assert!(order.is_sorted(), "system.md §3: {order:?}");
}

#[test]
fn nothing_fails_where_nothing_is_wrong() {
    for (what, evidence) in [
        ("healthy", healthy()),
        (
            "no listener",
            with(healthy(), |evidence| {
                facts(evidence).listener = None;
                evidence.probe = Probe::None("it was told to have none".to_owned());
            }),
        ),
        (
            "new",
            with(healthy(), |evidence| {
                evidence.told = None;
                evidence.probe = Probe::None("the node has not said where it listens".to_owned());
            }),
        ),
        (
            "inside the process",
            with(healthy(), |evidence| {
                evidence.node.local = true;
                evidence.told = None;
                evidence.heard = false;
                evidence.door = Door::default();
                evidence.probe = Probe::None("inside".to_owned());
            }),
        ),
        (
            "a filter that lets the node pass",
            with(healthy(), |evidence| {
                evidence.door.filters = vec!["table inet filter".to_owned()];
                facts(evidence).rule.others = vec!["table inet filter".to_owned()];
            }),
        ),
    ] {
        let checks = examine(&evidence);
        assert_eq!(root(&checks), None, "{what}");
        assert!(checks.iter().all(|check| !check.evidence.is_empty() && check.remedy.is_none()), "{what}: {checks:?}");
    }
}

#[test]
fn each_fault_is_named_by_the_first_check_that_fails() {
    let text = |text: &str| Some(text.to_owned());
    let table: Vec<(&str, &str, Evidence)> = vec![
        ("membership", "revoked", with(lost(), |evidence| evidence.node.revoked_at = Some(NOW))),
        ("controller_443", "nowhere", with(lost(), |evidence| evidence.door.listen = None)),
        ("controller_443", "refused", with(lost(), |evidence| evidence.door.deaf = text("connection refused"))),
        ("controller_443", "chain in", with(lost(), |evidence| evidence.door.filters = vec!["chain in".to_owned()])),
        (
            "node_443",
            "in use",
            with(healthy(), |evidence| {
                facts(evidence).listener =
                    Some(Listening { address: address("0.0.0.0:443"), error: text("address in use") });
                evidence.probe = Probe::Trust("TLS: nonsense".to_owned());
            }),
        ),
        (
            "node_443",
            "nft",
            with(healthy(), |evidence| {
                facts(evidence).rule.error = text("nft is not installed");
                evidence.probe = Probe::Silent("no answer".to_owned());
            }),
        ),
        (
            "node_443",
            "chain in",
            with(healthy(), |evidence| {
                facts(evidence).rule.others = vec!["chain in".to_owned()];
                evidence.probe = Probe::Silent("no answer".to_owned());
            }),
        ),
        ("to_controller", "no answer", unheard(TroubleKind::Unreachable, "cannot reach: no answer")),
        (
            "to_controller",
            "for open",
            with(unheard(TroubleKind::Broken, ""), |evidence| facts(evidence).channel = None),
        ),
        ("to_controller", "either direction", lost()),
        ("to_node", "no answer", with(healthy(), |evidence| evidence.probe = Probe::Silent("no answer".to_owned()))),
        ("clock", "3600 s ahead", with(healthy(), |evidence| facts(evidence).taken_at = NOW.plus_seconds(3600))),
        ("clock", "400 s behind", with(healthy(), |evidence| facts(evidence).taken_at = NOW.plus_seconds(-400))),
        (
            "clock",
            "CertificateExpired",
            with(lost(), |evidence| {
                let text = "TLS: received fatal alert: CertificateExpired".to_owned();
                evidence.probe = Probe::Trust(text.clone());
                evidence.attempts = vec![Attempt { at: NOW, peer: address("198.51.100.7:40001"), text }];
            }),
        ),
        ("certificate", "unknown issuer", unheard(TroubleKind::Trust, "unknown issuer")),
        (
            "certificate",
            "ended at",
            with(healthy(), |evidence| facts(evidence).certificate_ends = NOW.plus_seconds(-1)),
        ),
        (
            "certificate",
            "BadSignature",
            with(lost(), |evidence| evidence.probe = Probe::Trust("TLS: BadSignature".to_owned())),
        ),
        ("machine", "does not run", with(lost(), |evidence| evidence.machine = MachineState::Stopped)),
        (
            "services",
            "process does not run",
            with(lost(), |evidence| evidence.probe = Probe::Refused("refused".to_owned())),
        ),
        ("services", "stands still", with(lost(), |evidence| evidence.probe = Probe::Stuck("no handshake".to_owned()))),
        (
            "services",
            "bgp is dead: no actor",
            with(healthy(), |evidence| {
                facts(evidence).services[2].dead = text("no actor moves");
            }),
        ),
        (
            "services",
            "ike is dead: ended",
            with(healthy(), |evidence| {
                let fault = Fault::new(ReasonCode::CriticalServiceDead).with("service", "ike").with("error", "ended");
                evidence.node.state = NodeState::Down;
                evidence.node.fault = Some(fault);
            }),
        ),
        ("disk", "No space", with(healthy(), |evidence| facts(evidence).disk.error = text("No space left"))),
        ("disk", "cannot be kept", with(healthy(), |evidence| facts(evidence).unkept = text("No space left"))),
        ("disk", "16 MiB free", with(healthy(), |evidence| facts(evidence).disk.free = 16 << 20)),
        (
            "kernel",
            "/dev/net/tun",
            with(healthy(), |evidence| facts(evidence).missing = vec!["/dev/net/tun".to_owned()]),
        ),
        (
            "underlay",
            "no such interface",
            with(healthy(), |evidence| facts(evidence).underlay.error = text("no such interface")),
        ),
        ("underlay", "MTU of 1000", with(healthy(), |evidence| facts(evidence).underlay.mtu = 1000)),
        (
            "configuration",
            "bridge br0",
            with(healthy(), |evidence| {
                let fault =
                    Fault::new(ReasonCode::ConfigRefused).with("item", "bridge br0").with("error", "no such device");
                evidence.node.state = NodeState::ConfigFail;
                evidence.node.fault = Some(fault);
            }),
        ),
        (
            "configuration",
            "revision 8",
            with(healthy(), |evidence| {
                evidence.node.revision = 8;
                evidence.node.pending_for = Some(31.0);
            }),
        ),
        (
            "peers",
            "192.0.2.2:4431",
            with(healthy(), |evidence| facts(evidence).tunnels = vec![tunnel(false), tunnel(false)]),
        ),
    ];
    for (name, seen, evidence) in table {
        let checks = examine(&evidence);
        let root = root(&checks).unwrap_or_else(|| panic!("{name} ({seen}): nothing fails in {checks:#?}"));
        assert_eq!(root.name, name, "{seen}: {checks:#?}");
        assert!(root.evidence.contains(seen), "{name}: {}", root.evidence);
        assert!(root.remedy.as_ref().is_some_and(|remedy| remedy.len() > 10), "{root:?}");
    }
}

#[test]
fn what_cannot_be_told_is_not_called_in_order() {
    let checks = examine(&lost());
    for name in ["node_443", "clock", "certificate", "machine", "services", "disk", "kernel", "underlay"] {
        let check = checks.iter().find(|check| check.name == name).expect("a check");
        assert_eq!(check.verdict, Verdict::Unknown, "{check:?}");
    }
    // A stopped machine explains the silence: only it is called a failure.
    let stopped = examine(&Evidence { machine: MachineState::Stopped, ..lost() });
    let failed: Vec<&str> =
        stopped.iter().filter(|check| check.verdict == Verdict::Failed).map(|check| check.name).collect();
    assert_eq!(failed, ["machine"]);
}

#[test]
fn a_lost_peer_is_no_failure_of_those_that_it_left() {
    let of = |tunnels: Vec<PeerTunnel>| {
        let mut evidence = healthy();
        facts(&mut evidence).tunnels = tunnels;
        let checks = examine(&evidence);
        checks.into_iter().find(|check| check.name == "peers").expect("a check").verdict
    };
    assert_eq!(of(vec![tunnel(true), tunnel(false)]), Verdict::Passed);
    assert_eq!(of(vec![tunnel(false)]), Verdict::Unknown, "which of the two it is nobody can tell");
    assert_eq!(of(Vec::new()), Verdict::Skipped);
}

#[test]
fn a_restored_rule_is_told() {
    let mut evidence = healthy();
    facts(&mut evidence).rule.restored = 2;
    let checks = examine(&evidence);
    assert!(checks.iter().any(|check| check.name == "node_443" && check.evidence.contains("2 times")), "{checks:?}");
}
