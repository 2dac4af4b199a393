//! What became of the tests that the list of promises names, and so of its statements.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use crate::acceptance::Statement;
use crate::outcome::{self, Said};
use crate::program::Plan;
use crate::proof::Test;

/// What became of a test. Of several runs the worst counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It ran and passed.
    Passed,
    /// It could not run here, and why.
    NotRun(String),
    /// It did not pass, or nothing says that it did.
    Failed(String),
}

/// What became of each test.
pub type Outcomes = BTreeMap<Test, Outcome>;

/// Notes what became of a test, unless worse is known of it.
pub fn note(outcomes: &mut Outcomes, test: &Test, outcome: Outcome) {
    let known = outcomes.entry(test.clone()).or_insert(Outcome::Passed);
    if outcome > *known {
        *known = outcome;
    }
}

/// The logs of one run of `scripts/test`.
#[derive(Debug, Default)]
pub struct Logs {
    /// Of tests that need no root, one for each run of cargo.
    pub rust: Vec<String>,
    /// Of those that need it, if they ran.
    pub root: Option<String>,
    /// Of the official SDKs' suites, if they ran.
    pub suites: Option<String>,
}

/// What the logs say of the tests. A test whose stage ran has failed unless the log of its own program has it as passed.
#[must_use]
pub fn of_logs(plan: &Plan, suites: &BTreeSet<Test>, logs: &Logs) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let read = |log: &String| outcome::sections(log).into_iter().map(|(name, text)| (name, outcome::rust(&text)));
    let plain: BTreeMap<String, Said> = logs.rust.iter().flat_map(read).collect();
    let root: Option<BTreeMap<String, Said>> = logs.root.as_ref().map(|log| read(log).collect());
    for (program, wanted) in plan {
        let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (name, named) in &wanted.names {
            let said = if named.ignored { root.as_ref() } else { Some(&plain) };
            let outcome = match said.map(|said| said.get(&program).and_then(|said| said.get(name))) {
                Some(Some(true)) => Outcome::Passed,
                Some(Some(false)) => Outcome::Failed(format!("{} did not pass", named.test)),
                Some(None) => Outcome::Failed(format!("no log says that {} passed", named.test)),
                None => Outcome::NotRun("needs root".to_owned()),
            };
            note(&mut outcomes, &named.test, outcome);
        }
    }
    let log = logs.suites.as_deref().unwrap_or_default();
    let (python, go) = (outcome::python(log), outcome::go(log));
    for test in suites {
        let language = if test.file.ends_with(".go") { "go" } else { "python" };
        let left_out = log.lines().any(|line| line.starts_with(&format!("SKIPPED the {language} suite")));
        let outcome = match outcome::of_suite(test, &python, &go) {
            _ if logs.suites.is_none() => Outcome::NotRun("the official SDKs' suites did not run".to_owned()),
            Some(true) => Outcome::Passed,
            Some(false) => Outcome::Failed(format!("{test} did not pass")),
            None if left_out => Outcome::NotRun(format!("the {language} suite did not run")),
            None => Outcome::Failed(format!("no log says that {test} passed")),
        };
        note(&mut outcomes, test, outcome);
    }
    outcomes
}

/// What became of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that its row names passed.
    Seen,
    /// Not all of it could run here, for these reasons.
    NotRun(Vec<String>),
    /// No test shows all of it yet.
    Missing(String),
    /// These did not pass.
    Failed(Vec<String>),
}

/// Judges one row.
///
/// # Errors
/// Nothing is known of one of its tests.
pub fn verdict(statement: &Statement, outcomes: &Outcomes) -> Result<Verdict> {
    let (mut not_run, mut failed) = (BTreeSet::new(), Vec::new());
    for test in statement.tests()? {
        match outcomes.get(&test).with_context(|| format!("{test} was forgotten"))? {
            Outcome::Passed => {}
            Outcome::NotRun(why) => _ = not_run.insert(why.clone()),
            Outcome::Failed(why) => failed.push(why.clone()),
        }
    }
    Ok(match &statement.missing {
        _ if !failed.is_empty() => Verdict::Failed(failed),
        Some(missing) => Verdict::Missing(missing.clone()),
        None if !not_run.is_empty() => Verdict::NotRun(not_run.into_iter().collect()),
        None => Verdict::Seen,
    })
}

/// A line for each statement, and whether all were seen.
///
/// # Errors
/// Nothing is known of a test.
pub fn table(statements: &[&Statement], outcomes: &Outcomes) -> Result<(String, bool)> {
    let (mut lines, mut seen, mut otherwise) = (Vec::new(), 0, 0);
    for statement in statements {
        let (id, says) = (&statement.id, &statement.says);
        let mut why = match verdict(statement, outcomes)? {
            Verdict::Seen => Vec::new(),
            Verdict::NotRun(why) | Verdict::Failed(why) => why,
            Verdict::Missing(why) => vec![why],
        };
        let word = if why.is_empty() { "seen" } else { "NOT SEEN" };
        if let Some(way) = statement.otherwise.as_ref().filter(|_| why.is_empty()) {
            otherwise += 1;
            why.push(format!("in another way than the document tells: {way}"));
        }
        seen += usize::from(word == "seen");
        lines.push(format!("{word:<9} {id:<10} {says}"));
        lines.extend(why.iter().map(|why| format!("                     {why}")));
    }
    lines.push(format!(
        "{seen} of {} statements were seen, {otherwise} of them in another way than the document tells",
        statements.len()
    ));
    Ok((lines.join("\n"), seen == statements.len()))
}

/// What one run of `scripts/test` has shown: a line for each outcome, with the ids of its statements, and whether nothing failed.
///
/// # Errors
/// Nothing is known of a test.
pub fn summary(statements: &[&Statement], outcomes: &Outcomes) -> Result<(String, bool)> {
    let (mut seen, mut missing, mut failed) = (0, Vec::new(), Vec::new());
    let mut not_run = BTreeMap::<String, Vec<&str>>::new();
    for statement in statements {
        match verdict(statement, outcomes)? {
            Verdict::Seen => seen += 1,
            Verdict::NotRun(why) => not_run.entry(why.join("; ")).or_default().push(&statement.id),
            Verdict::Missing(_) => missing.push(statement.id.as_str()),
            Verdict::Failed(why) => {
                failed.push(format!("FAILED: {} ({}): {}", statement.id, statement.says, why.join("; ")));
            }
        }
    }
    let mut lines = vec![format!("statements: {seen} of {} seen in this run", statements.len())];
    for (why, ids) in &not_run {
        lines.push(format!("statements: not run here ({why}): {}", ids.join(" ")));
    }
    if !missing.is_empty() {
        lines.push(format!("statements: not shown by any test in full yet: {}", missing.join(" ")));
    }
    let none = failed.is_empty();
    lines.extend(failed);
    Ok((lines.join("\n"), none))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::program::{Named, Wanted};

    const PLAIN: &str = "controller/tests/it/a.rs plain";
    const ROOT: &str = "lab/tests/b.rs rooted";
    const PYTHON: &str = "tests/sdk/python/m.py A.test_a";
    const GO: &str = "tests/sdk/go/a_test.go TestA";

    fn test(text: &str) -> Test {
        Test::read(text).expect("a test")
    }

    /// A plain test `a::plain` of program it-1, and one that needs root, `rooted` of b-2.
    fn plan() -> Plan {
        let wanted = |name: &str, ignored, text| Wanted {
            folder: PathBuf::new(),
            names: [(name.to_owned(), Named { ignored, test: test(text) })].into(),
        };
        let plain = (PathBuf::from("/t/it-1"), wanted("a::plain", false, PLAIN));
        [plain, (PathBuf::from("/t/b-2"), wanted("rooted", true, ROOT))].into()
    }

    fn of(rust: &str, root: Option<&str>, suites: Option<&str>) -> Vec<Outcome> {
        let logs =
            Logs { rust: vec![rust.to_owned()], root: root.map(str::to_owned), suites: suites.map(str::to_owned) };
        let outcomes = of_logs(&plan(), &[test(PYTHON), test(GO)].into(), &logs);
        [PLAIN, ROOT, PYTHON, GO].map(|text| outcomes.get(&test(text)).expect("known").clone()).into()
    }

    const ALL: &str = "     Running tests/it.rs (/x/it-1)\ntest a::plain ... ok\n";
    const AS_ROOT: &str = "     Running tests/b.rs (/x/b-2)\ntest rooted ... ok\n";
    const SUITES: &str = "test_a (m.A.test_a) ... ok\n--- PASS: TestA (0.01s)\n";

    #[test]
    fn only_what_a_log_has_as_passed_has_passed() {
        use Outcome::{Failed, NotRun, Passed};
        assert_eq!(of(ALL, Some(AS_ROOT), Some(SUITES)), [Passed, Passed, Passed, Passed]);
        let left_out = of(ALL, None, None);
        assert!(matches!(left_out.as_slice(), [Passed, NotRun(_), NotRun(_), NotRun(_)]), "{left_out:?}");
        let empty = of("", Some(""), Some(""));
        assert!(empty.iter().all(|outcome| matches!(outcome, Failed(_))), "{empty:?}");
        // Another program's test of the same name, and one that was left out where it should have run, are no proof.
        let others =
            of(&ALL.replace("it-1", "it-2"), Some(&AS_ROOT.replace("ok", "ignored")), Some("SKIPPED the go suite"));
        assert!(matches!(others.as_slice(), [Failed(_), Failed(_), Failed(_), NotRun(_)]), "{others:?}");
        let failed = of(&ALL.replace("ok", "FAILED"), Some(AS_ROOT), Some(&SUITES.replace("PASS", "FAIL")));
        assert!(matches!(failed.as_slice(), [Failed(_), Passed, Passed, Failed(_)]), "{failed:?}");
        // A test that needs root has not passed where another one of the same program ran without it.
        let without = of(&format!("{ALL}{AS_ROOT}"), Some(""), Some(SUITES));
        assert!(matches!(without.get(1), Some(Failed(_))), "{without:?}");
    }

    fn statement(id: &str, proof: &[&str], missing: Option<&str>) -> Statement {
        let text = || "words".to_owned();
        Statement {
            id: id.to_owned(),
            section: text(),
            says: text(),
            cause: text(),
            seen: text(),
            proof: proof.iter().map(|text| (*text).to_owned()).collect(),
            missing: missing.map(str::to_owned),
            limit: None,
            otherwise: None,
        }
    }

    #[test]
    fn a_statement_is_seen_if_all_of_its_tests_passed_and_nothing_is_missing() -> Result<()> {
        let rows = [
            statement("a", &[PLAIN], None),
            statement("b", &[PLAIN, ROOT], None),
            statement("c", &[PLAIN], Some("half")),
            statement("d", &[GO, ROOT], Some("half")),
        ];
        let rows: Vec<&Statement> = rows.iter().collect();
        let mut outcomes = Outcomes::new();
        for (text, outcome) in [
            (PLAIN, Outcome::Passed),
            (ROOT, Outcome::Passed),
            (ROOT, Outcome::NotRun("needs root".to_owned())),
            (ROOT, Outcome::Passed),
            (GO, Outcome::Failed("x".to_owned())),
        ] {
            note(&mut outcomes, &test(text), outcome);
        }
        let (text, fine) = summary(&rows, &outcomes)?;
        assert_eq!(
            (text.lines().collect::<Vec<_>>(), fine),
            (
                vec![
                    "statements: 1 of 4 seen in this run",
                    "statements: not run here (needs root): b",
                    "statements: not shown by any test in full yet: c",
                    "FAILED: d (words): x",
                ],
                false
            )
        );
        assert!(summary(rows.get(..3).context("three")?, &outcomes)?.1, "what cannot run here fails nothing");
        let (text, all) = table(&rows, &outcomes)?;
        assert_eq!(text.matches("NOT SEEN").count(), 3, "{text}");
        assert!(
            !all && text.contains("needs root")
                && text.ends_with("1 of 4 statements were seen, 0 of them in another way than the document tells")
        );
        assert!(table(rows.get(..1).context("one")?, &outcomes)?.1);
        assert!(
            summary(&[&statement("e", &["lab/tests/b.rs other"], None)], &outcomes).is_err(),
            "a test was forgotten"
        );
        Ok(())
    }
}
