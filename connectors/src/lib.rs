//! Connectors.
pub mod kafka;
