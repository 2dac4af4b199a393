//! Measures how long it takes to replace a VPC's access lists, and to read their counters: `acl [ROUNDS]`. Needs root and nft.

use std::time::{Duration, Instant};

use causeway_linux::Namespace;
use causeway_linux::filter::{AclFilter, AclTable};
use causeway_model::acl::{Acl, AclAction, AclProtocol, AclRule, PortRange};

const NAME: &str = "cwbench-acl";

/// `count` rules, none of which is in a list of another `set`.
fn list(count: u32, set: u32) -> Acl {
    let rule = |number: u32| AclRule {
        protocol: AclProtocol::Tcp,
        source: format!("10.{}.{}.{}/32", set % 256, number / 256, number % 256).parse().expect("a prefix"),
        source_ports: PortRange::ALL,
        destination: "192.168.0.0/16".parse().expect("a prefix"),
        destination_ports: PortRange { low: 443, high: 443 },
        action: AclAction::Accept,
        description: None,
    };
    Acl { default_action: AclAction::Drop, rules: (0..count).map(rule).collect() }
}

fn median(mut all: Vec<Duration>) -> f64 {
    all.sort_unstable();
    all.get(all.len() / 2).map_or(0.0, |middle| middle.as_secs_f64() * 1e3)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "its figures")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: u32 = std::env::args().nth(1).map_or(Ok(9), |text| text.parse())?;
    Namespace::delete(NAME)?;
    let namespace = Namespace::create(NAME)?;
    let result = measure(&namespace, rounds).await;
    Namespace::delete(NAME)?;
    for (count, [replaced, changed, reversed, counters]) in result? {
        println!(
            "{count:>6} rules: all replaced {replaced:.1} ms, one changed {changed:.1} ms, order reversed {reversed:.1} ms, \
             counters read {counters:.1} ms"
        );
    }
    Ok(())
}

async fn measure(namespace: &Namespace, rounds: u32) -> Result<Vec<(u32, [f64; 4])>, causeway_linux::Error> {
    let mut table = AclTable::create(namespace.clone()).await?;
    let filter = |ipv4: &Acl| AclFilter { ipv4: ipv4.clone(), ..AclFilter::default() };
    let mut lines = Vec::new();
    for count in [100, 1000, 10_000] {
        let mut times: [Vec<Duration>; 4] = Default::default();
        for round in 0..rounds {
            let mut wanted = list(count, round);
            for (step, times) in times.iter_mut().enumerate() {
                match step {
                    0 => {}
                    1 => wanted.rules.splice(..1, list(1, 255).rules).for_each(drop),
                    2 => wanted.rules.reverse(),
                    _ => {
                        let begun = Instant::now();
                        table.reader().read().await?;
                        times.push(begun.elapsed());
                        continue;
                    }
                }
                let filter = filter(&wanted);
                let begun = Instant::now();
                table.apply(&filter).await?;
                times.push(begun.elapsed());
            }
        }
        lines.push((count, times.map(median)));
    }
    Ok(lines)
}
