//! Where clicks come from and where results go.
pub mod kafka;
pub mod objects;
