//! Two of our endpoints against each other in a simulated network.

mod behaviour;
mod simulation;
mod world;
