//! What is to happen at once, proved without a clock: the only periods in which a node looks at anything by itself are those of its keepalives or
//! shorter, and BGP and dead peer detection are set to wait for longer than the test. What comes before the next keepalive, or at all, has come
//! by the direct way.

use causeway_crypto::SystemEntropy;
use causeway_linux::Namespace;
use causeway_model::acl::{Acl, AclAction, AclProtocol, AclRule, PortRange};
use causeway_model::observed::{ConnectionFacts, RouteDecision, SessionFacts};
use causeway_model::{ConnectionId, Psk, ReasonCode, Timestamp, VpcId};
use ipnet::IpNet;

use super::twins::{Controller, play, subnet};

/// An edit may fall just before a keepalive, or meet a machine that stands still; one that waits for a period meets every time.
const ATTEMPTS: u32 = 50;

/// What a program says in a VPC's router.
fn router(vpc: VpcId, words: &[&str]) -> String {
    let namespace = Namespace::open(&format!("cwv-{}", vpc.short())).expect("the router");
    let output = namespace.command(words).expect("it starts");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn has_route(vpc: VpcId, to: IpNet) -> bool {
    !router(vpc, &["ip", "route", "show", &to.to_string()]).is_empty()
}

fn session(it: &Controller, id: ConnectionId) -> Option<&SessionFacts> {
    it.connection(id)?.sessions.first()
}

/// Makes an edit with `make`, given the attempt's number, until one is in force before the node has looked after everything by itself.
async fn before_any_keepalive(
    it: &mut Controller,
    what: &str,
    mut make: impl FnMut(&mut Controller, u32),
    in_force: impl Fn(&Controller, u32) -> bool,
) {
    for attempt in 0..ATTEMPTS {
        // Begins with a keepalive, so that the next one is as far away as it can be.
        let heard = it.keepalives;
        it.wait("a keepalive", |it| it.keepalives > heard).await;
        let heard = it.keepalives;
        make(it, attempt);
        it.wait(what, |it| in_force(it, attempt)).await;
        if it.keepalives == heard && attempt > 0 {
            return;
        }
    }
    panic!("{what}: never before the next keepalive, {ATTEMPTS} times");
}

async fn policies(it: &mut Controller, vpc: VpcId, id: ConnectionId) {
    let known = |it: &Controller| -> (Timestamp, u32) {
        let session = session(it, id).expect("a session");
        (session.since, session.flaps)
    };
    let before = known(it);
    let admits = |attempt: u32| attempt % 2 == 1;
    let make = |it: &mut Controller, attempt| {
        it.edit(|desired| {
            let policy = desired.gateways[1].connections[0].bgp[0].policy.as_mut().expect("a policy");
            policy.prefix_filter_in = if admits(attempt) { vec![subnet(0)] } else { Vec::new() };
        });
    };
    let in_force = |it: &Controller, attempt| {
        let decision = |facts: &ConnectionFacts| facts.received.first().map(|route| route.decision.clone());
        let installed = it.connection(id).and_then(decision) == Some(RouteDecision::Installed);
        installed == admits(attempt) && has_route(vpc, subnet(0)) == admits(attempt)
    };
    before_any_keepalive(it, "the policy is in force", make, in_force).await;
    assert_eq!(known(it), before, "the session is what it was");
}

async fn lists(it: &mut Controller, vpc: VpcId) {
    let host = |attempt: u32| format!("10.1.0.{}", attempt + 50);
    let make = |it: &mut Controller, attempt| {
        let rule = AclRule {
            protocol: AclProtocol::Any,
            source: subnet(0),
            source_ports: PortRange::ALL,
            destination: format!("{}/32", host(attempt)).parse().expect("a prefix"),
            destination_ports: PortRange::ALL,
            action: AclAction::Drop,
            description: None,
        };
        it.edit(|desired| desired.vpcs[1].acl_ipv4 = Acl { rules: vec![rule], ..Acl::default() });
    };
    let in_force = |_: &Controller, attempt| {
        router(vpc, &["nft", "list", "table", "inet", "causeway_acl"]).contains(&host(attempt))
    };
    before_any_keepalive(it, "the list is in force", make, in_force).await;
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn edits_are_in_force_before_the_node_looks_again_and_a_lost_tunnel_takes_routes_along_before_any_silence() {
    play(
        "cwao-m",
        || Box::new(SystemEntropy::new()),
        async |it, _, all| {
            let (vpc, id) = (it.desired.vpcs[1].id, all[1].id);
            let routed =
                |it: &Controller| session(it, id).is_some_and(|session| session.up) && has_route(vpc, subnet(0));
            it.wait("a route", routed).await;
            policies(it, vpc, id).await;
            lists(it, vpc).await;
            it.edit(|desired| {
                let policy = desired.gateways[1].connections[0].bgp[0].policy.as_mut().expect("a policy");
                policy.prefix_filter_in = vec![subnet(0)];
            });
            it.wait("a route", routed).await;

            // The other end deletes the IKE SA, as a device does whose tunnel is switched off; its BGP says nothing, and its key is another one now.
            it.edit(|desired| {
                let connection = &mut desired.gateways[0].connections[0];
                connection.psks = vec![Psk::new(b"another one".to_vec())];
                connection.revocations += 1;
            });
            let down = |it: &Controller| {
                let session = session(it, id).filter(|session| !session.up).and_then(|session| session.fault.as_ref());
                session.is_some_and(|fault| fault.code == ReasonCode::TunnelDown)
            };
            it.wait("the session is down with the tunnel", down).await;
            it.wait("the route is gone", |_| !has_route(vpc, subnet(0))).await;
            assert!(it.connection(id).expect("facts").received.is_empty(), "nothing is kept for it");
        },
    );
}
