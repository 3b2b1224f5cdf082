//! The targets, a reader each.

pub mod cluster;
pub mod day_index;
pub mod decode;
pub mod delta_file;
pub mod delta_log;
pub mod ingest;
pub mod manifest;
pub mod ndjson_log;
pub mod page_header;
pub mod planted;
pub mod proof;
pub mod sketch;
pub mod state_part;
pub mod state_rows;
