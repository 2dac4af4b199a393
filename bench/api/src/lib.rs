//! A load for the API: how fast it answers, and whether what many clients leave behind is consistent. It knows the product only from
//! outside: it starts `causeway serve` and speaks HTTP.

pub mod check;
pub mod client;
pub mod contend;
pub mod measure;
pub mod service;
pub mod world;
