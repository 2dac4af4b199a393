//! What runners say of the tests that they ran.

use std::collections::{BTreeMap, BTreeSet};

use crate::proof::Test;

/// What became of tests by their names, where a runner said so: whether they passed.
pub type Said = BTreeMap<String, bool>;

/// The names that a Rust test program lists (`--list --format terse`).
#[must_use]
pub fn listed(output: &str) -> BTreeSet<String> {
    output.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Which of the listed names are a test's: its function in its file's modules, or in a module of those, as a macro may put it.
#[must_use]
pub fn names(listed: &BTreeSet<String>, modules: &[String], function: &str) -> Vec<String> {
    let is_its = |name: &&String| {
        let parts: Vec<&str> = name.split("::").collect();
        let start = parts.iter().zip(modules).all(|(part, module)| part == module);
        start && parts.len() > modules.len() && parts.last() == Some(&function)
    };
    listed.iter().filter(is_its).cloned().collect()
}

/// What a log of `cargo test` has of each test program, by the program's file name, which no two of a build share.
#[must_use]
pub fn sections(log: &str) -> BTreeMap<String, String> {
    let (mut sections, mut current) = (BTreeMap::<String, String>::new(), None::<String>);
    for line in log.lines() {
        let words = line.trim_start();
        if let Some(head) = words.strip_prefix("Running ").and_then(|rest| rest.strip_suffix(')')) {
            current = head.rsplit_once('(').and_then(|(_, path)| path.rsplit('/').next()).map(str::to_owned);
        } else if words.starts_with("Doc-tests ") {
            current = None;
        } else if let Some(name) = &current {
            let section = sections.entry(name.clone()).or_default();
            section.push_str(line);
            section.push('\n');
        }
    }
    sections
}

/// What a Rust test program says. Programs that tests start write in between, so that a line need not begin with the runner's words. A name
/// that has passed and failed, as where a test runs itself elsewhere, has failed.
#[must_use]
pub fn rust(output: &str) -> Said {
    let mut said = Said::new();
    for line in output.lines() {
        let Some((head, outcome)) = line.split_once(" ... ") else { continue };
        let name = head.rsplit_once("test ").map_or(head, |(_, name)| name);
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        match outcome.trim() {
            "ok" => said.entry(name.to_owned()).or_insert(true),
            "FAILED" => said.entry(name.to_owned()).and_modify(|passed| *passed = false).or_insert(false),
            _ => continue,
        };
    }
    said
}

/// What Python's unittest says with `-v`, by `module.Class.method`. The first line of a test's documentation may stand between both.
#[must_use]
pub fn python(output: &str) -> Said {
    let (mut said, mut last) = (Said::new(), None);
    for line in output.lines() {
        let (head, outcome) = line.rsplit_once(" ... ").map_or((line, None), |(head, outcome)| (head, Some(outcome)));
        let name = head.strip_suffix(')').and_then(|head| head.rsplit_once('(')).map(|(_, name)| name);
        let is_name = |name: &&str| name.split('.').count() == 3 && !name.contains(' ');
        if let Some(name) = name.filter(is_name) {
            last = Some(name.to_owned());
        }
        let Some(outcome) = outcome else { continue };
        if let Some(name) = last.take() {
            said.insert(name, outcome.trim() == "ok");
        }
    }
    said
}

/// What `go test -v` says.
#[must_use]
pub fn go(output: &str) -> Said {
    let line = |line: &str| {
        let (outcome, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
        Some((rest.split_whitespace().next()?.to_owned(), outcome == "PASS"))
    };
    output.lines().filter_map(line).collect()
}

/// Whether a test of one of the SDK suites passed; `None`: its runner said nothing of it.
#[must_use]
pub fn of_suite(test: &Test, python: &Said, go: &Said) -> Option<bool> {
    if test.file.ends_with(".go") {
        return go.get(&test.name).copied();
    }
    let module = test.file.rsplit('/').next()?.strip_suffix(".py")?;
    python.get(&format!("{module}.{}", test.name)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pairs: &[(&str, bool)]) -> Said {
        pairs.iter().map(|(name, passed)| ((*name).to_owned(), *passed)).collect()
    }

    #[test]
    fn a_name_is_found_in_its_modules_and_below() {
        let listed = listed("a::b::one: test\na::one: test\nc::one: test\none: test\nbig: benchmark\n");
        let found =
            |modules: &[&str]| names(&listed, &modules.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>(), "one");
        assert_eq!(found(&["a"]), ["a::b::one", "a::one"]);
        assert_eq!(found(&["c"]), ["c::one"]);
        assert_eq!(found(&["a", "b"]), ["a::b::one"]);
        assert_eq!(found(&["d"]), [""; 0]);
        assert_eq!(found(&[]).len(), 4);
    }

    #[test]
    fn what_runners_say_is_understood_and_nothing_else() {
        let output = "running 3 tests\nwords of a child test a::b ... ok\ntest c ... FAILED\ntest d - should panic ... ok\n\
                      test e ... ignored, needs root\nsomething ... else\ntest f ... ok\ntest f ... FAILED\ntest c ... ok\n";
        assert_eq!(rust(output), said(&[("a::b", true), ("c", false), ("d", true), ("f", false)]));
        let output = "test_a (m.A.test_a) ... ok\ntest_b (m.A.test_b)\nWhat it does (really). ... FAIL\n\
                      test_c (m.A.test_c) ... skipped 'no'\ntest_d (m.A.test_d)\n";
        assert_eq!(python(output), said(&[("m.A.test_a", true), ("m.A.test_b", false), ("m.A.test_c", false)]));
        let output =
            "=== RUN   TestA\n--- PASS: TestA (0.01s)\n--- FAIL: TestB (0.00s)\n    --- PASS: TestB/one (0.00s)\nok\n";
        assert_eq!(go(output), said(&[("TestA", true), ("TestB", false), ("TestB/one", true)]));
    }

    #[test]
    fn each_program_has_its_own_lines_of_a_log() {
        let log = "noise\n     Running tests/it.rs (target/debug/deps/it-1)\ntest a ... ok\n     Running tests/it.rs (/t/deps/it-2)\n\
                   test a ... FAILED\n   Doc-tests x\ntest b ... ok\n     Running unittests src/lib.rs (/t/deps/it-1)\ntest c ... ok\n";
        let sections = sections(log);
        let said_of = |name: &str| sections.get(name).map(|text| rust(text));
        assert_eq!(said_of("it-1"), Some(said(&[("a", true), ("c", true)])));
        assert_eq!(said_of("it-2"), Some(said(&[("a", false)])));
        assert_eq!(sections.len(), 2);
    }

    #[test]
    fn a_test_of_a_suite_is_known_by_its_file() -> anyhow::Result<()> {
        let (py, go) = (said(&[("m.A.test_a", true)]), said(&[("TestA", false)]));
        let outcome = |text: &str| Ok::<_, anyhow::Error>(of_suite(&Test::read(text)?, &py, &go));
        assert_eq!(outcome("tests/sdk/python/m.py A.test_a")?, Some(true));
        assert_eq!(outcome("tests/sdk/python/n.py A.test_a")?, None);
        assert_eq!(outcome("tests/sdk/go/a_test.go TestA")?, Some(false));
        Ok(())
    }
}
