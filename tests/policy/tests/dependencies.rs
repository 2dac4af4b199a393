//! Licences, sources and bans of `deny.toml`; advisories where the database is at hand.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use causeway_policy::{advisory, built, deny, licence, metadata};

#[test]
fn licences_are_allowed() -> Result<()> {
    let allowed = deny()?.licenses.allow;
    let mut refused = Vec::new();
    for package in metadata()?.packages {
        let expression = package.license.as_deref().unwrap_or("none");
        if !licence::admitted(expression, &allowed).with_context(|| package.name.clone())? {
            refused.push(format!("{} {}: {expression}", package.name, package.version));
        }
    }
    ensure!(refused.is_empty(), "not covered by [licenses] of deny.toml:\n{}", refused.join("\n"));
    Ok(())
}

#[test]
fn sources_are_allowed_and_nothing_banned_is_there() -> Result<()> {
    let deny = deny()?;
    let mut refused = Vec::new();
    for package in metadata()?.packages {
        if let Some(source) = &package.source {
            let registry = source.strip_prefix("registry+").unwrap_or(source);
            if !deny.sources.allow_registry.iter().any(|allowed| allowed == registry) {
                refused.push(format!("{} comes from {source}", package.name));
            }
        }
    }
    let built = built()?;
    ensure!(built.contains("causeway") && built.contains("serde"), "cargo tree names what is built: {built:?}");
    refused.extend(
        deny.bans
            .deny
            .iter()
            .filter(|banned| built.contains(&banned.name))
            .map(|banned| format!("{} is banned", banned.name)),
    );
    ensure!(refused.is_empty(), "against deny.toml:\n{}", refused.join("\n"));
    Ok(())
}

/// `scripts/test` fetches the database and names it in `ADVISORY_DB`; where it can't be reached it says so instead of running this.
#[test]
#[ignore = "needs a copy of the RustSec database in ADVISORY_DB"]
fn no_advisory_concerns_a_dependency() -> Result<()> {
    let database = PathBuf::from(std::env::var("ADVISORY_DB").context("ADVISORY_DB")?);
    ensure!(database.join("crates").is_dir(), "{} is not the database", database.display());
    let mut found = Vec::new();
    for package in metadata()?.packages.iter().filter(|package| package.source.is_some()) {
        for advisory in advisory::about(&database, &package.name)? {
            if advisory.concerns(&package.version) {
                found.push(format!("{} {}: {}", package.name, package.version, advisory.advisory.id));
            }
        }
    }
    ensure!(found.is_empty(), "advisories:\n{}", found.join("\n"));
    Ok(())
}
