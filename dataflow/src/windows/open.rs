//! The clicks in the windows that are open at a manifest, for whoever does not go on with them.

use std::collections::{BTreeMap, HashMap};

use weir_checkpoints::{GroupRange, Manifest, PartError, PartReader, Store};

use crate::Window;
use crate::time::is_closed;

use super::STATE_KIND;
use super::stored::StoredAd;

/// How many clicks are in the open windows of each length. A longer window has the clicks of its closed minutes and of its
/// open ones.
pub fn open_clicks(store: &dyn Store, manifest: &Manifest) -> Result<BTreeMap<Window, u64>, PartError> {
    let mut clicks = HashMap::new();
    for part in manifest.state.iter().filter(|part| part.kind == STATE_KIND) {
        let mut damage = None;
        PartReader::open(store, part)?.read(GroupRange::ALL, |_, mut block| {
            while !block.is_empty() && damage.is_none() {
                match StoredAd::read(&mut block) {
                    // Of several values of one window the newest part's counts.
                    Ok(ad) => clicks.extend(
                        ad.windows
                            .into_iter()
                            .map(|(window, start_ms, tally)| ((ad.key.0, window, start_ms), tally.clicks)),
                    ),
                    Err(what) => damage = Some(what),
                }
            }
        })?;
        if let Some(what) = damage {
            return Err(PartError::Damaged { name: part.name.clone(), what });
        }
    }
    let mut sums: BTreeMap<Window, u64> = Window::ALL.map(|window| (window, 0)).into();
    for ((_, window, start_ms), clicks) in clicks {
        if is_closed(start_ms + window.length_ms(), manifest.closed_until_ms) {
            continue;
        }
        // A pane is not yet in the sums of its longer windows.
        let within = if window == Window::OneMinute { Window::ALL.as_slice() } else { &[window] };
        for window in within {
            *sums.entry(*window).or_default() += clicks;
        }
    }
    Ok(sums)
}
