//! Peers that break the rules of the channel, over real sockets and real TLS: frames that are repeated, reordered, unknown, too long, from the
//! future or about somebody else, and connections that break off at any octet. Whoever does it is named in the log and loses the session, and
//! nobody else notices.

mod cuts;
mod harness;
mod nodes;
mod rules;
mod twins;
