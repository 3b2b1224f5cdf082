//! The stored form of an ad's windows in one region.
//!
//! ```text
//!   key u128 │ lengths u16 │ name │ region │ windows u32 │ { length in minutes u8 │ start minute u32 │ clicks u64 │ sketch }*
//!                  └ lower 9 bits: of the name, 256 at most; upper 7 bits: of the region, 64 at most, 0 for home
//! ```
//!
//! Little-endian. The sketch has its own form and knows its own end. At home these are the bytes of the time before there
//! were regions.

use crate::sketch::UserSketch;
use crate::time::PANE_MS;
use crate::{AdKey, Window};

use super::Tally;

/// The bits that a name's length takes.
const NAME_BITS: u32 = 9;

/// An ad in a region as it is stored.
pub(super) struct StoredAd {
    pub(super) key: AdKey,
    pub(super) name: String,
    pub(super) region: Option<String>,
    /// Window, start in milliseconds, value.
    pub(super) windows: Vec<(Window, i64, Tally)>,
}

/// Appends an ad with some of its windows; nothing where there are none.
pub(super) fn write_ad<'a>(
    key: AdKey,
    name: &str,
    region: Option<&str>,
    windows: impl Iterator<Item = (Window, i64, &'a Tally)>,
    block: &mut Vec<u8>,
) {
    let mut windows = windows.peekable();
    if windows.peek().is_none() {
        return;
    }
    block.extend_from_slice(&key.0.to_le_bytes());
    let region = region.unwrap_or_default();
    let lengths = name.len() as u16 | (region.len() as u16) << NAME_BITS;
    block.extend_from_slice(&lengths.to_le_bytes());
    block.extend_from_slice(name.as_bytes());
    block.extend_from_slice(region.as_bytes());
    let count_at = block.len();
    block.extend_from_slice(&[0; 4]);
    let mut count = 0_u32;
    for (window, start_ms, tally) in windows {
        block.push(minutes_of(window));
        block.extend_from_slice(&crate::time::minute_of(start_ms).to_le_bytes());
        block.extend_from_slice(&tally.clicks.to_le_bytes());
        tally.users.encode(block);
        count += 1;
    }
    block[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
}

impl StoredAd {
    /// Reads one ad from the front of `block`.
    pub(super) fn read(block: &mut &[u8]) -> Result<Self, String> {
        let key = AdKey(u128::from_le_bytes(take(block)?));
        let lengths = u16::from_le_bytes(take(block)?);
        let name = take_text(block, lengths & ((1 << NAME_BITS) - 1))?;
        let region = Some(take_text(block, lengths >> NAME_BITS)?).filter(|region| !region.is_empty());
        let count = u32::from_le_bytes(take(block)?);
        let windows = (0..count).map(|_| read_window(block)).collect::<Result<_, _>>()?;
        Ok(Self { key, name, region, windows })
    }
}

fn read_window(block: &mut &[u8]) -> Result<(Window, i64, Tally), String> {
    let [minutes] = take(block)?;
    let window = Window::ALL.into_iter().find(|window| minutes_of(*window) == minutes);
    let window = window.ok_or_else(|| format!("a window of {minutes} minutes"))?;
    let start_ms = i64::from(u32::from_le_bytes(take(block)?)) * PANE_MS;
    let clicks = u64::from_le_bytes(take(block)?);
    let users = UserSketch::decode(block).map_err(|error| error.to_string())?;
    Ok((window, start_ms, Tally { clicks, users }))
}

fn minutes_of(window: Window) -> u8 {
    (window.length_ms() / PANE_MS) as u8
}

fn take_text(block: &mut &[u8], length: u16) -> Result<String, String> {
    let (text, rest) = block.split_at_checked(usize::from(length)).ok_or_else(cut_off)?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| "the name of an ad or region is not UTF-8".to_owned())
}

fn take<const N: usize>(block: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, rest) = block.split_first_chunk::<N>().ok_or_else(cut_off)?;
    *block = rest;
    Ok(*head)
}

fn cut_off() -> String {
    "it is cut off".to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn stored(name: &str, region: Option<&str>) -> Vec<u8> {
        let tally = Tally { clicks: 3, users: UserSketch::default() };
        let mut block = Vec::new();
        write_ad(AdKey(7), name, region, [(Window::FiveMinutes, 300_000, &tally)].into_iter(), &mut block);
        block
    }

    #[test]
    fn names_and_regions_of_every_length_come_back() {
        for (name, region) in [(1, 0), (256, 0), (1, 1), (17, 4), (255, 63), (256, 64)] {
            let (name, region) = ("n".repeat(name), Some("r".repeat(region)).filter(|region| !region.is_empty()));
            let block = [stored(&name, region.as_deref()), stored("next", None)].concat();
            let mut unread = block.as_slice();
            for (name, region) in [(name, region), ("next".to_owned(), None)] {
                let ad = StoredAd::read(&mut unread).unwrap();
                assert_eq!((ad.key, ad.name, ad.region), (AdKey(7), name, region));
                assert_eq!(ad.windows.first().unwrap().2.clicks, 3);
            }
            assert!(unread.is_empty());
        }
    }

    #[test]
    fn what_was_stored_before_there_were_regions_is_home() {
        let mut old = 7_u128.to_le_bytes().to_vec();
        old.extend_from_slice(&4_u16.to_le_bytes());
        old.extend_from_slice(b"ad-1\0\0\0\0");
        let ad = StoredAd::read(&mut old.as_slice()).unwrap();
        assert_eq!((ad.key, ad.name.as_str(), ad.region), (AdKey(7), "ad-1", None));
        assert!(stored("ad-1", None).starts_with(&old[..22]));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let block = stored("ad-1", Some("eu-1"));
        for end in 0..block.len() {
            assert!(StoredAd::read(&mut &block[..end]).is_err(), "{end} bytes");
        }
    }
}
