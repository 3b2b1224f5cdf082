//! Finds ads in a row group.

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;

use super::columns::{Source, has_selected};
use super::file_index::Column;
use super::pages::{Pages, PlainTexts};
use super::prune::{Selection, merge};

/// Rows in their order, and the ad of each.
#[derive(Default)]
struct Found {
    rows: Vec<usize>,
    ads: Vec<ByteArray>,
}

/// The selected rows with ads that are wanted, and those ads. Where names lie one after the other, as in our own files,
/// only those that are found are taken out.
pub(super) fn find_ads(
    source: Source<'_>,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Result<(Selection, Vec<ByteArray>), ParquetError> {
    let found = match find_plain(source, &is_wanted)? {
        Some(found) => found,
        None => find_decoded(source, &is_wanted)?,
    };
    Ok((merge(found.rows.into_iter().map(|row| row..row + 1)), found.ads))
}

fn find_decoded(source: Source<'_>, is_wanted: impl Fn(&[u8]) -> bool) -> Result<Found, ParquetError> {
    let rows = source.selection.iter().flat_map(Clone::clone);
    let rows = rows.zip(source.whole_texts(Column::Ad)?).filter(|(_, ad)| is_wanted(ad.data()));
    let (rows, ads) = rows.unzip();
    Ok(Found { rows, ads })
}

/// The same without decoding; `None` where the column is stored in another way.
fn find_plain(source: Source<'_>, is_wanted: impl Fn(&[u8]) -> bool) -> Result<Option<Found>, ParquetError> {
    let chunk = source.chunk(Column::Ad)?;
    let has_dictionary = chunk.pages.first().is_none_or(|first| first.offset as u64 != chunk.bytes.start);
    if has_dictionary || chunk.chunk.column_descr().max_def_level() > 0 {
        return Ok(None);
    }
    let mut pages = Pages::of(chunk, source.group.rows, source.parts.clone());
    let mut found = Found::default();
    for number in 0..chunk.pages.len() {
        let rows = chunk.page_rows(number, source.group.rows);
        if !has_selected(source.selection, &rows) {
            pages.skip_next_page()?;
            continue;
        }
        let Some(Page::DataPage { buf, encoding: Encoding::PLAIN, num_values, .. }) = pages.get_next_page()? else {
            return Ok(None);
        };
        if num_values as usize != rows.len() {
            return Err(ParquetError::General("a page has another number of rows than its footer says".to_owned()));
        }
        for (row, ad) in rows.zip(PlainTexts(&buf)) {
            if is_wanted(ad) && has_selected(source.selection, &(row..row + 1)) {
                found.rows.push(row);
                found.ads.push(ByteArray::from(buf.slice_ref(ad)));
            }
        }
    }
    Ok(Some(found))
}
