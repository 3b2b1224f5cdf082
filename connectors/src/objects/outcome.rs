//! Sorts a client's errors by what they say about the store: it was not done, or nobody knows.
//!
//! A write is `Failed` only where the store itself refused it, or where the disk has no room or no permission. All
//! else, time-outs and lost connections first of all, is `Unknown`. A refusal may answer the repetition of a request
//! whose first answer was lost; whoever stops at it and looks again later, as a job does, loses nothing.

use std::error::Error;
use std::io;
use std::iter::successors;

use weir_checkpoints::StoreError;

/// The error of a call that changes nothing.
pub(super) fn of_read(action: &'static str, name: &str, error: &object_store::Error) -> StoreError {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return StoreError::NotFound { name: name.to_owned() };
    }
    failed(action, name, error.to_string())
}

/// The error of a call that may have changed the store.
pub(super) fn of_write(action: &'static str, name: &str, error: &object_store::Error) -> StoreError {
    if is_refusal(error) {
        return failed(action, name, error.to_string());
    }
    StoreError::Unknown { action, name: name.to_owned(), reason: error.to_string() }
}

/// An error of our own, before the store was asked or after it had answered.
pub(super) fn failed(action: &'static str, name: &str, reason: String) -> StoreError {
    StoreError::Failed { action, name: name.to_owned(), reason }
}

fn is_refusal(error: &object_store::Error) -> bool {
    use object_store::Error as Client;
    match error {
        Client::NotFound { .. }
        | Client::InvalidPath { .. }
        | Client::NotSupported { .. }
        | Client::NotImplemented { .. }
        | Client::Precondition { .. }
        | Client::PermissionDenied { .. }
        | Client::Unauthenticated { .. }
        | Client::UnknownConfigurationKey { .. } => true,
        _ => successors(Some(error as &(dyn Error + 'static)), |&cause| cause.source()).any(refused_by_disk),
    }
}

fn refused_by_disk(cause: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind as Kind;
    let Some(error) = cause.downcast_ref::<io::Error>() else { return false };
    matches!(
        error.kind(),
        Kind::PermissionDenied
            | Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::ReadOnlyFilesystem
            | Kind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Error + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(source) }
    }

    #[test]
    fn only_a_refusal_is_a_failed_write() {
        let is_failed =
            |error: object_store::Error| matches!(of_write("write", "a", &error), StoreError::Failed { .. });
        let nothing = || Box::new(io::Error::other("nothing more to say"));
        assert!(is_failed(generic(io::Error::from(io::ErrorKind::StorageFull))));
        assert!(is_failed(generic(io::Error::from(io::ErrorKind::PermissionDenied))));
        assert!(is_failed(object_store::Error::PermissionDenied { path: "a".to_owned(), source: nothing() }));
        assert!(is_failed(object_store::Error::NotFound { path: "a".to_owned(), source: nothing() }));
        assert!(!is_failed(generic(io::Error::from(io::ErrorKind::TimedOut))));
        assert!(!is_failed(generic(io::Error::from(io::ErrorKind::ConnectionReset))));
        assert!(!is_failed(generic(io::Error::other("500 Internal Server Error"))));
    }

    #[test]
    fn a_read_is_never_in_doubt() {
        let timed_out = generic(io::Error::from(io::ErrorKind::TimedOut));
        assert!(matches!(of_read("read", "a", &timed_out), StoreError::Failed { .. }));
        let missing =
            object_store::Error::NotFound { path: "a".to_owned(), source: Box::new(io::Error::other("gone")) };
        assert!(matches!(of_read("read", "a", &missing), StoreError::NotFound { name } if name == "a"));
    }
}
