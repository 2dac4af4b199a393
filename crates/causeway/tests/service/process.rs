//! The process itself: how it starts, ends, and comes back.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Following, Place, Service};

#[test]
fn a_data_directory_is_made_checked_and_kept() {
    let mut service = Service::start(Place::Here);
    for (name, mode) in [("operator.env", 0o600), ("master.key", 0o600)] {
        let path = service.data().join(name);
        let found = std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(found.permissions().mode() & 0o777, mode, "{name}");
    }
    let data = service.data().to_str().expect("UTF-8").to_owned();
    assert!(service.ok(&["check", &data]).ends_with("causeway.toml: right\n"));
    service.ok(&["vpc", "create", "kept"]);
    // Two cannot have the same directory.
    let told = service.run(&["serve", "--data", &data, "--listen", "127.0.0.1:0"]);
    assert_eq!(told.code, Some(1), "{told:#?}");
    service.fails(&["operator-key", &data], 1, "causeway: ");

    assert_eq!(service.terminate().code(), Some(0));
    service.fails(&["vpc", "list"], 1, "cannot reach the API at http://127.0.0.1:");
    let before = service.environment["SCW_SECRET_KEY"].clone();
    service.ok(&["operator-key", &data]);
    service.start_again();
    assert_ne!(service.environment["SCW_SECRET_KEY"], before);
    assert!(service.names(&["vpc", "list"]).contains(&"kept".to_owned()));
    // Nothing of it needs an orderly end.
    service.ok(&["vpc", "create", "durable"]);
    service.kill();
    service.start_again();
    assert!(service.names(&["vpc", "list"]).contains(&"durable".to_owned()));

    service.file("causeway.toml", "listen = \"nowhere\"\n");
    service.fails(&["check", &data], 1, "listen");
}

#[test]
fn the_master_key_is_replaced_and_an_interrupted_change_is_settled() {
    let mut service = Service::start(Place::Here);
    let data = service.data().to_str().expect("UTF-8").to_owned();
    let directory = service.data().to_owned();
    let file = |name: &str| directory.join(name);
    let (key, next, aside) = (file("master.key"), file("master.key.next"), file("aside"));
    service.file("text", "what is kept");
    let text = file("text").to_str().expect("UTF-8").to_owned();
    service.ok(&["secret", "create", "s", "--data-file", &text]);
    let kept = |service: &Service| service.ok(&["secret", "access", "s"]);
    assert!(kept(&service).contains("what is kept"));
    service.fails(&["rotate-key", &data], 1, "in use by another causeway process");
    assert_eq!(service.terminate().code(), Some(0));

    let first = std::fs::read(&key).expect("a key");
    assert!(service.ok(&["rotate-key", &data]).contains("new master key"));
    let second = std::fs::read(&key).expect("a key");
    assert!(second != first && second.len() == 32 && !next.exists());
    assert_eq!(std::fs::metadata(&key).expect("a file").permissions().mode() & 0o777, 0o600);
    service.start_again();
    assert!(kept(&service).contains("what is kept"));
    assert_eq!(service.terminate().code(), Some(0));

    // Killed before the commit: the next key is of no use. (`copy` keeps the mode.)
    std::fs::copy(&key, &next).expect("a copy");
    std::fs::write(&next, [7; 32]).expect("another key");
    service.start_again();
    assert!(kept(&service).contains("what is kept") && !next.exists());
    assert_eq!(service.terminate().code(), Some(0));

    // Killed between the commit and the change of the files.
    service.ok(&["rotate-key", &data]);
    std::fs::rename(&key, &next).expect("renamed");
    std::fs::copy(&next, &key).expect("a copy");
    std::fs::write(&key, &second).expect("the key before");
    service.start_again();
    assert!(kept(&service).contains("what is kept") && !next.exists());
    assert_eq!(service.terminate().code(), Some(0));

    // A backup of the wrong time.
    std::fs::copy(&key, &aside).expect("a copy");
    std::fs::write(&key, &first).expect("the first key");
    service.fails(&["operator-key", &data], 1, "restore both from the same backup");
    std::fs::rename(&aside, &key).expect("renamed");
    service.start_again();
    assert!(kept(&service).contains("what is kept"));
}

#[test]
fn followers_outlive_a_restart() {
    let mut service = Service::start(Place::Here);
    service.ok(&["vpc", "create", "v"]);
    service.ok(&["private-network", "create", "lan", "--vpc", "v"]);
    service.ok(&["gateway", "create", "gw", "--type", "VGW-S", "--private-network", "lan"]);
    service.ok(&["gateway", "lock", "gw", "--reason", "first"]);
    let following = Following::start(service.command(&["gateway", "events", "gw", "--follow"]));
    following.line("lock");
    // An open stream does not hold up the end.
    assert_eq!(service.terminate().code(), Some(0));
    service.line("stopped");
    service.start_again();
    service.ok(&["gateway", "unlock", "gw"]);
    following.line("unlock");
    service.ok(&["gateway", "delete", "gw", "--wait"]);
    let (code, told) = following.end();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("has been deleted"), "{told}");
}

#[test]
fn wrong_usage_has_a_code_of_its_own() {
    let mut service = Service::start(Place::Here);
    service.fails(&["horse", "list"], 2, "unrecognized subcommand 'horse'");
    service.fails(&["vpc", "list", "-o", "xml"], 2, "invalid value 'xml'");
    let bare = service.command(&["vpc", "list"]).env_clear().output().expect("it starts");
    assert_eq!(bare.status.code(), Some(2));
    let told = String::from_utf8_lossy(&bare.stderr);
    assert!(
        told.contains("SCW_API_URL, SCW_SECRET_KEY, SCW_DEFAULT_REGION") && told.contains("operator.env"),
        "{told}"
    );
    // Who reads only the beginning of a list is no error.
    let mut head = std::process::Command::new("sh");
    let program = service.command(&[]).get_program().to_owned();
    head.args(["-c", "\"$0\" vpc list -o json | true; exit ${PIPESTATUS:-0}"]).arg(program).envs(&service.environment);
    assert!(head.status().expect("it starts").success());
    assert_eq!(service.terminate().code(), Some(0));
}

#[test]
fn beyond_loopback_everything_is_encrypted() {
    let mut service = Service::start_at(Place::Here, "0.0.0.0:0");
    assert!(service.environment["SCW_API_URL"].starts_with("https://127.0.0.1:"), "{:?}", service.environment);
    let told = service.fails(&["vpc", "list"], 1, "cannot reach the API at https://127.0.0.1:");
    assert!(told.contains("hint: ") && told.contains("SSL_CERT_FILE=DIR/tls-certificate.pem"), "{told}");
    let certificate = service.data().join("tls-certificate.pem").to_str().expect("UTF-8").to_owned();
    service.environment.insert("SSL_CERT_FILE".to_owned(), certificate);
    service.ok(&["vpc", "create", "v"]);
    assert!(service.names(&["vpc", "list"]).contains(&"v".to_owned()));
    service.environment.insert("SSL_CERT_FILE".to_owned(), "/nonexistent".to_owned());
    service.fails(&["vpc", "list"], 1, "cannot read /nonexistent");
    assert_eq!(service.terminate().code(), Some(0));
}
