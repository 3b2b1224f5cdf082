//! The stored form of an ad's windows.
//!
//! ```text
//!   key u128 │ name length u16 │ name │ windows u32 │ { length in minutes u8 │ start minute u32 │ clicks u64 │ sketch }*
//! ```
//!
//! Little-endian. The sketch has its own form and knows its own end.

use crate::sketch::UserSketch;
use crate::time::PANE_MS;
use crate::{AdKey, Window};

use super::Tally;

/// An ad as it is stored.
pub(super) struct StoredAd {
    pub(super) key: AdKey,
    pub(super) name: String,
    /// Window, start in milliseconds, value.
    pub(super) windows: Vec<(Window, i64, Tally)>,
}

/// Appends an ad with some of its windows; nothing where there are none.
pub(super) fn write_ad<'a>(
    key: AdKey,
    name: &str,
    windows: impl Iterator<Item = (Window, i64, &'a Tally)>,
    block: &mut Vec<u8>,
) {
    let mut windows = windows.peekable();
    if windows.peek().is_none() {
        return;
    }
    block.extend_from_slice(&key.0.to_le_bytes());
    // An ad id has 256 bytes at most.
    block.extend_from_slice(&(name.len() as u16).to_le_bytes());
    block.extend_from_slice(name.as_bytes());
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
        let length = usize::from(u16::from_le_bytes(take(block)?));
        let (name, rest) = block.split_at_checked(length).ok_or_else(cut_off)?;
        *block = rest;
        let name = std::str::from_utf8(name).map_err(|_| "an ad's name is not UTF-8".to_owned())?.to_owned();
        let count = u32::from_le_bytes(take(block)?);
        let windows = (0..count).map(|_| read_window(block)).collect::<Result<_, _>>()?;
        Ok(Self { key, name, windows })
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

fn take<const N: usize>(block: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, rest) = block.split_first_chunk::<N>().ok_or_else(cut_off)?;
    *block = rest;
    Ok(*head)
}

fn cut_off() -> String {
    "it is cut off".to_owned()
}
