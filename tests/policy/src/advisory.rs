//! Advisories of the RustSec database: Markdown files that begin with TOML.

use std::path::Path;

use anyhow::{Context as _, Result};
use semver::{Version, VersionReq};
use serde::Deserialize;

/// One advisory.
#[derive(Clone, Debug, Deserialize)]
pub struct Advisory {
    /// What it is about.
    pub advisory: Head,
    /// Which versions it concerns.
    #[serde(default)]
    pub versions: Versions,
}

/// `[advisory]`.
#[derive(Clone, Debug, Deserialize)]
pub struct Head {
    /// `RUSTSEC-2026-0001`.
    pub id: String,
    /// The package.
    pub package: String,
    /// `unmaintained`, `notice`, `unsound`; `None`: a vulnerability.
    #[serde(default)]
    pub informational: Option<String>,
    /// Withdrawn advisories count for nothing.
    #[serde(default)]
    pub withdrawn: Option<toml::Value>,
}

/// `[versions]`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Versions {
    /// Versions with the repair.
    #[serde(default)]
    pub patched: Vec<VersionReq>,
    /// Versions that never had the fault.
    #[serde(default)]
    pub unaffected: Vec<VersionReq>,
}

impl Advisory {
    /// Parses a file of the database.
    ///
    /// # Errors
    /// It does not begin with a TOML block of the right form.
    pub fn parse(text: &str) -> Result<Self> {
        let (_, rest) = text.split_once("```toml").context("no TOML block")?;
        let (block, _) = rest.split_once("```").context("the TOML block does not end")?;
        toml::from_str(block).context("the TOML block")
    }

    /// Whether `version` has a vulnerability or is unsound. That nobody maintains a package is worth knowing but is no reason to fail.
    #[must_use]
    pub fn concerns(&self, version: &Version) -> bool {
        self.advisory.withdrawn.is_none()
            && !matches!(self.advisory.informational.as_deref(), Some("unmaintained" | "notice"))
            && !self.versions.patched.iter().chain(&self.versions.unaffected).any(|range| range.matches(version))
    }
}

/// The advisories about the package `name` in a checked-out database.
///
/// # Errors
/// A file cannot be read or understood.
pub fn about(database: &Path, name: &str) -> Result<Vec<Advisory>> {
    let folder = database.join("crates").join(name);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            found.push(Advisory::parse(&text).with_context(|| path.display().to_string())?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advisory(extra: &str, versions: &str) -> Advisory {
        let text = format!(
            "```toml\n[advisory]\nid = \"RUSTSEC-2020-0001\"\npackage = \"x\"\ndate = \"2020-01-01\"\n{extra}\n\n[versions]\n{versions}\n```\n\n# Title\n"
        );
        Advisory::parse(&text).expect("an advisory")
    }

    #[test]
    fn versions_are_matched() {
        let version = |text: &str| Version::parse(text).expect("a version");
        let found = advisory("", r#"patched = [">= 1.2.3", "^0.9.5"]"#);
        assert!(found.concerns(&version("1.2.2")));
        assert!(!found.concerns(&version("1.2.3")));
        assert!(!found.concerns(&version("0.9.6")));
        let found = advisory("", "patched = []\nunaffected = [\"< 1.0.0\"]");
        assert!(found.concerns(&version("2.0.0")) && !found.concerns(&version("0.9.0")));
        assert!(!advisory("informational = \"unmaintained\"", "patched = []").concerns(&version("1.0.0")));
        assert!(advisory("informational = \"unsound\"", "patched = []").concerns(&version("1.0.0")));
        assert!(!advisory("withdrawn = \"2021-01-01\"", "patched = []").concerns(&version("1.0.0")));
    }
}
