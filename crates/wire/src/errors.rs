//! Collecting field errors through shared references, bounded.

use std::cell::RefCell;

use causeway_model::Error;
use causeway_model::error::{ArgumentErrors, ArgumentReason};

/// Field errors reported at most. A request of a megabyte can hold hundreds of thousands of wrong values, and whoever sent it is not
/// helped by more.
const MOST: usize = 100;

/// Field errors of one request.
#[derive(Debug, Default)]
pub(crate) struct Errors(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: usize,
    errors: ArgumentErrors,
    /// What asks for something that is not offered here.
    not_offered: Vec<String>,
}

impl Errors {
    /// Records one.
    pub(crate) fn push(&self, name: &str, reason: ArgumentReason, help: impl Into<String>) {
        let mut inner = self.0.borrow_mut();
        if inner.count < MOST {
            inner.count += 1;
            inner.errors.push(excerpt(name), reason, help);
        }
    }

    /// Records that the field `name` asks for something that production has and this service does not.
    pub(crate) fn not_offered(&self, name: &str) {
        let mut inner = self.0.borrow_mut();
        if inner.not_offered.len() < MOST {
            inner.not_offered.push(excerpt(name));
        }
    }

    /// `Ok` if nothing was recorded. What is not offered comes before what is wrong: no correction would help.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let inner = self.0.into_inner();
        if inner.not_offered.is_empty() {
            return inner.errors.finish();
        }
        let names = words(inner.not_offered.iter().map(String::as_str));
        Err(Error::NotImplemented { help: format!("{names}: not offered; leave it out") })
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
