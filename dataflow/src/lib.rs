//! Clicks through Timely.
mod click;
mod sink;
mod sketch;
mod source;

pub use click::*;
pub use sink::*;
pub use sketch::{Coupon, SketchError, UserSketch};
pub use source::*;
