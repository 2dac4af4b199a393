//! Two tunnels in one connection and two connections as a pair, cut in turn under traffic: the scenario `pair` with fewer cuts. Every step
//! of it fails if it does not see what it expects; gaps are printed and judge nothing.

use anyhow::Result;
use causeway_lab::{Daemon, Options, Scene, demo};

causeway_lab::with_both! {
    each_tunnel_of_a_pair_may_go "pairci" "pairfr";
}

async fn each_tunnel_of_a_pair_may_go(daemon: Daemon, id: &str) -> Result<()> {
    let options = Options {
        id: Some(id.to_owned()),
        scenario: "pair".to_owned(),
        brief: true,
        daemon,
        program: Some(Scene::program()?),
        ..Options::default()
    };
    demo(options).await
}
