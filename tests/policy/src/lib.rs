//! Rules about the repository itself: which crate may use which, how long a file may be, where dependencies come from and under which
//! licences. The tests of this package apply them; this library has the parts that need tests of their own.

pub mod acceptance;
pub mod advisory;
pub mod judgement;
pub mod licence;
pub mod outcome;
pub mod program;
pub mod proof;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// The repository.
///
/// # Panics
/// Never: this package is two folders below it.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up").to_owned()
}

/// What `cargo metadata` says.
#[derive(Clone, Debug, Deserialize)]
pub struct Metadata {
    /// Every package of the dependency graph.
    pub packages: Vec<Package>,
}

/// A package.
#[derive(Clone, Debug, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: semver::Version,
    /// Where it comes from; `None`: this repository.
    pub source: Option<String>,
    /// SPDX expression.
    pub license: Option<String>,
    /// Declared dependencies.
    pub dependencies: Vec<Dependency>,
}

/// A declared dependency.
#[derive(Clone, Debug, Deserialize)]
pub struct Dependency {
    /// Name of the package.
    pub name: String,
    /// `dev`, `build`, or `None` for a normal one.
    pub kind: Option<String>,
}

/// Asks cargo.
///
/// # Errors
/// Cargo fails or answers something else.
pub fn metadata() -> Result<Metadata> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the answer of cargo metadata")
}

/// Names of all packages that are built for any target, build scripts and tests included. [`metadata`] also lists optional packages that no
/// feature turns on, since the lock file has room for them.
///
/// # Errors
/// Cargo fails.
pub fn built() -> Result<BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--target",
            "all",
            "--edges",
            "all",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--locked",
        ])
        .current_dir(root())
        .output()
        .context("cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("the answer of cargo tree")?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// The part of `deny.toml` that is enforced here.
#[derive(Clone, Debug, Deserialize)]
pub struct Deny {
    /// `[licenses]`.
    pub licenses: Licences,
    /// `[bans]`.
    pub bans: Bans,
    /// `[sources]`.
    pub sources: Sources,
}

/// `[licenses]`.
#[derive(Clone, Debug, Deserialize)]
pub struct Licences {
    /// SPDX identifiers.
    pub allow: Vec<String>,
}

/// `[bans]`.
#[derive(Clone, Debug, Deserialize)]
pub struct Bans {
    /// Packages that must not be there.
    pub deny: Vec<Banned>,
}

/// An entry of `[bans] deny`.
#[derive(Clone, Debug, Deserialize)]
pub struct Banned {
    /// Name of the package.
    pub name: String,
}

/// `[sources]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sources {
    /// Registries.
    pub allow_registry: Vec<String>,
}

/// Reads `deny.toml`.
///
/// # Errors
/// It cannot be read or has another form.
pub fn deny() -> Result<Deny> {
    let text = std::fs::read_to_string(root().join("deny.toml")).context("deny.toml")?;
    toml::from_str(&text).context("deny.toml")
}
