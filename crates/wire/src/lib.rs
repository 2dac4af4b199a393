//! The JSON documents of the public APIs, field for field, and their way to and from the words of `causeway-model`.
//!
//! [`document`] has what is answered (keys in wire order, optionals omitted or null as each API does it), [`request`] turns bodies
//! into commands and reports every invalid field at once, [`query`] does the same for query strings, [`error`] renders errors.
//! Nothing here does I/O, looks anything up, or decides whether a request is allowed: a reference is an id of the right form, no more.

pub mod document;
pub mod error;
mod errors;
pub mod query;
pub mod record;
pub mod request;
pub mod schema;
