//! Pages, checked before they are decoded: Parquet's decoders trust lengths that stand in the data, and panic where those
//! are damaged.

use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;

/// A reader whose pages can be decoded.
pub(super) struct CheckedPages<R> {
    pages: R,
    kind: Type,
    nullable: bool,
    has_dictionary: bool,
}

impl<R: PageReader> CheckedPages<R> {
    pub(super) fn new(pages: R, kind: Type, nullable: bool) -> Self {
        Self { pages, kind, nullable, has_dictionary: false }
    }

    fn check(&mut self, page: &Page) -> Result<(), ParquetError> {
        let fits = match page {
            Page::DictionaryPage { buf, num_values, encoding, .. } => {
                self.has_dictionary = true;
                // Older writers call a dictionary's encoding `PLAIN_DICTIONARY`.
                matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY) && self.plain_fits(buf, *num_values)
            }
            Page::DataPage { buf, num_values, encoding, def_level_encoding, .. } => {
                let values = if self.nullable { behind_levels(buf, *def_level_encoding) } else { Some(buf.as_ref()) };
                values.is_some_and(|values| self.values_fit(values, *num_values, *encoding))
            }
            Page::DataPageV2 {
                buf, num_values, num_nulls, encoding, def_levels_byte_len, rep_levels_byte_len, ..
            } => {
                let levels = (*def_levels_byte_len as usize).checked_add(*rep_levels_byte_len as usize);
                let values = levels.and_then(|levels| buf.get(levels..));
                let count = num_values.checked_sub(*num_nulls);
                values.zip(count).is_some_and(|(values, count)| self.values_fit(values, count, *encoding))
            }
        };
        if fits { Ok(()) } else { Err(ParquetError::General("a page is damaged".to_owned())) }
    }

    fn values_fit(&self, values: &[u8], count: u32, encoding: Encoding) -> bool {
        match encoding {
            Encoding::PLAIN if self.nullable => lengths_fit(self.kind, values),
            Encoding::PLAIN => self.plain_fits(values, count),
            Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => self.has_dictionary,
            Encoding::DELTA_BINARY_PACKED => self.kind == Type::INT64,
            Encoding::DELTA_BYTE_ARRAY | Encoding::DELTA_LENGTH_BYTE_ARRAY => self.kind == Type::BYTE_ARRAY,
            _ => false,
        }
    }

    /// Whether there are so many values.
    fn plain_fits(&self, values: &[u8], count: u32) -> bool {
        match self.kind {
            Type::INT64 => values.len() / 8 >= count as usize,
            Type::INT96 => values.len() / 12 >= count as usize,
            _ => {
                let mut rest = values;
                (0..count).all(|_| skip_text(&mut rest).is_some())
            }
        }
    }
}

/// Of a page with nulls only the levels say how many values there are; then each that is there must be whole.
fn lengths_fit(kind: Type, values: &[u8]) -> bool {
    let mut rest = values;
    while kind == Type::BYTE_ARRAY && !rest.is_empty() {
        if skip_text(&mut rest).is_none() {
            return false;
        }
    }
    true
}

fn skip_text(values: &mut &[u8]) -> Option<()> {
    let (length, rest) = values.split_first_chunk::<4>()?;
    *values = rest.get(u32::from_le_bytes(*length) as usize..)?;
    Some(())
}

/// What comes behind the levels of a page of the first version.
fn behind_levels(page: &[u8], encoding: Encoding) -> Option<&[u8]> {
    let (length, rest) = page.split_first_chunk::<4>().filter(|_| encoding == Encoding::RLE)?;
    rest.get(u32::from_le_bytes(*length) as usize..)
}

impl<R: PageReader> Iterator for CheckedPages<R> {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: PageReader> PageReader for CheckedPages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.pages.get_next_page()?;
        page.iter().try_for_each(|page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.pages.skip_next_page()
    }
}
