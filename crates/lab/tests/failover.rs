//! Three gateway nodes, one of which is cut off, refuses a configuration, and is switched off and on under traffic: the scenario `fleet`. Every
//! step of it fails if it does not see what it expects; gaps are printed and judge nothing.

use anyhow::Result;
use causeway_lab::{Options, Scene, demo};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_lost_node_is_followed_by_another() -> Result<()> {
    let options = Options {
        id: Some("failci".to_owned()),
        scenario: "fleet".to_owned(),
        brief: true,
        program: Some(Scene::program()?),
        ..Options::default()
    };
    demo(options).await
}
