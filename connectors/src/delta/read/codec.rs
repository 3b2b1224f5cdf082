//! What pages are compressed with.

use std::cell::RefCell;

use bytes::Bytes;
use parquet::basic::CompressionCodec;
use parquet::errors::ParquetError;

thread_local! {
    /// To make one costs more than to decompress a page.
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A page's bytes, of which there must be `size`.
pub(super) fn decompress(codec: CompressionCodec, page: Bytes, size: usize) -> Result<Bytes, ParquetError> {
    let decompressed = match codec {
        CompressionCodec::UNCOMPRESSED => page,
        CompressionCodec::ZSTD => Bytes::from(zstd(&page, size)?),
        CompressionCodec::SNAPPY => Bytes::from(snap::raw::Decoder::new().decompress_vec(&page).map_err(broken)?),
        other => return Err(ParquetError::NYI(format!("its pages are compressed with {other}, which is not read"))),
    };
    if decompressed.len() == size { Ok(decompressed) } else { Err(broken("it has another length than it says")) }
}

fn zstd(page: &[u8], size: usize) -> Result<Vec<u8>, ParquetError> {
    // What the frame itself says is known before anything is allocated.
    let stated = zstd::zstd_safe::get_frame_content_size(page).ok().flatten();
    if stated.is_some_and(|stated| stated != size as u64) {
        return Err(broken("it has another length than it says"));
    }
    ZSTD.with_borrow_mut(|decompressor| {
        let decompressor = match decompressor {
            Some(known) => known,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(broken)?),
        };
        decompressor.decompress(page, size).map_err(broken)
    })
}

fn broken(reason: impl std::fmt::Display) -> ParquetError {
    ParquetError::General(format!("a page cannot be decompressed: {reason}"))
}
