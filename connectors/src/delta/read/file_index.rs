//! What a file's footer says, checked, and no more of it than questions need: this is what is cached.

use std::ops::Range;
use std::sync::Arc;

use parquet::basic::Type;
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::page_index::RowGroupPageIndex;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;
use weir_checkpoints::Store;

use super::data_file::DataFile;
use super::error::ReadError;
use super::ranges::Parts;
use super::time_unit::unit_of;

/// Footer, page index and bloom filter mostly lie within this end of a file, so that one read brings them all.
pub(super) const END_BYTES: u64 = 64 << 10;

/// What a column's description takes beside its place in an index, about.
const DESCRIPTION_BYTES: usize = 400;

/// The columns that answers are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Ad,
    Start,
    Clicks,
    Users,
    Region,
    Epoch,
    Sketch,
}

impl Column {
    pub(super) const ALL: [Self; 7] =
        [Self::Ad, Self::Start, Self::Clicks, Self::Users, Self::Region, Self::Epoch, Self::Sketch];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ad => "ad_id",
            Self::Start => "window_start",
            Self::Clicks => "click_count",
            Self::Users => "unique_users",
            Self::Region => "region",
            Self::Epoch => "epoch",
            Self::Sketch => "user_sketch",
        }
    }

    fn fits(self, descriptor: &ColumnDescriptor) -> bool {
        let kind = match (self, descriptor.physical_type()) {
            (Self::Ad | Self::Region | Self::Sketch, kind) => kind == Type::BYTE_ARRAY,
            (Self::Start, Type::INT96) => true,
            (Self::Start, Type::INT64) => unit_of(descriptor).is_some(),
            (Self::Start | Self::Clicks | Self::Users | Self::Epoch, kind) => kind == Type::INT64,
        };
        kind && descriptor.max_rep_level() == 0 && descriptor.max_def_level() <= 1
    }
}

/// A file's footer.
pub(super) struct FileIndex {
    pub(super) groups: Vec<GroupIndex>,
}

/// What the footer says of a row group.
pub(super) struct GroupIndex {
    pub(super) rows: usize,
    chunks: [Option<ChunkIndex>; Column::ALL.len()],
    /// Bounds of the ads, shortened perhaps.
    pub(super) ads: Option<AdBounds>,
    pub(super) starts_ms: Option<(i64, i64)>,
    /// The same for each page, or empty.
    pub(super) ad_pages: Vec<Option<AdBounds>>,
    pub(super) start_pages_ms: Vec<Option<(i64, i64)>>,
    pub(super) bloom: Option<Sbbf>,
}

pub(super) type AdBounds = (Box<[u8]>, Box<[u8]>);

/// Where a column of a row group lies.
pub(super) struct ChunkIndex {
    pub(super) chunk: ColumnChunkMetaData,
    pub(super) bytes: Range<u64>,
    /// Empty where the file does not say.
    pub(super) pages: Vec<PageLocation>,
}

impl FileIndex {
    /// Reads and checks a footer.
    pub(super) fn read(store: &Arc<dyn Store>, file: &Arc<DataFile>) -> Result<Self, ReadError> {
        Self::try_read(store, file).map_err(|error| ReadError::of_file(&file.name, error))
    }

    fn try_read(store: &Arc<dyn Store>, file: &Arc<DataFile>) -> Result<Self, ParquetError> {
        let end = Parts::end(store, &file.name, file.size_bytes, END_BYTES)?;
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = reader.parse_and_finish(&end)?;
        let groups = metadata.row_groups().iter().enumerate();
        let groups = groups.map(|(number, group)| {
            GroupIndex::of(group, &metadata.page_index_for_row_group(number), file.size_bytes, &end)
        });
        Ok(Self { groups: groups.collect::<Result<_, ParquetError>>()? })
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.groups.iter().map(GroupIndex::bytes).sum::<usize>()
    }
}

impl GroupIndex {
    fn of(
        group: &RowGroupMetaData,
        pages: &RowGroupPageIndex,
        size_bytes: u64,
        end: &Parts,
    ) -> Result<Self, ParquetError> {
        let rows = usize::try_from(group.num_rows()).map_err(|_| broken("a row group of no possible size"))?;
        let mut index = Self {
            rows,
            chunks: Default::default(),
            ads: None,
            starts_ms: None,
            ad_pages: Vec::new(),
            start_pages_ms: Vec::new(),
            bloom: None,
        };
        for column in Column::ALL {
            let named =
                |chunk: &ColumnChunkMetaData| matches!(chunk.column_path().parts(), [name] if name == column.name());
            let Some(number) = group.columns().iter().position(named) else { continue };
            let chunk = group.column(number);
            if !column.fits(chunk.column_descr()) {
                return Err(broken(&format!("column {} has another type", column.name())));
            }
            let locations = pages.page_locations(number).cloned().unwrap_or_default();
            let chunk_index = ChunkIndex::of(chunk, locations, rows, size_bytes)?;
            let bounds =
                pages.column_index(number).filter(|bounds| bounds.num_pages() == chunk_index.pages.len() as u64);
            match column {
                Column::Ad => {
                    index.ads = ad_bounds(chunk.statistics());
                    index.ad_pages = bounds.map(ad_page_bounds).unwrap_or_default();
                    index.bloom = bloom_filter(chunk, end)?;
                }
                Column::Start => {
                    let descriptor = chunk.column_descr();
                    index.starts_ms = start_bounds(chunk.statistics(), descriptor);
                    index.start_pages_ms =
                        bounds.map(|bounds| start_page_bounds(bounds, descriptor)).unwrap_or_default();
                }
                _ => {}
            }
            if let Some(slot) = index.chunks.get_mut(column as usize) {
                *slot = Some(chunk_index);
            }
        }
        Ok(index)
    }

    /// A column; files that were written before it existed do not have it.
    pub(super) fn chunk(&self, column: Column) -> Option<&ChunkIndex> {
        self.chunks.get(column as usize)?.as_ref()
    }

    fn bytes(&self) -> usize {
        let chunks = self.chunks.iter().flatten();
        let chunks = chunks.map(|chunk| DESCRIPTION_BYTES + chunk.pages.len() * size_of::<PageLocation>());
        let ads = self.ads.iter().chain(self.ad_pages.iter().flatten());
        size_of::<Self>()
            + chunks.sum::<usize>()
            + ads.map(|(min, max)| min.len() + max.len() + size_of::<AdBounds>()).sum::<usize>()
            + self.start_pages_ms.len() * size_of::<Option<(i64, i64)>>()
            + self.bloom.as_ref().map_or(0, |bloom| bloom.num_blocks() * 32)
    }
}

impl ChunkIndex {
    pub(super) fn of(
        chunk: &ColumnChunkMetaData,
        pages: Vec<PageLocation>,
        rows: usize,
        size_bytes: u64,
    ) -> Result<Self, ParquetError> {
        let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
        let bytes = u64::try_from(start).ok().zip(u64::try_from(chunk.compressed_size()).ok());
        let bytes = bytes.and_then(|(start, length)| Some(start..start.checked_add(length)?));
        let bytes = bytes.filter(|bytes| bytes.end <= size_bytes).ok_or_else(|| broken("a column outside the file"))?;
        if usize::try_from(chunk.num_values()) != Ok(rows) {
            return Err(broken("a column with another number of rows than its row group"));
        }
        check_pages(&pages, rows, &bytes)?;
        let chunk = chunk.clone().into_builder().clear_statistics().build()?;
        Ok(Self { chunk, bytes, pages })
    }

    /// The rows of a page.
    pub(super) fn page_rows(&self, page: usize, rows: usize) -> Range<usize> {
        let first = |page: usize| self.pages.get(page).map_or(rows, |page| page.first_row_index as usize);
        first(page)..first(page + 1)
    }
}

/// Pages must follow one another, in rows and in the file, within the column.
fn check_pages(pages: &[PageLocation], rows: usize, bytes: &Range<u64>) -> Result<(), ParquetError> {
    let Some(first) = pages.first() else { return Ok(()) };
    let (mut row, mut end) = (-1, bytes.start as i64);
    for page in pages {
        let fits = page.first_row_index > row && page.offset >= end && page.compressed_page_size > 0;
        row = page.first_row_index;
        end = page.offset.checked_add(i64::from(page.compressed_page_size)).unwrap_or(i64::MAX);
        if !fits || end > bytes.end as i64 {
            return Err(broken("pages that do not fit into their column"));
        }
    }
    let dictionary_fits = i32::try_from(first.offset - bytes.start as i64).is_ok();
    if first.first_row_index == 0 && row < rows as i64 && dictionary_fits {
        return Ok(());
    }
    Err(broken("pages that do not fit into their row group"))
}

pub(super) fn broken(what: &str) -> ParquetError {
    ParquetError::General(format!("its footer has {what}"))
}

pub(super) fn bloom_filter(chunk: &ColumnChunkMetaData, end: &Parts) -> Result<Option<Sbbf>, ParquetError> {
    if chunk.bloom_filter_length().is_some_and(|length| length <= 0) {
        return Err(broken("a bloom filter of no possible size"));
    }
    let bloom = Sbbf::read_from_column_chunk(chunk, end)?;
    match bloom {
        Some(bloom) if bloom.num_blocks() == 0 => Err(broken("an empty bloom filter")),
        bloom => Ok(bloom),
    }
}

/// Bounds in the format's first form do not say in which order.
pub(super) fn ad_bounds(statistics: Option<&Statistics>) -> Option<AdBounds> {
    let statistics = statistics.filter(|statistics| !statistics.is_min_max_deprecated())?;
    Some((statistics.min_bytes_opt()?.into(), statistics.max_bytes_opt()?.into()))
}

pub(super) fn ad_page_bounds(bounds: &ColumnIndexMetaData) -> Vec<Option<AdBounds>> {
    let ColumnIndexMetaData::BYTE_ARRAY(bounds) = bounds else { return Vec::new() };
    let pages = bounds.min_values_iter().zip(bounds.max_values_iter());
    pages.map(|(min, max)| Some((min?.into(), max?.into()))).collect()
}

pub(super) fn start_bounds(statistics: Option<&Statistics>, descriptor: &ColumnDescriptor) -> Option<(i64, i64)> {
    let Statistics::Int64(values) = statistics? else { return None };
    let unit = unit_of(descriptor)?;
    Some((unit.to_ms(*values.min_opt()?), unit.to_ms(*values.max_opt()?)))
}

pub(super) fn start_page_bounds(
    bounds: &ColumnIndexMetaData,
    descriptor: &ColumnDescriptor,
) -> Vec<Option<(i64, i64)>> {
    let (ColumnIndexMetaData::INT64(bounds), Some(unit)) = (bounds, unit_of(descriptor)) else { return Vec::new() };
    let pages = bounds.min_values_iter().zip(bounds.max_values_iter());
    pages.map(|(min, max)| Some((unit.to_ms(*min?), unit.to_ms(*max?)))).collect()
}
