//! Measures the kernel's part of a large table: adds, changes, withdraws and removes COUNT routes by a router on a link, as a customer's are:
//! `routes [COUNT [ROUNDS]]`. Needs root.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use causeway_linux::route::MAIN_TABLE;
use causeway_linux::{Error, Namespace, Netlink, NextHop, ROUTE_PROTOCOL, RouteSpec, RouteTable, VethEnd};
use ipnet::IpNet;

const NAME: &str = "cwbench-routes";

fn routes(count: u32, ipv6: bool, dev: u32) -> Vec<RouteSpec> {
    let route = |number: u32| {
        let (net, via): (IpAddr, IpAddr) = if ipv6 {
            let group = |part: u32| u16::try_from(part & 0xffff).unwrap_or(0);
            let net = Ipv6Addr::new(0x2001, 0xdb8, group(number >> 16), group(number), 0, 0, 0, 0);
            (net.into(), Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2).into())
        } else {
            (Ipv4Addr::from(0x0b00_0000 + (number << 8)).into(), Ipv4Addr::new(169, 254, 0, 2).into())
        };
        RouteSpec::unicast(IpNet::new_assert(net, if ipv6 { 64 } else { 24 }), vec![NextHop::onlink(via, dev)])
    };
    (0..count).map(route).collect()
}

/// Changes made, the time that comparing took, and all of it, in milliseconds.
async fn apply(table: &mut RouteTable, wanted: &[RouteSpec]) -> Result<(usize, f64, f64), Error> {
    let begun = Instant::now();
    let changes = table.plan(wanted).await?;
    let (count, planned) = (changes.len(), begun.elapsed());
    for chunk in changes.chunks(1024) {
        let applied = table.carry_out(chunk.to_vec()).await?;
        assert!(applied.is_complete(), "{applied:?}");
    }
    Ok((count, planned.as_secs_f64() * 1e3, begun.elapsed().as_secs_f64() * 1e3))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "its figures")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let rounds: u32 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    Namespace::delete(NAME)?;
    let namespace = Namespace::create(NAME)?;
    let netlink = Netlink::open(&namespace)?;
    let mut links = Vec::new();
    for (name, end) in [("a", "a-end"), ("b", "b-end")] {
        netlink.create_veth(&VethEnd::new(name), &VethEnd::new(end)).await?;
        for link in [end, name] {
            netlink.set_up(netlink.index(link).await?, true).await?;
        }
        links.push(netlink.index(name).await?);
    }
    let &[a, b] = links.as_slice() else { return Ok(()) };
    for round in 1..=rounds {
        for (family, ipv6) in [("IPv4", false), ("IPv6", true)] {
            let mut table = RouteTable::new(netlink.clone(), ROUTE_PROTOCOL, MAIN_TABLE);
            let (first, second) = (routes(count, ipv6, a), routes(count, ipv6, b));
            let one_less = second.split_last().map_or(&[][..], |(_, rest)| rest);
            let steps: [(&str, bool, &[RouteSpec]); 5] = [
                ("added", true, &first),
                ("read from the kernel, nothing to do", true, &first),
                ("led to another link", false, &second),
                ("one of them withdrawn", false, one_less),
                ("deleted", false, &[]),
            ];
            for (what, fresh, wanted) in steps {
                if fresh {
                    table.forget();
                }
                let (changes, planned, took) = apply(&mut table, wanted).await?;
                println!(
                    "round {round}, {family}, {what}: {changes} changes, {took:.0} ms, {planned:.0} ms of it comparing"
                );
            }
        }
    }
    drop(netlink);
    Namespace::delete(NAME)?;
    Ok(())
}
