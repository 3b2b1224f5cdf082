//! Where clicks come from and where results go.
pub mod ndjson;
pub mod objects;
