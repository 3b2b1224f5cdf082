//! Clicks through Timely.
mod click;
mod decode;
mod sink;
mod source;

pub use click::*;
pub use decode::{Decoder, RejectReason, Rejection, extra_fields};
pub use sink::*;
pub use source::*;
