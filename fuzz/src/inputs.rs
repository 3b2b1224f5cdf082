//! How an input that stands for several things is cut up.

/// Takes numbers off the front of an input; zeros when it has no more.
pub(crate) struct Numbers<'a>(pub(crate) &'a [u8]);

impl Numbers<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `limit`, which is at least 1.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let number = [self.byte(), self.byte(), self.byte(), 0];
        u32::from_le_bytes(number) as usize % limit
    }
}
