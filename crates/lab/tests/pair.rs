//! Two tunnels in one connection and two connections as a pair, cut in turn under traffic: the scenario `pair` with fewer cuts. Every step
//! of it fails if it does not see what it expects; gaps are printed and judge nothing.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Options, demo};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn each_tunnel_of_a_pair_may_go() -> Result<()> {
    let program = match std::env::var_os("CAUSEWAY_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.ancestors().nth(2).context("a target directory")?.join("causeway"),
    };
    ensure!(program.exists(), "{} is missing: run `cargo build -p causeway` first", program.display());
    let options = Options {
        id: Some("pairci".to_owned()),
        scenario: "pair".to_owned(),
        brief: true,
        program: Some(program),
        ..Options::default()
    };
    demo(options).await
}
