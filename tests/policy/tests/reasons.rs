//! `docs/reasons.md` against the code: the catalogue of reasons, the causes that others name, and the tests that stand for them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use causeway_policy::proof::Test;
use causeway_policy::root;

/// The causes of the survey that are about tunnels, BGP, routes and packets.
const CAUSES: [std::ops::RangeInclusive<u32>; 3] = [1..=17, 27..=42, 52..=76];
/// The rules of the specification's section on traffic.
const RULES: std::ops::RangeInclusive<u32> = 1..=10;
/// Where statuses are decided from facts: a test there shows what is said, not that anything causes it.
const PURE: &str = "model/src/";
/// What is shown there only: of filters between machines the laboratory asks the doctor, and not what the node's state says of them.
const SHOWN_THERE: [&str; 1] = ["unreachable_on_443"];

/// A row of the catalogue.
#[derive(Debug, PartialEq, Eq)]
struct Reason {
    variant: String,
    layer: String,
    turn: String,
    message: String,
    remedy: String,
}

/// The catalogue as it stands in the code.
fn catalogue() -> Result<BTreeMap<String, Reason>> {
    let source = std::fs::read_to_string(root().join("crates/model/src/reason.rs"))?;
    let (_, rest) = source.split_once("\ncatalogue! {\n").context("no catalogue")?;
    let (rows, _) = rest.split_once("\n}\n").context("no end of the catalogue")?;
    let mut reasons = BTreeMap::new();
    for line in rows.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("///")) {
        let parts: Vec<&str> = line.split('"').collect();
        let [variant, code, words, message, ", ", remedy, ";"] = parts.as_slice() else {
            bail!("a row of the catalogue that this test does not understand: {line}");
        };
        let variant = variant.strip_suffix(" = ").context("a variant")?.to_owned();
        let words: Vec<String> =
            words.split(',').map(|word| snake(word.trim())).filter(|word| !word.is_empty()).collect();
        let [layer, turn] = words.as_slice() else { bail!("no layer and turn in: {line}") };
        let (layer, turn) = (layer.clone(), turn.clone());
        let reason = Reason { variant, layer, turn, message: (*message).to_owned(), remedy: (*remedy).to_owned() };
        ensure!(reasons.insert((*code).to_owned(), reason).is_none(), "{code} is there twice");
    }
    Ok(reasons)
}

fn snake(word: &str) -> String {
    let mut text = String::new();
    for letter in word.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// The rows of the table below a heading, cell by cell.
fn table(document: &str, heading: &str) -> Result<Vec<Vec<String>>> {
    let (_, rest) = document.split_once(&format!("\n## {heading}\n")).with_context(|| format!("no {heading}"))?;
    let rows = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    // The head and the line below it are no rows.
    Ok(rows.skip(2).map(cells).collect())
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The text of a test that is named as file below `crates/` and function.
fn test(name: &str) -> Result<String> {
    Test::read(name)?.body()
}

fn document() -> Result<String> {
    Ok(std::fs::read_to_string(root().join("docs/reasons.md"))?)
}

/// Whether a test names a reason by its variant.
fn mentions(body: &str, variant: &str) -> bool {
    ["R::", "ReasonCode::"].into_iter().any(|start| {
        body.split(start).skip(1).any(|rest| {
            let end = rest.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(rest.len());
            rest.get(..end) == Some(variant)
        })
    })
}

/// Notes what is wrong, so that one run tells everything.
fn all_right(broken: Vec<String>) -> Result<()> {
    ensure!(broken.is_empty(), "docs/reasons.md:\n{}", broken.join("\n"));
    Ok(())
}

#[test]
fn every_reason_is_documented_as_the_code_has_it_and_caused_by_tests_that_name_it() -> Result<()> {
    let (reasons, mut broken, mut seen) = (catalogue()?, Vec::new(), BTreeSet::new());
    ensure!(reasons.len() > 50, "the catalogue was not read");
    for row in table(&document()?, "Every reason")? {
        let [code, layer, turn, message, remedy, tests] = row.as_slice() else {
            broken.push(format!("not six cells: {row:?}"));
            continue;
        };
        let code = code.trim_matches('`');
        seen.insert(code.to_owned());
        let Some(reason) = reasons.get(code) else {
            broken.push(format!("{code} is no reason"));
            continue;
        };
        for (shown, known) in
            [(layer, &reason.layer), (turn, &reason.turn), (message, &reason.message), (remedy, &reason.remedy)]
        {
            if shown != known {
                broken.push(format!("{code}: `{shown}` is in the code `{known}`"));
            }
        }
        let names = quoted(tests);
        if names.iter().all(|name| name.starts_with(PURE)) != SHOWN_THERE.contains(&code) {
            broken.push(format!("{code}: no test beyond {PURE} causes it"));
        }
        for name in names {
            match test(name) {
                Ok(body) => {
                    if !mentions(&body, &reason.variant) {
                        broken.push(format!("{code}: {name} does not name it"));
                    }
                }
                Err(error) => broken.push(format!("{code}: {error:#}")),
            }
        }
    }
    broken.extend(reasons.keys().filter(|code| !seen.contains(*code)).map(|code| format!("{code} is missing")));
    all_right(broken)
}

#[test]
fn every_cause_of_the_survey_has_a_reason_or_says_why_it_cannot_happen() -> Result<()> {
    let (reasons, mut broken, mut seen) = (catalogue()?, Vec::new(), Vec::new());
    for row in table(&document()?, "The causes that others name")? {
        let [number, _, here, tests] = row.as_slice() else {
            broken.push(format!("not four cells: {row:?}"));
            continue;
        };
        seen.push(number.parse::<u32>().with_context(|| number.clone())?);
        let mut bodies = Vec::new();
        for name in quoted(tests) {
            match test(name) {
                Ok(body) => bodies.push(body),
                Err(error) => broken.push(format!("{number}: {error:#}")),
            }
        }
        if here.starts_with("not here: ") {
            continue;
        }
        let told: Vec<(&str, &Reason)> =
            quoted(here).into_iter().filter_map(|code| Some((code, reasons.get(code)?))).collect();
        if told.is_empty() {
            broken.push(format!("{number}: neither a reason nor why not"));
        }
        for (code, reason) in told {
            if !bodies.iter().any(|body| mentions(body, &reason.variant)) {
                broken.push(format!("{number}: none of its tests names {code}"));
            }
        }
    }
    let expected: Vec<u32> = CAUSES.into_iter().flatten().collect();
    if seen != expected {
        broken.push(format!("the numbers are {seen:?}"));
    }
    all_right(broken)
}

#[test]
fn every_rule_of_traffic_has_tests() -> Result<()> {
    let (mut broken, mut seen) = (Vec::new(), Vec::new());
    for row in table(&document()?, "The rules of traffic")? {
        let [number, _, tests] = row.as_slice() else {
            broken.push(format!("not three cells: {row:?}"));
            continue;
        };
        seen.push(number.parse::<u32>().with_context(|| number.clone())?);
        let names = quoted(tests);
        if names.is_empty() {
            broken.push(format!("rule {number} has no test"));
        }
        broken
            .extend(names.into_iter().filter_map(|name| test(name).err()).map(|error| format!("{number}: {error:#}")));
    }
    if seen != RULES.collect::<Vec<_>>() {
        broken.push(format!("the numbers are {seen:?}"));
    }
    all_right(broken)
}

/// The cases of a table of rules: number and promise, in their order.
fn promises(file: &str) -> Result<Vec<(u32, String)>> {
    let source = std::fs::read_to_string(root().join(file)).with_context(|| file.to_owned())?;
    let (_, rest) = source.split_once("const CASES: &[Case] = &[").with_context(|| format!("{file} has no cases"))?;
    let (cases, _) = rest.split_once("\n];\n").with_context(|| format!("{file} has no end of the cases"))?;
    let case = |text: &str| -> Result<(u32, String)> {
        let (number, rest) = text.split_once(',').context("a number")?;
        let promise = rest.split('"').nth(1).context("a promise")?;
        Ok((number.trim().parse().with_context(|| number.to_owned())?, promise.to_owned()))
    };
    cases.split("\n    rule(").skip(1).map(case).collect()
}

#[test]
fn every_rule_of_traffic_is_promise_by_promise_a_case_of_the_tables() -> Result<()> {
    let mut cases = promises("crates/node/src/rules.rs")?;
    cases.extend(promises("crates/node/tests/two_nodes/traffic.rs")?);
    let numbers: BTreeSet<u32> = cases.iter().map(|(number, _)| *number).collect();
    ensure!(numbers == RULES.collect(), "there are cases of the rules {numbers:?}");
    let rows: Vec<(u32, String)> = table(&document()?, "The rules of traffic, promise by promise")?
        .into_iter()
        .map(|row| match row.as_slice() {
            [number, promise] => Ok((number.parse()?, promise.clone())),
            _ => bail!("not two cells: {row:?}"),
        })
        .collect::<Result<_>>()?;
    ensure!(rows == cases, "docs/reasons.md has other promises than the tables:\n{rows:#?}\n{cases:#?}");
    Ok(())
}
