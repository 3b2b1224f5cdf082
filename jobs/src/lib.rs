//! wip
pub mod config;
pub mod generate;
