//! `POST /v1/clicks` as clients see it: over real sockets, into a real embedded log.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod abuse;
mod answers;
mod bodies;
mod client;
mod corpus;
mod edge;
mod gate;
mod openapi;
mod protection;
mod server;
mod twins;
