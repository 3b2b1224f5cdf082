//! The pages of a column, checked before they are decoded: Parquet's decoders trust lengths that stand in the data, and
//! panic where those are damaged.
//!
//! The crate's own page reader makes a compressor and a decompressor for each column of each file, which cost more than
//! the pages; that is why this one is here.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{CompressionCodec, Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::ChunkReader;

use super::codec::decompress;
use super::deltas::{count_numbers, plain_texts};
use super::file_index::ChunkIndex;
use super::levels::values_of;
use super::page_header::{PageHeader, PageKind};
use super::ranges::Parts;

/// Pages one after the other.
pub(super) struct Pages {
    parts: Arc<Parts>,
    places: Places,
    codec: CompressionCodec,
    kind: Type,
    nullable: bool,
    has_dictionary: bool,
}

/// Where the pages lie.
enum Places {
    /// In the file's index.
    Known { dictionary: Option<Range<u64>>, pages: VecDeque<PageLocation>, rows: usize },
    /// Each behind the one before.
    Following(Range<u64>),
}

impl Pages {
    /// The pages of a column of a row group with so many rows.
    pub(super) fn of(chunk: &ChunkIndex, rows: usize, parts: Arc<Parts>) -> Self {
        let places = match chunk.pages.first() {
            Some(first) => {
                let dictionary = chunk.bytes.start..first.offset as u64;
                let dictionary = Some(dictionary).filter(|range| !range.is_empty());
                Places::Known { dictionary, pages: chunk.pages.iter().cloned().collect(), rows }
            }
            None => Places::Following(chunk.bytes.clone()),
        };
        let descriptor = chunk.chunk.column_descr();
        Self {
            parts,
            places,
            codec: chunk.chunk.compression_codec(),
            kind: descriptor.physical_type(),
            nullable: descriptor.max_def_level() > 0,
            has_dictionary: false,
        }
    }

    /// The next page's bytes, from its header on; for pages whose ends are not known also what follows.
    fn next_bytes(&self) -> Result<Option<Bytes>, ParquetError> {
        let range = match &self.places {
            Places::Known { dictionary: Some(range), .. } => range.clone(),
            Places::Known { pages, .. } => match pages.front() {
                Some(page) => page.offset as u64..page.offset as u64 + page.compressed_page_size as u64,
                None => return Ok(None),
            },
            Places::Following(range) if range.is_empty() => return Ok(None),
            Places::Following(range) => range.clone(),
        };
        self.parts.get_bytes(range.start, (range.end - range.start) as usize).map(Some)
    }

    /// How many rows the next page has by the file's index, if that has data.
    fn rows_of_next(&self) -> Option<usize> {
        let Places::Known { dictionary: None, pages, rows } = &self.places else { return None };
        let end = pages.get(1).map_or(*rows, |next| next.first_row_index as usize);
        Some(end - pages.front()?.first_row_index as usize)
    }

    /// The next page's header and, still compressed, contents.
    fn next_page(&self) -> Result<Option<(PageHeader, Bytes, usize)>, ParquetError> {
        let Some(bytes) = self.next_bytes()? else { return Ok(None) };
        let mut rest = bytes.as_ref();
        let header = PageHeader::read(&mut rest).ok_or_else(damaged)?;
        let start = bytes.len() - rest.len();
        let end = start.checked_add(header.compressed_bytes).filter(|&end| end <= bytes.len()).ok_or_else(damaged)?;
        Ok(Some((header, bytes.slice(start..end), end)))
    }

    /// Goes on behind a page of so many bytes.
    fn pass(&mut self, bytes: usize) {
        match &mut self.places {
            Places::Known { dictionary: dictionary @ Some(_), .. } => *dictionary = None,
            Places::Known { pages, .. } => drop(pages.pop_front()),
            Places::Following(range) => range.start += bytes as u64,
        }
    }

    fn decode(&mut self, header: &PageHeader, body: Bytes) -> Result<Page, ParquetError> {
        let (Some(encoding), num_values) = (header.encoding, header.values) else { return Err(damaged()) };
        let size = header.uncompressed_bytes;
        if header.kind == PageKind::DataV2 {
            return self.decode_v2(header, encoding, &body);
        }
        let buf = decompress(self.codec, body, size)?;
        if header.kind == PageKind::Dictionary {
            // Older writers call a dictionary's encoding `PLAIN_DICTIONARY`.
            let is_plain = matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY);
            if !is_plain || !plain_fits(self.kind, &buf, num_values) {
                return Err(damaged());
            }
            self.has_dictionary = true;
            return Ok(Page::DictionaryPage { buf, num_values, encoding, is_sorted: false });
        }
        let level_encoding = header.level_encoding.unwrap_or(Encoding::RLE);
        let (levels, values) = if self.nullable {
            split_levels(&buf).filter(|_| level_encoding == Encoding::RLE).ok_or_else(damaged)?
        } else {
            (&[][..], buf.as_ref())
        };
        let count = self.value_count(levels, num_values)?;
        let head = buf.len() - values.len();
        let (buf, encoding) = self.checked(buf, head, count, encoding)?;
        Ok(Page::DataPage {
            buf,
            num_values,
            encoding,
            def_level_encoding: level_encoding,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })
    }

    /// Pages of the second version have their levels in front, never compressed.
    fn decode_v2(&self, header: &PageHeader, encoding: Encoding, body: &Bytes) -> Result<Page, ParquetError> {
        let [def_levels_byte_len, rep_levels_byte_len] = header.level_bytes;
        let head = def_levels_byte_len as usize + rep_levels_byte_len as usize;
        let size = header.uncompressed_bytes.checked_sub(head).filter(|_| head <= body.len());
        let size = size.ok_or_else(damaged)?;
        let values = body.slice(head..);
        let codec = if header.is_stored || size == 0 { CompressionCodec::UNCOMPRESSED } else { self.codec };
        let values = decompress(codec, values, size)?;
        let count =
            self.value_count(body.get(rep_levels_byte_len as usize..head).unwrap_or_default(), header.values)?;
        if header.values.checked_sub(header.nulls) != Some(count) {
            return Err(damaged());
        }
        let buf = [body.get(..head).unwrap_or_default(), &values].concat().into();
        let (buf, encoding) = self.checked(buf, head, count, encoding)?;
        Ok(Page::DataPageV2 {
            buf,
            num_values: header.values,
            encoding,
            num_nulls: header.nulls,
            num_rows: header.values,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed: false,
            statistics: None,
        })
    }

    /// How many values a page of so many rows has.
    fn value_count(&self, levels: &[u8], rows: u32) -> Result<u32, ParquetError> {
        if self.nullable { values_of(levels, rows).ok_or_else(damaged) } else { Ok(rows) }
    }

    /// A page whose values the decoders can be trusted with; texts that are written as differences are taken apart here.
    fn checked(
        &self,
        page: Bytes,
        head: usize,
        count: u32,
        encoding: Encoding,
    ) -> Result<(Bytes, Encoding), ParquetError> {
        let (levels, values) = page.split_at_checked(head).ok_or_else(damaged)?;
        let (page, encoding) = match encoding {
            Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY => {
                let values = plain_texts(self.kind, encoding, values, count as usize).ok_or_else(damaged)?;
                (Bytes::from([levels, &values].concat()), Encoding::PLAIN)
            }
            Encoding::DELTA_BINARY_PACKED => match count_numbers(self.kind, values, count as usize) {
                // Asked for more, the decoder counts down from none.
                Some(0) => (page.slice(..head), Encoding::PLAIN),
                Some(_) => (page, encoding),
                None => return Err(damaged()),
            },
            _ => (page, encoding),
        };
        let values = page.get(head..).unwrap_or_default();
        if self.values_fit(values, count, encoding) { Ok((page, encoding)) } else { Err(damaged()) }
    }

    fn values_fit(&self, values: &[u8], count: u32, encoding: Encoding) -> bool {
        match encoding {
            Encoding::PLAIN => plain_fits(self.kind, values, count),
            Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => self.has_dictionary,
            // They were counted before.
            Encoding::DELTA_BINARY_PACKED => true,
            _ => false,
        }
    }
}

fn damaged() -> ParquetError {
    ParquetError::General("a page is damaged".to_owned())
}

/// Whether there are so many values.
fn plain_fits(kind: Type, values: &[u8], count: u32) -> bool {
    let mut texts = PlainTexts(values);
    match kind {
        Type::BOOLEAN => values.len() >= (count as usize).div_ceil(8),
        Type::INT32 | Type::FLOAT => values.len() / 4 >= count as usize,
        Type::INT64 | Type::DOUBLE => values.len() / 8 >= count as usize,
        Type::INT96 => values.len() / 12 >= count as usize,
        _ => (0..count).all(|_| texts.next().is_some()),
    }
}

/// The levels and the values of a page of the first version.
fn split_levels(page: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = page.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Texts with their lengths in front, up to the first that is not whole.
pub(super) struct PlainTexts<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for PlainTexts<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(text)
    }
}

impl Iterator for Pages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        while let Some((header, body, bytes)) = self.next_page()? {
            let rows = self.rows_of_next();
            self.pass(bytes);
            // Else the rows of pages that are not read would be others than the index says.
            if rows.is_some_and(|rows| {
                !matches!(header.kind, PageKind::Data | PageKind::DataV2) || rows != header.values as usize
            }) {
                return Err(damaged());
            }
            if header.kind != PageKind::Other {
                return self.decode(&header, body).map(Some);
            }
        }
        Ok(None)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        if let Places::Known { dictionary, .. } = &self.places {
            let (num_rows, is_dict) = (self.rows_of_next(), dictionary.is_some());
            let known = PageMetadata { num_rows, num_levels: None, is_dict };
            return Ok(Some(known).filter(|_| is_dict || num_rows.is_some()));
        }
        while let Some((header, _, bytes)) = self.next_page()? {
            if header.kind != PageKind::Other {
                let is_dict = header.kind == PageKind::Dictionary;
                let count = Some(header.values as usize).filter(|_| !is_dict);
                return Ok(Some(PageMetadata { num_rows: count, num_levels: count, is_dict }));
            }
            self.pass(bytes);
        }
        Ok(None)
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        let bytes = match &self.places {
            Places::Known { .. } => 0,
            Places::Following(_) => self.next_page()?.map_or(0, |(_, _, bytes)| bytes),
        };
        self.pass(bytes);
        Ok(())
    }
}
