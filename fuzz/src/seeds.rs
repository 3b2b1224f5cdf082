//! Where a run starts from: inputs that are understood, written into a folder before the first one is tried.

use std::fs;
use std::path::PathBuf;

/// Names the folder that seeds go to; without it there are none.
const FOLDER: &str = "WEIR_FUZZ_SEEDS";

/// Clicks as `weir generate` writes them, one a line: without and with escapes, in the usual layout and in the odd one.
pub(crate) const CLICKS: &str = include_str!("../seeds/clicks.ndjson");

/// The first lines of [`CLICKS`].
pub(crate) fn clicks(count: usize) -> impl Iterator<Item = &'static str> {
    CLICKS.lines().take(count)
}

/// Writes a target's seeds, if they are wanted.
pub fn write(seeds: &dyn Fn() -> Vec<Vec<u8>>) {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    fs::create_dir_all(&folder).expect("the folder of the seeds can be made");
    for (number, seed) in seeds().into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:03}")), seed).expect("a seed can be written");
    }
}
