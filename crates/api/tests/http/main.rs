//! The HTTP face over a real controller and a real store, request by request.

mod connections;
mod conventions;
mod openapi;
mod sdk;
mod service;
mod slice;
mod tls;
