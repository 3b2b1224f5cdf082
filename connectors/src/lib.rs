//! Where clicks come from and where results go.
pub mod objects;
