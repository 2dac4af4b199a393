//! What a person sees: numbered steps with what was expected, what was seen and how long it took.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Prints to standard output. A closed output is no reason to leave a lab half built, so errors are ignored.
#[derive(Debug)]
pub struct Console {
    step: AtomicU32,
    started: Instant,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// Starts counting steps and time.
    #[must_use]
    pub fn new() -> Self {
        Self { step: AtomicU32::new(0), started: Instant::now() }
    }

    /// One line, or several.
    pub fn line(&self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Several lines, set in below a step.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            self.line(&format!("       | {line}"));
        }
    }

    /// Runs one step: prints what is done and expected, then what was seen and how long it took.
    ///
    /// # Errors
    /// The step's own, with the expectation around it.
    pub async fn step<T>(
        &self,
        title: &str,
        expected: &str,
        action: impl Future<Output = Result<(String, T)>>,
    ) -> Result<T> {
        let number = self.step.fetch_add(1, Ordering::Relaxed) + 1;
        self.line(&format!("\n[{number:>2}] {title}\n     expected: {expected}"));
        let begun = Instant::now();
        let (seen, value) = action
            .await
            .with_context(|| format!("step {number} ({title}): expected {expected}, which was not seen"))?;
        self.line(&format!("     seen:     {seen}  [{}]", seconds(begun.elapsed())));
        Ok(value)
    }

    /// The end of a run that failed.
    pub fn failure(&self, error: &anyhow::Error) {
        self.line(&format!("\nFAILED after {}: {error:#}\n", seconds(self.started.elapsed())));
    }

    /// The end of a run in which everything was seen.
    pub fn success(&self) {
        let steps = self.step.load(Ordering::Relaxed);
        self.line(&format!("\nAll {steps} steps seen in {}.", seconds(self.started.elapsed())));
    }
}

/// `1.234 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
