//! Two of our endpoints against each other in a simulated network.

mod behaviour;
mod fragmentation;
mod reasons;
mod reauthentication;
mod simulation;
mod world;
