//! The list of what the product documents promise: each row is whole, each test that it names is there, and the page is made from it.

use anyhow::{Result, ensure};
use causeway_policy::{acceptance, root};

#[test]
fn every_statement_has_a_proof_that_exists_or_says_what_is_missing() -> Result<()> {
    let documents = acceptance::read()?;
    let statements: usize = documents.iter().map(|document| document.statements.len()).sum();
    ensure!(statements > 200, "the list has {statements} statements only");
    let faults = acceptance::faults(&documents);
    ensure!(faults.is_empty(), "tests/acceptance:\n{}", faults.join("\n"));
    Ok(())
}

#[test]
fn the_page_is_the_lists() -> Result<()> {
    let page = acceptance::page(&acceptance::read()?)?;
    let path = root().join("docs/documents.md");
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        std::fs::write(&path, &page)?;
    }
    let committed = std::fs::read_to_string(&path)?;
    ensure!(committed == page, "docs/documents.md is not what the list makes; run this test with UPDATE_DOCUMENTS=1");
    Ok(())
}
