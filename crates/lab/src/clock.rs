//! A clock that is set while programs run: libfaketime between a program and the wall clock. What measures durations stays the kernel's.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// What the Debian package installs, below `/usr/lib/ARCHITECTURE`.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The wall clock of the programs that are started with its [`Self::environment`].
#[derive(Debug)]
pub struct SetClock {
    file: PathBuf,
    library: String,
}

impl SetClock {
    /// A clock that is right so far, with its file in `folder`.
    ///
    /// # Errors
    /// libfaketime is not installed, or the file cannot be written.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let below = std::fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path().join(LIBRARY)));
        let library =
            below.into_iter().find(|path| path.exists()).context("the Debian package libfaketime is missing")?;
        let clock = Self { file: folder.join(format!("clock-{name}")), library: library.display().to_string() };
        clock.set(0)?;
        Ok(clock)
    }

    /// What a program that shall have this clock is started with.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        let all = [
            ("LD_PRELOAD", self.library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// Sets it to so many seconds after the right time; running programs see it at once.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, seconds: i64) -> Result<()> {
        // In one piece: who reads it meanwhile sees the old or the new time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n"))?;
        Ok(std::fs::rename(new, &self.file)?)
    }
}
