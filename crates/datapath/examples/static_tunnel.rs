//! One end of a tunnel with fixed keys and no IKE, for measuring the packet path: `bench/datapath/run` starts two.
//!
//! Usage: `static_tunnel a|b LOCAL REMOTE TUN SUITE`, in the network namespace that holds LOCAL. It runs until it is killed and
//! prints its counters once a second if the environment has `VERBOSE`. Its keys are public: never let it carry anything else.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_datapath::{Datapath, DatapathConfig, ENCAPSULATION_PORT, Inbound, Outbound};
use causeway_esp::{EspKeys, EspSuite, InboundSa, OutboundSa};
use causeway_model::suite::Integrity;
use causeway_model::{ConnectionId, VpnGatewayId};
use causeway_tun::Tun;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [side, local, remote, tun, suite] = arguments.as_slice() else {
        return Err("usage: static_tunnel a|b LOCAL REMOTE TUN SUITE".into());
    };
    let (local, remote): (IpAddr, IpAddr) = (local.parse()?, remote.parse()?);
    let encryption = suite.parse().map_err(|_| format!("{suite} is not a cipher suite"))?;
    let suite = EspSuite::new(encryption, Some(Integrity::Sha256));
    let keymat: Vec<u8> = (0..suite.keymat_len()).map(|index| index as u8).collect();
    let (from_a, from_b) = EspKeys::split(suite, &keymat)?;
    let (sending, sending_spi, receiving, receiving_spi) =
        if side == "a" { (from_a, 0xb0b0, from_b, 0xa0a0) } else { (from_b, 0xa0a0, from_a, 0xb0b0) };

    let (datapath, _ike) = Datapath::start(DatapathConfig::default())?;
    datapath.bind(local)?;
    let id = ConnectionId::random();
    datapath.add_tunnel(id, VpnGatewayId::random(), Tun::open(tun)?)?;
    let sa = Arc::new(InboundSa::new(receiving_spi, suite, &receiving)?);
    datapath.install_inbound(id, Inbound { spi: receiving_spi, local, sa })?;
    let outbound = Outbound {
        sa: Arc::new(OutboundSa::new(sending_spi, suite, &sending)?),
        local: SocketAddr::new(local, ENCAPSULATION_PORT),
        remote: SocketAddr::new(remote, ENCAPSULATION_PORT),
    };
    datapath.set_outbound(id, Some(outbound))?;
    println!("ready");
    let verbose = std::env::var_os("VERBOSE").is_some();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        if verbose {
            println!("{:?} {:?}", datapath.counters(id), datapath.drops());
        }
    }
}
