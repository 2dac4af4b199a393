//! The program as a whole: `causeway serve` as a process, and every group of commands against it.

mod groups;
mod harness;
mod link;
mod network;
mod nodes;
mod operator;
mod process;
mod vpn;
