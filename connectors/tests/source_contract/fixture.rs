//! What the suite asks of a kind of log, to be able to test its source.

use weir_dataflow::SourceFactory;

/// A kind of log.
pub(crate) trait Fixture {
    /// A new, empty log with partitions `0..partitions`.
    fn new_log(&self, partitions: u32) -> Box<dyn Log>;
}

/// One log.
pub(crate) trait Log {
    /// Adds records at a partition's end. They are there for readers when this returns. Payloads are not empty, and
    /// hold no line breaks.
    fn append(&mut self, partition: u32, payloads: &[Vec<u8>]) {
        self.append_from(None, partition, payloads);
    }

    /// The same with records that came in in a region.
    fn append_from(&mut self, region: Option<&str>, partition: u32, payloads: &[Vec<u8>]);

    /// A source that reads on as the log grows.
    fn follow(&self) -> Box<dyn SourceFactory>;

    /// A source that ends where the log ends when it is opened; `None` where the kind has no such thing.
    fn bounded(&self) -> Option<Box<dyn SourceFactory>>;

    /// Takes what was appended first away from a partition's start, and nothing of what was appended last.
    fn cut_start(&mut self, partition: u32);
}
