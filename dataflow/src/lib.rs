//! Clicks through Timely.
mod click;
mod sink;
mod source;

pub use click::*;
pub use sink::*;
pub use source::*;
