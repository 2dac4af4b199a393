//! The list of what the product documents promise: `tests/acceptance`, one file for each document, one row for each statement, and the page
//! `docs/documents.md` that is made from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::proof::Test;
use crate::root;

/// The files, in the order in which readers meet the documents.
const FILES: [&str; 5] = ["overview", "vpn-statuses", "provisioning", "link-statuses", "node-states"];

/// A document.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// What it is called.
    pub title: String,
    /// How its rows' ids begin.
    pub prefix: String,
    /// Its statements, in its own order.
    #[serde(rename = "statement")]
    pub statements: Vec<Statement>,
}

/// A promise of a behaviour, a status, a limit, a property, a step or a remedy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The document's prefix and a number.
    pub id: String,
    /// The heading or table's row under which the document has it.
    pub section: String,
    /// What it says, in our words.
    pub says: String,
    /// How it is caused.
    pub cause: String,
    /// What has to be seen.
    pub seen: String,
    /// The tests that cause it and look.
    #[serde(default)]
    pub proof: Vec<String>,
    /// What no test shows yet, and why.
    pub missing: Option<String>,
    /// For a limit of the documents' time: what became of it.
    pub limit: Option<Limit>,
    /// Where the product keeps the promise in another way than the document tells: in which, and why.
    pub otherwise: Option<String>,
}

/// What became of a limit.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// It is gone.
    Lifted,
    /// It stands, with a clear error or answer.
    Kept,
}

impl Statement {
    /// The tests.
    ///
    /// # Errors
    /// A proof is no file and name.
    pub fn tests(&self) -> Result<Vec<Test>> {
        self.proof.iter().map(|text| Test::read(text).with_context(|| self.id.clone())).collect()
    }
}

/// Reads the list.
///
/// # Errors
/// A file cannot be read or has another form.
pub fn read() -> Result<Vec<Document>> {
    let read = |name: &&str| {
        let path = root().join("tests/acceptance").join(name).with_extension("toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    };
    FILES.iter().map(read).collect()
}

/// What is wrong with the list, row by row; nothing, if it is right.
#[must_use]
pub fn faults(documents: &[Document]) -> Vec<String> {
    let (mut faults, mut ids) = (Vec::new(), BTreeSet::new());
    for document in documents {
        for (at, statement) in document.statements.iter().enumerate() {
            let id = &statement.id;
            let mut fault = |text: String| faults.push(format!("{id}: {text}"));
            let expected = format!("{}-{:02}", document.prefix, at + 1);
            if *id != expected || !ids.insert(id) {
                fault(format!("its place says {expected}"));
            }
            let words = [&statement.section, &statement.says, &statement.cause, &statement.seen];
            for text in words.into_iter().chain(&statement.missing).chain(&statement.otherwise) {
                if text.trim().is_empty() || text.contains('|') || text.contains('\n') || text.ends_with('.') {
                    fault(format!("`{text}` is not one line of words without a full stop and without |"));
                }
            }
            if statement.proof.is_empty() && statement.missing.is_none() {
                fault("neither a proof nor what is missing".to_owned());
            }
            match statement.tests() {
                Ok(tests) => {
                    let names: BTreeSet<_> = tests.iter().collect();
                    if names.len() < tests.len() {
                        fault("a proof is there twice".to_owned());
                    }
                    for error in tests.iter().filter_map(|test| test.body().err()) {
                        fault(format!("{error:#}"));
                    }
                }
                Err(error) => fault(format!("{error:#}")),
            }
        }
    }
    faults
}

/// The page for readers.
///
/// # Errors
/// A proof is no file and name.
pub fn page(documents: &[Document]) -> Result<String> {
    let all = || documents.iter().flat_map(|document| &document.statements);
    let open = all().filter(|statement| statement.missing.is_some()).count();
    let otherwise = all().filter(|statement| statement.otherwise.is_some()).count();
    let mut page = format!(
        "# What the product documents promise, and what shows it\n\n\
         Made from `tests/acceptance` by `UPDATE_DOCUMENTS=1 cargo test -p causeway-policy --test acceptance`; do not edit.\n\n\
         One row for each statement of the five documents that users were given, in their order and in our words. `sudo make acceptance` causes\n\
         each of them and says what was seen; `sudo make acceptance ONLY=vpn-01` does so for one row, `ONLY=vpn` for a document. Tests are\n\
         named by their file, below `crates/` if it does not begin with `tests/`.\n\n\
         {} statements, of which {} have a proof and {open} are not shown in full yet (**not yet**, with what is missing). {otherwise} are kept\n\
         in another way than the document tells (**otherwise**, with how and why).\n",
        all().count(),
        all().count() - open,
    );
    for document in documents {
        write!(page, "\n## {}\n", document.title)?;
        let mut section = None;
        for statement in &document.statements {
            if section != Some(&statement.section) {
                section = Some(&statement.section);
                write!(
                    page,
                    "\n### {}\n\n| row | what is said | how it is caused | what is seen | shown by |\n|---|---|---|---|---|\n",
                    statement.section
                )?;
            }
            let limit = match statement.limit {
                Some(Limit::Lifted) => " (a limit, **lifted**)",
                Some(Limit::Kept) => " (a limit, **kept**)",
                None => "",
            };
            let mut shown: Vec<String> = statement.tests()?.iter().map(|test| format!("`{test}`")).collect();
            shown.extend(statement.missing.iter().map(|missing| format!("**not yet**: {missing}")));
            shown.extend(statement.otherwise.iter().map(|otherwise| format!("**otherwise**: {otherwise}")));
            let (id, says, cause, seen) = (&statement.id, &statement.says, &statement.cause, &statement.seen);
            writeln!(page, "| {id} | {says}{limit} | {cause} | {seen} | {} |", shown.join("<br>"))?;
        }
    }
    ensure!(open < all().count(), "the list proves nothing");
    Ok(page)
}
