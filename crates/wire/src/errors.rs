//! Collecting field errors through shared references, bounded.

use std::cell::RefCell;

use causeway_model::Error;
use causeway_model::error::{ArgumentErrors, ArgumentReason};

/// Field errors reported at most. A request of a megabyte can hold hundreds of thousands of wrong values, and whoever sent it is not
/// helped by more.
const MOST: usize = 100;

/// Field errors of one request.
#[derive(Debug, Default)]
pub(crate) struct Errors(RefCell<(usize, ArgumentErrors)>);

impl Errors {
    /// Records one.
    pub(crate) fn push(&self, name: &str, reason: ArgumentReason, help: impl Into<String>) {
        let mut inner = self.0.borrow_mut();
        if inner.0 < MOST {
            inner.0 += 1;
            inner.1.push(excerpt(name), reason, help);
        }
    }

    /// `Ok` if nothing was recorded.
    pub(crate) fn finish(self) -> Result<(), Error> {
        self.0.into_inner().1.finish()
    }
}

/// `a`, `b`, `c` for a help text.
pub(crate) fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The beginning of a value that is quoted back: an error must not be larger than what caused it.
pub(crate) fn excerpt(value: &str) -> String {
    const MOST: usize = 64;
    let mut text: String = value.chars().take(MOST).filter(|character| !character.is_control()).collect();
    if value.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}
