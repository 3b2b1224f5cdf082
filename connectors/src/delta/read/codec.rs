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
        CompressionCodec::SNAPPY => Bytes::from(snappy(&page, size)?),
        other => return Err(ParquetError::NYI(format!("its pages are compressed with {other}, which is not read"))),
    };
    if decompressed.len() == size { Ok(decompressed) } else { Err(broken("it has another length than it says")) }
}

fn snappy(page: &[u8], size: usize) -> Result<Vec<u8>, ParquetError> {
    // What the page itself says is known before anything is allocated.
    if snap::raw::decompress_len(page).map_err(broken)? != size {
        return Err(broken("it has another length than it says"));
    }
    snap::raw::Decoder::new().decompress_vec(page).map_err(broken)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_claims_another_length_is_broken() {
        let text = b"twenty bytes of text".repeat(9);
        let compressed = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        let page =
            |bytes: &[u8], size: usize| decompress(CompressionCodec::SNAPPY, Bytes::copy_from_slice(bytes), size);
        assert_eq!(page(&compressed, text.len()).unwrap(), text);
        assert!(page(&compressed, text.len() + 1).is_err());
        // The length in front, 4 GiB, must not be taken before it is compared.
        let claims = [&[0xff, 0xff, 0xff, 0xff, 0x0f], compressed.get(2..).unwrap()].concat();
        let refusal = page(&claims, text.len()).unwrap_err().to_string();
        assert!(refusal.contains("another length than it says"), "{refusal}");
    }
}
