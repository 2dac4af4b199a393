//! The use cases, run against a real store, with a node that the test plays over the real channel.

mod catalogue_file;
mod clocks;
mod connections;
mod durability;
mod events;
mod gateways;
mod harness;
mod interlink;
mod leases;
mod links;
mod links_clock;
mod links_node;
mod links_nodes;
mod links_place;
mod links_property;
mod nodes;
mod operator;
mod options;
mod rendering;
mod retries;
mod routing;
mod rules;
mod scale;
mod secrets;
mod webhooks;
