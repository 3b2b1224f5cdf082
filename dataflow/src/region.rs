//! Where a click came in: a label that its record carries, and the job's own region for all clicks without one.
//!
//! ```text
//!   record's label ─┬─ none, the job's own, or no name ─▶ home        key of the ad
//!                   └─ another name ────────────────────▶ elsewhere   key of the ad ⊕ hash of the name
//! ```
//!
//! - Windows are kept by these keys, so an ad has windows of its own in each region, and a region costs a click one XOR.
//! - At home the key is the ad's alone: state of a job that has never seen another region means what it always meant.
//! - Nothing is remembered of a region but the last one's name. There is no table that could fill up: regions without
//!   end cost what ads without end cost, and expire with their windows.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Part of the checkpoint format, like the seeds of the other keys.
const REGION_SEED: u64 = 0x7765_6972_0004;

/// The longest name, in bytes.
const MAX_BYTES: usize = 64;

/// Whether this can be the name of a region: 1 to 64 letters, digits, `-`, `_`, `.`.
#[must_use]
pub fn is_region_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}

/// What a region changes in the keys of its ads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region(pub(crate) u128);

impl Region {
    /// The job's own region, or none.
    pub(crate) const HOME: Self = Self(0);

    /// A region that is not home.
    pub(crate) fn elsewhere(name: &str) -> Self {
        Self(xxh3_128_with_seed(name.as_bytes(), REGION_SEED))
    }
}

/// Makes regions of labels.
pub(crate) struct Regions {
    home: Option<Box<str>>,
    /// Neighbours in a log mostly came in in one region.
    last: (String, Region),
}

impl Regions {
    pub(crate) fn new(home: Option<&str>) -> Self {
        Self { home: home.map(Into::into), last: (String::new(), Region::HOME) }
    }

    /// The region of a record with this label.
    #[inline]
    pub(crate) fn of(&mut self, label: Option<&str>) -> Region {
        match label {
            None => Region::HOME,
            Some(name) if *name == self.last.0 => self.last.1,
            Some(name) => self.turn_to(name),
        }
    }

    /// The name of that region, if it has one.
    #[inline]
    pub(crate) fn name<'a>(&'a self, region: Region, label: Option<&'a str>) -> Option<&'a str> {
        if region == Region::HOME { self.home.as_deref() } else { label }
    }

    fn turn_to(&mut self, name: &str) -> Region {
        if !is_region_name(name) {
            return Region::HOME;
        }
        let region = if self.home.as_deref() == Some(name) { Region::HOME } else { Region::elsewhere(name) };
        self.last.0.clear();
        self.last.0.push_str(name);
        self.last.1 = region;
        region
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_a_region_or_stand_for_home() {
        let mut regions = [Regions::new(None), Regions::new(Some("eu-1"))];
        let mut check = |label: Option<&str>, expect: [Option<&str>; 2]| {
            let found = regions.each_mut().map(|regions| {
                let region = regions.of(label);
                assert_eq!(regions.of(label), region, "asked twice");
                regions.name(region, label).map(str::to_owned)
            });
            assert_eq!(found.each_ref().map(Option::as_deref), expect, "{label:?}");
        };
        check(None, [None, Some("eu-1")]);
        check(Some(""), [None, Some("eu-1")]);
        check(Some("eu-1"), [Some("eu-1"), Some("eu-1")]);
        check(Some("US_west.2"), [Some("US_west.2"); 2]);
        check(Some("eu 1"), [None, Some("eu-1")]);
        check(Some("ü"), [None, Some("eu-1")]);
        check(None, [None, Some("eu-1")]);
        let longest = "x".repeat(MAX_BYTES);
        check(Some(&longest), [Some(&longest); 2]);
        check(Some(&format!("{longest}x")), [None, Some("eu-1")]);
    }

    #[test]
    fn regions_differ_from_each_other_and_home_is_the_ad_itself() {
        let mut regions = Regions::new(Some("eu-1"));
        let [home, us, asia] = ["eu-1", "us-1", "asia-1"].map(|name| regions.of(Some(name)));
        assert_eq!(home, Region::HOME);
        assert_eq!(regions.of(None), home);
        assert!(us != asia && us != home && asia != home);
        assert_eq!(regions.of(Some("us-1")), us);
    }
}
