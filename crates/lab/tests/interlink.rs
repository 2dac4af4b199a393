//! A private link beside a VPN, from the order to its deletion on both sides: the scenario `interlink`. Every step of it fails if it does not
//! see what it expects; gaps are printed and judge nothing.

use anyhow::Result;
use causeway_lab::{Options, Scene, demo};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_link_carries_beside_a_vpn() -> Result<()> {
    let options = Options {
        id: Some("linkci".to_owned()),
        scenario: "interlink".to_owned(),
        program: Some(Scene::program()?),
        ..Options::default()
    };
    demo(options).await
}
