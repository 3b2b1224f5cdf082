//! Some rows that were asked for.

use std::collections::HashSet;
use std::sync::Arc;

use parquet::data_type::ByteArray;
use weir_checkpoints::Epoch;
use weir_dataflow::{Window, WindowRow, WindowStats};

/// Some rows, a column each; all columns have as many values, but for sketches that were not asked for.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) ads: Vec<ByteArray>,
    pub(super) starts_ms: Vec<i64>,
    pub(super) clicks: Vec<u64>,
    pub(super) users: Vec<u64>,
    pub(super) regions: Vec<Option<ByteArray>>,
    pub(super) epochs: Vec<u64>,
    pub(super) sketches: Vec<ByteArray>,
}

impl Batch {
    pub(super) fn rows(&self) -> usize {
        self.ads.len()
    }

    pub(super) fn sketch_bytes(&self) -> usize {
        self.sketches.iter().map(ByteArray::len).sum()
    }

    /// Whether ads and regions are texts.
    pub(super) fn is_text(&self) -> bool {
        let texts = self.ads.iter().chain(self.regions.iter().flatten());
        texts.into_iter().all(|text| str::from_utf8(text.data()).is_ok())
    }

    /// Hands out each row.
    pub(super) fn for_each(&self, window: Window, mut take: impl FnMut(WindowRow<'_>)) {
        let columns = self.ads.iter().zip(&self.regions).zip(&self.starts_ms).zip(&self.clicks).zip(&self.users);
        for (row, (((((ad, region), start_ms), clicks), users), epoch)) in columns.zip(&self.epochs).enumerate() {
            take(WindowRow {
                ad_id: text_of(ad),
                region: region.as_ref().map(text_of),
                window,
                start_ms: *start_ms,
                click_count: *clicks,
                unique_users: *users,
                user_sketch: self.sketches.get(row).map_or(&[], ByteArray::data),
                epoch: Epoch(*epoch),
            });
        }
    }
}

/// It was checked by [`Batch::is_text`] before.
fn text_of(bytes: &ByteArray) -> &str {
    str::from_utf8(bytes.data()).unwrap_or_default()
}

/// Makes rows to keep, with one copy of each name.
pub(super) struct Interner {
    names: HashSet<Arc<str>>,
    /// Neighbours mostly have the same.
    last_ad: Arc<str>,
    last_region: Arc<str>,
}

impl Interner {
    /// Knows these ads already.
    pub(super) fn new(ads: &[Arc<str>]) -> Self {
        Self { names: ads.iter().cloned().collect(), last_ad: "".into(), last_region: "".into() }
    }

    pub(super) fn stats(&mut self, row: &WindowRow<'_>) -> WindowStats {
        if *self.last_ad != *row.ad_id {
            self.last_ad = self.name(row.ad_id);
        }
        if let Some(region) = row.region.filter(|region| *self.last_region != **region) {
            self.last_region = self.name(region);
        }
        WindowStats {
            ad_id: self.last_ad.clone(),
            region: row.region.map(|_| self.last_region.clone()),
            window: row.window,
            start_ms: row.start_ms,
            click_count: row.click_count,
            unique_users: row.unique_users,
            user_sketch: row.user_sketch.to_vec(),
            is_final: true,
            epoch: row.epoch.0,
        }
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }
}
