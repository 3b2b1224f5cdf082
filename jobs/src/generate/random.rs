//! Randomness by place: what a slot of the stream holds is a pure function of the seed and the slot's number, so a
//! copy of a click is made by asking for it again, and no slot depends on how others were made.

/// A good 64-bit mixer, a bijection (the finaliser of SplitMix64).
#[inline]
pub(super) const fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number below `limit`, from random bits; 0 where the limit is 0.
#[inline]
pub(super) const fn below(random: u64, limit: u64) -> u64 {
    ((random as u128 * limit as u128) >> 64) as u64
}

/// A number from 0 to 1, from random bits.
#[inline]
pub(super) const fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// Zipf-distributed ranks by the alias method: one look-up a draw, whatever the number of ranks.
pub(super) struct Zipf {
    columns: Vec<Column>,
}

#[derive(Clone, Copy)]
struct Column {
    /// Below this share of 2^32 the column itself is drawn, else its alias.
    threshold: u32,
    alias: u32,
}

impl Zipf {
    /// Ranks `0..count` with weights `1 / (rank + 1)^exponent`.
    pub(super) fn new(count: u32, exponent: f64) -> Self {
        let mut shares: Vec<f64> = (0..count).map(|rank| f64::from(rank + 1).powf(-exponent)).collect();
        let average = shares.iter().sum::<f64>() / f64::from(count);
        shares.iter_mut().for_each(|share| *share /= average);
        let mut columns: Vec<Column> = (0..count).map(|alias| Column { threshold: u32::MAX, alias }).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..count).partition(|rank| shares.get(*rank as usize).is_some_and(|share| *share < 1.0));
        while let (Some(low), Some(high)) = (small.pop(), large.last().copied()) {
            let low_share = share_of(&shares, low);
            if let Some(column) = columns.get_mut(low as usize) {
                *column = Column { threshold: (low_share * f64::from(u32::MAX)) as u32, alias: high };
            }
            let left = share_of(&shares, high) - (1.0 - low_share);
            if let Some(share) = shares.get_mut(high as usize) {
                *share = left;
            }
            if left < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Self { columns }
    }

    /// The rank that these random bits draw.
    #[inline]
    pub(super) fn rank(&self, random: u64) -> u32 {
        let column = ((random >> 32) * self.columns.len() as u64) >> 32;
        match self.columns.get(column as usize) {
            Some(drawn) if (random as u32) > drawn.threshold => drawn.alias,
            _ => column as u32,
        }
    }
}

fn share_of(shares: &[f64], rank: u32) -> f64 {
    shares.get(rank as usize).copied().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn ranks_have_their_weights() {
        let zipf = Zipf::new(1000, 1.05);
        let draws = 1_000_000u64;
        let mut counts = vec![0u64; 1000];
        for draw in 0..draws {
            counts[zipf.rank(mix(draw)) as usize] += 1;
        }
        let total: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-1.05)).sum();
        for rank in [0usize, 1, 9, 99] {
            let expected = draws as f64 * ((rank + 1) as f64).powf(-1.05) / total;
            let found = counts[rank] as f64;
            assert!((found - expected).abs() < 6.0 * expected.sqrt(), "rank {rank}: {found}, expected {expected}");
        }
        assert!(counts.iter().all(|count| *count > 0));
    }
}
