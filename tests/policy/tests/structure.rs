//! The crate graph and the sizes of files.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use causeway_policy::{metadata, root};

/// Longest file of code, lines; tests may be longer, since a table of cases is best in one place.
const CODE: usize = 800;
/// Longest file of tests, lines.
const TESTS: usize = 1500;

/// What each crate may use of this repository (ARCHITECTURE.md, layers). An arrow goes only downwards.
const MAY_USE: &[(&str, &[&str])] = &[
    // Words.
    ("model", &[]),
    ("wire", &["model"]),
    // Protocols: no I/O.
    ("crypto", &["model"]),
    ("ike", &["crypto", "model"]),
    ("esp", &["crypto", "model"]),
    ("bgp", &["model"]),
    ("netsim", &[]),
    // Mechanisms: one kind of I/O each.
    ("tun", &[]),
    ("datapath", &["crypto", "esp", "model", "tun"]),
    ("linux", &["model"]),
    ("store", &["model"]),
    ("fleet", &["crypto", "model"]),
    ("device", &["model"]),
    // Services.
    ("controller", &["crypto", "device", "fleet", "model", "store"]),
    ("api", &["controller", "model", "wire"]),
    ("notify", &["controller", "model"]),
    ("node", &["bgp", "crypto", "datapath", "esp", "fleet", "ike", "linux", "model", "tun"]),
    // Programs. The lab and the load know the product only from outside.
    ("lab", &[]),
    ("load", &[]),
    // Nodes that speak the real protocol, with nothing behind them.
    ("herd", &["fleet", "load", "model"]),
    ("cli", &[]),
    ("causeway", &["api", "cli", "controller", "crypto", "fleet", "lab", "model", "node", "notify", "store"]),
    ("policy", &[]),
    ("fuzz", &["bgp", "crypto", "ike", "model"]),
];

/// What tests may use in addition.
const TESTS_MAY_USE: &[(&str, &[&str])] = &[
    ("ike", &["esp", "netsim"]),
    ("bgp", &["netsim"]),
    ("api", &["crypto", "fleet", "load", "store"]),
    ("notify", &["crypto", "store"]),
    ("lab", &["device", "model"]),
];

#[test]
fn crates_use_only_what_lies_below_them() -> Result<()> {
    let rules: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let tests: BTreeMap<_, _> = TESTS_MAY_USE.iter().copied().collect();
    let mut broken = Vec::new();
    let mut seen = Vec::new();
    for package in metadata()?.packages.iter().filter(|package| package.source.is_none()) {
        let name = package.name.trim_start_matches("causeway-");
        seen.push(name.to_owned());
        let Some(allowed) = rules.get(name) else {
            broken.push(format!("{name} has no place in the layers; give it one in tests/policy/tests/structure.rs"));
            continue;
        };
        let of_tests = tests.get(name).copied().unwrap_or_default();
        for dependency in &package.dependencies {
            let Some(used) = dependency.name.strip_prefix("causeway-") else { continue };
            let fine =
                allowed.contains(&used) || (dependency.kind.as_deref() == Some("dev") && of_tests.contains(&used));
            if !fine {
                broken.push(format!("{name} must not use {used}"));
            }
        }
    }
    for name in rules.keys().filter(|name| !seen.iter().any(|seen| seen == *name)) {
        broken.push(format!("{name} is in the layers but not in the workspace"));
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

#[test]
fn no_file_is_too_long() -> Result<()> {
    let mut long = Vec::new();
    let mut folders = vec![root().join("crates"), root().join("tests"), root().join("bench")];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for path in entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()? {
            if path.is_dir() {
                if !path.file_name().is_some_and(|name| name == "target" || name == "node_modules" || name == ".venv") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?.lines().count();
                let limit = if is_test(&path) { TESTS } else { CODE };
                if lines > limit {
                    long.push(format!("{}: {lines} lines, at most {limit}", path.display()));
                }
            }
        }
    }
    ensure!(long.is_empty(), "split by subject:\n{}", long.join("\n"));
    Ok(())
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests") || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn unsafe_code_is_in_files_named_sys() -> Result<()> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path.file_name().is_none_or(|name| name != "sys.rs")
                && std::fs::read_to_string(&path)?.lines().any(lifts_the_ban)
            {
                found.push(path.display().to_string());
            }
        }
    }
    ensure!(found.is_empty(), "only sys.rs may lift the ban on unsafe code:\n{}", found.join("\n"));
    Ok(())
}

fn lifts_the_ban(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('#') && line.contains("unsafe_code") && (line.contains("expect(") || line.contains("allow("))
}
