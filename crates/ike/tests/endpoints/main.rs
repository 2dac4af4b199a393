//! Two of our endpoints against each other in a simulated network.

mod behaviour;
mod reauthentication;
mod simulation;
mod world;
