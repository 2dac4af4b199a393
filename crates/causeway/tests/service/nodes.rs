//! Gateway nodes on other machines: joining, and what operators do with them.

use std::process::{Command, Output};

use crate::harness::Service;

/// Runs the program without what clients need to know.
fn program(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(words).env_clear().output().expect("the program starts")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_machine_joins_and_operators_manage_it() {
    let (service, url) = Service::start_for_nodes();
    let created = service.json(&["node", "token", "create", "--description", "rack 4"]);
    let token = created["token"].as_str().expect("a token");
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("node");
    let data = data.to_str().expect("UTF-8");
    let join = |words: &[&str]| program(&[&["node", "join"], words].concat());

    let wrong = join(&[&url, "--token", "cwjoin-x", "--data", data]);
    assert!(!wrong.status.success() && told(&wrong).contains("this is no join token"), "{wrong:?}");
    let wrong = join(&["http://127.0.0.1", "--token", token, "--data", data]);
    assert!(!wrong.status.success() && told(&wrong).contains("it looks like https://HOST"), "{wrong:?}");
    let done = join(&[&url, "--token", token, "--data", data, "--name", "edge-1"]);
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("causeway node run"), "{done:?}");
    let again = join(&[&url, "--token", token, "--data", data]);
    assert!(!again.status.success() && told(&again).contains("already"), "{again:?}");
    let elsewhere = directory.path().join("other");
    let used = join(&[&url, "--token", token, "--data", elsewhere.to_str().expect("UTF-8")]);
    assert!(!used.status.success() && told(&used).contains("token_used"), "{used:?}");

    assert_eq!(service.names(&["node", "list"]), ["edge-1"]);
    assert!(service.ok(&["node", "list"]).contains("node_waiting"));
    let node = service.json(&["node", "get", "edge-1"]);
    assert_eq!((node["state"].as_str(), node["zone"].as_str()), (Some("waiting"), Some("fr-par-1")));
    let edited = service.json(&["node", "edit", "edge-1", "--name", "edge-2", "--max-connections", "50"]);
    assert_eq!(edited["max_connections"], 50);
    assert!(service.json(&["node", "edit", "edge-2", "--no-limits"])["max_connections"].is_null());
    service.ok(&["node", "cordon", "edge-2"]);
    assert!(service.ok(&["node", "list"]).contains("waiting, cordoned"));
    service.ok(&["node", "uncordon", "edge-2"]);
    let before = service.json(&["node", "get", "edge-2"])["revision"].as_u64();
    service.ok(&["node", "retry", "edge-2"]);
    assert!(service.json(&["node", "get", "edge-2"])["revision"].as_u64() > before);
    service.ok(&["node", "drain", "edge-2"]);
    assert!(service.ok(&["node", "list"]).contains("waiting, draining"));
    service.ok(&["node", "uncordon", "edge-2"]);
    // It has never run.
    assert_eq!(service.json(&["node", "history", "edge-2"]).as_array().map(Vec::len), Some(0));
    let bundle = directory.path().join("bundle.tar");
    let examined = ["doctor", "node", "edge-2", "--bundle", bundle.to_str().expect("UTF-8")];
    let examined = service.ok(&examined);
    assert!(examined.contains("nothing was heard of it") && examined.contains(" could not be made"), "{examined}");
    assert!(bundle.metadata().expect("a file").len() > 512, "headers and contents");
    service.ok(&["node", "revoke", "edge-2"]);
    assert!(service.ok(&["node", "list"]).contains("revoked"));

    let tokens = service.json(&["node", "token", "list"]);
    assert_eq!((&tokens[0]["id"], &tokens[0]["node_id"]), (&created["id"], &node["id"]));
    assert!(tokens[0]["token"].is_null(), "a token's text is shown once");
    service.ok(&["node", "token", "delete", created["id"].as_str().expect("an id")]);
    service.fails(&["node", "token", "create", "--zone", "nl-ams-1"], 1, "--zone");
    service.fails(&["node", "get", "edge-9"], 1, "no node is named");
}

#[test]
fn a_directory_that_is_no_node_cannot_be_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let refused = program(&["node", "run", directory.path().to_str().expect("UTF-8")]);
    assert!(!refused.status.success() && told(&refused).contains("causeway node join"), "{refused:?}");
}
