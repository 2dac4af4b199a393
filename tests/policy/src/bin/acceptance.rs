//! `make acceptance`: runs the tests that the list of promises names, and says of each statement whether it was seen. The arguments are ids of
//! rows, or how those begin; without any it is the whole list. It ends with 0 only if all of them were seen.
//!
//! Every test program runs once with all of its tests that are wanted; those that need root run as root, the others without it. The suites of
//! the official SDKs run as `scripts/test-sdk` does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use causeway_policy::acceptance::{self, Statement};
use causeway_policy::proof::{Test, target};
use causeway_policy::{outcome, root};
use serde::Deserialize;

/// What the tests run as where root can leave that behind.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// Why each test was not seen to pass; those that passed have nothing.
type Outcomes = BTreeMap<Test, Option<String>>;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is for people")]
fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    match run(&wanted) {
        Ok((table, all)) => {
            println!("\n{table}");
            if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(wanted: &[String]) -> Result<(String, bool)> {
    let documents = acceptance::read()?;
    let faults = acceptance::faults(&documents);
    ensure!(faults.is_empty(), "tests/acceptance:\n{}", faults.join("\n"));
    let chosen =
        |statement: &&Statement| wanted.is_empty() || wanted.iter().any(|start| statement.id.starts_with(start));
    let statements: Vec<&Statement> = documents.iter().flat_map(|one| &one.statements).filter(chosen).collect();
    for start in wanted {
        ensure!(statements.iter().any(|statement| statement.id.starts_with(start)), "no row's id begins with {start}");
    }
    let mut tests = BTreeSet::new();
    for statement in &statements {
        tests.extend(statement.tests()?);
    }
    let (of_rust, of_suites): (BTreeSet<Test>, BTreeSet<Test>) =
        tests.into_iter().partition(|test| test.file.ends_with(".rs"));
    let target = target_directory()?;
    let logs = target.join("test-logs");
    std::fs::create_dir_all(&logs)?;
    let mut outcomes = rust(of_rust, &target, &logs)?;
    outcomes.extend(suites(of_suites, &logs)?);
    table(&statements, &outcomes)
}

fn target_directory() -> Result<PathBuf> {
    let place = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    place.canonicalize().with_context(|| format!("{}: build first", place.display()))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// What cargo says of something that it built.
#[derive(Deserialize)]
struct Built {
    manifest_path: Option<PathBuf>,
    target: Option<BuiltTarget>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct BuiltTarget {
    kind: Vec<String>,
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Every test program, by its package's folder and, for those in `tests/`, its name.
type Programs = BTreeMap<(PathBuf, Option<String>), Vec<PathBuf>>;

/// Builds the test programs that `tests` are in, with the features that the whole workspace asks for, and those that have the same names.
fn programs(tests: &BTreeSet<Test>) -> Result<Programs> {
    let mut arguments = BTreeSet::new();
    for test in tests {
        arguments.extend(match target(&test.file)? {
            // These run an example of their package.
            (_, Some(name)) if name == "two_nodes" => vec![format!("--test={name}"), "--examples".to_owned()],
            (_, Some(name)) => vec![format!("--test={name}")],
            (_, None) => vec!["--lib".to_owned(), "--bins".to_owned()],
        });
    }
    let output = Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--no-run", "--locked", "--message-format=json-render-diagnostics"])
        .args(arguments)
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo test --no-run")?;
    ensure!(output.status.success(), "the tests do not build");
    let mut programs = Programs::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let built: Built = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let (Some(manifest), Some(target), Some(Profile { test: true }), Some(program)) =
            (built.manifest_path, built.target, built.profile, built.executable)
        else {
            continue;
        };
        let folder = manifest.parent().context("a manifest's folder")?;
        let Ok(folder) = folder.strip_prefix(root()) else { continue };
        let name = target.kind.iter().any(|kind| kind == "test").then_some(target.name);
        programs.entry((folder.to_owned(), name)).or_default().push(program);
    }
    Ok(programs)
}

fn list(program: &Path, more: &[&str]) -> Result<BTreeSet<String>> {
    let output = Command::new(program).args(["--list", "--format", "terse"]).args(more).output();
    let output = output.with_context(|| program.display().to_string())?;
    ensure!(output.status.success(), "{} does not list its tests", program.display());
    Ok(outcome::listed(&String::from_utf8(output.stdout)?))
}

/// What is wanted of one program.
#[derive(Default)]
struct Wanted {
    folder: PathBuf,
    /// Names of tests, whether they are left out without root, and what they stand for.
    names: BTreeMap<String, (bool, Test)>,
}

#[expect(clippy::print_stdout, reason = "who waits sees how far it is")]
fn rust(tests: BTreeSet<Test>, target_directory: &Path, logs: &Path) -> Result<Outcomes> {
    let (mut outcomes, mut wanted) = (Outcomes::new(), BTreeMap::<PathBuf, Wanted>::new());
    if tests.is_empty() {
        return Ok(outcomes);
    }
    let programs = programs(&tests)?;
    let mut lists = BTreeMap::new();
    for test in tests {
        let (folder, name) = target(&test.file)?;
        let of_test = programs.get(&(folder.clone(), name)).with_context(|| format!("no program has {test}"))?;
        let mut found = false;
        for program in of_test {
            if !lists.contains_key(program) {
                lists.insert(program.clone(), (list(program, &[])?, list(program, &["--ignored"])?));
            }
            let (all, ignored) = lists.get(program).context("listed")?;
            for name in outcome::names(all, &test.modules()?, &test.name) {
                found = true;
                let of_program = wanted.entry(program.clone()).or_default();
                of_program.folder = root().join(&folder);
                of_program.names.insert(name.clone(), (ignored.contains(&name), test.clone()));
            }
        }
        ensure!(found, "no program lists {test}");
        outcomes.insert(test, None);
    }
    let as_root = is_root();
    let can_leave = as_root && {
        let mut nobody = Command::new(NOBODY[0]);
        nobody.args(&NOBODY[1..]).args(["test", "-x"]).arg(target_directory.join("debug")).arg("-a").arg("-r");
        nobody.arg(root().join("Cargo.toml")).status().is_ok_and(|status| status.success())
    };
    for (program, Wanted { folder, names }) in &wanted {
        for with_root in [false, true] {
            let of_round: BTreeMap<&String, &Test> = names
                .iter()
                .filter(|(_, (ignored, _))| *ignored == with_root)
                .map(|(name, (_, test))| (name, test))
                .collect();
            if of_round.is_empty() {
                continue;
            }
            let stem = program.file_name().context("a name")?.to_string_lossy().into_owned();
            if with_root && !as_root {
                for test in of_round.values() {
                    outcomes.insert((*test).clone(), Some(format!("{test} needs root")));
                }
                continue;
            }
            println!("--- {} of {stem}{}", of_round.len(), if with_root { ", as root" } else { "" });
            let log = logs.join(format!("acceptance-{stem}{}.log", if with_root { "-root" } else { "" }));
            let mut command = if can_leave && !with_root {
                let mut command = Command::new(NOBODY[0]);
                command.args(&NOBODY[1..]).arg(program);
                command
            } else {
                Command::new(program)
            };
            command.args(of_round.keys()).args(["--exact", "--include-ignored", "--test-threads=2"]);
            let said = logged(command.current_dir(folder), &log)?;
            let said = outcome::rust(&said);
            for (name, test) in of_round {
                if said.get(name) != Some(&true) {
                    outcomes.insert(test.clone(), Some(format!("{test} did not pass: {}", log.display())));
                }
            }
        }
    }
    Ok(outcomes)
}

/// Runs it, and returns what it wrote into the log.
fn logged(command: &mut Command, log: &Path) -> Result<String> {
    let file = std::fs::File::create(log).with_context(|| log.display().to_string())?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    command.status().with_context(|| format!("{command:?}"))?;
    Ok(String::from_utf8_lossy(&std::fs::read(log)?).into_owned())
}

#[expect(clippy::print_stdout, reason = "who waits sees how far it is")]
fn suites(tests: BTreeSet<Test>, logs: &Path) -> Result<Outcomes> {
    if tests.is_empty() {
        return Ok(Outcomes::new());
    }
    let is_go = |test: &Test| test.file.ends_with(".go");
    let mut command = Command::new(root().join("scripts/test-sdk"));
    for (language, wanted) in [("python", !tests.iter().all(is_go)), ("go", tests.iter().any(is_go))] {
        if wanted {
            command.arg(language);
        }
    }
    println!("--- {} of the official SDKs' suites", tests.len());
    let log = logs.join("acceptance-sdk.log");
    let said = logged(&mut command, &log)?;
    let (python, go) = (outcome::python(&said), outcome::go(&said));
    let why = |test: &Test| match outcome::of_suite(test, &python, &go) {
        Some(true) => None,
        Some(false) => Some(format!("{test} did not pass: {}", log.display())),
        None => Some(format!("{test} did not run: {}", log.display())),
    };
    Ok(tests.into_iter().map(|test| (test.clone(), why(&test))).collect())
}

/// A line for each statement, and whether all were seen.
fn table(statements: &[&Statement], outcomes: &Outcomes) -> Result<(String, bool)> {
    let (mut lines, mut seen) = (Vec::new(), 0);
    for statement in statements {
        let mut why: Vec<String> = Vec::new();
        for test in statement.tests()? {
            why.extend(outcomes.get(&test).with_context(|| format!("{test} was forgotten"))?.clone());
        }
        why.extend(statement.missing.clone());
        let (id, says) = (&statement.id, &statement.says);
        if why.is_empty() {
            seen += 1;
            lines.push(format!("seen      {id:<10} {says}"));
        } else {
            lines.push(format!(
                "NOT SEEN  {id:<10} {says}\n                     {}",
                why.join("\n                     ")
            ));
        }
    }
    lines.push(format!("{seen} of {} statements were seen", statements.len()));
    Ok((lines.join("\n"), seen == statements.len()))
}
