//! What a running job shows to the outside: `/metrics` for Prometheus, `/livez` and `/readyz` for whoever restarts it.

mod exposition;
mod server;

pub use exposition::Exposition;
pub use server::MetricsServer;
