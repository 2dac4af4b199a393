//! Why something could not be set up: the item and the error, which is what a refusal carries.

use std::fmt;

use causeway_model::observed::Refusal;

/// A failed step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{item}: {error}")]
pub struct SetupError {
    /// What was being set up.
    pub item: String,
    /// What went wrong, with its causes.
    pub error: String,
}

impl SetupError {
    /// For `map_err`: turns any error into one about `item`.
    pub(crate) fn at<E: std::error::Error>(item: &str) -> impl FnOnce(E) -> Self + use<E> {
        let item = item.to_owned();
        move |error| Self { item, error: Chain(&error).to_string() }
    }

    /// The refusal of `revision`.
    pub(crate) fn refusal(&self, revision: u64) -> Refusal {
        Refusal { revision, item: self.item.clone(), error: self.error.clone() }
    }
}

/// Prints an error and its sources.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
