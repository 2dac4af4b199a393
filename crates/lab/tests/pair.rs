//! Two tunnels in one connection and two connections as a pair, cut in turn under traffic: the scenario `pair` with fewer cuts. Every step
//! of it fails if it does not see what it expects; gaps are printed and judge nothing.

use anyhow::Result;
use causeway_lab::{Options, Scene, demo};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn each_tunnel_of_a_pair_may_go() -> Result<()> {
    let options = Options {
        id: Some("pairci".to_owned()),
        scenario: "pair".to_owned(),
        brief: true,
        program: Some(Scene::program()?),
        ..Options::default()
    };
    demo(options).await
}
