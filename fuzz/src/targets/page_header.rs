//! The headers in front of Parquet pages, read by a reader of our own.
//!
//! - A header is what its own bytes say: what follows them changes nothing, and without the last of them there is none.

use crate::inputs::Numbers;

#[allow(dead_code, reason = "its fields are for the reader of pages")]
#[path = "../../../connectors/src/delta/read/page_header.rs"]
mod reader;

use reader::PageHeader;

/// See the module.
pub fn check(data: &[u8]) {
    let mut unread = data;
    let Some(header) = PageHeader::read(&mut unread) else { return };
    let read = data.len() - unread.len();
    let mut own = &data[..read];
    assert_eq!(PageHeader::read(&mut own).as_ref(), Some(&header));
    assert!(own.is_empty());
    assert_eq!(PageHeader::read(&mut &data[..read - 1]), None, "a header that is cut off was taken");
    let mut followed = [&data[..read], &[0xff; 16]].concat();
    followed.truncate(read + Numbers(unread).below(16));
    assert_eq!(PageHeader::read(&mut followed.as_slice()), Some(header));
}

/// Headers as parquet-rs and Arrow C++ write them: fields by number, each with its type.
pub fn seeds() -> Vec<Vec<u8>> {
    let dictionary = b"\x15\x04\x15\x80\x01\x15\x5a\x4c\x15\x10\x15\x00\x12\x00\x00";
    let data = b"\x15\x00\x15\x2c\x15\x30\x2c\x15\x80\x10\x15\x10\x15\x06\x15\x06\x1c\x18\x04ad-9\x18\x04ad-1\x16\x00\x28\x04ad-9\x18\x04ad-1\x00\x00\x00";
    let data_v2 = b"\x15\x06\x15\x2c\x15\x30\x5c\x15\x80\x10\x15\x02\x15\x80\x10\x15\x00\x15\x04\x15\x00\x11\x00\x00";
    let unknown = b"\x15\x02\x15\x00\x15\x00\x89\x05abcde\x19\x35\x02\x04\x06\x1b\x00\x00";
    let pages: [&[u8]; 4] = [dictionary, data, data_v2, unknown];
    pages.map(<[u8]>::to_vec).to_vec()
}
