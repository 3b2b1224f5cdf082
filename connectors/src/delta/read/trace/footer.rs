//! What a file's footer says, and which rows may match by it.

use std::ops::Range;
use std::sync::Arc;

use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use serde_json::Value;
use weir_checkpoints::Store;

use super::wanted::Wanted;
use crate::delta::live::LiveFile;
use crate::delta::read::file_index::{
    ChunkIndex, END_BYTES, ad_bounds, ad_page_bounds, bloom_filter, broken, start_bounds, start_page_bounds,
};
use crate::delta::read::prune::{Selection, intersect, merge};
use crate::delta::read::ranges::Parts;

/// A file's footer, and its end, where bloom filters lie.
pub(super) struct Footer {
    metadata: ParquetMetaData,
    end: Parts,
    size_bytes: u64,
}

impl Footer {
    pub(super) fn read(store: &Arc<dyn Store>, file: &LiveFile) -> Result<Self, ParquetError> {
        let end = Parts::end(store, &file.name, file.size_bytes, END_BYTES)?;
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        Ok(Self { metadata: reader.parse_and_finish(&end)?, end, size_bytes: file.size_bytes })
    }

    /// How many row groups there are.
    pub(super) fn groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// A row group.
    pub(super) fn group(&self, number: usize) -> Result<Group<'_>, ParquetError> {
        let metadata = self.metadata.row_groups().get(number).ok_or_else(|| broken("no such row group"))?;
        let rows = usize::try_from(metadata.num_rows()).map_err(|_| broken("a row group of no possible size"))?;
        Ok(Group { footer: self, number, metadata, rows })
    }

    /// A value among the footer's own pairs.
    pub(super) fn pair(&self, key: &str) -> Option<&str> {
        let pairs = self.metadata.file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    /// The offsets of the log that the file's rows were read between.
    pub(super) fn offsets(&self) -> Option<Value> {
        serde_json::from_str(self.pair("weir.offsets")?).ok()
    }
}

/// A row group of a file.
pub(super) struct Group<'a> {
    footer: &'a Footer,
    number: usize,
    metadata: &'a RowGroupMetaData,
    pub(super) rows: usize,
}

impl Group<'_> {
    /// Where a column lies; none where the file does not have it.
    pub(super) fn chunk(&self, column: &str) -> Result<Option<ChunkIndex>, ParquetError> {
        let Some(number) = self.position(column) else { return Ok(None) };
        let chunk = self.metadata.column(number);
        if chunk.column_descr().max_rep_level() > 0 || chunk.column_descr().max_def_level() > 1 {
            return Err(broken(&format!("column {column} nested")));
        }
        let pages = self.footer.metadata.page_index_for_row_group(self.number);
        let locations = pages.page_locations(number).cloned().unwrap_or_default();
        ChunkIndex::of(chunk, locations, self.rows, self.footer.size_bytes).map(Some)
    }

    /// The names of its columns, those within others left out.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.metadata.columns().iter().filter_map(|chunk| match chunk.column_path().parts() {
            [name] => Some(name.as_str()),
            _ => None,
        })
    }

    /// The rows that may match: ranges of the row group, ranges of the pages, then the bloom filter.
    pub(super) fn candidates(&self, wanted: &Wanted<'_>) -> Result<Selection, ParquetError> {
        let ads = self.of_ad(wanted)?;
        let times = match wanted.time_column {
            Some(column) if !ads.is_empty() => self.of_time(column, wanted)?,
            _ => every(self.rows),
        };
        let selection = intersect(&ads, &times);
        if selection.is_empty() || self.may_have(wanted.ad_id)? { Ok(selection) } else { Ok(Selection::new()) }
    }

    fn of_ad(&self, wanted: &Wanted<'_>) -> Result<Selection, ParquetError> {
        let Some(number) = self.position("ad_id") else { return Err(broken("no column ad_id")) };
        let chunk = self.metadata.column(number);
        if chunk.column_type() != Type::BYTE_ARRAY {
            return Err(broken("a column ad_id that is no text"));
        }
        let fits = |bounds: &(Box<[u8]>, Box<[u8]>)| wanted.has_ad_within(&bounds.0, Some(&bounds.1));
        if ad_bounds(chunk.statistics()).is_some_and(|bounds| !fits(&bounds)) {
            return Ok(Selection::new());
        }
        let pages = self.footer.metadata.page_index_for_row_group(self.number);
        self.pages("ad_id", &pages.column_index(number).map(ad_page_bounds).unwrap_or_default(), fits)
    }

    fn of_time(&self, column: &str, wanted: &Wanted<'_>) -> Result<Selection, ParquetError> {
        let Some(number) = self.position(column) else { return Ok(every(self.rows)) };
        let chunk = self.metadata.column(number);
        let fits = |bounds: &(i64, i64)| wanted.has_time_within(bounds.0, bounds.1);
        if start_bounds(chunk.statistics(), chunk.column_descr()).is_some_and(|bounds| !fits(&bounds)) {
            return Ok(Selection::new());
        }
        let pages = self.footer.metadata.page_index_for_row_group(self.number);
        let bounds = pages.column_index(number).map(|index| start_page_bounds(index, chunk.column_descr()));
        self.pages(column, &bounds.unwrap_or_default(), fits)
    }

    /// The rows of the pages whose bounds fit; all rows where there are no bounds.
    fn pages<B>(
        &self,
        column: &str,
        bounds: &[Option<B>],
        fits: impl Fn(&B) -> bool,
    ) -> Result<Selection, ParquetError> {
        match self.chunk(column)? {
            Some(chunk) if !bounds.is_empty() && chunk.pages.len() == bounds.len() => {
                let kept = bounds.iter().enumerate().filter(|(_, bounds)| bounds.as_ref().is_none_or(&fits));
                Ok(merge(kept.map(|(page, _)| chunk.page_rows(page, self.rows))))
            }
            _ => Ok(every(self.rows)),
        }
    }

    fn may_have(&self, ad_id: &str) -> Result<bool, ParquetError> {
        let Some(number) = self.position("ad_id") else { return Ok(true) };
        let bloom = bloom_filter(self.metadata.column(number), &self.footer.end)?;
        Ok(bloom.is_none_or(|bloom| bloom.check(ad_id)))
    }

    fn position(&self, column: &str) -> Option<usize> {
        let named = |path: &[String]| matches!(path, [name] if name == column);
        self.metadata.columns().iter().position(|chunk| named(chunk.column_path().parts()))
    }
}

fn every(rows: usize) -> Selection {
    let all: Range<usize> = 0..rows;
    std::iter::once(all).filter(|range| !range.is_empty()).collect()
}
