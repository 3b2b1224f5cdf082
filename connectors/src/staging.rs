//! Writing objects that nobody looks for until a manifest names them.

use weir_checkpoints::{FaultPoint, Store, StoreError};

/// How much of an object's end is compared to know that it is ours.
const TAIL_BYTES: usize = 64;

/// Writes an object under a name that no other write ever uses. Where the answer is lost, a look at the store tells
/// whether it was done: objects appear whole or not at all, so their size and end are enough to know them by.
pub(crate) fn put_staged(store: &dyn Store, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
    let size = bytes.len();
    let tail = bytes.get(size.saturating_sub(TAIL_BYTES)..).unwrap_or_default().to_vec();
    FaultPoint::ObjectWriting.pass();
    let put = store.put(name, bytes);
    FaultPoint::ObjectWritten.pass();
    let Err(error) = put else { return Ok(()) };
    if !matches!(error, StoreError::Unknown { .. }) {
        return Err(error);
    }
    let range = (size - tail.len()) as u64..size as u64;
    match store.get_range(name, range) {
        Ok(found) if found == tail => Ok(()),
        Ok(_) | Err(_) => Err(error),
    }
}
