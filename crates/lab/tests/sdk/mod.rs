//! The official Python SDK beside a laboratory's service.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use causeway_lab::{Running, Scene, eventually};

const PATIENCE: Duration = Duration::from_secs(180);

/// The Python with the SDK in it, made once for all tests.
fn python() -> Result<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let make = || -> Result<PathBuf> {
        let place = match std::env::var_os("SDK_VENV") {
            Some(place) => PathBuf::from(place),
            None => std::env::current_exe()?.ancestors().nth(3).context("a target directory")?.join("sdk-venv"),
        };
        let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sdk/python/run");
        let output = Command::new(suite).arg("fetch").env("SDK_VENV", &place).output()?;
        ensure!(output.status.success(), "tests/sdk/python/run fetch: {}", String::from_utf8_lossy(&output.stderr));
        Ok(place.join("bin/python"))
    };
    let made = MADE.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_deref().map_err(|error| anyhow!(error.clone()))
}

/// Follows one object's status.
pub(crate) struct Sdk {
    process: Running,
    log: PathBuf,
}

impl Sdk {
    pub(crate) fn follow(scene: &Scene, kind: &str, wanted: &str) -> Result<Self> {
        let log = scene.lab.folder().join(format!("sdk-{kind}-{wanted}.log"));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sdk/python/status.py");
        let arguments = format!("-B {script} {kind} {wanted}");
        let process = scene.lab.service.start_client(&python()?.display().to_string(), &arguments, &log)?;
        Ok(Self { process, log })
    }

    /// Waits until the SDK has read `wanted`, after everything that it has read before.
    pub(crate) async fn reads(&self, wanted: &str) -> Result<()> {
        eventually(&format!("the SDK reads {wanted}"), PATIENCE, || async {
            let seen = std::fs::read_to_string(&self.log)?;
            ensure!(seen.lines().last() == Some(wanted), "{seen}");
            Ok(())
        })
        .await
    }

    pub(crate) async fn stop(self) {
        self.process.kill().await;
    }
}
