//! Test programs: which of them cargo builds, and what the tests that a list names are called in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::proof::{Test, target};
use crate::{outcome, root};

/// This package: its tests are built apart from all others, as `scripts/test` does.
const POLICY: &str = "causeway-policy";

/// A test in a program.
#[derive(Clone, Debug)]
pub struct Named {
    /// Whether it is left out unless it is asked for: it needs root.
    pub ignored: bool,
    /// What it stands for.
    pub test: Test,
}

/// What is wanted of one program.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Its package's folder, where it runs.
    pub folder: PathBuf,
    /// By the names that the program has for them.
    pub names: BTreeMap<String, Named>,
}

/// What is wanted, by program.
pub type Plan = BTreeMap<PathBuf, Wanted>;

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

/// Builds test programs with the features that `scripts/test` builds them with: all of them if the list is `whole`, otherwise those that
/// `tests` are in and those that have the same names.
fn build(tests: &[&Test], selection: &[&str], whole: bool) -> Result<Programs> {
    let mut arguments = BTreeSet::new();
    for test in tests.iter().filter(|_| !whole) {
        arguments.extend(match target(&test.file)? {
            // These run an example of their package.
            (_, Some(name)) if name == "two_nodes" => vec![format!("--test={name}"), "--examples".to_owned()],
            (_, Some(name)) => vec![format!("--test={name}")],
            (_, None) => vec!["--lib".to_owned(), "--bins".to_owned()],
        });
    }
    let output = Command::new(env!("CARGO"))
        .args(["test", "--no-run", "--locked", "--message-format=json-render-diagnostics"])
        .args(selection)
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

/// Builds the programs of these Rust tests and finds each test in them.
///
/// # Errors
/// They do not build, or no program has one of the tests.
pub fn plan(tests: &BTreeSet<Test>, whole: bool) -> Result<Plan> {
    let (own, others): (Vec<&Test>, Vec<&Test>) =
        tests.iter().partition(|test| Path::new(&test.file).starts_with("tests/policy"));
    let mut plan = Plan::new();
    for (tests, selection) in [(others, ["--workspace", "--exclude", POLICY].as_slice()), (own, &["--package", POLICY])]
    {
        if tests.is_empty() {
            continue;
        }
        let programs = build(&tests, selection, whole)?;
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
                    let wanted = plan.entry(program.clone()).or_default();
                    wanted.folder = root().join(&folder);
                    let named = Named { ignored: ignored.contains(&name), test: test.clone() };
                    wanted.names.insert(name, named);
                }
            }
            ensure!(found, "no program lists {test}");
        }
    }
    Ok(plan)
}
