//! The HTTP face over a real controller and a real store, request by request.

mod around;
mod audit;
mod connections;
mod contend;
mod conventions;
mod explanation;
mod extension;
mod interlink;
mod metrics;
mod offer;
mod openapi;
mod operator;
mod overload;
mod routing;
mod service;
mod slice;
mod streams;
mod support;
mod tls;
