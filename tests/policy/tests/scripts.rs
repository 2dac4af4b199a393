//! What `make test` says of itself: nothing that was left out looks like something that passed.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use causeway_policy::root;

/// Runs `program` where only `tools` are on the path.
fn run(program: &str, arguments: &[&str], tools: &Path, place: &Path) -> Result<Output> {
    let mut command = Command::new(root().join(program));
    command.args(arguments).env_clear().env("PATH", tools).env("CARGO_TARGET_DIR", place).env("SDK_JS", place);
    command.output().with_context(|| program.to_owned())
}

/// A directory with these programs and no others.
fn tools(directory: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join(name))
            .find(|path| path.exists());
        symlink(found.with_context(|| format!("no {name}"))?, directory.join(name))?;
    }
    Ok(())
}

#[test]
fn a_suite_that_cannot_run_is_not_passed_over_in_silence() -> Result<()> {
    let (bin, place) = (tempfile::tempdir()?, tempfile::tempdir()?);
    tools(
        bin.path(),
        &["bash", "sh", "env", "dirname", "realpath", "mkdir", "sed", "sort", "head", "cmp", "rm", "id"],
    )?;
    // It can neither make a virtual environment nor fail the table's check.
    std::fs::write(
        bin.path().join("python3"),
        "#!/bin/sh\ncase $1 in tests/sdk/table.py) exit 0 ;; *) exit 1 ;; esac\n",
    )?;
    std::fs::set_permissions(bin.path().join("python3"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let output = run("tests/sdk/js/run", &["fetch"], bin.path(), place.path())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("can't be installed"), "{said}");
    let output = run("scripts/test-sdk", &["js"], bin.path(), place.path())?;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let said = [output.stdout, output.stderr].concat();
    let log = place.path().join("log");
    std::fs::write(&log, &said)?;
    let listed = Command::new(root().join("scripts/outcomes")).arg(&log).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let named = ["SKIPPED the js suite", "FAILED: what the js suite needs"];
    assert!(named.iter().any(|named| listed.contains(named)), "{listed:?} of {}", String::from_utf8_lossy(&said));
    Ok(())
}

#[test]
fn no_other_crate_has_a_test_program_of_a_laboratorys_name() -> Result<()> {
    // `scripts/test` starts the groups of its tests with root by these names: one of two crates would run twice at a time.
    let mut of_the_lab = Vec::new();
    let mut of_others = Vec::new();
    for member in std::fs::read_dir(root().join("crates"))? {
        let member = member?.path();
        let Ok(programs) = std::fs::read_dir(member.join("tests")) else { continue };
        let names = if member.ends_with("lab") { &mut of_the_lab } else { &mut of_others };
        for program in programs {
            names.push(program?.path().file_stem().context("a name")?.to_owned());
        }
    }
    assert!(of_the_lab.len() > 5 && of_others.len() > 20, "{} and {}", of_the_lab.len(), of_others.len());
    let shared: Vec<_> = of_the_lab.iter().filter(|name| of_others.contains(name)).collect();
    assert!(shared.is_empty(), "{shared:?}");
    Ok(())
}

#[test]
fn the_summary_takes_every_runners_outcome() -> Result<()> {
    let place = tempfile::tempdir()?;
    let lines = [
        "test result: ok. 3 passed; 0 failed; 0 ignored",
        "test name::of_test ... FAILED",
        "SKIPPED the go suite: what it needs is not on this machine and can't be installed",
        "FAILED: python",
        "FAILED (errors=1)",
        "OK the js suite",
        "statements: 3 of 4 seen in this run",
        "FAILED: vpn-04 (a promise): a test did not pass",
        "Ran 40 tests in 2.1s",
        "# pass 12",
        "# fail 1",
        "ok  \tcauseway-sdk-conformance\t2.0s",
    ];
    let dull = ["test name::of_test ... ok", "test result: ok. 0 passed; 0 failed; 7 ignored", "Compiling causeway"];
    let log = place.path().join("log");
    std::fs::write(&log, [lines.as_slice(), &dull].concat().join("\n"))?;
    let output = Command::new(root().join("scripts/outcomes")).arg(&log).output()?;
    assert_eq!(String::from_utf8(output.stdout)?.lines().collect::<Vec<_>>(), lines);
    Ok(())
}
