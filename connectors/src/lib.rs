//! Where clicks come from and where results go: one folder for each outside system.

pub mod dead_letters;
pub mod delta;
pub mod memory;
mod staging;
